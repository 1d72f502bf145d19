//! A run's directory: who may write it, what is in it, and where a stage keeps its files.
//!
//! A directory belongs to one process at a time, by a lock that the system releases when the process dies, however
//! it dies. Every file is written under a temporary name and renamed; only the two `.jsonl` files grow, and what a
//! killed session wrote after its last state is cut off before the next one goes on.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use kd_deploy::write_atomically;
use serde::{Deserialize, Serialize};

use crate::error::{CheckpointReason, Error};

/// File names of a run directory.
pub mod files {
    /// What ran, and whether it is done.
    pub const MANIFEST: &str = "manifest.json";
    /// The recipe as it was given.
    pub const RECIPE: &str = "recipe.toml";
    /// The recipe with every default spelled out.
    pub const RESOLVED: &str = "recipe.resolved.toml";
    /// One line an event, without times.
    pub const METRICS: &str = "metrics.jsonl";
    /// One line a span of work, with its seconds.
    pub const TIMING: &str = "timing.jsonl";
    /// What the program told while it worked.
    pub const LOG: &str = "log.txt";
    /// Results.
    pub const SUMMARY: &str = "summary.json";
    /// Results, for people.
    pub const REPORT: &str = "report.md";
    /// Weights.
    pub const WEIGHTS: &str = "model.safetensors";
    /// The model for other engines.
    pub const ONNX: &str = "model.onnx";
    /// Weights that share values, entropy coded; of a stage that makes them share.
    pub const KDZ: &str = "model.kdz";
    /// The rounded model for other engines, in `export`.
    pub const ONNX_INT8: &str = "model.int8.onnx";
    /// The same of a model without integers for every layer.
    pub const ONNX_ROUNDED: &str = "model.rounded.onnx";
    /// The rounded model with codes of weights in ONNX's narrowest types.
    pub const ONNX_PACKED: &str = "model.packed.onnx";
    /// Scales, zero points, formats and sites.
    pub const QUANTIZATION: &str = "quantization.json";
    /// Agreement of the exported files with the models here.
    pub const PARITY: &str = "parity.json";
    /// Channels that were removed.
    pub const CUT: &str = "cut.json";
    /// Residual blocks or experts that were taken out.
    pub const ELEMENTS: &str = "elements.json";
    /// The student trained alone.
    pub const BASELINE: &str = "baseline";
    /// Artifacts.
    pub const EXPORT: &str = "export";
}

/// What ran, and whether it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this file's form.
    pub schema: u32,
    /// The recipe's name.
    pub name: String,
    /// Whether the run is done.
    pub status: Status,
    /// Version of this program.
    pub version: String,
    /// Version of Burn.
    pub burn: String,
    /// SHA-256 of the recipe as given.
    pub recipe_sha256: String,
    /// Overrides of the command line, as given.
    pub overrides: Vec<String>,
    /// The folder that relative paths of the recipe start from.
    pub base: PathBuf,
    /// The seed of the run.
    pub seed: u64,
    /// The seed that splits the data, where it is another.
    pub split_seed: u64,
    /// The device.
    pub device: String,
    /// Threads of the CPU backend.
    pub threads: usize,
    /// Seeds that the directory holds a run each of, in `seed-S`; empty for a single run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<u64>,
}

/// Whether a run is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Not finished: running, interrupted or killed.
    Unfinished,
    /// Finished; never written again.
    Finished,
}

/// A run directory that this process holds.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    // Held, not read: the lock lasts as long as the file is open.
    _lock: File,
}

impl RunDir {
    /// Makes a new run directory, with what `fill` writes into it, and takes it. It appears under its name when it is
    /// complete: a kill in between leaves no half of a run.
    ///
    /// # Errors
    ///
    /// A path that exists already, what `fill` returns, or the file system's error.
    pub fn create(path: &Path, fill: impl FnOnce(&Self) -> Result<(), Error>) -> Result<Self, Error> {
        if path.exists() {
            return Err(Error::RunExists { path: path.into() });
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(|source| io("create", parent, source))?;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let draft = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        std::fs::create_dir_all(&draft).map_err(|source| io("create", &draft, source))?;
        let filled = Self::lock(&draft).and_then(|dir| fill(&dir).map(|()| dir)).and_then(|dir| {
            std::fs::rename(&draft, path).map_err(|source| io("create", path, source))?;
            Ok(Self { path: path.into(), ..dir })
        });
        if filled.is_err() {
            // What could not be filled or named is nobody's.
            let _ = std::fs::remove_dir_all(&draft);
        }
        filled
    }

    /// Takes an existing run directory.
    ///
    /// # Errors
    ///
    /// A path that holds no run, or one that another process works on.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.join(files::MANIFEST).is_file() {
            return Err(Error::NotARun { path: path.into() });
        }
        Self::lock(path)
    }

    fn lock(path: &Path) -> Result<Self, Error> {
        let file = path.join(".lock");
        let lock = File::create(&file).map_err(|source| io("create", &file, source))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.into(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::RunInUse { path: path.into() }),
            Err(TryLockError::Error(source)) => Err(io("lock", &file, source)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file of the directory, all or nothing.
    ///
    /// # Errors
    ///
    /// The file system's.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        Ok(write_atomically(&self.path.join(name), bytes)?)
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    ///
    /// The file system's.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), Error> {
        self.write(name, &json(value))
    }

    /// A folder of the directory, made if it is new, without what a killed session was writing into it.
    ///
    /// # Errors
    ///
    /// The file system's.
    pub fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path).map_err(|source| io("create", &path, source))?;
        let entries = std::fs::read_dir(&path).map_err(|source| io("read", &path, source))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') && name.ends_with(".tmp") {
                std::fs::remove_file(entry.path()).map_err(|source| io("remove", &entry.path(), source))?;
            }
        }
        Ok(path)
    }

    /// The folder of a stage, made if it is new.
    ///
    /// # Errors
    ///
    /// The file system's.
    pub fn stage(&self, folder: &str, name: &str, kind: &'static str) -> Result<StageDir, Error> {
        let path = self.folder(folder)?;
        let open = |file: &str| {
            let path = self.path.join(file);
            OpenOptions::new()
                .append(true)
                .create(true)
                .open(&path)
                .map_err(|source| io("open", &path, source))
        };
        Ok(StageDir {
            run: self.path.clone(),
            path,
            name: name.into(),
            kind,
            metrics: open(files::METRICS)?,
            timing: open(files::TIMING)?,
            booked: 0.0,
        })
    }
}

/// Reads the manifest of a run directory.
///
/// # Errors
///
/// A path that holds no run, or a manifest that cannot be read.
pub fn manifest(path: &Path) -> Result<Manifest, Error> {
    let file = path.join(files::MANIFEST);
    if !file.is_file() {
        return Err(Error::NotARun { path: path.into() });
    }
    read_json(&file)
}

/// Reads a JSON file that this crate wrote.
///
/// # Errors
///
/// The file system's, or what about the content is not as it was written.
pub fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| io("read", path, source))?;
    serde_json::from_str(&text).map_err(|error| Error::Checkpoint {
        path: path.into(),
        reason: CheckpointReason::State(error.to_string()),
    })
}

/// A value as JSON that people can read, with a line end.
pub fn json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("plain values become JSON");
    bytes.push(b'\n');
    bytes
}

pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Io { action, path: path.into(), source }
}

/// The folder of a stage, and the run's growing files.
#[derive(Debug)]
pub struct StageDir {
    run: PathBuf,
    path: PathBuf,
    name: String,
    kind: &'static str,
    metrics: File,
    timing: File,
    booked: f64,
}

#[derive(Serialize, Deserialize)]
struct Timing {
    stage: String,
    what: String,
    seconds: f64,
}

impl StageDir {
    /// The stage's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's directory.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// The stage's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the stage does.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// A file of the stage.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file of the stage, all or nothing.
    ///
    /// # Errors
    ///
    /// The file system's.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        Ok(write_atomically(&self.file(name), bytes)?)
    }

    /// Appends a line to `metrics.jsonl`.
    ///
    /// # Errors
    ///
    /// The file system's.
    pub fn metric(&mut self, line: &impl Serialize) -> Result<(), Error> {
        let mut bytes = serde_json::to_vec(line).expect("plain values become JSON");
        bytes.push(b'\n');
        self.metrics.write_all(&bytes).map_err(|source| io("write", &self.run.join(files::METRICS), source))
    }

    /// Bytes of `metrics.jsonl` so far.
    pub fn metrics_len(&self) -> u64 {
        self.metrics.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Cuts off what was written after a state was saved.
    ///
    /// # Errors
    ///
    /// The file system's; a file that is shorter than the state says.
    pub fn rewind_metrics(&mut self, len: u64) -> Result<(), Error> {
        let found = self.metrics_len();
        if found < len {
            return Err(Error::Checkpoint {
                path: self.run.join(files::METRICS),
                reason: CheckpointReason::State(format!("expected at least {len} bytes, found {found}")),
            });
        }
        self.metrics.set_len(len).map_err(|source| io("truncate", &self.run.join(files::METRICS), source))
    }

    /// Appends a span of work to `timing.jsonl`.
    ///
    /// # Errors
    ///
    /// The file system's.
    pub fn timing(&mut self, what: &str, seconds: f64) -> Result<(), Error> {
        self.booked += seconds;
        let line = Timing { stage: self.name.clone(), what: what.into(), seconds };
        let mut bytes = serde_json::to_vec(&line).expect("plain values become JSON");
        bytes.push(b'\n');
        self.timing.write_all(&bytes).map_err(|source| io("write", &self.run.join(files::TIMING), source))
    }

    /// Seconds that this session has written down for this stage.
    pub fn booked(&self) -> f64 {
        self.booked
    }

    /// Seconds of work on this stage, over all sessions.
    pub fn seconds(&self) -> f64 {
        seconds(&self.run, |stage| stage == self.name)
    }

    pub(crate) fn broken_state(&self, reason: String) -> Error {
        Error::Checkpoint {
            path: self.file(crate::checkpoint::STATE_FILE),
            reason: CheckpointReason::State(reason),
        }
    }
}

/// Seconds of work in `timing.jsonl` on the stages that `counts` says; a line that a kill cut short does not count.
pub fn seconds(run: &Path, counts: impl Fn(&str) -> bool) -> f64 {
    let text = std::fs::read_to_string(run.join(files::TIMING)).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Timing>(line).ok());
    lines.filter(|line| counts(&line.stage)).map(|line| line.seconds).sum()
}
