//! Similarity-preserving distillation: which examples activate a layer alike.
//!
//! One toolkit normalises the rows by their absolute sum, because `normalize(G, 1)` sets the norm and not the
//! dimension; `compat` reproduces it for those who continue its runs.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::loss::math::{divide, sum_rows};
use crate::loss::paired::{self, paired};
use crate::loss::relation::common::{self, check_batch, gram, rows, unit, unit_l1};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Knob, SitePair, View};

/// Squared difference of the two similarity matrices:
///
/// ```text
/// G = x xᵀ,    Ĝ_i = G_i / max(‖G_i‖₂, 1e-12)    row by row
/// L = (1/B²) ‖Ĝ^s − Ĝ^t‖²_F
/// ```
///
/// `student` is `[B, D]`, `teacher` `[B, E]`, the result `[1]`. Turning or scaling all rows of one side changes
/// nothing. A row of zeros is similar to nothing; the row of `G` that it makes passes no gradient. One example is
/// similar to itself on both sides, so that the result is 0, unless it is zero on one of them.
///
/// # Errors
///
/// [`Error::Empty`], and [`Error::Shape`] for different numbers of examples.
pub fn sp(student: Tensor<2>, teacher: Tensor<2>, compat: Option<SpCompat>) -> Result<Tensor<1>, Error> {
    let batch = check_batch(NAME.name, &student, &teacher)?;
    let similarity = |x| match compat {
        None => unit(gram(x)),
        Some(SpCompat::Torchdistill) => unit_l1(gram(x)),
    };
    let difference = similarity(student) - similarity(teacher.without_autodiff());
    Ok(divide(sum_rows(difference.square()), (batch * batch) as f64))
}

/// A toolkit whose mistake is reproduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpCompat {
    /// `SPKDLoss`: each row over the sum of its absolute values.
    Torchdistill,
}

paired! {
    /// The loss `sp` of a recipe: [`sp`] of the rows at two sites. RepDistiller weights it with 3000.
    Sp {
        /// Whose mistake to reproduce; none by default.
        #[serde(skip_serializing_if = "Option::is_none")]
        compat: Option<SpCompat> = None,
    }
}

impl DistillLoss for Sp {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        vec![self.pair_as_it_is()]
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = rows(view, NAME.name, &self.pair())?;
        sp(student, teacher, self.compat)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "sp",
    line: "squared difference of the similarities of all pairs of examples, each row normalised",
    formula: "(1/B²) |N(s sᵀ) - N(t tᵀ)|²_F,  N divides each row by max(its Euclidean norm, 1e-12)",
    paper: "Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019, arXiv 1907.09682",
    reference: "HobbitLong/RepDistiller distiller_zoo/SP.py b84f547c5db6a35318d4671d7d5c4de74c822403; with compat = \
                \"torchdistill\": yoshitomo-matsubara/torchdistill torchdistill/losses/mid_level.py SPKDLoss \
                3e4373c45214c5c56eebac481d5bfe8b8735aa05",
    when: "Cheap, and works across architectures on late features; features that are all positive, as after a ReLU, \
           look alike to it and leave a weak signal.",
    inputs: &[common::STUDENT, common::TEACHER],
    example: "{}",
    lacks: None,
    knobs: &[
        paired::STUDENT,
        paired::TEACHER,
        paired::AS_IT_IS,
        Knob::optional(
            "compat",
            "torchdistill: rows over their sum of absolute values, a mistake of that toolkit",
        ),
    ],
};
