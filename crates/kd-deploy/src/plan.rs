//! What a model is quantized with, and the codes that follow from it.
//!
//! A [`QuantPlan`] is what training hands over: ranges already turned into scales and zero points. The codes are
//! computed here, once, so that `model.int8.onnx` and `quantization.json` cannot disagree.

use std::collections::BTreeMap;

use kd_graph::{Fold, Graph, Node, Op, ValueId};
use quant_core::{Encoded, Layout, QParams, Scheme};
use serde::{Deserialize, Serialize};

use crate::fold::fold_batch_norm;
use crate::safetensors::weight;
use crate::{Array, Error, Weights};

/// How one weight is quantized.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightPlan {
    /// The scheme that the numbers belong to.
    pub scheme: Scheme,
    /// The axis with a scale for each index, in Burn's layout of the weight; `None` for one scale.
    pub axis: Option<usize>,
    /// Scales and zero points, one for each index of `axis`. Where a batch norm folds into the layer they are
    /// those of the folded weight ([`fold_batch_norm`]).
    pub qparams: QParams,
    /// Values that an estimator chose by a rule of its own, on this grid, and its name: codes are those of these values
    /// and not of the weight. Where a batch norm folds into the layer they are those of the folded weight.
    pub chosen: Option<(String, Array)>,
}

/// How the activations at one site are quantized.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivationPlan {
    /// The scheme that the numbers belong to.
    pub scheme: Scheme,
    /// One scale and one zero point.
    pub qparams: QParams,
}

/// A weight that is rounded and yet stays float in the file, because no engine runs its scheme on integers; with
/// [`WeightsContainer::Packed`] its codes are in the file where ONNX has a type for them.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundedWeight {
    /// The scheme that the values are of.
    pub scheme: Scheme,
    /// The axis of the outputs, in Burn's layout of the weight.
    pub axis: usize,
    /// The estimator that chose the values, where it is not the scheme's own rule ([`quant_core::round_weight`]).
    pub method: Option<String>,
    /// The rounded values. Where a batch norm folds into the layer they are those of the folded weight.
    pub values: Array,
    /// The codes of the matrix `[out, K]` that stand for these values, where the scheme has such.
    pub encoded: Option<Encoded>,
}

/// What the codes of weights are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightsContainer {
    /// 8-bit integers, which engines compute with; weights under other schemes are stored as floats.
    #[default]
    Int8,
    /// The narrowest of ONNX's own types: (u)int2, (u)int4, (u)int8 and its four types of 8-bit floats, with scales for
    /// the tensor, for outputs or for groups. Files are smaller, engines compute in floats, and the operator set is 19
    /// for 8-bit floats, 21 for 4 bits and groups, 25 for 2 bits. Schemes that none of these holds stay floats.
    Packed,
}

impl WeightsContainer {
    /// Every container with its word.
    pub const WORDS: [(&'static str, Self); 2] = [("int8", Self::Int8), ("packed", Self::Packed)];
}

/// How a whole model is rounded. A model whose weights alone are rounded names no site at all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QuantPlan {
    /// Weights that become integers, by path.
    pub weights: BTreeMap<String, WeightPlan>,
    /// Weights that stay float, by path; their layers' biases stay float too.
    pub rounded: BTreeMap<String, RoundedWeight>,
    /// By site. Every site that is named is quantized, needed by a layer or not.
    pub activations: BTreeMap<String, ActivationPlan>,
    /// Sites whose scale is found at run time: one for each row (the last axis) of a tensor of up to three axes, one
    /// for each example of one with more. Such a model names no other sites.
    pub dynamic: BTreeMap<String, Scheme>,
    /// What the codes of weights are stored in.
    pub container: WeightsContainer,
}

impl QuantPlan {
    /// The activation at a site.
    pub(crate) fn activation(&self, site: &str) -> Result<&ActivationPlan, Error> {
        let plan = self.activations.get(site).ok_or_else(|| {
            let known: Vec<_> = self.activations.keys().map(String::as_str).collect();
            let reason = format!(
                "a layer reads this site, but the plan has no scale for it; it has: {}",
                known.join(", ")
            );
            Error::Plan { entry: site.to_owned(), reason }
        })?;
        check(site, &plan.qparams, 1)?;
        Ok(plan)
    }
}

/// The 8-bit container of codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Container {
    Int8,
    Uint8,
}

impl Container {
    /// The container that holds the range of codes; [`check`] has seen that there is one.
    pub(crate) fn of(qparams: &QParams) -> Self {
        if qparams.qmin < 0 { Self::Int8 } else { Self::Uint8 }
    }

    /// Smallest and largest code.
    pub(crate) fn range(self) -> (i32, i32) {
        match self {
            Self::Int8 => (-128, 127),
            Self::Uint8 => (0, 255),
        }
    }
}

/// A quantized weight, in Burn's layout.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QuantizedWeight {
    pub(crate) shape: Vec<usize>,
    pub(crate) codes: Vec<i32>,
    pub(crate) scale: Vec<f32>,
    pub(crate) zero_point: Vec<i32>,
    pub(crate) axis: Option<usize>,
    pub(crate) container: Container,
    /// Smallest and largest code of the grid.
    pub(crate) limits: (i32, i32),
}

impl QuantizedWeight {
    /// Shape, codes and axis of the transposed matrix.
    pub(crate) fn transposed(&self) -> (Vec<usize>, Vec<i32>, Option<usize>) {
        let &[rows, columns] = self.shape.as_slice() else {
            return (self.shape.clone(), self.codes.clone(), self.axis);
        };
        let code = |at: usize| self.codes[at % rows * columns + at / rows];
        let codes = (0..rows * columns).map(code).collect();
        (vec![columns, rows], codes, self.axis.map(|axis| 1 - axis))
    }
}

/// A quantized bias: 32-bit codes, zero point 0, `scale = input scale · weight scale` for each output.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QuantizedBias {
    pub(crate) codes: Vec<i32>,
    pub(crate) scale: Vec<f32>,
}

/// All codes of a model.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Codes {
    /// By the weight's path.
    pub(crate) weights: BTreeMap<String, QuantizedWeight>,
    /// By the index of the layer's node: a bias depends on the scale of the input too.
    pub(crate) biases: BTreeMap<usize, QuantizedBias>,
}

/// A layer, as far as codes are concerned.
struct Use<'a> {
    node: usize,
    weight: &'a str,
    /// Axis of the weight that becomes the outputs, if a scale for each makes sense.
    out_axis: Option<usize>,
    /// Scale of the input at this layer; none where that is float, and the bias with it.
    input_scale: Option<f32>,
    bias: Option<Array>,
}

/// Quantizes every weight and bias; `input_scale` gives the scale at a layer's data input.
pub(crate) fn codes(
    graph: &Graph,
    weights: &Weights,
    plan: &QuantPlan,
    folds: &[Fold],
    input_scale: impl Fn(ValueId) -> Result<Option<f32>, Error>,
) -> Result<Codes, Error> {
    let mut uses = Vec::new();
    let mut arrays: BTreeMap<&str, Array> = BTreeMap::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let fold = folds.iter().find(|fold| fold.layer == index);
        if matches!(node.op, Op::Conv { .. } | Op::Linear) && graph.param(node.inputs[1]).is_none() {
            return Err(Error::Unsupported {
                operation: graph.describe(node),
                place: format!("operation {index}"),
                reason: "its weight is computed and not a parameter, so it has no codes".to_owned(),
            });
        }
        for (position, path) in weight_inputs(graph, node) {
            let (array, bias) = match fold {
                Some(fold) => {
                    let (array, bias) = fold_batch_norm(fold, weights)?;
                    (array, Some(bias))
                }
                None => {
                    let param = |id| graph.param(id).expect("weight_inputs yields parameters only");
                    let array = weight(weights, path, &param(node.inputs[position]).shape)?.clone();
                    (array, bias_of(graph, weights, node)?)
                }
            };
            let data = node.inputs[1 - position];
            let input_scale = match graph.param(data) {
                Some(_) => Some(1.0),
                None => input_scale(data)?,
            };
            let out_axis = match (&node.op, position) {
                (Op::Conv { .. }, _) => Some(0),
                (_, 1) => array.shape().len().checked_sub(1),
                _ => None,
            };
            finite(path, &array)?;
            if let Some(rounded) = plan.rounded.get(path) {
                matches_shape(path, rounded, &array)?;
                continue;
            }
            if let Some(bias) = &bias {
                let own = node.inputs.get(2).and_then(|&id| graph.param(id));
                finite(&own.map_or_else(|| format!("bias of {path}"), |param| param.path.clone()), bias)?;
            }
            let array = match plan.weights.get(path).and_then(|plan| plan.chosen.as_ref()) {
                Some((_, values)) => chosen(path, values, &array)?,
                None => array,
            };
            uses.push(Use { node: index, weight: path, out_axis, input_scale, bias });
            arrays.insert(path, array);
        }
    }

    let mut codes = Codes::default();
    for (path, array) in arrays {
        let of_weight: Vec<_> = uses.iter().filter(|u| u.weight == path).collect();
        codes.weights.insert(path.to_owned(), quantized_weight(path, &array, plan, &of_weight)?);
    }
    for layer in &uses {
        if let (Some(bias), Some(input_scale)) = (&layer.bias, layer.input_scale) {
            let quantized = quantized_bias(bias, input_scale, &codes.weights[layer.weight]);
            codes.biases.insert(layer.node, quantized);
        }
    }
    Ok(codes)
}

/// The inputs of a layer that are weights to quantize: position and path.
pub(crate) fn weight_inputs<'a>(graph: &'a Graph, node: &Node) -> impl Iterator<Item = (usize, &'a str)> {
    let positions = match node.op {
        Op::Conv { .. } | Op::Linear => 1..2,
        Op::Matmul => 0..2,
        _ => 0..0,
    };
    let inputs = node.inputs.clone();
    positions.filter_map(move |at| Some((at, graph.param(inputs[at])?.path.as_str())))
}

fn bias_of(graph: &Graph, weights: &Weights, node: &Node) -> Result<Option<Array>, Error> {
    let Some(param) = node.inputs.get(2).and_then(|&id| graph.param(id)) else {
        return Ok(None);
    };
    Ok(Some(weight(weights, &param.path, &param.shape)?.clone()))
}

/// Codes of a weight, with the plan's parameters, except where a bias needs a larger scale.
///
/// A bias is stored as `round(b / (sx · sw))` in 32 bits. A channel that training or pruning has all but switched
/// off has a tiny `sw`, and its bias would overflow. There the scale is raised to `|b| / (sx · 2^30)`. Each weight of
/// the channel is then off by at most half of that, so that the output, a sum over `K` inputs, is off by at most
/// `K · 255 · 2^-31 · |b|`: far below the rounding of the activation that follows. The limit is `2^30` and not
/// `2^31` so that the sum of products, up to `K · 255 · 127`, fits into the 32 bits beside the bias.
fn quantized_weight(
    path: &str,
    array: &Array,
    plan: &QuantPlan,
    uses: &[&Use<'_>],
) -> Result<QuantizedWeight, Error> {
    let fail = |reason: String| Error::Plan { entry: path.to_owned(), reason };
    let weight_plan = plan.weights.get(path).ok_or_else(|| {
        fail("every weight of a convolution, linear layer or matrix product needs an entry".into())
    })?;
    let axis = weight_plan.axis;
    let cells = match axis {
        None => 1,
        Some(axis) => *array
            .shape()
            .get(axis)
            .ok_or_else(|| fail(format!("axis {axis} is out of range for shape {:?}", array.shape())))?,
    };
    if let (Some(axis), Some(other)) = (axis, uses.iter().find(|u| u.out_axis != axis)) {
        return Err(fail(match other.out_axis {
            Some(outputs) => {
                format!("scales along axis {axis}, but the outputs are axis {outputs}")
            }
            None => "a weight on the left of a matrix product takes one scale only".into(),
        }));
    }
    check(path, &weight_plan.qparams, cells)?;
    let zero_points = &weight_plan.qparams.zero_point;
    if zero_points.iter().any(|z| *z != zero_points[0]) {
        return Err(fail(
            "zero points differ between channels, which engines refuse for weights; \
             use a symmetric scheme"
                .into(),
        ));
    }

    let mut qparams = weight_plan.qparams.clone();
    for layer in uses {
        let (Some(bias), Some(input_scale)) = (&layer.bias, layer.input_scale) else { continue };
        for (output, b) in bias.data().iter().enumerate() {
            let cell = if cells == 1 { 0 } else { output };
            // The second bound keeps the product of the scales a normal number.
            let least = (b.abs() / BIAS_LIMIT).max(f32::MIN_POSITIVE) / input_scale;
            qparams.scale[cell] = qparams.scale[cell].max(least);
        }
    }
    let layout = Layout { shape: array.shape().to_vec(), axis };
    let codes = quant_core::quantize(array.data(), &layout, &qparams)
        .map_err(|source| Error::Quantize { entry: path.to_owned(), source })?;
    Ok(QuantizedWeight {
        shape: array.shape().to_vec(),
        codes,
        container: Container::of(&qparams),
        limits: (qparams.qmin, qparams.qmax),
        scale: qparams.scale,
        zero_point: qparams.zero_point,
        axis,
    })
}

fn chosen(path: &str, values: &Array, array: &Array) -> Result<Array, Error> {
    let (expected, found) = (array.shape(), values.shape());
    if expected == found {
        return finite(path, values).map(|()| values.clone());
    }
    let reason = format!("expected rounded values of shape {expected:?}, found {found:?}");
    Err(Error::Plan { entry: path.to_owned(), reason })
}

fn matches_shape(path: &str, rounded: &RoundedWeight, array: &Array) -> Result<(), Error> {
    let (expected, found) = (array.shape(), rounded.values.shape());
    let reason = match expected == found {
        true if rounded.axis < found.len() => return finite(path, &rounded.values),
        true => format!("axis {} is out of range for shape {found:?}", rounded.axis),
        false => format!("expected rounded values of shape {expected:?}, found {found:?}"),
    };
    Err(Error::Plan { entry: path.to_owned(), reason })
}

fn finite(path: &str, array: &Array) -> Result<(), Error> {
    match array.data().iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(index) => {
            Err(Error::NonFiniteWeight { path: path.to_owned(), index, value: array.data()[index] })
        }
    }
}

/// Largest code of a bias, `2^30`.
const BIAS_LIMIT: f32 = 1_073_741_824.0;

fn quantized_bias(bias: &Array, input_scale: f32, weight: &QuantizedWeight) -> QuantizedBias {
    let scale: Vec<f32> = weight.scale.iter().map(|sw| input_scale * sw).collect();
    QuantizedBias { codes: round_bias(bias, &scale), scale }
}

/// `round_half_even(b / scale)`; scales are such that it fits ([`quantized_weight`]).
pub(crate) fn round_bias(bias: &Array, scale: &[f32]) -> Vec<i32> {
    let code = |(output, b): (usize, &f32)| {
        let s = scale[if scale.len() == 1 { 0 } else { output }];
        (f64::from(*b) / f64::from(s)).round_ties_even() as i32
    };
    bias.data().iter().enumerate().map(code).collect()
}

/// Checks that 8 bits and `cells` scales express the parameters.
fn check(entry: &str, qparams: &QParams, cells: usize) -> Result<(), Error> {
    let fail = |reason| Err(Error::Plan { entry: entry.to_owned(), reason });
    let found = (qparams.scale.len(), qparams.zero_point.len());
    if found != (cells, cells) {
        let (scales, zeros) = found;
        return fail(format!("expected {cells} scales, found {scales} and {zeros} zero points"));
    }
    let (low, high) = Container::of(qparams).range();
    if qparams.qmin < low || qparams.qmax > high || qparams.qmin >= qparams.qmax {
        let (qmin, qmax) = (qparams.qmin, qparams.qmax);
        return fail(format!("codes {qmin}..={qmax} fit neither int8 nor uint8"));
    }
    if let Some(s) = qparams.scale.iter().find(|s| !(s.is_normal() && **s > 0.0)) {
        return fail(format!("scale {s} is not a positive normal number"));
    }
    let outside = |z: &&i32| !(qparams.qmin..=qparams.qmax).contains(*z);
    if let Some(z) = qparams.zero_point.iter().find(outside) {
        return fail(format!("zero point {z} is outside {}..={}", qparams.qmin, qparams.qmax));
    }
    Ok(())
}
