//! `kd prune eval`: one criterion on saved tensors, so that anyone can compare it with their own code in two lines.

use kd_train::prune_eval::{self, Criterion};
use kd_train::tensors::{self, Numbers, Stored};
use serde_json::json;

use super::Context;
use crate::args::{PruneCommand, PruneEval};
use crate::failure::Failure;

pub(super) fn run(command: PruneCommand, context: &Context) -> Result<(), Failure> {
    let PruneCommand::Eval(args) = command;
    eval(&args, context)
}

fn eval(args: &PruneEval, context: &Context) -> Result<(), Failure> {
    let criterion = prune_eval::parse(&args.criterion)?;
    let removal = args.pattern.as_deref().map(prune_eval::pattern).transpose()?;
    let inputs = tensors::read(&args.input)?;
    let results = prune_eval::evaluate(&criterion, removal.as_ref(), &inputs)?;
    tensors::write(&args.output, &results)?;

    let names: Vec<_> = results.keys().collect();
    // What stays of how many, by the name of each mask.
    let masks = results.iter().filter_map(|(name, stored)| match &stored.numbers {
        Numbers::U8(keep) => Some((name, keep.iter().filter(|&&keep| keep == 1).count(), keep.len())),
        _ => None,
    });
    let masks: Vec<_> = masks.collect();
    let sparsity = results.get("sparsity").map(shares);
    let text = || {
        let line = |(name, stays, all): &(&String, usize, usize)| format!("{name}: {stays} of {all} stay\n");
        let mut lines: String = masks.iter().map(line).collect();
        if let Some(sparsity) = &sparsity {
            let sparsity: Vec<String> = sparsity.iter().map(f64::to_string).collect();
            lines += &format!("sparsity: {}\n", sparsity.join(" "));
        } else if masks.is_empty() {
            let scored = results.iter().filter(|(name, _)| name.ends_with("scores"));
            let line =
                |(name, stored): (&String, &Stored)| format!("{name}: {} numbers\n", stored.to_f64().len());
            lines += &scored.map(line).collect::<String>();
        }
        lines
    };
    let json = || {
        let masks =
            masks.iter().map(|(name, stays, all)| ((*name).clone(), json!({ "kept": stays, "of": all })));
        json!({
            "criterion": criterion.name(), "pattern": removal.as_ref().map(ToString::to_string),
            "masks": masks.collect::<serde_json::Map<_, _>>(), "sparsity": sparsity, "tensors": names,
        })
    };
    context.output.data(text, json)?;
    context.terminal.say(format_args!("wrote {} tensors to `{}`", names.len(), args.output.display()));
    Ok(())
}

/// Numbers to print: those in single precision by their own decimals.
fn shares(stored: &Stored) -> Vec<f64> {
    match &stored.numbers {
        Numbers::F32(x) => x.iter().map(|x| x.to_string().parse().unwrap_or(f64::from(*x))).collect(),
        _ => stored.to_f64(),
    }
}
