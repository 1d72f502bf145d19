//! Golden vectors: values that formulas and public implementations give, written once in Python and committed.
//!
//! The tests never run Python. Whoever changes a generator in `tools/golden/` runs this, looks at the difference,
//! and commits both.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use xshell::{Shell, cmd};

use crate::workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run these generators alone: `kd_core` for `tools/golden/kd_core.py`, `losses` for that of all losses
    names: Vec<String>,
    /// Folder of the public implementations that losses, criteria and trained scores are compared with, as
    /// `references.toml` in `tools/golden/losses`, `tools/golden/pruning` and `tools/golden/movement` lists them
    #[arg(long, value_name = "DIR")]
    references: Option<PathBuf>,
}

const FOLDER: &str = "tools/golden";

/// The generators that are folders, with their scripts: those that compare with checkouts of public implementations.
const COMPARED: [(&str, &str); 3] = [
    ("losses", "tools/golden/losses/run.py"),
    ("pruning", "tools/golden/pruning/run.py"),
    ("movement", "tools/golden/movement/run.py"),
];

/// A script and the name that it goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Generator {
    name: String,
    script: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let sh = workspace::shell()?;
    let references = args.references.as_deref().map(folder).transpose()?;
    let all = generators(sh.read_dir(FOLDER)?);
    let chosen = chosen(all, &args.names, references.is_some())?;
    let python = environment(&sh)?;
    for Generator { name, script } in &chosen {
        let references = references.iter().filter(|_| is_compared(name));
        let options = references.flat_map(|folder| [Path::new("--references"), folder]);
        cmd!(sh, "{python} {script} {options...}").run()?;
    }
    cmd!(sh, "git status --short -- crates").quiet().run()?;
    Ok(())
}

/// A folder as the person named it who called, from wherever that was.
fn folder(path: &Path) -> Result<PathBuf> {
    ensure!(path.is_dir(), "`{}` is no folder", path.display());
    Ok(std::path::absolute(path)?)
}

/// Every generator, from what lies in their folder.
fn generators(mut files: Vec<PathBuf>) -> Vec<Generator> {
    files.retain(|path| path.extension().is_some_and(|extension| extension == "py"));
    let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let scripts = files.into_iter().map(|script| Generator { name: stem(&script), script });
    let folders = COMPARED.map(|(name, script)| Generator { name: name.to_owned(), script: script.into() });
    scripts.chain(folders).collect()
}

fn is_compared(name: &str) -> bool {
    COMPARED.iter().any(|(compared, _)| *compared == name)
}

/// Those that are asked for, or all; without public implementations those that compare with some only where they are
/// asked for, since what these implementations gave would be gone from their files.
fn chosen(mut all: Vec<Generator>, names: &[String], references: bool) -> Result<Vec<Generator>> {
    if let Some(name) = names.iter().find(|name| all.iter().all(|one| one.name != **name)) {
        let known: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
        bail!("no generator is named `{name}`; there are {}", known.join(", "));
    }
    if names.is_empty() && !references {
        println!(
            "without `--references` the vectors of losses, criteria and trained scores stay as they are"
        );
        all.retain(|one| !is_compared(&one.name));
    }
    all.retain(|one| names.is_empty() || names.contains(&one.name));
    Ok(all)
}

/// Python in a virtual environment under `target/` with the packages that the generators ask for.
fn environment(sh: &Shell) -> Result<PathBuf> {
    let environment = workspace::root().join("target/golden");
    let python = environment.join("bin/python");
    if !python.exists() {
        cmd!(sh, "python3 -m venv {environment}").run().context("golden vectors are made with Python 3")?;
    }
    cmd!(sh, "{python} -m pip install --quiet --disable-pip-version-check -r {FOLDER}/requirements.txt")
        .run()?;
    Ok(python)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(asked: &[&str], references: bool) -> Result<Vec<String>> {
        let files = ["tools/golden/kd_core.py", "tools/golden/losses", "tools/golden/requirements.txt"];
        let asked: Vec<String> = asked.iter().map(|&name| name.to_owned()).collect();
        let chosen = chosen(generators(files.map(PathBuf::from).into()), &asked, references)?;
        Ok(chosen.into_iter().map(|one| one.name).collect())
    }

    #[test]
    fn losses_are_written_without_references_only_where_they_are_asked_for() -> Result<()> {
        assert_eq!(names(&[], false)?, ["kd_core"]);
        assert_eq!(names(&[], true)?, ["kd_core", "losses", "pruning", "movement"]);
        assert_eq!(names(&["losses"], false)?, ["losses"]);
        let error = names(&["kl"], false).map_err(|error| error.to_string());
        assert_eq!(
            error,
            Err("no generator is named `kl`; there are kd_core, losses, pruning, movement".to_owned())
        );
        Ok(())
    }

    #[test]
    fn scripts_in_folders_are_there() {
        assert!(COMPARED.iter().all(|(_, script)| workspace::root().join(script).is_file()));
    }
}
