//! Where a data set comes from, as a value: the knobs of a recipe's `[data.NAME]` table.
//!
//! `dyn` because the set of sources is open: another crate brings its own, and a recipe names one of them.

use std::fmt::Debug;

use crate::{Dataset, Error, Folders, Published};

/// What a model has to fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// Shape of one example.
    pub shape: Vec<usize>,
    /// Number of classes.
    pub classes: usize,
}

impl Published {
    /// What its examples are.
    pub fn form(&self) -> Form {
        Form { shape: self.shape.to_vec(), classes: self.classes }
    }
}

/// Something that loads a data set.
pub trait Source: Debug + Send + Sync {
    /// The name of its table in a recipe.
    fn name(&self) -> &'static str;

    /// How many training examples are set aside for validation.
    fn validation(&self) -> usize;

    /// What an example is and how many classes there are, where that is known before anything is read.
    ///
    /// Enough to build a model and to show what it computes, on a machine without the data.
    fn form(&self) -> Option<Form> {
        None
    }

    /// Reads, checks and returns the data.
    ///
    /// # Errors
    /// Whatever is missing or wrong, with the file and what helps.
    fn load(&self, folders: &Folders) -> Result<Dataset, Error>;
}
