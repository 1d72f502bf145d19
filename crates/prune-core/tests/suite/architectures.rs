//! Coupled groups of known architectures, written by hand from the architecture, and the proof of each group.

#[path = "architectures/notation.rs"]
mod notation;
#[path = "architectures/reference.rs"]
mod reference;
#[path = "architectures/table.rs"]
mod table;

#[path = "architectures/branches.rs"]
mod branches;
#[path = "architectures/layers.rs"]
mod layers;
#[path = "architectures/mobile.rs"]
mod mobile;
#[path = "architectures/plain.rs"]
mod plain;
#[path = "architectures/random.rs"]
mod random;
#[path = "architectures/residual.rs"]
mod residual;
