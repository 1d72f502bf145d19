//! The `export` folder of a run: the models of its last float stage and its last quantize stage, checked on every
//! engine that is there.

use crate::error::Error;
use crate::event::{Event, Sink};
use crate::export;
use crate::recipe::ExportSpec;
use crate::run::{Done, Run};
use crate::run_dir::{files, json};
use crate::summary::ParitySummary;

/// Writes the folder and holds each ONNX file against its own model.
pub(crate) fn export(
    run: &Run<'_>,
    spec: ExportSpec,
    done: &[Done],
    sink: &mut dyn Sink,
) -> Result<Vec<ParitySummary>, Error> {
    let container = spec.weights_container;
    let folder = run.dir.folder(files::EXPORT)?;
    let float = done.iter().rev().find(|done| done.model.activations.is_none());
    let rounded = done.iter().rev().find(|done| done.model.activations.is_some());
    let mut parity = Vec::new();
    for done in [float, rounded].into_iter().flatten() {
        let name = done.model.file(container);
        let file = folder.join(name);
        kd_deploy::write_atomically(&file, &export::onnx(&done.model, container)?)?;
        let test = run.predict(&done.model);
        let (can, cannot): (Vec<_>, Vec<_>) =
            run.env.engines.iter().partition(|engine| export::runs(engine.as_ref(), &done.model, container));
        for engine in cannot {
            let what =
                format!("{name} is not checked on {}, which does not read packed weights", engine.name());
            sink.event(Event::Working { what });
        }
        for engine in can {
            sink.event(Event::Working { what: format!("checking {name} on {}", engine.name()) });
            parity.push(export::check(&file, engine.as_ref(), &run.data, &done.model, &test)?);
        }
    }
    if let Some(done) = rounded.or(float) {
        export::tensors(&done.model, &folder)?;
    }
    kd_deploy::write_atomically(&folder.join(files::PARITY), &json(&parity))?;
    Ok(parity)
}
