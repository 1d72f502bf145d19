//! Shared by the tests: folders, packing, and messages without the folder's random name.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use kd_datasets::{Error, Folders};
use tempfile::TempDir;

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The bytes of an IDX file.
pub(crate) fn idx(code: u8, shape: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, code, u8::try_from(shape.len()).unwrap()];
    for dim in shape {
        bytes.extend(dim.to_be_bytes());
    }
    bytes.extend(values);
    bytes
}

/// A folder with these files.
pub(crate) fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

/// Recipe paths start in `folder`.
pub(crate) fn based_in(folder: &Path) -> Folders {
    Folders { base: folder.to_owned(), ..Folders::default() }
}

/// Message and help of an error, the folder's name shortened to `DIR`.
pub(crate) fn message(error: &Error, folder: &Path) -> String {
    format!("{error}\nhelp: {}", error.help()).replace(&folder.display().to_string(), "DIR")
}

/// `datasets/` of the repository, which the published crate lacks MNIST in.
pub(crate) fn repository() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    if folder.join("mnist").is_dir() {
        return Some(folder);
    }
    skip("MNIST is not beside this crate; `kd data fetch mnist` brings it");
    None
}

/// Says, past the test harness's capture, that a test did nothing.
pub(crate) fn skip(reason: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}
