//! One transformer, several ways to take nine weights of ten out of it, all with the dense one as the teacher.
//!
//! A teacher and a dense student are trained once a seed. Every way starts from that student and has the same further
//! steps; what is left is held against magnitude pruning, seed by seed. The filled variant goes on from the hybrid one:
//! what is empty is taken out, and what stays learns on without masks. `kd` does all of it; this puts its runs in order
//! and keeps what is done.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::runs::Built;
use crate::{recipes, runs, statistics, workspace};
use experiment::Experiment;
use rows::{ROWS, Row};

mod experiment;
mod rows;
mod table;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seeds, counted up from the recipe's
    #[arg(long, value_parser = statistics::seeds, default_value = "3")]
    seeds: u64,
    /// Ways to compare, if not all
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    ways: Vec<String>,
    /// Epochs in which weights go; the recipe's without it
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Where to run: `flex`, `cuda`, `wgpu`; `kd` is built for it
    #[arg(long, default_value = "flex")]
    device: String,
    /// A `kd` that is built already
    #[arg(long, value_name = "PROGRAM")]
    kd: Option<PathBuf>,
    /// Train for one epoch only, to see that everything runs: the numbers say nothing
    #[arg(long, conflicts_with = "epochs")]
    quick: bool,
    /// Put the table into `docs/sparsify.md`
    #[arg(long, conflicts_with = "quick")]
    write: bool,
}

const PAGE: &str = "docs/sparsify.md";
const RECIPE: &str = "configs/glosses-movement.toml";
/// Where the table stands on the page.
const MARKS: (&str, &str) = ("<!-- movement:begin -->\n", "<!-- movement:end -->");

pub(crate) fn run(args: &Args) -> Result<()> {
    let sh = workspace::shell()?;
    let rows = chosen(&args.ways)?;
    let kd = match &args.kd {
        Some(kd) => std::path::absolute(kd)?,
        None => runs::build(&sh, &Built { profile: "release", device: &args.device })?,
    };
    let begun = Instant::now();
    let experiment = Experiment::new(&sh, &kd, args)?;
    let reached = experiment.run(&rows)?;
    let text = table::render(&reached, &experiment.about()?);
    print!("{text}");
    eprintln!("{:.0} s", begun.elapsed().as_secs_f64());
    if args.write {
        let page = recipes::between(&sh.read_file(PAGE)?, MARKS, &text);
        sh.write_file(PAGE, page.with_context(|| format!("`{PAGE}` has no place for `movement`"))?)?;
        println!("wrote {PAGE}");
    }
    Ok(())
}

/// Those that are asked for, or all, in the order of the table. Magnitude is always among them: others are held against
/// it.
fn chosen(asked: &[String]) -> Result<Vec<&'static Row>> {
    if let Some(name) = asked.iter().find(|name| ROWS.iter().all(|row| row.name != name.as_str())) {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        bail!("the table has no way `{name}`; it has {}", names.join(", "));
    }
    let asked = |row: &&Row| {
        asked.is_empty() || row.name == rows::MAGNITUDE || asked.iter().any(|name| name == row.name)
    };
    Ok(ROWS.iter().filter(asked).collect())
}

/// Where the runs are, from the root: runs of other lengths and devices are kept beside each other.
fn folder(args: &Args) -> PathBuf {
    let device = args.device.replace(':', "-");
    let device = if device == "flex" { String::new() } else { format!("-{device}") };
    let length = match (args.quick, args.epochs) {
        (true, _) => "-quick".to_owned(),
        (false, Some(epochs)) => format!("-{epochs}"),
        (false, None) => String::new(),
    };
    PathBuf::from(format!("runs/movement{device}{length}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Alone {
        #[command(flatten)]
        args: Args,
    }

    fn args(words: &[&str]) -> Args {
        Alone::parse_from(["movement"].iter().chain(words)).args
    }

    #[test]
    fn ways_are_those_that_the_table_has() -> Result<()> {
        assert_eq!(chosen(&[])?.len(), ROWS.len());
        let names = |asked: &str| -> Result<Vec<&str>> {
            Ok(chosen(&[asked.to_owned()])?.into_iter().map(|row| row.name).collect())
        };
        assert_eq!(names("movement")?, [rows::MAGNITUDE, "movement"]);
        assert_eq!(names(rows::MAGNITUDE)?, [rows::MAGNITUDE]);
        let error = chosen(&["motion".into()]).map_err(|error| error.to_string());
        assert!(error.is_err_and(|error| error.starts_with("the table has no way `motion`; it has ")));
        Ok(())
    }

    #[test]
    fn runs_of_other_lengths_have_folders_of_their_own() {
        assert_eq!(folder(&args(&[])), PathBuf::from("runs/movement"));
        assert_eq!(folder(&args(&["--quick"])), PathBuf::from("runs/movement-quick"));
        let words = ["--device", "cuda:1", "--epochs", "8"];
        assert_eq!(folder(&args(&words)), PathBuf::from("runs/movement-cuda-1-8"));
    }

    #[test]
    fn the_page_has_a_place_for_the_table() -> Result<()> {
        let page = workspace::shell()?.read_file(PAGE)?;
        assert!(page.contains(MARKS.0) && page.contains(MARKS.1));
        Ok(())
    }
}
