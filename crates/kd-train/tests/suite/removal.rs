//! What stages that prune cannot do is said before anything trains.

use kd_train::event::Silent;

use crate::common::run;

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
