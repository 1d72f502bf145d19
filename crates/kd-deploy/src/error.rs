//! What can go wrong on the way from a graph to an artifact that another engine runs.

use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried: `read`, `write`, `rename`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The number of elements does not fit the shape.
    #[error("expected {expected} elements for shape {shape:?}, found {found}")]
    ArrayLength {
        /// The shape.
        shape: Vec<usize>,
        /// Product of the shape.
        expected: usize,
        /// Elements given.
        found: usize,
    },
    /// The graph needs a parameter that the weights lack.
    #[error("no weight `{path}` among the {available} given: every parameter of the graph needs one")]
    MissingWeight {
        /// Path of the parameter.
        path: String,
        /// Number of weights given.
        available: usize,
    },
    /// A weight's shape is not the one that the graph states.
    #[error("weight `{path}`: expected shape {expected:?}, found {found:?}")]
    WeightShape {
        /// Path or tensor name.
        path: String,
        /// Shape that the graph states.
        expected: Vec<usize>,
        /// Shape of the array.
        found: Vec<usize>,
    },
    /// A weight holds a value that is no number.
    #[error("weight `{path}`: element {index} is {value}; only finite numbers can be exported")]
    NonFiniteWeight {
        /// Path of the parameter.
        path: String,
        /// Index of the element, row-major.
        index: usize,
        /// The value.
        value: f32,
    },
    /// Tensor names of a file and parameters of a model do not match.
    #[error("the tensors do not fit the model: missing {}, unexpected {}", names(missing), names(unexpected))]
    TensorNames {
        /// Names that the model has and the file lacks.
        missing: Vec<String>,
        /// Names that the file has and the model lacks.
        unexpected: Vec<String>,
    },
    /// A safetensors file is damaged.
    #[error("`{}` is not a readable safetensors file", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// The reader's complaint.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// A `.kdz` file is damaged.
    #[error("`{}` is not a readable kdz file: {reason}", path.display())]
    Kdz {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A JSON file is damaged or has another schema.
    #[error("`{what}` is not as expected")]
    Json {
        /// Which file.
        what: String,
        /// The parser's complaint.
        #[source]
        source: serde_json::Error,
    },
    /// A file is of another version of its format.
    #[error("`{what}` has schema {found}, expected {expected}")]
    Schema {
        /// Which file.
        what: String,
        /// Schema that is understood.
        expected: u32,
        /// Schema of the file.
        found: u32,
    },
    /// ONNX cannot say what the graph says.
    #[error("cannot export {operation} ({place}) to ONNX: {reason}")]
    Unsupported {
        /// The operation.
        operation: String,
        /// Where it stands: the path of its parameters, or its index in the graph.
        place: String,
        /// Why.
        reason: String,
    },
    /// The graph contradicts itself.
    #[error("the graph is not well formed at {place}: {reason}")]
    Graph {
        /// Node or value.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The quantizers of the graph could not be placed.
    #[error("cannot place the quantizers")]
    Placement(#[source] kd_graph::Error),
    /// A quantization plan lacks an entry, or has one that ONNX cannot express.
    #[error("quantization plan, `{entry}`: {reason}")]
    Plan {
        /// Parameter path or site.
        entry: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// Numbers could not be quantized.
    #[error("cannot quantize `{entry}`")]
    Quantize {
        /// Parameter path.
        entry: String,
        /// The complaint of the arithmetic.
        #[source]
        source: quant_core::Error,
    },
    /// Bytes that should be an ONNX model are none.
    #[error("not an ONNX model")]
    Decode(#[source] prost::DecodeError),
    /// An engine refused a model, or failed to run it.
    #[error("{engine} cannot {action}: {message}")]
    Engine {
        /// The engine's name.
        engine: &'static str,
        /// What was tried: `load NAME`, `run`.
        action: String,
        /// The engine's own words.
        message: String,
    },
    /// A second ONNX Runtime was asked for.
    #[error(
        "ONNX Runtime is loaded from `{}` already; one process has one: `{}` cannot be loaded too",
        loaded.display(),
        asked.display()
    )]
    SecondRuntime {
        /// Library in use.
        loaded: PathBuf,
        /// Library asked for.
        asked: PathBuf,
    },
    /// An input does not fit its shape, or a reference not its engine.
    #[error("{what}: expected {expected} elements, found {found}")]
    Length {
        /// What was measured.
        what: &'static str,
        /// Elements expected.
        expected: usize,
        /// Elements found.
        found: usize,
    },
    /// An engine and the framework disagree beyond the tolerance.
    #[error("`{artifact}` in {engine} differs from the trained model: {found}, allowed is {allowed}")]
    Parity {
        /// The file.
        artifact: String,
        /// The engine.
        engine: String,
        /// What was measured.
        found: String,
        /// The tolerance.
        allowed: String,
    },
    /// A request that makes no sense.
    #[error("{what} must be at least 1")]
    Zero {
        /// The number that was zero.
        what: &'static str,
    },
}

/// A list of names for a message: all of them up to five, then how many more.
fn names(list: &[String]) -> String {
    match list.len() {
        0 => "none".to_owned(),
        1..=5 => list.join(", "),
        more => format!("{} and {} more", list[..5].join(", "), more - 5),
    }
}
