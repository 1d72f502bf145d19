//! What losses refuse, and what they look at.

use burn::tensor::{Device, Tensor};
use kd_core::loss::{CrossEntropy, Hint, Kl, LabelSmoothing, cross_entropy, hint, kl};
use kd_core::{
    Connectors, DistillLoss, Error, Feature, Features, Observed, Progress, Side, SitePair, Temperature, View,
};

use crate::support::{exact, labels, number, some_numbers};

fn zeros(shape: [usize; 2]) -> Tensor<2> {
    exact(&vec![0.0; shape[0] * shape[1]], shape)
}

fn view<'a>(
    student: &'a Observed,
    teacher: Option<&'a Observed>,
    targets: &'a Tensor<1, burn::tensor::Int>,
    connectors: &'a Connectors,
) -> View<'a> {
    let teachers = teacher.map_or(&[][..], std::slice::from_ref);
    let targets = Some(targets);
    View { student, teachers, targets, mask: None, progress: Progress::START, connectors }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let device = Device::flex();
    let knobs = Kl::new(Temperature::ONE);
    assert_eq!(
        kl(zeros([2, 3]), zeros([2, 4]), &knobs).unwrap_err(),
        Error::LogitShapes { student: [2, 3], teacher: [2, 4] }
    );
    assert_eq!(
        cross_entropy(zeros([2, 3]), &labels(&[1], &device), LabelSmoothing::NONE).unwrap_err(),
        Error::Labels { examples: 2, labels: 1 }
    );
    assert_eq!(
        hint(zeros([2, 3]), zeros([2, 4])).unwrap_err(),
        Error::FeatureShapes { student: vec![2, 3], teacher: vec![2, 4] }
    );
}

#[test]
fn a_mean_over_nothing_is_an_error() {
    let knobs = Kl::new(Temperature::ONE);
    assert_eq!(kl(zeros([0, 3]), zeros([0, 3]), &knobs).unwrap_err(), Error::Empty { shape: vec![0, 3] });
    assert_eq!(hint(zeros([0, 3]), zeros([0, 3])).unwrap_err(), Error::Empty { shape: vec![0, 3] });
    let none = labels(&[], &Device::flex());
    assert_eq!(
        cross_entropy(zeros([0, 3]), &none, LabelSmoothing::NONE).unwrap_err(),
        Error::Empty { shape: vec![0, 3] }
    );
}

#[test]
fn cross_entropy_of_equal_logits_is_the_logarithm_of_the_classes() {
    let targets = labels(&[3, 9], &Device::flex());
    for epsilon in [0.0, 0.1, 1.0] {
        let value = cross_entropy(zeros([2, 10]), &targets, LabelSmoothing::new(epsilon).unwrap()).unwrap();
        assert!((number(value) - 10f64.ln()).abs() < 1e-14);
    }
}

#[test]
fn cross_entropy_needs_no_teacher_and_the_others_say_so() {
    let student = Observed::new(zeros([1, 3]));
    let (targets, connectors) = (labels(&[0], &Device::flex()), Connectors::none());
    let view = view(&student, None, &targets, &connectors);

    assert!(!CrossEntropy::default().needs_teacher());
    assert!((number(CrossEntropy::default().evaluate(&view).unwrap()) - 3f64.ln()).abs() < 1e-14);

    let kl = Kl::new(Temperature::ONE);
    assert!(kl.needs_teacher() && kl.sites().is_empty());
    assert_eq!(kl.evaluate(&view).unwrap_err(), Error::NoTeacher { loss: "kl" });

    let hint = Hint::new("a", "b");
    assert!(hint.needs_teacher());
    assert_eq!(hint.sites(), [SitePair::new("a", "b")]);
    assert_eq!(hint.evaluate(&view).unwrap_err(), Error::NoTeacher { loss: "hint" });
}

#[test]
fn a_hint_reads_its_two_sites() {
    let observed = |site: &str, salt| {
        let features: Features =
            [("other", Feature::from(zeros([2, 1]))), (site, exact(&some_numbers(6, salt), [2, 3]).into())]
                .into_iter()
                .collect();
        Observed::new(zeros([2, 2])).with_features(features)
    };
    let (student, teacher) = (observed("s", 1), observed("t", 2));
    let targets = labels(&[0, 1], &Device::flex());
    let loss = Hint::new("s", "t");
    let connectors =
        Connectors::create(&loss.sites(), &student.features, &teacher.features, &Device::flex()).unwrap();
    let found = number(loss.evaluate(&view(&student, Some(&teacher), &targets, &connectors)).unwrap());
    let expected: f64 =
        some_numbers(6, 1).iter().zip(some_numbers(6, 2)).map(|(s, t)| (s - t).powi(2)).sum::<f64>() / 6.0;
    assert!((found - expected).abs() < 1e-14);

    let wrong = Hint::new("s", "s");
    assert_eq!(
        wrong.evaluate(&view(&student, Some(&teacher), &targets, &connectors)).unwrap_err(),
        Error::UnknownSite { side: Side::Teacher, site: "s".into(), sites: vec!["other".into(), "t".into()] }
    );
    let wrong = Hint::new("other", "t");
    assert_eq!(
        wrong.evaluate(&view(&student, Some(&teacher), &targets, &connectors)).unwrap_err(),
        Error::NoConnector { student: "other".into(), teacher: "t".into() }
    );
}

#[test]
fn errors_read_as_sentences() {
    let error = Error::UnknownSite { side: Side::Student, site: "blok".into(), sites: vec!["block".into()] };
    assert_eq!(error.to_string(), "the student has no site `blok`: there are `block`");
    let error = Error::UnknownSite { side: Side::Teacher, site: "x".into(), sites: vec![] };
    assert_eq!(error.to_string(), "the teacher has no site `x`, and none was kept");
    assert_eq!(
        Temperature::new(-1.0).unwrap_err().to_string(),
        "`temperature` must be finite and above 0, found -1"
    );
}

#[test]
fn numbers_outside_their_range_are_refused() {
    for wrong in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(Temperature::new(wrong).is_err(), "{wrong}");
    }
    for wrong in [-1e-9, 1.0 + 1e-9, f64::NAN] {
        assert!(Progress::new(wrong).is_err(), "{wrong}");
        assert!(LabelSmoothing::new(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn progress_is_a_fraction_of_the_whole() {
    let of = |done, total| Progress::of(done, total).get();
    assert_eq!((of(0, 4), of(1, 4), of(4, 4)), (0.0, 0.25, 1.0));
    assert_eq!((of(0, 0), of(5, 4)), (1.0, 1.0), "nothing to do is done, and more than all is all");
}
