//! The workspace as cargo and git see it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use xshell::{Shell, cmd};

/// A member of the workspace, of what `cargo metadata` says.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` for an ordinary one, else `dev` or `build`.
    pub(crate) kind: Option<String>,
    pub(crate) req: String,
}

impl Dependency {
    pub(crate) fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

/// The root folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

/// A shell at the root folder.
pub(crate) fn shell() -> Result<Shell> {
    let shell = Shell::new()?;
    shell.change_dir(root());
    Ok(shell)
}

/// All members.
pub(crate) fn packages(sh: &Shell) -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let json = cmd!(sh, "cargo metadata --no-deps --format-version 1").quiet().read()?;
    let metadata: Metadata = serde_json::from_str(&json).context("cannot read what `cargo metadata` says")?;
    Ok(metadata.packages)
}

/// Every file that is in the repository or would be with the next `git add`, relative to the root.
pub(crate) fn files(sh: &Shell) -> Result<Vec<PathBuf>> {
    let list = cmd!(sh, "git ls-files --cached --others --exclude-standard").quiet().read()?;
    // A file that is deleted but still in the index is none.
    Ok(list.lines().map(PathBuf::from).filter(|path| sh.path_exists(path)).collect())
}

/// Builds all programs with the features that the tests have, and returns the path of `name`.
///
/// Other features of any dependency, and be it a flag without meaning, would build Burn once more: `cargo run` does.
pub(crate) fn program(sh: &Shell, name: &str) -> Result<PathBuf> {
    cmd!(sh, "cargo build --quiet --workspace --bins --tests").quiet().run()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.join("debug").join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
}
