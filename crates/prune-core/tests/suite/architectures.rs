//! Coupled groups of known architectures, written by hand from the architecture, and the proof of each group.

#[path = "architectures/notation.rs"]
mod notation;
#[path = "architectures/reference.rs"]
mod reference;
#[path = "architectures/table.rs"]
mod table;

#[path = "architectures/plain.rs"]
mod plain;
