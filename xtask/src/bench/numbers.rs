//! How fast numbers become codes: bytes a second, beside a plain copy on as many threads.
//!
//! The copy is a job like the others, done in every round of the same process, and each ratio is taken within a round:
//! a machine that is slow for a while is slow for both.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use super::machine::{self, Machine};
use super::page::Page;
use super::quiet::Ticks;
use super::statistics::{interval, median};
use crate::workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rounds, in each of which every job is done once
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Put the table into `docs/speed.md`
    #[arg(long)]
    write: bool,
}

/// How long the machine is watched before and after.
const PAUSE: Duration = Duration::from_secs(1);

/// What all others are compared with.
const COPY: &str = "copy";

pub(crate) fn run(args: &Args) -> Result<()> {
    let sh = workspace::shell()?;
    let page = args.write.then(|| Page::read(&sh, "numbers")).transpose()?;
    let rounds = args.rounds.to_string();
    cmd!(sh, "cargo bench -p kd-benches --bench bandwidth --no-run").run()?;
    let mut paused = Ticks::paused(PAUSE);
    let lines =
        cmd!(sh, "cargo bench -p kd-benches --bench bandwidth -- measure --rounds {rounds}").read()?;
    paused += Ticks::paused(PAUSE);
    let text = report(&sh, &jobs(&lines)?, args.rounds)?;
    println!("\n{text}");
    match page {
        Some(page) => page.write(&sh, &text, paused),
        None => Ok(()),
    }
}

/// A line of the benchmark.
#[derive(Debug, PartialEq)]
struct Job {
    name: String,
    /// Read and written in a round.
    bytes: f64,
    /// Of each round.
    seconds: Vec<f64>,
}

impl Job {
    /// Gigabytes a second, round by round.
    fn speeds(&self) -> Vec<f64> {
        self.seconds.iter().map(|seconds| self.bytes / seconds / 1e9).collect()
    }
}

fn jobs(lines: &str) -> Result<Vec<Job>> {
    lines.lines().map(|line| job(line).with_context(|| format!("not a measurement: `{line}`"))).collect()
}

fn job(line: &str) -> Option<Job> {
    let [name, bytes, seconds] = line.split('\t').collect::<Vec<_>>()[..] else { return None };
    let seconds: Option<Vec<f64>> = seconds.split(' ').map(|seconds| seconds.parse().ok()).collect();
    Some(Job { name: name.to_owned(), bytes: bytes.parse().ok()?, seconds: seconds? })
}

fn report(sh: &Shell, jobs: &[Job], rounds: u32) -> Result<String> {
    let mut text = table(jobs)?;
    let _ = writeln!(text, "\n{}.", Machine::this());
    let _ = writeln!(
        text,
        "Revision {}, rustc {}, burn {}.",
        machine::revision(sh),
        machine::rustc(sh)?,
        machine::burn(sh)?
    );
    let _ =
        writeln!(text, "Medians of {rounds} rounds{}.", super::statistics::about_intervals(rounds as usize));
    Ok(text)
}

/// Bytes a second of each job, and how many times as long as a copy of so many bytes it takes.
fn table(jobs: &[Job]) -> Result<String> {
    let copy = jobs.iter().find(|job| job.name == COPY).context("nothing was copied")?.speeds();
    let mut out = "| job | GB/s | copy / job |\n| --- | --: | --: |\n".to_owned();
    for job in jobs {
        let speeds = job.speeds();
        ensure!(speeds.len() == copy.len(), "`{}` was not measured in every round", job.name);
        let ratios: Vec<f64> = copy.iter().zip(&speeds).map(|(copy, speed)| copy / speed).collect();
        let speed = median(&speeds).unwrap_or(f64::NAN);
        let ratio = median(&ratios).unwrap_or(f64::NAN);
        let _ = match interval(&ratios) {
            _ if job.name == COPY => writeln!(out, "| {} | {speed:.1} | 1 |", job.name),
            Some((low, high)) => {
                writeln!(out, "| {} | {speed:.1} | {ratio:.2} ({low:.2} – {high:.2}) |", job.name)
            }
            None => writeln!(out, "| {} | {speed:.1} | {ratio:.2} |", job.name),
        };
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_rounds_and_by_the_byte() -> Result<()> {
        // The machine was half as fast in the second round; the cast moves half as many bytes in the same time.
        let lines = "copy\t4000000000\t0.5 1 0.5\ncast bf16\t2000000000\t0.5 1 0.5";
        let jobs = jobs(lines)?;
        assert_eq!(jobs[1].seconds, [0.5, 1.0, 0.5]);
        let table = table(&jobs)?;
        assert!(table.contains("| copy | 8.0 | 1 |\n| cast bf16 | 4.0 | 2.00 |\n"), "{table}");
        Ok(())
    }

    #[test]
    fn what_is_no_measurement_is_shown() {
        let error = jobs("copy\t8\t0.5\nerror: no memory").map_err(|error| error.to_string());
        assert_eq!(error, Err("not a measurement: `error: no memory`".to_owned()));
        assert!(table(&[]).is_err());
    }
}
