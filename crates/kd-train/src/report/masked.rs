//! What a mask buys, in a sentence: the time of a sparsified stage beside that of the same network without its zeros.
//!
//! A mask leaves shapes as they are, and the engines that run our files multiply zeros like other numbers. Sparsity that
//! costs accuracy and saves no time is easily taken for a gain, so the report says what was measured, and whether
//! `kd-kernels` has a product that would skip the zeros of this pattern.

use prune_core::{Block, Pattern};

use crate::sparsify::Shape;
use crate::summary::{StageSummary, Summary};

/// A smaller gain is called none: latencies of equal files differ by as much.
const GAIN: f64 = 1.05;

/// The product of `kd-kernels` that skips the zeros of a pattern, if there is one.
///
/// Tiles whose height is a multiple of four, and whole columns, consist of blocks of four outputs by one input.
/// A hybrid shape has tiles of two heights and whole units; a later stage takes out what is empty.
pub(crate) fn kernel(shape: &Shape) -> Option<&'static str> {
    let Shape::Each(pattern) = shape else { return None };
    match pattern {
        Pattern::Block(Block { rows, .. }) if rows.get().is_multiple_of(4) => Some("4×1 blocks"),
        Pattern::Columns(_) => Some("4×1 blocks"),
        Pattern::NM(_) => Some("n:m"),
        Pattern::Block(_) | Pattern::Unstructured(_) | Pattern::Rows(_) | Pattern::Random(_) => None,
    }
}

/// A sentence for each stage that sparsifies.
pub(super) fn notes(summary: &Summary) -> Vec<String> {
    let stages = summary.stages.iter().enumerate();
    stages.filter_map(|(at, stage)| note(stage, dense(summary, at))).collect()
}

/// The student as it was before its first mask, with the shapes that it has in stage `at`; else the student alone.
fn dense(summary: &Summary, at: usize) -> Option<&StageSummary> {
    let stage = &summary.stages[at];
    let same = |other: &&StageSummary| {
        other.nonzero == other.params && (other.params, other.macs) == (stage.params, stage.macs)
    };
    let before = summary.stages[..at].iter().skip(1).rev().find(same);
    before.or_else(|| summary.baseline.as_ref().filter(same))
}

fn note(stage: &StageSummary, dense: Option<&StageSummary>) -> Option<String> {
    let sparse = stage.sparse.as_ref()?;
    let mut times = Vec::new();
    let mut gains = false;
    for latency in &stage.latency_ms {
        let other = dense.and_then(|dense| dense.latency_ms.iter().find(|l| l.engine == latency.engine));
        let Some(other) = other else { continue };
        let (own, other) = (latency.batch_32.median, other.batch_32.median);
        gains |= other / own >= GAIN;
        times.push(format!("{own:.3} ms against {other:.3} ms on {}", latency.engine));
    }
    let measured = match (dense, times.is_empty()) {
        (Some(dense), false) => format!(
            "32 examples take {} (`{}`, which has the same shapes and no masks)",
            times.join(", "),
            dense.name
        ),
        _ => "engines multiply zeros like other numbers".to_owned(),
    };
    let verdict = if gains { "measured beside the dense network" } else { "buys no time in these files" };
    let kernel = match &sparse.kernel {
        Some(kernel) => {
            format!("`kd-kernels` has a product for {kernel}, which a program has to call itself")
        }
        None => "`kd-kernels` has no product that skips such zeros".to_owned(),
    };
    Some(format!("`{}`, {}, {verdict}: {measured}; {kernel}.", stage.name, sparse.pattern))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use prune_core::Removal;

    use super::*;
    use crate::summary::{LatencySummary, SparseSummary, Spread};

    fn stage(name: &str, nonzero: u64, ms: f64, sparse: Option<SparseSummary>) -> StageSummary {
        let spread = Spread { median: ms, p95: ms };
        let latency =
            LatencySummary { engine: "tract".into(), threads: 1, batch_1: spread, batch_32: spread };
        StageSummary {
            name: name.into(),
            kind: if sparse.is_some() { "sparsify" } else { "distill" }.into(),
            accuracy: 0.9,
            accuracy_last: 0.9,
            errors: 1,
            examples: 10,
            params: 100,
            nonzero,
            macs: 1000,
            bytes: 400,
            agreement: 1.0,
            seconds: 1.0,
            latency_ms: vec![latency],
            rounded: None,
            packed: None,
            nothing_removed: None,
            sparse,
        }
    }

    fn summary(stages: Vec<StageSummary>) -> Summary {
        Summary {
            schema: 1,
            name: "x".into(),
            stages,
            baseline: None,
            parity: Vec::new(),
            seed: 1,
            device: "flex".into(),
            wall_s: 1.0,
            notes: Vec::new(),
            gates: Vec::new(),
        }
    }

    fn sparse(pattern: &str) -> SparseSummary {
        let Removal::Elements(pattern) = pattern.parse().unwrap() else { panic!("a mask") };
        SparseSummary {
            pattern: pattern.to_string(),
            masked: 50,
            elements: 90,
            kernel: kernel(&pattern.into()).map(str::to_owned),
        }
    }

    #[test]
    fn every_mask_is_held_against_the_dense_student_before_it() {
        let stages = vec![
            stage("teacher", 100, 9.0, None),
            stage("distill", 100, 0.5, None),
            stage("sparse", 50, 0.49, Some(sparse("unstructured sparsity=0.5"))),
            stage("again", 40, 0.4, Some(sparse("keep=2 of=4"))),
        ];
        assert_eq!(
            notes(&summary(stages)),
            [
                "`sparse`, unstructured sparsity=0.5, buys no time in these files: 32 examples take 0.490 ms against \
                 0.500 ms on tract (`distill`, which has the same shapes and no masks); `kd-kernels` has no product \
                 that skips such zeros.",
                "`again`, keep=2 of=4, measured beside the dense network: 32 examples take 0.400 ms against 0.500 ms on \
                 tract (`distill`, which has the same shapes and no masks); `kd-kernels` has a product for n:m, which a \
                 program has to call itself.",
            ]
        );
    }

    #[test]
    fn a_first_stage_has_nothing_beside_it() {
        let stages = vec![
            stage("teacher", 100, 9.0, None),
            stage("sparse", 50, 0.5, Some(sparse("block 4x1 sparsity=0.5"))),
        ];
        assert_eq!(
            notes(&summary(stages)),
            [
                "`sparse`, block 4x1 sparsity=0.5, buys no time in these files: engines multiply zeros like other \
                 numbers; `kd-kernels` has a product for 4×1 blocks, which a program has to call itself."
            ]
        );
    }

    #[test]
    fn kernels_are_those_that_skip_the_zeros() {
        for (pattern, expected) in [
            ("block 8x2 sparsity=0.5", Some("4×1 blocks")),
            ("block 2x4 sparsity=0.5", None),
            ("columns sparsity=0.5", Some("4×1 blocks")),
            ("rows sparsity=0.5", None),
            ("keep=1 of=4", Some("n:m")),
        ] {
            assert_eq!(sparse(pattern).kernel.as_deref(), expected, "{pattern}");
        }
    }
}
