//! The places where published files are looked for, in order.
//!
//! Given as a value: this crate reads no environment variable and does not know where a user's cache is.

use std::path::{Path, PathBuf};

use crate::{Error, Published, file};

/// Folders to look in. Each holds one folder a data set, `FOLDER/mnist/train-images-idx3-ubyte.gz`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folders {
    /// Where relative paths of a recipe start; empty is the current directory.
    pub base: PathBuf,
    /// Named by the user for this data set (`path` or `--from`). The files may also lie in it directly, and
    /// nowhere else is looked: a wrong path shall not silently mean another copy.
    pub explicit: Option<PathBuf>,
    /// Named by the user for all data (`KD_DATA`).
    pub env: Option<PathBuf>,
    /// `datasets/` of the enclosing workspace, see [`workspace_datasets`].
    pub workspace: Option<PathBuf>,
    /// The user's cache, which [`fetch`](crate::fetch) fills.
    pub cache: Option<PathBuf>,
}

impl Folders {
    /// A path of a recipe, made to start at [`base`](Self::base) unless it is absolute.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    /// These folders with `path`, if there is one, as the explicit one.
    pub(crate) fn with_path(&self, path: Option<&Path>) -> Self {
        let mut folders = self.clone();
        if let Some(path) = path {
            folders.explicit = Some(self.resolve(path));
        }
        folders
    }

    /// The folders that `name` may be in, in order.
    pub fn candidates(&self, name: &str) -> Vec<PathBuf> {
        match &self.explicit {
            Some(folder) => vec![folder.join(name), folder.clone()],
            None => [&self.env, &self.workspace, &self.cache]
                .into_iter()
                .flatten()
                .map(|f| f.join(name))
                .collect(),
        }
    }

    /// The first candidate that holds any of the files of `set`: a half-filled folder is an error to report, not
    /// a reason to go on to the next.
    ///
    /// # Errors
    /// [`Error::NotFound`] with the folders that were looked in.
    pub fn find(&self, set: &Published) -> Result<PathBuf, Error> {
        let looked_in = self.candidates(set.name);
        let found = looked_in
            .iter()
            .find(|folder| set.files.iter().any(|f| file::packed_or_plain(folder, f).is_some()));
        match found {
            Some(folder) => Ok(folder.clone()),
            None => Err(Error::NotFound { name: set.name, looked_in }),
        }
    }
}

/// `datasets/` beside the `Cargo.toml` of the workspace that encloses `start`, an absolute path.
pub fn workspace_datasets(start: &Path) -> Option<PathBuf> {
    let is_workspace = |folder: &&Path| {
        std::fs::read_to_string(folder.join("Cargo.toml"))
            .is_ok_and(|manifest| manifest.lines().any(|line| line.trim() == "[workspace]"))
    };
    let datasets = start.ancestors().find(is_workspace)?.join("datasets");
    datasets.is_dir().then_some(datasets)
}
