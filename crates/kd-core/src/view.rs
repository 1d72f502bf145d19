//! What a loss may look at: the outputs of both models on one batch, the labels, the progress, the connectors.

use std::fmt;

use burn::tensor::{Int, Tensor};

use crate::feature::{is_half, widened};
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
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// `[batch, classes]`, before any softmax; for tokens `[batch · length, classes]`. None where only features were
    /// looked at.
    pub logits: Option<Tensor<2>>,
    /// What its tap kept.
    pub features: Features,
}

impl Observed {
    /// Logits alone.
    pub fn new(logits: Tensor<2>) -> Self {
        Observed { logits: Some(logits), features: Features::new() }
    }

    /// The same with `features`.
    #[must_use]
    pub fn with_features(self, features: Features) -> Self {
        Observed { features, ..self }
    }

    /// The same numbers as constants, as a teacher's must be.
    #[must_use]
    pub fn without_autodiff(self) -> Self {
        Observed {
            logits: self.logits.map(Tensor::without_autodiff),
            features: self.features.without_autodiff(),
        }
    }

    fn has_half(&self) -> bool {
        self.logits.as_ref().is_some_and(|x| is_half(x.dtype())) || self.features.has_half()
    }

    /// The same in single precision at least, as losses compute.
    pub(crate) fn widened(&self) -> Self {
        Observed { logits: self.logits.clone().map(widened), features: self.features.clone().widened() }
    }
}

/// One batch as a loss sees it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The student's outputs.
    pub student: &'a Observed,
    /// The teacher's outputs, or those of several teachers; empty where there is none.
    pub teachers: &'a [Observed],
    /// Class of each example, `[batch]`, each from 0 to classes − 1.
    pub targets: Option<&'a Tensor<1, Int>>,
    /// Which tokens count, `[batch, length]`: 1 counted, 0 ignored. None where examples are no sequences.
    pub mask: Option<&'a Tensor<2>>,
    /// How far the stage has come.
    pub progress: Progress,
    /// What joins the student's features to the teacher's, and what else losses train.
    pub connectors: &'a Connectors,
}

impl View<'_> {
    /// Whether anything in it is in half precision, in which losses do not compute.
    pub(crate) fn has_half(&self) -> bool {
        self.student.has_half() || self.teachers.iter().any(Observed::has_half)
    }
}

impl<'a> View<'a> {
    /// The student's logits, `[batch, classes]`.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], which names `loss`.
    pub fn student_logits(&self, loss: &'static str) -> Result<Tensor<2>, Error> {
        self.student.logits.clone().ok_or(Error::Missing { loss, input: "student.logits" })
    }

    /// The outputs of the first teacher.
    ///
    /// # Errors
    ///
    /// [`Error::NoTeacher`], which names `loss`.
    pub fn teacher(&self, loss: &'static str) -> Result<&'a Observed, Error> {
        self.teachers.first().ok_or(Error::NoTeacher { loss })
    }

    /// The first teacher's logits as a constant, `[batch, classes]`.
    ///
    /// # Errors
    ///
    /// [`Error::NoTeacher`], [`Error::Missing`].
    pub fn teacher_logits(&self, loss: &'static str) -> Result<Tensor<2>, Error> {
        let logits = self.teacher(loss)?.logits.clone();
        logits.map(Tensor::without_autodiff).ok_or(Error::Missing { loss, input: "teacher.logits" })
    }

    /// The labels.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`].
    pub fn targets(&self, loss: &'static str) -> Result<&'a Tensor<1, Int>, Error> {
        self.targets.ok_or(Error::Missing { loss, input: "targets" })
    }

    /// The features of a pair of sites: the student's after its connector, the teacher's as a constant. An empty name
    /// is the only site that there is.
    ///
    /// # Errors
    ///
    /// [`Error::NoTeacher`], [`Error::UnknownSite`], [`Error::NoConnector`].
    pub fn pair(&self, loss: &'static str, pair: &SitePair) -> Result<(Feature, Feature), Error> {
        let teacher = self.teacher(loss)?.features.require(Side::Teacher, &pair.teacher)?;
        let sites =
            pair.student_sites().map(|site| self.student.features.require(Side::Student, site).cloned());
        let student = sites.collect::<Result<Vec<_>, _>>()?;
        Ok((self.connectors.apply(pair, student)?, teacher.clone().without_autodiff()))
    }

    /// The features of a pair of sites without a connector, for losses that compare features of different shapes.
    ///
    /// # Errors
    ///
    /// [`Error::NoTeacher`], [`Error::UnknownSite`].
    pub fn pair_as_it_is(&self, loss: &'static str, pair: &SitePair) -> Result<(Feature, Feature), Error> {
        let teacher = self.teacher(loss)?.features.require(Side::Teacher, &pair.teacher)?;
        let student = self.student.features.require(Side::Student, &pair.student)?;
        Ok((student.clone(), teacher.clone().without_autodiff()))
    }
}
