//! What holds for the newer losses of logits whatever the numbers, and at the numbers where others break.

use std::num::NonZeroUsize;

use burn::tensor::{DType, Device, Tensor};
use kd_core::loss::{
    Ctkd, CtkdVariant, Cwsm, Deit, Flsw, Kl, Missing, Mlkd, Ofa, TopK, Uld, cwsm, deit, flsw, kl, mlkd, ofa,
    top_k, uld,
};
use kd_core::named::Named;
use kd_core::{Connectors, DistillLoss, Error, Observed, Progress, Temperature, View};
use serde::de::DeserializeOwned;

use crate::support::{assert_close, exact, labels, leaf, number, numbers, some_numbers, tensor};

fn at(temperature: f64) -> Temperature {
    Temperature::new(temperature).unwrap()
}

fn of_k(k: usize, t: f64, missing: Missing) -> TopK {
    TopK { missing, ..TopK::new(NonZeroUsize::new(k).unwrap(), at(t)) }
}

/// Value and the student's gradient in f64.
fn both(z: &[f64], shape: [usize; 2], loss: impl Fn(Tensor<2>) -> Tensor<1>) -> (f64, Vec<f64>) {
    let z = leaf(z, shape);
    let value = loss(z.clone());
    let gradients = value.backward();
    (number(value), numbers(z.grad(&gradients).unwrap()))
}

#[test]
fn the_top_of_all_classes_is_all_of_kl() {
    let (s, t) = (some_numbers(30, 1), some_numbers(30, 2));
    let teacher = || exact(&t, [3, 10]);
    let (value, gradient) = both(&s, [3, 10], |s| kl(s, teacher(), &Kl::new(at(3.0))).unwrap());
    for missing in [Missing::Bucket, Missing::Zero] {
        let knobs = of_k(10, 3.0, missing);
        let (found, its_gradient) = both(&s, [3, 10], |s| top_k(s, teacher(), None, &knobs).unwrap());
        assert_close("top-k", &[found], &[value], 1e-13);
        assert_close("gradient of top-k", &its_gradient, &gradient, 1e-13);
    }
    let error = top_k(exact(&s, [3, 10]), teacher(), None, &of_k(11, 3.0, Missing::Bucket)).unwrap_err();
    assert_eq!(error.to_string(), "`k` must be at most the number of classes, found 11");
}

#[test]
fn equal_logits_are_zero_apart() {
    let z = some_numbers(30, 3);
    let x = || exact(&z, [3, 10]);
    for missing in [Missing::Bucket, Missing::Zero] {
        assert_eq!(number(top_k(x(), x(), None, &of_k(3, 2.0, missing)).unwrap()), 0.0);
    }
    assert_eq!(number(mlkd(x(), x(), &Mlkd::default()).unwrap()), 0.0);
    assert_eq!(number(uld(x(), x(), None, &Uld::default()).unwrap()), 0.0);
    assert_eq!(number(flsw(x(), x(), None, &Flsw::default()).unwrap()), 0.0);
    assert_eq!(number(cwsm(x(), x(), None, &Cwsm::default()).unwrap()), 0.0);
}

#[test]
fn temperatures_that_do_not_spread_are_those_of_kl() {
    let (s, t) = (some_numbers(30, 4), some_numbers(30, 5));
    let teacher = || exact(&t, [3, 10]);
    let expected = both(&s, [3, 10], |s| kl(s, teacher(), &Kl::new(at(4.0))).unwrap());
    let still = Flsw { beta: 0.0, ..Flsw::default() };
    let of_flsw = both(&s, [3, 10], |s| flsw(s, teacher(), None, &still).unwrap());
    let still = Cwsm { beta: 0.0, ..Cwsm::default() };
    let of_cwsm = both(&s, [3, 10], |s| cwsm(s, teacher(), None, &still).unwrap());
    for (value, gradient) in [of_flsw, of_cwsm] {
        assert_close("value", &[value], &[expected.0], 1e-13);
        assert_close("gradient", &gradient, &expected.1, 1e-13);
    }
}

#[test]
fn sorted_probabilities_do_not_know_their_classes() {
    let (s, t) = (some_numbers(12, 6), some_numbers(21, 7));
    let turned = |z: &[f64], classes: usize| -> Vec<f64> {
        z.chunks(classes).flat_map(|row| row.iter().rev().copied().collect::<Vec<_>>()).collect()
    };
    let (turned_s, turned_t) = (turned(&s, 4), turned(&t, 7));
    let value = |s: &[f64], t: &[f64]| {
        number(uld(exact(s, [3, 4]), exact(t, [3, 7]), None, &Uld::default()).unwrap())
    };
    let expected = value(&s, &t);
    assert!(expected > 0.0 && expected < 2.0);
    assert_close("uld", &[value(&turned_s, &t), value(&s, &turned_t)], &[expected, expected], 1e-14);
    let (_, gradient) = both(&s, [3, 4], |s| uld(s, exact(&t, [3, 7]), None, &Uld::default()).unwrap());
    let (_, back) = both(&turned_s, [3, 4], |s| uld(s, exact(&t, [3, 7]), None, &Uld::default()).unwrap());
    assert_close("gradient of uld", &turned(&back, 4), &gradient, 1e-14);
    let error = uld(exact(&s, [3, 4]), exact(&t, [7, 3]), None, &Uld::default()).unwrap_err();
    assert!(matches!(error, Error::Shape { input: "teacher.logits", .. }), "{error}");
}

/// In f32, where the softmax of a gap of 500 has zeros; the second of three tokens is padding.
#[test]
fn a_gap_of_500_and_padding_of_nan_are_finite() {
    let device = Device::flex();
    let narrow = |values: &[f64]| tensor(values, [3, 4], &device, DType::F32);
    let nan = f64::NAN;
    let s = [500.0, -500.0, 0.0, 1.0, nan, nan, nan, nan, 0.0, 0.0, 0.0, 0.0];
    let t = [-500.0, 500.0, 0.0, 2.0, nan, nan, nan, nan, 0.0, 0.0, 0.0, 0.0];
    let mask = tensor(&[1.0, 0.0, 1.0], [1, 3], &device, DType::F32);
    let targets = labels(&[0, 1, 2], &device);
    let teacher = || narrow(&t);
    let mask = Some(&mask);
    type Loss<'a> = Box<dyn Fn(Tensor<2>) -> Result<Tensor<1>, Error> + 'a>;
    let losses: [(&str, Loss<'_>); 8] = [
        ("bucket", Box::new(|s| top_k(s, teacher(), mask, &of_k(2, 1.0, Missing::Bucket)))),
        ("zero", Box::new(|s| top_k(s, teacher(), mask, &of_k(2, 1.0, Missing::Zero)))),
        ("uld", Box::new(|s| uld(s, teacher(), mask, &Uld::default()))),
        ("ofa", Box::new(|s| ofa(s, teacher(), &targets, mask, &Ofa { epsilon: 1.5, ..Ofa::default() }))),
        ("deit", Box::new(|s| deit(s, teacher(), mask, &Deit::default()))),
        ("flsw", Box::new(|s| flsw(s, teacher(), mask, &Flsw::default()))),
        ("cwsm", Box::new(|s| cwsm(s, teacher(), mask, &Cwsm::default()))),
        ("mlkd", Box::new(|s| mlkd(s.narrow(0, 0, 1), teacher().narrow(0, 0, 1), &Mlkd::default()))),
    ];
    for (name, loss) in losses {
        let z = tensor(&s, [3, 4], &device.clone().autodiff(), DType::F32).require_grad();
        let value = loss(z.clone()).unwrap();
        let gradients = value.backward();
        let (value, gradient) = (number(value), numbers(z.grad(&gradients).unwrap()));
        assert!(value.is_finite(), "{name}: {value}");
        assert!(gradient.iter().all(|g| g.is_finite()), "{name}: {gradient:?}");
        assert_eq!(gradient[4..8], [0.0; 4], "{name}: padding learns nothing");
    }
}

#[test]
fn one_for_all_is_a_cross_entropy_at_a_gap() {
    let device = Device::flex();
    let narrow = |values: &[f64]| tensor(values, [1, 2], &device, DType::F32);
    let targets = labels(&[1], &device);
    let knobs = Ofa { epsilon: 1.5, ..Ofa::default() };
    let value = number(ofa(narrow(&[500.0, 0.0]), narrow(&[0.0, 500.0]), &targets, None, &knobs).unwrap());
    // (1 + 1)^1.5 − 1 times 500.
    assert!((value / (500.0 * (8f64.sqrt() - 1.0)) - 1.0).abs() < 1e-6, "{value}");
}

#[test]
fn the_temperature_is_taught_more_and_more() {
    let loss = Ctkd { lambda_max: 2.0, ramp: 0.5, ..Ctkd::default() };
    let lambda = |p| loss.lambda(Progress::new(p).unwrap());
    assert_close("λ", &[lambda(0.0), lambda(0.25), lambda(0.5), lambda(1.0)], &[0.0, 1.0, 2.0, 2.0], 1e-15);
    assert_eq!(Ctkd { ramp: 0.0, ..Ctkd::default() }.lambda(Progress::START), 1.0);

    // Parameters are drawn in f32.
    let device = Device::flex();
    let narrow = |salt| Observed::new(tensor(&some_numbers(8, salt), [2, 4], &device, DType::F32));
    let (student, teacher) = (narrow(1), narrow(2));
    for variant in [CtkdVariant::Direct, CtkdVariant::Author] {
        let loss = Ctkd { variant, ..loss };
        let parameters = loss.parameters(&student, &teacher).unwrap();
        let connectors = Connectors::none().with_parameters(parameters, &device);
        let value = loss
            .evaluate(&View {
                student: &student,
                teachers: std::slice::from_ref(&teacher),
                targets: None,
                mask: None,
                progress: Progress::START,
                connectors: &connectors,
            })
            .unwrap();
        let (s, t) = (exact(&some_numbers(8, 1), [2, 4]), exact(&some_numbers(8, 2), [2, 4]));
        let expected = number(kl(s, t, &Kl::new(at(4.0))).unwrap());
        assert_close("the first value is that of kl at T", &[number(value)], &[expected], 1e-6);
    }
}

#[test]
fn a_temperature_that_is_not_there_is_an_error() {
    let mut named = Named::new();
    named.insert("student.logits", leaf(&[0.0, 1.0], [1, 2]).into()).unwrap();
    named.insert("teacher.logits", exact(&[1.0, 1.0], [1, 2]).into()).unwrap();
    let error = named.evaluate(&Ctkd::default()).unwrap_err();
    assert!(matches!(error, Error::NoParameter { loss: "ctkd", name: "temperature", .. }), "{error}");
}

#[test]
fn knobs_outside_their_range_are_refused_where_they_are_written() {
    fn refuses<L: DeserializeOwned + std::fmt::Debug>(knobs: &str, expected: &str) {
        let error = toml::from_str::<L>(knobs).unwrap_err();
        assert!(error.message().contains(expected), "{knobs}: {error}");
    }
    refuses::<Mlkd>("temperatures = []", "`temperatures` must be a list of at least one, found 0");
    refuses::<Mlkd>("class-weight = -1", "`class-weight` must be finite and at least 0, found -1");
    refuses::<Ctkd>("maximum = 1.0", "`maximum` must be above `minimum`, found 1");
    refuses::<Ctkd>("temperature = 22", "`temperature` must be between `minimum` and `maximum`, found 22");
    refuses::<Ctkd>("variant = 'author'\ntemperature = 1", "`temperature` must be between");
    refuses::<Ctkd>("lambda-max = -1", "`lambda-max` must be finite and at least `lambda-min`, found -1");
    refuses::<Ctkd>("ramp = 2", "`ramp` must be from 0 to 1, found 2");
    refuses::<Ctkd>("start = 2", "unknown field `start`");
    refuses::<Flsw>("gamma = 0", "`gamma` must be finite and above 0, found 0");
    refuses::<Cwsm>("beta = inf", "`beta` must be finite and at least 0, found inf");
    refuses::<Cwsm>("compat = 'distillkit'", "unknown variant `distillkit`");
    refuses::<TopK>("k = 0\ntemperature = 1", "`k` must be at least 1, found 0");
    refuses::<TopK>("k = 1", "missing field `temperature`");
    refuses::<Ofa>("epsilon = nan", "`epsilon` must be finite and above 0, found NaN");
}
