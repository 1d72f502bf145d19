//! Products with sparse weights and with dense ones: what `cargo xtask bench` keeps an eye on from change to change.
//!
//! `cargo xtask bench sparse` compares them with each other and with another crate.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{Criterion, criterion_group, criterion_main};
use kd_kernels::Isa;
use kd_kernels::matmul::{self, Packed};
use kd_kernels::sparse::{self, Blocks, Groups};

/// Batch, inputs and outputs.
const SHAPES: [[usize; 3]; 2] = [[192, 256, 256], [1, 768, 3072]];

fn products(c: &mut Criterion) {
    let isa = Isa::best();
    for [batch, inputs, outputs] in SHAPES {
        let (name, shape) = (format!("{batch}x{inputs}-{outputs}"), [outputs, inputs]);
        let x = vec![0.5; batch * inputs];
        let dense = Packed::new(isa, &vec![0.1; outputs * inputs], shape);
        c.bench_function(&format!("product/{name}/dense"), |b| b.iter(|| matmul::forward(&dense, &x, None)));
        for percent in [50, 80] {
            // Seven is prime to a hundred: every row of blocks keeps other columns.
            let kept = |at: usize| (at / inputs / Blocks::ROWS * 31 + at % inputs * 7) % 100 >= percent;
            let weight: Vec<f32> = (0..outputs * inputs).map(|at| if kept(at) { 0.1 } else { 0.0 }).collect();
            let blocks = Blocks::new(&weight, shape).expect("every weight has blocks");
            c.bench_function(&format!("product/{name}/blocks-{percent}"), |b| {
                b.iter(|| sparse::forward(isa, &blocks, &x, None));
            });
        }
        let weight: Vec<f32> = (0..outputs * inputs).map(|at| if at % 4 < 2 { 0.1 } else { 0.0 }).collect();
        let groups = Groups::new(&weight, shape, 2, 4).expect("it is 2:4");
        c.bench_function(&format!("product/{name}/2-of-4"), |b| {
            b.iter(|| sparse::forward(isa, &groups, &x, None));
        });
    }
}

criterion_group!(sparse_products, products);
criterion_main!(sparse_products);
