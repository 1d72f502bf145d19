//! Axes that are ranked together, against a sort of all their units.

use burn::tensor::Device;
use kd_graph::{Axis, axes};
use prune_core::{BnScale, Channels, Error, Limits, Plan, Ranked, plan_scoped};

use crate::nets::{ConvNet, share};

/// Scores of the two layers of a [`ConvNet`] of 8 and 12 channels; no two are equal.
fn scores(size: usize) -> Vec<f64> {
    (0..size).map(|unit| ((size + unit) as f64 * 2.3).sin() + if size == 8 { 0.4 } else { 0.0 }).collect()
}

fn plan(target: Channels, limits: Limits, ranked: Ranked) -> Plan {
    let net = ConvNet::new(8, 12, &Device::flex());
    let graph = net.graph();
    plan_scoped(&graph, &axes(&graph), |axis| Ok(scores(axis.size)), target, limits, ranked).unwrap()
}

fn keeps(plan: &Plan) -> Vec<Vec<usize>> {
    plan.axes.iter().map(|axis| axis.keep.clone()).collect()
}

/// What stays when the `removed` lowest of all 20 units go.
fn sorted(removed: usize) -> Vec<Vec<usize>> {
    let mut all: Vec<(f64, usize, usize)> = Vec::new();
    for (axis, size) in [8, 12].into_iter().enumerate() {
        all.extend(scores(size).into_iter().enumerate().map(|(unit, score)| (score, axis, unit)));
    }
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut kept = vec![Vec::new(), Vec::new()];
    all[removed..].iter().for_each(|&(_, axis, unit)| kept[axis].push(unit));
    kept.iter_mut().for_each(|units| units.sort_unstable());
    kept
}

#[test]
fn a_global_ranking_takes_the_lowest_of_all() {
    for (sparsity, removed) in [(0.0, 0), (0.25, 5), (0.5, 10), (0.6, 12)] {
        let plan = plan(Channels::Sparsity(share(sparsity)), Limits::default(), Ranked::Global);
        assert_eq!(keeps(&plan), sorted(removed), "{sparsity}");
    }
    let local = plan(Channels::Sparsity(share(0.5)), Limits::default(), Ranked::Local);
    assert_eq!(keeps(&local).iter().map(Vec::len).collect::<Vec<_>>(), [4, 6]);
}

#[test]
fn limits_hold_in_a_global_ranking_and_take_nothing_from_others() {
    let limits = Limits { min_units: 7, ..Limits::default() };
    let found = plan(Channels::Sparsity(share(0.6)), limits, Ranked::Global);
    let free = sorted(12);
    for (axis, keep) in keeps(&found).iter().enumerate() {
        assert_eq!(keep.len(), free[axis].len().max(7).min(found.axes[axis].size));
    }
    let limits = Limits { max_share: Some(share(0.25)), ..Limits::default() };
    let found = plan(Channels::Sparsity(share(0.9)), limits, Ranked::Global);
    assert_eq!(keeps(&found).iter().map(Vec::len).collect::<Vec<_>>(), [6, 9]);
}

#[test]
fn a_target_in_macs_is_met_by_the_fewest_units_of_a_global_ranking() {
    let before = ConvNet::macs(8, 12);
    for target in [0.1, 0.3, 0.5] {
        let found = plan(Channels::Macs(share(target)), Limits::default(), Ranked::Global);
        let met = |removed: &usize| {
            let widths: Vec<usize> = sorted(*removed).iter().map(|keep| keep.len().max(1)).collect();
            (before - ConvNet::macs(widths[0], widths[1])) as f64 >= target * before as f64
        };
        let removed = (0..20).find(met).unwrap();
        assert_eq!(keeps(&found), sorted(removed), "{target}");
        assert!((found.share - removed as f64 / 20.0).abs() < 1e-12);
    }
}

#[test]
fn layers_of_another_kind_are_not_ranked_together() {
    // One layer is read by a convolution, the other one by a linear layer.
    let target = Channels::Sparsity(share(0.5));
    let isomorphic = plan(target, Limits::default(), Ranked::Isomorphic);
    assert_eq!(keeps(&isomorphic), keeps(&plan(target, Limits::default(), Ranked::Local)));
    assert_ne!(keeps(&isomorphic), keeps(&plan(target, Limits::default(), Ranked::Global)));
}

#[test]
fn axes_without_scores_stay_whole_unless_none_has_any() {
    let net = ConvNet::new(8, 12, &Device::flex());
    let graph = net.graph();
    let none =
        |axis: &Axis| Error::Unwritten { path: axis.members[0].path.clone(), criterion: "bn-scale".into() };
    let half = Channels::Sparsity(share(0.5));
    let first = |axis: &Axis| if axis.size == 8 { Ok(scores(8)) } else { Err(none(axis)) };
    let plan = plan_scoped(&graph, &axes(&graph), first, half, Limits::default(), Ranked::Local).unwrap();
    assert_eq!(plan.axes.len(), 1);
    let reason = "`bn-scale` finds nothing to score on the axis of `conv2.bias`";
    assert!(plan.whole.iter().any(|axis| axis.size == 12 && axis.reason.starts_with(&reason[..40])));
    let nothing =
        plan_scoped(&graph, &axes(&graph), |axis| Err(none(axis)), half, Limits::default(), Ranked::Local);
    assert!(matches!(nothing, Err(Error::Unwritten { .. })), "{:?}", BnScale {});
}
