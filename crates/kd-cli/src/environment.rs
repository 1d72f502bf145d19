//! Everything that is taken from the environment, read in one place and once.
//!
//! | variable | means |
//! | --- | --- |
//! | `KD_DATA` | a folder that holds `mnist/`, `fashion-mnist/`, … |
//! | `ORT_DYLIB_PATH` | the shared library of ONNX Runtime; set but empty: none is used, and none is looked for |
//! | `NO_COLOR` | no color, if it is not empty |
//! | `TERM` | `dumb`: no bars and no color |
//! | `XDG_CACHE_HOME`, `HOME`, `LOCALAPPDATA` | where the user's cache is |

mod onnxruntime;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use kd_datasets::{Folders, workspace_datasets};
use kd_deploy::{Engine, OnnxRuntime, Tract};
use kd_train::run::Env;

/// What it means for a report that one engine is absent.
const ALONE: &str = "The numbers of engines here are tract's alone.";

/// The environment of the process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    /// The current directory.
    pub(crate) folder: PathBuf,
    /// No colors, please.
    pub(crate) no_color: bool,
    /// A terminal that cannot redraw.
    pub(crate) dumb_terminal: bool,
    data: Option<PathBuf>,
    cache: Option<PathBuf>,
    onnxruntime: Option<OsString>,
}

impl Environment {
    /// Reads it.
    pub(crate) fn read() -> Self {
        let variable = |name: &str| std::env::var_os(name);
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        Self {
            // A directory that was removed under us: relative paths then fail by name, one at a time.
            folder: std::env::current_dir().unwrap_or_default(),
            no_color: given("NO_COLOR").is_some(),
            dumb_terminal: variable("TERM").is_some_and(|term| term == "dumb"),
            data: given("KD_DATA").map(PathBuf::from),
            cache: cache(given).map(|cache| cache.join("kd").join("datasets")),
            onnxruntime: variable("ORT_DYLIB_PATH"),
        }
    }

    /// Where data is looked for.
    pub(crate) fn folders(&self) -> Folders {
        Folders {
            base: self.folder.clone(),
            explicit: None,
            env: self.data.clone(),
            workspace: workspace_datasets(&self.folder),
            cache: self.cache.clone(),
        }
    }

    /// Where fetched data goes.
    pub(crate) fn cache(&self) -> Option<&Path> {
        self.cache.as_deref()
    }

    /// What a run needs, with every engine that this machine has.
    pub(crate) fn with_engines(&self) -> Env {
        let mut env = self.without_engines();
        match self.onnxruntime() {
            Ok(engine) => env.engines.push(Box::new(engine)),
            Err(sentence) => env.absent.push(format!("{sentence} {ALONE}")),
        }
        env
    }

    /// What is needed where no model runs outside of Burn: the engine that is built in, no search for others.
    pub(crate) fn without_engines(&self) -> Env {
        let engines: Vec<Box<dyn Engine>> = vec![Box::new(Tract)];
        Env { folders: self.folders(), engines, absent: Vec::new(), caller_works: true }
    }

    /// ONNX Runtime, or a sentence that says why there is none and how to add it.
    pub(crate) fn onnxruntime(&self) -> Result<OnnxRuntime, String> {
        let library = match &self.onnxruntime {
            Some(path) if path.is_empty() => return Err(onnxruntime::SWITCHED_OFF.into()),
            Some(path) => PathBuf::from(path),
            None => onnxruntime::find_in_python().ok_or(onnxruntime::ABSENT)?,
        };
        OnnxRuntime::open(&library).map_err(|error| onnxruntime::unusable(&library, &error))
    }
}

/// The user's cache, by the conventions of the system.
fn cache(given: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // The XDG specification: a relative path is to be ignored.
    let xdg = given("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || given("HOME").map(PathBuf::from);
    let system = || match std::env::consts::OS {
        "macos" => home().map(|home| home.join("Library").join("Caches")),
        "windows" => given("LOCALAPPDATA").map(PathBuf::from),
        _ => home().map(|home| home.join(".cache")),
    };
    xdg.or_else(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_cache_is_xdgs_or_below_home() {
        let of = |pairs: &'static [(&str, &str)]| {
            cache(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
        };
        assert_eq!(of(&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "/c")]), Some("/c".into()));
        assert_eq!(of(&[("HOME", "/home/a")]), Some("/home/a/.cache".into()));
        assert_eq!(of(&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "c")]), Some("/home/a/.cache".into()));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn an_engine_that_is_absent_is_a_sentence() {
        let off = Environment { onnxruntime: Some(OsString::new()), ..Environment::default() };
        let env = off.with_engines();
        assert_eq!(env.engines.len(), 1);
        assert_eq!(env.absent, [format!("{} {ALONE}", onnxruntime::SWITCHED_OFF)]);

        let wrong = Environment { onnxruntime: Some("no/such/library.so".into()), ..Environment::default() };
        let sentence = wrong.onnxruntime().map(drop).expect_err("there is no such file");
        assert!(
            sentence.contains("no/such/library.so") && sentence.contains("pip install onnxruntime"),
            "{sentence}"
        );
    }
}
