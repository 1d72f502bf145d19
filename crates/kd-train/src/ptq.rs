//! Post-training quantization of whole models: every layer with a weight, on inputs that the model itself gives it.
//!
//! `quant-core` knows one layer, as a matrix and sums over its inputs. Here is what it does not know: which layers a
//! captured model has and where their inputs pass ([`layers`](mod@layers)), how a batch becomes the rows that a layer multiplies
//! ([`inputs`]), where a model falls into blocks ([`blocks`](mod@blocks)), which layers scale each other ([`scale`]), in
//! which order a model is rounded ([`walk`](mod@walk)), and what a layer's precision is worth to the whole
//! ([`sensitivity`], [`mixed`]).
//!
//! | step | reads | gives |
//! | --- | --- | --- |
//! | [`Prepared::new`] | a network | the same function with batch norm folded; its layers |
//! | [`walk()`] | the calibration set, as often as there are places in the model | codes, errors before and after, a network to score |
//! | [`sensitivities`] | the calibration set | cost and loss of every layer in every candidate scheme |
//! | [`mixed::front`] | those | all best trades; a budget picks one |
//!
//! Memory: K × K sums a layer, however much data there is; where blocks are reconstructed, also the calibration set and
//! one block's outputs for it. Equal arguments give equal bits.

pub mod blocks;
pub mod inputs;
pub mod layers;
pub mod method;
pub mod mixed;
mod prepare;
mod reconstruct;
mod round;
mod route;
pub mod scale;
pub mod score;
pub mod sensitivity;
mod unfold;
pub mod walk;

use crate::batches::Batch;

pub use blocks::{Block, blocks};
pub use inputs::{Gathered, Squares, gather, gather_as};
pub use layers::{Layer, Route, layers};
pub use method::{METHODS, Method, Objective, Rounding};
pub use prepare::Prepared;
pub use reconstruct::BlockReport;
pub use round::{Coded, Rounded};
pub use score::{Score, score};
pub use sensitivity::{ACTIVATION_BITS, Candidate, Measure, sensitivities};
pub use walk::{LayerReport, Source, Walked, walk};

/// The calibration set, as often as it is wanted.
pub type Batches<'a> = dyn Fn() -> Box<dyn Iterator<Item = Batch> + 'a> + 'a;
