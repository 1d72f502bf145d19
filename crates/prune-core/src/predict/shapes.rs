//! Operations that move elements: where the units that stay stand behind them.

use kd_graph::{Dim, Node, Origin};

use super::flow::Flow;
use super::reshape;
use super::units::{Rule, Units, agree, wished};

impl Flow<'_> {
    pub(super) fn reshape(&self, node: &Node, x: &[Units]) -> Rule<Vec<Units>> {
        let (from, to) = (&self.graph.value(node.inputs[0]).shape, &self.graph.value(node.output).shape);
        let groups = reshape::groups(from, to).ok_or("its two shapes do not hold the same elements")?;
        let mut out = vec![Units::default(); to.len()];
        for group in groups {
            let units = &x[group.from.clone()];
            if !units.iter().any(Units::cut) {
                continue;
            }
            let sizes = |dims: &[Dim]| -> Rule<Vec<usize>> {
                dims.iter()
                    .map(|dim| match dim {
                        Dim::Fixed(size) => Ok(*size),
                        Dim::Batch(_) => Err("it mixes the removed units with the batch".into()),
                    })
                    .collect()
            };
            let keeps: Vec<_> = units.iter().map(|units| units.keep.clone()).collect();
            let flat = reshape::flatten(&sizes(&from[group.from.clone()])?, &keeps);
            let keeps = reshape::unflatten(&sizes(&to[group.to.clone()])?, &flat)
                .ok_or("what is left cannot be written in the shape that it makes")?;
            let loud = units.iter().find_map(|units| units.loud.clone());
            for (dim, keep) in group.to.clone().zip(keeps) {
                let loud = keep.is_some().then(|| loud.clone()).flatten();
                out[dim] = Units { keep, loud };
            }
        }
        Ok(out)
    }

    pub(super) fn expand(&self, node: &Node, x: &[Units]) -> Rule<Vec<Units>> {
        let rank = self.graph.value(node.output).shape.len();
        let zero = matches!(&self.graph.value(node.inputs[0]).origin,
            Origin::Constant(values) if values.iter().all(|&value| value == 0.0));
        let mut out: Vec<Units> = (0..rank).map(|dim| wished(&self.wishes, node.output, dim, zero)).collect();
        // The target's sizes are plain numbers, which a forward pass may have read off the tensor or off a field;
        // those that are not expanded must come from the tensor.
        for (out, x) in out[rank - x.len()..].iter_mut().zip(x).filter(|(_, x)| x.cut()) {
            out.clone_from(x);
        }
        Ok(out)
    }

    pub(super) fn concat(&self, axis: usize, node: &Node, inputs: &[Vec<Units>]) -> Rule<Vec<Units>> {
        let mut out = inputs[0].clone();
        for (at, input) in inputs.iter().enumerate().skip(1) {
            for dim in (0..out.len()).filter(|&dim| dim != axis) {
                agree("its first part", &inputs[0][dim], "another part", &input[dim]).map_err(|it| {
                    it.wishing((node.inputs[0], dim, &inputs[0][dim]), (node.inputs[at], dim, &input[dim]))
                })?;
                out[dim].loud = out[dim].loud.take().or(input[dim].loud.clone());
            }
        }
        if inputs.iter().any(|input| input[axis].cut()) {
            let (mut keep, mut loud, mut start) = (Vec::new(), None, 0);
            for (input, &value) in inputs.iter().zip(&node.inputs) {
                let size = self.size(value, axis);
                match &input[axis].keep {
                    Some(kept) => keep.extend(kept.iter().map(|&unit| start + unit)),
                    None => keep.extend(start..start + size),
                }
                loud = loud.or(input[axis].loud.clone());
                start += size;
            }
            out[axis] = Units { keep: Some(keep), loud };
        }
        Ok(out)
    }
}

/// Parts of dimensions: their bounds follow the units that stay.
pub(super) fn slice(ranges: &[(usize, usize)], x: &[Units]) -> Rule<Vec<Units>> {
    let part = |(units, &(start, end)): (&Units, &(usize, usize))| {
        let Some(keep) = &units.keep else { return Ok(Units::default()) };
        let inside = keep.iter().filter(|unit| (start..end).contains(unit));
        let inside: Vec<usize> = inside.map(|unit| unit - start).collect();
        match inside.len() {
            0 => Err(format!("nothing would be left between its bounds {start} and {end}").into()),
            left if left == end - start => Ok(Units::default()),
            _ => Ok(Units { keep: Some(inside), loud: units.loud.clone() }),
        }
    };
    x.iter().zip(ranges).map(part).collect()
}
