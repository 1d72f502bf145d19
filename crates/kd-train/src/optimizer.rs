//! Optimizers, built from a recipe, and their state as named arrays.
//!
//! Burn keys an optimizer's state by random parameter ids. A state file shall be the same bytes for the same run,
//! so ids are exchanged for parameter paths on the way out and back on the way in; that exchange, over Burn's
//! own record bytes, is all this file knows about records.

use std::collections::BTreeMap;

use burn::module::ParamId;
use burn::optim::ModuleOptimizer;
use burn::tensor::{Bytes, DType, Shape};
use burn_pack::{Reader, Scalar, Writer};
use kd_deploy::{Array, Weights};
use kd_nn::{Adam, AdamW, Lion, Sgd};
use serde::{Deserialize, Serialize};

use crate::recipe::OptimizerSpec;
use crate::survey::Entry;

/// Builds a fresh optimizer.
pub fn build(spec: &OptimizerSpec) -> ModuleOptimizer {
    match *spec {
        OptimizerSpec::Sgd(sgd) => ModuleOptimizer::from(Sgd {
            weight_decay: sgd.weight_decay as f32,
            momentum: sgd.momentum as f32,
            dampening: 0.0,
            nesterov: sgd.nesterov,
        }),
        OptimizerSpec::Adam(adam) => ModuleOptimizer::from(Adam {
            betas: [adam.beta1 as f32, adam.beta2 as f32],
            epsilon: adam.epsilon as f32,
            weight_decay: adam.weight_decay as f32,
        }),
        OptimizerSpec::AdamW(adam) => ModuleOptimizer::from(AdamW {
            betas: [adam.beta1 as f32, adam.beta2 as f32],
            epsilon: adam.epsilon as f32,
            weight_decay: adam.weight_decay as f32,
        }),
        OptimizerSpec::Lion(lion) => ModuleOptimizer::from(Lion {
            betas: [lion.beta1 as f32, lion.beta2 as f32],
            weight_decay: lion.weight_decay as f32,
        }),
    }
}

/// The optimizers of a stage: scales of numbers take no part in the decay of weights.
pub struct Optimizers {
    /// Of the student and the connectors.
    pub weights: ModuleOptimizer,
    /// Of trained scales and zero points.
    pub scales: ModuleOptimizer,
}

impl Optimizers {
    /// Fresh ones.
    pub fn build(spec: &OptimizerSpec) -> Self {
        Self { weights: build(spec), scales: build(&spec.without_decay()) }
    }

    /// Takes the state out of both; the parameters of `scales` belong to the second.
    ///
    /// # Errors
    ///
    /// As [`save`].
    pub fn save(&self, weights: &[Entry], scales: &[Entry]) -> Result<OptimizerState, String> {
        let mut state = save(&self.weights, weights)?;
        let learned = save(&self.scales, scales)?;
        state.tensors.extend(learned.tensors);
        state.scalars.extend(learned.scalars);
        Ok(state)
    }

    /// Puts a saved state into both.
    ///
    /// # Errors
    ///
    /// As [`load`].
    pub fn load(self, state: &OptimizerState, weights: &[Entry], scales: &[Entry]) -> Result<Self, String> {
        let of_scale = |name: &str| {
            scales
                .iter()
                .any(|entry| name.strip_prefix(&entry.path).is_some_and(|rest| rest.starts_with('/')))
        };
        let (mut own, mut learned) = (OptimizerState::default(), OptimizerState::default());
        for (name, array) in &state.tensors {
            let part = if of_scale(name) { &mut learned } else { &mut own };
            part.tensors.insert(name.clone(), array.clone());
        }
        for (name, number) in &state.scalars {
            let part = if of_scale(name) { &mut learned } else { &mut own };
            part.scalars.insert(name.clone(), *number);
        }
        Ok(Self { weights: load(self.weights, &own, weights)?, scales: load(self.scales, &learned, scales)? })
    }
}

/// An optimizer's state by parameter path.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OptimizerState {
    /// Moments: `<path>/<field>`.
    pub tensors: Weights,
    /// Counters: `<path>/<field>`.
    pub scalars: BTreeMap<String, Number>,
}

/// A number of an optimizer's record, with its type.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Number {
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Unsigned(u64),
    /// A floating-point number.
    Float(f64),
    /// A boolean.
    Bool(bool),
}

/// Takes the state out of an optimizer.
///
/// # Errors
///
/// A clause that says what of Burn's record could not be read; a change of Burn's format.
pub fn save(optimizer: &ModuleOptimizer, entries: &[Entry]) -> Result<OptimizerState, String> {
    let paths: BTreeMap<u64, &str> =
        entries.iter().map(|entry| (entry.id.val(), entry.path.as_str())).collect();
    let named = |key: &str| {
        let (id, field) = key.split_once('.').ok_or_else(|| format!("unknown key `{key}` in the record"))?;
        let id: u64 = id.parse().map_err(|_| format!("unknown key `{key}` in the record"))?;
        let path = paths.get(&id).ok_or_else(|| format!("`{key}` belongs to no parameter of the model"))?;
        Ok::<_, String>(format!("{path}/{field}"))
    };
    let bytes = optimizer.to_record().into_bytes().map_err(|error| error.to_string())?;
    let reader = Reader::from_bytes(bytes).map_err(|error| error.to_string())?;
    let mut state = OptimizerState::default();
    for (key, value) in reader.scalars() {
        state.scalars.insert(named(key)?, number(*value)?);
    }
    for tensor in reader.into_tensors().map_err(|error| error.to_string())? {
        let (key, dtype, shape, _, bytes) = tensor.into_parts().map_err(|error| error.to_string())?;
        if dtype != DType::F32 {
            return Err(format!("`{key}` holds {dtype:?}, expected 32-bit floats"));
        }
        let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let array =
            Array::new(shape.to_vec(), values.collect::<Vec<_>>()).map_err(|error| error.to_string())?;
        state.tensors.insert(named(&key)?, array);
    }
    Ok(state)
}

/// Puts a saved state into a fresh optimizer.
///
/// # Errors
///
/// A clause that names the parameter that the model does not have.
pub fn load(
    optimizer: ModuleOptimizer,
    state: &OptimizerState,
    entries: &[Entry],
) -> Result<ModuleOptimizer, String> {
    let ids: BTreeMap<&str, ParamId> = entries.iter().map(|entry| (entry.path.as_str(), entry.id)).collect();
    let keyed = |name: &str| {
        let (path, field) =
            name.rsplit_once('/').ok_or_else(|| format!("unknown key `{name}` in the state"))?;
        let id = ids.get(path).ok_or_else(|| format!("the model has no parameter `{path}`"))?;
        Ok::<_, String>((id.val(), format!("{}.{field}", id.val()), path.to_owned()))
    };
    let mut tensors = Vec::new();
    for (name, array) in &state.tensors {
        let (id, key, _) = keyed(name)?;
        let bytes: Vec<u8> = array.data().iter().flat_map(|x| x.to_le_bytes()).collect();
        let shape = Shape::from(array.shape().to_vec());
        tensors.push(burn_pack::Tensor::new(key, DType::F32, shape, Some(id), Bytes::from_bytes_vec(bytes)));
    }
    let mut writer = Writer::new(tensors);
    for (name, value) in &state.scalars {
        let (id, key, path) = keyed(name)?;
        writer = writer.with_scalar(&key, scalar(*value)).with_metadata(&id.to_string(), &path);
    }
    let bytes = writer.into_bytes().map_err(|error| error.to_string())?;
    let record = burn::optim::OptimizerRecord::from_bytes(bytes).map_err(|error| error.to_string())?;
    Ok(optimizer.load_record(record))
}

fn number(value: Scalar) -> Result<Number, String> {
    match value {
        Scalar::Int(value) => Ok(Number::Int(value)),
        Scalar::UInt(value) => Ok(Number::Unsigned(value)),
        Scalar::Float(value) => Ok(Number::Float(value)),
        Scalar::Bool(value) => Ok(Number::Bool(value)),
    }
}

fn scalar(value: Number) -> Scalar {
    match value {
        Number::Int(value) => Scalar::Int(value),
        Number::Unsigned(value) => Scalar::UInt(value),
        Number::Float(value) => Scalar::Float(value),
        Number::Bool(value) => Scalar::Bool(value),
    }
}
