//! How codes of one weight are found: the algorithms, each streaming as far as it can.

use std::str::FromStr;

use quant_core::ptq::{Awq, Gptq, Grid, Hessian, Hqq, HqqSearch, Matrix, Quantized, awq, gptq, rtn};
use quant_core::{Encoder, Granularity, ScaleFormat, Scheme, Symmetry};

use super::coded::Coded;
use super::form::{Form, Layout};
use super::inputs::Inputs;
use super::source::{Entry, Source, pieces};
use super::writer::Writer;
use crate::error::Error;
use crate::problem::nearest;

/// What finds codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Round to nearest.
    Rtn,
    /// HQQ: a better zero point, without data.
    Hqq,
    /// GPTQ: columns make up for each other's errors on given inputs.
    Gptq,
    /// AWQ: clipped ranges and scaled columns, by given inputs.
    Awq,
}

impl Method {
    /// Every method with its name.
    pub const NAMES: [(&'static str, Self); 4] =
        [("rtn", Self::Rtn), ("hqq", Self::Hqq), ("gptq", Self::Gptq), ("awq", Self::Awq)];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, method)| *method == self).map_or("?", |(name, _)| name)
    }

    /// Whether it needs to know what a layer is given.
    pub fn needs_inputs(self) -> bool {
        matches!(self, Self::Gptq | Self::Awq)
    }

    /// The form of a scheme under this method. Where the method has more to say than compressed-tensors can hold, `own`
    /// asks for our layout.
    ///
    /// # Errors
    ///
    /// [`Error::QuantizeOption`] for a scheme that the method cannot do.
    pub fn form(self, scheme: Scheme, own: bool) -> Result<Form, Error> {
        let wrong = |expected: &str| {
            let found = format!("`{scheme}`");
            let option = format!("--weights with --method {}", self.name());
            Err(Error::QuantizeOption { option, expected: expected.into(), found })
        };
        if scheme.granularity() == Granularity::Token {
            let (option, expected) = ("--weights".into(), "`tensor`, `channel`, `group=N` or `block=RxC`");
            let found = "`token`, which is for activations".into();
            return Err(Error::QuantizeOption { option, expected: expected.into(), found });
        }
        if self != Self::Rtn {
            let grid = matches!(scheme.granularity(), Granularity::Channel | Granularity::Group(_));
            if scheme.int().is_none() || !grid || scheme.scale() != ScaleFormat::F32 {
                return wrong("an integer format with `channel` or `group=N` and scales in f32");
            }
            if self == Self::Hqq && scheme.symmetry() != Some(Symmetry::Affine) {
                return wrong("an affine scheme, as it moves zero points");
            }
        }
        let mut form = Form::new(scheme);
        if own && form.layout != Layout::Dense {
            form.layout = Layout::Own;
            form.float_zero = self == Self::Hqq;
            form.input_scale = self == Self::Awq;
        }
        Ok(form)
    }

    /// Encodes a weight of a file and writes it.
    pub(super) fn quantize(
        self,
        name: &str,
        (source, entry): (&Source, &Entry),
        form: &Form,
        inputs: Option<&Inputs>,
        writer: &mut Writer,
    ) -> Result<(), Error> {
        let weight = Weight { name, source, entry, form };
        match (self, inputs) {
            (Self::Rtn, _) => weight.nearest(writer),
            (Self::Hqq, _) => weight.half_quadratic(writer),
            (_, None) => Err(Error::NeedsInputs { method: self.name() }),
            (_, Some(inputs)) => weight.with_inputs(self, inputs, writer),
        }
    }
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let names = || Self::NAMES.iter().map(|(name, _)| *name);
        match Self::NAMES.iter().find(|(name, _)| *name == text) {
            Some((_, method)) => Ok(*method),
            None => Err(Error::QuantizeOption {
                option: "--method".into(),
                expected: names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
                found: match nearest(text, names()) {
                    Some(nearest) => format!("`{text}`; did you mean `{nearest}`?"),
                    None => format!("`{text}`"),
                },
            }),
        }
    }
}

/// A weight of a file, and what becomes of it.
struct Weight<'a> {
    name: &'a str,
    source: &'a Source,
    entry: &'a Entry,
    form: &'a Form,
}

impl Weight<'_> {
    fn sizes(&self) -> (usize, usize) {
        (self.entry.shape[0], self.entry.shape[1])
    }

    /// Hands on the rows, a piece at a time; nothing that is not finite passes.
    fn each(
        &self,
        multiple: usize,
        mut f: impl FnMut(usize, &[f32]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (rows, columns) = self.sizes();
        for piece in pieces(rows, columns, multiple) {
            let values = self.source.rows(self.entry, piece.clone())?;
            check(self.name, &values, piece.start * columns)?;
            f(piece.start, &values)?;
        }
        Ok(())
    }

    fn failed(&self) -> impl Fn(quant_core::Error) -> Error + use<> {
        failed(self.name)
    }

    fn matrix<'v>(&self, values: &'v [f32]) -> Result<Matrix<'v>, Error> {
        matrix(values, self.sizes().1).map_err(self.failed())
    }

    fn nearest(&self, writer: &mut Writer) -> Result<(), Error> {
        let columns = self.sizes().1;
        let mut encoder = Encoder::new(&self.form.scheme);
        if encoder.looks_ahead() {
            self.each(1, |_, values| encoder.observe(values, columns).map_err(self.failed()))?;
        }
        self.each(encoder.rows(), |_, values| {
            let encoded = encoder.encode(values, values.len() / columns, columns).map_err(self.failed())?;
            writer.rows(self.name, &encoded.into(), values)
        })
    }

    fn half_quadratic(&self, writer: &mut Writer) -> Result<(), Error> {
        let columns = self.sizes().1;
        let grid = grid(&self.form.scheme).map_err(self.failed())?;
        let mut search = HqqSearch::new(&grid, &Hqq::default(), columns).map_err(self.failed())?;
        self.each(1, |_, values| search.start(self.matrix(values)?).map_err(self.failed()))?;
        while search.more() {
            self.each(1, |first, values| {
                search.step(self.matrix(values)?, first);
                Ok(())
            })?;
            search.finish();
        }
        self.each(1, |first, values| {
            let coded = match self.form.float_zero {
                true => {
                    let done = search.float(self.matrix(values)?, first).map_err(self.failed())?;
                    Coded::of_float_zero(&done, &self.form.scheme)
                }
                false => {
                    let (done, _) = search.integer(self.matrix(values)?, first).map_err(self.failed())?;
                    Coded::of_grid(&done, &self.form.scheme)
                }
            };
            writer.rows(self.name, &coded, values)
        })
    }

    /// The whole weight is in memory, in a few copies, and K × K numbers of what its inputs are.
    fn with_inputs(&self, method: Method, inputs: &Inputs, writer: &mut Writer) -> Result<(), Error> {
        let (rows, columns) = self.sizes();
        let (hessian, importance) = inputs.of(self.name, columns)?;
        let values = self.source.rows(self.entry, 0..rows)?;
        check(self.name, &values, 0)?;
        let weight = self.matrix(&values)?;
        let grid = grid(&self.form.scheme).map_err(self.failed())?;
        let quantized = match method {
            Method::Awq if self.form.input_scale => {
                let done = awq(weight, &hessian, &importance, &grid, &Awq::default());
                let done = done.map_err(self.failed())?;
                writer.input_scale(self.name, &done.input_scale)?;
                done.quantized
            }
            Method::Awq => {
                // Columns cannot be scaled where there is no place for the scale: ranges are clipped alone.
                let knobs = Awq { ratios: 1, ..Awq::default() };
                let done = awq(weight, &hessian, &importance, &grid, &knobs).map_err(self.failed())?;
                let plain = rtn(weight, &grid).map_err(self.failed())?;
                better_rows(weight, &hessian, done.quantized, &plain).map_err(self.failed())?
            }
            _ => gptq(weight, &hessian, &grid, &Gptq::default()).map_err(self.failed())?.quantized,
        };
        writer.rows(self.name, &Coded::of_grid(&quantized, &self.form.scheme), &values)
    }
}

/// The rows of `first`, but those of `second` where their outputs are closer.
fn better_rows(
    weight: Matrix<'_>,
    hessian: &Hessian,
    mut first: Quantized,
    second: &Quantized,
) -> Result<Quantized, quant_core::Error> {
    let columns = weight.columns();
    let groups = first.grid.groups(columns);
    let (a, b) = (first.dequantize(), second.dequantize());
    for row in 0..weight.rows() {
        let range = row * columns..(row + 1) * columns;
        let error = |values: &[f32]| {
            let approximation = matrix(&values[range.clone()], columns)?;
            hessian.output_error(matrix(weight.row(row), columns)?, approximation)
        };
        if error(&b)? < error(&a)? {
            first.codes[range.clone()].copy_from_slice(&second.codes[range.clone()]);
            let cells = row * groups..(row + 1) * groups;
            first.cells[cells.clone()].copy_from_slice(&second.cells[cells]);
        }
    }
    Ok(first)
}

/// The grid of an integer scheme with channels or groups.
fn grid(scheme: &Scheme) -> Result<Grid, quant_core::Error> {
    let group = match scheme.granularity() {
        Granularity::Group(len) => Some(len),
        _ => None,
    };
    let (symmetry, _) = scheme.grid()?;
    Grid::new(scheme.int().map_or(0, |int| int.bits), group, symmetry)
}

fn matrix(values: &[f32], columns: usize) -> Result<Matrix<'_>, quant_core::Error> {
    Matrix::new("weight", values.len() / columns, columns, values)
}

/// An error of one weight.
pub(super) fn failed(name: &str) -> impl Fn(quant_core::Error) -> Error + use<> {
    let name = name.to_owned();
    move |source| Error::WeightTensor { name: name.clone(), source }
}

/// An error for the first number that is not finite, with its position in the tensor.
pub(super) fn check(name: &str, values: &[f32], offset: usize) -> Result<(), Error> {
    // Without a branch in the loop, as there is nearly always none.
    if values.iter().fold(true, |finite, x| finite & x.is_finite()) {
        return Ok(());
    }
    let found = values.iter().position(|x| !x.is_finite()).unwrap_or(0);
    Err(failed(name)(quant_core::Error::NotFinite { index: offset + found, value: values[found] }))
}
