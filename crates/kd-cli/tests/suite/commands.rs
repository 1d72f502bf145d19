//! What commands do when all is well: exit codes, what goes to which stream, and that JSON is JSON.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{TINY, done, kd, run, text};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_run_is_trained_reported_scored_and_exported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let recipe = format!(
        "{TINY}\n[[stage]]\nname = \"int8\"\n[stage.quantize]\nweights = \"int8 channel narrow\"\nactivations = \"int8 tensor affine\"\n"
    );
    std::fs::write(path.join("tiny.toml"), recipe).unwrap();

    let output = run(path, &["train", "tiny.toml"]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stdout.starts_with("# tiny\n"), "{stdout}");
    assert!(
        stdout.contains("ONNX Runtime was not looked for"),
        "the report says which engines are absent: {stdout}"
    );
    // No terminal: a line a stage and an epoch, no bar, no color.
    for line in
        ["teacher (train): ", "  epoch 1/1: loss ", "  distill: test accuracy ", "results are in `runs/tiny`"]
    {
        assert!(stderr.contains(line), "{line}: {stderr}");
    }
    assert!(!stderr.contains(['\u{1b}', '\r']), "{stderr:?}");

    // A finished run prints its report again, and a new one gets a folder of its own.
    assert_eq!(done(path, &["train", "--resume", "runs/tiny"]), stdout);
    assert_eq!(done(path, &["report", "runs/tiny"]), stdout);
    let summary = json(&std::fs::read_to_string(path.join("runs/tiny/summary.json")).unwrap());
    assert_eq!(json(&done(path, &["report", "runs/tiny", "--format", "json"])), summary);
    let quiet = run(path, &["train", "tiny.toml", "-q", "--format", "json", "--set", "seed=2"]);
    assert_eq!((text(&quiet.stderr), quiet.status.code()), (String::new(), Some(0)));
    assert_eq!(json(&text(&quiet.stdout))["seed"], 2);
    let both = done(path, &["report", "runs/tiny", "runs/tiny-2"]);
    assert!(both.contains("runs/tiny-2") && both.contains("int8"), "{both}");

    let accuracy = |args: &[&str]| {
        let args = [&["eval", "--format", "json"], args].concat();
        json(&done(path, &args))["accuracy"].as_f64().unwrap()
    };
    let stage = |index: usize| summary["stages"][index]["accuracy"].as_f64().unwrap();
    assert_eq!(accuracy(&["runs/tiny/1-teacher"]), stage(0));
    assert_eq!(accuracy(&["runs/tiny"]), stage(2));
    assert!((accuracy(&["runs/tiny/2-distill", "--engine", "tract"]) - stage(1)).abs() < 0.002);
    assert!((accuracy(&["runs/tiny/3-int8/model.onnx"]) - stage(2)).abs() < 0.002);
    let lines = done(path, &["eval", "runs/tiny/1-teacher"]);
    assert!(lines.contains("engine    burn\n") && lines.contains(" of 1797\n"), "{lines}");

    let files = done(path, &["export", "runs/tiny", "--out", "out/int8"]);
    assert!(files.contains("out/int8/model.int8.onnx\n"), "{files}");
    for file in files.lines() {
        assert!(path.join(file).is_file(), "{file}");
    }
    let files = json(&done(
        path,
        &["export", "runs/tiny", "--stage", "distill", "--out", "out/float", "--format", "json"],
    ));
    assert_eq!(files["files"][0], "out/float/model.onnx");
}

#[test]
fn a_loss_is_computed_on_saved_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    // The golden vectors of the library are such tensors, under the name of their case.
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../kd-core/tests/golden/losses/kl.safetensors");
    let case = kd_train::tensors::read(Path::new(golden)).unwrap();
    let of = |name: &str| case[&format!("forward-batch-mean/{name}")].clone();
    let inputs = ["student.logits", "teacher.logits"].map(|name| (name.to_owned(), of(name)));
    kd_train::tensors::write(&path.join("in.safetensors"), &inputs.into()).unwrap();
    let args = ["loss", "eval", "--in", "in.safetensors", "--out", "out.safetensors", "--loss"];
    let found = done(path, &[&args[..], &["kl = { temperature = 4.0 }", "--format", "json"]].concat());
    let value = json(&found)["value"].as_f64().unwrap();
    assert!((value - of("value").to_f64()[0]).abs() < 1e-9 * value.max(1.0));
    let out = kd_train::tensors::read(&path.join("out.safetensors")).unwrap();
    let (gradient, expected) = (out["grad.student.logits"].to_f64(), of("grad.student.logits").to_f64());
    assert!(gradient.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-8));

    for (loss, says) in [
        ("kl = { temperature = 4.0, alpha = 0.5 }", "has no `alpha`"),
        ("kx", "no loss is named `kx`"),
        ("cross-entropy", "the loss `cross-entropy` reads `targets [B]`"),
        ("hint", "the loss `hint` reads `student.SITE"),
    ] {
        let output = run(path, &[&args[..], &[loss]].concat());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(says), "{loss}: {stderr}");
    }
    let explained = done(path, &["explain", "loss.dkd"]);
    for part in ["teacher.logits [B, C]", "alpha = 1.0", "compat", "kd loss eval --loss 'dkd", "arXiv"] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    let output = run(path, &["explain", "loss.dkl"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("kd explain loss."), "{}", text(&output.stderr));
}

#[test]
fn a_schedule_is_printed_one_value_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let eval = |line: &str, steps: &str| done(folder.path(), &["schedule", "eval", line, "--steps", steps]);
    assert_eq!(eval("linear = { from = 1.0, to = 0.5 }", "5"), "1\n0.875\n0.75\n0.625\n0.5\n");
    assert_eq!(eval("cubic = { from = 0.0, to = 0.5 }", "3"), "0\n0.4375\n0.5\n");
    assert_eq!(eval("geometric = { from = 1e-2, to = 1e-6 }", "1"), "0.01\n");
    assert_eq!(eval("-2", "2"), "-2\n-2\n");
    let two = ["schedule", "eval", "linear = { from = 0, to = 1 }", "--steps", "2", "--format", "json"];
    assert_eq!(
        json(&done(folder.path(), &two)),
        serde_json::json!({ "schedule": "linear", "values": [0.0, 1.0] })
    );
    for (line, steps, says) in [
        ("exponential = { from = 1e-2, to = 1.0 }", "3", "use `geometric`"),
        ("linaer = { from = 0, to = 1 }", "3", "did you mean `linear`?"),
        ("movement = {}", "3", "kd explain schedule.movement"),
        ("linear = { from = 0, to = 1 }", "0", "0 is not in 1..=10000000"),
    ] {
        let output = run(folder.path(), &["schedule", "eval", line, "--steps", steps]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(says), "{line}: {stderr}");
    }
    for (name, part) in
        [("warm-up", "kd schedule eval 'warm-up"), ("lottery-ticket", "schedule.lottery-ticket = {")]
    {
        let explained = done(folder.path(), &["explain", &format!("schedule.{name}")]);
        assert!(explained.contains(part), "{explained}");
    }
    let output = run(folder.path(), &["explain", "schedule.cubik"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("kd explain schedule.cubic"), "{}", text(&output.stderr));
}

#[test]
fn a_graph_is_shown_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tiny.toml"), TINY).unwrap();
    let shown = done(folder.path(), &["graph", "tiny.toml", "--of", "teacher"]);
    for part in [
        "input  %0 [batch, ",
        "in all\n",
        "Sizes of an example\n",
        "  the model's: at ",
        "Units that go together\n",
        "  stay: dimension 1 of the model's output\n",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(shown.lines().all(|line| line == line.trim_end()), "{shown}");
    let drawn = done(folder.path(), &["graph", "tiny.toml", "--draw", "svg"]);
    assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"), "{drawn}");
    assert!(done(folder.path(), &["graph", "tiny.toml", "--draw", "dot"]).starts_with("digraph {\n"));
    let found = json(&done(folder.path(), &["graph", "tiny.toml", "--format", "json"]));
    assert!(found["axes"].as_array().is_some_and(|axes| !axes.is_empty()), "{found}");
    assert!(found["graph"]["input_dims"][0]["fixed"].is_string(), "{found}");
    // Data that are not there say their shape all the same.
    let absent = TINY.replace("[data.digits]", "[data.fashion-mnist]\npath = \"nowhere\"");
    std::fs::write(folder.path().join("absent.toml"), absent).unwrap();
    assert!(done(folder.path(), &["graph", "absent.toml"]).contains("input  %0 [batch, 784]"));
    assert_eq!(run(folder.path(), &["check", "absent.toml"]).status.code(), Some(2));
}

#[test]
fn a_criterion_is_computed_on_saved_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let stored = |shape: &[usize], numbers: Vec<f64>| kd_train::tensors::Stored {
        shape: shape.to_vec(),
        numbers: kd_train::tensors::Numbers::F64(numbers),
    };
    let inputs = [
        ("weight", stored(&[2, 4], vec![1.0, -2.0, 3.0, -4.0, 5.0, 0.0, -0.5, 0.5])),
        ("activations", stored(&[2, 4], vec![3.0, 0.0, 0.0, 0.0, 4.0, 1.0, 1.0, 1.0])),
    ];
    let inputs = inputs.map(|(name, tensor)| (name.to_owned(), tensor));
    kd_train::tensors::write(&path.join("in.safetensors"), &inputs.into()).unwrap();
    let args = ["prune", "eval", "--in", "in.safetensors", "--out", "out.safetensors", "--criterion"];
    let with = |more: &[&str]| run(path, &[&args[..], more].concat());
    let found = with(&["wanda = { group = \"row\" }", "--pattern", "keep=2 of=4"]);
    assert_eq!((text(&found.stdout).as_str(), found.status.code()), ("mask: 4 of 8 stay\n", Some(0)));
    let out = kd_train::tensors::read(&path.join("out.safetensors")).unwrap();
    // Norms of the inputs: 5, 1, 1, 1.
    assert_eq!(out["scores"].to_f64(), [5.0, 2.0, 3.0, 4.0, 25.0, 0.0, 0.5, 0.5]);
    assert_eq!(out["mask"].to_f64(), [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0]);
    assert_eq!(out["weight"].to_f64(), [1.0, 0.0, 0.0, -4.0, 5.0, 0.0, -0.5, 0.0]);
    assert_eq!((out["weight"].kind(), &out["weight"].shape), ("f64", &vec![2, 4]));
    let found = json(&text(&with(&["lamp", "--format", "json"]).stdout));
    assert_eq!((&found["criterion"], &found["pattern"]), (&"lamp".into(), &Value::Null));
    assert_eq!(found["tensors"], serde_json::json!(["scores"]));
    let found =
        json(&text(&with(&["magnitude", "--pattern", "rows sparsity=0.5", "--format", "json"]).stdout));
    assert_eq!(found["masks"]["mask"], serde_json::json!({ "kept": 4, "of": 8 }));
    assert_eq!(text(&with(&["magnitude"]).stdout), "scores: 8 numbers\n");
    assert_eq!(text(&with(&["owl = { sparsity = 0.5 }"]).stdout), "sparsity: 0.5\n");

    for (criterion, pattern, says) in [
        ("magnitud", "keep=2 of=4", "did you mean `magnitude`?"),
        ("magnitude = { p = 3 }", "keep=2 of=4", "exponent `p` is 3, expected 1 or 2"),
        ("magnitude", "2:4", "`2:4` is no pattern"),
        ("taylor", "keep=2 of=4", "the criterion `taylor` reads `grad [out, …]`"),
        ("fpgm", "keep=2 of=4", "has no scores for the unit `element`"),
    ] {
        let output = with(&[criterion, "--pattern", pattern]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(says), "{criterion}: {stderr}");
    }
    let explained = done(path, &["explain", "criterion.sparsegpt"]);
    for part in ["weight [out, …]", "damping = 0.01", "--pattern 'keep=2 of=4'", "kd prune eval", "arXiv"] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    let output = run(path, &["explain", "criterion.wonda"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("kd explain criterion.wanda"), "{}", text(&output.stderr));
}

#[test]
fn a_gate_that_is_missed_is_exit_code_1_now_and_later() {
    let folder = tempfile::tempdir().unwrap();
    let gate = format!("{TINY}\n[expect]\nteacher.accuracy = {{ min = 1.0 }}\n");
    std::fs::write(folder.path().join("gate.toml"), gate).unwrap();
    for args in [&["train", "gate.toml", "-q"] as &[_], &["train", "--resume", "runs/tiny", "-q"]] {
        let output = run(folder.path(), args);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stdout).contains("MISSED"));
        assert_eq!(text(&output.stderr), "error: a gate of the recipe was missed\n");
    }
}

#[test]
fn several_seeds_are_one_run() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tiny.toml"), TINY).unwrap();
    let report =
        json(&done(folder.path(), &["train", "tiny.toml", "-q", "--seeds", "2", "--format", "json"]));
    assert_eq!(report["seeds"], serde_json::json!([1, 2]));
    assert_eq!(report["metrics"][0]["values"].as_array().unwrap().len(), 2);
    for seed in ["seed-1", "seed-2"] {
        assert!(folder.path().join("runs/tiny").join(seed).join("summary.json").is_file());
    }
}

/// Ctrl-C saves, says how to go on, and is exit code 3; the run then goes on to its end.
#[test]
#[cfg(unix)]
fn an_interrupted_run_says_how_to_go_on_and_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let long = TINY.replacen("epochs = 1", "epochs = 2000", 1);
    std::fs::write(path.join("long.toml"), long).unwrap();
    let mut command = kd(path, &["train", "long.toml"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // The first state is on disk: the run is among its steps.
    let begun = Instant::now();
    while !path.join("runs/tiny/1-teacher/state.safetensors").exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the run does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("\n    kd train --resume runs/tiny\n"), "{stderr}");
    assert!(stderr.contains("stopping after this step"), "{stderr}");

    // It would take a while to its end; that it goes on where it stopped is enough here.
    let mut command = kd(path, &["train", "--resume", "runs/tiny"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stderr.take().unwrap()), &mut first)
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(first.contains("teacher (train): goes on after "), "{first}");
}

#[test]
fn tensors_are_cast_to_a_format_and_what_has_no_code_is_refused() {
    use kd_train::tensors::{Numbers, Stored, read, write};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let stored = |numbers: Vec<f32>| Stored { shape: vec![1, numbers.len()], numbers: Numbers::F32(numbers) };
    let put =
        |name: &str, numbers| write(&path.join("in.safetensors"), &[(name.into(), stored(numbers))].into());
    put("w", vec![1.0, -6.0, 0.25, 500.0]).unwrap();
    let cast = |options: &[&str]| {
        done(path, &[&["cast"], options, &["in.safetensors", "out.safetensors"]].concat());
        read(&path.join("out.safetensors")).unwrap()
    };
    let out = cast(&["--format", "e4m3fn"]);
    assert_eq!(out["w.codes"].to_f64(), [56.0, 204.0, 40.0, 127.0]);
    assert!(out["w.decoded"].to_f64()[3].is_nan());
    let out = cast(&["--format", "e4m3fn", "--numerics", "onnx"]);
    assert_eq!(out["w.decoded"].to_f64(), [1.0, -6.0, 0.25, 448.0]);
    let out = cast(&["--format", "nvfp4"]);
    let names: Vec<_> = out.keys().map(String::as_str).collect();
    assert_eq!(names, ["w.codes", "w.decoded", "w.global_scale", "w.scales"]);
    assert_eq!(out["w.scales"].shape, [1, 1]);
    assert_eq!(cast(&["--format", "nvfp4 global=none"]).len(), 3);
    assert_eq!(cast(&["--format", "q8_0"])["w.codes"].shape, [1, 34]);

    let refused = |options: &[&str], says: &str| {
        let output = run(path, &[&["cast"], options, &["in.safetensors", "out.safetensors"]].concat());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
    };
    refused(&["--format", "e4m3"], "unknown number format `e4m3`; did you mean `e4m3fn`?");
    refused(&["--format", "mxfp4", "--numerics", "torch"], "numerics `torch` do not define `mxfp4`");
    refused(
        &["--format", "ue4m3"],
        "`w` cannot be cast: `ue4m3` has no negative numbers, found -6 at position 1",
    );
    put("v", vec![0.0, f32::NAN]).unwrap();
    refused(&["--format", "int4"], "`v` cannot be cast: `int4` has no code for NaN, found at position 1");
}

#[test]
fn every_list_is_json_too() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = "models losses observers estimators formats criteria patterns datasets devices engines schedules optimizers codes";
    for kind in kinds.split(' ') {
        let rows = json(&done(folder.path(), &["list", kind, "--format", "json"]));
        let rows = rows.as_array().unwrap();
        assert!(!rows.is_empty(), "{kind}");
        assert!(
            rows.iter().all(|row| row["name"].is_string() && row["about"].is_string()),
            "{kind}: {rows:?}"
        );
    }
    let devices = json(&done(folder.path(), &["list", "devices", "--format", "json"]));
    assert_eq!((&devices[0]["name"], &devices[0]["available"]), (&Value::from("flex"), &Value::from(true)));
}

#[test]
fn every_code_is_explained_at_length() {
    let folder = tempfile::tempdir().unwrap();
    let codes = json(&done(folder.path(), &["list", "codes", "--format", "json"]));
    let longest = |text: &str| {
        text.lines().filter(|line| !line.starts_with(' ')).map(|line| line.chars().count()).max()
    };
    for code in codes.as_array().unwrap() {
        let code = code["name"].as_str().unwrap();
        let text = done(folder.path(), &["explain", code]);
        assert!(text.starts_with(code) && text.lines().count() > 2, "{text}");
        assert!(longest(&text) <= Some(110), "{text}");
    }
}

#[test]
fn every_shell_gets_completions_that_name_every_command() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = done(folder.path(), &["completions", shell]);
        for command in ["train", "check", "eval", "export", "report", "init", "list", "explain", "data"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
}

#[test]
fn data_is_fetched_from_a_folder_into_the_cache_and_found_there() {
    // The repository's own files, unless the tests run from the published crate, which does not hold them.
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
    if !from.join("mnist/train-images-idx3-ubyte.gz").is_file() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let from = from.display().to_string();
    let files = done(folder.path(), &["data", "fetch", "mnist", "--from", &from]);
    assert_eq!(files.lines().filter(|line| line.contains("copied from")).count(), 4, "{files}");
    let again = done(folder.path(), &["data", "fetch", "mnist", "--from", &from]);
    assert_eq!(again.lines().filter(|line| line.contains("was there")).count(), 4, "{again}");
    let sets = json(&done(folder.path(), &["data", "verify", "--format", "json"]));
    let good: Vec<_> =
        sets.as_array().unwrap().iter().map(|set| (set["name"].as_str().unwrap(), &set["good"])).collect();
    let yes = Value::from(true);
    assert_eq!(good, ["mnist", "digits", "wordnet-glosses"].map(|name| (name, &yes)));
    assert!(done(folder.path(), &["data", "list"]).contains("cache/kd/datasets/mnist"));
}

#[test]
fn color_is_where_it_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let stderr = |args: &[&str]| text(&run(folder.path(), args).stderr);
    assert!(stderr(&["check", "absent.toml", "--color", "always"]).contains("\u{1b}["));
    assert!(!stderr(&["check", "absent.toml"]).contains('\u{1b}'));
    assert!(stderr(&["trian", "--color=always"]).contains("\u{1b}["));
    assert!(!stderr(&["trian", "--color=never"]).contains('\u{1b}'));
}
