//! Windows over places in one or two dimensions, and pooling.

use kd_graph::Window;

use super::functions::mean;
use super::partial::Partial;

/// Two spatial dimensions where there is one.
pub(super) fn planar(x: &Partial) -> Partial {
    let mut shape = x.shape.clone();
    if shape.len() == 3 {
        shape.insert(2, 1);
    }
    Partial { shape, ..x.clone() }
}

/// A window of two dimensions.
pub(super) struct Taps {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) padding: [usize; 2],
    pub(super) dilation: [usize; 2],
}

impl Taps {
    pub(super) fn new(window: &Window) -> Self {
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

    /// The taps of an output position that lie inside, with the input positions that they see.
    pub(super) fn at(&self, out: [usize; 2], size: [usize; 2]) -> Vec<([usize; 2], [usize; 2])> {
        let place = |d: usize, tap: usize| {
            let at = (out[d] * self.stride[d] + tap * self.dilation[d]).checked_sub(self.padding[d])?;
            (at < size[d]).then_some(at)
        };
        let taps = (0..self.kernel[0]).flat_map(|row| (0..self.kernel[1]).map(move |col| [row, col]));
        taps.filter_map(|tap| Some((tap, [place(0, tap[0])?, place(1, tap[1])?]))).collect()
    }
}

/// `f` of what a window sees, and of how many taps it has.
pub(super) fn pool(
    x: &Partial,
    window: &Window,
    shape: Vec<usize>,
    f: impl Fn(&[f64], usize) -> f64,
) -> Partial {
    let image = planar(x);
    let size = [image.shape[2], image.shape[3]];
    let taps = Taps::new(window);
    let wide = planar(&Partial::empty(shape.clone())).shape;
    let out = Partial::build(wide, |at| {
        let places = taps.at([at[2], at[3]], size).into_iter();
        let values: Vec<f64> =
            places.filter_map(|(_, place)| image.get(&[at[0], at[1], place[0], place[1]])).collect();
        (!values.is_empty()).then(|| f(&values, taps.kernel.iter().product()))
    });
    Partial { shape, ..out }
}

pub(super) fn adaptive(x: &Partial, output: &[usize], shape: Vec<usize>) -> Partial {
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
