//! Named tensors in safetensors files, in the precision that they have there: what commands read and write that compute
//! one thing on numbers from elsewhere.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::error::Error;

/// A tensor as a file holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Its sizes.
    pub shape: Vec<usize>,
    /// Its numbers, row-major.
    pub numbers: Numbers,
}

/// Numbers of one kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// Single precision; half precisions are read as this.
    F32(Vec<f32>),
    /// Double precision.
    F64(Vec<f64>),
    /// Whole numbers of any width; they are read as this and written in 64 bits.
    Int(Vec<i64>),
    /// Bytes, to write.
    U8(Vec<u8>),
    /// Signed bytes, to write.
    I8(Vec<i8>),
    /// Whole numbers of 16 bits, to write.
    I16(Vec<i16>),
    /// Whole numbers of 32 bits, to write.
    I32(Vec<i32>),
}

impl Stored {
    /// What it holds, in words.
    pub fn kind(&self) -> &'static str {
        match self.numbers {
            Numbers::F32(_) => "f32",
            Numbers::F64(_) => "f64",
            _ => "integers",
        }
    }

    /// All numbers as `f64`.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.numbers {
            Numbers::F32(x) => x.iter().map(|&x| f64::from(x)).collect(),
            Numbers::F64(x) => x.clone(),
            Numbers::Int(x) => x.iter().map(|&x| x as f64).collect(),
            Numbers::U8(x) => x.iter().map(|&x| f64::from(x)).collect(),
            Numbers::I8(x) => x.iter().map(|&x| f64::from(x)).collect(),
            Numbers::I16(x) => x.iter().map(|&x| f64::from(x)).collect(),
            Numbers::I32(x) => x.iter().map(|&x| f64::from(x)).collect(),
        }
    }
}

/// All tensors of a file, by name.
///
/// # Errors
///
/// A file that is not there, is no safetensors file or holds a type that is neither a float nor an integer.
pub fn read(path: &Path) -> Result<BTreeMap<String, Stored>, Error> {
    let broken = |reason: String| Error::TensorFile { path: path.into(), reason };
    let bytes = std::fs::read(path).map_err(|error| broken(error.to_string()))?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|error| broken(format!("it is no safetensors file: {error}")))?;
    let mut all = BTreeMap::new();
    for (name, view) in file.iter() {
        let numbers = numbers(&view).ok_or_else(|| {
            broken(format!("`{name}` has the type {:?}, expected floats or integers", view.dtype()))
        })?;
        all.insert(name.to_owned(), Stored { shape: view.shape().to_vec(), numbers });
    }
    Ok(all)
}

/// Writes tensors, in the order of their names within a type: equal input, equal bytes. An older file is replaced, at
/// once and as a whole.
///
/// # Errors
///
/// A file that cannot be written.
pub fn write(path: &Path, tensors: &BTreeMap<String, Stored>) -> Result<(), Error> {
    let bytes: Vec<(Dtype, Vec<u8>)> = tensors.values().map(|tensor| bytes(&tensor.numbers)).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, tensor), (dtype, bytes))| {
        let view = TensorView::new(*dtype, tensor.shape.clone(), bytes);
        (name, view.expect("as many numbers as the shape says"))
    });
    let file = safetensors::serialize(views, None).expect("names and sizes are in order");
    Ok(kd_deploy::write_atomically(path, &file)?)
}

fn numbers(view: &TensorView<'_>) -> Option<Numbers> {
    macro_rules! of {
        ($kind:ident, $to:ty, $from:ty) => {{
            let chunks = view.data().chunks_exact(size_of::<$from>());
            let number =
                |bytes: &[u8]| <$from>::from_le_bytes(bytes.try_into().expect("chunks of that size"));
            Numbers::$kind(chunks.map(|bytes| <$to>::from(number(bytes))).collect())
        }};
    }
    Some(match view.dtype() {
        Dtype::F64 => of!(F64, f64, f64),
        Dtype::F32 => of!(F32, f32, f32),
        Dtype::F16 => of!(F32, f32, half::f16),
        Dtype::BF16 => of!(F32, f32, half::bf16),
        Dtype::I64 => of!(Int, i64, i64),
        Dtype::I32 => of!(Int, i64, i32),
        Dtype::I16 => of!(Int, i64, i16),
        Dtype::I8 => of!(Int, i64, i8),
        Dtype::U32 => of!(Int, i64, u32),
        Dtype::U16 => of!(Int, i64, u16),
        Dtype::U8 | Dtype::BOOL => of!(Int, i64, u8),
        _ => return None,
    })
}

fn bytes(numbers: &Numbers) -> (Dtype, Vec<u8>) {
    match numbers {
        Numbers::F32(x) => (Dtype::F32, x.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Numbers::F64(x) => (Dtype::F64, x.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Numbers::Int(x) => (Dtype::I64, x.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Numbers::U8(x) => (Dtype::U8, x.clone()),
        Numbers::I8(x) => (Dtype::I8, x.iter().map(|&x| x as u8).collect()),
        Numbers::I16(x) => (Dtype::I16, x.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Numbers::I32(x) => (Dtype::I32, x.iter().flat_map(|x| x.to_le_bytes()).collect()),
    }
}
