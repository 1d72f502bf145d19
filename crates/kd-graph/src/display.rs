//! A graph as text, one operation a line, for people.

use std::fmt::{Display, Formatter, Result};

use crate::graph::{Dim, Graph, Op, Origin, ValueId};

impl Display for Graph {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for &id in &self.inputs {
            writeln!(f, "input  {} {}", Name(self, id), Shape(self, id))?;
        }
        for node in &self.nodes {
            write!(f, "{} {} = {}", Name(self, node.output), Shape(self, node.output), node.op.name())?;
            match &node.op {
                Op::Scalar(_, value) => write!(f, " {value}")?,
                Op::Conv { window, groups } => {
                    write!(f, " {:?}", window.kernel)?;
                    if *groups > 1 {
                        write!(f, " groups {groups}")?;
                    }
                }
                Op::ConvTranspose { window, groups, .. } => {
                    write!(f, " {:?}", window.kernel)?;
                    if *groups > 1 {
                        write!(f, " groups {groups}")?;
                    }
                }
                Op::Resize { output, mode } => write!(f, " {output:?} {mode}")?,
                Op::Clamp { min, max } => write!(f, " {min} {max}")?,
                Op::MaxPool { window, .. } | Op::AvgPool { window, .. } => write!(f, " {:?}", window.kernel)?,
                Op::Permute(axes) => write!(f, " {axes:?}")?,
                Op::Softmax(axis) | Op::LogSoftmax(axis) | Op::MeanDim(axis) => write!(f, " {axis}")?,
                Op::SumDim(axis) | Op::Concat(axis) => write!(f, " {axis}")?,
                _ => {}
            }
            for (i, &id) in node.inputs.iter().enumerate() {
                write!(f, "{}{}", if i == 0 { "  " } else { ", " }, Name(self, id))?;
            }
            for (site, _) in self.sites.iter().filter(|(_, id)| *id == node.output) {
                write!(f, "  @{site}")?;
            }
            writeln!(f)?;
        }
        for &id in &self.outputs {
            writeln!(f, "output {}", Name(self, id))?;
        }
        Ok(())
    }
}

struct Name<'a>(&'a Graph, ValueId);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match (self.0.param(self.1), &self.0.value(self.1).origin) {
            (Some(param), _) => write!(f, "{}", param.path),
            (None, Origin::Constant(values)) if values.len() == 1 => write!(f, "{}", values[0]),
            _ => write!(f, "%{}", self.1.0),
        }
    }
}

/// A value's shape: `[batch, 6, 28, 28]`.
pub(crate) struct Shape<'a>(pub(crate) &'a Graph, pub(crate) ValueId);

impl Display for Shape<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str("[")?;
        for (i, dim) in self.0.value(self.1).shape.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            match dim {
                Dim::Fixed(size) => write!(f, "{size}")?,
                Dim::Batch(1) => write!(f, "batch")?,
                Dim::Batch(factor) => write!(f, "{factor}·batch")?,
            }
        }
        write!(f, "]")
    }
}
