//! The angle term of relational distillation: the angle at each example between the directions to every two others.
//!
//! There are B³ angles. The public implementations hold all of them, several times over; here one chunk of anchors is
//! made, compared, differentiated and dropped before the next.

use std::ops::Range;

use burn::tensor::Tensor;

use crate::Error;
use crate::loss::LossName;
use crate::loss::math::{divide, smooth_l1, sum_rows};
use crate::loss::paired::{self, paired};
use crate::loss::relation::common::{self, check_batch, of_rows, rows, sum_of_chunks, unit};

/// Huber loss of angles, all triples counted, degenerate ones with a cosine of 0:
///
/// ```text
/// e_ji  = (x_i − x_j) / max(‖x_i − x_j‖, 1e-12)
/// L     = (1/B³) Σ_jik h(e^s_ji·e^s_jk − e^t_ji·e^t_jk),    h(e) = ½e² where |e| < 1, else |e| − ½
/// ```
///
/// `student` is `[B, D]`, `teacher` `[B, E]`, the result `[1]`. Moving, turning or scaling all rows of one side changes
/// nothing. Rows that repeat have a direction of 0 and no gradient through it; up to two examples the result is 0.
///
/// Time is `B³·(D + E)`. In memory are, for `n` anchors at once, a dozen tensors of `n·B·max(B, D, E)` numbers, where
/// that product is about a million and `n` at least 1; what the graph keeps until its backward pass is one gradient
/// `[B, D]`. For that the gradient is computed together with the value.
///
/// # Errors
///
/// [`Error::Empty`], and [`Error::Shape`] for different numbers of examples.
pub fn rkd_angle(student: Tensor<2>, teacher: Tensor<2>) -> Result<Tensor<1>, Error> {
    let batch = check_batch(NAME.name, &student, &teacher)?;
    let teacher = teacher.without_autodiff();
    let widest = batch.max(student.dims()[1]).max(teacher.dims()[1]);
    let sum = sum_of_chunks(student, batch, batch * widest, |student, anchors| {
        let count = anchors.len();
        let difference = cosines(student, anchors.clone()) - cosines(teacher.clone(), anchors);
        sum_rows(smooth_l1(difference).reshape([count * batch, batch]))
    });
    Ok(divide(sum, (batch * batch * batch) as f64))
}

/// The cosine at each anchor between the directions to every two rows, `[anchors, B, B]`.
fn cosines(x: Tensor<2>, anchors: Range<usize>) -> Tensor<3> {
    let ([batch, width], count) = (x.dims(), anchors.len());
    let from = x.clone().narrow(0, anchors.start, count).reshape([count, 1, width]);
    let directions = unit(x.reshape([1, batch, width]) - from);
    directions.clone().matmul(directions.swap_dims(1, 2))
}

paired! {
    /// The loss `rkd-angle` of a recipe: [`rkd_angle`] of the rows at two sites. The paper weights it with 50.
    RkdAngle {}
}

of_rows!(RkdAngle, rkd_angle);

pub(crate) const NAME: LossName = LossName {
    name: "rkd-angle",
    line: "Huber loss of the angles that every three examples form",
    formula: "(1/B³) sum_jik huber(cos_s[j,i,k] - cos_t[j,i,k]),  cos[j,i,k] = e_ji·e_jk, e_ji the direction from x_j \
              to x_i",
    paper: "Park et al., Relational Knowledge Distillation, CVPR 2019, arXiv 1904.05068",
    reference: "HobbitLong/RepDistiller distiller_zoo/RKD.py (w_d = 0, w_a = 1) \
                b84f547c5db6a35318d4671d7d5c4de74c822403; its gradient is not finite in practice where rows repeat, \
                this one's is",
    when: "Beside rkd-distance, which it complements; costs B³·D, so take embeddings and not large maps.",
    inputs: &[common::STUDENT, common::TEACHER],
    example: "{}",
    lacks: None,
    knobs: &[paired::STUDENT, paired::TEACHER, paired::AS_IT_IS],
};
