//! Losses on named tensors: every loss runs on the example that it prints, and says what is missing or wrong.
use std::collections::BTreeMap;

use kd_core::loss::TABLE;
use kd_train::loss_eval::{Content, Example, evaluate, example, parse};
use kd_train::recipe::{Recipe, Source};
use kd_train::tensors::{self, Numbers, Stored};
use kd_train::{Error, Kind, Registry};

fn tensors_of(examples: Vec<Example>, double: bool) -> BTreeMap<String, Stored> {
    let tensor = |Example { name, shape, content }| {
        let len: usize = shape.iter().product();
        let wave = |i: usize| ((i * 7 + 3) as f64 * 0.739).sin() + 0.3 * ((i * i) as f64).cos();
        let numbers: Vec<f64> = match content {
            Content::Normal => (0..len).map(wave).collect(),
            Content::Positive => (0..len).map(|i| 1.0 + 0.3 * wave(i)).collect(),
            Content::Ones => vec![1.0; len],
            Content::Classes(count) | Content::Places(count) => {
                (0..len).map(|i| ((i * 5 + 1) % count) as f64).collect()
            }
        };
        let numbers = match content {
            Content::Classes(_) => Numbers::Int(numbers.into_iter().map(|x| x as i64).collect()),
            _ if double => Numbers::F64(numbers),
            _ => Numbers::F32(numbers.into_iter().map(|x| x as f32).collect()),
        };
        (name, Stored { shape, numbers })
    };
    examples.into_iter().map(tensor).collect()
}

#[test]
fn every_loss_runs_on_its_example_in_both_precisions() {
    let registry = Registry::builtin();
    let mut problems = Vec::new();
    for row in TABLE {
        let (name, loss) = parse(&format!("{} = {}", row.name, row.example), &registry).unwrap();
        for double in [false, true] {
            let inputs = tensors_of(example(row), double);
            let found = match evaluate((&name, loss.as_ref()), &inputs) {
                Ok(found) => found,
                Err(error) => {
                    problems.push(format!("{name}: {error}"));
                    continue;
                }
            };
            let value = &found["value"];
            assert_eq!(
                (value.shape.as_slice(), value.kind()),
                (&[1][..], if double { "f64" } else { "f32" })
            );
            if !value.to_f64()[0].is_finite() {
                problems.push(format!("{name}: {:?}", value.numbers));
            }
            for (input, tensor) in inputs.iter().filter(|(name, _)| name.starts_with("student.")) {
                let gradient = &found[&format!("grad.{input}")];
                assert_eq!(
                    (&gradient.shape, gradient.kind()),
                    (&tensor.shape, tensor.kind()),
                    "{name} {input}"
                );
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn a_missing_input_is_named_and_is_the_requests_fault() {
    let registry = Registry::builtin();
    for row in TABLE {
        let (name, loss) = parse(&format!("{} = {}", row.name, row.example), &registry).unwrap();
        for missing in example(row) {
            let mut inputs = tensors_of(example(row), false);
            inputs.remove(&missing.name);
            // One of two teachers is enough, and one of several inputs that may be left out.
            let optional = |name: &str| row.inputs.iter().any(|input| input.optional && input.name == name);
            let Err(error) = evaluate((&name, loss.as_ref()), &inputs) else {
                assert!(
                    missing.name.starts_with("teacher.1") || optional(&missing.name),
                    "{name} without {}",
                    missing.name
                );
                continue;
            };
            assert_eq!(error.kind(), Kind::Request, "{name}: {error}");
            let place =
                missing.name.replace(".0.", ".K.").replace("site", "SITE").replace("feature", "FEATURE");
            let side = place.split('.').next().unwrap();
            let said = error.to_string();
            assert!(said.contains(&place) || said.contains(side), "{name} without {}: {said}", missing.name);
        }
    }
}

#[test]
fn wrong_inputs_are_refused_with_what_was_expected() {
    let registry = Registry::builtin();
    let (name, loss) = parse("cross-entropy", &registry).unwrap();
    let logits = Stored { shape: vec![2, 3], numbers: Numbers::F32(vec![0.0; 6]) };
    let with = |name: &str, tensor: Stored| {
        let targets = Stored { shape: vec![2], numbers: Numbers::Int(vec![0, 2]) };
        let mut all =
            BTreeMap::from([("student.logits".to_owned(), logits.clone()), ("targets".to_owned(), targets)]);
        all.insert(name.to_owned(), tensor);
        all
    };
    let ints = |numbers: Vec<i64>| Stored { shape: vec![numbers.len()], numbers: Numbers::Int(numbers) };
    let mut said = String::new();
    for inputs in [
        with("targets", ints(vec![0, 3])),
        with("targets", Stored { shape: vec![2], numbers: Numbers::F32(vec![0.0, 1.0]) }),
        with("logits", logits.clone()),
        with("mask", Stored { shape: vec![1, 2], numbers: Numbers::F32(vec![0.5, 1.0]) }),
        with("student.logits", Stored { shape: vec![6], numbers: Numbers::F32(vec![0.0; 6]) }),
        with("targets", ints(vec![0])),
    ] {
        let error = evaluate((&name, loss.as_ref()), &inputs).unwrap_err();
        said += &format!("{}: {error}\n", error.code());
    }
    insta::assert_snapshot!(said, @"
    loss::wrong-input: `targets` must be classes from 0 to 2, found 3
    loss::wrong-input: `targets` must be integers, found f32 of shape [2]
    loss::wrong-input: no loss reads a tensor named `logits`: expected `student.NAME`, `teacher.NAME`, `teacher.K.NAME`, `connector.NAME`, `targets` or `mask`
    loss::wrong-input: `mask` must be ones and zeros: 1 counted, 0 ignored, found f32 of shape [1, 2]
    loss::wrong-input: `student.logits` must have rank 2 or 3, found rank 1
    train::loss-impossible: there must be one label for each of the 2 examples, found 1
    ");
}

#[test]
fn a_file_of_tensors_reads_back_and_is_the_same_bytes_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let all = BTreeMap::from([
        (
            "a".to_owned(),
            Stored { shape: vec![2, 2], numbers: Numbers::F64(vec![1.0, f64::MIN_POSITIVE, -0.0, 1e300]) },
        ),
        ("b".to_owned(), Stored { shape: vec![3], numbers: Numbers::F32(vec![1.5, f32::INFINITY, 0.1]) }),
        ("c".to_owned(), Stored { shape: vec![0], numbers: Numbers::Int(vec![]) }),
    ]);
    tensors::write(&path, &all).unwrap();
    let first = std::fs::read(&path).unwrap();
    assert_eq!(tensors::read(&path).unwrap(), all);
    tensors::write(&path, &all).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), first);
    std::fs::write(&path, b"no").unwrap();
    assert!(matches!(tensors::read(&path), Err(Error::TensorFile { .. })));
}

const RECIPE: &str = r#"
schema = 1
name = "tiny"
seed = 1
[data.digits]
[teacher]
model.mlp = { hidden = [8] }
[student]
model.mlp = { hidden = [4] }
[[objective]]
kl = { temperature.linear = { from = 8.0, to = 2.0 }, reduction = "mean" }
[[stage]]
name = "teacher"
[stage.train]
of = "teacher"
epochs = 1
[[stage]]
name = "distill"
[stage.distill]
epochs = 1
"#;

fn recipe(text: &str) -> Result<Recipe, kd_train::problem::Problems> {
    let source = Source { name: "tiny.toml".into(), text: text.into(), folder: ".".into() };
    Recipe::parse(&source, &[], &Registry::builtin())
}

#[test]
fn a_temperature_may_follow_a_schedule_and_is_written_out_as_one() {
    let resolved = recipe(RECIPE).unwrap().resolved();
    assert!(resolved.contains("linear"), "{resolved}");
    assert_eq!(recipe(&resolved).unwrap().resolved(), resolved);
    let below = RECIPE.replace("to = 2.0", "to = -1.0");
    let problems = recipe(&below).unwrap_err();
    assert!(problems.to_string().contains("above 0"), "{problems}");
}

#[test]
fn a_loss_that_needs_more_than_a_recipe_has_is_refused_by_name() {
    for row in TABLE.iter().filter(|row| row.lacks.is_some()) {
        let text = RECIPE.replace(
            "kl = { temperature.linear = { from = 8.0, to = 2.0 }, reduction = \"mean\" }",
            &format!("{} = {}", row.name, row.example),
        );
        let problems = recipe(&text).unwrap_err().to_string();
        assert!(
            problems.contains("recipe::loss-lacks") && problems.contains(row.lacks.unwrap()),
            "{problems}"
        );
    }
}
