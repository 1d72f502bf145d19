//! The folder of a quantized checkpoint: `config.json`, `model.safetensors` and `quantize.json`, tensor by tensor.
//!
//! Whoever quantizes, from a file or while walking a model, says first what becomes of each tensor and then hands over
//! rows in order, one tensor after the other or several side by side. The folder has a temporary name until it is whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quant_core::number::Scales;
use safetensors::Dtype;
use serde_json::{Map, Value};

use super::bits::Packer;
use super::coded::{Coded, fields, plain, raw, scale_bytes, shift};
use super::config::Config;
use super::form::{Form, Layout, Packing, PartKind};
use super::report::{Report, Row, Sums, bpw};
use super::sink::Sink;
use crate::error::Error;
use crate::run_dir::io;

/// File names of the folder.
pub mod files {
    /// How weights are stored.
    pub const CONFIG: &str = "config.json";
    /// All tensors.
    pub const TENSORS: &str = "model.safetensors";
    /// What quantization did to every weight.
    pub const REPORT: &str = "quantize.json";
}

/// What becomes of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Planned {
    /// It stays as it is.
    Kept {
        /// Type.
        dtype: Dtype,
        /// Sizes.
        shape: Vec<usize>,
        /// Whether it counts as a weight, in `quantize.json`.
        counted: bool,
    },
    /// It is encoded.
    Coded {
        /// How.
        form: Form,
        /// Outputs.
        rows: usize,
        /// Inputs; of a convolution, input channels / groups · elements of the kernel.
        columns: usize,
        /// Its shape where that is not `[rows, columns]`; the first axis is the rows.
        tensor: Option<Vec<usize>>,
        /// The type that it had.
        dtype: Dtype,
    },
}

/// A folder that is being written; what is not finished is removed.
#[derive(Debug)]
pub struct Writer {
    out: PathBuf,
    /// Where files go meanwhile.
    folder: PathBuf,
    sink: Option<Sink>,
    plan: BTreeMap<String, Planned>,
    open: BTreeMap<String, Open>,
    /// What else stands in `config.json`.
    model: Map<String, Value>,
    finished: bool,
}

/// A weight, some rows of which are written.
#[derive(Debug)]
struct Open {
    packer: Packer,
    /// Integer zero points: words down the rows, or a stream.
    zero_words: Vec<u32>,
    zero_packer: Packer,
    row: usize,
    sums: Sums,
    input_scale: Option<Vec<f32>>,
}

impl Writer {
    /// Begins a folder at `out`, which must not be there, or be empty.
    ///
    /// # Errors
    ///
    /// [`Error::FileExists`], [`Error::Io`], and [`Error::QuantizedFolder`] where two tensors would have one name.
    pub fn create(
        out: &Path,
        plan: BTreeMap<String, Planned>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        check(out)?;
        let mut tensors = BTreeMap::new();
        for (name, planned) in &plan {
            let mut insert =
                |name: String, dtype, shape: Vec<usize>| match tensors.insert(name.clone(), (dtype, shape)) {
                    None => Ok(()),
                    Some(_) => Err(Error::QuantizedFolder {
                        path: out.into(),
                        reason: format!("two tensors would be named `{name}`; keep one with `--ignore`"),
                    }),
                };
            match planned {
                Planned::Kept { dtype, shape, .. } => insert(name.clone(), *dtype, shape.clone())?,
                Planned::Coded { form, rows, columns, tensor, .. } => {
                    for part in form.shaped(*rows, *columns, tensor.as_deref()) {
                        insert(form.part_name(name, part.kind), part.dtype, part.shape)?;
                    }
                }
            }
        }
        let mut metadata = metadata.clone();
        metadata.entry("format".into()).or_insert_with(|| "pt".into());
        let mut name = std::ffi::OsString::from(".");
        name.push(out.file_name().unwrap_or_else(|| "quantized".as_ref()));
        name.push(format!(".{}.tmp", std::process::id()));
        let folder = out.with_file_name(name);
        std::fs::create_dir_all(&folder).map_err(|source| io("create", &folder, source))?;
        let mut writer = Self {
            out: out.into(),
            folder,
            sink: None,
            plan,
            open: BTreeMap::new(),
            model: Map::new(),
            finished: false,
        };
        writer.sink = Some(Sink::create(&writer.folder.join(files::TENSORS), &tensors, &metadata)?);
        Ok(writer)
    }

    /// Adds the description of a model, the `config.json` that it had, to ours.
    #[must_use]
    pub fn with_model(mut self, model: Map<String, Value>) -> Self {
        self.model = model;
        self
    }

    /// Writes the next bytes of a tensor that stays as it is.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::QuantizedFolder`] for more than was planned.
    pub fn keep(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.append(name, bytes)
    }

    /// Says what inputs of a weight are divided by, before its first rows.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::QuantizedFolder`] for what was not planned.
    pub fn input_scale(&mut self, name: &str, scale: &[f32]) -> Result<(), Error> {
        let (form, ..) = self.coded(name)?;
        let bytes: Vec<u8> = scale.iter().flat_map(|scale| scale.to_le_bytes()).collect();
        self.append(&form.part_name(name, PartKind::InputScale), &bytes)?;
        self.opened(name)?.input_scale = Some(scale.to_vec());
        Ok(())
    }

    /// Writes the next rows of a weight; `values` is what they were, for the report.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::QuantizedFolder`] for more than was planned.
    pub fn rows(&mut self, name: &str, rows: &Coded, values: &[f32]) -> Result<(), Error> {
        let (form, all_rows, columns) = self.coded(name)?;
        let open = self.opened(name)?;
        let first = open.row == 0;
        open.row += rows.encoded.rows;
        let last = open.row >= all_rows;
        open.sums.add(values, &rows.decode(open.input_scale.as_deref()));

        let mut bytes = Vec::new();
        let packing = form.packing();
        let fields = fields(&form, &rows.encoded.codes);
        match packing {
            _ if raw(packing) => bytes.extend(fields.iter().map(|&field| field as u8)),
            Packing::Plain => {
                let bits = form.parts(all_rows, columns)[0].dtype.bitsize();
                bytes = plain(&fields, bits);
            }
            Packing::Rows(_, unit) => {
                for row in fields.chunks(columns.max(1)) {
                    open.packer.push(row.iter().copied(), &mut bytes);
                    open.packer.end(unit, &mut bytes);
                }
            }
            _ => {
                open.packer.push(fields.iter().copied(), &mut bytes);
                if last {
                    open.packer.end(1, &mut bytes);
                }
            }
        }
        let mut parts = vec![(PartKind::Codes, bytes)];

        // One scale of the tensor comes with every piece.
        let shared = form.cells(all_rows, columns) == [1];
        if first || !shared {
            let none = matches!(&rows.encoded.scales, Scales::F32(scales) if scales.is_empty());
            if !none {
                parts.push((PartKind::Scale, scale_bytes(&rows.encoded.scales, form.scheme.scale())));
            }
            if form.affine() {
                parts.push((PartKind::ZeroPoint, open.zero_points(&form, rows, all_rows, last || shared)));
            }
        }
        if first && form.global() {
            let scale = rows.encoded.global_scale.unwrap_or(1.0);
            parts.push((PartKind::GlobalScale, scale.to_le_bytes().to_vec()));
        }
        if first && form.layout == Layout::PackQuantized {
            let shape = [all_rows as i64, columns as i64];
            parts.push((PartKind::Shape, shape.iter().flat_map(|size| size.to_le_bytes()).collect()));
        }
        for (kind, bytes) in parts {
            self.append(&form.part_name(name, kind), &bytes)?;
        }
        Ok(())
    }

    /// Writes `config.json` and `quantize.json`, and gives the folder its name.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::QuantizedFolder`] for tensors that are not whole.
    pub fn finish(mut self) -> Result<Report, Error> {
        if let Some(sink) = self.sink.take() {
            sink.finish()?;
        }
        let report = self.report();
        let config = Config::of_plan(&self.plan).beside(std::mem::take(&mut self.model));
        let config = crate::run_dir::json(&config);
        kd_deploy::write_atomically(&self.folder.join(files::CONFIG), &config)?;
        kd_deploy::write_atomically(&self.folder.join(files::REPORT), &crate::run_dir::json(&report.rows))?;
        check(&self.out)?;
        let failed = |source| io("write", &self.out, source);
        if self.out.is_dir() {
            std::fs::remove_dir(&self.out).map_err(failed)?;
        }
        std::fs::rename(&self.folder, &self.out).map_err(failed)?;
        self.finished = true;
        Ok(report)
    }

    fn report(&self) -> Report {
        let mut report =
            Report { rows: Vec::new(), schemes: Vec::new(), bytes: 0, weights: 0, notes: Vec::new() };
        for (name, planned) in &self.plan {
            let (scheme, bytes, weights) = match planned {
                Planned::Kept { counted: false, .. } => continue,
                Planned::Kept { dtype, shape, .. } => {
                    let weights = shape.iter().product::<usize>();
                    (None, (weights * dtype.bitsize()).div_ceil(8) as u64, weights as u64)
                }
                Planned::Coded { form, rows, columns, tensor, .. } => {
                    if let Some(reason) = form.unloadable(name, *columns, tensor.as_deref()) {
                        report.notes.push(format!("compressed-tensors cannot load `{name}`: {reason}"));
                    }
                    let scheme = form.scheme.to_string();
                    (Some(scheme), form.bytes(*rows, *columns), (rows * columns) as u64)
                }
            };
            let sqnr = self.open.get(name).and_then(|open| open.sums.sqnr());
            report.rows.push(Row { tensor: name.clone(), sqnr, bpw: bpw(bytes, weights), bytes });
            report.schemes.push(scheme);
            report.bytes += bytes;
            report.weights += weights;
        }
        report
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.sink.as_mut().map_or(Ok(()), |sink| sink.append(name, bytes))
    }

    fn coded(&self, name: &str) -> Result<(Form, usize, usize), Error> {
        match self.plan.get(name) {
            Some(Planned::Coded { form, rows, columns, .. }) => Ok((*form, *rows, *columns)),
            _ => Err(self.unplanned(name)),
        }
    }

    fn opened(&mut self, name: &str) -> Result<&mut Open, Error> {
        let (form, ..) = self.coded(name)?;
        let fresh = || Open {
            packer: Packer::new(form.width()),
            zero_words: Vec::new(),
            zero_packer: Packer::new(form.width()),
            row: 0,
            sums: Sums::default(),
            input_scale: None,
        };
        Ok(self.open.entry(name.into()).or_insert_with(fresh))
    }

    fn unplanned(&self, name: &str) -> Error {
        Error::QuantizedFolder { path: self.out.clone(), reason: format!("`{name}` was not to be quantized") }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            self.sink = None;
            // The first failure is the one to report.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

impl Open {
    /// Bytes of zero points of the next rows; of those that are packed down the rows, all with the last.
    fn zero_points(&mut self, form: &Form, rows: &Coded, all_rows: usize, last: bool) -> Vec<u8> {
        if let Some(zeros) = &rows.zeros {
            return zeros.iter().flat_map(|zero| zero.to_le_bytes()).collect();
        }
        let Some(int) = form.scheme.int() else { return Vec::new() };
        let points = &rows.encoded.zero_points;
        let shift = shift(&form.scheme);
        match form.layout {
            Layout::PackQuantized if form.packs_zero_points() => {
                let groups = points.len() / rows.encoded.rows.max(1);
                let bits = int.bits as usize;
                self.zero_words.resize((all_rows * bits).div_ceil(32) * groups, 0);
                let first = self.row - rows.encoded.rows;
                for (index, point) in points.iter().enumerate() {
                    let (row, group) = (first + index / groups, index % groups);
                    let field = (point - shift + (1 << (bits - 1))) as u64;
                    let (word, offset) = (row * bits / 32, row * bits % 32);
                    let wide = field << offset;
                    self.zero_words[word * groups + group] |= wide as u32;
                    if wide >> 32 != 0 {
                        self.zero_words[(word + 1) * groups + group] |= (wide >> 32) as u32;
                    }
                }
                match last {
                    true => self.zero_words.iter().flat_map(|word| word.to_le_bytes()).collect(),
                    false => Vec::new(),
                }
            }
            Layout::PackQuantized => points.iter().map(|point| (point - shift) as u8).collect(),
            Layout::NaiveQuantized => {
                points.iter().flat_map(|point| ((point - shift) as i16).to_le_bytes()).collect()
            }
            _ => {
                let mut bytes = Vec::new();
                let mask = (1_u32 << int.bits) - 1;
                self.zero_packer.push(points.iter().map(|&point| point as u32 & mask), &mut bytes);
                if last {
                    self.zero_packer.end(1, &mut bytes);
                }
                bytes
            }
        }
    }
}

/// An error unless nothing is at `out`, or an empty folder.
pub fn check(out: &Path) -> Result<(), Error> {
    let filled = std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    match filled || out.is_file() {
        true => Err(Error::FileExists { path: out.into() }),
        false => Ok(()),
    }
}
