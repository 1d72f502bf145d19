//! `kd schedule eval`: the values of a schedule, so that anyone can plot it or hold it against a formula.

use kd_train::schedule_eval;

use super::Context;
use crate::args::{ScheduleCommand, ScheduleEval};
use crate::failure::Failure;

pub(super) fn run(command: ScheduleCommand, context: &Context) -> Result<(), Failure> {
    let ScheduleCommand::Eval(args) = command;
    eval(&args, context)
}

fn eval(args: &ScheduleEval, context: &Context) -> Result<(), Failure> {
    let schedule = schedule_eval::parse(&args.schedule)?;
    let values = || schedule_eval::values(&schedule, args.steps);
    let text = || values().map(|value| schedule_eval::shortest(value) + "\n").collect();
    let json = || serde_json::json!({ "schedule": schedule.name(), "values": values().collect::<Vec<_>>() });
    context.output.data(text, json)
}
