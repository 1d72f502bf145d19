//! Losses of features: what a student learns from a teacher's layers.

pub(super) mod hint;

pub use hint::{Hint, hint};
