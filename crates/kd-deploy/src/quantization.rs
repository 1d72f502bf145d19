//! `quantization.json`: what turns the float weights beside it into the integers of the ONNX file.
//!
//! Float weights and rounding stay apart on purpose: someone who wants other integers starts from the same weights,
//! and whoever doubts the ONNX file can recompute it. Names and axes are those of the safetensors file, so PyTorch's.

use std::collections::BTreeMap;
use std::path::Path;

use kd_graph::{Fold, Graph, Param};
use quant_core::{Layout, QParams, Scheme};
use serde::{Deserialize, Serialize};

use crate::fold::{fold_batch_norm, foldings};
use crate::onnx::{IntegerTensor, Quantized};
use crate::plan::{ActivationPlan, RoundedWeight, round_bias, weight_inputs};
use crate::safetensors::{is_transposed, torch_name};
use crate::{Array, Error, QuantPlan, Weights, write_atomically};

/// Number of the format; a reader refuses others.
pub const SCHEMA: u32 = 1;

/// The content of `quantization.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantization {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The arithmetic, for human readers.
    pub rule: String,
    /// Activations by site.
    pub activations: BTreeMap<String, Activation>,
    /// Weights by the name of their tensor.
    pub weights: BTreeMap<String, Weight>,
    /// Weights that the ONNX file holds as floats, rounded, or packed, by the name of their tensor.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rounded: BTreeMap<String, Rounded>,
    /// Activations whose scales are found at run time, by site.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dynamic: BTreeMap<String, Scheme>,
    /// Biases, in the order in which their layers run.
    pub biases: Vec<Bias>,
}

/// A quantized activation.
///
/// The ONNX file may hold it as unsigned integers with codes and zero point both larger by 128, which are the same
/// numbers ([`lower`](crate::onnx::lower) says when).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    /// Format, granularity and symmetry.
    pub scheme: Scheme,
    /// Distance of two codes.
    pub scale: f32,
    /// Code of zero.
    pub zero_point: i32,
    /// Smallest and largest code.
    pub codes: [i32; 2],
}

/// A quantized weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weight {
    /// Format, granularity and symmetry.
    pub scheme: Scheme,
    /// The axis with a scale for each index; none for one scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub axis: Option<usize>,
    /// Distance of two codes.
    pub scale: Vec<f32>,
    /// Code of zero.
    pub zero_point: Vec<i32>,
    /// Smallest and largest code.
    pub codes: [i32; 2],
    /// The estimator that chose the codes, where they are not those nearest to the weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The batch norm that is folded into the weight before it is rounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_norm: Option<BatchNorm>,
}

/// A weight that is rounded and stays float, or is packed in the ONNX file. Without a `method` its values are those of the scheme for the matrix
/// `[out, K]` of the float weight ([`quant_core::round_weight`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rounded {
    /// Format, granularity, symmetry and format of scales.
    pub scheme: Scheme,
    /// The axis of the outputs.
    pub axis: usize,
    /// The estimator that chose the values, where it is not the scheme's own rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The batch norm that is folded into the weight before it is rounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_norm: Option<BatchNorm>,
}

/// A batch norm, by the names of its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchNorm {
    /// The layer's bias, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_bias: Option<String>,
    /// Scale.
    pub weight: String,
    /// Shift.
    pub bias: String,
    /// Running mean.
    pub running_mean: String,
    /// Running variance.
    pub running_var: String,
    /// Added to the variance.
    pub epsilon: f64,
    /// The weight's axis of outputs, along which it is scaled.
    pub axis: usize,
}

/// A bias as 32-bit integers, zero point 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bias {
    /// Name of its tensor; where the weight's batch norm is folded and the layer has no bias, there is none by
    /// this name.
    pub name: String,
    /// The layer's weight.
    pub weight: String,
    /// `input scale · weight scale`
    pub scale: Vec<f32>,
}

/// The integers that follow from a [`Quantization`] and float weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integers {
    /// Weights by the name of their tensor, in the layout of the safetensors file.
    pub weights: BTreeMap<String, IntegerTensor>,
    /// Biases, in the order of [`Quantization::biases`].
    pub biases: Vec<IntegerTensor>,
}

impl Quantization {
    /// The description of what [`lower`](crate::onnx::lower) does with the same arguments.
    ///
    /// # Errors
    /// As those of `lower`.
    pub fn new(graph: &Graph, weights: &Weights, plan: &QuantPlan) -> Result<Self, Error> {
        let folds = foldings(graph, Some(plan))?;
        let quantized = Quantized::new(graph, weights, plan, &folds)?;
        let mut result = Self {
            schema: SCHEMA,
            rule: RULE.to_owned(),
            activations: plan.activations.iter().map(|(site, a)| (site.clone(), activation(a))).collect(),
            weights: BTreeMap::new(),
            rounded: BTreeMap::new(),
            dynamic: plan.dynamic.clone(),
            biases: Vec::new(),
        };
        for (index, node) in graph.nodes.iter().enumerate() {
            let fold = folds.iter().find(|fold| fold.layer == index);
            for (_, path) in weight_inputs(graph, node) {
                let param = find(graph, path)?;
                let name = torch_name(param);
                let norm = || fold.map(|fold| batch_norm(graph, fold)).transpose();
                let own_axis = |axis: usize| if is_transposed(param) { 1 - axis } else { axis };
                if let Some(RoundedWeight { scheme, axis, method, .. }) = plan.rounded.get(path) {
                    let (scheme, axis, method) = (*scheme, own_axis(*axis), method.clone());
                    result.rounded.insert(name, Rounded { scheme, axis, method, batch_norm: norm()? });
                    continue;
                }
                let codes = &quantized.codes.weights[path];
                if let Some(bias) = quantized.codes.biases.get(&index) {
                    let own = node.inputs.get(2).and_then(|&id| graph.param(id));
                    let sibling = || name.strip_suffix("weight").map(|layer| format!("{layer}bias"));
                    result.biases.push(Bias {
                        name: own.map(torch_name).or_else(sibling).unwrap_or_default(),
                        weight: name.clone(),
                        scale: bias.scale.clone(),
                    });
                }
                let planned = &plan.weights[path];
                let weight = Weight {
                    scheme: planned.scheme,
                    axis: codes.axis.map(own_axis),
                    scale: codes.scale.clone(),
                    zero_point: codes.zero_point.clone(),
                    codes: [planned.qparams.qmin, planned.qparams.qmax],
                    method: planned.chosen.as_ref().map(|(method, _)| method.clone()),
                    batch_norm: norm()?,
                };
                result.weights.insert(name, weight);
            }
        }
        Ok(result)
    }

    /// The integers of all biases, and of weights whose codes are the nearest, from float tensors with PyTorch's names and layout.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn integers(&self, tensors: &BTreeMap<String, Array>) -> Result<Integers, Error> {
        let mut floats: BTreeMap<&String, (Array, Option<Array>)> = BTreeMap::new();
        let mut integers = Integers { weights: BTreeMap::new(), biases: Vec::new() };
        for (name, weight) in &self.weights {
            let (array, bias) = match &weight.batch_norm {
                Some(norm) => {
                    let (array, bias) = fold_batch_norm(&norm.fold(name), tensors)?;
                    (array, Some(bias))
                }
                None => (get(tensors, name)?.clone(), None),
            };
            if weight.method.is_none() {
                integers.weights.insert(name.clone(), weight.integers(name, &array)?);
            }
            floats.insert(name, (array, bias));
        }
        for bias in &self.biases {
            let folded = floats.get(&bias.weight).and_then(|(_, bias)| bias.as_ref());
            let array = match folded {
                Some(folded) => folded,
                None => get(tensors, &bias.name)?,
            };
            let data = round_bias(array, &bias.scale);
            integers.biases.push(IntegerTensor { shape: array.shape().to_vec(), data });
        }
        Ok(integers)
    }

    /// The values of the weights in `rounded` that follow their scheme's own rule, from float tensors with PyTorch's
    /// names and layout.
    ///
    /// # Errors
    /// When a tensor is missing or cannot be rounded.
    pub fn rounded_values(
        &self,
        tensors: &BTreeMap<String, Array>,
    ) -> Result<BTreeMap<String, Array>, Error> {
        let mut values = BTreeMap::new();
        for (name, rounded) in self.rounded.iter().filter(|(_, rounded)| rounded.method.is_none()) {
            let array = match &rounded.batch_norm {
                Some(norm) => fold_batch_norm(&norm.fold(name), tensors)?.0,
                None => get(tensors, name)?.clone(),
            };
            let data = quant_core::round_weight(array.data(), array.shape(), rounded.axis, &rounded.scheme)
                .map_err(|source| Error::Quantize { entry: name.clone(), source })?;
            values.insert(name.clone(), Array::new(array.shape(), data)?);
        }
        Ok(values)
    }

    /// The file's text: equal values, equal bytes.
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.expect("numbers, strings and maps of strings are always JSON") + "\n"
    }

    /// Writes the file, atomically.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        write_atomically(path, self.to_json().as_bytes())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is no JSON or has another schema.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = |source| Error::File { action: "read", path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(file)?;
        let what = path.display().to_string();
        let json = |source| Error::Json { what: what.clone(), source };
        let read: Self = serde_json::from_str(&text).map_err(json)?;
        match read.schema {
            SCHEMA => Ok(read),
            found => Err(Error::Schema { what, expected: SCHEMA, found }),
        }
    }
}

const RULE: &str =
    "code = clamp(round_half_even(x / scale) + zero_point, codes); x = scale * (code - zero_point)";

impl Weight {
    fn integers(&self, name: &str, array: &Array) -> Result<IntegerTensor, Error> {
        let layout = Layout { shape: array.shape().to_vec(), axis: self.axis };
        let qparams = QParams {
            scale: self.scale.clone(),
            zero_point: self.zero_point.clone(),
            qmin: self.codes[0],
            qmax: self.codes[1],
        };
        let data = quant_core::quantize(array.data(), &layout, &qparams)
            .map_err(|source| Error::Quantize { entry: name.to_owned(), source })?;
        Ok(IntegerTensor { shape: layout.shape, data })
    }
}

impl BatchNorm {
    /// The same in terms of this file's tensors.
    fn fold(&self, weight: &str) -> Fold {
        Fold {
            layer: 0,
            norm: 0,
            weight: weight.to_owned(),
            bias: self.layer_bias.clone(),
            gamma: self.weight.clone(),
            beta: self.bias.clone(),
            mean: self.running_mean.clone(),
            variance: self.running_var.clone(),
            epsilon: self.epsilon,
            out_axis: self.axis,
        }
    }
}

fn activation(plan: &ActivationPlan) -> Activation {
    Activation {
        scheme: plan.scheme,
        scale: plan.qparams.scale[0],
        zero_point: plan.qparams.zero_point[0],
        codes: [plan.qparams.qmin, plan.qparams.qmax],
    }
}

fn batch_norm(graph: &Graph, fold: &Fold) -> Result<BatchNorm, Error> {
    let name = |path: &String| Ok::<_, Error>(torch_name(find(graph, path)?));
    Ok(BatchNorm {
        layer_bias: fold.bias.as_ref().map(name).transpose()?,
        weight: name(&fold.gamma)?,
        bias: name(&fold.beta)?,
        running_mean: name(&fold.mean)?,
        running_var: name(&fold.variance)?,
        epsilon: fold.epsilon,
        axis: match is_transposed(find(graph, &fold.weight)?) {
            true => 1 - fold.out_axis,
            false => fold.out_axis,
        },
    })
}

fn find<'a>(graph: &'a Graph, path: &str) -> Result<&'a Param, Error> {
    graph.params.iter().find(|param| param.path == path).ok_or_else(|| Error::Graph {
        place: format!("parameter `{path}`"),
        reason: "it is used and not listed".to_owned(),
    })
}

fn get<'a>(tensors: &'a BTreeMap<String, Array>, name: &str) -> Result<&'a Array, Error> {
    let missing = || Error::MissingWeight { path: name.to_owned(), available: tensors.len() };
    tensors.get(name).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn scales_survive_the_way_through_the_file() {
        let mut state = 1u32;
        let mut scale = Vec::new();
        while scale.len() < 2000 {
            // A small linear congruential generator over all bit patterns.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            scale.extend(Some(f32::from_bits(state >> 1)).filter(|s| s.is_normal()));
        }
        let weight = Weight {
            scheme: "int8 channel narrow".parse().unwrap(),
            axis: Some(0),
            zero_point: vec![0; scale.len()],
            scale,
            codes: [-127, 127],
            method: None,
            batch_norm: None,
        };
        let whole = Quantization {
            schema: SCHEMA,
            rule: RULE.to_owned(),
            activations: BTreeMap::new(),
            weights: BTreeMap::from([("w".to_owned(), weight)]),
            rounded: BTreeMap::new(),
            dynamic: BTreeMap::new(),
            biases: Vec::new(),
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quantization.json");
        whole.write(&path).unwrap();
        assert_eq!(Quantization::read(&path).unwrap(), whole);

        let later = whole.to_json().replace("\"schema\": 1", "\"schema\": 2");
        std::fs::write(&path, later).unwrap();
        let error = Quantization::read(&path).unwrap_err().to_string();
        assert!(error.ends_with("quantization.json` has schema 2, expected 1"), "{error}");
    }
}
