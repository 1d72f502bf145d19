//! What can go wrong between a module and its graph.

use thiserror::Error;

/// An error of this crate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// The forward pass panicked while it was recorded.
    #[error(
        "the forward pass cannot be recorded{}: {} (no kernel runs while recording, so it must not read values of \
         tensors back to the host, seed a device or make tensors on a device other than its input's)",
        behind.as_ref().map(|operation| format!(" behind {operation}")).unwrap_or_default(), line(message)
    )]
    Forward {
        /// What the panic said.
        message: String,
        /// The last operation before it, with its weight's path if it has one.
        behind: Option<String>,
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

impl Error {
    /// What a forward pass did that was only tried, with other sizes than the model's own, and that stopped: whose answer
    /// is the place, and not how a layer words its refusal.
    pub fn in_short(&self) -> String {
        match self {
            Error::Forward { message, behind } if is_shape_check(message) => match behind {
                Some(operation) => format!("what follows {operation} does not take the sizes that it meets"),
                None => "the first operation does not take the sizes that it meets".into(),
            },
            Error::Forward { message, .. } => line(message),
            other => line(&other.to_string()),
        }
    }

    /// The same where the operation at which it stopped is known.
    pub(crate) fn in_short_at(&self, operation: &str) -> String {
        match self {
            Error::Forward { message, .. } if is_shape_check(message) => {
                format!("{operation} does not take the sizes that it meets")
            }
            _ => self.in_short(),
        }
    }
}

/// Whether a panic is one of Burn's checks of shapes, whose text is about tensors and goes over many lines. What a model
/// says in words of its own is worth repeating.
fn is_shape_check(message: &str) -> bool {
    message.contains("Tensor Operation Error") || message.starts_with("assert_shape!")
}

/// One line, whatever the message was.
fn line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn list(sites: &[String]) -> String {
    match sites {
        [] => "none".into(),
        _ => sites.iter().map(|site| format!("`{site}`")).collect::<Vec<_>>().join(", "),
    }
}
