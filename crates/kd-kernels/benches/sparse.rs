//! Sparse products beside dense ones, ours and the `gemm` crate's: the measuring half of `cargo xtask bench sparse`.
//!
//! `measure --rounds N --threads T,…` prints a line for the instruction set and then a line for each shape, number of
//! threads and candidate, between tabs: batch, inputs, outputs, threads, candidate, and its seconds in each round. In a
//! round every candidate of a shape has a turn, one after the other, in which it runs for some milliseconds and its
//! fastest run counts: what else the machine does only ever adds time. Under other arguments nothing is measured.
//!
//! It stands here and not with the other benchmarks because it needs nothing but these kernels: it is built in half a
//! minute.
#![allow(clippy::print_stdout, reason = "a program answers on its output")]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kd_kernels::Isa;
use kd_kernels::matmul::{self, Packed};
use kd_kernels::sparse::{self, Blocks, Groups, Sparse};

/// Batch, inputs and outputs; none takes a core more than some three milliseconds, so that a busy machine leaves whole
/// runs undisturbed.
const SHAPES: [[usize; 3]; 10] = [
    // A convolution of one by one, and one of three by three as a product of its patches.
    [192, 256, 256],
    [1024, 576, 64],
    // Layers of perceptrons and transformers.
    [128, 512, 512],
    [2048, 128, 512],
    [64, 768, 3072],
    [64, 3072, 768],
    // Batches that fill few lanes.
    [32, 768, 3072],
    [16, 768, 3072],
    [4, 768, 3072],
    [1, 768, 3072],
];

/// Shares of blocks that are left out, in percent.
const SPARSITIES: [usize; 5] = [25, 50, 70, 80, 90];

/// K of M inputs that are kept.
const KEPT: [(usize, usize); 2] = [(2, 4), (1, 4)];

/// How long a candidate's turn is, at least.
const TURN: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo bench` adds a word of its own.
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| *word != "--bench").collect();
    let ["measure", "--rounds", rounds, "--threads", threads] = words[..] else {
        println!("sparse products are measured by `cargo xtask bench sparse`");
        return ExitCode::SUCCESS;
    };
    let threads: Result<Vec<usize>, _> = threads.split(',').map(str::parse).collect();
    let (Ok(rounds), Ok(threads)) = (rounds.parse(), threads) else {
        println!("error: expected a number of rounds and numbers of threads, found `{}`", words.join(" "));
        return ExitCode::FAILURE;
    };
    // As the command line does: results are written to memory that was used before.
    kd_kernels::memory::keep_in_large_pages();
    println!("{:?}", Isa::best());
    for threads in threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        for [batch, inputs, outputs] in SHAPES {
            let layer = Layer::new(batch, [outputs, inputs]);
            for (name, seconds) in pool.install(|| layer.measure(rounds, threads)) {
                let seconds: Vec<String> = seconds.iter().map(f64::to_string).collect();
                println!("{batch}\t{inputs}\t{outputs}\t{threads}\t{name}\t{}", seconds.join(" "));
            }
        }
    }
    ExitCode::SUCCESS
}

/// A layer with its input.
struct Layer {
    batch: usize,
    shape: [usize; 2],
    x: Vec<f32>,
    weight: Vec<f32>,
}

/// Something that is measured.
struct Candidate<'a> {
    name: String,
    run: Box<dyn FnMut() + Send + 'a>,
}

impl Layer {
    fn new(batch: usize, shape: [usize; 2]) -> Self {
        let numbers =
            |len: usize, seed| (0..len).map(|i| hash(i, seed) as f32 / (1u32 << 31) as f32 - 1.0).collect();
        Self { batch, shape, x: numbers(batch * shape[1], 1), weight: numbers(shape[0] * shape[1], 2) }
    }

    /// The seconds of each candidate in each round.
    fn measure(&self, rounds: usize, threads: usize) -> Vec<(String, Vec<f64>)> {
        let mut candidates = self.candidates(threads);
        let mut seconds = vec![Vec::with_capacity(rounds); candidates.len()];
        // The first round finds the memory, and does not count.
        for round in 0..=rounds {
            for (candidate, seconds) in candidates.iter_mut().zip(&mut seconds) {
                let fastest = turn(&mut candidate.run);
                if round > 0 {
                    seconds.push(fastest.as_secs_f64());
                }
            }
        }
        candidates.into_iter().map(|candidate| candidate.name).zip(seconds).collect()
    }

    fn candidates(&self, threads: usize) -> Vec<Candidate<'_>> {
        let isa = Isa::best();
        let packed = Packed::new(isa, &self.weight, self.shape);
        let run = move || drop(black_box(matmul::forward(&packed, &self.x, None)));
        let mut candidates =
            vec![Candidate { name: "dense".to_owned(), run: Box::new(run) }, self.gemm(threads)];
        for percent in SPARSITIES {
            let blocks = self.blocks(percent);
            let run = move || drop(black_box(sparse::forward(isa, &blocks, &self.x, None)));
            candidates.push(Candidate { name: format!("4×1 {percent}"), run: Box::new(run) });
        }
        for (keep, of) in KEPT {
            let groups = self.groups(keep, of);
            let run = move || drop(black_box(sparse::forward(isa, &groups, &self.x, None)));
            candidates.push(Candidate {
                name: format!("{keep}:{of} {}", 100 - 100 * keep / of),
                run: Box::new(run),
            });
        }
        candidates
    }

    /// The opponent, with the weight in whichever order it is faster with, and its output where it was before.
    fn gemm(&self, threads: usize) -> Candidate<'_> {
        let [outputs, inputs] = self.shape;
        let (batch, x) = (self.batch, &self.x[..]);
        let parallelism =
            if threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
        let mut turned = vec![0.0; outputs * inputs];
        for (at, &w) in self.weight.iter().enumerate() {
            turned[at % inputs * outputs + at / inputs] = w;
        }
        let of = |weight: Vec<f32>, column: usize, row: usize| {
            let mut y = vec![0.0f32; batch * outputs];
            move || {
                // SAFETY: the strides are those of `y [batch, outputs]`, `x [batch, inputs]` and a weight of as many
                // numbers as inputs and outputs.
                unsafe {
                    gemm::gemm(
                        batch,
                        outputs,
                        inputs,
                        y.as_mut_ptr(),
                        1,
                        outputs as isize,
                        false,
                        x.as_ptr(),
                        1,
                        inputs as isize,
                        weight.as_ptr(),
                        column as isize,
                        row as isize,
                        0.0,
                        1.0,
                        false,
                        false,
                        false,
                        parallelism,
                    );
                }
                black_box(&y);
            }
        };
        let (mut as_is, mut turned) = (of(self.weight.clone(), inputs, 1), of(turned, 1, outputs));
        let tried = (0..3).map(|_| (turn(&mut as_is), turn(&mut turned)));
        let (first, second): (Vec<_>, Vec<_>) = tried.unzip();
        let name = "gemm".to_owned();
        match first.iter().min() <= second.iter().min() {
            true => Candidate { name, run: Box::new(as_is) },
            false => Candidate { name, run: Box::new(turned) },
        }
    }

    /// So many percent of the blocks left out, drawn at random.
    fn blocks(&self, percent: usize) -> Blocks {
        let [outputs, inputs] = self.shape;
        let mut order: Vec<usize> = (0..outputs.div_ceil(Blocks::ROWS) * inputs).collect();
        order.sort_by_key(|&block| hash(block, 3));
        let mut weight = self.weight.clone();
        for block in &order[..order.len() * percent / 100] {
            let (first, column) = (block / inputs * Blocks::ROWS, block % inputs);
            for row in first..outputs.min(first + Blocks::ROWS) {
                weight[row * inputs + column] = 0.0;
            }
        }
        let blocks = Blocks::new(&weight, self.shape).expect("every weight has blocks");
        let expected = matmul::forward(&Packed::new(Isa::best(), &weight, self.shape), &self.x, None);
        assert!(sparse::forward(Isa::best(), &blocks, &self.x, None) == expected, "the dense product");
        blocks
    }

    /// `keep` of every `of` inputs, drawn at random.
    fn groups(&self, keep: usize, of: usize) -> Groups {
        let [outputs, inputs] = self.shape;
        let mut weight = self.weight.clone();
        for row in 0..outputs {
            for group in (row * inputs..(row + 1) * inputs).step_by(of) {
                let mut order: Vec<usize> = (group..(group + of).min((row + 1) * inputs)).collect();
                order.sort_by_key(|&at| hash(at, 4));
                order.into_iter().skip(keep).for_each(|at| weight[at] = 0.0);
            }
        }
        let groups = Groups::new(&weight, self.shape, keep, of).expect("it has the pattern");
        assert!(groups.kept() <= outputs.next_multiple_of(4) * inputs.next_multiple_of(of) * keep / of);
        let expected = matmul::forward(&Packed::new(Isa::best(), &weight, self.shape), &self.x, None);
        assert!(sparse::forward(Isa::best(), &groups, &self.x, None) == expected, "the dense product");
        groups
    }
}

/// The fastest of the runs that fill a turn, of two at least.
fn turn(run: &mut dyn FnMut()) -> Duration {
    let start = Instant::now();
    let mut fastest = Duration::MAX;
    let mut runs = 0;
    while runs < 2 || start.elapsed() < TURN {
        let start = Instant::now();
        run();
        fastest = fastest.min(start.elapsed());
        runs += 1;
    }
    fastest
}

/// A number that looks random and is the same in every run.
fn hash(index: usize, seed: u64) -> u32 {
    let mut state = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (seed << 56);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((state ^ (state >> 31)) >> 32) as u32
}
