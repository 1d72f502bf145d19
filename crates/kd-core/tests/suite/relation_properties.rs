//! What holds for the losses of relations whatever the features.

use burn::tensor::{DType, Device, Tensor};
use kd_core::Temperature;
use kd_core::loss::{
    CcForm, Contrast, Crd, Irg, Memory, Sp, SpCompat, cc_author, cc_paper, cc_torchdistill, cirkd, crd, ickd,
    irg_instances, irg_relations, irg_transformation, pkt, rkd_angle, rkd_distance, sp,
};

use crate::support::{assert_close, exact, leaf, number, numbers, some_numbers, tensor};

type OfRows = fn(Tensor<2>, Tensor<2>) -> Tensor<1>;

/// The losses of two batches of rows, and whether the rows may differ in length.
const ROWS: [(&str, OfRows, bool); 10] = [
    ("rkd-distance", |s, t| rkd_distance(s, t).unwrap(), true),
    ("rkd-angle", |s, t| rkd_angle(s, t).unwrap(), true),
    ("sp", |s, t| sp(s, t, None).unwrap(), true),
    ("sp torchdistill", |s, t| sp(s, t, Some(SpCompat::Torchdistill)).unwrap(), true),
    ("cc", |s, t| cc_paper(s, t, 0.4, 2).unwrap(), true),
    ("cc torchdistill", |s, t| cc_torchdistill(s, t, 0.4, 2).unwrap(), true),
    ("cc author", |s, t| cc_author(s, t).unwrap(), false),
    ("pkt", |s, t| pkt(s, t).unwrap(), true),
    ("irg", |s, t| irg_relations(s, t).unwrap(), true),
    ("irg instances", |s, t| irg_instances(s, t).unwrap(), false),
];

/// Value and gradient.
fn both(loss: OfRows, student: &[f64], teacher: &[f64], batch: usize) -> (f64, Vec<f64>) {
    let s = leaf(student, [batch, student.len() / batch]);
    let value = loss(s.clone(), exact(teacher, [batch, teacher.len() / batch]));
    let gradients = value.backward();
    (number(value), numbers(s.grad(&gradients).unwrap()))
}

#[test]
fn equal_features_cost_nothing() {
    for (name, loss, _) in ROWS {
        let x = some_numbers(5 * 7, 1);
        let (value, gradient) = both(loss, &x, &x, 5);
        assert_eq!(value, 0.0, "{name}");
        // The constants that PKT adds leave a little.
        let limit = if name == "pkt" { 1e-7 } else { 1e-12 };
        assert!(gradient.iter().all(|g| g.abs() < limit), "{name}: {gradient:?}");
    }
    let map = exact(&some_numbers(2 * 3 * 4, 2), [2, 3, 2, 2]);
    assert_eq!(number(ickd(map.clone(), map.clone()).unwrap()), 0.0);
    assert_eq!(number(cirkd(map.clone(), map, Temperature::ONE).unwrap()), 0.0);
}

#[test]
fn the_order_of_the_batch_does_not_matter_except_to_the_authors_cc() {
    let (s, t) = (some_numbers(4 * 5, 3), some_numbers(4 * 5, 4));
    let order = [2, 0, 3, 1];
    let moved = |x: &[f64]| order.iter().flat_map(|&row| x[row * 5..][..5].to_vec()).collect::<Vec<_>>();
    for (name, loss, _) in ROWS {
        let (value, gradient) = both(loss, &s, &t, 4);
        let (other, other_gradient) = both(loss, &moved(&s), &moved(&t), 4);
        if name == "cc author" {
            assert!((value - other).abs() > 1e-3);
            continue;
        }
        assert_close(name, &[other], &[value], 1e-12);
        assert_close(name, &other_gradient, &moved(&gradient), 1e-12);
    }
}

#[test]
fn distances_and_angles_ignore_place_size_and_rotation() {
    let (s, t) = (some_numbers(5 * 2, 5), some_numbers(5 * 3, 6));
    let (sin, cos) = 0.7f64.sin_cos();
    let moved: Vec<f64> = s
        .chunks(2)
        .flat_map(|x| [4.0 * (cos * x[0] - sin * x[1]) + 9.0, 4.0 * (sin * x[0] + cos * x[1]) - 2.0])
        .collect();
    for (name, loss, _) in ROWS.into_iter().filter(|(name, ..)| name.starts_with("rkd") || *name == "irg") {
        assert_close(name, &[both(loss, &moved, &t, 5).0], &[both(loss, &s, &t, 5).0], 1e-10);
    }
}

/// Zeros, repeated rows and batches of one, in f32 and f64: nothing is NaN, and no gradient explodes.
#[test]
fn degenerate_batches_are_finite() {
    let usual = some_numbers(4 * 3, 7);
    let zero = vec![0.0; 12];
    let one_zero: Vec<f64> =
        usual.iter().enumerate().map(|(i, x)| if i / 3 == 1 { 0.0 } else { *x }).collect();
    let repeated: Vec<f64> = [&usual[..6], &usual[3..6], &usual[3..6]].concat();
    let huge: Vec<f64> = usual.iter().map(|x| 500.0 * x).collect();
    for (name, loss, _) in ROWS {
        for (kind, s) in [
            ("zeros", &zero),
            ("a zero", &one_zero),
            ("repeated", &repeated),
            ("usual", &usual),
            ("huge", &huge),
        ] {
            for t in [&zero, &one_zero, &repeated, &usual] {
                for dtype in [DType::F64, DType::F32] {
                    let student = tensor(s, [4, 3], &Device::flex().autodiff(), dtype).require_grad();
                    let value = loss(student.clone(), tensor(t, [4, 3], &Device::flex(), dtype));
                    let gradients = value.backward();
                    let gradient = numbers(student.grad(&gradients).unwrap());
                    // PKT's own derivative at 0 is that of x / 1e-7, and kernels grow with the sixth power.
                    let limit = if name == "pkt" || name.starts_with("cc") { f64::INFINITY } else { 1e4 };
                    assert!(number(value).is_finite(), "{name} {kind} {dtype:?}");
                    let fits = |g: &f64| g.is_finite() && g.abs() < limit;
                    assert!(gradient.iter().all(fits), "{name} {kind} {dtype:?}: {gradient:?}");
                }
            }
        }
    }
}

#[test]
fn one_example_has_no_relations() {
    for (name, loss, _) in ROWS {
        let (value, gradient) = both(loss, &[1.0, -2.0], &[3.0, 0.5], 1);
        if name.starts_with("cc t") || name == "cc" || name == "irg instances" {
            assert!(value > 0.0, "{name}: a kernel of an example with itself, and a feature");
        } else {
            assert!(value.abs() < 1e-30, "{name}: {value}");
            assert!(gradient.iter().all(|g| g.abs() < 1e-12), "{name}: {gradient:?}");
        }
    }
}

/// Enough examples that anchors come in several chunks, the last one shorter.
#[test]
fn angles_in_chunks_are_all_angles() {
    let (batch, width) = (50, 600);
    let (s, t) = (some_numbers(batch * width, 8), some_numbers(batch * 5, 9));
    let cosines = |x: Tensor<2>| {
        let [batch, width] = x.dims();
        let d = x.clone().reshape([1, batch, width]) - x.reshape([batch, 1, width]);
        // The directions from an example to itself stay 0.
        let own = Tensor::<2>::eye(batch, &Device::flex()).cast(DType::F64).reshape([batch, batch, 1]);
        let u = d.clone() / (d.square().sum_dim(2) + own).sqrt();
        u.clone().matmul(u.swap_dims(1, 2))
    };
    let whole = leaf(&s, [batch, width]);
    // Cosines of at most 2 apart: Huber's loss by its two cases.
    let d = (cosines(whole.clone()) - cosines(exact(&t, [batch, 5]))).abs();
    let huber = d.clone().sub_scalar(0.5).mask_where(d.clone().lower_elem(1.0), d.square().mul_scalar(0.5));
    let expected = huber.mean();
    let gradients = expected.backward();
    let (value, gradient) = both(ROWS[1].1, &s, &t, batch);
    assert_close("value", &[value], &[number(expected)], 1e-12);
    let scaled = |x: Vec<f64>| x.into_iter().map(|g| g * 1e6).collect::<Vec<_>>();
    assert_close("gradient", &scaled(gradient), &scaled(numbers(whole.grad(&gradients).unwrap())), 1e-8);
}

/// A constant student, as in an evaluation, costs no backward pass and gives the same value.
#[test]
fn constants_give_the_same_values() {
    let (s, t) = (some_numbers(6 * 4, 10), some_numbers(6 * 4, 11));
    for (name, loss, _) in ROWS {
        let constant = number(loss(exact(&s, [6, 4]), exact(&t, [6, 4])));
        assert_eq!(constant, both(loss, &s, &t, 6).0, "{name}");
    }
}

/// Where rows repeat, in f32: the distance is 0 and not the rounding of two norms.
#[test]
fn repeated_rows_are_exact_in_f32() {
    let row = some_numbers(64, 12);
    let other: Vec<f64> = row.iter().map(|x| 100.0 + x).collect();
    let s = [row.clone(), row.clone(), other].concat();
    let t = some_numbers(3 * 4, 13);
    let wide = number(rkd_distance(exact(&s, [3, 64]), exact(&t, [3, 4])).unwrap());
    let narrow = |x: &[f64], shape| tensor(x, shape, &Device::flex(), DType::F32);
    let found = number(rkd_distance(narrow(&s, [3, 64]), narrow(&t, [3, 4])).unwrap());
    assert_close("value", &[found], &[wide], 1e-6);
}

#[test]
fn batches_of_different_sizes_are_refused() {
    let (s, t) = (exact(&some_numbers(6, 1), [3, 2]), exact(&some_numbers(8, 2), [4, 2]));
    let error = rkd_angle(s, t).unwrap_err();
    let text = "`teacher.SITE` of the loss `rkd-angle` must be as many examples as `student.SITE`, found shape [4, 2]";
    assert_eq!(error.to_string(), text);
    let moved = |rows| exact(&some_numbers(rows * 2, 3), [rows, 2]);
    assert!(irg_transformation([moved(3), moved(2)], [moved(2), moved(2)]).is_err());
}

fn message<T: serde::de::DeserializeOwned + std::fmt::Debug>(knobs: &str) -> String {
    toml::from_str::<T>(knobs).unwrap_err().message().to_string()
}

#[test]
fn wrong_knobs_are_refused() {
    use kd_core::loss::Cc;
    assert_eq!(message::<Cc>("gamma = 0"), "`gamma` must be finite and above 0, found 0");
    assert_eq!(message::<Cc>("order = 2.5"), "`order` must be a whole number from 1 to 20, found 2.5");
    let both = message::<Cc>("variant = 'paper'\ncompat = 'torchdistill'");
    assert_eq!(both, "`cc` takes `variant` or `compat`, not both: leave one of them out");
    assert_eq!(
        message::<Irg>("instance-weight = -1"),
        "`instance-weight` must be finite and at least 0, found -1"
    );
    assert_eq!(message::<Crd>("width = 0"), "`width` must be a whole number from 1 to 65536, found 0");
    assert!(message::<Sp>("variant = 'paper'").starts_with("unknown field `variant`"));

    let defect: Cc = toml::from_str("compat = 'torchdistill'").unwrap();
    assert_eq!(defect.form, CcForm::Torchdistill);
    for text in ["", "variant = 'author'", "compat = 'torchdistill'\ngamma = 0.5\norder = 3"] {
        let cc: Cc = toml::from_str(text).unwrap();
        assert_eq!(
            toml::from_str::<Cc>(&toml::to_string(&cc).unwrap()).unwrap(),
            cc,
            "what is written reads again"
        );
    }
}

#[test]
fn a_memory_moves_the_rows_of_its_batch_and_keeps_its_first_constants() {
    let device = Device::flex();
    let t = Temperature::new(0.1).unwrap();
    let memory = Memory::drawn(6, 4, 3, &device).unwrap();
    let again = Memory::drawn(6, 4, 3, &device).unwrap();
    assert_eq!(memory.rows().map(numbers), again.rows().map(numbers), "a seed gives one memory");

    let contrast = Contrast::drawn(&[4, 1], 3, 6, 9).unwrap();
    assert_eq!(contrast, Contrast::drawn(&[4, 1], 3, 6, 9).unwrap());
    assert_ne!(contrast, Contrast::drawn(&[4, 1], 3, 6, 10).unwrap());
    assert_eq!((contrast.indices().len(), contrast.indices()[0], contrast.indices()[4]), (8, 4, 1));
    assert!(contrast.indices().iter().all(|&at| at < 6));

    let rows = |salt| tensor(&some_numbers(8, salt), [2, 4], &device, DType::F32);
    let (s, k) = (rows(1), rows(2));
    let loss = |memory: &Memory, s: Tensor<2>| number(crd(s, k.clone(), memory, &contrast, t).unwrap());
    let first = memory.clone().normalised(s.clone(), k.clone(), &contrast, t).unwrap();
    assert_eq!(loss(&first, s.clone()), loss(&memory, s.clone()), "the first batch sets the constants");
    assert_ne!(loss(&first, rows(5)), loss(&memory, rows(5)), "and they stay");

    let updated = first.updated(s.clone(), k.clone(), &[4, 1], 0.5).unwrap();
    let [before, after] = [&memory, &updated].map(|memory| numbers(memory.rows()[0].clone()));
    for row in 0..6 {
        let (before, after) = (&before[row * 4..][..4], &after[row * 4..][..4]);
        let Some(place) = [4, 1].iter().position(|&at| at == row) else {
            assert_eq!(before, after, "row {row}");
            continue;
        };
        let new = &some_numbers(8, 1)[place * 4..][..4];
        let mixed: Vec<f64> = before.iter().zip(new).map(|(a, b)| 0.5 * a + 0.5 * b).collect();
        let length = mixed.iter().map(|x| x * x).sum::<f64>().sqrt();
        let expected: Vec<f64> = mixed.iter().map(|x| x / length).collect();
        assert_close("a row of the batch", after, &expected, 1e-6);
    }
    assert!(updated.clone().updated(s.clone(), k.clone(), &[4, 6], 0.5).is_err(), "there are rows 0 to 5");
    assert!(updated.updated(s, k, &[4, 1], 1.5).is_err());
}
