//! Files appear whole or not at all.
//!
//! A run may be killed at any moment, and a half-written model is worse than none: everything goes to a
//! temporary name in the same folder first, and takes its real one by a rename.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::Error;

/// Writes `bytes` to `path` by way of a temporary file beside it.
///
/// # Errors
/// When the folder does not exist, the disk is full and the like. The temporary file is removed, and an older
/// file under `path` stays as it was.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    write_synced(&temporary, bytes).and_then(|()| fs::rename(&temporary, path)).map_err(|source| {
        // It may not even exist: the first failure is the one to report.
        let _ = fs::remove_file(&temporary);
        Error::File { action: "write", path: path.to_owned(), source }
    })
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_existing_file_is_replaced_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        write_atomically(&path, b"old").unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = write_atomically(Path::new("no/such/folder/model.onnx"), b"").unwrap_err();
        assert_eq!(error.to_string(), "cannot write `no/such/folder/model.onnx`");
    }
}
