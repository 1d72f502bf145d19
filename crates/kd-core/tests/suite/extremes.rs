//! Where losses of other toolkits become NaN or infinite: every registered loss stays finite in value and gradient, or
//! says why it has none.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device};
use kd_core::loss::TABLE;

use crate::golden_losses::{Array, evaluate, golden, numbers, read};

type Inputs = BTreeMap<String, Array>;

/// Changes the inputs of every golden case of every loss, and looks for values and gradients that are not finite.
fn all_finite(what: &str, dtype: DType, change: impl Fn(&str, &mut Inputs)) {
    let mut problems = Vec::new();
    for row in TABLE {
        let golden = golden(row.name);
        // What reproduces another toolkit's defect has it.
        for case in golden.cases.iter().filter(|case| !case.loss.contains("compat")) {
            let mut inputs = golden.inputs(&case.name);
            change(row.name, &mut inputs);
            // A refusal that says what is wrong is an answer.
            let Ok(found) = evaluate(read(&case.loss).as_ref(), &inputs, &Device::flex(), dtype) else {
                continue;
            };
            let value = numbers(found.value.into());
            let gradients = found.gradients.into_iter().map(|(name, x)| (name, numbers(x)));
            for (name, x) in [("value".to_owned(), value)].into_iter().chain(gradients) {
                if x.iter().any(|x| !x.is_finite()) {
                    problems.push(format!("{} {}: {name} with {what}", row.name, case.name));
                }
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Logits that are surer of one class than of all others by `gap`: the student of the first, the teacher of the last,
/// so that each finds the other's answer impossible.
fn far_apart(inputs: &mut Inputs, gap: f64) {
    for (name, x) in inputs.iter_mut().filter(|(name, _)| name.ends_with("logits")) {
        let classes = *x.shape.last().unwrap();
        let sure = if name.starts_with("student") { 0 } else { classes - 1 };
        for (i, x) in x.numbers.iter_mut().enumerate() {
            *x = if i % classes == sure { gap } else { 0.01 * (i % 7) as f64 };
        }
    }
}

fn features(inputs: &mut Inputs) -> impl Iterator<Item = &mut Array> {
    let feature = |name: &str| {
        (name.starts_with("student.") || name.starts_with("teacher.")) && !name.contains("indices")
    };
    inputs.iter_mut().filter(move |(name, _)| feature(name)).map(|(_, x)| x)
}

#[test]
fn a_gap_of_500_between_logits() {
    all_finite("a gap of 500", DType::F32, |_, inputs| far_apart(inputs, 500.0));
}

#[test]
fn a_gap_of_50_between_logits_in_half_precision() {
    all_finite("a gap of 50", DType::F16, |loss, inputs| {
        // The derivative of PKT's `f / (‖f‖ + 1e-7)` at a vector of zeros is more than half precision holds.
        if loss == "pkt" {
            features(inputs).for_each(|x| x.numbers.iter_mut().filter(|x| **x == 0.0).for_each(|x| *x = 0.5));
        }
        // Features of golden vectors that are meant to be large do not fit half precision.
        features(inputs).for_each(|x| x.numbers.iter_mut().for_each(|x| *x = x.clamp(-4.0, 4.0)));
        far_apart(inputs, 50.0);
    });
}

#[test]
fn zero_vectors() {
    all_finite("zeros everywhere", DType::F32, |_, inputs| {
        features(inputs).for_each(|x| x.numbers.fill(0.0));
    });
    all_finite("a student of zeros", DType::F32, |_, inputs| {
        let student = inputs.iter_mut().filter(|(name, _)| name.starts_with("student."));
        student.for_each(|(_, x)| x.numbers.fill(0.0));
    });
}

#[test]
fn one_example() {
    all_finite("one example", DType::F32, |_, inputs| {
        let Some(batch) = inputs.get("student.logits").or(inputs.values().next()).map(|x| x.shape[0]) else {
            return;
        };
        for (name, x) in
            inputs.iter_mut().filter(|(name, x)| !name.starts_with("connector.") && x.shape[0] == batch)
        {
            let _ = name;
            x.numbers.truncate(x.numbers.len() / batch);
            x.shape[0] = 1;
        }
    });
}

#[test]
fn all_masked_rows() {
    all_finite("nothing that counts", DType::F32, |_, inputs| {
        if let Some(mask) = inputs.get_mut("mask") {
            mask.numbers.fill(0.0);
        }
    });
}
