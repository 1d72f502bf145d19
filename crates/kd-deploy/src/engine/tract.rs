//! tract: pure Rust, built in, on every machine.
//!
//! It reads quantize/dequantize pairs and computes the layers between them in `f32`, so a quantized model is an
//! independent check here and not a fast one. It divides by a scale as a multiplication by its inverse: codes can
//! differ from ours by one where a number lies next to the middle between two codes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tract_onnx::prelude::{
    Datum, Framework, InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable, IntoTValue, Tensor,
    TypedRunnableModel, tvec,
};

use super::{Engine, Session, check_input, guarded, loading};
use crate::Error;

/// The engine tract.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tract;

const NAME: &str = Tract::NAME;

impl Tract {
    /// The engine's name.
    pub const NAME: &str = "tract";
}

impl Engine for Tract {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        // The crate tells no version; this is the requirement of the workspace, whose lock file has the rest.
        "0.23".to_owned()
    }

    fn computes_int8(&self) -> bool {
        false
    }

    /// Uses one thread, whatever `threads` allows.
    fn load(&self, model: &Path, _threads: usize) -> Result<Box<dyn Session>, Error> {
        let read = || tract_onnx::onnx().model_for_path(model).map_err(|e| format!("{e:#}"));
        let model = guarded(NAME, &loading(model), read)?;
        Ok(Box::new(TractSession { model, plans: BTreeMap::new() }))
    }
}

/// tract fixes all sizes when it optimizes, so there is a plan for each shape, made when first needed.
struct TractSession {
    model: InferenceModel,
    plans: BTreeMap<Vec<usize>, Arc<TypedRunnableModel>>,
}

impl Session for TractSession {
    fn threads(&self) -> usize {
        1
    }

    fn run(&mut self, input: &[f32], shape: &[usize]) -> Result<Vec<f32>, Error> {
        check_input(input, shape)?;
        let plan = match self.plans.get(shape) {
            Some(plan) => Arc::clone(plan),
            None => {
                let plan = guarded(NAME, &format!("prepare input {shape:?}"), || {
                    let fact = InferenceFact::dt_shape(f32::datum_type(), shape);
                    let model = self.model.clone().with_input_fact(0, fact);
                    let plan = model.and_then(|m| m.into_optimized()).and_then(|m| m.into_runnable());
                    plan.map_err(|e| format!("{e:#}"))
                })?;
                self.plans.insert(shape.to_vec(), Arc::clone(&plan));
                plan
            }
        };
        guarded(NAME, "run", || {
            let run = || {
                let tensor = Tensor::from_shape(shape, input)?;
                let outputs = plan.run(tvec!(tensor.into_tvalue()))?;
                Ok(outputs[0].cast_to::<f32>()?.view().as_slice::<f32>()?.to_vec())
            };
            run().map_err(|e: tract_onnx::prelude::TractError| format!("{e:#}"))
        })
    }
}
