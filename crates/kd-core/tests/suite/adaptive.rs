//! Weights that nobody has to tune.

use kd_core::{
    Feature, Start, balanced_weights, gradient_norm, paced_weights, uncertainty_parameter,
    uncertainty_weighted,
};

use crate::support::{leaf, numbers};

#[test]
fn untrained_uncertainty_is_the_plain_sum() {
    let values = [leaf(&[2.0], [1]), leaf(&[0.5], [1])];
    let total = uncertainty_weighted(&values, leaf(&[0.0, 0.0], [2])).unwrap();
    assert_eq!(numbers(total), [2.5]);
    let parameter = uncertainty_parameter(2);
    assert_eq!((parameter.shape.as_slice(), parameter.start), (&[2][..], Start::Constant(0.0)));
}

#[test]
fn uncertainty_rests_where_a_weight_is_one_over_its_loss() {
    let (values, s) = ([leaf(&[2.0], [1]), leaf(&[0.5], [1])], leaf(&[2f64.ln(), 0.0], [2]));
    let total = uncertainty_weighted(&values, s.clone()).unwrap();
    let gradients = total.backward();
    // d/ds = 1 − exp(−s)·L, and d/dL = exp(−s).
    let slope = numbers(s.grad(&gradients).unwrap());
    assert!(slope[0].abs() < 1e-15 && (slope[1] - 0.5).abs() < 1e-15, "{slope:?}");
    assert!((numbers(values[0].grad(&gradients).unwrap())[0] - 0.5).abs() < 1e-15);
}

#[test]
fn uncertainty_needs_one_number_for_each_term() {
    let values = [leaf(&[2.0], [1])];
    assert!(uncertainty_weighted(&values, leaf(&[0.0, 0.0], [2])).is_err());
    assert!(uncertainty_weighted(&[], leaf(&[0.0], [1])).is_err());
    assert!(uncertainty_weighted(&[leaf(&[1.0, 2.0], [2])], leaf(&[0.0], [1])).is_err());
}

#[test]
fn balanced_terms_have_gradients_of_one_norm() {
    let weights = balanced_weights(&[4.0, 1.0, 0.5]).unwrap();
    let products: Vec<f64> = weights.iter().zip([4.0, 1.0, 0.5]).map(|(w, g)| w * g).collect();
    assert!(products.iter().all(|product| (product - products[0]).abs() < 1e-15), "{products:?}");
    assert!((weights.iter().sum::<f64>() - 3.0).abs() < 1e-15);
    assert_eq!(balanced_weights(&[3.0]).unwrap(), [1.0]);
    assert_eq!(balanced_weights(&[0.0, 2.0, 2.0]).unwrap(), [1.0, 1.0, 1.0]);
    assert_eq!(balanced_weights(&[]).unwrap(), [0.0; 0]);
    assert!(balanced_weights(&[1.0, f64::NAN]).is_err() && balanced_weights(&[-1.0]).is_err());
}

#[test]
fn a_term_that_lags_gets_more() {
    let weights = paced_weights(&[1.0, 1.0], &[0.9, 0.1], 1.0).unwrap();
    assert!((weights[0] - 1.8).abs() < 1e-15 && (weights[1] - 0.2).abs() < 1e-15, "{weights:?}");
    assert!(paced_weights(&[1.0], &[1.0, 1.0], 1.0).is_err());
    assert!(paced_weights(&[1.0], &[0.0], 1.0).is_err());
    assert!(paced_weights(&[1.0], &[1.0], f64::INFINITY).is_err());
}

#[test]
fn the_norm_of_a_gradient_covers_all_chosen_leaves() {
    let (a, b, unused) = (leaf(&[1.0, 2.0], [1, 2]), leaf(&[5.0], [1]), leaf(&[7.0], [1]));
    // 3·a₁ + 4·b: a gradient of (3, 0), 4 and nothing.
    let value = a.clone().narrow(1, 0, 1).reshape([1]).mul_scalar(3.0) + b.clone().mul_scalar(4.0);
    let gradients = value.backward();
    let at = [Feature::from(a), Feature::from(b), Feature::from(unused)];
    assert_eq!(numbers(gradient_norm(&gradients, &at).unwrap()), [5.0]);
    assert!(gradient_norm(&gradients, &[]).is_err());
}
