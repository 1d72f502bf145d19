//! Quantization, exact to the bit: formats and schemes as data, observers, codecs, fake-quantization.
//!
//! A [`Scheme`] says how numbers are rounded (`int8 channel symmetric`). An [`Observer`] watches values and gives
//! their [`Range`]; range and scheme make [`QParams`], scales and zero points. With them [`quantize`] and
//! [`dequantize`] work on slices, and [`fake_quant`] does both at once on a Burn tensor, with a straight-through
//! gradient; [`fake_quant_scheme`] does so for a weight under any scheme. A [`HistogramObserver`] serves calibration, where the tails are cut by a [`Search`]; [`qat`] has the
//! estimators that train scales and clipping levels, or very few levels. Everywhere
//!
//! ```text
//! q = clamp(round_half_even(x / s) + z, qmin, qmax)        x̂ = s · (q − z)
//! ```
//!
//! as ONNX's `QuantizeLinear` and `DequantizeLinear` define it: division by the scale in 32-bit floats, never
//! multiplication by its inverse; ties to even; the zero point added after rounding. Zero is always on the grid.
//! On the CPU backend the tensor's result equals the slices' bit for bit, so what is trained is what is shipped.
//!
//! Burn's own quantized tensors are not used: they have no zero point, no straight-through gradient, and round
//! halves away from zero.
//!
//! ```
//! use quant_core::{Layout, Observer, ObserverSpec, QParams, Scheme, dequantize, quantize};
//!
//! let scheme: Scheme = "int8 tensor affine".parse()?;
//! let values = [0.0, 0.5, 2.0, 6.0];
//! let layout = Layout::tensor(&[4]);
//!
//! let mut observer = Observer::new(ObserverSpec::MinMax);
//! observer.observe(&values, &layout)?;
//! let qparams = QParams::from_range(observer.range().expect("something was seen"), &scheme)?;
//!
//! let codes = quantize(&values, &layout, &qparams)?;
//! assert_eq!(codes, [-128, -107, -43, 127]);
//! assert_eq!(dequantize(&codes, &layout, &qparams)?[0], 0.0);
//! # Ok::<(), quant_core::Error>(())
//! ```

pub mod budget;
mod codec;
mod encode;
mod error;
mod fake_quant;
mod layout;
pub mod number;
mod observer;
pub mod pack;
pub mod ptq;
pub mod qat;
mod qparams;
mod scheme;
mod weight;

pub use codec::{dequantize, quantize};
pub use encode::{Encoded, Encoder, encode, encode_as};
pub use error::Error;
pub use fake_quant::{fake_quant, fake_quant_scalar, weight_scale};
pub use layout::Layout;
pub use observer::{
    Histogram, HistogramObserver, OBSERVERS, Observer, ObserverName, ObserverSpec, SEARCHES, Search,
};
pub use qparams::{QParams, Range};
pub use scheme::{Granularity, ScaleFormat, Scheme, Symmetry};
pub use weight::{decode_weight, encode_weight, fake_quant_scheme, round_weight, weight_matrix};
