//! `kd loss eval`: one loss on saved tensors, so that anyone can compare it with their own code in two lines.

use std::path::Path;

use kd_train::loss_eval;
use kd_train::tensors;

use super::Context;
use crate::args::{LossCommand, LossEval};
use crate::failure::Failure;

pub(super) fn run(command: LossCommand, context: &Context) -> Result<(), Failure> {
    let LossCommand::Eval(args) = command;
    eval(&args, context)
}

fn eval(args: &LossEval, context: &Context) -> Result<(), Failure> {
    let (name, loss) = loss_eval::parse(&args.loss, &context.registry)?;
    let mut inputs = tensors::read(&args.input)?;
    if args.connector != "identity" {
        inputs.extend(tensors::read(Path::new(&args.connector))?);
    }
    let results = loss_eval::evaluate((&name, loss.as_ref()), &inputs)?;
    tensors::write(&args.output, &results)?;
    let value = results["value"].to_f64()[0];
    let names: Vec<_> = results.keys().collect();
    let text = || format!("{name} = {value}\n");
    let json = || serde_json::json!({ "loss": name, "value": value, "tensors": names });
    context.output.data(text, json)?;
    context.terminal.say(format_args!("wrote {} tensors to `{}`", names.len(), args.output.display()));
    Ok(())
}
