//! Distillation without data, against an adversary, and for robustness.

pub(super) mod ard;
pub(super) mod dafl;
pub(super) mod deep_inversion;
pub(super) mod dfad;
pub(super) mod discriminator;
pub(super) mod rslad;

pub use ard::{Ard, ard};
pub use dafl::{Dafl, Logarithm, dafl};
pub use deep_inversion::{
    DeepInversion, DeepInversionCompat, Inversion, NormLayer, batch_norm_distance, competition,
    deep_inversion, total_variation,
};
pub use dfad::{Dfad, DfadRole, dfad};
pub use discriminator::{Discriminator, DiscriminatorInput, DiscriminatorRole, discriminator};
pub use rslad::{Rslad, rslad};
