//! Benchmarks: run by criterion, shown as one table with intervals, and compared with a saved baseline.
//!
//! A row is faster or slower only if its 95 % interval does not touch the baseline's and the medians differ by more
//! than 5 %: on a machine that does other things too, less is noise. A row of the baseline that was not measured is
//! an error, for a benchmark that silently goes away is a regression that nobody sees.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Result, ensure};
use xshell::cmd;

use crate::workspace;
use measured::Row;
use record::Record;

pub(crate) mod latency;
mod machine;
mod measured;
mod numbers;
mod page;
mod pruned;
mod quiet;
mod record;
mod sparse;
pub(crate) mod statistics;
mod table;
mod train;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    other: Option<Other>,
    /// Run the benchmarks whose name holds this, such as `loss`, which is every loss of `kd-core`
    filter: Option<String>,
    /// Backend to run on
    #[arg(long, default_value = "flex")]
    device: String,
    /// Make this run the baseline (its rows, where there is a filter)
    #[arg(long)]
    save: bool,
}

/// Measurements of another kind.
#[derive(Debug, clap::Subcommand)]
enum Other {
    /// Measure training steps against Burn's own kernels and PyTorch
    Train(train::Args),
    /// Measure rounding to every kind of number format beside a plain copy
    Numbers(numbers::Args),
    /// Measure sparse products beside dense ones, ours and the `gemm` crate's
    Sparse(sparse::Args),
    /// Measure a network beside itself with half its arithmetic, by channels, on ONNX Runtime
    Pruned(pruned::Args),
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.other {
        Some(Other::Train(args)) => return train::run(args),
        Some(Other::Numbers(args)) => return numbers::run(args),
        Some(Other::Sparse(args)) => return sparse::run(args),
        Some(Other::Pruned(args)) => return pruned::run(args),
        None => {}
    }
    let sh = workspace::shell()?;
    let start = SystemTime::now();
    let mut features = Vec::new();
    if args.device != "flex" {
        features = vec!["--features".to_owned(), args.device.clone()];
    }
    // criterion reads a regular expression; a name is meant literally.
    let filter = args.filter.as_deref().map(escaped);
    cmd!(sh, "cargo bench -p kd-benches {features...} -- {filter...}")
        .env("BURN_DEVICE", &args.device)
        .run()?;

    let rows = measured::since(&workspace::root().join("target/criterion"), start)?;
    ensure!(
        !rows.is_empty(),
        "no benchmark was run; names hold no `{}`",
        args.filter.as_deref().unwrap_or_default()
    );
    let now = Record::new(&sh, &args.device, rows)?;
    let path = baseline(&args.device);
    let before = Record::read(&path)?;
    print!("{}", table::render(&now, before.as_ref()));

    let vanished = before
        .as_ref()
        .map_or_else(Vec::new, |before| vanished(&before.rows, &now.rows, args.filter.as_deref()));
    if args.save {
        let saved = match before {
            Some(before) if args.filter.is_some() => now.over(before),
            _ => now,
        };
        saved.write(&path)?;
        println!("saved {}", path.display());
        return Ok(());
    }
    ensure!(
        vanished.is_empty(),
        "in the baseline but not measured: {}; `--save` makes a baseline without them",
        vanished.join(", ")
    );
    Ok(())
}

fn baseline(device: &str) -> PathBuf {
    workspace::root().join(format!("benches/baseline/{device}-{}.json", std::env::consts::ARCH))
}

/// The rows of the baseline that this run should have measured and did not.
fn vanished(
    before: &BTreeMap<String, Row>,
    now: &BTreeMap<String, Row>,
    filter: Option<&str>,
) -> Vec<String> {
    let asked_for = |name: &&String| filter.is_none_or(|filter| name.contains(filter));
    before.keys().filter(asked_for).filter(|name| !now.contains_key(*name)).cloned().collect()
}

fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|c| (!c.is_alphanumeric() && !"_/-".contains(c)).then_some('\\').into_iter().chain([c]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_was_asked_for_and_did_not_come_has_vanished() {
        let row = Row { median: 1.0, low: 0.9, high: 1.1, throughput: None };
        let rows = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), row.clone())).collect();
        let before = rows(&["kl/a", "kl/b", "mask/c"]);
        let now = rows(&["kl/a", "new/d"]);
        assert_eq!(vanished(&before, &now, None), ["kl/b", "mask/c"]);
        assert_eq!(vanished(&before, &now, Some("kl/")), ["kl/b"]);
        assert_eq!(vanished(&before, &now, Some("kl/a")), [""; 0]);
    }

    #[test]
    fn train_is_another_measurement_and_other_words_are_filters() {
        #[derive(Debug, clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let parse =
            |line: &str| <Line as clap::Parser>::try_parse_from(line.split(' ')).map(|line| line.args);
        let train =
            parse("bench train --networks mlp,teacher --threads 1,2 --rounds 6").expect("it is right");
        assert!(matches!(train.other, Some(Other::Train(_))), "{train:?}");
        let numbers = parse("bench numbers --write").expect("it is right");
        assert!(matches!(numbers.other, Some(Other::Numbers(_))), "{numbers:?}");
        let sparse = parse("bench sparse --threads 1,2").expect("it is right");
        assert!(matches!(sparse.other, Some(Other::Sparse(_))), "{sparse:?}");
        let pruned = parse("bench pruned --rounds 9 --profile dev").expect("it is right");
        assert!(matches!(pruned.other, Some(Other::Pruned(_))), "{pruned:?}");
        let filtered = parse("bench step/train --save").expect("it is right");
        assert!(filtered.other.is_none() && filtered.filter.as_deref() == Some("step/train"), "{filtered:?}");
        assert!(parse("bench train --rounds 0").is_err());
    }

    #[test]
    fn a_filter_is_meant_literally() {
        assert_eq!(escaped("quant/fake_quant"), "quant/fake_quant");
        assert_eq!(escaped("a.b(c)"), "a\\.b\\(c\\)");
    }
}
