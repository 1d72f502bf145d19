//! Trained scores and their masks against the code of block movement pruning's authors, step by step.
#![allow(clippy::unwrap_used, reason = "tests")]

use burn::tensor::Device;
use prune_core::Magnitude;
use serde_json::Value;

use super::*;
use crate::model::Task;
use crate::models::{Transformer, TransformerConfig};
use crate::network::{Built, seeded};

/// Written by `tools/golden/movement/run.py`.
const GOLDEN: &str = include_str!("../../tests/golden/movement.json");

/// The weights of a layer, by the names of the vectors; the last two share units.
const WEIGHTS: [&str; 6] =
    ["attention.query", "attention.key", "attention.value", "attention.output", "hidden", "output"];

fn path(name: &str) -> String {
    format!("layers.0.{name}.weight")
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn student(knobs: &Value) -> Box<dyn Network> {
    let size = |name: &str| knobs[name].as_u64().unwrap() as usize;
    let (width, feed_forward) = (size("width"), size("feed-forward"));
    let config = TransformerConfig { width, layers: 1, heads: 2, feed_forward, vocabulary: 5 };
    let (task, device) = (Task { input: vec![3], classes: 2 }, Device::flex());
    seeded(&device, 1, || Built::<Transformer>::build("transformer", &config, &task, &device)).unwrap()
}

fn sparsifier(knobs: &Value, student: &dyn Network, shape: &str, way: &str) -> Sparsifier {
    let steps = knobs["steps"].as_u64().unwrap() as usize;
    let shape: Shape = toml::from_str(shape).unwrap();
    let when = When::Way(toml::from_str(way).unwrap());
    let calendar = Calendar::new(&when, shape.sparsity(), steps, Some(1), None);
    Sparsifier::new(shape, Arc::new(Magnitude::default()), (when, calendar), student, Masks::new()).unwrap()
}

/// Plays the products of every step to a sparsifier and holds scores and masks against the authors'.
fn check(name: &str, shape: &str, way: &str, weights: &[&str], masks_at: impl Fn(usize) -> bool) {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let knobs = &golden["knobs"];
    let cases = golden["cases"].as_array().unwrap();
    let case = cases.iter().find(|case| case["name"] == name).unwrap();
    let fill = |text: &str| {
        knobs.as_object().unwrap().iter().fold(text.to_owned(), |text, (knob, value)| {
            text.replace(&format!("<{knob}>"), &value.to_string())
        })
    };
    let student = student(knobs);
    let sparsifier = sparsifier(knobs, student.as_ref(), &fill(shape), &fill(way));
    let mut memory = Memory::default();
    let mut held = 0;
    for (step, expected) in case["steps"].as_array().unwrap().iter().enumerate() {
        let masks = sparsifier.tightened(student.as_ref(), step, &memory, &Masks::new()).unwrap();
        for weight in weights.iter().filter(|_| masks_at(step)) {
            let expected = expected["masks"][weight].as_str().unwrap();
            let found: String =
                masks[&path(weight)].iter().map(|&keep| if keep { '1' } else { '0' }).collect();
            assert_eq!(found, expected, "{name}: mask of {weight} before step {step}");
            held += expected.matches('0').count();
        }
        let Some(products) = golden["products"].get(step) else { continue };
        let products = WEIGHTS.iter().map(|weight| {
            let values = numbers(&products[weight]);
            (path(weight), Array::new(vec![values.len()], values).unwrap())
        });
        sparsifier.learn(&mut memory, &products.collect(), step);
        for weight in weights {
            let expected = numbers(&expected["scores"][weight]);
            let part = sparsifier.parts.iter().find(|part| part.units(&path(weight)).is_some()).unwrap();
            let found = memory.get(Kind::Scores, &part.name).unwrap();
            assert_eq!(found.len(), expected.len(), "{name}: scores of {weight}");
            let far = |(x, y): &(&f32, &f32)| (*x - *y).abs() > 1e-5 * y.abs().max(1.0);
            let far = found.iter().zip(&expected).find(far);
            assert_eq!(far, None, "{name}: scores of {weight} behind step {step}");
        }
    }
    assert!(held > 100, "{name}: only {held} masked elements were compared");
}

#[test]
fn hybrid_scores_and_masks_are_those_of_the_authors() {
    check(
        "hybrid",
        "hybrid = { rows = <rows>, columns = <columns>, sparsity = 1.0 }",
        "soft-movement = { threshold = <threshold>, regularisation = <regularisation>, units = <units>, rate = <rate>, begin = <begin>, end = <end> }",
        &WEIGHTS,
        |_| true,
    );
}

#[test]
fn tiles_of_a_fixed_share_are_those_of_the_authors() {
    // They count what stays and round down, here what goes is; both agree once the share is final. The authors turn the
    // tiles of the attention's output, as the hybrid alone does here.
    let weights = WEIGHTS.map(|weight| if weight == "attention.output" { "hidden" } else { weight });
    check(
        "top",
        "block = { rows = <rows>, columns = <columns>, sparsity = <sparsity> }",
        "movement = { scores = \"adam\", begin = <begin>, end = <end> }",
        &weights,
        |step| step >= 20,
    );
}
