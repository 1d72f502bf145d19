//! The recipe written back with every default spelled out, in the order and the manner in which people write one.

use std::fmt::{Display, Write};

use prune_core::{Criterion, Gathers, Limits, Pattern};
use serde::Serialize;
use toml::Value;

use super::set::key_text;
use super::{FitSpec, Gate, NetworkSpec, Recipe, StageKind, TermSpec};
use crate::sparsify::Shape;

/// TOML that reads as the same recipe.
pub(super) fn text(recipe: &Recipe) -> String {
    let mut text = Text::default();
    text.entry("schema", 1).entry("name", &recipe.name).entry("seed", recipe.seed);

    let device = &recipe.device;
    text.header("device").entry("name", &device.name).entry("kernels", device.kernels);
    text.maybe("threads", device.threads);
    let data = &recipe.data;
    text.header(format!("data.{}", key_text(&data.name))).entries(&data.source.resolved());
    text.entry("batch", data.batch).entry("augment", data.augment);
    network(&mut text, "teacher", &recipe.teacher);
    network(&mut text, "student", &recipe.student);
    terms(&mut text, "objective", recipe.objective.as_deref());
    for stage in &recipe.stages {
        text.element("stage").entry("name", &stage.name);
        kind(&mut text, &stage.kind);
    }
    if !recipe.expect.is_empty() {
        text.header("expect");
        for Gate { stage, metric, min, max } in &recipe.expect {
            let limits =
                [("min", min), ("max", max)].into_iter().filter_map(|(key, limit)| Some((key, (*limit)?)));
            text.named(&format!("{}.{}", key_text(stage), metric.name()), &table(limits));
        }
    }
    text.0
}

fn network(text: &mut Text, role: &str, spec: &NetworkSpec) {
    text.header(role).named(&format!("model.{}", key_text(spec.model.name())), &spec.model.resolved());
    text.maybe("checkpoint", spec.checkpoint.as_deref());
}

fn kind(text: &mut Text, kind: &StageKind) {
    let header = format!("stage.{}", kind.name());
    text.header(&header);
    match kind {
        StageKind::Train(spec) => {
            text.entry("of", spec.of);
        }
        StageKind::Prune(spec) => {
            let units = spec.pattern.elements().is_none();
            text.entry("pattern", spec.pattern);
            let criterion = spec.pattern.ranks() && !spec.by_loss;
            text.maybe("criterion", criterion.then_some(spec.criterion.as_ref()));
            if units && criterion {
                text.entry("group", spec.group).entry("scope", spec.scope);
            }
            if spec.criterion.gathers() != Gathers::Weights {
                text.entry("calibration", spec.calibration);
            }
            let Limits { min_units, round_to, max_share } = spec.limits;
            text.maybe("round-to", units.then_some(round_to));
            text.entry("min-units", min_units).maybe("max-share", max_share);
            text.entry("pinned", &spec.pinned).maybe("compensate", units.then_some(spec.compensate));
        }
        StageKind::Sparsify(spec) => {
            text.entry("pattern", spec.shape);
            if !spec.when.is_movement() && !matches!(spec.shape, Shape::Each(Pattern::Random(_))) {
                text.entry("criterion", spec.criterion.as_ref());
                text.maybe(
                    "calibration",
                    spec.criterion.needs().is_of_calibration().then_some(spec.calibration),
                );
            }
            text.entry("schedule", &spec.when);
            text.maybe("frequency", spec.frequency).maybe("lock-after", spec.lock_after);
        }
        StageKind::Share(spec) => {
            text.entry("values", spec.values)
                .maybe("conv-values", spec.conv_values)
                .entry("start", spec.start);
        }
        StageKind::Quantize(spec) => {
            text.entry("weights", spec.weights).maybe("activations", spec.activations);
            text.entry("observer", spec.observer).entry("calibration", spec.calibration);
            text.entry("freeze-after", spec.freeze_after);
            text.entry("freeze-statistics-after", spec.freeze_statistics_after);
            text.entry("estimator", spec.estimator);
            text.maybe("quant-noise", spec.noise);
        }
        StageKind::Export(spec) => {
            text.entry("weights-container", spec.weights_container);
        }
        StageKind::Distill(_) => {}
    }
    if let Some(spec) = kind.fit() {
        fit(text, &header, spec);
    }
}

fn fit(text: &mut Text, header: &str, fit: &FitSpec) {
    text.entry("epochs", fit.epochs)
        .entry("optimizer", fit.optimizer)
        .entry("learning-rate", &fit.learning_rate);
    text.maybe("gradient-clipping", fit.clip).maybe("bn-scale-penalty", fit.bn_scale_penalty);
    terms(text, &format!("{header}.objective"), fit.terms.as_deref());
}

fn terms(text: &mut Text, header: &str, terms: Option<&[TermSpec]>) {
    for term in terms.unwrap_or_default() {
        text.element(header).entry("weight", &term.weight).named(&key_text(&term.loss), &term.knobs);
    }
}

/// The text as it grows.
#[derive(Default)]
struct Text(String);

impl Text {
    fn header(&mut self, path: impl Display) -> &mut Self {
        self.line(format_args!("\n[{path}]"))
    }

    fn element(&mut self, path: &str) -> &mut Self {
        self.line(format_args!("\n[[{path}]]"))
    }

    /// `key = value`
    fn entry(&mut self, key: &str, entry: impl Serialize) -> &mut Self {
        self.named(key, &value(entry))
    }

    fn maybe(&mut self, key: &str, entry: Option<impl Serialize>) -> &mut Self {
        match entry {
            Some(entry) => self.entry(key, entry),
            None => self,
        }
    }

    fn entries(&mut self, table: &Value) -> &mut Self {
        for (key, value) in table.as_table().into_iter().flatten() {
            self.named(&key_text(key), value);
        }
        self
    }

    /// `key = value`, or `key.name = { … }` where the value is a thing with a name and knobs.
    fn named(&mut self, key: &str, value: &Value) -> &mut Self {
        match value.as_table().filter(|table| table.len() == 1).and_then(|table| table.iter().next()) {
            Some((name, knobs @ Value::Table(_))) => {
                self.line(format_args!("{key}.{} = {knobs}", key_text(name)))
            }
            _ => self.line(format_args!("{key} = {value}")),
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) -> &mut Self {
        writeln!(self.0, "{line}").expect("a string takes everything");
        self
    }
}

fn table<'a>(entries: impl IntoIterator<Item = (&'a str, f64)>) -> Value {
    Value::Table(entries.into_iter().map(|(key, value)| (key.to_owned(), Value::Float(value))).collect())
}

fn value(value: impl Serialize) -> Value {
    Value::try_from(value).expect("what was read from TOML can be written to it")
}
