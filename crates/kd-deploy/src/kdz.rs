//! Weights in few bytes: the artifact of Deep Compression.
//!
//! A network that was pruned and whose weights share few values has little to say: where its weights are, and which of
//! the values each of them has. A `.kdz` file says just that, entropy coded: per tensor its distinct values, the gaps
//! between elements that are not zero, and the number of each element's value, the last two as asymmetric numeral systems'
//! streams under their own frequencies. Where Han et al., "Deep Compression", arXiv:1510.00149, take Huffman codes, whole bits a symbol
//! at least, these streams take fractions of bits. Nothing is lost: a tensor that is not like that is in the file as it
//! is, and decoding gives back every bit.
//!
//! The file: `KDZ1`; the CRC-32 of all that follows; the length of a header; the header, in JSON: tensors with shape, coding and
//! bytes, and metadata; the tensors' bytes, one after the other. Numbers of the frame are u32, little-endian.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::safetensors::Tensors;
use crate::{Array, Error, write_atomically};
use tensor::Coding;

mod stream;
mod tensor;

const MAGIC: &[u8; 4] = b"KDZ1";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    tensors: Vec<Entry>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    shape: Vec<usize>,
    coding: Coding,
    bytes: usize,
}

/// A tensor in a file, for reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Its name.
    pub name: String,
    /// Elements.
    pub elements: usize,
    /// Elements that are not zero, and distinct values among them; none where it is in the file as it is.
    pub shared: Option<(usize, usize)>,
    /// Its bytes in the file.
    pub bytes: usize,
}

/// The file's bytes, and what each tensor takes of them.
///
/// Equal tensors give equal bytes.
pub fn encode(
    arrays: &BTreeMap<String, Array>,
    metadata: &BTreeMap<String, String>,
) -> (Vec<u8>, Vec<Packed>) {
    let (mut tensors, mut payload, mut report) = (Vec::new(), Vec::new(), Vec::new());
    for (name, array) in arrays {
        let (coding, bytes) = tensor::encode(array.data());
        let shared = match coding {
            Coding::Plain {} => None,
            Coding::Shared { values, nonzero, .. } => Some((nonzero, values)),
        };
        let (elements, name) = (array.data().len(), name.clone());
        report.push(Packed { name: name.clone(), elements, shared, bytes: bytes.len() });
        tensors.push(Entry { name, shape: array.shape().to_vec(), coding, bytes: bytes.len() });
        payload.extend(bytes);
    }
    let header = serde_json::to_vec(&Header { tensors, metadata: metadata.clone() });
    let header = header.expect("names, numbers and text are JSON");
    let length = u32::try_from(header.len()).expect("a header is far below 4 GB");
    let rest = [&length.to_le_bytes(), header.as_slice(), &payload].concat();
    let file = [MAGIC.as_slice(), &crc32fast::hash(&rest).to_le_bytes(), &rest].concat();
    (file, report)
}

/// The tensors of a file's bytes.
///
/// # Errors
///
/// What does not fit, in words; nothing is allocated that the file cannot fill.
pub fn decode(bytes: &[u8]) -> Result<Tensors, String> {
    let rest = bytes.strip_prefix(MAGIC.as_slice()).ok_or("it does not begin with `KDZ1`")?;
    let (sum, rest) = rest.split_first_chunk::<4>().ok_or("it ends within its checksum")?;
    if crc32fast::hash(rest) != u32::from_le_bytes(*sum) {
        return Err("its checksum is not that of its content: it is damaged or not whole".into());
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or("it ends within the header's length")?;
    let (header, mut payload) =
        rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or("it ends within the header")?;
    let header: Header = serde_json::from_slice(header).map_err(|error| format!("its header: {error}"))?;
    let mut tensors = Tensors { metadata: header.metadata, ..Tensors::default() };
    for entry in header.tensors {
        let name = entry.name;
        let (coded, rest) =
            payload.split_at_checked(entry.bytes).ok_or_else(|| format!("it ends within `{name}`"))?;
        payload = rest;
        let array = tensor::decode(entry.coding, &entry.shape, coded)
            .ok_or_else(|| format!("the bytes of `{name}` are damaged"))?;
        if tensors.arrays.insert(name.clone(), array).is_some() {
            return Err(format!("`{name}` is there twice"));
        }
    }
    match payload.len() {
        0 => Ok(tensors),
        more => Err(format!("{more} bytes follow its last tensor")),
    }
}

/// Writes a file, all or nothing, and says what each tensor takes.
///
/// # Errors
///
/// The file system's.
pub fn write(
    path: &Path,
    arrays: &BTreeMap<String, Array>,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<Packed>, Error> {
    let (bytes, report) = encode(arrays, metadata);
    write_atomically(path, &bytes)?;
    Ok(report)
}

/// Whether a file is of this kind, by its first bytes.
pub fn is(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == *MAGIC
}

/// Reads a file.
///
/// # Errors
///
/// [`Error::File`], and [`Error::Kdz`] for a file that is none.
pub fn read(path: &Path) -> Result<Tensors, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::File {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    decode(&bytes).map_err(|reason| Error::Kdz { path: path.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize, seed: u64) -> impl Iterator<Item = u64> {
        let mut state = seed;
        (0..len).map(move |_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state >> 33
        })
    }

    fn array(shape: &[usize], data: Vec<f32>) -> Array {
        Array::new(shape, data).unwrap_or_else(|error| panic!("{error}"))
    }

    fn pruned(shape: &[usize], one_in: u64, values: u64) -> Array {
        let len = shape.iter().product();
        let data = noise(len, 1).zip(noise(len, 2)).map(|(keep, which)| match keep % one_in {
            0 => (which % values) as f32 * 0.01 - 0.077,
            _ => 0.0,
        });
        array(shape, data.collect())
    }

    #[test]
    fn every_bit_survives() {
        let odd = vec![-0.0, f32::NAN, f32::INFINITY, 0.0, 1e-45, -0.0];
        let dense: Vec<f32> = noise(5000, 3).map(|x| x as f32).collect();
        let arrays = BTreeMap::from([
            ("dense".to_owned(), array(&[50, 100], dense)),
            ("odd".to_owned(), array(&[2, 3], odd)),
            ("zeros".to_owned(), array(&[4000], vec![0.0; 4000])),
            ("ones".to_owned(), array(&[4000], vec![1.0; 4000])),
            (
                "signs".to_owned(),
                array(&[4000], noise(4000, 4).map(|x| if x % 2 == 0 { 1.0 } else { -1.0 }).collect()),
            ),
            ("pruned".to_owned(), pruned(&[300, 100], 12, 32)),
            ("far".to_owned(), pruned(&[300, 100], 3000, 4)),
            ("empty".to_owned(), array(&[0, 3], vec![])),
            ("scalar".to_owned(), array(&[], vec![2.5])),
        ]);
        let metadata = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let (bytes, report) = encode(&arrays, &metadata);
        let read = decode(&bytes).unwrap_or_else(|reason| panic!("{reason}"));
        let bits = |array: &Array| array.data().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(read.arrays.keys().eq(arrays.keys()));
        for (name, array) in &arrays {
            assert_eq!(
                (read.arrays[name].shape(), bits(&read.arrays[name])),
                (array.shape(), bits(array)),
                "{name}"
            );
        }
        assert_eq!(read.metadata, metadata);
        let of =
            |name: &str| report.iter().find(|packed| packed.name == name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!((of("dense").shared, of("dense").bytes), (None, 20_000));
        assert!(of("zeros").bytes == 0 && of("ones").bytes < 10 && of("signs").bytes < 520, "{report:?}");
        // 2500 of 30000: 0.4138 bits an element for places, 5 bits for each value.
        let ideal = (0.4138 * 30_000.0 + 5.0 * 2500.0) / 8.0;
        let found = of("pruned").bytes as f64;
        assert!(found < 1.02 * ideal + 2.0 * 256.0 + 6.0 * 32.0, "{found} for {ideal}");
    }

    #[test]
    fn what_is_no_such_file_is_refused_in_words() {
        let arrays = BTreeMap::from([("w".to_owned(), pruned(&[30, 100], 12, 8))]);
        let (bytes, _) = encode(&arrays, &BTreeMap::new());
        let says = |bytes: &[u8]| decode(bytes).err().unwrap_or_default();
        assert_eq!(says(b"PK12"), "it does not begin with `KDZ1`");
        assert_eq!(says(&bytes[..6]), "it ends within its checksum");
        let sum = "its checksum is not that of its content: it is damaged or not whole";
        for at in 4..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            assert_eq!(says(&damaged), sum);
            assert_eq!(says(&bytes[..at.max(8)]), sum);
        }
        // With a checksum that fits, the rest is still not trusted.
        let summed = |rest: &[u8]| [b"KDZ1", crc32fast::hash(rest).to_le_bytes().as_slice(), rest].concat();
        assert_eq!(says(&summed(&bytes[8..10])), "it ends within the header's length");
        assert_eq!(says(&summed(&bytes[8..20])), "it ends within the header");
        assert_eq!(says(&summed(&bytes[8..bytes.len() - 1])), "it ends within `w`");
        assert_eq!(says(&summed(&[&bytes[8..], &[0]].concat())), "1 bytes follow its last tensor");
        let fewer = String::from_utf8_lossy(&bytes[12..]).find("\"values\":8").unwrap_or_default();
        let mut damaged = bytes[8..].to_vec();
        damaged[4 + fewer + 9] = b'9';
        assert_eq!(says(&summed(&damaged)), "the bytes of `w` are damaged");
    }
}
