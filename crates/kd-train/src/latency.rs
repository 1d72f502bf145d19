//! Latency of every stage's ONNX file, measured on engines that are not Burn, one thread, files taking turns so that
//! a machine that slows down slows all of them.

use std::path::PathBuf;

use kd_deploy::Session;
use kd_deploy::latency::{Effort, Latency, measure};

use crate::error::Error;
use crate::event::{Event, Sink};
use crate::run::{Done, Run};
use crate::run_dir::{files, json};
use crate::summary::{LatencySummary, Spread, StageSummary};

/// Threads that an engine may use.
const THREADS: usize = 1;

/// Batch sizes that are measured.
const BATCHES: [usize; 2] = [1, 32];

/// Measures all stages and the baseline, and writes their `summary.json` anew with the result.
pub(crate) fn measure_all(
    run: &Run<'_>,
    done: &mut [Done],
    baseline: Option<&mut StageSummary>,
    sink: &mut dyn Sink,
) -> Result<(), Error> {
    let mut rows: Vec<(PathBuf, Vec<usize>, &mut StageSummary)> = (done.iter_mut())
        .map(|done| (run.dir.path().join(&done.folder), done.model.network.example(), &mut done.summary))
        .collect();
    let student = rows.last().map(|(_, example, _)| example.clone());
    if let (Some(baseline), Some(example)) = (baseline, student) {
        rows.push((run.dir.path().join(files::BASELINE), example, baseline));
    }
    for (_, _, summary) in &mut rows {
        summary.latency_ms.clear();
    }
    let largest = BATCHES.into_iter().max().unwrap_or(1);
    let features = run.data.task().features();
    let mut input = Vec::new();
    let most = largest.min(run.data.set.test.len());
    run.data.set.test.rows(&(0..most).collect::<Vec<_>>(), &mut input);
    while input.len() < largest * features {
        input.extend_from_within(..features);
    }
    // Files of one input shape are measured together.
    let mut groups: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
    for (index, (_, example, _)) in rows.iter().enumerate() {
        match groups.iter_mut().find(|(shape, _)| shape == example) {
            Some((_, members)) => members.push(index),
            None => groups.push((example.clone(), vec![index])),
        }
    }
    for engine in &run.env.engines {
        sink.event(Event::Working { what: format!("measuring latency on {}", engine.name()) });
        let mut spreads: Vec<Vec<Spread>> = vec![Vec::new(); rows.len()];
        for (example, members) in &groups {
            let mut sessions: Vec<Box<dyn Session>> = Vec::new();
            for &member in members {
                sessions.push(engine.load(&rows[member].0.join(files::ONNX), THREADS)?);
            }
            for batch in BATCHES {
                let found = measure(&mut sessions, &input, example, batch, Effort::default())?;
                for (&member, Latency { median, p95 }) in members.iter().zip(found) {
                    spreads[member].push(Spread { median, p95 });
                }
            }
        }
        for ((_, _, summary), spreads) in rows.iter_mut().zip(spreads) {
            if let &[batch_1, batch_32] = spreads.as_slice() {
                summary.latency_ms.push(LatencySummary {
                    engine: engine.name().into(),
                    threads: THREADS,
                    batch_1,
                    batch_32,
                });
            }
        }
    }
    for (folder, _, summary) in &rows {
        kd_deploy::write_atomically(&folder.join(files::SUMMARY), &json(summary))?;
    }
    Ok(())
}
