//! Weights as plain numbers, between Burn's modules and files.
//!
//! The crate touches no tensor of Burn: whoever holds a module reads its parameters out once, by path, and
//! everything here works on the copy. That keeps exports independent of devices and reproducible byte for byte.

use std::collections::BTreeMap;

use crate::Error;

/// A row-major array of `f32`.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    shape: Vec<usize>,
    data: Vec<f32>,
}

/// Parameters and buffers by their path in the module (`blocks.0.conv.weight`), in Burn's layouts.
pub type Weights = BTreeMap<String, Array>;

impl Array {
    /// An array of this shape.
    ///
    /// # Errors
    /// When the number of elements is not the product of the shape.
    pub fn new(shape: impl Into<Vec<usize>>, data: impl Into<Vec<f32>>) -> Result<Self, Error> {
        let (shape, data) = (shape.into(), data.into());
        let expected = shape.iter().product();
        if expected != data.len() {
            return Err(Error::ArrayLength { shape, expected, found: data.len() });
        }
        Ok(Self { shape, data })
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, the last axis fastest.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The elements, the last axis fastest.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// The transpose of a matrix; other ranks are returned as they are.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let &[rows, columns] = self.shape.as_slice() else {
            return self.clone();
        };
        let mut data = Vec::with_capacity(self.data.len());
        for column in 0..columns {
            data.extend((0..rows).map(|row| self.data[row * columns + column]));
        }
        Self { shape: vec![columns, rows], data }
    }

    /// Applies `f(index along axis, element)` to every element.
    #[must_use]
    pub(crate) fn map_along(&self, axis: usize, f: impl Fn(usize, f32) -> f32) -> Self {
        let inner: usize = self.shape[axis + 1..].iter().product();
        let size = self.shape[axis];
        let data = self.data.iter().enumerate();
        let data = data.map(|(at, &x)| f(at / inner.max(1) % size.max(1), x)).collect();
        Self { shape: self.shape.clone(), data }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_length_must_fit_the_shape() {
        let error = Array::new([2, 3], [0.0; 5]).unwrap_err();
        assert_eq!(error.to_string(), "expected 6 elements for shape [2, 3], found 5");
        assert!(Array::new([], [1.0]).is_ok());
    }

    #[test]
    fn transposing_twice_is_nothing() {
        let a = Array::new([2, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let t = a.transposed();
        assert_eq!((t.shape(), t.data()), ([3, 2].as_slice(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0].as_slice()));
        assert_eq!(t.transposed(), a);
    }

    #[test]
    fn map_along_sees_the_index_of_its_axis() {
        let a = Array::new([2, 3], [0.0; 6]).unwrap();
        assert_eq!(a.map_along(0, |i, _| i as f32).data(), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(a.map_along(1, |i, _| i as f32).data(), [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
    }
}
