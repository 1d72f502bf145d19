//! A quantized checkpoint as floats again, under the original names.
//!
//! Weights are found by `kd_quantization` in `config.json`, else, in folders that compressed-tensors wrote, by
//! `quantization_config` and the types of tensors. Decoded weights are f32, whatever they were before, so that nothing
//! is rounded a second time; all other tensors stay as they are.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::Dtype;

use super::config::Config;
use super::shards::Shards;
use super::sink::Sink;
use crate::error::Error;
use crate::run_dir::io;

/// What was decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Weights that were.
    pub weights: usize,
    /// Tensors that stayed as they are.
    pub kept: usize,
}

/// Decodes the checkpoint in `folder` into the file `out`, which is replaced.
///
/// # Errors
///
/// [`Error::QuantizedFolder`] for a folder that is not one, or whose tensors are not what `config.json` says,
/// [`Error::TensorFile`], [`Error::Io`].
pub fn dequantize(folder: &Path, out: &Path) -> Result<Decoded, Error> {
    let shards = Shards::open(folder)?;
    let config = Config::read(folder)?;
    let weights = shards.weights(&config)?;
    let parts: BTreeMap<&str, &str> = weights
        .iter()
        .flat_map(|(name, weight)| weight.parts.values().map(|part| (part.as_str(), name.as_str())))
        .collect();
    let mut tensors = BTreeMap::new();
    for (name, weight) in &weights {
        tensors.insert(name.clone(), (Dtype::F32, weight.shape()));
    }
    for (name, (_, entry)) in shards.tensors.iter().filter(|(name, _)| !parts.contains_key(name.as_str())) {
        if tensors.insert(name.clone(), (entry.dtype, entry.shape.clone())).is_some() {
            return Err(shards.wrong(&format!("`{name}` is there both decoded and encoded")));
        }
    }
    let mut name = std::ffi::OsString::from(".");
    name.push(out.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = out.with_file_name(name);
    let write = || -> Result<(), Error> {
        let mut sink = Sink::create(&temporary, &tensors, &shards.metadata)?;
        for name in tensors.keys() {
            match weights.get(name) {
                Some(weight) => {
                    let input_scale = weight.input_scale(&shards)?;
                    weight.each(&shards, |coded| {
                        let values = coded.decode(input_scale.as_deref());
                        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                        sink.append(name, &bytes)
                    })?;
                }
                None => {
                    let (source, entry) = shards.get(name)?;
                    source.copy(entry, |bytes| sink.append(name, bytes))?;
                }
            }
        }
        sink.finish()?;
        std::fs::rename(&temporary, out).map_err(|source| io("write", out, source))
    };
    write().inspect_err(|_| {
        // It may not even exist: the first failure is the one to report.
        let _ = std::fs::remove_file(&temporary);
    })?;
    Ok(Decoded { weights: weights.len(), kept: tensors.len() - weights.len() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::form::PartKind;
    use super::super::source::Source;
    use super::super::weight::Weight;
    use super::super::writer::{Planned, Writer};
    use super::*;

    /// For equal codes our tensors are those that compressed-tensors 0.20 wrote, byte for byte.
    #[test]
    fn equal_codes_give_the_packages_bytes() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/compressed_tensors");
        let shards = Shards::open(&golden).unwrap();
        let weights = shards.weights(&Config::read(&golden).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        // int-quantized, a byte for each weight, is for quantized activations: read, and never written.
        let written = |weight: &Weight| {
            let codes = &weight.parts[&PartKind::Codes];
            weight.form.scheme.int().is_none() || shards.tensors[codes].1.dtype != Dtype::I8
        };
        let weights: BTreeMap<_, _> = weights.into_iter().filter(|(_, weight)| written(weight)).collect();
        assert!(weights.len() >= 14, "{}", weights.len());
        let plan = weights.iter().map(|(name, weight)| {
            let Weight { form, rows, columns, .. } = *weight;
            (name.clone(), Planned::Coded { form, rows, columns, tensor: None, dtype: Dtype::F32 })
        });
        let mut writer =
            Writer::create(&folder.path().join("out"), plan.collect(), &BTreeMap::new()).unwrap();
        for (name, weight) in &weights {
            weight.each(&shards, |coded| writer.rows(name, &coded, &coded.decode(None))).unwrap();
        }
        writer.finish().unwrap();
        let ours = Source::open(&folder.path().join("out/model.safetensors")).unwrap();
        for (name, entry) in ours.tensors() {
            let (source, expected) = shards.get(name).unwrap();
            assert_eq!((entry.dtype, &entry.shape), (expected.dtype, &expected.shape), "{name}");
            assert_eq!(ours.all(entry).unwrap(), source.all(expected).unwrap(), "{name}");
        }
    }
}
