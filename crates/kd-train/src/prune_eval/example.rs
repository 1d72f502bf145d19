//! Tensors that a criterion can be tried on, from what it says about its inputs.

use prune_core::{Entry, Input, Removes};

use crate::loss_eval::{Content, Example};

/// Tensors that the criterion can be computed from, with small sizes; two layers where it compares layers.
pub fn example(entry: &Entry) -> Vec<Example> {
    let mut all = Vec::new();
    for input in entry.inputs.iter().filter(|input| is_shown(entry, input)) {
        let shape: Vec<usize> =
            input.shape.iter().enumerate().map(|(i, name)| size(name, &input.shape[..i])).collect();
        let content = if input.name == "hessian" { Content::Positive } else { Content::Normal };
        let names = match input.name.strip_prefix("layers.K.") {
            Some(tensor) => vec![format!("layers.0.{tensor}"), format!("layers.1.{tensor}")],
            None => vec![input.name.to_owned()],
        };
        all.extend(names.into_iter().map(|name| Example { name, shape: shape.clone(), content }));
    }
    all
}

/// A pattern to try the criterion with, if it takes one.
pub fn pattern_of(entry: &Entry) -> Option<&'static str> {
    match entry.removes {
        Removes::Any | Removes::Elements => Some("unstructured sparsity=0.5"),
        Removes::Channels => Some("channels sparsity=0.5"),
        Removes::Sweep => Some("keep=2 of=4"),
        Removes::Ratios | Removes::Nothing => None,
    }
}

/// Whether an input is among those of the example: of two that can stand for each other, the usual one.
fn is_shown(entry: &Entry, input: &Input) -> bool {
    match entry.name {
        "movement" => matches!(input.name, "weight" | "grad"),
        "obd" => input.name != "hessian",
        _ => !input.optional,
    }
}

/// A size for a word of a shape, behind the words before it.
fn size(word: &str, before: &[&str]) -> usize {
    match word {
        "out" | "channels" => 8,
        "in" => 16,
        "samples" => 32,
        "steps" => 4,
        _ if before.contains(&"out") => 16,
        _ => 4,
    }
}
