//! What a student learns from: a weighted sum of losses, every one of which is reported.

use burn::tensor::Tensor;

use crate::{DistillLoss, Error, Observed, Parameter, Schedule, SitePair, View};

/// One summand of an [`Objective`].
#[derive(Debug)]
pub struct Term {
    /// Its name in reports, unique within the objective.
    pub name: String,
    /// Its factor, which may change along the run.
    pub weight: Schedule,
    /// What it measures.
    pub loss: Box<dyn DistillLoss>,
}

impl Term {
    /// A term.
    pub fn new(name: impl Into<String>, weight: Schedule, loss: impl DistillLoss + 'static) -> Self {
        Term { name: name.into(), weight, loss: Box::new(loss) }
    }
}

/// A weighted sum of losses: at least one, each with a name of its own.
///
/// `total = Σ weightᵢ(progress) · lossᵢ`. Weights are not normalized and no loss has a hidden factor: what a recipe
/// says is what is added.
#[derive(Debug)]
pub struct Objective {
    terms: Vec<Term>,
}

/// An [`Objective`] on one batch.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// The weighted sum, one element, with the gradient.
    pub total: Tensor<1>,
    /// Every term, in the order of the objective.
    pub terms: Vec<TermValue>,
}

/// A [`Term`] on one batch.
#[derive(Debug, Clone)]
pub struct TermValue {
    /// The term's name.
    pub name: String,
    /// Its weight at this progress.
    pub weight: f64,
    /// The loss without its weight, one element.
    pub value: Tensor<1>,
}

impl Objective {
    /// An objective.
    ///
    /// # Errors
    ///
    /// [`Error::NoTerms`] and [`Error::DuplicateTerm`].
    pub fn new(terms: Vec<Term>) -> Result<Self, Error> {
        if terms.is_empty() {
            return Err(Error::NoTerms);
        }
        for (index, term) in terms.iter().enumerate() {
            if terms[..index].iter().any(|other| other.name == term.name) {
                return Err(Error::DuplicateTerm { name: term.name.clone() });
            }
        }
        Ok(Objective { terms })
    }

    /// Its terms; never empty.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Whether any term compares with a teacher.
    pub fn needs_teacher(&self) -> bool {
        self.terms.iter().any(|term| term.loss.needs_teacher())
    }

    /// Every pair of sites that some term compares, each once, in the order of the terms.
    pub fn sites(&self) -> Vec<SitePair> {
        let mut pairs: Vec<SitePair> = Vec::new();
        for pair in self.terms.iter().flat_map(|term| term.loss.sites()) {
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        pairs
    }

    /// Every parameter that some term trains, from what a dry forward pass of each model gave.
    ///
    /// # Errors
    ///
    /// Those of the losses, where shapes do not fit.
    pub fn parameters(&self, student: &Observed, teacher: &Observed) -> Result<Vec<Parameter>, Error> {
        let mut all = Vec::new();
        for term in &self.terms {
            all.extend(term.loss.parameters(student, teacher)?);
        }
        Ok(all)
    }

    /// The sum and its terms on one batch.
    ///
    /// A term whose weight is exactly 0 at this progress is evaluated and reported, but does not enter the sum, so
    /// that neither its gradient nor a NaN of its reaches the student. Where all weights are 0, the sum is 0 with a
    /// gradient of 0.
    ///
    /// Tensors in half precision are taken to single precision first, so that all values are `f32` then; gradients go
    /// back in the precision of what they are of.
    ///
    /// # Errors
    ///
    /// The first error of a loss.
    pub fn evaluate(&self, view: &View<'_>) -> Result<Evaluation, Error> {
        if view.has_half() {
            let student = view.student.widened();
            let teachers: Vec<_> = view.teachers.iter().map(Observed::widened).collect();
            return self.evaluate(&View { student: &student, teachers: &teachers, ..*view });
        }
        let mut total: Option<Tensor<1>> = None;
        let mut terms = Vec::with_capacity(self.terms.len());
        for term in &self.terms {
            let weight = term.weight.at(view.progress);
            let value = term.loss.evaluate(view)?;
            if weight != 0.0 {
                let weighted = value.clone().mul_scalar(weight);
                total = Some(match total {
                    Some(sum) => sum + weighted,
                    None => weighted,
                });
            }
            terms.push(TermValue { name: term.name.clone(), weight, value });
        }
        // Nothing but zeros: the first value, times zero, has the device and the precision.
        let total = total.unwrap_or_else(|| terms[0].value.clone().mul_scalar(0.0));
        Ok(Evaluation { total, terms })
    }
}
