//! Variational information distillation: the student's feature should predict the teacher's, channel by channel, as far
//! as each channel can be predicted.
//!
//! A regressor and a variance for each channel are trained beside the student. One public toolkit forgets to hand the
//! variances to the optimizer; `compat` reproduces that.

use burn::tensor::Tensor;
use burn::tensor::activation::{relu, softplus_with_threshold};
use serde::{Deserialize, Serialize};

use crate::loss::feature::common::{map_or_vector, meet, positions};
use crate::loss::math::mean_all;
use crate::loss::paired::{self, paired};
use crate::loss::{DistillLoss, LossName};
use crate::{Error, Feature, Input, Knob, Observed, Parameter, Side, SitePair, View};

/// Negative log-likelihood of the teacher's feature under a Gaussian whose mean is a regression of the student's,
/// without its constant:
///
/// ```text
/// μ = W3·relu(W2·relu(W1·s))  at each position,     σ²_c = softplus(ρ_c) + 1e-5
/// L = mean ½·( (μ − t)² / σ²_c + log σ²_c )
/// ```
///
/// `student` is `[B, Cs, Hs, Ws]`, `teacher` is `[B, Ct, Ht, Wt]`, the result `[1]`; both are averaged to the smaller
/// height and width first. The teacher's feature is a constant. The value may be negative; it is finite at zeros and at
/// any ρ.
///
/// # Errors
///
/// [`Error::Empty`]; [`Error::FeatureShapes`] for different batches; [`Error::Shape`] for matrices that do not fit.
pub fn vid(student: Tensor<4>, teacher: Tensor<4>, regression: VidRegression) -> Result<Tensor<1>, Error> {
    let ([_, from, ..], [_, to, ..]) = (student.dims(), teacher.dims());
    let (student, teacher) = meet(student, teacher.without_autodiff())?;
    let VidRegression { first, second, third, rho } = regression;
    let [middle, _] = first.dims();
    let fits = |input, x: &Tensor<2>, expected, shape: [usize; 2]| match x.dims() == shape {
        true => Ok(()),
        false => Err(Error::Shape { loss: NAME.name, input, expected, found: x.dims().to_vec() }),
    };
    fits(FIRST, &first, "[M, Cs]", [middle, from])?;
    fits(SECOND, &second, "[M, M]", [middle, middle])?;
    fits(THIRD, &third, "[Ct, M]", [to, middle])?;
    let rho: Tensor<2> = rho.unsqueeze_dim(0);
    fits(VARIANCE, &rho, "[Ct]", [1, to])?;

    let hidden = relu(positions(student).matmul(first.transpose()));
    let hidden = relu(hidden.matmul(second.transpose()));
    let difference = hidden.matmul(third.transpose()) - positions(teacher);
    // At 50, softplus is its argument to the last digit of f64.
    let variance = softplus_with_threshold(rho, 1.0, 50.0).add_scalar(EPSILON);
    Ok(mean_all((difference.square() / variance.clone() + variance.log()).mul_scalar(0.5)))
}

/// What [`vid`] trains.
#[derive(Debug, Clone)]
pub struct VidRegression {
    /// `[M, Cs]`, of the first 1×1 convolution.
    pub first: Tensor<2>,
    /// `[M, M]`, of the second.
    pub second: Tensor<2>,
    /// `[Ct, M]`, of the third.
    pub third: Tensor<2>,
    /// `[Ct]`: the variance of a channel is softplus(ρ) + 1e-5.
    pub rho: Tensor<1>,
}

/// A defect to reproduce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VidCompat {
    /// The variances are never trained: all stay 5.
    Mdistiller,
}

paired! {
    /// The loss `vid` of a recipe: [`vid`] of the features at two sites, the student's through a regressor of its own,
    /// without a connector unless one is asked for. The regressor is as wide as the teacher's feature.
    Vid {
        /// A defect to reproduce; none by default.
        #[serde(skip_serializing_if = "Option::is_none")]
        compat: Option<VidCompat> = None,
    }
}

/// What is added to each variance.
const EPSILON: f64 = 1e-5;
/// The variance of a channel before training.
const FIRST_VARIANCE: f64 = 5.0;

const FIRST: &str = "regressor1";
const SECOND: &str = "regressor2";
const THIRD: &str = "regressor3";
const VARIANCE: &str = "variance";

/// The ρ of the first variance: softplus⁻¹(5 − 1e-5).
fn first_rho() -> f64 {
    (FIRST_VARIANCE - EPSILON).exp_m1().ln()
}

impl Vid {
    /// From the channels of the student's and the teacher's feature.
    fn specs(&self, from: usize, to: usize) -> [Parameter; 4] {
        let owner = format!("{} {} {}", NAME.name, self.student, self.teacher);
        [
            Parameter::weight(&owner, FIRST, &[to, from], from),
            Parameter::weight(&owner, SECOND, &[to, to], to),
            Parameter::weight(&owner, THIRD, &[to, to], to),
            Parameter::constant(&owner, VARIANCE, &[to], first_rho()),
        ]
    }

    fn features(&self, view: &View<'_>) -> Result<(Feature, Feature), Error> {
        let pair = self.pair();
        match pair.connector {
            None => view.pair_as_it_is(NAME.name, &pair),
            Some(_) => view.pair(NAME.name, &pair),
        }
    }
}

impl DistillLoss for Vid {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn sites(&self) -> Vec<SitePair> {
        vec![self.pair_as_it_is()]
    }

    fn parameters(&self, student: &Observed, teacher: &Observed) -> Result<Vec<Parameter>, Error> {
        let teacher = teacher.features.require(Side::Teacher, &self.teacher)?.clone();
        let [_, to, ..] = map_or_vector(NAME.name, "teacher.SITE", teacher)?.dims();
        let student = student.features.require(Side::Student, &self.student)?.clone();
        let [_, from, ..] = map_or_vector(NAME.name, "student.SITE", student)?.dims();
        // A connector gives the teacher's channels.
        let from = if self.connector.is_some() { to } else { from };
        let mut all = self.specs(from, to).to_vec();
        if self.compat == Some(VidCompat::Mdistiller) {
            all.pop();
        }
        Ok(all)
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        let (student, teacher) = self.features(view)?;
        let student = map_or_vector(NAME.name, "student.SITE", student)?;
        let teacher = map_or_vector(NAME.name, "teacher.SITE", teacher)?;
        let ([_, from, ..], [_, to, ..]) = (student.dims(), teacher.dims());
        let [first, second, third, variance] = self.specs(from, to);
        let matrix = |spec: &Parameter| view.parameter::<2>(NAME.name, spec);
        let rho = match self.compat {
            None => view.parameter::<1>(NAME.name, &variance)?,
            Some(VidCompat::Mdistiller) => {
                Tensor::full([to], first_rho(), (&teacher.device(), teacher.dtype()))
            }
        };
        let regression =
            VidRegression { first: matrix(&first)?, second: matrix(&second)?, third: matrix(&third)?, rho };
        vid(student, teacher, regression)
    }
}

pub(crate) const NAME: LossName = LossName {
    name: "vid",
    line: "negative log-likelihood of the teacher's feature, predicted from the student's with trained variances",
    formula: "mean ½·((mu - t)² / v_c + log v_c),  mu = W3·relu(W2·relu(W1·s)),  v = softplus(rho) + 1e-5, rho from \
              v = 5; the larger map average-pooled",
    paper: "Ahn, Hu, Damianou, Lawrence and Dai, Variational Information Distillation for Knowledge Transfer, CVPR \
            2019, arXiv 1904.05835",
    reference: "HobbitLong/RepDistiller distiller_zoo/VID.py b84f547c5db6a35318d4671d7d5c4de74c822403",
    when: "Between networks whose features differ, and with few data: channels that the student cannot predict get a \
           large variance and stop to matter. Needs enough steps for the regressor to learn.",
    inputs: &[
        Input::new("student.SITE", &["B", "Cs", "Hs", "Ws"], "feature of the student, or [B, Cs]"),
        Input::new("teacher.SITE", &["B", "Ct", "Ht", "Wt"], "feature of the teacher, or [B, Ct]"),
        Input::new("connector.regressor1", &["Ct", "Cs"], "W1, without bias"),
        Input::new("connector.regressor2", &["Ct", "Ct"], "W2, without bias"),
        Input::new("connector.regressor3", &["Ct", "Ct"], "W3, without bias"),
        Input::new("connector.variance", &["Ct"], "rho; not read with `compat`"),
    ],
    example: "{}",
    lacks: None,
    knobs: &[
        paired::STUDENT,
        paired::TEACHER,
        paired::AS_IT_IS,
        Knob::optional(
            "compat",
            "mdistiller: the variances are never trained and stay 5; left out, they are trained",
        ),
    ],
};
