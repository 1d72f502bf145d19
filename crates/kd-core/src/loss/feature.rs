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
mod layers;
mod resize;
mod stages;

pub(super) mod affine;
pub(super) mod mgd;
pub(super) mod pkd;
pub(super) mod region_at;
pub(super) mod review_kd;
pub(super) mod sem_ckd;
pub(super) mod srd;
pub(super) mod temporal_difference;

pub use hint::{Hint, hint};

pub use affine::{Affine, AffineAlignment, affine};
pub use mgd::{Mgd, MgdGeneration, MgdMaskOver, MgdMaskedShare, mgd};
pub use pkd::{Pkd, pkd};
pub use region_at::{RegionAt, RegionAtBackground, region_at};
pub use review_kd::{ReviewFusion, ReviewKd, hcl, review_kd};
pub use sem_ckd::{SemCkd, SemCkdCalibration, SemCkdEmbedding, SemCkdRegressor, sem_ckd};
pub use srd::{Srd, SrdExponent, SrdPositions, srd};
pub use temporal_difference::{TemporalDifference, temporal_difference};
