//! Observers, parameters and gradients against the numbers that torch gave, all exact.
use burn::tensor::{Device, Tensor, TensorData};
use quant_core::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    moving_averages: Vec<MovingAverage>,
    parameters: Vec<Parameters>,
    gradients: Vec<Gradient>,
}

#[derive(Deserialize)]
struct MovingAverage {
    decay: f64,
    channel: bool,
    shape: Vec<usize>,
    batches: Vec<Batch>,
}

#[derive(Deserialize)]
struct Batch {
    x: Vec<u32>,
    min: Vec<u32>,
    max: Vec<u32>,
}

#[derive(Deserialize)]
struct Parameters {
    scheme: Scheme,
    range: [u32; 2],
    scale: u32,
    zero_point: i32,
}

#[derive(Deserialize)]
struct Gradient {
    shape: [usize; 2],
    axis: Option<usize>,
    qmin: i32,
    qmax: i32,
    scale: Vec<u32>,
    zero_point: Vec<i32>,
    x: Vec<u32>,
    weight: Vec<u32>,
    y: Vec<u32>,
    gradient: Vec<u32>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../golden/torch.json")).unwrap()
}

fn floats(bits: &[u32]) -> Vec<f32> {
    bits.iter().copied().map(f32::from_bits).collect()
}

#[test]
fn moving_averages_are_torchs_after_every_batch() {
    let cases = golden().moving_averages;
    assert_eq!(cases.len(), 6);
    for case in cases {
        let layout = Layout { axis: case.channel.then_some(0), shape: case.shape };
        let mut observer = Observer::new(ObserverSpec::moving_average(case.decay).unwrap());
        for (number, batch) in case.batches.iter().enumerate() {
            observer.observe(&floats(&batch.x), &layout).unwrap();
            let expected = Range::new(floats(&batch.min), floats(&batch.max)).unwrap();
            assert_eq!(observer.range(), Some(&expected), "decay {}, batch {number}", case.decay);
        }
    }
}

#[test]
fn scales_and_zero_points_are_torchs() {
    let cases = golden().parameters;
    assert_eq!(cases.len(), 240);
    for Parameters { scheme, range: [low, high], scale, zero_point } in cases {
        let (low, high) = (f32::from_bits(low), f32::from_bits(high));
        let qparams = QParams::from_range(&Range::new(vec![low], vec![high]).unwrap(), &scheme).unwrap();
        let found = (qparams.scale[0].to_bits(), qparams.zero_point[0]);
        assert_eq!(found, (scale, zero_point), "{scheme} from {low} to {high}");
    }
}

#[test]
fn values_and_gradients_are_torchs_at_scales_with_an_exact_inverse() {
    let cases = golden().gradients;
    assert_eq!(cases.len(), 9);
    let device = Device::flex().autodiff();
    for case in cases {
        let tensor = |bits: &[u32], shape: [usize; 2]| {
            Tensor::<2>::from_data(TensorData::new(floats(bits), shape), &device)
        };
        let x = tensor(&case.x, case.shape).require_grad();
        let mut along = [1, 1];
        along[case.axis.unwrap_or(0)] = case.scale.len();
        let zeros: Vec<u32> = case.zero_point.iter().map(|z| (*z as f32).to_bits()).collect();
        let scale = tensor(&case.scale, along);
        let mut results = vec![fake_quant(x.clone(), scale, tensor(&zeros, along), case.qmin, case.qmax)];
        if case.axis.is_none() {
            let (scale, zero_point) = (f32::from_bits(case.scale[0]), case.zero_point[0]);
            results.push(fake_quant_scalar(x.clone(), scale, zero_point, case.qmin, case.qmax));
        }
        for y in results {
            let values: Vec<f32> = y.to_data().try_to_vec().unwrap();
            // As numbers: torch has −0 where small negative numbers are rounded.
            assert_eq!(values, floats(&case.y), "axis {:?}, codes {}..={}", case.axis, case.qmin, case.qmax);
            let loss = (y * tensor(&case.weight, case.shape)).sum();
            let gradient: Vec<f32> = x.grad(&loss.backward()).unwrap().into_data().try_to_vec().unwrap();
            assert_eq!(gradient, floats(&case.gradient), "axis {:?}", case.axis);
        }
    }
}
