//! Attention transfer: where a student looks is drawn to where its teacher looks, whatever their numbers of channels.
//!
//! The paper and its authors' code disagree by two orders of magnitude on the same maps, so both are here by name.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::loss::feature::common::{maps, meet, norm_rows};
use crate::loss::math::{TINY, divide, mean_all, unit_rows};
use crate::loss::number::number;
use crate::loss::paired::{self, paired};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, SitePair, View};

/// Difference of two attention maps of unit length:
///
/// ```text
/// author   q = mean_c |F|^p      a = vec(q) / max(‖vec(q)‖₂, 1e-12)      L = (1/(B·H·W)) Σ (a_s − a_t)²
/// paper    q = sum_c  |F|^p      a likewise                              L = (1/B) Σ_b ‖a_s − a_t‖₂
/// ```
///
/// `student` is `[B, Cs, Hs, Ws]`, `teacher` is `[B, Ct, Ht, Wt]`, the result `[1]`. Both are averaged to
/// H = min(Hs, Ht) and W = min(Ws, Wt) before the power. The teacher's map is a constant. A map of zeros has an
/// attention of zeros, and value and gradient are finite there; where the two attentions are equal, the gradient of
/// `paper`, which does not exist, is 0.
///
/// # Errors
///
/// [`Error::Empty`]; [`Error::FeatureShapes`] for different batches.
pub fn at(student: Tensor<4>, teacher: Tensor<4>, knobs: &At) -> Result<Tensor<1>, Error> {
    let (student, teacher) = meet(student, teacher.without_autodiff())?;
    let attention = |x| unit_rows(strength(x, knobs), TINY);
    let difference = attention(student) - attention(teacher);
    Ok(match knobs.variant {
        AtVariant::Author => mean_all(difference.square()),
        AtVariant::Paper => mean_all(norm_rows(difference)),
    })
}

/// `[B, H·W]` from `[B, C, H, W]`, not of unit length yet.
fn strength(x: Tensor<4>, knobs: &At) -> Tensor<2> {
    let [batch, channels, height, width] = x.dims();
    let power = knobs.power.get();
    let powers = if power == 2.0 {
        x.square()
    } else if power == 1.0 {
        x.abs()
    } else {
        x.abs().powf_scalar(power)
    };
    let sum = powers.sum_dim(1).reshape([batch, height * width]);
    match knobs.variant {
        AtVariant::Author => divide(sum, channels as f64),
        AtVariant::Paper => sum,
    }
}

/// Which definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AtVariant {
    /// The authors' code.
    #[default]
    Author,
    /// The paper's equation 2, with the sum over examples taken as a mean.
    Paper,
}

number! {
    /// The power of the absolute activations, at least 1; below it the gradient at an activation of 0 is infinite.
    Power: "power", 2.0, "finite and at least 1", |power| power >= 1.0
}

paired! {
    /// The loss `at` of a recipe: [`at`] of the maps at two sites, without a connector unless one is asked for.
    At {
        /// Which definition.
        variant: AtVariant = AtVariant::Author,
        /// The power of the absolute activations.
        power: Power = Power::default(),
    }
}

impl DistillLoss for At {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        vec![self.pair_as_it_is()]
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = maps(NAME.name, view, &self.pair())?;
        at(student, teacher, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "at",
    line: "difference of the spatial attention of two feature maps, with any numbers of channels",
    formula: "author: mean (a_s - a_t)²,  a = q / max(||q||, 1e-12),  q = mean_c |F|^p flattened; \
              paper: (1/B) sum_b ||a_s - a_t||,  q = sum_c |F|^p; the larger map average-pooled",
    paper: "Zagoruyko and Komodakis, Paying More Attention to Attention, ICLR 2017, arXiv 1612.03928",
    reference: "HobbitLong/RepDistiller distiller_zoo/AT.py b84f547c5db6a35318d4671d7d5c4de74c822403; paper: \
                yoshitomo-matsubara/torchdistill torchdistill/losses/mid_level.py \
                3e4373c45214c5c56eebac481d5bfe8b8735aa05",
    when: "Helps students of the teacher's family at the end of each stage, at a weight near 1000 for `author`; says \
           nothing about maps of one position, and little between architectures that look in different ways.",
    inputs: &[
        Input::new("student.SITE", &["B", "Cs", "Hs", "Ws"], "map of the student"),
        Input::new("teacher.SITE", &["B", "Ct", "Ht", "Wt"], "map of the teacher"),
    ],
    example: "{}",
    lacks: None,
    knobs: &[
        paired::STUDENT,
        paired::TEACHER,
        paired::AS_IT_IS,
        Knob::or("variant", "\"author\"", "author (mean of squares) or paper (mean of norms)"),
        Knob::or("power", "2.0", "power of the absolute activations, at least 1"),
    ],
};
