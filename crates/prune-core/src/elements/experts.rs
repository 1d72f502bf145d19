//! Elements that are experts: the results of a list's elements, each weighted with a unit of its own of one router.
//!
//! The graph tells that a router's outputs are taken one by one, and says so at their axis. Which output belongs to which
//! expert is in the program; the order of the list is what is tried, and comparing the networks shows whether it is right.

use kd_graph::{Axis, Graph, TAKEN_ONE_BY_ONE, axes};

use super::{Candidate, Element, Silence, WholeElement, list_of, listed, residual};

/// The elements of lists that have a router.
pub(super) fn candidates(graph: &Graph) -> (Vec<Candidate>, Vec<WholeElement>) {
    let routers: Vec<Axis> =
        axes(graph).into_iter().filter(|axis| axis.pinned.as_deref() == Some(TAKEN_ONE_BY_ONE)).collect();
    let all = listed(graph);
    let (mut found, mut whole) = (Vec::new(), Vec::new());
    for element in &all {
        let list = list_of(&element.path);
        let size = all.iter().filter(|other| list_of(&other.path) == list).count();
        match candidate(graph, element, size, &routers) {
            Ok(candidate) => found.push(candidate),
            Err(reason) => whole.push(WholeElement { path: element.path.clone(), reason }),
        }
    }
    (found, whole)
}

fn candidate(graph: &Graph, element: &Element, size: usize, routers: &[Axis]) -> Result<Candidate, String> {
    let unit = element.path.rsplit('.').next().and_then(|index| index.parse::<usize>().ok());
    let unit = unit.filter(|&unit| unit < size).ok_or("its list has elements without parameters")?;
    // A router stands beside the list, and not within another expert.
    let beside = list_of(list_of(&element.path));
    let list = format!("{}.", list_of(&element.path));
    let near = |path: &str| {
        (beside.is_empty() || path.starts_with(&format!("{beside}."))) && !path.starts_with(&list)
    };
    let fits = |axis: &&Axis| axis.size == size && axis.members.iter().all(|member| near(&member.path));
    let axis = match routers.iter().filter(fits).collect::<Vec<_>>().as_slice() {
        [axis] => *axis,
        [] if residual::without(graph, &element.params).is_ok() => {
            return Err("it is a residual block, which no router weighs; write `layers`".into());
        }
        [] => return Err(format!("no router with {size} outputs, taken one by one, stands beside its list")),
        several => {
            return Err(format!("{} routers with {size} outputs stand beside its list", several.len()));
        }
    };
    // Numbers that are added to the scores, one each.
    let bias = axis.members.iter().find(|member| {
        let shape = graph.params.iter().find(|param| param.path == member.path).map(|param| &param.shape);
        shape.is_some_and(|shape| shape.len() == 1) && member.index[unit] == [unit]
    });
    let bias =
        bias.ok_or("its router has no bias, by which it could be shut to prove that nothing else changes")?;
    Ok(Candidate {
        element: element.clone(),
        silence: vec![Silence::Shut(bias.path.clone(), unit)],
        gate: Some((axis.clone(), unit)),
    })
}
