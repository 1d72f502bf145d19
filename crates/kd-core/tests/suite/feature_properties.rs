//! What holds for losses of feature maps whatever the maps.

use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor};
use kd_core::loss::{
    Ab, At, AtVariant, Cwd, Fsp, Ft, FtVariant, Margin, Nst, Ofd, Power, Vid, VidCompat, at, cwd, fsp, ft,
    margin_of_batch, margin_of_batch_norm, nst, ofd,
};
use kd_core::named::Named;
use kd_core::{Connectors, DistillLoss, Feature, Observed, Progress, Start, Temperature, View};

use crate::support::{assert_close, exact, number, numbers, some_numbers, tensor};

fn map(shape: [usize; 4], salt: usize) -> Tensor<4> {
    exact(&some_numbers(shape.iter().product(), salt), shape)
}

fn losses() -> Vec<(&'static str, Box<dyn DistillLoss>)> {
    vec![
        ("at", Box::new(At::default())),
        ("at paper", Box::new(At { variant: AtVariant::Paper, ..At::default() })),
        ("at 1", Box::new(At { power: Power::new(1.0).unwrap(), ..At::default() })),
        ("nst", Box::new(Nst::default())),
        ("ft", Box::new(Ft::default())),
        ("ft paper", Box::new(Ft { variant: FtVariant::Paper, ..Ft::default() })),
        ("ab", Box::new(Ab::default())),
        ("ofd", Box::new(Ofd::default())),
        ("vid", Box::new(Vid { compat: Some(VidCompat::Mdistiller), ..Vid::default() })),
        ("cwd", Box::new(Cwd::default())),
        ("fsp", Box::new(Fsp { first: "map".into(), second: "map".into(), ..Fsp::default() })),
    ]
}

#[test]
fn equal_maps_differ_by_nothing() {
    for shape in [[1, 2, 3, 5], [3, 7, 2, 3]] {
        let x = || map(shape, 1);
        let zero = |what: &str, value: Tensor<1>| assert_close(what, &[number(value)], &[0.0], 1e-14);
        for variant in [AtVariant::Author, AtVariant::Paper] {
            zero("at", at(x(), x(), &At { variant, ..At::default() }).unwrap());
        }
        zero("nst", nst(x(), x()).unwrap());
        for variant in [FtVariant::Mean, FtVariant::Paper] {
            zero("ft", ft(x(), x(), variant).unwrap());
        }
        zero("fsp", fsp((x(), map(shape, 2)), (x(), map(shape, 2)), Default::default()).unwrap());
        zero("ofd", ofd(x(), x(), margin_of_batch(x())).unwrap());
        zero("cwd", cwd(x(), x(), Temperature::new(4.0).unwrap()).unwrap());
    }
}

/// Twice the same channels are the same attention and the same set of patterns.
#[test]
fn attention_and_selectivity_do_not_depend_on_the_number_of_channels() {
    let (student, teacher) = (map([2, 3, 4, 5], 1), map([2, 4, 4, 5], 2));
    let twice = Tensor::cat(vec![student.clone(), student.clone()], 1);
    for variant in [AtVariant::Author, AtVariant::Paper] {
        let of =
            |s: &Tensor<4>| number(at(s.clone(), teacher.clone(), &At { variant, ..At::default() }).unwrap());
        assert_close("at", &[of(&twice)], &[of(&student)], 1e-12);
    }
    let of = |s: &Tensor<4>| number(nst(s.clone(), teacher.clone()).unwrap());
    assert_close("nst", &[of(&twice)], &[of(&student)], 1e-12);
    // Many channels and few positions take the other way.
    let many = Tensor::cat(vec![student.clone(); 12], 1);
    assert_close("nst of many channels", &[of(&many)], &[of(&student)], 1e-12);
}

#[test]
fn maps_of_zeros_and_one_example_give_finite_values_and_gradients() {
    let device = Device::flex();
    let autodiff = device.clone().autodiff();
    let zeros = [0.0; 24];
    let some = some_numbers(24, 3);
    for dtype in [DType::F32, DType::F64] {
        for (student, teacher) in [(&zeros[..], &some[..]), (&some, &zeros), (&zeros, &zeros), (&some, &some)]
        {
            for shape in [[1, 4, 2, 3], [3, 4, 2, 1]] {
                for (name, loss) in losses() {
                    let mut named = Named::new();
                    let map = |x, device| Feature::from(tensor(x, shape, device, dtype));
                    named.insert("student.map", map(student, &autodiff)).unwrap();
                    named.insert("teacher.map", map(teacher, &device)).unwrap();
                    for weight in ["regressor1", "regressor2", "regressor3"] {
                        let weight = format!("connector.{weight}");
                        let x = tensor(&some[..16], [4, 4], &autodiff, dtype);
                        named.insert(&weight, x.into()).unwrap();
                    }
                    let evaluated = named.evaluate(loss.as_ref()).unwrap();
                    assert!(number(evaluated.value).is_finite(), "{name} in {dtype:?}: value");
                    for (input, gradient) in evaluated.gradients {
                        let finite = numbers(gradient.flat()).iter().all(|x| x.is_finite());
                        assert!(finite, "{name} in {dtype:?}: gradient of {input}");
                    }
                }
            }
        }
    }
}

/// A variance of 5 to begin with, and a parameter unless the defect is asked for.
#[test]
fn variances_start_at_five_and_are_trained() {
    let observed = |channels| {
        let mut observed = Observed::default();
        observed.features.insert("map", map([2, channels, 3, 3], channels).into());
        observed
    };
    let (student, teacher) = (observed(2), observed(3));
    let names = |loss: &Vid| -> Vec<_> {
        let all = loss.parameters(&student, &teacher).unwrap();
        all.into_iter().map(|parameter| (parameter.name, parameter.shape)).collect()
    };
    let loss = Vid::new("map", "map");
    let weights = [("regressor1", vec![3, 2]), ("regressor2", vec![3, 3]), ("regressor3", vec![3, 3])];
    assert_eq!(names(&loss)[..3], weights);
    assert_eq!(names(&loss)[3], ("variance", vec![3]));
    let compat = Vid { compat: Some(VidCompat::Mdistiller), ..loss.clone() };
    assert_eq!(names(&compat), weights);

    let Start::Constant(rho) = loss.parameters(&student, &teacher).unwrap()[3].start else {
        panic!("variances start at one number")
    };
    assert_close("variance", &[rho.exp().ln_1p() + 1e-5], &[5.0], 1e-12);

    // A gradient reaches all that is trained.
    for (loss, count) in [(&loss, 4), (&compat, 3)] {
        let device = Device::flex().autodiff();
        let parameters = loss.parameters(&student, &teacher).unwrap();
        let connectors = Connectors::identity(&loss.sites()).with_parameters(parameters, &device);
        let plain = |salt, channels| {
            let numbers = some_numbers(2 * channels * 9, salt);
            tensor(&numbers, [2, channels, 3, 3], &Device::flex(), DType::F32)
        };
        let mut seen = Observed::default();
        seen.features.insert("map", plain(1, 2).autodiff().into());
        let mut known = Observed::default();
        known.features.insert("map", plain(2, 3).into());
        let value = loss.evaluate(&View {
            student: &seen,
            teachers: &[known],
            targets: None,
            mask: None,
            progress: Progress::of(1, 1),
            connectors: &connectors,
        });
        let mut gradients = value.unwrap().backward();
        assert_eq!(GradientsParams::from_module(&mut gradients, &connectors).len(), count);
    }
}

/// The closed form is what a large sample of a normal distribution gives.
#[test]
fn both_margins_agree_on_normal_numbers() {
    // Quantiles of a standard normal by bisection, so that nothing is random.
    let below = |x: f64| number(exact(&[x / 2f64.sqrt()], [1]).erf().add_scalar(1.0).mul_scalar(0.5));
    let quantile = |p: f64| {
        let (mut low, mut high) = (-8.0, 8.0);
        for _ in 0..40 {
            let middle = (low + high) / 2.0;
            if below(middle) < p { low = middle } else { high = middle }
        }
        (low + high) / 2.0
    };
    let count = 400;
    let normal: Vec<f64> = (0..count).map(|i| quantile((i as f64 + 0.5) / count as f64)).collect();
    let (mean, std) = ([0.5, -1.0], [2.0, -0.5]);
    let both: Vec<f64> = (0..2).flat_map(|c| normal.iter().map(move |z| mean[c] + std[c] * z)).collect();
    let found = numbers(margin_of_batch(exact(&both, [1, 2, 1, count])));
    let expected = numbers(margin_of_batch_norm(exact(&mean, [2]), exact(&std, [2])));
    assert_close("margin", &found, &expected, 1e-2);
    // Hardly ever negative; always negative; of no width.
    let edges = numbers(margin_of_batch_norm(exact(&[4.0, -9.0, 0.0], [3]), exact(&[1.0, 1.0, 0.0], [3])));
    assert_close("margin", &edges, &[-3.0, -9.0, 0.0], 1e-9);
}

#[test]
fn numbers_outside_their_range_and_two_ways_of_naming_layers_are_refused() {
    let refused = |text: &str, expected: &str| {
        let at: Result<At, _> = toml::from_str(text);
        let ab: Result<Ab, _> = toml::from_str(text);
        let message = format!("{} {}", at.unwrap_err().message(), ab.unwrap_err().message());
        assert!(message.contains(expected), "{message}");
    };
    refused("power = 0.5", "`power` must be finite and at least 1, found 0.5");
    refused("margin = -1", "`margin` must be finite and at least 0, found -1");
    refused("layers = ['a']\nstudent = 'b'", "either `layers` or `student` and `teacher`");
    assert!(Margin::new(f64::NAN).is_err() && Power::new(f64::INFINITY).is_err());
}
