//! Coupled groups of known architectures, written by hand from the architecture, and the proof of each group.

#![expect(clippy::duplicate_mod, reason = "the same networks of two libraries' layers")]

#[path = "architectures/attention.rs"]
mod attention;
#[path = "architectures/branches.rs"]
mod branches;
#[path = "architectures/burn_attention.rs"]
mod burn_attention;
#[path = "architectures/convnext.rs"]
mod convnext;
#[path = "architectures/experts.rs"]
mod experts;
#[path = "architectures/grouped.rs"]
mod grouped;
#[path = "architectures/language.rs"]
mod language;
#[path = "architectures/layers.rs"]
mod layers;
#[path = "architectures/mobile.rs"]
mod mobile;
#[path = "architectures/network.rs"]
mod network;
#[path = "architectures/notation.rs"]
mod notation;
#[path = "architectures/of_burn.rs"]
mod of_burn;
#[path = "architectures/oracle.rs"]
mod oracle;
#[path = "architectures/places.rs"]
mod places;
#[path = "architectures/plain.rs"]
mod plain;
#[path = "architectures/queries.rs"]
mod queries;
#[path = "architectures/random.rs"]
mod random;
#[path = "architectures/recurrent.rs"]
mod recurrent;
#[path = "architectures/residual.rs"]
mod residual;
#[path = "architectures/table.rs"]
mod table;
#[path = "architectures/translation.rs"]
mod translation;
#[path = "architectures/vision.rs"]
mod vision;
