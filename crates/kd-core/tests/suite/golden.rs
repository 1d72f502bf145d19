//! Losses and PyTorch's one-cycle rates against `tests/golden/kd_core.json`, which `tools/golden/kd_core.py` writes.

use burn::tensor::{DType, Device, Tensor};
use kd_core::loss::{Kl, LabelSmoothing, Reduction, cross_entropy, hint, kl};
use kd_core::{OneCycle, Progress, Schedule, Temperature};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::support::{assert_close, labels, number, numbers, tensor};

#[derive(Deserialize)]
struct Golden {
    header: Header,
    cross_entropy: Vec<CrossEntropyCase>,
    kl: Vec<KlCase>,
    hint: Vec<HintCase>,
    one_cycle: Vec<OneCycleCase>,
}

#[derive(Deserialize)]
struct Header {
    tolerance: Tolerance,
}

#[derive(Deserialize)]
struct Tolerance {
    f64: f64,
    f32: f64,
}

#[derive(Deserialize)]
struct CrossEntropyCase {
    name: String,
    shape: [usize; 2],
    logits: Vec<f64>,
    targets: Vec<i64>,
    label_smoothing: f64,
    #[serde(flatten)]
    expected: Expected,
}

#[derive(Deserialize)]
struct KlCase {
    name: String,
    shape: [usize; 2],
    student: Vec<f64>,
    teacher: Vec<f64>,
    results: Vec<KlResult>,
}

#[derive(Deserialize)]
struct KlResult {
    temperature: f64,
    reduction: Reduction,
    t_squared: bool,
    #[serde(flatten)]
    expected: Expected,
}

#[derive(Deserialize)]
struct HintCase {
    name: String,
    shape: Vec<usize>,
    student: Vec<f64>,
    teacher: Vec<f64>,
    #[serde(flatten)]
    expected: Expected,
}

#[derive(Deserialize)]
struct Expected {
    value: f64,
    value_torch: f64,
    gradient: Vec<f64>,
}

#[derive(Deserialize)]
struct OneCycleCase {
    peak: f64,
    warm_up: f64,
    start_factor: f64,
    end_factor: f64,
    rates: Vec<f64>,
}

fn golden<T: DeserializeOwned>() -> T {
    serde_json::from_str(include_str!("../golden/kd_core.json")).unwrap()
}

/// The precisions to test: f64 where it is known to work, f32 on whatever device the tests run.
fn precisions(tolerance: &Tolerance) -> [(Device, DType, f64); 2] {
    [(Device::flex(), DType::F64, tolerance.f64), (Device::default(), DType::F32, tolerance.f32)]
}

#[track_caller]
fn check<const D: usize>(
    what: &str,
    input: &[f64],
    shape: [usize; D],
    (device, dtype, tolerance): &(Device, DType, f64),
    expected: &Expected,
    loss: impl Fn(Tensor<D>) -> Tensor<1>,
) {
    let what = format!("{what} in {dtype:?}");
    let input = tensor(input, shape, &device.clone().autodiff(), *dtype).require_grad();
    let value = loss(input.clone());
    assert_eq!(value.dtype(), *dtype, "{what}: precision is kept");
    let gradients = value.backward();
    let value = number(value);
    assert_close(&format!("{what}, formula"), &[value], &[expected.value], *tolerance);
    assert_close(&format!("{what}, torch"), &[value], &[expected.value_torch], *tolerance);
    let gradient = numbers(input.grad(&gradients).unwrap());
    assert_close(&format!("{what}, gradient"), &gradient, &expected.gradient, *tolerance);
}

#[test]
fn cross_entropy_equals_torch() {
    let golden: Golden = golden();
    assert!(golden.cross_entropy.len() > 8);
    for precision in precisions(&golden.header.tolerance) {
        for case in &golden.cross_entropy {
            let smoothing = LabelSmoothing::new(case.label_smoothing).unwrap();
            let targets = labels(&case.targets, &precision.0);
            let what = format!("cross entropy {}", case.name);
            check(&what, &case.logits, case.shape, &precision, &case.expected, |logits| {
                cross_entropy(logits, &targets, smoothing).unwrap()
            });
        }
    }
}

#[test]
fn kl_equals_torch_at_every_reduction_and_temperature() {
    let golden: Golden = golden();
    let mut combinations = std::collections::BTreeSet::new();
    for precision in precisions(&golden.header.tolerance) {
        let (device, dtype, _) = &precision;
        for case in &golden.kl {
            let teacher = tensor(&case.teacher, case.shape, device, *dtype);
            for result in &case.results {
                let knobs = Kl::new(Temperature::new(result.temperature).unwrap())
                    .with_reduction(result.reduction)
                    .with_t_squared(result.t_squared);
                combinations.insert(format!("{knobs:?}"));
                let what = format!("kl {} {knobs:?}", case.name);
                check(&what, &case.student, case.shape, &precision, &result.expected, |student| {
                    kl(student, teacher.clone(), &knobs).unwrap()
                });
            }
        }
    }
    assert_eq!(combinations.len(), 12, "two temperatures, three reductions, T² on and off");
}

#[test]
fn hint_equals_torch_at_every_rank() {
    fn check_rank<const D: usize>(case: &HintCase, precision: &(Device, DType, f64)) {
        let shape: [usize; D] = case.shape.clone().try_into().unwrap();
        let teacher = tensor(&case.teacher, shape, &precision.0, precision.1);
        let what = format!("hint {}", case.name);
        check(&what, &case.student, shape, precision, &case.expected, |student| {
            hint(student, teacher.clone()).unwrap()
        });
    }
    let golden: Golden = golden();
    let mut ranks = std::collections::BTreeSet::new();
    for precision in precisions(&golden.header.tolerance) {
        for case in &golden.hint {
            ranks.insert(case.shape.len());
            match case.shape.len() {
                1 => check_rank::<1>(case, &precision),
                2 => check_rank::<2>(case, &precision),
                3 => check_rank::<3>(case, &precision),
                _ => check_rank::<4>(case, &precision),
            }
        }
    }
    assert_eq!(ranks.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn one_cycle_equals_torch() {
    let golden: Golden = golden();
    for case in &golden.one_cycle {
        let cycle = OneCycle::new(case.peak)
            .and_then(|cycle| cycle.with_warm_up(case.warm_up))
            .and_then(|cycle| cycle.with_factors(case.start_factor, case.end_factor))
            .unwrap();
        let schedule = Schedule::one_cycle(cycle);
        let last = case.rates.len() - 1;
        let found: Vec<f64> = (0..=last).map(|step| schedule.at(Progress::of(step, last))).collect();
        assert_close("one-cycle", &found, &case.rates, 1e-12);
    }
}
