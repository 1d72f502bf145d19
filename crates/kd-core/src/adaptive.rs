//! Weights of an objective that nobody has to tune: trained ones, and ones that balance gradients.
//!
//! They are arithmetic on the values of [`Objective::evaluate`](crate::Objective::evaluate) and on gradients; an
//! objective's own weights stay what its recipe says. Trained weights follow what is easy, balanced ones what is small:
//! neither knows which term matters, so compare them with a plain sum before trusting either.

use burn::tensor::{Gradients, Tensor};

use crate::{Error, Feature, Parameter};

/// The sum of losses with one trained number s_i for each:
///
/// ```text
/// L = Σ_i exp(−s_i)·L_i + s_i,    s_i = log σ_i²
/// ```
///
/// Twice the regression form of Kendall, Gal and Cipolla (Multi-Task Learning Using Uncertainty to Weigh Losses, CVPR
/// 2018, arXiv 1705.07115). `values` are one element each, `log_variances` is `[terms]`, the result is `[1]`; gradients
/// reach both. At its optimum exp(−s_i) = 1/L_i: a term that goes to 0 is weighted without bound, and a term that can
/// be below 0 has no optimum, so it suits likelihoods and distances only.
///
/// # Errors
///
/// [`Error::Empty`] without a term, [`Error::Shape`] where there is not one number for each.
pub fn uncertainty_weighted(values: &[Tensor<1>], log_variances: Tensor<1>) -> Result<Tensor<1>, Error> {
    let found = log_variances.dims().to_vec();
    if values.is_empty() {
        return Err(Error::Empty { shape: vec![0] });
    }
    if found != [values.len()] || values.iter().any(|value| value.dims() != [1]) {
        let (loss, input, expected) = (OWNER, LOG_VARIANCES, "[terms], one for each value of one element");
        return Err(Error::Shape { loss, input, expected, found });
    }
    let values = Tensor::cat(values.to_vec(), 0);
    Ok((log_variances.clone().neg().exp() * values + log_variances).sum())
}

/// The numbers that [`uncertainty_weighted`] trains: 0 for each term, so that training begins with the plain sum.
/// They are kept and optimized with the [`Connectors`](crate::Connectors).
pub fn uncertainty_parameter(terms: usize) -> Parameter {
    Parameter::constant(OWNER, LOG_VARIANCES, &[terms], 0.0)
}

const OWNER: &str = "uncertainty";
const LOG_VARIANCES: &str = "log-variances";

/// The Euclidean norm of a term's gradient at chosen leaves, such as the last layer that all terms share: `[1]`.
/// A leaf that the term does not reach counts as zeros.
///
/// A backward pass uses its graph up, so each term needs a forward pass of its own; once every few hundred steps is
/// enough for a balance.
///
/// # Errors
///
/// [`Error::Empty`] where no leaf is chosen.
pub fn gradient_norm(gradients: &Gradients, at: &[Feature]) -> Result<Tensor<1>, Error> {
    let square = |leaf: &Feature| leaf.gradient(gradients).rows().square().sum_dim(1).sum();
    let sum = at.iter().map(square).reduce(|sum, x| sum + x);
    sum.map(Tensor::sqrt).ok_or(Error::Empty { shape: vec![0] })
}

/// Weights that give every term a gradient of the same norm: inversely proportional to `norms`, with a mean of 1.
///
/// A term without a gradient (norm 0) has weight 1 and does not count in the mean.
///
/// # Errors
///
/// [`Error::OutOfRange`] unless every norm is finite and at least 0.
pub fn balanced_weights(norms: &[f64]) -> Result<Vec<f64>, Error> {
    paced_weights(norms, &vec![1.0; norms.len()], 0.0)
}

/// [`balanced_weights`] that let terms that lag behind have larger gradients:
///
/// ```text
/// w_i ∝ r_i^α / G_i,    r_i = ratio_i / mean(ratio),    ratio_i = L_i / L_i at the beginning
/// ```
///
/// This is the point to which GradNorm (Chen et al., ICML 2018, arXiv 1711.02257) trains its weights, reached at once;
/// α is its asymmetry, 1.5 in the paper, and at 0 all gradients are equal. The weights of the terms that have a
/// gradient have a mean of 1.
///
/// # Errors
///
/// [`Error::OutOfRange`] unless norms are finite and at least 0, ratios finite and above 0 and as many as norms, and
/// `asymmetry` finite.
pub fn paced_weights(norms: &[f64], ratios: &[f64], asymmetry: f64) -> Result<Vec<f64>, Error> {
    let wrong = |name, expected, found| Err(Error::OutOfRange { name, expected, found });
    if let Some(&norm) = norms.iter().find(|norm| !(norm.is_finite() && **norm >= 0.0)) {
        return wrong("norms", "finite and at least 0", norm);
    }
    if let Some(&ratio) = ratios.iter().find(|ratio| !(ratio.is_finite() && **ratio > 0.0)) {
        return wrong("ratios", "finite and above 0", ratio);
    }
    if ratios.len() != norms.len() {
        return wrong("ratios", "as many as `norms`", ratios.len() as f64);
    }
    if !asymmetry.is_finite() {
        return wrong("asymmetry", "finite", asymmetry);
    }
    // The mean of the ratios cancels when the weights are brought to a mean of 1.
    let raw =
        norms.iter().zip(ratios).map(|(norm, ratio)| (*norm > 0.0).then(|| ratio.powf(asymmetry) / norm));
    let raw: Vec<Option<f64>> = raw.collect();
    let counted = raw.iter().flatten().count() as f64;
    let sum: f64 = raw.iter().flatten().sum();
    Ok(raw.into_iter().map(|weight| weight.map_or(1.0, |weight| weight * counted / sum)).collect())
}
