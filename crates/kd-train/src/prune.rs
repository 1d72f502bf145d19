//! What it takes to remove channels, heads and whole modules from a network, and to know beforehand that it can be done.
//!
//! | | |
//! | --- | --- |
//! | [`follow`](mod@follow) | which plain numbers of a network follow a cut by themselves |
//! | [`provable`] | which axes can be proved, so that a stage may cut them |
//! | [`gather`](mod@gather) | what criteria read beside weights, over calibration batches |
//! | `empty`, `elements` | what masks left empty; whole blocks and experts |
//! | `removal` | a stage's request, tried before anything trains |
//! | [`compensate`](mod@compensate) | what removed channels gave, moved into biases |
//!
//! Scores, plans and cuts themselves are `prune-core`'s, which knows no models; a stage puts all of it in order.

pub mod compensate;
pub(crate) mod elements;
pub(crate) mod empty;
pub mod follow;
pub mod gather;
pub mod provable;
pub(crate) mod removal;
