//! Tensors with holes.

/// A tensor, row-major; what is absent has the value 0.
#[derive(Debug, Clone)]
pub(super) struct Partial {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f64>,
    pub(super) present: Vec<bool>,
}

impl Partial {
    pub(super) fn whole(shape: Vec<usize>, values: Vec<f64>) -> Self {
        let present = vec![true; values.len()];
        Self { shape, values, present }
    }

    pub(super) fn empty(shape: Vec<usize>) -> Self {
        let count = shape.iter().product();
        Self { shape, values: vec![0.0; count], present: vec![false; count] }
    }

    /// Every element from its index.
    pub(super) fn build(shape: Vec<usize>, at: impl Fn(&[usize]) -> Option<f64>) -> Self {
        let mut out = Self::empty(shape);
        let mut index = vec![0; out.shape.len()];
        for i in 0..out.values.len() {
            if let Some(value) = at(&index) {
                (out.values[i], out.present[i]) = (value, true);
            }
            for (digit, &size) in index.iter_mut().zip(&out.shape).rev() {
                *digit += 1;
                if *digit < size {
                    break;
                }
                *digit = 0;
            }
        }
        out
    }

    pub(super) fn get(&self, at: &[usize]) -> Option<f64> {
        let i = self.offset(at);
        self.present[i].then(|| self.values[i])
    }

    /// The place of an index.
    pub(super) fn offset(&self, at: &[usize]) -> usize {
        at.iter().zip(&self.shape).fold(0, |i, (at, size)| i * size + at)
    }

    /// Leaves these indices of a dimension alone there.
    pub(super) fn remove(&mut self, dim: usize, keep: &[usize]) {
        let inner: usize = self.shape[dim + 1..].iter().product();
        let mut stays = vec![false; self.shape[dim]];
        keep.iter().for_each(|&index| stays[index] = true);
        for i in 0..self.values.len() {
            if !stays[i / inner % stays.len()] {
                (self.values[i], self.present[i]) = (0.0, false);
            }
        }
    }

    pub(super) fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        let mut out = self.clone();
        for (value, _) in out.values.iter_mut().zip(&out.present).filter(|(_, present)| **present) {
            *value = f(*value);
        }
        out
    }

    /// Of two tensors that are repeated along dimensions of size one.
    pub(super) fn zip(a: &Self, b: &Self, shape: Vec<usize>, f: impl Fn(f64, f64) -> f64) -> Self {
        let (mut a, b) = (a.stretch(&shape), b.stretch(&shape));
        for i in 0..a.values.len() {
            a.present[i] &= b.present[i];
            a.values[i] = if a.present[i] { f(a.values[i], b.values[i]) } else { 0.0 };
        }
        a
    }

    /// With numbers that belong to a dimension.
    pub(super) fn along(&self, dim: usize, vectors: &[&Partial], f: impl Fn(f64, &[f64]) -> f64) -> Self {
        let inner: usize = self.shape[dim + 1..].iter().product();
        let own =
            |unit: usize| vectors.iter().map(|vector| vector.get(&[unit])).collect::<Option<Vec<f64>>>();
        let own: Vec<Option<Vec<f64>>> = (0..self.shape[dim]).map(own).collect();
        let mut out = self.clone();
        for i in 0..out.values.len() {
            match &own[i / inner % own.len()] {
                Some(own) if out.present[i] => out.values[i] = f(out.values[i], own),
                _ => (out.values[i], out.present[i]) = (0.0, false),
            }
        }
        out
    }

    /// Leading dimensions of size one up to this rank.
    pub(super) fn lift(&self, rank: usize) -> Self {
        let mut shape = vec![1; rank - self.shape.len()];
        shape.extend(&self.shape);
        Self { shape, ..self.clone() }
    }

    /// Repeated along dimensions of size one.
    pub(super) fn stretch(&self, shape: &[usize]) -> Self {
        let lifted = self.lift(shape.len());
        if lifted.shape == shape {
            return lifted;
        }
        lifted.gather(shape.to_vec(), |at| {
            at.iter().zip(&lifted.shape).map(|(&at, &size)| if size == 1 { 0 } else { at }).collect()
        })
    }

    pub(super) fn gather(&self, shape: Vec<usize>, from: impl Fn(&[usize]) -> Vec<usize>) -> Self {
        Self::build(shape, |at| self.get(&from(at)))
    }

    /// One after the other along a dimension.
    pub(super) fn concat(parts: &[&Partial], axis: usize, shape: Vec<usize>) -> Self {
        Self::build(shape, |at| {
            let mut at = at.to_vec();
            let part = parts.iter().find(|part| {
                let inside = at[axis] < part.shape[axis];
                if !inside {
                    at[axis] -= part.shape[axis];
                }
                inside
            });
            part?.get(&at)
        })
    }

    /// A function of what is there of each line along a dimension, to as many numbers.
    pub(super) fn lines(&self, axis: usize, f: impl Fn(&[f64]) -> Vec<f64>) -> Self {
        let mut out = self.clone();
        for line in self.starts(axis) {
            let line: Vec<usize> = line.filter(|&i| self.present[i]).collect();
            if !line.is_empty() {
                let values: Vec<f64> = line.iter().map(|&i| self.values[i]).collect();
                line.iter().zip(f(&values)).for_each(|(&i, value)| out.values[i] = value);
            }
        }
        out
    }

    /// As many elements along a dimension as `shape` has there, of those that are there.
    pub(super) fn first(&self, axis: usize, shape: Vec<usize>) -> Self {
        Self::build(shape, |at| {
            let mut line = (0..self.shape[axis]).filter_map(|i| {
                let mut at = at.to_vec();
                at[axis] = i;
                self.get(&at)
            });
            line.nth(at[axis])
        })
    }

    /// A number for each line along a dimension, which stays with size one.
    pub(super) fn reduce(&self, axis: usize, f: impl Fn(&[f64]) -> f64) -> Self {
        let mut shape = self.shape.clone();
        shape[axis] = 1;
        let mut out = Self::empty(shape);
        for (i, line) in self.starts(axis).enumerate() {
            let line: Vec<f64> = line.filter(|&i| self.present[i]).map(|i| self.values[i]).collect();
            if !line.is_empty() {
                (out.values[i], out.present[i]) = (f(&line), true);
            }
        }
        out
    }

    /// The places of each line along a dimension, in row-major order of the others.
    fn starts(&self, axis: usize) -> impl Iterator<Item = impl Iterator<Item = usize> + use<>> + use<> {
        let (size, inner) = (self.shape[axis], self.shape[axis + 1..].iter().product::<usize>());
        let outer: usize = self.shape[..axis].iter().product();
        (0..outer * inner).map(move |line| {
            let start = line / inner * inner * size + line % inner;
            (0..size).map(move |i| start + i * inner)
        })
    }
}
