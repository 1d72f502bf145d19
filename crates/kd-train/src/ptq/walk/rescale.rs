//! Steps that change the float model and not its function, before anything is rounded: scales between layers.

use quant_core::Scheme;

use crate::error::Error;
use crate::ptq::Batches;
use crate::ptq::inputs::gather;
use crate::ptq::layers::Layer;
use crate::ptq::method::{Method, Rounding};
use crate::ptq::prepare::{Prepared, State};
use crate::ptq::round::grid;
use crate::ptq::scale::{self, Factors, apply, joints};

/// Scales layers against each other as `method` says, and notes for each layer what could not be done.
pub(super) fn rescale(
    prepared: &Prepared,
    schemes: &[Option<Scheme>],
    method: &Method,
    batches: &Batches<'_>,
    state: &mut State,
    factors: &mut [Factors],
    notes: &mut [Vec<String>],
) -> Result<(), Error> {
    let awq = match method.rounding {
        Rounding::Awq(knobs) => Some(knobs),
        _ => None,
    };
    if !method.equalize && method.smooth.is_none() && awq.is_none() {
        return Ok(());
    }
    let joints = joints(prepared);
    let free = |at: &usize| !joints.iter().any(|joint| joint.readers.contains(at));
    let alone: Vec<usize> = (0..schemes.len()).filter(|at| schemes[*at].is_some()).filter(free).collect();
    let mut mark = |what: &str| {
        let note = format!("{what}: what comes before it does not take scales");
        alone.iter().for_each(|&at| notes[at].push(note.clone()));
    };
    if method.equalize {
        scale::equalized(prepared, &joints, state, factors)?;
        mark("not equalized");
    }
    if method.smooth.is_some() {
        mark("not smoothed");
    }
    if awq.is_some() {
        mark("no scales of columns");
    }
    if method.smooth.is_none() && awq.is_none() {
        return Ok(());
    }
    let firsts: Vec<&Layer> = joints.iter().map(|joint| &prepared.layers[joint.readers[0]]).collect();
    if let Some(alpha) = method.smooth {
        let network = prepared.with(&state.changes());
        let found = gather(network.as_ref(), &prepared.graph, &firsts, batches())?;
        for (joint, stats) in joints.iter().zip(found) {
            let Some(stats) = stats else { continue };
            let scale = scale::smoothed(prepared, joint, &stats, alpha, state)?;
            apply(prepared, joint, &scale, state, factors);
        }
    }
    if let Some(knobs) = awq {
        let network = prepared.with(&state.changes());
        let found = gather(network.as_ref(), &prepared.graph, &firsts, batches())?;
        for (joint, stats) in joints.iter().zip(found) {
            let scheme = joint.readers.iter().find_map(|&reader| schemes[reader]);
            let (Some(stats), Some(scheme)) = (stats, scheme) else { continue };
            let grid = grid(&scheme, &method.rounding)?;
            match scale::weighted(prepared, joint, &stats[0], &grid, &knobs, state)? {
                Some(scale) => apply(prepared, joint, &scale, state, factors),
                None => continue,
            }
        }
    }
    Ok(())
}
