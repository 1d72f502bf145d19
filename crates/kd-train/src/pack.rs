//! Model files into `.kdz` and back: what pruning and shared weights are worth on disk.

use std::path::{Path, PathBuf};

use kd_deploy::kdz::{self, Packed};
use kd_deploy::safetensors;

use crate::error::Error;
use crate::weights;

/// What packing did.
#[derive(Debug, Clone, PartialEq)]
pub struct PackReport {
    /// Each tensor, in order of names.
    pub tensors: Vec<Packed>,
    /// Bytes of all elements as f32.
    pub float_bytes: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Tensors that were left out because they are no floats, with their type.
    pub skipped: Vec<(String, String)>,
}

impl PackReport {
    /// How many times smaller than its elements as f32 the file is.
    pub fn ratio(&self) -> f64 {
        self.float_bytes as f64 / self.bytes as f64
    }
}

/// Writes the weights behind `from` (a safetensors file, a stage's folder, a run) as a `.kdz` file at `out`.
///
/// # Errors
///
/// What `from` cannot be, [`Error::FileExists`] for an `out` that is there.
pub fn pack(from: &Path, out: &Path) -> Result<PackReport, Error> {
    let file = weights::resolve(from)?;
    let tensors = weights::read(&file)?;
    absent(out)?;
    let report = kdz::write(out, &tensors.arrays, &tensors.metadata)?;
    let elements: usize = report.iter().map(|packed| packed.elements).sum();
    Ok(PackReport {
        tensors: report,
        float_bytes: 4 * elements as u64,
        bytes: size(out)?,
        skipped: tensors.skipped.into_iter().collect(),
    })
}

/// Writes a `.kdz` file's tensors as safetensors at `out`; returns how many there are.
///
/// # Errors
///
/// A file that is none, [`Error::FileExists`] for an `out` that is there.
pub fn unpack(from: &Path, out: &Path) -> Result<usize, Error> {
    let tensors = weights::read(from)?;
    absent(out)?;
    safetensors::write(out, &tensors.arrays, &tensors.metadata)?;
    Ok(tensors.arrays.len())
}

fn absent(out: &Path) -> Result<(), Error> {
    match out.exists() {
        true => Err(Error::FileExists { path: PathBuf::from(out) }),
        false => Ok(()),
    }
}

fn size(path: &Path) -> Result<u64, Error> {
    let about = std::fs::metadata(path).map_err(|source| crate::run_dir::io("read", path, source))?;
    Ok(about.len())
}
