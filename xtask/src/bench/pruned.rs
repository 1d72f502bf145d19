//! What removed channels buy: time of a whole network over that of the same one with half its multiply-accumulates.
//!
//! Arithmetic that goes is not time that goes: what is left runs on fewer lanes, and what is no arithmetic stays. So
//! time is measured, on an engine that is not ours, the networks in turns.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::latency::{Latency, ratios};
use super::machine::{self, Machine};
use super::page::Page;
use super::statistics::{about_intervals, interval, median};
use crate::workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rounds, in each of which every network has a turn
    #[arg(long, default_value_t = 41, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Cargo's profile; the engine's own time does not depend on it
    #[arg(long, default_value = "bench")]
    profile: String,
    /// Put the table into `docs/speed.md`
    #[arg(long)]
    write: bool,
}

/// Examples of a run.
const BATCH: usize = 32;

/// Shape of an example of the network that is pruned.
const SHAPE: [usize; 3] = [3, 32, 32];

/// How many times as fast half of the multiply-accumulates should be.
const GOAL: f64 = 1.3;

pub(crate) fn run(args: &Args) -> Result<()> {
    let sh = workspace::shell()?;
    let page = args.write.then(|| Page::read(&sh, "pruned")).transpose()?;
    let latency = Latency::build(&sh, &args.profile)?;
    let folder = sh.create_temp_dir()?;
    let networks =
        networks(&latency.ask(&["networks".to_owned(), folder.path().to_string_lossy().into_owned()])?)?;
    let files: Vec<PathBuf> = networks.iter().map(|network| network.file.clone()).collect();
    let times = latency.measure(BATCH, &SHAPE, args.rounds, &files)?;
    let mut text = table(&networks, &times.seconds)?;
    let _ = writeln!(text, "\n{}, one thread, batches of {BATCH}.", latency.engine());
    let _ = writeln!(text, "{}.", Machine::this());
    let _ = writeln!(text, "Revision {}.", machine::revision(&sh));
    let _ = writeln!(text, "Medians of {} rounds{}.", args.rounds, about_intervals(args.rounds as usize));
    text += &times.about_others();
    println!("\n{text}");
    match page {
        Some(page) => page.write(&sh, &text, times.paused),
        None => Ok(()),
    }
}

/// A network that is compared.
#[derive(Debug, PartialEq)]
struct Network {
    name: String,
    /// Channels of its convolutions.
    widths: String,
    macs: u64,
    params: u64,
    file: PathBuf,
}

fn networks(lines: &str) -> Result<Vec<Network>> {
    let read = |line: &str| {
        let [name, widths, macs, params, file] = line.split('\t').collect::<Vec<_>>()[..] else {
            return None;
        };
        let (macs, params) = (macs.parse().ok()?, params.parse().ok()?);
        Some(Network { name: name.to_owned(), widths: widths.to_owned(), macs, params, file: file.into() })
    };
    let found: Vec<Network> = lines
        .lines()
        .map(|line| read(line).with_context(|| format!("not a network: `{line}`")))
        .collect::<Result<_>>()?;
    ensure!(!found.is_empty(), "there is no network to measure");
    Ok(found)
}

/// A line a network, and whether the goal is met.
fn table(networks: &[Network], seconds: &[Vec<f64>]) -> Result<String> {
    let mut out = "| network | channels | MACs | parameters | ms | whole MACs / its | whole time / its |\n\
                   | --- | --- | --: | --: | --: | --: | --: |\n"
        .to_owned();
    let mut verdict = String::new();
    for (network, own) in networks.iter().zip(seconds) {
        let Network { name, widths, macs, params, .. } = network;
        let ms = median(own).context("no round was measured")? * 1e3;
        let less = networks[0].macs as f64 / *macs as f64;
        if name == &networks[0].name {
            let _ = writeln!(out, "| {name} | {widths} | {macs} | {params} | {ms:.2} | 1 | 1 |");
            continue;
        }
        let ratios = ratios(&seconds[0], own);
        let ratio = median(&ratios).context("no round was measured")?;
        let spread =
            interval(&ratios).map_or_else(String::new, |(low, high)| format!(" ({low:.2} – {high:.2})"));
        let _ = writeln!(
            out,
            "| {name} | {widths} | {macs} | {params} | {ms:.2} | {less:.2} | {ratio:.2}{spread} |"
        );
        let met = if ratio >= GOAL { "met" } else { "NOT met" };
        let _ = writeln!(verdict, "- {name}: {ratio:.2} times as fast; {GOAL} was the goal, and is {met}.");
    }
    Ok(format!("{out}\n{verdict}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str =
        "whole\t16-32\t1000\t90\ta.onnx\nhalf\t11-22\t500\t40\tb.onnx\nless\t16\t490\t40\tc.onnx";

    #[test]
    fn a_goal_that_is_not_met_is_said() -> Result<()> {
        let networks = networks(LINES)?;
        let text = table(&networks, &[vec![0.02, 0.04], vec![0.01, 0.02], vec![0.02, 0.04]])?;
        assert!(text.contains("| whole | 16-32 | 1000 | 90 | 30.00 | 1 | 1 |\n"), "{text}");
        assert!(text.contains("| half | 11-22 | 500 | 40 | 15.00 | 2.00 | 2.00 |\n"), "{text}");
        assert!(text.contains("- half: 2.00 times as fast; 1.3 was the goal, and is met.\n"), "{text}");
        assert!(text.contains("- less: 1.00 times as fast; 1.3 was the goal, and is NOT met.\n"), "{text}");
        Ok(())
    }

    #[test]
    fn what_is_no_network_is_shown() {
        let error = networks("error: no folder").map_err(|error| error.to_string());
        assert_eq!(error, Err("not a network: `error: no folder`".to_owned()));
    }
}
