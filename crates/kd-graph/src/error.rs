//! What can go wrong between a module and its graph.

use thiserror::Error;

/// An error of this crate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The forward pass panicked while it was recorded.
    #[error(
        "the forward pass cannot be recorded: {message} (no kernel runs while recording, so it must not read values \
         of tensors back to the host, seed a device or make tensors on a device other than its input's)"
    )]
    Forward {
        /// What the panic said.
        message: String,
    },

    /// A tensor is not part of the recorded computation.
    #[error("{what} is not computed on the device of the input: make new tensors on `input.device()`")]
    Foreign {
        /// Which tensor.
        what: String,
    },

    /// The recording device refused the result.
    #[error("the recorded operations do not connect the input to the output: {reason}")]
    Recording {
        /// What the device said.
        reason: String,
    },

    /// Two recordings with different batch sizes do not agree.
    #[error(
        "the forward pass depends on the batch size: {what} is {first} at batch {first_batch} and {second} at batch \
         {second_batch}, expected equal numbers, or multiples of the batch size in shapes"
    )]
    BatchDependent {
        /// What differs: an operation, a dimension, a constant.
        what: String,
        /// Smaller batch size.
        first_batch: usize,
        /// What was found there.
        first: String,
        /// Larger batch size.
        second_batch: usize,
        /// What was found there.
        second: String,
    },

    /// No named site supplies the data of an operation.
    #[error(
        "{operation} reads no site: expected one between it and the nearest operation before it that is not max \
         pooling, relu, reshape, permute or slice; sites there are: {}",
        list(sites)
    )]
    NoSite {
        /// The operation, with its weight's path if it has one.
        operation: String,
        /// All sites of the graph.
        sites: Vec<String>,
    },
}

fn list(sites: &[String]) -> String {
    match sites {
        [] => "none".into(),
        _ => sites.iter().map(|site| format!("`{site}`")).collect::<Vec<_>>().join(", "),
    }
}
