//! Layers' inputs of several kinds, for tests and for `examples/gptq_knobs.rs`.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "not each of those who share it needs all of it")]

use quant_core::ptq::{InputStats, Matrix};

/// A small generator of our own, so that the values never change with a dependency.
pub(crate) struct Lcg(pub(crate) u64);

impl Lcg {
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Close to a standard normal number: twelve uniform ones.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    pub(crate) fn normals(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.normal() as f32).collect()
    }
}

/// What a layer's inputs are like: each token a few hidden numbers, mixed, and some noise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) hidden: usize,
    pub(crate) noise: f32,
    /// Where each input is pushed, and whether a ReLU follows.
    pub(crate) offset: f32,
    pub(crate) relu: bool,
    /// Inputs that are 20 times as large; and hidden numbers divided by uniform ones, which gives them heavy tails.
    pub(crate) outliers: usize,
}

const PLAIN: Kind = Kind { name: "", hidden: 8, noise: 0.3, offset: 0.0, relu: false, outliers: 0 };

/// The kinds on which GPTQ has to win.
pub(crate) const KINDS: [Kind; 7] = [
    Kind { name: "8 hidden", ..PLAIN },
    Kind { name: "8 hidden, pushed, ReLU", offset: 0.5, relu: true, ..PLAIN },
    Kind { name: "24 hidden, ReLU", hidden: 24, relu: true, ..PLAIN },
    Kind { name: "4 hidden, pushed", hidden: 4, offset: 1.0, ..PLAIN },
    Kind { name: "low rank", hidden: 4, noise: 0.02, ..PLAIN },
    Kind { name: "heavy tails, outliers", hidden: 16, outliers: 4, ..PLAIN },
    Kind { name: "heavy tails, outliers, ReLU", hidden: 16, outliers: 4, relu: true, ..PLAIN },
];

/// A source of inputs of a kind.
pub(crate) struct Source {
    kind: Kind,
    mix: Vec<f32>,
    size: Vec<f32>,
}

impl Source {
    pub(crate) fn new(random: &mut Lcg, kind: Kind, columns: usize) -> Self {
        let mix = random.normals(kind.hidden * columns);
        let mut size = vec![1.0; columns];
        (0..kind.outliers).for_each(|_| size[(random.uniform() * columns as f64) as usize] = 20.0);
        Self { kind, mix, size }
    }

    pub(crate) fn draw(&self, random: &mut Lcg, tokens: usize) -> Vec<f32> {
        let (kind, columns) = (self.kind, self.size.len());
        let mut x = Vec::with_capacity(tokens * columns);
        for _ in 0..tokens {
            let mut hidden = random.normals(kind.hidden);
            if kind.outliers > 0 {
                hidden.iter_mut().for_each(|h| *h /= 0.2 + random.uniform() as f32);
            }
            for j in 0..columns {
                let mixed: f32 = (0..kind.hidden).map(|k| hidden[k] * self.mix[k * columns + j]).sum();
                let value =
                    mixed / (kind.hidden as f32).sqrt() + kind.noise * random.normal() as f32 + kind.offset;
                x.push(self.size[j] * if kind.relu { value.max(0.0) } else { value });
            }
        }
        x
    }
}

pub(crate) fn view(columns: usize, values: &[f32]) -> Matrix<'_> {
    Matrix::new("matrix", values.len() / columns, columns, values).unwrap()
}

pub(crate) fn stats(columns: usize, x: &[f32]) -> InputStats {
    let mut stats = InputStats::new(columns);
    stats.observe(view(columns, x)).unwrap();
    stats
}
