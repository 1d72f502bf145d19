//! Which elements go, one after the other, and what is left.

use std::collections::BTreeMap;

use kd_graph::{Graph, Param, macs_with};

use super::{
    Candidate, Element, ElementCut, ElementKind, WholeElement, candidates, list_of, places, residual,
};
use crate::roles::{Role, uses};
use crate::{Blocks, Cost, Criterion, Cut, Error, Inputs, Limits, Matrix, Unit, Weights, cut_of, select};

/// Elements to take out, and why these.
#[derive(Debug, Clone, PartialEq)]
pub struct ElementPlan {
    /// The receipt.
    pub cut: ElementCut,
    /// The score of each element of it when it was chosen.
    pub scores: Vec<f64>,
    /// How many could have gone.
    pub candidates: usize,
    /// Elements of lists that have to stay, with the reason.
    pub whole: Vec<WholeElement>,
    /// Cost with all of them.
    pub before: Cost,
    /// Cost without those that go.
    pub after: Cost,
}

/// Plans to take elements of this kind out of `graph`, one at a time, that with the lowest score first; of equal scores, the
/// last one.
///
/// `score` is asked for each element that is left, before each choice, with the receipt of it and all that was chosen
/// before. Of every list at
/// least `limits.min_units` elements stay, and no more than `limits.max_share` go; `limits.round_to` says nothing about
/// elements. An element that has a parameter which is `pinned` stays.
///
/// # Errors
///
/// [`Error::NoElements`] where none can go, [`Error::TooFewElements`] and [`Error::MacsUnreachable`] where too few can,
/// [`Error::ScoreNaN`], and what `score` returns.
pub fn plan_elements<E: From<Error>>(
    graph: &Graph,
    kind: ElementKind,
    mut score: impl FnMut(&Element, &ElementCut) -> Result<f64, E>,
    target: Blocks,
    limits: Limits,
    pinned: impl Fn(&str) -> bool,
) -> Result<ElementPlan, E> {
    let (mut open, others) = candidates(graph, kind);
    let mut whole = Vec::new();
    open.retain(|candidate| match candidate.element.params.iter().find(|path| pinned(path)) {
        Some(path) => {
            let reason = format!("`{path}` is pinned");
            whole.push(WholeElement { path: candidate.element.path.clone(), reason });
            false
        }
        None => true,
    });
    // What the request itself keeps comes first.
    whole.extend(others);
    let count = open.len();
    if count == 0 {
        let reasons = whole.into_iter().map(|it| format!("`{}`: {}", it.path, it.reason)).collect();
        return Err(Error::NoElements { kind, reasons }.into());
    }
    let before = Cost::of(graph);
    let mut room = room(graph, limits);
    let (mut chosen, mut cut, mut scores) = (Vec::<Candidate>::new(), ElementCut::default(), Vec::new());
    let mut after = before;
    let enough = |chosen: usize, after: Cost| match target {
        Blocks::Count(wanted) => chosen >= wanted.get(),
        Blocks::Sparsity(share) => chosen >= select::removed_of(share.get(), count),
        Blocks::Macs(share) => {
            before.macs - after.macs >= (share.get() * before.macs as f64 - 1e-9).ceil() as u64
        }
    };
    while !enough(chosen.len(), after) {
        open.retain(|candidate| room.get(list_of(&candidate.element.path)).is_some_and(|&room| room > 0));
        let asked = open.iter().map(|candidate| {
            let with: Vec<&Candidate> = chosen.iter().chain([candidate]).collect();
            score(&candidate.element, &receipt(graph, &with)?)
        });
        let asked = asked.collect::<Result<Vec<f64>, E>>()?;
        let Some(&first) = select::order(&asked)?.first() else { break };
        let candidate = open.remove(first);
        if let Some(room) = room.get_mut(list_of(&candidate.element.path)) {
            *room -= 1;
        }
        scores.push(asked[first]);
        chosen.push(candidate);
        let all: Vec<&Candidate> = chosen.iter().collect();
        cut = receipt(graph, &all)?;
        after = Prediction::of(graph, &all, &cut)?.cost;
    }
    match target {
        Blocks::Count(wanted) if !enough(chosen.len(), after) => {
            Err(Error::TooFewElements { kind, wanted: wanted.get(), most: chosen.len() }.into())
        }
        Blocks::Macs(share) if !enough(chosen.len(), after) => {
            let (target, most) = (share.get(), before.macs - after.macs);
            Err(Error::MacsUnreachable { target, before: before.macs, most, whole: 0 }.into())
        }
        _ => Ok(ElementPlan { cut, scores, candidates: count, whole, before, after }),
    }
}

/// How many elements of each list may go.
fn room(graph: &Graph, limits: Limits) -> BTreeMap<String, usize> {
    let mut sizes = BTreeMap::<String, usize>::new();
    for element in super::listed(graph) {
        *sizes.entry(list_of(&element.path).to_owned()).or_default() += 1;
    }
    for size in sizes.values_mut() {
        let most = limits.max_share.map_or(*size, |share| select::removed_of(share.get(), *size));
        *size = most.min(size.saturating_sub(limits.min_units));
    }
    sizes
}

/// The receipt of these elements.
fn receipt(graph: &Graph, chosen: &[&Candidate]) -> Result<ElementCut, Error> {
    let elements = chosen.iter().map(|candidate| candidate.element.clone()).collect();
    let mut gates: Vec<(&kd_graph::Axis, Vec<usize>)> = Vec::new();
    for (axis, unit) in chosen.iter().filter_map(|candidate| candidate.gate.as_ref()) {
        match gates.iter_mut().find(|(other, _)| *other == axis) {
            Some((_, keep)) => keep.retain(|it| it != unit),
            None => gates.push((axis, (0..axis.size).filter(|it| it != unit).collect())),
        }
    }
    let cut = cut_of(graph, gates.iter().map(|(axis, keep)| (*axis, keep.as_slice())))?;
    Ok(ElementCut { elements, cut })
}

/// What a network is once elements are gone.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Prediction {
    /// Shapes of the parameters and buffers that are left, by the names that they have then.
    shapes: BTreeMap<String, Vec<usize>>,
    pub(super) cost: Cost,
}

impl Prediction {
    pub(super) fn of(graph: &Graph, chosen: &[&Candidate], cut: &ElementCut) -> Result<Self, Error> {
        let mut left = graph.clone();
        for candidate in chosen.iter().filter(|candidate| candidate.gate.is_none()) {
            let gone = || Error::NoElement { path: candidate.element.path.clone() };
            left = residual::without(&left, &candidate.element.params).map_err(|_| gone())?.0;
        }
        // Without elements, a weight that an expert's operations read is none.
        let shape = |param: &Param| match cut.renamed(&param.path) {
            Some(_) => shape_after(param, &cut.cut),
            None => vec![0],
        };
        let macs = macs_with(&left, shape);
        let (mut shapes, mut params) = (BTreeMap::new(), 0);
        for param in &graph.params {
            let Some(name) = cut.renamed(&param.path) else { continue };
            let shape = shape_after(param, &cut.cut);
            if !param.buffer {
                params += shape.iter().map(|&size| size as u64).product::<u64>();
            }
            shapes.insert(name, shape);
        }
        Ok(Self { shapes, cost: Cost { macs, params } })
    }

    /// Holds a recording of the network without the elements against this.
    pub(super) fn check(&self, found: &Graph) -> Result<(), Error> {
        let differs =
            |what: String, planned: String, found: String| Err(Error::NotAsPlanned { what, planned, found });
        let shapes: BTreeMap<&String, &Vec<usize>> =
            found.params.iter().map(|param| (&param.path, &param.shape)).collect();
        let absent =
            |shape: Option<&Vec<usize>>| shape.map_or("absent".to_owned(), |shape| format!("{shape:?}"));
        for path in self.shapes.keys().chain(shapes.keys().copied()) {
            let (planned, found) = (self.shapes.get(path), shapes.get(path).copied());
            if planned != found {
                return differs(format!("shape of `{path}`"), absent(planned), absent(found));
            }
        }
        let cost = Cost::of(found);
        for (what, planned, found) in [
            ("multiply-accumulates", self.cost.macs, cost.macs),
            ("trainable elements", self.cost.params, cost.params),
        ] {
            if planned != found {
                return differs(what.into(), planned.to_string(), found.to_string());
            }
        }
        Ok(())
    }
}

fn shape_after(param: &Param, cut: &Cut) -> Vec<usize> {
    let dims = param.shape.iter().enumerate();
    dims.map(|(dim, &size)| cut.keep(&param.path, dim).map_or(size, <[usize]>::len)).collect()
}

/// What speaks for an element by its weights alone: `Σ criterion(channel) / number of elements`, the sum over the output
/// channels of all weights in it, so that wide and narrow elements can be ranked together.
///
/// # Errors
///
/// [`Error::Unit`] for a criterion whose knobs ask for elements, [`Error::Unwritten`] for an element without a weight that
/// writes anything, and what the criterion says.
pub fn score_element(
    criterion: &dyn Criterion,
    graph: &Graph,
    element: &Element,
    weights: &Weights,
) -> Result<f64, Error> {
    if criterion.unit() == Some(Unit::Element) {
        return Err(Error::Unit { criterion: criterion.name().into(), unit: Unit::Channel });
    }
    let mut writes: Vec<(String, usize)> = uses(graph)
        .into_iter()
        .filter(|it| it.role == Role::Weight && element.params.contains(&it.path))
        .map(|it| (it.path, it.dim))
        .collect();
    writes.sort_by(|a, b| places(&a.0).cmp(&places(&b.0)).then(a.1.cmp(&b.1)));
    writes.dedup_by(|a, b| a.0 == b.0);
    let (mut sum, mut count) = (0.0, 0);
    for (path, dim) in &writes {
        let Some(weight) = weights.get(path) else { continue };
        let matrix = Matrix::from_weight(path, &weight.shape, &weight.values, *dim)?;
        sum += criterion.scores(&Inputs::new(&matrix), Unit::Channel)?.iter().sum::<f64>();
        count += weight.values.len();
    }
    match count {
        0 => Err(Error::Unwritten { path: element.path.clone(), criterion: criterion.name().into() }),
        count => Ok(sum / count as f64),
    }
}
