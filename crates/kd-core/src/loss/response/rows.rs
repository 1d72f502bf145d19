//! Rows of logits that count, and arithmetic on each of them: what the newer losses of this group share.
//!
//! Where rows are tokens, a mask says which of them are padding. Those are filled with zeros before anything is
//! computed, so that NaN there reaches neither the value nor a gradient.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Bool, Tensor};

use super::kl::Reduction;
use crate::Error;
use crate::loss::math::{divide, sum_rows};

/// Which rows of `[rows, C]` count.
pub(crate) struct Rows {
    rows: usize,
    masked: Option<Masked>,
}

struct Masked {
    /// `[rows, 1]`
    ignored: Tensor<2, Bool>,
    /// At least 1.
    counted: Tensor<1>,
    batch: usize,
}

impl Rows {
    /// All `rows`, or those that the mask `[B, L]` of 1 and 0 keeps.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for a mask of another size.
    pub(crate) fn of(loss: &'static str, rows: usize, mask: Option<&Tensor<2>>) -> Result<Self, Error> {
        let Some(mask) = mask else { return Ok(Rows { rows, masked: None }) };
        let [batch, length] = mask.dims();
        if rows != batch * length {
            let expected = "[B, L], as the logits [B, L, C]";
            return Err(Error::Shape { loss, input: "mask", expected, found: vec![batch, length] });
        }
        let mask = mask.clone().without_autodiff().reshape([rows, 1]);
        let counted = sum_rows(mask.clone()).clamp_min(1.0);
        Ok(Rows { rows, masked: Some(Masked { ignored: mask.equal_elem(0.0), counted, batch }) })
    }

    /// `x`, `[rows, C]`, with zeros in ignored rows.
    pub(crate) fn clear(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.masked {
            None => x,
            Some(masked) => {
                let shape = x.dims();
                x.mask_fill(masked.ignored.clone().expand(shape), 0.0)
            }
        }
    }

    /// The sum of `[rows, 1]` divided as `reduction` says.
    pub(crate) fn reduce(&self, each: Tensor<2>, classes: usize, reduction: Reduction) -> Tensor<1> {
        let sum = sum_rows(self.clear(each));
        let classes = classes as f64;
        match (reduction, &self.masked) {
            (Reduction::Sum, _) => sum,
            (Reduction::BatchMean | Reduction::TokenMean, None) => divide(sum, self.rows as f64),
            (Reduction::Mean, None) => divide(sum, self.rows as f64 * classes),
            (Reduction::BatchMean, Some(masked)) => divide(sum, masked.batch as f64),
            (Reduction::TokenMean, Some(masked)) => sum / masked.counted.clone(),
            (Reduction::Mean, Some(masked)) => divide(sum, classes) / masked.counted.clone(),
        }
    }

    /// The sum of `[rows, 1]` over B.
    pub(crate) fn batch_mean(&self, each: Tensor<2>) -> Tensor<1> {
        self.reduce(each, 1, Reduction::BatchMean)
    }

    /// The sum of `[rows, 1]` over the number of rows that count.
    pub(crate) fn token_mean(&self, each: Tensor<2>) -> Tensor<1> {
        self.reduce(each, 1, Reduction::TokenMean)
    }
}

/// `KL(softmax(teacher / t) ‖ softmax(student / t))` of each row, `[rows, 1]`, for temperatures `t` of shape
/// `[rows, 1]` or `[1, 1]`.
pub(crate) fn kl_at(student: Tensor<2>, teacher: Tensor<2>, t: Tensor<2>) -> Tensor<2> {
    let (log_s, log_t) = (log_softmax(student / t.clone(), 1), log_softmax(teacher / t, 1));
    (log_t.clone().exp() * (log_t - log_s)).sum_dim(1)
}

/// `log Σ exp(x)` of each row, `[rows, 1]`.
pub(crate) fn log_sum(x: Tensor<2>) -> Tensor<2> {
    // The largest one as a constant: the derivative of the whole does not depend on it.
    let largest = x.clone().without_autodiff().max_dim(1);
    (x - largest.clone()).exp().sum_dim(1).log() + largest
}
