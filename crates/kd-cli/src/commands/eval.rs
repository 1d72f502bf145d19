//! `kd eval`: accuracy and loss on test data.

use kd_deploy::{Engine, OnnxRuntime, Tract};
use kd_train::session;

use super::{Context, json};
use crate::args::{EngineName, Eval};
use crate::failure::Failure;
use crate::table::columns;

pub(super) fn run(args: &Eval, context: &Context) -> Result<(), Failure> {
    // Burn reads no ONNX file.
    let is_onnx = args.target.extension().is_some_and(|extension| extension == "onnx");
    let engine = args.engine.unwrap_or(if is_onnx { EngineName::Tract } else { EngineName::Burn });
    let mut env = context.environment.without_engines();
    let name = match engine {
        EngineName::Burn => "burn",
        EngineName::Tract => Tract.name(),
        EngineName::Onnxruntime => {
            let engine = context.environment.onnxruntime().map_err(Failure::NoEngine)?;
            env.engines.push(Box::new(engine));
            OnnxRuntime::NAME
        }
    };
    let found = session::evaluate(&args.target, args.data.as_deref(), name, &env, &context.registry)?;
    let text = || {
        let row = |name: &str, value: String| vec![name.to_owned(), value];
        columns(&[
            row("model", found.model.clone()),
            row("engine", found.engine.clone()),
            row("data", found.data.clone()),
            row("accuracy", format!("{:.2} %", 100.0 * found.accuracy)),
            row("errors", format!("{} of {}", found.errors, found.examples)),
            row("loss", format!("{:.4}", found.loss)),
        ])
    };
    context.output.data(text, || json(&found))
}
