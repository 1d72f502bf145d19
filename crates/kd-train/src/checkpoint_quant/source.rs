//! Reading a safetensors file piece by piece.
//!
//! By position and not through a memory map: pages of a map count as resident memory, and a file may be larger than
//! that.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use crate::error::Error;
use crate::run_dir::io;

/// Numbers that are in memory at a time, unless a row is longer.
const PIECE: usize = 1 << 19;

/// No header is longer, as the format's authors have it.
const MAX_HEADER: u64 = 100_000_000;

/// A safetensors file, open.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    file: File,
    /// Where the data begins.
    start: u64,
    tensors: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
}

/// Type, shape and place of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Type of its numbers.
    pub dtype: Dtype,
    /// Sizes.
    pub shape: Vec<usize>,
    /// Bytes, counted from the beginning of the data.
    pub range: Range<u64>,
}

impl Entry {
    /// Rows and columns, of a matrix of floats of 16 bits or more that is not empty.
    pub fn matrix(&self) -> Option<(usize, usize)> {
        let float = matches!(self.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16);
        match self.shape.as_slice() {
            &[rows, columns] if float && rows > 0 && columns > 0 => Some((rows, columns)),
            _ => None,
        }
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

impl Source {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    ///
    /// [`Error::TensorFile`] for a file that is not there or no safetensors file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let broken = |reason: String| Error::TensorFile { path: path.into(), reason };
        let refused = |error: std::io::Error| broken(error.to_string());
        let no = |reason: &dyn std::fmt::Display| broken(format!("it is no safetensors file: {reason}"));
        let mut file = File::open(path).map_err(refused)?;
        let length = file.metadata().map_err(refused)?;
        if length.is_dir() {
            return Err(broken("it is a folder; expected a safetensors file".into()));
        }
        let mut size = [0; 8];
        file.read_exact(&mut size).map_err(|_| no(&"it has no header"))?;
        let size = u64::from_le_bytes(size);
        if size > MAX_HEADER || size + 8 > length.len() {
            return Err(no(&"its header is longer than the file"));
        }
        let mut header = vec![0; size as usize];
        file.read_exact(&mut header).map_err(refused)?;
        let header: Metadata = serde_json::from_slice(&header).map_err(|error| no(&error))?;
        let start = 8 + size;
        if start + header.data_len() as u64 != length.len() {
            return Err(no(&"its header does not say how long it is"));
        }
        let entry = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
            let range = info.data_offsets.0 as u64..info.data_offsets.1 as u64;
            (name, Entry { dtype: info.dtype, shape: info.shape.clone(), range })
        };
        let tensors = header.tensors().into_iter().map(entry).collect();
        let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        Ok(Self { path: path.into(), file, start, tensors, metadata })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All tensors.
    pub fn tensors(&self) -> &BTreeMap<String, Entry> {
        &self.tensors
    }

    /// The strings of the header.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Fills `bytes` from the position `at` of a tensor.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn read(&self, entry: &Entry, at: u64, bytes: &mut [u8]) -> Result<(), Error> {
        let mut file = &self.file;
        let place = self.start + entry.range.start + at;
        let read = file.seek(SeekFrom::Start(place)).and_then(|_| file.read_exact(bytes));
        read.map_err(|source| io("read", &self.path, source))
    }

    /// All bytes of a tensor that is small.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn all(&self, entry: &Entry) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; entry.bytes() as usize];
        self.read(entry, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// Hands on the bytes of a tensor, piece by piece.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], and those of `take`.
    pub fn copy(&self, entry: &Entry, mut take: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let mut buffer = vec![0; (entry.bytes() as usize).min(2 * PIECE)];
        let mut at = 0;
        while at < entry.bytes() {
            let len = (entry.bytes() - at).min(buffer.len() as u64) as usize;
            self.read(entry, at, &mut buffer[..len])?;
            take(&buffer[..len])?;
            at += len as u64;
        }
        Ok(())
    }

    /// Rows of a matrix of floats, as `f32`; doubles are rounded.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn rows(&self, entry: &Entry, rows: Range<usize>) -> Result<Vec<f32>, Error> {
        let columns = entry.shape.last().copied().unwrap_or(1);
        let size = entry.dtype.bitsize() / 8;
        let (mut at, end) = (rows.start * columns, rows.end * columns);
        let mut values = Vec::with_capacity(end - at);
        let mut buffer = vec![0; (end - at).min(PIECE) * size];
        while at < end {
            let count = (end - at).min(PIECE);
            let bytes = &mut buffer[..count * size];
            self.read(entry, (at * size) as u64, bytes)?;
            widen(entry.dtype, bytes, &mut values);
            at += count;
        }
        Ok(values)
    }
}

/// Numbers of a float type, in `f32`.
pub(super) fn widen(dtype: Dtype, bytes: &[u8], values: &mut Vec<f32>) {
    let pair = |b: &[u8; 2]| u16::from_le_bytes(*b);
    match dtype {
        Dtype::F64 => values.extend(bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32)),
        Dtype::F16 => {
            values.extend(bytes.as_chunks::<2>().0.iter().map(|b| f16::from_bits(pair(b)).to_f32()));
        }
        Dtype::BF16 => {
            values.extend(bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_bits(pair(b)).to_f32()));
        }
        _ => values.extend(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b))),
    }
}

/// Rows in pieces of a bounded size, each but the last a multiple of `multiple` rows.
pub fn pieces(rows: usize, columns: usize, multiple: usize) -> impl Iterator<Item = Range<usize>> {
    let multiple = multiple.max(1);
    let step = (PIECE / columns.max(1) / multiple * multiple).max(multiple);
    (0..rows).step_by(step).map(move |first| first..rows.min(first + step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_all_rows_in_whole_blocks() {
        for (rows, columns, multiple) in [(1, 1, 1), (1000, 1000, 1), (5000, 700, 128), (3, PIECE + 1, 2)] {
            let all: Vec<_> = pieces(rows, columns, multiple).collect();
            assert_eq!(all[0].start, 0);
            assert_eq!(all[all.len() - 1].end, rows);
            for pair in all.windows(2) {
                assert_eq!(pair[0].end, pair[1].start);
                assert!(
                    pair[0].len().is_multiple_of(multiple)
                        && pair[0].len() * columns <= PIECE.max(multiple * columns)
                );
            }
        }
    }
}
