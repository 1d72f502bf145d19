//! Stages whose weights come to share few values: what is stored, what learns, what resumes.

use std::collections::BTreeSet;

use kd_deploy::{kdz, safetensors};
use kd_train::Error;
use kd_train::event::Silent;
use kd_train::summary::Summary;

use crate::common::{RECIPE, StopAfter, exact_files, go_on, run};

/// The usual recipe up to its masks, then shared values, then an export.
fn recipe(stage: &str) -> String {
    let before = RECIPE.split("[[stage]]").take(5).collect::<Vec<_>>().join("[[stage]]");
    format!(
        "{before}[[stage]]\nname = \"shared\"\n[stage.share]\n{stage}\n[[stage]]\nname = \"export\"\n[stage.export]\n"
    )
}

fn distinct(values: &[f32]) -> usize {
    values.iter().filter(|x| **x != 0.0).map(|x| x.to_bits()).collect::<BTreeSet<_>>().len()
}

#[test]
fn weights_share_values_that_learn_and_masks_stay() {
    let base = tempfile::tempdir().unwrap();
    let dir = |epochs: usize| {
        let text = recipe(&format!("values = 8\nconv-values = 12\nepochs = {epochs}"));
        run(&text, &[&format!("name=\"share-{epochs}\"")], base.path(), &mut Silent).unwrap().dir
    };
    let (still, learned) = (dir(0), dir(2));
    let read = |dir: &std::path::Path, stage: &str| {
        safetensors::read(&dir.join(stage).join("model.safetensors")).unwrap().arrays
    };
    let before = read(&learned, "4-sparse");
    let (still, after) = (read(&still, "5-shared"), read(&learned, "5-shared"));
    for (name, most) in [("blocks.0.conv.weight", 12), ("hidden.weight", 8)] {
        let of = |arrays: &std::collections::BTreeMap<String, kd_deploy::Array>| arrays[name].data().to_vec();
        let zeros = |values: &[f32]| values.iter().map(|x| *x == 0.0).collect::<Vec<_>>();
        assert!((2..=most).contains(&distinct(&of(&after))), "{name}: {}", distinct(&of(&after)));
        assert!(distinct(&of(&before)) > most, "{name}");
        assert_eq!(
            zeros(&of(&before)),
            zeros(&of(&after)),
            "{name}: masked weights stay zero, and no other is"
        );
        assert_ne!(of(&still), of(&after), "{name}: its values learn");
        // Training moves values, and never a weight to another one.
        let mut pairs: BTreeSet<(u32, u32)> = BTreeSet::new();
        pairs.extend(of(&still).iter().zip(of(&after)).map(|(a, b)| (a.to_bits(), b.to_bits())));
        assert_eq!(pairs.len(), distinct(&of(&still)) + 1, "{name}");
    }

    let packed = kdz::read(&learned.join("5-shared/model.kdz")).unwrap();
    assert_eq!(packed.arrays, after);
    let summary: Summary =
        serde_json::from_slice(&std::fs::read(learned.join("summary.json")).unwrap()).unwrap();
    let stage = summary.stages.last().unwrap();
    let about = stage.packed.as_ref().unwrap();
    assert_eq!(about.bytes, std::fs::metadata(learned.join("5-shared/model.kdz")).unwrap().len());
    assert!((9..=12).contains(&about.most_values) && stage.nonzero == summary.stages[3].nonzero, "{about:?}");
    assert!(std::fs::read_to_string(learned.join("report.md")).unwrap().contains("## Packed weights"));
    assert!(stage.accuracy > 0.6 * summary.stages[3].accuracy, "{}", stage.accuracy);
}

#[test]
fn a_stage_of_shared_values_resumes_bit_for_bit() {
    let text = recipe("values = 8\nepochs = 2");
    let (whole, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = run(&text, &[], whole.path(), &mut Silent).unwrap().dir;
    let mut result = run(&text, &[], other.path(), &mut StopAfter(41));
    let dir = other.path().join("runs/tiny");
    let mut sessions = 1;
    while let Err(error) = result {
        assert!(matches!(error, Error::Interrupted { .. }) && sessions < 100, "{error:?}");
        result = go_on(&dir, &mut StopAfter(41));
        sessions += 1;
    }
    assert!(sessions > 5, "only {sessions} sessions");
    assert_eq!(exact_files(&dir), exact_files(&expected));
}
