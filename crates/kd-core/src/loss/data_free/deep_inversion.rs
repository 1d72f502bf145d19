//! DeepInversion: images are drawn out of a teacher by bringing the statistics of its batch normalizations to those
//! that it remembers. The pixels are what is trained; the teacher is looked through.

use burn::tensor::activation::softmax;
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::loss::combination::common::weight;
use crate::loss::math::{check_pair, divide, ranked, sum_rows};
use crate::loss::{CrossEntropy, DistillLoss, Divergence, LossName, cross_entropy};
use crate::{Error, Feature, Input, Knob, Observed, Side, View};

/// The temperature of [`competition`], fixed in the authors' code.
const COMPETITION_TEMPERATURE: f64 = 3.0;

/// What a batch of images and a teacher's view of it give to [`deep_inversion`].
#[derive(Debug, Clone)]
pub struct Inversion<'a> {
    /// The images, `[B, C, H, W]`; read where total variation or the norm has a weight.
    pub image: Option<Tensor<4>>,
    /// The teacher's logits on them, `[B, classes]`, not detached.
    pub logits: Tensor<2>,
    /// The class that each image is to show, `[B]`.
    pub targets: &'a Tensor<1, Int>,
    /// The teacher's batch normalizations.
    pub layers: Vec<NormLayer>,
    /// The student's logits on the images; read where the competition has a weight.
    pub student: Option<Tensor<2>>,
}

/// One batch normalization of a teacher.
#[derive(Debug, Clone)]
pub struct NormLayer {
    /// What goes into it, the batch first and the channels second, rank 2 to 4; not detached.
    pub input: Feature,
    /// The mean that it remembers, `[channels]`.
    pub running_mean: Tensor<1>,
    /// The variance that it remembers, `[channels]`.
    pub running_var: Tensor<1>,
}

/// What images minimize:
///
/// ```text
/// L = CE(z_t, y) + w_bn·Σ_l (‖μ_l − mean_l‖₂ + ‖σ²_l − var_l‖₂) + w_tv·TV(x) + w_2·‖x‖₂ + w_c·(1 − JS(p_s, p_t))
/// ```
///
/// with [`batch_norm_distance`], [`total_variation`] and [`competition`]; a term of weight 0 is not evaluated and its
/// inputs are not read. The result is `[1]`. Nothing of the teacher is a constant but what it remembers: the gradient
/// goes through it into the images. A norm of zeros is 0 with a gradient of 0.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::Labels`], [`Error::LogitShapes`], [`Error::Shape`] for a layer whose channels are not as
/// many as it remembers, and [`Error::Missing`] for what a weight asks for.
pub fn deep_inversion(of: Inversion<'_>, knobs: &DeepInversion) -> Result<Tensor<1>, Error> {
    let missing = |input| Error::Missing { loss: NAME.name, input };
    let mut value = cross_entropy(of.logits.clone(), of.targets, CrossEntropy::default().label_smoothing)?;
    if knobs.batch_norm_weight > 0.0 {
        value = value + batch_norm_distance(&of.layers)?.mul_scalar(knobs.batch_norm_weight);
    }
    if knobs.total_variation_weight > 0.0 {
        let image = of.image.clone().ok_or(missing("student.image"))?;
        value = value + total_variation(image).mul_scalar(knobs.total_variation_weight);
    }
    if knobs.norm_weight > 0.0 {
        let image = of.image.ok_or(missing("student.image"))?;
        value = value + norm(Feature::from(image).rows()).mul_scalar(knobs.norm_weight);
    }
    if knobs.competition_weight > 0.0 {
        let student = of.student.ok_or(missing("student.logits"))?;
        let competition = competition(student, of.logits, knobs.compat)?;
        value = value + competition.mul_scalar(knobs.competition_weight);
    }
    Ok(value)
}

/// How far a batch is from what batch normalizations remember, summed over them:
///
/// ```text
/// Σ_l ‖μ_l − mean_l‖₂ + ‖σ²_l − var_l‖₂,    μ, σ² over batch and positions, σ² divided by their number
/// ```
///
/// # Errors
///
/// [`Error::Missing`] without a layer, [`Error::Empty`], and [`Error::Shape`] where the channels are not as many as
/// are remembered.
pub fn batch_norm_distance(layers: &[NormLayer]) -> Result<Tensor<1>, Error> {
    let of = |layer: &NormLayer| {
        let found = layer.input.dims();
        if found.contains(&0) {
            return Err(Error::Empty { shape: found });
        }
        // One row for each channel.
        let rows = match layer.input.clone() {
            Feature::D2(x) => x.swap_dims(0, 1),
            Feature::D3(x) => x.swap_dims(0, 1).flatten(1, 2),
            Feature::D4(x) => x.swap_dims(0, 1).flatten(1, 3),
            Feature::D1(_) => {
                let (input, expected) = ("teacher.SITE", "of rank 2 to 4, the channels second");
                return Err(Error::Shape { loss: NAME.name, input, expected, found });
            }
        };
        let [channels, count] = rows.dims();
        let remembered = |input, x: &Tensor<1>| match x.dims() {
            [len] if len == channels => Ok(x.clone().without_autodiff().reshape([channels, 1])),
            found => {
                let expected = "[C], one for each channel of the layer";
                Err(Error::Shape { loss: NAME.name, input, expected, found: found.to_vec() })
            }
        };
        let running_mean = remembered("teacher.SITE.running-mean", &layer.running_mean)?;
        let running_var = remembered("teacher.SITE.running-var", &layer.running_var)?;
        let mean = divide(rows.clone().sum_dim(1), count as f64);
        let var = divide((rows - mean.clone()).square().sum_dim(1), count as f64);
        Ok(norm(mean - running_mean) + norm(var - running_var))
    };
    let each = layers.iter().map(of).collect::<Result<Vec<_>, _>>()?;
    let sum = each.into_iter().reduce(|sum, x| sum + x);
    sum.ok_or(Error::Missing { loss: NAME.name, input: "teacher.SITE.running-mean" })
}

/// Euclidean norms of the differences of neighbouring pixels to the right, below and along both diagonals, over the
/// whole batch at once, summed. 0 for an image of one pixel.
pub fn total_variation(image: Tensor<4>) -> Tensor<1> {
    let [_, _, height, width] = image.dims();
    let (h, w) = (height.saturating_sub(1), width.saturating_sub(1));
    let part = |from: [usize; 2], size: [usize; 2]| {
        image.clone().narrow(2, from[0], size[0]).narrow(3, from[1], size[1])
    };
    let zero = || sum_rows(Feature::from(image.clone()).rows()).mul_scalar(0.0);
    let differences = [
        ([0, 0], [0, 1], [height, w]),
        ([0, 0], [1, 0], [h, width]),
        ([1, 0], [0, 1], [h, w]),
        ([0, 0], [1, 1], [h, w]),
    ];
    let norms = differences.into_iter().filter(|(.., size)| !size.contains(&0)).map(|(from, to, size)| {
        let difference = part(from, size) - part(to, size);
        norm(Feature::from(difference).rows())
    });
    norms.reduce(|sum, x| sum + x).unwrap_or_else(zero)
}

/// What Adaptive DeepInversion adds: `1 − JS` of student and teacher at temperature 3, small where they disagree.
///
/// ```text
/// JS = (1/B) Σ_b ½·KL(p_s ‖ m) + ½·KL(p_t ‖ m),    m = ½·(p_s + p_t)
///
/// compat = "deep-inversion"    JS = clamp((1/B) Σ_b ½·KL(m ‖ p_s) + ½·KL(m ‖ p_t), 0, 1),
///                              after p_s, p_t and m are each clamped to [0.01, 0.99]
/// ```
///
/// Both logits are `[B, C]` and neither is a constant. JS is at most ln 2. The clamps of the original make
/// distributions that do not sum to 1, the more so the more classes there are.
///
/// # Errors
///
/// [`Error::Empty`] and [`Error::LogitShapes`].
pub fn competition(
    student: Tensor<2>,
    teacher: Tensor<2>,
    compat: Option<DeepInversionCompat>,
) -> Result<Tensor<1>, Error> {
    let [batch, _] = check_pair(&student, &teacher)?;
    let t = COMPETITION_TEMPERATURE;
    let divergence = match compat {
        None => {
            let each = Divergence::JensenShannon.of_rows(student, teacher, t, 0.5);
            divide(sum_rows(each), batch as f64)
        }
        Some(DeepInversionCompat::DeepInversion) => {
            let (s, p) = (softmax(divide(student, t), 1), softmax(divide(teacher, t), 1));
            let m = (s.clone() + p.clone()).mul_scalar(0.5).clamp(0.01, 0.99);
            let log_m = m.clone().log();
            let of = |x: Tensor<2>| m.clone() * (log_m.clone() - x.clamp(0.01, 0.99).log());
            let sum = sum_rows(of(s) + of(p));
            divide(sum, 2.0 * batch as f64).clamp(0.0, 1.0)
        }
    };
    Ok(divergence.neg().add_scalar(1.0))
}

/// `‖x‖₂` over all elements; 0, with a gradient of 0, at zeros.
fn norm(x: Tensor<2>) -> Tensor<1> {
    let square = sum_rows(x.square());
    let zero = square.clone().lower_equal_elem(0.0);
    square.mask_fill(zero.clone(), 1.0).sqrt().mask_fill(zero, 0.0)
}

/// The loss `deep-inversion` of a recipe, and the knobs of [`deep_inversion`]; the weights are those of the authors'
/// CIFAR-10 script.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DeepInversion {
    /// The weight of the batch normalizations.
    #[serde(deserialize_with = "weight")]
    pub batch_norm_weight: f64,
    /// The weight of the total variation.
    #[serde(deserialize_with = "weight")]
    pub total_variation_weight: f64,
    /// The weight of the images' norm.
    #[serde(deserialize_with = "weight")]
    pub norm_weight: f64,
    /// The weight of the competition with the student; above 0 it is Adaptive DeepInversion.
    #[serde(deserialize_with = "weight")]
    pub competition_weight: f64,
    /// Where the images are.
    pub image: String,
    /// The teacher's sites in front of its batch normalizations; empty for all that have a `.running-mean`.
    pub layers: Vec<String>,
    /// A known defect to reproduce; none for the paper's loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compat: Option<DeepInversionCompat>,
}

impl Default for DeepInversion {
    fn default() -> Self {
        DeepInversion {
            batch_norm_weight: 100.0,
            total_variation_weight: 2.5e-5,
            norm_weight: 0.0,
            competition_weight: 0.0,
            image: "image".into(),
            layers: Vec::new(),
            compat: None,
        }
    }
}

/// An implementation whose numbers are not the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeepInversionCompat {
    /// The authors' code clamps the probabilities of the competition to [0.01, 0.99] and swaps the two sides of KL.
    DeepInversion,
}

impl DeepInversion {
    fn layers(&self, teacher: &Observed) -> Result<Vec<NormLayer>, Error> {
        let sites = || teacher.features.sites().filter_map(|site| site.strip_suffix(".running-mean"));
        let all = || sites().map(str::to_string).collect();
        let names: Vec<String> = if self.layers.is_empty() { all() } else { self.layers.clone() };
        let require = |site: &str| teacher.features.require(Side::Teacher, site).cloned();
        let layer = |site: &String| {
            let remembered = |input, what| {
                ranked::<1>(
                    NAME.name,
                    input,
                    "[C], one for each channel",
                    require(&format!("{site}.{what}"))?,
                )
            };
            Ok(NormLayer {
                input: require(site)?,
                running_mean: remembered("teacher.SITE.running-mean", "running-mean")?,
                running_var: remembered("teacher.SITE.running-var", "running-var")?,
            })
        };
        names.iter().map(layer).collect()
    }
}

impl DistillLoss for DeepInversion {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        // As it is: the images are trained through the teacher.
        let teacher = view.teacher(NAME.name)?;
        let logits = teacher.logits.clone();
        let image = view.student.features.get(&self.image).cloned();
        let image = image.map(|x| ranked(NAME.name, "student.image", "[B, C, H, W]", x)).transpose()?;
        let inversion = Inversion {
            image,
            logits: logits.ok_or(Error::Missing { loss: NAME.name, input: "teacher.logits" })?,
            targets: view.targets(NAME.name)?,
            layers: if self.batch_norm_weight > 0.0 { self.layers(teacher)? } else { Vec::new() },
            student: view.student.logits.clone(),
        };
        deep_inversion(inversion, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "deep-inversion",
    line: "data-free: images whose statistics in the teacher are those that its batch normalizations remember",
    formula: "CE(z_t, y) + w_bn·sum_l (‖μ_l - mean_l‖₂ + ‖σ²_l - var_l‖₂) + w_tv·TV(x) + w_2·‖x‖₂ \
              + w_c·(1 - JS(p_s, p_t))",
    paper: "Yin et al., Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion, CVPR 2020, \
            arXiv 1912.08795",
    reference: "NVlabs/DeepInversion cifar10/deepinversion_cifar10.py 2413af1f97f6c73c4dcb47b6a44266aad458ff28; the \
                competition is the paper's, the file's is compat = \"deep-inversion\"",
    when: "Where no data of the teacher's are left, it has batch normalizations, and minutes for each batch of images \
           can be spent; useless for networks that normalize in other ways.",
    inputs: &[
        Input::new("student.image", &["B", "P", "H", "W"], "the images, which are what is trained"),
        Input::new("teacher.logits", &["B", "C"], "logits of the teacher on the images; not a constant"),
        Input::new("targets", &["B"], "class that each image is to show, from 0 to C - 1"),
        Input::new(
            "teacher.SITE",
            &["B", "D", "U", "V"],
            "what goes into a batch normalization, rank 2 to 4; not a constant; three tensors for each layer",
        ),
        Input::new("teacher.SITE.running-mean", &["D"], "the mean that it remembers"),
        Input::new("teacher.SITE.running-var", &["D"], "the variance that it remembers"),
        Input::optional(
            "student.logits",
            &["B", "C"],
            "logits of the student on the images; only where competition-weight > 0",
        ),
    ],
    example: "{ batch-norm-weight = 10.0, total-variation-weight = 0.001 }",
    lacks: Some("images to train"),
    knobs: &[
        Knob::or("batch-norm-weight", "100.0", "weight of the batch normalizations, at least 0"),
        Knob::or("total-variation-weight", "2.5e-5", "weight of the total variation, at least 0"),
        Knob::or("norm-weight", "0.0", "weight of the images' Euclidean norm, at least 0"),
        Knob::or(
            "competition-weight",
            "0.0",
            "weight of 1 - JS with the student at temperature 3, at least 0; above 0 it is Adaptive DeepInversion",
        ),
        Knob::or("image", "\"image\"", "site of the images"),
        Knob::or("layers", "[]", "the teacher's sites in front of batch normalizations; all if left out"),
        Knob::optional("compat", "deep-inversion: probabilities of the competition clamped to [0.01, 0.99]"),
    ],
};
