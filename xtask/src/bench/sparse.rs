//! What sparse products buy: times of dense products, ours and the `gemm` crate's, over those of each pattern.
//!
//! All candidates of a shape have their turns in every round of one process. A ratio is of the fastest runs that each
//! had in any round: another program, or a busy neighbour of a virtual machine, only ever adds time, and so the fastest
//! of many says most of the code. The speed of the dense products stands beside, so that a reader sees whether they
//! had a quiet moment.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use super::machine::{self, Machine};
use super::page::Page;
use super::quiet::{self, Ticks};
use super::train::threads;
use crate::workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rounds, in each of which every candidate has a turn
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Numbers of threads to measure with; if not given, one and as many as there are cores
    #[arg(long, value_delimiter = ',')]
    threads: Vec<usize>,
    /// Put the table into `docs/speed.md`
    #[arg(long)]
    write: bool,
}

/// How long the machine is watched before and after.
const PAUSE: Duration = Duration::from_secs(1);

/// Our dense product, and the opponent's.
const DENSE: [&str; 2] = ["dense", "gemm"];

/// What blocks of 4×1 should reach against both, and at which pattern.
const GOALS: [(&str, f64); 2] = [("4×1 50", 1.4), ("4×1 80", 3.0)];

/// A smaller gain is called none.
const GAIN: f64 = 1.05;

pub(crate) fn run(args: &Args) -> Result<()> {
    let sh = workspace::shell()?;
    let page = args.write.then(|| Page::read(&sh, "sparse")).transpose()?;
    let rounds = args.rounds.to_string();
    let threads = threads(&args.threads)?.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let bench = ["bench", "-p", "kd-kernels", "--features", "gemm-avx512", "--bench", "sparse"];
    cmd!(sh, "cargo {bench...} --no-run").run()?;
    let mut paused = Ticks::paused(PAUSE);
    let lines = cmd!(sh, "cargo {bench...} -- measure --rounds {rounds} --threads {threads}").read()?;
    paused += Ticks::paused(PAUSE);
    let text = report(&sh, &lines, args.rounds, paused)?;
    println!("\n{text}");
    match page {
        Some(page) => page.write(&sh, &text, paused),
        None => Ok(()),
    }
}

/// One shape on some threads, with the fastest seconds of each candidate.
#[derive(Debug, PartialEq)]
struct Case {
    /// Batch, inputs, outputs.
    shape: [u64; 3],
    threads: usize,
    seconds: Vec<(String, f64)>,
}

impl Case {
    fn seconds(&self, name: &str) -> Result<f64> {
        let found = self.seconds.iter().find(|(found, _)| found == name);
        found.map(|(_, seconds)| *seconds).with_context(|| format!("`{name}` was not measured"))
    }

    /// How many times as fast as each dense product a candidate is.
    fn ratios(&self, name: &str) -> Result<[f64; 2]> {
        let [ours, other] = DENSE;
        let seconds = self.seconds(name)?;
        Ok([self.seconds(ours)? / seconds, self.seconds(other)? / seconds])
    }

    /// How many times as fast as the faster dense product.
    fn gain(&self, name: &str) -> Result<f64> {
        let [ours, other] = self.ratios(name)?;
        Ok(ours.min(other))
    }

    /// Billions of operations a second of a dense product, a sum and a product counted as two.
    fn speed(&self, name: &str) -> Result<f64> {
        let macs: u64 = self.shape.iter().product();
        Ok(2.0 * macs as f64 / self.seconds(name)? / 1e9)
    }

    fn title(&self) -> String {
        let [batch, inputs, outputs] = self.shape;
        format!("{batch} × {inputs} → {outputs}")
    }
}

/// The instruction set, and the cases in the order of the lines.
fn cases(lines: &str) -> Result<(String, Vec<Case>)> {
    let (isa, lines) = lines.split_once('\n').context("nothing was measured")?;
    let mut cases: Vec<Case> = Vec::new();
    for line in lines.lines() {
        let (shape, threads, name, seconds) =
            measurement(line).with_context(|| format!("not a measurement: `{line}`"))?;
        match cases.last_mut().filter(|case| case.shape == shape && case.threads == threads) {
            Some(case) => case.seconds.push((name, seconds)),
            None => cases.push(Case { shape, threads, seconds: vec![(name, seconds)] }),
        }
    }
    ensure!(!cases.is_empty(), "nothing was measured");
    Ok((isa.to_owned(), cases))
}

fn measurement(line: &str) -> Option<([u64; 3], usize, String, f64)> {
    let [batch, inputs, outputs, threads, name, seconds] = line.split('\t').collect::<Vec<_>>()[..] else {
        return None;
    };
    let seconds: Option<Vec<f64>> = seconds.split(' ').map(|seconds| seconds.parse().ok()).collect();
    let fastest = seconds?.into_iter().min_by(f64::total_cmp)?;
    let shape = [batch.parse().ok()?, inputs.parse().ok()?, outputs.parse().ok()?];
    Some((shape, threads.parse().ok()?, name.to_owned(), fastest))
}

fn report(sh: &Shell, lines: &str, rounds: u32, paused: Ticks) -> Result<String> {
    let (isa, cases) = cases(lines)?;
    let mut text = table(&cases)?;
    text.push('\n');
    text.push_str(&verdict(&cases)?);
    let _ = writeln!(text, "\n{}, {}.", Machine::this(), isa.to_uppercase());
    let _ = writeln!(text, "Revision {}, rustc {}.", machine::revision(sh), machine::rustc(sh)?);
    let _ = writeln!(text, "The fastest runs of {rounds} rounds.");
    text.push_str(&about_others(paused));
    Ok(text)
}

/// How busy the machine was with something else.
fn about_others(paused: Ticks) -> String {
    match paused.share() {
        Some(share) if share > quiet::MOST => format!(
            "**Other programs kept {:.0} % of the processors busy: a dense product that takes milliseconds seldom ran \
             undisturbed, which flatters the shorter sparse ones.**\n",
            share * 100.0
        ),
        Some(share) => format!("Before and after, the processors were {:.0} % busy.\n", share * 100.0),
        None => String::new(),
    }
}

/// The patterns, in the order in which they were measured.
fn patterns(cases: &[Case]) -> impl Iterator<Item = &str> {
    let first = cases.first().into_iter().flat_map(|case| &case.seconds);
    first.map(|(name, _)| name.as_str()).filter(|name| !DENSE.contains(name))
}

/// Speeds of the dense products and ratios of each pattern, first over ours and then over the opponent's.
fn table(cases: &[Case]) -> Result<String> {
    let mut out = "| batch × inputs → outputs | threads | dense | gemm |".to_owned();
    for pattern in patterns(cases) {
        let _ = write!(out, " {pattern} % |");
    }
    out.push_str("\n| --- | --: | --: | --: |");
    patterns(cases).for_each(|_| out.push_str(" --: |"));
    for case in cases {
        let [ours, other] = DENSE;
        let _ = write!(
            out,
            "\n| {} | {} | {:.0} | {:.0} |",
            case.title(),
            case.threads,
            case.speed(ours)?,
            case.speed(other)?
        );
        for pattern in patterns(cases) {
            let [ours, other] = case.ratios(pattern)?;
            let _ = write!(out, " {ours:.2} · {other:.2} |");
        }
    }
    out.push('\n');
    Ok(out)
}

/// Where the goals are met, and which patterns buy nothing where.
fn verdict(cases: &[Case]) -> Result<String> {
    let mut numbers: Vec<usize> = cases.iter().map(|case| case.threads).collect();
    numbers.dedup();
    let mut out = String::new();
    let goals: Vec<String> =
        GOALS.iter().map(|(pattern, goal)| format!("{goal} times at {pattern} %")).collect();
    for &threads in &numbers {
        let here: Vec<_> = cases.iter().filter(|case| case.threads == threads).collect();
        let mut met = Vec::new();
        for case in &here {
            let mut all = true;
            for (pattern, goal) in GOALS {
                all &= case.gain(pattern)? >= goal;
            }
            met.extend(all.then(|| case.title()));
        }
        let _ = writeln!(
            out,
            "At least {} as fast as both dense products, on {}, in {} of {} shapes: {}.",
            goals.join(" and "),
            counted(threads),
            met.len(),
            here.len(),
            listed(&met)
        );
    }
    out.push_str(
        "\nA pattern buys nothing where it is less than 1.05 times as fast as the faster dense product:\n\n",
    );
    for pattern in patterns(cases) {
        for &threads in &numbers {
            let mut none = Vec::new();
            let here = cases.iter().filter(|case| case.threads == threads);
            for case in here {
                if case.gain(pattern)? < GAIN {
                    none.push(case.title());
                }
            }
            let _ = writeln!(out, "- {pattern} %, {}: {}", counted(threads), listed(&none));
        }
    }
    Ok(out)
}

fn counted(threads: usize) -> String {
    if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") }
}

fn listed(titles: &[String]) -> String {
    if titles.is_empty() { "none".to_owned() } else { titles.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "Avx512\n\
        8\t500\t250\t1\tdense\t0.004 0.002 0.003\n\
        8\t500\t250\t1\tgemm\t0.001 0.003 0.003\n\
        8\t500\t250\t1\t4×1 50\t0.0005 0.001 0.0009\n\
        8\t500\t250\t1\t4×1 80\t0.0002 0.0005 0.0001\n\
        8\t500\t250\t2\tdense\t0.001\n\
        8\t500\t250\t2\tgemm\t0.001\n\
        8\t500\t250\t2\t4×1 50\t0.002\n\
        8\t500\t250\t2\t4×1 80\t0.0005\n";

    #[test]
    fn ratios_are_of_the_fastest_runs() -> Result<()> {
        let (isa, cases) = cases(LINES)?;
        assert_eq!((isa.as_str(), cases.len()), ("Avx512", 2));
        let table = table(&cases)?;
        assert!(
            table
                .starts_with("| batch × inputs → outputs | threads | dense | gemm | 4×1 50 % | 4×1 80 % |\n")
        );
        assert!(table.contains("| 8 × 500 → 250 | 1 | 1 | 2 | 4.00 · 2.00 | 20.00 · 10.00 |\n"), "{table}");
        Ok(())
    }

    #[test]
    fn goals_and_what_buys_nothing_are_said() -> Result<()> {
        let said = verdict(&cases(LINES)?.1)?;
        let goal =
            "At least 1.4 times at 4×1 50 % and 3 times at 4×1 80 % as fast as both dense products, on ";
        assert!(said.contains(&format!("{goal}1 thread, in 1 of 1 shapes: 8 × 500 → 250.\n")), "{said}");
        assert!(said.contains(&format!("{goal}2 threads, in 0 of 1 shapes: none.\n")), "{said}");
        assert!(
            said.contains("- 4×1 50 %, 1 thread: none\n- 4×1 50 %, 2 threads: 8 × 500 → 250\n"),
            "{said}"
        );
        Ok(())
    }

    #[test]
    fn what_is_no_measurement_is_shown() {
        let error = cases("Avx512\nerror: no memory").map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(error, Err("not a measurement: `error: no memory`".to_owned()));
        assert!(cases("Avx512\n").is_err());
        assert!(cases("").is_err());
    }
}
