//! Run directories: whose they are, and what is wrong inside.

use std::fs::File;
use std::path::Path;

use super::{Case, TINY, all_refused, refused};
use crate::common::{done, run, text};

/// Makes the folder of a run that began and did not finish.
fn unfinished(path: &Path) {
    std::fs::create_dir_all(path).unwrap();
    let manifest = serde_json::json!({
        "schema": 1, "name": "tiny", "status": "unfinished", "version": "0.1.0", "burn": "0.22.1",
        "recipe_sha256": "0", "overrides": [], "base": "", "seed": 1, "split_seed": 1, "device": "flex", "threads": 1,
    });
    std::fs::write(path.join("manifest.json"), manifest.to_string()).unwrap();
    std::fs::write(path.join("recipe.toml"), TINY).unwrap();
}

#[test]
fn a_path_that_holds_no_run_is_named() {
    let case = |name, args, says| Case { name, args, exit: 2, says };
    all_refused(&[
        case("resume nothing", &["train", "--resume", "runs/absent"], &["run::not-a-run", "runs/absent"]),
        case("resume a file", &["train", "--resume", "tiny.toml"], &["run::not-a-run", "tiny.toml"]),
        case("report nothing", &["report", "runs/absent"], &["run::not-a-run", "runs/absent"]),
        case(
            "export from nothing",
            &["export", "runs/absent", "--out", "out"],
            &["run::not-a-run", "runs/absent"],
        ),
        case("score nothing", &["eval", "runs/absent"], &["run::not-a-run", "runs/absent"]),
        case(
            "a folder that is there",
            &["train", "tiny.toml", "--run-dir", "."],
            &["run::exists", "--run-dir"],
        ),
        case("no such device", &["train", "tiny.toml", "--device", "flux"], &["device::unknown", "flux"]),
        case(
            "an index on a CPU",
            &["train", "tiny.toml", "--device", "flex:1"],
            &["device::unknown", "flex:1"],
        ),
    ]);
}

/// A device that another build has.
#[test]
#[cfg(not(feature = "cuda"))]
fn a_device_that_is_not_compiled_in_names_its_feature() {
    let says = &["device::not-compiled", "cuda", "--features cuda"];
    all_refused(&[Case { name: "cuda", args: &["train", "tiny.toml", "--device", "cuda"], exit: 2, says }]);
}

#[test]
fn an_unfinished_run_is_gone_on_with_and_not_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tiny.toml"), TINY).unwrap();
    unfinished(&folder.path().join("runs/tiny"));
    let case = |name, args, says| Case { name, args, exit: 2, says };
    let line = "kd train --resume runs/tiny\n";
    for case in [
        case("begin it again", &["train", "tiny.toml"] as &[_], &["run::unfinished", line] as &[_]),
        case("in its folder", &["train", "tiny.toml", "--run-dir", "runs/tiny"], &["run::unfinished", line]),
        case("report on it", &["report", "runs/tiny"], &["run::unfinished", line]),
    ] {
        refused(folder.path(), &case);
    }
}

#[test]
fn a_run_belongs_to_one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs/tiny");
    unfinished(&path);
    let lock = File::create(path.join(".lock")).unwrap();
    lock.try_lock().unwrap();
    let says = &["run::in-use", "runs/tiny"];
    refused(
        folder.path(),
        &Case { name: "in use", args: &["train", "--resume", "runs/tiny"], exit: 2, says },
    );
}

#[test]
fn what_is_wrong_inside_a_run_is_said_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs/tiny");
    let resumed = |name: &str, exit: i32, says: &[&str]| {
        refused(folder.path(), &Case { name, args: &["train", "--resume", "runs/tiny"], exit, says });
    };
    unfinished(&path);
    resumed("another recipe than it began with", 3, &["checkpoint::state", "recipe.toml"]);
    std::fs::write(path.join("manifest.json"), "{}").unwrap();
    resumed("no manifest", 3, &["checkpoint::state", "manifest.json"]);
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_names_stage_step_and_term() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tiny.toml"), TINY).unwrap();
    let args = &["train", "tiny.toml", "-q", "--set", "stage.teacher.train.learning-rate=1e30"];
    let says = &["train::loss-not-finite", "stage `teacher`", "step ", "`cross-entropy`", "hint:"];
    refused(folder.path(), &Case { name: "diverges", args, exit: 3, says });
}

/// A run whose files are those of a finished one, up to the point where the disk is full.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_and_a_broken_state_stop_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("tiny.toml"), TINY).unwrap();
    done(path, &["train", "tiny.toml", "-q", "--run-dir", "good"]);
    let copy = |name: &str| {
        let to = path.join(name);
        std::fs::create_dir(&to).unwrap();
        std::fs::copy(path.join("good/recipe.toml"), to.join("recipe.toml")).unwrap();
        let manifest = std::fs::read_to_string(path.join("good/manifest.json")).unwrap();
        assert!(manifest.contains("\"finished\""));
        std::fs::write(to.join("manifest.json"), manifest.replace("\"finished\"", "\"unfinished\"")).unwrap();
        to
    };
    let full = copy("full");
    std::os::unix::fs::symlink("/dev/full", full.join("timing.jsonl")).unwrap();
    let says = &["io::disk-full", "timing.jsonl", "No space left", "kd train --resume"];
    refused(path, &Case { name: "full disk", args: &["train", "-q", "--resume", "full"], exit: 3, says });
    // With room again the run goes on to its end.
    std::fs::remove_file(full.join("timing.jsonl")).unwrap();
    done(path, &["train", "-q", "--resume", "full"]);

    let broken = copy("broken");
    std::fs::create_dir(broken.join("1-teacher")).unwrap();
    std::fs::write(broken.join("1-teacher/state.safetensors"), "no state").unwrap();
    let output = run(path, &["train", "-q", "--resume", "broken"]);
    let stderr = text(&output.stderr);
    assert!(matches!(output.status.code(), Some(2 | 3)), "{stderr}");
    assert!(stderr.contains("1-teacher/state.safetensors") && !stderr.contains("panicked"), "{stderr}");
}
