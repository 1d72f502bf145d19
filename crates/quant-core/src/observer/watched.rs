//! An observer that keeps a histogram a cell.

use serde::{Deserialize, Serialize};

use super::{Histogram, Search};
use crate::{Error, Layout, Range, Scheme};

/// Histograms of the cells of a tensor, from which a [`Search`] takes ranges.
///
/// Its state is plain data of at most `bins` counts a cell, whatever the number of batches, and depends on the values
/// seen alone: not on their order, the batches they came in, or how observers were merged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ObserverAsStored")]
pub struct HistogramObserver {
    bins: usize,
    cells: Vec<Histogram>,
}

impl HistogramObserver {
    /// Bins that resolve a range at least as finely as torch's 2048: the width is rounded up to a power of two, so
    /// between half and all of these are in use.
    pub const BINS: usize = 4096;

    /// An observer that has seen nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] unless there are 2 to 2²⁴ bins.
    pub fn new(bins: usize) -> Result<Self, Error> {
        check_bins(bins).map(|()| Self { bins, cells: Vec::new() })
    }

    /// Takes in a batch of values.
    ///
    /// # Errors
    ///
    /// [`Error::NotFinite`] with the position of a value that is not finite, [`Error::Length`] and [`Error::Axis`]
    /// for a layout that does not fit, [`Error::Cells`] for another number of cells than before; then nothing is
    /// taken in.
    pub fn observe(&mut self, values: &[f32], layout: &Layout) -> Result<(), Error> {
        layout.check(values.len())?;
        if let Some(index) = values.iter().position(|x| !x.is_finite()) {
            return Err(Error::NotFinite { index, value: values[index] });
        }
        if values.is_empty() {
            return Ok(());
        }
        let cells = layout.cells();
        self.check_cells(cells)?;
        let mut extremes = vec![(f32::INFINITY, f32::NEG_INFINITY); cells];
        for (position, &x) in values.iter().enumerate() {
            let (min, max) = &mut extremes[layout.cell(position)];
            (*min, *max) = (min.min(x), max.max(x));
        }
        match self.cells.is_empty() {
            true => {
                let new = |&(min, max): &(f32, f32)| Histogram::new(self.bins, min, max);
                self.cells = extremes.iter().map(new).collect();
            }
            false => {
                for (histogram, (min, max)) in self.cells.iter_mut().zip(extremes) {
                    histogram.cover(min, max);
                }
            }
        }
        for (position, &x) in values.iter().enumerate() {
            self.cells[layout.cell(position)].count(x);
        }
        Ok(())
    }

    /// Takes in what another observer has seen.
    ///
    /// # Errors
    ///
    /// [`Error::Bins`] for another number of bins, [`Error::Cells`] for another number of cells.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        if self.bins != other.bins {
            return Err(Error::Bins { left: self.bins, right: other.bins });
        }
        if other.cells.is_empty() {
            return Ok(());
        }
        self.check_cells(other.cells.len())?;
        if self.cells.is_empty() {
            self.cells.clone_from(&other.cells);
        } else {
            self.cells.iter_mut().zip(&other.cells).for_each(|(cell, other)| cell.merge(other));
        }
        Ok(())
    }

    /// The range of each cell that `search` finds for `scheme`; none before the first batch.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a search with a knob out of range, [`Error::TooWide`] for values near the end of 32-bit
    /// floats.
    pub fn range(&self, search: &Search, scheme: &Scheme) -> Result<Option<Range>, Error> {
        if self.cells.is_empty() {
            return Ok(None);
        }
        let found: Result<(Vec<f32>, Vec<f32>), Error> =
            self.cells.iter().map(|histogram| search.range(histogram, scheme)).collect();
        let (min, max) = found?;
        Range::new(min, max).map(Some)
    }

    /// The histograms, one a cell; none before the first batch.
    pub fn histograms(&self) -> &[Histogram] {
        &self.cells
    }

    fn check_cells(&self, found: usize) -> Result<(), Error> {
        match self.cells.len() {
            0 => Ok(()),
            expected if expected == found => Ok(()),
            expected => Err(Error::Cells { what: "histograms", expected, found }),
        }
    }
}

/// Two bins at least, or a range across zero, which no width makes one bin, would never fit.
pub(super) fn check_bins(bins: usize) -> Result<(), Error> {
    match (2..=1 << 24).contains(&bins) {
        true => Ok(()),
        false => Err(Error::Setting { what: "bins", expected: "from 2 to 2^24", found: bins as f64 }),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ObserverAsStored {
    bins: usize,
    cells: Vec<Histogram>,
}

impl TryFrom<ObserverAsStored> for HistogramObserver {
    type Error = Error;

    fn try_from(stored: ObserverAsStored) -> Result<Self, Error> {
        let ObserverAsStored { bins, cells } = stored;
        check_bins(bins)?;
        match cells.iter().find(|cell| cell.bins() != bins) {
            Some(cell) => Err(Error::Bins { left: bins, right: cell.bins() }),
            None => Ok(Self { bins, cells }),
        }
    }
}
