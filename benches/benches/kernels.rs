//! Convolution in each layout, at shapes of real networks: what `kd_kernels::conv::Layout::choose` rests on.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{Criterion, criterion_group, criterion_main};
use kd_kernels::conv::{self, Layout};
use kd_kernels::{Conv, Isa};

/// Name; batch, channels of input and output, side of the image, side of the kernel, groups.
const SHAPES: [(&str, [usize; 6]); 6] = [
    ("16-32-k5", [128, 16, 32, 14, 5, 1]),
    ("6-10-k5", [128, 6, 10, 14, 5, 1]),
    ("64-64-k3", [64, 64, 64, 8, 3, 1]),
    ("64-128-k1", [64, 64, 128, 16, 1, 1]),
    ("depthwise-64-k3", [64, 64, 64, 16, 3, 64]),
    ("one-image-32-32-k3", [1, 32, 32, 16, 3, 1]),
];

fn layouts(c: &mut Criterion) {
    let isa = Isa::best();
    for (name, [batch, from, to, side, kernel, groups]) in SHAPES {
        let padding = [(kernel / 2, kernel / 2); 2];
        let shape = Conv { padding, groups, ..Conv::new(batch, [from, to], [side; 2], [kernel; 2]) };
        let (x, weight) = (vec![0.5; shape.input_len()], vec![0.1; shape.weight_len()]);
        let dy = vec![0.3; shape.output_len()];
        for (layout, label) in
            [(Layout::Images, "images"), (Layout::Channels, "channels"), (Layout::Pixels, "pixels")]
        {
            if layout == Layout::Pixels && kernel > 1 {
                continue;
            }
            c.bench_function(&format!("conv/{name}/{label}"), |b| {
                b.iter(|| conv::forward_in(isa, layout, &shape, &x, &weight, None));
            });
        }
        c.bench_function(&format!("conv/{name}/weight"), |b| {
            b.iter(|| conv::grad_weight(isa, &shape, &x, &dy))
        });
    }
}

criterion_group!(convolutions, layouts);
criterion_main!(convolutions);
