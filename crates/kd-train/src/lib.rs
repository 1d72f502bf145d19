//! Training of teachers and students on Burn: recipes, stages, the loop, run directories.
//!
//! A [`recipe::Recipe`] says what is trained, from whom and in which stages; [`session::start`] runs it in a directory
//! that is enough to repeat it. A model is a plain Burn module that implements [`Model`]; it never learns
//! whether it is a teacher, a student, pruned or quantized.
//!
//! Reading order: [`model`], [`network`], [`fit`](mod@fit), [`pipeline`], [`session`].

pub mod model;
pub mod models;

pub mod activations;
pub mod compress;
pub mod estimator;
pub mod learned;
pub mod network;
pub mod observing;
pub mod survey;

pub mod batches;
pub mod checkpoint;
mod connect;
pub mod evaluate;
pub mod event;
pub mod fit;
mod log;
pub mod optimizer;
pub mod regime;
pub mod seeds;
pub mod share;
pub mod sparsify;

mod artifacts;
pub mod cast;
pub mod checkpoint_quant;
pub mod export;
pub mod fold;
mod gates;
mod kept;
mod latency;
pub mod loss_eval;
pub mod measure;
pub mod pack;
pub mod patterns;
pub mod pipeline;
pub mod prune;
pub mod prune_eval;
pub mod ptq;
pub mod quantize;
pub mod run;
pub mod schedule_eval;
mod stage;
pub mod weights;

pub mod recipe;
pub mod registry;

pub mod report;
pub mod run_dir;
pub mod session;
pub mod summary;
pub mod tensors;

pub mod device;
mod error;
mod exact;
pub mod explain;
pub mod problem;

pub use error::{CheckpointReason, Error, Kind};
pub use model::{Model, Task};
pub use registry::Registry;
