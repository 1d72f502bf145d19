//! Kernels that train networks on a CPU, as functions over plain slices: no tensors, no I/O, no clock.
//!
//! Shapes are plain structs, data is contiguous `f32` in the order `[batch, channels, height, width]`, results come
//! back as vectors. Each kernel is written once over a small vector type and compiled for every instruction set of
//! the target; [`Isa::best`] says at run time which one to use, and each function takes it as its first argument.
//!
//! Results are the same bits for any number of threads and from run to run on one machine: work is cut into tasks by
//! the shape alone, and what tasks give is added in their order. Different instruction sets add in different orders,
//! and so differ in the last bits.
//!
//! Beside each kernel stands a reference in plain, safe Rust that adds in `f64`, in a module named `reference`;
//! tests hold every instruction set of the machine against it.
//!
//! ```
//! use kd_kernels::{Conv, Isa, conv};
//!
//! let shape = Conv { padding: [(1, 1), (1, 1)], ..Conv::new(2, [3, 4], [5, 5], [3, 3]) };
//! let (x, weight) = (vec![1.0; 2 * 3 * 25], vec![0.5; 4 * 3 * 9]);
//! let y = conv::forward(Isa::best(), &shape, &x, &weight, None);
//! assert_eq!(y.len(), 2 * 4 * 25);
//! assert_eq!((y[0], y[12]), (6.0, 13.5)); // a corner sees 4 · 3 inputs, the middle 9 · 3
//! ```

mod buffer;
pub mod conv;
pub mod gelu;
pub mod layer_norm;
pub mod matmul;
pub mod memory;
pub mod norm;
pub mod optim;
pub mod pool;
mod simd;
pub mod softmax;
pub mod sparse;

pub use conv::Conv;
pub use norm::Norm;
pub use pool::Pool;
pub use simd::Isa;
