//! `kd pack` and `kd unpack`: a model file in few bytes, and back.

use kd_train::pack::{PackReport, pack, unpack};
use serde_json::json;

use super::Context;
use crate::args::{Pack, Unpack};
use crate::failure::Failure;
use crate::table;

pub(super) fn run(args: &Pack, context: &Context) -> Result<(), Failure> {
    let report = pack(&args.input, &args.out)?;
    for (name, kind) in &report.skipped {
        context.terminal.always(format_args!("note: `{name}` is of {kind}, no floats, and was left out"));
    }
    context.terminal.say(format_args!("wrote `{}`", args.out.display()));
    context.output.data(|| text(&report), || as_json(&report))
}

pub(super) fn undo(args: &Unpack, context: &Context) -> Result<(), Failure> {
    let count = unpack(&args.input, &args.out)?;
    context.terminal.say(format_args!("wrote {count} tensors to `{}`", args.out.display()));
    Ok(())
}

fn text(report: &PackReport) -> String {
    let mut rows =
        vec![["tensor", "elements", "not zero", "values", "bytes", "bits"].map(str::to_owned).to_vec()];
    for packed in &report.tensors {
        let (nonzero, values) = match packed.shared {
            Some((nonzero, values)) => (nonzero.to_string(), values.to_string()),
            None => ("as it is".into(), "-".into()),
        };
        let bits = format!("{:.3}", 8.0 * packed.bytes as f64 / packed.elements.max(1) as f64);
        let (elements, bytes) = (packed.elements.to_string(), packed.bytes.to_string());
        rows.push(vec![packed.name.clone(), elements, nonzero, values, bytes, bits]);
    }
    let (bytes, ratio, floats) = (report.bytes, report.ratio(), report.float_bytes);
    table::columns(&rows) + &format!("\n{bytes} bytes, {ratio:.1} times smaller than {floats} bytes of f32\n")
}

fn as_json(report: &PackReport) -> serde_json::Value {
    let tensors: Vec<_> = report
        .tensors
        .iter()
        .map(|packed| {
            let (nonzero, values) = packed.shared.unzip();
            json!({
                "name": packed.name,
                "elements": packed.elements,
                "nonzero": nonzero,
                "values": values,
                "bytes": packed.bytes,
            })
        })
        .collect();
    json!({
        "tensors": tensors,
        "bytes": report.bytes,
        "float-bytes": report.float_bytes,
        "ratio": report.ratio(),
    })
}
