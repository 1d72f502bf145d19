//! Training speed against other programs: whole steps of the same networks, ours, Burn's and PyTorch's in turns.
//!
//! A machine that does other things too, or changes its clock, slows whoever happens to run. So nobody is measured at a
//! stretch: all run as servers, in each round everyone has a short turn in each network, and what is compared are the
//! ratios within the rounds.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use xshell::Shell;

use super::machine::{self, Machine};
use super::page::Page;
use super::{quiet, statistics};
use crate::workspace;
use contestant::Contestant;
use quiet::Ticks;
use rounds::{Answers, Measured, Plan};
use server::{Opponent, Servers};

mod contestant;
mod rounds;
mod server;
mod table;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Python with PyTorch to compare with; if not given, that on the path, if it has PyTorch
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Networks to measure, if not all
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    networks: Vec<String>,
    /// Numbers of threads to measure with; if not given, one and as many as there are cores
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    threads: Vec<usize>,
    /// Rounds, each a turn for everyone in every network
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Put the table into `docs/speed.md`
    #[arg(long)]
    write: bool,
}

/// How long a turn is meant to last.
const TURN: Duration = Duration::from_millis(300);

/// Between turns: the threads of whoever had one may go on looking for work, 200 ms at most (the block time of
/// Intel's OpenMP; GNU's and rayon's give up sooner).
const PAUSE: Duration = Duration::from_millis(250);

/// What stands between these marks of the page is the table.
const MARKS: &str = "train";

pub(crate) fn run(args: &Args) -> Result<()> {
    let sh = workspace::shell()?;
    let page = args.write.then(|| Page::read(&sh, MARKS)).transpose()?;
    let opponent = Opponent::find(args.python.as_deref())?;
    let program = server::build(&sh)?;

    let mut measured = Measured::default();
    let mut version = None;
    for threads in threads(&args.threads)? {
        let mut servers = Servers::start(&program, opponent.as_ref(), threads)?;
        let networks = networks(&args.networks, &servers.ask(Contestant::Own, "networks")?)?;
        let plan = Plan { networks, threads, rounds: args.rounds, turn: TURN, pause: PAUSE };
        if opponent.is_some() {
            version = Some(servers.ask(Contestant::PyTorch, "version")?);
        }
        let more = rounds::measure(&plan, &mut servers)?;
        measured.rows.extend(more.rows);
        measured.notes.extend(more.notes);
        measured.paused += more.paused;
    }
    let text = report(&sh, &measured, version.as_deref(), args.rounds)?;
    println!("\n{text}");
    if let Some(page) = page {
        page.write(&sh, &text, measured.paused)?;
    }
    Ok(())
}

/// The table and what is needed to judge it.
fn report(sh: &Shell, measured: &Measured, version: Option<&str>, rounds: u32) -> Result<String> {
    let mut text = table::render(&measured.rows);
    let losses = table::losses(&measured.rows);
    if !losses.is_empty() {
        text += &format!("\n{losses}");
    }
    text += &format!("\n{}.\n", Machine::this());
    text += &format!(
        "Revision {}, rustc {}, burn {}{}.\n",
        machine::revision(sh),
        machine::rustc(sh)?,
        machine::burn(sh)?,
        version.map_or_else(String::new, |version| format!(", {version}")),
    );
    text += &format!("Medians of {rounds} rounds{}.\n", statistics::about_intervals(rounds as usize));
    text += &about_others(measured.paused);
    if version.is_none() {
        text += "No Python with PyTorch was found; after `pip install torch`, `--python PATH` names the one that has \
                 it.\n";
    }
    if !measured.notes.is_empty() {
        text.push('\n');
    }
    for note in &measured.notes {
        text += &format!("- {note}\n");
    }
    Ok(text)
}

/// How busy the machine was with something else.
fn about_others(paused: Ticks) -> String {
    match paused.share() {
        Some(share) if share > quiet::MOST => format!(
            "**Other programs kept {:.0} % of the processors busy: these numbers say nothing.**\n",
            share * 100.0
        ),
        Some(share) => {
            format!("In the pauses between turns the processors were {:.0} % busy.\n", share * 100.0)
        }
        None => String::new(),
    }
}

/// Those that are asked for, or one and all cores.
pub(super) fn threads(asked: &[usize]) -> Result<Vec<usize>> {
    ensure!(!asked.contains(&0), "expected `--threads` of at least 1, found 0");
    if !asked.is_empty() {
        return Ok(asked.to_vec());
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(if cores == 1 { vec![1] } else { vec![1, cores] })
}

/// Those that are asked for, or all that there are.
fn networks(asked: &[String], there: &str) -> Result<Vec<String>> {
    let there: Vec<String> = there.split_whitespace().map(str::to_owned).collect();
    if let Some(name) = asked.iter().find(|name| !there.contains(name)) {
        bail!("no network is named `{name}`; there are {}", there.join(", "));
    }
    Ok(if asked.is_empty() { there } else { asked.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_those_that_there_are() -> Result<()> {
        assert_eq!(networks(&[], "mlp teacher")?, ["mlp", "teacher"]);
        assert_eq!(networks(&["teacher".to_owned()], "mlp teacher")?, ["teacher"]);
        let error = networks(&["lenet".to_owned()], "mlp teacher").map_err(|error| error.to_string());
        assert_eq!(error, Err("no network is named `lenet`; there are mlp, teacher".to_owned()));
        Ok(())
    }

    #[test]
    fn threads_are_at_least_one() -> Result<()> {
        assert_eq!(threads(&[2, 4])?, [2, 4]);
        assert_eq!(threads(&[])?[0], 1);
        assert!(threads(&[1, 0]).is_err());
        Ok(())
    }
}
