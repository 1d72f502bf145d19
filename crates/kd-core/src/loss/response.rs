//! Losses of the logits: what a student learns from a teacher's answers.

pub(super) mod common;
pub(super) mod cross_entropy;
pub(super) mod ctkd;
pub(super) mod cwsm;
pub(super) mod deit;
pub(super) mod dist;
pub(super) mod dkd;
pub(super) mod flsw;
pub(super) mod kl;
mod kl_compat;
pub(super) mod logit_standardization;
pub(super) mod mlkd;
pub(super) mod nkd;
pub(super) mod ofa;
mod rows;
pub(super) mod tf_kd;
pub(super) mod top_k;
pub(super) mod uld;
pub(super) mod wsld;

pub use cross_entropy::{CrossEntropy, LabelSmoothing, cross_entropy};
pub use ctkd::{Ctkd, CtkdVariant, ctkd};
pub use cwsm::{Cwsm, cwsm};
pub use deit::{Deit, DeitVariant, deit};
pub use dist::{Dist, dist};
pub use dkd::{Dkd, DkdCompat, dkd, dkd_parts};
pub use flsw::{Flsw, TemperatureCompat, flsw};
pub use kl::{Divergence, Kl, Reduction, kl, kl_of_tokens};
pub use kl_compat::KlCompat;
pub use logit_standardization::{LogitStandardization, LogitStandardizationCompat, logit_standardization};
pub use mlkd::{Mlkd, mlkd};
pub use nkd::{Nkd, nkd};
pub use ofa::{Ofa, ofa};
pub use tf_kd::{TfKd, TfKdVariant, tf_kd};
pub use top_k::{Missing, TopK, TopKCompat, top_k};
pub use uld::{Uld, uld};
pub use wsld::{Wsld, wsld};
