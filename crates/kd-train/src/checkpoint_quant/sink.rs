//! Writing a safetensors file piece by piece.
//!
//! All sizes are known beforehand, so the header comes first and every tensor grows in its own place. Tensors are in the
//! order of their alignment, then of their names, so that no reader meets a number at an odd place, and equal content
//! gives equal bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde::Serialize;

use crate::error::Error;
use crate::run_dir::io;

/// A safetensors file that is being written.
#[derive(Debug)]
pub(super) struct Sink {
    path: PathBuf,
    file: File,
    /// Where a tensor goes on, and where it ends.
    places: BTreeMap<String, (u64, u64)>,
}

impl Sink {
    /// Creates the file and writes its header.
    pub(super) fn create(
        path: &Path,
        tensors: &BTreeMap<String, (Dtype, Vec<usize>)>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        let mut order: Vec<_> = tensors.iter().collect();
        order.sort_by(|(a, (x, _)), (b, (y, _))| y.cmp(x).then(a.cmp(b)));
        let mut fields = Vec::new();
        if !metadata.is_empty() {
            fields.push(format!("\"__metadata__\":{}", json(metadata)));
        }
        let mut at = 0;
        let mut places = BTreeMap::new();
        for (name, (dtype, shape)) in order {
            let end = at + (shape.iter().product::<usize>() * dtype.bitsize()).div_ceil(8);
            let info = TensorInfo { dtype: *dtype, shape: shape.clone(), data_offsets: (at, end) };
            fields.push(format!("{}:{}", json(name), json(&info)));
            places.insert(name.clone(), (at as u64, end as u64));
            at = end;
        }
        let mut header = format!("{{{}}}", fields.join(",")).into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        let start = 8 + header.len() as u64;
        places.values_mut().for_each(|(at, end)| (*at, *end) = (start + *at, start + *end));
        let failed = |source| io("write", path, source);
        let mut file = File::create(path).map_err(failed)?;
        file.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
        file.write_all(&header).map_err(failed)?;
        Ok(Self { path: path.into(), file, places })
    }

    /// Writes the next bytes of a tensor.
    pub(super) fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let Some((at, _)) = self.places.get_mut(name).filter(|(at, end)| bytes.len() as u64 <= *end - *at)
        else {
            return Err(self.wrong(name, "more than its header says"));
        };
        let done = self.file.seek(SeekFrom::Start(*at)).and_then(|_| self.file.write_all(bytes));
        done.map_err(|source| io("write", &self.path, source))?;
        *at += bytes.len() as u64;
        Ok(())
    }

    /// Ends the file, of which nothing may be missing.
    pub(super) fn finish(self) -> Result<(), Error> {
        if let Some((name, _)) = self.places.iter().find(|(_, (at, end))| at != end) {
            return Err(self.wrong(name, "less than its header says"));
        }
        self.file.sync_all().map_err(|source| io("write", &self.path, source))
    }

    fn wrong(&self, name: &str, what: &str) -> Error {
        Error::QuantizedFolder { path: self.path.clone(), reason: format!("`{name}` was given {what}") }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings, numbers and maps of strings are always JSON")
}
