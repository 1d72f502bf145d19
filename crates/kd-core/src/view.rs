//! What a loss may look at: the outputs of both models on one batch, the labels, the progress, the connectors.

use std::fmt;

use burn::tensor::{Int, Tensor};

use crate::{Connectors, Error, Feature, Features, Progress, SitePair};

/// Which of the two models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The model that is trained.
    Student,
    /// The model that it learns from.
    Teacher,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Student => "student",
            Side::Teacher => "teacher",
        })
    }
}

/// What a model gave for one batch.
#[derive(Debug, Clone)]
pub struct Observed {
    /// `[batch, classes]`, before any softmax.
    pub logits: Tensor<2>,
    /// What its tap kept.
    pub features: Features,
}

impl Observed {
    /// Logits alone.
    pub fn new(logits: Tensor<2>) -> Self {
        Observed { logits, features: Features::new() }
    }

    /// The same with `features`.
    #[must_use]
    pub fn with_features(self, features: Features) -> Self {
        Observed { features, ..self }
    }

    /// The same numbers as constants, as a teacher's must be.
    #[must_use]
    pub fn without_autodiff(self) -> Self {
        Observed { logits: self.logits.without_autodiff(), features: self.features.without_autodiff() }
    }
}

/// One batch as a loss sees it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The student's outputs.
    pub student: &'a Observed,
    /// The teacher's outputs, where there is one.
    pub teacher: Option<&'a Observed>,
    /// Class of each example, `[batch]`, each from 0 to classes − 1.
    pub targets: &'a Tensor<1, Int>,
    /// How far the stage has come.
    pub progress: Progress,
    /// What joins the student's features to the teacher's.
    pub connectors: &'a Connectors,
}

impl<'a> View<'a> {
    /// The teacher's outputs.
    ///
    /// # Errors
    ///
    /// [`Error::NoTeacher`], which names `loss`.
    pub fn require_teacher(&self, loss: &'static str) -> Result<&'a Observed, Error> {
        self.teacher.ok_or(Error::NoTeacher { loss })
    }

    /// The features of a pair of sites: the student's after its connector, the teacher's as a constant.
    ///
    /// # Errors
    ///
    /// [`Error::NoTeacher`], [`Error::UnknownSite`], [`Error::NoConnector`].
    pub fn pair(&self, loss: &'static str, pair: &SitePair) -> Result<(Feature, Feature), Error> {
        let teacher = self.require_teacher(loss)?.features.require(Side::Teacher, &pair.teacher)?;
        let student = self.student.features.require(Side::Student, &pair.student)?;
        Ok((self.connectors.apply(pair, student.clone())?, teacher.clone().without_autodiff()))
    }
}
