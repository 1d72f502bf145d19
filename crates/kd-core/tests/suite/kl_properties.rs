//! What holds for the KL divergence whatever the logits.

use burn::tensor::{DType, Device};
use kd_core::Temperature;
use kd_core::loss::{Kl, Reduction, kl};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::{exact, leaf, number, numbers, tensor};

fn of(student: &[f64], teacher: &[f64], classes: usize, knobs: &Kl) -> f64 {
    let shape = [student.len() / classes, classes];
    number(kl(exact(student, shape), exact(teacher, shape), knobs).unwrap())
}

fn at(temperature: f64) -> Kl {
    Kl::new(Temperature::new(temperature).unwrap())
}

fn logits() -> impl Strategy<Value = (usize, Vec<f64>, Vec<f64>)> {
    (1..5usize, 1..8usize).prop_flat_map(|(batch, classes)| {
        let row = || vec(-20.0..20.0f64, batch * classes);
        (Just(classes), row(), row())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_is_never_negative((classes, student, teacher) in logits(), t in 0.5..20.0f64) {
        prop_assert!(of(&student, &teacher, classes, &at(t)) >= -1e-12 * t * t);
    }

    #[test]
    fn it_is_zero_for_equal_logits((classes, student, _) in logits(), t in 0.5..20.0f64) {
        prop_assert_eq!(of(&student, &student, classes, &at(t)), 0.0);
    }

    #[test]
    fn it_is_zero_only_for_equal_distributions((classes, student, teacher) in logits()) {
        // Pinsker: KL ≥ ½·‖p_t − p_s‖₁² for each row, so distributions that differ have a divergence that does.
        let softmax = |row: &[f64]| {
            let max = row.iter().cloned().fold(f64::MIN, f64::max);
            let e: Vec<f64> = row.iter().map(|z| (z - max).exp()).collect();
            let sum: f64 = e.iter().sum();
            e.into_iter().map(|e| e / sum).collect::<Vec<_>>()
        };
        let bound: f64 = student.chunks(classes).zip(teacher.chunks(classes)).map(|(s, t)| {
            let l1: f64 = softmax(s).iter().zip(softmax(t)).map(|(s, t)| (s - t).abs()).sum();
            0.5 * l1 * l1
        }).sum();
        let found = of(&student, &teacher, classes, &at(1.0).with_reduction(Reduction::Sum));
        prop_assert!(found >= bound - 1e-12, "{found} below {bound}");
    }

    #[test]
    fn adding_a_constant_to_a_row_changes_nothing((classes, student, teacher) in logits(), shift in -50.0..50.0f64) {
        let shifted: Vec<f64> = student.iter().map(|z| z + shift).collect();
        let (a, b) = (of(&student, &teacher, classes, &at(2.0)), of(&shifted, &teacher, classes, &at(2.0)));
        prop_assert!((a - b).abs() <= 1e-10 * a.max(1.0), "{a} and {b}");
        let shifted: Vec<f64> = teacher.iter().map(|z| z + shift).collect();
        let b = of(&student, &shifted, classes, &at(2.0));
        prop_assert!((a - b).abs() <= 1e-10 * a.max(1.0), "{a} and {b}");
    }

    #[test]
    fn reductions_differ_by_what_they_divide_by((classes, student, teacher) in logits()) {
        let batch = student.len() / classes;
        let sum = of(&student, &teacher, classes, &at(3.0).with_reduction(Reduction::Sum));
        let batch_mean = of(&student, &teacher, classes, &at(3.0));
        let mean = of(&student, &teacher, classes, &at(3.0).with_reduction(Reduction::Mean));
        let bare = of(&student, &teacher, classes, &at(3.0).with_t_squared(false));
        prop_assert!((sum / batch as f64 - batch_mean).abs() <= 1e-12 * sum.abs().max(1.0));
        prop_assert!((batch_mean / classes as f64 - mean).abs() <= 1e-12 * sum.abs().max(1.0));
        prop_assert!((bare * 9.0 - batch_mean).abs() <= 1e-12 * sum.abs().max(1.0));
    }
}

/// As T grows, T²·KL tends to half the mean squared difference of the centered logits (Hinton et al., section 2.1).
#[test]
fn at_high_temperature_it_is_a_squared_difference() {
    let (student, teacher) = ([1.0, -2.0, 0.5, 3.0], [0.0, 1.0, -1.0, 2.0]);
    let center = |z: &[f64]| {
        let mean = z.iter().sum::<f64>() / z.len() as f64;
        z.iter().map(|z| z - mean).collect::<Vec<_>>()
    };
    let squares: f64 = center(&student).iter().zip(center(&teacher)).map(|(s, t)| (s - t).powi(2)).sum();
    let found = of(&student, &teacher, 4, &at(1e4));
    assert!((found - squares / 8.0).abs() < 1e-3, "{found} against {}", squares / 8.0);
}

#[test]
fn a_large_gap_between_logits_is_finite_with_a_finite_gradient() {
    for gap in [500.0, 1e4, 1e30] {
        let (student, teacher) = ([gap, -gap, 0.0], [-gap, gap, 0.0]);
        let input = leaf(&student, [1, 3]);
        let value = kl(input.clone(), exact(&teacher, [1, 3]), &at(1.0)).unwrap();
        let gradients = value.backward();
        assert_eq!(number(value), 2.0 * gap, "p_t is all on class 1, where log p_s = −2·gap");
        assert_eq!(numbers(input.grad(&gradients).unwrap()), [1.0, -1.0, 0.0]);

        let device = Device::default();
        let narrow = |z: &[f64]| tensor(z, [1, 3], &device, DType::F32);
        let value = number(kl(narrow(&student), narrow(&teacher), &at(1.0)).unwrap());
        assert!((value / (2.0 * gap) - 1.0).abs() < 1e-6, "{value} at a gap of {gap}");
    }
}
