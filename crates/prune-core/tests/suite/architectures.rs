//! Coupled groups of known architectures, written by hand from the architecture, and the proof of each group.

#[path = "architectures/notation.rs"]
mod notation;
#[path = "architectures/reference.rs"]
mod reference;
#[path = "architectures/table.rs"]
mod table;

#[path = "architectures/plain.rs"]
mod plain;

#[path = "architectures/attention.rs"]
mod attention;
#[path = "architectures/burn_attention.rs"]
mod burn_attention;
#[path = "architectures/experts.rs"]
mod experts;
#[path = "architectures/language.rs"]
mod language;
#[path = "architectures/recurrent.rs"]
mod recurrent;
#[path = "architectures/vision.rs"]
mod vision;
