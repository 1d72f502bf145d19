//! What cannot be done is an error that says what is missing or does not fit, and where.

use serde_json::{Value, json};

use super::{array, criterion, named, noise, removal};

fn error(tensors: &prune_core::Named, spelling: Value, pattern: Option<&str>) -> String {
    let removal = pattern.map(removal);
    tensors.evaluate(&criterion(spelling), removal.as_ref()).unwrap_err().to_string()
}

#[test]
fn a_missing_tensor_is_named() {
    let weight = || array(&[2, 3], noise(1, 6));
    let one = named([("weight", weight())]);
    for (spelling, input) in [
        (json!({ "taylor": {} }), "grad"),
        (json!({ "snip": {} }), "grad"),
        (json!({ "movement": {} }), "grad"),
        (json!({ "wanda": {} }), "activations"),
        (json!({ "sparsegpt": {} }), "activations"),
        (json!({ "obd": {} }), "grads"),
        (json!({ "obs": {} }), "grads"),
        (json!({ "bn-scale": {} }), "bn.weight"),
        (json!({ "group-fisher": {} }), "activations"),
        (json!({ "activation-norm": {} }), "activations"),
        (json!({ "owl": { "sparsity": 0.5 } }), "activations"),
    ] {
        let expected = format!("the criterion reads `{input}`, which is not there");
        assert_eq!(error(&one, spelling, None), expected);
    }
    assert_eq!(
        error(&named([]), json!({ "magnitude": {} }), None),
        "the criterion reads `weight`, which is not there"
    );
    let activations = || array(&[4, 3], noise(2, 12));
    let bits = named([("weight", weight()), ("activations", activations())]);
    let found = error(&bits, json!({ "sparsegpt": { "bits": 4 } }), Some("keep=1 of=3"));
    assert_eq!(found, "the criterion reads `quant.scale`, which is not there");
    let fisher = named([("activations", activations())]);
    let found = error(&fisher, json!({ "group-fisher": {} }), None);
    assert_eq!(found, "the criterion reads `grad.activations`, which is not there");
    // Layers are named, and have no gaps.
    let layers = named([
        ("layers.0.weight", weight()),
        ("layers.0.activations", activations()),
        ("layers.1.weight", weight()),
    ]);
    assert_eq!(
        error(&layers, json!({ "wanda": {} }), None),
        "the criterion reads `layers.1.activations`, which is not there"
    );
    let gap = named([("layers.0.weight", weight()), ("layers.2.weight", weight())]);
    assert_eq!(
        error(&gap, json!({ "magnitude": {} }), None),
        "the criterion reads `layers.1`, which is not there"
    );
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let tensors = |other: &str, shape: &[usize]| {
        let count = shape.iter().product();
        named([
            ("weight", array(&[2, 3], noise(1, 6))),
            ("activations", array(&[4, 3], noise(2, 12))),
            (other, array(shape, noise(3, count))),
        ])
    };
    for (other, shape, spelling, complaint) in [
        ("grad", vec![3, 2], json!({ "taylor": {} }), "`grad` has the shape [3, 2], expected [2, 3]"),
        (
            "grads",
            vec![5, 3, 2],
            json!({ "obs": {} }),
            "`grads` has the shape [5, 3, 2], expected [samples, …] of [2, 3]",
        ),
        ("grads", vec![5], json!({ "obd": {} }), "`grads` has the shape [5], expected [samples, out, …]"),
        ("grads", vec![0, 2, 3], json!({ "obs": {} }), "`grads` is empty"),
        ("hessian", vec![6], json!({ "obd": {} }), "`hessian` has the shape [6], expected [2, 3]"),
        (
            "activations",
            vec![4, 2],
            json!({ "wanda": {} }),
            "`activations` has the shape [4, 2], expected [samples, 3]",
        ),
        (
            "activations",
            vec![3],
            json!({ "sparsegpt": {} }),
            "`activations` has the shape [3], expected [samples, 3]",
        ),
        ("activations", vec![0, 3], json!({ "wanda": {} }), "`activations` is empty"),
        (
            "activations",
            vec![3],
            json!({ "activation-norm": {} }),
            "`activations` has the shape [3], expected [samples, channels, …]",
        ),
        (
            "grad.activations",
            vec![4, 2],
            json!({ "group-fisher": {} }),
            "`grad.activations` has the shape [4, 2], expected [4, 3]",
        ),
        ("weight", vec![], json!({ "magnitude": {} }), "`weight` has no dimension 0, its rank is 0"),
    ] {
        let found = error(&tensors(other, &shape), spelling, None);
        assert!(found.starts_with(complaint), "{found}");
    }
    let members = named([
        ("layers.0.activations", array(&[2, 3], noise(1, 6))),
        ("layers.0.grad.activations", array(&[2, 3], noise(2, 6))),
        ("layers.1.activations", array(&[2, 4], noise(3, 8))),
        ("layers.1.grad.activations", array(&[2, 4], noise(4, 8))),
    ]);
    let found = error(&members, json!({ "group-fisher": {} }), None);
    assert_eq!(found, "`layers.1.activations` has 4 channels, the members before it 3");
    let steps =
        named([("weights", array(&[2, 3, 1], noise(1, 6))), ("grads", array(&[1, 3, 1], noise(2, 3)))]);
    assert_eq!(
        error(&steps, json!({ "movement": {} }), None),
        "`grads` has 1 steps, the members before it 2"
    );
}

#[test]
fn numbers_that_are_none_are_found() {
    let tensors = |values: Vec<f64>| {
        named([("weight", array(&[1, 3], values)), ("grad", array(&[1, 3], vec![0.0; 3]))])
    };
    let found = error(&tensors(vec![0.0, f64::NAN, 1.0]), json!({ "snip": {} }), None);
    assert_eq!(found, "`weight` is NaN at element 1, expected finite numbers");
    let grad = named([
        ("weight", array(&[1, 3], vec![0.0; 3])),
        ("grad", array(&[1, 3], vec![0.0, 0.0, f64::INFINITY])),
    ]);
    let found = error(&grad, json!({ "snip": {} }), None);
    assert_eq!(found, "`grad` is inf at element 2, expected finite numbers");
}

#[test]
fn patterns_and_criteria_that_do_not_go_together_are_refused() {
    let tensors = named([
        ("weight", array(&[2, 4], noise(1, 8))),
        ("activations", array(&[4, 4], noise(2, 16))),
        ("bn.weight", array(&[2], noise(3, 2))),
    ]);
    for (spelling, pattern, complaint) in [
        (
            json!({ "fpgm": {} }),
            "unstructured sparsity=0.5",
            "criterion `fpgm` has no scores for the unit `element`",
        ),
        (
            json!({ "bn-scale": {} }),
            "rows sparsity=0.5",
            "criterion `bn-scale` has no scores for the unit `element`",
        ),
        (
            json!({ "wanda": {} }),
            "channels sparsity=0.5",
            "criterion `wanda` has no scores for the unit `channel`",
        ),
        (
            json!({ "sparsegpt": {} }),
            "channels sparsity=0.5",
            "criterion `sparsegpt` has no scores for the unit `channel`",
        ),
        (
            json!({ "magnitude": { "unit": "channel" } }),
            "keep=2 of=4",
            "`unit = \"channel\"` of criterion `magnitude` scores by channel, and the pattern `keep=2 of=4` removes by element",
        ),
        (
            json!({ "sparsegpt": {} }),
            "block 1x2 sparsity=0.5",
            "criterion `sparsegpt` cannot remove by the pattern `block 1x2 sparsity=0.5`, expected `unstructured`",
        ),
        (
            json!({ "sparsegpt": {} }),
            "unstructured sparsity=0.5 scope=global",
            "criterion `sparsegpt` cannot remove by the pattern `unstructured sparsity=0.5 scope=global`",
        ),
        (
            json!({ "threshold": { "value": 0.5 } }),
            "unstructured sparsity=0.5",
            "criterion `threshold` cannot remove by the pattern `unstructured sparsity=0.5`, expected none",
        ),
        (
            json!({ "owl": { "sparsity": 0.5 } }),
            "keep=2 of=4",
            "criterion `owl` cannot remove by the pattern `keep=2 of=4`, expected none",
        ),
    ] {
        let found = error(&tensors, spelling, Some(pattern));
        assert!(found.starts_with(complaint), "{found}");
    }
}

#[test]
fn a_matrix_without_an_inverse_asks_for_damping() {
    let tensors = named([
        ("weight", array(&[1, 3], vec![1.0, 2.0, 3.0])),
        ("activations", array(&[1, 3], vec![1.0, 1.0, 1.0])),
        ("grads", array(&[1, 1, 3], vec![1.0, 1.0, 1.0])),
        ("quant.scale", array(&[1], vec![0.0])),
        ("quant.zero", array(&[1], vec![0.0])),
    ]);
    let expected = "the second derivatives of `weight` cannot be inverted with `damping` 0; raise it";
    assert_eq!(error(&tensors, json!({ "sparsegpt": { "damping": 0.0 } }), Some("keep=1 of=3")), expected);
    assert_eq!(error(&tensors, json!({ "obs": { "damping": 0.0 } }), Some("keep=1 of=3")), expected);
    let found = error(&tensors, json!({ "sparsegpt": { "bits": 4 } }), Some("keep=1 of=3"));
    assert_eq!(found, "`quant.scale` is 0 at row 0, expected a number above 0");
    let one = named([("weight", array(&[1], vec![1.0]))]);
    let found = error(&one, json!({ "threshold": { "sigma": 1.0 } }), None);
    assert_eq!(found, "`weight` has 1 elements, expected at least 2 for a standard deviation; give `value`");
}

#[test]
fn a_range_of_sparsities_without_room_says_which_one_fits() {
    // Layer 1 has an outlier and layer 0 has none: they lie `lambda` above and below `sparsity`.
    let tensors = named([
        ("layers.0.weight", array(&[1, 8], vec![1.0; 8])),
        ("layers.0.activations", array(&[1, 8], vec![1.0; 8])),
        ("layers.1.weight", array(&[1, 8], vec![9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])),
        ("layers.1.activations", array(&[1, 8], vec![1.0; 8])),
    ]);
    let owl = |lambda: f64| json!({ "owl": { "sparsity": 0.95, "m": 2.0, "lambda": lambda } });
    assert_eq!(
        error(&tensors, owl(0.5), None),
        "layer 0 would have the sparsity 1.4500, expected 0 to 1: `lambda` is 0.5 around `sparsity` 0.95; with these \
         layers `lambda` may be 0.05 at most"
    );
    assert!(tensors.evaluate(&criterion(owl(0.05)), None).is_ok());
}
