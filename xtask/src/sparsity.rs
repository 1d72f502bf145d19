//! One student, what it can do without, and what that costs and saves.
//!
//! A teacher and a student are trained once a seed. Then the same student trains on: as it is, with nine of ten weights
//! masked, without half of its arithmetic, and with two of every four weights masked, each for the same number of steps
//! with the teacher on. What it lost is counted against the one that lost nothing, seed by seed, so that neither the seed
//! nor longer training counts for or against sparsity. `kd` does all of it; this puts its runs in order and keeps what
//! is done.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::bench::latency::Latency;
use crate::runs::Built;
use crate::{recipes, runs, statistics, workspace};
use experiment::Experiment;

mod experiment;
mod table;
mod ways;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seeds, counted up from the recipe's
    #[arg(long, default_value_t = 5, value_parser = statistics::seeds)]
    seeds: u64,
    /// Where to train: see `kd list devices`; latency is measured on the CPU
    #[arg(long, default_value = "flex")]
    device: String,
    /// Cargo's profile for what is built
    #[arg(long, default_value = "release")]
    profile: String,
    /// A `kd` that is built already
    #[arg(long, value_name = "PROGRAM")]
    kd: Option<PathBuf>,
    /// Train for one epoch only, to see that everything runs: the numbers say nothing
    #[arg(long)]
    quick: bool,
    /// Put the table into `docs/sparsity.md`
    #[arg(long, conflicts_with = "quick")]
    write: bool,
}

const PAGE: &str = "docs/sparsity.md";
const BEGIN: &str = "<!-- sparsity:begin -->\n";
const END: &str = "<!-- sparsity:end -->";

/// Rounds of the measurement of latency.
const ROUNDS: u32 = 41;

/// The same, to see that it runs.
const QUICK_ROUNDS: u32 = 3;

pub(crate) fn run(args: &Args) -> Result<()> {
    let sh = workspace::shell()?;
    // Before anything is trained; and again in the end, for the page may have changed by then.
    let page = |text: &str| -> Result<String> {
        recipes::between(&sh.read_file(PAGE)?, (BEGIN, END), text)
            .with_context(|| format!("`{PAGE}` has no place for a table"))
    };
    if args.write {
        page("")?;
    }
    let begun = Instant::now();
    let kd = match &args.kd {
        Some(kd) => std::path::absolute(kd)?,
        None => runs::build(&sh, &Built { profile: &args.profile, device: &args.device })?,
    };
    let experiment = Experiment::new(&sh, &kd, &args.device, args.seeds, args.quick)?;
    let latency = Latency::build(&sh, &args.profile)?;
    let mut reached = experiment.run()?;
    let rounds = if args.quick { QUICK_ROUNDS } else { ROUNDS };
    reached.times = experiment.times(&latency, rounds)?;
    let text = table::render(&reached, latency.engine(), &experiment.about()?)?;
    println!("{text}");
    eprintln!("{:.0} s", begun.elapsed().as_secs_f64());
    if args.write {
        sh.write_file(PAGE, page(&text)?)?;
        println!("wrote {PAGE}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_place_for_the_table() -> Result<()> {
        let page = workspace::shell()?.read_file(PAGE)?;
        assert!(recipes::between(&page, (BEGIN, END), "table\n").is_some());
        Ok(())
    }

    #[test]
    fn what_is_written_was_trained() {
        #[derive(Debug, clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let parse = |line: &str| <Line as clap::Parser>::try_parse_from(line.split(' ')).is_ok();
        assert!(parse("sparsity --write --device cuda") && parse("sparsity --quick --profile dev --seeds 1"));
        assert!(!parse("sparsity --quick --write") && !parse("sparsity --seeds 0"));
    }
}
