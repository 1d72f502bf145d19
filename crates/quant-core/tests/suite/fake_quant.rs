//! The tensor's path against the slices': equal bits; and the gradient against its definition.
use burn::tensor::{Device, Tensor, TensorData};
use quant_core::*;

/// A small generator of our own, so that the values never change with a dependency.
struct Lcg(u64);

impl Lcg {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn next(&mut self) -> f32 {
        (self.bits() >> 7) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    fn between(&mut self, low: i32, high: i32) -> i32 {
        low + (self.bits() % (high - low + 1) as u64) as i32
    }
}

const SPECIAL: [f32; 20] = [
    0.0,
    -0.0,
    1e-45,
    -1e-45,
    1e-40,
    -1e-40,
    f32::MIN_POSITIVE,
    -f32::MIN_POSITIVE,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    1.0,
    1e30,
    -1e30,
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
];

/// Numbers that a grid of this scale and zero point finds hard: ties, their neighbors on both sides, grid points and
/// their neighbors, both ends, far outside, what is special, and ordinary random ones.
fn hard(random: &mut Lcg, scale: f32, zero_point: i32, qmin: i32, qmax: i32) -> f32 {
    let k = (random.between(qmin - 3, qmax + 3) - zero_point) as f32;
    let near = |x: f32, random: &mut Lcg| match random.between(0, 2) {
        0 => x,
        1 => x.next_up(),
        _ => x.next_down(),
    };
    match random.between(0, 9) {
        0..=2 => near((k + 0.5) * scale, random),
        3 => near(k * scale, random),
        4 => near((random.between(qmin, qmin + 1) - zero_point) as f32 * scale - 0.5 * scale, random),
        5 => near((random.between(qmax - 1, qmax) - zero_point) as f32 * scale + 0.5 * scale, random),
        6 => random.next() * scale * 1e4,
        7 => SPECIAL[random.between(0, SPECIAL.len() as i32 - 1) as usize],
        8 => f32::from_bits((random.bits() as u32 % 0x7f80_0000) | (random.bits() as u32 & 0x8000_0000)),
        _ => random.next() * scale * 128.0,
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn rounded(x: &[f32], layout: &Layout, qparams: &QParams) -> Vec<f32> {
    dequantize(&quantize(x, layout, qparams).unwrap(), layout, qparams).unwrap()
}

/// 1 where the code needs no clipping, by the definition and on slices.
fn inside(x: &[f32], layout: &Layout, qparams: &QParams) -> Vec<f32> {
    let one = |(position, x): (usize, &f32)| {
        let cell = layout.cell(position);
        let code = (x / qparams.scale[cell]).round_ties_even() + qparams.zero_point[cell] as f32;
        f32::from(u8::from((qparams.qmin as f32..=qparams.qmax as f32).contains(&code)))
    };
    x.iter().enumerate().map(one).collect()
}

/// Value bits on a plain device, an autodiff device, and a trained tensor; gradient bits of the last.
fn check<const D: usize>(
    x: &[f32],
    shape: [usize; D],
    expected: &[f32],
    inside: &[f32],
    what: &str,
    fake_quant: &dyn Fn(Tensor<D>) -> Tensor<D>,
) {
    let device = Device::flex();
    for device in [device.clone(), device.clone().autodiff()] {
        let tensor = Tensor::<D>::from_data(TensorData::new(x.to_vec(), shape), &device);
        let y = fake_quant(tensor);
        assert_eq!(y.is_autodiff(), device.is_autodiff(), "{what}: the result stays where its input was");
        assert_eq!(bits(expected), bits(&host(y)), "{what}, not trained, autodiff {}", device.is_autodiff());
    }
    let device = device.autodiff();
    let leaf = Tensor::<D>::from_data(TensorData::new(x.to_vec(), shape), &device).require_grad();
    let mut random = Lcg(9);
    let weight: Vec<f32> = x.iter().map(|_| random.next()).collect();
    let weighted = Tensor::<D>::from_data(TensorData::new(weight.clone(), shape), &device);
    for (tensor, which) in [(leaf.clone(), "leaf"), (leaf.clone().mul_scalar(1.0), "activation")] {
        let y = fake_quant(tensor);
        assert_eq!(bits(expected), bits(&host(y.clone().without_autodiff())), "{what}, {which}");
        let gradients = (y * weighted.clone()).sum().backward();
        let gradient = host(leaf.grad(&gradients).unwrap());
        let product: Vec<f32> = inside.iter().zip(&weight).map(|(one, w)| one * w).collect();
        // As numbers: 0 · (−w) is −0 in the product.
        assert_eq!(gradient, product, "{what}, gradient of the {which}");
    }
}

#[test]
fn one_scale_equal_bits_and_gradients() {
    let mut random = Lcg(1);
    let (mut values, mut clipped) = (0, 0.0);
    for (scale, zero_point, qmin, qmax) in [
        (0.017, 0, -127, 127),
        (1.0, -3, -128, 127),
        (0.25, 5, 0, 255),
        (0.3, 7, 0, 255),
        (1.0 / 127.0, 0, -127, 127),
        (1e-6, -128, -128, 127),
        (0.5, 127, -128, 127),
        (f32::MIN_POSITIVE, 0, -127, 127),
        (1e36, -1, -128, 127),
    ] {
        let shape = [64, 500];
        let x: Vec<f32> = (0..64 * 500).map(|_| hard(&mut random, scale, zero_point, qmin, qmax)).collect();
        let layout = Layout::tensor(&shape);
        let qparams = QParams { scale: vec![scale], zero_point: vec![zero_point], qmin, qmax };
        let (expected, inside) = (rounded(&x, &layout, &qparams), inside(&x, &layout, &qparams));
        values += x.len();
        clipped += inside.iter().map(|one| 1.0 - one).sum::<f32>();
        let what = format!("scale {scale:e}, zero point {zero_point}, codes {qmin}..={qmax}");
        check(&x, shape, &expected, &inside, &what, &|x| fake_quant_scalar(x, scale, zero_point, qmin, qmax));
        let device = Device::flex();
        let one = |value: f32| Tensor::<2>::from_floats([[value]], &device);
        let broadcast = |x: Tensor<2>| fake_quant(x, one(scale), one(zero_point as f32), qmin, qmax);
        check(&x, shape, &expected, &inside, &format!("{what}, broadcast"), &broadcast);
    }
    let share = clipped / values as f32;
    assert!(values > 250_000 && (0.2..0.6).contains(&share), "{values} values, {share} of them clipped");
}

/// A weight with hard channels, and what the host makes of it.
fn weight(
    shape: &[usize],
    axis: Option<usize>,
    scheme: &Scheme,
    random: &mut Lcg,
) -> (Vec<f32>, Layout, QParams) {
    let layout = Layout { shape: shape.to_vec(), axis };
    let mut x: Vec<f32> = (0..shape.iter().product()).map(|_| random.next()).collect();
    for (position, x) in x.iter_mut().enumerate() {
        match layout.cell(position) {
            _ if axis.is_none() => {}
            0 => *x = 0.0,
            1 => *x = 3.0,
            2 => *x = -x.abs(),
            3 => *x *= 1e-38,
            4 => *x = -0.0,
            5 => *x *= 1e36,
            6 => *x *= 1e-44,
            7 => *x = -7e-3,
            8 => *x = x.abs(),
            _ => {}
        }
    }
    let mut observer = Observer::new(ObserverSpec::MinMax);
    observer.observe(&x, &layout).unwrap();
    let qparams = QParams::from_range(observer.range().unwrap(), scheme).unwrap();
    (x, layout, qparams)
}

fn weights_of<const D: usize>(shape: [usize; D], axis: Option<usize>, random: &mut Lcg) -> usize {
    let granularity = if axis.is_some() { "channel" } else { "tensor" };
    let mut values = 0;
    for words in [
        "int8 {} narrow",
        "int8 {} affine",
        "uint8 {} affine",
        "int8 {} symmetric",
        "int8 {} no-clip",
        "int4 {} narrow",
        "int3 {} no-clip",
        "int2 {} affine",
        "int1 {} symmetric",
    ] {
        let scheme: Scheme = words.replace("{}", granularity).parse().unwrap();
        let (symmetry, limits) = scheme.grid().unwrap();
        let (mut x, layout, qparams) = weight(&shape, axis, &scheme, random);
        let what = format!("{scheme}, shape {shape:?}, axis {axis:?}");
        let device = Device::flex();

        // On the device, the same scales, from a weight that is trained and from one that is not.
        for device in [device.clone(), device.clone().autodiff()] {
            let tensor = Tensor::<D>::from_data(TensorData::new(x.clone(), shape), &device);
            let tensor = if device.is_autodiff() { tensor.require_grad() } else { tensor };
            let (scale, zero_point) = weight_scale(tensor, axis, symmetry, limits);
            assert!(!scale.is_autodiff() && !zero_point.is_autodiff(), "{what}: constants");
            assert_eq!(bits(&qparams.scale), bits(&host(scale)), "{what}");
            let zeros: Vec<i32> = host(zero_point).iter().map(|z| *z as i32).collect();
            assert_eq!(qparams.zero_point, zeros, "{what}");
        }
        let (scale, zero_point) = weight_scale(
            Tensor::<D>::from_data(TensorData::new(x.clone(), shape), &device),
            axis,
            symmetry,
            limits,
        );

        // The weight itself, then values that the same scales find hard.
        for harder in [false, true] {
            if harder {
                for (position, x) in x.iter_mut().enumerate() {
                    let cell = layout.cell(position);
                    *x = hard(
                        random,
                        qparams.scale[cell],
                        qparams.zero_point[cell],
                        qparams.qmin,
                        qparams.qmax,
                    );
                }
            }
            let (expected, inside) = (rounded(&x, &layout, &qparams), inside(&x, &layout, &qparams));
            if !harder && matches!(symmetry, Symmetry::Narrow | Symmetry::NoClip) {
                assert!(
                    inside.iter().all(|one| *one == 1.0),
                    "{what}: no weight of a symmetric scheme is clipped"
                );
            }
            let (qmin, qmax) = scheme.limits().unwrap();
            check(&x, shape, &expected, &inside, &what, &|x| {
                fake_quant(x, scale.clone(), zero_point.clone(), qmin, qmax)
            });
            values += x.len();
        }
    }
    values
}

#[test]
fn weights_equal_bits_and_gradients_by_tensor_and_by_channel_on_every_axis() {
    let mut random = Lcg(2);
    let mut values = 0;
    for axis in [Some(0), Some(1), None] {
        values += weights_of([48, 160], axis, &mut random);
        values += weights_of([16, 12, 5, 5], axis, &mut random);
    }
    values += weights_of([10, 12, 3], Some(2), &mut random);
    values += weights_of([500], Some(0), &mut random);
    assert!(values > 200_000, "{values}");
}

#[test]
fn views_are_rounded_like_copies() {
    // A transposed and a sliced tensor: shared storage, strides, an offset.
    let device = Device::flex().autodiff();
    let mut random = Lcg(4);
    let x: Vec<f32> = (0..40 * 30).map(|_| hard(&mut random, 0.1, 3, -128, 127)).collect();
    let whole = Tensor::<2>::from_data(TensorData::new(x.clone(), [40, 30]), &device).require_grad();
    let layout = Layout::tensor(&[40, 30]);
    let qparams = QParams { scale: vec![0.1], zero_point: vec![3], qmin: -128, qmax: 127 };
    let all = Tensor::<2>::from_data(TensorData::new(rounded(&x, &layout, &qparams), [40, 30]), &device);
    let round = |x: Tensor<2>| fake_quant_scalar(x, 0.1, 3, -128, 127);
    let same = |a: Tensor<2>, b: Tensor<2>| assert_eq!(bits(&host(a)), bits(&host(b)));
    same(round(whole.clone().transpose()), all.clone().transpose());
    same(round(whole.clone().slice([5..20, 3..29])), all.clone().slice([5..20, 3..29]));
    same(round(whole.clone()), all);
    assert_eq!(bits(&host(whole)), bits(&x), "the input is left alone");
}

#[test]
fn the_gradient_is_one_as_far_as_rounding_decides() {
    let device = Device::default().autodiff();
    // Codes −4 ..= 3 at scale 0.5, zero point 1: values −2.5 ..= 1, ends at the ties −2.75 and 1.25. The first rounds
    // to the even −6, code −5, and is clipped; the second to the even 2, code 3, and is not.
    let x = [-9.0, -2.8, -2.75, -2.7, -2.5, -1.0, 0.0, 0.1, 1.0, 1.2, 1.25, 1.3, 9.0];
    let inside = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0];
    let weights: Vec<f32> = (1..=13).map(|i| i as f32).collect();
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
        let gradient = host(x.grad(&loss.backward()).unwrap());
        let expected: Vec<f32> = inside.iter().zip(&weights).map(|(a, b)| a * b).collect();
        assert_eq!(gradient, expected, "scalar {scalar}");
    }
}

#[test]
fn scales_receive_no_gradient() {
    let device = Device::default().autodiff();
    let x = Tensor::<1>::from_floats([0.3, -0.8], &device).require_grad();
    let scale = Tensor::<1>::from_floats([0.1], &device).require_grad();
    let y = fake_quant(x.clone(), scale.clone().mul_scalar(1.0), Tensor::zeros([1], &device), -127, 127);
    let gradients = y.sum().backward();
    assert!(scale.grad(&gradients).is_none());
    assert_eq!(host(x.grad(&gradients).unwrap()), [1.0, 1.0]);
}

#[test]
fn not_a_number_stays_visible() {
    let device = Device::default();
    for device in [device.clone(), device.autodiff()] {
        let x = || {
            let x = Tensor::<1>::from_floats([f32::NAN, 1.0], &device);
            if device.is_autodiff() { x.require_grad() } else { x }
        };
        let one = |value: f32| Tensor::<1>::from_floats([value], &device);
        for y in [fake_quant_scalar(x(), 0.5, 0, -127, 127), fake_quant(x(), one(0.5), one(0.0), -127, 127)] {
            let y = host(y);
            assert!(y[0].is_nan() && y[1] == 1.0, "{y:?}");
        }
    }
}

#[test]
fn rounding_twice_is_rounding_once() {
    let device = Device::flex();
    let mut random = Lcg(3);
    for (scale, zero_point) in [(0.037, 11), (1.0 / 127.0, 0), (3e-5, -128), (0.3, 127)] {
        let x: Vec<f32> = (0..4096).map(|_| hard(&mut random, scale, zero_point, -128, 127)).collect();
        let x = Tensor::<2>::from_data(TensorData::new(x, [64, 64]), &device);
        let once = fake_quant_scalar(x, scale, zero_point, -128, 127);
        let twice = fake_quant_scalar(once.clone(), scale, zero_point, -128, 127);
        assert_eq!(bits(&host(once)), bits(&host(twice)), "{scale}");
    }
}
