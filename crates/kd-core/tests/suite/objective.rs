//! Bookkeeping of weighted terms.

use burn::tensor::{Device, Tensor};
use kd_core::loss::{CrossEntropy, Hint, Kl};
use kd_core::{
    Connectors, DistillLoss, Error, Objective, Observed, Progress, Schedule, SitePair, Temperature, Term,
    View,
};

use crate::support::{exact, labels, leaf, number, numbers};

/// A loss that is a fixed multiple of the sum of the student's logits: a loss from outside the crate.
#[derive(Debug)]
struct Sum(f64);

impl DistillLoss for Sum {
    fn needs_teacher(&self) -> bool {
        false
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error> {
        Ok(view.student_logits("test")?.mul_scalar(self.0).sum())
    }
}

fn constant(weight: f64) -> Schedule {
    Schedule::constant(weight).unwrap()
}

/// Evaluates on the logits [1, 2] at `progress`: the total, each term, and the gradient of the total.
fn evaluate(objective: &Objective, progress: f64) -> (f64, Vec<(String, f64, f64)>, Vec<f64>) {
    let logits = leaf(&[1.0, 2.0], [1, 2]);
    let evaluation = objective
        .evaluate(&View {
            student: &Observed::new(logits.clone()),
            teachers: &[],
            targets: Some(&labels(&[0], &Device::flex())),
            mask: None,
            progress: Progress::new(progress).unwrap(),
            connectors: &Connectors::none(),
        })
        .unwrap();
    let gradients = evaluation.total.backward();
    let terms =
        evaluation.terms.into_iter().map(|term| (term.name, term.weight, number(term.value))).collect();
    (number(evaluation.total), terms, numbers(logits.grad(&gradients).unwrap()))
}

#[test]
fn the_total_is_the_weighted_sum_and_terms_are_reported_without_their_weight() {
    let objective = Objective::new(vec![
        Term::new("a", constant(0.5), Sum(1.0)),
        Term::new("b", Schedule::linear(0.0, 4.0).unwrap(), Sum(10.0)),
    ])
    .unwrap();
    let (total, terms, gradient) = evaluate(&objective, 0.25);
    assert_eq!(total, 0.5 * 3.0 + 1.0 * 30.0);
    assert_eq!(terms, [("a".into(), 0.5, 3.0), ("b".into(), 1.0, 30.0)]);
    assert_eq!(gradient, [10.5, 10.5]);
}

#[test]
fn a_term_of_weight_zero_is_reported_and_does_not_touch_the_total() {
    let objective = Objective::new(vec![
        Term::new("broken", Schedule::linear(0.0, 1.0).unwrap(), Sum(f64::NAN)),
        Term::new("good", constant(2.0), Sum(1.0)),
    ])
    .unwrap();
    let (total, terms, gradient) = evaluate(&objective, 0.0);
    assert_eq!((total, gradient), (6.0, vec![2.0, 2.0]));
    assert_eq!((terms[0].0.as_str(), terms[0].1), ("broken", 0.0));
    assert!(terms[0].2.is_nan());
    let (total, ..) = evaluate(&objective, 0.5);
    assert!(total.is_nan(), "with a weight, it counts");
}

#[test]
fn an_objective_of_zero_weights_is_zero_and_has_a_gradient_of_zero() {
    let objective = Objective::new(vec![Term::new("off", constant(0.0), Sum(1.0))]).unwrap();
    let (total, terms, gradient) = evaluate(&objective, 0.0);
    assert_eq!((total, gradient), (0.0, vec![0.0, 0.0]));
    assert_eq!(terms, [("off".into(), 0.0, 3.0)]);
}

#[test]
fn negative_weights_subtract() {
    let objective = Objective::new(vec![
        Term::new("a", constant(1.0), Sum(1.0)),
        Term::new("b", constant(-1.0), Sum(2.0)),
    ])
    .unwrap();
    assert_eq!(evaluate(&objective, 0.0).0, -3.0);
}

#[test]
fn an_objective_is_never_empty_and_names_are_unique() {
    assert_eq!(Objective::new(vec![]).unwrap_err(), Error::NoTerms);
    let twice = vec![Term::new("kl", constant(1.0), Sum(1.0)), Term::new("kl", constant(2.0), Sum(2.0))];
    assert_eq!(Objective::new(twice).unwrap_err(), Error::DuplicateTerm { name: "kl".into() });
}

#[test]
fn it_knows_whether_it_needs_a_teacher_and_which_sites() {
    let alone = Objective::new(vec![Term::new("labels", constant(1.0), CrossEntropy::default())]).unwrap();
    assert!(!alone.needs_teacher() && alone.sites().is_empty());
    assert_eq!(alone.terms().len(), 1);

    let kl = Kl::new(Temperature::ONE);
    let distilled = Objective::new(vec![
        Term::new("labels", constant(1.0), CrossEntropy::default()),
        Term::new("kl", constant(1.0), kl),
        Term::new("low", constant(1.0), Hint::new("block1", "block2")),
        Term::new("high", constant(1.0), Hint::new("block2", "block4")),
        Term::new("low again", constant(1.0), Hint::new("block1", "block2")),
    ])
    .unwrap();
    assert!(distilled.needs_teacher());
    assert_eq!(distilled.sites(), [SitePair::new("block1", "block2"), SitePair::new("block2", "block4")]);
}

#[test]
fn the_error_of_a_term_is_the_error_of_the_objective() {
    let objective = Objective::new(vec![Term::new("kl", constant(0.0), Kl::new(Temperature::ONE))]).unwrap();
    let student = Observed::new(exact(&[0.0, 0.0], [1, 2]));
    let error = objective
        .evaluate(&View {
            student: &student,
            teachers: &[],
            targets: Some(&labels(&[0], &Device::flex())),
            mask: None,
            progress: Progress::START,
            connectors: &Connectors::none(),
        })
        .unwrap_err();
    assert_eq!(error, Error::NoTeacher { loss: "kl" });
}

#[test]
fn an_objective_can_be_sent_to_the_thread_that_trains() {
    fn sendable<T: Send + Sync>(_: &T) {}
    sendable(&Objective::new(vec![Term::new("a", constant(1.0), Sum(1.0))]).unwrap());
}
