//! Sums of products, of which both factors are there: matrix products and convolutions.
//!
//! A result is absent where no product is left. What is absent is stored as 0, so that values are added as they are and
//! only presence is asked about.

use kd_graph::Window;

use super::partial::Partial;
use super::places::{Taps, planar};

/// `a [.., m, k]` and `b [.., k, n]`, leading dimensions of size one repeated.
pub(super) fn matmul(a: &Partial, b: &Partial, shape: Vec<usize>) -> Partial {
    let rank = shape.len();
    let (rows, columns, inner) = (shape[rank - 2], shape[rank - 1], a.shape[a.shape.len() - 1]);
    let a = a.lift(rank);
    let mut out = Partial::empty(shape);
    let leading = out.shape[..rank - 2].to_vec();
    // Where the matrix of a leading index starts in an operand.
    let start = |operand: &Partial, mut index: usize, size: usize| {
        let (mut at, mut stride) = (0, size);
        for (&all, &own) in leading.iter().zip(&operand.shape).rev() {
            at += if own == 1 { 0 } else { index % all * stride };
            (index, stride) = (index / all, stride * own);
        }
        at
    };
    for index in 0..leading.iter().product() {
        let (left, right) = (start(&a, index, rows * inner), start(b, index, inner * columns));
        for row in 0..rows {
            let at = (index * rows + row) * columns;
            let (values, present) = (&mut out.values[at..at + columns], &mut out.present[at..at + columns]);
            for k in 0..inner {
                if !a.present[left + row * inner + k] {
                    continue;
                }
                let factor = a.values[left + row * inner + k];
                let from = right + k * columns..right + (k + 1) * columns;
                let pairs = b.values[from.clone()].iter().zip(&b.present[from]);
                for ((value, present), (x, there)) in values.iter_mut().zip(present.iter_mut()).zip(pairs) {
                    *value += if *there { factor * x } else { 0.0 };
                    *present |= there;
                }
            }
        }
    }
    out
}

/// `x [N, C, …]`, `weight [O, C/groups, …]`, `bias [O]?`. Padding counts as there, with the value 0: what is there is
/// decided by channels, at their first place.
pub(super) fn conv(x: &[&Partial], window: &Window, groups: usize, shape: Vec<usize>) -> Partial {
    let (image, weight) = (planar(x[0]), planar(x[1]));
    let (seen, each) = (weight.shape[1], weight.shape[0] / groups);
    let size = [image.shape[2], image.shape[3]];
    let taps = Taps::new(window);
    let mut out = planar(&Partial::empty(shape.clone()));
    let [_, outputs, height, width] = out.shape[..] else { return out };
    for at in 0..out.values.len() {
        let (col, row) = (at % width, at / width % height);
        let (channel, example) = (at / (width * height) % outputs, at / (width * height * outputs));
        let first = channel / each * seen;
        let inside = taps.at([row, col], size);
        for k in 0..seen {
            let (of_weight, of_image) = ([channel, k, 0, 0], [example, first + k, 0, 0]);
            if weight.get(&of_weight).is_none() || image.get(&of_image).is_none() {
                continue;
            }
            out.present[at] = true;
            let (w, i) = (weight.offset(&of_weight), image.offset(&of_image));
            for &([down, across], [y, x]) in &inside {
                out.values[at] +=
                    weight.values[w + down * taps.kernel[1] + across] * image.values[i + y * size[1] + x];
            }
        }
    }
    biased(Partial { shape, ..out }, x.get(2))
}

/// `x [N, C, …]`, `weight [C, O, …]`, `bias [O]?`: every input position is spread over the taps behind it.
pub(super) fn conv_transpose(x: &[&Partial], window: &Window, shape: Vec<usize>) -> Partial {
    let (image, weight) = (planar(x[0]), planar(x[1]));
    let taps = Taps::new(window);
    let mut out = planar(&Partial::empty(shape.clone()));
    let [batch, outputs, height, width] = out.shape[..] else { return out };
    let [_, from, rows, columns] = image.shape[..] else { return out };
    let lands = |d: usize, place: usize, tap: usize| {
        (place * taps.stride[d] + tap * taps.dilation[d]).checked_sub(taps.padding[d])
    };
    for (example, channel, k) in (0..batch).flat_map(|example| {
        (0..outputs).flat_map(move |channel| (0..from).map(move |k| (example, channel, k)))
    }) {
        let (of_image, of_weight) = ([example, k, 0, 0], [k, channel, 0, 0]);
        if weight.get(&of_weight).is_none() || image.get(&of_image).is_none() {
            continue;
        }
        let (w, i) = (weight.offset(&of_weight), image.offset(&of_image));
        let start = (example * outputs + channel) * height * width;
        out.present[start..start + height * width].fill(true);
        for (y, x) in (0..rows).flat_map(|y| (0..columns).map(move |x| (y, x))) {
            for (down, across) in
                (0..taps.kernel[0]).flat_map(|down| (0..taps.kernel[1]).map(move |across| (down, across)))
            {
                let (Some(row), Some(col)) = (lands(0, y, down), lands(1, x, across)) else { continue };
                if row < height && col < width {
                    out.values[start + row * width + col] +=
                        weight.values[w + down * taps.kernel[1] + across] * image.values[i + y * columns + x];
                }
            }
        }
    }
    biased(Partial { shape, ..out }, x.get(2))
}

fn biased(out: Partial, bias: Option<&&Partial>) -> Partial {
    match bias {
        Some(bias) => out.along(1, &[bias], |x, bias| x + bias[0]),
        None => out,
    }
}
