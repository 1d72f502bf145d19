//! Every registered loss against its golden vectors in `tests/golden/losses`, which `tools/golden/losses` writes: value
//! and gradient, in f64 and f32, of the formula and of the public implementation where there is one; and against
//! central differences.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use kd_core::loss::{LossName, Register, TABLE, register};
use kd_core::named::{Evaluated, Named};
use kd_core::{DistillLoss, Feature};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::support::{labels, number};

#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// `NAME = { KNOBS }`
    pub(crate) loss: String,
    /// How closely the formula and the public implementation agree; 0 where there is none.
    reference: f64,
}

/// An array of numbers.
#[derive(Clone)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) numbers: Vec<f64>,
}

pub(crate) struct Golden {
    pub(crate) cases: Vec<Case>,
    arrays: BTreeMap<String, Array>,
}

pub(crate) fn golden(loss: &str) -> Golden {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/losses/{loss}.safetensors"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let cases = serde_json::from_str(&header.metadata().as_ref().unwrap()["cases"]).unwrap();
    let arrays = SafeTensors::deserialize(&bytes).unwrap();
    let number = |dtype: Dtype, bytes: [u8; 8]| match dtype {
        Dtype::F64 => f64::from_le_bytes(bytes),
        Dtype::I64 => i64::from_le_bytes(bytes) as f64,
        other => panic!("{loss}: {other:?}"),
    };
    let arrays = arrays.iter().map(|(name, view)| {
        let numbers =
            view.data().chunks(8).map(|bytes| number(view.dtype(), bytes.try_into().unwrap())).collect();
        (name.to_string(), Array { shape: view.shape().to_vec(), numbers })
    });
    Golden { cases, arrays: arrays.collect() }
}

impl Golden {
    /// What a case has below a prefix.
    fn of(&self, case: &str, prefix: &str) -> BTreeMap<String, Array> {
        let prefix = format!("{case}/{prefix}");
        let found = self.arrays.iter().filter_map(|(name, x)| Some((name.strip_prefix(&prefix)?, x)));
        found.map(|(name, x)| (name.to_string(), x.clone())).collect()
    }

    pub(crate) fn inputs(&self, case: &str) -> BTreeMap<String, Array> {
        let mut all = self.of(case, "");
        all.retain(|name, _| {
            !name.starts_with("grad.") && !name.starts_with("reference.") && name != "value"
        });
        all
    }
}

fn feature(x: &Array, device: &Device, dtype: DType) -> Feature {
    let data = TensorData::new(x.numbers.clone(), x.shape.clone());
    let options = (device, dtype);
    match x.shape.len() {
        0 | 1 => Tensor::<1>::from_data(data, options).into(),
        2 => Tensor::<2>::from_data(data, options).into(),
        3 => Tensor::<3>::from_data(data, options).into(),
        _ => Tensor::<4>::from_data(data, options).into(),
    }
}

/// The loss on inputs in a precision.
pub(crate) fn evaluate(
    loss: &dyn DistillLoss,
    inputs: &BTreeMap<String, Array>,
    device: &Device,
    dtype: DType,
) -> Result<Evaluated, kd_core::Error> {
    let mut named = Named::new();
    for (name, x) in inputs {
        if name == "targets" {
            let classes: Vec<i64> = x.numbers.iter().map(|&class| class as i64).collect();
            named.insert_targets(labels(&classes, device) as Tensor<1, Int>);
        } else {
            let trained = name.starts_with("student.") || name.starts_with("connector.");
            let device = if trained { device.clone().autodiff() } else { device.clone() };
            named.insert(name, feature(x, &device, dtype))?;
        }
    }
    named.evaluate(loss)
}

pub(crate) fn numbers(x: Feature) -> Vec<f64> {
    crate::support::numbers(x.flat())
}

/// Reads a loss as a recipe writes it.
struct Reader<'a> {
    name: &'a str,
    knobs: toml::Value,
    found: Option<Box<dyn DistillLoss>>,
}

impl Register for Reader<'_> {
    fn loss<L: DistillLoss + serde::Serialize + DeserializeOwned + 'static>(
        &mut self,
        name: &'static LossName,
    ) {
        if name.name == self.name {
            let loss = L::deserialize(self.knobs.clone());
            self.found = Some(Box::new(loss.unwrap_or_else(|error| panic!("{}: {error}", self.name))));
        }
    }
}

pub(crate) fn read(text: &str) -> Box<dyn DistillLoss> {
    let table: toml::Table = toml::from_str(text).unwrap();
    let (name, knobs) = table.into_iter().next().unwrap();
    let mut reader = Reader { name: &name, knobs, found: None };
    register(&mut reader);
    reader.found.unwrap_or_else(|| panic!("no loss is named {name}"))
}

fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |most, x| most.max(x.abs()))
}

/// The temperature in a loss's knobs; above 8 plain f32 loses digits in proportion to its square.
fn temperature(loss: &str) -> f64 {
    let table: toml::Table = toml::from_str(loss).unwrap();
    let knobs = table.values().next().unwrap();
    knobs.get("temperature").and_then(|t| t.as_float().or(t.as_integer().map(|t| t as f64))).unwrap_or(1.0)
}

/// Problems of one loss, a line each.
fn check(name: &LossName) -> Vec<String> {
    let golden = golden(name.name);
    let mut problems = Vec::new();
    for case in &golden.cases {
        let loss = read(&case.loss);
        let inputs = golden.inputs(&case.name);
        let compare = |what: &str, found: &[f64], expected: &Array, tolerance: f64, scale: f64| {
            let gaps = found.iter().zip(&expected.numbers).map(|(a, b)| (a - b).abs());
            let gap = gaps.fold(0.0, |most: f64, gap| if gap > most || gap.is_nan() { gap } else { most });
            let fits = found.len() == expected.numbers.len() && gap <= tolerance * scale;
            (!fits).then(|| format!("{} {}: {what} is {gap:e} off, of {scale:e}", name.name, case.name))
        };
        for (dtype, values, gradients) in [(DType::F64, 1e-9_f64, 1e-8_f64), (DType::F32, 1e-5, 1e-4)] {
            let device = Device::flex();
            let t = temperature(&case.loss);
            let values = if dtype == DType::F32 && t > 8.0 { 1e-6 * t * t } else { values };
            let evaluated = evaluate(loss.as_ref(), &inputs, &device, dtype);
            let evaluated = match evaluated {
                Ok(evaluated) => evaluated,
                Err(error) => {
                    problems.push(format!("{} {}: {error}", name.name, case.name));
                    continue;
                }
            };
            assert_eq!(evaluated.value.dtype(), dtype, "{} {}: precision is kept", name.name, case.name);
            let value = numbers(evaluated.value.into());
            let found: Vec<_> = evaluated.gradients.into_iter().map(|(name, x)| (name, numbers(x))).collect();
            let places = [("", 0.0), ("reference.", case.reference)];
            for (place, apart) in
                places.into_iter().filter(|(place, _)| place.is_empty() || case.reference > 0.0)
            {
                let expected = &golden.arrays[&format!("{}/{place}value", case.name)];
                let scale = largest(&expected.numbers).max(1.0);
                problems.extend(compare(
                    &format!("{place}value in {dtype:?}"),
                    &value,
                    expected,
                    values.max(apart),
                    scale,
                ));
                for (input, found) in &found {
                    let expected = &golden.arrays[&format!("{}/{place}grad.{input}", case.name)];
                    let size = largest(&expected.numbers);
                    let what = format!("{place}gradient of {input} in {dtype:?}");
                    // A gradient of zeros is zeros in f64; in f32 it is the rounding of what cancels.
                    let floor = if dtype == DType::F64 { 1e-4 } else { 1e-3 };
                    let scale = if size < 1e-12 { floor } else { size };
                    let tolerance = if place.is_empty() { gradients } else { gradients.max(10.0 * apart) };
                    problems.extend(compare(&what, found, expected, tolerance, scale));
                }
            }
        }
    }
    problems
}

#[test]
fn every_loss_equals_its_formula_and_its_reference() {
    let problems: Vec<String> = TABLE.iter().flat_map(check).collect();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Inputs whose gradient is meant to be another than the derivative of the value; differences leave them where they are.
const NO_DERIVATIVE: &[(&str, &str)] = &[
    // Reversed: the temperature climbs where the student descends.
    ("ctkd", "connector."),
    // The temperatures follow the student's logits and are constants to the gradient.
    ("flsw", "student."),
    ("cwsm", "student."),
];

/// Whether central differences move an input.
fn moves(loss: &str, input: &str) -> bool {
    (input.starts_with("student.") || input.starts_with("connector."))
        && !NO_DERIVATIVE.iter().any(|&(name, inputs)| name == loss && input.starts_with(inputs))
}

/// Along one direction of all inputs at once: the derivative that the gradients predict, and a difference of values.
#[test]
fn every_gradient_agrees_with_differences() {
    let mut problems = Vec::new();
    for name in TABLE {
        let golden = golden(name.name);
        for case in &golden.cases {
            let (loss, inputs) = (read(&case.loss), golden.inputs(&case.name));
            let at = |shift: f64| {
                let mut moved = inputs.clone();
                for (input, x) in &mut moved {
                    if moves(name.name, input) {
                        let moves = direction(x.numbers.len(), input.len());
                        x.numbers.iter_mut().zip(moves).for_each(|(x, by)| *x += shift * by);
                    }
                }
                evaluate(loss.as_ref(), &moved, &Device::flex(), DType::F64)
            };
            let Ok(here) = at(0.0) else { continue };
            let predicted: f64 = here
                .gradients
                .into_iter()
                .filter(|(input, _)| moves(name.name, input))
                .map(|(input, x)| {
                    let x = numbers(x);
                    let moves = direction(x.len(), input.len());
                    x.iter().zip(moves).map(|(g, by)| g * by).sum::<f64>()
                })
                .sum();
            let step = 1e-6;
            let value = |shift: f64| number(at(shift).unwrap().value);
            let found = (value(step) - value(-step)) / (2.0 * step);
            let value = number(here.value);
            // Rounding of the values, over the step.
            let tolerance = 1e-5 * predicted.abs().max(1e-3) + 1e-14 * value.abs() / step;
            let agrees = (found - predicted).abs() <= tolerance;
            if !case.loss.contains("kink") && !agrees {
                problems.push(format!("{} {}: {predicted} against {found}", name.name, case.name));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

fn direction(len: usize, salt: usize) -> impl Iterator<Item = f64> {
    (0..len).map(move |i| ((i * 7 + salt * 13 + 1) as f64 * 0.7391).sin())
}

#[test]
fn every_loss_says_what_it_reads_and_its_example_works() {
    for name in TABLE {
        let loss = read(&format!("{} = {}", name.name, name.example));
        assert!(
            !name.inputs.is_empty() && !name.formula.is_empty() && !name.when.is_empty(),
            "{}",
            name.name
        );
        let teacher = name.inputs.iter().any(|input| input.name.starts_with("teacher."));
        assert!(teacher || !loss.needs_teacher(), "{}: it needs a teacher and reads none", name.name);
    }
}
