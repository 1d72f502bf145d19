//! Probabilistic knowledge transfer: for each example, a distribution over the others that are near it.

use burn::tensor::Tensor;

use crate::Error;
use crate::loss::LossName;
use crate::loss::math::{divide, sum_rows};
use crate::loss::paired::{self, paired};
use crate::loss::relation::common::{self, check_batch, gram, of_rows, rows};

/// Added to norms and probabilities, as the authors do.
const EPSILON: f64 = 1e-7;

/// Divergence of the student's neighbourhoods from the teacher's:
///
/// ```text
/// u_i  = x_i / (‖x_i‖ + 1e-7)
/// p_ij = (1 + u_i·u_j) / Σ_k (1 + u_i·u_k)
/// L    = (1/B²) Σ_ij p^t_ij · log((p^t_ij + 1e-7) / (p^s_ij + 1e-7))
/// ```
///
/// `student` is `[B, D]`, `teacher` `[B, E]`, the result `[1]`. A row of zeros is equally near to all; the gradient
/// there is that of `x / 1e-7`, large but finite, and a layer that died, such as a ReLU's, stops it. One example is
/// certain of itself: the result is 0.
///
/// # Errors
///
/// [`Error::Empty`], and [`Error::Shape`] for different numbers of examples.
pub fn pkt(student: Tensor<2>, teacher: Tensor<2>) -> Result<Tensor<1>, Error> {
    let batch = check_batch(NAME.name, &student, &teacher)?;
    let (s, t) = (neighbours(student), neighbours(teacher.without_autodiff()));
    let log = |p: Tensor<2>| p.add_scalar(EPSILON).log();
    let each = t.clone() * (log(t) - log(s));
    Ok(divide(sum_rows(each), (batch * batch) as f64))
}

fn neighbours(x: Tensor<2>) -> Tensor<2> {
    let square = x.clone().square().sum_dim(1);
    // At 0 the root has no derivative, and a norm of 0 is all that is needed.
    let none = square.clone().equal_elem(0.0);
    let norm = square.mask_fill(none.clone(), 1.0).sqrt().mask_fill(none, 0.0);
    let near = gram(x / norm.add_scalar(EPSILON)).add_scalar(1.0);
    let total = near.clone().sum_dim(1);
    near / total
}

paired! {
    /// The loss `pkt` of a recipe: [`pkt`] of the rows at two sites. RepDistiller weights it with 30000.
    Pkt {}
}

of_rows!(Pkt, pkt);

pub(crate) const NAME: LossName = LossName {
    name: "pkt",
    line: "divergence of each example's distribution over its neighbours, by cosine similarity",
    formula: "(1/B²) sum_ij p_t·log((p_t + 1e-7)/(p_s + 1e-7)),  p_ij = (1 + u_i·u_j) normalised over j, u = x/(|x| + \
              1e-7)",
    paper: "Passalis and Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer, ECCV 2018, arXiv \
            1803.10837",
    reference: "HobbitLong/RepDistiller distiller_zoo/PKT.py b84f547c5db6a35318d4671d7d5c4de74c822403; its gradient is \
                NaN at a row of zeros, this one's is finite",
    when: "Penultimate features of networks of different widths. Values are tiny, so that it needs a weight of \
           thousands; large batches help.",
    inputs: &[common::STUDENT, common::TEACHER],
    example: "{}",
    lacks: None,
    knobs: &[paired::STUDENT, paired::TEACHER, paired::AS_IT_IS],
};
