//! Attention transfer in a region: where a mask says what matters, such as the lesion in a scan, the attention of both
//! networks is compared there first, and little of the weight is left for the background.

use burn::tensor::Tensor;

use super::layers::pair_beside;
use super::resize::average;
use crate::loss::math::{TINY, divide, mean_all, ranked, unit_rows};
use crate::loss::number::number;
use crate::loss::paired::{self, paired};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Input, Knob, SitePair, View};

number! {
    /// The weight of what lies outside the region: finite and at least 0.
    RegionAtBackground: "background", 0.1, "finite and at least 0", |x| x.is_finite() && x >= 0.0
}

/// Squared difference of two attention maps inside a region, and outside it with a smaller weight:
///
/// ```text
/// Â = a / max(‖a‖₂, 1e-12),   a = mean_c F²,  over the positions of one example
/// d = (Â_s − Â_t)²
/// L = (1/B) Σ_b [ Σ M·d / Σ M + background · Σ (1 − M)·d / Σ (1 − M) ]
/// ```
///
/// The features are `[B, C, h, w]` and may differ in channels, height and width: the larger ones are averaged to the
/// smaller height and the smaller width first. The region is `[B, 1, H, W]` of numbers from 0 to 1, of any size, and is
/// averaged to the same positions. The result is `[1]`. Where the region of an example is empty its first term is 0,
/// where it is everything its second. Teacher and region are constants.
///
/// # Errors
///
/// [`Error::FeatureShapes`] where batches differ, [`Error::Shape`] for a region of another batch, [`Error::Empty`].
pub fn region_at(
    student: Tensor<4>,
    teacher: Tensor<4>,
    region: Tensor<4>,
    background: RegionAtBackground,
) -> Result<Tensor<1>, Error> {
    let (s, t, m) = (student.dims(), teacher.dims(), region.dims());
    if s[0] != t[0] {
        return Err(Error::FeatureShapes { student: s.to_vec(), teacher: t.to_vec() });
    }
    if let Some(shape) = [s, t, m].into_iter().find(|shape| shape.contains(&0)) {
        return Err(Error::Empty { shape: shape.to_vec() });
    }
    if m[..2] != [s[0], 1] {
        let (input, expected) = ("teacher.region", "[B, 1, H, W], as many examples as the features have");
        return Err(Error::Shape { loss: NAME.name, input, expected, found: m.to_vec() });
    }
    let size = [s[2].min(t[2]), s[3].min(t[3])];
    let gap = (attention(student, size) - attention(teacher.without_autodiff(), size)).square();
    let inside = average(region.without_autodiff(), size).reshape([s[0], size[0] * size[1]]);
    let outside = inside.clone().neg().add_scalar(1.0);
    let each = over(gap.clone(), inside) + over(gap, outside).mul_scalar(background.get());
    Ok(mean_all(each))
}

/// Mean of the squared channels, one row of length 1 for each example.
fn attention(x: Tensor<4>, size: [usize; 2]) -> Tensor<2> {
    let x = average(x, size);
    let [batch, channels, height, width] = x.dims();
    let mean = divide(x.square().sum_dim(1), channels as f64);
    unit_rows(mean.reshape([batch, height * width]), TINY)
}

/// Mean of `x` with `weights`, for each row; 0 where the weights are.
fn over(x: Tensor<2>, weights: Tensor<2>) -> Tensor<2> {
    let sum = weights.clone().sum_dim(1);
    let none = sum.clone().lower_equal_elem(TINY);
    (x * weights).sum_dim(1) / sum.mask_fill(none, 1.0)
}

paired! {
    /// The loss `region-at` of a recipe: [`region_at`] of the maps at two sites, in the region that the teacher's side
    /// has at the site `region`. Channels need not agree; `connector` is not used.
    RegionAt {
        /// The weight of what lies outside the region.
        background: RegionAtBackground = RegionAtBackground::default(),
    }
}

impl DistillLoss for RegionAt {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        vec![self.pair_as_it_is()]
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = pair_beside(view, NAME.name, &self.pair(), "region")?;
        let region = view.teacher(NAME.name)?.features.get("region").cloned();
        let region = region.ok_or(Error::Missing { loss: NAME.name, input: "teacher.region" })?;
        let map = |input, x| ranked::<4>(NAME.name, input, "[B, C, H, W]", x);
        let (student, teacher) = (map("student.SITE", student)?, map("teacher.SITE", teacher)?);
        let region = ranked::<4>(NAME.name, "teacher.region", "[B, 1, H, W]", region)?;
        region_at(student, teacher, region, self.background)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "region-at",
    line: "squared difference of two attention maps in a region, such as a lesion, and a little of it outside",
    formula: "(1/B) sum_b (sum M·d / sum M + background·sum (1 - M)·d / sum (1 - M)),  d = (A_s - A_t)², A the mean of \
              the squared channels over its norm",
    paper: "none under this name; Zagoruyko and Komodakis, Paying More Attention to Attention, ICLR 2017, arXiv \
            1612.03928, with the masks of Qin et al., Efficient Medical Image Segmentation Based on Knowledge \
            Distillation, TMI 2021",
    reference: "none public: the formula alone; with a region of ones and background = 0 it is `at` of \
                HobbitLong/RepDistiller distiller_zoo/AT.py b84f547c5db6a35318d4671d7d5c4de74c822403",
    when: "Where masks of the regions that matter exist and these are small in the image; with a mask of everything it \
           is attention transfer.",
    knobs: &[
        paired::STUDENT,
        paired::TEACHER,
        paired::AS_IT_IS,
        Knob::or("background", "0.1", "the weight of what lies outside the region, at least 0"),
    ],
    inputs: &[
        Input::new("student.SITE", &["B", "C", "h", "w"], "map of the student"),
        Input::new("teacher.SITE", &["B", "D", "H", "W"], "map of the teacher; all of its own size"),
        Input::new(
            "teacher.region",
            &["B", "1", "X", "Y"],
            "the region, from 0 to 1, of any height and width",
        ),
    ],
    example: "{ background = 0.1 }",
    lacks: Some("masks of regions"),
};
