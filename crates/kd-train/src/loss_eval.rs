//! One loss on saved tensors: value and gradients, so that anyone can compare it with their own code.

mod example;

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use kd_core::named::Named;
use kd_core::{DistillLoss, Feature};

use crate::error::Error;
use crate::problem::{Problem, Problems};
use crate::registry::Registry;
use crate::tensors::{Numbers, Stored};

pub use example::{Content, Example, example};
pub use kd_core::loss::{LossName, TABLE};
pub use kd_core::{Input, Knob};

/// The loss that a line of TOML names, `kl = { temperature = 4.0 }`, and its name.
///
/// # Errors
///
/// A line that is no TOML, that names no loss or an unknown one, knobs that do not exist or are out of range.
pub fn parse(line: &str, registry: &Registry) -> Result<(String, Box<dyn DistillLoss>), Error> {
    crate::recipe::one_loss(line, registry).map_err(|problem: Box<Problem>| {
        Error::Problems(Problems { name: "--loss".into(), text: line.into(), list: vec![*problem] })
    })
}

/// Value and gradients of a loss: `value` with one element, and `grad.NAME` for every `student.NAME` and
/// `connector.NAME`, in the precision and the shape of that input.
///
/// Computed in f64 where any input is f64, else in f32, on the CPU.
///
/// # Errors
///
/// An input that is missing, unknown, or of a type or shape that the loss can do nothing with.
pub fn evaluate(
    (name, loss): (&str, &dyn DistillLoss),
    tensors: &BTreeMap<String, Stored>,
) -> Result<BTreeMap<String, Stored>, Error> {
    if let Some(row) = TABLE.iter().find(|row| row.name == name) {
        complete(row, tensors)?;
    }
    let double = tensors.values().any(|tensor| matches!(tensor.numbers, Numbers::F64(_)));
    let dtype = if double { DType::F64 } else { DType::F32 };
    let device = Device::flex();
    let mut named = Named::new();
    let unlabelled = UNLABELLED.contains(&name);
    for (name, tensor) in tensors {
        if name == "targets" {
            named.insert_targets(targets(tensor, tensors, unlabelled)?);
            continue;
        }
        if matches!(tensor.numbers, Numbers::Int(_)) && name != "mask" {
            return Err(wrong(name, "floats", tensor));
        }
        if name == "mask" && tensor.to_f64().iter().any(|&x| x != 0.0 && x != 1.0) {
            return Err(wrong(name, "ones and zeros: 1 counted, 0 ignored", tensor));
        }
        let trained = name.starts_with("student.") || name.starts_with("connector.");
        let device = if trained { device.clone().autodiff() } else { device.clone() };
        named.insert(name, feature(name, tensor, &device, dtype)?)?;
    }
    let found = named.evaluate(loss)?;
    let store = |x: Feature, like: Option<&Stored>| {
        let shape = x.dims();
        let numbers: Vec<f64> = x.flat().into_data().iter::<f64>().collect();
        let single = like.map_or(!double, |like| matches!(like.numbers, Numbers::F32(_)));
        let numbers = match single {
            true => Numbers::F32(numbers.into_iter().map(|x| x as f32).collect()),
            false => Numbers::F64(numbers),
        };
        Stored { shape, numbers }
    };
    let mut all = BTreeMap::from([("value".to_owned(), store(found.value.into(), None))]);
    for (name, gradient) in found.gradients {
        let like = tensors.get(&name);
        all.insert(format!("grad.{name}"), store(gradient, like));
    }
    Ok(all)
}

/// Losses of tokens, to which a label below 0 says that there is none.
const UNLABELLED: [&str; 2] = ["distilbert", "sequence-kd"];

/// Whether every input is there that the loss cannot do without.
fn complete(row: &LossName, tensors: &BTreeMap<String, Stored>) -> Result<(), Error> {
    // What stands in capitals stands for any name that no other input has.
    let any = |part: &str| part.chars().all(|c| c.is_ascii_uppercase());
    let fits = |input: &Input, name: &str| {
        let (wanted, found) = (input.name.split('.'), name.split('.'));
        let as_many = wanted.clone().count() == found.clone().count();
        let taken = row.inputs.iter().any(|other| other.name == name);
        as_many
            && wanted
                .zip(found)
                .all(|(wanted, found)| wanted == found || any(wanted) && found != "logits" && !taken)
    };
    let there =
        |input: &Input| tensors.contains_key(input.name) || tensors.keys().any(|name| fits(input, name));
    match row.inputs.iter().find(|input| !input.optional && !there(input)) {
        None => Ok(()),
        Some(input) => Err(Error::LossInput {
            loss: row.name,
            input: format!("{} [{}]", input.name, input.shape.join(", ")),
            found: tensors.keys().cloned().collect(),
        }),
    }
}

/// The labels, each a class that the logits have.
fn targets(
    tensor: &Stored,
    tensors: &BTreeMap<String, Stored>,
    unlabelled: bool,
) -> Result<Tensor<1, Int>, Error> {
    let Numbers::Int(classes) = &tensor.numbers else {
        return Err(wrong("targets", "integers", tensor));
    };
    let count = tensors.get("student.logits").and_then(|logits| logits.shape.last()).copied();
    let known = |&class: &i64| {
        if class < 0 { unlabelled } else { count.is_none_or(|count| (class as u64) < count as u64) }
    };
    if let Some(class) = classes.iter().find(|class| !known(class)) {
        return Err(Error::LossTensor {
            name: "targets".into(),
            expected: format!(
                "classes from 0 to {}",
                count.map_or("C - 1".into(), |count| (count as i64 - 1).to_string())
            ),
            found: class.to_string(),
        });
    }
    let data = TensorData::new(classes.clone(), [classes.len()]);
    Ok(Tensor::from_data(data, &Device::flex()))
}

fn feature(name: &str, tensor: &Stored, device: &Device, dtype: DType) -> Result<Feature, Error> {
    let data = TensorData::new(tensor.to_f64(), tensor.shape.clone());
    let options = (device, dtype);
    Ok(match tensor.shape.len() {
        1 => Tensor::<1>::from_data(data, options).into(),
        2 => Tensor::<2>::from_data(data, options).into(),
        3 => Tensor::<3>::from_data(data, options).into(),
        4 => Tensor::<4>::from_data(data, options).into(),
        rank => {
            let (expected, found) = ("a rank from 1 to 4".into(), format!("rank {rank}"));
            return Err(Error::LossTensor { name: name.into(), expected, found });
        }
    })
}

fn wrong(name: &str, expected: &str, tensor: &Stored) -> Error {
    let found = format!("{} of shape {:?}", tensor.kind(), tensor.shape);
    Error::LossTensor { name: name.into(), expected: expected.into(), found }
}
