//! Taking elements out, and the proof that nothing else changed.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use kd_graph::Graph;

use super::plan::Prediction;
use super::{Candidate, ElementCut, ElementKind, Silence, candidates};
use crate::verify::{compare, outputs};
use crate::walk::Place;
use crate::{Comparison, Error, apply};

/// Far below every score of a router, so that its softmax or sigmoid is 0 there, and finite.
const SHUT: f32 = -1e9;

/// The module without the elements of `cut`. `take` drops the element at a path and says whether there was one, as
/// [`SyncShape::remove_element`](kd_nn::SyncShape::remove_element) does; it is asked from the back, so that every path is
/// that of the receipt.
///
/// # Errors
///
/// [`Error::NoElement`] where `take` finds none, and what [`apply`](crate::apply) says of the routers' cut.
pub fn remove_elements<M: Module>(
    module: M,
    cut: &ElementCut,
    take: impl Fn(&mut M, &str) -> bool,
) -> Result<M, Error> {
    let mut module = match cut.cut.is_empty() {
        true => module,
        false => apply(module, &cut.cut)?,
    };
    for path in cut.order() {
        if !take(&mut module, path) {
            return Err(Error::NoElement { path: path.to_owned() });
        }
    }
    Ok(module)
}

/// Proves on `module` that `cut` takes out what it should: the module without the elements is captured again and has the
/// parameters and the cost that are predicted; and its outputs are those of the module in which the elements are silent, a
/// block's last weights at zero, an expert's score far below the others'.
///
/// `graph` is that of the whole module, `capture` records a module, `forward` runs one on a batch, the same each time.
///
/// # Errors
///
/// [`Error::NoElement`] for elements that the graph or the module cannot do without, [`Error::NotAsPlanned`],
/// [`Error::OutputNotFinite`], and what `capture` says. That outputs differ is for [`Comparison::check`].
pub fn verify_elements<M: Module>(
    module: &M,
    graph: &Graph,
    cut: &ElementCut,
    take: impl Fn(&mut M, &str) -> bool,
    capture: impl Fn(&M) -> Result<Graph, kd_graph::Error>,
    forward: impl Fn(&M) -> Tensor<2>,
) -> Result<Comparison, Error> {
    let kinds = [ElementKind::Layers, ElementKind::Experts];
    let can: Vec<Candidate> = kinds.into_iter().flat_map(|kind| candidates(graph, kind).0).collect();
    let chosen = cut.elements.iter().map(|element| {
        let found = can.iter().find(|candidate| candidate.element == *element);
        found.ok_or_else(|| Error::NoElement { path: element.path.clone() })
    });
    let chosen = chosen.collect::<Result<Vec<&Candidate>, Error>>()?;
    let plain = module.valid().materialize();
    let removed = remove_elements(plain.clone(), cut, take)?;
    Prediction::of(graph, &chosen, cut)?.check(&capture(&removed)?)?;
    let silence = chosen.iter().flat_map(|candidate| &candidate.silence).collect();
    let silenced = plain.map(&mut Silent { place: Place::default(), silence });
    compare(outputs("silenced", forward(&silenced))?, outputs("cut", forward(&removed))?)
}

/// Silences elements.
struct Silent<'a> {
    place: Place,
    silence: Vec<&'a Silence>,
}

impl ModuleMapper for Silent<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.place.path();
        if self.silence.iter().any(|it| matches!(it, Silence::Zero(zero) if *zero == path)) {
            return param.map(|value| value.zeros_like());
        }
        let shut: BTreeMap<usize, f32> = (self.silence.iter())
            .filter_map(|it| match it {
                Silence::Shut(bias, unit) if *bias == path => Some((*unit, SHUT)),
                _ => None,
            })
            .collect();
        if shut.is_empty() {
            return param;
        }
        param.map(|value| {
            let shape = value.dims();
            let added: Vec<f32> =
                (0..shape.iter().product()).map(|unit| shut.get(&unit).copied().unwrap_or(0.0)).collect();
            let added = Tensor::from_data(TensorData::new(added, shape), (&value.device(), value.dtype()));
            value + added
        })
    }
}
