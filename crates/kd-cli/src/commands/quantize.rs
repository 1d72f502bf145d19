//! `kd quantize`: the weights of a checkpoint in few bits.

use kd_train::checkpoint_quant::{Inputs, Report, Request, Target, check_out, ignore, quantize};

use super::Context;
use crate::args::{LayoutName, Quantize};
use crate::failure::Failure;
use crate::table;

pub(super) fn run(args: &Quantize, context: &Context) -> Result<(), Failure> {
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
