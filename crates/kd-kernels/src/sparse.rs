//! Products `y = x·Wᵀ + b` with weights of which a pattern leaves out a part: blocks of four outputs by one input, or
//! K of every M inputs.
//!
//! What is left out is not stored and costs no time, which a mask alone never gives. Rows of the batch are in lanes:
//! a kept weight is multiplied with as many rows at once as registers hold, so that the search for its input is paid
//! once for all of them. For that the input is turned into panels, in which the rows of one input are neighbours, and
//! the output is turned back; both cost little beside a product with a hundred outputs or more.
//!
//! Where it does not help: a batch of fewer rows than a vector has lanes leaves lanes empty (a very small one takes the
//! four outputs of a block as lanes instead, which is better and not good), and [`Groups`] must look
//! up an input for every weight where [`Blocks`] look it up for four. `cargo xtask bench sparse` says by how much, for
//! each pattern beside the dense product of [`matmul`](crate::matmul).
//!
//! **Bits.** An output starts from its bias and adds the products of its kept weights in the order of the inputs, each
//! rounded once where the machine has such an instruction. So the result is the same for any number of threads and any
//! batch, and for finite inputs it is, up to the sign of a zero, that of the dense product with the same weight.
//!
//! **NaN and infinity** in an input reach exactly the outputs that keep a weight for it, also where the kept weight is
//! zero, as `0·∞` is no number. A weight that is left out multiplies nothing.
//!
//! ```
//! use kd_kernels::Isa;
//! use kd_kernels::sparse::{Blocks, Groups, forward};
//!
//! // Four outputs of three inputs, of which only the first and the last are used.
//! let weight = [1.0, 0.0, 2.0, 1.0, 0.0, 3.0, 1.0, 0.0, 4.0, 1.0, 0.0, 5.0];
//! let blocks = Blocks::new(&weight, [4, 3])?;
//! assert_eq!(blocks.blocks(), 2);
//! assert_eq!(forward(Isa::best(), &blocks, &[1.0, 9.0, 10.0], None), [21.0, 31.0, 41.0, 51.0]);
//!
//! // One output that keeps two of every four inputs.
//! let groups = Groups::new(&[0.0, 1.0, 0.0, 2.0], [1, 4], 2, 4)?;
//! assert_eq!(forward(Isa::best(), &groups, &[5.0, 6.0, 7.0, 8.0], Some(&[0.5])), [22.5]);
//! # Ok::<(), kd_kernels::sparse::PatternError>(())
//! ```

mod blocks;
mod error;
mod few;
mod groups;
mod panels;
pub mod reference;

pub use blocks::Blocks;
pub use error::PatternError;
pub use groups::Groups;

use crate::Isa;
use crate::matmul::batch;
use panels::Rows;

/// A weight of a pattern.
pub trait Sparse {
    /// Outputs and inputs.
    fn shape(&self) -> [usize; 2];
    /// Weights that are stored and multiplied, zeros that fill a pattern included.
    fn kept(&self) -> usize;
    /// Bytes of values and indices.
    fn bytes(&self) -> usize;
    /// The weight `[outputs, inputs]` in row-major order, with zeros for what is left out.
    fn to_dense(&self) -> Vec<f32>;
}

/// `y [batch, outputs]` from `x [batch, inputs]` and perhaps a bias of each output.
///
/// # Panics
///
/// If `x` does not consist of whole rows, or the bias has not a number for each output.
#[expect(private_bounds, reason = "the patterns are those of this module")]
pub fn forward<W: Sparse + Rows>(isa: Isa, weight: &W, x: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let batch = batch(weight.shape(), x, bias);
    panels::forward(isa, weight, batch, x, bias)
}
