//! Deep mutual learning: students of one cohort teach each other while all of them learn. This is the term of one
//! student; its peers stand where teachers stand.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::loss::combination::common::{kl_mean, teachers};
use crate::loss::math::{check_pair, divide, mean_all};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, View};

/// KL of a student from each of its peers, mean over the peers, at temperature 1:
///
/// ```text
/// L_i = (1/(K−1)) Σ_{j≠i} (1/B) Σ_b KL(p_j[b] ‖ p_i[b]),    p = softmax(z)
///
/// compat = "kd-lib"    L_i = (1/(K−1)) Σ_{j≠i} (1/(B·C)) Σ (z_i − z_j)²,  and gradients reach the peers
/// ```
///
/// All logits are `[B, C]`, the result is `[1]`. Peers are constants: each is trained by a term of its own. The cross
/// entropy with the labels, the other half of the paper's L_i, is a term of its own as well. 0 where all agree, finite
/// for all finite logits.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::LogitShapes`], and [`Error::OutOfRange`] without a peer.
pub fn dml(student: Tensor<2>, peers: &[Tensor<2>], knobs: &Dml) -> Result<Tensor<1>, Error> {
    let of = |peer: &Tensor<2>| match knobs.compat {
        None => kl_mean(student.clone(), peer.clone().without_autodiff(), 1.0),
        Some(DmlCompat::KdLib) => {
            check_pair(&student, peer)?;
            Ok(mean_all((student.clone() - peer.clone()).square()))
        }
    };
    let each = peers.iter().map(of).collect::<Result<Vec<_>, _>>()?;
    let sum = each.into_iter().reduce(|sum, x| sum + x);
    let sum = sum.ok_or(Error::OutOfRange { name: "peers", expected: "at least 1", found: 0.0 })?;
    Ok(divide(sum, peers.len() as f64))
}

/// The loss `dml` of a recipe, and the knob of [`dml`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Dml {
    /// A known defect to reproduce; none for the paper's loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compat: Option<DmlCompat>,
}

/// An implementation whose numbers are not the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DmlCompat {
    /// KD_Lib compares logits by their mean squared difference and does not detach the peers.
    KdLib,
}

impl DistillLoss for Dml {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        dml(view.student_logits(NAME.name)?, &teachers(NAME.name, view)?, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "dml",
    line: "mutual learning: KL of a student from its peers, which learn at the same time; mean over the peers",
    formula: "(1/(K-1)) sum_(j≠i) (1/B) sum_b KL(sg p_j ‖ p_i),  p = softmax(z)",
    paper: "Zhang et al., Deep Mutual Learning, CVPR 2018, arXiv 1706.00384",
    reference: "none public that agrees: SforAiDl/KD_Lib KD_Lib/KD/vision/DML/dml.py a94d236 compares logits by their \
                squared difference (compat = \"kd-lib\")",
    when: "Where there is no teacher that is clearly better than the student; every peer costs a full training.",
    inputs: &[
        Input::STUDENT,
        Input::new("teacher.K.logits", &["B", "C"], "logits of peer K, counted from 0, before any softmax"),
    ],
    example: "{}",
    lacks: Some("peers that are trained at the same time"),
    knobs: &[Knob::optional("compat", "kd-lib: mean squared difference of logits, peers not detached")],
};
