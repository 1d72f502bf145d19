//! What a bad recipe says: every code of `recipe::` with its place and its help; and what a good one resolves to.
use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use kd_train::Registry;
use kd_train::problem::Problems;
use kd_train::recipe::{KernelsSpec, Recipe, Source};
use proptest::prelude::*;

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
weights = "int8 channel narrow"
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
    assert_snapshot!(say(&[("seed = 7", "seed = 7 8")]), @"
    recipe::syntax: this is no TOML: string values must be quoted, expected literal string
      recipe.toml:3:8
      | seed = 7 8
      |        ^^^ here
    ");
    assert_snapshot!(say(&[("seed = 7", "seed = 7\nseed = 8")]), @"
    recipe::syntax: this is no TOML: duplicate key
      recipe.toml:4:1
      | seed = 8
      | ^^^^ here
    ");
    assert_snapshot!(say(&[("model.mlp = { hidden = [64] }", "model.mlp = { hidden = [64 }")]), @"
    recipe::syntax: this is no TOML: missing comma between array elements, expected `,`
      recipe.toml:14:28
      | model.mlp = { hidden = [64 }
      |                            ^ here
    ");
}

#[test]
fn schema_name_and_seed() {
    assert_snapshot!(say(&[("schema = 1", "schema = 2")]), @"
    recipe::schema: expected schema 1, found 2
      recipe.toml:1:10
      | schema = 2
      |          ^ unknown schema
      help: this program reads schema 1; another schema needs another version of it
    ");
    assert_snapshot!(say(&[("schema = 1\n", "")]), @r#"
    recipe::missing-key: the recipe has no `schema`
      recipe.toml:1:1
      | name = "good"
      | ^ no `schema`
      help: write `schema = 1`
    "#);
    assert_snapshot!(say(&[("name = \"good\"", "name = \"good/../bad\"")]), @r#"
    recipe::bad-name: expected a name of letters, digits, `-`, `_` and `.`, found `good/../bad`
      recipe.toml:2:8
      | name = "good/../bad"
      |        ^^^^^^^^^^^^^ not the name of a folder
    "#);
    assert_snapshot!(say(&[("seed = 7", "seed = -7")]), @"
    recipe::bad-value: expected a whole number of at least 0, found -7
      recipe.toml:3:8
      | seed = -7
      |        ^^ expected a whole number of at least 0
    ");
    assert_snapshot!(say(&[("seed = 7", "seed = \"seven\"")]), @r#"
    recipe::wrong-type: expected a whole number of at least 0, found "seven"
      recipe.toml:3:8
      | seed = "seven"
      |        ^^^^^^^ expected a whole number of at least 0
    "#);
    assert_snapshot!(say(&[("seed = 7", "seed = 9223372036854775807")]), @"
    recipe::bad-value: expected a seed of at most 62 bits, found 9223372036854775807
      recipe.toml:3:8
      | seed = 9223372036854775807
      |        ^^^^^^^^^^^^^^^^^^^ too large
    ");
}

#[test]
fn nothing_at_all() {
    assert_snapshot!(say_of(""), @r#"
    recipe::missing-key: the recipe has no `schema`
      recipe.toml:1:1
      | 
      | ^ no `schema`
      help: write `schema = 1`

    recipe::missing-key: the recipe has no `name`
      recipe.toml:1:1
      | 
      | ^ no `name`
      help: write `name = "mnist"`

    recipe::missing-key: the recipe has no `data`
      recipe.toml:1:1
      | 
      | ^ no `data`
      help: write `[data.mnist]`

    recipe::missing-key: the recipe has no `teacher`
      recipe.toml:1:1
      | 
      | ^ no `teacher`
      help: write `[teacher]`

    recipe::missing-key: the recipe has no `student`
      recipe.toml:1:1
      | 
      | ^ no `student`
      help: write `[student]`

    recipe::missing-key: the recipe has no `stage`
      recipe.toml:1:1
      | 
      | ^ no `stage`
      help: write `[[stage]]`
    "#);
}

#[test]
fn unknown_keys_at_every_depth() {
    assert_snapshot!(say(&[("seed = 7", "sed = 7")]), @"
    recipe::unknown-key: the recipe has no key `sed`
      recipe.toml:3:1
      | sed = 7
      | ^^^ unknown key
      help: did you mean `seed`?
    ");
    assert_snapshot!(say(&[("batch = 64", "bacth = 64")]), @"
    recipe::unknown-key: there is no key `bacth` here
      recipe.toml:11:1
      | bacth = 64
      | ^^^^^ unknown key
      help: did you mean `batch`?
    ");
    assert_snapshot!(say(&[("batch = 64", "augment = { shfit = 2 }")]), @"
    recipe::unknown-key: there is no key `shfit` here
      recipe.toml:11:13
      | augment = { shfit = 2 }
      |             ^^^^^ unknown key
      help: did you mean `shift`?
    ");
    assert_snapshot!(say(&[("model.mlp = { hidden = [64] }", "model.mlp = { hiden = [64] }")]), @"
    recipe::unknown-key: there is no key `hiden` here
      recipe.toml:14:15
      | model.mlp = { hiden = [64] }
      |               ^^^^^ unknown key
      help: did you mean `hidden`?
    ");
    assert_snapshot!(say(&[("learning-rate.one-cycle", "rate.one-cycle")]), @"
    recipe::unknown-key: `stage.distill.distill` has no key `rate`
      recipe.toml:37:1
      | rate.one-cycle = { peak = 1e-2 }
      | ^^^^ unknown key
      help: did you mean `learning-rate`?
    ");
    assert_snapshot!(say(&[("{ peak = 1e-2 }", "{ peak = 1e-2, warmup = 0.3 }")]), @"
    recipe::unknown-key: there is no key `warmup` here
      recipe.toml:37:42
      | learning-rate.one-cycle = { peak = 1e-2, warmup = 0.3 }
      |                                          ^^^^^^ unknown key
      help: did you mean `warm-up`?
    ");
    assert_snapshot!(say(&[("{ weight-decay = 0.02 }", "{ wd = 0.02 }")]), @"
    recipe::unknown-key: there is no key `wd` here
      recipe.toml:31:22
      | optimizer.adam-w = { wd = 0.02 }
      |                      ^^ unknown key
      help: there are `beta1`, `beta2`, `epsilon`, `weight-decay`
    ");
    assert_snapshot!(say(&[("[stage.export]", "[stage.export]\nformat = \"onnx\"")]), @r#"
    recipe::unknown-key: `stage.export.export` has no key `format`
      recipe.toml:62:1
      | format = "onnx"
      | ^^^^^^ unknown key
      help: there are `weights-container`
    "#);
}

#[test]
fn unknown_names() {
    assert_snapshot!(say(&[("kl = {", "k1 = {")]), @"
    recipe::unknown-loss: no loss is named `k1`
      recipe.toml:24:1
      | k1 = { temperature = 4.0 }
      | ^^ unknown loss
      help: did you mean `kl`?
    ");
    assert_snapshot!(say(&[("cross-entropy = {", "quux = {")]), @"
    recipe::unknown-loss: no loss is named `quux`
      recipe.toml:21:1
      | quux = { label-smoothing = 0.1 }
      | ^^^^ unknown loss
    ");
    assert_snapshot!(say(&[("kl = { temperature = 4.0 }", "dml = {}")]), @"
    recipe::loss-lacks: `dml` needs peers that are trained at the same time, which a recipe cannot give it
      recipe.toml:24:1
      | dml = {}
      | ^^^ needs more than a recipe has
      help: `kd explain loss.dml` says what it reads; use it through the crate `kd-core`, or on saved tensors with `kd loss eval`
    ");
    assert_snapshot!(say(&[("model.mlp = { hidden = [16] }", "model.convnext = {}")]), @"
    recipe::unknown-model: no model is named `convnext`
      recipe.toml:17:7
      | model.convnext = {}
      |       ^^^^^^^^ unknown model
      help: did you mean `convnet`?
    ");
    assert_snapshot!(say(&[("[data.digits]", "[data.digit]")]), @"
    recipe::unknown-data: no data set is named `digit`
      recipe.toml:9:7
      | [data.digit]
      |       ^^^^^ unknown data set
      help: did you mean `digits`?
    ");
    assert_snapshot!(say(&[("optimizer.adam-w", "optimizer.adamw")]), @"
    recipe::unknown-name: nothing is named `adamw` here
      recipe.toml:31:11
      | optimizer.adamw = { weight-decay = 0.02 }
      |           ^^^^^ unknown name
      help: did you mean `adam-w`?
    ");
    assert_snapshot!(say(&[("weight.linear", "weight.linaer")]), @"
    recipe::unknown-name: nothing is named `linaer` here
      recipe.toml:23:8
      | weight.linaer = { from = 0.9, to = 0.5 }
      |        ^^^^^^ unknown name
      help: did you mean `linear`?
    ");
    assert_snapshot!(say(&[("observer = \"min-max\"", "observer = \"minmax\"")]), @r#"
    recipe::unknown-name: nothing is named `minmax` here
      recipe.toml:57:12
      | observer = "minmax"
      |            ^^^^^^^^ unknown name
      help: did you mean `min-max`?
    "#);
    assert_snapshot!(say(&[("{ sparsity = 0.25 }", "{ flops = 0.25 }")]), @"
    recipe::unknown-name: nothing is named `flops` here
      recipe.toml:44:22
      | pattern.channels = { flops = 0.25 }
      |                      ^^^^^ unknown name
      help: there are `sparsity`, `macs`
    ");
    assert_snapshot!(say(&[("of = \"teacher\"", "of = \"techer\"")]), @r#"
    recipe::unknown-name: nothing is named `techer` here
      recipe.toml:29:6
      | of = "techer"
      |      ^^^^^^^^ unknown name
      help: did you mean `teacher`?
    "#);
    assert_snapshot!(say(&[("[stage.distill]", "[stage.distil]")]), @"
    recipe::no-name: `stage.distill` does nothing
      recipe.toml:33:1
      | [[stage]]
      | ^^^^^^^^^ no kind
      help: did you mean `[stage.distill]`?
    ");
    assert_snapshot!(say(&[("name = \"flex\"", "name = \"flox\"")]), @r#"
    device::unknown: no device is named `flox`
      recipe.toml:6:8
      | name = "flox"
      |        ^^^^^^ unknown device
      help: did you mean `flex`?
    "#);
    assert_snapshot!(say(&[("name = \"flex\"", "name = \"flex:1\"")]), @r#"
    device::unknown: expected a card of `wgpu` or `cuda` counted from 0, such as `cuda:1`, found `flex:1`
      recipe.toml:6:8
      | name = "flex:1"
      |        ^^^^^^^^ no such card
    "#);
}

#[test]
fn wrong_types() {
    assert_snapshot!(say(&[("epochs = 3", "epochs = \"3\"")]), @r#"
    recipe::wrong-type: expected a whole number of at least 1, found "3"
      recipe.toml:36:10
      | epochs = "3"
      |          ^^^ expected a whole number of at least 1
    "#);
    assert_snapshot!(say(&[("epochs = 3", "epochs = 2.5")]), @"
    recipe::wrong-type: expected a whole number of at least 1, found 2.5
      recipe.toml:36:10
      | epochs = 2.5
      |          ^^^ expected a whole number of at least 1
    ");
    assert_snapshot!(say(&[("{ hidden = [64] }", "{ hidden = 64 }")]), @"
    recipe::wrong-type: expected a list, found 64
      recipe.toml:14:24
      | model.mlp = { hidden = 64 }
      |                        ^^ expected a list
    ");
    assert_snapshot!(say(&[("model.mlp = { hidden = [64] }", "model = \"mlp\"")]), @r#"
    recipe::wrong-type: expected a table for `teacher.model`, found "mlp"
      recipe.toml:14:9
      | model = "mlp"
      |         ^^^^^ expected a table
    "#);
    assert_snapshot!(say(&[("[device]\nname = \"flex\"\nthreads = 2", "device = \"flex\"")]), @r#"
    recipe::wrong-type: expected a table for `device`, found "flex"
      recipe.toml:5:10
      | device = "flex"
      |          ^^^^^^ expected a table
    "#);
    assert_snapshot!(say(&[("weight = 0.1", "weight = \"0.1\"")]), @r#"
    recipe::wrong-type: expected a number or a schedule, found "0.1"
      recipe.toml:20:10
      | weight = "0.1"
      |          ^^^^^ expected a number or a schedule
      help: `kd list schedules` shows the names and their knobs
    "#);
    assert_snapshot!(say(&[("{ temperature = 4.0 }", "4.0")]), @"
    recipe::wrong-type: expected a table, found 4.0
      recipe.toml:24:6
      | kl = 4.0
      |      ^^^ expected a table
    ");
    assert_snapshot!(say(&[("[stage.export]", "export = true")]), @"
    recipe::wrong-type: expected a table for `stage.export.export`, found `true`
      recipe.toml:61:10
      | export = true
      |          ^^^^ expected a table
    ");
    assert_snapshot!(
        say_of(&GOOD.replace("[[objective]]\nweight = 0.1", "[objective]\nweight = 0.1").replace(
            "[[objective]]\nweight.linear = { from = 0.9, to = 0.5 }\nkl = { temperature = 4.0 }\n", ""
        )),
        @"
        recipe::wrong-type: expected a list of tables for `objective`, found a table
          recipe.toml:19:1
          | [objective]
          | ^^^^^^^^^^^ expected a list
          help: write it as `[[objective]]`
        "
    );
}

#[test]
fn numbers_out_of_range() {
    assert_snapshot!(say(&[("temperature = 4.0", "temperature = -4.0")]), @"
    recipe::bad-value: `temperature` must be finite and above 0, found -4
      recipe.toml:24:22
      | kl = { temperature = -4.0 }
      |                      ^^^^ not possible
    ");
    assert_snapshot!(say(&[("label-smoothing = 0.1", "label-smoothing = 1.5")]), @"
    recipe::bad-value: `label-smoothing` must be from 0 to 1, found 1.5
      recipe.toml:21:37
      | cross-entropy = { label-smoothing = 1.5 }
      |                                     ^^^ not possible
    ");
    assert_snapshot!(say(&[("epochs = 3", "epochs = 0")]), @"
    recipe::bad-value: expected a whole number of at least 1, found 0
      recipe.toml:36:10
      | epochs = 0
      |          ^ expected a whole number of at least 1
    ");
    assert_snapshot!(say(&[("epochs = 3", "epochs = -3")]), @"
    recipe::bad-value: expected a whole number of at least 1, found -3
      recipe.toml:36:10
      | epochs = -3
      |          ^^ expected a whole number of at least 1
    ");
    assert_snapshot!(say(&[("batch = 64", "batch = 0")]), @"
    recipe::bad-value: expected a whole number of at least 1, found 0
      recipe.toml:11:9
      | batch = 0
      |         ^ expected a whole number of at least 1
    ");
    assert_snapshot!(say(&[("threads = 2", "threads = 0")]), @"
    recipe::bad-value: expected a whole number of at least 1, found 0
      recipe.toml:7:11
      | threads = 0
      |           ^ expected a whole number of at least 1
    ");
    assert_snapshot!(say(&[("{ sparsity = 0.25 }", "{ sparsity = 1.0 }")]), @"
    recipe::bad-value: share to remove is 1, expected a number of at least 0 and below 1
      recipe.toml:44:33
      | pattern.channels = { sparsity = 1.0 }
      |                                 ^^^ not possible
    ");
    assert_snapshot!(say(&[("{ sparsity = 0.5 }", "{ sparsity = 50 }")]), @"
    recipe::bad-value: sparsity is 50, expected a number in 0 ..= 1
      recipe.toml:50:37
      | pattern.unstructured = { sparsity = 50 }
      |                                     ^^ not possible
    ");
    assert_snapshot!(say(&[("unstructured = { sparsity = 0.5 }", "n-m = { keep = 5, of = 4 }")]), @"
    recipe::bad-value: n:m pattern keeps 5 of 4, expected `keep` in 1 ..= `of`
      recipe.toml:50:24
      | pattern.n-m = { keep = 5, of = 4 }
      |                        ^ not possible
    ");
    assert_snapshot!(say(&[("peak = 1e-2", "peak = -1e-2")]), @"
    recipe::bad-value: `peak` must be finite and above 0, found -0.01
      recipe.toml:37:36
      | learning-rate.one-cycle = { peak = -1e-2 }
      |                                    ^^^^^ not possible
    ");
    assert_snapshot!(say(&[("learning-rate.one-cycle = { peak = 1e-2 }", "learning-rate = 0")]), @"
    recipe::bad-value: expected a `learning-rate` above 0, found 0
      recipe.toml:37:17
      | learning-rate = 0
      |                 ^ not above 0
    ");
    assert_snapshot!(say(&[("{ weight-decay = 0.02 }", "{ weight-decay = -1, beta1 = 1.0 }")]), @"
    recipe::bad-value: expected a number from 0 to below 1, found 1.0
      recipe.toml:31:49
      | optimizer.adam-w = { weight-decay = -1, beta1 = 1.0 }
      |                                                 ^^^ expected a number from 0 to below 1
    ");
    assert_snapshot!(say(&[("gradient-clipping = 1.0", "gradient-clipping = 0")]), @"
    recipe::bad-value: expected a number above 0 for `gradient-clipping`, found 0
      recipe.toml:38:21
      | gradient-clipping = 0
      |                     ^ not above 0
    ");
    assert_snapshot!(say(&[("observer = \"min-max\"", "observer.moving-average = { decay = 1.0 }")]), @"
    recipe::bad-value: expected a decay from 0 to below 1, found 1
      recipe.toml:57:37
      | observer.moving-average = { decay = 1.0 }
      |                                     ^^^ not possible
    ");
    assert_snapshot!(say(&[("observer = \"min-max\"", "freeze-after = 1.5\ncalibration = 0")]), @"
    recipe::bad-value: expected a number from 0 to 1 for `freeze-after`, found 1.5
      recipe.toml:57:16
      | freeze-after = 1.5
      |                ^^^ not from 0 to 1

    recipe::bad-value: expected a whole number of at least 1, found 0
      recipe.toml:58:15
      | calibration = 0
      |               ^ expected a whole number of at least 1
    ");
    assert_snapshot!(
        say(&[("{ sparsity = 0.5 }", "{ sparsity = 0.5 }\nschedule.cubic = { from = 0.0, to = 0.5 }")]),
        @"
        recipe::bad-value: expected a `schedule` within 0 and 1 that ends at 1, found 0.5
          recipe.toml:51:1
          | schedule.cubic = { from = 0.0, to = 0.5 }
          | ^^^^^^^^ not a share that ends at 1
          help: `pattern` says how much goes in the end, and this how much of that is gone by when
        "
    );
    assert_snapshot!(say(&[("{ from = 0.9, to = 0.5 }", "{ from = 0.9, to = 0.5, begin = 0.7, end = 0.3 }")]), @"
    recipe::bad-value: `begin` must be smaller than `end`, found begin = 0.7 and end = 0.3
      recipe.toml:23:49
      | weight.linear = { from = 0.9, to = 0.5, begin = 0.7, end = 0.3 }
      |                                                 ^^^ not possible
    ");
}

#[test]
fn schemes() {
    assert_snapshot!(say(&[("int8 channel narrow", "int8 chanel symmetric")]), @r#"
    recipe::bad-value: unknown word `chanel`; expected `tensor`, `channel`, `token`, `group=N`, `block=RxC`, `narrow`, `symmetric`, `no-clip`, `affine`, `scale=FORMAT`; did you mean `channel`?
      recipe.toml:55:11
      | weights = "int8 chanel symmetric"
      |           ^^^^^^^^^^^^^^^^^^^^^^^ not possible
    "#);
    assert_snapshot!(say(&[("int8 channel narrow", "int8")]), @r#"
    recipe::bad-value: with `int8` a scheme takes `tensor`, `channel`, `group=N` or `block=RxC`
      recipe.toml:55:11
      | weights = "int8"
      |           ^^^^^^ not possible
    "#);
    assert_snapshot!(say(&[("int8 channel narrow", "int8 token affine")]), @r#"
    recipe::bad-scheme: expected a scheme for weights, found `int8 token affine`
      recipe.toml:55:11
      | weights = "int8 token affine"
      |           ^^^^^^^^^^^^^^^^^^^ a scale for each token
      help: weights have no tokens: write `int8 channel symmetric`
    "#);
    assert_snapshot!(say(&[("int8 channel narrow", "nf4"), ("observer = \"min-max\"", "estimator.lsq = {}")]), @r#"
    recipe::bad-scheme: expected weights that `lsq` takes, found `nf4`
      recipe.toml:55:11
      | weights = "nf4"
      |           ^^^^^ not for `lsq`
      recipe.toml:57:1
      | estimator.lsq = {}
      | ^^^^^^^^^ the estimator
      help: it takes symmetric integers of 2 to 8 bits by `tensor` or `channel`, such as `int4 channel narrow`
    "#);
    assert_snapshot!(say(&[("int8 tensor affine", "int8 tensor narrow"), ("observer = \"min-max\"", "estimator.pact = {}")]), @r#"
    recipe::bad-scheme: expected activations that `pact` trains, found `int8 tensor narrow`
      recipe.toml:56:15
      | activations = "int8 tensor narrow"
      |               ^^^^^^^^^^^^^^^^^^^^ not for `pact`
      help: it takes an affine scheme with one scale, such as `int8 tensor affine`
    "#);
    assert_snapshot!(say(&[("observer = \"min-max\"", "estimator.lqs = {}\nquant-noise = 1.5\nfreeze-statistics-after = 1.5\nobserver.percentile = { share = 0.0 }")]), @r#"
    recipe::unknown-name: nothing is named `lqs` here
      recipe.toml:57:11
      | estimator.lqs = {}
      |           ^^^ unknown name
      help: did you mean `lsq`?

    recipe::bad-value: expected a number above 0, at most 1 for `quant-noise`, found 1.5
      recipe.toml:58:15
      | quant-noise = 1.5
      |               ^^^ not above 0, at most 1

    recipe::bad-value: expected a number from 0 to 1 for `freeze-statistics-after`, found 1.5
      recipe.toml:59:27
      | freeze-statistics-after = 1.5
      |                           ^^^ not from 0 to 1

    recipe::bad-value: expected share above 0, at most 1, found 0
      recipe.toml:60:33
      | observer.percentile = { share = 0.0 }
      |                                 ^^^ not possible
    "#);
    assert_snapshot!(say(&[("int8 tensor affine", "int16 tensor affine")]), @r#"
    recipe::bad-scheme: expected integers of 2 to 8 bits for activations, found `int16 tensor affine`
      recipe.toml:56:15
      | activations = "int16 tensor affine"
      |               ^^^^^^^^^^^^^^^^^^^^^ no such integer
      help: write `int8 tensor affine`
    "#);
    assert_snapshot!(say(&[("int8 tensor affine", "int8 group=32")]), @r#"
    recipe::bad-scheme: expected one scale, or one for each row for activations, found `int8 group=32 affine`
      recipe.toml:56:15
      | activations = "int8 group=32"
      |               ^^^^^^^^^^^^^^^ scales for parts of a row
      help: write `int8 tensor affine`, or `int8 token affine` for scales found at run time
    "#);
    assert_snapshot!(say(&[("int8 tensor affine", "int8 tensor affine scale=fp16")]), @r#"
    recipe::bad-scheme: expected a scale in f32 for activations, found `int8 tensor affine scale=fp16`
      recipe.toml:56:15
      | activations = "int8 tensor affine scale=fp16"
      |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ a narrower scale
      help: leave out `scale=…`
    "#);
    assert_snapshot!(say(&[("int8 tensor affine", "int8 channel affine")]), @r#"
    recipe::bad-scheme: expected one scale for activations, found `int8 channel affine`
      recipe.toml:56:15
      | activations = "int8 channel affine"
      |               ^^^^^^^^^^^^^^^^^^^^^ a scale for each channel
      help: a product sums over the channels of its input: write `int8 tensor affine`
    "#);
}

#[test]
fn missing_keys() {
    assert_snapshot!(say(&[("name = \"distill\"\n", "")]), @r#"
    recipe::missing-key: `stage.1` has no `name`
      recipe.toml:33:1
      | [[stage]]
      | ^^^^^^^^^ no `name`
      help: write `name = "distill"`
    "#);
    assert_snapshot!(say(&[("epochs = 3\n", "")]), @"
    recipe::missing-key: `stage.distill.distill` has no `epochs`
      recipe.toml:35:1
      | [stage.distill]
      | ^^^^^^^^^^^^^^^ no `epochs`
      help: write `epochs = 6`
    ");
    assert_snapshot!(say(&[("of = \"teacher\"\n", "")]), @r#"
    recipe::missing-key: `stage.teacher.train` has no `of`
      recipe.toml:28:1
      | [stage.train]
      | ^^^^^^^^^^^^^ no `of`
      help: write `of = "teacher"`
    "#);
    assert_snapshot!(say(&[("{ temperature = 4.0 }", "{}")]), @"
    recipe::missing-key: this needs the key `temperature`
      recipe.toml:24:6
      | kl = {}
      |      ^^ no `temperature`
      help: write `temperature = …` into it
    ");
    assert_snapshot!(say(&[("pattern.channels = { sparsity = 0.25 }\n", "")]), @"
    recipe::missing-key: `stage.prune.prune` has no `pattern`
      recipe.toml:42:1
      | [stage.prune]
      | ^^^^^^^^^^^^^ no `pattern`
      help: write `pattern.channels = { macs = 0.4 }`
    ");
    assert_snapshot!(say(&[("[student]\nmodel.mlp = { hidden = [16] }\n", "")]), @"
    recipe::missing-key: the recipe has no `student`
      recipe.toml:1:1
      | schema = 1
      | ^ no `student`
      help: write `[student]`
    ");
    assert_snapshot!(say(&[("model.mlp = { hidden = [16] }\n", "")]), @"
    recipe::missing-key: `student` has no `model`
      recipe.toml:16:1
      | [student]
      | ^^^^^^^^^ no `model`
      help: write `model.mlp = { hidden = [64] }`
    ");
    assert_snapshot!(say(&[("{ from = 0.9, to = 0.5 }", "{ from = 0.9 }")]), @"
    recipe::missing-key: this needs the key `to`
      recipe.toml:23:17
      | weight.linear = { from = 0.9 }
      |                 ^^^^^^^^^^^^^^ no `to`
      help: write `to = …` into it
    ");
    assert_snapshot!(say(&[("{ min = 0.9 }", "{}")]), @"
    recipe::missing-key: `expect.distill.accuracy` has no limit
      recipe.toml:64:20
      | distill.accuracy = {}
      |                    ^^ no limit
      help: write `{ min = … }`, `{ max = … }` or both
    ");
    assert_snapshot!(say(&[("[data.digits]\nvalidation = 300\nbatch = 64", "[data.idx]\nclasses = 10")]), @"
    recipe::missing-key: this needs the key `train-images`
      recipe.toml:9:1
      | [data.idx]
      | ^^^^^^^^^^ no `train-images`
      help: write `train-images = …` into it
    ");
}

#[test]
fn one_name_where_one_belongs() {
    assert_snapshot!(say(&[("[stage.distill]", "[stage.export]\n[stage.distill]")]), @"
    recipe::two-names: `stage.distill` does one thing, found `export` and `distill`
      recipe.toml:36:8
      | [stage.distill]
      |        ^^^^^^^ a second kind
      recipe.toml:35:8
      | [stage.export]
      |        ^^^^^^ the first kind
      help: begin a new `[[stage]]`
    ");
    assert_snapshot!(say(&[("[stage.distill]\nepochs = 3\nlearning-rate.one-cycle = { peak = 1e-2 }\ngradient-clipping = 1.0\n", "")]), @"
    recipe::no-name: `stage.distill` does nothing
      recipe.toml:33:1
      | [[stage]]
      | ^^^^^^^^^ no kind
      help: write one of `[stage.train]`, `[stage.distill]`, `[stage.prune]`, `[stage.sparsify]`, `[stage.share]`, `[stage.quantize]`, `[stage.export]`
    ");
    assert_snapshot!(say(&[("kl = { temperature = 4.0 }", "kl = { temperature = 4.0 }\ncross-entropy = {}")]), @"
    recipe::two-names: `objective.1` names one loss, found `kl` and `cross-entropy`
      recipe.toml:25:1
      | cross-entropy = {}
      | ^^^^^^^^^^^^^ a second one
      recipe.toml:24:1
      | kl = { temperature = 4.0 }
      | ^^ the first one
      help: begin a new `[[objective]]`
    ");
    assert_snapshot!(say(&[("weight = 0.1", "wieght = 0.1")]), @"
    recipe::unknown-key: `objective.0` has no key `wieght`
      recipe.toml:20:1
      | wieght = 0.1
      | ^^^^^^ unknown key
      help: did you mean `weight`?
    ");
    assert_snapshot!(say(&[("kl = { temperature = 4.0 }\n", "")]), @"
    recipe::no-name: `objective.1` names no loss
      recipe.toml:22:1
      | [[objective]]
      | ^^^^^^^^^^^^^ no loss
      help: write, for example, `cross-entropy = {}`
    ");
    assert_snapshot!(say(&[("model.mlp = { hidden = [16] }", "model = {}")]), @"
    recipe::no-name: `student.model` names no model
      recipe.toml:17:9
      | model = {}
      |         ^^ no model
      help: write, for example, `model.mlp = { hidden = [64] }`
    ");
    assert_snapshot!(say(&[("model.mlp = { hidden = [16] }", "model = { mlp = { hidden = [16] }, convnet = {} }")]), @"
    recipe::two-names: `student.model` names one model, found `mlp` and `convnet`
      recipe.toml:17:36
      | model = { mlp = { hidden = [16] }, convnet = {} }
      |                                    ^^^^^^^ a second one
      recipe.toml:17:11
      | model = { mlp = { hidden = [16] }, convnet = {} }
      |           ^^^ the first one
      help: take one of the two out
    ");
    assert_snapshot!(say(&[("[teacher]", "[data.mnist]\n[teacher]")]), @"
    recipe::two-names: `data` names one data set, found `digits` and `mnist`
      recipe.toml:13:7
      | [data.mnist]
      |       ^^^^^ a second one
      recipe.toml:9:7
      | [data.digits]
      |       ^^^^^^ the first one
      help: take one of the two out
    ");
    assert_snapshot!(say(&[("[data.digits]\nvalidation = 300\nbatch = 64", "[data]")]), @"
    recipe::no-name: `data` names no data set
      recipe.toml:9:1
      | [data]
      | ^^^^^^ no data set
      help: write, for example, `[data.mnist]`
    ");
    assert_snapshot!(say(&[("optimizer.adam-w = { weight-decay = 0.02 }", "optimizer = { sgd = {}, lion = {} }")]), @"
    recipe::two-names: expected one name, found several
      recipe.toml:31:13
      | optimizer = { sgd = {}, lion = {} }
      |             ^^^^^^^^^^^^^^^^^^^^^^^ several names
    ");
    assert_snapshot!(say(&[("optimizer.adam-w = { weight-decay = 0.02 }", "optimizer = {}")]), @"
    recipe::no-name: expected one name, found none
      recipe.toml:31:13
      | optimizer = {}
      |             ^^ no name
    ");
    assert_snapshot!(say(&[("weight.linear = { from = 0.9, to = 0.5 }", "weight = { linear = { from = 1, to = 0 }, cosine = { from = 1, to = 0 } }")]), @"
    recipe::two-names: a schedule has one name, found `cosine` and `linear`
      recipe.toml:23:12
      | weight = { linear = { from = 1, to = 0 }, cosine = { from = 1, to = 0 } }
      |            ^^^^^^ a second one
      help: take one of the two out
    ");
}

#[test]
fn alpha_belongs_to_no_kl() {
    assert_snapshot!(say(&[("{ temperature = 4.0 }", "{ temperature = 4.0, alpha = 0.9 }")]), @"
    recipe::alpha: `kl` has no `alpha`
      recipe.toml:24:35
      | kl = { temperature = 4.0, alpha = 0.9 }
      |                                   ^^^ not a knob of `kl`
      help: give each term of the objective its own `weight`, such as `weight = 0.9` beside `kl` and `weight = 0.1` beside `cross-entropy`
    ");
}

#[test]
fn names_of_stages() {
    assert_snapshot!(say(&[("name = \"prune\"", "name = \"distill\"")]), @r#"
    recipe::duplicate-stage: two stages are named `distill`
      recipe.toml:41:8
      | name = "distill"
      |        ^^^^^^^^^ the second one
      recipe.toml:34:8
      | name = "distill"
      |        ^^^^^^^^^ the first one
      help: every stage has a name of its own
    "#);
    assert_snapshot!(say(&[("name = \"prune\"", "name = \"prune 40%\"")]), @r#"
    recipe::bad-name: expected a name of letters, digits, `-`, `_` and `.`, found `prune 40%`
      recipe.toml:41:8
      | name = "prune 40%"
      |        ^^^^^^^^^^^ not the name of a folder
    "#);
    assert_snapshot!(say(&[("name = \"prune\"", "name = \"baseline\"")]), @r#"
    recipe::bad-name: `baseline` is a row that the report has without a stage
      recipe.toml:41:8
      | name = "baseline"
      |        ^^^^^^^^^^ taken
      help: choose another name
    "#);
}

#[test]
fn the_teacher() {
    let none = [(
        "name = \"teacher\"\n[stage.train]\nof = \"teacher\"",
        "name = \"first\"\n[stage.train]\nof = \"student\"",
    )];
    assert_snapshot!(say(&none), @r#"
    recipe::no-teacher: no stage trains the teacher, and it has no `checkpoint`
      recipe.toml:26:1
      | [[stage]]
      | ^^^^^^^^^ the first stage
      help: every row of the report is compared with the teacher: train it in the first stage, with `[stage.train]` and `of = "teacher"`, or give `[teacher]` a `checkpoint`
    "#);
    assert_snapshot!(say(&[("model.mlp = { hidden = [64] }", "model.mlp = { hidden = [64] }\ncheckpoint = \"t.safetensors\"")]), @r#"
    recipe::teacher-given: the teacher has a `checkpoint`, and this stage would train it anew
      recipe.toml:29:8
      | [stage.train]
      |        ^^^^^ trains it
      recipe.toml:15:14
      | checkpoint = "t.safetensors"
      |              ^^^^^^^^^^^^^^^ its weights
      help: take one of the two out
    "#);
    let again = "[[stage]]\nname = \"again\"\n[stage.train]\nof = \"teacher\"\nepochs = 1\n\n[[stage]]\nname = \"prune\"";
    assert_snapshot!(say(&[("[[stage]]\nname = \"prune\"", again)]), @"
    recipe::teacher-twice: the teacher is trained once, and this stage would train it again
      recipe.toml:42:8
      | [stage.train]
      |        ^^^^^ trains it again
      recipe.toml:28:8
      | [stage.train]
      |        ^^^^^ trains it
      help: give the first one more epochs instead
    ");
    let late = "[[stage]]\nname = \"early\"\n[stage.train]\nof = \"student\"\nepochs = 1\n\n[[stage]]\nname = \"teacher\"";
    assert_snapshot!(say(&[("[[stage]]\nname = \"teacher\"", late)]), @"
    recipe::teacher-late: the teacher is trained in the first stage: every row is compared with it
      recipe.toml:34:8
      | [stage.train]
      |        ^^^^^ not the first stage
      help: move this `[[stage]]` to the top
    ");
    let own = "epochs = 2\n[[stage.train.objective]]\nkl = { temperature = 1.0 }\n[stage.train.optimizer]\nadam-w = {}\n";
    assert_snapshot!(say(&[("epochs = 2\noptimizer.adam-w = { weight-decay = 0.02 }\n", own)]), @"
    recipe::teacher-teaches-itself: `kl` needs a teacher, and this stage trains the teacher
      recipe.toml:28:8
      | [stage.train]
      |        ^^^^^ the teacher's own stage
      help: keep losses on labels only in its `[[stage.train.objective]]`
    ");
}

#[test]
fn what_a_student_learns_from() {
    let objective = &GOOD[GOOD.find("[[objective]]").unwrap()..GOOD.find("[[stage]]").unwrap()];
    assert_snapshot!(say(&[(objective, "")]), @"
    recipe::no-objective: nothing says what the student learns from
      recipe.toml:28:8
      | [stage.distill]
      |        ^^^^^^^ trains the student
      recipe.toml:35:8
      | [stage.prune]
      |        ^^^^^ and so does this
      recipe.toml:41:8
      | [stage.sparsify]
      |        ^^^^^^^^ and so does this
      recipe.toml:47:8
      | [stage.quantize]
      |        ^^^^^^^^ and so does this
      help: write `[[objective]]` tables at the top, each with a `weight` and a loss
    ");
    assert_snapshot!(say(&[(objective, ""), ("seed = 7", "objective = []")]), @"
    recipe::no-objective: expected at least one term in `objective`, found none
      recipe.toml:3:1
      | objective = []
      | ^^^^^^^^^ an empty list
      help: write `[[objective]]` with a `weight` and a loss, or leave the key out
    ");
    assert_snapshot!(say(&[("[[objective]]\nweight.linear = { from = 0.9, to = 0.5 }\nkl = { temperature = 4.0 }\n", "")]), @r#"
    recipe::nothing-to-distill: this stage distills, but no term of its objective looks at the teacher
      recipe.toml:32:8
      | [stage.distill]
      |        ^^^^^^^ learns from labels
      help: add a term such as `kl = { temperature = 4.0 }`, or write `[stage.train]` with `of = "student"`
    "#);
    assert_snapshot!(say(&[("kl = { temperature = 4.0 }", "hint = { student = \"\", teacher = \"hidden 1\" }")]), @r#"
    recipe::bad-value: expected the name of a site, such as `block1`, found ``
      recipe.toml:24:20
      | hint = { student = "", teacher = "hidden 1" }
      |                    ^^ not the name of a site

    recipe::bad-value: expected the name of a site, such as `block1`, found `hidden 1`
      recipe.toml:24:34
      | hint = { student = "", teacher = "hidden 1" }
      |                                  ^^^^^^^^^^ not the name of a site
    "#);
}

#[test]
fn the_order_of_stages() {
    let untrained = (
        "[[stage]]\nname = \"distill\"\n[stage.distill]\nepochs = 3\nlearning-rate.one-cycle = { peak = 1e-2 }\ngradient-clipping = 1.0\n\n",
        "",
    );
    assert_snapshot!(say(&[untrained]), @"
    recipe::untrained-student: `prune` needs a student that has learned something
      recipe.toml:35:8
      | [stage.prune]
      |        ^^^^^ too early
      help: put a `[stage.distill]` before it, or give `[student]` a `checkpoint`

    recipe::unknown-stage: the report will have no row `distill`
      recipe.toml:57:1
      | distill.accuracy = { min = 0.9 }
      | ^^^^^^^ no such stage
      help: there are `teacher`, `prune`, `sparsify`, `int8`
    ");
    let twice = "[[stage]]\nname = \"again\"\n[stage.quantize]\nweights = \"int8 tensor narrow\"\nactivations = \"int8 tensor affine\"\n[[stage]]\nname = \"export\"";
    assert_snapshot!(say(&[("[[stage]]\nname = \"export\"", twice)]), @"
    recipe::after-quantize: `quantize` would change a student whose weights are rounded
      recipe.toml:61:8
      | [stage.quantize]
      |        ^^^^^^^^ changes it
      recipe.toml:54:8
      | [stage.quantize]
      |        ^^^^^^^^ rounds it
      help: quantize last; only `export` may follow
    ");
    let masks = "[[stage]]\nname = \"late\"\n[stage.sparsify]\npattern.n-m = { keep = 2, of = 4 }\n[[stage]]\nname = \"export\"";
    assert_snapshot!(say(&[("[[stage]]\nname = \"export\"", masks)]), @"
    recipe::after-quantize: `sparsify` would change a student whose weights are rounded
      recipe.toml:61:8
      | [stage.sparsify]
      |        ^^^^^^^^ changes it
      recipe.toml:54:8
      | [stage.quantize]
      |        ^^^^^^^^ rounds it
      help: quantize last; only `export` may follow
    ");
    let head = &GOOD[..GOOD.find("[[stage]]").unwrap()];
    assert_snapshot!(say_of(&format!("stage = []\n{head}")), @"
    recipe::no-stages: expected at least one stage, found none
      recipe.toml:1:1
      | stage = []
      | ^^^^^ an empty list
      help: `kd init` writes a recipe to start from
    ");
}

#[test]
fn gates() {
    assert_snapshot!(say(&[("distill.accuracy =", "destill.accuracy =")]), @"
    recipe::unknown-stage: the report will have no row `destill`
      recipe.toml:64:1
      | destill.accuracy = { min = 0.9 }
      | ^^^^^^^ no such stage
      help: did you mean `distill`?
    ");
    assert_snapshot!(say(&[("distill.accuracy =", "export.accuracy =")]), @"
    recipe::unknown-stage: the report will have no row `export`
      recipe.toml:64:1
      | export.accuracy = { min = 0.9 }
      | ^^^^^^ no such stage
      help: there are `teacher`, `distill`, `prune`, `sparsify`, `int8`, `baseline`
    ");
    assert_snapshot!(say(&[("distill.accuracy =", "distill.acuracy =")]), @"
    recipe::unknown-metric: no metric is named `acuracy`
      recipe.toml:64:9
      | distill.acuracy = { min = 0.9 }
      |         ^^^^^^^ unknown metric
      help: did you mean `accuracy`?
    ");
    assert_snapshot!(say(&[("distill.accuracy =", "distill.packed-ratio =")]), @"
    recipe::unknown-metric: `distill` packs nothing and has no `packed-ratio`
      recipe.toml:64:9
      | distill.packed-ratio = { min = 0.9 }
      |         ^^^^^^^^^^^^ not of this stage
      help: name a stage `share`, which packs its weights, or gate its `bytes`
    ");
    assert_snapshot!(say(&[("{ min = 0.9 }", "{ min = 90 }")]), @"
    recipe::bad-value: expected a number from 0 to 1 for `min`, found 90
      recipe.toml:64:28
      | distill.accuracy = { min = 90 }
      |                            ^^ not from 0 to 1
    ");
    assert_snapshot!(say(&[("{ min = 0.9 }", "{ min = 0.9, max = 0.8 }")]), @"
    recipe::bad-value: expected `min` of at most `max`, found 0.9 and 0.8
      recipe.toml:64:20
      | distill.accuracy = { min = 0.9, max = 0.8 }
      |                    ^^^^^^^^^^^^^^^^^^^^^^^^ nothing lies between
    ");
    assert_snapshot!(say(&[("{ min = 0.9 }", "{ mim = 0.9 }")]), @"
    recipe::unknown-key: `expect.distill.accuracy` has no key `mim`
      recipe.toml:64:22
      | distill.accuracy = { mim = 0.9 }
      |                      ^^^ unknown key
      help: did you mean `min`?
    ");
    assert_snapshot!(say(&[("distill.accuracy = { min = 0.9 }", "accuracy = 0.9")]), @"
    recipe::unknown-stage: the report will have no row `accuracy`
      recipe.toml:64:1
      | accuracy = 0.9
      | ^^^^^^^^ no such stage
      help: a gate is for one stage: write, for example, `distill.accuracy = { min = 0.98 }`
    ");
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
        @r#"
        recipe::unknown-key: the recipe has no key `sed`
          recipe.toml:3:1
          | sed = 7
          | ^^^ unknown key
          help: did you mean `seed`?

        recipe::wrong-type: expected a whole number of at least 1, found "64"
          recipe.toml:11:9
          | batch = "64"
          |         ^^^^ expected a whole number of at least 1

        recipe::unknown-model: no model is named `mpl`
          recipe.toml:14:7
          | model.mpl = {}
          |       ^^^ unknown model
          help: did you mean `mlp`?

        recipe::bad-value: `temperature` must be finite and above 0, found 0
          recipe.toml:24:22
          | kl = { temperature = 0 }
          |                      ^ not possible

        recipe::bad-value: expected a whole number of at least 1, found -3
          recipe.toml:36:10
          | epochs = -3
          |          ^^ expected a whole number of at least 1

        recipe::duplicate-stage: two stages are named `teacher`
          recipe.toml:41:8
          | name = "teacher"
          |        ^^^^^^^^^ the second one
          recipe.toml:27:8
          | name = "teacher"
          |        ^^^^^^^^^ the first one
          help: every stage has a name of its own

        recipe::bad-value: unknown word `afine`; expected `tensor`, `channel`, `token`, `group=N`, `block=RxC`, `narrow`, `symmetric`, `no-clip`, `affine`, `scale=FORMAT`; did you mean `affine`?
          recipe.toml:56:15
          | activations = "int8 tensor afine"
          |               ^^^^^^^^^^^^^^^^^^^ not possible

        recipe::unknown-stage: the report will have no row `int9`
          recipe.toml:65:1
          | int9.bytes = { max = 10000 }
          | ^^^^ no such stage
          help: did you mean `int8`?
        "#
    );
}

#[test]
fn overrides_are_checked_like_the_text() {
    let problems = |overrides: &[&str]| parse(GOOD, overrides).unwrap_err().to_string();
    assert_snapshot!(problems(&["stage.distill.distill.epochs=-1"]), @"
    recipe::bad-value: expected a whole number of at least 1, found -1
      recipe.toml with --set:36:10
      | epochs = -1
      |          ^^ expected a whole number of at least 1
    ");
    assert_snapshot!(problems(&["seed", "stage.destill.distill.epochs=1"]), @"
    recipe::bad-override: expected `key=value`, found `seed`
      --set:1:1
      | seed
      | ^^^^ this override
      help: write, for example, `--set seed=7`

    recipe::bad-override: `stage` has no element `destill`
      --set:2:1
      | stage.destill.distill.epochs=1
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ this override
      help: an element of a list is called by its `name` or counted from 0: `stage.distill.distill.epochs=2`
    ");
    let recipe = parse(GOOD, &["seed=8", "device.name=ndarray", "stage.distill.distill.epochs=1"]).unwrap();
    assert_eq!((recipe.seed, recipe.device.name.as_str()), (8, "ndarray"));
    assert_eq!(recipe.stage("distill").unwrap().kind.fit().unwrap().epochs, 1);
}

#[test]
fn a_resolved_recipe_spells_out_every_default() {
    assert_snapshot!(parse(GOOD, &[]).unwrap().resolved(), @r#"
    schema = 1
    name = "good"
    seed = 7

    [device]
    name = "flex"
    kernels = "own"
    threads = 2

    [data.digits]
    validation = 300
    batch = 64
    augment = { shift = 0 }

    [teacher]
    model.mlp = { hidden = [64] }

    [student]
    model.mlp = { hidden = [16] }

    [[objective]]
    weight = 0.1
    cross-entropy = { label-smoothing = 0.1 }

    [[objective]]
    weight.linear = { begin = 0.0, end = 1.0, from = 0.9, to = 0.5 }
    kl = { beta = 0.5, divergence = "forward", reduction = "batch-mean", t-squared = true, temperature = 4.0 }

    [[stage]]
    name = "teacher"

    [stage.train]
    of = "teacher"
    epochs = 2
    optimizer.adam-w = { beta1 = 0.9, beta2 = 0.999, epsilon = 0.00000001, weight-decay = 0.02 }
    learning-rate.one-cycle = { end-factor = 10000.0, peak = 0.004, start-factor = 25.0, warm-up = 0.3 }

    [[stage]]
    name = "distill"

    [stage.distill]
    epochs = 3
    optimizer.adam-w = { beta1 = 0.9, beta2 = 0.999, epsilon = 0.00000001, weight-decay = 0.01 }
    learning-rate.one-cycle = { end-factor = 10000.0, peak = 0.01, start-factor = 25.0, warm-up = 0.3 }
    gradient-clipping = 1.0

    [[stage]]
    name = "prune"

    [stage.prune]
    pattern.channels = { sparsity = 0.25 }
    criterion.magnitude = { p = 1 }
    group = { members = "coupled", normalization = "mean", reduction = "mean" }
    scope = "local"
    round-to = 1
    min-units = 1
    pinned = []
    compensate = false
    epochs = 1
    optimizer.adam-w = { beta1 = 0.9, beta2 = 0.999, epsilon = 0.00000001, weight-decay = 0.01 }
    learning-rate.cosine = { begin = 0.0, end = 1.0, from = 0.001, to = 0.00001 }

    [[stage]]
    name = "sparsify"

    [stage.sparsify]
    pattern.unstructured = { sparsity = 0.5 }
    criterion.magnitude = { p = 1 }
    schedule.cubic = { begin = 0.0, end = 0.75, from = 0.0, to = 1.0 }
    epochs = 1
    optimizer.adam-w = { beta1 = 0.9, beta2 = 0.999, epsilon = 0.00000001, weight-decay = 0.01 }
    learning-rate.cosine = { begin = 0.0, end = 1.0, from = 0.001, to = 0.00001 }

    [[stage]]
    name = "int8"

    [stage.quantize]
    weights = "int8 channel narrow"
    activations = "int8 tensor affine"
    observer = "min-max"
    calibration = 32
    freeze-after = 0.5
    freeze-statistics-after = 0.0
    estimator.straight-through = {}
    epochs = 0
    optimizer.adam-w = { beta1 = 0.9, beta2 = 0.999, epsilon = 0.00000001, weight-decay = 0.01 }
    learning-rate.cosine = { begin = 0.0, end = 1.0, from = 0.001, to = 0.00001 }

    [[stage]]
    name = "export"

    [stage.export]
    weights-container = "int8"

    [expect]
    distill.accuracy = { min = 0.9 }
    int8.bytes = { max = 10000.0 }
    "#);
}

#[test]
fn a_criterion_that_a_stage_cannot_use_is_refused() {
    let of = |criterion: &str, pattern: &str, with: &str| {
        let text = GOOD.replace(pattern, &format!("{with}\ncriterion.{criterion}"));
        let problems = parse(&text, &[]).unwrap_err();
        let problem = &problems.list[0];
        format!("{}: {}\n  help: {}\n", problem.code, problem.message, problem.help.clone().unwrap())
    };
    let (masks, cut) =
        (("{ sparsity = 0.5 }", "{ sparsity = 0.5 }"), ("{ sparsity = 0.25 }", "{ sparsity = 0.25 }"));
    let said = of("obs = {}", masks.0, masks.1)
        + &of("threshold = { value = 0.1 }", masks.0, masks.1)
        + &of("fpgm = {}", masks.0, masks.1)
        + &of("magnitude = { unit = \"element\" }", cut.0, cut.1)
        + &of("wanda = {}", cut.0, cut.1)
        + &of("owl = {}", cut.0, cut.1)
        + &of("bn-scale = {}", masks.0, masks.1)
        + &of("lamp = {}\ncalibration = 4", masks.0, masks.1)
        + &of("taylor = {}\ncalibration = 4", masks.0, masks.1)
        + &of("lamp = {}\ncalibration = 4", cut.0, cut.1);
    insta::assert_snapshot!(said, @"
    recipe::bad-criterion: `obs` reads `grads`, which a stage does not have
      help: `kd prune eval --criterion obs` computes it on saved tensors
    recipe::bad-criterion: `threshold` takes no pattern, and a stage has one
      help: `kd prune eval --criterion threshold` computes it on saved tensors
    recipe::bad-criterion: `fpgm` scores by channel, and a stage `sparsify` removes by element
      help: write a stage `prune`, or another criterion: `kd list criteria` shows all
    recipe::bad-criterion: `magnitude` scores by element, and a stage `prune` removes by channel
      help: leave `unit` out, or write a stage `sparsify`
    recipe::bad-criterion: `wanda` scores by element, and a stage `prune` removes by channel
      help: write a stage `sparsify`, or another criterion: `kd list criteria` shows all
    recipe::bad-criterion: `owl` scores by element, and a stage `prune` removes by channel
      help: write a stage `sparsify`, or another criterion: `kd list criteria` shows all
    recipe::bad-criterion: `bn-scale` scores by channel, and a stage `sparsify` removes by element
      help: write a stage `prune`, or another criterion: `kd list criteria` shows all
    recipe::no-effect: `calibration` would change nothing: `lamp` looks at weights alone
      help: take it out, or name a criterion that gathers over batches, such as `wanda`
    recipe::no-effect: `calibration` would change nothing: `taylor` gathers what it reads while the stage trains
      help: take it out, or name a criterion that gathers over batches, such as `wanda`
    recipe::no-effect: `calibration` would change nothing: `lamp` looks at weights alone
      help: take it out, or name a criterion that reads gradients or activations
    ");
}

#[test]
fn criteria_that_read_inputs_are_read_with_their_batches() {
    let masks = "pattern.unstructured = { sparsity = 0.5 }";
    let resolved = |with: &str| {
        let recipe = parse(&GOOD.replace(masks, &format!("{masks}\n{with}")), &[]).unwrap();
        let text = recipe.resolved();
        let stage =
            text.split("[stage.sparsify]\n").nth(1).unwrap().split("epochs").next().unwrap().to_owned();
        stage.lines().skip(1).collect::<Vec<_>>().join("\n")
    };
    let all = [
        resolved("criterion.wanda = {}"),
        resolved(
            "criterion.wanda = { group = \"layer\" }\ncalibration = 3\nschedule.iterative = { rounds = 2 }",
        ),
        resolved("criterion.owl = { m = 4.0 }\nschedule.one-shot = { at = 0.5 }"),
        resolved("criterion.sparsegpt = { block-size = 16 }\ncalibration = 2\nschedule.one-shot = {}"),
    ];
    assert_snapshot!(all.join("\n\n"), @r#"
    criterion.wanda = { group = "row" }
    calibration = 8
    schedule.cubic = { begin = 0.0, end = 0.75, from = 0.0, to = 1.0 }

    criterion.wanda = { group = "layer" }
    calibration = 3
    schedule.iterative = { begin = 0.0, rounds = 2 }

    criterion.owl = { lambda = 0.08, m = 4.0 }
    calibration = 8
    schedule.one-shot = { at = 0.5 }

    criterion.sparsegpt = { block-size = 16, damping = 0.01 }
    calibration = 2
    schedule.one-shot = { at = 0.0 }
    "#);
}

#[test]
fn what_criteria_of_inputs_can_do_nothing_with_is_refused() {
    let masks = "pattern.unstructured = { sparsity = 0.5 }";
    let said = |with: &str| say(&[(masks, with)]);
    assert_snapshot!(said(&format!("{masks}\ncriterion.sparsegpt = {{}}")), @"
    recipe::bad-value: expected `schedule.one-shot`: `sparsegpt` changes the weights that stay when it masks, and does so once
      recipe.toml:48:1
      | [stage.sparsify]
      | ^^^^^^^^^^^^^^^^ masks more than once
      recipe.toml:51:1
      | criterion.sparsegpt = {}
      | ^^^^^^^^^ the criterion
      help: write `schedule.one-shot = {}`, or take `wanda`, which changes none
    ");
    assert_snapshot!(said(&format!("{masks}\ncriterion.sparsegpt = {{}}\nschedule.iterative = {{ rounds = 3 }}")), @"
    recipe::bad-value: expected `schedule.one-shot`: `sparsegpt` changes the weights that stay when it masks, and does so once
      recipe.toml:52:1
      | schedule.iterative = { rounds = 3 }
      | ^^^^^^^^ masks more than once
      recipe.toml:51:1
      | criterion.sparsegpt = {}
      | ^^^^^^^^^ the criterion
      help: write `schedule.one-shot = {}`, or take `wanda`, which changes none
    ");
    assert_snapshot!(
        said("pattern.block = { rows = 4, columns = 1, sparsity = 0.5 }\ncriterion.sparsegpt = { bits = 4 }\nschedule.one-shot = {}"),
        @"
    recipe::bad-value: expected `unstructured` within each layer, or `n-m` under `sparsegpt`, found `block 4x1 sparsity=0.5`
      recipe.toml:50:1
      | pattern.block = { rows = 4, columns = 1, sparsity = 0.5 }
      | ^^^^^^^ it cannot choose so
      recipe.toml:51:1
      | criterion.sparsegpt = { bits = 4 }
      | ^^^^^^^^^ the criterion
      help: write `pattern.unstructured = { sparsity = 0.5 }`, or take `wanda`, which goes with every pattern

    recipe::bad-criterion: `bits` rounds to scales that a stage does not have
      recipe.toml:51:1
      | criterion.sparsegpt = { bits = 4 }
      | ^^^^^^^^^ rounds
      help: take `bits` out, and write a stage `quantize` behind this one
    "
    );
    assert_snapshot!(
        said("pattern.unstructured = { sparsity = 0.5, scope = \"global\" }\ncriterion.owl = { sparsity = 0.6 }"),
        @r#"
    recipe::bad-value: expected `unstructured` within each layer under `owl`, found `unstructured sparsity=0.5 scope=global`
      recipe.toml:50:1
      | pattern.unstructured = { sparsity = 0.5, scope = "global" }
      | ^^^^^^^ it cannot choose so
      recipe.toml:51:1
      | criterion.owl = { sparsity = 0.6 }
      | ^^^^^^^^^ the criterion
      help: write `pattern.unstructured = { sparsity = 0.5 }`, or take `wanda`, which goes with every pattern

    recipe::no-effect: `sparsity` of `owl` would change nothing: the pattern says it
      recipe.toml:51:1
      | criterion.owl = { sparsity = 0.6 }
      | ^^^^^^^^^ no effect
      recipe.toml:50:1
      | pattern.unstructured = { sparsity = 0.5, scope = "global" }
      | ^^^^^^^ says it
      help: write `criterion.owl = {}`
    "#
    );
    assert_snapshot!(said("pattern.n-m = { keep = 2, of = 4 }\ncriterion.owl = {}\ncalibration = 0"), @"
    recipe::bad-value: expected `unstructured` within each layer under `owl`, found `keep=2 of=4`
      recipe.toml:50:1
      | pattern.n-m = { keep = 2, of = 4 }
      | ^^^^^^^ it cannot choose so
      recipe.toml:51:1
      | criterion.owl = {}
      | ^^^^^^^^^ the criterion
      help: write `pattern.unstructured = { sparsity = 0.5 }`, or take `wanda`, which goes with every pattern

    recipe::bad-value: expected a whole number of at least 1, found 0
      recipe.toml:52:15
      | calibration = 0
      |               ^ expected a whole number of at least 1
    ");
    assert_snapshot!(said(&format!("{masks}\ncriterion.wanda = {{}}\nschedule.movement = {{}}")), @"
    recipe::no-effect: `criterion` would change nothing: movement ranks by scores of its own
      recipe.toml:51:1
      | criterion.wanda = {}
      | ^^^^^^^^^ no effect
      recipe.toml:52:1
      | schedule.movement = {}
      | ^^^^^^^^ beside this
      help: take one of the two out
    ");
}

#[test]
fn what_says_nothing_about_whole_modules_or_chance_is_refused() {
    let cut = "pattern.channels = { sparsity = 0.25 }";
    let masks = "pattern.unstructured = { sparsity = 0.5 }";
    assert_snapshot!(say(&[(cut, "pattern.layers = { count = 1 }\nround-to = 8\ncompensate = true")]), @"
    recipe::no-effect: `round-to` would change nothing: the pattern takes whole modules, and no axis is cut
      recipe.toml:45:12
      | round-to = 8
      |            ^ no effect
      recipe.toml:44:1
      | pattern.layers = { count = 1 }
      | ^^^^^^^ beside this
      help: take one of the two out

    recipe::no-effect: `compensate` would change nothing: the pattern takes whole modules, and no axis is cut
      recipe.toml:46:14
      | compensate = true
      |              ^^^^ no effect
      recipe.toml:44:1
      | pattern.layers = { count = 1 }
      | ^^^^^^^ beside this
      help: take one of the two out
    ");
    assert_snapshot!(say(&[(cut, "pattern.layers = { count = 0 }")]), @"
    recipe::bad-value: expected a whole number of at least 1, found 0
      recipe.toml:44:28
      | pattern.layers = { count = 0 }
      |                            ^ expected a whole number of at least 1
    ");
    assert_snapshot!(say(&[(cut, "pattern.layer = { count = 1 }")]), @"
    recipe::unknown-name: nothing is named `layer` here
      recipe.toml:44:9
      | pattern.layer = { count = 1 }
      |         ^^^^^ unknown name
      help: did you mean `layers`?
    ");
    assert_snapshot!(say(&[(masks, "pattern.random = { sparsity = 0.5 }\ncriterion.magnitude = {}")]), @"
    recipe::no-effect: `criterion` would change nothing: chance alone chooses the connections of `random`
      recipe.toml:51:1
      | criterion.magnitude = {}
      | ^^^^^^^^^ no effect
      recipe.toml:50:1
      | pattern.random = { sparsity = 0.5 }
      | ^^^^^^^ beside this
      help: take one of the two out
    ");
    assert_snapshot!(say(&[(masks, "pattern.random = { sparsity = 0.5 }\nschedule.movement = {}")]), @"
    recipe::bad-value: expected a pattern that ranks, found `random`: movement trains scores, and chance looks at none
      recipe.toml:50:1
      | pattern.random = { sparsity = 0.5 }
      | ^^^^^^^ no scores
      recipe.toml:51:1
      | schedule.movement = {}
      | ^^^^^^^^ the schedule
      help: `kd list schedules` shows others
    ");
}

#[test]
fn what_was_resolved_resolves_to_itself() {
    let check = |name: &str, text: &str| {
        let first = parse(text, &[]).unwrap_or_else(|problems| panic!("{name}:\n{problems}")).resolved();
        let again =
            parse(&first, &[]).unwrap_or_else(|problems| panic!("{name}, resolved:\n{problems}")).resolved();
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
    let given = GOOD
        .replace("[stage.train]\nof = \"teacher\"", "[stage.train]\nof = \"student\"")
        .replace("name = \"teacher\"\n", "name = \"first\"\n")
        .replace("[teacher]\n", "[teacher]\ncheckpoint = \"a folder/t \\\"1\\\".safetensors\"\n");
    check("a given teacher", &given);
    for pattern in [
        "n-m = { keep = 2, of = 4 }",
        "block = { rows = 4, columns = 1, sparsity = 0.5 }",
        "rows = { sparsity = 0.25 }",
        "columns = { sparsity = 0.25 }",
        "unstructured = { sparsity = 0.5, scope = \"global\" }",
        "random = { sparsity = 0.5, seed = 3 }",
        "hybrid = { rows = 4, columns = 8, sparsity = 0.5 }",
        "hybrid = { rows = 4, columns = 8, sparsity = 0.5, units = 0.25 }",
    ] {
        check(pattern, &GOOD.replace("unstructured = { sparsity = 0.5 }", pattern));
    }
    for pattern in [
        "heads = { sparsity = 0.5 }\nround-to = 2",
        "layers = { count = 2 }\nmin-units = 2",
        "layers = { macs = 0.25 }\ncriterion.random = { seed = 1 }",
        "experts = { sparsity = 0.25 }\nmax-share = 0.5",
    ] {
        check(pattern, &GOOD.replace("channels = { sparsity = 0.25 }", pattern));
    }
    for way in [
        "linear = { from = 0.5, to = 1.0 }\nfrequency = 3\nlock-after = 1.0",
        "one-shot = {}",
        "iterative = { rounds = 4, begin = 0.1 }",
        "exponential = { from = 0.25 }",
        "movement = { end = 0.5 }\nlock-after = 0.75",
        "movement = { scores = \"adam\" }",
        "movement = { scores.from-magnitude = { rate = 1e-3 } }",
        "soft-movement = { regularisation = 0 }",
        "growing-regularisation = { begin = 0.25 }\nfrequency = 1",
        "lottery-ticket = { rounds = 2, rewind = \"learning-rate\" }",
    ] {
        check(way, &GOOD.replace("{ sparsity = 0.5 }", &format!("{{ sparsity = 0.5 }}\nschedule.{way}")));
    }
    for pattern in ["empty = {}", "empty = { fill = true }"] {
        check(pattern, &GOOD.replace("channels = { sparsity = 0.25 }", pattern));
    }
    for optimizer in ["sgd = { nesterov = true }", "adam = {}", "lion = { beta1 = 0.95 }"] {
        check(optimizer, &GOOD.replace("adam-w = { weight-decay = 0.02 }", optimizer));
    }
    for criterion in [
        "magnitude = { p = 1 }",
        "random = { seed = 3 }",
        "lamp = {}",
        "fpgm = {}\ngroup.members = \"writing\"",
        "bn-scale = {}\nscope = \"isomorphic\"\nbn-scale-penalty = 1e-4",
        "taylor = { form = \"abs-sum\" }\ncalibration = 3\nscope = \"global\"",
        "snip = {}\ngroup = { reduction = \"max\", normalization = \"none\" }",
        "obd = {}",
        "group-fisher = {}",
        "activation-norm = { p = 2 }",
    ] {
        check(
            criterion,
            &GOOD.replace("{ sparsity = 0.25 }", &format!("{{ macs = 0.3 }}\ncriterion.{criterion}")),
        );
    }
    let csv = "[data.csv]\ntrain = \"a.csv\"\ntest = \"b.csv\"\nclasses = 3\nvalidation = 10\nlabel = \"kind\"\nheader = true\nscale = 255\n";
    check("own files", &GOOD.replace("[data.digits]\nvalidation = 300\nbatch = 64\n", csv));
}

#[test]
fn knobs_that_a_pattern_has_no_use_for() {
    let masks = |with: &str| say(&[("unstructured = { sparsity = 0.5 }", with)]);
    assert_snapshot!(masks("unstructured = { sparsity = 0.5 }\nschedule.soft-movement = { units = 2.0 }"), @"
    recipe::no-effect: `units` would change nothing: this pattern has no hidden units
      recipe.toml:51:1
      | schedule.soft-movement = { units = 2.0 }
      | ^^^^^^^^ no effect
      recipe.toml:50:1
      | pattern.unstructured = { sparsity = 0.5 }
      | ^^^^^^^ beside this
      help: take `units` out, or write `pattern.hybrid`
    ");
    assert_snapshot!(masks("hybrid = { rows = 4, sparsity = 0.5 }"), @"
    recipe::missing-key: this needs the key `columns`
      recipe.toml:50:18
      | pattern.hybrid = { rows = 4, sparsity = 0.5 }
      |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^ no `columns`
      help: write `columns = …` into it
    ");
    assert_snapshot!(masks("hybird = { rows = 4, columns = 4, sparsity = 0.5 }"), @"
    recipe::unknown-name: nothing is named `hybird` here
      recipe.toml:50:9
      | pattern.hybird = { rows = 4, columns = 4, sparsity = 0.5 }
      |         ^^^^^^ unknown name
      help: did you mean `hybrid`?
    ");
    assert_snapshot!(masks("hybrid = { rows = 4, columns = 4, sparsity = 0.5 }\nschedule.movement = { scores = \"momentum\" }"), @r#"
    recipe::unknown-name: nothing is named `momentum` here
      recipe.toml:51:32
      | schedule.movement = { scores = "momentum" }
      |                                ^^^^^^^^^^ unknown name
      help: there are `sum`, `adam`, `from-magnitude`
    "#);
    let cut = |with: &str| say(&[("channels = { sparsity = 0.25 }", with)]);
    assert_snapshot!(cut("empty = {}\ncriterion.magnitude = {}"), @"
    recipe::no-effect: `criterion` would change nothing: what is empty goes, and nothing else
      recipe.toml:45:1
      | criterion.magnitude = {}
      | ^^^^^^^^^ no effect
      recipe.toml:44:1
      | pattern.empty = {}
      | ^^^^^^^ beside this
      help: take one of the two out
    ");
    assert_snapshot!(cut("empty = { filled = true }"), @"
    recipe::unknown-key: there is no key `filled` here
      recipe.toml:44:19
      | pattern.empty = { filled = true }
      |                   ^^^^^^ unknown key
      help: did you mean `fill`?
    ");
}

#[test]
fn ways_to_sparsify() {
    let way = |text: &str| say(&[("{ sparsity = 0.5 }", &format!("{{ sparsity = 0.5 }}\n{text}"))]);
    assert_snapshot!(way("schedule.movement = {}\ncriterion.random = {}"), @"
    recipe::no-effect: `criterion` would change nothing: movement ranks by scores of its own
      recipe.toml:52:1
      | criterion.random = {}
      | ^^^^^^^^^ no effect
      recipe.toml:51:1
      | schedule.movement = {}
      | ^^^^^^^^ beside this
      help: take one of the two out
    ");
    assert_snapshot!(way("schedule.iterative = { rounds = 3 }\nfrequency = 10"), @"
    recipe::no-effect: `frequency` would change nothing: masks change at the beginning of rounds alone
      recipe.toml:52:13
      | frequency = 10
      |             ^^ no effect
      recipe.toml:51:1
      | schedule.iterative = { rounds = 3 }
      | ^^^^^^^^ beside this
      help: take one of the two out
    ");
    assert_snapshot!(way("schedule.growing-regularisation = {}\nlock-after = 0.75"), @"
    recipe::no-effect: `lock-after` would change nothing: masks are not recomputed after that
      recipe.toml:52:14
      | lock-after = 0.75
      |              ^^^^ no effect
      recipe.toml:51:1
      | schedule.growing-regularisation = {}
      | ^^^^^^^^ beside this
      help: take one of the two out
    ");
    assert_snapshot!(way("lock-after = 0.5"), @"
    recipe::bad-value: expected a `lock-after` where `schedule` has arrived, found 0.5
      recipe.toml:51:14
      | lock-after = 0.5
      |              ^^^ too early
      recipe.toml:48:1
      | [stage.sparsify]
      | ^^^^^^^^^^^^^^^^ arrives later
      help: masks that are locked before stay short of what `pattern` says; let the schedule end earlier
    ");
    assert_snapshot!(way("schedule.iterative = { rounds = 0 }"), @"
    recipe::bad-value: expected a whole number of at least 1, found 0
      recipe.toml:51:33
      | schedule.iterative = { rounds = 0 }
      |                                 ^ expected a whole number of at least 1
    ");
    assert_snapshot!(way("schedule.exponential = { from = 0.75 }"), @"
    recipe::bad-value: expected a sparsity from 0.75 to below 1 under an exponential schedule, found 0.5
      recipe.toml:50:1
      | pattern.unstructured = { sparsity = 0.5 }
      | ^^^^^^^ out of its reach
      recipe.toml:51:1
      | schedule.exponential = { from = 0.75 }
      | ^^^^^^^^ the schedule
      help: `kd list schedules` shows others
    ");
    assert_snapshot!(way("schedule.exponential = { from = 0.0, to = 1.0 }"), @"
    recipe::unknown-key: there is no key `to` here
      recipe.toml:51:38
      | schedule.exponential = { from = 0.0, to = 1.0 }
      |                                      ^^ unknown key
      help: there are `from`, `begin`, `end`
    ");
    assert_snapshot!(way("schedule.movement = { begin = 0.5, end = 0.5 }"), @"
    recipe::bad-value: `begin` must be smaller than `end`, found begin = 0.5 and end = 0.5
      recipe.toml:51:31
      | schedule.movement = { begin = 0.5, end = 0.5 }
      |                               ^^^ not possible
    ");
    assert_snapshot!(way("schedule.movement = { scores.from-magnitude = { rate = 0.0 } }"), @"
    recipe::bad-value: `rate` must be finite and above 0, found 0
      recipe.toml:51:56
      | schedule.movement = { scores.from-magnitude = { rate = 0.0 } }
      |                                                        ^^^ not possible
    ");
    assert_snapshot!(way("schedule.soft-movement = { threshold = 1.0 }"), @"
    recipe::bad-value: `threshold` must be above 0 and below 1, found 1
      recipe.toml:51:40
      | schedule.soft-movement = { threshold = 1.0 }
      |                                        ^^^ not possible
    ");
    assert_snapshot!(way("schedule.lottery-ticket = { rounds = 2, to = 1.0 }"), @"
    recipe::bad-value: `place` must be from 0 to below 1, found 1
      recipe.toml:51:46
      | schedule.lottery-ticket = { rounds = 2, to = 1.0 }
      |                                              ^^^ not possible
    ");
    assert_snapshot!(way("schedule.lottery-tickets = { rounds = 2 }"), @"
    recipe::unknown-name: no schedule of a stage that sparsifies is named `lottery-tickets`
      recipe.toml:51:10
      | schedule.lottery-tickets = { rounds = 2 }
      |          ^^^^^^^^^^^^^^^ unknown name
      help: did you mean `lottery-ticket`?
    ");
    assert_snapshot!(way("schedule.cubik = { from = 0.0, to = 1.0 }"), @"
    recipe::unknown-name: no schedule of a stage that sparsifies is named `cubik`
      recipe.toml:51:10
      | schedule.cubik = { from = 0.0, to = 1.0 }
      |          ^^^^^ unknown name
      help: did you mean `cubic`?
    ");
    assert_snapshot!(way("schedule.one-shot = {}\ncriterion.taylor = {}"), @"
    recipe::bad-value: `taylor` reads gradients of training steps, and masks come before the first one
      recipe.toml:52:1
      | criterion.taylor = {}
      | ^^^^^^^^^ no step to learn from
      recipe.toml:51:1
      | schedule.one-shot = {}
      | ^^^^^^^^ begins at once
      help: let the schedule begin later, as `one-shot = { at = 0.1 }` does, and give the stage epochs
    ");
    let groups = [(
        "unstructured = { sparsity = 0.5 }",
        "n-m = { keep = 2, of = 4 }\nschedule.soft-movement = {}\nlock-after = 2",
    )];
    assert_snapshot!(say(&groups), @"
    recipe::bad-value: expected a pattern of single elements or blocks, found `n-m`: a threshold keeps no fixed number in a group
      recipe.toml:50:1
      | pattern.n-m = { keep = 2, of = 4 }
      | ^^^^^^^ a number in each group
      recipe.toml:51:1
      | schedule.soft-movement = {}
      | ^^^^^^^^ the schedule
      help: `kd list schedules` shows others

    recipe::bad-value: expected a number from 0 to 1 for `lock-after`, found 2
      recipe.toml:52:14
      | lock-after = 2
      |              ^ not from 0 to 1
    ");
    let still = [(
        "epochs = 1\npattern.unstructured",
        "schedule.lottery-ticket = { rounds = 2 }\npattern.unstructured",
    )];
    assert_snapshot!(say(&still), @"
    recipe::bad-value: expected at least one epoch: this schedule is a way of training, found 0
      recipe.toml:49:1
      | schedule.lottery-ticket = { rounds = 2 }
      | ^^^^^^^^ needs epochs
      help: write `epochs = 2` into the stage, or leave `schedule` out
    ");
}

#[test]
fn lottery_tickets_begin_with_a_student_that_has_learned_nothing() {
    let distill = GOOD.find("[[stage]]\nname = \"distill\"").unwrap();
    let sparsify = GOOD.find("[[stage]]\nname = \"sparsify\"").unwrap();
    let text =
        format!("{}{}", &GOOD[..distill], &GOOD[sparsify..]).replace("distill.accuracy", "sparsify.accuracy");
    assert!(parse(&text, &[]).unwrap_err().to_string().starts_with("recipe::untrained-student"));
    let tickets = "{ sparsity = 0.5 }\nschedule.lottery-ticket = { rounds = 3 }";
    assert!(parse(&text.replace("{ sparsity = 0.5 }", tickets), &[]).is_ok());
}

#[test]
fn terms_are_named_apart_and_the_baseline_learns_from_labels() {
    let twice = GOOD.replace(
        "kl = { temperature = 4.0 }\n",
        "kl = { temperature = 4.0 }\n[[objective]]\nkl = { temperature = 1.0 }\n",
    );
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is typed: no panic, and every place lies in the text, between whole characters.
    #[test]
    fn a_text_with_a_hole_or_a_splinter_is_answered(
        from in 0..GOOD.len(),
        len in 0_usize..60,
        splinter in "[a-z0-9=.{}\\[\\]\"\n é-]{0,6}",
    ) {
        let to = (from + len).min(GOOD.len());
        let text = format!("{}{splinter}{}", &GOOD[..from], &GOOD[to..]);
        match parse(&text, &[]) {
            Ok(recipe) => {
                let resolved = recipe.resolved();
                let again = parse(&resolved, &[]).map_err(|problems| TestCaseError::fail(problems.to_string()))?;
                prop_assert_eq!(&resolved, &again.resolved());
            }
            Err(problems) => {
                prop_assert!(!problems.list.is_empty() && !problems.to_string().is_empty());
                for label in problems.list.iter().flat_map(|problem| &problem.labels) {
                    prop_assert!(problems.text.get(label.span.clone()).is_some(), "{:?}", label);
                }
            }
        }
    }

    /// Whatever is set: no panic, and what is set stands in the recipe.
    #[test]
    fn an_override_is_refused_or_holds(key in "(seed|name|device|stage|data|expect|x|0|distill|\\.|=|\"| ){1,5}", value in any::<i32>()) {
        let line = format!("{key}={value}");
        match parse(GOOD, &[&line]) {
            Ok(recipe) => prop_assert!(key.trim().trim_matches('"') == "seed" && recipe.seed == u64::try_from(value).unwrap_or(0), "{}", line),
            Err(problems) => prop_assert!(!problems.list.is_empty()),
        }
    }
}

#[test]
fn kernels_are_ours_or_burns() {
    assert_eq!(parse(GOOD, &[]).unwrap().device.kernels, KernelsSpec::Own);
    assert_eq!(parse(GOOD, &["device.kernels=burn"]).unwrap().device.kernels, KernelsSpec::Burn);
    let problem = parse(GOOD, &["device.kernels=mine"]).unwrap_err().to_string();
    assert!(problem.contains("mine"), "{problem}");
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
        let again =
            parse(&resolved, &[]).unwrap_or_else(|problems| panic!("{}:\n{problems}", path.display()));
        assert_eq!(resolved, again.resolved(), "{}", path.display());
        assert_eq!(Some(recipe.name.as_str()), path.file_stem().and_then(|stem| stem.to_str()));
        assert!(!recipe.expect.is_empty(), "{} promises nothing", path.display());
        count += 1;
    }
    assert!(count >= 3, "{count} recipes in {}", folder.display());
}
