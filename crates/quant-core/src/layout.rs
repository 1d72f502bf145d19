//! Which scale belongs to which element, for every granularity alike.

use crate::Error;

/// The shape of some values, and the axis along which each index has a scale of its own.
///
/// The values that share a scale are a *cell*: the whole tensor without an axis, else everything at one index of
/// the axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Row-major shape.
    pub shape: Vec<usize>,
    /// The axis of the cells; none where there is one cell.
    pub axis: Option<usize>,
}

impl Layout {
    /// One cell.
    pub fn tensor(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), axis: None }
    }

    /// A cell for each index of `axis`.
    ///
    /// # Errors
    ///
    /// [`Error::Axis`].
    pub fn channel(shape: &[usize], axis: usize) -> Result<Self, Error> {
        let layout = Self { shape: shape.to_vec(), axis: Some(axis) };
        layout.check(shape.iter().product()).map(|()| layout)
    }

    /// Number of cells.
    pub fn cells(&self) -> usize {
        self.axis.map_or(1, |axis| self.shape.get(axis).copied().unwrap_or(0))
    }

    /// The cell of the element at a row-major position.
    pub fn cell(&self, position: usize) -> usize {
        match self.axis {
            None => 0,
            Some(axis) => position / self.inner(axis) % self.shape[axis],
        }
    }

    /// Neighbours that share a cell: what lies behind one index of the axis.
    pub(crate) fn inner(&self, axis: usize) -> usize {
        self.shape[axis + 1..].iter().product()
    }

    /// An error unless the axis exists and `len` values fill the shape.
    pub(crate) fn check(&self, len: usize) -> Result<(), Error> {
        if let Some(axis) = self.axis.filter(|axis| *axis >= self.shape.len()) {
            return Err(Error::Axis { shape: self.shape.clone(), axis });
        }
        let expected = self.shape.iter().product();
        match len == expected {
            true => Ok(()),
            false => Err(Error::Length { shape: self.shape.clone(), expected, found: len }),
        }
    }
}
