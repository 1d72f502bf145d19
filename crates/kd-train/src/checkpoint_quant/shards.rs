//! What a folder of quantized weights holds: whose tensors are whose, by our description or compressed-tensors'.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::Dtype;

use super::config::{Config, module};
use super::form::{Form, Layout, PartKind};
use super::source::{Entry, Source};
use super::weight::Weight;
use crate::error::Error;

/// All safetensors files of a folder.
pub(super) struct Shards {
    pub(super) folder: PathBuf,
    pub(super) sources: Vec<Source>,
    /// Which file, and where in it.
    pub(super) tensors: BTreeMap<String, (usize, Entry)>,
    pub(super) metadata: BTreeMap<String, String>,
}

impl Shards {
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
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

    pub(super) fn wrong(&self, reason: &str) -> Error {
        Error::QuantizedFolder { path: self.folder.clone(), reason: reason.into() }
    }

    pub(super) fn get(&self, name: &str) -> Result<(&Source, &Entry), Error> {
        match self.tensors.get(name) {
            Some((source, entry)) => Ok((&self.sources[*source], entry)),
            None => Err(self.wrong(&format!("`{name}` is not there"))),
        }
    }

    /// All encoded weights.
    pub(super) fn weights(&self, config: &Config) -> Result<BTreeMap<String, Weight>, Error> {
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
            for part in form.shaped(rows, columns, stored.tensor_shape.as_deref()) {
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
            let tensor = stored.tensor_shape.clone();
            if tensor.as_ref().is_some_and(|shape| shape.iter().product::<usize>() != rows * columns) {
                let reason = format!("expected `{name}` of {rows} · {columns} numbers, found {tensor:?}");
                return Err(self.wrong(&reason));
            }
            weights.insert(name.clone(), Weight { form, rows, columns, tensor, parts });
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
        Ok(Some(Weight { form, rows, columns, tensor: None, parts }))
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
