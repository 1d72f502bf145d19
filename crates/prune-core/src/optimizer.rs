//! Optimizer state through a cut: moments lose what their parameters lose, and training goes on where it was.
//!
//! Burn knows parameters by ids and keeps an optimizer's state private; what it shows is a record in its own file
//! format. So the record is written to memory, cut there tensor by tensor, and read back. Our optimizers have
//! the records of Burn's, so that one way serves both.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::ModuleOptimizer;
use burn::tensor::{Bytes, Shape, Tensor};
use burn_pack::{Reader, Writer};

use crate::walk::Place;
use crate::{Cut, Error};

/// The ids and shapes of a module's parameters, by path: what ties an optimizer's state to them.
#[derive(Debug, Clone, Default)]
pub struct Ids(BTreeMap<String, (u64, Vec<usize>)>);

impl Ids {
    /// Of the float parameters of a module.
    pub fn of<M: Module>(module: &M) -> Self {
        let mut visitor = Visitor::default();
        module.visit(&mut visitor);
        visitor.ids
    }

    fn path_of(&self, id: u64) -> Option<(&str, &[usize])> {
        let found = self.0.iter().find(|(_, (of, _))| *of == id);
        found.map(|(path, (_, shape))| (path.as_str(), shape.as_slice()))
    }
}

#[derive(Default)]
struct Visitor {
    place: Place,
    ids: Ids,
}

impl ModuleVisitor for Visitor {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.place.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.ids.0.insert(self.place.path(), (param.id.val(), param.base().dims().to_vec()));
    }
}

/// The optimizer of a module after [`apply`](crate::apply) made `after` out of `before`.
///
/// Every state tensor of a parameter that was cut (first and second moments, velocities) keeps the indices that the
/// parameter keeps, and goes under the parameter's new id; counters of steps stay. The rest is as it was.
///
/// ```
/// # use burn::module::Module;
/// # use burn::nn::LinearConfig;
/// # use burn::optim::{AdamWConfig, GradientsParams};
/// # use burn::tensor::{Device, Tensor};
/// use prune_core::{Cut, Ids, Slice, apply, cut_optimizer};
///
/// # fn main() -> Result<(), prune_core::Error> {
/// # let device = Device::default().autodiff();
/// let layer = LinearConfig::new(4, 6).with_bias(false).init(&device);
/// let mut optimizer = AdamWConfig::new().init();
/// # let loss = layer.forward(Tensor::<2>::ones([3, 4], &device)).sum();
/// # let gradients = GradientsParams::from_grads(loss.backward(), &layer);
/// let layer = optimizer.step(0.1, layer, gradients);
///
/// let cut = Cut::new([Slice { path: "weight".into(), dim: 1, size: 6, keep: vec![0, 2, 5] }])?;
/// let before = Ids::of(&layer);
/// let layer = apply(layer, &cut)?;
/// let optimizer = cut_optimizer(optimizer, &before, &Ids::of(&layer), &cut)?;
/// # let _ = optimizer;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::State`] for a state of another shape than its parameter (Adafactor's rows and columns),
/// [`Error::UnknownPath`] for a path of the cut that a module does not have, [`Error::Record`].
pub fn cut_optimizer(
    optimizer: ModuleOptimizer,
    before: &Ids,
    after: &Ids,
    cut: &Cut,
) -> Result<ModuleOptimizer, Error> {
    let record = |reason: String| Error::Record { reason };
    let bytes = optimizer.into_bytes().map_err(|error| record(error.to_string()))?;
    let reader = Reader::from_bytes(bytes).map_err(|error| record(error.to_string()))?;
    let renamed = renamed(before, after, cut)?;
    let (scalars, paths) = (reader.scalars().clone(), reader.metadata().clone());
    let mut tensors = Vec::new();
    for tensor in reader.into_tensors().map_err(|error| record(error.to_string()))? {
        let parts = tensor.into_parts().map_err(|error| record(error.to_string()))?;
        let (name, dtype, mut shape, id, bytes) = parts;
        let owner = id.filter(|id| renamed.contains_key(id)).and_then(|id| before.path_of(id));
        let Some((path, expected)) = owner else {
            tensors.push(burn_pack::Tensor::new(name, dtype, shape, id, bytes));
            continue;
        };
        let mut dims = shape.to_vec();
        if dims != expected {
            let state = name.split_once('.').map_or(name.as_str(), |(_, state)| state).to_owned();
            let (path, expected) = (path.to_owned(), expected.into());
            return Err(Error::State { path, state, expected, found: dims.into() });
        }
        let mut bytes: Vec<u8> = bytes.to_vec();
        for dim in 0..dims.len() {
            if let Some(keep) = cut.keep(path, dim) {
                bytes = take(&bytes, &dims, dtype.size(), dim, keep);
                dims[dim] = keep.len();
            }
        }
        shape = Shape::from(dims);
        let id = id.map(|id| renamed.get(&id).copied().unwrap_or(id));
        let bytes = Bytes::from_bytes_vec(bytes);
        tensors.push(burn_pack::Tensor::new(rename(&name, &renamed), dtype, shape, id, bytes));
    }
    let mut writer = Writer::new(tensors);
    for (name, value) in scalars {
        writer = writer.with_scalar(&rename(&name, &renamed), value);
    }
    for (id, path) in paths {
        writer = writer.with_metadata(&rename(&id, &renamed), &path);
    }
    let bytes = writer.into_bytes().map_err(|error| record(error.to_string()))?;
    optimizer.from_bytes(bytes).map_err(|error| record(error.to_string()))
}

/// Old ids of the parameters that were cut, with their new ones.
fn renamed(before: &Ids, after: &Ids, cut: &Cut) -> Result<BTreeMap<u64, u64>, Error> {
    let id = |ids: &Ids, path: &str| {
        let found = ids.0.get(path).map(|(id, _)| *id);
        found.ok_or_else(|| Error::UnknownPath { path: path.to_owned() })
    };
    cut.slices().map(|slice| Ok((id(before, &slice.path)?, id(after, &slice.path)?))).collect()
}

/// `42.moment` or `42` under the id's new name.
fn rename(name: &str, renamed: &BTreeMap<u64, u64>) -> String {
    let (id, rest) = name.split_once('.').map_or((name, None), |(id, rest)| (id, Some(rest)));
    let Some(new) = id.parse().ok().and_then(|id: u64| renamed.get(&id)) else { return name.to_owned() };
    rest.map_or_else(|| new.to_string(), |rest| format!("{new}.{rest}"))
}

/// The kept indices of a dimension of a row-major tensor whose elements are `size` bytes.
fn take(bytes: &[u8], dims: &[usize], size: usize, dim: usize, keep: &[usize]) -> Vec<u8> {
    let inner = dims[dim + 1..].iter().product::<usize>() * size;
    let outer = dims[dim] * inner;
    let blocks = bytes.chunks(outer.max(1));
    blocks.flat_map(|block| keep.iter().flat_map(|&at| &block[at * inner..][..inner]).copied()).collect()
}
