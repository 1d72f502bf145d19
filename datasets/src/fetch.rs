//! Bringing a published set into a folder: from its addresses, or from a folder where someone put it.
//!
//! A file is written only after its content has been checked, under a temporary name that is then renamed. So a
//! folder never holds a wrong or a half file, and a fetch that was cut off is simply run again: files that are
//! there and right are kept.

use std::path::{Path, PathBuf};

use crate::error::Attempt;
use crate::{Error, Folders, Published, PublishedFile, file, http};

/// Where the files come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    /// From `DIR/NAME/` or `DIR`, packed or plain.
    Folder(&'a Path),
    /// From each address in turn, with the file's name appended, until one serves the right content.
    Addresses(&'a [&'a str]),
}

/// A set that is now in a folder, whole and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// `TO/NAME`.
    pub folder: PathBuf,
    /// Its files; none where the set is embedded and nothing had to be brought.
    pub files: Vec<FetchedFile>,
}

/// A file of a fetched set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedFile {
    /// Where it is now.
    pub path: PathBuf,
    /// How it came there.
    pub outcome: Outcome,
}

/// How a file came to its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was there, and right.
    Kept,
    /// Copied from this file.
    Copied(PathBuf),
    /// Downloaded from this address.
    Downloaded(String),
}

/// Brings the set `name` into `to/name/`, from the folder `from` or else from the set's own addresses.
///
/// `progress(done, total)` is called with bytes: of all files of the set, as published.
///
/// # Errors
/// [`Error::UnknownSet`]; [`Error::NotFound`], [`Error::Incomplete`] or [`Error::Damaged`] of the folder `from`;
/// [`Error::Download`] with every address that was tried; [`Error::Write`].
pub fn fetch(
    name: &str,
    to: &Path,
    from: Option<&Path>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Fetched, Error> {
    let set = Published::named(name)?;
    let route = from.map_or(Route::Addresses(set.addresses), Route::Folder);
    fetch_by(set, to, route, progress)
}

/// [`fetch`] of any set by a given route: your own mirror, say.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_by(
    set: &Published,
    to: &Path,
    route: Route<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Fetched, Error> {
    let folder = to.join(set.name);
    let mut fetched = Fetched { folder, files: Vec::new() };
    if set.is_embedded() {
        return Ok(fetched);
    }
    let total = set.files.iter().map(|file| file.packed_bytes).sum();
    let mut before = 0;
    progress(0, total);
    for published in set.files {
        // Another packing of the same content may be longer; a bar must not run past its end.
        let mut within = |done: u64| progress(before + done.min(published.packed_bytes), total);
        let file = match present(&fetched.folder, published) {
            Some(path) => FetchedFile { path, outcome: Outcome::Kept },
            None => match route {
                Route::Folder(from) => copy(set, published, from, &fetched.folder)?,
                Route::Addresses(addresses) => {
                    download(set, published, addresses, &fetched.folder, &mut within)?
                }
            },
        };
        within(published.packed_bytes);
        fetched.files.push(file);
        before += published.packed_bytes;
    }
    Ok(fetched)
}

/// The file in `folder`, if it is there and right. One that is wrong or unreadable shall be replaced.
fn present(folder: &Path, published: &PublishedFile) -> Option<PathBuf> {
    let path = file::packed_or_plain(folder, published)?;
    let stored = file::read_stored(&path).ok()?;
    file::check(published, &stored).is_ok().then_some(path)
}

fn copy(
    set: &Published,
    published: &PublishedFile,
    from: &Path,
    folder: &Path,
) -> Result<FetchedFile, Error> {
    let source = Folders { explicit: Some(from.to_owned()), ..Folders::default() }.find(set)?;
    let path = file::locate(set, &source, published)?;
    let stored = file::read_stored(&path)?;
    if let Err(damage) = file::check(published, &stored) {
        return Err(file::damaged(set, published, path, damage));
    }
    Ok(FetchedFile { path: place(published, &stored, folder)?, outcome: Outcome::Copied(path) })
}

fn download(
    set: &Published,
    published: &PublishedFile,
    addresses: &[&str],
    folder: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<FetchedFile, Error> {
    let name = file::packed_name(published);
    // The plain content is the most that any packing of it should need, and a server may send that.
    let limit = published.bytes.max(published.packed_bytes) + 1024;
    let mut attempts = Vec::new();
    for prefix in addresses {
        let address = format!("{prefix}{name}");
        let problem = match http::get(&address, limit, progress) {
            Err(problem) => problem,
            Ok(stored) => match file::check(published, &stored) {
                Ok(_) => {
                    let path = place(published, &stored, folder)?;
                    return Ok(FetchedFile { path, outcome: Outcome::Downloaded(address) });
                }
                Err(damage) => format!(
                    "expected the published file ({} bytes unpacked, SHA-256 `{}`), found {damage}",
                    published.bytes, published.sha256
                ),
            },
        };
        attempts.push(Attempt { address, problem });
    }
    Err(Error::Download { name: set.name, file: name, attempts })
}

/// Writes checked bytes into `folder`, under the name that tells whether they are packed, and nothing under the
/// other name, where a wrong file may lie.
fn place(published: &PublishedFile, stored: &[u8], folder: &Path) -> Result<PathBuf, Error> {
    let (packed, plain) = (folder.join(file::packed_name(published)), folder.join(published.name));
    let (path, other) = if file::is_packed(stored) { (packed, plain) } else { (plain, packed) };
    file::write_atomically(&path, stored)?;
    match std::fs::remove_file(&other) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Write { path: other, source })
        }
        _ => Ok(path),
    }
}
