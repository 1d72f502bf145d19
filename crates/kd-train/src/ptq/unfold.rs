//! A layer's inputs as the rows that its weight multiplies, an example at a time.
//!
//! A convolution's rows are its windows: channel by channel of its group, kernel row by kernel row, zeros where the
//! window reaches into the padding. They repeat every number as often as the kernel has elements, so no more than one
//! example's rows exist at a time.

use kd_deploy::Array;
use kd_graph::Window;

use super::layers::{Kind, Layer};
use super::route::{Plane, taps};

/// What is done with the rows of a group.
pub type Take<'a, E> = dyn FnMut(usize, &[f32]) -> Result<(), E> + 'a;

/// Hands rows `[tokens, columns]` of each group to `take`, by group, an example or the whole batch at a time.
pub(super) fn unfold<E>(layer: &Layer, x: &Array, out: &[usize], take: &mut Take<'_, E>) -> Result<(), E> {
    match &layer.kind {
        Kind::Linear | Kind::Right => take(0, x.data()),
        Kind::Left => {
            let size = x.shape()[x.shape().len() - 2..].iter().product::<usize>().max(1);
            let tokens = size / layer.columns;
            x.data().chunks(size).try_for_each(|matrix| {
                let at = |index: usize| matrix[index % layer.columns * tokens + index / layer.columns];
                take(0, &(0..size).map(at).collect::<Vec<_>>())
            })
        }
        Kind::Conv(window) => windows(layer, window, x, out, take),
    }
}

fn windows<E>(
    layer: &Layer,
    window: &Window,
    x: &Array,
    out: &[usize],
    take: &mut Take<'_, E>,
) -> Result<(), E> {
    let (plane, output) = (Plane::of(x.shape()), Plane::of(out));
    let size = plane.height * plane.width;
    let positions: Vec<Vec<Option<usize>>> = (0..output.height * output.width)
        .map(|index| taps(window, plane, index / output.width, index % output.width))
        .collect();
    let channels = x.shape()[1] / layer.groups;
    let mut rows = Vec::with_capacity(positions.len() * layer.columns);
    for example in x.data().chunks(x.shape()[1] * size) {
        for (group, block) in example.chunks(channels * size).enumerate() {
            rows.clear();
            for taps in &positions {
                for image in block.chunks(size) {
                    rows.extend(taps.iter().map(|tap| tap.map_or(0.0, |place| image[place])));
                }
            }
            take(group, &rows)?;
        }
    }
    Ok(())
}
