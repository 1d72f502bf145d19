//! The `export` folder of a run: the models of its last float stage and its last quantize stage, checked on every
//! engine that is there.

use crate::error::Error;
use crate::event::{Event, Sink};
use crate::export;
use crate::run::{Done, Run};
use crate::run_dir::{files, json};
use crate::summary::ParitySummary;

/// Writes the folder and holds each ONNX file against its own model.
pub(crate) fn export(run: &Run<'_>, done: &[Done], sink: &mut dyn Sink) -> Result<Vec<ParitySummary>, Error> {
    let folder = run.dir.folder(files::EXPORT)?;
    let float = done.iter().rev().find(|done| done.model.activations.is_none());
    let rounded = done.iter().rev().find(|done| done.model.activations.is_some());
    let mut parity = Vec::new();
    for done in [float, rounded].into_iter().flatten() {
        let name = done.model.file();
        let file = folder.join(name);
        kd_deploy::write_atomically(&file, &export::onnx(&done.model)?)?;
        let test = run.predict(&done.model);
        for engine in &run.env.engines {
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
