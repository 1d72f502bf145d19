//! MobileCLIP's distillation: within a batch, how each image relates to all texts and each text to all images, as one
//! teacher or several see it.

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use serde::{Deserialize, Serialize};

use crate::loss::math::{TINY, divide, ranked, sum_rows, unit_rows};
use crate::loss::transformer::common::as_it_is;
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Features, Input, Knob, Side, SitePair, Temperature, View};

/// Embeddings of paired images and texts in one model's common space, `[B, D]` each.
#[derive(Debug, Clone)]
pub struct Embeddings {
    /// Of the images.
    pub image: Tensor<2>,
    /// Of the texts.
    pub text: Tensor<2>,
}

/// KL of the student's similarities from each teacher's, images to texts and texts to images:
///
/// ```text
/// L = (1/K) Σ_k ½·(1/B) Σ_b [ KL(P_k(image)_b ‖ S(image)_b) + KL(P_k(text)_b ‖ S(text)_b) ]
/// S(image) = softmax(I·Tᵀ / τ) along the texts,   S(text) = softmax(T·Iᵀ / τ) along the images
/// ```
///
/// B is the same everywhere, D may differ from model to model, K is the number of teachers, τ is the knob of each
/// side. Embeddings are first divided by their length, which changes nothing where they are unit vectors already; a
/// vector of zeros stays zeros with a finite gradient. At B = 1 the loss is 0. The teachers' embeddings are constants.
/// The contrastive loss with the labels of the original is a term of its own and not in here.
///
/// # Errors
///
/// [`Error::NoTeacher`], [`Error::Shape`] where images and texts do not fit each other or the student's,
/// [`Error::Empty`].
pub fn mobileclip(
    student: Embeddings,
    teachers: Vec<Embeddings>,
    knobs: &MobileClip,
) -> Result<Tensor<1>, Error> {
    let count = teachers.len();
    let batch = student.image.dims()[0];
    let own =
        similarities(student, batch, ["student.image", "student.text"], knobs.student_temperature, knobs)?;
    let mut sum: Option<Tensor<1>> = None;
    for Embeddings { image, text } in teachers {
        let teacher = Embeddings { image: image.without_autodiff(), text: text.without_autodiff() };
        let inputs = ["teacher.image", "teacher.text"];
        let theirs = similarities(teacher, batch, inputs, knobs.teacher_temperature, knobs)?;
        for (log_s, log_t) in own.iter().zip(theirs) {
            let term = sum_rows(log_t.clone().exp() * (log_t - log_s.clone()));
            sum = Some(match sum {
                Some(sum) => sum + term,
                None => term,
            });
        }
    }
    let sum = sum.ok_or(Error::NoTeacher { loss: NAME.name })?;
    Ok(divide(sum, (2 * batch * count) as f64))
}

/// `log softmax` of images over texts, and of texts over images, `[B, B]` each.
fn similarities(
    Embeddings { image, text }: Embeddings,
    batch: usize,
    inputs: [&'static str; 2],
    temperature: Temperature,
    knobs: &MobileClip,
) -> Result<[Tensor<2>; 2], Error> {
    let width = image.dims()[1];
    for (input, found) in inputs.into_iter().zip([image.dims(), text.dims()]) {
        if found.contains(&0) {
            return Err(Error::Empty { shape: found.to_vec() });
        }
        if found != [batch, width] {
            let expected = "[B, D], B the same everywhere and D the same for images and texts";
            return Err(Error::Shape { loss: NAME.name, input, expected, found: found.to_vec() });
        }
    }
    let (image, text) = match knobs.normalize {
        true => (unit_rows(image, TINY), unit_rows(text, TINY)),
        false => (image, text),
    };
    let of_images = divide(image.matmul(text.transpose()), temperature.get());
    Ok([log_softmax(of_images.clone(), 1), log_softmax(of_images.transpose(), 1)])
}

/// The loss `mobileclip` of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MobileClip {
    /// Site of the images' embeddings in all models.
    pub image: String,
    /// Site of the texts' embeddings in all models.
    pub text: String,
    /// What the student's similarities are divided by.
    pub student_temperature: Temperature,
    /// What the teachers' similarities are divided by.
    pub teacher_temperature: Temperature,
    /// Whether embeddings are divided by their length first.
    pub normalize: bool,
}

impl Default for MobileClip {
    fn default() -> Self {
        // CLIP's logit scale of 100, which it learns and at which the original keeps its teachers.
        let temperature = Temperature::new(0.01).unwrap_or(Temperature::ONE);
        MobileClip {
            image: "image".into(),
            text: "text".into(),
            student_temperature: temperature,
            teacher_temperature: temperature,
            normalize: true,
        }
    }
}

impl MobileClip {
    fn embeddings(
        &self,
        side: Side,
        inputs: [&'static str; 2],
        features: &Features,
    ) -> Result<Embeddings, Error> {
        let at = |site: &str, input| {
            ranked(NAME.name, input, "[B, D], embeddings", features.require(side, site)?.clone())
        };
        Ok(Embeddings { image: at(&self.image, inputs[0])?, text: at(&self.text, inputs[1])? })
    }
}

impl DistillLoss for MobileClip {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        [&self.image, &self.text].map(|site| as_it_is(site)).to_vec()
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let inputs = ["student.image", "student.text"];
        let student = self.embeddings(Side::Student, inputs, &view.student.features)?;
        let inputs = ["teacher.image", "teacher.text"];
        let teachers = view.teachers.iter();
        let teachers = teachers.map(|teacher| self.embeddings(Side::Teacher, inputs, &teacher.features));
        mobileclip(student, teachers.collect::<Result<_, _>>()?, self)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "mobileclip",
    line: "KL of image-text similarities within the batch, both ways, from one teacher or several",
    formula: "mean over teachers of ½·(1/B) sum [ KL(softmax(I_t T_tᵀ/τ_t) ‖ softmax(I_s T_sᵀ/τ_s)) + the same \
              of T Iᵀ ] over rows, embeddings of unit length",
    paper: "Vasu et al., MobileCLIP: Fast Image-Text Models through Multi-Modal Reinforced Training, CVPR 2024, \
            arXiv 2311.17049",
    reference: "apple/ml-mobileclip training/open_clip_v1.patch 4144bb1f081a6bcb9bc9e6552dee3b29a9ef9855 \
                `DistillClipLoss`, the distillation part, less the teachers' entropy: the same gradient for one \
                teacher",
    when: "For small CLIP-like models with large batches, embeddings of the teachers stored with the data; \
           small batches show too few wrong texts for each image.",
    inputs: &[
        Input::new("student.image", &["B", "D"], "embeddings of the images"),
        Input::new("student.text", &["B", "D"], "embeddings of their texts"),
        Input::new("teacher.image", &["B", "E"], "as the student's; further teachers as `teacher.1.image`"),
        Input::new("teacher.text", &["B", "E"], "as the student's; further teachers as `teacher.1.text`"),
    ],
    example: "{ student-temperature = 0.01, teacher-temperature = 0.01 }",
    lacks: Some("embeddings of texts beside those of images"),
    knobs: &[
        Knob::or("image", "\"image\"", "site of the images' embeddings in all models"),
        Knob::or("text", "\"text\"", "site of the texts' embeddings in all models"),
        Knob::or(
            "student-temperature",
            "0.01",
            "divides the student's similarities, above 0; 1 over its logit scale",
        ),
        Knob::or(
            "teacher-temperature",
            "0.01",
            "divides the teachers' similarities, above 0; 1 over their logit scale",
        ),
        Knob::or("normalize", "true", "whether embeddings are divided by their length first"),
    ],
};
