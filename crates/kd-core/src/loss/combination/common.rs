//! What losses of several models share: the paper's KL with any two tensors, all teachers at once, checked knobs.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::loss::Divergence;
use crate::loss::math::{check_logits, check_pair, column, sum_rows};
use crate::{Error, Temperature, View};

/// A temperature that is written in this crate.
pub(crate) fn temperature(value: f64) -> Temperature {
    Temperature::new(value).unwrap_or(Temperature::ONE)
}

/// `T²·KL(t ‖ s)`, mean over the batch. The teacher is taken as it is: the caller detaches it.
pub(crate) fn kl_mean(student: Tensor<2>, teacher: Tensor<2>, t: f64) -> Result<Tensor<1>, Error> {
    let [batch, _] = check_pair(&student, &teacher)?;
    let each = Divergence::Forward.of_rows(student, teacher, t, 0.5);
    Ok(sum_rows(each).mul_scalar(t * t / batch as f64))
}

/// The cross entropy of each row with its label, `[B, 1]`.
pub(crate) fn cross_entropies(logits: Tensor<2>, targets: &Tensor<1, Int>) -> Result<Tensor<2>, Error> {
    let [batch, _] = check_logits(&logits)?;
    let labels = column(targets, batch)?;
    Ok(log_softmax(logits, 1).gather(1, labels).neg())
}

/// The logits of every teacher, as they are; at least one.
pub(crate) fn teachers(loss: &'static str, view: &View<'_>) -> Result<Vec<Tensor<2>>, Error> {
    view.teacher(loss)?;
    let logits = view.teachers.iter().map(|teacher| teacher.logits.clone());
    logits.map(|logits| logits.ok_or(Error::Missing { loss, input: "teacher.K.logits" })).collect()
}

/// Reads a weight within a loss: finite and at least 0.
pub(crate) fn weight<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let found = f64::deserialize(deserializer)?;
    match found.is_finite() && found >= 0.0 {
        true => Ok(found),
        false => {
            let (name, expected) = ("weight", "finite and at least 0");
            Err(D::Error::custom(Error::OutOfRange { name, expected, found }))
        }
    }
}

/// Reads `alpha`, a share: from 0 to 1.
pub(crate) fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let found = f64::deserialize(deserializer)?;
    match (0.0..=1.0).contains(&found) {
        true => Ok(found),
        false => {
            let (name, expected) = ("alpha", "from 0 to 1");
            Err(D::Error::custom(Error::OutOfRange { name, expected, found }))
        }
    }
}
