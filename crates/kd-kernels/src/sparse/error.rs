//! What keeps a weight from being stored in a pattern: data from outside, so it is a value and not a panic.

use std::fmt;

use super::{Blocks, Groups};

/// Why a weight does not have a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatternError {
    /// A slice has another length than the shape says.
    Length {
        /// The weight or its mask.
        what: &'static str,
        /// Outputs and inputs.
        shape: [usize; 2],
        /// Numbers in the slice.
        found: usize,
    },
    /// No inputs, or more than an index can name.
    Inputs {
        /// Outputs and inputs.
        shape: [usize; 2],
    },
    /// Not a number to keep of a number of inputs.
    Keep {
        /// Inputs kept.
        keep: usize,
        /// Inputs of a group.
        of: usize,
    },
    /// A group has more weights than the pattern keeps.
    Group {
        /// The output.
        row: usize,
        /// The first input of the group.
        column: usize,
        /// Weights that are not zero, or that the mask keeps.
        found: usize,
        /// Inputs kept.
        keep: usize,
        /// Inputs of a group.
        of: usize,
    },
    /// A mask keeps a part of a block.
    Block {
        /// An output whose weight the mask keeps.
        kept: usize,
        /// An output of the same block whose weight it removes.
        removed: usize,
        /// The input.
        column: usize,
    },
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Length { what, shape: shape @ [outputs, inputs], found } => {
                let expected = outputs.saturating_mul(inputs);
                write!(f, "expected {expected} numbers for a {what} of {shape:?}, found {found}")
            }
            Self::Inputs { shape } => {
                write!(f, "expected between 1 and {} inputs, found a weight of {shape:?}", u32::MAX)
            }
            Self::Keep { keep, of } => {
                write!(f, "expected 1 ≤ keep ≤ of ≤ {}, found keep = {keep}, of = {of}", Groups::MOST)
            }
            Self::Group { row, column, found, keep, of } => write!(
                f,
                "expected at most {keep} of {of} weights in row {row} from column {column} on, found {found}; prune \
                 the weight to this pattern first"
            ),
            Self::Block { kept, removed, column } => write!(
                f,
                "expected whole blocks of {} rows by one column, found a mask that in column {column} keeps row {kept} \
                 and removes row {removed}; prune the weight by blocks first",
                Blocks::ROWS
            ),
        }
    }
}

impl std::error::Error for PatternError {}

/// That a weight, or its mask, has the numbers of its shape and inputs that can be counted.
pub(super) fn check(what: &'static str, found: usize, shape: [usize; 2]) -> Result<(), PatternError> {
    let [outputs, inputs] = shape;
    if inputs == 0 || u32::try_from(inputs).is_err() {
        return Err(PatternError::Inputs { shape });
    }
    match outputs.checked_mul(inputs) {
        Some(expected) if expected == found => Ok(()),
        _ => Err(PatternError::Length { what, shape, found }),
    }
}
