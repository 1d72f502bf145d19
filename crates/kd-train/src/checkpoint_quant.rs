//! Weight-only quantization of any safetensors checkpoint, larger than memory too.
//!
//! A checkpoint is read and written tensor by tensor, and a tensor piece by piece: first what becomes of each tensor is
//! planned, which fixes the size of everything ([`Form`]); then pieces of rows are read ([`Source`]), encoded
//! ([`Method`]) and written ([`Writer`]). [`Method::Gptq`] and [`Method::Awq`] hold a weight and K × K numbers of what
//! its inputs are; all else holds a few megabytes, and 12 bytes for each group under [`Method::Hqq`].
//!
//! [`Writer`] takes weights from anywhere: whoever quantizes while walking a model hands it the same rows.

mod bits;
mod budget;
mod coded;
mod config;
mod dequantize;
mod form;
mod inputs;
mod methods;
mod report;
mod shards;
mod sink;
mod source;
mod weight;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;

use quant_core::Scheme;

pub use budget::Budget;
pub use coded::Coded;
pub use dequantize::{Decoded, dequantize};
pub use form::{Form, Layout};
pub use inputs::Inputs;
pub use methods::Method;
pub use report::{Report, Row};
pub use source::{Entry, Source, pieces};
pub use writer::{Planned, Writer, check as check_out, files};

use crate::error::Error;

/// What is wanted.
#[derive(Debug)]
pub struct Request {
    /// Which schemes.
    pub target: Target,
    /// What finds codes.
    pub method: Method,
    /// Whether weights go to our layout, which holds all that a method has to say: HQQ's float zero points, AWQ's
    /// scales of inputs.
    pub own: bool,
    /// What layers are given, for methods that need it.
    pub inputs: Option<Inputs>,
    /// Tensors that stay as they are, by a match anywhere in their names.
    pub ignore: Option<regex::Regex>,
}

/// Which schemes weights get.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// One for all.
    Scheme(Scheme),
    /// The best for each within a number of bits.
    Budget(Budget),
}

impl Target {
    /// A scheme from its words.
    ///
    /// # Errors
    ///
    /// [`Error::WeightScheme`].
    pub fn scheme(words: &str) -> Result<Self, Error> {
        Ok(Self::Scheme(words.parse().map_err(Error::WeightScheme)?))
    }
}

/// Reads `--ignore`.
///
/// # Errors
///
/// [`Error::QuantizeOption`] for what is no regular expression.
pub fn ignore(text: &str) -> Result<regex::Regex, Error> {
    crate::problem::regex(text).map_err(|found| Error::QuantizeOption {
        option: "--ignore".into(),
        expected: "a regular expression".into(),
        found,
    })
}

/// Quantizes every matrix of floats (f64, f32, f16, bf16) in `checkpoint` that is not ignored, and writes the folder
/// `out`; all other tensors stay byte for byte, and a `config.json` beside the checkpoint, which says what model it is,
/// keeps its place beside ours.
///
/// # Errors
///
/// [`Error::TensorFile`] for a checkpoint that cannot be read, [`Error::FileExists`] for a folder that holds files,
/// [`Error::WeightTensor`] for NaN and infinities, [`Error::NeedsInputs`], [`Error::InputsMissing`],
/// [`Error::QuantizeOption`], [`Error::BudgetTooSmall`], [`Error::Io`].
pub fn quantize(checkpoint: &Path, request: &Request, out: &Path) -> Result<Report, Error> {
    writer::check(out)?;
    if request.method.needs_inputs() && request.inputs.is_none() {
        return Err(Error::NeedsInputs { method: request.method.name() });
    }
    let all = match request.target {
        Target::Scheme(scheme) => Some(request.method.form(scheme, request.own)?),
        Target::Budget(_) => None,
    };
    let source = Source::open(checkpoint)?;
    let ignored = |name: &str| request.ignore.as_ref().is_some_and(|ignore| ignore.is_match(name));
    let weights: Vec<(&str, &Entry)> = source
        .tensors()
        .iter()
        .filter(|(name, entry)| entry.matrix().is_some() && !ignored(name))
        .map(|(name, entry)| (name.as_str(), entry))
        .collect();
    if let Some(inputs) = request.inputs.as_ref().filter(|_| request.method.needs_inputs()) {
        inputs.check(weights.iter().map(|(name, entry)| (*name, entry.shape[1])))?;
    }
    let forms = match (all, request.target) {
        (Some(form), _) => vec![Some(form); weights.len()],
        (None, Target::Budget(budget)) => {
            budget::choose(&source, &weights, budget, (request.method, request.own))?
        }
        (None, Target::Scheme(_)) => Vec::new(),
    };
    let forms: BTreeMap<&str, Option<Form>> = weights.iter().map(|(name, _)| *name).zip(forms).collect();
    let planned = |(name, entry): (&String, &Entry)| {
        let (dtype, shape) = (entry.dtype, entry.shape.clone());
        let planned = match forms.get(name.as_str()) {
            Some(Some(form)) => {
                let (rows, columns) = (shape[0], shape[1]);
                Planned::Coded { form: *form, rows, columns, tensor: None, dtype }
            }
            form => Planned::Kept { dtype, shape, counted: form.is_some() },
        };
        (name.clone(), planned)
    };
    let plan = source.tensors().iter().map(planned).collect();
    let mut writer = Writer::create(out, plan, source.metadata())?.with_model(model(checkpoint));
    for (name, entry) in source.tensors() {
        match forms.get(name.as_str()) {
            Some(Some(form)) => {
                let inputs = request.inputs.as_ref();
                request.method.quantize(name, (&source, entry), form, inputs, &mut writer)?;
            }
            _ => source.copy(entry, |bytes| writer.keep(name, bytes))?,
        }
    }
    writer.finish()
}

/// The description of the model that stands beside a checkpoint, if there is one.
fn model(checkpoint: &Path) -> serde_json::Map<String, serde_json::Value> {
    let text = std::fs::read(checkpoint.with_file_name(files::CONFIG)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}
