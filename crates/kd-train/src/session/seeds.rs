//! The same recipe under several seeds: a run each, then mean and spread.

use std::path::Path;

use super::Outcome;
use crate::error::Error;
use crate::event::{Event, Sink};
use crate::gates::value;
use crate::recipe::Metric;
use crate::registry::Registry;
use crate::report;
use crate::run::Env;
use crate::run_dir::{Manifest, RunDir, Status, files, json, manifest, read_json};
use crate::session::start;
use crate::summary::{SeedsMetric, SeedsSummary, Summary};

/// Numbers that are compared over seeds.
const METRICS: [Metric; 4] = [Metric::Accuracy, Metric::AccuracyLast, Metric::Errors, Metric::Agreement];

/// Runs what is not yet run, and writes the summary. The split of the data keeps the recipe's seed, so that the spread
/// is that of training.
pub(super) fn run(
    dir: &RunDir,
    whole: &Manifest,
    env: &Env,
    registry: &Registry,
    sink: &mut dyn Sink,
) -> Result<(), Error> {
    let mut summaries = Vec::new();
    for &seed in &whole.seeds {
        let path = dir.path().join(format!("seed-{seed}"));
        let own = match manifest(&path) {
            Ok(own) => own,
            Err(Error::NotARun { .. }) => {
                let fresh = Manifest { seed, seeds: Vec::new(), ..whole.clone() };
                begin(dir.path(), &path, &fresh)?;
                fresh
            }
            Err(error) => return Err(error),
        };
        sink.event(Event::Note(format!("seed {seed}")));
        summaries.push(match own.status {
            Status::Finished => read_json(&path.join(files::SUMMARY))?,
            Status::Unfinished => {
                let run = RunDir::open(&path)?;
                let summary = start::run(&run, &own, env, registry, sink)
                    .map_err(|error| interrupted(error, dir.path()))?;
                run.write_json(files::MANIFEST, &Manifest { status: Status::Finished, ..own })?;
                summary
            }
        });
    }
    let summary = summarize(&whole.name, &whole.seeds, &summaries);
    dir.write_json(files::SUMMARY, &summary)?;
    dir.write(files::REPORT, report::seeds_markdown(&summary).as_bytes())
}

/// A directory for one seed. A kill between its making and its manifest leaves a folder that is simply filled again.
fn begin(whole: &Path, path: &Path, manifest: &Manifest) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(|source| crate::run_dir::io("create", path, source))?;
    for file in [files::RECIPE, files::RESOLVED] {
        let from = whole.join(file);
        std::fs::copy(&from, path.join(file)).map_err(|source| crate::run_dir::io("copy", &from, source))?;
    }
    Ok(kd_deploy::write_atomically(&path.join(files::MANIFEST), &json(manifest))?)
}

/// The line to copy names the whole, not the seed's own directory.
fn interrupted(error: Error, whole: &Path) -> Error {
    match error {
        Error::Interrupted { .. } => Error::Interrupted { run: whole.to_owned() },
        other => other,
    }
}

/// What several runs reached.
pub(super) fn finished(path: &Path) -> Result<Outcome, Error> {
    let summary: SeedsSummary = read_json(&path.join(files::SUMMARY))?;
    let mut missed = 0;
    for seed in &summary.seeds {
        let own: Summary = read_json(&path.join(format!("seed-{seed}")).join(files::SUMMARY))?;
        missed += own.gates.iter().filter(|gate| !gate.met).count();
    }
    Ok(Outcome {
        dir: path.to_owned(),
        report: report::seeds_markdown(&summary),
        json: serde_json::from_slice(&json(&summary)).expect("JSON that was just written"),
        gates_missed: missed,
    })
}

fn summarize(name: &str, seeds: &[u64], runs: &[Summary]) -> SeedsSummary {
    let mut metrics = Vec::new();
    let rows = |run: &Summary| run.stages.iter().chain(&run.baseline).cloned().collect::<Vec<_>>();
    for stage in runs.first().map(rows).unwrap_or_default() {
        for metric in METRICS {
            let values = runs.iter().filter_map(|run| {
                let row = rows(run).into_iter().find(|row| row.name == stage.name)?;
                Some(value(&row, metric))
            });
            metrics.push(spread(&stage.name, metric.name(), values.collect()));
        }
    }
    let notes = comparison(runs).into_iter().collect();
    SeedsSummary { schema: 1, name: name.into(), seeds: seeds.to_vec(), metrics, notes }
}

/// Whether distillation helped, over all seeds.
fn comparison(runs: &[Summary]) -> Option<String> {
    let pairs: Vec<(f64, f64)> = (runs.iter())
        .filter_map(|run| {
            let distilled = run.stages.iter().find(|stage| stage.kind == "distill")?;
            Some((distilled.accuracy, run.baseline.as_ref()?.accuracy))
        })
        .collect();
    if pairs.is_empty() {
        return None;
    }
    let gains = spread("", "", pairs.iter().map(|(distilled, alone)| (distilled - alone) * 100.0).collect());
    let wins = pairs.iter().filter(|(distilled, alone)| distilled > alone).count();
    let verdict = match gains.mean {
        mean if mean <= 0.0 => "The distilled student does not beat the one trained alone",
        mean if gains.std * 2.0 > mean * (pairs.len() as f64).sqrt() => {
            "The distilled student is ahead of the one trained alone, by less than this many seeds can tell"
        }
        _ => "The distilled student beats the one trained alone",
    };
    Some(format!(
        "{verdict}: {:+.2} ± {:.2} points, ahead in {wins} of {} seeds.",
        gains.mean,
        gains.std,
        pairs.len()
    ))
}

fn spread(stage: &str, metric: &str, values: Vec<f64>) -> SeedsMetric {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n.max(1.0);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let std = if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 };
    SeedsMetric { stage: stage.into(), metric: metric.into(), mean, std, values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_the_sample_standard_deviation() {
        let metric = spread("a", "accuracy", vec![1.0, 2.0, 3.0, 6.0]);
        assert_eq!(metric.mean, 3.0);
        assert!((metric.std - (14.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(spread("a", "accuracy", vec![5.0]).std, 0.0);
    }
}
