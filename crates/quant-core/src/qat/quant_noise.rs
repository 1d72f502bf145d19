//! Quant-Noise: a random part of the weights is rounded at each step, so that the rest sees a true gradient.
//!
//! Fan et al., "Training with Quantization Noise for Extreme Model Compression" (2020), arXiv 2004.07320. Public
//! implementation: fairseq's `modules/quant_noise.py`, which sets the chosen blocks to zero as a stand-in for product
//! quantization; here they take the values of whatever quantizer is meant.

use burn::tensor::{Bool, Int, Tensor, TensorData};

use crate::Error;

/// `quantized` on a random `share` of the blocks, `x` on the others; gradients as each has them.
///
/// `block` is the shape of a block, such as `[8, 1]` for eight inputs of Burn's linear `[in, out]` or `[1, 1, 3, 3]`
/// for kernels of a convolution; blocks at the end may be cut off. The same seed draws the same blocks: mix the step
/// into it.
///
/// # Errors
///
/// [`Error::Setting`] unless 0 ≤ share ≤ 1 and every side of a block is at least 1; [`Error::Shapes`] for tensors of
/// unequal shape.
pub fn quant_noise<const D: usize>(
    x: Tensor<D>,
    quantized: Tensor<D>,
    share: f64,
    block: [usize; D],
    seed: u64,
) -> Result<Tensor<D>, Error> {
    let shape = x.dims();
    if shape != quantized.dims() {
        return Err(Error::Shapes { left: shape.to_vec(), right: quantized.dims().to_vec() });
    }
    let drawn = quant_noise_mask(shape, share, block, seed)?;
    let grid = grid(shape, block);
    let device = x.clone().without_autodiff().device();
    let mut mask = Tensor::<D, Int>::from_data(TensorData::new(drawn, grid), &device);
    for dim in 0..D {
        if block[dim] > 1 {
            let of: Vec<i32> = (0..shape[dim]).map(|i| (i / block[dim]) as i32).collect();
            let of = Tensor::<1, Int>::from_data(TensorData::new(of, [shape[dim]]), &device);
            mask = mask.select(dim, of);
        }
    }
    let mask: Tensor<D, Bool> = mask.equal_elem(1);
    Ok(x.mask_where(mask, quantized))
}

/// 1 for each block that is drawn, in row-major order of the blocks: block `i` is drawn where the top 53 bits of
/// SplitMix64's output for counter `i` from `seed`, as a fraction of 2⁵³, are below `share`.
///
/// # Errors
///
/// [`Error::Setting`] as for [`quant_noise`].
pub fn quant_noise_mask<const D: usize>(
    shape: [usize; D],
    share: f64,
    block: [usize; D],
    seed: u64,
) -> Result<Vec<i32>, Error> {
    if !(0.0..=1.0).contains(&share) {
        return Err(Error::Setting { what: "share", expected: "from 0 to 1", found: share });
    }
    if block.contains(&0) {
        return Err(Error::Setting { what: "block", expected: "at least 1", found: 0.0 });
    }
    let blocks: usize = grid(shape, block).iter().product();
    let fraction = |block: usize| (mixed(seed, block as u64) >> 11) as f64 / (1_u64 << 53) as f64;
    Ok((0..blocks).map(|block| i32::from(fraction(block) < share)).collect())
}

fn grid<const D: usize>(shape: [usize; D], block: [usize; D]) -> [usize; D] {
    std::array::from_fn(|dim| shape[dim].div_ceil(block[dim]))
}

/// SplitMix64 (Steele, Lea and Flood, 2014): the output of step `counter + 1`.
fn mixed(seed: u64, counter: u64) -> u64 {
    let mut x = seed.wrapping_add(counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::mixed;

    #[test]
    fn the_generator_is_the_published_one() {
        // The first outputs for seed 1234567, as published with the algorithm's test vectors.
        let first: Vec<u64> = (0..3).map(|counter| mixed(1_234_567, counter)).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }
}
