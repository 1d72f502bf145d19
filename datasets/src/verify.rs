//! Checking the files of a set that are on this machine against what was published.

use std::path::PathBuf;

use crate::error::Damage;
use crate::{Error, Folders, Published, PublishedFile, file};

/// The state of every file of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The set.
    pub name: &'static str,
    /// The folder that its files are in; `None` where the program itself holds them.
    pub folder: Option<PathBuf>,
    /// Each file with its state, in the set's order.
    pub files: Vec<(&'static PublishedFile, FileState)>,
}

/// The state of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// As published.
    Good,
    /// Not there.
    Missing,
    /// There, but not as published.
    Damaged(Damage),
}

impl Verified {
    /// Whether every file is as published.
    pub fn is_good(&self) -> bool {
        self.files.iter().all(|(_, state)| *state == FileState::Good)
    }
}

/// Unpacks and checks every file of the set `name`, in the folder that loading it would use.
///
/// # Errors
/// [`Error::UnknownSet`], [`Error::NotFound`], and [`Error::Read`] where a file cannot be read. A missing or damaged
/// file is a result, not an error.
pub fn verify(name: &str, folders: &Folders) -> Result<Verified, Error> {
    let set = Published::named(name)?;
    let state = |published: &PublishedFile, stored: &[u8]| match file::check(published, stored) {
        Ok(_) => FileState::Good,
        Err(damage) => FileState::Damaged(damage),
    };
    if set.is_embedded() {
        let files = set.files.iter().zip(set.embedded()).map(|(f, stored)| (f, state(f, stored))).collect();
        return Ok(Verified { name: set.name, folder: None, files });
    }
    let folder = folders.find(set)?;
    let mut files = Vec::new();
    for published in set.files {
        let found = match file::packed_or_plain(&folder, published) {
            Some(path) => state(published, &file::read_stored(&path)?),
            None => FileState::Missing,
        };
        files.push((published, found));
    }
    Ok(Verified { name: set.name, folder: Some(folder), files })
}
