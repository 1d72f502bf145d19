//! `kd quantize`: the weights of a checkpoint, or of a run's model, in few bits.

use kd_train::checkpoint_quant::{Inputs, Report, Request, Target, check_out, ignore, quantize};

use kd_train::ptq::{BlockReport, LayerReport, Measure, Source};
use kd_train::session::{self, Goal, QuantizeRun, QuantizedRun};

use super::Context;
use crate::args::{LayerInputs, LayoutName, Quantize};
use crate::failure::Failure;
use crate::table;

pub(super) fn run(args: &Quantize, context: &Context) -> Result<(), Failure> {
    if args.checkpoint.is_dir() {
        return of_run(args, context);
    }
    let of_runs = [
        ("--data", args.data.is_some()),
        ("--calibration", args.calibration.is_some()),
        ("--layer-inputs", args.layer_inputs.is_some()),
        ("--sensitivity", args.sensitivity.is_some()),
        ("--front", args.front),
    ];
    if let Some((option, _)) = of_runs.into_iter().find(|(_, given)| *given) {
        let found = format!("`{}`, which is no folder", args.checkpoint.display());
        return Err(wrong(option, "a run, as only a model has data and layers", found));
    }
    let target = match (&args.weights, &args.budget) {
        (_, Some(budget)) => Target::Budget(budget.parse()?),
        (words, None) => Target::scheme(words.as_deref().unwrap_or_default())?,
    };
    check_out(&args.out)?;
    let request = Request {
        target,
        method: args.method.parse()?,
        own: args.layout == LayoutName::Own,
        inputs: args.inputs.as_deref().map(Inputs::open).transpose()?,
        ignore: args.ignore.as_deref().map(ignore).transpose()?,
    };
    let report = quantize(&args.checkpoint, &request, &args.out)?;
    for note in &report.notes {
        context.terminal.always(format_args!("note: {note}"));
    }
    context.terminal.say(format_args!("wrote `{}`", args.out.display()));
    context.output.data(|| text(&report), || json(&report))
}

fn wrong(option: &str, expected: &str, found: String) -> Failure {
    kd_train::Error::QuantizeOption { option: option.into(), expected: expected.into(), found }.into()
}

fn of_run(args: &Quantize, context: &Context) -> Result<(), Failure> {
    if let Some(inputs) = &args.inputs {
        let found = format!("`{}` for a run, which gives its layers its own data", inputs.display());
        return Err(wrong("--inputs", "the inputs of a checkpoint", found));
    }
    if args.calibration == Some(0) {
        return Err(wrong("--calibration", "at least 1 batch", "0".into()));
    }
    let goal = match (&args.budget, &args.weights) {
        (Some(budget), _) => {
            let measure = args.sensitivity.as_deref().map_or(Ok(Measure::default()), str::parse)?;
            Goal::Budget(budget.parse()?, measure)
        }
        (None, words) => match Target::scheme(words.as_deref().unwrap_or_default())? {
            Target::Scheme(scheme) => Goal::Scheme(scheme),
            Target::Budget(_) => unreachable!("words of a scheme are no budget"),
        },
    };
    let request = QuantizeRun {
        data: args.data.clone(),
        goal,
        method: args.method.parse()?,
        source: match args.layer_inputs {
            Some(LayerInputs::Float) => Source::Float,
            _ => Source::Sequential,
        },
        batches: args.calibration.unwrap_or(session::CALIBRATION_BATCHES),
        own: args.layout == LayoutName::Own,
        ignore: args.ignore.as_deref().map(ignore).transpose()?,
        front: args.front,
    };
    let env = context.environment.without_engines();
    let done = session::quantize(&args.checkpoint, &request, &args.out, &env, &context.registry)?;
    for layer in &done.layers {
        for note in &layer.notes {
            context.terminal.always(format_args!("note: `{}`: {note}", layer.name));
        }
    }
    for note in &done.report.notes {
        context.terminal.always(format_args!("note: {note}"));
    }
    context.terminal.say(format_args!("wrote `{}`", args.out.display()));
    context.output.data(|| run_text(&done), || run_json(&done))
}

fn run_text(done: &QuantizedRun) -> String {
    let error = |error: Option<f64>| error.map_or_else(|| "unknown".into(), |error| format!("{error:.3e}"));
    let head = ["layer", "scheme", "error of rtn", "error", "SQNR", "bits"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for layer in &done.layers {
        rows.push(vec![
            layer.name.clone(),
            layer.scheme.to_string(),
            error(layer.before),
            error(layer.after),
            format!("{:.2} dB", layer.sqnr),
            format!("{:.4}", layer.bits as f64 / (layer.rows * layer.columns) as f64),
        ]);
    }
    let score = &done.score;
    let mut text = table::columns(&rows);
    if done.layers.iter().any(|layer| layer.block.is_some()) {
        text += "\n";
        text += &table::columns(&blocks(&done.layers));
    }
    text += &format!(
        "\n{} layers: {:.4} bpw\naccuracy {:.2} %, in floats {:.2} %; KL of the logits {:.3e}; the same class for {:.2} %\n",
        done.layers.len(),
        done.bits_per_weight,
        100.0 * score.accuracy,
        100.0 * score.float_accuracy,
        score.kl,
        100.0 * score.agreement,
    );
    if !done.front.is_empty() {
        let mut rows = vec![["bytes", "bpw", "loss", "schemes"].map(str::to_owned).to_vec()];
        rows.extend(done.front.iter().map(|point| {
            let schemes: Vec<&str> = point.schemes.values().map(String::as_str).collect();
            let (bpw, loss) = (format!("{:.4}", point.bpw), format!("{:.3e}", point.loss));
            vec![point.bytes.to_string(), bpw, loss, schemes.join("; ")]
        }));
        text += "\n";
        text += &table::columns(&rows);
    }
    text
}

/// A row for each block of layers that were rounded together, under a head.
fn blocks(layers: &[LayerReport]) -> Vec<Vec<String>> {
    let mut rows = vec![["block", "layers", "error of rtn", "error"].map(str::to_owned).to_vec()];
    let mut seen: Vec<(&BlockReport, usize)> = Vec::new();
    for block in layers.iter().filter_map(|layer| layer.block.as_ref()) {
        match seen.last_mut() {
            Some((last, count)) if last.name == block.name => *count += 1,
            _ => seen.push((block, 1)),
        }
    }
    rows.extend(seen.into_iter().map(|(block, count)| {
        let (before, after) = (format!("{:.3e}", block.before), format!("{:.3e}", block.after));
        vec![block.name.clone(), count.to_string(), before, after]
    }));
    rows
}

fn run_json(done: &QuantizedRun) -> serde_json::Value {
    let layers = done.layers.iter().map(|layer| {
        serde_json::json!({
            "tensor": layer.name, "scheme": layer.scheme.to_string(), "before": layer.before, "after": layer.after,
            "block": layer.block, "sqnr": layer.sqnr.is_finite().then_some(layer.sqnr), "bits": layer.bits,
            "notes": layer.notes,
        })
    });
    serde_json::json!({
        "layers": layers.collect::<Vec<_>>(),
        "bpw": done.bits_per_weight,
        "score": done.score,
        "front": done.front,
        "folder": json(&done.report),
    })
}

fn text(report: &Report) -> String {
    let mut rows = vec![["weight", "scheme", "SQNR", "bits", "bytes"].map(str::to_owned).to_vec()];
    for (row, scheme) in report.rows.iter().zip(&report.schemes) {
        rows.push(vec![
            row.tensor.clone(),
            scheme.clone().unwrap_or_else(|| "as it is".into()),
            row.sqnr.map_or_else(|| "exact".into(), |sqnr| format!("{sqnr:.2} dB")),
            format!("{:.4}", row.bpw),
            row.bytes.to_string(),
        ]);
    }
    let total = format!(
        "\n{} weights, {} numbers: {:.4} bpw, {} bytes\n",
        report.rows.len(),
        report.weights,
        report.bpw(),
        report.bytes
    );
    table::columns(&rows) + &total
}

fn json(report: &Report) -> serde_json::Value {
    let rows = report.rows.iter().zip(&report.schemes).map(|(row, scheme)| {
        serde_json::json!({
            "tensor": row.tensor, "scheme": scheme, "sqnr": row.sqnr, "bpw": row.bpw, "bytes": row.bytes,
        })
    });
    serde_json::json!({
        "weights": rows.collect::<Vec<_>>(),
        "numbers": report.weights,
        "bpw": report.bpw(),
        "bytes": report.bytes,
        "notes": report.notes,
    })
}
