//! Weights as safetensors files with PyTorch's names and layout.
//!
//! Two decisions: a file must load into `torch.nn` without a transpose, so `Linear` weights are stored
//! `[out, in]` and normalizations say `weight` and `bias`; and equal weights must give equal bytes, so the header
//! is written here, names and metadata sorted (the usual writers keep metadata in a hash map).

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use kd_graph::Param;
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;

use crate::{Array, Error, Weights, write_atomically};

/// A file's content: tensors by name, and the metadata strings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tensors {
    /// Tensors by name.
    pub arrays: BTreeMap<String, Array>,
    /// The header's `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    /// Tensors left out while reading because they are no floats (PyTorch's `num_batches_tracked`), with their
    /// type.
    pub skipped: BTreeMap<String, String>,
}

/// The bytes of a safetensors file: equal input, equal bytes.
///
/// All tensors are `F32`, in the order of their names; the header is padded with spaces to a multiple of eight.
pub fn encode(arrays: &BTreeMap<String, Array>, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let header = header(arrays, metadata);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(&header);
    for array in arrays.values() {
        bytes.extend(array.data().iter().flat_map(|x| x.to_le_bytes()));
    }
    bytes
}

/// Writes [`encode`]'s bytes to `path`, atomically.
///
/// # Errors
/// When the file cannot be written.
pub fn write(
    path: &Path,
    arrays: &BTreeMap<String, Array>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), Error> {
    write_atomically(path, &encode(arrays, metadata))
}

/// Reads a safetensors file; `F64`, `F16` and `BF16` become `f32`, what is no float is skipped.
///
/// # Errors
/// When the file cannot be read or is damaged.
pub fn read(path: &Path) -> Result<Tensors, Error> {
    let file = |source| Error::File { action: "read", path: path.to_owned(), source };
    let damaged = |source| Error::Safetensors { path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(file)?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
    let views = SafeTensors::deserialize(&bytes).map_err(damaged)?;
    let mut tensors = Tensors::default();
    for (name, view) in views.iter() {
        match floats(view.dtype(), view.data()) {
            Some(data) => {
                let array = Array::new(view.shape(), data)?;
                tensors.arrays.insert(name.to_owned(), array);
            }
            None => {
                tensors.skipped.insert(name.to_owned(), format!("{:?}", view.dtype()));
            }
        }
    }
    if let Some(metadata) = header.metadata() {
        tensors.metadata = metadata.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    }
    Ok(tensors)
}

/// The name that PyTorch gives to a parameter: normalizations' `gamma` and `beta` are `weight` and `bias`, all
/// other names are the same.
pub fn torch_name(param: &Param) -> String {
    let (parent, leaf) = match param.path.rsplit_once('.') {
        Some((parent, leaf)) => (Some(parent), leaf),
        None => (None, param.path.as_str()),
    };
    let leaf = match leaf {
        "gamma" if is_norm(param) => "weight",
        "beta" if is_norm(param) => "bias",
        other => other,
    };
    parent.map_or_else(|| leaf.to_owned(), |parent| format!("{parent}.{leaf}"))
}

/// Whether PyTorch stores the transpose of a parameter: `Linear` weights are `[in, out]` in Burn, `[out, in]`
/// there.
pub fn is_transposed(param: &Param) -> bool {
    param.layer == "Linear" && param.shape.len() == 2
}

/// Weights under PyTorch's names and in its layout.
///
/// # Errors
/// When a parameter has no weight, or one of another shape.
pub fn to_torch(params: &[Param], weights: &Weights) -> Result<BTreeMap<String, Array>, Error> {
    let one = |param: &Param| {
        let array = weight(weights, &param.path, &param.shape)?;
        let array = if is_transposed(param) { array.transposed() } else { array.clone() };
        Ok((torch_name(param), array))
    };
    params.iter().map(one).collect()
}

/// Weights under Burn's paths and in its layout, from a file in PyTorch's: the inverse of [`to_torch`].
///
/// # Errors
/// When names are missing or left over (all are named), or a shape differs.
pub fn from_torch(params: &[Param], arrays: &BTreeMap<String, Array>) -> Result<Weights, Error> {
    let wanted: BTreeMap<String, &Param> = params.iter().map(|p| (torch_name(p), p)).collect();
    let missing: Vec<_> = wanted.keys().filter(|k| !arrays.contains_key(*k)).cloned().collect();
    let unexpected: Vec<_> = arrays.keys().filter(|k| !wanted.contains_key(*k)).cloned().collect();
    if !missing.is_empty() || !unexpected.is_empty() {
        return Err(Error::TensorNames { missing, unexpected });
    }
    let one = |(name, param): (&String, &&Param)| {
        let mut shape = param.shape.clone();
        if is_transposed(param) {
            shape.reverse();
        }
        let array = weight(arrays, name, &shape)?;
        let array = if is_transposed(param) { array.transposed() } else { array.clone() };
        Ok((param.path.clone(), array))
    };
    wanted.iter().map(one).collect()
}

/// The array under `path`, of this shape.
pub(crate) fn weight<'a>(
    weights: &'a BTreeMap<String, Array>,
    path: &str,
    shape: &[usize],
) -> Result<&'a Array, Error> {
    let array = weights
        .get(path)
        .ok_or_else(|| Error::MissingWeight { path: path.to_owned(), available: weights.len() })?;
    if array.shape() != shape {
        return Err(Error::WeightShape {
            path: path.to_owned(),
            expected: shape.to_vec(),
            found: array.shape().to_vec(),
        });
    }
    Ok(array)
}

/// Burn's normalizations call their scale and shift `gamma` and `beta`.
fn is_norm(param: &Param) -> bool {
    param.layer.ends_with("Norm")
}

/// A tensor's entry of the header.
#[derive(Serialize)]
struct Entry<'a> {
    dtype: &'static str,
    shape: &'a [usize],
    data_offsets: [usize; 2],
}

fn header(arrays: &BTreeMap<String, Array>, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    // By hand and not through `serde_json::Value`, whose maps may or may not be sorted, as some other crate
    // of the build decides.
    let mut entries = Vec::new();
    if !metadata.is_empty() {
        entries.push(format!("\"__metadata__\":{}", json(metadata)));
    }
    let mut start = 0;
    for (name, array) in arrays {
        let end = start + size_of_val(array.data());
        let entry = Entry { dtype: "F32", shape: array.shape(), data_offsets: [start, end] };
        entries.push(format!("{}:{}", json(name), json(&entry)));
        start = end;
    }
    let mut header = format!("{{{}}}", entries.join(",")).into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    header
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings, numbers and maps of strings are always JSON")
}

fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let pair = |b: &[u8; 2]| u16::from_le_bytes(*b);
    let data = match dtype {
        Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F64 => bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        Dtype::F16 => bytes.as_chunks::<2>().0.iter().map(|b| f16::from_bits(pair(b)).to_f32()).collect(),
        Dtype::BF16 => bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_bits(pair(b)).to_f32()).collect(),
        _ => return None,
    };
    Some(data)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn param(path: &str, layer: &str, shape: &[usize]) -> Param {
        Param { path: path.into(), layer: layer.into(), shape: shape.into(), buffer: false }
    }

    fn counting(shape: &[usize]) -> Array {
        let n = shape.iter().product::<usize>();
        Array::new(shape, (0..n).map(|i| i as f32).collect::<Vec<_>>()).unwrap()
    }

    fn model() -> (Vec<Param>, Weights) {
        let params = vec![
            param("body.0.conv.weight", "Conv2d", &[2, 1, 3, 3]),
            param("body.0.norm.gamma", "BatchNorm", &[2]),
            param("body.0.norm.beta", "BatchNorm", &[2]),
            param("body.0.norm.running_mean", "BatchNorm", &[2]),
            param("body.0.norm.running_var", "BatchNorm", &[2]),
            param("head.weight", "Linear", &[2, 3]),
            param("head.bias", "Linear", &[3]),
            param("gamma", "Custom", &[1]),
        ];
        let weights = params.iter().map(|p| (p.path.clone(), counting(&p.shape))).collect();
        (params, weights)
    }

    #[test]
    fn torch_has_its_names_and_layout_and_the_way_back_is_exact() {
        let (params, weights) = model();
        let torch = to_torch(&params, &weights).unwrap();
        let names: Vec<_> = torch.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "body.0.conv.weight",
                "body.0.norm.bias",
                "body.0.norm.running_mean",
                "body.0.norm.running_var",
                "body.0.norm.weight",
                "gamma",
                "head.bias",
                "head.weight"
            ]
        );
        assert_eq!(torch["head.weight"].shape(), [3, 2]);
        assert_eq!(torch["head.weight"].data(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(from_torch(&params, &torch).unwrap(), weights);
    }

    #[test]
    fn missing_and_unexpected_names_are_all_said() {
        let (params, weights) = model();
        let mut torch = to_torch(&params, &weights).unwrap();
        torch.remove("head.bias");
        let moved = torch.remove("head.weight").unwrap();
        torch.insert("classifier.weight".into(), moved);
        assert_eq!(
            from_torch(&params, &torch).unwrap_err().to_string(),
            "the tensors do not fit the model: missing head.bias, head.weight, \
             unexpected classifier.weight"
        );
    }

    #[test]
    fn another_shape_is_named_in_the_layout_of_the_file() {
        let (params, weights) = model();
        let mut torch = to_torch(&params, &weights).unwrap();
        torch.insert("head.weight".into(), counting(&[2, 3]));
        assert_eq!(
            from_torch(&params, &torch).unwrap_err().to_string(),
            "weight `head.weight`: expected shape [3, 2], found [2, 3]"
        );
    }

    #[test]
    fn the_file_reads_back_and_its_bytes_are_fixed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let arrays = BTreeMap::from([
            ("b".to_owned(), Array::new([2], [1.5, -2.0]).unwrap()),
            ("a".to_owned(), Array::new([1, 1], [3.0]).unwrap()),
            ("empty".to_owned(), Array::new([0, 4], []).unwrap()),
        ]);
        let metadata = BTreeMap::from([
            ("format".to_owned(), "pt".to_owned()),
            ("a \"quote\"".to_owned(), "ü".to_owned()),
        ]);
        write(&path, &arrays, &metadata).unwrap();
        let back = read(&path).unwrap();
        assert_eq!((&back.arrays, &back.metadata), (&arrays, &metadata));
        assert!(back.skipped.is_empty());

        let bytes = std::fs::read(&path).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header = std::str::from_utf8(&bytes[8..8 + length]).unwrap();
        assert_eq!(length % 8, 0);
        assert_eq!(
            header.trim_end(),
            r#"{"__metadata__":{"a \"quote\"":"ü","format":"pt"},"#.to_owned()
                + r#""a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},"#
                + r#""b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},"#
                + r#""empty":{"dtype":"F32","shape":[0,4],"data_offsets":[12,12]}}"#
        );
    }

    #[test]
    fn other_floats_become_f32_and_integers_are_skipped() {
        use safetensors::tensor::TensorView;
        let (half, brain) = (f16::from_f32(0.5).to_le_bytes(), bf16::from_f32(-3.0).to_le_bytes());
        let (double, count) = (0.1f64.to_le_bytes(), 7i64.to_le_bytes());
        let view = |dtype, bytes| TensorView::new(dtype, vec![1], bytes).unwrap();
        let tensors = [
            ("h", view(Dtype::F16, half.as_slice())),
            ("b", view(Dtype::BF16, brain.as_slice())),
            ("d", view(Dtype::F64, double.as_slice())),
            ("norm.num_batches_tracked", view(Dtype::I64, count.as_slice())),
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("torch.safetensors");
        std::fs::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
        let back = read(&path).unwrap();
        assert_eq!(back.arrays["h"].data(), [0.5]);
        assert_eq!(back.arrays["b"].data(), [-3.0]);
        assert_eq!(back.arrays["d"].data(), [0.1]);
        assert_eq!(back.skipped["norm.num_batches_tracked"], "I64");
    }

    #[test]
    fn a_truncated_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.safetensors");
        let mut bytes = encode(&model().1, &BTreeMap::new());
        bytes.truncate(bytes.len() - 1);
        std::fs::write(&path, bytes).unwrap();
        let error = read(&path).unwrap_err();
        assert!(matches!(&error, Error::Safetensors { .. }), "{error:?}");
        assert!(error.to_string().contains("cut.safetensors"));
    }
}
