//! A graph as a picture: DOT for Graphviz, and SVG by itself.
//!
//! Parameters are part of the operation that reads them, so that a picture has a box an operation and an arrow an
//! activation. The SVG is one column in the order of the forward pass; what skips operations bends around them, the further
//! the more it skips, so that a residual connection is seen as one.

use std::fmt::Write;

use crate::cost::{activation_bytes, node_macs, node_params};
use crate::display::Shape;
use crate::graph::{Graph, Node, Origin, ValueId};

/// A box: what it says, one line after another, and the boxes whose results it reads.
struct Drawn {
    lines: Vec<String>,
    /// Index of a box, and the shape of what comes from there.
    reads: Vec<(usize, String)>,
    /// Whether something is paid for here.
    costs: bool,
}

/// The graph in the language of Graphviz: `dot -Tsvg`.
pub fn dot(graph: &Graph) -> String {
    let mut out = String::from(
        "digraph {\n  node [shape=box, fontname=\"monospace\", fontsize=10];\n  edge [fontname=\"monospace\", fontsize=9];\n",
    );
    for (index, drawn) in boxes(graph).iter().enumerate() {
        let label: Vec<String> =
            drawn.lines.iter().map(|line| line.replace('\\', "\\\\").replace('"', "\\\"")).collect();
        let fill = if drawn.costs { ", style=filled, fillcolor=\"#dce8f5\"" } else { "" };
        // Writing to a text cannot fail.
        let _ = writeln!(out, "  n{index} [label=\"{}\"{fill}];", label.join("\\n"));
        for (from, shape) in &drawn.reads {
            let _ = writeln!(out, "  n{from} -> n{index} [label=\"{shape}\"];");
        }
    }
    out + "}\n"
}

const WIDTH: usize = 360;
const LINE: usize = 14;
const GAP: usize = 30;
/// Room for what bends around boxes, on the right.
const SIDE: usize = 40;

/// The graph as an SVG picture.
pub fn svg(graph: &Graph) -> String {
    let boxes = boxes(graph);
    let mut tops = Vec::new();
    let mut y = GAP;
    for drawn in &boxes {
        tops.push(y);
        y += height(drawn) + GAP;
    }
    let lanes = lanes(&boxes);
    let deepest = lanes.iter().flatten().flatten().map(|lane| lane + 1).max().unwrap_or(0);
    let width = WIDTH + 2 * GAP + SIDE * deepest;
    let mut body = String::new();
    for (index, drawn) in boxes.iter().enumerate() {
        for ((from, shape), lane) in drawn.reads.iter().zip(&lanes[index]) {
            let (start, end) = (tops[*from] + height(&boxes[*from]), tops[index]);
            let center = GAP + WIDTH / 2;
            let path = match lane {
                None => format!("M {center} {start} L {center} {end}"),
                Some(lane) => {
                    let (edge, out) = (GAP + WIDTH, GAP + WIDTH + SIDE * (lane + 1));
                    let (start, end) = (start - LINE / 2, end + LINE / 2);
                    format!("M {edge} {start} C {out} {start} {out} {end} {edge} {end}")
                }
            };
            let _ = writeln!(body, "<path d=\"{path}\"><title>{}</title></path>", escaped(shape));
            if lane.is_none() {
                let (x, y) = (center + 6, end - GAP / 3);
                let _ = writeln!(body, "<text class=\"shape\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(shape));
            }
        }
        let class = if drawn.costs { "paid" } else { "free" };
        let (x, y, height) = (GAP, tops[index], height(drawn));
        let _ = writeln!(
            body,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{height}\"/>"
        );
        for (at, line) in drawn.lines.iter().enumerate() {
            let (x, y) = (GAP + 8, y + (at + 1) * LINE);
            let _ = writeln!(body, "<text x=\"{x}\" y=\"{y}\">{}</text>", escaped(line));
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{y}\" font-family=\"monospace\" font-size=\"11\">\n\
         <style>rect{{stroke:#555;rx:3}} .paid{{fill:#dce8f5}} .free{{fill:#fff}} path{{fill:none;stroke:#888;marker-end:url(#a)}} .shape{{fill:#777;font-size:9px}}</style>\n\
         <defs><marker id=\"a\" viewBox=\"0 0 6 6\" refX=\"6\" refY=\"3\" markerWidth=\"6\" markerHeight=\"6\" orient=\"auto\"><path d=\"M0 0 6 3 0 6z\" style=\"fill:#888;stroke:none;marker-end:none\"/></marker></defs>\n\
         <rect class=\"free\" width=\"100%\" height=\"100%\" style=\"stroke:none\"/>\n{body}</svg>\n"
    )
}

fn height(drawn: &Drawn) -> usize {
    drawn.lines.len() * LINE + LINE / 2
}

/// For each arrow of each box, how far out it bends: not at all from the box before, else past all that it crosses.
fn lanes(boxes: &[Drawn]) -> Vec<Vec<Option<usize>>> {
    let mut taken: Vec<(usize, usize, usize)> = Vec::new();
    let lane = |from: usize, to: usize, taken: &mut Vec<(usize, usize, usize)>| {
        if from + 1 == to {
            return None;
        }
        let free = |lane: usize, taken: &[(usize, usize, usize)]| {
            taken.iter().all(|&(of, start, end)| of != lane || end <= from || to <= start)
        };
        let lane = (0..).find(|&lane| free(lane, taken)).unwrap_or(0);
        taken.push((lane, from, to));
        Some(lane)
    };
    boxes
        .iter()
        .enumerate()
        .map(|(to, drawn)| drawn.reads.iter().map(|(from, _)| lane(*from, to, &mut taken)).collect())
        .collect()
}

fn boxes(graph: &Graph) -> Vec<Drawn> {
    let inputs = graph.inputs.len();
    let at = |id: ValueId| match graph.value(id).origin {
        Origin::Input(_) => graph.inputs.iter().position(|&input| input == id),
        Origin::Node(node) => Some(inputs + node),
        Origin::Param(_) | Origin::Constant(_) => None,
    };
    let mut boxes: Vec<Drawn> = graph
        .inputs
        .iter()
        .map(|&id| Drawn {
            lines: vec![format!("input {}", shape(graph, id))],
            reads: Vec::new(),
            costs: false,
        })
        .collect();
    for (index, node) in graph.nodes.iter().enumerate() {
        let reads = node.inputs.iter().filter_map(|&id| Some((at(id)?, shape(graph, id)))).collect();
        boxes.push(Drawn { lines: lines(graph, index, node), reads, costs: node_macs(graph, node) > 0 });
    }
    for &id in &graph.outputs {
        let reads = at(id).map(|from| (from, shape(graph, id))).into_iter().collect();
        boxes.push(Drawn { lines: vec![format!("output {}", shape(graph, id))], reads, costs: false });
    }
    boxes
}

fn lines(graph: &Graph, index: usize, node: &Node) -> Vec<String> {
    let sites: Vec<&str> =
        graph.sites.iter().filter(|(_, id)| *id == node.output).map(|(site, _)| site.as_str()).collect();
    let name = format!("{} %{}", node.op.name(), node.output.0);
    let mut lines = vec![match sites.is_empty() {
        true => name,
        false => format!("{name} @{}", sites.join(" @")),
    }];
    let paths: Vec<&str> =
        node.inputs.iter().filter_map(|&id| graph.param(id)).map(|param| param.path.as_str()).collect();
    if let Some(first) = paths.first() {
        let more = if paths.len() > 1 { format!(" and {} more", paths.len() - 1) } else { String::new() };
        lines.push(format!("{first}{more}"));
    }
    let (macs, params) = (node_macs(graph, node), node_params(graph, index));
    let bytes = activation_bytes(graph, node);
    if macs > 0 || params > 0 {
        lines.push(format!("{macs} MACs, {params} parameters, {bytes} bytes out"));
    }
    lines
}

fn shape(graph: &Graph, id: ValueId) -> String {
    Shape(graph, id).to_string()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
