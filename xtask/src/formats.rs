//! One student, many number formats: what each of them costs, after rounding alone and after training with it.
//!
//! A teacher and a float student are trained once a seed. Then the student is rounded to each format three times: as it
//! is, after further steps with rounded weights, and after those steps with the teacher on. What it is held against
//! is the same float student after the same further steps, seed by seed, so that neither the seed nor longer training
//! counts for or against a format. `kd` does all of it; this puts its runs in order and keeps what is done.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use xshell::Shell;

use crate::runs::Built;
use crate::{recipes, runs, statistics, workspace};
use experiment::Experiment;
use rows::{LIMITS, ROWS, Row};

mod experiment;
mod plot;
mod rows;
mod table;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Data sets: `mnist`, `fashion`
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_values = ["mnist", "fashion"])]
    data: Vec<String>,
    /// Seeds, counted up from the recipe's
    #[arg(long, value_parser = statistics::seeds)]
    seeds: Option<u64>,
    /// Formats to compare, if not all
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    formats: Vec<String>,
    /// Hold the formats that have a limit against it: MNIST, five seeds, with 8-bit activations and without
    #[arg(long, conflicts_with_all = ["data", "formats"])]
    limits: bool,
    /// Train for one epoch only, to see that everything runs: the numbers say nothing
    #[arg(long)]
    quick: bool,
    /// Put tables and plots into `docs/formats.md`
    #[arg(long, conflicts_with_all = ["formats", "quick"])]
    write: bool,
}

const PAGE: &str = "docs/formats.md";

pub(crate) fn run(args: &Args) -> Result<()> {
    let sh = workspace::shell()?;
    let kd = runs::build(&sh, &Built::SHIPPED)?;
    if args.limits {
        let seeds = args.seeds.unwrap_or(5);
        let experiment = Experiment::new(&sh, &kd, "mnist", seeds, args.quick)?;
        let text = table::limits(&experiment.limits(LIMITS)?, &experiment.about()?);
        print!("{text}");
        return if args.write { write(&sh, "limits", &text) } else { Ok(()) };
    }
    let rows = chosen(&args.formats)?;
    for data in &args.data {
        let begun = Instant::now();
        let experiment = Experiment::new(&sh, &kd, data, args.seeds.unwrap_or(3), args.quick)?;
        let reached = experiment.run(&rows)?;
        let text = table::render(&reached, &experiment.about()?);
        print!("{text}");
        eprintln!("{data}: {:.0} s", begun.elapsed().as_secs_f64());
        if args.write {
            sh.write_file(workspace::root().join(format!("docs/formats-{data}.svg")), plot::svg(&reached))?;
            write(&sh, data, &text)?;
        }
    }
    Ok(())
}

/// Puts `text` into its place on the page.
fn write(sh: &Shell, place: &str, text: &str) -> Result<()> {
    let (begin, end) = (format!("<!-- {place}:begin -->\n"), format!("<!-- {place}:end -->"));
    let page = recipes::between(&sh.read_file(PAGE)?, (&begin, &end), text);
    sh.write_file(PAGE, page.with_context(|| format!("`{PAGE}` has no place for `{place}`"))?)?;
    println!("wrote {PAGE}");
    Ok(())
}

/// Those that are asked for, or all, in the order of the table.
fn chosen(asked: &[String]) -> Result<Vec<&'static Row>> {
    if let Some(name) = asked.iter().find(|name| ROWS.iter().all(|row| row.name != name.as_str())) {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        bail!("the table has no format `{name}`; it has {}", names.join(", "));
    }
    Ok(ROWS.iter().filter(|row| asked.is_empty() || asked.iter().any(|name| name == row.name)).collect())
}

/// Where the runs of a data set are, from the root.
fn folder(data: &str, quick: bool) -> PathBuf {
    PathBuf::from(format!("runs/formats-{data}{}", if quick { "-quick" } else { "" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_those_that_the_table_has() -> Result<()> {
        assert_eq!(chosen(&[])?.len(), ROWS.len());
        assert_eq!(chosen(&["int4".into()])?.len(), 1);
        let error = chosen(&["int44".into()]).map_err(|error| error.to_string());
        assert!(error.is_err_and(|error| error.starts_with("the table has no format `int44`; it has ")));
        for (i, row) in ROWS.iter().enumerate() {
            assert!(ROWS[..i].iter().all(|other| other.name != row.name), "`{}` comes again", row.name);
        }
        Ok(())
    }

    #[test]
    fn the_page_has_a_place_for_everything() -> Result<()> {
        let page = workspace::shell()?.read_file(PAGE)?;
        for place in ["mnist", "fashion", "limits"] {
            assert!(page.contains(&format!("<!-- {place}:begin -->\n")), "{place}");
            assert!(page.contains(&format!("<!-- {place}:end -->")), "{place}");
        }
        Ok(())
    }
}
