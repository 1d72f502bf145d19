//! Proof that a cut did what it should: by running both networks, and by reading the cut one again.
//!
//! A wrong coupling rarely crashes. It leaves two tensors of matching sizes whose units no longer belong together,
//! and a network that fine-tuning repairs, mostly. So a cut is checked on numbers: a unit that is silenced where it
//! is written must not differ from one that is not there.

use std::collections::BTreeSet;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Tensor, TensorData};
use kd_graph::{Graph, Sites};

use crate::walk::Place;
use crate::{Cost, Cut, Error, Weights, apply, predict, run_without};

/// Largest relative difference between silencing and removing channels. Both sum the same numbers, one of them
/// with zeros in between and so in other blocks; f32 leaves a few times 1e-7 for it.
pub const TOLERANCE: f64 = 1e-5;

/// How silencing the removed channels compares with removing them.
#[derive(Debug, Clone, PartialEq)]
pub enum Comparison {
    /// Outputs of both networks were compared.
    Compared {
        /// `max |silenced − removed|` over all outputs.
        max_abs: f64,
        /// `max |silenced|` over all outputs.
        scale: f64,
    },
    /// The two are not the same function, for these reasons, and no difference says anything: an operation between
    /// makes something else of zero, or averages over the removed units.
    NotComparable {
        /// Where and why.
        reasons: Vec<String>,
    },
}

impl Comparison {
    /// The relative difference `max_abs / scale`, checked to be at most [`TOLERANCE`]; 0 where all is zero.
    ///
    /// # Errors
    ///
    /// [`Error::MaskDiffers`], and [`Error::NotComparable`]: call this where a comparison is owed, and match on the
    /// value where a network may have none.
    pub fn check(&self) -> Result<f64, Error> {
        match self {
            Comparison::NotComparable { reasons } => Err(Error::NotComparable { reason: reasons.join("; ") }),
            &Comparison::Compared { max_abs, scale } if max_abs > TOLERANCE * scale => {
                Err(Error::MaskDiffers { max_abs, scale, tolerance: TOLERANCE })
            }
            &Comparison::Compared { max_abs, scale } if scale > 0.0 => Ok(max_abs / scale),
            Comparison::Compared { .. } => Ok(0.0),
        }
    }
}

/// Compares `module` with the units of `cut` silenced and with them removed, in inference, on whatever `forward` feeds.
///
/// `graph` is the uncut module's. Silencing zeroes the output slices of the weights that write a unit, their biases, and
/// the batch norm's gamma, beta and running mean; the weights that read it stay as they are, so that a unit
/// which is read at the wrong place shows. `forward` is called with a module on the plain device, twice, and has to
/// feed it the same batch, with values like those the network is made for.
///
/// # Errors
///
/// What [`predict`](crate::predict()) and [`apply`](crate::apply) say of a cut that does not fit;
/// [`Error::OutputNotFinite`], [`Error::OutputShape`].
pub fn mask_equals_remove<M: Module>(
    module: &M,
    graph: &Graph,
    cut: &Cut,
    forward: impl Fn(&M) -> Tensor<2>,
) -> Result<Comparison, Error> {
    mask_equals_removed(module, |module| apply(module, cut), graph, cut, forward)
}

/// [`mask_equals_remove`] where more than [`apply`](crate::apply) makes the cut network, as
/// [`apply_synced`](crate::apply_synced) does: `remove` makes it.
///
/// # Errors
///
/// As [`mask_equals_remove`], and what `remove` returns.
pub fn mask_equals_removed<M: Module>(
    module: &M,
    remove: impl FnOnce(M) -> Result<M, Error>,
    graph: &Graph,
    cut: &Cut,
    forward: impl Fn(&M) -> Tensor<2>,
) -> Result<Comparison, Error> {
    let predicted = predict(graph, cut)?;
    if !predicted.incomparable.is_empty() {
        return Ok(Comparison::NotComparable { reasons: predicted.incomparable });
    }
    // `valid` makes a copy with running statistics of its own, which the mapper may write to.
    let plain = module.valid().materialize();
    let removed = remove(plain.clone())?;
    let silenced = plain.map(&mut Silence { place: Place::default(), cut, dims: predicted.silenced });
    compare(outputs("silenced", forward(&silenced))?, outputs("cut", forward(&removed))?)
}

/// Compares `module` with the units of `cut` absent and with them removed, in inference, on `input`.
///
/// For cuts that silencing says nothing about, since a norm, a mean or a softmax runs over the units. The first side
/// is computed in f64 from `graph`, the uncut module's, by [`run_without`](crate::run_without()): what is averaged or
/// normalized there are the units that stay, and scales that a model takes from a width are the uncut one's. It costs a
/// plain loop for each operation, so `input` should be a few examples. `remove` makes the cut network.
///
/// # Errors
///
/// As [`mask_equals_removed`]. [`Comparison::NotComparable`] names an operation that has no definition with absent
/// elements.
pub fn absent_equals_removed<M: Module, const D: usize>(
    module: &M,
    remove: impl FnOnce(M) -> Result<M, Error>,
    graph: &Graph,
    cut: &Cut,
    input: Tensor<D>,
    forward: impl Fn(&M, Tensor<D>) -> Tensor<2>,
) -> Result<Comparison, Error> {
    predict(graph, cut)?;
    let plain = module.valid().materialize();
    let numbers = numbers(input.clone());
    let absent = match run_without(graph, &Weights::read(&plain), cut, (&input.dims(), &numbers)) {
        Err(Error::NotComparable { reason }) => {
            return Ok(Comparison::NotComparable { reasons: vec![reason] });
        }
        absent => finite("silenced", absent?)?,
    };
    compare(absent, outputs("cut", forward(&remove(plain)?, input))?)
}

/// A shape and values.
pub(crate) type Outputs = (Vec<usize>, Vec<f64>);

/// Compares the outputs of a network in which something is silent with those of the one in which it is not there.
pub(crate) fn compare(
    (masked_shape, masked): Outputs,
    (cut_shape, removed): Outputs,
) -> Result<Comparison, Error> {
    if masked_shape != cut_shape {
        return Err(Error::OutputShape { masked: masked_shape, cut: cut_shape });
    }
    let largest =
        |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, |max: f64, value| max.max(value.abs()));
    Ok(Comparison::Compared {
        max_abs: largest(&mut masked.iter().zip(&removed).map(|(masked, removed)| masked - removed)),
        scale: largest(&mut masked.iter().copied()),
    })
}

/// Captures a module that was cut and compares it with what the cut promises: the shape of every parameter, and cost.
///
/// `graph` is the uncut module's; `example` and `forward` are what [`kd_graph::capture`] takes. Returns the new graph.
///
/// # Errors
///
/// [`Error::NotAsPlanned`] with the first difference, and what the capture says.
pub fn verify_cut<M: Module, const D: usize>(
    module: &M,
    graph: &Graph,
    cut: &Cut,
    example: [usize; D],
    forward: impl Fn(&M, Tensor<D>, &mut Sites) -> Tensor<2>,
) -> Result<Graph, Error> {
    let found = kd_graph::capture(module, example, forward)?;
    as_planned(graph, cut, &found)?;
    Ok(found)
}

/// Compares the graph of a module that was cut, `found`, with what the cut promises, as [`verify_cut`] does.
///
/// # Errors
///
/// [`Error::NotAsPlanned`] with the first difference, and what [`predict`](crate::predict()) says.
pub fn as_planned(graph: &Graph, cut: &Cut, found: &Graph) -> Result<(), Error> {
    let planned = predict(graph, cut)?;
    let differs = |what: &str, planned: String, found: String| {
        Err(Error::NotAsPlanned { what: what.to_owned(), planned, found })
    };
    for param in &planned.graph.params {
        let what = format!("shape of `{}`", param.path);
        match found.params.iter().find(|found| found.path == param.path) {
            None => return differs(&what, format!("{:?}", param.shape), "absent".into()),
            Some(found) if found.shape != param.shape => {
                return differs(&what, format!("{:?}", param.shape), format!("{:?}", found.shape));
            }
            Some(_) => {}
        }
    }
    let cost = Cost::of(found);
    let quantities = [
        ("multiply-accumulates", planned.cost.macs, cost.macs),
        ("trainable elements", planned.cost.params, cost.params),
    ];
    for (what, planned, found) in quantities {
        if planned != found {
            return differs(what, planned.to_string(), found.to_string());
        }
    }
    Ok(())
}

pub(crate) fn outputs(model: &'static str, output: Tensor<2>) -> Result<Outputs, Error> {
    let shape = output.dims().to_vec();
    finite(model, (shape, numbers(output)))
}

fn finite(model: &'static str, outputs: Outputs) -> Result<Outputs, Error> {
    match outputs.1.iter().all(|value| value.is_finite()) {
        true => Ok(outputs),
        false => Err(Error::OutputNotFinite { model }),
    }
}

fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    let values = x.into_data().convert_dtype(DType::F64).try_to_vec::<f64>();
    values.expect("data that was converted to f64 reads as f64")
}

/// Zeroes the slices that `cut` removes, in the given dimensions.
struct Silence<'a> {
    place: Place,
    cut: &'a Cut,
    dims: BTreeSet<(String, usize)>,
}

impl ModuleMapper for Silence<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.place.path();
        let dims = self.dims.iter().filter(|(of, _)| *of == path).map(|&(_, dim)| dim);
        dims.fold(param, |param, dim| {
            let keep = self.cut.keep(&path, dim).unwrap_or_default();
            param.map(|value| zero_except(value, dim, keep))
        })
    }
}

fn zero_except<const D: usize>(value: Tensor<D>, dim: usize, keep: &[usize]) -> Tensor<D> {
    let mut shape = [1; D];
    shape[dim] = value.dims()[dim];
    let mut ones = vec![0.0_f32; shape[dim]];
    for &index in keep {
        ones[index] = 1.0;
    }
    let mask = Tensor::<D>::from_data(TensorData::new(ones, shape), (&value.device(), value.dtype()));
    // A product, so finite weights only; a weight that is not shows in the outputs.
    value * mask
}
