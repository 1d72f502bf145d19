//! ONNX Runtime, loaded from a shared library at run time.
//!
//! The library is somebody else's to install, so nothing here links against it; its path is an argument and no
//! environment variable is read. A process has one ONNX Runtime: the first one opened stays.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::Session as OrtSession;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::TensorRef;

use super::{Engine, Session, check_input, guarded, loading};
use crate::Error;

/// The engine ONNX Runtime.
#[derive(Debug, Clone)]
pub struct OnnxRuntime {
    environment: Environment,
    version: String,
}

/// How much ONNX Runtime may rewrite a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Optimization {
    /// Nothing: every operator as the file says.
    None,
    /// Everything that is portable, integer layers among it.
    Extended,
    /// Also layouts of this machine. What a session does unless asked otherwise.
    All,
}

/// The library in use and its environment.
static LOADED: Mutex<Option<(PathBuf, OnnxRuntime)>> = Mutex::new(None);

const NAME: &str = OnnxRuntime::NAME;

impl OnnxRuntime {
    /// The engine's name.
    pub const NAME: &str = "onnxruntime";

    /// Opens the shared library at this path; a second call with the same path returns the same engine.
    ///
    /// # Errors
    /// When the path is no ONNX Runtime of version 1.17 or newer, or another one is loaded in this process.
    pub fn open(library: &Path) -> Result<Self, Error> {
        let file = |source| Error::File { action: "read", path: library.to_owned(), source };
        let path = library.canonicalize().map_err(file)?;
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((first, engine)) = &*loaded {
            if *first == path {
                return Ok(engine.clone());
            }
            return Err(Error::SecondRuntime { loaded: first.clone(), asked: path });
        }
        let engine = guarded(NAME, &loading(&path), || {
            let builder = ort::init_from(&path).map_err(|e| e.to_string())?;
            let environment = builder.with_telemetry(false).build().map_err(|e| e.to_string())?;
            // It would print warnings to standard error, where they are no use to anyone who reads a report.
            environment.set_log_level(LogLevel::Error);
            Ok(Self { environment, version: version(&path) })
        })?;
        *loaded = Some((path, engine.clone()));
        Ok(engine)
    }

    /// Writes the graph that ONNX Runtime makes of a model, an ONNX file with its own operators (`QLinearConv`,
    /// `FusedConv`, …) among others: it shows which layers run in integers.
    ///
    /// # Errors
    /// When the model cannot be loaded or the file cannot be written.
    pub fn write_optimized(&self, model: &Path, optimization: Optimization, to: &Path) -> Result<(), Error> {
        guarded(NAME, &loading(model), || {
            let builder = self.builder(1, optimization).map_err(|e| e.to_string())?;
            let mut builder = builder.with_optimized_model_path(to).map_err(|e| e.to_string())?;
            builder.commit_from_file(model).map(drop).map_err(|e| e.to_string())
        })
    }

    /// As [`load`](Engine::load), with another degree of optimization.
    ///
    /// # Errors
    /// When the model cannot be loaded.
    pub fn load_with(
        &self,
        model: &Path,
        threads: usize,
        optimization: Optimization,
    ) -> Result<Box<dyn Session>, Error> {
        if threads == 0 {
            return Err(Error::Zero { what: "the number of threads" });
        }
        let session = guarded(NAME, &loading(model), || {
            let mut builder = self.builder(threads, optimization).map_err(|e| e.to_string())?;
            builder.commit_from_file(model).map_err(|e| e.to_string())
        })?;
        let name = session.inputs().first().map(|input| input.name().to_owned());
        let input = name.unwrap_or_default();
        Ok(Box::new(OrtRun { session, threads, input }))
    }

    fn builder(&self, threads: usize, optimization: Optimization) -> ort::Result<SessionBuilder> {
        let level = match optimization {
            Optimization::None => GraphOptimizationLevel::Disable,
            Optimization::Extended => GraphOptimizationLevel::Level2,
            Optimization::All => GraphOptimizationLevel::All,
        };
        let builder = OrtSession::builder(&self.environment)?
            .with_intra_threads(threads)?
            .with_inter_threads(1)?
            .with_optimization_level(level)?
            // By default a matrix product whose weight alone is quantized gets its data quantized as well. What runs
            // is to be what the file says.
            .with_config_entry("session.qdq_matmulnbits_accuracy_level", "0")?;
        Ok(builder)
    }
}

impl Engine for OnnxRuntime {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn computes_int8(&self) -> bool {
        true
    }

    /// Since 1.20 those of 4 bits, 2 bits later; 1.32 is known to read all.
    fn reads_packed(&self) -> bool {
        true
    }

    fn load(&self, model: &Path, threads: usize) -> Result<Box<dyn Session>, Error> {
        self.load_with(model, threads, Optimization::All)
    }
}

struct OrtRun {
    session: OrtSession,
    threads: usize,
    input: String,
}

impl Session for OrtRun {
    fn threads(&self) -> usize {
        self.threads
    }

    fn run(&mut self, input: &[f32], shape: &[usize]) -> Result<Vec<f32>, Error> {
        check_input(input, shape)?;
        guarded(NAME, "run", || {
            let mut run = || -> ort::Result<Vec<f32>> {
                let tensor = TensorRef::from_array_view((shape, input))?;
                let outputs = self.session.run(ort::inputs![self.input.as_str() => tensor])?;
                let (_, data) = outputs[0].try_extract_tensor::<f32>()?;
                Ok(data.to_vec())
            };
            run().map_err(|e| e.to_string())
        })
    }
}

/// The library's version, `1.31.1`. The safe interface does not tell it, but the name of the file does in every
/// distribution (`libonnxruntime.so.1.31.1`, `libonnxruntime.1.31.1.dylib`) but Windows'; there it is the commit that
/// it was built from.
fn version(library: &Path) -> String {
    let name = library.file_name().unwrap_or_default().to_string_lossy();
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let numbers: Vec<&str> = name.split('.').filter(digits).collect();
    if !numbers.is_empty() {
        return numbers.join(".");
    }
    let commit = ort::info().split("git-commit-id=").nth(1);
    let commit = commit.and_then(|rest| rest.split([',', ' ']).next());
    format!("commit {}", commit.unwrap_or("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_off_the_file_name() {
        assert_eq!(version(Path::new("/usr/lib/libonnxruntime.so.1.31.1")), "1.31.1");
        assert_eq!(version(Path::new("libonnxruntime.1.31.1.dylib")), "1.31.1");
    }
}
