//! Correlation congruence: a kernel of every two examples, the same in student and teacher.
//!
//! Two losses go by this name. The paper compares kernel matrices; the code that its authors gave to RepDistiller
//! multiplies the differences of neighbours in the batch. And one toolkit forgot the square of the first.

use burn::tensor::Tensor;
use serde::{Deserialize, Deserializer, Serialize};

use crate::loss::math::{check_same, divide, safe_sqrt, sum_rows};
use crate::loss::paired;
use crate::loss::relation::common::{self, check_batch, gram, number, rows};
use crate::loss::{DistillLoss, LossName};
use crate::{ConnectorKind, Error, Knob, SitePair, View};

/// Squared difference of the kernel matrices of two batches:
///
/// ```text
/// K_ij = e^{−2γ} Σ_{p=0..P} ((2γ)^p / p!)·(x_i·x_j)^p,    P the order
/// L    = (1/B²) ‖K^s − K^t‖²_F
/// ```
///
/// `student` is `[B, D]`, `teacher` `[B, E]`, the result `[1]`. The kernel is the expansion of a Gaussian for unit
/// vectors; features are taken as they are, so that large ones make it large to the power `2P`.
///
/// # Errors
///
/// [`Error::Empty`], and [`Error::Shape`] for different numbers of examples.
pub fn cc_paper(student: Tensor<2>, teacher: Tensor<2>, gamma: f64, order: u32) -> Result<Tensor<1>, Error> {
    let batch = check_batch(NAME.name, &student, &teacher)?;
    Ok(divide(squares(student, teacher, gamma, order), (batch * batch) as f64))
}

/// [`cc_paper`] without the square: `(1/B²) ‖K^s − K^t‖_F`, as torchdistill's `CCKDLoss`. No gradient where the
/// kernels are equal.
///
/// # Errors
///
/// Those of [`cc_paper`].
pub fn cc_torchdistill(
    student: Tensor<2>,
    teacher: Tensor<2>,
    gamma: f64,
    order: u32,
) -> Result<Tensor<1>, Error> {
    let batch = check_batch(NAME.name, &student, &teacher)?;
    Ok(divide(safe_sqrt(squares(student, teacher, gamma, order), 0.0), (batch * batch) as f64))
}

fn squares(student: Tensor<2>, teacher: Tensor<2>, gamma: f64, order: u32) -> Tensor<1> {
    sum_rows((kernel(student, gamma, order) - kernel(teacher.without_autodiff(), gamma, order)).square())
}

/// Horner's form: 1 + a·G·(1 + (a/2)·G·(1 + …)), a = 2γ.
fn kernel(x: Tensor<2>, gamma: f64, order: u32) -> Tensor<2> {
    let gram = gram(x);
    let one = gram.clone().without_autodiff().ones_like();
    let sum = (1..=order)
        .rev()
        .fold(one, |inner, p| (inner * gram.clone()).mul_scalar(2.0 * gamma / f64::from(p)).add_scalar(1.0));
    sum.mul_scalar((-2.0 * gamma).exp())
}

/// Products of the differences of neighbours in the batch:
///
/// ```text
/// L = (1/(B − 1)) Σ_{b<B−1} Σ_d |s_bd − t_bd|·|s_(b+1)d − t_(b+1)d|
/// ```
///
/// Both are `[B, D]`, the result is `[1]`. It depends on the order of the batch. One example has no neighbour: the
/// result is 0.
///
/// # Errors
///
/// [`Error::Empty`], [`Error::FeatureShapes`].
pub fn cc_author(student: Tensor<2>, teacher: Tensor<2>) -> Result<Tensor<1>, Error> {
    let [batch, _] = check_same(&student, &teacher)?;
    let difference = (student - teacher.without_autodiff()).abs();
    if batch == 1 {
        return Ok(sum_rows(difference).mul_scalar(0.0));
    }
    let (these, next) = (difference.clone().narrow(0, 0, batch - 1), difference.narrow(0, 1, batch - 1));
    Ok(divide(sum_rows(these * next), (batch - 1) as f64))
}

/// The loss `cc` of a recipe: of the rows at two sites. RepDistiller weights the authors' with 0.02, torchdistill its
/// own with 0.003.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Knobs", into = "Knobs")]
pub struct Cc {
    /// The student's site; empty for the only one.
    pub student: String,
    /// The teacher's site; empty for the only one.
    pub teacher: String,
    /// How to join them; none leaves it to the shapes, and to nothing where kernels are compared.
    pub connector: Option<ConnectorKind>,
    /// The kernel's γ, finite and above 0.
    pub gamma: f64,
    /// The kernel's highest power, 1 to 20.
    pub order: u32,
    /// Which of the losses with this name.
    pub form: CcForm,
}

/// A loss that is known as correlation congruence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CcForm {
    /// [`cc_paper`].
    #[default]
    Paper,
    /// [`cc_author`].
    Author,
    /// [`cc_torchdistill`].
    Torchdistill,
}

impl Default for Cc {
    fn default() -> Self {
        let (student, teacher) = (String::new(), String::new());
        Cc { student, teacher, connector: None, gamma: 0.4, order: 2, form: CcForm::Paper }
    }
}

impl Cc {
    /// The loss of two sites, every other knob at its default.
    pub fn new(student: impl Into<String>, teacher: impl Into<String>) -> Self {
        Self { student: student.into(), teacher: teacher.into(), ..Self::default() }
    }

    fn pair(&self) -> SitePair {
        SitePair { student: self.student.clone(), teacher: self.teacher.clone(), connector: self.connector }
    }
}

impl DistillLoss for Cc {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        // Only the author's form compares feature with feature.
        let as_is = SitePair { connector: self.connector.or(Some(ConnectorKind::AsIs)), ..self.pair() };
        vec![if self.form == CcForm::Author { self.pair() } else { as_is }]
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        if self.form == CcForm::Author {
            let (student, teacher) = view.pair(NAME.name, &self.pair())?;
            return cc_author(student.rows(), teacher.rows());
        }
        let (student, teacher) = rows(view, NAME.name, &self.pair())?;
        match self.form {
            CcForm::Torchdistill => cc_torchdistill(student, teacher, self.gamma, self.order),
            _ => cc_paper(student, teacher, self.gamma, self.order),
        }
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "cc",
    line: "squared difference of kernel matrices over the batch (paper), or of neighbouring differences (author)",
    formula: "paper: (1/B²) |K_s - K_t|²_F, K = e^(-2g) sum_{p=0..P} ((2g)^p/p!)·(x_i·x_j)^p;  author: mean over b < \
              B - 1 of sum_d |s_b - t_b|·|s_(b+1) - t_(b+1)|",
    paper: "Peng et al., Correlation Congruence for Knowledge Distillation, ICCV 2019, arXiv 1904.01802",
    reference: "paper: none public without a mistake, derived from torchdistill's; author: HobbitLong/RepDistiller \
                distiller_zoo/CC.py b84f547c5db6a35318d4671d7d5c4de74c822403; compat: yoshitomo-matsubara/torchdistill \
                torchdistill/losses/mid_level.py CCKDLoss (gaussian) 3e4373c45214c5c56eebac481d5bfe8b8735aa05",
    when: "Embeddings of about unit length, as after a linear layer with normalisation; on raw features the kernel \
           explodes with their size. The author's form depends on the order of the batch.",
    inputs: &[common::STUDENT, common::TEACHER],
    example: "{ gamma = 0.4, order = 2 }",
    lacks: None,
    knobs: &[
        paired::STUDENT,
        paired::TEACHER,
        Knob::optional(
            "connector",
            "identity, linear, conv or conv-batch-norm; when left out, none, and for author chosen by the two shapes",
        ),
        Knob::or("gamma", "0.4", "the kernel's width, above 0; not in author"),
        Knob::or("order", "2", "the kernel's highest power, from 1 to 20; not in author"),
        Knob::or("variant", "\"paper\"", "paper or author; not together with compat"),
        Knob::optional(
            "compat",
            "torchdistill: the Frobenius norm is not squared, a mistake of that toolkit",
        ),
    ],
};

/// The knobs as they are written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename = "Cc", rename_all = "kebab-case", deny_unknown_fields)]
struct Knobs {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    student: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    teacher: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    connector: Option<ConnectorKind>,
    #[serde(default = "default_gamma", deserialize_with = "gamma")]
    gamma: f64,
    #[serde(default = "default_order", deserialize_with = "order")]
    order: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<Variant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compat: Option<Compat>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Variant {
    Paper,
    Author,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Compat {
    Torchdistill,
}

fn default_gamma() -> f64 {
    Cc::default().gamma
}

fn default_order() -> u32 {
    Cc::default().order
}

fn gamma<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    number(deserializer, "gamma", "finite and above 0", |gamma| gamma.is_finite() && gamma > 0.0)
}

fn order<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let fits = |order: f64| order.fract() == 0.0 && (1.0..=20.0).contains(&order);
    Ok(number(deserializer, "order", "a whole number from 1 to 20", fits)? as u32)
}

impl TryFrom<Knobs> for Cc {
    type Error = &'static str;

    fn try_from(knobs: Knobs) -> Result<Self, Self::Error> {
        let form = match (knobs.variant, knobs.compat) {
            (None | Some(Variant::Paper), None) => CcForm::Paper,
            (Some(Variant::Author), None) => CcForm::Author,
            (None, Some(Compat::Torchdistill)) => CcForm::Torchdistill,
            (Some(_), Some(_)) => {
                return Err("`cc` takes `variant` or `compat`, not both: leave one of them out");
            }
        };
        let Knobs { student, teacher, connector, gamma, order, .. } = knobs;
        Ok(Cc { student, teacher, connector, gamma, order, form })
    }
}

impl From<Cc> for Knobs {
    fn from(cc: Cc) -> Self {
        let (variant, compat) = match cc.form {
            CcForm::Paper => (Some(Variant::Paper), None),
            CcForm::Author => (Some(Variant::Author), None),
            CcForm::Torchdistill => (None, Some(Compat::Torchdistill)),
        };
        let Cc { student, teacher, connector, gamma, order, .. } = cc;
        Knobs { student, teacher, connector, gamma, order, variant, compat }
    }
}
