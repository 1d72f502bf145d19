//! A quantized checkpoint as floats again, under the original names.
//!
//! Weights are found by `kd_quantization` in `config.json`, else, in folders that compressed-tensors wrote, by
//! `quantization_config` and the types of tensors. Decoded weights are f32, whatever they were before, so that nothing
//! is rounded a second time; all other tensors stay as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quant_core::number::{Codes, Number, Scales};
use quant_core::{Encoded, Granularity, ScaleFormat};
use safetensors::Dtype;

use super::bits::{first_byte, unpack};
use super::coded::{Coded, codes, scales, shift};
use super::config::{Config, module};
use super::form::{Form, Layout, Packing, PartKind};
use super::sink::Sink;
use super::source::{Entry, Source, pieces};
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
        tensors.insert(name.clone(), (Dtype::F32, vec![weight.rows, weight.columns]));
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

/// All safetensors files of a folder.
struct Shards {
    folder: PathBuf,
    sources: Vec<Source>,
    /// Which file, and where in it.
    tensors: BTreeMap<String, (usize, Entry)>,
    metadata: BTreeMap<String, String>,
}

/// An encoded weight.
struct Weight {
    form: Form,
    rows: usize,
    columns: usize,
    /// Names of its tensors.
    parts: BTreeMap<PartKind, String>,
}

impl Shards {
    fn open(folder: &Path) -> Result<Self, Error> {
        let wrong = |reason: String| Error::QuantizedFolder { path: folder.into(), reason };
        let entries = std::fs::read_dir(folder).map_err(|error| wrong(error.to_string()))?;
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
        paths.sort();
        if paths.is_empty() {
            return Err(wrong(
                "expected `config.json` and `*.safetensors`, found no safetensors file".into(),
            ));
        }
        let (mut sources, mut tensors, mut metadata) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        for path in paths {
            let source = Source::open(&path)?;
            for (name, entry) in source.tensors() {
                if tensors.insert(name.clone(), (sources.len(), entry.clone())).is_some() {
                    return Err(wrong(format!("`{name}` is in two files")));
                }
            }
            metadata.extend(source.metadata().clone());
            sources.push(source);
        }
        Ok(Self { folder: folder.into(), sources, tensors, metadata })
    }

    fn wrong(&self, reason: &str) -> Error {
        Error::QuantizedFolder { path: self.folder.clone(), reason: reason.into() }
    }

    fn get(&self, name: &str) -> Result<(&Source, &Entry), Error> {
        match self.tensors.get(name) {
            Some((source, entry)) => Ok((&self.sources[*source], entry)),
            None => Err(self.wrong(&format!("`{name}` is not there"))),
        }
    }

    /// All encoded weights.
    fn weights(&self, config: &Config) -> Result<BTreeMap<String, Weight>, Error> {
        let mut weights = BTreeMap::new();
        for (name, stored) in config.kd_quantization.iter().flat_map(|own| &own.tensors) {
            let form = Form {
                scheme: stored.scheme,
                layout: stored.layout,
                float_zero: stored.float_zero,
                input_scale: stored.input_scale,
            };
            let [rows, columns] = stored.shape;
            let mut parts = BTreeMap::new();
            for part in form.parts(rows, columns) {
                let key = form.part_name(name, part.kind);
                let (_, entry) = self.get(&key)?;
                if (entry.dtype, &entry.shape) != (part.dtype, &part.shape) {
                    let (found, shape) = (entry.dtype, &entry.shape);
                    let reason = format!(
                        "expected `{key}` of type {:?} and shape {:?}, found {found:?} of shape {shape:?}",
                        part.dtype, part.shape
                    );
                    return Err(self.wrong(&reason));
                }
                parts.insert(part.kind, key);
            }
            weights.insert(name.clone(), Weight { form, rows, columns, parts });
        }
        if let Some(package) = &config.quantization_config {
            let names = self.tensors.keys().map(|key| key.strip_suffix("_packed").unwrap_or(key));
            for name in names.filter(|name| module(name).is_some()) {
                if weights.contains_key(name) {
                    continue;
                }
                let Some(arguments) = module(name).and_then(|layer| package.arguments(layer)) else {
                    continue;
                };
                if let Some(weight) = self.foreign(name, arguments)? {
                    weights.insert(name.to_owned(), weight);
                }
            }
        }
        Ok(weights)
    }

    /// A weight that compressed-tensors wrote; none where it has no scale, as it is not encoded then.
    fn foreign(&self, name: &str, arguments: &super::config::Arguments) -> Result<Option<Weight>, Error> {
        let part = |suffix: &str| {
            let key = format!("{name}{suffix}");
            self.tensors.get(&key).map(|(_, entry)| (key, entry))
        };
        let Some((scale_key, scale)) = part("_scale") else { return Ok(None) };
        if part("_g_idx").is_some() {
            return Err(self.wrong(&format!("`{name}_g_idx` reorders columns, which is not known here")));
        }
        let (packed, plain) = (part("_packed"), part(""));
        let Some((codes_key, entry)) = packed.clone().or(plain) else { return Ok(None) };
        let global = part("_global_scale");
        let scheme = arguments.scheme(global.is_some(), scale.dtype == Dtype::U8);
        let scheme = scheme.map_err(|reason| self.wrong(&format!("`{name}`: {reason}")))?;
        let layout = match (Layout::of(&scheme), packed.is_some()) {
            (Layout::PackQuantized, false) => Layout::NaiveQuantized,
            (layout, _) => layout,
        };
        let form = Form { layout, ..Form::new(scheme) };
        let sizes = match part("_shape") {
            Some((key, shape)) => self.shape(&key, shape)?,
            None => entry.shape.clone(),
        };
        let &[rows, mut columns] = sizes.as_slice() else {
            return Err(self.wrong(&format!("expected `{codes_key}` of two axes, found {:?}", entry.shape)));
        };
        if part("_shape").is_none() && matches!(layout, Layout::NvFp4 | Layout::MxFp4 | Layout::MxFp6) {
            columns = columns * 8 / if layout == Layout::MxFp6 { 6 } else { 4 };
        }
        let mut parts =
            BTreeMap::from([(PartKind::Codes, codes_key.clone()), (PartKind::Scale, scale_key.clone())]);
        let others = [
            (PartKind::ZeroPoint, "_zero_point"),
            (PartKind::GlobalScale, "_global_scale"),
            (PartKind::Shape, "_shape"),
        ];
        for (kind, suffix) in others {
            parts.extend(part(suffix).map(|(key, _)| (kind, key)));
        }
        // Their own types may differ from ours; sizes must not.
        for expected in form.parts(rows, columns) {
            let key = parts.get(&(expected.kind));
            let found = match key {
                Some(key) => self.get(key)?.1.shape.iter().product::<usize>(),
                None => {
                    return Err(
                        self.wrong(&format!("`{}` is not there", form.part_name(name, expected.kind)))
                    );
                }
            };
            let count: usize = expected.shape.iter().product();
            if found != count {
                let key = form.part_name(name, expected.kind);
                return Err(self.wrong(&format!("expected {count} numbers in `{key}`, found {found}")));
            }
        }
        Ok(Some(Weight { form, rows, columns, parts }))
    }

    fn shape(&self, key: &str, entry: &Entry) -> Result<Vec<usize>, Error> {
        let bytes = self.get(key)?.0.all(entry)?;
        let sizes = match entry.dtype {
            Dtype::I32 => {
                bytes.as_chunks::<4>().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect()
            }
            _ => bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect::<Vec<_>>(),
        };
        let size = |size: &i64| usize::try_from(*size).ok().filter(|size| *size > 0 && *size < 1 << 40);
        match sizes.iter().map(size).collect::<Option<Vec<_>>>() {
            Some(sizes) => Ok(sizes),
            None => Err(self.wrong(&format!("expected sizes in `{key}`, found {sizes:?}"))),
        }
    }
}

impl Weight {
    fn part<'a>(&self, shards: &'a Shards, kind: PartKind) -> Result<Option<(&'a Source, &'a Entry)>, Error> {
        self.parts.get(&(kind)).map(|key| shards.get(key)).transpose()
    }

    fn input_scale(&self, shards: &Shards) -> Result<Option<Vec<f32>>, Error> {
        match self.part(shards, PartKind::InputScale)? {
            Some((source, entry)) => Ok(Some(source.rows(&flat(entry), 0..1)?)),
            None => Ok(None),
        }
    }

    /// Hands on what is stored, some rows at a time.
    fn each(&self, shards: &Shards, mut take: impl FnMut(Coded) -> Result<(), Error>) -> Result<(), Error> {
        let (form, columns) = (&self.form, self.columns);
        let scheme = &form.scheme;
        let Some((source, entry)) = self.part(shards, PartKind::Codes)? else { return Ok(()) };
        let scale = self.scales(shards)?;
        let (zero_points, zeros) = self.zeros(shards)?;
        let global_scale = match self.part(shards, PartKind::GlobalScale)? {
            Some((source, entry)) => source.rows(&flat(entry), 0..1)?.first().copied(),
            None => None,
        };
        let height = match scheme.granularity() {
            Granularity::Block(height, _) => height,
            _ => 1,
        };
        let cells = form.cells(self.rows, columns);
        let per_row = if cells.len() == 2 { cells[1] } else { 0 };
        for piece in pieces(self.rows, columns, height) {
            // Scales of these rows; of the whole tensor, always the same.
            let cells = match per_row {
                0 => 0..usize::MAX,
                _ => piece.start / height * per_row..piece.end.div_ceil(height) * per_row,
            };
            let encoded = Encoded {
                scheme: *scheme,
                rows: piece.len(),
                columns,
                codes: self.codes((source, entry), &piece)?,
                scales: match &scale {
                    Scales::Codes(codes) => Scales::Codes(cut(codes, &cells)),
                    Scales::F32(scales) => Scales::F32(cut(scales, &cells)),
                },
                zero_points: cut(&zero_points, &cells),
                global_scale,
            };
            take(Coded { encoded, zeros: zeros.as_ref().map(|zeros| cut(zeros, &cells)) })?;
        }
        Ok(())
    }

    /// Codes of some rows.
    fn codes(
        &self,
        (source, entry): (&Source, &Entry),
        rows: &std::ops::Range<usize>,
    ) -> Result<Codes, Error> {
        let (columns, count) = (self.columns, rows.len() * self.columns);
        let read = |at: usize, len: usize| {
            let len = len.min((entry.bytes() as usize).saturating_sub(at));
            let mut bytes = vec![0; len];
            source.read(entry, at as u64, &mut bytes)?;
            Ok::<_, Error>(bytes)
        };
        let fields: Vec<u32> = match self.form.packing() {
            Packing::Plain => {
                let size = entry.dtype.bitsize() / 8;
                let bytes = read(rows.start * columns * size, count * size)?;
                match size {
                    1 => {
                        // int-quantized, which has a byte for any integer: signs are extended beyond the format's.
                        bytes.iter().map(|&byte| u32::from(byte)).collect()
                    }
                    _ => bytes.as_chunks::<2>().0.iter().map(|b| u32::from(u16::from_le_bytes(*b))).collect(),
                }
            }
            Packing::Rows(width, unit) => {
                let stride = width.bytes(columns).next_multiple_of(unit);
                let bytes = read(rows.start * stride, rows.len() * stride)?;
                bytes.chunks(stride.max(1)).flat_map(|row| unpack(row, width, 0, columns)).collect()
            }
            Packing::Stream(width) => {
                let first = rows.start * columns;
                let (at, end) = (first_byte(width, first), width.bytes(first + count));
                unpack(&read(at, end - at)?, width, first, count)
            }
            Packing::Blocks { len, bytes } => {
                let stride = columns.div_ceil(len) * bytes;
                read(rows.start * stride, rows.len() * stride)?.into_iter().map(u32::from).collect()
            }
        };
        Ok(codes(&self.form, &fields))
    }

    fn scales(&self, shards: &Shards) -> Result<Scales, Error> {
        let Some((source, entry)) = self.part(shards, PartKind::Scale)? else {
            return Ok(Scales::F32(Vec::new()));
        };
        let bytes = source.all(entry)?;
        match (self.form.scheme.number(), entry.dtype) {
            (Number::Block(_), _) => Ok(Scales::Codes(bytes)),
            (_, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64 | Dtype::U8) => {
                Ok(Scales::F32(scales(&bytes, entry.dtype, self.scale_format())))
            }
            (_, dtype) => Err(shards.wrong(&format!("scales of type {dtype:?} are not known"))),
        }
    }

    fn scale_format(&self) -> ScaleFormat {
        self.form.scheme.scale()
    }

    /// Zero points, as codes or as floats.
    fn zeros(&self, shards: &Shards) -> Result<(Vec<i32>, Option<Vec<f32>>), Error> {
        let Some((source, entry)) = self.part(shards, PartKind::ZeroPoint)? else {
            return Ok((Vec::new(), None));
        };
        let (Some(int), true) = (self.form.scheme.int(), self.form.affine()) else {
            return Ok((Vec::new(), None));
        };
        let bytes = source.all(entry)?;
        let count: usize = self.form.cells(self.rows, self.columns).iter().product();
        let shift = shift(&self.form.scheme);
        let points = match (entry.dtype, self.form.layout) {
            (Dtype::F32, _) if self.form.float_zero => {
                return Ok((Vec::new(), Some(scales(&bytes, Dtype::F32, ScaleFormat::F32))));
            }
            (Dtype::I32, Layout::PackQuantized) => {
                let words: Vec<u32> =
                    bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
                let (groups, bits) = (count / self.rows, int.bits as usize);
                let point = |index: usize| {
                    let (row, group) = (index / groups, index % groups);
                    let (word, offset) = (row * bits / 32, row * bits % 32);
                    let low = u64::from(words[word * groups + group]);
                    let high = words.get((word + 1) * groups + group).map_or(0, |&word| u64::from(word));
                    let field = ((high << 32 | low) >> offset) & ((1 << bits) - 1);
                    field as i32 - (1 << (bits - 1)) + shift
                };
                (0..count).map(point).collect()
            }
            (Dtype::I8, _) => bytes.iter().map(|&byte| i32::from(byte as i8) + shift).collect(),
            (Dtype::I16, _) => {
                let points = bytes.as_chunks::<2>().0.iter().map(|b| i16::from_le_bytes(*b));
                points.map(|point| i32::from(point) + shift).collect()
            }
            (Dtype::U8, Layout::Own) => {
                let fields = unpack(&bytes, self.form.width(), 0, count);
                let extend = |field: u32| ((field << (32 - int.bits)) as i32) >> (32 - int.bits);
                fields.iter().map(|&field| if int.signed { extend(field) } else { field as i32 }).collect()
            }
            (dtype, _) => return Err(shards.wrong(&format!("zero points of type {dtype:?} are not known"))),
        };
        Ok((points, None))
    }
}

/// A vector as a matrix of one row.
fn flat(entry: &Entry) -> Entry {
    Entry { shape: vec![1, entry.shape.iter().product()], ..entry.clone() }
}

/// Some of a list, as far as it goes.
fn cut<T: Copy>(all: &[T], range: &std::ops::Range<usize>) -> Vec<T> {
    let end = range.end.min(all.len());
    all[range.start.min(end)..end].to_vec()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
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
            (name.clone(), Planned::Coded { form, rows, columns, dtype: Dtype::F32 })
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
