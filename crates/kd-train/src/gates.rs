//! Gates: a recipe's promises, held against its results.

use crate::recipe::{Gate, Metric};
use crate::summary::{GateResult, StageSummary, Summary};

/// Holds every gate against the summary. A gate names a stage or `baseline`; the recipe's check has seen to it that
/// there is one.
pub(crate) fn check(gates: &[Gate], summary: &Summary) -> Vec<GateResult> {
    let results = gates.iter().filter_map(|gate| {
        let stages = summary.stages.iter().chain(&summary.baseline);
        let stage = stages.into_iter().find(|stage| stage.name == gate.stage)?;
        let value = value(stage, gate.metric);
        let met = gate.min.is_none_or(|min| value >= min) && gate.max.is_none_or(|max| value <= max);
        let gate_name = format!("{}.{}", gate.stage, gate.metric.name());
        Some(GateResult { gate: gate_name, value, min: gate.min, max: gate.max, met })
    });
    results.collect()
}

/// A stage's number by its name in `summary.json`.
pub(crate) fn value(stage: &StageSummary, metric: Metric) -> f64 {
    match metric {
        Metric::Accuracy => stage.accuracy,
        Metric::AccuracyLast => stage.accuracy_last,
        Metric::Errors => stage.errors as f64,
        Metric::Params => stage.params as f64,
        Metric::Nonzero => stage.nonzero as f64,
        Metric::Macs => stage.macs as f64,
        Metric::Bytes => stage.bytes as f64,
        Metric::Agreement => stage.agreement,
        // The recipe's check lets this one name stages that pack, and no others.
        Metric::PackedRatio => stage.packed.as_ref().map_or(0.0, |packed| packed.ratio),
    }
}
