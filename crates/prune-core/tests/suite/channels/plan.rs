//! Targets, scores and limits.

use burn::tensor::Device;
use kd_graph::axes;
use prune_core::{
    Channels, Comparison, Cost, Error, Limits, Magnitude, Plan, Slice, Unit, Weights, apply,
    mask_equals_remove, plan_axes, predict, score_axis, verify_cut,
};

use crate::nets::{ConvNet, filter_norms, images, plan, share};

/// Largest `keep` of `units`, by score, ties by the lowest index: another way than the crate's.
fn best(scores: &[f64], keep: usize) -> Vec<usize> {
    let mut units: Vec<usize> = (0..scores.len()).collect();
    units.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap());
    units.truncate(keep);
    units.sort_unstable();
    units
}

#[test]
fn half_of_the_channels_go_everywhere() {
    let device = Device::default();
    let net = ConvNet::new(8, 12, &device);
    let graph = net.graph();
    let plan = plan(&net, &graph, Channels::Sparsity(share(0.5)), Limits::default()).unwrap();
    assert_eq!(plan.before, Cost { macs: ConvNet::macs(8, 12), params: ConvNet::params(8, 12) });
    assert_eq!(plan.after, Cost { macs: ConvNet::macs(4, 6), params: ConvNet::params(4, 6) });
    let keep1 = best(&filter_norms(&net.conv1.weight.val()), 4);
    let keep2 = best(&filter_norms(&net.conv2.weight.val()), 6);
    let flattened: Vec<usize> = keep2.iter().flat_map(|unit| unit * 16..unit * 16 + 16).collect();
    let mut expected = vec![
        ("conv1.weight", 0, &keep1),
        ("conv1.bias", 0, &keep1),
        ("conv2.weight", 0, &keep2),
        ("conv2.weight", 1, &keep1),
        ("conv2.bias", 0, &keep2),
        ("head.weight", 0, &flattened),
    ];
    for vector in ["gamma", "beta", "running_mean", "running_var"] {
        let (first, second) = (format!("norm1.{vector}"), format!("norm2.{vector}"));
        expected.push((first.leak(), 0, &keep1));
        expected.push((second.leak(), 0, &keep2));
    }
    expected.sort();
    let slices: Vec<Slice> = plan.cut.slices().collect();
    let found: Vec<_> = slices.iter().map(|slice| (slice.path.as_str(), slice.dim, &slice.keep)).collect();
    assert_eq!(found, expected);
    // Input pixels and classes stay, and the plan says why.
    let paths: Vec<_> = plan.axes.iter().map(|axis| (axis.path.as_str(), axis.size)).collect();
    assert_eq!(paths, [("conv1.weight", 8), ("conv2.weight", 12)]);
    assert!(plan.whole.iter().any(|axis| axis.path == "head.weight" && axis.size == 10), "{:?}", plan.whole);
    assert!(plan.whole.iter().all(|axis| !axis.reason.is_empty()));

    let x = images(16, &device);
    let before = Weights::read(&net);
    let relative = mask_equals_remove(&net, &graph, &plan.cut, |net| net.forward(x.clone())).unwrap();
    assert!(matches!(relative, Comparison::Compared { scale, .. } if scale > 0.1), "{relative:?}");
    assert!(relative.check().unwrap() <= 1e-5);
    assert_eq!(Weights::read(&net), before, "the proof must not touch the module");

    let small = apply(net, &plan.cut).unwrap();
    assert_eq!(small.forward(x).dims(), [16, 10]);
    let captured =
        verify_cut(&small, &graph, &plan.cut, ConvNet::EXAMPLE, |net: &ConvNet, x, _| net.forward(x));
    assert_eq!(captured.unwrap(), predict(&graph, &plan.cut).unwrap().graph);
}

#[test]
fn a_macs_target_is_met_by_the_smallest_share() {
    let net = ConvNet::new(8, 12, &Device::flex());
    let graph = net.graph();
    let before = ConvNet::macs(8, 12);
    // Every share at which a layer loses one more filter, by hand.
    let mut shares: Vec<(usize, usize)> = (0..=24).map(|step| (step, 24)).collect();
    shares.retain(|(step, _)| step % 2 == 0 || step % 3 == 0);
    let widths = |(step, of): (usize, usize)| ((8 - step * 8 / of).max(1), (12 - step * 12 / of).max(1));
    // Between two amounts, the larger has to go: half a multiply-accumulate more than the widths (6, 9) save.
    let between = (before - ConvNet::macs(6, 9)) as f64 + 0.5;
    for target in [between / before as f64, 0.0, 0.01, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.95] {
        let plan = plan(&net, &graph, Channels::Macs(share(target)), Limits::default()).unwrap();
        let met = |&at: &(usize, usize)| {
            let (a, b) = widths(at);
            (before - ConvNet::macs(a, b)) as f64 >= target * before as f64 - 1e-9
        };
        let at = *shares.iter().find(|at| met(at)).unwrap();
        let (a, b) = widths(at);
        let found: Vec<_> = plan.axes.iter().map(|axis| axis.keep.len()).collect();
        assert_eq!(found, [a, b], "target {target}");
        assert!((plan.share - at.0 as f64 / at.1 as f64).abs() < 1e-12, "target {target}: {}", plan.share);
        assert_eq!(plan.after, Cost { macs: ConvNet::macs(a, b), params: ConvNet::params(a, b) });
        assert_eq!(plan.after, Cost::of(&predict(&graph, &plan.cut).unwrap().graph));
    }
}

#[test]
fn a_target_that_cannot_be_met_says_what_can() {
    let net = ConvNet::new(8, 12, &Device::flex());
    let graph = net.graph();
    // One channel each is the least that stays.
    let before = ConvNet::macs(8, 12);
    let most = before - ConvNet::macs(1, 1);
    let error = plan(&net, &graph, Channels::Macs(share(0.99)), Limits::default()).unwrap_err();
    let Error::MacsUnreachable { target, before: found, most: can, .. } = error else { panic!("{error}") };
    assert_eq!((target, found, can), (0.99, before, most));
    let limits = Limits { min_units: 7, ..Limits::default() };
    let error = plan(&net, &graph, Channels::Macs(share(0.5)), limits).unwrap_err();
    let Error::MacsUnreachable { most, .. } = error else { panic!("{error}") };
    assert_eq!(most, before - ConvNet::macs(7, 7));
}

#[test]
fn limits_hold() {
    let net = ConvNet::new(8, 12, &Device::flex());
    let graph = net.graph();
    for (min_units, round_to, sparsity, widths) in [
        (1, 1, 0.0, [8, 12]),
        (1, 1, 0.999, [1, 1]),
        (3, 1, 0.9, [3, 3]),
        (1, 4, 0.4, [8, 8]),
        (1, 4, 0.6, [4, 8]),
        (1, 8, 0.7, [8, 8]),
        // Never more than there are.
        (20, 1, 0.9, [8, 12]),
        (1, 16, 0.9, [8, 12]),
    ] {
        let limits = Limits { min_units, round_to, max_share: None };
        let plan = plan(&net, &graph, Channels::Sparsity(share(sparsity)), limits).unwrap();
        let found: Vec<_> = plan.axes.iter().map(|axis| axis.keep.len()).collect();
        assert_eq!(found, widths, "{limits:?} at {sparsity}");
        assert_eq!(plan.cut.is_empty(), widths == [8, 12]);
    }
    let limits = Limits { max_share: Some(share(0.5)), ..Limits::default() };
    let half = plan(&net, &graph, Channels::Sparsity(share(0.9)), limits).unwrap();
    assert_eq!(half.axes.iter().map(|axis| axis.keep.len()).collect::<Vec<_>>(), [4, 6]);
    for (limits, name) in [
        (Limits { min_units: 0, ..Limits::default() }, "min-units"),
        (Limits { round_to: 0, ..Limits::default() }, "round-to"),
    ] {
        let error = plan(&net, &graph, Channels::Sparsity(share(0.5)), limits).unwrap_err();
        assert_eq!(error, Error::Limit { limit: name });
    }
}

#[test]
fn scores_have_to_rank_the_axis() {
    let net = ConvNet::new(8, 12, &Device::flex());
    let graph = net.graph();
    let target = Channels::Sparsity(share(0.5));
    let with = |scores: fn(usize) -> Vec<f64>| {
        plan_axes(&graph, &axes(&graph), |axis| Ok(scores(axis.size)), target, Limits::default())
    };
    let error = with(|size| vec![0.0; size + 1]).unwrap_err();
    assert_eq!(error, Error::Scores { path: "conv1.weight".into(), expected: 8, found: 9 });
    assert_eq!(with(|size| vec![f64::NAN; size]).unwrap_err(), Error::ScoreNaN { index: 0 });
    // Ties: the lowest indices stay.
    let plan = with(|size| vec![1.0; size]).unwrap();
    assert_eq!(plan.axes[0].keep, [0, 1, 2, 3]);
    assert_eq!(plan.axes[1].keep, [0, 1, 2, 3, 4, 5]);
    let unwritten = score_axis(&Magnitude::default(), &graph, &axes(&graph)[0], &Weights::default());
    assert!(matches!(unwritten, Err(Error::Unwritten { .. })));
    // A recipe that asks for single weights cannot rank channels.
    let elements = Magnitude { unit: Some(Unit::Element), ..Magnitude::default() };
    let error = score_axis(&elements, &graph, &axes(&graph)[0], &Weights::read(&net)).unwrap_err();
    assert_eq!(error.to_string(), "criterion `magnitude` has no scores for the unit `channel`");
}

#[test]
fn a_plan_is_written_and_read() {
    let net = ConvNet::new(4, 4, &Device::flex());
    let graph = net.graph();
    let plan = plan(&net, &graph, Channels::Macs(share(0.3)), Limits::default()).unwrap();
    let written = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&written).unwrap(), plan);
    for (spelling, target) in [
        (r#"{ "sparsity": 0.4 }"#, Channels::Sparsity(share(0.4))),
        (r#"{ "macs": 0.5 }"#, Channels::Macs(share(0.5))),
    ] {
        assert_eq!(serde_json::from_str::<Channels>(spelling).unwrap(), target);
    }
    for (spelling, complaint) in [
        (r#"{ "macs": 1.0 }"#, "share to remove is 1, expected a number of at least 0 and below 1"),
        (r#"{ "flops": 0.5 }"#, "unknown variant `flops`, expected `sparsity` or `macs`"),
    ] {
        let error = serde_json::from_str::<Channels>(spelling).unwrap_err();
        assert!(error.to_string().contains(complaint), "{error}");
    }
    let limits = serde_json::from_str::<Limits>(r#"{ "round-to": 8 }"#).unwrap();
    assert_eq!(limits, Limits { round_to: 8, ..Limits::default() });
}

#[test]
fn pruning_twice_is_one_composed_cut() {
    let device = Device::default();
    let net = ConvNet::new(8, 12, &device);
    let graph = net.graph();
    let target = Channels::Sparsity(share(0.25));
    let first = plan(&net, &graph, target, Limits::default()).unwrap();
    let once = apply(net.clone(), &first.cut).unwrap();
    let second = plan(&once, &once.graph(), target, Limits::default()).unwrap();
    let twice = apply(once, &second.cut).unwrap();
    let cut = first.cut.compose(&second.cut).unwrap();
    let x = images(4, &device);
    mask_equals_remove(&net, &graph, &cut, |net| net.forward(x.clone())).unwrap().check().unwrap();
    assert_eq!(Weights::read(&apply(net, &cut).unwrap()), Weights::read(&twice));
}
