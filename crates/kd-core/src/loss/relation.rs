//! Losses of relations between examples: distances, angles, similarities.

pub(super) mod cc;
pub(super) mod cirkd;
mod common;
pub(super) mod crd;
pub(super) mod ickd;
pub(super) mod irg;
pub(super) mod pkt;
pub(super) mod rkd_angle;
pub(super) mod rkd_distance;
pub(super) mod sp;

pub use cc::{Cc, CcForm, cc_author, cc_paper, cc_torchdistill};
pub use cirkd::{Cirkd, cirkd};
pub use crd::{Contrast, Crd, Memory, crd};
pub use ickd::{Ickd, ickd};
pub use irg::{Irg, IrgVariant, irg_instances, irg_relations, irg_transformation};
pub use pkt::{Pkt, pkt};
pub use rkd_angle::{RkdAngle, rkd_angle};
pub use rkd_distance::{RkdDistance, rkd_distance};
pub use sp::{Sp, SpCompat, sp};
