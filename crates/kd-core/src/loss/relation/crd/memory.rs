//! What CRD keeps between batches: an embedding of every training example in both models, and the two normalising
//! constants that the first batch sets; and which of its rows an example is compared with.

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};

use crate::loss::math::{divide, mean_all};
use crate::loss::relation::common::unit;
use crate::{Error, Temperature};

const LOSS: &str = "crd";

/// Embeddings of N examples in both models.
#[derive(Debug, Clone)]
pub struct Memory {
    student: Tensor<2>,
    teacher: Tensor<2>,
    /// Logarithms of Z, student's and teacher's; none before the first batch.
    normalisers: Option<[Tensor<1>; 2]>,
}

impl Memory {
    /// A memory with these rows, each `[N, W]`.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`], and [`Error::Shape`] where the two differ.
    pub fn new(student: Tensor<2>, teacher: Tensor<2>) -> Result<Self, Error> {
        if student.dims().contains(&0) {
            return Err(Error::Empty { shape: student.dims().to_vec() });
        }
        if student.dims() != teacher.dims() {
            let expected = "[N, W], as `teacher.student-memory`";
            let (input, found) = ("teacher.teacher-memory", teacher.dims().to_vec());
            return Err(Error::Shape { loss: LOSS, input, expected, found });
        }
        let (student, teacher) = (student.without_autodiff(), teacher.without_autodiff());
        Ok(Memory { student, teacher, normalisers: None })
    }

    /// Rows as the authors start: uniform in ±1/√(W/3), so that their length is about 1; from a seed alone.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`].
    pub fn drawn(examples: usize, width: usize, seed: u64, device: &Device) -> Result<Self, Error> {
        let bound = (3.0 / width as f64).sqrt();
        let rows = |salt: u64| {
            let mut random = Random(seed ^ salt);
            let numbers = (0..examples * width).map(|_| ((2.0 * random.fraction() - 1.0) * bound) as f32);
            Tensor::from_data(TensorData::new(numbers.collect::<Vec<_>>(), [examples, width]), device)
        };
        if examples * width == 0 {
            return Err(Error::Empty { shape: vec![examples, width] });
        }
        Memory::new(rows(0), rows(u64::MAX))
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.student.dims()[0]
    }

    /// Whether there are none; never.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows, the student's and the teacher's.
    pub fn rows(&self) -> [Tensor<2>; 2] {
        [self.student.clone(), self.teacher.clone()]
    }

    /// The same with the constants that this batch sets, if no batch did before.
    ///
    /// # Errors
    ///
    /// Those of [`crd`](super::crd).
    pub fn normalised(
        self,
        student: Tensor<2>,
        teacher: Tensor<2>,
        contrast: &Contrast,
        temperature: Temperature,
    ) -> Result<Self, Error> {
        let (student, teacher) = (student.without_autodiff(), teacher.without_autodiff());
        let scores = self.scores(student, teacher, contrast, temperature)?;
        let normalisers = Some(self.logarithms(&scores));
        Ok(Memory { normalisers, ..self })
    }

    /// The same after a batch: the rows of its examples are `unit(momentum·old + (1 − momentum)·new)`. Where a position
    /// occurs twice, the last one counts.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] for a momentum outside 0 to 1 or a position that is not there, [`Error::Shape`] for
    /// embeddings that are not one row for each position.
    pub fn updated(
        self,
        student: Tensor<2>,
        teacher: Tensor<2>,
        positions: &[usize],
        momentum: f64,
    ) -> Result<Self, Error> {
        if !(0.0..=1.0).contains(&momentum) {
            return Err(Error::OutOfRange { name: "momentum", expected: "from 0 to 1", found: momentum });
        }
        check_positions(positions.iter().copied(), self.len())?;
        let width = self.student.dims()[1];
        for (x, input) in [(&student, "student embeddings"), (&teacher, "teacher embeddings")] {
            if x.dims() != [positions.len(), width] {
                let (expected, found) =
                    ("one row for each position, as wide as the memory", x.dims().to_vec());
                return Err(Error::Shape { loss: LOSS, input, expected, found });
            }
        }
        let last = |i: &usize| !positions[i + 1..].contains(&positions[*i]);
        let kept: Vec<usize> = (0..positions.len()).filter(last).collect();
        let places: Vec<usize> = kept.iter().map(|&i| positions[i]).collect();
        let device = self.student.device();
        let (kept, places) = (integers(&kept, &device), integers(&places, &device));
        let update = |memory: Tensor<2>, x: Tensor<2>| {
            let old = memory.clone().select(0, places.clone());
            let new = x.without_autodiff().select(0, kept.clone());
            let new = unit(old.clone().mul_scalar(momentum) + new.mul_scalar(1.0 - momentum));
            memory.select_assign(0, places.clone(), new - old, IndexingUpdateOp::Add)
        };
        Ok(Memory { student: update(self.student, student), teacher: update(self.teacher, teacher), ..self })
    }

    /// Scores over the temperature, `[B, K + 1]`: of the student's embeddings with the teacher's rows, and the reverse.
    pub(super) fn scores(
        &self,
        student: Tensor<2>,
        teacher: Tensor<2>,
        contrast: &Contrast,
        temperature: Temperature,
    ) -> Result<[Tensor<2>; 2], Error> {
        let [batch, columns] = contrast.shape;
        let width = self.student.dims()[1];
        for (x, input) in [(&student, "student embeddings"), (&teacher, "teacher embeddings")] {
            if x.dims() != [batch, width] {
                let expected = "[B, W], one row for each row of indices, as wide as the memory";
                return Err(Error::Shape { loss: LOSS, input, expected, found: x.dims().to_vec() });
            }
        }
        check_positions(contrast.indices.iter().copied(), self.len())?;
        let indices = integers(&contrast.indices, &self.student.device());
        let against = |memory: &Tensor<2>, x: Tensor<2>| {
            let rows = memory.clone().select(0, indices.clone()).reshape([batch, columns, width]);
            let scores = rows.matmul(x.reshape([batch, width, 1])).reshape([batch, columns]);
            divide(scores, temperature.get())
        };
        Ok([against(&self.teacher, student), against(&self.student, teacher)])
    }

    /// Logarithms of Z: those that were set, or of this batch.
    pub(super) fn logarithms(&self, scores: &[Tensor<2>; 2]) -> [Tensor<1>; 2] {
        let rows = self.len() as f64;
        self.normalisers.clone().unwrap_or_else(|| {
            scores.clone().map(|scores| {
                let scores = scores.without_autodiff();
                let largest = scores.clone().max();
                let mean = mean_all((scores - largest.clone().reshape([1, 1])).exp());
                mean.log() + largest.add_scalar(rows.ln())
            })
        })
    }
}

/// The rows of a memory that each example is compared with: its own, then K others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contrast {
    indices: Vec<usize>,
    /// Examples and K + 1.
    shape: [usize; 2],
}

impl Contrast {
    /// Row-major indices of `examples` rows, each an example's own position and at least one other.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] where they do not make such rows.
    pub fn new(indices: Vec<usize>, examples: usize) -> Result<Self, Error> {
        let columns = indices.len() / examples.max(1);
        if columns < 2 || columns * examples != indices.len() {
            let (expected, found) = ("[B, K + 1] with K at least 1", vec![examples, columns]);
            return Err(Error::Shape { loss: LOSS, input: "teacher.indices", expected, found });
        }
        Ok(Contrast { indices, shape: [examples, columns] })
    }

    /// For the examples at `positions`, `negatives` rows each, uniformly among `memory` rows and from a seed alone: the
    /// same arguments give the same rows on every device. As in the authors' code an example's own row may be among
    /// them. Take another seed for every batch.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] without examples or negatives, [`Error::OutOfRange`] for a position that is not there.
    pub fn drawn(positions: &[usize], negatives: usize, memory: usize, seed: u64) -> Result<Self, Error> {
        check_positions(positions.iter().copied(), memory)?;
        let mut random = Random(seed);
        let mut indices = Vec::with_capacity(positions.len() * (negatives + 1));
        for &own in positions {
            indices.push(own);
            indices.extend((0..negatives).map(|_| random.below(memory)));
        }
        Contrast::new(indices, positions.len())
    }

    /// The indices, row by row.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    /// From whole numbers in a tensor of floats.
    pub(super) fn from_numbers(numbers: &[f64], examples: usize, memory: usize) -> Result<Self, Error> {
        let whole = |&x: &f64| {
            let fits = x.fract() == 0.0 && x >= 0.0 && x < memory as f64;
            fits.then_some(x as usize).ok_or_else(|| not_there(x))
        };
        Contrast::new(numbers.iter().map(whole).collect::<Result<_, _>>()?, examples)
    }
}

fn check_positions(positions: impl Iterator<Item = usize>, memory: usize) -> Result<(), Error> {
    let mut positions = positions;
    positions.find(|&at| at >= memory).map_or(Ok(()), |at| Err(not_there(at as f64)))
}

fn not_there(found: f64) -> Error {
    Error::OutOfRange { name: "indices", expected: "whole numbers below the memory's number of rows", found }
}

fn integers(numbers: &[usize], device: &Device) -> Tensor<1, Int> {
    let numbers: Vec<i64> = numbers.iter().map(|&x| x as i64).collect();
    let len = numbers.len();
    Tensor::from_data(TensorData::new(numbers, [len]), device)
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a few lines that will give the same numbers in ten years.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to 1, 1 excluded.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }
}
