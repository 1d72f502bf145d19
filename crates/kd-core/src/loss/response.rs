//! Losses of the logits: what a student learns from a teacher's answers.

pub(super) mod common;
pub(super) mod cross_entropy;
pub(super) mod dist;
pub(super) mod dkd;
pub(super) mod kl;
mod kl_compat;
pub(super) mod logit_standardization;
pub(super) mod nkd;
pub(super) mod tf_kd;
pub(super) mod wsld;

pub use cross_entropy::{CrossEntropy, LabelSmoothing, cross_entropy};
pub use dist::{Dist, dist};
pub use dkd::{Dkd, DkdCompat, dkd, dkd_parts};
pub use kl::{Divergence, Kl, Reduction, kl, kl_of_tokens};
pub use kl_compat::KlCompat;
pub use logit_standardization::{LogitStandardization, LogitStandardizationCompat, logit_standardization};
pub use nkd::{Nkd, nkd};
pub use tf_kd::{TfKd, TfKdVariant, tf_kd};
pub use wsld::{Wsld, wsld};
