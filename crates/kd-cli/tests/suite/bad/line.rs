//! The command line itself.

use super::{Case, all_refused, refused};

#[test]
fn wrong_options_are_refused_before_anything_runs() {
    let case = |name, args, says| Case { name, args, exit: 2, says };
    all_refused(&[
        case("no such command", &["trian", "tiny.toml"], &["trian", "train"]),
        case("no such option", &["train", "tiny.toml", "--devise", "flex"], &["--devise", "--device"]),
        case("no recipe", &["train"], &["<RECIPE>"]),
        case("no seeds", &["train", "tiny.toml", "--seeds", "0"], &["--seeds", "0"]),
        case("seeds in words", &["train", "tiny.toml", "--seeds", "three"], &["--seeds", "three"]),
        case("no threads", &["train", "tiny.toml", "--threads", "0"], &["--threads", "0"]),
        case("a recipe and a run to resume", &["train", "tiny.toml", "--resume", "runs/tiny"], &["--resume"]),
        case("no format of ours", &["list", "losses", "--format", "yaml"], &["yaml", "json"]),
        case("quiet and verbose", &["list", "losses", "-q", "-v"], &["--quiet", "--verbose"]),
        case("no kind of list", &["list", "loses"], &["loses", "losses"]),
        case("no shell", &["completions", "cmd"], &["cmd", "powershell"]),
        case("no engine", &["eval", "model.onnx", "--engine", "torch"], &["torch", "tract"]),
        case("nowhere to export to", &["export", "runs/tiny"], &["--out"]),
        case("no code", &["explain", "unknown-loss"], &["unknown-loss", "kd explain recipe::unknown-loss"]),
        case("nothing like a code", &["explain", "E0308"], &["E0308", "kd list codes"]),
    ]);
}

#[test]
fn a_recipe_to_start_from_is_not_written_over_another() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mine.toml"), "mine").unwrap();
    let case = |name, args, exit, says| Case { name, args, exit, says };
    for case in [
        case("it exists", &["init", "mine"] as &[_], 2, &["mine.toml", "exists"] as &[_]),
        case("no name for a folder", &["init", "a b"], 2, &["a b"]),
        case("the folder is absent", &["init", "no/such/recipe"], 3, &["no/such/recipe.toml", "because"]),
    ] {
        refused(folder.path(), &case);
    }
    assert_eq!(std::fs::read_to_string(folder.path().join("mine.toml")).unwrap(), "mine");
}

/// Standard output can be the full disk.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_behind_standard_output_is_a_failure_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = crate::common::kd(folder.path(), &["completions", "bash"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let stderr = crate::common::text(&output.stderr);
    assert!(stderr.contains("standard output") && stderr.contains("No space left"), "{stderr}");
}

/// A reader that closes early, such as `head -1`, has what it wanted.
#[test]
fn a_closed_pipe_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = crate::common::kd(folder.path(), &["completions", "zsh"]).stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", crate::common::text(&output.stderr));
    assert_eq!(crate::common::text(&output.stderr), "");
}
