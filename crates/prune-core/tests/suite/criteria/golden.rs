//! Scores, masks and updated weights against numbers that somebody else's code wrote, in the precision of the inputs.

use std::collections::BTreeMap;

use prune_core::{Array, Named, Output, TABLE};
use serde::Deserialize;
use serde_json::Value;

use super::{criterion, removal};

#[derive(Deserialize)]
struct Golden {
    header: Header,
    tensors: Vec<Numbers>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Header {
    tolerance: Tolerance,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Tolerance {
    f64: f64,
    f32: f64,
    weight_f32: f64,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    source: String,
    dtype: String,
    criterion: Value,
    pattern: Option<String>,
    inputs: BTreeMap<String, usize>,
    outputs: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
struct Numbers {
    shape: Vec<usize>,
    values: Vec<f64>,
}

#[derive(Deserialize)]
struct Expected {
    shape: Vec<usize>,
    values: Option<Vec<f64>>,
    mask: Option<String>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../golden/criteria.json")).unwrap()
}

#[test]
fn criteria_equal_their_golden_vectors() {
    let golden = golden();
    let mut wrong = Vec::new();
    for case in &golden.cases {
        if let Err(difference) = check(case, &golden) {
            wrong.push(format!("{} {} ({}): {difference}", case.name, case.dtype, case.source));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), golden.cases.len(), wrong.join("\n"));
}

fn check(case: &Case, golden: &Golden) -> Result<(), String> {
    let single = case.dtype == "f32";
    let read = |(name, index): (&String, &usize)| {
        let Numbers { shape, values } = &golden.tensors[*index];
        // Single precision inputs are stored in their shortest decimals.
        let values = values.iter().map(|&x| if single { f64::from(x as f32) } else { x }).collect();
        (name.clone(), Array { shape: shape.clone(), values })
    };
    let inputs: Named = case.inputs.iter().map(read).collect();
    let pattern = case.pattern.as_deref().map(removal);
    let found = inputs
        .evaluate(&criterion(case.criterion.clone()), pattern.as_ref())
        .map_err(|error| error.to_string())?;
    for (name, expected) in &case.outputs {
        let found = found.get(name).ok_or_else(|| format!("there is no `{name}`"))?;
        match (found, &expected.values, &expected.mask) {
            (Output::Mask { shape, keep }, None, Some(mask)) => {
                let bits: String = keep.iter().map(|&keep| if keep == 1 { '1' } else { '0' }).collect();
                if (shape, &bits) != (&expected.shape, mask) {
                    return Err(format!(
                        "`{name}` {shape:?}\n  is  {bits}\n  not {mask} {:?}",
                        expected.shape
                    ));
                }
            }
            (Output::Numbers(Array { shape, values }), Some(numbers), None) => {
                let Tolerance { f64, f32, weight_f32 } = golden.header.tolerance;
                let tolerance = match (single, name.ends_with("weight")) {
                    (true, true) => weight_f32,
                    (true, false) => f32,
                    (false, _) => f64,
                };
                let largest = numbers.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
                let apart = values.iter().zip(numbers).fold(0.0, |most: f64, (a, b)| most.max((a - b).abs()));
                if *shape != expected.shape || values.len() != numbers.len() || apart > tolerance * largest {
                    return Err(format!("`{name}` {shape:?} is {:e} of the largest apart", apart / largest));
                }
            }
            _ => return Err(format!("`{name}` is of another kind")),
        }
    }
    // SparseGPT has no scores of its own, and public code may not print all that we have.
    let complete = case.source != "formula" || found.keys().eq(case.outputs.keys());
    if complete { Ok(()) } else { Err(format!("there are {:?}", found.keys())) }
}

#[test]
fn every_criterion_has_golden_vectors_in_both_precisions() {
    let golden = golden();
    for entry in TABLE {
        for dtype in ["f64", "f32"] {
            let has = |case: &&Case| case.dtype == dtype && case.criterion.get(entry.name).is_some();
            assert!(golden.cases.iter().any(|case| has(&case)), "{} in {dtype}", entry.name);
        }
    }
    // What the definitions are compared with besides: public code, where there is some that runs.
    let public = |name: &str| {
        golden
            .cases
            .iter()
            .any(|case| case.source.starts_with("public") && case.criterion.get(name).is_some())
    };
    for name in ["magnitude", "lamp", "bn-scale", "fpgm", "taylor", "wanda", "sparsegpt", "obs", "owl"] {
        assert!(public(name), "{name}");
    }
}
