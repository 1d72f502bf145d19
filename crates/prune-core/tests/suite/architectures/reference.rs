//! A forward pass in f64 in which any element can be absent.
//!
//! It defines what it means to silence units: an absent element is no number that something could be computed from.
//! Sums leave it out; means, norms and softmax are those of the elements that are there; everything else
//! is absent where one of its operands is. It reads the graph alone, and knows neither axes nor how cuts are followed.

use std::collections::BTreeMap;

use kd_graph::{Binary, Graph, Node, Op, Origin, Unary, ValueId, Window};
use prune_core::{Cut, Weights};

/// A tensor, row-major; what is absent has the value 0.
#[derive(Debug, Clone)]
pub(super) struct Partial {
    shape: Vec<usize>,
    values: Vec<f64>,
    present: Vec<bool>,
}

/// The output of `graph` with everything absent that `cut` removes, as shape and values.
///
/// # Panics
///
/// Where the graph has an operation that is not understood, or an output is absent.
pub(super) fn run(
    graph: &Graph,
    weights: &Weights,
    cut: &Cut,
    input: (Vec<usize>, Vec<f64>),
) -> (Vec<usize>, Vec<f64>) {
    let batch = input.0[0];
    let mut values: BTreeMap<ValueId, Partial> = BTreeMap::new();
    for (at, value) in graph.values.iter().enumerate() {
        let shape = graph.shape(ValueId(at), batch);
        let partial = match &value.origin {
            Origin::Input(_) => Partial::whole(input.0.clone(), input.1.clone()),
            Origin::Constant(constant) => Partial::whole(shape, constant.iter().map(|&x| x.into()).collect()),
            Origin::Param(index) => {
                let path = &graph.params[*index].path;
                let mut whole = Partial::whole(shape, weights.get(path).unwrap().values.clone());
                for dim in 0..whole.shape.len() {
                    if let Some(keep) = cut.keep(path, dim) {
                        whole.remove(dim, keep);
                    }
                }
                whole
            }
            Origin::Node(index) => node(graph, &graph.nodes[*index], &values, shape),
        };
        assert_eq!(partial.values.len(), partial.shape.iter().product::<usize>());
        values.insert(ValueId(at), partial);
    }
    let output = values.remove(&graph.outputs[0]).unwrap();
    assert!(output.present.iter().all(|&present| present), "an output is computed from nothing");
    (output.shape, output.values)
}

fn node(graph: &Graph, node: &Node, values: &BTreeMap<ValueId, Partial>, shape: Vec<usize>) -> Partial {
    let x: Vec<&Partial> = node.inputs.iter().map(|id| &values[id]).collect();
    match &node.op {
        Op::Conv { window, groups } => conv(&x, window, *groups, shape),
        Op::ConvTranspose { window, groups: 1, .. } => conv_transpose(&x, window, shape),
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
            let normal = x[0].lines(last, |line| {
                let mean = mean(line);
                let variance = self::mean(&line.iter().map(|x| (x - mean).powi(2)).collect::<Vec<_>>());
                line.iter().map(|x| (x - mean) / (variance + epsilon).sqrt()).collect()
            });
            let scaled = normal.along(last, &x[1..2], |x, gamma| x * gamma[0]);
            match x.get(2) {
                Some(beta) => scaled.along(last, &[beta], |x, beta| x + beta[0]),
                None => scaled,
            }
        }
        Op::MaxPool { window, .. } => {
            pool(x[0], window, shape, |taps, _| taps.iter().copied().fold(f64::MIN, f64::max))
        }
        Op::AvgPool { window, count_pad, .. } => pool(x[0], window, shape, |taps, all| {
            taps.iter().sum::<f64>() / if *count_pad { all } else { taps.len() } as f64
        }),
        Op::AdaptiveAvgPool { output } => adaptive(x[0], output, shape),
        Op::Resize { output, mode } if mode == "nearest" => {
            let (image, rows) = (&x[0].shape, output);
            x[0].gather(shape, |at| {
                let from = |d: usize| at[2 + d] * image[2 + d] / rows[d];
                vec![at[0], at[1], from(0), from(1)]
            })
        }
        Op::Binary(binary) => Partial::zip(x[0], x[1], shape, |a, b| arithmetic(*binary, a, b)),
        Op::Where => {
            let chosen =
                Partial::zip(x[0], x[1], shape.clone(), |mask, yes| if mask == 0.0 { f64::NAN } else { yes });
            Partial::zip(&chosen, x[2], shape, |yes, no| if yes.is_nan() { no } else { yes })
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
        Op::Clamp { min, max } => x[0].map(|x| x.clamp(*min, *max)),
        Op::Reshape => Partial { shape, ..x[0].clone() },
        Op::Permute(order) => x[0].gather(shape, |at| {
            let mut from = vec![0; at.len()];
            order.iter().zip(at).for_each(|(&d, &i)| from[d] = i);
            from
        }),
        Op::Expand => x[0].lift(shape.len()).broadcast(shape),
        Op::Softmax(axis) => x[0].lines(*axis, softmax),
        Op::LogSoftmax(axis) => x[0].lines(*axis, |line| softmax(line).into_iter().map(f64::ln).collect()),
        Op::MeanDim(axis) => x[0].reduce(*axis, mean),
        Op::SumDim(axis) => x[0].reduce(*axis, |line| line.iter().sum()),
        Op::Concat(axis) => concat(&x, *axis, shape),
        Op::Slice(ranges) => {
            x[0].gather(shape, |at| at.iter().zip(ranges).map(|(i, (start, _))| i + start).collect())
        }
        Op::Embedding => embedding(x[0], x[1], shape),
        op => panic!("{} has no reference: {}", graph.describe(node), op.name()),
    }
}

impl Partial {
    fn whole(shape: Vec<usize>, values: Vec<f64>) -> Self {
        let present = vec![true; values.len()];
        Self { shape, values, present }
    }

    fn empty(shape: Vec<usize>) -> Self {
        let count = shape.iter().product();
        Self { shape, values: vec![0.0; count], present: vec![false; count] }
    }

    /// Every element from its index.
    fn build(shape: Vec<usize>, at: impl Fn(&[usize]) -> Option<f64>) -> Self {
        let mut out = Self::empty(shape);
        for i in 0..out.values.len() {
            if let Some(value) = at(&unravel(i, &out.shape)) {
                (out.values[i], out.present[i]) = (value, true);
            }
        }
        out
    }

    fn get(&self, at: &[usize]) -> Option<f64> {
        let i = at.iter().zip(&self.shape).fold(0, |i, (at, size)| i * size + at);
        self.present[i].then(|| self.values[i])
    }

    fn remove(&mut self, dim: usize, keep: &[usize]) {
        for i in 0..self.values.len() {
            if !keep.contains(&unravel(i, &self.shape)[dim]) {
                (self.values[i], self.present[i]) = (0.0, false);
            }
        }
    }

    fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self::build(self.shape.clone(), |at| self.get(at).map(&f))
    }

    fn zip(a: &Self, b: &Self, shape: Vec<usize>, f: impl Fn(f64, f64) -> f64) -> Self {
        let (a, b) = (a.lift(shape.len()), b.lift(shape.len()));
        Self::build(shape, |at| Some(f(a.get(&a.wrap(at))?, b.get(&b.wrap(at))?)))
    }

    /// With numbers that belong to a dimension.
    fn along(&self, dim: usize, vectors: &[&Partial], f: impl Fn(f64, &[f64]) -> f64) -> Self {
        Self::build(self.shape.clone(), |at| {
            let own: Option<Vec<f64>> = vectors.iter().map(|vector| vector.get(&[at[dim]])).collect();
            Some(f(self.get(at)?, &own?))
        })
    }

    /// Leading dimensions of size one up to this rank.
    fn lift(&self, rank: usize) -> Self {
        let mut shape = vec![1; rank - self.shape.len()];
        shape.extend(&self.shape);
        Self { shape, ..self.clone() }
    }

    /// An index with 0 where the size is one.
    fn wrap(&self, at: &[usize]) -> Vec<usize> {
        at.iter().zip(&self.shape).map(|(&at, &size)| if size == 1 { 0 } else { at }).collect()
    }

    fn broadcast(&self, shape: Vec<usize>) -> Self {
        Self::build(shape, |at| self.get(&self.wrap(at)))
    }

    fn gather(&self, shape: Vec<usize>, from: impl Fn(&[usize]) -> Vec<usize>) -> Self {
        Self::build(shape, |at| self.get(&from(at)))
    }

    /// A function of what is there of each line along a dimension, to as many numbers.
    fn lines(&self, axis: usize, f: impl Fn(&[f64]) -> Vec<f64>) -> Self {
        let mut out = self.clone();
        let inner: usize = self.shape[axis + 1..].iter().product();
        for start in (0..self.values.len()).filter(|i| (i / inner).is_multiple_of(self.shape[axis])) {
            let line = (0..self.shape[axis]).map(|i| start + i * inner);
            let line: Vec<usize> = line.filter(|&i| self.present[i]).collect();
            let values: Vec<f64> = line.iter().map(|&i| self.values[i]).collect();
            if !line.is_empty() {
                line.iter().zip(f(&values)).for_each(|(&i, value)| out.values[i] = value);
            }
        }
        out
    }

    /// As many elements along a dimension as `shape` has there, of those that are there.
    fn first(&self, axis: usize, shape: Vec<usize>) -> Self {
        Self::build(shape, |at| {
            let mut line = (0..self.shape[axis]).filter_map(|i| {
                let mut at = at.to_vec();
                at[axis] = i;
                self.get(&at)
            });
            line.nth(at[axis])
        })
    }

    fn reduce(&self, axis: usize, f: impl Fn(&[f64]) -> f64) -> Self {
        let mut shape = self.shape.clone();
        shape[axis] = 1;
        Self::build(shape, |at| {
            let line = (0..self.shape[axis]).filter_map(|i| {
                let mut at = at.to_vec();
                at[axis] = i;
                self.get(&at)
            });
            let line: Vec<f64> = line.collect();
            (!line.is_empty()).then(|| f(&line))
        })
    }
}

fn unravel(mut i: usize, shape: &[usize]) -> Vec<usize> {
    let mut at = vec![0; shape.len()];
    for (at, size) in at.iter_mut().zip(shape).rev() {
        (*at, i) = (i % size, i / size);
    }
    at
}

fn mean(line: &[f64]) -> f64 {
    line.iter().sum::<f64>() / line.len() as f64
}

fn softmax(line: &[f64]) -> Vec<f64> {
    let max = line.iter().copied().fold(f64::MIN, f64::max);
    let exp: Vec<f64> = line.iter().map(|x| (x - max).exp()).collect();
    let sum: f64 = exp.iter().sum();
    exp.into_iter().map(|x| x / sum).collect()
}

/// Sum of the products of which both factors are there; absent where none is.
fn dot(pairs: impl Iterator<Item = (Option<f64>, Option<f64>)>) -> Option<f64> {
    let products = pairs.filter_map(|(a, b)| Some(a? * b?));
    products.fold(None, |sum, product| Some(sum.unwrap_or(0.0) + product))
}

fn matmul(a: &Partial, b: &Partial, shape: Vec<usize>) -> Partial {
    let rank = shape.len();
    let inner = a.shape[a.shape.len() - 1];
    let a = a.lift(rank);
    Partial::build(shape, |at| {
        dot((0..inner).map(|k| {
            let (mut left, mut right) = (a.wrap(at), b.wrap(at));
            (left[rank - 2], left[rank - 1]) = (at[rank - 2], k);
            (right[rank - 2], right[rank - 1]) = (k, at[rank - 1]);
            (a.get(&left), b.get(&right))
        }))
    })
}

/// Two spatial dimensions where there is one.
fn planar(x: &Partial) -> Partial {
    let mut shape = x.shape.clone();
    if shape.len() == 3 {
        shape.insert(2, 1);
    }
    Partial { shape, ..x.clone() }
}

/// Positions of the taps of an output position that lie inside, by tap.
struct Taps {
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
}

impl Taps {
    fn new(window: &Window) -> Self {
        let two = |list: &[usize], fill| match *list {
            [only] => [fill, only],
            _ => [list[0], list[1]],
        };
        let before: Vec<usize> = window.padding.iter().map(|&(before, _)| before).collect();
        Self {
            kernel: two(&window.kernel, 1),
            stride: two(&window.stride, 1),
            padding: two(&before, 0),
            dilation: two(&window.dilation, 1),
        }
    }

    fn at(&self, out: [usize; 2], size: [usize; 2]) -> Vec<([usize; 2], [usize; 2])> {
        let place = |d: usize, tap: usize| {
            let at = (out[d] * self.stride[d] + tap * self.dilation[d]).checked_sub(self.padding[d])?;
            (at < size[d]).then_some(at)
        };
        let taps = (0..self.kernel[0]).flat_map(|row| (0..self.kernel[1]).map(move |col| [row, col]));
        taps.filter_map(|tap| Some((tap, [place(0, tap[0])?, place(1, tap[1])?]))).collect()
    }
}

fn conv(x: &[&Partial], window: &Window, groups: usize, shape: Vec<usize>) -> Partial {
    let (image, weight) = (planar(x[0]), planar(x[1]));
    let (seen, each) = (weight.shape[1], weight.shape[0] / groups);
    let size = [image.shape[2], image.shape[3]];
    let taps = Taps::new(window);
    let wide = planar(&Partial::empty(shape.clone())).shape;
    let out = Partial::build(wide, |at| {
        let first = at[1] / each * seen;
        // Padding counts as there, with the value 0: what is there is decided by channels.
        let there = (0..seen).any(|channel| {
            let row = weight.get(&[at[1], channel, 0, 0]);
            row.is_some() && image.get(&[at[0], first + channel, 0, 0]).is_some()
        });
        let taps = taps.at([at[2], at[3]], size).into_iter();
        let pairs = taps.flat_map(|(tap, place)| (0..seen).map(move |channel| (tap, place, channel)));
        let sum = dot(pairs.map(|(tap, place, channel)| {
            let image = image.get(&[at[0], first + channel, place[0], place[1]]);
            (image, weight.get(&[at[1], channel, tap[0], tap[1]]))
        }));
        there.then(|| sum.unwrap_or(0.0))
    });
    let out = match x.get(2) {
        Some(bias) => out.along(1, &[bias], |x, bias| x + bias[0]),
        None => out,
    };
    Partial { shape, ..out }
}

/// Every input position is spread over the taps behind it.
fn conv_transpose(x: &[&Partial], window: &Window, shape: Vec<usize>) -> Partial {
    let (image, weight) = (planar(x[0]), planar(x[1]));
    let (from, size) = (weight.shape[0], [image.shape[2], image.shape[3]]);
    let taps = Taps::new(window);
    let wide = planar(&Partial::empty(shape.clone())).shape;
    let out = Partial::build(wide, |at| {
        // The output position of input position `place` through tap `tap`.
        let lands = |d: usize, place: usize, tap: usize| {
            place * taps.stride[d] + tap * taps.dilation[d] == at[2 + d] + taps.padding[d]
        };
        let there = (0..from).any(|channel| {
            let row = weight.get(&[channel, at[1], 0, 0]);
            row.is_some() && image.get(&[at[0], channel, 0, 0]).is_some()
        });
        let places = (0..size[0]).flat_map(|row| (0..size[1]).map(move |col| [row, col]));
        let kernel = taps.kernel;
        let steps = places.flat_map(|place| {
            (0..kernel[0]).flat_map(move |row| (0..kernel[1]).map(move |col| (place, [row, col])))
        });
        let steps = steps.filter(|(place, tap)| (0..2).all(|d| lands(d, place[d], tap[d])));
        let pairs = steps.flat_map(|(place, tap)| (0..from).map(move |channel| (place, tap, channel)));
        let sum = dot(pairs.map(|(place, tap, channel)| {
            let image = image.get(&[at[0], channel, place[0], place[1]]);
            (image, weight.get(&[channel, at[1], tap[0], tap[1]]))
        }));
        there.then(|| sum.unwrap_or(0.0))
    });
    let out = match x.get(2) {
        Some(bias) => out.along(1, &[bias], |x, bias| x + bias[0]),
        None => out,
    };
    Partial { shape, ..out }
}

fn pool(x: &Partial, window: &Window, shape: Vec<usize>, f: impl Fn(&[f64], usize) -> f64) -> Partial {
    let image = planar(x);
    let size = [image.shape[2], image.shape[3]];
    let taps = Taps::new(window);
    let wide = planar(&Partial::empty(shape.clone())).shape;
    let out = Partial::build(wide, |at| {
        let places = taps.at([at[2], at[3]], size).into_iter();
        let values = places.filter_map(|(_, place)| image.get(&[at[0], at[1], place[0], place[1]]));
        let values: Vec<f64> = values.collect();
        (!values.is_empty()).then(|| f(&values, taps.kernel.iter().product()))
    });
    Partial { shape, ..out }
}

fn adaptive(x: &Partial, output: &[usize], shape: Vec<usize>) -> Partial {
    let image = planar(x);
    let wide = planar(&Partial::empty(shape.clone())).shape;
    let rows = if output.len() == 1 { [1, output[0]] } else { [output[0], output[1]] };
    let out = Partial::build(wide, |at| {
        let range = |d: usize| {
            let size = image.shape[2 + d];
            at[2 + d] * size / rows[d]..((at[2 + d] + 1) * size).div_ceil(rows[d])
        };
        let cells = range(0).flat_map(|row| range(1).map(move |col| (row, col)));
        let values: Vec<f64> = cells.filter_map(|(row, col)| image.get(&[at[0], at[1], row, col])).collect();
        (!values.is_empty()).then(|| mean(&values))
    });
    Partial { shape, ..out }
}

fn concat(parts: &[&Partial], axis: usize, shape: Vec<usize>) -> Partial {
    Partial::build(shape, |at| {
        let mut at = at.to_vec();
        let part = parts.iter().find(|part| {
            let inside = at[axis] < part.shape[axis];
            if !inside {
                at[axis] -= part.shape[axis];
            }
            inside
        });
        part?.get(&at)
    })
}

fn embedding(table: &Partial, indices: &Partial, shape: Vec<usize>) -> Partial {
    Partial::build(shape, |at| {
        let (column, at) = at.split_last()?;
        table.get(&[indices.get(at)? as usize, *column])
    })
}

fn arithmetic(op: Binary, a: f64, b: f64) -> f64 {
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Equal => f64::from(a == b),
        Binary::Greater => f64::from(a > b),
        Binary::GreaterEqual => f64::from(a >= b),
        Binary::Lower => f64::from(a < b),
        Binary::LowerEqual => f64::from(a <= b),
    }
}

fn function(unary: Unary, x: f64) -> f64 {
    match unary {
        Unary::Relu => x.max(0.0),
        Unary::Gelu => 0.5 * x * (1.0 + erf(x / 2.0_f64.sqrt())),
        Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Unary::Tanh => x.tanh(),
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Sqrt => x.sqrt(),
        Unary::Abs => x.abs(),
        Unary::Neg => -x,
        Unary::Erf => erf(x),
        Unary::Truncate => x.trunc(),
    }
}

/// The error function to 2e-8: its power series, and ±1 beyond 4.
fn erf(x: f64) -> f64 {
    if x.abs() > 4.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..80 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    2.0 / std::f64::consts::PI.sqrt() * sum
}
