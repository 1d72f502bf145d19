//! Operations with weights.

use super::elements::Either;
use super::flow::Flow;
use super::units::{Rule, Units, agree, map_loud, spatial};

impl Flow<'_> {
    pub(super) fn conv(&mut self, index: usize, groups: usize, inputs: &[Vec<Units>]) -> Rule<Vec<Units>> {
        let (x, weight, bias) = (&inputs[0], &inputs[1], inputs.get(2));
        let node = &self.graph.nodes[index];
        spatial(x)?;
        spatial(weight)?;
        if groups == 1 {
            let (a, b) = ((node.inputs[0], 1, &x[1]), (node.inputs[1], 1, &weight[1]));
            agree("its input", a.2, "its weight's input channels", b.2).map_err(|it| it.wishing(a, b))?;
        } else {
            let (inputs, outputs) = (self.size(node.inputs[1], 1), self.size(node.inputs[1], 0) / groups);
            let members = |units: &Units, size: usize, group: usize| -> Vec<usize> {
                let of_group = group * size..(group + 1) * size;
                let stays = |unit: &usize| units.keep.as_ref().is_none_or(|keep| keep.contains(unit));
                of_group.filter(stays).map(|unit| unit - group * size).collect()
            };
            // The weight's input channels are those of any group: groups that stay must keep the same ones, and
            // those that go, as channels of a depthwise convolution do, take their outputs along.
            let every = members(&weight[1], inputs, 0);
            let mut each = None;
            for group in 0..groups {
                let (read, written) = (members(&x[1], inputs, group), members(&weight[0], outputs, group));
                if read != every && !(read.is_empty() && written.is_empty()) {
                    return Err(format!(
                        "its {groups} groups, a plain number, would not keep the same input channels"
                    )
                    .into());
                }
                if !read.is_empty() && *each.get_or_insert(written.len()) != written.len() {
                    return Err(format!(
                        "its {groups} groups, a plain number, would not keep as many outputs each"
                    )
                    .into());
                }
            }
        }
        self.contract(index, (node.inputs[0], 1, &x[1]), (node.inputs[1], 1, &weight[1]));
        let mut out = x.clone();
        out[1] = biased(&weight[0], bias)?;
        self.rows(&mut out, 1, bias.is_some());
        Ok(out)
    }

    pub(super) fn conv_transpose(
        &mut self,
        index: usize,
        groups: usize,
        inputs: &[Vec<Units>],
    ) -> Rule<Vec<Units>> {
        let (x, weight, bias) = (&inputs[0], &inputs[1], inputs.get(2));
        spatial(x)?;
        spatial(weight)?;
        agree("its input", &x[1], "its weight's input channels", &weight[0])?;
        if groups > 1 && (weight[0].cut() || weight[1].cut()) {
            return Err(format!("its {groups} groups are a plain number").into());
        }
        let inputs = &self.graph.nodes[index].inputs;
        self.contract(index, (inputs[0], 1, &x[1]), (inputs[1], 0, &weight[0]));
        let mut out = x.clone();
        out[1] = biased(&weight[1], bias)?;
        self.rows(&mut out, 1, bias.is_some());
        Ok(out)
    }

    pub(super) fn linear(&mut self, index: usize, inputs: &[Vec<Units>]) -> Rule<Vec<Units>> {
        let (x, weight, bias) = (&inputs[0], &inputs[1], inputs.get(2));
        let last = x.len() - 1;
        let inputs = &self.graph.nodes[index].inputs;
        let (a, b) = ((inputs[0], last, &x[last]), (inputs[1], 0, &weight[0]));
        agree("its input", a.2, "its weight's inputs", b.2).map_err(|it| it.wishing(a, b))?;
        self.contract(index, a, b);
        let mut out = x.clone();
        out[last] = biased(&weight[1], bias)?;
        self.rows(&mut out, last, bias.is_some());
        Ok(out)
    }

    pub(super) fn matmul(&mut self, index: usize, inputs: &[Vec<Units>]) -> Rule<Vec<Units>> {
        let (lhs, rhs) = (&inputs[0], &inputs[1]);
        if lhs.len() != rhs.len() {
            return Err(format!("it joins ranks {} and {}", lhs.len(), rhs.len()).into());
        }
        let (m, k) = (lhs.len() - 2, lhs.len() - 1);
        let node = &self.graph.nodes[index];
        let (a, b) = ((node.inputs[0], k, &lhs[k]), (node.inputs[1], m, &rhs[m]));
        agree("the left factor", a.2, "the right factor", b.2).map_err(|it| it.wishing(a, b))?;
        self.contract(index, a, b);
        let mut out = Vec::new();
        for dim in 0..m {
            out.push(self.meet(node, dim, &lhs[dim], &rhs[dim], Either::Zero)?);
        }
        out.push(lhs[m].clone());
        out.push(rhs[k].clone());
        Ok(out)
    }

    pub(super) fn layer_norm(&mut self, index: usize, inputs: &[Vec<Units>]) -> Rule<Vec<Units>> {
        let x = &inputs[0];
        let last = x.len() - 1;
        self.note(&x[last], index, "averages over the removed units");
        let mut out = map_loud(x.clone(), Some("layer norm of zeros is its shift".into()));
        out[last] = norm(&x[last], &inputs[1..], &inputs[1..])?;
        Ok(out)
    }

    /// A layer that mixes dimension `mixed` alone keeps removed units of the others, but adds its bias to them.
    fn rows(&self, out: &mut [Units], mixed: usize, biased: bool) {
        for (dim, units) in out.iter_mut().enumerate() {
            if dim != mixed && biased && units.cut() {
                units.loud = Some("a bias is added to them".into());
            }
        }
    }
}

/// The output units of a layer: those of its weight, silent if the bias is too.
fn biased(weight: &Units, bias: Option<&Vec<Units>>) -> Rule<Units> {
    let mut out = weight.clone();
    if let Some(bias) = bias {
        agree("its weight", weight, "its bias", &bias[0])?;
        out.loud = out.loud.or(bias[0].loud.clone());
    }
    Ok(out)
}

/// The units of a normalized dimension: all of `vectors` lose what the input loses; `scale` make the result zero.
fn norm(x: &Units, vectors: &[Vec<Units>], scale: &[Vec<Units>]) -> Rule<Units> {
    for vector in vectors {
        agree("its input", x, "its parameters", &vector[0])?;
    }
    Ok(Units { keep: x.keep.clone(), loud: scale.iter().find_map(|vector| vector[0].loud.clone()) })
}

pub(super) fn batch_norm(inputs: &[Vec<Units>]) -> Rule<Vec<Units>> {
    let mut out = map_loud(inputs[0].clone(), Some("batch norm of zeros is not zero".into()));
    out[1] = norm(&inputs[0][1], &inputs[1..], &inputs[1..3])?;
    Ok(out)
}

pub(super) fn embedding(inputs: &[Vec<Units>]) -> Rule<Vec<Units>> {
    let (weights, indices) = (&inputs[0], &inputs[1]);
    if weights[0].cut() {
        return Err("entries of its table would be removed, which its indices name by number".into());
    }
    Ok(indices.iter().chain(&weights[1..]).cloned().collect())
}
