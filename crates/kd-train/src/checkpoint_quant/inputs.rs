//! What is known of the inputs of layers, from a file: for a weight `N`, `N.inputs` `[tokens, K]` or `N.hessian`
//! `[K, K]`, which is 2 · E[x xᵀ] up to a factor that changes no result.

use std::path::Path;

use quant_core::ptq::{Hessian, InputStats, Matrix};

use super::config::module;
use super::methods::{check, failed};
use super::source::{Entry, Source, pieces};
use crate::error::Error;

/// The file, open.
#[derive(Debug)]
pub struct Inputs {
    source: Source,
}

impl Inputs {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// [`Error::TensorFile`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { source: Source::open(path)? })
    }

    /// An error for the first of these weights, with their columns, that the file says nothing about, or not for as many
    /// columns.
    ///
    /// # Errors
    ///
    /// [`Error::InputsMissing`], [`Error::LossTensor`] for another shape or type.
    pub fn check<'a>(&self, weights: impl Iterator<Item = (&'a str, usize)>) -> Result<(), Error> {
        for (name, columns) in weights {
            let (key, entry, square) = self.find(name)?;
            let shape = entry.matrix();
            let fits = shape.is_some_and(|(rows, found)| found == columns && (!square || rows == columns));
            if !fits {
                let expected = match square {
                    true => format!("floats of shape [{columns}, {columns}]"),
                    false => format!("floats of shape [tokens, {columns}]"),
                };
                let found = format!("{:?} of shape {:?}", entry.dtype, entry.shape);
                return Err(Error::LossTensor { name: key, expected, found });
            }
        }
        Ok(())
    }

    /// The Hessian of a weight's inputs, and how much each column matters: E|x|, or √E[x²] where only a Hessian is
    /// known.
    pub(super) fn of(&self, name: &str, columns: usize) -> Result<(Hessian, Vec<f64>), Error> {
        let (key, entry, square) = self.find(name)?;
        let rows = entry.shape[0];
        if square {
            let values = self.doubles(entry)?;
            let hessian = Hessian::new(columns, values).map_err(failed(&key))?;
            let importance = hessian.root_mean_square();
            return Ok((hessian, importance));
        }
        let mut stats = InputStats::new(columns);
        for piece in pieces(rows, columns, 1) {
            let values = self.source.rows(entry, piece.clone())?;
            check(&key, &values, piece.start * columns)?;
            let batch = Matrix::new("inputs", piece.len(), columns, &values).map_err(failed(&key))?;
            stats.observe(batch).map_err(failed(&key))?;
        }
        let importance = stats.mean_abs().map_err(failed(&key))?;
        Ok((stats.hessian().map_err(failed(&key))?, importance))
    }

    /// Name and place of a weight's inputs, and whether they are a Hessian. The layer's name will do too.
    fn find(&self, name: &str) -> Result<(String, &Entry, bool), Error> {
        for name in [Some(name), module(name)].into_iter().flatten() {
            for (suffix, square) in [("inputs", false), ("hessian", true)] {
                let key = format!("{name}.{suffix}");
                if let Some(entry) = self.source.tensors().get(&key) {
                    return Ok((key, entry, square));
                }
            }
        }
        Err(Error::InputsMissing { path: self.source.path().into(), name: name.into() })
    }

    fn doubles(&self, entry: &Entry) -> Result<Vec<f64>, Error> {
        if entry.dtype == safetensors::Dtype::F64 {
            let bytes = self.source.all(entry)?;
            return Ok(bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect());
        }
        let values = self.source.rows(entry, 0..entry.shape[0])?;
        Ok(values.into_iter().map(f64::from).collect())
    }
}
