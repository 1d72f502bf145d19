//! A forward pass in f64 in which any element can be absent.
//!
//! It defines what it means to silence units where zeros do not: an absent element is no number that something could be
//! computed from. Sums leave it out; means, norms and softmax are those of the elements that are there; everything
//! else is absent where one of its operands is. It reads the graph alone, and knows neither axes nor how cuts are followed,
//! so that it can disagree with both.

mod functions;
mod layers;
mod partial;
mod places;

use kd_graph::{Graph, Node, Op, Origin, ValueId};

use self::functions::{arithmetic, function, log_softmax, mean, normal, softmax};
use self::layers::{conv, conv_transpose, matmul};
use self::partial::Partial;
use self::places::{adaptive, pool};
use crate::{Cut, Error, Weights};

/// The output of `graph`, shape and values row-major, with everything absent that `cut` removes.
///
/// `weights` are the uncut module's, and `input` a batch as the graph takes it. Scales that a model computes from a width
/// are those of the uncut one.
///
/// # Errors
///
/// [`Error::NotComparable`] for an operation that has no definition here (see [`uncovered`]), for an input of another shape,
/// and for an output that is computed from nothing; [`Error::UnknownPath`] for a parameter that `weights` does not have.
pub fn run_without(
    graph: &Graph,
    weights: &Weights,
    cut: &Cut,
    input: (&[usize], &[f64]),
) -> Result<(Vec<usize>, Vec<f64>), Error> {
    let (given, numbers) = input;
    if let Some(operation) = uncovered(graph) {
        return Err(incomparable(format!("{operation} has no definition with absent elements")));
    }
    let batch = given.first().copied().unwrap_or(1);
    let expected = graph.inputs.first().map(|&id| graph.shape(id, batch)).unwrap_or_default();
    if given != expected || numbers.len() != expected.iter().product::<usize>() {
        return Err(incomparable(format!("the input is {given:?}, the graph's {expected:?}")));
    }
    let mut values: Vec<Partial> = Vec::with_capacity(graph.values.len());
    for (at, value) in graph.values.iter().enumerate() {
        let shape = graph.shape(ValueId(at), batch);
        values.push(match &value.origin {
            Origin::Input(_) => Partial::whole(shape, numbers.to_vec()),
            Origin::Constant(constant) => Partial::whole(shape, constant.iter().map(|&x| x.into()).collect()),
            Origin::Param(index) => {
                let path = &graph.params[*index].path;
                let weight = weights.get(path).filter(|weight| weight.shape == shape);
                let weight = weight.ok_or_else(|| Error::UnknownPath { path: path.clone() })?;
                let mut whole = Partial::whole(shape, weight.values.clone());
                for dim in 0..whole.shape.len() {
                    if let Some(keep) = cut.keep(path, dim) {
                        whole.remove(dim, keep);
                    }
                }
                whole
            }
            Origin::Node(index) => node(&graph.nodes[*index], &values, shape),
        });
    }
    let output = graph.outputs.first().map(|&id| values.swap_remove(id.0));
    match output.filter(|output| output.present.iter().all(|&present| present)) {
        Some(output) => Ok((output.shape, output.values)),
        None => Err(incomparable("an output is computed from nothing".into())),
    }
}

/// The first operation of `graph` that has no definition with absent elements, in words.
pub fn uncovered(graph: &Graph) -> Option<String> {
    let covered = |op: &Op| match op {
        Op::Opaque(_) => false,
        Op::ConvTranspose { groups, .. } => *groups == 1,
        Op::Resize { output, mode } => output.len() == 2 && mode == "nearest",
        _ => true,
    };
    graph.nodes.iter().find(|node| !covered(&node.op)).map(|node| graph.locate(node))
}

fn incomparable(reason: String) -> Error {
    Error::NotComparable { reason }
}

/// The result of an operation, of this shape.
fn node(node: &Node, values: &[Partial], shape: Vec<usize>) -> Partial {
    let x: Vec<&Partial> = node.inputs.iter().map(|id| &values[id.0]).collect();
    match &node.op {
        Op::Conv { window, groups } => conv(&x, window, *groups, shape),
        Op::ConvTranspose { window, .. } => conv_transpose(&x, window, shape),
        Op::Linear => {
            let last = shape.len() - 1;
            let product = matmul(x[0], &x[1].lift(shape.len()), shape);
            match x.get(2) {
                Some(bias) => product.along(last, &[bias], |x, bias| x + bias[0]),
                None => product,
            }
        }
        Op::Matmul => matmul(x[0], x[1], shape),
        Op::BatchNorm { epsilon } => {
            x[0].along(1, &x[1..], |x, it| it[0] * (x - it[2]) / (it[3] + epsilon).sqrt() + it[1])
        }
        Op::LayerNorm { epsilon } => {
            let last = shape.len() - 1;
            let scaled = x[0].lines(last, |line| normal(line, *epsilon));
            let scaled = scaled.along(last, &x[1..2], |x, gamma| x * gamma[0]);
            match x.get(2) {
                Some(beta) => scaled.along(last, &[beta], |x, beta| x + beta[0]),
                None => scaled,
            }
        }
        Op::MaxPool { window, .. } => {
            pool(x[0], window, shape, |taps, _| taps.iter().copied().fold(f64::NEG_INFINITY, f64::max))
        }
        Op::AvgPool { window, count_pad, .. } => pool(x[0], window, shape, |taps, all| {
            taps.iter().sum::<f64>() / if *count_pad { all } else { taps.len() } as f64
        }),
        Op::AdaptiveAvgPool { output } => adaptive(x[0], output, shape),
        Op::Resize { output, .. } => {
            let image = &x[0].shape;
            x[0].gather(shape, |at| {
                let from = |d: usize| at[2 + d] * image[2 + d] / output[d];
                vec![at[0], at[1], from(0), from(1)]
            })
        }
        Op::Binary(binary) => Partial::zip(x[0], x[1], shape, |a, b| arithmetic(*binary, a, b)),
        // Chosen from both, so that a value that is not chosen has to be there too, as it has to be in the module.
        Op::Where => {
            let both = Partial::zip(x[1], x[2], shape.clone(), |_, _| 1.0);
            let (mask, yes, no) = (x[0].stretch(&shape), x[1].stretch(&shape), x[2].stretch(&shape));
            Partial::build(shape, |at| {
                both.get(at)?;
                if mask.get(at)? == 0.0 { no.get(at) } else { yes.get(at) }
            })
        }
        Op::TopK(axis) => {
            let sorted = x[0].lines(*axis, |line| {
                let mut line = line.to_vec();
                line.sort_by(|a, b| b.total_cmp(a));
                line
            });
            sorted.first(*axis, shape)
        }
        Op::Scalar(binary, value) => x[0].map(|x| arithmetic(*binary, x, *value)),
        Op::Unary(unary) => x[0].map(|x| function(*unary, x)),
        Op::Clamp { min, max } => x[0].map(|x| x.max(*min).min(*max)),
        Op::Reshape => Partial { shape, ..x[0].clone() },
        Op::Permute(order) => x[0].gather(shape, |at| {
            let mut from = vec![0; at.len()];
            order.iter().zip(at).for_each(|(&d, &i)| from[d] = i);
            from
        }),
        Op::Expand => x[0].stretch(&shape),
        Op::Softmax(axis) => x[0].lines(*axis, softmax),
        Op::LogSoftmax(axis) => x[0].lines(*axis, log_softmax),
        Op::MeanDim(axis) => x[0].reduce(*axis, mean),
        Op::SumDim(axis) => x[0].reduce(*axis, |line| line.iter().sum()),
        Op::Concat(axis) => Partial::concat(&x, *axis, shape),
        Op::Slice(ranges) => {
            x[0].gather(shape, |at| at.iter().zip(ranges).map(|(i, (start, _))| i + start).collect())
        }
        Op::Embedding => Partial::build(shape, |at| {
            let (column, at) = at.split_last()?;
            let row = x[1].get(at)?;
            let inside = row >= 0.0 && row < x[0].shape[0] as f64;
            inside.then(|| x[0].get(&[row as usize, *column]))?
        }),
        // Refused before.
        Op::Opaque(_) => Partial::empty(shape),
    }
}
