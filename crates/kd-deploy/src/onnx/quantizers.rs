//! The quantizers of activations, written out.
//!
//! A value with a pair (`pairs.rs`) is read by everyone through its dequantized twin, which is what fake quantization
//! in training does.

use std::collections::BTreeMap;

use kd_graph::{Fold, Graph, ValueId};
use quant_core::{QParams, Scheme};

use super::lower::Lowering;
use super::packed::{Element, Packed};
use super::pairs::{Before, Pair, dynamic_values, pairs, signed_container};
use super::proto::tensor_proto::DataType;
use crate::plan::{Codes, Container, QuantizedWeight, codes};
use crate::{Error, QuantPlan, Weights, WeightsContainer};

/// The plan, worked out: where pairs stand, and all codes.
pub(crate) struct Quantized<'a> {
    pub(crate) plan: &'a QuantPlan,
    pub(crate) pairs: BTreeMap<ValueId, Pair>,
    pub(crate) codes: Codes,
    /// Values with scales found at run time.
    pub(crate) dynamic: BTreeMap<ValueId, Scheme>,
    /// What signed activations are stored in.
    pub(crate) signed: Container,
    /// Rounded weights whose codes are stored, by path.
    pub(super) packed: BTreeMap<String, Packed>,
}

impl<'a> Quantized<'a> {
    pub(crate) fn new(
        graph: &Graph,
        weights: &Weights,
        plan: &'a QuantPlan,
        folds: &[Fold],
    ) -> Result<Self, Error> {
        let pairs = pairs(graph, plan, folds)?;
        let input_scale = |value: ValueId| {
            if plan.activations.is_empty() {
                return Ok(None);
            }
            let pair = pairs.get(&value).ok_or_else(|| Error::Graph {
                place: format!("value {}", value.0),
                reason: "a layer reads a value that is not quantized".to_owned(),
            })?;
            Ok(Some(plan.activation(&pair.site)?.qparams.scale[0]))
        };
        let codes = codes(graph, weights, plan, folds, input_scale)?;
        let signed = signed_container(graph, &pairs);
        let dynamic = dynamic_values(graph, plan)?;
        let packed = match plan.container {
            WeightsContainer::Int8 => BTreeMap::new(),
            WeightsContainer::Packed => {
                let all = plan.rounded.iter();
                all.filter_map(|(path, weight)| Some((path.clone(), Packed::of(weight)?))).collect()
            }
        };
        Ok(Self { plan, pairs, codes, dynamic, signed, packed })
    }

    /// Whether codes are stored in the narrowest type.
    pub(super) fn packs(&self) -> bool {
        self.plan.container == WeightsContainer::Packed
    }

    /// Whether a layer with this weight is computed in floats.
    ///
    /// ONNX Runtime 1.32 takes 2-bit weights into its integer operators, which then refuse them; those of 4 bits it
    /// leaves alone.
    pub(super) fn beside_floats(&self, path: &str) -> bool {
        let narrow = |weight: &QuantizedWeight| {
            self.packs() && Element::narrowest(weight.limits).is_some_and(|element| element.bits < 4)
        };
        self.plan.rounded.contains_key(path) || self.codes.weights.get(path).is_some_and(narrow)
    }

    /// The operator set that weights need.
    pub(super) fn opset(&self) -> i64 {
        let rounded = self.packed.values().map(Packed::opset);
        let weights = self.codes.weights.values().filter(|_| self.packs());
        let whole = weights.filter_map(|weight| Element::narrowest(weight.limits)).map(Element::opset);
        rounded.chain(whole).max().unwrap_or(13)
    }
}

impl<'a> Lowering<'a> {
    /// Whether a value is read through something that rounds it.
    pub(super) fn is_rounded(&self, value: ValueId) -> bool {
        let dynamic = self.quantized.as_ref().is_some_and(|q| q.dynamic.contains_key(&value));
        dynamic || self.pair(value).is_some()
    }

    fn pair(&self, value: ValueId) -> Option<&Pair> {
        self.quantized.as_ref()?.pairs.get(&value)
    }

    /// Says that a tensor holds a value, and adds the value's quantizer.
    pub(super) fn define(&mut self, value: ValueId, name: String) {
        if let Some(scheme) = self.quantized.as_ref().and_then(|q| q.dynamic.get(&value)).copied() {
            let rounded = self.round_rows(value, &name, &scheme);
            self.names.insert(value, rounded);
            return;
        }
        let Some(Pair { site, before }) = self.pair(value).cloned() else {
            self.names.insert(value, name);
            return;
        };
        let mut current = name.clone();
        if before == Before::PairAndClip {
            current = self.quantize(&name, &current, &site);
        }
        if before != Before::Nothing {
            current = self.clip(&name, &current, &site);
        }
        current = self.quantize(&name, &current, &site);
        self.names.insert(value, current);
    }

    /// Clips a tensor to what the codes of a site stand for; the tensor to read instead.
    fn clip(&mut self, name: &str, tensor: &str, site: &str) -> String {
        let qparams = self.qparams(site);
        let step = |code: i32| qparams.scale[0] * (code - qparams.zero_point[0]) as f32;
        let bounds = [("smallest", step(qparams.qmin)), ("largest", step(qparams.qmax))];
        let [low, high] = bounds.map(|(word, bound)| {
            let bound_name = self.builder.name(&format!("{name}_{word}"));
            self.builder.floats(&bound_name, &[], &[bound]);
            bound_name
        });
        let clipped = self.builder.name(&format!("{name}_clipped"));
        self.builder.node("Clip", &[tensor, &low, &high], &clipped, []);
        clipped
    }

    /// The tensor of a value for a layer whose weight stays float, or has 2 bits.
    ///
    /// Where a float weight stands beside a `DequantizeLinear`, ONNX Runtime rounds the weight to 8 bits of its own
    /// accord (`WeightBiasQuantization`), and computes another model. A `Clip` between the two, which changes nothing,
    /// keeps it from that.
    pub(super) fn read_beside_floats(&mut self, value: ValueId) -> Result<String, Error> {
        let name = self.read(value)?;
        let Some(Pair { site, .. }) = self.pair(value).cloned() else { return Ok(name) };
        if let Some(clipped) = self.beside_floats.get(&value) {
            return Ok(clipped.clone());
        }
        let clipped = self.clip(&name, &name, &site);
        self.beside_floats.insert(value, clipped.clone());
        Ok(clipped)
    }

    /// The numbers of a site that has a pair.
    fn qparams(&self, site: &str) -> &'a QParams {
        let plan = self.quantized.as_ref().expect("there is a pair").plan;
        &plan.activations[site].qparams
    }

    /// Adds a pair on a tensor, for the value of this name, and returns the tensor behind it.
    fn quantize(&mut self, name: &str, tensor: &str, site: &str) -> String {
        let (scale, zero_point) = self.site_scale(site);
        let codes = self.builder.name(&format!("{name}_quantized"));
        let back = self.builder.name(&format!("{name}_dequantized"));
        self.builder.node("QuantizeLinear", &[tensor, &scale, &zero_point], &codes, []);
        self.builder.node("DequantizeLinear", &[&codes, &scale, &zero_point], &back, []);
        back
    }

    /// Scale and zero point of a site, shared by all its pairs.
    fn site_scale(&mut self, site: &str) -> (String, String) {
        if let Some(names) = self.scales.get(site) {
            return names.clone();
        }
        let qparams = self.qparams(site);
        let scale = self.builder.name(&format!("{site}_scale"));
        self.builder.floats(&scale, &[], &qparams.scale);
        let zero_point = self.builder.name(&format!("{site}_zero_point"));
        let signed = self.quantized.as_ref().map_or(Container::Int8, |q| q.signed);
        let (kind, shift) = match Container::of(qparams) {
            Container::Int8 if signed == Container::Uint8 => (Container::Uint8, 128),
            planned => (planned, 0),
        };
        let code = low_byte(qparams.zero_point[0] + shift);
        self.builder.bytes(&zero_point, kind.data_type(), &[], vec![code]);
        self.scales.insert(site.to_owned(), (scale.clone(), zero_point.clone()));
        (scale, zero_point)
    }
}

impl Container {
    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::Int8 => DataType::Int8,
            Self::Uint8 => DataType::Uint8,
        }
    }
}

/// The byte of a code in its container.
fn low_byte(code: i32) -> u8 {
    code as u8
}
