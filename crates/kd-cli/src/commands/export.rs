//! `kd export`: the artifacts of a stage.

use kd_deploy::WeightsContainer;
use kd_train::session;

use super::Context;
use crate::args::{ContainerName, Export};
use crate::failure::Failure;

pub(super) fn run(args: &Export, context: &Context) -> Result<(), Failure> {
    let env = context.environment.with_engines();
    let container = match args.weights_container {
        ContainerName::Int8 => WeightsContainer::Int8,
        ContainerName::Packed => WeightsContainer::Packed,
    };
    if container == WeightsContainer::Packed && !env.engines.iter().any(|engine| engine.reads_packed()) {
        let engines: Vec<&str> = env.engines.iter().map(|engine| engine.name()).collect();
        let engines = engines.join(", ");
        context.terminal.always(format_args!(
            "note: packed weights are not checked: of {engines} none reads them; set `ORT_DYLIB_PATH` to ONNX Runtime"
        ));
    }
    let stage = args.stage.as_deref();
    let files = session::export(&args.run, stage, &args.out, container, &env, &context.registry)?;
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    context.output.data(|| files.join("\n"), || serde_json::json!({ "files": files }))
}
