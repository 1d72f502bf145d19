//! What a stage that prunes can do to a network, tried before anything trains, and why one did nothing.
//!
//! A target out of reach, a pin that no parameter has, or limits that keep every axis whole are known from shapes alone.
//! The first two are errors that a run must not find out after hours; the last one is allowed and has to be said, since
//! numbers that did not change look like a cut that costs nothing.

use kd_graph::{Axis, Graph};
use prune_core::{
    Blocks, Channels, Criterion, ElementPlan, Error as Impossible, Gathers, Limits, Ranked, select,
};

use crate::error::Error;
use crate::network::Network;
use crate::prune::gather::Gathered;
use crate::prune::{elements, empty, follow, provable};
use crate::recipe::{PrunePattern, PruneSpec, SparsifySpec};
use crate::sparsify::{Way, When};
use crate::weights;

/// The axes of `network`, whose graph this is, as the stage may cut them: those that it pins are so.
///
/// # Errors
///
/// A pin that nothing matches; no heads, of a stage that takes heads.
pub(crate) fn axes(spec: &PruneSpec, network: &dyn Network, graph: &Graph) -> Result<Vec<Axis>, Error> {
    let mut axes = provable::pinned(graph, follow::axes(network, graph));
    pin(spec, &mut axes)?;
    if let PrunePattern::Heads(_) = spec.pattern {
        prune_core::only_heads(&mut axes)?;
    }
    Ok(axes)
}

fn pin(spec: &PruneSpec, axes: &mut [Axis]) -> Result<(), Error> {
    for pin in &spec.pinned {
        prune_core::pin(axes, pin.as_str(), |path| pin.matches(path))?;
    }
    Ok(())
}

/// What a stage would leave of the lists of a network that has not learned: the same number of elements, if not the same
/// ones. None where it leaves the lists alone. `cut` says whether an earlier stage changes how much what costs.
///
/// # Errors
///
/// A network of which nothing of the kind can go, or not so many; a share of its cost that no cut takes; a pin that nothing
/// matches: what a run would otherwise find out after the training.
pub(crate) fn tried(
    spec: &PruneSpec,
    network: &dyn Network,
    cut: bool,
) -> Result<Option<Box<dyn Network>>, Error> {
    let graph = network.graph()?;
    match spec.pattern {
        PrunePattern::Channels(target) | PrunePattern::Heads(target) => {
            let axes = axes(spec, network, &graph)?;
            let (criterion, stored) = (spec.criterion.as_ref(), weights::scored(network));
            let nothing = Gathered::default();
            let evidence = nothing.evidence(&stored);
            // How much can go is the same for all scores, but for axes on which a criterion finds nothing.
            let score = |axis: &Axis| match criterion.gathers() {
                Gathers::Weights => prune_core::score_group(criterion, &graph, axis, &evidence, spec.group),
                _ => Ok(vec![0.0; axis.size]),
            };
            match prune_core::plan_scoped(&graph, &axes, score, target, spec.limits, spec.scope) {
                Err(Impossible::MacsUnreachable { .. }) if cut => Ok(None),
                planned => planned.map(|_| None).map_err(Error::from),
            }
        }
        PrunePattern::Empty(_) => pin(spec, &mut kd_graph::axes(&graph)).map(|()| None),
        PrunePattern::Layers(_) | PrunePattern::Experts(_) => {
            let Some(what) = spec.pattern.elements() else { return Ok(None) };
            match elements::chosen(spec, what, &graph, |_, _| Ok(0.0)) {
                Ok(plan) => network.without(&plan.cut).map(Some),
                Err(Error::Prune(Impossible::MacsUnreachable { .. })) if cut => Ok(None),
                Err(error) => Err(error),
            }
        }
    }
}

/// Why a stage that takes units out of these axes of `network` took none, and what to change.
pub(crate) fn no_units(spec: &PruneSpec, network: &dyn Network, axes: &[Axis]) -> String {
    let open: Vec<&Axis> = axes.iter().filter(|axis| axis.pinned.is_none() && axis.size > 1).collect();
    if open.is_empty() {
        let pinned = if spec.pinned.is_empty() { "" } else { ", beside `pinned`" };
        return format!("no axis can be cut; `kd graph` on the recipe says what keeps each{pinned}");
    }
    let wanted: Vec<usize> = match spec.pattern {
        PrunePattern::Empty(_) => {
            let (entries, weights) = (network.entries(), weights::masked(network));
            let gone = |axis: &&Axis| {
                empty::units(axis, &entries, &weights).into_iter().filter(|&gone| gone).count()
            };
            let wanted: Vec<usize> = open.iter().map(gone).collect();
            if wanted.iter().all(|&wanted| wanted == 0) {
                return "masks left no head, hidden unit or channel empty; sparsify more, or by a pattern of whole units \
                        such as `hybrid` or `rows`"
                    .into();
            }
            wanted
        }
        PrunePattern::Channels(target) | PrunePattern::Heads(target) => {
            let (Channels::Sparsity(share) | Channels::Macs(share)) = target;
            let share = share.get();
            if share == 0.0 {
                return "the pattern asks for a share of 0; ask for more".into();
            }
            let all: usize = open.iter().map(|axis| axis.size).sum();
            let of = |axis: &&Axis| if spec.scope == Ranked::Local { axis.size } else { all };
            let goes = |axis: &&Axis| select::removed_of(share, of(axis)).min(axis.size);
            let wanted: Vec<usize> = open.iter().map(goes).collect();
            if wanted.iter().all(|&wanted| wanted == 0) {
                let most = open.iter().map(of).max().unwrap_or_default();
                return format!("a share of {share} of at most {most} units is less than one; ask for more");
            }
            wanted
        }
        PrunePattern::Layers(_) | PrunePattern::Experts(_) => unreachable!("whole modules are no units"),
    };
    let sizes: Vec<(usize, usize)> = open.iter().map(|axis| axis.size).zip(wanted).collect();
    kept_by(spec.limits, &sizes)
}

/// Which limit keeps axes whole, each of a size and with so many units to go.
fn kept_by(limits: Limits, axes: &[(usize, usize)]) -> String {
    let mut sizes: Vec<usize> = axes.iter().filter(|axis| axis.1 > 0).map(|axis| axis.0).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let units = listed(&sizes);
    let most = |size: usize| limits.max_share.map_or(size, |share| select::removed_of(share.get(), size));
    if let Some(share) =
        limits.max_share.filter(|_| axes.iter().all(|&(size, goes)| goes.min(most(size)) == 0))
    {
        return format!("`max-share` is {}, less than one of {units} units; raise it", share.get());
    }
    let min = limits.min_units;
    if axes.iter().all(|&(size, goes)| goes.min(most(size)) == 0 || min >= size) {
        return format!("`min-units` is {min} and axes have {units} units; lower it");
    }
    format!(
        "what stays is rounded up to a multiple of `round-to`, {}, which is the whole of {units} units; lower it, or ask \
         for more",
        limits.round_to
    )
}

/// `8`, `8 or 16`, `8, 16 or 32`.
fn listed(sizes: &[usize]) -> String {
    let words: Vec<String> = sizes.iter().map(usize::to_string).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "no".into(),
    }
}

/// Why a stage that takes out whole modules took none, and what to change; none where it took some.
pub(crate) fn no_elements(spec: &PruneSpec, plan: &ElementPlan) -> Option<String> {
    if !plan.cut.elements.is_empty() {
        return None;
    }
    let target = spec.pattern.elements().map(|(_, target)| target);
    Some(match target {
        Some(Blocks::Sparsity(share) | Blocks::Macs(share)) if share.get() == 0.0 => {
            "the pattern asks for a share of 0; ask for more, or write `count = 1`".into()
        }
        Some(Blocks::Sparsity(share)) if share.get() * (plan.candidates as f64) < 1.0 - 1e-9 => format!(
            "a share of {} of the {} that can go is less than one; ask for more, or write `count = 1`",
            share.get(),
            plan.candidates
        ),
        _ => "`min-units` or `max-share` keeps all of them; change it".into(),
    })
}

/// Why a stage that sparsifies masked nothing beyond the `before` elements that earlier stages did, and what to change.
pub(crate) fn no_masks(spec: &SparsifySpec, before: usize) -> String {
    if spec.shape.sparsity() == 0.0 {
        return "the pattern asks for a share of 0; ask for more".into();
    }
    match &spec.when {
        When::Way(Way::SoftMovement(soft)) => format!(
            "no score fell to σ(S) ≤ {}; raise `regularisation`, {}, or `rate`, {}, or give the stage more epochs",
            soft.threshold, soft.regularisation, soft.rate
        ),
        _ if before > 0 => "masks of earlier stages hold as many already; ask for more".into(),
        _ => format!("`{}` is less than one unit of every weight; ask for more", spec.shape),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use prune_core::Share;

    use super::*;

    #[test]
    fn the_limit_that_keeps_axes_whole_is_named() {
        let axes = [(8, 4), (16, 8)];
        let usual = Limits::default();
        for (limits, expected) in [
            (
                Limits { round_to: 16, ..usual },
                "what stays is rounded up to a multiple of `round-to`, 16, which is the whole of 8 or 16 units; lower it, \
                 or ask for more",
            ),
            (Limits { min_units: 16, ..usual }, "`min-units` is 16 and axes have 8 or 16 units; lower it"),
            (
                Limits { max_share: Some(Share::new(0.05).unwrap()), ..usual },
                "`max-share` is 0.05, less than one of 8 or 16 units; raise it",
            ),
        ] {
            assert_eq!(kept_by(limits, &axes), expected);
        }
        assert_eq!(listed(&[8, 16, 32]), "8, 16 or 32");
    }
}
