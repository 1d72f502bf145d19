//! Where a data set comes from, as a value: the knobs of a recipe's `[data.NAME]` table.
//!
//! `dyn` because the set of sources is open: another crate brings its own, and a recipe names one of them.

use std::fmt::Debug;

use crate::{Dataset, Error, Folders};

/// Something that loads a data set.
pub trait Source: Debug + Send + Sync {
    /// The name of its table in a recipe.
    fn name(&self) -> &'static str;

    /// How many training examples are set aside for validation.
    fn validation(&self) -> usize;

    /// Reads, checks and returns the data.
    ///
    /// # Errors
    /// Whatever is missing or wrong, with the file and what helps.
    fn load(&self, folders: &Folders) -> Result<Dataset, Error>;
}
