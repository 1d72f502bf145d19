//! Wrong requests, one after the other: each ends with exit code 2 or 3 and a message that names the place, and none
//! with a panic.

mod artifacts;
mod data;
mod line;
mod recipes;
mod runs;
mod weights;

use std::path::Path;

use crate::common::{TINY, run, text};

/// A wrong request.
struct Case<'a> {
    /// What is wrong.
    name: &'a str,
    args: &'a [&'a str],
    exit: i32,
    /// What standard error says, among others.
    says: &'a [&'a str],
}

/// Makes the request in a folder.
#[track_caller]
fn refused(folder: &Path, case: &Case<'_>) {
    let output = run(folder, case.args);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    let name = case.name;
    assert_eq!(output.status.code(), Some(case.exit), "{name}: {stderr}{stdout}");
    for said in case.says {
        assert!(stderr.contains(said), "{name}: expected `{said}` in\n{stderr}");
    }
    for never in ["panicked", "internal error", "\u{1b}"] {
        assert!(!stderr.contains(never), "{name}: {stderr}");
    }
    assert_eq!(stdout, "", "{name}: data on standard output");
}

/// Makes requests in a folder that holds the tiny recipe.
#[track_caller]
fn all_refused(cases: &[Case<'_>]) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tiny.toml"), TINY).unwrap();
    for case in cases {
        refused(folder.path(), case);
    }
    assert!(!folder.path().join("runs").exists(), "a wrong request left a run directory");
}
