//! How fast numbers become codes, beside a plain copy: the measuring half of `cargo xtask bench numbers`.
//!
//! `measure --rounds N` does every job once a round, in turns, and then prints a line a job: its name, the bytes that it
//! reads and writes, and its seconds in each round, between tabs. Under criterion's own arguments nothing is measured.
#![expect(clippy::print_stdout, reason = "a program answers on its output")]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use quant_core::number::{self, Coded, Codes, Number, Scales};
use quant_core::pack::{CANONICAL, ONNX, PACK_QUANTIZED, Packing, TRITS};
use quant_core::{Layout, QParams, dequantize, quantize};
use rayon::prelude::*;

/// Rows and columns of the input: 64 MiB, which no cache holds.
const SHAPE: [usize; 2] = [4096, 4096];

/// Rows and columns of codes of a byte: 64 MiB too.
const PACKED: [usize; 2] = [4096, 16384];

/// Values of a task of the copy, as many as one of a cast has.
const TASK: usize = 1 << 16;

/// Formats that are cast to: every way to round that there is.
const FORMATS: &[&str] = &[
    "bf16",
    "fp16",
    "e4m3fn",
    "e5m2",
    "e2m1fn",
    "int8",
    "int4",
    "nf4",
    "ternary",
    "mxfp8_e4m3",
    "mxfp4",
    "nvfp4",
    "q4_0",
    "q8_0",
];

/// Layouts that codes are packed in, and the bits of a code: words of each kind, and digits.
const PACKINGS: &[(Packing, u32)] =
    &[(ONNX, 2), (ONNX, 4), (PACK_QUANTIZED, 4), (CANONICAL, 3), (CANONICAL, 6), (TRITS, 2)];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo bench` adds a word of its own.
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| *word != "--bench").collect();
    let ["measure", "--rounds", rounds] = words[..] else {
        println!("bandwidth is measured by `cargo xtask bench numbers`");
        return ExitCode::SUCCESS;
    };
    let Ok(rounds) = rounds.parse() else {
        println!("error: expected a number of rounds, found `{rounds}`");
        return ExitCode::FAILURE;
    };
    // As the command line does: results are written to memory that was used before.
    kd_kernels::memory::keep_in_large_pages();
    let input = Input::new();
    let mut jobs = input.jobs();
    let mut seconds = vec![Vec::new(); jobs.len()];
    // The first round finds the memory, and does not count.
    for round in 0..=rounds {
        for (job, seconds) in jobs.iter_mut().zip(&mut seconds) {
            let start = Instant::now();
            (job.run)();
            if round > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
    }
    for (job, seconds) in jobs.iter().zip(seconds) {
        let seconds: Vec<String> = seconds.iter().map(f64::to_string).collect();
        println!("{}\t{}\t{}", job.name, job.bytes, seconds.join(" "));
    }
    ExitCode::SUCCESS
}

/// Something that is measured.
struct Job<'a> {
    name: String,
    /// Read and written.
    bytes: usize,
    run: Box<dyn FnMut() + 'a>,
}

/// What the jobs read.
struct Input {
    values: Vec<f32>,
    codes: Vec<i32>,
    /// Layouts with their scales and zero points.
    schemes: [(&'static str, Layout, QParams); 2],
}

impl Input {
    fn new() -> Self {
        let len = SHAPE.iter().product();
        let values = values(len);
        let qparams = |cells: usize| QParams {
            scale: (0..cells).map(|cell| (1.0 + cell as f32 / cells as f32) / 127.0).collect(),
            zero_point: vec![3; cells],
            qmin: -128,
            qmax: 127,
        };
        let channel = Layout { shape: SHAPE.to_vec(), axis: Some(0) };
        Self {
            values,
            codes: (0..len).map(|index| (index * 7 % 256) as i32 - 128).collect(),
            schemes: [
                ("int8 tensor", Layout::tensor(&SHAPE), qparams(1)),
                ("int8 channel", channel, qparams(SHAPE[0])),
            ],
        }
    }

    /// All jobs, the copy first.
    fn jobs(&self) -> Vec<Job<'_>> {
        let mut jobs = vec![self.copy()];
        for name in FORMATS {
            let number = Number::named(name).unwrap_or_else(|error| panic!("{error}"));
            jobs.push(self.codes(number));
            jobs.push(self.cast(number));
        }
        // Each reads four bytes a value and writes four.
        let bytes = 2 * size_of_val(&self.values[..]);
        for (name, layout, qparams) in &self.schemes {
            let run = || drop(black_box(quantize(&self.values, layout, qparams)));
            jobs.push(Job { name: format!("quantize {name}"), bytes, run: Box::new(run) });
            let run = || drop(black_box(dequantize(&self.codes, layout, qparams)));
            jobs.push(Job { name: format!("dequantize {name}"), bytes, run: Box::new(run) });
        }
        for (packing, bits) in PACKINGS {
            jobs.extend(self.packing(packing, *bits));
        }
        jobs
    }

    /// Codes into bytes that are at hand, and back.
    fn packing(&self, packing: &'static Packing, bits: u32) -> [Job<'_>; 2] {
        let [rows, columns] = PACKED;
        let (low, high) = packing.limits(bits, true);
        let code = |index: usize| (low + (index * 7) as i32 % (high - low + 1)) as i8;
        let codes: Vec<i8> = (0..rows * columns).map(code).collect();
        let mut packed = packing.pack(&codes, rows, columns, bits).expect("codes in range");
        let bytes = codes.len() + packed.len();
        let (from, mut to) = (packed.clone(), codes.clone());
        let name = format!("{} int{bits}", packing.name);
        let pack = move || {
            packing.pack_into(&codes, rows, columns, bits, &mut packed).expect("codes in range");
            black_box(&packed);
        };
        let unpack = move || {
            packing.unpack_into(&from, rows, columns, bits, &mut to).expect("bytes of codes");
            black_box(&to);
        };
        [
            Job { name: format!("pack {name}"), bytes, run: Box::new(pack) },
            Job { name: format!("unpack {name}"), bytes, run: Box::new(unpack) },
        ]
    }

    /// f32 to f32 on all threads, into memory that is at hand.
    fn copy(&self) -> Job<'_> {
        let mut copied = vec![0f32; self.values.len()];
        let run = move || {
            let parts = copied.par_chunks_mut(TASK).zip(self.values.par_chunks(TASK));
            parts.for_each(|(to, from)| to.copy_from_slice(from));
            black_box(&copied);
        };
        Job { name: "copy".to_owned(), bytes: 2 * size_of_val(&self.values[..]), run: Box::new(run) }
    }

    /// Codes and scales alone.
    fn codes(&self, number: Number) -> Job<'_> {
        let encode = move || number::codes(&self.values, &SHAPE, number, None).expect("finite numbers");
        let bytes = size_of_val(&self.values[..]) + stored(&encode());
        let run = move || drop(black_box(encode()));
        Job { name: format!("codes {}", number.name()), bytes, run: Box::new(run) }
    }

    /// Codes, scales and what they stand for.
    fn cast(&self, number: Number) -> Job<'_> {
        let cast = move || number::cast(&self.values, &SHAPE, number, None).expect("finite numbers");
        let encoded = number::codes(&self.values, &SHAPE, number, None).expect("finite numbers");
        let bytes = 2 * size_of_val(&self.values[..]) + stored(&encoded);
        let run = move || drop(black_box(cast()));
        Job { name: format!("cast {}", number.name()), bytes, run: Box::new(run) }
    }
}

/// Bytes of codes and scales.
fn stored(encoded: &Coded) -> usize {
    let codes = match &encoded.codes {
        Codes::U8(codes) => codes.len(),
        Codes::I8(codes) => codes.len(),
        Codes::I16(codes) => 2 * codes.len(),
        Codes::I32(codes) => 4 * codes.len(),
    };
    let scales = match &encoded.scales {
        Some((Scales::Codes(codes), _)) => codes.len(),
        Some((Scales::F32(scales), _)) => 4 * scales.len(),
        None => 0,
    };
    codes + scales
}

/// Sums of four uniform numbers, nearly normal, that are the same in every run.
fn values(len: usize) -> Vec<f32> {
    let value = |index: usize| {
        let mut state = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let sum: u64 = (0..4).map(|part| (state >> (16 * part)) & 0xffff).sum();
        (sum as f32 - 131_070.0) / 65_536.0
    };
    (0..len).into_par_iter().map(value).collect()
}
