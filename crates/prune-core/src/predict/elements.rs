//! Operations element by element: whether they make something else of zero.

use kd_graph::{Binary, Dim, Node, Unary};

use super::flow::Flow;
use super::units::{Loud, Rule, Units, agree, map_loud, wild};

/// Which side's zero makes a result zero.
#[derive(Clone, Copy)]
pub(super) enum Either {
    Both,
    Zero,
    Left,
    Never,
}

impl Flow<'_> {
    pub(super) fn binary(&mut self, op: Binary, node: &Node, inputs: &[Vec<Units>]) -> Rule<Vec<Units>> {
        let (lhs, rhs) = (&inputs[0], &inputs[1]);
        if lhs.len() != rhs.len() {
            return Err(format!("it joins ranks {} and {}", lhs.len(), rhs.len()).into());
        }
        let zero = match op {
            Binary::Add | Binary::Sub | Binary::Greater | Binary::Lower => Either::Both,
            Binary::Mul => Either::Zero,
            Binary::Div => Either::Left,
            Binary::Equal | Binary::GreaterEqual | Binary::LowerEqual => Either::Never,
        };
        (0..lhs.len()).map(|dim| self.meet(node, dim, &lhs[dim], &rhs[dim], zero)).collect()
    }

    /// One dimension of two values that broadcast against each other.
    pub(super) fn meet(
        &self,
        node: &Node,
        dim: usize,
        lhs: &Units,
        rhs: &Units,
        zero: Either,
    ) -> Rule<Units> {
        let one = |input: usize| self.graph.value(node.inputs[input]).shape[dim] == Dim::Fixed(1);
        // A value of size one is the same number for every unit, and not known to be zero.
        let constant = || Some(Loud::from("a number that all units share is joined to them"));
        let (keep, left, right) = match (one(0), one(1)) {
            (false, true) => (&lhs.keep, lhs.loud.clone(), constant()),
            (true, false) => (&rhs.keep, constant(), rhs.loud.clone()),
            _ => {
                agree("the left side", lhs, "the right side", rhs)
                    .map_err(|it| it.wishing((node.inputs[0], dim, lhs), (node.inputs[1], dim, rhs)))?;
                (&lhs.keep, lhs.loud.clone(), rhs.loud.clone())
            }
        };
        if keep.is_none() {
            return Ok(Units::default());
        }
        let wild = wild(&left).or(wild(&right));
        let loud = wild.or_else(|| match zero {
            Either::Both => left.or(right),
            Either::Zero => left.and(right),
            Either::Left if right.is_none() => {
                let reason = "a division by zero makes them no number".into();
                Some(Loud { reason, finite: false })
            }
            Either::Left => left,
            Either::Never => Some("a comparison of zeros is one".into()),
        });
        Ok(Units { keep: keep.clone(), loud })
    }

    /// What a mask chooses from two values.
    pub(super) fn choose(&self, node: &Node, inputs: &[Vec<Units>]) -> Rule<Vec<Units>> {
        let rank = self.graph.value(node.output).shape.len();
        if let Some(other) = inputs.iter().map(Vec::len).find(|&other| other != rank) {
            return Err(format!("it joins ranks {rank} and {other}").into());
        }
        let dim = |dim: usize| {
            let there: Vec<usize> = (0..3).filter(|&input| self.size(node.inputs[input], dim) != 1).collect();
            let at = |input: usize| (node.inputs[input], dim, &inputs[input][dim]);
            for pair in there.windows(2) {
                let (a, b) = (at(pair[0]), at(pair[1]));
                agree("one of its operands", a.2, "another", b.2).map_err(|it| it.wishing(a, b))?;
            }
            let Some(keep) = there.first().and_then(|&input| inputs[input][dim].keep.clone()) else {
                return Ok(Units::default());
            };
            // What is chosen is zero if both are, and both have these units.
            let silent = |input: &usize| there.contains(input) && inputs[*input][dim].loud.is_none();
            let zero = [1, 2].iter().all(silent);
            let wild = wild(&inputs[1][dim].loud).or(wild(&inputs[2][dim].loud));
            let loud = wild.or((!zero).then(|| "a mask chooses what is not zero".into()));
            Ok(Units { keep: Some(keep), loud })
        };
        (0..rank).map(dim).collect()
    }
}

pub(super) fn scalar(op: Binary, value: f64, x: Vec<Units>) -> Vec<Units> {
    let zero = match op {
        Binary::Add | Binary::Sub => value == 0.0,
        Binary::Mul => value.is_finite(),
        Binary::Div => value != 0.0,
        Binary::Equal => value != 0.0,
        Binary::Greater => value >= 0.0,
        Binary::GreaterEqual => value > 0.0,
        Binary::Lower => value <= 0.0,
        Binary::LowerEqual => value < 0.0,
    };
    let reason = format!("{} of {value} makes something else of zero", format!("{op:?}").to_lowercase());
    let finite = !(op == Binary::Div && value == 0.0) && value.is_finite();
    map_loud(x, (!zero).then_some(Loud { reason, finite }))
}

pub(super) fn unary_of_zero(unary: Unary) -> Option<Loud> {
    match unary {
        Unary::Sigmoid => Some("sigmoid of zero is a half".into()),
        Unary::Exp => Some("exponential of zero is one".into()),
        Unary::Log => Some(Loud { reason: "logarithm of zero is infinite".into(), finite: false }),
        Unary::Relu
        | Unary::Gelu
        | Unary::Tanh
        | Unary::Sqrt
        | Unary::Abs
        | Unary::Neg
        | Unary::Erf
        | Unary::Truncate => None,
    }
}
