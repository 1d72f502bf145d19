//! `kd export`: the artifacts of a stage.

use kd_train::session;

use super::Context;
use crate::args::Export;
use crate::failure::Failure;

pub(super) fn run(args: &Export, context: &Context) -> Result<(), Failure> {
    let env = context.environment.with_engines();
    let files = session::export(&args.run, args.stage.as_deref(), &args.out, &env, &context.registry)?;
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    context.output.data(|| files.join("\n"), || serde_json::json!({ "files": files }))
}
