//! The results table of the README, from a run's own `summary.json`.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of a finished run, such as `runs/mnist`
    run: std::path::PathBuf,
}

const BEGIN: &str = "<!-- results:begin -->\n";
const END: &str = "<!-- results:end -->";

#[derive(Deserialize)]
struct Summary {
    name: String,
    stages: Vec<Stage>,
    baseline: Option<Stage>,
    seed: u64,
    device: String,
    wall_s: f64,
    notes: Vec<String>,
}

#[derive(Deserialize)]
struct Stage {
    name: String,
    accuracy: f64,
    errors: usize,
    agreement: f64,
    params: u64,
    macs: u64,
    bytes: u64,
    seconds: f64,
    latency_ms: Vec<Latency>,
}

#[derive(Deserialize)]
struct Latency {
    engine: String,
    batch_1: Spread,
    batch_32: Spread,
}

#[derive(Deserialize)]
struct Spread {
    median: f64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let sh = workspace::shell()?;
    let path = args.run.join("summary.json");
    let text = sh.read_file(&path)?;
    let summary: Summary = serde_json::from_str(&text).with_context(|| format!("`{}`", path.display()))?;
    let readme = sh.read_file("README.md")?;
    let parts = readme.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.context("README.md has no place for results")?;
    ensure!(!summary.stages.is_empty(), "`{}` has no stages", path.display());
    sh.write_file("README.md", format!("{before}{BEGIN}\n{}\n{END}{after}", table(&summary)))?;
    Ok(())
}

/// The teacher, the student alone, the student after each stage; latency on the first engine that all have.
fn table(summary: &Summary) -> String {
    let rows: Vec<&Stage> =
        summary.stages.iter().take(1).chain(&summary.baseline).chain(summary.stages.iter().skip(1)).collect();
    let engines: Vec<&str> = rows[0].latency_ms.iter().map(|latency| latency.engine.as_str()).collect();
    let mut out = String::from(
        "| stage | accuracy | errors | agreement | parameters | MACs | bytes | smaller | seconds |",
    );
    let mut rule = String::from("| --- | --: | --: | --: | --: | --: | --: | --: | --: |");
    for engine in &engines {
        out += &format!(" {engine}, ms at batch 1 / 32 |");
        rule += " --: |";
    }
    out += &format!("\n{rule}\n");
    for stage in &rows {
        let smaller = rows[0].bytes as f64 / stage.bytes as f64;
        out += &format!(
            "| {} | {:.2} % | {} | {:.2} % | {} | {} | {} | {smaller:.1}× | {:.0} |",
            stage.name,
            stage.accuracy * 100.0,
            stage.errors,
            stage.agreement * 100.0,
            stage.params,
            stage.macs,
            stage.bytes,
            stage.seconds,
        );
        for engine in &engines {
            let latency = stage.latency_ms.iter().find(|latency| latency.engine == *engine);
            out += &latency.map_or(" |".to_owned(), |latency| {
                format!(" {:.3} / {:.2} |", latency.batch_1.median, latency.batch_32.median)
            });
        }
        out.push('\n');
    }
    let notes: Vec<String> = summary.notes.iter().map(|note| format!("- {note}\n")).collect();
    format!(
        "{out}\n`configs/{}.toml`, seed {}, device `{}`, {:.0} s of work in all.\n\n{}",
        summary.name,
        summary.seed,
        summary.device,
        summary.wall_s,
        notes.concat()
    )
}
