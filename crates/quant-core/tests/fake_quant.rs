//! The tensor's path against the slices': equal bits; and the gradient against its definition.
#![allow(clippy::unwrap_used, reason = "tests")]

use burn::tensor::{Device, Tensor, TensorData};
use quant_core::*;

/// A small generator of our own, so that the values never change with a dependency.
struct Lcg(u64);

impl Lcg {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 40) as f32 / (1_u64 << 24) as f32) * 2.0 - 1.0
    }
}

/// Random numbers of many magnitudes, with what is special among them.
fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut random = Lcg(seed);
    let special = [0.0, -0.0, 1e-40, -1e-40, f32::MIN_POSITIVE, 1e30, -1e30, 0.5, -0.5, 1.5, 2.5, 1.0, -1.0];
    (0..len)
        .map(|i| match i % 16 {
            0..13 => random.next() * 10_f32.powi((i % 5) as i32 - 2),
            _ => special[i / 16 % special.len()],
        })
        .collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

fn host(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

#[test]
fn one_scale_equal_bits_on_a_hundred_thousand_values() {
    let device = Device::flex();
    let x = values(100_000, 1);
    let layout = Layout::tensor(&[100, 1000]);
    for (scale, zero_point, qmin, qmax) in [
        (0.017, 0, -127, 127),
        (1.0, -3, -128, 127),
        (0.3, 7, 0, 255),
        (1e-6, -128, -128, 127),
        (0.5, 127, -128, 127),
    ] {
        let qparams = QParams { scale: vec![scale], zero_point: vec![zero_point], qmin, qmax };
        let expected = dequantize(&quantize(&x, &layout, &qparams).unwrap(), &layout, &qparams).unwrap();
        for device in [device.clone(), device.clone().autodiff()] {
            let tensor = Tensor::<2>::from_data(TensorData::new(x.clone(), [100, 1000]), &device);
            let found = host(fake_quant_scalar(tensor, scale, zero_point, qmin, qmax));
            assert_eq!(bits(&expected), bits(&found), "scale {scale}, zero point {zero_point}");
        }
    }
}

#[test]
fn a_scale_a_channel_equal_bits_on_both_axes_and_in_both_symmetries() {
    for (shape, axis) in [([64, 200], 0), ([64, 200], 1)] {
        for scheme in ["int8 channel symmetric", "int8 channel affine", "uint8 channel affine"] {
            let scheme: Scheme = scheme.parse().unwrap();
            let layout = Layout::channel(&shape, axis).unwrap();
            let mut x = values(64 * 200, 2);
            for (i, x) in x.iter_mut().enumerate() {
                // A channel of zeros, one of a constant, one that is all negative, one of tiny numbers.
                match layout.cell(i) {
                    0 => *x = 0.0,
                    1 => *x = 3.0,
                    2 => *x = -x.abs(),
                    3 => *x *= 1e-41,
                    _ => {}
                }
            }
            let mut observer = Observer::new(ObserverSpec::MinMax);
            observer.observe(&x, &layout).unwrap();
            let qparams = QParams::from_range(observer.range().unwrap(), &scheme).unwrap();
            let expected = dequantize(&quantize(&x, &layout, &qparams).unwrap(), &layout, &qparams).unwrap();

            let device = Device::flex().autodiff();
            let tensor = Tensor::<2>::from_data(TensorData::new(x.clone(), shape), &device);
            let (scale, zero_point) = weight_scale(tensor.clone(), Some(axis), &scheme);
            assert_eq!(bits(&qparams.scale), bits(&host(scale.clone())), "{scheme}, axis {axis}");
            let zeros: Vec<i32> = host(zero_point.clone()).iter().map(|z| *z as i32).collect();
            assert_eq!(qparams.zero_point, zeros, "{scheme}, axis {axis}");
            let (qmin, qmax) = scheme.limits();
            let found = host(fake_quant(tensor, scale.autodiff(), zero_point.autodiff(), qmin, qmax));
            assert_eq!(bits(&expected), bits(&found), "{scheme}, axis {axis}");
        }
    }
}

#[test]
fn the_gradient_is_one_inside_and_zero_where_clipping_decides() {
    let device = Device::default().autodiff();
    // Codes −4 ..= 3 at scale 0.5, zero point 1: values −2.5 ..= 1, inside from −2.75 to 1.25.
    let x = [-9.0, -2.8, -2.7, -2.5, -1.0, 0.0, 0.1, 1.0, 1.2, 1.3, 9.0];
    let inside = [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0];
    let weights: Vec<f32> = (1..=11).map(|i| i as f32).collect();
    for scalar in [true, false] {
        let x = Tensor::<1>::from_floats(x, &device).require_grad();
        let y = match scalar {
            true => fake_quant_scalar(x.clone(), 0.5, 1, -4, 3),
            false => {
                let one = |value: f32| Tensor::<1>::from_floats([value], &device);
                fake_quant(x.clone(), one(0.5), one(1.0), -4, 3)
            }
        };
        let loss = (y * Tensor::from_floats(weights.as_slice(), &device)).sum();
        let gradient: Vec<f32> = x.grad(&loss.backward()).unwrap().into_data().try_to_vec().unwrap();
        let expected: Vec<f32> = inside.iter().zip(&weights).map(|(a, b)| a * b).collect();
        assert_eq!(gradient, expected, "scalar {scalar}");
    }
}

#[test]
fn rounding_twice_is_rounding_once_and_zero_stays_zero() {
    let device = Device::flex();
    let x = Tensor::<2>::from_data(TensorData::new(values(4096, 3), [64, 64]), &device);
    let once = fake_quant_scalar(x, 0.037, 11, -128, 127);
    let twice = fake_quant_scalar(once.clone(), 0.037, 11, -128, 127);
    assert_eq!(bits(&host(once)), bits(&host(twice)));
    let zero = fake_quant_scalar(Tensor::<2>::zeros([1, 1], &device), 0.037, 11, -128, 127);
    assert_eq!(host(zero), [0.0]);
}
