//! Several teachers, students that teach each other, and students that teach themselves.

pub(super) mod ban;
pub(super) mod byot;
pub(super) mod ca_mkd;
pub(super) mod common;
pub(super) mod cs_kd;
pub(super) mod dml;
pub(super) mod multi_teacher;

pub use ban::{Ban, BanVariant, ban};
pub use byot::{Byot, byot, byot_features};
pub use ca_mkd::{CaMkd, ca_mkd, ca_mkd_weights};
pub use cs_kd::{CsKd, cs_kd};
pub use dml::{Dml, DmlCompat, dml};
pub use multi_teacher::{Combine, MultiTeacher, TeacherWeights, multi_teacher};
