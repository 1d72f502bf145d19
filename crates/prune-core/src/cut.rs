//! The receipt of a structural pruning, and the surgery it describes.
//!
//! A [`Cut`] lists, for each dimension of each parameter, which indices stay. It is plain data: written as JSON beside
//! the weights, it turns a freshly built network into the pruned one's shape, two of them compose, and it says
//! what was removed to anyone who cares. Applying it needs no idea of layers: it slices tensors by path.
//!
//! Three habits of Burn decide how [`apply`] works.
//! Running statistics are shared between the clones of a module, and a mapper changes them in place; and their last
//! update waits in a second place until someone asks for it, where a mapper does not see it. So the surgery is
//! done on `valid()`, which settles the update and makes a copy of its own. And a tensor computed from a
//! parameter belongs to that parameter's autodiff graph; so the slice is taken without it, and the result is
//! put back into the context the old parameter had.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Bool, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::walk::Place;

/// Which indices of which dimensions stay; what is not listed stays whole.
///
/// As JSON, `{ "slices": […], "across": […] }` with [`Slice`]s and [`Across`]es sorted by path and dimension. Reading
/// checks the slices; a list of them alone is read too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    slices: BTreeMap<(String, usize), Kept>,
    across: BTreeMap<(String, usize), BTreeSet<String>>,
}

/// What stays of one dimension of one parameter or buffer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Slice {
    /// Dotted path in the module: `blocks.0.conv.weight`.
    pub path: String,
    /// Dimension, in Burn's layout.
    pub dim: usize,
    /// Size of the dimension before the cut.
    pub size: usize,
    /// Indices that stay: ascending, below `size`, at least one.
    pub keep: Vec<usize>,
}

/// A group of units, some of which go, over which a norm, a mean or a softmax runs.
///
/// Without the removed units it computes with those that are left, so that the network without them is not the one in
/// which they are silent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Across {
    /// A parameter of the group: a layer's weight, if it has one.
    pub path: String,
    /// Its dimension that holds the units.
    pub dim: usize,
    /// The operations, sorted: `` `layer_norm` of `norm.gamma` ``.
    pub operations: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    size: usize,
    keep: Vec<usize>,
}

impl Cut {
    /// A cut of these slices; those that keep everything are left out.
    ///
    /// # Errors
    ///
    /// [`Error::Keep`], [`Error::KeepsNone`], and [`Error::Twice`] for two slices of one dimension.
    pub fn new(slices: impl IntoIterator<Item = Slice>) -> Result<Self, Error> {
        let mut seen = BTreeMap::new();
        for Slice { path, dim, size, keep } in slices {
            if keep.is_empty() {
                return Err(Error::KeepsNone { path, dim, size });
            }
            let mut floor = 0;
            for &index in &keep {
                if index < floor || index >= size {
                    return Err(Error::Keep { path, dim, index, size });
                }
                floor = index + 1;
            }
            if seen.insert((path.clone(), dim), Kept { size, keep }).is_some() {
                return Err(Error::Twice { path, dim });
            }
        }
        seen.retain(|_, kept| kept.keep.len() < kept.size);
        Ok(Self { slices: seen, across: BTreeMap::new() })
    }

    /// The same cut, which names these groups too. It removes nothing more.
    #[must_use]
    pub fn with_across(mut self, across: impl IntoIterator<Item = Across>) -> Self {
        for Across { path, dim, operations } in across {
            self.across.entry((path, dim)).or_default().extend(operations);
        }
        self
    }

    /// The groups over which a norm, a mean or a softmax runs, sorted by path and dimension.
    pub fn across(&self) -> impl Iterator<Item = Across> {
        self.across.iter().map(|((path, dim), operations)| Across {
            path: path.clone(),
            dim: *dim,
            operations: operations.iter().cloned().collect(),
        })
    }

    /// Whether nothing is removed.
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// The slices, sorted by path and dimension.
    pub fn slices(&self) -> impl Iterator<Item = Slice> {
        self.slices.iter().map(|((path, dim), kept)| Slice {
            path: path.clone(),
            dim: *dim,
            size: kept.size,
            keep: kept.keep.clone(),
        })
    }

    /// The indices that stay of a dimension, if not all of them.
    pub fn keep(&self, path: &str, dim: usize) -> Option<&[usize]> {
        self.kept(path, dim).map(|kept| kept.keep)
    }

    /// The same with the size of the dimension before, as [`SyncShape`](kd_nn::SyncShape) asks for it.
    pub fn kept(&self, path: &str, dim: usize) -> Option<kd_nn::Kept<'_>> {
        let kept = self.slices.get(&(path.to_owned(), dim))?;
        Some(kd_nn::Kept { size: kept.size, keep: &kept.keep })
    }

    /// The one cut that does what `self` and then `then` do; `then` counts indices in the tensors that `self` leaves.
    /// It names the groups of both.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] when `then` was made for another size than `self` leaves.
    pub fn compose(&self, then: &Cut) -> Result<Cut, Error> {
        let mut slices = self.slices.clone();
        for ((path, dim), second) in &then.slices {
            let kept = match self.slices.get(&(path.clone(), *dim)) {
                None => second.clone(),
                Some(first) if first.keep.len() == second.size => Kept {
                    size: first.size,
                    keep: second.keep.iter().map(|&index| first.keep[index]).collect(),
                },
                Some(first) => {
                    let (expected, found) = (second.size, first.keep.len());
                    return Err(Error::Size { path: path.clone(), dim: *dim, expected, found });
                }
            };
            slices.insert((path.clone(), *dim), kept);
        }
        Ok(Cut { slices, across: self.across.clone() }.with_across(then.across()))
    }
}

/// The module without what `cut` removes, from parameters and running statistics alike.
///
/// Parameters that were cut get fresh ids, so that no optimizer moment of the old shape is used again; the rest
/// keep theirs. Gradient requirement, training flags and autodiff context are as they were, save that a module
/// with gradient checkpointing gets autodiff's default strategy. Clones of `module` are not affected.
///
/// Plain numbers in a module (`groups`, head counts) stay as they are. They follow where a module takes them from its
/// weights' shapes, or with [`apply_synced`](crate::apply_synced); [`settle_numbers`](crate::settle_numbers) finds out, and
/// [`plan_axes`](crate::plan_axes) leaves axes alone whose [numbers](kd_graph::Axis::numbers) do not follow.
///
/// # Errors
///
/// [`Error::UnknownPath`], [`Error::Dimension`], [`Error::Size`] where the cut does not fit the module, and
/// [`Error::Reparameterized`] where a parameter that is cut carries a reparameterization. The module is then lost,
/// as it was passed by value; nothing shared with its clones was changed.
pub fn apply<M: Module>(module: M, cut: &Cut) -> Result<M, Error> {
    let mut contexts = Contexts::default();
    module.visit(&mut contexts);
    contexts.check(cut)?;
    Ok(module.valid().map(&mut Surgery { place: Place::default(), contexts, cut }))
}

/// What a module was like before `valid()`, by path.
#[derive(Default)]
struct Contexts {
    place: Place,
    shapes: BTreeMap<String, Vec<usize>>,
    /// Paths on the autodiff device, and whether gradients are required there.
    autodiff: BTreeMap<String, bool>,
    flags: BTreeMap<String, bool>,
    /// Reparameterized parameters and the name of what they carry.
    reparameterized: BTreeMap<String, String>,
}

impl Contexts {
    fn check(&self, cut: &Cut) -> Result<(), Error> {
        for ((path, dim), kept) in &cut.slices {
            let (path, dim) = (path.clone(), *dim);
            let Some(shape) = self.shapes.get(&path) else {
                return Err(Error::UnknownPath { path });
            };
            if let Some(name) = self.reparameterized.get(&path) {
                return Err(Error::Reparameterized { path, name: name.clone() });
            }
            match shape.get(dim) {
                None => return Err(Error::Dimension { path, dim, rank: shape.len() }),
                Some(&found) if found != kept.size => {
                    return Err(Error::Size { path, dim, expected: kept.size, found });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

impl ModuleVisitor for Contexts {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
        self.reparameterized.extend(self.place.reparameterization());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.place.path();
        let base = param.base();
        self.shapes.insert(path.clone(), base.dims().to_vec());
        if base.is_autodiff() {
            self.autodiff.insert(path, base.is_require_grad());
        }
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        if param.base().is_autodiff() {
            self.autodiff.insert(self.place.path(), false);
        }
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        if param.base().is_autodiff() {
            self.autodiff.insert(self.place.path(), false);
        }
    }

    fn visit_flag(&mut self, flag: &Param<Flag>) {
        self.flags.insert(self.place.path(), flag.is_enabled());
    }
}

/// Cuts a module that `valid()` made, and puts every value back into the context it came from.
struct Surgery<'a> {
    place: Place,
    contexts: Contexts,
    cut: &'a Cut,
}

impl ModuleMapper for Surgery<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.place.path();
        // Carries what `train()` restores over to the new parameter.
        let (mut id, mut value, mapper) = param.consume();
        for dim in 0..D {
            if let Some(keep) = self.cut.keep(&path, dim) {
                value = take(value, dim, keep);
                id = ParamId::new();
            }
        }
        if let Some(&require_grad) = self.contexts.autodiff.get(&path) {
            value = value.autodiff().set_require_grad(require_grad);
        }
        Param::from_mapped_value(id, value, mapper)
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        match self.contexts.autodiff.contains_key(&self.place.path()) {
            true => param.map(Tensor::autodiff),
            false => param,
        }
    }

    fn map_bool<const D: usize>(&mut self, param: Param<Tensor<D, Bool>>) -> Param<Tensor<D, Bool>> {
        match self.contexts.autodiff.contains_key(&self.place.path()) {
            true => param.map(Tensor::autodiff),
            false => param,
        }
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        match self.contexts.flags.get(&self.place.path()) {
            Some(&enabled) => flag.map(|flag| flag.with(enabled)),
            None => flag,
        }
    }
}

fn take<const D: usize>(value: Tensor<D>, dim: usize, keep: &[usize]) -> Tensor<D> {
    let keep: Vec<i64> = keep.iter().map(|&index| index as i64).collect();
    let count = keep.len();
    let index = Tensor::<1, Int>::from_data(TensorData::new(keep, [count]), &value.device());
    value.select(dim, index)
}
