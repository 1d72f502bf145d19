//! What the loss would change by, to first order, without a weight: weight times gradient.
//!
//! Molchanov et al., "Importance Estimation for Neural Network Pruning", arXiv:1906.10771.

use serde::{Deserialize, Serialize};

use super::{Criterion, Entry, GRAD, Knob, Removes, UNIT, Unit, WEIGHT, rows};
use crate::{Counts, Error, Gathers, Inputs};

/// Weight times gradient over the elements of a unit, in one of four forms.
///
/// The forms differ in what cancels: within the bars of `abs-sum` and `square-sum`, elements of opposite effect on
/// the loss do, as they would if the whole unit were removed. For an element `sum-abs` and `abs-sum` are the same, and
/// so are the two others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Taylor {
    /// What is summed.
    pub form: Form,
    /// What gets a score; without it, what the pattern ranks, and channels without a pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

/// How products of weights and gradients become one score.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// `Σ |w g|`.
    #[default]
    SumAbs,
    /// `|Σ w g|`.
    AbsSum,
    /// `Σ (w g)²`.
    SumSquare,
    /// `(Σ w g)²`.
    SquareSum,
}

impl Form {
    fn of(self, products: &[f64]) -> f64 {
        let sum = || products.iter().sum::<f64>();
        match self {
            Form::SumAbs => products.iter().map(|product| product.abs()).sum(),
            Form::AbsSum => sum().abs(),
            Form::SumSquare => products.iter().map(|product| product * product).sum(),
            Form::SquareSum => sum() * sum(),
        }
    }
}

impl Criterion for Taylor {
    fn gathers(&self) -> Gathers {
        Gathers::Gradients
    }

    fn counts(&self) -> Counts {
        Counts::Weights
    }

    fn name(&self) -> &str {
        ENTRY.name
    }

    fn unit(&self) -> Option<Unit> {
        self.unit
    }

    fn usual_unit(&self) -> Unit {
        Unit::Channel
    }

    fn scores(&self, inputs: &Inputs<'_>, unit: Unit) -> Result<Vec<f64>, Error> {
        let (weight, grad) = (inputs.weight()?, inputs.grad()?);
        let products: Vec<f64> = weight.values().iter().zip(grad.values()).map(|(w, g)| w * g).collect();
        let each = match unit {
            Unit::Element => 1,
            Unit::Channel => weight.columns(),
        };
        Ok(rows(&products, each).map(|products| self.form.of(products)).collect())
    }
}

pub(super) const ENTRY: Entry = Entry {
    name: "taylor",
    summary: "weight times gradient, summed over a channel in one of four forms",
    formula: "sum-abs: Σ|wg|;  abs-sum: |Σ wg|;  sum-square: Σ(wg)²;  square-sum: (Σ wg)²",
    paper: "Molchanov et al. 2019, arXiv:1906.10771",
    reference: "VainF/Torch-Pruning 1.6, importance.py, GroupTaylorImportance(), of coupled channels \
                too: `sum-abs` is its default, `abs-sum` its multivariable=True",
    when: "With gradients of more than a few batches. At a minimum of the loss the gradient's mean is 0, and it is noise \
           that ranks.",
    inputs: &[WEIGHT, GRAD],
    removes: Removes::Any,
    knobs: &[
        Knob {
            name: "form",
            values: "\"sum-abs\" | \"abs-sum\" | \"sum-square\" | \"square-sum\"",
            summary: "how the products of a channel become one score",
        },
        UNIT,
    ],
    example: "{ form = \"sum-abs\" }",
};
