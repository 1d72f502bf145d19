//! One encoded weight, read back from its tensors some rows at a time.

use std::collections::BTreeMap;

use quant_core::number::{Codes, Number, Scales};
use quant_core::{Encoded, Granularity, ScaleFormat};
use safetensors::Dtype;

use super::bits::{first_byte, unpack};
use super::coded::{Coded, codes, scales, shift};
use super::form::{Form, Layout, Packing, PartKind};
use super::shards::Shards;
use super::source::{Entry, Source, pieces};
use crate::error::Error;

/// An encoded weight.
pub(super) struct Weight {
    pub(super) form: Form,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Its shape where that is no matrix.
    pub(super) tensor: Option<Vec<usize>>,
    /// Names of its tensors.
    pub(super) parts: BTreeMap<PartKind, String>,
}

impl Weight {
    pub(super) fn shape(&self) -> Vec<usize> {
        self.tensor.clone().unwrap_or_else(|| vec![self.rows, self.columns])
    }

    fn part<'a>(&self, shards: &'a Shards, kind: PartKind) -> Result<Option<(&'a Source, &'a Entry)>, Error> {
        self.parts.get(&(kind)).map(|key| shards.get(key)).transpose()
    }

    pub(super) fn input_scale(&self, shards: &Shards) -> Result<Option<Vec<f32>>, Error> {
        match self.part(shards, PartKind::InputScale)? {
            Some((source, entry)) => Ok(Some(source.rows(&flat(entry), 0..1)?)),
            None => Ok(None),
        }
    }

    /// Hands on what is stored, some rows at a time.
    pub(super) fn each(
        &self,
        shards: &Shards,
        mut take: impl FnMut(Coded) -> Result<(), Error>,
    ) -> Result<(), Error> {
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
