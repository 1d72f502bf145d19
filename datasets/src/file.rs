//! Files: whole ones in memory, unpacked where they are gzip, and written so that no half file is ever seen.
//!
//! Whether a file is packed is read off its first two bytes, never off its name: servers and package makers unpack
//! and rename freely.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use crate::error::Damage;
use crate::{Error, Published, PublishedFile};

/// The content of a file of one's own, unpacked.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let stored = read_stored(path)?;
    let content = if is_packed(&stored) {
        unpack(&stored, u64::MAX, 0).map_err(|(unpacked, source)| Error::Gzip {
            path: path.to_owned(),
            unpacked,
            source,
        })?
    } else {
        stored
    };
    if content.is_empty() {
        return Err(Error::Empty { path: path.to_owned() });
    }
    Ok(content)
}

/// The bytes of a file as they are.
pub(crate) fn read_stored(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NoFile { path: path.to_owned() },
        _ => Error::Read { path: path.to_owned(), source },
    })
}

/// The content of a published file, unpacked and checked.
pub(crate) fn check(file: &PublishedFile, stored: &[u8]) -> Result<Vec<u8>, Damage> {
    if stored.is_empty() {
        return Err(Damage::Empty);
    }
    let content = if is_packed(stored) {
        unpack(stored, file.bytes + 1, file.bytes as usize)
            .map_err(|(unpacked, _)| Damage::Gzip { unpacked })?
    } else {
        stored.to_vec()
    };
    let bytes = content.len() as u64;
    if bytes < file.bytes {
        return Err(Damage::Short { bytes });
    }
    if bytes > file.bytes {
        return Err(Damage::Long);
    }
    let sha256 = sha256(&content);
    if sha256 != file.sha256 {
        return Err(Damage::Content { sha256 });
    }
    Ok(content)
}

/// The error for a published file at `path` that [`check`] refused.
pub(crate) fn damaged(set: &Published, file: &PublishedFile, path: PathBuf, damage: Damage) -> Error {
    Error::Damaged { name: set.name, path, bytes: file.bytes, sha256: file.sha256, damage }
}

/// The published file in `folder`, which must be there.
pub(crate) fn locate(set: &Published, folder: &Path, file: &PublishedFile) -> Result<PathBuf, Error> {
    packed_or_plain(folder, file)
        .ok_or_else(|| Error::Incomplete { name: set.name, path: folder.join(packed_name(file)) })
}

/// The published file in `folder`, under its packed or its plain name.
pub(crate) fn packed_or_plain(folder: &Path, file: &PublishedFile) -> Option<PathBuf> {
    [packed_name(file), file.name.to_owned()]
        .into_iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
}

/// The name that a file is published under.
pub(crate) fn packed_name(file: &PublishedFile) -> String {
    format!("{}.gz", file.name)
}

/// Whether these bytes begin as gzip files do.
pub(crate) fn is_packed(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// Writes a file under a temporary name beside its own and renames it, so that it is there whole or not at all.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    // Two processes, or two threads of one, may write the same file; each needs a name of its own.
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let unique = format!("{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{unique}.partial"));

    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| {
        // The first error is the one to report; what could not be written may not exist either.
        let _ = fs::remove_file(&temporary);
        Error::Write { path: path.to_owned(), source }
    })
}

/// Unpacks at most `limit` bytes; in an error, how many came out before it.
fn unpack(stored: &[u8], limit: u64, expected: usize) -> Result<Vec<u8>, (u64, io::Error)> {
    let mut content = Vec::with_capacity(expected);
    match MultiGzDecoder::new(stored).take(limit).read_to_end(&mut content) {
        Ok(_) => Ok(content),
        Err(error) => Err((content.len() as u64, error)),
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
