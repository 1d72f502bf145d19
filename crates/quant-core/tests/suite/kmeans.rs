//! Weight sharing: against scikit-learn, and what must hold of any result.
use burn::tensor::{Device, Int, Tensor, TensorData};
use quant_core::ptq::{Kmeans, Start, kmeans};
use quant_core::qat::shared_weight;
use serde_json::Value;

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|bits| f32::from_bits(bits.as_u64().unwrap() as u32)).collect()
}

#[test]
fn clusters_are_scikit_learns() {
    let all: Value = serde_json::from_str(include_str!("../golden/kmeans.json")).unwrap();
    let cases = all["cases"].as_array().unwrap();
    assert!(cases.len() >= 12);
    for case in cases {
        let (x, expected) = (floats(&case["x"]), floats(&case["centroids"]));
        let knobs = Kmeans { iterations: 1000, ..Kmeans::default() };
        let found = kmeans(&x, expected.len(), &knobs).unwrap();
        let most = expected.iter().fold(0f32, |most, c| most.max(c.abs()));
        for (found, expected) in found.centroids.iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-6 * most, "{} {found} {expected}", case["name"]);
        }
        let codes: Vec<u64> = found.codes.iter().map(|&code| u64::from(code)).collect();
        let labels: Vec<u64> =
            case["codes"].as_array().unwrap().iter().map(|c| c.as_u64().unwrap()).collect();
        assert_eq!(codes, labels, "{} {}", case["name"], expected.len());
    }
}

fn error(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2)).sum()
}

#[test]
fn every_number_has_the_nearest_centroid_and_more_iterations_never_hurt() {
    let x: Vec<f32> = (0..500_u32).map(|i| ((i * i * 7919) % 1009) as f32 / 100.0 - 3.0).collect();
    for start in [Start::Linear, Start::Density] {
        for count in [1, 2, 5, 16, 200] {
            let mut before = f64::INFINITY;
            for iterations in [0, 1, 2, 5, 1000] {
                let knobs = Kmeans { start, iterations, zero: false };
                let found = kmeans(&x, count, &knobs).unwrap();
                let y = found.decode();
                for (&x, &y) in x.iter().zip(&y) {
                    let nearest = found.centroids.iter().map(|c| (x - c).abs()).fold(f32::MAX, f32::min);
                    assert!((x - y).abs() <= nearest * 1.000_001 + 1e-7, "{start:?} {count}: {x} {y}");
                }
                let now = error(&x, &y);
                assert!(now <= before * (1.0 + 1e-6), "{start:?} {count} {iterations}: {now} after {before}");
                before = now;
            }
        }
    }
}

#[test]
fn zeros_keep_a_code_of_their_own() {
    let mut x: Vec<f32> = (0..64).map(|i| (i as f32 - 31.7) / 10.0).collect();
    x.iter_mut().step_by(3).for_each(|x| *x = 0.0);
    let found = kmeans(&x, 4, &Kmeans { zero: true, ..Kmeans::default() }).unwrap();
    assert_eq!(found.centroids[0].to_bits(), 0);
    for (x, y) in x.iter().zip(found.decode()) {
        assert_eq!(*x == 0.0, y == 0.0, "{x} {y}");
    }
}

#[test]
fn few_numbers_and_wrong_ones() {
    let of = |x: &[f32], count| kmeans(x, count, &Kmeans::default());
    assert_eq!(of(&[1.0, 2.0], 2).unwrap().decode(), [1.0, 2.0]);
    assert_eq!(of(&[3.0; 5], 4).unwrap().decode(), [3.0; 5]);
    assert!(of(&[], 3).unwrap().codes.is_empty());
    assert!(of(&[1.0], 0).unwrap_err().to_string().contains("from 1"));
    assert!(of(&[1.0, f32::NAN], 2).unwrap_err().to_string().contains("NaN"));
    assert!(kmeans(&[1.0], 1, &Kmeans { zero: true, ..Kmeans::default() }).is_err());
}

#[test]
fn a_centroid_gets_the_sum_of_its_weights_gradients() {
    let device = Device::flex().autodiff();
    let centroids = Tensor::<1>::from_data([-1.0, 0.5, 2.0], &device).require_grad();
    let codes = Tensor::<2, Int>::from_data(TensorData::from([[0, 1, 1], [2, 1, 0]]), &device);
    let weight = shared_weight(centroids.clone(), codes);
    let gradient = Tensor::<2>::from_data([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]], &device);
    let values: Vec<f32> = weight.clone().into_data().try_to_vec().unwrap();
    assert_eq!(values, [-1.0, 0.5, 0.5, 2.0, 0.5, -1.0]);
    let found = centroids.grad(&(weight * gradient).sum().backward()).unwrap();
    assert_eq!(found.into_data().try_to_vec::<f32>().unwrap(), [33.0, 22.0, 8.0]);
}
