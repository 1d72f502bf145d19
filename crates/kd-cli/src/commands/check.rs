//! `kd check`: all problems of a recipe, or its plan.

use kd_train::session;

use super::{Context, json, source};
use crate::args::Check;
use crate::failure::Failure;

pub(super) fn run(args: &Check, context: &Context) -> Result<(), Failure> {
    let env = context.environment.without_engines();
    let recipe = source(&args.recipe, context)?;
    let plan = session::check(&recipe, &args.overrides.set, &env, &context.registry)?;
    context.output.data(|| plan.to_string(), || json(&plan))
}
