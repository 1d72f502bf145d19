//! A model as files that other programs read, and those programs' answers.

use std::path::Path;

use kd_deploy::parity::{Parity, Tolerance, run_all};
use kd_deploy::quantization::Quantization;
use kd_deploy::{Engine, QuantPlan, WeightsContainer, onnx};

use crate::batches::{Data, EVALUATION_BATCH};
use crate::error::Error;
use crate::evaluate::Predictions;
use crate::quantize;
use crate::run::Model;
use crate::run_dir::files;
use crate::summary::ParitySummary;
use crate::weights;

/// The ONNX file of a model: float, with integers where engines run them, else with rounded floats; or with codes of
/// weights in ONNX's narrowest types.
///
/// # Errors
///
/// An operation that has no lowering, a site that was not reached.
pub fn onnx(model: &Model, container: WeightsContainer) -> Result<Vec<u8>, Error> {
    let network = model.network.as_ref();
    let plan = match &model.activations {
        Some(activations) => Some(QuantPlan { container, ..quantize::plan(network, activations)? }),
        None => None,
    };
    Ok(onnx::lower(&network.graph()?, &weights::masked(network), plan.as_ref())?)
}

/// Writes `model.safetensors`, and `quantization.json` where the model is rounded, into `folder`.
///
/// # Errors
///
/// The file system's.
pub fn tensors(model: &Model, folder: &Path) -> Result<(), Error> {
    let network = model.network.as_ref();
    weights::save(network, &folder.join(files::WEIGHTS))?;
    if let Some(activations) = &model.activations {
        let plan = quantize::plan(network, activations)?;
        let quantization = Quantization::new(&network.graph()?, &weights::masked(network), &plan)?;
        quantization.write(&folder.join(files::QUANTIZATION))?;
    }
    Ok(())
}

/// Whether an engine can run the ONNX file of a model with weights in this container.
pub fn runs(engine: &dyn Engine, model: &Model, container: WeightsContainer) -> bool {
    let packed = model.activations.is_some() && container == WeightsContainer::Packed;
    !packed || engine.reads_packed()
}

/// Runs an ONNX file over all test examples and holds it against what the model here said.
///
/// # Errors
///
/// An engine that cannot run the file, or a difference beyond the tolerances of [`kd_deploy::parity`].
pub fn check(
    file: &Path,
    engine: &dyn Engine,
    data: &Data,
    model: &Model,
    reference: &Predictions,
) -> Result<ParitySummary, Error> {
    let artifact = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let logits = run(file, engine, data, &model.network.example())?;
    let parity = Parity::of(&reference.logits, &logits, reference.classes)?;
    let tolerance = match &model.activations {
        Some(activations) if activations.scheme().is_some() => Tolerance::int8(engine),
        _ => Tolerance::Float,
    };
    parity.check(tolerance, &artifact, engine.name())?;
    let found = Predictions { logits, ..reference.clone() };
    Ok(ParitySummary {
        artifact,
        engine: engine.name().into(),
        max_abs: parity.max_abs,
        top1_agreement: parity.top1_agreement(),
        accuracy: found.accuracy(),
    })
}

/// Logits of an ONNX file over all test examples, in order; `example` is the shape that the model reads.
///
/// # Errors
///
/// An engine that cannot run the file.
pub fn run(file: &Path, engine: &dyn Engine, data: &Data, example: &[usize]) -> Result<Vec<f32>, Error> {
    let test = &data.set.test;
    let mut session = engine.load(file, 1)?;
    let fill =
        |range: std::ops::Range<usize>, into: &mut Vec<f32>| test.rows(&range.collect::<Vec<_>>(), into);
    Ok(run_all(session.as_mut(), example, test.len(), EVALUATION_BATCH, fill)?)
}
