//! Blocks and experts that go, in the models of this crate and in foreign ones, through runs and files.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Device, Distribution, Tensor};
use kd_core::Tap;
use kd_nn::SyncShape;
use kd_train::event::{Event, Silent, Sink};
use kd_train::models::{ResNet, ResNetConfig};
use kd_train::network::{Built, Network};
use kd_train::recipe::Source;
use kd_train::session::{Options, Outcome, evaluate, start};
use kd_train::{Error, Model, Registry, Task, weights};
use prune_core::{Blocks, Cost, Element, ElementCut, ElementKind, Limits, plan_elements};
use serde::{Deserialize, Serialize};

#[test]
fn a_residual_network_loses_blocks_but_for_those_that_change_its_width() {
    let task = Task { input: vec![1, 8, 8], classes: 4 };
    let config = ResNetConfig { depth: 20, width: 4 };
    let build = || Built::<ResNet>::build("resnet", &config, &task, &Device::flex()).unwrap();
    let network = build();
    let graph = network.graph().unwrap();
    let later = |element: &Element, _: &ElementCut| {
        Ok::<_, prune_core::Error>(if element.path.ends_with(".1") { 0.0 } else { 1.0 })
    };
    let three = Blocks::Count(std::num::NonZeroUsize::new(3).unwrap());
    let plan =
        plan_elements(&graph, ElementKind::Layers, later, three, Limits::default(), |_| false).unwrap();
    // Nine blocks, of which two halve the image.
    assert_eq!(plan.candidates, 7);
    assert_eq!(plan.cut.order(), ["stage3.1", "stage2.1", "stage1.1"]);
    let rows = Tensor::random([5, 64], Distribution::Default, &Device::flex());
    assert!(network.verify_without(&plan.cut, rows.clone()).unwrap() <= 1e-5);

    // A file of it loads into the network as it was built.
    let small = network.without(&plan.cut).unwrap();
    assert_eq!(Cost::of(&small.graph().unwrap()), plan.after);
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("model.safetensors");
    weights::save(small.as_ref(), &path).unwrap();
    let mut again = build();
    weights::load(again.as_mut(), &path).unwrap();
    assert_eq!(again.dropped(), ["stage3.1", "stage2.1", "stage1.1"]);
    let logits = |network: &dyn Network| network.forward(rows.clone(), &mut Tap::none()).into_data();
    assert_eq!(logits(again.inference().as_ref()), logits(small.inference().as_ref()));
    // And loses more of what is left; the file then tells of both.
    let more = ElementCut { elements: vec![plan.cut.elements[0].clone()], ..ElementCut::default() };
    let first = more.elements[0].path.clone();
    let smaller = again.without(&more).unwrap();
    assert_eq!(smaller.dropped()[3..], [first]);
    weights::save(smaller.as_ref(), &path).unwrap();
    let mut third = build();
    weights::load(third.as_mut(), &path).unwrap();
    assert_eq!(logits(third.inference().as_ref()), logits(smaller.inference().as_ref()));
}

/// A mixture of experts with a layer each, of another crate.
#[derive(Module, Debug, SyncShape)]
struct Mixture {
    router: Linear,
    experts: Vec<Expert>,
    head: Linear,
}

#[derive(Module, Debug, SyncShape)]
struct Expert {
    hidden: Linear,
    output: Linear,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct MixtureConfig {
    experts: usize,
}

impl Mixture {
    fn new(config: &MixtureConfig, task: &Task, device: &Device) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        let expert = |_| Expert { hidden: linear(task.features(), 8), output: linear(8, 6) };
        Self {
            router: linear(task.features(), config.experts),
            experts: (0..config.experts).map(expert).collect(),
            head: linear(6, task.classes),
        }
    }

    fn run(&self, x: Tensor<2>, tap: &mut Tap<'_>) -> Tensor<2> {
        let gates = softmax(self.router.forward(x.clone()), 1);
        let each = self.experts.iter().enumerate().map(|(at, expert)| {
            let hidden = tap.at(&format!("expert{}", at + 1), relu(expert.hidden.forward(x.clone())));
            expert.output.forward(hidden) * gates.clone().narrow(1, at, 1)
        });
        let mixed = each.collect::<Vec<_>>().into_iter().reduce(|sum, next| sum + next);
        self.head.forward(tap.at("mixed", mixed.unwrap()))
    }
}

/// The model with its list, and one that tells nobody of it.
macro_rules! model {
    ($name:ident, $($drops:item)?) => {
        #[derive(Module, Debug, SyncShape)]
        struct $name {
            mixture: Mixture,
        }

        impl Model for $name {
            type Input = Tensor<2>;
            type Config = MixtureConfig;
            const ABOUT: &'static str = "a mixture of experts; experts";

            fn build(config: &MixtureConfig, task: &Task, device: &Device) -> Result<Self, String> {
                Ok(Self { mixture: Mixture::new(config, task, device) })
            }

            $($drops)?

            fn forward(&self, input: Tensor<2>, tap: &mut Tap<'_>) -> Tensor<2> {
                self.mixture.run(input, tap)
            }
        }
    };
}

model! {
    Open,
    fn remove_element(&mut self, path: &str) -> bool {
        SyncShape::remove_element(self, path)
    }
}
model! { Closed, }

const RECIPE: &str = r#"schema = 1
name = "experts"

[data.digits]
validation = 100

[teacher]
model.mlp = { hidden = [8] }

[student]
model."acme.open" = { experts = 4 }

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
epochs = 3
learning-rate = 1e-2

[[stage]]
name = "sparse"
[stage.sparsify]
pattern.random = { sparsity = 0.5 }
epochs = 1

[[stage]]
name = "experts"
[stage.prune]
pattern.experts = { sparsity = 0.5 }

[[stage]]
name = "again"
[stage.prune]
pattern.experts = { count = 1 }
criterion.magnitude = { p = 2 }
epochs = 1
"#;

fn run(text: &str, folder: &Path, sink: &mut dyn Sink) -> Result<Outcome, Error> {
    let registry = Registry::builtin().model::<Open>("acme.open").model::<Closed>("acme.closed");
    let source = Source { name: "experts.toml".into(), text: text.into(), folder: PathBuf::new() };
    let options = Options { base: folder.to_owned(), ..Options::default() };
    start(&source, &[], &options, &crate::common::env(), &registry, sink)
}

/// Remembers what was noted.
#[derive(Default)]
struct Notes(Vec<String>);

impl Sink for Notes {
    fn event(&mut self, event: Event) {
        if let Event::Note(note) = event {
            self.0.push(note);
        }
    }

    fn stopped(&self) -> bool {
        false
    }
}

#[test]
fn experts_of_a_foreign_model_go_by_the_loss_and_masks_move_up_with_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let mut notes = Notes::default();
    let outcome = run(RECIPE, folder.path(), &mut notes).unwrap();
    let receipt = |stage: &str| -> ElementCut {
        serde_json::from_slice(&std::fs::read(outcome.dir.join(stage).join("elements.json")).unwrap())
            .unwrap()
    };
    let (two, one) = (receipt("4-experts"), receipt("5-again"));
    assert_eq!((two.elements.len(), one.elements.len()), (2, 1));
    assert_eq!(two.cut.keep("mixture.router.bias", 0).unwrap().len(), 2);
    assert!(notes.0.iter().any(|note| note.contains("2 of 4 go (mixture.experts.")), "{:?}", notes.0);
    let stages = outcome.json["stages"].as_array().unwrap();
    let number = |stage: usize, key: &str| stages[stage][key].as_u64().unwrap();
    let expert = 64 * 8 + 8 * 6;
    assert_eq!(number(2, "macs") - number(3, "macs"), 2 * (expert + 64));
    assert_eq!(number(3, "macs") - number(4, "macs"), expert + 64);
    // Half of each row of the layers that are left is masked, but for the last one's.
    let masked = number(4, "params") - number(4, "nonzero");
    assert!(masked >= 32 + expert / 2, "{masked}");

    let registry = Registry::builtin().model::<Open>("acme.open");
    let again = evaluate(&outcome.dir.join("5-again"), None, "burn", &crate::common::env(), &registry);
    assert_eq!(again.unwrap().accuracy, stages[4]["accuracy"].as_f64().unwrap());
}

#[test]
fn what_cannot_go_is_said() {
    let mut texts = Vec::new();
    let short =
        RECIPE.split("[[stage]]\nname = \"sparse\"").next().unwrap().replace("epochs = 3", "epochs = 1");
    let last = "[[stage]]\nname = \"last\"\n[stage.prune]\npattern.";
    for (model, pattern) in [
        ("\"acme.open\" = { experts = 4 }", "heads = { sparsity = 0.5 }"),
        ("\"acme.open\" = { experts = 4 }", "layers = { count = 1 }"),
        ("\"acme.open\" = { experts = 4 }", "experts = { count = 4 }"),
        ("\"acme.closed\" = { experts = 4 }", "experts = { count = 1 }"),
        ("mlp = { hidden = [6] }", "layers = { sparsity = 0.5 }"),
    ] {
        let recipe = short.replace("\"acme.open\" = { experts = 4 }", model) + last + pattern;
        let folder = tempfile::tempdir().unwrap();
        let error = run(&recipe, folder.path(), &mut Silent).unwrap_err();
        texts.push(format!("{}: {error}", error.code()));
    }
    insta::assert_snapshot!(texts.join("\n"), @"
    prune::none-can-go: no heads can go: there are none
    prune::none-can-go: no residual blocks can go: `mixture.experts.0`: `mixture.experts.0.hidden.weight` is read in no residual branch; `mixture.experts.1`: `mixture.experts.1.hidden.weight` is read in no residual branch; and 2 more
    prune::none-can-go: 4 experts are to go, at most 3 can; lower the count
    prune::none-can-go: the module cannot drop `mixture.experts.3`: it is no element of a `Vec` that the network can do without, or the module does not say how to drop one, as `#[derive(SyncShape)]` does
    prune::none-can-go: no residual blocks can go: `hidden.0`: `hidden.0.weight` is read in no residual branch
    ");
}
