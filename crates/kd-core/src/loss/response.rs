//! Losses of the logits: what a student learns from a teacher's answers.

pub(super) mod cross_entropy;
pub(super) mod kl;

pub use cross_entropy::{CrossEntropy, LabelSmoothing, cross_entropy};
pub use kl::{Divergence, Kl, Reduction, kl, kl_of_tokens};
