//! One criterion on saved tensors: scores, masks and weights, so that anyone can compare it with their own code.

mod example;

use std::collections::BTreeMap;

use prune_core::{Array, Entry, Input, Named, Output};
pub use prune_core::{Builtin, Criterion, Removal};

use crate::error::Error;
use crate::problem::{Problem, Problems};
use crate::tensors::{Numbers, Stored};

pub use example::{example, pattern_of};
pub use prune_core::{Needs, Removes, TABLE};

/// The criterion that a line of TOML names, `wanda = { group = "row" }`.
///
/// # Errors
///
/// A line that is no TOML, that names no criterion or an unknown one, knobs that do not exist or are out of range.
pub fn parse(line: &str) -> Result<Builtin, Error> {
    crate::recipe::one_criterion(line).map_err(|problem: Box<Problem>| {
        Error::Problems(Problems { name: "--criterion".into(), text: line.into(), list: vec![*problem] })
    })
}

/// What a line of words removes, `keep=2 of=4`.
///
/// # Errors
///
/// [`Error::PrunePattern`].
pub fn pattern(text: &str) -> Result<Removal, Error> {
    text.parse().map_err(Error::PrunePattern)
}

/// What a criterion gives, by name: `scores`, `mask`, `weight` and `sparsity`, after `layers.K.` where there are layers.
///
/// Computed in f64. Numbers have the precision of the inputs, f64 where any that is read is; a mask is bytes, 1 for what
/// stays.
///
/// # Errors
///
/// An input that is missing, of a name that is nearly one of an input, or of a type, a shape or numbers that the criterion
/// can do nothing with; a result that the precision does not hold; a pattern that it cannot remove by.
pub fn evaluate(
    criterion: &Builtin,
    removal: Option<&Removal>,
    tensors: &BTreeMap<String, Stored>,
) -> Result<BTreeMap<String, Stored>, Error> {
    misspelt(tensors.keys())?;
    let read = |name: &str| Named::is_read(criterion, name);
    let mut double = false;
    for (name, tensor) in tensors.iter().filter(|(name, _)| read(name)) {
        // Codes of zero are whole numbers; everything else is measured.
        if matches!(tensor.numbers, Numbers::Int(_)) && !name.ends_with("quant.zero") {
            let found = format!("{} of shape {:?}", tensor.kind(), tensor.shape);
            return Err(Error::PruneKind { name: name.clone(), found });
        }
        double |= matches!(tensor.numbers, Numbers::F64(_));
    }
    let array = |(name, stored): (&String, &Stored)| {
        let values = if read(name) { stored.to_f64() } else { Vec::new() };
        (name.clone(), Array { shape: stored.shape.clone(), values })
    };
    let named: Named = tensors.iter().map(array).collect();
    let outputs = named
        .evaluate(criterion, removal)
        .map_err(|source| error(criterion.entry(), source, tensors.keys().cloned().collect()))?;
    outputs.into_iter().map(|(name, output)| Ok((name.clone(), stored(&name, output, double)?))).collect()
}

/// Letters by which a name may differ from another one to look like it.
const SLIP: usize = 2;

/// Refuses a name that is nearly one that criteria read: an optional input would be missed without a word. Other names
/// are those of other things, and left alone.
fn misspelt<'a>(names: impl Iterator<Item = &'a String>) -> Result<(), Error> {
    for name in names {
        let rest = name.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
        let (number, tensor) = rest.map_or((None, name.as_str()), |(number, tensor)| (Some(number), tensor));
        // A layer's number is a whole one without zeros in front.
        let plain = |number: &str| number.parse::<usize>().is_ok_and(|parsed| parsed.to_string() == number);
        let far = |known: &&str| strsim::osa_distance(tensor, known);
        let Some(known) = Named::names().min_by_key(far).filter(|known| far(known) <= SLIP) else { continue };
        if known != tensor || !number.is_none_or(plain) {
            let known = number.map_or_else(|| known.to_owned(), |_| format!("layers.K.{known}"));
            return Err(Error::PruneName { name: name.clone(), known });
        }
    }
    Ok(())
}

/// A result as the file holds it: numbers in the precision of the inputs, each finite there too.
fn stored(name: &str, output: Output, double: bool) -> Result<Stored, Error> {
    let Array { shape, values } = match output {
        Output::Mask { shape, keep } => return Ok(Stored { shape, numbers: Numbers::U8(keep) }),
        Output::Numbers(array) => array,
    };
    if double {
        return Ok(Stored { shape, numbers: Numbers::F64(values) });
    }
    if let Some(index) = values.iter().position(|&value| !(value as f32).is_finite()) {
        return Err(Error::PruneRange { name: name.into(), index, value: values[index] });
    }
    Ok(Stored { shape, numbers: Numbers::F32(values.into_iter().map(|x| x as f32).collect()) })
}

/// What is wrong, as who asked for it needs it: what is missing with its shape, and which part of the request it is.
fn error(entry: &'static Entry, source: prune_core::Error, found: Vec<String>) -> Error {
    match source {
        prune_core::Error::Missing { input } => {
            let layered = input.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
            let tensor = layered.map_or(input.as_str(), |(_, tensor)| tensor);
            let fits = |it: &&Input| it.name.strip_prefix("layers.K.").unwrap_or(it.name) == tensor;
            let shape = entry.inputs.iter().find(fits).map(|it| it.shape.join(", "));
            let input = shape.map_or(input.clone(), |shape| format!("{input} [{shape}]"));
            Error::PruneInput { criterion: entry.name, input, found }
        }
        reason @ (prune_core::Error::Unit { .. }
        | prune_core::Error::UnitKnob { .. }
        | prune_core::Error::Pattern { .. }) => {
            Error::PruneRemoves { reason, patterns: entry.removes.patterns() }
        }
        source => Error::PruneTensor(source),
    }
}
