//! What holds for the losses of the logits whatever the logits, and what is refused.

use burn::tensor::{DType, Device, Int, Tensor};
use kd_core::Temperature;
use kd_core::loss::{
    Dist, Dkd, DkdCompat, Kl, LogitStandardization, Nkd, Reduction, TfKd, Wsld, dist, dkd, dkd_parts, kl,
    logit_standardization, nkd, tf_kd, wsld,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::{exact, labels, number, numbers, tensor};

fn of_labels(classes: &[i64]) -> Tensor<1, Int> {
    labels(classes, &Device::flex())
}

fn temperature(t: f64) -> Temperature {
    Temperature::new(t).unwrap()
}

/// Every loss of this group, by name.
fn all(student: &[f64], teacher: &[f64], targets: &[i64]) -> Vec<(&'static str, f64)> {
    let shape = [targets.len(), student.len() / targets.len()];
    let pair = || (exact(student, shape), exact(teacher, shape));
    let targets = of_labels(targets);
    let with = |loss: &dyn Fn(Tensor<2>, Tensor<2>) -> Result<Tensor<1>, kd_core::Error>| {
        let (student, teacher) = pair();
        number(loss(student, teacher).unwrap())
    };
    vec![
        ("tf-kd", with(&|s, _| tf_kd(s, &targets, &TfKd::default()))),
        ("dkd", with(&|s, t| dkd(s, t, &targets, &Dkd::default()))),
        ("nkd", with(&|s, t| nkd(s, t, &targets, &Nkd::default()))),
        ("dist", with(&|s, t| dist(s, t, &Dist::default()))),
        (
            "logit-standardization",
            with(&|s, t| logit_standardization(s, t, &LogitStandardization::default())),
        ),
        ("wsld", with(&|s, t| wsld(s, t, &targets, &Wsld::default()))),
    ]
}

fn batches() -> impl Strategy<Value = (usize, Vec<f64>, Vec<f64>, Vec<i64>)> {
    (1..5usize, 1..8usize).prop_flat_map(|(batch, classes)| {
        let logits = || vec(-10.0..10.0f64, batch * classes);
        (Just(classes), logits(), logits(), vec(0..classes as i64, batch))
    })
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * b.abs().max(1.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn kl_is_its_two_parts((classes, student, teacher, targets) in batches(), t in 0.5..10.0f64) {
        let shape = [targets.len(), classes];
        let pair = |row: usize| {
            let of = |x: &[f64]| exact(&x[row * classes..(row + 1) * classes], [1, classes]);
            (of(&student), of(&teacher))
        };
        let (target, others) =
            dkd_parts(exact(&student, shape), exact(&teacher, shape), &of_labels(&targets), temperature(t)).unwrap();
        let (target, others) = (numbers(target), numbers(others));
        for (row, &label) in targets.iter().enumerate() {
            let (s, p) = pair(row);
            let knobs = Kl::new(temperature(t)).with_reduction(Reduction::Sum).with_t_squared(false);
            let whole = number(kl(s, p, &knobs).unwrap());
            let teacher = &teacher[row * classes..(row + 1) * classes];
            let sum: f64 = teacher.iter().map(|z| ((z - teacher[label as usize]) / t).exp()).sum();
            let parts = target[row] + (1.0 - 1.0 / sum) * others[row];
            prop_assert!(close(parts, whole, 1e-11), "{parts} and {whole}");
        }
    }

    #[test]
    fn the_order_of_the_batch_does_not_matter((classes, student, teacher, targets) in batches()) {
        let turned = |x: &[f64]| x.chunks(classes).rev().flatten().copied().collect::<Vec<_>>();
        let back: Vec<i64> = targets.iter().rev().copied().collect();
        let there = all(&student, &teacher, &targets);
        for ((name, a), (_, b)) in there.into_iter().zip(all(&turned(&student), &turned(&teacher), &back)) {
            prop_assert!(close(a, b, 1e-9), "{name}: {a} and {b}");
        }
    }

    #[test]
    fn adding_a_constant_to_a_row_changes_nothing(
        (classes, student, teacher, targets) in batches(), shift in -50.0..50.0f64
    ) {
        let mut moved = (student.clone(), teacher.clone());
        moved.0[..classes].iter_mut().for_each(|z| *z += shift);
        moved.1[..classes].iter_mut().for_each(|z| *z -= 2.0 * shift);
        let there = all(&student, &teacher, &targets);
        for ((name, a), (_, b)) in there.into_iter().zip(all(&moved.0, &moved.1, &targets)) {
            prop_assert!(close(a, b, 1e-6), "{name}: {a} and {b}");
        }
    }

    #[test]
    fn what_agrees_costs_nothing((classes, student, _, targets) in batches()) {
        let apart = classes > 1 && targets.len() > 1;
        for (name, value) in all(&student, &student, &targets) {
            match name {
                "dkd" | "logit-standardization" => prop_assert_eq!(value, 0.0, "{}", name),
                // A class that has hardly any probability in all examples correlates little, beside the 1e-8.
                "dist" if apart => prop_assert!((-1e-12..2.0).contains(&value), "{}: {}", name, value),
                _ => {}
            }
        }
    }
}

#[test]
fn equal_probabilities_are_wholly_related() {
    let logits = [1.0, 0.0, -1.0, 0.5, -0.5, 2.0, 0.0, 1.5, 0.25];
    let value = number(dist(exact(&logits, [3, 3]), exact(&logits, [3, 3]), &Dist::default()).unwrap());
    assert!((0.0..1e-5).contains(&value), "{value}");
}

/// Where B or C is 1, or a row has no variation, nothing is divided by 0.
#[test]
fn what_does_not_vary_has_finite_gradients() {
    for (shape, classes) in
        [([1, 1], vec![0]), ([3, 1], vec![0, 0, 0]), ([1, 3], vec![2]), ([2, 3], vec![0, 1])]
    {
        let device = Device::flex().autodiff();
        let student = tensor(&vec![0.1; shape[0] * shape[1]], shape, &device, DType::F32).require_grad();
        let teacher: Vec<f64> = (0..shape[0] * shape[1]).map(|i| (i as f64).sin()).collect();
        let teacher = || tensor(&teacher, shape, &Device::flex(), DType::F32);
        let targets = of_labels(&classes);
        let values = [
            tf_kd(student.clone(), &targets, &TfKd::default()),
            dkd(student.clone(), teacher(), &targets, &Dkd::default()),
            nkd(student.clone(), teacher(), &targets, &Nkd::default()),
            dist(student.clone(), teacher(), &Dist::default()),
            logit_standardization(student.clone(), teacher(), &LogitStandardization::default()),
            wsld(student.clone(), teacher(), &targets, &Wsld::default()),
        ];
        for (which, value) in values.into_iter().enumerate() {
            let value = value.unwrap();
            let gradients = value.backward();
            let gradient = numbers(student.grad(&gradients).unwrap());
            assert!(number(value).is_finite(), "{which} at {shape:?}");
            assert!(gradient.iter().all(|g| g.is_finite()), "{which} at {shape:?}: {gradient:?}");
        }
    }
}

/// The logarithm of a softmax gives infinity and NaN gradients here, in f32.
#[test]
fn dkd_is_finite_at_a_large_gap_where_mdistiller_is_not() {
    let teacher = || tensor(&[2.0, 1.0, 0.0], [1, 3], &Device::flex(), DType::F32);
    let gradient = |gap: f64, knobs: &Dkd| {
        let device = Device::flex().autodiff();
        let student = tensor(&[gap, 0.0, -1.0], [1, 3], &device, DType::F32).require_grad();
        let value = dkd(student.clone(), teacher(), &of_labels(&[0]), knobs).unwrap();
        let gradients = value.backward();
        (number(value), numbers(student.grad(&gradients).unwrap()))
    };
    let ours = Dkd::default();
    for gap in [500.0, 3000.0, 1e6] {
        let (value, gradient) = gradient(gap, &ours);
        // The student gives the other classes e^(−gap/4) of what it gives the label: that logarithm, times their share.
        let share = 1.0 - 1.0 / (1.0 + (-0.25f64).exp() + (-0.5f64).exp());
        assert!((value / (16.0 * share * gap / 4.0) - 1.0).abs() < 0.02, "{value} at {gap}");
        assert!((gradient[0] - 4.0 * share).abs() < 1e-4, "{gradient:?} at {gap}");
        assert!(gradient.iter().all(|g| g.is_finite()), "{gradient:?} at {gap}");
    }
    let (value, gradient) = gradient(500.0, &Dkd { compat: Some(DkdCompat::Mdistiller), ..ours });
    assert!(value.is_infinite() && gradient.iter().any(|g| g.is_nan()), "{value}, {gradient:?}");
}

/// `x = { knobs }`, and what is said of it.
fn refused<T: serde::de::DeserializeOwned + std::fmt::Debug>(knobs: &str) -> String {
    let table: toml::Table = toml::from_str(&format!("x = {knobs}")).unwrap();
    table["x"].clone().try_into::<T>().unwrap_err().message().to_string()
}

#[test]
fn knobs_outside_their_range_are_refused() {
    assert_eq!(refused::<Dkd>("{ alpha = -1.0 }"), "`alpha` must be finite and at least 0, found -1");
    assert_eq!(refused::<Dist>("{ gamma = inf }"), "`gamma` must be finite and at least 0, found inf");
    assert_eq!(
        refused::<TfKd>("{ correct-probability = 1.5 }"),
        "`correct-probability` must be from 0 to 1, found 1.5"
    );
    assert!(refused::<Wsld>("{ temperature = 0.0 }").starts_with("`temperature` must be"));
    assert_eq!(
        refused::<Kl>("{ temperature = 4.0, compat = 'torchdistill', reduction = 'sum' }"),
        "`compat` settles `divergence`, `reduction`, `t-squared` and `beta`: leave them out"
    );
}
