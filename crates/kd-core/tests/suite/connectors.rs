//! Connectors: the layer that two shapes ask for, what it refuses, and that it is trained.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor};
use kd_core::loss::hint;
use kd_core::{Connector, ConnectorKind, Connectors, Error, Feature, Features, Obstacle, SitePair};

use crate::support::{assert_close, number, numbers};

fn ones(shape: &[usize], device: &Device) -> Feature {
    match *shape {
        [a] => Tensor::<1>::ones([a], device).into(),
        [a, b] => Tensor::<2>::ones([a, b], device).into(),
        [a, b, c] => Tensor::<3>::ones([a, b, c], device).into(),
        [a, b, c, d] => Tensor::<4>::ones([a, b, c, d], device).into(),
        _ => panic!("features have rank 1 to 4"),
    }
}

fn pair(kind: Option<ConnectorKind>) -> SitePair {
    SitePair { connector: kind, ..SitePair::new("s", "t") }
}

#[test]
fn shapes_choose_the_connector_and_it_gives_the_teachers_shape() {
    use ConnectorKind::{Conv, Conv3, Conv3BatchNorm, ConvBatchNorm, Identity, Linear};
    use ConnectorKind::{MapToTokens, TokensToMap, Upsample};
    struct Case(Option<ConnectorKind>, &'static [usize], &'static [usize], ConnectorKind, usize);
    let cases = [
        Case(None, &[2, 5], &[2, 5], Identity, 0),
        Case(None, &[2], &[2], Identity, 0),
        Case(None, &[2, 3, 4, 4], &[2, 3, 4, 4], Identity, 0),
        Case(Some(Identity), &[2, 5], &[2, 5], Identity, 0),
        Case(None, &[2, 5], &[2, 7], Linear, 5 * 7 + 7),
        Case(None, &[2, 9, 5], &[2, 9, 7], Linear, 5 * 7 + 7),
        Case(Some(Linear), &[2, 5], &[2, 5], Linear, 5 * 5 + 5),
        Case(None, &[2, 3, 4, 6], &[2, 8, 4, 6], Conv, 3 * 8 + 8),
        Case(Some(Conv), &[2, 3, 4, 6], &[2, 3, 4, 6], Conv, 3 * 3 + 3),
        // Scale, shift, and the two running statistics that Burn counts.
        Case(Some(ConvBatchNorm), &[2, 3, 4, 6], &[2, 8, 4, 6], ConvBatchNorm, 3 * 8 + 4 * 8),
        Case(Some(Conv3), &[2, 3, 4, 6], &[2, 8, 4, 6], Conv3, 9 * 3 * 8 + 8),
        Case(Some(Conv3BatchNorm), &[2, 3, 4, 6], &[2, 8, 4, 6], Conv3BatchNorm, 9 * 3 * 8 + 4 * 8),
        Case(None, &[2, 24, 5], &[2, 8, 4, 6], TokensToMap, 5 * 8 + 8),
        Case(None, &[2, 3, 4, 6], &[2, 24, 7], MapToTokens, 3 * 7 + 7),
        Case(Some(Upsample), &[2, 3, 4, 6], &[2, 8, 7, 13], Upsample, 3 * 8 + 8),
    ];
    for Case(asked, student, teacher, kind, parameters) in cases {
        // Other resolutions are tried where the arithmetic is known.
        let device = if kind == Upsample { Device::flex() } else { Device::default() };
        let connector = Connector::create(&pair(asked), student, teacher, &device).unwrap();
        assert_eq!(connector.kind(), kind, "{student:?} to {teacher:?}");
        assert_eq!(connector.num_params(), parameters, "{student:?} to {teacher:?}");
        let out = connector.forward(ones(student, &device)).unwrap();
        assert_eq!(out.dims(), teacher, "{kind}");
    }
}

#[test]
fn what_cannot_be_joined_is_an_error_that_names_both() {
    use ConnectorKind::{Conv, ConvBatchNorm, Identity, Linear, Upsample};
    struct Case(Option<ConnectorKind>, &'static [usize], &'static [usize], Obstacle);
    let cases = [
        Case(None, &[2, 5], &[2, 5, 1], Obstacle::Ranks),
        Case(None, &[2, 5], &[3, 5], Obstacle::Batch),
        Case(None, &[2, 3, 4, 4], &[2, 3, 2, 2], Obstacle::Positions),
        Case(None, &[2, 9, 5], &[2, 8, 5], Obstacle::Positions),
        Case(Some(Identity), &[2, 5], &[2, 6], Obstacle::NotIdentical),
        Case(Some(Linear), &[2, 3, 4, 4], &[2, 5, 4, 4], Obstacle::Kind { kind: Linear }),
        Case(Some(Conv), &[2, 5], &[2, 6], Obstacle::Kind { kind: Conv }),
        Case(None, &[2, 23, 5], &[2, 8, 4, 6], Obstacle::Pixels),
        Case(Some(Upsample), &[2, 9, 5], &[2, 9, 5], Obstacle::Kind { kind: Upsample }),
        Case(Some(ConvBatchNorm), &[2, 5, 1], &[2, 5, 1], Obstacle::Kind { kind: ConvBatchNorm }),
    ];
    let device = Device::default();
    for Case(asked, student, teacher, reason) in cases {
        let error = Connector::create(&pair(asked), student, teacher, &device).unwrap_err();
        assert_eq!(
            error,
            Error::Unjoinable {
                student: "s".into(),
                student_shape: student.to_vec(),
                teacher: "t".into(),
                teacher_shape: teacher.to_vec(),
                reason,
            }
        );
    }
    let error = Connector::create(&pair(Some(Linear)), &[2, 3, 4, 4], &[2, 5, 4, 4], &device).unwrap_err();
    assert_eq!(
        error.to_string(),
        "student site `s` of shape [2, 3, 4, 4] cannot be joined to teacher site `t` of shape [2, 5, 4, 4]: \
         `linear` joins features of rank 2 or 3"
    );
}

#[test]
fn a_feature_of_another_rank_than_the_connector_is_an_error() {
    let device = Device::default();
    let connector = Connector::create(&pair(None), &[2, 5], &[2, 7], &device).unwrap();
    let error = connector.forward(ones(&[2, 5, 1, 1], &device)).unwrap_err();
    assert_eq!(error, Error::Rank { expected: 2, found: 4 });
}

fn features(sites: &[(&str, &[usize])], device: &Device) -> Features {
    sites.iter().map(|(site, shape)| (*site, ones(shape, device))).collect()
}

/// Tokens are pixels row by row, and those of another resolution the nearest ones.
#[test]
fn positions_keep_their_order() {
    let device = Device::flex();
    let numbers_of = |x: Feature| numbers(x.flat());
    let ramp: Feature = Tensor::<1>::from_floats([0., 1., 2., 3., 4., 5.], &device).reshape([1, 6, 1]).into();
    let out = |kind, student: Feature, teacher: &[usize]| {
        let connector = Connector::create(&pair(Some(kind)), &student.dims(), teacher, &device).unwrap();
        let zero = Connector::forward(&connector, student.zeros_like()).unwrap();
        let base = numbers_of(zero);
        let out = numbers_of(connector.forward(student).unwrap());
        // Without the bias and in units of the weight, the second position's.
        let plain: Vec<f64> = out.iter().zip(&base).map(|(a, b)| a - b).collect();
        plain.iter().map(|x| (x / plain[1] * 1e4).round() / 1e4).collect::<Vec<_>>()
    };
    assert_eq!(out(ConnectorKind::TokensToMap, ramp.clone(), &[1, 1, 2, 3]), [0., 1., 2., 3., 4., 5.]);
    let map = Tensor::<3>::try_from(ramp).unwrap().reshape([1, 1, 2, 3]);
    assert_eq!(out(ConnectorKind::MapToTokens, map.into(), &[1, 6, 1]), [0., 1., 2., 3., 4., 5.]);
    let row = Tensor::<1>::from_floats([1., 2., 3.], &device).reshape([1, 1, 1, 3]).into();
    let twice = [1., 1., 2., 2., 3., 3.];
    assert_eq!(out(ConnectorKind::Upsample, row, &[1, 1, 2, 6]), [twice, twice].concat());
}

#[test]
fn a_mixture_is_the_shared_sum_of_several_sites() {
    let device = Device::flex();
    let student = features(&[("a", &[2, 3, 5]), ("b", &[2, 3, 4])], &device);
    let teacher = features(&[("c", &[2, 3, 6])], &device);
    let pair = SitePair { connector: Some(ConnectorKind::Mixture), ..SitePair::new("a + b", "c") };
    let pairs = [pair];
    let connectors = Connectors::create(&pairs, &student, &teacher, &device).unwrap();
    assert_eq!(connectors.num_params(), (5 * 6 + 6) + (4 * 6 + 6) + 2);
    let of = |a: f64, b: f64| {
        let scaled = |shape: &[usize], by: f64| match ones(shape, &device) {
            Feature::D3(x) => Feature::D3(x.mul_scalar(by)),
            other => other,
        };
        let all = vec![scaled(&[2, 3, 5], a), scaled(&[2, 3, 4], b)];
        numbers(connectors.apply(&pairs[0], all).unwrap().flat())
    };
    // Linear in each of them, with shares that begin equal and sum to 1: f(a, b) + f(0, 0) = f(a, 0) + f(0, b).
    let (both, none, first, second) = (of(2.0, 3.0), of(0.0, 0.0), of(2.0, 0.0), of(0.0, 3.0));
    let left: Vec<f64> = both.iter().zip(&none).map(|(a, b)| a + b).collect();
    let right: Vec<f64> = first.iter().zip(&second).map(|(a, b)| a + b).collect();
    assert_close("the sum", &left, &right, 1e-5);
}

#[test]
fn one_connector_is_created_for_each_different_pair() {
    let device = Device::default();
    let student = features(&[("a", &[2, 3]), ("b", &[2, 4])], &device);
    let teacher = features(&[("a", &[2, 3]), ("c", &[2, 6])], &device);
    let pairs = [SitePair::new("a", "a"), SitePair::new("b", "c"), SitePair::new("a", "a")];
    let connectors = Connectors::create(&pairs, &student, &teacher, &device).unwrap();
    assert_eq!(connectors.len(), 2);
    let kinds: Vec<_> =
        connectors.iter().map(|(pair, connector)| (pair.student.as_str(), connector.kind())).collect();
    assert_eq!(kinds, [("a", ConnectorKind::Identity), ("b", ConnectorKind::Linear)]);

    let out = connectors.apply(&pairs[1], vec![ones(&[2, 4], &device)]).unwrap();
    assert_eq!(out.dims(), [2, 6]);
    let unknown = SitePair::new("b", "a");
    assert_eq!(
        connectors.apply(&unknown, vec![ones(&[2, 4], &device)]).unwrap_err(),
        Error::NoConnector { student: "b".into(), teacher: "a".into() }
    );
}

#[test]
fn a_site_that_a_model_lacks_is_named_with_its_model() {
    let device = Device::default();
    let (student, teacher) = (features(&[("a", &[2, 3])], &device), features(&[("c", &[2, 6])], &device));
    let message =
        |pair: SitePair| Connectors::create(&[pair], &student, &teacher, &device).unwrap_err().to_string();
    assert_eq!(message(SitePair::new("x", "c")), "the student has no site `x`: there are `a`");
    assert_eq!(message(SitePair::new("a", "x")), "the teacher has no site `x`: there are `c`");
    assert!(Connectors::none().is_empty());
}

#[test]
fn parameters_are_drawn_at_creation() {
    struct Drawn(usize);
    impl ModuleVisitor for Drawn {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            assert!(param.is_initialized());
            self.0 += 1;
        }
    }
    let device = Device::default();
    for (shape, kind, parameters) in
        [([2, 3, 1, 1], ConnectorKind::Conv, 2), ([2, 3, 1, 1], ConnectorKind::ConvBatchNorm, 5)]
    {
        let connector = Connector::create(&pair(Some(kind)), &shape, &shape, &device).unwrap();
        let mut drawn = Drawn(0);
        connector.visit(&mut drawn);
        assert_eq!(drawn.0, parameters, "{kind}");
    }
    let connector = Connector::create(&pair(None), &[2, 3], &[2, 4], &device).unwrap();
    let mut drawn = Drawn(0);
    connector.visit(&mut drawn);
    assert_eq!(drawn.0, 2);
}

/// A connector is a module like any other: an optimizer moves it, and a linear map is learned exactly enough.
#[test]
fn an_optimizer_trains_connectors() {
    let plain = Device::default();
    let training = plain.clone().autodiff();
    let x = Tensor::<2>::from_data([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 2.0]], &plain);
    let y = Tensor::<2>::from_data(
        [[2.0, 0.0, 1.0], [0.0, -1.0, 1.0], [2.0, -1.0, 1.0], [-2.0, -2.0, 1.0]],
        &plain,
    );
    let site = |x: &Tensor<2>| -> Features { [("f", Feature::from(x.clone()))].into_iter().collect() };
    let join = SitePair::new("f", "f");
    let mut connectors =
        Connectors::create(std::slice::from_ref(&join), &site(&x), &site(&y), &training).unwrap();
    let loss = |connectors: &Connectors, x: Tensor<2>| {
        let out = connectors.apply(&join, vec![x.into()]).unwrap().try_into().unwrap();
        hint::<2>(out, y.clone()).unwrap()
    };

    let first = number(loss(&connectors, x.clone().autodiff()));
    let mut optimizer = SgdConfig::new().init();
    for _ in 0..300 {
        let gradients = loss(&connectors, x.clone().autodiff()).backward();
        let gradients = GradientsParams::from_grads(gradients, &connectors);
        connectors = optimizer.step(0.3, connectors, gradients);
    }
    let last = number(loss(&connectors.valid(), x.clone()));
    assert!(first > 0.1 && last < 1e-3 * first, "from {first} to {last}");
    assert_eq!(connectors.iter().next().unwrap().0, &join, "pairs survive optimizer steps and valid()");
}

#[test]
fn batch_norm_of_a_connector_learns_in_training_and_rests_in_evaluation() {
    let training = Device::default().autodiff();
    let kind = pair(Some(ConnectorKind::ConvBatchNorm));
    let connector = Connector::create(&kind, &[4, 2, 1, 1], &[4, 3, 1, 1], &training).unwrap();
    let x = Tensor::<4>::from_data(
        [[[[1.0]], [[2.0]]], [[[3.0]], [[5.0]]], [[[0.0]], [[1.0]]], [[[2.0]], [[0.0]]]],
        &training,
    );
    let Feature::D4(out) = connector.forward(x.clone().into()).unwrap() else {
        panic!("a convolution keeps rank 4")
    };
    let mean = numbers(out.mean_dim(0));
    assert!(mean.iter().all(|mean| mean.abs() < 1e-5), "normalized over the batch: {mean:?}");

    let resting = connector.valid();
    let x = x.without_autodiff();
    let forward = |x: Tensor<4>| match resting.forward(x.into()).unwrap() {
        Feature::D4(out) => numbers(out),
        other => panic!("a convolution keeps rank 4, found {}", other.rank()),
    };
    let together = forward(x.clone());
    let alone = forward(x.narrow(0, 0, 1));
    assert_close("in evaluation an example does not depend on its batch", &alone, &together[..3], 1e-6);
}
