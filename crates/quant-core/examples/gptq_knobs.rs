//! What GPTQ's knobs are worth: ‖X (W − Ŵ)‖² on inputs that it has not seen, as a share of round-to-nearest's.
//!
//! `cargo run --release -p quant-core --example gptq_knobs [repetitions]` prints a table in Markdown: the geometric mean
//! over all kinds of inputs that the tests have and over five layers of each, for a narrow layer (32 inputs, groups of 16,
//! 128 tokens) and a wider one (128 inputs, groups of 64, 512 tokens); beside it, in how many of the layers HQQ with float
//! zero points is beaten.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example that prints a table")]

#[path = "../tests/suite/common/layers.rs"]
mod layers;

use layers::{KINDS, Lcg, Source, stats, view};
use quant_core::Symmetry;
use quant_core::ptq::*;

/// Columns, group, tokens.
const SIZES: [(usize, usize, usize); 2] = [(32, 16, 128), (128, 64, 512)];
const BITS: [u32; 3] = [2, 3, 4];

type Method = (String, Box<dyn Fn(Matrix<'_>, &Hessian, &Grid) -> Vec<f32>>);

fn methods() -> Vec<Method> {
    let mut methods: Vec<Method> = vec![
        (
            "HQQ, integer zero".into(),
            Box::new(|w, _, grid| hqq_integer(w, grid, &Hqq::default()).unwrap().0.dequantize()),
        ),
        ("HQQ".into(), Box::new(|w, _, grid| hqq(w, grid, &Hqq::default()).unwrap().dequantize())),
    ];
    for float in [false, true] {
        for order in [Order::AsStored, Order::Activation] {
            for groups in [Groups::Updated, Groups::Static] {
                for (range, refit) in [
                    (GroupRange::Full, false),
                    (GroupRange::Search, false),
                    (GroupRange::Full, true),
                    (GroupRange::Search, true),
                ] {
                    let knobs = Gptq { damping: 0.01, order, groups, range, refit };
                    let zero = if float { "float" } else { "integer" };
                    let refitted = if refit { "refit" } else { "-" };
                    let name = format!("{zero}, {order:?}, {groups:?}, {range:?}, {refitted}");
                    let run = move |w: Matrix<'_>, h: &Hessian, grid: &Grid| match float {
                        true => gptq_float(w, h, grid, &knobs).unwrap().quantized.dequantize(),
                        false => gptq(w, h, grid, &knobs).unwrap().quantized.dequantize(),
                    };
                    methods.push((name, Box::new(run)));
                }
            }
        }
    }
    methods
}

fn main() {
    let repetitions: usize = std::env::args().nth(1).map_or(5, |count| count.parse().unwrap());
    let methods = methods();
    // Σ log share, and wins, of each method, size and number of bits.
    let mut sums = vec![[[(0.0, 0_usize); BITS.len()]; SIZES.len()]; methods.len()];
    let mut random = Lcg(1);
    for (size, (columns, group, tokens)) in SIZES.into_iter().enumerate() {
        for kind in KINDS.iter().cycle().take(KINDS.len() * repetitions) {
            let source = Source::new(&mut random, *kind, columns);
            let seen = stats(columns, &source.draw(&mut random, tokens)).hessian().unwrap();
            let unseen = stats(columns, &source.draw(&mut random, tokens)).hessian().unwrap();
            let w = random.normals(16 * columns);
            let weight = view(columns, &w);
            for (at, bits) in BITS.into_iter().enumerate() {
                let grid = Grid::new(bits, Some(group), Symmetry::Affine).unwrap();
                let error = |values: &[f32]| unseen.output_error(weight, view(columns, values)).unwrap();
                let nearest = error(&rtn(weight, &grid).unwrap().dequantize());
                let rival = error(&hqq(weight, &grid, &Hqq::default()).unwrap().dequantize());
                for ((_, run), sums) in methods.iter().zip(&mut sums) {
                    let found = error(&run(weight, &seen, &grid));
                    let (sum, wins) = &mut sums[size][at];
                    *sum += (found / nearest).ln();
                    *wins += usize::from(found < rival);
                }
            }
        }
    }
    let count = KINDS.len() * repetitions;
    println!("Share of round-to-nearest's error (layers of {count} on which HQQ is beaten)\n");
    print!("| zero, order, groups, range, scales |");
    SIZES.iter().for_each(|(columns, group, _)| {
        BITS.iter().for_each(|bits| print!(" {columns}/{group} int{bits} |"))
    });
    println!("\n| --- |{}", " --- |".repeat(SIZES.len() * BITS.len()));
    for ((name, _), sums) in methods.iter().zip(&sums) {
        print!("| {name} |");
        let share = |(sum, wins): &(f64, usize)| print!(" {:.3} ({wins}) |", (sum / count as f64).exp());
        sums.iter().flatten().for_each(share);
        println!();
    }
}
