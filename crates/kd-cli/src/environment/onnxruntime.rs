//! Where ONNX Runtime is on this machine: the package that `pip install onnxruntime` brings holds the shared library.
//!
//! Python is asked where the package lies, and does not import it, which would take a second and print warnings.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a report says where there is none.
pub(super) const ABSENT: &str = "ONNX Runtime was not found on this machine. To add it: `pip install onnxruntime`, \
     or set `ORT_DYLIB_PATH` to its shared library.";

/// What a report says where none is wanted.
pub(super) const SWITCHED_OFF: &str = "ONNX Runtime was not looked for: `ORT_DYLIB_PATH` is set to nothing.";

/// What a report says of a library that cannot be used.
pub(super) fn unusable(library: &Path, error: &kd_deploy::Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(" ({cause})")).unwrap_or_default();
    format!(
        "ONNX Runtime at `{}` was not used: {error}{cause}. To use another: `pip install onnxruntime`, or set \
         `ORT_DYLIB_PATH` to its shared library.",
        library.display()
    )
}

/// Prints the folders of the package, a line each, and nothing where it is not installed.
const ASK: &str = "import importlib.util as u\n\
     s = u.find_spec('onnxruntime')\n\
     print('\\n'.join(s.submodule_search_locations or []) if s else '')";

/// The library in the package of the first Python that has it.
pub(super) fn find_in_python() -> Option<PathBuf> {
    ["python3", "python"].into_iter().find_map(|python| {
        let asked = Command::new(python)
            .args(["-c", ASK])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let answer = String::from_utf8(asked.stdout).ok()?;
        answer.lines().find_map(|package| library(&Path::new(package).join("capi")))
    })
}

/// The library in the package's folder. Beside it lie libraries of the same prefix that are parts of it.
fn library(folder: &Path) -> Option<PathBuf> {
    let is_library = |name: &str| {
        let unix = name.starts_with("libonnxruntime.") && (name.contains(".so") || name.ends_with(".dylib"));
        unix || name == "onnxruntime.dll"
    };
    let entries = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| is_library(name)).max().map(|name| folder.join(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_library_is_told_from_what_lies_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(library(folder.path()), None);
        for name in ["libonnxruntime_providers_shared.so", "_pybind_state.py", "onnxruntime.txt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(library(folder.path()), None);
        let expected = folder.path().join("libonnxruntime.so.1.32.0");
        std::fs::write(&expected, "").unwrap();
        assert_eq!(library(folder.path()), Some(expected));
        assert_eq!(library(&folder.path().join("absent")), None);
    }
}
