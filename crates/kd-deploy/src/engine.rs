//! Engines that we did not write, behind one small trait.
//!
//! A compressed model is worth what it does outside of the framework that trained it. Every number about speed and
//! every claim that an export equals its model comes from an engine of this kind. `dyn` at this edge: which engines
//! a machine has is known at run time.

mod onnxruntime;
mod tract;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

pub use onnxruntime::{OnnxRuntime, Optimization};
pub use tract::Tract;

use crate::Error;

/// Something that runs ONNX models.
pub trait Engine {
    /// Its name, as recipes and reports write it.
    fn name(&self) -> &'static str;

    /// Its version.
    fn version(&self) -> String;

    /// Whether a layer with 8-bit operands is computed in integers; if not, quantized models are correct here and
    /// slower than float ones.
    fn computes_int8(&self) -> bool;

    /// Whether it takes weights in ONNX's narrow types ([`WeightsContainer::Packed`](crate::WeightsContainer)).
    fn reads_packed(&self) -> bool {
        false
    }

    /// Opens a model for running on at most `threads` threads.
    ///
    /// # Errors
    /// When the file cannot be read or the engine does not understand it.
    fn load(&self, model: &Path, threads: usize) -> Result<Box<dyn Session>, Error>;
}

/// A model that is ready to run.
pub trait Session: Send {
    /// The threads that it really uses.
    fn threads(&self) -> usize;

    /// Runs the model on one batch, `input` row-major of shape `shape`, and returns the first output, row-major.
    ///
    /// Batches of different sizes may follow one another. The first one of a size may take longer.
    ///
    /// # Errors
    /// When the input does not fit the shape or the model, or the engine fails.
    fn run(&mut self, input: &[f32], shape: &[usize]) -> Result<Vec<f32>, Error>;
}

/// Runs foreign code, and makes an error of its panic.
fn guarded<T>(
    engine: &'static str,
    action: &str,
    run: impl FnOnce() -> Result<T, String>,
) -> Result<T, Error> {
    let failed = |message| Error::Engine { engine, action: action.to_owned(), message };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(failed),
        Err(panic) => Err(failed(format!("it panicked: {}", panic_message(panic.as_ref())))),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn check_input(input: &[f32], shape: &[usize]) -> Result<(), Error> {
    let expected = shape.iter().product();
    if input.len() != expected {
        return Err(Error::Length { what: "input of a model", expected, found: input.len() });
    }
    Ok(())
}

/// `load FILE`, for messages.
fn loading(model: &Path) -> String {
    format!("load `{}`", model.display())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_panic_of_an_engine_becomes_an_error() {
        let error = guarded::<()>("acme", "run", || panic!("index {} is too large", 3)).unwrap_err();
        assert_eq!(error.to_string(), "acme cannot run: it panicked: index 3 is too large");
    }
}
