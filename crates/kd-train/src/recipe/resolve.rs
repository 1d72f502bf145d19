//! The recipe written back with every default spelled out.

use toml::{Table, Value};

use super::{FitSpec, Recipe, StageKind, TermSpec};

/// TOML that reads as the same recipe.
pub(super) fn text(recipe: &Recipe) -> String {
    let mut top = Table::new();
    top.insert("schema".into(), Value::Integer(1));
    top.insert("name".into(), recipe.name.clone().into());
    top.insert("seed".into(), integer(recipe.seed));
    let mut device = table([("name", recipe.device.name.clone().into())]);
    if let Some(threads) = recipe.device.threads {
        device.insert("threads".into(), integer(threads as u64));
    }
    top.insert("device".into(), device.into());

    let mut data = into_table(recipe.data.source.resolved());
    data.insert("batch".into(), integer(recipe.data.batch as u64));
    data.insert("augment".into(), value(&recipe.data.augment));
    top.insert("data".into(), table([(recipe.data.name.as_str(), data.into())]).into());

    for (role, spec) in [("teacher", &recipe.teacher), ("student", &recipe.student)] {
        let mut network = table([("model", table([(spec.model.name(), spec.model.resolved())]).into())]);
        if let Some(path) = &spec.checkpoint {
            network.insert("checkpoint".into(), path.display().to_string().into());
        }
        top.insert(role.into(), network.into());
    }
    if let Some(terms) = &recipe.objective {
        top.insert("objective".into(), objective(terms));
    }
    let stages = recipe.stages.iter().map(|stage| {
        let body = kind(&stage.kind);
        Value::from(table([("name", stage.name.clone().into()), (stage.kind.name(), body.into())]))
    });
    top.insert("stage".into(), Value::Array(stages.collect()));

    let mut expect = Table::new();
    for gate in &recipe.expect {
        let stage = expect.entry(gate.stage.clone()).or_insert_with(|| Table::new().into());
        let limits = [("min", gate.min), ("max", gate.max)];
        let limits = limits.into_iter().filter_map(|(key, limit)| Some((key, Value::Float(limit?))));
        if let Value::Table(stage) = stage {
            stage.insert(gate.metric.name().into(), table(limits).into());
        }
    }
    if !expect.is_empty() {
        top.insert("expect".into(), expect.into());
    }
    toml::to_string(&top).expect("a table becomes TOML")
}

fn kind(kind: &StageKind) -> Table {
    match kind {
        StageKind::Train(spec) => {
            let mut body = fit(&spec.fit);
            body.insert("of".into(), value(&spec.of));
            body
        }
        StageKind::Distill(spec) => fit(spec),
        StageKind::Prune(spec) => {
            let mut body = fit(&spec.fit);
            body.insert("pattern".into(), table([("channels", value(&spec.pattern))]).into());
            body.insert("criterion".into(), value(spec.criterion.as_ref()));
            body.insert("round-to".into(), integer(spec.round_to as u64));
            body
        }
        StageKind::Sparsify(spec) => {
            let mut body = fit(&spec.fit);
            body.insert("pattern".into(), value(&spec.pattern));
            body.insert("criterion".into(), value(spec.criterion.as_ref()));
            body.insert("schedule".into(), value(&spec.schedule));
            body
        }
        StageKind::Quantize(spec) => {
            let mut body = fit(&spec.fit);
            body.insert("weights".into(), value(&spec.weights));
            body.insert("activations".into(), value(&spec.activations));
            body.insert("observer".into(), value(&spec.observer));
            body.insert("calibration".into(), integer(spec.calibration as u64));
            body.insert("freeze-after".into(), Value::Float(spec.freeze_after));
            body
        }
        StageKind::Export(_) => Table::new(),
    }
}

fn fit(fit: &FitSpec) -> Table {
    let mut body = table([
        ("epochs", integer(fit.epochs as u64)),
        ("optimizer", value(&fit.optimizer)),
        ("learning-rate", value(&fit.learning_rate)),
    ]);
    if let Some(clip) = fit.clip {
        body.insert("gradient-clipping".into(), Value::Float(clip));
    }
    if let Some(terms) = &fit.terms {
        body.insert("objective".into(), objective(terms));
    }
    body
}

fn objective(terms: &[TermSpec]) -> Value {
    let term = |term: &TermSpec| {
        Value::from(table([("weight", value(&term.weight)), (term.loss.as_str(), term.knobs.clone())]))
    };
    Value::Array(terms.iter().map(term).collect())
}

fn table<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Table {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn into_table(value: Value) -> Table {
    match value {
        Value::Table(table) => table,
        _ => Table::new(),
    }
}

fn value(value: &impl serde::Serialize) -> Value {
    Value::try_from(value).expect("what was read from TOML can be written to it")
}

fn integer(number: u64) -> Value {
    Value::Integer(i64::try_from(number).expect("counts and seeds are checked to be small"))
}
