//! What holds for every input: exact counts, scale and order that do not matter, and updates that are worth it.

use prune_core::{Criterion, Inputs, Matrix, Norm, Obs, Samples, SparseGpt, Unit, Update, hessian};
use serde_json::json;

use super::{array, criterion, mask, named, noise, numbers, removal};

/// `‖X(W − V)ᵀ‖²` of a layer's outputs.
fn error(w: &[f64], v: &[f64], x: &[f64], columns: usize) -> f64 {
    let difference: Vec<f64> = w.iter().zip(v).map(|(w, v)| w - v).collect();
    let outputs = difference.chunks(columns).flat_map(|row| {
        x.chunks(columns).map(move |sample| row.iter().zip(sample).map(|(d, x)| d * x).sum::<f64>())
    });
    outputs.map(|output| output * output).sum()
}

/// Inputs whose columns have to do with each other: each is the one before it, and noise.
fn inputs(seed: u64, samples: usize, columns: usize) -> Vec<f64> {
    let mut x = noise(seed, samples * columns);
    for row in x.chunks_mut(columns) {
        for j in 1..columns {
            row[j] += 0.9 * row[j - 1];
        }
    }
    x
}

#[test]
fn sparsegpt_leaves_less_error_than_magnitude_on_inputs_that_it_has_not_seen() {
    let (rows, columns) = (12, 32);
    for seed in 0..5 {
        let weight = noise(seed, rows * columns);
        let held = inputs(seed + 100, 200, columns);
        let tensors = named([
            ("weight", array(&[rows, columns], weight.clone())),
            ("activations", array(&[200, columns], inputs(seed + 200, 200, columns))),
        ]);
        for pattern in
            ["unstructured sparsity=0.5", "unstructured sparsity=0.8", "keep=2 of=4", "keep=1 of=5"]
        {
            let left = |spelling| {
                let found = tensors.evaluate(&criterion(spelling), Some(&removal(pattern))).unwrap();
                let zeros = mask(&found, "mask").iter().zip(numbers(&found, "weight"));
                assert!(zeros.clone().all(|(&keep, &w)| keep == 1 || w == 0.0));
                error(&weight, numbers(&found, "weight"), &held, columns)
            };
            let (sweep, size) =
                (left(json!({ "sparsegpt": { "block-size": 16 } })), left(json!({ "magnitude": {} })));
            assert!(sweep < size, "{pattern}, seed {seed}: {sweep} {size}");
        }
    }
}

#[test]
fn sparsegpt_keeps_as_many_as_it_says() {
    let (rows, columns) = (5, 23);
    let tensors = named([
        ("weight", array(&[rows, columns], noise(1, rows * columns))),
        ("activations", array(&[64, columns], noise(2, 64 * columns))),
    ]);
    for size in [1, 4, 7, 23, 128] {
        let knobs = criterion(json!({ "sparsegpt": { "block-size": size } }));
        let kept = |pattern: &str| {
            let found = tensors.evaluate(&knobs, Some(&removal(pattern))).unwrap();
            mask(&found, "mask").to_vec()
        };
        let keep = kept("unstructured sparsity=0.6");
        for start in (0..columns).step_by(size) {
            let end = columns.min(start + size);
            let gone =
                keep.chunks(columns).flat_map(|row| &row[start..end]).filter(|&&keep| keep == 0).count();
            assert_eq!(gone, (0.6 * (rows * (end - start)) as f64 + 1e-9) as usize);
        }
        // Groups do not care where blocks end.
        assert_eq!(kept("keep=2 of=5"), tensors_of_one_block(&tensors, "keep=2 of=5"));
        for row in kept("keep=2 of=5").chunks(columns) {
            assert!(row.chunks(5).all(|group| group.iter().filter(|&&keep| keep == 1).count() == 2));
        }
    }
}

fn tensors_of_one_block(tensors: &prune_core::Named, pattern: &str) -> Vec<u8> {
    let knobs = criterion(json!({ "sparsegpt": { "block-size": 1000 } }));
    let found = tensors.evaluate(&knobs, Some(&removal(pattern))).unwrap();
    mask(&found, "mask").to_vec()
}

#[test]
fn a_sweep_takes_the_rounding_of_its_caller() {
    let weight = Matrix::new("w", 3, 8, &noise(3, 24)).unwrap();
    let x = Samples::new("x", &[40, 8], &noise(4, 320)).unwrap();
    let h = hessian(&x, 8).unwrap();
    let pattern = "keep=2 of=4".parse().unwrap();
    let prune_core::Removal::Elements(pattern) = pattern else { unreachable!("n:m is of elements") };
    let rounded = SparseGpt::default()
        .sweep_with(&weight, h, &pattern, |row, column, w| {
            assert!(row < 3 && column < 8);
            (w * 4.0).round() / 4.0
        })
        .unwrap();
    let (keep, left) = (rounded.keep.unwrap(), rounded.weight.unwrap());
    assert!(left.iter().all(|w| (w * 4.0).fract() == 0.0));
    assert!(keep.iter().zip(&left).all(|(keep, w)| *keep || *w == 0.0));
    // Half of the codes are there at all: rounding alone would have left most of these weights.
    assert_eq!(keep.iter().filter(|&&keep| keep).count(), 12);
}

#[test]
fn the_joint_update_is_the_best_there_is() {
    let (count, samples) = (12, 40);
    let weight = Matrix::new("w", 3, 4, &noise(5, count)).unwrap();
    let grads: Vec<Matrix> =
        (0..samples).map(|i| Matrix::new("g", 3, 4, &noise(i + 50, count)).unwrap()).collect();
    let inputs = Inputs::new(&weight).with_grads(&grads);
    let keep: Vec<bool> = (0..count).map(|i| i % 3 != 0).collect();
    // ½ δᵀFδ, what the quadratic model says that a change costs.
    let cost = |left: &[f64]| {
        let change: Vec<f64> = left.iter().zip(weight.values()).map(|(a, b)| a - b).collect();
        let of = |g: &Matrix| g.values().iter().zip(&change).map(|(g, d)| g * d).sum::<f64>().powi(2);
        grads.iter().map(of).sum::<f64>() / (2.0 * samples as f64)
    };
    let left = |update| {
        let obs = Obs { update, ..Obs::default() };
        obs.update(&inputs, &keep).map_or_else(
            || weight.values().iter().zip(&keep).map(|(&w, &keep)| if keep { w } else { 0.0 }).collect(),
            |left| left.unwrap(),
        )
    };
    let joint: Vec<f64> = left(Update::Joint);
    let best = cost(&joint);
    assert!(best < cost(&left(Update::Sum)) && best < cost(&left(Update::None)));
    for i in (0..count).filter(|&i| keep[i]) {
        for step in [-1e-3, 1e-3] {
            let mut other = joint.clone();
            other[i] += step;
            assert!(best < cost(&other), "{i} {step}");
        }
    }
    // A single weight's joint update is the published one, and costs its score.
    let one: Vec<bool> = (0..count).map(|i| i != 7).collect();
    let obs = Obs { damping: prune_core::NonNegative::new(0.0).unwrap(), ..Obs::default() };
    let scores = obs.scores(&inputs, Unit::Element).unwrap();
    let left = obs.update(&inputs, &one).unwrap().unwrap();
    assert!((cost(&left) - scores[7]).abs() < 1e-12 * scores[7]);
}

#[test]
fn scale_changes_no_order_where_it_should_not() {
    let (w, g) = (noise(6, 24), noise(7, 24));
    let x = noise(8, 30 * 6);
    let evaluate = |spelling: serde_json::Value, factor: f64, what: &str| {
        let scaled = |values: &[f64]| values.iter().map(|value| value * factor).collect::<Vec<f64>>();
        let tensors = named([
            ("weight", array(&[4, 6], if what == "weight" { scaled(&w) } else { w.clone() })),
            ("grad", array(&[4, 6], if what == "grad" { scaled(&g) } else { g.clone() })),
            ("activations", array(&[30, 6], if what == "activations" { scaled(&x) } else { x.clone() })),
        ]);
        let found = tensors.evaluate(&criterion(spelling), None).unwrap();
        numbers(&found, "scores").to_vec()
    };
    // The score's power of what is scaled.
    for (spelling, what, power) in [
        (json!({ "magnitude": { "p": 1 } }), "weight", 1),
        (json!({ "magnitude": { "p": 2 } }), "weight", 2),
        (json!({ "lamp": {} }), "weight", 0),
        (json!({ "fpgm": {} }), "weight", 1),
        (json!({ "taylor": { "form": "sum-abs" } }), "grad", 1),
        (json!({ "taylor": { "form": "square-sum" } }), "grad", 2),
        (json!({ "snip": { "normalize": true } }), "grad", 0),
        (json!({ "snip": {} }), "weight", 1),
        (json!({ "movement": {} }), "grad", 1),
        (json!({ "wanda": {} }), "activations", 1),
        (json!({ "sparsegpt": {} }), "activations", 2),
        (json!({ "sparsegpt": {} }), "weight", 2),
        (json!({ "random": {} }), "weight", 0),
    ] {
        // A power of two scales without rounding.
        let (plain, scaled) = (evaluate(spelling.clone(), 1.0, what), evaluate(spelling.clone(), 4.0, what));
        for (plain, scaled) in plain.iter().zip(scaled) {
            let expected = plain * 4_f64.powi(power);
            assert!((scaled - expected).abs() <= 1e-12 * expected.abs(), "{spelling}: {scaled} {expected}");
        }
    }
}

#[test]
fn scores_follow_a_permutation_of_rows_and_columns() {
    let (rows, columns) = (5, 6);
    let (row, column) = ([3, 0, 4, 1, 2], [5, 2, 0, 3, 1, 4]);
    let matrix = |values: &[f64]| -> Vec<f64> {
        row.iter()
            .flat_map(|&i| column.iter().map(move |&j| (i, j)))
            .map(|(i, j)| values[i * columns + j])
            .collect()
    };
    let samples = |values: &[f64]| -> Vec<f64> {
        values.chunks(columns).flat_map(|sample| column.map(|j| sample[j])).collect()
    };
    let (w, g, x) = (noise(9, rows * columns), noise(10, rows * columns), noise(11, 20 * columns));
    let tensors = |w: Vec<f64>, g: Vec<f64>, x: Vec<f64>| {
        named([
            ("weight", array(&[rows, columns], w)),
            ("grad", array(&[rows, columns], g)),
            ("activations", array(&[20, columns], x)),
        ])
    };
    let (plain, moved) =
        (tensors(w.clone(), g.clone(), x.clone()), tensors(matrix(&w), matrix(&g), samples(&x)));
    for (spelling, channels) in [
        (json!({ "magnitude": {} }), false),
        (json!({ "magnitude": { "unit": "channel" } }), true),
        (json!({ "lamp": {} }), false),
        (json!({ "fpgm": {} }), true),
        (json!({ "taylor": { "form": "abs-sum" } }), true),
        (json!({ "snip": {} }), false),
        (json!({ "movement": {} }), false),
        (json!({ "wanda": {} }), false),
    ] {
        let of = |tensors: &prune_core::Named| {
            numbers(&tensors.evaluate(&criterion(spelling.clone()), None).unwrap(), "scores").to_vec()
        };
        let (plain, moved) = (of(&plain), of(&moved));
        let expected = if channels { row.iter().map(|&i| plain[i]).collect() } else { matrix(&plain) };
        for (moved, expected) in moved.iter().zip(&expected) {
            assert!((moved - expected).abs() <= 1e-13 * expected.abs(), "{spelling}");
        }
    }
}

#[test]
fn wanda_cuts_rows_unless_told_otherwise() {
    let tensors = named([
        ("weight", array(&[2, 4], vec![1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0])),
        ("activations", array(&[1, 4], vec![1.0; 4])),
    ]);
    let kept = |spelling, pattern: &str| {
        mask(&tensors.evaluate(&criterion(spelling), Some(&removal(pattern))).unwrap(), "mask").to_vec()
    };
    let half = "unstructured sparsity=0.5";
    assert_eq!(kept(json!({ "wanda": {} }), half), [0, 0, 1, 1, 0, 0, 1, 1]);
    assert_eq!(kept(json!({ "wanda": { "group": "layer" } }), half), [0, 0, 0, 0, 1, 1, 1, 1]);
    assert_eq!(
        kept(json!({ "wanda": {} }), "unstructured sparsity=0.5 scope=global"),
        [0, 0, 0, 0, 1, 1, 1, 1]
    );
    // The total of a row is floored, row by row.
    assert_eq!(kept(json!({ "wanda": {} }), "unstructured sparsity=0.4"), [0, 1, 1, 1, 0, 1, 1, 1]);
}

#[test]
fn lamp_lets_no_layer_run_empty_before_another_loses_its_largest() {
    let tensors = named([
        ("layers.0.weight", array(&[1, 4], vec![1e-3, 2e-3, -3e-3, 1e-3])),
        ("layers.1.weight", array(&[1, 4], vec![1.0, -2.0, 3.0, 4.0])),
    ]);
    let kept = |spelling, layer: &str| {
        let found =
            tensors.evaluate(&criterion(spelling), Some(&removal("unstructured sparsity=0.75 scope=global")));
        mask(&found.unwrap(), layer).iter().filter(|&&keep| keep == 1).count()
    };
    assert_eq!(kept(json!({ "magnitude": {} }), "layers.0.mask"), 0);
    assert_eq!(kept(json!({ "lamp": {} }), "layers.0.mask"), 1);
    assert_eq!(kept(json!({ "lamp": {} }), "layers.1.mask"), 1);
    // Equal weights have equal scores.
    let found = tensors.evaluate(&criterion(json!({ "lamp": {} })), None).unwrap();
    let scores = numbers(&found, "layers.0.scores");
    assert_eq!(scores[0], scores[3]);
    assert_eq!(scores[2], 1.0);
}

#[test]
fn layers_are_random_apart_from_each_other() {
    let layer = || array(&[2, 3], vec![0.0; 6]);
    let tensors = named([("layers.0.weight", layer()), ("layers.1.weight", layer())]);
    let found = tensors.evaluate(&criterion(json!({ "random": {} })), None).unwrap();
    assert_ne!(numbers(&found, "layers.0.scores"), numbers(&found, "layers.1.scores"));
}

#[test]
fn the_unit_is_the_patterns_or_the_usual_one() {
    let both = || named([("weight", array(&[2, 3], noise(12, 6))), ("grad", array(&[2, 3], noise(13, 6)))]);
    let count = |spelling, pattern: Option<&str>| {
        let removal = pattern.map(removal);
        numbers(&both().evaluate(&criterion(spelling), removal.as_ref()).unwrap(), "scores").len()
    };
    assert_eq!(count(json!({ "magnitude": {} }), None), 6);
    assert_eq!(count(json!({ "magnitude": {} }), Some("channels sparsity=0.5")), 2);
    assert_eq!(count(json!({ "taylor": {} }), None), 2);
    assert_eq!(count(json!({ "taylor": { "unit": "element" } }), None), 6);
    assert_eq!(count(json!({ "taylor": {} }), Some("keep=1 of=3")), 6);
    assert_eq!(prune_core::Magnitude { p: Norm::L2, unit: Some(Unit::Channel) }.usual_unit(), Unit::Element);
}
