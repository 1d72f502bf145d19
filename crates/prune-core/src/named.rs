//! A criterion on tensors by name, as files hold them: `weight`, `grad`, `layers.3.activations`.
//!
//! It is how a criterion is compared with somebody else's code, so the names, and what becomes of them, are part of
//! this crate and not of the program that reads the file. Weights lie as PyTorch has them, output units first.

use std::collections::BTreeMap;

use crate::{
    Builtin, Criterion, Error, Inputs, Matrix, Pruned, Removal, Removes, Samples, TABLE, Unit, prune,
};

/// A tensor: its sizes and its numbers, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Its sizes.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub values: Vec<f64>,
}

/// Tensors by name. Those that a criterion does not read are left alone, so that one file serves several.
#[derive(Debug, Clone, Default)]
pub struct Named {
    arrays: BTreeMap<String, Array>,
}

/// What a criterion gives, by name: `scores`, `mask`, `weight`, `sparsity`, after `layers.K.` where there are layers.
pub type Outputs = BTreeMap<String, Output>;

/// A tensor that a criterion gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Numbers.
    Numbers(Array),
    /// A mask, 1 for what stays.
    Mask {
        /// Its sizes.
        shape: Vec<usize>,
        /// 1 where something stays.
        keep: Vec<u8>,
    },
}

impl FromIterator<(String, Array)> for Named {
    fn from_iter<T: IntoIterator<Item = (String, Array)>>(arrays: T) -> Self {
        Self { arrays: arrays.into_iter().collect() }
    }
}

impl Named {
    /// Whether `criterion` looks at a tensor of this name: the numbers of all others may as well be left out.
    pub fn is_read(criterion: &Builtin, name: &str) -> bool {
        let tensor = layer(name).map_or(name, |(_, tensor)| tensor);
        criterion.entry().inputs.iter().any(|input| last(input.name) == tensor)
    }

    /// The names that criteria read, after `layers.K.` where there are several layers.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TABLE.iter().flat_map(|entry| entry.inputs).map(|input| last(input.name))
    }

    /// Scores and, with something to remove, masks and weights.
    ///
    /// Scores of elements, masks of elements and weights have the weight's shape, those of channels one dimension.
    /// Several layers are `layers.K.NAME` with K from 0 and without a gap. A criterion that takes them for the members
    /// of one group gives one result, without a prefix.
    ///
    /// # Errors
    ///
    /// A tensor that is missing or has another shape; tensors of one layer beside those of several; a number, given or
    /// computed, that is not finite; what [`prune()`] says; [`Error::Pattern`] where one is given to a criterion
    /// that takes none, and [`Error::UnitKnob`] where it removes other units than the criterion's knob scores.
    pub fn evaluate(&self, criterion: &Builtin, removal: Option<&Removal>) -> Result<Outputs, Error> {
        let entry = criterion.entry();
        if let (Removes::Ratios | Removes::Nothing, Some(removal)) = (entry.removes, removal) {
            let (criterion, pattern) = (entry.name.into(), removal.to_string());
            return Err(Error::Pattern { criterion, pattern, expected: entry.removes.patterns() });
        }
        if let (Removes::Any, Some(scores), Some(removal)) = (entry.removes, criterion.unit(), removal)
            && scores != removal.unit()
        {
            let (criterion, pattern) = (entry.name.into(), removal.to_string());
            return Err(Error::UnitKnob { criterion, scores, pattern, removes: removal.unit() });
        }
        self.one_way()?;
        let prefixes = self.prefixes()?;
        let owned = prefixes.iter().map(|prefix| Owned::read(self, prefix, criterion));
        let owned = owned.collect::<Result<Vec<Owned>, Error>>()?;
        let layers: Vec<Inputs<'_>> =
            owned.iter().zip(&prefixes).map(|(owned, prefix)| owned.inputs(prefix)).collect();
        let mut outputs = Outputs::new();
        if let Builtin::Owl(owl) = criterion {
            let values = owl.ratios(&layers)?;
            let sparsity = Array { shape: vec![values.len()], values };
            outputs.insert("sparsity".into(), Output::Numbers(sparsity));
            return Ok(outputs);
        }
        let one = matches!(criterion, Builtin::GroupFisher(_));
        let mut store = |results: Vec<Pruned>| {
            results.into_iter().zip(&prefixes).zip(&owned).try_for_each(|((result, prefix), owned)| {
                let prefix = if one || prefix.is_empty() { String::new() } else { format!("{prefix}.") };
                owned.store(result, &prefix, &mut outputs)
            })
        };
        match prune(criterion, removal, &layers) {
            Err(error @ Error::ScoreNaN { .. }) => {
                // An order of scores knows no names; the scores do.
                store(prune(criterion, None, &layers)?)?;
                return Err(error);
            }
            results => store(results?)?,
        }
        Ok(outputs)
    }

    /// Whether the tensors are those of one layer without a name, or of several with numbers.
    fn one_way(&self) -> Result<(), Error> {
        let known = |name: &str| Self::names().any(|known| known == name);
        let layered = self.arrays.keys().find(|name| layer(name).is_some_and(|(_, tensor)| known(tensor)));
        let alone = self.arrays.keys().find(|name| known(name));
        match (alone, layered) {
            (Some(name), Some(other)) => Err(Error::TwoTensors { name: name.clone(), other: other.clone() }),
            _ => Ok(()),
        }
    }

    /// `layers.0`, `layers.1`, …; or one layer without a name.
    fn prefixes(&self) -> Result<Vec<String>, Error> {
        let mut numbers: Vec<usize> =
            self.arrays.keys().filter_map(|name| layer(name)).map(|it| it.0).collect();
        numbers.sort_unstable();
        numbers.dedup();
        if numbers.is_empty() {
            return Ok(vec![String::new()]);
        }
        match numbers.iter().enumerate().find(|(index, number)| index != *number) {
            Some((index, _)) => Err(Error::Missing { input: format!("layers.{index}") }),
            None => Ok(numbers.iter().map(|number| format!("layers.{number}")).collect()),
        }
    }
}

/// The number of a layer, and what follows it in a name.
fn layer(name: &str) -> Option<(usize, &str)> {
    let (number, tensor) = name.strip_prefix("layers.")?.split_once('.')?;
    let canonical = number.parse::<usize>().ok().filter(|parsed| parsed.to_string() == number)?;
    Some((canonical, tensor))
}

/// A name without `layers.K.`.
fn last(name: &str) -> &str {
    name.strip_prefix("layers.K.").unwrap_or(name)
}

/// The tensors of one layer as criteria read them.
#[derive(Debug, Default)]
struct Owned {
    /// The sizes of what is scored by element.
    shape: Vec<usize>,
    weight: Option<Matrix>,
    grad: Option<Matrix>,
    hessian: Option<Matrix>,
    weights: Option<Vec<Matrix>>,
    grads: Option<Vec<Matrix>>,
    activations: Option<Samples>,
    grad_activations: Option<Samples>,
    bn_weight: Option<Samples>,
    quant_scale: Option<Samples>,
    quant_zero: Option<Samples>,
}

impl Owned {
    fn read(named: &Named, prefix: &str, criterion: &Builtin) -> Result<Self, Error> {
        let mut owned = Owned::default();
        for input in criterion.entry().inputs {
            let tensor = last(input.name);
            let path = if prefix.is_empty() { tensor.to_owned() } else { format!("{prefix}.{tensor}") };
            let Some(array) = named.arrays.get(&path) else { continue };
            owned.take(tensor, &path, array)?;
        }
        Ok(owned)
    }

    fn take(&mut self, tensor: &str, path: &str, array: &Array) -> Result<(), Error> {
        let Array { shape, values } = array;
        match tensor {
            "weight" | "grad" | "hessian" => {
                let matrix = Matrix::from_weight(path, shape, values, 0)?;
                if tensor == "weight" || self.shape.is_empty() {
                    self.shape.clone_from(shape);
                }
                if *shape != self.shape {
                    let expected = format!("{:?}", self.shape);
                    return Err(Error::Shape { input: path.into(), expected, found: shape.clone() });
                }
                match tensor {
                    "weight" => self.weight = Some(matrix),
                    "grad" => self.grad = Some(matrix),
                    _ => self.hessian = Some(matrix),
                }
            }
            "weights" | "grads" => {
                let stack = stack(path, shape, values)?;
                if self.shape.is_empty() {
                    self.shape = shape[1..].to_vec();
                }
                if shape[1..] != self.shape {
                    let expected = format!("[samples, …] of {:?}", self.shape);
                    return Err(Error::Shape { input: path.into(), expected, found: shape.clone() });
                }
                match tensor {
                    "weights" => self.weights = Some(stack),
                    _ => self.grads = Some(stack),
                }
            }
            other => {
                let samples = Some(Samples::new(path, shape, values)?);
                match other {
                    "activations" => self.activations = samples,
                    "grad.activations" => self.grad_activations = samples,
                    "bn.weight" => self.bn_weight = samples,
                    "quant.scale" => self.quant_scale = samples,
                    _ => self.quant_zero = samples,
                }
            }
        }
        Ok(())
    }

    fn inputs<'a>(&'a self, prefix: &'a str) -> Inputs<'a> {
        let mut inputs = Inputs::default().of_layer(prefix);
        macro_rules! give {
            ($($tensor:ident $with:ident,)+) => {
                $(if let Some(tensor) = &self.$tensor {
                    inputs = inputs.$with(tensor);
                })+
            };
        }
        give! {
            weight with_weight,
            grad with_grad,
            hessian with_hessian,
            weights with_weights,
            grads with_grads,
            activations with_activations,
            grad_activations with_grad_activations,
            bn_weight with_bn_weight,
            quant_scale with_quant_scale,
            quant_zero with_quant_zero,
        }
        inputs
    }

    fn store(&self, result: Pruned, prefix: &str, outputs: &mut Outputs) -> Result<(), Error> {
        let shape = |len: usize| match result.unit {
            Unit::Element => self.shape.clone(),
            Unit::Channel => vec![len],
        };
        if let Some(values) = result.scores {
            let (name, shape) = (format!("{prefix}scores"), shape(values.len()));
            let values = finite(&name, values)?;
            outputs.insert(name, Output::Numbers(Array { shape, values }));
        }
        if let Some(keep) = result.keep {
            let (shape, keep) = (shape(keep.len()), keep.into_iter().map(u8::from).collect());
            outputs.insert(format!("{prefix}mask"), Output::Mask { shape, keep });
        }
        if let Some(values) = result.weight {
            let name = format!("{prefix}weight");
            let array = Array { shape: self.shape.clone(), values: finite(&name, values)? };
            outputs.insert(name, Output::Numbers(array));
        }
        Ok(())
    }
}

/// Numbers that were computed, each of which has to be one.
fn finite(name: &str, values: Vec<f64>) -> Result<Vec<f64>, Error> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(index) => Err(Error::Overflow { name: name.into(), index, value: values[index] }),
    }
}

/// The tensors that the first dimension counts, each a matrix.
fn stack(path: &str, shape: &[usize], values: &[f64]) -> Result<Vec<Matrix>, Error> {
    let Some((&count, each)) = shape.split_first().filter(|(_, each)| !each.is_empty()) else {
        return Err(Error::Shape {
            input: path.into(),
            expected: "[samples, out, …]".into(),
            found: shape.into(),
        });
    };
    let size: usize = each.iter().product();
    if count * size != values.len() {
        return Err(Error::Length { path: path.into(), expected: count * size, found: values.len() });
    }
    (0..count).map(|i| Matrix::from_weight(path, each, &values[i * size..(i + 1) * size], 0)).collect()
}
