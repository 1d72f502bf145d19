//! What a run that cannot begin or go on says: code, message, whose fault it is, and what helps.
use std::error::Error as _;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use insta::assert_snapshot;
use kd_core::Side;
use kd_train::{CheckpointReason, Error};

/// Everything that a front end is told about these errors.
fn say(errors: impl IntoIterator<Item = Error>) -> String {
    let mut text = String::new();
    for error in errors {
        writeln!(text, "{}: {error}", error.code()).unwrap();
        let mut cause = error.source();
        while let Some(next) = cause {
            writeln!(text, "  because: {next}").unwrap();
            cause = next.source();
        }
        if let Some(help) = error.help() {
            writeln!(text, "  help: {help}").unwrap();
        }
        writeln!(text, "  {:?}", error.kind()).unwrap();
    }
    text
}

fn path() -> PathBuf {
    PathBuf::from("runs/mnist")
}

#[test]
fn devices_and_engines() {
    assert_snapshot!(
        say([
            Error::DeviceNotCompiled { name: "cuda:1".into(), feature: "cuda".into() },
            Error::DeviceUnknown { name: "tpu".into() },
            Error::Threads { threads: 0, reason: "at least one is needed".into() },
            Error::EngineUnknown { name: "onnx".into(), engines: vec!["tract".into(), "burn".into()] },
        ]),
        @"
        device::not-compiled: the device `cuda:1` is not compiled in
          help: build with `--features cuda`, or choose another device; `kd list devices` shows them
          Request
        device::unknown: no device is named `tpu`; there are `flex`, `ndarray`, `wgpu` and `cuda`, the last two with an index behind a colon
          help: `kd list devices` shows them
          Request
        device::threads: cannot run on 0 threads: at least one is needed
          Request
        engine::unknown: no engine is named `onnx` here; there are `tract`, `burn`
          Request
        "
    );
}

#[test]
fn what_is_not_kept() {
    let expected = "element 7, in force, masked and 0".into();
    assert_snapshot!(
        say([Error::NotKept { stage: "int8".into(), path: "fc.weight".into(), expected, found: "0.25".into() }]),
        @"
    prune::not-kept: `int8` did not keep `fc.weight`: expected element 7, in force, masked and 0, found 0.25
      Run
    "
    );
}

#[test]
fn weights() {
    let checkpoint = |reason| Error::Checkpoint { path: "teacher.safetensors".into(), reason };
    assert_snapshot!(
        say([
            checkpoint(CheckpointReason::Missing),
            checkpoint(CheckpointReason::NoWeights),
            checkpoint(CheckpointReason::Unreadable("the header is cut off".into())),
            checkpoint(CheckpointReason::MissingParameter {
                param: "hidden.weight".into(),
                found: (0..14).map(|i| format!("layer{i}")).collect(),
            }),
            checkpoint(CheckpointReason::DoesNotFit("two widths".into())),
            checkpoint(CheckpointReason::State("expected at least 10 bytes, found 3".into())),
            Error::CheckpointShape {
                path: "t.safetensors".into(),
                param: "hidden.weight".into(),
                expected: vec![64, 784],
                found: vec![64],
            },
            Error::ClassMismatch { path: "t.safetensors".into(), expected: 10, found: 100 },
        ]),
        @"
        checkpoint::missing: `teacher.safetensors`: there is no such file or folder
          help: a checkpoint is a run, a stage's folder, or a safetensors file in PyTorch's layout
          Request
        checkpoint::missing: `teacher.safetensors`: there is no `model.safetensors` in it
          help: a checkpoint is a run, a stage's folder, or a safetensors file in PyTorch's layout
          Request
        checkpoint::unusable: `teacher.safetensors`: the header is cut off
          Request
        checkpoint::unusable: `teacher.safetensors`: expected a parameter `hidden.weight`, found `layer0`, `layer1`, `layer2`, `layer3`, `layer4`, `layer5`, `layer6`, `layer7`, `layer8`, `layer9`, `layer10`, `layer11` and 2 more
          Request
        checkpoint::unusable: `teacher.safetensors`: its weights do not fit the model: two widths
          Request
        checkpoint::state: `teacher.safetensors`: this state cannot be used: expected at least 10 bytes, found 3
          Run
        checkpoint::shape: `t.safetensors`: expected `hidden.weight` of shape [64, 784], found [64]
          Request
        checkpoint::classes: `t.safetensors`: expected a model of 10 classes, found one of 100
          Request
        "
    );
}

#[test]
fn models_sites_and_losses() {
    let sites = vec!["input".to_owned(), "block1".to_owned()];
    assert_snapshot!(
        say([
            Error::ModelUnfit { role: "student".into(), model: "convnet".into(), reason: "expected images".into() },
            Error::UnknownSite { side: Side::Teacher, site: "blok1".into(), sites },
            Error::SiteNotReached { site: "block1".into() },
            kd_core::Error::Unjoinable {
                student: "block1".into(),
                student_shape: vec![1, 4, 14, 14],
                teacher: "block2".into(),
                teacher_shape: vec![1, 16, 7, 7],
                reason: kd_core::Obstacle::Positions,
            }
            .into(),
            kd_core::Error::LogitShapes { student: [1, 10], teacher: [1, 100] }.into(),
            Error::NonFinite { stage: "distill".into(), step: 40, term: "kl".into(), last: 0.25 },
            Error::ActivationNotFinite { site: "block1".into(), value: f32::INFINITY },
        ]),
        @r#"
        model::unfit: the student's model `convnet` does not fit: expected images
          Request
        site::unknown: the teacher has no site `blok1`; it has `input`, `block1`
          help: did you mean `block1`?
          Request
        site::not-reached: no batch has reached the site `block1`, so its activations have no range
          Run
        site::unjoinable: student site `block1` of shape [1, 4, 14, 14] cannot be joined to teacher site `block2` of shape [1, 16, 7, 7]: a connector changes channels only, and their positions differ: choose two sites of the same resolution, or write `connector = "upsample"` for maps
          Request
        train::loss-impossible: logits of student and teacher must have the same shape [batch, classes], found [1, 10] and [1, 100]
          Request
        train::loss-not-finite: the loss of stage `distill` is not finite at step 40: the term `kl` is to blame; the last finite loss was 0.25
          help: lower the learning rate, or set `gradient-clipping = 1.0`
          Run
        train::activation-not-finite: an activation at the site `block1` is inf
          help: lower the learning rate, or set `gradient-clipping = 1.0`
          Run
        "#
    );
}

#[test]
fn losses_on_tensors() {
    assert_snapshot!(
        say([
            Error::LossInput {
                loss: "kl",
                input: "teacher.logits [B, C]".into(),
                found: vec!["student.logits".into()],
            },
            kd_core::Error::NoParameter { loss: "vid", name: "variance", shape: vec![4], found: None }.into(),
            Error::LossTensor {
                name: "targets".into(),
                expected: "integers".into(),
                found: "f32 of shape [2]".into(),
            },
            kd_core::Error::UnknownInput { name: "logits".into() }.into(),
            Error::TensorFile { path: "x.safetensors".into(), reason: "it is no safetensors file".into() },
            Error::CastFormat(quant_core::Error::UnknownNumber { found: "e4m3".into(), nearest: Some("e4m3fn") }),
            Error::CastTensor {
                name: "weight".into(),
                source: quant_core::Error::NoCode { format: "e2m1fn", index: 3, value: f32::NAN },
            },
        ]),
        @"
        loss::missing-input: the loss `kl` reads `teacher.logits [B, C]`, which is not there; there are `student.logits`
          Request
        loss::missing-input: the loss `vid` trains `connector.variance` of shape [4], which is not there
          Request
        loss::wrong-input: `targets` must be integers, found f32 of shape [2]
          Request
        loss::wrong-input: no loss reads a tensor named `logits`: expected `student.NAME`, `teacher.NAME`, `teacher.K.NAME`, `connector.NAME`, `targets` or `mask`
          Request
        loss::tensors: cannot read tensors from `x.safetensors`: it is no safetensors file
          Request
        cast::format: unknown number format `e4m3`; did you mean `e4m3fn`?
          help: `kd list formats` shows them
          Request
        cast::tensor: `weight` cannot be cast: `e2m1fn` has no code for NaN, found at position 3
          because: `e2m1fn` has no code for NaN, found at position 3
          Request
        "
    );
}

#[test]
fn criteria_on_tensors() {
    assert_snapshot!(
        say([
            Error::PruneInput {
                criterion: "taylor",
                input: "grad [out, …]".into(),
                found: vec!["weight".into()],
            },
            Error::PruneKind { name: "weight".into(), found: "integers of shape [2]".into() },
            Error::PruneTensor(prune_core::Error::Shape {
                input: "grad".into(),
                expected: "[2, 3]".into(),
                found: vec![3, 2],
            }),
            Error::PrunePattern("2:4".parse::<prune_core::Removal>().unwrap_err()),
            Error::PruneRemoves {
                reason: prune_core::Error::Unit {
                    criterion: "fpgm".into(),
                    unit: prune_core::Unit::Element,
                },
                patterns: "`channels`",
            },
            Error::InputsOutOfReach {
                criterion: "wanda".into(),
                path: "mixer.weight".into(),
                reason: "between it and the nearest site is `gelu`; a site behind that would do".into(),
            },
            Error::Prune(prune_core::Error::LayerSparsity {
                path: "hidden.0.weight".into(),
                value: 1.125,
                lambda: 0.5,
            }),
        ]),
        @"
        prune::missing-input: the criterion `taylor` reads `grad [out, …]`, which is not there; there are `weight`
          help: `kd explain criterion.taylor` says what it reads, with an example
          Request
        prune::wrong-input: `weight` must be floats, found integers of shape [2]
          Request
        prune::wrong-input: `grad` has the shape [3, 2], expected [2, 3]
          Request
        prune::pattern: `2:4` is no pattern: expected `unstructured sparsity=S`, `keep=K of=M`, `block RxC sparsity=S`, `rows sparsity=S`, `columns sparsity=S`, `random sparsity=S` or `channels sparsity=S`
          Request
        prune::pattern: criterion `fpgm` has no scores for the unit `element`
          help: it can remove by `channels`
          Request
        prune::inputs: `wanda` reads the inputs of `mixer.weight`, which are out of reach: between it and the nearest site is `gelu`; a site behind that would do
          help: let the model name the layer's inputs with `tap.at`, or take another criterion
          Request
        prune::impossible: the layer `hidden.0.weight` would have a sparsity of 1.1250, expected a number in 0 ..= 1: `lambda` = 0.5 spreads layers too far from the mean
          help: lower `lambda`, or move the pattern's `sparsity` away from 0 and 1
          Request
        "
    );
}

#[test]
fn quantized_checkpoints() {
    assert_snapshot!(
        say([
            Error::WeightScheme(quant_core::Error::SchemeWords { found: String::new() }),
            Error::QuantizeOption {
                option: "--budget".into(),
                expected: "bits for each number, above 0, as in `4.2 bpw`".into(),
                found: "`4.2`".into(),
            },
            Error::NeedsInputs { method: "gptq" },
            Error::InputsMissing { path: "inputs.safetensors".into(), name: "layer.weight".into() },
            Error::WeightTensor {
                name: "layer.weight".into(),
                source: quant_core::Error::NotFinite { index: 3, value: f32::NAN },
            },
            Error::BudgetTooSmall { budget: 1.0, least: 2.3125, weights: 7 },
            Error::QuantizedFolder { path: "out".into(), reason: "`a` is not there".into() },
        ]),
        @"
        quantize::scheme: expected a format and what shares a scale, such as `int8 channel symmetric` or `nf4 group=64`, found ``
          Request
        quantize::option: `--budget` takes bits for each number, above 0, as in `4.2 bpw`, found `4.2`
          Request
        quantize::inputs: `gptq` needs the inputs of every layer, which a checkpoint does not hold
          help: give them with `--inputs FILE.safetensors`, or quantize a run with its data; `rtn` and `hqq` need none
          Request
        quantize::inputs: `inputs.safetensors` has neither `layer.weight.inputs` nor `layer.weight.hessian`
          help: add one of them, or leave the weight as it is with `--ignore REGEX`
          Request
        quantize::tensor: `layer.weight` cannot be quantized: expected finite numbers, found NaN at position 3
          because: expected finite numbers, found NaN at position 3
          help: mend the tensor, or leave it as it is with `--ignore REGEX`
          Request
        quantize::budget: a budget of 1 bpw is too small for these 7 weights, which take at least 2.3125 bpw
          Request
        quantize::folder: `out` is no quantized checkpoint: `a` is not there
          Request
        "
    );
}

#[test]
fn runs() {
    assert_snapshot!(
        say([
            Error::RunExists { path: path() },
            Error::RunUnfinished { path: path() },
            Error::RunInUse { path: path() },
            Error::NotARun { path: path() },
            Error::StageUnknown { run: path(), stage: "int4".into(), stages: vec!["int8".into()] },
            Error::NoSeeds,
            Error::FileExists { path: "out/model.onnx".into() },
            Error::DataUnknown { path: "model.onnx".into() },
            Error::Interrupted { run: path() },
            Error::Io { action: "write", path: path(), source: io::ErrorKind::StorageFull.into() },
            Error::Io { action: "read", path: path(), source: io::ErrorKind::PermissionDenied.into() },
        ]),
        @"
        run::exists: `runs/mnist` exists
          help: choose another `--run-dir`, or none
          Request
        run::unfinished: `runs/mnist` holds a run that is not finished
          help: go on with `kd train --resume runs/mnist`
          Request
        run::in-use: another process works on `runs/mnist`
          help: wait for it, or stop it
          Request
        run::not-a-run: `runs/mnist` holds no run: it has no `manifest.json`
          help: a run is a directory that `kd train` made, such as `runs/mnist`
          Request
        run::unknown-stage: `runs/mnist` has no stage `int4`; it has `int8`
          help: did you mean `int8`?
          Request
        run::no-seeds: expected at least 1 seed, found 0
          Request
        run::file-exists: `out/model.onnx` exists and is not overwritten
          help: choose another folder with `--out`
          Request
        run::data-unknown: `model.onnx` does not say what data it is for
          help: name the data set with `--data NAME`
          Request
        run::interrupted: stopped, with everything saved
          help: go on with `kd train --resume runs/mnist`
          Interrupted
        io::disk-full: cannot write `runs/mnist`
          because: no storage space
          help: free some room; a run that stopped goes on with `kd train --resume DIR`
          Run
        io::failed: cannot read `runs/mnist`
          because: permission denied
          Run
        "
    );
}

#[test]
fn parts() {
    assert_snapshot!(
        say([
            kd_deploy::Error::Parity {
                artifact: "model.onnx".into(),
                engine: "tract".into(),
                found: "max_abs 0.1".into(),
                allowed: "0.001".into(),
            }
            .into(),
            kd_deploy::Error::Zero { what: "threads" }.into(),
            kd_deploy::Error::File {
                action: "write",
                path: "runs/mnist/model.onnx".into(),
                source: io::ErrorKind::StorageFull.into(),
            }
            .into(),
            kd_graph::Error::Recording { reason: "a tensor of another device".into() }.into(),
            prune_core::Share::new(1.0).unwrap_err().into(),
            prune_core::Error::NoHeads { reasons: Vec::new() }.into(),
            prune_core::Error::TooFewElements { kind: prune_core::ElementKind::Layers, wanted: 4, most: 3 }.into(),
            prune_core::Error::NoElement { path: "blocks.2".into() }.into(),
            quant_core::Range::new(vec![f32::NAN], vec![1.0]).unwrap_err().into(),
        ]),
        @"
        export::parity: `model.onnx` in tract differs from the trained model: max_abs 0.1, allowed is 0.001
          Run
        export::failed: threads must be at least 1
          Run
        io::disk-full: cannot write `runs/mnist/model.onnx`
          because: no storage space
          help: free some room; a run that stopped goes on with `kd train --resume DIR`
          Run
        graph::not-captured: the recorded operations do not connect the input to the output: a tensor of another device
          Run
        prune::impossible: share to remove is 1, expected a number of at least 0 and below 1
          Request
        prune::none-can-go: no heads can go: there are none
          Request
        prune::none-can-go: 4 residual blocks are to go, at most 3 can; lower the count
          Request
        prune::none-can-go: the module cannot drop `blocks.2`: it is no element of a `Vec` that the network can do without, or the module does not say how to drop one, as `#[derive(SyncShape)]` does
          Request
        quantize::impossible: expected finite numbers, found NaN at position 0
          Run
        "
    );
}

#[test]
fn data() {
    assert_snapshot!(
        say([
            kd_datasets::Error::NotFound { name: "fashion-mnist", looked_in: vec!["datasets".into()] }.into(),
            kd_datasets::Error::UnknownSet { name: "minst".into(), known: vec!["mnist"] }.into(),
            kd_datasets::Error::Damaged {
                name: "mnist",
                path: "mnist/t10k-labels-idx1-ubyte.gz".into(),
                bytes: 10008,
                sha256: "ff7b",
                damage: kd_datasets::Damage::Short { bytes: 5 },
            }
            .into(),
            kd_datasets::Error::Empty { path: "train.csv".into() }.into(),
            kd_datasets::Error::Read { path: "train.csv".into(), source: io::ErrorKind::PermissionDenied.into() }
                .into(),
            kd_datasets::Error::Download { name: "mnist", file: "t10k".into(), attempts: Vec::new() }.into(),
        ]),
        @"
        data::missing: the data set `fashion-mnist` was not found; looked in `datasets`
          help: `kd data fetch fashion-mnist` downloads it; without a network, `kd data fetch fashion-mnist --from DIR` copies it, and `KD_DATA=DIR` names a folder that holds `fashion-mnist/`
          Request
        data::request: no data set is named `minst`; there are `mnist`
          help: `kd data list` shows what there is
          Request
        data::damaged: `mnist/t10k-labels-idx1-ubyte.gz`: expected the published file of `mnist` (10008 bytes unpacked, SHA-256 `ff7b`), found 5 bytes
          help: remove `mnist/t10k-labels-idx1-ubyte.gz`, then `kd data fetch mnist` brings a good copy
          Request
        data::malformed: `train.csv`: expected examples, found an empty file
          help: check that the file was written, and that it holds more than a header
          Request
        data::io: cannot read `train.csv`
          because: permission denied
          help: check that it is a file and that you may read it
          Run
        data::download: cannot download `t10k` of `mnist`: 
          help: check the network and try again; or bring the files by other means and run `kd data fetch mnist --from DIR`
          Run
        "
    );
}

#[test]
fn a_recipe_is_known_by_its_first_problem() {
    let source =
        kd_train::recipe::Source { name: "r.toml".into(), text: "schema = 2".into(), folder: PathBuf::new() };
    let problems = kd_train::recipe::Recipe::parse(&source, &[], &kd_train::Registry::builtin()).unwrap_err();
    assert_snapshot!(say([Error::Problems(problems)]), @"
    recipe::missing-key: `r.toml` has 6 problems
      Request
    ");
}
