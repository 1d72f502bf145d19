//! The distance term of relational distillation: how far apart examples are, in units of the batch's mean distance.
//!
//! Only relations are compared, so that student and teacher may have any widths and no regressor is trained.

use burn::tensor::{Bool, Tensor};

use crate::Error;
use crate::loss::LossName;
use crate::loss::math::{divide, safe_sqrt, smooth_l1, sum_rows};
use crate::loss::paired::{self, paired};
use crate::loss::relation::common::{self, check_batch, of_rows, rows, squared_distances};

/// Huber loss of normalised distances:
///
/// ```text
/// d_ij = sqrt(max(‖x_i − x_j‖², 1e-12)) for i ≠ j, 0 for i = j
/// ψ_ij = d_ij / mean of d over all i ≠ j
/// L    = (1/B²) Σ_ij h(ψ^s_ij − ψ^t_ij),    h(e) = ½e² where |e| < 1, else |e| − ½
/// ```
///
/// `student` is `[B, D]`, `teacher` `[B, E]`, the result `[1]`. Moving, turning or scaling all rows of one side changes
/// nothing. A duplicated row counts with a distance of 1e-6 and no gradient; where all rows are equal every ψ is 1. One
/// example has no distances: the result is 0. Time is `B²·(D + E)`, memory in the graph `B²`.
///
/// # Errors
///
/// [`Error::Empty`], and [`Error::Shape`] for different numbers of examples.
pub fn rkd_distance(student: Tensor<2>, teacher: Tensor<2>) -> Result<Tensor<1>, Error> {
    let batch = check_batch(NAME.name, &student, &teacher)?;
    let difference = relative(student, batch) - relative(teacher.without_autodiff(), batch);
    Ok(divide(sum_rows(smooth_l1(difference)), (batch * batch) as f64))
}

/// Distances over their mean.
fn relative(x: Tensor<2>, batch: usize) -> Tensor<2> {
    let diagonal = Tensor::<2, Bool>::diag_mask([batch, batch], 0, &x.device()).bool_not();
    let distances = safe_sqrt(squared_distances(x), 1e-12).mask_fill(diagonal, 0.0);
    if batch == 1 {
        return distances;
    }
    let mean = divide(sum_rows(distances.clone()), (batch * (batch - 1)) as f64);
    distances / mean.reshape([1, 1])
}

paired! {
    /// The loss `rkd-distance` of a recipe: [`rkd_distance`] of the rows at two sites. The paper weights it with 25.
    RkdDistance {}
}

of_rows!(RkdDistance, rkd_distance);

pub(crate) const NAME: LossName = LossName {
    name: "rkd-distance",
    line: "Huber loss of the distances between examples, each over the batch's mean distance",
    formula: "(1/B²) sum_ij huber(d_s[i,j]/mean(d_s) - d_t[i,j]/mean(d_t)),  d = sqrt(max(|x_i - x_j|², 1e-12)), means \
              over i != j",
    paper: "Park et al., Relational Knowledge Distillation, CVPR 2019, arXiv 1904.05068",
    reference: "HobbitLong/RepDistiller distiller_zoo/RKD.py (w_d = 1, w_a = 0) \
                b84f547c5db6a35318d4671d7d5c4de74c822403",
    when: "Embeddings and metric learning, and pairs of networks of different widths; on a classifier it adds little \
           to soft labels. Small batches show few relations.",
    inputs: &[common::STUDENT, common::TEACHER],
    example: "{}",
    lacks: None,
    knobs: &[paired::STUDENT, paired::TEACHER, paired::AS_IT_IS],
};
