//! Named tensors cast to a number format and back, so that anyone can compare the format with their own tool.

use std::collections::BTreeMap;

use quant_core::number::{self, Codes, Number, Numerics, Scales};

use crate::error::Error;
use crate::tensors::{Numbers, Stored};

/// A format and a profile, both of which exist and go together.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    number: Number,
    numerics: &'static Numerics,
}

impl Target {
    /// The format and the profile of these names; without one, the format's home.
    ///
    /// # Errors
    ///
    /// [`Error::CastFormat`] for names that do not exist, and for a profile that does not define the format.
    pub fn new(format: &str, numerics: Option<&str>) -> Result<Self, Error> {
        let number = Number::named(format).map_err(Error::CastFormat)?;
        let numerics = match numerics {
            Some(name) => Numerics::named(name).map_err(Error::CastFormat)?,
            None => number.home(),
        };
        numerics.check(number).map_err(Error::CastFormat)?;
        Ok(Self { number, numerics })
    }

    /// Name of the format.
    pub fn format(&self) -> &'static str {
        self.number.name()
    }

    /// Name of the profile.
    pub fn numerics(&self) -> &'static str {
        self.numerics.name
    }
}

/// Casts every tensor `T` to `T.codes` and `T.decoded`, for formats with scales also `T.scales`, and `T.global_scale`
/// where there is one.
///
/// Codes are `u8`, `i8` for signed integers, signs and powers of two, `i16` bit patterns for 16 bits and `i32` ones for
/// tf32; of GGUF formats they are the blocks of a file as `u8`. Scales are `u8` codes or `f32`. Values are `f32` in the
/// tensor's shape. Double precision is rounded once where a format has no scale, and to single precision first where
/// it has.
///
/// # Errors
///
/// [`Error::LossTensor`] for a tensor of integers, [`Error::CastTensor`] for a number that the format has no code for.
pub fn cast(tensors: &BTreeMap<String, Stored>, target: Target) -> Result<BTreeMap<String, Stored>, Error> {
    let scaled = !matches!(target.number, Number::Float(_) | Number::Int(_));
    let mut all = BTreeMap::new();
    for (name, tensor) in tensors {
        let narrowed: Vec<f32>;
        let values = match &tensor.numbers {
            Numbers::F32(values) => values,
            Numbers::F64(values) if scaled => {
                narrowed = values.iter().map(|&x| x as f32).collect();
                &narrowed
            }
            Numbers::F64(values) => {
                narrowed = number::from_f64(values);
                &narrowed
            }
            _ => {
                let found = format!("{} of shape {:?}", tensor.kind(), tensor.shape);
                return Err(Error::LossTensor { name: name.clone(), expected: "floats".into(), found });
            }
        };
        let done = number::cast(values, &tensor.shape, target.number, Some(target.numerics))
            .map_err(|source| Error::CastTensor { name: name.clone(), source })?;
        let mut insert = |part: &str, shape: Vec<usize>, numbers: Numbers| {
            all.insert(format!("{name}.{part}"), Stored { shape, numbers });
        };
        let codes = match done.codes {
            Codes::U8(codes) => Numbers::U8(codes),
            Codes::I8(codes) => Numbers::I8(codes),
            Codes::I16(codes) => Numbers::I16(codes),
            Codes::I32(codes) => Numbers::I32(codes),
        };
        insert("codes", done.shape, codes);
        insert("decoded", tensor.shape.clone(), Numbers::F32(done.decoded));
        if let Some((scales, shape)) = done.scales {
            let scales = match scales {
                Scales::Codes(codes) => Numbers::U8(codes),
                Scales::F32(scales) => Numbers::F32(scales),
            };
            insert("scales", shape, scales);
        }
        if let Some(global) = done.global_scale {
            insert("global_scale", vec![1], Numbers::F32(vec![global]));
        }
    }
    Ok(all)
}
