//! Watching values: what range should their grid cover?
//!
//! Two kinds. A running [`Observer`] keeps a range: the extremes, or a moving average of the batches' extremes. A
//! [`HistogramObserver`] keeps how often each size occurs and is asked for a range afterwards, by any [`Search`] and
//! for any scheme, so that one pass over the calibration set serves every comparison:
//!
//! | search | the range | meant for |
//! | --- | --- | --- |
//! | [`Search::Percentile`] | what is left when the tails are cut | stray outliers |
//! | [`Search::Entropy`] | least information lost (Kullback–Leibler) | activations of classifiers, 8 bits |
//! | [`Search::Mse`] | least error \|x − x̂\|^p over shrunk ranges | few bits |
//! | [`Search::L2`] | least squared error, tails cut by steps, as torch does | what torch calibrates |
//!
//! Everything but the moving average is a function of the multiset of values that were seen: batches may come in any
//! order and any split, on any number of observers that are merged afterwards, and the result is the same to the bit.
//! torch's `HistogramObserver`, ONNX Runtime's calibrators and neural-compressor's KL calibrator do not have that
//! property: they redistribute counts by guesswork when the range grows, or keep every activation.

mod running;

mod histogram;
mod watched;

mod search;

mod distortion;
mod entropy;
mod l2;
mod mse;
mod percentile;

pub use histogram::Histogram;
pub use running::{OBSERVERS, Observer, ObserverName, ObserverSpec};
pub use search::{SEARCHES, Search};
pub use watched::HistogramObserver;
