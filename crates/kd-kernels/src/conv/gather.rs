//! What the forward pass and the gradient of the input share: every output gathers taps of a padded source.
//!
//! The forward pass gathers inputs. The gradient of the input gathers gradients of outputs, with the kernel turned
//! around and the roles of the channels exchanged; under a stride `s`, inputs of the same place modulo `s` are
//! reached by the same taps, so it is `s₀·s₁` gathers of stride one that each fill every `s`-th place.

use super::Conv;

/// Gathers that together fill a tensor.
#[derive(Debug, Clone)]
pub(super) struct Gather {
    pub(super) batch: usize,
    pub(super) groups: usize,
    /// Channels of the source in a group.
    pub(super) from: usize,
    /// Channels of the target in a group.
    pub(super) to: usize,
    pub(super) pad: Pad,
    /// Height and width of the target.
    pub(super) target: [usize; 2],
    pub(super) sweeps: Vec<Sweep>,
    /// Steps in the weight from one source channel, and one target channel, to the next.
    weight_steps: [usize; 2],
    /// Steps in the weight from one group to the next.
    weight_group: usize,
}

/// A source and the zeros around its copy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pad {
    /// Height and width of the source.
    pub(super) source: [usize; 2],
    /// Rows above it and columns to its left.
    pub(super) before: [usize; 2],
    /// Height and width of the copy.
    pub(super) size: [usize; 2],
}

/// Places of the target that the same taps reach.
#[derive(Debug, Clone)]
pub(super) struct Sweep {
    /// First place in the target.
    pub(super) first: [usize; 2],
    /// Places in the target, and the steps between them.
    pub(super) count: [usize; 2],
    pub(super) step: [usize; 2],
    /// Steps in the source from one place to the next.
    pub(super) source_step: [usize; 2],
    /// Row and column in the padded source of each tap for the first place, and its index in the kernel.
    pub(super) taps: Vec<([usize; 2], usize)>,
}

impl Gather {
    pub(super) fn forward(shape: &Conv) -> Self {
        let (target, [from, to]) = (shape.output(), shape.group());
        let taps = (0..shape.kernel[0])
            .flat_map(|a| (0..shape.kernel[1]).map(move |b| (a, b)))
            .map(|(a, b)| ([a * shape.dilation[0], b * shape.dilation[1]], a * shape.kernel[1] + b))
            .collect();
        let area = shape.kernel[0] * shape.kernel[1];
        Self {
            batch: shape.batch,
            groups: shape.groups,
            from,
            to,
            pad: Pad {
                source: shape.input,
                before: shape.padding.map(|(before, _)| before),
                size: [0, 1].map(|d| shape.input[d] + shape.padding[d].0 + shape.padding[d].1),
            },
            target,
            sweeps: vec![Sweep {
                first: [0; 2],
                count: target,
                step: [1; 2],
                source_step: shape.stride,
                taps,
            }],
            weight_steps: [area, from * area],
            weight_group: to * from * area,
        }
    }

    pub(super) fn backward(shape: &Conv) -> Self {
        let (source, [to, from]) = (shape.output(), shape.group());
        // Place `i = phase + s·m` of the input is reached by tap `a` from output `m + shift`, where the division in
        // `shift = (phase + padding − a·dilation) / s` leaves no rest.
        let reach = |d: usize, phase: usize| {
            let (stride, here) = (shape.stride[d] as isize, (phase + shape.padding[d].0) as isize);
            (0..shape.kernel[d])
                .map(move |tap| (tap, here - (tap * shape.dilation[d]) as isize))
                .filter(move |(_, far)| far % stride == 0)
                .map(move |(tap, far)| (tap, far / stride))
                .collect::<Vec<_>>()
        };
        let phases = |d: usize| 0..shape.stride[d].min(shape.input[d]);
        let count = |d: usize, phase: usize| (shape.input[d] - phase).div_ceil(shape.stride[d]);
        let mut before = [0; 2];
        let mut size = source;
        for d in 0..2 {
            let shifts = |phase| reach(d, phase).into_iter().map(move |(_, shift)| (phase, shift));
            for (_, shift) in phases(d).flat_map(shifts) {
                before[d] = before[d].max(usize::try_from(-shift).unwrap_or(0));
            }
            size[d] = before[d] + source[d];
            for (phase, shift) in phases(d).flat_map(shifts) {
                let last = before[d] as isize + shift + count(d, phase) as isize;
                size[d] = size[d].max(usize::try_from(last).unwrap_or(0));
            }
        }
        let sweeps = phases(0)
            .flat_map(|a| phases(1).map(move |b| [a, b]))
            .map(|phase| {
                let [rows, cols] = [0, 1].map(|d| reach(d, phase[d]));
                let at = |d: usize, shift: isize| (before[d] as isize + shift) as usize;
                Sweep {
                    first: phase,
                    count: [0, 1].map(|d| count(d, phase[d])),
                    step: shape.stride,
                    source_step: [1; 2],
                    taps: (rows.iter())
                        .flat_map(|row| cols.iter().map(move |col| (row, col)))
                        .map(|(row, col)| ([at(0, row.1), at(1, col.1)], row.0 * shape.kernel[1] + col.0))
                        .collect(),
                }
            })
            .collect();
        let area = shape.kernel[0] * shape.kernel[1];
        Self {
            batch: shape.batch,
            groups: shape.groups,
            from,
            to,
            pad: Pad { source, before, size },
            target: shape.input,
            sweeps,
            weight_steps: [to * area, area],
            weight_group: to * from * area,
        }
    }

    /// Where the weight between two channels of a group starts.
    pub(super) fn weight(&self, group: usize, from: usize, to: usize) -> usize {
        group * self.weight_group + from * self.weight_steps[0] + to * self.weight_steps[1]
    }

    /// Numbers of the source and of the target of one image.
    pub(super) fn source_len(&self) -> usize {
        self.groups * self.from * self.pad.source[0] * self.pad.source[1]
    }

    pub(super) fn target_len(&self) -> usize {
        self.groups * self.to * self.target[0] * self.target[1]
    }
}
