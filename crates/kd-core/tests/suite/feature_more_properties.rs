//! What holds for the feature losses with parts of their own, whatever the features.

use burn::tensor::{DType, Device, Tensor};
use kd_core::loss::{
    Affine, Mgd, MgdGeneration, MgdMaskedShare, Pkd, RegionAtBackground, ReviewKd, SemCkd, Srd, SrdExponent,
    affine, hcl, mgd, pkd, region_at, srd, temporal_difference,
};
use kd_core::loss::{AffineAlignment, RegionAt};
use kd_core::named::{Evaluated, Named};
use kd_core::{Connectors, DistillLoss, Error, Features, Observed};

use crate::support::{assert_close, exact, leaf, number, numbers, some_numbers, tensor};

const MAP: [usize; 4] = [2, 3, 4, 5];

fn map(salt: usize) -> Tensor<4> {
    exact(&some_numbers(120, salt), MAP)
}

/// Ones on the diagonal of a 3×3 kernel: a convolution that changes nothing.
fn nothing(channels: usize) -> Tensor<4> {
    let mut kernel = vec![0.0; channels * channels * 9];
    (0..channels).for_each(|c| kernel[(c * channels + c) * 9 + 4] = 1.0);
    exact(&kernel, [channels, channels, 3, 3])
}

#[test]
fn equal_features_have_no_loss() {
    let background = RegionAtBackground::default();
    assert_eq!(number(hcl(map(1), map(1)).unwrap()), 0.0);
    assert_eq!(number(pkd(map(1), map(1)).unwrap()), 0.0);
    let region = exact(&[1.0, 0.0, 0.0, 1.0], [2, 1, 1, 2]);
    assert_eq!(number(region_at(map(1), map(1), region, background).unwrap()), 0.0);

    let steps = exact(&some_numbers(24, 3), [2, 4, 3]);
    assert_eq!(number(temporal_difference(steps.clone(), steps, None).unwrap()), 0.0);

    let rows = exact(&some_numbers(12, 4), [4, 3]);
    let zeros = || exact(&[0.0; 3], [3]);
    let identity = exact(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], [3, 3]);
    let alignment = AffineAlignment {
        gamma: exact(&[1.0; 3], [3]),
        beta: zeros(),
        weight: identity.clone(),
        bias: zeros(),
    };
    assert_eq!(number(affine(rows.clone(), rows.clone(), &alignment).unwrap()), 0.0);
    let least = number(srd(rows.clone(), rows, identity, SrdExponent::default()).unwrap());
    assert_close("srd", &[least], &[1e-12_f64.ln()], 1e-12);

    // The ReLU lets positive numbers through.
    let positive = map(5).abs();
    let generation =
        MgdGeneration { first: nothing(3), first_bias: zeros(), second: nothing(3), second_bias: zeros() };
    let seen = exact(&[1.0], [1, 1, 1, 1]);
    assert_eq!(number(mgd(positive.clone(), positive, seen, &generation).unwrap()), 0.0);
}

#[test]
fn scale_and_level_of_a_channel_do_not_matter_to_pkd() {
    let (plain, moved) = (map(1), map(1).mul_scalar(250.0).add_scalar(-40.0));
    let (a, b) = (number(pkd(plain, map(2)).unwrap()), number(pkd(moved, map(2)).unwrap()));
    assert_close("pkd", &[b], &[a], 1e-5);
}

#[test]
fn a_constant_in_all_steps_does_not_matter_to_temporal_difference() {
    let (s, t) = (exact(&some_numbers(24, 1), [2, 4, 3]), exact(&some_numbers(24, 2), [2, 4, 3]));
    let moved = s.clone() + exact(&[5.0, -1.0, 2.0], [1, 1, 3]);
    let (a, b) = (temporal_difference(s, t.clone(), None), temporal_difference(moved, t, None));
    assert_close("moved", &[number(b.unwrap())], &[number(a.unwrap())], 1e-12);
}

#[test]
fn the_order_of_the_examples_does_not_matter() {
    let swap = |x: Tensor<4>| Tensor::cat(vec![x.clone().narrow(0, 1, 1), x.narrow(0, 0, 1)], 0);
    let region = exact(&some_numbers(40, 6), [2, 1, 4, 5]).abs().mul_scalar(0.3);
    let background = RegionAtBackground::default();
    let pairs = [
        (pkd(map(1), map(2)), pkd(swap(map(1)), swap(map(2)))),
        (
            region_at(map(1), map(2), region.clone(), background),
            region_at(swap(map(1)), swap(map(2)), swap(region), background),
        ),
    ];
    for (a, b) in pairs {
        assert_close("swapped", &[number(b.unwrap())], &[number(a.unwrap())], 1e-12);
    }
}

#[test]
fn what_a_mask_ignores_has_no_influence() {
    let mut student = some_numbers(12, 1);
    let teacher = exact(&some_numbers(12, 2), [1, 4, 3]);
    let mask = exact(&[1.0, 1.0, 0.0, 1.0], [1, 4]);
    let value = |student: &[f64], mask: &Tensor<2>| {
        let student = leaf(student, [1, 4, 3]);
        let value = temporal_difference(student.clone(), teacher.clone(), Some(mask)).unwrap();
        let gradients = value.backward();
        (number(value), numbers(student.grad(&gradients).unwrap()))
    };
    let (before, _) = value(&student, &mask);
    student[6..9].fill(f64::NAN);
    let (after, gradient) = value(&student, &mask);
    assert_eq!(before, after);
    assert!(
        gradient.iter().all(|g| g.is_finite()) && gradient[6..].iter().all(|g| *g == 0.0),
        "{gradient:?}"
    );
    let (none, gradient) = value(&student, &exact(&[0.0; 4], [1, 4]));
    assert_eq!((none, gradient), (0.0, vec![0.0; 12]), "a mask of all zeros");
}

#[test]
fn an_empty_region_leaves_the_background_alone() {
    let empty = || exact(&[0.0; 2], [2, 1, 1, 1]);
    let of = |weight: f64| {
        let weight = RegionAtBackground::new(weight).unwrap();
        number(region_at(map(1), map(2), empty(), weight).unwrap())
    };
    assert_eq!(of(0.0), 0.0);
    assert_close("half", &[of(0.5)], &[0.5 * of(1.0)], 1e-12);
}

/// Every loss on zeros and on one example, in f32: finite, with finite gradients.
#[test]
fn zeros_and_a_batch_of_one_are_finite() {
    let losses: [(&dyn DistillLoss, &[usize]); 6] = [
        (&Pkd::default(), &[2, 3, 3]),
        (&Mgd::default(), &[2, 3, 3]),
        (&Srd::default(), &[2]),
        (&ReviewKd::default(), &[2, 3, 3]),
        (&SemCkd { batch: 4.try_into().ok(), ..SemCkd::default() }, &[2, 3, 3]),
        (&Affine::default(), &[2]),
    ];
    for (loss, shape) in losses {
        for (batch, scale) in [(1, 0.0), (1, 1.0), (3, 0.0), (3, 1e4)] {
            let found = evaluated(loss, batch, shape, scale);
            let value = number(found.value);
            assert!(value.is_finite(), "{loss:?} of {batch} at {scale}: {value}");
            for (name, gradient) in found.gradients {
                let gradient = numbers(gradient.flat());
                assert!(gradient.iter().all(|g| g.is_finite()), "{loss:?}: {name} of {batch} at {scale}");
            }
        }
    }
}

/// A loss in f32 on one student's feature, all multiples of `scale`, and a teacher's, with the parameters that it asks
/// for.
fn evaluated(loss: &dyn DistillLoss, batch: usize, shape: &[usize], scale: f64) -> Evaluated {
    let count = batch * shape.iter().product::<usize>();
    let (device, training) = (Device::flex(), Device::flex().autodiff());
    let feature = |salt, scale: f64, device: &Device| {
        let numbers: Vec<f64> = some_numbers(count, salt).into_iter().map(|x| x * scale).collect();
        match *shape {
            [width] => tensor(&numbers, [batch, width], device, DType::F32).into(),
            [c, h, w] => tensor(&numbers, [batch, c, h, w], device, DType::F32).into(),
            _ => panic!("rank 2 or 4"),
        }
    };
    let side = |salt| {
        let features: Features = [("map", feature(salt, 1.0, &device))].into_iter().collect();
        Observed::default().with_features(features)
    };
    let parameters = with_site(loss, &side(1), &side(2));
    let mut named = Named::new();
    named.insert("student.map", feature(1, scale, &training)).unwrap();
    named.insert("teacher.map", feature(2, 1.0, &device)).unwrap();
    for parameter in parameters {
        let len = parameter.shape.iter().product();
        let numbers = tensor(&some_numbers(len, 3), [len], &training, DType::F32);
        named.insert(&format!("connector.{}", parameter.name), numbers.into()).unwrap();
    }
    named.evaluate(loss).unwrap()
}

fn with_site(loss: &dyn DistillLoss, student: &Observed, teacher: &Observed) -> Vec<kd_core::Parameter> {
    loss.parameters(student, teacher).unwrap()
}

#[test]
fn the_region_is_found_beside_the_only_site() {
    let mut named = Named::new();
    let training = Device::flex().autodiff();
    named.insert("student.map", tensor(&some_numbers(120, 1), MAP, &training, DType::F64).into()).unwrap();
    named.insert("teacher.map", map(2).into()).unwrap();
    let missing = named.clone().evaluate(&RegionAt::default()).unwrap_err();
    assert_eq!(missing, Error::Missing { loss: "region-at", input: "teacher.region" });
    let region = || exact(&[1.0, 0.0], [2, 1, 1, 1]);
    named.insert("teacher.region", region().into()).unwrap();
    let found = number(named.evaluate(&RegionAt::default()).unwrap().value);
    let expected = region_at(map(1), map(2), region(), RegionAtBackground::default()).unwrap();
    assert_close("region-at", &[found], &[number(expected)], 1e-12);
}

#[test]
fn what_was_created_for_a_loss_is_what_it_reads() {
    let (device, training) = (Device::flex(), Device::flex().autodiff());
    let side = |channels: usize, size: usize, device: &Device| {
        let map = |salt, c: usize, s: usize| {
            tensor(&some_numbers(2 * c * s * s, salt), [2, c, s, s], device, DType::F32)
        };
        let features: Features =
            [("a", map(1, channels, size).into()), ("b", map(2, 2 * channels, size / 2).into())]
                .into_iter()
                .collect();
        Observed::default().with_features(features)
    };
    let (student, teacher) = (side(2, 4, &training), side(3, 6, &device));
    let sites = || vec!["a".to_string(), "b".to_string()];
    let losses: [&dyn DistillLoss; 2] =
        [&ReviewKd::new(sites(), sites()).unwrap(), &SemCkd::new(sites(), sites(), 8.try_into().unwrap())];
    for loss in losses {
        let parameters = loss.parameters(&student, &teacher).unwrap();
        let connectors = Connectors::none().with_parameters(parameters, &training);
        let value = loss.evaluate(&kd_core::View {
            student: &student,
            teachers: std::slice::from_ref(&teacher),
            targets: None,
            mask: None,
            progress: kd_core::Progress::START,
            connectors: &connectors,
        });
        assert!(number(value.unwrap()).is_finite(), "{loss:?}");
    }
}

#[test]
fn numbers_outside_their_range_are_refused() {
    assert!(MgdMaskedShare::new(1.5).is_err() && SrdExponent::new(0.5).is_err());
    assert!(RegionAtBackground::new(-0.1).is_err() && RegionAtBackground::new(f64::NAN).is_err());
    assert!(toml::from_str::<Srd>("exponent = 0.0").is_err());
    assert!(toml::from_str::<ReviewKd>("student = ['a', 'b']\nteacher = ['c']").is_err());
    assert!(toml::from_str::<SemCkd>("batch = 0").is_err());
}
