//! What goes as a whole module: residual blocks, and experts with a layer each.
//!
//! A model that keeps its blocks in a `Vec` loses one by dropping an element, and a model that keeps its experts so loses
//! the router's output with it. No slice of a tensor says that, so that this is a receipt of its own, [`ElementCut`].
//! Which elements a network can do without is read off its graph (`residual`, `experts`) and not off the module; the
//! module only has to drop one when asked by path, as [`SyncShape`](kd_nn::SyncShape) does.

mod experts;
mod plan;
mod prove;
mod residual;

use std::collections::BTreeSet;

use kd_graph::Graph;
use serde::{Deserialize, Serialize};

pub use self::plan::{ElementPlan, plan_elements, score_element};
pub use self::prove::{remove_elements, verify_elements};
use crate::Cut;

/// What the elements of a list are to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementKind {
    /// Residual blocks: the value that went in goes on where the block's result did.
    Layers,
    /// Experts of a mixture: the router loses the output that was theirs.
    Experts,
}

/// An element of a list of modules, and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Element {
    /// Dotted path in the module: `layers.2`.
    pub path: String,
    /// Paths of its parameters and buffers, in the graph's order.
    pub params: Vec<String>,
}

/// Which elements of a module's lists go, by the names that they have before: the receipt, as JSON
/// `{"elements": [{"path": "layers.2", "params": [...]}], "cut": []}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ElementCut {
    /// The elements, in the order in which they were chosen.
    pub elements: Vec<Element>,
    /// What other modules lose with them: outputs of routers.
    pub cut: Cut,
}

impl ElementCut {
    /// The paths from the back, so that taking one out renames none that is still to go.
    pub fn order(&self) -> Vec<&str> {
        let mut paths: Vec<&str> = self.elements.iter().map(|element| element.path.as_str()).collect();
        paths.sort_by_key(|path| std::cmp::Reverse(places(path)));
        paths
    }

    /// What a parameter is called once the elements are gone; `None` where it goes with one.
    pub fn renamed(&self, path: &str) -> Option<String> {
        let gone: BTreeSet<&str> = self.elements.iter().map(|element| element.path.as_str()).collect();
        let (mut before, mut after) = (String::new(), String::new());
        for name in path.split('.') {
            let list = before.clone();
            join(&mut before, name);
            if gone.contains(before.as_str()) {
                return None;
            }
            let lower =
                |index: usize| (0..index).filter(|at| gone.contains(format!("{list}.{at}").as_str())).count();
            match name.parse::<usize>() {
                Ok(index) => join(&mut after, &(index - lower(index)).to_string()),
                Err(_) => join(&mut after, name),
            }
        }
        Some(after)
    }
}

/// An element that can go.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) element: Element,
    /// The parameters that silence it in a network that keeps it.
    pub(crate) silence: Vec<Silence>,
    /// The router's output that is the element's, and the axis that it is a unit of.
    pub(crate) gate: Option<(kd_graph::Axis, usize)>,
}

/// How a parameter is changed for an element to have no part in the result.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Silence {
    /// All of it is zero.
    Zero(String),
    /// The entry of a router's bias is far below every score.
    Shut(String, usize),
}

/// An element that has to stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholeElement {
    /// Its path.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// The elements of this kind that `graph` can do without, in its order, and those that it cannot, with the reason.
pub(crate) fn candidates(graph: &Graph, kind: ElementKind) -> (Vec<Candidate>, Vec<WholeElement>) {
    match kind {
        ElementKind::Layers => {
            let (mut found, mut whole) = residual::candidates(graph);
            // An expert whose result is added to a stream is one too, but does not go without its gate.
            let experts = experts::candidates(graph).0;
            found.retain(|it| {
                let weighed = experts.iter().any(|expert| expert.element == it.element);
                if weighed {
                    let reason = "a router weighs it; write `experts`".into();
                    whole.push(WholeElement { path: it.element.path.clone(), reason });
                }
                !weighed
            });
            (found, whole)
        }
        ElementKind::Experts => experts::candidates(graph),
    }
}

/// All elements of lists that hold parameters, with these.
fn listed(graph: &Graph) -> Vec<Element> {
    let mut found: Vec<Element> = Vec::new();
    for param in &graph.params {
        let names: Vec<&str> = param.path.split('.').collect();
        // A list has a name, and a parameter a name of its own within the element.
        for at in (1..names.len().saturating_sub(1)).filter(|&at| names[at].parse::<usize>().is_ok()) {
            let path = names[..=at].join(".");
            match found.iter_mut().find(|element| element.path == path) {
                Some(element) => element.params.push(param.path.clone()),
                None => found.push(Element { path, params: vec![param.path.clone()] }),
            }
        }
    }
    found
}

/// The list that an element is of.
fn list_of(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(list, _)| list)
}

/// A path as it is ordered: numbers by size, and what is longer behind what it begins with.
fn places(path: &str) -> Vec<(usize, &str)> {
    path.split('.').map(|name| name.parse().map_or((0, name), |index: usize| (index, ""))).collect()
}

fn join(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(paths: &[&str]) -> ElementCut {
        let element = |path: &&str| Element { path: (*path).into(), params: Vec::new() };
        ElementCut { elements: paths.iter().map(element).collect(), cut: Cut::default() }
    }

    #[test]
    fn elements_go_from_the_back() {
        let cut = cut(&["a.2", "a.10", "b.0.c.1", "b.0", "a.9"]);
        assert_eq!(cut.order(), ["b.0.c.1", "b.0", "a.10", "a.9", "a.2"]);
    }

    #[test]
    fn what_stays_moves_up() {
        let cut = cut(&["a.0", "a.2", "b.1.c.0"]);
        let check = |from: &str, to: Option<&str>| assert_eq!(cut.renamed(from).as_deref(), to, "{from}");
        check("a.0.weight", None);
        check("a.1.weight", Some("a.0.weight"));
        check("a.12.weight", Some("a.10.weight"));
        check("b.1.c.1.bias", Some("b.1.c.0.bias"));
        check("b.2.c.1.bias", Some("b.2.c.1.bias"));
        check("stem.weight", Some("stem.weight"));
    }
}
