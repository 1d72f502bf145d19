//! Neuron selectivity transfer: the student's channels, as a set of patterns in space, match the teacher's.
//!
//! The squared maximum mean discrepancy with a polynomial kernel is a sum over pairs of channels, but also the distance
//! of two matrices over pairs of positions; whichever needs fewer numbers is computed. Nothing of size C·C·H·W exists,
//! as it does in public implementations.

use burn::tensor::Tensor;

use crate::loss::feature::common::{maps, meet, planes};
use crate::loss::math::{TINY, divide, mean_all, sum_rows, unit_rows};
use crate::loss::paired::{self, paired};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, SitePair, View};

/// Squared maximum mean discrepancy of two sets of channels with the kernel `k(a, b) = (a·b)²`:
///
/// ```text
/// u_c = F_c / max(‖F_c‖₂, 1e-12),   F_c the H·W numbers of channel c
/// L = (1/B) Σ_b [ (1/Ct²) Σ_ij (t_i·t_j)² + (1/Cs²) Σ_ij (s_i·s_j)² − (2/(Ct·Cs)) Σ_ij (t_i·s_j)² ]
///   = (1/B) Σ_b ‖ (1/Cs) Σ_i s_i s_iᵀ − (1/Ct) Σ_i t_i t_iᵀ ‖²
/// ```
///
/// `student` is `[B, Cs, Hs, Ws]`, `teacher` is `[B, Ct, Ht, Wt]`, the result `[1]`. Both are averaged to
/// H = min(Hs, Ht) and W = min(Ws, Wt) first. The teacher's map is a constant; at channels of zeros all is finite.
///
/// # Errors
///
/// [`Error::Empty`]; [`Error::FeatureShapes`] for different batches.
pub fn nst(student: Tensor<4>, teacher: Tensor<4>) -> Result<Tensor<1>, Error> {
    let (student, teacher) = meet(student, teacher.without_autodiff())?;
    let (student, teacher) = (units(student), units(teacher));
    let ([_, s, positions], [_, t, _]) = (student.dims(), teacher.dims());
    // Numbers for each example: two matrices of positions, or the three of channels.
    Ok(if 2 * positions * positions <= s * s + s * t + t * t {
        by_positions(student, teacher)
    } else {
        by_channels(student, teacher)
    })
}

/// Channels of unit length, `[B, C, H·W]`.
fn units(x: Tensor<4>) -> Tensor<3> {
    let x = planes(x);
    let shape = x.dims();
    let [batch, channels, positions] = shape;
    unit_rows(x.reshape([batch * channels, positions]), TINY).reshape(shape)
}

fn by_positions(student: Tensor<3>, teacher: Tensor<3>) -> Tensor<1> {
    let second_moment = |x: Tensor<3>| {
        let [_, channels, _] = x.dims();
        divide(x.clone().swap_dims(1, 2).matmul(x), channels as f64)
    };
    let difference: Tensor<2> = (second_moment(student) - second_moment(teacher)).flatten(1, 2);
    let [batch, _] = difference.dims();
    divide(sum_rows(difference.square()), batch as f64)
}

fn by_channels(student: Tensor<3>, teacher: Tensor<3>) -> Tensor<1> {
    let kernel =
        |a: &Tensor<3>, b: &Tensor<3>| mean_all(a.clone().matmul(b.clone().swap_dims(1, 2)).square());
    kernel(&teacher, &teacher) + kernel(&student, &student) - kernel(&student, &teacher).mul_scalar(2.0)
}

paired! {
    /// The loss `nst` of a recipe: [`nst`] of the maps at two sites, without a connector unless one is asked for.
    Nst {}
}

impl DistillLoss for Nst {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        vec![self.pair_as_it_is()]
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = maps(NAME.name, view, &self.pair())?;
        nst(student, teacher)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "nst",
    line: "maximum mean discrepancy of two sets of channels of unit length, polynomial kernel",
    formula: "mean_ij k(t_i, t_j) + mean_ij k(s_i, s_j) - 2 mean_ij k(t_i, s_j), mean over b;  k(a, b) = (a·b)², \
              s_i, t_i channels flattened, / max(norm, 1e-12); the larger map average-pooled",
    paper: "Huang and Wang, Like What You Like: Knowledge Distill via Neuron Selectivity Transfer, 2017, arXiv \
            1707.01219",
    reference: "HobbitLong/RepDistiller distiller_zoo/NST.py b84f547c5db6a35318d4671d7d5c4de74c822403",
    when: "Where channels differ in number and meaning but positions agree; it helps little by itself and most beside \
           `kl`. Channels of one position are all alike to it.",
    inputs: &[
        Input::new("student.SITE", &["B", "Cs", "Hs", "Ws"], "map of the student"),
        Input::new("teacher.SITE", &["B", "Ct", "Ht", "Wt"], "map of the teacher"),
    ],
    example: "{}",
    lacks: None,
    knobs: &[paired::STUDENT, paired::TEACHER, paired::AS_IT_IS],
};
