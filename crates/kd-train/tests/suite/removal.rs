//! What stages that prune cannot do is said before anything trains, and that they did nothing when they are done.

use std::path::Path;

use kd_train::event::{Event, Silent, Sink};
use kd_train::summary::Summary;

use crate::common::{StopAfter, go_on, run};

const HEAD: &str = r#"
schema = 1
name = "removal"
seed = 11

[data.digits]
validation = 200
batch = 256

[teacher]
model.mlp = { hidden = [8] }

[student]
model.mlp = { hidden = [16, 8] }

[[objective]]
weight = 1.0
cross-entropy = {}

[[stage]]
name = "teacher"
[stage.train]
of = "teacher"
epochs = 1

[[stage]]
name = "student"
[stage.train]
of = "student"
epochs = 1

[[stage]]
name = "last"
"#;

/// Remembers what was noted.
#[derive(Default)]
struct Notes(Vec<String>);

impl Sink for Notes {
    fn event(&mut self, event: Event) {
        if let Event::Note(note) = event {
            self.0.push(note);
        }
    }
}

fn summary(dir: &Path) -> Summary {
    serde_json::from_slice(&std::fs::read(dir.join("summary.json")).unwrap()).unwrap()
}

#[test]
fn what_no_cut_can_reach_is_found_before_anything_trains() {
    let mut said = Vec::new();
    for stage in [
        "[stage.prune]\npattern.channels = { macs = 0.999 }\nround-to = 8",
        "[stage.prune]\npattern.channels = { sparsity = 0.5 }\npinned = [\"nothing-here\"]",
        "[stage.prune]\npattern.empty = {}\npinned = [\"nothing-here\"]",
        "[stage.prune]\npattern.channels = { macs = 0.9 }\ncriterion.bn-scale = {}",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let error = run(&format!("{HEAD}{stage}"), &[], folder.path(), &mut Silent).unwrap_err();
        assert!(!folder.path().join("runs/removal/1-teacher/model.safetensors").exists(), "{stage}");
        said.push(format!("{}: {error}", error.code()));
    }
    insta::assert_snapshot!(said.join("\n"), @"
    prune::impossible: cannot remove 0.999 of 1232 multiply-accumulates, at most 576 can go; lower the target or free some of the 2 axes that stay whole
    prune::impossible: `nothing-here` pins nothing: it matches none of hidden.0.bias, hidden.0.weight, hidden.1.bias, hidden.1.weight, output.bias, output.weight
    prune::impossible: `nothing-here` pins nothing: it matches none of hidden.0.bias, hidden.0.weight, hidden.1.bias, hidden.1.weight, output.bias, output.weight
    prune::impossible: `bn-scale` finds nothing to score on the axis of `hidden.0.weight`
    ");
    // Behind another cut, costs are others than those of the student that is tried.
    let folder = tempfile::tempdir().unwrap();
    let two = "[stage.prune]\npattern.channels = { sparsity = 0.5 }\n[[stage]]\nname = \"again\"\n[stage.prune]\n\
               pattern.channels = { macs = 0.9 }\nround-to = 4";
    let error = run(&format!("{HEAD}{two}"), &[], folder.path(), &mut Silent).unwrap_err();
    assert_eq!(error.code(), "prune::impossible", "{error}");
    assert!(folder.path().join("runs/removal/3-last/model.safetensors").exists());
}

#[test]
fn a_stage_that_removed_nothing_says_why() {
    for (stage, why) in [
        (
            "[stage.prune]\npattern.channels = { sparsity = 0.5 }\nround-to = 16\nepochs = 1",
            "what stays is rounded up to a multiple of `round-to`, 16, which is the whole of 8 or 16 units; lower it, or \
             ask for more",
        ),
        (
            "[stage.prune]\npattern.empty = {}",
            "masks left no head, hidden unit or channel empty; sparsify more, or by a pattern of whole units such as \
             `hybrid` or `rows`",
        ),
        (
            "[stage.sparsify]\npattern.unstructured = { sparsity = 0.5 }\nschedule.soft-movement = {}\nepochs = 1",
            "no score fell to σ(S) ≤ 0.1; raise `regularisation`, 1, or `rate`, 0.01, or give the stage more epochs",
        ),
        (
            "[stage.sparsify]\npattern.rows = { sparsity = 0.05 }",
            "`rows sparsity=0.05` is less than one unit of every weight; ask for more",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut notes = Notes::default();
        let outcome = run(&format!("{HEAD}{stage}"), &[], folder.path(), &mut notes).unwrap();
        let note = format!("`last`: nothing was removed: {why}.");
        assert!(notes.0.contains(&note), "{note}\n{:?}", notes.0);
        let summary = summary(&outcome.dir);
        assert_eq!(summary.stages[2].nothing_removed.as_deref(), Some(why));
        assert!(summary.notes.contains(&note), "{:?}", summary.notes);
        assert!(outcome.report.contains(&note), "{}", outcome.report);
    }
}

#[test]
fn a_stage_that_goes_on_says_so_too_and_one_that_removed_something_does_not() {
    let stage = "[stage.prune]\npattern.channels = { sparsity = 0.5 }\nround-to = 16\nepochs = 1";
    let folder = tempfile::tempdir().unwrap();
    // Stopped in the last stage, whose cut is made then.
    let stopped = run(&format!("{HEAD}{stage}"), &[], folder.path(), &mut StopAfter(30));
    assert!(stopped.is_err());
    let dir = folder.path().join("runs/removal");
    assert!(dir.join("3-last/cut.json").is_file());
    let outcome = go_on(&dir, &mut Silent).unwrap();
    assert!(outcome.report.contains("nothing was removed"), "{}", outcome.report);

    let folder = tempfile::tempdir().unwrap();
    let stage = stage.replace("16", "4");
    let outcome = run(&format!("{HEAD}{stage}"), &[], folder.path(), &mut Silent).unwrap();
    assert!(!outcome.report.contains("nothing was removed"), "{}", outcome.report);
    assert_eq!(summary(&outcome.dir).stages[2].nothing_removed, None);
}
