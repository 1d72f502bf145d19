//! Model files: weights in PyTorch's names and layout, read and written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kd_deploy::safetensors::Tensors;
use kd_deploy::{Array, Weights, kdz, safetensors};

use crate::error::{CheckpointReason, Error};
use crate::network::Network;
use crate::run_dir::files;
use crate::survey::Entry;

/// The entry of a model file's metadata that lists the elements which its model lacks, as [`Network::dropped`] has them,
/// with a space between two. The program that reads the file builds the model as it always does, and drops them.
const DROPPED: &str = "kd.dropped-elements";

/// Writes the stored weights of a network, masks applied, all or nothing.
///
/// # Errors
///
/// The file system's.
pub fn save(network: &dyn Network, path: &Path) -> Result<(), Error> {
    Ok(safetensors::write(path, &named(network)?, &metadata(network))?)
}

/// What a model file says beside its tensors.
pub(crate) fn metadata(network: &dyn Network) -> BTreeMap<String, String> {
    let dropped = Some(network.dropped().join(" ")).filter(|dropped| !dropped.is_empty());
    dropped.map(|dropped| (DROPPED.to_owned(), dropped)).into_iter().collect()
}

/// The stored weights of a network as its files hold them: masks applied, in PyTorch's names and layout.
///
/// # Errors
///
/// Never, for the weights of a network of ours.
pub fn named(network: &dyn Network) -> Result<BTreeMap<String, Array>, Error> {
    Ok(safetensors::to_torch(&params(&network.entries()), &masked(network))?)
}

/// Masks that keep what is not zero of the weights at `paths`.
pub(crate) fn zeros_masked<'a>(
    weights: &Weights,
    paths: impl IntoIterator<Item = &'a String>,
) -> BTreeMap<String, Vec<bool>> {
    let mask = |path: &String| {
        let keep = weights.get(path)?.data().iter().map(|&x| x != 0.0).collect();
        Some((path.clone(), keep))
    };
    paths.into_iter().filter_map(mask).collect()
}

/// The stored weights of a network with its masks applied; not rounded.
pub fn masked(network: &dyn Network) -> Weights {
    let mut weights = network.weights();
    for (path, mask) in &network.compression().masks {
        if let Some(array) = weights.get_mut(path) {
            let values = array.data().iter().zip(mask).map(|(&x, &keep)| if keep { x } else { 0.0 });
            let values: Vec<f32> = values.collect();
            *array = Array::new(array.shape().to_vec(), values).expect("the shape is the same");
        }
    }
    weights
}

/// The same as criteria of pruning read them.
pub(crate) fn scored(network: &dyn Network) -> prune_core::Weights {
    let arrays = masked(network).into_iter().map(|(path, a)| (path, a.shape().to_vec(), a.into_data()));
    prune_core::Weights::from_arrays(arrays)
}

/// The weights file behind what a user may name: a file, a stage's folder, or a run (then the folder of its
/// teacher, which is the first stage).
///
/// # Errors
///
/// A path that is none of these.
pub fn resolve(path: &Path) -> Result<PathBuf, Error> {
    let broken = |reason| Error::Checkpoint { path: path.into(), reason };
    if path.is_file() {
        return Ok(path.into());
    }
    if path.join(files::WEIGHTS).is_file() {
        return Ok(path.join(files::WEIGHTS));
    }
    if path.join(files::MANIFEST).is_file() {
        let entries = std::fs::read_dir(path).map_err(|source| crate::run_dir::io("read", path, source))?;
        let first = entries.flatten().map(|entry| entry.path()).find(|entry| {
            entry.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("1-"))
        });
        if let Some(first) = first.filter(|first| first.join(files::WEIGHTS).is_file()) {
            return Ok(first.join(files::WEIGHTS));
        }
        return Err(broken(CheckpointReason::NoWeights));
    }
    Err(broken(if path.exists() { CheckpointReason::NoWeights } else { CheckpointReason::Missing }))
}

/// The tensors of a model file: safetensors, or what [`kd pack`](crate::pack) wrote.
///
/// # Errors
///
/// A file that is neither.
pub fn read(file: &Path) -> Result<Tensors, Error> {
    let unreadable = |error: kd_deploy::Error| Error::Checkpoint {
        path: file.into(),
        reason: CheckpointReason::Unreadable(error.to_string()),
    };
    if kdz::is(file) { kdz::read(file) } else { safetensors::read(file) }.map_err(unreadable)
}

/// Puts the weights of a file into a network. Widths may differ from the network's: a pruned model has fewer, and fewer
/// blocks or experts where the file says that some were dropped. That they fit each other is checked by capturing the forward pass.
///
/// # Errors
///
/// A file that cannot be read, a parameter that it lacks, that has another rank or that does not fit the others.
pub fn load(network: &mut dyn Network, file: &Path) -> Result<(), Error> {
    let broken = |reason| Error::Checkpoint { path: file.into(), reason };
    let tensors = read(file)?;
    if let Some(dropped) = tensors.metadata.get(DROPPED) {
        let paths: Vec<String> = dropped.split_whitespace().map(str::to_owned).collect();
        network
            .drop_elements(&paths)
            .map_err(|error| broken(CheckpointReason::DoesNotFit(error.to_string())))?;
    }
    let mut params = params(&network.entries());
    let missing = params.iter().map(safetensors::torch_name).find(|name| !tensors.arrays.contains_key(name));
    if let Some(param) = missing {
        let found = tensors.arrays.keys().cloned().collect();
        return Err(broken(CheckpointReason::MissingParameter { param, found }));
    }
    for param in &mut params {
        let mut found = tensors.arrays[&safetensors::torch_name(param)].shape().to_vec();
        if safetensors::is_transposed(param) {
            found.reverse();
        }
        if found.len() != param.shape.len() {
            return Err(Error::CheckpointShape {
                path: file.into(),
                param: param.path.clone(),
                expected: param.shape.clone(),
                found,
            });
        }
        param.shape = found;
    }
    let weights = safetensors::from_torch(&params, &tensors.arrays)?;
    network.set_weights(&weights);
    let classes = network.task().classes;
    let graph = network.graph().map_err(|error| broken(CheckpointReason::DoesNotFit(error.to_string())))?;
    let found = graph.outputs.first().and_then(|&output| graph.shape(output, 1).last().copied());
    match found {
        Some(found) if found != classes => {
            Err(Error::ClassMismatch { path: file.into(), expected: classes, found })
        }
        _ => Ok(()),
    }
}

/// The entries of a module as the artifact layer wants them.
pub fn params(entries: &[Entry]) -> Vec<kd_graph::Param> {
    let param = |entry: &Entry| kd_graph::Param {
        path: entry.path.clone(),
        layer: entry.layer.clone(),
        shape: entry.shape.clone(),
        buffer: entry.is_buffer(),
    };
    entries.iter().map(param).collect()
}
