//! What a command can fail with, which exit code that is, and how it is said.
//!
//! Most failures are `kd_train`'s, which know their code and what helps. The rest is about the command line itself.

use std::io;
use std::path::{Path, PathBuf};

use kd_train::{Error, Kind};

use crate::exit::Exit;
use crate::problem;
use crate::terminal::Terminal;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// A recipe, data, a run.
    #[error(transparent)]
    Train(#[from] Error),
    /// A recipe that cannot be read.
    #[error("cannot read the recipe `{}`", .path.display())]
    Recipe { path: PathBuf, source: io::Error },
    /// A code that no problem has.
    #[error("no problem has the code `{code}`")]
    UnknownCode { code: String, nearest: Option<&'static str> },
    /// A name that no loss, schedule or criterion has; `list` is what `kd list` calls them.
    #[error("no {what} is named `{name}`")]
    UnknownName { what: &'static str, list: &'static str, name: String, nearest: Option<&'static str> },
    /// A name that cannot be a recipe's.
    #[error("expected a name of letters, digits, `-`, `_` and `.`, found `{name}`")]
    RecipeName { name: String },
    /// A recipe that would be overwritten.
    #[error("`{}` exists and is not overwritten", .path.display())]
    RecipeExists { path: PathBuf },
    /// A file that cannot be written.
    #[error("cannot write `{}`", .path.display())]
    Write { path: PathBuf, source: io::Error },
    /// An engine that is not on this machine, in a sentence that says how to add it.
    #[error("{0}")]
    NoEngine(String),
    /// No folder to fetch data into.
    #[error("there is no cache folder to fetch data into")]
    NoCache,
    /// Data sets that are not as published.
    #[error("{} not as published", list(.0))]
    Damaged(Vec<String>),
    /// Standard output broke.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

impl From<kd_datasets::Error> for Failure {
    fn from(error: kd_datasets::Error) -> Self {
        Failure::Train(error.into())
    }
}

impl Failure {
    /// The exit code that it is.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Failure::Train(error) => match error.kind() {
                Kind::Request => Exit::Request,
                Kind::Run | Kind::Interrupted => Exit::Failed,
            },
            Failure::Write { .. } | Failure::Output(_) => Exit::Failed,
            _ => Exit::Request,
        }
    }

    /// What helps.
    fn help(&self) -> Option<String> {
        match self {
            Failure::Train(error) => error.help(),
            Failure::Recipe { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("`kd init` writes a recipe to start from".into())
            }
            Failure::UnknownCode { nearest: Some(nearest), .. } => {
                Some(format!("did you mean `kd explain {nearest}`? `kd list codes` shows all"))
            }
            Failure::UnknownCode { nearest: None, .. } => Some("`kd list codes` shows all".into()),
            Failure::UnknownName { what, list, nearest: Some(nearest), .. } => {
                Some(format!("did you mean `kd explain {what}.{nearest}`? `kd list {list}` shows all"))
            }
            Failure::UnknownName { list, nearest: None, .. } => Some(format!("`kd list {list}` shows all")),
            Failure::RecipeName { .. } => Some("the name becomes a file and the folder of the run".into()),
            Failure::RecipeExists { .. } => Some("choose another name: `kd init NAME`".into()),
            Failure::NoCache => Some("set `XDG_CACHE_HOME` or `HOME`".into()),
            Failure::Damaged(names) => {
                Some(format!("remove the bad files; `kd data fetch {}` brings good ones", names[0]))
            }
            _ => None,
        }
    }

    /// Says it on standard error.
    pub(crate) fn report(&self, terminal: &Terminal) {
        match self {
            Failure::Train(Error::Problems(problems)) => problem::report(problems, terminal),
            Failure::Train(error @ Error::Interrupted { run }) => {
                terminal.always(format_args!("{error}; to go on:\n\n    {}\n", resume_line(run)));
            }
            Failure::Train(error @ Error::RunUnfinished { path }) => {
                terminal.error(Some(error.code()), error);
                terminal.always(format_args!("to go on with it:\n\n    {}\n", resume_line(path)));
                terminal.hint("`--run-dir DIR` begins another one");
            }
            _ => {
                let code = match self {
                    Failure::Train(error) => Some(error.code()),
                    _ => None,
                };
                terminal.error(code, self);
                let mut said = self.to_string();
                for cause in causes(self) {
                    let cause = cause.to_string();
                    if !said.contains(&cause) {
                        terminal.always(format_args!("  because: {cause}"));
                    }
                    said = cause;
                }
                if let Some(help) = self.help() {
                    terminal.hint(help);
                }
            }
        }
    }
}

/// The command that goes on with a run, quoted where a shell needs it.
pub(crate) fn resume_line(run: &Path) -> String {
    let path = run.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    match path.chars().all(plain) && !path.is_empty() {
        true => format!("kd train --resume {path}"),
        false => format!("kd train --resume '{}'", path.replace('\'', r"'\''")),
    }
}

fn causes(error: &dyn std::error::Error) -> impl Iterator<Item = &dyn std::error::Error> {
    std::iter::successors(error.source(), |error| error.source())
}

fn list(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_to_copy_survives_a_shell() {
        assert_eq!(resume_line(Path::new("runs/mnist-2")), "kd train --resume runs/mnist-2");
        assert_eq!(resume_line(Path::new("my runs/it's")), r"kd train --resume 'my runs/it'\''s'");
    }

    #[test]
    fn a_download_that_failed_is_no_wrong_request() {
        let download = kd_datasets::Error::Download { name: "mnist", file: "x".into(), attempts: Vec::new() };
        assert_eq!(Failure::from(download).exit(), Exit::Failed);
        let unknown = kd_datasets::Error::UnknownSet { name: "minst".into(), known: vec!["mnist"] };
        assert_eq!(Failure::from(unknown).exit(), Exit::Request);
    }
}
