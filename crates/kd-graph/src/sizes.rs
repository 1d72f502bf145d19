//! Sizes of the input that the model leaves to the data, told from those that it fixes.
//!
//! A recording has numbers alone: 28 may be the height of an image or the width of a layer. So each dimension of the
//! input is recorded at another size too. Where the forward pass goes through with the same operations, whatever
//! changes its size with the input belongs to the data, as the number of tokens does, and with it all constants that the
//! forward pass makes for it. Where it does not, the size is the model's.

use serde::{Deserialize, Serialize};

use crate::draft::Draft;
use crate::graph::{Dim, Graph, ValueId};

/// A dimension of the model's input, other than the batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputDim {
    /// Which.
    pub dim: usize,
    /// Its size in the example.
    pub size: usize,
    /// Why the model takes no other size, if it does not.
    pub fixed: Option<Refusal>,
}

/// Why a size of the input is the model's: which other one was tried, and what the forward pass said or did.
///
/// Refusals are equal, whatever they say: they repeat messages of layers, with numbers that a cut of the model changes.
#[derive(Debug, Clone, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Refusal(pub String);

impl PartialEq for Refusal {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Sizes to try in the place of one: the double, which divides by whatever the size divides by, and then half, which
/// fits a table of positions that is as long as the example. None is one, along which tensors are repeated to any size.
pub(crate) fn trials(size: usize) -> impl Iterator<Item = usize> {
    [2 * size, size.div_ceil(2)].into_iter().filter(move |&tried| tried > 1 && tried != size)
}

/// The dimensions of each value of `one` whose size is another one in `two`; or how the operations of the two differ.
pub(crate) fn changed(one: &Draft, two: &Draft) -> Result<Vec<Vec<usize>>, String> {
    if let Some((what, one, two)) = one.difference(two) {
        return Err(format!("{what} is {two} and not {one}"));
    }
    let shapes = one.values.iter().zip(&two.values).map(|(one, two)| (&one.shape, &two.shape));
    let changed = shapes.map(|(one, two)| match one.len() == two.len() {
        true => Ok((0..one.len()).filter(|&d| one[d] != two[d]).collect()),
        false => Err(format!("a value of shape {one:?} has another rank")),
    });
    changed.collect()
}

impl Graph {
    /// Whether the size of a dimension is the data's alone.
    ///
    /// A multiple of a size of the input may hold units of the model too, as the result of a flatten does.
    pub(crate) fn of_data(&self, value: ValueId, dim: usize) -> bool {
        let value = self.value(value);
        let Dim::Fixed(size) = value.shape[dim] else { return false };
        let multiple = |input: &InputDim| size > input.size && size.is_multiple_of(input.size);
        let mut open = self.input_dims.iter().filter(|input| input.fixed.is_none() && input.size > 1);
        value.varies.contains(&dim) && !open.any(multiple)
    }
}
