//! What holds for losses of several models, and for those without data, whatever the numbers.

use burn::tensor::{DType, Device, Tensor};
use kd_core::loss::{
    Ard, Ban, BanVariant, CaMkd, Combine, Dafl, DeepInversion, DeepInversionCompat, DfadRole, Discriminator,
    DiscriminatorInput, DiscriminatorRole, DistillLoss, Dml, DmlCompat, Inversion, Kl, Logarithm, LossName,
    MultiTeacher, NormLayer, Register, Rslad, TABLE, TeacherWeights, ard, ban, batch_norm_distance, byot,
    byot_features, ca_mkd, ca_mkd_weights, competition, cs_kd, dafl, deep_inversion, dfad, discriminator,
    dml, kl, multi_teacher, register, rslad, total_variation,
};
use kd_core::{Error, Feature, Temperature};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::support::{
    assert_close, assert_gradient, exact, labels, leaf, number, numbers, some_numbers, tensor,
};

const SHAPE: [usize; 2] = [3, 4];

fn logits(salt: usize) -> Tensor<2> {
    exact(&some_numbers(12, salt), SHAPE)
}

fn at(temperature: f64) -> Temperature {
    Temperature::new(temperature).unwrap()
}

fn several(combine: Combine, weights: &[f64]) -> MultiTeacher {
    MultiTeacher { temperature: at(3.0), combine, weights: TeacherWeights::new(weights.to_vec()).unwrap() }
}

#[test]
fn one_teacher_and_equal_teachers_are_kl() {
    let (student, teacher, targets) = (logits(1), logits(2), labels(&[0, 3, 1], &Device::flex()));
    let expected = number(kl(student.clone(), teacher.clone(), &Kl::new(at(3.0))).unwrap());
    for combine in [Combine::MeanProbabilities, Combine::MeanLogits] {
        for weights in [&[][..], &[0.3, 0.5, 0.2], &[0.0, 4.0, 0.0]] {
            let teachers = [teacher.clone(), teacher.clone(), teacher.clone()];
            let found = multi_teacher(student.clone(), &teachers, &several(combine, weights)).unwrap();
            assert_close("equal teachers", &[number(found)], &[expected], 1e-12);
        }
        let one = multi_teacher(student.clone(), std::slice::from_ref(&teacher), &several(combine, &[]));
        assert_eq!(number(one.unwrap()), expected);
    }
    for teachers in [vec![teacher.clone()], vec![teacher.clone(), teacher]] {
        let found = ca_mkd(student.clone(), &teachers, &targets, &CaMkd { temperature: at(3.0) }).unwrap();
        assert_close("ca-mkd", &[number(found)], &[expected], 1e-12);
    }
}

#[test]
fn a_weight_of_zero_removes_a_teacher_and_only_proportions_count() {
    let (student, a, b) = (logits(1), logits(2), logits(3));
    let of = |teachers: &[Tensor<2>], weights: &[f64]| {
        let knobs = several(Combine::MeanProbabilities, weights);
        number(multi_teacher(student.clone(), teachers, &knobs).unwrap())
    };
    assert_eq!(of(&[a.clone(), b.clone()], &[5.0, 0.0]), of(std::slice::from_ref(&a), &[]));
    assert_close("halves", &[of(&[a.clone(), b.clone()], &[2.0, 2.0])], &[of(&[a.clone(), b], &[])], 1e-14);
    let knobs = several(Combine::MeanLogits, &[1.0, 1.0]);
    let error = multi_teacher(student.clone(), &[a], &knobs).unwrap_err();
    assert_eq!(error.to_string(), "`weights` must be one for each teacher, found 2");
    assert!(multi_teacher(student, &[], &several(Combine::MeanLogits, &[])).is_err());
}

#[test]
fn weights_of_ca_mkd_sum_to_one_and_follow_the_better_teacher() {
    let targets = labels(&[0, 3, 1], &Device::flex());
    let weights = numbers(ca_mkd_weights(&[logits(1), logits(2), logits(3)], &targets).unwrap());
    for row in weights.chunks(3) {
        assert_close("sum", &[row.iter().sum()], &[1.0], 1e-14);
        assert!(row.iter().all(|&weight| (0.0..=0.5).contains(&weight)), "{row:?}");
    }
    let (right, wrong) = (exact(&[500.0, 0.0], [1, 2]), exact(&[0.0, 500.0], [1, 2]));
    let weights = ca_mkd_weights(&[wrong, right], &labels(&[0], &Device::flex())).unwrap();
    assert_eq!(numbers(weights), [0.0, 1.0]);
}

#[test]
fn models_that_agree_have_nothing_to_learn() {
    let same = || logits(1);
    let zero =
        |what: &str, value: Result<Tensor<1>, Error>| assert_eq!(number(value.unwrap()), 0.0, "{what}");
    zero("dml", dml(same(), &[same(), same()], &Dml::default()));
    zero("dml of KD_Lib", dml(same(), &[same()], &Dml { compat: Some(DmlCompat::KdLib) }));
    zero("byot", byot(same(), &[same(), same()], at(3.0)));
    zero("byot features", byot_features(same().into(), &[same().into()]));
    zero("cs-kd", cs_kd(same(), same(), at(4.0)));
    zero("ban", ban(same(), same(), None, &Ban::default()));
    zero("dfad", dfad(same(), same(), DfadRole::Student));
    zero("dfad of the generator", dfad(same(), same(), DfadRole::Generator));
    zero("ard", ard(same(), None, same(), &Ard::default()));
    zero("rslad", rslad(same(), same(), same(), &Rslad::default()));
    let one = competition(same(), same(), None).unwrap();
    assert_close("competition", &[number(one)], &[1.0], 1e-14);
}

#[test]
fn large_logits_in_f32_give_numbers() {
    let device = Device::flex().autodiff();
    let row = [500.0, 0.0, -500.0];
    let student = || tensor(&row, [1, 3], &device, DType::F32).require_grad();
    let teacher = || tensor(&[-500.0, 500.0, 0.0], [1, 3], &Device::flex(), DType::F32);
    let targets = labels(&[2], &Device::flex());
    let inverted = DeepInversion { competition_weight: 1.0, batch_norm_weight: 0.0, ..Default::default() };
    type Loss<'a> = Box<dyn Fn(Tensor<2>) -> Result<Tensor<1>, Error> + 'a>;
    let losses: Vec<(&str, Loss)> = vec![
        ("mean-probabilities", {
            let knobs = several(Combine::MeanProbabilities, &[]);
            Box::new(move |s| multi_teacher(s, &[teacher(), teacher().neg()], &knobs))
        }),
        ("mean-logits", {
            let knobs = several(Combine::MeanLogits, &[]);
            Box::new(move |s| multi_teacher(s, &[teacher(), teacher().neg()], &knobs))
        }),
        ("ca-mkd", {
            let targets = targets.clone();
            Box::new(move |s| ca_mkd(s, &[teacher(), teacher().neg()], &targets, &CaMkd::default()))
        }),
        ("dml", Box::new(|s| dml(s, &[teacher()], &Dml::default()))),
        ("byot", Box::new(|s| byot(teacher(), &[s], Temperature::ONE))),
        ("cs-kd", Box::new(|s| cs_kd(s, teacher(), Temperature::ONE))),
        ("ban dkpp", {
            Box::new(|s| ban(s, teacher(), None, &Ban { variant: BanVariant::Dkpp, ..Ban::default() }))
        }),
        ("discriminator", {
            let knobs = Discriminator { role: DiscriminatorRole::Discriminator, ..Default::default() };
            Box::new(move |s| discriminator(s.into(), Some(teacher().into()), &knobs))
        }),
        ("discriminator of probabilities", {
            let knobs = Discriminator { input: DiscriminatorInput::Probabilities, ..Default::default() };
            Box::new(move |s| discriminator(s.clamp(0.0, 1.0).into(), None, &knobs))
        }),
        ("dafl", Box::new(|s| dafl(s.clone(), Some(s.into()), &Dafl::default()))),
        ("deep-inversion", {
            let targets = targets.clone();
            Box::new(move |s| {
                let image = Some(s.clone().mul_scalar(0.0).reshape([1, 3, 1, 1]));
                let layers = Vec::new();
                let student = Some(teacher());
                let of = Inversion { image, logits: s, targets: &targets, layers, student };
                deep_inversion(of, &inverted)
            })
        }),
        ("rslad", Box::new(|s| rslad(s.clone(), s, teacher(), &Rslad::default()))),
    ];
    for (name, loss) in losses {
        let input = student();
        let value = loss(input.clone()).unwrap();
        let gradients = value.backward();
        let all = [number(value), numbers(input.grad(&gradients).unwrap()).iter().sum()];
        assert!(all.iter().all(|x| x.is_finite()), "{name}: {all:?}");
    }
}

/// `kd loss eval` and the golden vectors take the teacher as a constant; a generator is trained through it.
#[test]
fn gradients_reach_generators_through_the_teacher() {
    let x = some_numbers(12, 5);
    assert_gradient("dafl", &x, SHAPE, |z| {
        let knobs = Dafl { logarithm: Logarithm::Natural, ..Dafl::default() };
        dafl(z.clone(), Some(z.mul_scalar(0.5).into()), &knobs).unwrap()
    });
    assert_gradient("dfad", &x, SHAPE, |z| dfad(logits(2), z, DfadRole::Generator).unwrap());
    let input = leaf(&x, SHAPE);
    assert!(!dfad(logits(2), input, DfadRole::Student).unwrap().is_tracked(), "the teacher is a constant");

    let x = some_numbers(2 * 3 * 2 * 2, 6);
    let layer = |input: Feature| NormLayer {
        input,
        running_mean: exact(&[0.1, -0.2, 0.3], [3]),
        running_var: exact(&[1.0, 0.5, 2.0], [3]),
    };
    assert_gradient("rank 4", &x, [2, 3, 2, 2], |z| batch_norm_distance(&[layer(z.into())]).unwrap());
    assert_gradient("rank 3", &x, [2, 3, 4], |z| batch_norm_distance(&[layer(z.into())]).unwrap());
    assert_gradient("rank 2", &x, [8, 3], |z| batch_norm_distance(&[layer(z.into())]).unwrap());
    for compat in [None, Some(DeepInversionCompat::DeepInversion)] {
        assert_gradient("competition", &some_numbers(12, 7), SHAPE, |z| {
            competition(logits(3), z, compat).unwrap()
        });
    }
}

#[test]
fn images_that_fit_the_statistics_have_no_distance_and_a_gradient_of_zero() {
    let input = leaf(&[1.0, 3.0, 1.0, 3.0], [4, 1]);
    let layer = NormLayer {
        input: input.clone().into(),
        running_mean: exact(&[2.0], [1]),
        running_var: exact(&[1.0], [1]),
    };
    let value = batch_norm_distance(std::slice::from_ref(&layer)).unwrap();
    let gradients = value.backward();
    assert_eq!(number(value), 0.0);
    assert_eq!(numbers(input.grad(&gradients).unwrap()), [0.0; 4]);
    let wide = NormLayer { running_var: exact(&[1.0, 1.0], [2]), ..layer };
    assert!(matches!(batch_norm_distance(&[wide]), Err(Error::Shape { found, .. }) if found == [2]));
    assert!(batch_norm_distance(&[]).is_err());
    assert_eq!(number(total_variation(exact(&[4.0], [1, 1, 1, 1]))), 0.0);
    assert_eq!(number(total_variation(exact(&[4.0, 1.0], [1, 1, 1, 2]))), 3.0);
}

/// What the golden vectors cannot take differences of, since there the constants move too.
#[test]
fn gradients_of_a_network_that_teaches_itself_agree_with_differences() {
    let x = some_numbers(12, 5);
    assert_gradient("byot", &x, SHAPE, |z| byot(logits(2), &[z, logits(3)], at(3.0)).unwrap());
    assert_gradient("byot features", &x, [3, 2, 2], |z| {
        let deepest: Tensor<3> = exact(&some_numbers(12, 2), [3, 2, 2]);
        byot_features(deepest.into(), &[z.into()]).unwrap()
    });
    assert_gradient("cs-kd", &x, SHAPE, |z| cs_kd(z, logits(2), at(4.0)).unwrap());
}

/// Peers of the paper are constants; those of KD_Lib are not.
#[test]
fn gradients_reach_peers_only_where_the_defect_is_asked_for() {
    for (compat, expected) in [(None, false), (Some(DmlCompat::KdLib), true)] {
        let (student, peer) = (leaf(&some_numbers(12, 1), SHAPE), leaf(&some_numbers(12, 2), SHAPE));
        let gradients = dml(student, std::slice::from_ref(&peer), &Dml { compat }).unwrap().backward();
        assert_eq!(peer.grad(&gradients).is_some(), expected, "{compat:?}");
    }
}

#[test]
fn an_order_of_the_batch_means_nothing() {
    let swap = |x: Tensor<2>| Tensor::cat(vec![x.clone().narrow(0, 2, 1), x.narrow(0, 0, 2)], 0);
    let (s, t, u) = (logits(1), logits(2), logits(3));
    let (here, there) = (labels(&[0, 3, 1], &Device::flex()), labels(&[1, 0, 3], &Device::flex()));
    let both = |what: &str, a: Result<Tensor<1>, Error>, b: Result<Tensor<1>, Error>| {
        assert_close(what, &[number(a.unwrap())], &[number(b.unwrap())], 1e-13);
    };
    let knobs = CaMkd::default();
    both(
        "ca-mkd",
        ca_mkd(s.clone(), &[t.clone(), u.clone()], &here, &knobs),
        ca_mkd(swap(s.clone()), &[swap(t.clone()), swap(u)], &there, &knobs),
    );
    let knobs = Ban { variant: BanVariant::Cwtm, ..Ban::default() };
    both(
        "cwtm",
        ban(s.clone(), t.clone(), Some(&here), &knobs),
        ban(swap(s), swap(t.clone()), Some(&there), &knobs),
    );
    let knobs = Dafl { activation_weight: 0.0, ..Dafl::default() };
    both("dafl", dafl(t.clone(), None, &knobs), dafl(swap(t), None, &knobs));
}

/// What a recipe gets when it writes only what it must.
struct Written(Vec<(&'static str, toml::Table)>);

impl Register for Written {
    fn loss<L: DistillLoss + Serialize + DeserializeOwned + 'static>(&mut self, name: &'static LossName) {
        let required = if name.name == "multi-teacher" { "temperature = 4.0" } else { "" };
        if let Ok(loss) = toml::from_str::<L>(required) {
            self.0.push((name.name, toml::Table::try_from(loss).unwrap()));
        }
    }
}

const OURS: [&str; 12] = [
    "multi-teacher",
    "ca-mkd",
    "dml",
    "byot",
    "cs-kd",
    "ban",
    "discriminator",
    "dafl",
    "dfad",
    "deep-inversion",
    "ard",
    "rslad",
];

#[test]
fn the_table_names_the_knobs_and_defaults_that_the_structs_have() {
    let mut written = Written(Vec::new());
    register(&mut written);
    for row in TABLE.iter().filter(|row| OURS.contains(&row.name)) {
        let (_, knobs) = written.0.iter().find(|(name, _)| *name == row.name).unwrap();
        for key in knobs.keys() {
            assert!(row.knobs.iter().any(|knob| knob.name == key), "`{key}` of `{}`", row.name);
        }
        for knob in row.knobs {
            if let Some(default) = knob.default {
                let default: toml::Table = toml::from_str(&format!("x = {default}")).unwrap();
                assert_eq!(knobs[knob.name], default["x"], "{} of {}", knob.name, row.name);
            }
        }
        assert!(row.reference.contains('/') && row.line.len() < 120, "{}", row.name);
    }
}

#[test]
fn knobs_out_of_range_are_refused() {
    fn message<L: DeserializeOwned + std::fmt::Debug>(knobs: &str) -> String {
        toml::from_str::<L>(knobs).unwrap_err().message().to_string()
    }
    let several = |weights: &str| message::<MultiTeacher>(&format!("temperature = 1.0\nweights = {weights}"));
    assert_eq!(several("[0.5, -1.0]"), "`weights` must be finite and at least 0, found -1");
    assert_eq!(several("[0.0, 0.0]"), "`weights` must be above 0 in sum, and finite, found 0");
    assert_eq!(message::<MultiTeacher>(""), "missing field `temperature`");
    assert_eq!(message::<Ard>("alpha = 1.5"), "`alpha` must be from 0 to 1, found 1.5");
    assert_eq!(message::<Dafl>("entropy-weight = -1"), "`weight` must be finite and at least 0, found -1");
    assert!(message::<Dml>("compat = 'torchdistill'").contains("expected `kd-lib`"));
    assert!(message::<Rslad>("beta = 1.0").contains("unknown field `beta`"));
}
