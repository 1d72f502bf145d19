//! How a teacher's state moves from step to step, for students that carry no state of the teacher's kind, such as a
//! convolution over time that learns from a recurrent network.

use burn::tensor::Tensor;

use crate::loss::math::{check_same, divide, ranked, sum_rows};
use crate::loss::paired::{self, paired};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, SitePair, View};

/// Squared difference of the changes between consecutive steps, averaged over the pairs of steps that count:
///
/// ```text
/// L = (1/P) Σ_b Σ_l m_l·m_{l+1} · Σ_d ((s_{l+1} − s_l) − (t_{l+1} − t_l))²,    P = Σ_b Σ_l m_l·m_{l+1}
/// ```
///
/// Both features are `[B, L, D]`, the mask `[B, L]`, 1 counted and 0 ignored; all count without one. The result is
/// `[1]`. Adding the same vector to all steps of a sequence changes nothing. What stands at an ignored step, NaN
/// included, has no influence; where no two neighbours count, and at L = 1, the result is 0. The teacher is a constant.
///
/// # Errors
///
/// [`Error::FeatureShapes`], [`Error::Empty`], and [`Error::Shape`] for a mask of another size.
pub fn temporal_difference(
    student: Tensor<3>,
    teacher: Tensor<3>,
    mask: Option<&Tensor<2>>,
) -> Result<Tensor<1>, Error> {
    let [batch, length, width] = check_same(&student, &teacher)?;
    if let Some(found) = mask.map(|mask| mask.dims().to_vec()).filter(|found| *found != [batch, length]) {
        let expected = "[B, L], as the features [B, L, D]";
        return Err(Error::Shape { loss: NAME.name, input: "mask", expected, found });
    }
    let gap = student - teacher.without_autodiff();
    if length == 1 {
        let all = gap.zeros_like().equal_elem(0.0);
        return Ok(sum_rows(gap.mask_fill(all, 0.0).reshape([batch, width])));
    }
    let pairs = batch * (length - 1);
    // A step that is ignored is a constant before anything is computed with it.
    let ignored = mask.map(|mask| mask.clone().without_autodiff().equal_elem(0.0));
    let gap = match &ignored {
        Some(ignored) => {
            gap.mask_fill(ignored.clone().unsqueeze_dim::<3>(2).expand([batch, length, width]), 0.0)
        }
        None => gap,
    };
    let change = gap.clone().narrow(1, 1, length - 1) - gap.narrow(1, 0, length - 1);
    let each = change.square().reshape([pairs, width]).sum_dim(1);
    let Some(ignored) = ignored else {
        return Ok(divide(sum_rows(each), pairs as f64));
    };
    let (before, after) = (ignored.clone().narrow(1, 0, length - 1), ignored.narrow(1, 1, length - 1));
    let ignored = before.bool_or(after).reshape([pairs, 1]);
    let counted = each.zeros_like().add_scalar(1.0).mask_fill(ignored.clone(), 0.0).without_autodiff();
    Ok(sum_rows(each.mask_fill(ignored, 0.0)) / sum_rows(counted).clamp_min(1.0))
}

paired! {
    /// The loss `temporal-difference` of a recipe: [`temporal_difference`] of the sequences at two sites, the student's
    /// after its connector. A bias of the connector has no influence.
    TemporalDifference {}
}

impl DistillLoss for TemporalDifference {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        vec![self.pair()]
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = view.pair(NAME.name, &self.pair())?;
        let sequence = |input, x| ranked::<3>(NAME.name, input, "[B, L, D]", x);
        let (student, teacher) = (sequence("student.SITE", student)?, sequence("teacher.SITE", teacher)?);
        temporal_difference(student, teacher, view.mask)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "temporal-difference",
    line: "squared difference of how two sequences of features change from one step to the next",
    formula: "(1/P) sum_b sum_l |(s_{l+1} - s_l) - (t_{l+1} - t_l)|²,  over the P pairs of steps whose masks are both 1",
    paper: "none under this name; for networks that it suits: Bai, Kolter and Koltun, An Empirical Evaluation of \
            Generic Convolutional and Recurrent Networks for Sequence Modeling, 2018, arXiv 1803.01271",
    reference: "none public: the formula alone, `hint` (HobbitLong/RepDistiller distiller_zoo/FitNet.py) of differences",
    when: "Beside a loss of the states themselves, where the order of steps carries meaning; alone it leaves the level \
           of a sequence free.",
    knobs: &[paired::STUDENT, paired::TEACHER, paired::CONNECTOR],
    inputs: &[
        Input::new("student.SITE", &["B", "L", "D"], "sequence of the student"),
        Input::new(
            "teacher.SITE",
            &["B", "L", "D"],
            "sequence of the teacher, of the same shape after the connector",
        ),
        Input::optional("mask", &["B", "L"], "1 counted, 0 ignored; all counted if left out"),
    ],
    example: "{}",
    lacks: None,
};
