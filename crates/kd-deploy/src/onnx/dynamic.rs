//! Activations whose scale is found at run time, as plain arithmetic.
//!
//! `DynamicQuantizeLinear` knows unsigned bytes and one scale for a whole tensor only, batch included, so that an
//! example's result would depend on its neighbors. The same operations that fake quantization performs are therefore
//! written out in floats: the numbers are those of training, and no engine gets faster by them.

use kd_graph::ValueId;
use quant_core::{Scheme, Symmetry};

use super::builder::{Attribute, to_i64};
use super::lower::Lowering;

impl Lowering<'_> {
    /// Rounds a tensor with a scale for each row, or for each example of images; the tensor to read instead.
    pub(super) fn round_rows(&mut self, value: ValueId, name: &str, scheme: &Scheme) -> String {
        let rank = self.graph.value(value).shape.len();
        let axes: Vec<usize> = if rank > 3 { (1..rank).collect() } else { vec![rank.saturating_sub(1)] };
        let (symmetry, (qmin, qmax)) = scheme.grid().unwrap_or((Symmetry::Narrow, (-127, 127)));
        let (first, last) = (qmin as f32, qmax as f32);
        let [low_code, high_code] = [("smallest", first), ("largest", last)].map(|(word, code)| {
            let constant = self.builder.name(&format!("{name}_{word}"));
            self.builder.floats(&constant, &[], &[code]);
            constant
        });
        let mut rows = Rows { lowering: self, name, axes };
        let divided = |rows: &mut Rows<'_, '_>, x: &str, by: f32| {
            let by = rows.constant("divisor", by);
            rows.node("Div", &[x, &by])
        };
        let ends = |rows: &mut Rows<'_, '_>| {
            let zero = rows.constant("zero", 0.0);
            let (low, high) = (rows.reduced("ReduceMin", name), rows.reduced("ReduceMax", name));
            (rows.node("Min", &[&low, &zero]), rows.node("Max", &[&high, &zero]))
        };
        let half_step = |rows: &mut Rows<'_, '_>, divisor: f32| {
            let size = rows.node("Abs", &[name]);
            let most = rows.reduced("ReduceMax", &size);
            divided(rows, &most, divisor)
        };
        let mut low = None;
        let scale = match symmetry {
            Symmetry::Narrow => half_step(&mut rows, last),
            Symmetry::FullHalfStep => half_step(&mut rows, (last - first) / 2.0),
            Symmetry::NoClip => {
                let (low, high) = ends(&mut rows);
                let (low, high) = (divided(&mut rows, &low, first), divided(&mut rows, &high, last));
                rows.node("Max", &[&low, &high])
            }
            Symmetry::Affine => {
                let (least, high) = ends(&mut rows);
                let width = rows.node("Sub", &[&high, &least]);
                low = Some(least);
                divided(&mut rows, &width, last - first)
            }
        };
        // A row of zeros stays one with any scale.
        let least = rows.constant("least", f32::MIN_POSITIVE);
        let scale = rows.node("Max", &[&scale, &least]);
        let ratio = rows.node("Div", &[name, &scale]);
        let mut code = rows.node("Round", &[&ratio]);
        let zero_point = low.map(|low| {
            let steps = rows.node("Div", &[&low, &scale]);
            let steps = rows.node("Round", &[&steps]);
            let zero = rows.node("Sub", &[&low_code, &steps]);
            rows.node("Clip", &[&zero, &low_code, &high_code])
        });
        if let Some(zero) = &zero_point {
            code = rows.node("Add", &[&code, zero]);
        }
        code = rows.node("Clip", &[&code, &low_code, &high_code]);
        if let Some(zero) = &zero_point {
            code = rows.node("Sub", &[&code, zero]);
        }
        rows.node("Mul", &[&code, &scale])
    }
}

/// Nodes that belong to the rounding of one tensor.
struct Rows<'a, 'b> {
    lowering: &'a mut Lowering<'b>,
    name: &'a str,
    axes: Vec<usize>,
}

impl Rows<'_, '_> {
    fn node(&mut self, operator: &'static str, inputs: &[&str]) -> String {
        self.with(operator, inputs, [])
    }

    fn with<const N: usize>(
        &mut self,
        operator: &'static str,
        inputs: &[&str],
        attributes: [(&'static str, Attribute); N],
    ) -> String {
        let builder = &mut self.lowering.builder;
        let output = builder.name(&format!("{}_rows_{}", self.name, operator.to_lowercase()));
        builder.node(operator, inputs, &output, attributes);
        output
    }

    fn constant(&mut self, word: &str, value: f32) -> String {
        let builder = &mut self.lowering.builder;
        let name = builder.name(&format!("{}_rows_{word}", self.name));
        builder.floats(&name, &[], &[value]);
        name
    }

    /// The extreme of each row. Up to operator set 17 the axes are an attribute, then an input.
    fn reduced(&mut self, operator: &'static str, x: &str) -> String {
        let axes: Vec<i64> = self.axes.iter().map(|&axis| to_i64(axis)).collect();
        let keep = ("keepdims", Attribute::Int(1));
        if self.lowering.opset < 18 {
            return self.with(operator, &[x], [("axes", Attribute::Ints(axes)), keep]);
        }
        let builder = &mut self.lowering.builder;
        let name = builder.name(&format!("{}_rows_axes", self.name));
        builder.int64s(&name, &[axes.len()], &axes);
        self.with(operator, &[x, &name], [keep])
    }
}
