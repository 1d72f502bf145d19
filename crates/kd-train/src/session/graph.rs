//! The graph of a recipe's model, with what may be removed from it.

use std::fmt;

use kd_graph::{Axis, Graph, activation_bytes, blocks, macs, node_macs, node_params, params};

use crate::device;
use crate::error::Error;
use crate::model::Task;
use crate::prune::follow;
use crate::recipe::{Recipe, Role, Source};
use crate::registry::Registry;
use crate::run::{Env, build, load_data};

/// A model's graph and its axes; plain numbers were tried.
#[derive(Debug, Clone)]
pub struct ModelGraph {
    /// Registered name of the model.
    pub model: String,
    /// What it computes.
    pub graph: Graph,
    /// What can go together, and what cannot go.
    pub axes: Vec<Axis>,
}

/// Captures the teacher or the student of a recipe, as it is before any stage.
///
/// A model needs the shape of an example and the number of classes; data are read only where the recipe and the data set's
/// source do not say these.
///
/// # Errors
///
/// Problems of the recipe; a model or a checkpoint that does not fit; data that is missing, where it has to be read.
pub fn graph(
    source: &Source,
    overrides: &[String],
    role: Role,
    env: &Env,
    registry: &Registry,
) -> Result<ModelGraph, Error> {
    let recipe = Recipe::parse(source, overrides, registry).map_err(Error::Problems)?;
    let task = match recipe.data.source.form() {
        Some(form) => Task { input: form.shape, classes: form.classes },
        None => load_data(&recipe, recipe.seed, env, &source.folder)?.task(),
    };
    let (spec, name) = match role {
        Role::Teacher => (&recipe.teacher, "teacher"),
        Role::Student => (&recipe.student, "student"),
    };
    let device = device::open(&recipe.device.name)?;
    let network = build(spec, name, recipe.seed, &task, &device, &source.folder)?;
    let graph = network.graph()?;
    let axes = follow::axes(network.as_ref(), &graph);
    Ok(ModelGraph { model: network.model().to_owned(), graph, axes })
}

impl ModelGraph {
    /// In the language of Graphviz.
    pub fn dot(&self) -> String {
        kd_graph::dot(&self.graph)
    }

    /// As a picture.
    pub fn svg(&self) -> String {
        kd_graph::svg(&self.graph)
    }
}

impl fmt::Display for ModelGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let graph = &self.graph;
        writeln!(f, "{}", graph.to_string().trim_end())?;
        writeln!(f, "\n{:>12} {:>10} {:>12}  operation", "MACs", "parameters", "bytes out")?;
        for (index, node) in graph.nodes.iter().enumerate() {
            let (macs, params, bytes) =
                (node_macs(graph, node), node_params(graph, index), activation_bytes(graph, node));
            let path = node.inputs.iter().find_map(|&id| graph.param(id)).map(|param| param.path.as_str());
            let name = format!("{} {}", node.op.name(), path.unwrap_or_default());
            writeln!(f, "{macs:>12} {params:>10} {bytes:>12}  {}", name.trim_end())?;
        }
        writeln!(f, "{:>12} {:>10} {:>12}  in all", macs(graph), params(graph), "")?;
        writeln!(f, "\nSizes of an example")?;
        for input in &graph.input_dims {
            match &input.fixed {
                None => writeln!(f, "  {} along dimension {}  the data's", input.size, input.dim)?,
                Some(why) => {
                    writeln!(f, "  {} along dimension {}  the model's: {why}", input.size, input.dim)?
                }
            }
        }
        writeln!(f, "\nUnits that go together")?;
        for axis in &self.axes {
            let places: Vec<String> =
                axis.members.iter().map(|member| format!("{}:{}", member.path, member.dim)).collect();
            write!(f, "  {} {}  {}", axis.size, axis.kind, places.join(" "))?;
            if let Some(reason) = &axis.pinned {
                write!(f, "  stay: {reason}")?;
            }
            writeln!(f)?;
            if !axis.across.is_empty() {
                writeln!(f, "      across: {}", axis.across.join(", "))?;
            }
        }
        let blocks = blocks(graph);
        if !blocks.is_empty() {
            writeln!(f, "\nResidual blocks")?;
        }
        for block in blocks {
            let less = macs(graph) - macs(&block.removed_from(graph));
            let what = match (block.params.first(), block.params.len()) {
                (Some(first), 1) => first.clone(),
                (Some(first), more) => format!("{first} and {} more", more - 1),
                (None, _) => "no parameters".into(),
            };
            writeln!(f, "  %{}  {less} MACs  {what}", graph.nodes[block.node].output.0)?;
        }
        Ok(())
    }
}
