//! Criteria on named tensors: every criterion runs on the example that it prints, and says what is missing or wrong.
use std::collections::BTreeMap;

use kd_train::loss_eval::{Content, Example};
use kd_train::prune_eval::{TABLE, evaluate, example, parse, pattern, pattern_of};
use kd_train::tensors::{Numbers, Stored};
use kd_train::{Error, Kind};

fn tensors_of(examples: Vec<Example>, double: bool) -> BTreeMap<String, Stored> {
    let tensor = |Example { name, shape, content }| {
        let len: usize = shape.iter().product();
        let wave = |i: usize| ((i * 7 + 3 + name.len()) as f64 * 0.739).sin() + 0.3 * ((i * i) as f64).cos();
        let positive = |x: f64| if content == Content::Positive { x.abs() } else { x };
        let numbers: Vec<f64> = (0..len).map(|i| positive(wave(i))).collect();
        let numbers = match double {
            true => Numbers::F64(numbers),
            false => Numbers::F32(numbers.into_iter().map(|x| x as f32).collect()),
        };
        (name, Stored { shape, numbers })
    };
    examples.into_iter().map(tensor).collect()
}

#[test]
fn every_criterion_runs_on_its_example_in_both_precisions() {
    for row in TABLE {
        let criterion = parse(&format!("{} = {}", row.name, row.example)).unwrap();
        let removal = pattern_of(row).map(|text| pattern(text).unwrap());
        for double in [false, true] {
            let inputs = tensors_of(example(row), double);
            let found = evaluate(&criterion, removal.as_ref(), &inputs)
                .unwrap_or_else(|error| panic!("{}: {error}", row.name));
            for (name, tensor) in &found {
                let kind = match (name.ends_with("mask"), double) {
                    (true, _) => "integers",
                    (false, true) => "f64",
                    (false, false) => "f32",
                };
                assert_eq!(tensor.kind(), kind, "{} {name}", row.name);
                assert!(tensor.to_f64().iter().all(|x| x.is_finite()), "{} {name}", row.name);
            }
            if let (Some(mask), Some(weight)) = (found.get("mask"), found.get("weight")) {
                assert_eq!(weight.shape, inputs["weight"].shape, "{}", row.name);
                let each = weight.to_f64().len() / mask.to_f64().len();
                for (keep, weights) in mask.to_f64().iter().zip(weight.to_f64().chunks(each)) {
                    assert!(*keep == 1.0 || weights.iter().all(|&w| w == 0.0), "{}", row.name);
                }
            }
            let expected: &[&str] = match row.name {
                "owl" => &["sparsity"],
                "sparsegpt" => &["mask", "weight"],
                "bn-scale" | "group-fisher" | "activation-norm" => &["mask", "scores"],
                _ => &["mask", "scores", "weight"],
            };
            assert!(found.keys().eq(expected), "{}: {:?}", row.name, found.keys());
        }
    }
}

#[test]
fn a_missing_tensor_is_named_with_its_shape_and_is_the_requests_fault() {
    for row in TABLE {
        let criterion = parse(&format!("{} = {}", row.name, row.example)).unwrap();
        for missing in example(row) {
            let mut inputs = tensors_of(example(row), false);
            inputs.remove(&missing.name);
            let error = evaluate(&criterion, None, &inputs).unwrap_err();
            assert_eq!((error.kind(), error.code()), (Kind::Request, "prune::missing-input"), "{error}");
            let said = error.to_string();
            let tensor = missing.name.trim_start_matches("layers.0.").trim_start_matches("layers.1.");
            assert!(said.contains(&format!("{tensor} [")), "{} without {}: {said}", row.name, missing.name);
            assert!(error.help().is_some_and(|help| help.contains(row.name)), "{}", row.name);
        }
    }
}

#[test]
fn a_double_among_what_is_read_makes_doubles() {
    let mut inputs = tensors_of(example(TABLE.iter().find(|row| row.name == "wanda").unwrap()), false);
    let criterion = parse("wanda").unwrap();
    inputs.insert("bn.weight".into(), Stored { shape: vec![1], numbers: Numbers::F64(vec![f64::NAN]) });
    assert_eq!(evaluate(&criterion, None, &inputs).unwrap()["scores"].kind(), "f32");
    let doubled = Numbers::F64(inputs["activations"].to_f64());
    inputs.get_mut("activations").unwrap().numbers = doubled;
    assert_eq!(evaluate(&criterion, None, &inputs).unwrap()["scores"].kind(), "f64");
}

#[test]
fn what_cannot_be_done_says_what_can() {
    let weight = Stored { shape: vec![2, 2], numbers: Numbers::F32(vec![0.1, -0.2, 0.3, f32::NAN]) };
    let whole = Stored { shape: vec![2, 2], numbers: Numbers::Int(vec![1, 2, 3, 4]) };
    let fine = Stored { shape: vec![2, 2], numbers: Numbers::F32(vec![0.1, -0.2, 0.3, 0.4]) };
    let large = Stored { shape: vec![1, 2], numbers: Numbers::F32(vec![1.0, 1e30]) };
    let larger = Stored { shape: vec![1, 2], numbers: Numbers::F64(vec![1.0, 1e300]) };
    let mut said = String::new();
    for (weight, criterion, removal) in [
        (&weight, "magnitude", None),
        (&whole, "magnitude", None),
        (&fine, "fpgm", Some("keep=1 of=2")),
        (&fine, "magnitude = { unit = \"channel\" }", Some("unstructured sparsity=0.5")),
        (&fine, "magnitude = { unit = \"element\" }", Some("channels sparsity=0.5")),
        (&fine, "threshold = { value = 0.2 }", Some("rows sparsity=0.5")),
        (&large, "magnitude = { p = 2 }", None),
        (&larger, "magnitude = { p = 2 }", None),
        (&larger, "lamp", Some("unstructured sparsity=0.5")),
    ] {
        let inputs = BTreeMap::from([("weight".to_owned(), weight.clone())]);
        let removal = removal.map(|text| pattern(text).unwrap());
        let error = evaluate(&parse(criterion).unwrap(), removal.as_ref(), &inputs).unwrap_err();
        said += &format!("{}: {error}\n", error.code());
        said += &error.help().map(|help| format!("  help: {help}\n")).unwrap_or_default();
    }
    for line in ["magnitud", "magnitude = { p = 3 }", "threshold", "magnitude = {} , lamp = {}", "", "owl"] {
        let Err(Error::Problems(problems)) = parse(line) else { panic!("{line}") };
        said += &format!("{}: {}\n", problems.list[0].code, problems.list[0].message);
    }
    said += &format!("{}\n", pattern("2:4").unwrap_err());
    insta::assert_snapshot!(said, @r#"
    prune::wrong-input: `weight` is NaN at element 3, expected finite numbers
    prune::wrong-input: `weight` must be floats, found integers of shape [2, 2]
    prune::pattern: criterion `fpgm` has no scores for the unit `element`
      help: it can remove by `channels`
    prune::pattern: `unit = "channel"` of criterion `magnitude` scores by channel, and the pattern `unstructured sparsity=0.5` removes by element
      help: leave `unit` out, which then is "element", or choose another pattern
    prune::pattern: `unit = "element"` of criterion `magnitude` scores by element, and the pattern `channels sparsity=0.5` removes by channel
      help: leave `unit` out, which then is "channel", or choose another pattern
    prune::pattern: criterion `threshold` cannot remove by the pattern `rows sparsity=0.5`, expected none
      help: leave the pattern out
    prune::wrong-input: `scores` would be 1.0000000300949327e60 at element 1, more than f32 holds
      help: give the tensors as f64, or scale them down
    prune::wrong-input: `scores` would be inf at element 1, expected finite numbers
      help: scale the tensors down
    prune::wrong-input: `scores` would be NaN at element 1, expected finite numbers
      help: scale the tensors down
    recipe::unknown-name: nothing is named `magnitud` here
    recipe::bad-value: exponent `p` is 3, expected 1 or 2
    recipe::bad-value: expected one of `value` and `sigma`, found neither
    recipe::syntax: unexpected key or value, expected newline, `#`
    recipe::no-name: expected one criterion, such as `magnitude = { p = 1 }`, found 0
    recipe::missing-key: this needs the key `sparsity`
    `2:4` is no pattern: expected `unstructured sparsity=S`, `keep=K of=M`, `block RxC sparsity=S`, `rows sparsity=S`, `columns sparsity=S`, `random sparsity=S` or `channels sparsity=S`
    "#);
}

#[test]
fn misspelt_names_and_two_ways_to_name_layers_are_refused() {
    let tensors = |names: &[&str]| -> BTreeMap<String, Stored> {
        let shape = |name: &str| if name.ends_with('s') { vec![1, 2, 2] } else { vec![2, 2] };
        let stored = |shape: Vec<usize>| Stored { shape, numbers: Numbers::F32(vec![0.1, -0.2, 0.3, 0.4]) };
        names.iter().map(|name| ((*name).to_owned(), stored(shape(name)))).collect()
    };
    let mut said = String::new();
    for names in [
        &["weight", "wieght"][..],
        &["layers.0.weight", "layers.0.quant.scal"],
        &["layers.0.weight", "layers.01.weight"],
        &["weight", "layers.0.weight"],
    ] {
        let error = evaluate(&parse("magnitude").unwrap(), None, &tensors(names)).unwrap_err();
        assert_eq!((error.kind(), error.code()), (Kind::Request, "prune::wrong-input"), "{error}");
        said += &format!("{error}\n  help: {}\n", error.help().unwrap_or_default());
    }
    insta::assert_snapshot!(said, @"
    no criterion reads a tensor named `wieght`
      help: did you mean `weight`? Else give it another name
    no criterion reads a tensor named `layers.0.quant.scal`
      help: did you mean `layers.K.quant.scale`? Else give it another name
    no criterion reads a tensor named `layers.01.weight`
      help: did you mean `layers.K.weight`? Else give it another name
    `weight` stands beside `layers.0.weight`, expected the tensors of one layer, or those of several as `layers.K.NAME`
      help: take one of the two out of the file
    ");
    // One file serves several criteria, and may hold other things.
    for (names, criterion) in [
        (&["weight", "grad", "grads", "activations", "bias"][..], "taylor"),
        (&["weight", "grad", "grads", "expected"], "obs"),
        (&["weight", "grad", "weights", "grads"], "movement"),
        (&["layers.0.weight", "layers.0.bias", "scores", "mask"], "magnitude"),
    ] {
        evaluate(&parse(criterion).unwrap(), None, &tensors(names)).unwrap();
    }
}
