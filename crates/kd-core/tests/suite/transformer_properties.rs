//! What holds for losses of sequences whatever the tensors: padding has no say, equal models are at 0, nothing is NaN.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, Tensor, TensorData};
use kd_core::loss::{
    DistilBert, Gkd, GkdBeta, MiniLlm, MiniLm, MiniLmV2, MobileBert, MobileClip, PkdBert, SequenceKd,
    TermWeight, TinyBert,
};
use kd_core::named::Named;
use kd_core::{DistillLoss, Error, Feature};

use crate::support::{labels, some_numbers};

const BATCH: usize = 3;
const LENGTH: usize = 4;
/// `[B, L]`
const MASK: [f64; 12] = [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0];

/// Names, shapes and the dimensions that run over tokens.
const TENSORS: [(&str, &[usize], &[usize]); 8] = [
    ("logits", &[BATCH, LENGTH, 5], &[1]),
    ("embedding", &[BATCH, LENGTH, 6], &[1]),
    ("hidden", &[BATCH, LENGTH, 6], &[1]),
    ("attention", &[BATCH, 2, LENGTH, LENGTH], &[2, 3]),
    ("query", &[BATCH, LENGTH, 6], &[1]),
    ("key", &[BATCH, LENGTH, 6], &[1]),
    ("value", &[BATCH, 2, LENGTH, 3], &[2]),
    ("image", &[BATCH, 6], &[]),
];

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

fn tensors(equal: bool) -> Tensors {
    let mut all = Tensors::new();
    for (salt, (name, shape, _)) in TENSORS.iter().enumerate() {
        for (side, shift) in [("student", 0), ("teacher", if equal { 0 } else { 40 })] {
            let numbers = some_numbers(shape.iter().product(), salt + shift);
            all.insert(format!("{side}.{name}"), (shape.to_vec(), numbers));
        }
    }
    all
}

/// The same with embeddings of texts.
fn with_texts(mut all: Tensors) -> Tensors {
    for side in ["student", "teacher"] {
        let (shape, mut numbers) = all[&format!("{side}.image")].clone();
        numbers.rotate_left(1);
        all.insert(format!("{side}.text"), (shape, numbers));
    }
    all
}

/// Puts `garbage` wherever a token is ignored.
fn pad(all: &mut Tensors, mask: &[f64], garbage: f64) {
    for (name, shape, dims) in TENSORS {
        for side in ["student", "teacher"] {
            let (_, numbers) = all.get_mut(&format!("{side}.{name}")).unwrap();
            for (index, x) in numbers.iter_mut().enumerate() {
                let place = |dim: usize| index / shape[dim + 1..].iter().product::<usize>() % shape[dim];
                if dims.iter().any(|&dim| mask[place(0) * LENGTH + place(dim)] == 0.0) {
                    *x = garbage;
                }
            }
        }
    }
}

fn feature(shape: &[usize], numbers: &[f64], device: &Device, dtype: DType) -> Feature {
    let data = TensorData::new(numbers.to_vec(), shape.to_vec());
    match shape.len() {
        2 => Tensor::<2>::from_data(data, (device, dtype)).into(),
        3 => Tensor::<3>::from_data(data, (device, dtype)).into(),
        _ => Tensor::<4>::from_data(data, (device, dtype)).into(),
    }
}

/// The value, and all gradients in the order of the names.
fn evaluate(
    loss: &dyn DistillLoss,
    all: &Tensors,
    mask: Option<&[f64]>,
    dtype: DType,
) -> Result<(f64, Vec<f64>), Error> {
    let (device, mut named) = (Device::flex(), Named::new());
    for (name, (shape, numbers)) in all {
        let trained = if name.starts_with("student.") { device.clone().autodiff() } else { device.clone() };
        named.insert(name, feature(shape, numbers, &trained, dtype))?;
    }
    if let Some(mask) = mask {
        named.insert("mask", feature(&[BATCH, LENGTH], mask, &device, dtype))?;
    }
    // A label that is no class stands where the mask ignores it.
    named.insert_targets(labels(&[0, 1, 99, -100, 4, 99, 99, 99, 2, 2, -1, 3], &device));
    let evaluated = named.evaluate(loss)?;
    let gradients = evaluated.gradients.into_iter();
    let value: Vec<f64> = crate::support::numbers(evaluated.value);
    Ok((value[0], gradients.flat_map(|(_, x)| crate::support::numbers(x.flat())).collect()))
}

/// Those that a mask of tokens concerns.
fn masked() -> Vec<Box<dyn DistillLoss>> {
    let gkd = |beta| Gkd { beta: GkdBeta::new(beta).unwrap(), ..Gkd::default() };
    vec![
        Box::new(TinyBert::default()),
        Box::new(DistilBert::default()),
        Box::new(MobileBert::default()),
        Box::new(MiniLm::default()),
        Box::new(MiniLmV2::default()),
        Box::new(PkdBert { layers: vec!["hidden".into(), "embedding".into()], ..PkdBert::default() }),
        Box::new(gkd(0.0)),
        Box::new(gkd(0.3)),
        Box::new(gkd(1.0)),
        Box::new(MiniLlm::default()),
        Box::new(SequenceKd {}),
    ]
}

/// Those that are 0 for equal models.
fn divergences() -> Vec<Box<dyn DistillLoss>> {
    let mut all = masked();
    all.pop();
    let off = TermWeight::new(0.0).unwrap();
    all[0] = Box::new(TinyBert { prediction_weight: off, ..TinyBert::default() });
    all[1] = Box::new(DistilBert { alpha_mlm: off, ..DistilBert::default() });
    all.push(Box::new(MobileClip::default()));
    all
}

#[test]
fn what_stands_at_ignored_tokens_has_no_influence() {
    for loss in masked() {
        for dtype in [DType::F64, DType::F32] {
            let mut all = tensors(false);
            pad(&mut all, &MASK, 0.25);
            let expected = evaluate(loss.as_ref(), &all, Some(&MASK), dtype).unwrap();
            assert!(expected.0 > 0.0 && expected.1.iter().all(|g| g.is_finite()), "{loss:?}: {}", expected.0);
            for garbage in [1e4, -1e4, f64::NEG_INFINITY, f64::NAN] {
                pad(&mut all, &MASK, garbage);
                let found = evaluate(loss.as_ref(), &all, Some(&MASK), dtype).unwrap();
                assert_eq!(found, expected, "{loss:?} with {garbage}");
            }
        }
    }
}

#[test]
fn a_batch_of_padding_gives_zero() {
    let nothing = [0.0; BATCH * LENGTH];
    for loss in masked() {
        for garbage in [1.0, f64::NAN] {
            let mut all = tensors(false);
            pad(&mut all, &nothing, garbage);
            // The one that no mask concerns.
            all.retain(|name, _| !name.ends_with("image"));
            let (value, gradients) = evaluate(loss.as_ref(), &all, Some(&nothing), DType::F32).unwrap();
            assert_eq!(value, 0.0, "{loss:?} with {garbage}");
            assert!(gradients.iter().all(|&g| g == 0.0), "{loss:?} with {garbage}");
        }
    }
}

#[test]
fn a_mask_of_ones_changes_nothing() {
    let all = with_texts(tensors(false));
    for loss in divergences() {
        let without = evaluate(loss.as_ref(), &all, None, DType::F64).unwrap();
        let with = evaluate(loss.as_ref(), &all, Some(&[1.0; BATCH * LENGTH]), DType::F64).unwrap();
        assert!((without.0 - with.0).abs() <= 1e-14 * without.0.abs().max(1.0), "{loss:?}");
    }
}

#[test]
fn equal_models_are_at_zero() {
    let all = with_texts(tensors(true));
    for loss in divergences() {
        for mask in [None, Some(&MASK[..])] {
            let (value, gradients) = evaluate(loss.as_ref(), &all, mask, DType::F64).unwrap();
            // KL of equal numbers is exactly 0; 1 − cosine is 0 up to rounding and its ε.
            assert!(value.abs() < 1e-11, "{loss:?}: {value}");
            assert!(gradients.iter().all(|g| g.abs() < 1e-11), "{loss:?}");
        }
    }
}

#[test]
fn relations_take_any_number_of_heads() {
    let shapes: [&[usize]; 4] =
        [&[BATCH, LENGTH, 12], &[BATCH, 2, LENGTH, 6], &[BATCH, 3, LENGTH, 4], &[BATCH, 12, LENGTH, 1]];
    for student in shapes {
        for teacher in shapes {
            let mut all = Tensors::new();
            for name in ["query", "key", "value"] {
                for (side, shape) in [("student", student), ("teacher", teacher)] {
                    all.insert(
                        format!("{side}.{name}"),
                        (shape.to_vec(), some_numbers(BATCH * LENGTH * 12, 5)),
                    );
                }
            }
            let (value, gradients) = evaluate(&MiniLmV2::default(), &all, None, DType::F32).unwrap();
            assert!(value.is_finite() && value >= -1e-6, "{student:?} {teacher:?}: {value}");
            assert!(gradients.iter().all(|g| g.is_finite()));
            assert_eq!(value == 0.0, student == teacher, "{student:?} {teacher:?}: {value}");
        }
    }
}

#[test]
fn zeros_and_wide_gaps_stay_finite_in_f32() {
    let mut zeros = tensors(false);
    zeros.iter_mut().filter(|(name, _)| name.starts_with("student.")).for_each(|(_, (_, x))| x.fill(0.0));
    let mut wide = tensors(false);
    for (name, (_, numbers)) in &mut wide {
        let sign = if name.starts_with("student.") { 250.0 } else { -250.0 };
        numbers.iter_mut().enumerate().for_each(|(i, x)| *x = if i % 2 == 0 { sign } else { -sign });
    }
    for all in [with_texts(zeros), with_texts(wide)] {
        for loss in divergences() {
            let (value, gradients) = evaluate(loss.as_ref(), &all, Some(&MASK), DType::F32).unwrap();
            assert!(value.is_finite() && gradients.iter().all(|g| g.is_finite()), "{loss:?}: {value}");
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let mut all = tensors(false);
    let error =
        |loss: &dyn DistillLoss, all: &Tensors| evaluate(loss, all, Some(&MASK), DType::F64).unwrap_err();
    for side in ["student", "teacher"] {
        all.insert(format!("{side}.attention"), (vec![BATCH, 2, LENGTH, 3], some_numbers(72, 1)));
        all.insert(format!("{side}.query"), (vec![BATCH, LENGTH, 5], some_numbers(60, 1)));
    }
    for loss in [&TinyBert::default() as &dyn DistillLoss, &MobileBert::default(), &MiniLm::default()] {
        let Error::Shape { input, .. } = error(loss, &all) else { panic!("{loss:?}") };
        assert_eq!(input, "student.attention");
    }
    let Error::Shape { input, .. } = error(&MiniLmV2::default(), &all) else { panic!() };
    assert_eq!(input, "student.query");
    let nothing = error(&TinyBert::default(), &[("teacher.x".to_string(), (vec![1, 1], vec![0.0]))].into());
    assert!(matches!(nothing, Error::Missing { loss: "tinybert", .. }), "{nothing}");
    for wrong in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(TermWeight::new(wrong).is_err() && GkdBeta::new(wrong).is_err());
    }
}

#[test]
fn sites_of_other_shapes_are_not_joined() {
    let pairs = MiniLm::default().sites();
    let features = |width: usize| {
        let value = feature(
            &[BATCH, 2, LENGTH, width],
            &some_numbers(BATCH * 2 * LENGTH * width, 1),
            &Device::flex(),
            DType::F64,
        );
        let attention =
            feature(&[BATCH, 2, LENGTH, LENGTH], &some_numbers(96, 2), &Device::flex(), DType::F64);
        [("attention", attention), ("value", value)].into_iter().collect::<kd_core::Features>()
    };
    assert!(kd_core::Connectors::create(&pairs, &features(3), &features(5), &Device::flex()).is_ok());
}
