//! Fake quantization of weights under every scheme: the forward value has the bits of what is decoded, whatever the
//! layout and however hard the numbers; the gradient is straight through.
use crate::common::schemes::{numbers, schemes};
use burn::tensor::{Device, Tensor, TensorData};
use quant_core::*;

fn all_schemes() -> Vec<Scheme> {
    let granularities = ["tensor", "channel", "group=7", "group=32", "block=2x16"];
    schemes(&granularities, &["", "scale=fp16", "scale=e8m0fnu", "scale=ue4m3"])
}

/// Tensors that grids find hard.
fn adversarial(len: usize) -> Vec<(&'static str, Vec<f32>)> {
    let outlier = |far: f32| {
        let mut x = numbers(len, 4);
        x[len / 3] = far;
        x
    };
    let small = |unit: f32| numbers(len, 5).into_iter().map(|x| x * unit).collect();
    let halves = (0..len).map(|i| (i as f32 - len as f32 / 2.0) * 0.5).collect();
    vec![
        ("random", numbers(len, 1)),
        ("constant", vec![0.7; len]),
        ("negative constant", vec![-0.3; len]),
        ("zeros", vec![0.0; len]),
        ("negative zeros", vec![-0.0; len]),
        ("an outlier", outlier(300.0)),
        ("a negative outlier", outlier(-5000.0)),
        ("subnormals", small(1e-39)),
        ("the smallest", small(1e-44)),
        ("halves", halves),
    ]
}

fn check<const D: usize>(shape: [usize; D], axis: usize) {
    let (device, len) = (Device::flex(), shape.iter().product());
    let (rows, columns) = weight_matrix(&shape, axis).unwrap();
    for scheme in all_schemes() {
        for (what, x) in adversarial(len) {
            let data = TensorData::new(x.clone(), shape);
            let plain = Tensor::<D>::from_data(data.clone(), &device);
            let first = plain.clone().movedim(axis, 0).into_data().iter::<f32>().collect::<Vec<f32>>();
            let Ok(encoded) = encode(&first, rows, columns, &scheme) else {
                assert!(scheme.scale() != ScaleFormat::F32, "{scheme} refuses {what}");
                continue;
            };
            let matrix = TensorData::new(encoded.decode(), moved(shape, axis));
            let expected = Tensor::<D>::from_data(matrix, &device).movedim(0, axis);
            let expected = bits(expected);

            let host = round_weight(&x, &shape, axis, &scheme).unwrap();
            assert_eq!(host.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), expected, "{scheme}, {what}");
            let found = bits(fake_quant_scheme(plain, axis, &scheme).unwrap());
            assert_eq!(found, expected, "{scheme}, {what}, not tracked");
            let tracked = Tensor::<D>::from_data(data, &device.clone().autodiff()).require_grad();
            let found = bits(fake_quant_scheme(tracked, axis, &scheme).unwrap());
            assert_eq!(found, expected, "{scheme}, {what}, tracked");
        }
    }
}

fn moved<const D: usize>(shape: [usize; D], axis: usize) -> [usize; D] {
    let mut order: Vec<usize> = (0..D).collect();
    order.remove(axis);
    order.insert(0, axis);
    std::array::from_fn(|i| shape[order[i]])
}

fn bits<const D: usize>(x: Tensor<D>) -> Vec<u32> {
    x.into_data().iter::<f32>().map(f32::to_bits).collect()
}

#[test]
fn forward_equals_what_is_decoded_bit_for_bit_in_burns_linear_layout() {
    check([33, 5], 1);
}

#[test]
fn forward_equals_what_is_decoded_bit_for_bit_in_a_convolutions_layout() {
    check([4, 3, 3, 3], 0);
}

#[test]
fn an_axis_in_the_middle_is_put_back() {
    let scheme: Scheme = "int4 group=3 affine".parse().unwrap();
    let x = numbers(4 * 3 * 5, 8);
    let found = round_weight(&x, &[4, 3, 5], 1, &scheme).unwrap();
    let at = |matrix: &[f32], row: usize, column: usize| matrix[row * 20 + column];
    let matrix: Vec<f32> =
        (0..60).map(|i| (i / 20, i % 20)).map(|(r, c)| x[(c / 5 * 3 + r) * 5 + c % 5]).collect();
    let expected = encode(&matrix, 3, 20, &scheme).unwrap().decode();
    for (r, c) in (0..60).map(|i| (i / 20, i % 20)) {
        assert_eq!(found[(c / 5 * 3 + r) * 5 + c % 5], at(&expected, r, c));
    }
    assert!(matches!(round_weight(&x, &[4, 3, 5], 3, &scheme), Err(Error::Axis { axis: 3, .. })));
    assert!(matches!(round_weight(&x, &[4, 3, 6], 0, &scheme), Err(Error::Length { .. })));
}

#[test]
fn what_is_not_finite_is_named() {
    for scheme in all_schemes() {
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = numbers(6 * 5, 2);
            x[17] = broken;
            let found = round_weight(&x, &[6, 5], 1, &scheme).unwrap_err();
            assert!(matches!(found, Error::NotFinite { index: 17, .. }), "{scheme}: {found}");
        }
    }
}

#[test]
fn gradients_pass_straight_through() {
    let gradient = |text: &str, values: Vec<f32>| {
        let device = Device::flex().autodiff();
        let x = Tensor::<2>::from_data(TensorData::new(values, [2, 4]), &device).require_grad();
        let factor = Tensor::<2>::from_data([[1., 2., 3., 4.], [5., 6., 7., 8.]], &device);
        let y = fake_quant_scheme(x.clone(), 0, &text.parse().unwrap()).unwrap();
        let mut gradients = (y * factor).sum().backward();
        x.grad_remove(&mut gradients).unwrap().into_data().iter::<f32>().collect::<Vec<f32>>()
    };
    let x = vec![0.1, -0.2, 3.0, 0.0, -1.5, 1.0, -1.0, 0.5];
    for text in ["int4 group=2", "nf4 group=4", "mxfp4", "e4m3fn tensor", "ternary", "bf16", "pow2", "q4_0"] {
        assert_eq!(gradient(text, x.clone()), [1., 2., 3., 4., 5., 6., 7., 8.], "{text}");
    }
    assert_eq!(gradient("binary", x), [1., 2., 0., 4., 0., 6., 7., 8.]);
}
