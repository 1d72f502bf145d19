//! Estimators: values and gradients against torch's, values against the codecs', and what is hard for them.
use std::collections::BTreeMap;

use burn::tensor::{DType, Device, Tensor, TensorData};
use quant_core::qat::*;
use quant_core::*;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Case {
    estimator: String,
    knobs: Value,
    inputs: BTreeMap<String, Array>,
    weight: Vec<f64>,
    value: Vec<f64>,
    gradients: BTreeMap<String, Vec<f64>>,
}

#[derive(Deserialize)]
struct Array {
    shape: Vec<usize>,
    data: Vec<f64>,
}

fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.without_autodiff().into_data().iter::<f64>().collect()
}

fn axis(knobs: &Value) -> Option<usize> {
    knobs["axis"].as_u64().map(|axis| axis as usize)
}

fn apply<const D: usize>(case: &Case, inputs: &BTreeMap<&str, Tensor<D>>) -> Tensor<D> {
    let knobs = &case.knobs;
    let x = || inputs["x"].clone();
    let integer = |name: &str| knobs[name].as_i64().unwrap() as i32;
    let factor = || knobs["factor"].as_f64().unwrap();
    let bits = || knobs["bits"].as_u64().unwrap() as u32;
    let scale = || inputs["scale"].clone();
    match case.estimator.as_str() {
        "lsq" => lsq(x(), scale(), integer("qmin"), integer("qmax"), factor()),
        "lsq-plus" => {
            lsq_plus(x(), scale(), inputs["zero"].clone(), integer("qmin"), integer("qmax"), factor())
        }
        "lsq-plus-offset" => lsq_plus_offset(
            x(),
            scale(),
            inputs["offset"].clone(),
            integer("qmin"),
            integer("qmax"),
            factor(),
        ),
        "pact" => pact(x(), inputs["alpha"].clone(), bits()).unwrap(),
        "dorefa-weight" => dorefa_weight(x(), bits()).unwrap(),
        "dorefa-activation" => dorefa_activation(x(), bits()).unwrap(),
        "bitnet-weight" => bitnet_weight(x()),
        "bitnet-activation" => bitnet_activation(x()),
        "binary" => binary(x(), axis(knobs)),
        "ternary" => ternary(x(), axis(knobs)),
        "quant-noise" => {
            let block = std::array::from_fn(|dim| knobs["block"][dim].as_u64().unwrap() as usize);
            let quantized = lsq(x(), scale(), integer("qmin"), integer("qmax"), factor());
            let (share, seed) = (knobs["share"].as_f64().unwrap(), knobs["seed"].as_u64().unwrap());
            quant_noise(x(), quantized, share, block, seed).unwrap()
        }
        other => panic!("{other}"),
    }
}

fn close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1.0_f64, |most, x| most.max(x.abs()));
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 1e-6 * largest, "{what}, position {i}: {a} instead of {b}");
    }
}

fn check<const D: usize>(number: usize, case: &Case, dtype: DType) {
    let what = format!("case {number}, {} {} in {dtype:?}", case.estimator, case.knobs);
    let device = Device::flex();
    let of = |data: &[f64], shape: &[usize], device: &Device| {
        // Inputs are 32-bit floats, in few digits.
        let exact: Vec<f64> = data.iter().map(|x| f64::from(*x as f32)).collect();
        Tensor::<D>::from_data(TensorData::new(exact, shape.to_vec()), (device, dtype))
    };
    let inputs = |device: &Device| -> BTreeMap<&str, Tensor<D>> {
        case.inputs.iter().map(|(name, x)| (name.as_str(), of(&x.data, &x.shape, device))).collect()
    };
    let plain = apply(case, &inputs(&device));
    assert_eq!(plain.dtype(), dtype, "{what}");
    close(&numbers(plain.clone()), &case.value, &format!("{what}, value"));

    let trained = device.clone().autodiff();
    let leaves: BTreeMap<&str, Tensor<D>> =
        inputs(&trained).into_iter().map(|(name, x)| (name, x.require_grad())).collect();
    let value = apply(case, &leaves);
    assert_eq!(numbers(value.clone()), numbers(plain), "{what}: trained or not, the value is the same");
    let weight = of(&case.weight, &case.inputs["x"].shape, &device);
    let gradients = (value * weight).sum().backward();
    for (name, leaf) in &leaves {
        let expected = &case.gradients[*name];
        close(&numbers(leaf.grad(&gradients).unwrap()), expected, &format!("{what}, gradient of {name}"));
    }
}

#[test]
fn values_and_gradients_are_torchs() {
    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }
    let golden: Golden = serde_json::from_str(include_str!("../golden/qat.json")).unwrap();
    assert_eq!(golden.cases.len(), 38);
    for (number, case) in golden.cases.iter().enumerate() {
        for dtype in [DType::F64, DType::F32] {
            match case.inputs["x"].shape.len() {
                2 => check::<2>(number, case, dtype),
                _ => check::<4>(number, case, dtype),
            }
        }
    }
}

/// A small generator of our own, so that the values never change with a dependency.
struct Lcg(u64);

impl Lcg {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }
}

/// Tensors that rounding finds hard, by name, `[4, 32]`.
fn hard(scale: f32) -> Vec<(&'static str, Vec<f32>)> {
    let mut random = Lcg(6);
    let mut of = |value: &mut dyn FnMut(usize, f32) -> f32| -> Vec<f32> {
        (0..128).map(|i| value(i, random.next())).collect()
    };
    vec![
        ("random", of(&mut |_, x| x * scale * 20.0)),
        ("ties", of(&mut |i, _| (i as f32 - 64.5) * scale)),
        ("next to ties", of(&mut |i, _| ((i as f32 - 64.5) * scale).next_up())),
        ("a constant", of(&mut |_, _| scale * 3.0)),
        ("a negative constant", of(&mut |_, _| -0.7)),
        ("zeros", of(&mut |_, _| 0.0)),
        ("negative zeros", of(&mut |_, _| -0.0)),
        ("one outlier", of(&mut |i, x| if i == 77 { 1e30 } else { x })),
        ("subnormals", of(&mut |_, x| x * 1e-39)),
        ("the smallest", of(&mut |i, _| if i % 3 == 0 { 1e-45 } else { -1e-45 })),
        ("huge", of(&mut |_, x| x * 1e36)),
        ("ones", of(&mut |i, _| [1.0, -1.0, 0.0, 2.0][i % 4])),
    ]
}

const SHAPE: [usize; 2] = [4, 32];

fn leaf(x: &[f32]) -> Tensor<2> {
    let device = Device::flex().autodiff();
    Tensor::from_data(TensorData::new(x.to_vec(), SHAPE), &device).require_grad()
}

fn constant<const D: usize>(x: &[f32], shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(x.to_vec(), shape), &Device::flex())
}

fn host(x: Tensor<2>) -> Vec<f32> {
    x.without_autodiff().into_data().try_to_vec().unwrap()
}

/// Bits of a tensor against dequantize(quantize(x)) by these parameters, and a finite gradient.
fn same(y: Tensor<2>, leaf: &Tensor<2>, x: &[f32], layout: &Layout, qparams: &QParams, what: &str) {
    let expected = dequantize(&quantize(x, layout, qparams).unwrap(), layout, qparams).unwrap();
    let bits = |x: Vec<f32>| x.into_iter().map(f32::to_bits).collect::<Vec<u32>>();
    assert_eq!(bits(host(y.clone())), bits(expected), "{what}");
    let gradient = host(leaf.grad(&y.sum().backward()).unwrap());
    assert!(gradient.iter().all(|x| x.is_finite()), "{what}: {gradient:?}");
}

#[test]
fn values_are_those_of_the_codecs_bit_for_bit() {
    let layout = Layout::tensor(&SHAPE);
    for scale in [0.1_f32, 1.0 / 127.0, 0.25, 3e-5] {
        for (what, x) in hard(scale) {
            let one = |value: f32| leaf_parameter(value);
            for (zero_point, qmin, qmax) in
                [(0, -8, 7), (0, -128, 127), (3, 0, 15), (-5, -8, 7), (255, 0, 255)]
            {
                let qparams = QParams { scale: vec![scale], zero_point: vec![zero_point], qmin, qmax };
                let what = format!("{what}, scale {scale}, zero point {zero_point}, codes {qmin} ..= {qmax}");
                if zero_point == 0 {
                    let leaf = leaf(&x);
                    let y = lsq(leaf.clone(), one(scale), qmin, qmax, 0.1);
                    same(y, &leaf, &x, &layout, &qparams, &format!("lsq, {what}"));
                }
                let leaf = leaf(&x);
                let y = lsq_plus(leaf.clone(), one(scale), one(zero_point as f32 + 0.2), qmin, qmax, 0.1);
                same(y, &leaf, &x, &layout, &qparams, &format!("lsq+, {what}"));
            }
            for bits in [1, 2, 4, 8] {
                let steps = (1 << bits) - 1;
                let qparams =
                    |scale| QParams { scale: vec![scale], zero_point: vec![0], qmin: 0, qmax: steps };
                let leaf = leaf(&x);
                let y = pact(leaf.clone(), one(scale), bits).unwrap();
                same(
                    y,
                    &leaf,
                    &x,
                    &layout,
                    &qparams(scale / steps as f32),
                    &format!("pact, {what}, {bits} bits"),
                );
                let y = dorefa_activation(leaf.clone(), bits).unwrap();
                same(
                    y,
                    &leaf,
                    &x,
                    &layout,
                    &qparams(1.0 / steps as f32),
                    &format!("dorefa, {what}, {bits} bits"),
                );
            }
        }
    }
}

fn leaf_parameter(value: f32) -> Tensor<2> {
    let device = Device::flex().autodiff();
    Tensor::<2>::from_floats([[value]], &device).require_grad()
}

#[test]
fn bitnets_values_are_those_of_the_codecs_bit_for_bit() {
    for (what, x) in hard(0.1) {
        let leaf = leaf(&x);
        let scale = host(bitnet_weight_scale(leaf.clone()));
        let qparams = QParams { scale, zero_point: vec![0], qmin: -1, qmax: 1 };
        same(bitnet_weight(leaf.clone()), &leaf, &x, &Layout::tensor(&SHAPE), &qparams, what);

        let layout = Layout::channel(&SHAPE, 0).unwrap();
        let largest = |row: &[f32]| row.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / 127.0;
        let scale: Vec<f32> = x
            .chunks(32)
            .map(|row| if largest(row) == 0.0 { 1.0 } else { largest(row).max(f32::MIN_POSITIVE) })
            .collect();
        let qparams = QParams { scale, zero_point: vec![0; 4], qmin: -128, qmax: 127 };
        same(bitnet_activation(leaf.clone()), &leaf, &x, &layout, &qparams, what);
    }
}

#[test]
fn few_levels_are_codes_times_scale_on_hard_tensors() {
    for (what, x) in hard(0.1) {
        for axis in [None, Some(0), Some(1)] {
            let leaf = leaf(&x);
            let cells = axis.map_or(1, |axis| SHAPE[axis]);
            let layout = Layout { shape: SHAPE.to_vec(), axis };
            let (threshold, alpha) = ternary_scale(leaf.clone(), axis);
            let (threshold, alpha) = (host(threshold), host(alpha));
            assert_eq!(alpha.len(), cells);
            let y = ternary(leaf.clone(), axis);
            for (i, (x, y)) in x.iter().zip(host(y.clone())).enumerate() {
                let cell = layout.cell(i);
                let expected = if x.abs() > threshold[cell] { alpha[cell].copysign(*x) } else { 0.0 };
                assert_eq!(y.to_bits(), expected.to_bits(), "{what}, axis {axis:?}, position {i}");
            }
            let gradient = host(leaf.grad(&y.sum().backward()).unwrap());
            assert!(gradient.iter().all(|x| *x == 1.0), "{what}");

            let y = binary(leaf.clone(), axis);
            let values = host(y.clone());
            for (i, (x, y)) in x.iter().zip(&values).enumerate() {
                let like =
                    values.iter().enumerate().find(|(j, _)| layout.cell(*j) == layout.cell(i)).unwrap().1;
                assert!(
                    y.abs() == like.abs() && (*y == 0.0 || (*y < 0.0) == (*x < 0.0)),
                    "{what}, {x} became {y}"
                );
            }
            let gradient = host(leaf.grad(&y.sum().backward()).unwrap());
            assert!(gradient.iter().all(|x| x.is_finite()), "{what}: {gradient:?}");
        }
        for bits in [1, 2, 3, 8] {
            let leaf = leaf(&x);
            let values = host(dorefa_weight(leaf.clone(), bits).unwrap());
            let steps = (1 << bits) - 1;
            for y in &values {
                assert!(y.is_finite() && (bits == 1 || y.abs() <= 1.0), "{what}, {bits} bits: {y}");
                let code = (f64::from(*y) + 1.0) / 2.0 * f64::from(steps);
                assert!(
                    bits == 1 || (code - code.round()).abs() < 1e-4,
                    "{what}, {bits} bits: {y} is no level"
                );
            }
        }
    }
}

#[test]
fn a_number_that_is_not_finite_is_named_and_stays_visible() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x: Vec<f32> = (0..128).map(|i| i as f32 / 64.0 - 1.0).collect();
        assert_eq!(check_finite(&constant(&x, SHAPE)), Ok(()));
        x[70] = bad;
        match check_finite(&leaf(&x)) {
            Err(Error::NotFinite { index: 70, value }) => assert_eq!(value.to_bits(), bad.to_bits()),
            other => panic!("{bad} gave {other:?}"),
        }
        let one = || leaf_parameter(0.1);
        for (name, y) in [
            ("bitnet weight", bitnet_weight(leaf(&x))),
            ("bitnet activation", bitnet_activation(leaf(&x))),
            ("binary", binary(leaf(&x), None)),
            ("ternary", ternary(leaf(&x), None)),
            ("lsq", lsq(leaf(&x), one(), -8, 7, 1.0)),
            ("lsq+", lsq_plus(leaf(&x), one(), one(), -8, 7, 1.0)),
            ("lsq+ offset", lsq_plus_offset(leaf(&x), one(), one(), -8, 7, 1.0)),
            ("pact", pact(leaf(&x), one(), 4).unwrap()),
            ("dorefa activation", dorefa_activation(leaf(&x), 4).unwrap()),
            ("dorefa weight", dorefa_weight(leaf(&x), 4).unwrap()),
        ] {
            let y = host(y)[70];
            // Where the grid says so, an infinity is its end; where the scale is a statistic, nothing is left.
            let clips = ["lsq", "lsq+", "lsq+ offset", "pact", "dorefa activation", "dorefa weight"];
            let expected_nan = bad.is_nan() || !clips.contains(&name);
            assert_eq!(y.is_nan(), expected_nan, "{name}: {bad} became {y}");
        }
    }
}

#[test]
fn a_scale_at_or_below_zero_is_taken_as_tiny_and_can_come_back() {
    for bad in [0.0, -0.5] {
        let scale = leaf_parameter(bad);
        let y = lsq(constant(&[0.3; 128], SHAPE), scale.clone(), -8, 7, 1.0);
        assert!(host(y.clone()).iter().all(|y| (0.0..1e-36).contains(y)));
        assert_eq!(host(scale.grad(&y.sum().backward()).unwrap()), [7.0 * 128.0]);
        let alpha = leaf_parameter(bad);
        let y = pact(constant(&[0.3; 128], SHAPE), alpha.clone(), 4).unwrap();
        assert!(host(y.clone()).iter().all(|y| (0.0..1e-36).contains(y)));
        assert_eq!(host(alpha.grad(&y.sum().backward()).unwrap()), [128.0]);
    }
}

#[test]
fn initial_scales_and_factors_are_the_papers() {
    let x = constant(&[1.0, -3.0, 0.0, 0.0], [2, 2]);
    assert_eq!(host(lsq_initial_scale(x.clone(), None, 4)), [1.0]);
    assert_eq!(host(lsq_initial_scale(x.clone(), Some(0), 4)), [2.0, 1.0], "1 for a row of zeros");
    assert_eq!(lsq_gradient_scale(100, 4), 0.05);
    assert_eq!(host(token_scale(constant(&[1.0, -254.0, 0.0, 0.0], [2, 2]), 127)), [2.0, 1.0]);
}

#[test]
fn quant_noise_draws_its_share_of_whole_blocks_and_repeats_with_its_seed() {
    let (shape, block) = ([40, 50], [2, 5]);
    let x = constant(&[1.0; 2000], shape);
    let noisy = |seed| host(quant_noise(x.clone(), x.zeros_like(), 0.3, block, seed).unwrap());
    let drawn = noisy(1);
    assert_eq!(drawn, noisy(1));
    assert_ne!(drawn, noisy(2));
    for (i, y) in drawn.iter().enumerate() {
        let (row, column) = (i / 50, i % 50);
        assert_eq!(*y, drawn[(row / 2 * 2) * 50 + column / 5 * 5], "blocks are whole");
    }
    let share = (0..50).map(|seed| quant_noise_mask(shape, 0.3, block, seed).unwrap().iter().sum::<i32>());
    let share = f64::from(share.sum::<i32>()) / (50.0 * 200.0);
    assert!((share - 0.3).abs() < 0.02, "{share}");
    let knob = |share, block| quant_noise(x.clone(), x.clone(), share, block, 1).unwrap_err();
    assert!(matches!(knob(1.1, [1, 1]), Error::Setting { what: "share", .. }));
    assert!(matches!(knob(f64::NAN, [1, 1]), Error::Setting { what: "share", .. }));
    assert!(matches!(knob(0.5, [0, 1]), Error::Setting { what: "block", .. }));
    let other = constant(&[1.0; 2], [1, 2]);
    assert!(matches!(quant_noise(x, other, 0.5, [1, 1], 1), Err(Error::Shapes { .. })));
}

#[test]
fn wrong_bits_are_refused() {
    let x = constant(&[0.5, 0.1], [1, 2]);
    for bits in [0, 17] {
        let errors = [
            pact(x.clone(), x.clone(), bits).err(),
            dorefa_weight(x.clone(), bits).err(),
            dorefa_activation(x.clone(), bits).err(),
        ];
        for error in errors {
            let expected = Error::Setting { what: "bits", expected: "from 1 to 16", found: f64::from(bits) };
            assert_eq!(error, Some(expected));
        }
    }
}
