//! Losses of features: what a student learns from a teacher's layers.

mod common;

pub(super) mod ab;
pub(super) mod at;
pub(super) mod cwd;
pub(super) mod fsp;
pub(super) mod ft;
pub(super) mod hint;
pub(super) mod nst;
pub(super) mod ofd;
pub(super) mod vid;

pub use ab::{Ab, Margin, ab};
pub use at::{At, AtVariant, Power, at};
pub use cwd::{Cwd, cwd};
pub use fsp::{Fsp, FspVariant, fsp};
pub use ft::{Ft, FtVariant, ft};
pub use hint::{Hint, hint};
pub use nst::{Nst, nst};
pub use ofd::{Ofd, margin_of_batch, margin_of_batch_norm, ofd};
pub use vid::{Vid, VidCompat, VidRegression, vid};
