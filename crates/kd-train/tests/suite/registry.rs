//! A registry with things of another crate: named in recipes, written back, and never twice.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use burn::tensor::Tensor;
use kd_core::{DistillLoss, View};
use kd_datasets::{Dataset, Digits, Folders};
use kd_train::models::Mlp;
use kd_train::recipe::{Recipe, Source};
use kd_train::{Registry, Task};
use serde::{Deserialize, Serialize};

/// A loss of another crate: nothing, scaled.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Nothing {
    scale: f64,
}

impl DistillLoss for Nothing {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, kd_core::Error> {
        Ok(view.student_logits("acme.zero")?.sum().mul_scalar(0.0 * self.scale))
    }
}

/// A data set of another crate: the digits under another name.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Again {
    validation: usize,
}

impl kd_datasets::Source for Again {
    fn name(&self) -> &'static str {
        "acme.digits"
    }

    fn validation(&self) -> usize {
        self.validation
    }

    fn load(&self, folders: &Folders) -> Result<Dataset, kd_datasets::Error> {
        kd_datasets::Source::load(&Digits::default(), folders)
    }
}

fn acme() -> Registry {
    Registry::builtin()
        .model::<Mlp>("acme.net")
        .loss::<Nothing>("acme.nothing", "nothing, scaled")
        .data::<Again>("acme.digits", "the digits again")
}

const RECIPE: &str = r#"schema = 1
name = "acme"

[data."acme.digits"]
validation = 100
augment = { shift = 1 }

[teacher]
model."acme.net" = { hidden = [8] }

[student]
model."acme.net" = { hidden = [4] }

[[objective]]
"acme.nothing" = { scale = 2 }

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

fn source(text: &str) -> Source {
    Source { name: "acme.toml".into(), text: text.into(), folder: PathBuf::new() }
}

#[test]
fn foreign_things_are_named_built_and_written_back() {
    let recipe = Recipe::parse(&source(RECIPE), &[], &acme()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(recipe.teacher.model.name(), "acme.net");
    assert_eq!((recipe.data.validation, recipe.data.augment.shift), (100, 1));
    let set = recipe.data.source.load(&Folders::default()).unwrap();
    let task = Task { input: set.shape.clone(), classes: set.classes };
    let network = recipe.student.model.build(&task, &burn::tensor::Device::flex()).unwrap();
    assert_eq!((network.model(), network.task()), ("acme.net", &task));

    let resolved = recipe.resolved();
    let again =
        Recipe::parse(&source(&resolved), &[], &acme()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(resolved, again.resolved());

    let unknown = Recipe::parse(&source(RECIPE), &[], &Registry::builtin()).unwrap_err();
    let codes: Vec<_> = unknown.list.iter().map(|problem| problem.code).collect();
    let expected = ["data", "model", "model", "loss"].map(|what| format!("recipe::unknown-{what}"));
    assert_eq!(codes, expected);
}

#[test]
fn problems_in_foreign_knobs_have_their_place() {
    let text = RECIPE
        .replace("scale = 2", "scael = 2")
        .replace("validation = 100\naugment", "validation = 100\naugmnet");
    let problems = Recipe::parse(&source(&text), &[], &acme()).unwrap_err();
    insta::assert_snapshot!(problems, @r#"
    recipe::unknown-key: there is no key `augmnet` here
      acme.toml:6:1
      | augmnet = { shift = 1 }
      | ^^^^^^^ unknown key
      help: did you mean `augment`?

    recipe::unknown-key: there is no key `scael` here
      acme.toml:15:20
      | "acme.nothing" = { scael = 2 }
      |                    ^^^^^ unknown key
      help: did you mean `scale`?
    "#);
}

#[test]
fn a_name_is_given_once() {
    let twice = |register: &dyn Fn() -> Registry| {
        let panic = catch_unwind(AssertUnwindSafe(register)).expect_err("the second one panics");
        panic.downcast_ref::<String>().cloned().unwrap()
    };
    for (what, message) in [
        ("model", twice(&|| acme().model::<Mlp>("acme.net"))),
        ("loss", twice(&|| acme().loss::<Nothing>("kl", "another kl"))),
        ("data set", twice(&|| acme().data::<Again>("mnist", "another mnist"))),
    ] {
        assert!(message.starts_with(&format!("two {what}s are named ")), "{message}");
        assert!(message.contains("tests/suite/registry.rs:"), "{message}");
    }
}

#[test]
fn lists_name_everything_in_one_line_each() {
    let registry = acme();
    let lists = [
        ("models", registry.models(), 3),
        ("losses", registry.losses(), 4),
        ("datasets", registry.datasets(), 6),
        ("observers", registry.observers(), 6),
        ("estimators", registry.estimators(), 8),
        ("formats", registry.formats(), 2),
        ("criteria", registry.criteria(), 2),
        ("patterns", registry.patterns(), 12),
        ("schedules", registry.schedules(), 10),
        ("optimizers", registry.optimizers(), 4),
    ];
    for (what, list, least) in lists {
        assert!(list.len() >= least, "{what}: {list:?}");
        for listing in list {
            assert!(!listing.name.is_empty() && !listing.about.is_empty(), "{what}: {listing:?}");
            assert!(!listing.about.contains('\n') && !listing.about.ends_with('.'), "{what}: {listing:?}");
        }
    }
}
