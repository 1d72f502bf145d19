//! PACT: the clipping level of an activation is a parameter.
//!
//! Choi et al., "PACT: Parameterized Clipping Activation for Quantized Neural Networks" (2018), arXiv 1805.06085.
//! Public implementation: distiller's `clipped_linear.py`. It takes the place of a ReLU; the loss should hold a
//! penalty λα², and α starts at 8 there.

use burn::tensor::Tensor;

use super::carry::{Rounded, carry, positive, steps};
use crate::Error;

/// y = clamp(x, 0, α) on the grid of `2^bits − 1` steps from 0 to α: s = α/(2^bits − 1), ŷ = s · clamp(round(x/s)).
///
/// ```text
/// ∂ŷ/∂x = 1 for 0 ≤ x < α, else 0          ∂ŷ/∂α = 1 for x ≥ α, else 0
/// ```
///
/// `alpha` broadcasts to `x`.
///
/// # Errors
///
/// [`Error::Setting`] unless there are 1 to 16 bits.
pub fn pact<const D: usize>(x: Tensor<D>, alpha: Tensor<D>, bits: u32) -> Result<Tensor<D>, Error> {
    let steps = steps(bits)?;
    let constant = x.clone().without_autodiff();
    let level = positive(alpha.clone());
    let scale = positive(level.clone().div_scalar(f64::from(steps)));
    let zero = scale.zeros_like();
    let rounded = Rounded::of(constant.clone(), scale, zero, 0, steps);
    // x − α has the sign of the comparison, without a tensor of comparisons against a broadcast one.
    let above = (constant.clone() - level).greater_equal_elem(0.0);
    let outside = constant.lower_elem(0.0).bool_or(above.clone());
    let by_alpha = alpha * rounded.steps.zeros_like().mask_fill(above, 1.0);
    Ok(carry(rounded.value, x.mask_fill(outside, 0.0) + by_alpha))
}
