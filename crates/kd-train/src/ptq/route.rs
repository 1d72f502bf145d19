//! The operations between a site and a layer, on the host.
//!
//! They pick and move numbers, or average them, so that repeating them costs little and, averages apart, changes no
//! bit.

use std::ops::Range;

use kd_core::Feature;
use kd_deploy::Array;
use kd_graph::{Dim, Graph, Op, Unary, ValueId, Window};

use super::layers::Route;
use crate::survey::to_array;

/// What a layer multiplies, from what was seen at its site.
pub(super) fn follow(graph: &Graph, route: &Route, seen: Feature) -> Array {
    let seen = match seen {
        Feature::D1(x) => to_array(x),
        Feature::D2(x) => to_array(x),
        Feature::D3(x) => to_array(x),
        Feature::D4(x) => to_array(x),
    };
    let batch = batch(graph, route.seen, seen.data().len());
    // The input's site is seen before its rows take the model's shape.
    let mut x = reshaped(seen.into_data(), graph.shape(route.seen, batch));
    for &step in &route.steps {
        let node = &graph.nodes[step];
        let shape = graph.shape(node.output, batch);
        x = match &node.op {
            Op::Reshape => reshaped(x.into_data(), shape),
            Op::Permute(order) => permuted(&x, order),
            Op::Slice(ranges) => sliced(&x, ranges),
            Op::Unary(Unary::Relu) => {
                let dims = x.shape().to_vec();
                reshaped(x.into_data().into_iter().map(|x| x.max(0.0)).collect(), dims)
            }
            Op::MaxPool { window, .. } => {
                pooled(&x, window, &shape, &|values, _| values.fold(f32::NEG_INFINITY, f32::max))
            }
            Op::AvgPool { window, count_pad, .. } => {
                let full = window.kernel.iter().product::<usize>();
                pooled(&x, window, &shape, &|values, inside| {
                    values.sum::<f32>() / if *count_pad { full } else { inside } as f32
                })
            }
            Op::AdaptiveAvgPool { .. } => {
                let plane = x.shape()[2..].iter().product::<usize>().max(1);
                let mean = |plane: &[f32]| plane.iter().sum::<f32>() / plane.len() as f32;
                reshaped(x.data().chunks(plane).map(mean).collect(), shape)
            }
            other => unreachable!("no route passes `{}`", other.name()),
        };
    }
    x
}

/// Examples in a batch of which `count` numbers were seen.
fn batch(graph: &Graph, id: ValueId, count: usize) -> usize {
    let of_one: usize = graph.value(id).shape.iter().map(|dim| dim.at(1)).product();
    let batched = graph.value(id).shape.iter().any(|dim| matches!(dim, Dim::Batch(_)));
    if batched { count / of_one.max(1) } else { 1 }
}

fn reshaped(values: Vec<f32>, shape: Vec<usize>) -> Array {
    Array::new(shape, values).expect("the graph's shapes are the model's")
}

/// Elements from one index to the next, by dimension.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for at in (1..shape.len()).rev() {
        strides[at - 1] = strides[at] * shape[at];
    }
    strides
}

/// Numbers of `x` at `offset` + Σ index · stride, for all indices of `shape` in order.
fn picked(x: &[f32], offset: usize, shape: &[usize], strides: &[usize]) -> Vec<f32> {
    let mut places = vec![offset];
    for (&size, &stride) in shape.iter().zip(strides) {
        places =
            places.iter().flat_map(|&place| (0..size).map(move |index| place + index * stride)).collect();
    }
    places.into_iter().map(|place| x[place]).collect()
}

fn permuted(x: &Array, order: &[usize]) -> Array {
    let own = strides(x.shape());
    let shape: Vec<usize> = order.iter().map(|&axis| x.shape()[axis]).collect();
    let strides: Vec<usize> = order.iter().map(|&axis| own[axis]).collect();
    reshaped(picked(x.data(), 0, &shape, &strides), shape)
}

fn sliced(x: &Array, ranges: &[(usize, usize)]) -> Array {
    let strides = strides(x.shape());
    let kept: Vec<Range<usize>> =
        ranges.iter().zip(x.shape()).map(|(&(start, end), &size)| start..end.min(size)).collect();
    let shape: Vec<usize> = kept.iter().map(ExactSizeIterator::len).collect();
    let offset = kept.iter().zip(&strides).map(|(range, stride)| range.start * stride).sum();
    reshaped(picked(x.data(), offset, &shape, &strides), shape)
}

/// What `f` makes of the numbers in a window, given how many lie inside.
type Pool<'a> = &'a dyn Fn(&mut dyn Iterator<Item = f32>, usize) -> f32;

fn pooled(x: &Array, window: &Window, shape: &[usize], f: Pool<'_>) -> Array {
    let plane = Plane::of(x.shape());
    let out = Plane::of(shape);
    let mut values = Vec::with_capacity(shape.iter().product());
    for image in x.data().chunks(plane.height * plane.width) {
        for index in 0..out.height * out.width {
            let (y, x) = (index / out.width, index % out.width);
            let taps = taps(window, plane, y, x);
            values.push(f(
                &mut taps.iter().flatten().map(|&place| image[place]),
                taps.iter().flatten().count(),
            ));
        }
    }
    reshaped(values, shape.to_vec())
}

/// Height and width of `[N, C, H, W]`, or 1 and the length of `[N, C, L]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plane {
    pub(super) height: usize,
    pub(super) width: usize,
}

impl Plane {
    pub(super) fn of(shape: &[usize]) -> Self {
        match shape {
            [_, _, height, width] => Self { height: *height, width: *width },
            [_, _, width] => Self { height: 1, width: *width },
            _ => Self { height: 1, width: 1 },
        }
    }
}

/// The places in a plane that a window reads for its output at (`y`, `x`), kernel row by kernel row; none in the padding.
pub(super) fn taps(window: &Window, plane: Plane, y: usize, x: usize) -> Vec<Option<usize>> {
    // A window over one dimension is one of height 1.
    let last = window.kernel.len() - 1;
    let along = |dim: Option<usize>, at: usize, size: usize| -> Vec<Option<usize>> {
        let Some(dim) = dim else { return vec![Some(0)] };
        let place = |tap: usize| {
            let place =
                (at * window.stride[dim] + tap * window.dilation[dim]).checked_sub(window.padding[dim].0);
            place.filter(|&place| place < size)
        };
        (0..window.kernel[dim]).map(place).collect()
    };
    let rows = along((last == 1).then_some(0), y, plane.height);
    let columns = along(Some(last), x, plane.width);
    let pair = |row: Option<usize>, column: Option<usize>| Some(row? * plane.width + column?);
    rows.iter().flat_map(|&row| columns.iter().map(move |&column| pair(row, column))).collect()
}
