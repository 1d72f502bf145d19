//! Gradients against central differences in f64, where no public implementation is asked.

use burn::tensor::Device;
use kd_core::loss::{CrossEntropy, Kl, LabelSmoothing, Reduction, cross_entropy, hint, kl};
use kd_core::{Connectors, Objective, Observed, Progress, Schedule, Temperature, Term, View};

use crate::support::{assert_gradient, exact, labels, leaf, number, numbers, some_numbers};

#[test]
fn cross_entropy_has_the_gradient_of_its_value() {
    let targets = labels(&[4, 0, 2], &Device::flex());
    for epsilon in [0.0, 0.1, 0.7] {
        let smoothing = LabelSmoothing::new(epsilon).unwrap();
        assert_gradient(&format!("smoothing {epsilon}"), &some_numbers(15, 1), [3, 5], |logits| {
            cross_entropy(logits, &targets, smoothing).unwrap()
        });
    }
}

#[test]
fn kl_has_the_gradient_of_its_value() {
    let teacher = exact(&some_numbers(12, 2), [3, 4]);
    for temperature in [0.5, 1.0, 2.0, 20.0] {
        for reduction in [Reduction::BatchMean, Reduction::Mean, Reduction::Sum] {
            let knobs = Kl::new(Temperature::new(temperature).unwrap()).with_reduction(reduction);
            assert_gradient(&format!("{knobs:?}"), &some_numbers(12, 3), [3, 4], |student| {
                kl(student, teacher.clone(), &knobs).unwrap()
            });
        }
    }
}

#[test]
fn hint_has_the_gradient_of_its_value() {
    let teacher = exact(&some_numbers(24, 4), [2, 3, 2, 2]);
    assert_gradient("hint", &some_numbers(24, 5), [2, 3, 2, 2], |student| {
        hint(student, teacher.clone()).unwrap()
    });
}

#[test]
fn an_objective_has_the_gradient_of_its_total() {
    let objective = Objective::new(vec![
        Term::new("labels", Schedule::constant(0.3).unwrap(), CrossEntropy::default()),
        Term::new("teacher", Schedule::linear(0.0, 2.0).unwrap(), Kl::new(Temperature::new(4.0).unwrap())),
    ])
    .unwrap();
    let teacher = Observed::new(exact(&some_numbers(10, 6), [2, 5]));
    let targets = labels(&[1, 3], &Device::flex());
    assert_gradient("objective", &some_numbers(10, 7), [2, 5], |logits| {
        let view = View {
            student: &Observed::new(logits),
            teachers: std::slice::from_ref(&teacher),
            targets: Some(&targets),
            mask: None,
            progress: Progress::new(0.4).unwrap(),
            connectors: &Connectors::none(),
        };
        objective.evaluate(&view).unwrap().total
    });
}

#[test]
fn no_gradient_reaches_the_teacher() {
    let (student, teacher) = (leaf(&some_numbers(6, 8), [2, 3]), leaf(&some_numbers(6, 9), [2, 3]));
    let gradients = kl(student.clone(), teacher.clone(), &Kl::new(Temperature::ONE)).unwrap().backward();
    assert!(teacher.grad(&gradients).is_none());
    assert!(student.grad(&gradients).is_some());
    let gradients = hint(student.clone(), teacher.clone()).unwrap().backward();
    assert!(teacher.grad(&gradients).is_none());
    assert!(student.grad(&gradients).is_some());
}

#[test]
fn labels_and_teacher_may_be_on_the_device_with_or_without_autodiff() {
    let plain = Device::flex();
    let training = plain.clone().autodiff();
    let logits = some_numbers(6, 8);
    let value = |targets_on: &Device| {
        let targets = labels(&[2, 0], targets_on);
        let student = leaf(&logits, [2, 3]);
        let loss = cross_entropy(student.clone(), &targets, LabelSmoothing::NONE).unwrap();
        let gradients = loss.backward();
        (number(loss), numbers(student.grad(&gradients).unwrap()))
    };
    assert_eq!(value(&plain), value(&training));
}
