//! `kd graph`: what a recipe's model computes, what it costs, and what could be removed together.

use kd_train::recipe::Role;
use kd_train::session;
use serde_json::json;

use super::{Context, source};
use crate::args::{Draw, Graph, RoleName};
use crate::failure::Failure;

pub(super) fn run(args: &Graph, context: &Context) -> Result<(), Failure> {
    let env = context.environment.without_engines();
    let recipe = source(&args.recipe, context)?;
    let role = match args.of {
        RoleName::Teacher => Role::Teacher,
        RoleName::Student => Role::Student,
    };
    let found = session::graph(&recipe, &args.overrides.set, role, &env, &context.registry)?;
    match args.draw {
        Some(Draw::Dot) => context.output.raw(found.dot().as_bytes()),
        Some(Draw::Svg) => context.output.raw(found.svg().as_bytes()),
        None => context.output.data(
            || found.to_string(),
            || json!({ "model": found.model, "graph": found.graph, "axes": found.axes }),
        ),
    }
}
