//! `kd list`: the names that recipes and options may use.

use kd_deploy::{Engine, OnnxRuntime, Tract};
use kd_train::registry::Listing;
use kd_train::{device, explain};
use serde::Serialize;

use super::{Context, json};
use crate::args::{List, ListKind};
use crate::failure::Failure;

pub(super) fn run(args: &List, context: &Context) -> Result<(), Failure> {
    let registry = &context.registry;
    let rows = match args.kind {
        ListKind::Models => named(registry.models()),
        ListKind::Losses => named(registry.losses()),
        ListKind::Observers => named(registry.observers()),
        ListKind::Estimators => named(registry.estimators()),
        ListKind::Formats => named(registry.formats()),
        ListKind::Criteria => named(registry.criteria()),
        ListKind::Patterns => named(registry.patterns()),
        ListKind::Datasets => named(registry.datasets()),
        ListKind::Schedules => named(registry.schedules()),
        ListKind::Optimizers => named(registry.optimizers()),
        ListKind::Devices => devices(),
        ListKind::Engines => engines(context),
        ListKind::Codes => codes(),
    };
    context.output.data(|| text(&rows), || json(&rows))
}

/// A line of a list.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    about: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    knobs: String,
    /// Whether it can be used here, where that is a question.
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<bool>,
}

impl Row {
    fn new(name: impl Into<String>, about: impl Into<String>) -> Self {
        Self { name: name.into(), about: about.into(), knobs: String::new(), available: None }
    }

    fn available(self, available: bool) -> Self {
        Self { available: Some(available), ..self }
    }
}

fn named(listings: Vec<Listing>) -> Vec<Row> {
    let row = |listing: Listing| Row { knobs: listing.knobs, ..Row::new(listing.name, listing.about) };
    listings.into_iter().map(row).collect()
}

fn devices() -> Vec<Row> {
    let row = |backend: &str| {
        let what = match backend {
            "flex" => "CPU, the default",
            "ndarray" => "CPU, for comparison",
            "wgpu" => "graphics cards by Vulkan, Metal or DirectX; `wgpu:1` is the second one",
            "cuda" => "NVIDIA cards; `cuda:1` is the second one",
            _ => "",
        };
        let available = device::is_compiled(backend);
        let about = match available {
            true => what.to_owned(),
            false => format!("{what}; not compiled in: build with `--features {backend}`"),
        };
        Row::new(backend, about).available(available)
    };
    device::BACKENDS.into_iter().map(row).collect()
}

fn engines(context: &Context) -> Vec<Row> {
    let onnxruntime = match context.environment.onnxruntime() {
        Ok(engine) => Row::new(engine.name(), format!("ONNX Runtime {}", engine.version())).available(true),
        Err(sentence) => Row::new(OnnxRuntime::NAME, sentence).available(false),
    };
    vec![
        Row::new("burn", "what trains; for runs and stages").available(true),
        Row::new(Tract.name(), format!("tract {}, built in", Tract.version())).available(true),
        onnxruntime,
    ]
}

fn codes() -> Vec<Row> {
    explain::all().map(|explanation| Row::new(explanation.code, explanation.about)).collect()
}

/// The name, what it is, and below that its keys.
fn text(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for row in rows {
        out += &format!("{:width$}  {}\n", row.name, row.about);
        if !row.knobs.is_empty() {
            out += &format!("{:width$}  {}\n", "", row.knobs);
        }
    }
    out
}
