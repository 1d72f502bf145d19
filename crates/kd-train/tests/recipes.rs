//! What a bad recipe says: every code of `recipe::` with its place and its help; and what a good one resolves to.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use kd_train::Registry;
use kd_train::problem::Problems;
use kd_train::recipe::{Recipe, Source};

/// A good recipe; cases change one place of it.
const GOOD: &str = r#"schema = 1
name = "good"
seed = 7

[device]
name = "flex"
threads = 2

[data.digits]
validation = 300
batch = 64

[teacher]
model.mlp = { hidden = [64] }

[student]
model.mlp = { hidden = [16] }

[[objective]]
weight = 0.1
cross-entropy = { label-smoothing = 0.1 }
[[objective]]
weight.linear = { from = 0.9, to = 0.5 }
kl = { temperature = 4.0 }

[[stage]]
name = "teacher"
[stage.train]
of = "teacher"
epochs = 2
optimizer.adam-w = { weight-decay = 0.02 }

[[stage]]
name = "distill"
[stage.distill]
epochs = 3
learning-rate.one-cycle = { peak = 1e-2 }
gradient-clipping = 1.0

[[stage]]
name = "prune"
[stage.prune]
epochs = 1
pattern.channels = { sparsity = 0.25 }

[[stage]]
name = "sparsify"
[stage.sparsify]
epochs = 1
pattern.unstructured = { sparsity = 0.5 }

[[stage]]
name = "int8"
[stage.quantize]
weights = "int8 channel symmetric"
activations = "int8 tensor affine"
observer = "min-max"

[[stage]]
name = "export"
[stage.export]

[expect]
distill.accuracy = { min = 0.9 }
int8.bytes = { max = 10000 }
"#;

fn source(text: &str) -> Source {
    Source { name: "recipe.toml".into(), text: text.into(), folder: PathBuf::new() }
}

fn parse(text: &str, overrides: &[&str]) -> Result<Recipe, Problems> {
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    Recipe::parse(&source(text), &overrides, &Registry::builtin())
}

/// What is said about a recipe that differs from the good one in these places.
fn say(changes: &[(&str, &str)]) -> String {
    let mut text = GOOD.to_owned();
    for (old, new) in changes {
        assert_eq!(text.matches(old).count(), 1, "`{old}` stands there once");
        text = text.replace(old, new);
    }
    say_of(&text)
}

fn say_of(text: &str) -> String {
    match parse(text, &[]) {
        Ok(_) => panic!("nothing is said about\n{text}"),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn no_toml() {
    assert_snapshot!(say(&[("seed = 7", "seed = 7 8")]), @"");
    assert_snapshot!(say(&[("seed = 7", "seed = 7\nseed = 8")]), @"");
    assert_snapshot!(say(&[("model.mlp = { hidden = [64] }", "model.mlp = { hidden = [64 }")]), @"");
}

#[test]
fn schema_name_and_seed() {
    assert_snapshot!(say(&[("schema = 1", "schema = 2")]), @"");
    assert_snapshot!(say(&[("schema = 1\n", "")]), @"");
    assert_snapshot!(say(&[("name = \"good\"", "name = \"good/../bad\"")]), @"");
    assert_snapshot!(say(&[("seed = 7", "seed = -7")]), @"");
    assert_snapshot!(say(&[("seed = 7", "seed = \"seven\"")]), @"");
    assert_snapshot!(say(&[("seed = 7", "seed = 9223372036854775807")]), @"");
}

#[test]
fn nothing_at_all() {
    assert_snapshot!(say_of(""), @"");
}

#[test]
fn unknown_keys_at_every_depth() {
    assert_snapshot!(say(&[("seed = 7", "sed = 7")]), @"");
    assert_snapshot!(say(&[("batch = 64", "bacth = 64")]), @"");
    assert_snapshot!(say(&[("batch = 64", "augment = { shfit = 2 }")]), @"");
    assert_snapshot!(say(&[("model.mlp = { hidden = [64] }", "model.mlp = { hiden = [64] }")]), @"");
    assert_snapshot!(say(&[("learning-rate.one-cycle", "rate.one-cycle")]), @"");
    assert_snapshot!(say(&[("{ peak = 1e-2 }", "{ peak = 1e-2, warmup = 0.3 }")]), @"");
    assert_snapshot!(say(&[("{ weight-decay = 0.02 }", "{ wd = 0.02 }")]), @"");
    assert_snapshot!(say(&[("[stage.export]", "[stage.export]\nformat = \"onnx\"")]), @"");
}

#[test]
fn unknown_names() {
    assert_snapshot!(say(&[("kl = {", "k1 = {")]), @"");
    assert_snapshot!(say(&[("cross-entropy = {", "hard = {")]), @"");
    assert_snapshot!(say(&[("model.mlp = { hidden = [16] }", "model.convnext = {}")]), @"");
    assert_snapshot!(say(&[("[data.digits]", "[data.digit]")]), @"");
    assert_snapshot!(say(&[("optimizer.adam-w", "optimizer.adamw")]), @"");
    assert_snapshot!(say(&[("weight.linear", "weight.linaer")]), @"");
    assert_snapshot!(say(&[("observer = \"min-max\"", "observer = \"minmax\"")]), @"");
    assert_snapshot!(say(&[("{ sparsity = 0.25 }", "{ flops = 0.25 }")]), @"");
    assert_snapshot!(say(&[("of = \"teacher\"", "of = \"techer\"")]), @"");
    assert_snapshot!(say(&[("[stage.distill]", "[stage.distil]")]), @"");
    assert_snapshot!(say(&[("name = \"flex\"", "name = \"flox\"")]), @"");
    assert_snapshot!(say(&[("name = \"flex\"", "name = \"flex:1\"")]), @"");
}

#[test]
fn wrong_types() {
    assert_snapshot!(say(&[("epochs = 3", "epochs = \"3\"")]), @"");
    assert_snapshot!(say(&[("epochs = 3", "epochs = 2.5")]), @"");
    assert_snapshot!(say(&[("{ hidden = [64] }", "{ hidden = 64 }")]), @"");
    assert_snapshot!(say(&[("model.mlp = { hidden = [64] }", "model = \"mlp\"")]), @"");
    assert_snapshot!(say(&[("[device]\nname = \"flex\"\nthreads = 2", "device = \"flex\"")]), @"");
    assert_snapshot!(say(&[("weight = 0.1", "weight = \"0.1\"")]), @"");
    assert_snapshot!(say(&[("{ temperature = 4.0 }", "4.0")]), @"");
    assert_snapshot!(say(&[("[stage.export]", "export = true")]), @"");
    assert_snapshot!(
        say_of(&GOOD.replace("[[objective]]\nweight = 0.1", "[objective]\nweight = 0.1").replace(
            "[[objective]]\nweight.linear = { from = 0.9, to = 0.5 }\nkl = { temperature = 4.0 }\n", ""
        )),
        @""
    );
}

#[test]
fn numbers_out_of_range() {
    assert_snapshot!(say(&[("temperature = 4.0", "temperature = -4.0")]), @"");
    assert_snapshot!(say(&[("label-smoothing = 0.1", "label-smoothing = 1.5")]), @"");
    assert_snapshot!(say(&[("epochs = 3", "epochs = 0")]), @"");
    assert_snapshot!(say(&[("epochs = 3", "epochs = -3")]), @"");
    assert_snapshot!(say(&[("batch = 64", "batch = 0")]), @"");
    assert_snapshot!(say(&[("threads = 2", "threads = 0")]), @"");
    assert_snapshot!(say(&[("{ sparsity = 0.25 }", "{ sparsity = 1.0 }")]), @"");
    assert_snapshot!(say(&[("{ sparsity = 0.5 }", "{ sparsity = 50 }")]), @"");
    assert_snapshot!(say(&[("unstructured = { sparsity = 0.5 }", "n-m = { keep = 5, of = 4 }")]), @"");
    assert_snapshot!(say(&[("peak = 1e-2", "peak = -1e-2")]), @"");
    assert_snapshot!(say(&[("learning-rate.one-cycle = { peak = 1e-2 }", "learning-rate = 0")]), @"");
    assert_snapshot!(say(&[("{ weight-decay = 0.02 }", "{ weight-decay = -1, beta1 = 1.0 }")]), @"");
    assert_snapshot!(say(&[("gradient-clipping = 1.0", "gradient-clipping = 0")]), @"");
    assert_snapshot!(say(&[("observer = \"min-max\"", "observer.moving-average = { decay = 1.0 }")]), @"");
    assert_snapshot!(say(&[("observer = \"min-max\"", "freeze-after = 1.5\ncalibration = 0")]), @"");
    assert_snapshot!(
        say(&[("{ sparsity = 0.5 }", "{ sparsity = 0.5 }\nschedule.cubic = { from = 0.0, to = 0.5 }")]),
        @""
    );
    assert_snapshot!(say(&[("{ from = 0.9, to = 0.5 }", "{ from = 0.9, to = 0.5, begin = 0.7, end = 0.3 }")]), @"");
}

#[test]
fn schemes() {
    assert_snapshot!(say(&[("int8 channel symmetric", "int8 chanel symmetric")]), @"");
    assert_snapshot!(say(&[("int8 channel symmetric", "int8")]), @"");
    assert_snapshot!(say(&[("int8 channel symmetric", "int8 channel affine")]), @"");
    assert_snapshot!(say(&[("int8 tensor affine", "int8 channel affine")]), @"");
}

#[test]
fn missing_keys() {
    assert_snapshot!(say(&[("name = \"distill\"\n", "")]), @"");
    assert_snapshot!(say(&[("epochs = 3\n", "")]), @"");
    assert_snapshot!(say(&[("of = \"teacher\"\n", "")]), @"");
    assert_snapshot!(say(&[("{ temperature = 4.0 }", "{}")]), @"");
    assert_snapshot!(say(&[("pattern.channels = { sparsity = 0.25 }\n", "")]), @"");
    assert_snapshot!(say(&[("[student]\nmodel.mlp = { hidden = [16] }\n", "")]), @"");
    assert_snapshot!(say(&[("model.mlp = { hidden = [16] }\n", "")]), @"");
    assert_snapshot!(say(&[("{ from = 0.9, to = 0.5 }", "{ from = 0.9 }")]), @"");
    assert_snapshot!(say(&[("{ min = 0.9 }", "{}")]), @"");
    assert_snapshot!(say(&[("[data.digits]\nvalidation = 300\nbatch = 64", "[data.idx]\nclasses = 10")]), @"");
}

#[test]
fn one_name_where_one_belongs() {
    assert_snapshot!(say(&[("[stage.distill]", "[stage.export]\n[stage.distill]")]), @"");
    assert_snapshot!(say(&[("[stage.distill]\nepochs = 3\nlearning-rate.one-cycle = { peak = 1e-2 }\ngradient-clipping = 1.0\n", "")]), @"");
    assert_snapshot!(say(&[("kl = { temperature = 4.0 }", "kl = { temperature = 4.0 }\ncross-entropy = {}")]), @"");
    assert_snapshot!(say(&[("weight = 0.1", "wieght = 0.1")]), @"");
    assert_snapshot!(say(&[("kl = { temperature = 4.0 }\n", "")]), @"");
    assert_snapshot!(say(&[("model.mlp = { hidden = [16] }", "model = {}")]), @"");
    assert_snapshot!(say(&[("model.mlp = { hidden = [16] }", "model = { mlp = { hidden = [16] }, convnet = {} }")]), @"");
    assert_snapshot!(say(&[("[teacher]", "[data.mnist]\n[teacher]")]), @"");
    assert_snapshot!(say(&[("[data.digits]\nvalidation = 300\nbatch = 64", "[data]")]), @"");
    assert_snapshot!(say(&[("optimizer.adam-w = { weight-decay = 0.02 }", "optimizer = { sgd = {}, lion = {} }")]), @"");
    assert_snapshot!(say(&[("optimizer.adam-w = { weight-decay = 0.02 }", "optimizer = {}")]), @"");
    assert_snapshot!(say(&[("weight.linear = { from = 0.9, to = 0.5 }", "weight = { linear = { from = 1, to = 0 }, cosine = { from = 1, to = 0 } }")]), @"");
}

#[test]
fn alpha_belongs_to_no_kl() {
    assert_snapshot!(say(&[("{ temperature = 4.0 }", "{ temperature = 4.0, alpha = 0.9 }")]), @"");
}

#[test]
fn names_of_stages() {
    assert_snapshot!(say(&[("name = \"prune\"", "name = \"distill\"")]), @"");
    assert_snapshot!(say(&[("name = \"prune\"", "name = \"prune 40%\"")]), @"");
    assert_snapshot!(say(&[("name = \"prune\"", "name = \"baseline\"")]), @"");
}

#[test]
fn the_teacher() {
    let none = [("name = \"teacher\"\n[stage.train]\nof = \"teacher\"", "name = \"first\"\n[stage.train]\nof = \"student\"")];
    assert_snapshot!(say(&none), @"");
    assert_snapshot!(say(&[("model.mlp = { hidden = [64] }", "model.mlp = { hidden = [64] }\ncheckpoint = \"t.safetensors\"")]), @"");
    let again = "[[stage]]\nname = \"again\"\n[stage.train]\nof = \"teacher\"\nepochs = 1\n\n[[stage]]\nname = \"prune\"";
    assert_snapshot!(say(&[("[[stage]]\nname = \"prune\"", again)]), @"");
    let late = "[[stage]]\nname = \"early\"\n[stage.train]\nof = \"student\"\nepochs = 1\n\n[[stage]]\nname = \"teacher\"";
    assert_snapshot!(say(&[("[[stage]]\nname = \"teacher\"", late)]), @"");
    let own = "epochs = 2\n[[stage.train.objective]]\nkl = { temperature = 1.0 }\n[stage.train.optimizer]\nadam-w = {}\n";
    assert_snapshot!(say(&[("epochs = 2\noptimizer.adam-w = { weight-decay = 0.02 }\n", own)]), @"");
}

#[test]
fn what_a_student_learns_from() {
    let objective = &GOOD[GOOD.find("[[objective]]").unwrap()..GOOD.find("[[stage]]").unwrap()];
    assert_snapshot!(say(&[(objective, "")]), @"");
    assert_snapshot!(say(&[(objective, ""), ("seed = 7", "objective = []")]), @"");
    assert_snapshot!(say(&[("[[objective]]\nweight.linear = { from = 0.9, to = 0.5 }\nkl = { temperature = 4.0 }\n", "")]), @"");
    assert_snapshot!(say(&[("kl = { temperature = 4.0 }", "hint = { student = \"\", teacher = \"hidden 1\" }")]), @"");
}

#[test]
fn the_order_of_stages() {
    let untrained = ("[[stage]]\nname = \"distill\"\n[stage.distill]\nepochs = 3\nlearning-rate.one-cycle = { peak = 1e-2 }\ngradient-clipping = 1.0\n\n", "");
    assert_snapshot!(say(&[untrained]), @"");
    let twice = "[[stage]]\nname = \"again\"\n[stage.quantize]\nweights = \"int8 tensor symmetric\"\nactivations = \"int8 tensor affine\"\n[[stage]]\nname = \"export\"";
    assert_snapshot!(say(&[("[[stage]]\nname = \"export\"", twice)]), @"");
    let masks = "[[stage]]\nname = \"late\"\n[stage.sparsify]\npattern.n-m = { keep = 2, of = 4 }\n[[stage]]\nname = \"export\"";
    assert_snapshot!(say(&[("[[stage]]\nname = \"export\"", masks)]), @"");
    let head = &GOOD[..GOOD.find("[[stage]]").unwrap()];
    assert_snapshot!(say_of(&format!("stage = []\n{head}")), @"");
}

#[test]
fn gates() {
    assert_snapshot!(say(&[("distill.accuracy =", "destill.accuracy =")]), @"");
    assert_snapshot!(say(&[("distill.accuracy =", "export.accuracy =")]), @"");
    assert_snapshot!(say(&[("distill.accuracy =", "distill.acuracy =")]), @"");
    assert_snapshot!(say(&[("{ min = 0.9 }", "{ min = 90 }")]), @"");
    assert_snapshot!(say(&[("{ min = 0.9 }", "{ min = 0.9, max = 0.8 }")]), @"");
    assert_snapshot!(say(&[("{ min = 0.9 }", "{ mim = 0.9 }")]), @"");
    assert_snapshot!(say(&[("distill.accuracy = { min = 0.9 }", "accuracy = 0.9")]), @"");
}

/// One problem hides no other, and none is said that goes away once the others are mended.
#[test]
fn all_at_once_and_nothing_beside() {
    assert_snapshot!(
        say(&[
            ("seed = 7", "sed = 7"),
            ("batch = 64", "batch = \"64\""),
            ("model.mlp = { hidden = [64] }", "model.mpl = {}"),
            ("temperature = 4.0", "temperature = 0"),
            ("epochs = 3", "epochs = -3"),
            ("name = \"prune\"", "name = \"teacher\""),
            ("int8 tensor affine", "int8 tensor afine"),
            ("int8.bytes", "int9.bytes"),
        ]),
        @""
    );
}

#[test]
fn overrides_are_checked_like_the_text() {
    let problems = |overrides: &[&str]| parse(GOOD, overrides).unwrap_err().to_string();
    assert_snapshot!(problems(&["stage.distill.distill.epochs=-1"]), @"");
    assert_snapshot!(problems(&["seed", "stage.destill.distill.epochs=1"]), @"");
    let recipe = parse(GOOD, &["seed=8", "device.name=ndarray", "stage.distill.distill.epochs=1"]).unwrap();
    assert_eq!((recipe.seed, recipe.device.name.as_str()), (8, "ndarray"));
    assert_eq!(recipe.stage("distill").unwrap().kind.fit().unwrap().epochs, 1);
}

#[test]
fn a_resolved_recipe_spells_out_every_default() {
    assert_snapshot!(parse(GOOD, &[]).unwrap().resolved(), @"");
}

#[test]
fn what_was_resolved_resolves_to_itself() {
    let check = |name: &str, text: &str| {
        let first = parse(text, &[]).unwrap_or_else(|problems| panic!("{name}:\n{problems}")).resolved();
        let again = parse(&first, &[]).unwrap_or_else(|problems| panic!("{name}, resolved:\n{problems}")).resolved();
        assert_eq!(first, again, "{name}");
    };
    check("the good one", GOOD);
    let terms = "
        [[stage.distill.objective]]
        weight.warm-up = { share = 0.1, then.cosine = { from = 1.0, to = 0.5, begin = 0.25 } }
        hint = { student = \"hidden1\", teacher = \"hidden1\", connector = \"linear\" }
        [[stage.distill.objective]]
        weight.sequence = [[0.5, 0.0], [1.0, { step = { at = [0.0, 0.5], values = [1.0, 0.5] } }]]
        kl = { temperature = 2, reduction = \"sum\", t-squared = false }
        [[stage.distill.objective]]
        kl = { temperature = 8 }
";
    let own = GOOD.replace("gradient-clipping = 1.0\n", &format!("gradient-clipping = 1\n{terms}"));
    check("a stage with terms of its own", &own);
    let given = GOOD.replace("[stage.train]\nof = \"teacher\"", "[stage.train]\nof = \"student\"")
        .replace("name = \"teacher\"\n", "name = \"first\"\n")
        .replace("[teacher]\n", "[teacher]\ncheckpoint = \"a folder/t \\\"1\\\".safetensors\"\n");
    check("a given teacher", &given);
    for pattern in ["n-m = { keep = 2, of = 4 }", "block = { rows = 4, columns = 1, sparsity = 0.5 }"] {
        check(pattern, &GOOD.replace("unstructured = { sparsity = 0.5 }", pattern));
    }
    for optimizer in ["sgd = { nesterov = true }", "adam = {}", "lion = { beta1 = 0.95 }"] {
        check(optimizer, &GOOD.replace("adam-w = { weight-decay = 0.02 }", optimizer));
    }
    for criterion in ["magnitude = { p = 1 }", "random = { seed = 3 }"] {
        check(criterion, &GOOD.replace("{ sparsity = 0.25 }", &format!("{{ macs = 0.3 }}\ncriterion.{criterion}")));
    }
    let csv = "[data.csv]\ntrain = \"a.csv\"\ntest = \"b.csv\"\nclasses = 3\nvalidation = 10\nlabel = \"kind\"\nheader = true\nscale = 255\n";
    check("own files", &GOOD.replace("[data.digits]\nvalidation = 300\nbatch = 64\n", csv));
}

#[test]
fn terms_are_named_apart_and_the_baseline_learns_from_labels() {
    let twice = GOOD.replace("kl = { temperature = 4.0 }\n", "kl = { temperature = 4.0 }\n[[objective]]\nkl = { temperature = 1.0 }\n");
    let recipe = parse(&twice, &[]).unwrap();
    let names = |stage: &str| {
        let fit = recipe.stage(stage).unwrap().kind.fit().unwrap();
        fit.objective.terms().iter().map(|term| term.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names("teacher"), ["cross-entropy"]);
    assert_eq!(names("distill"), ["cross-entropy", "kl", "kl-2"]);
    let alone = recipe.stage("distill").unwrap().kind.fit().unwrap().alone();
    assert_eq!(alone.terms().len(), 1);
    let expected = "CrossEntropy { label_smoothing: LabelSmoothing(0.1) }";
    assert_eq!(format!("{:?}", alone.terms()[0].loss), expected);
}

#[test]
fn every_recipe_in_configs_parses_and_resolves() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let recipe = parse(&text, &[]).unwrap_or_else(|problems| panic!("{}:\n{problems}", path.display()));
        let resolved = recipe.resolved();
        let again = parse(&resolved, &[]).unwrap_or_else(|problems| panic!("{}:\n{problems}", path.display()));
        assert_eq!(resolved, again.resolved(), "{}", path.display());
        assert_eq!(Some(recipe.name.as_str()), path.file_stem().and_then(|stem| stem.to_str()));
        assert!(!recipe.expect.is_empty(), "{} promises nothing", path.display());
        count += 1;
    }
    assert!(count >= 3, "{count} recipes in {}", folder.display());
}
