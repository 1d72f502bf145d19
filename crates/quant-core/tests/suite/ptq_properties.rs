//! What must hold of post-training algorithms on any layer: order of errors on inputs nobody has seen, invariances,
//! determinism, and errors for what is not a layer.
use crate::common::layers::{KINDS, Kind, Lcg, Source, stats, view};
use quant_core::ptq::*;
use quant_core::{Error, Symmetry};

fn affine(bits: u32, group: usize) -> Grid {
    Grid::new(bits, Some(group), Symmetry::Affine).unwrap()
}

const COLUMNS: usize = 32;

#[test]
fn learned_rounding_makes_up_its_mind_and_lowers_the_error() {
    let mut random = Lcg(16);
    let source = Source::new(&mut random, KINDS[1], COLUMNS);
    let hessian = stats(COLUMNS, &source.draw(&mut random, 128)).hessian().unwrap();
    let unseen = stats(COLUMNS, &source.draw(&mut random, 128)).hessian().unwrap();
    let (w, grid) = (random.normals(8 * COLUMNS), affine(3, 16));
    let weight = view(COLUMNS, &w);
    let error = |hessian: &Hessian, q: &Quantized| {
        hessian.output_error(weight, view(COLUMNS, &q.dequantize())).unwrap()
    };
    let nearest = rtn(weight, &grid).unwrap();
    let knobs = AdaRound { iterations: 2000, ..AdaRound::default() };
    let learned = adaround(weight, &hessian, &grid, &knobs).unwrap();
    for hessian in [&hessian, &unseen] {
        let (found, before) = (error(hessian, &learned.quantized), error(hessian, &nearest));
        assert!(found < 0.5 * before, "{found} against {before}");
    }
    let sure = learned.v.iter().filter(|v| v.abs() > 1.0).count();
    assert!(10 * sure > 9 * learned.v.len(), "{sure} of {} have made up their minds", learned.v.len());
    let step = |(a, b): (&i32, &i32)| (a - b).abs() <= 1;
    assert!(learned.quantized.codes.iter().zip(&nearest.codes).all(step), "up or down, nothing else");
    let untrained = AdaRound { iterations: 0, ..AdaRound::default() };
    assert_eq!(adaround(weight, &hessian, &grid, &untrained).unwrap().quantized, nearest);
}

#[test]
fn sparse_outliers_and_scaled_columns_lower_the_error_too() {
    let mut random = Lcg(4);
    let source = Source::new(&mut random, KINDS[0], COLUMNS);
    let mut x = source.draw(&mut random, 128);
    x.iter_mut().step_by(COLUMNS).for_each(|x| *x *= 20.0);
    let seen = stats(COLUMNS, &x);
    let hessian = seen.hessian().unwrap();
    let mut w = random.normals(8 * COLUMNS);
    w.iter_mut().step_by(37).for_each(|w| *w *= 10.0);
    let (weight, grid) = (view(COLUMNS, &w), affine(3, 16));
    let error = |values: &[f32]| hessian.output_error(weight, view(COLUMNS, values)).unwrap();
    let nearest = error(&rtn(weight, &grid).unwrap().dequantize());
    let compensated = error(&gptq(weight, &hessian, &grid, &Gptq::PAPER).unwrap().quantized.dequantize());
    let sparse = spqr(weight, &hessian, &grid, &Spqr { threshold: 0.05, ..Spqr::default() }).unwrap();
    assert!(!sparse.outliers.is_empty() && sparse.outliers.len() < 40, "{}", sparse.outliers.len());
    assert!(error(&sparse.dequantize()) < 0.5 * compensated);
    let none = spqr(weight, &hessian, &grid, &Spqr { threshold: 1e300, ..Spqr::default() }).unwrap();
    assert!(none.outliers.is_empty());
    assert_eq!(none.quantized, gptq(weight, &hessian, &grid, &Gptq::PAPER).unwrap().quantized);

    let importance = seen.mean_abs().unwrap();
    let scaled = awq(weight, &hessian, &importance, &grid, &Awq::default()).unwrap();
    assert!(scaled.ratio > 0.0);
    let least = scaled.errors.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(least < scaled.errors[0]);
    assert!((scaled.errors[0] / nearest - 1.0).abs() < 1e-12, "ratio 0 is round-to-nearest");
    assert!(error(&scaled.effective()) < 0.9 * nearest);
}

#[test]
fn without_correlations_gptq_is_round_to_nearest() {
    let mut random = Lcg(5);
    let w = random.normals(5 * 24);
    let mut h = vec![0.0; 24 * 24];
    (0..24).for_each(|j| h[j * 25] = random.uniform() + 0.1);
    let hessian = Hessian::new(24, h).unwrap();
    for grid in [affine(4, 7), Grid::new(3, None, Symmetry::Narrow).unwrap()] {
        let found = gptq(view(24, &w), &hessian, &grid, &Gptq::PAPER).unwrap();
        assert_eq!(found.quantized, rtn(view(24, &w), &grid).unwrap());
    }
}

#[test]
fn dead_columns_become_zero_and_change_nothing_else() {
    let mut random = Lcg(6);
    let mut x = random.normals(60 * 24);
    x.iter_mut().skip(5).step_by(24).for_each(|x| *x = 0.0);
    let mut w = random.normals(4 * 24);
    let hessian = stats(24, &x).hessian().unwrap();
    let grid = Grid::new(4, None, Symmetry::FullHalfStep).unwrap();
    let found = gptq(view(24, &w), &hessian, &grid, &Gptq::default()).unwrap();
    assert!((0..4).all(|row| found.quantized.dequantize()[row * 24 + 5] == 0.0));
    w.iter_mut().skip(5).step_by(24).for_each(|w| *w = 1000.0);
    assert_eq!(gptq(view(24, &w), &hessian, &grid, &Gptq::default()).unwrap(), found);
    let nothing = Hessian::new(24, vec![0.0; 24 * 24]).unwrap();
    let found = gptq(view(24, &w), &nothing, &grid, &Gptq::default()).unwrap();
    assert!(found.quantized.dequantize().iter().all(|w| *w == 0.0));
}

#[test]
fn damping_rises_until_the_hessian_can_be_factored() {
    let mut random = Lcg(7);
    let x = random.normals(3 * 24);
    let w = random.normals(4 * 24);
    let hessian = stats(24, &x).hessian().unwrap();
    let grid = affine(4, 8);
    let found = gptq(view(24, &w), &hessian, &grid, &Gptq { damping: 0.0, ..Gptq::default() }).unwrap();
    assert!(found.damping > 0.0 && found.damping < 1e-3, "{}", found.damping);
    // No sum of x xᵀ: eigenvalues 11 and −9.
    let wrong = Hessian::new(2, vec![1.0, 10.0, 10.0, 1.0]).unwrap();
    let error = gptq(view(2, &[1.0, 2.0]), &wrong, &grid, &Gptq::default());
    assert_eq!(error, Err(Error::NotPositive { damping: 1.0 }));
}

#[test]
fn hqq_is_never_worse_than_round_to_nearest_in_any_group() {
    let mut random = Lcg(8);
    for bits in [1, 2, 3, 4, 8] {
        for len in [7, 16, 40] {
            let mut w = random.normals(6 * 40);
            w[..40].fill(0.25);
            w[40..80].fill(0.0);
            let grid = affine(bits, len);
            let weight = view(40, &w);
            let squared = |values: &[f32]| -> Vec<f64> {
                let groups =
                    w.chunks(40).zip(values.chunks(40)).flat_map(|(w, v)| w.chunks(len).zip(v.chunks(len)));
                groups.map(|(w, v)| w.iter().zip(v).map(|(w, v)| f64::from(w - v).powi(2)).sum()).collect()
            };
            let nearest = squared(&rtn(weight, &grid).unwrap().dequantize());
            let found = hqq(weight, &grid, &Hqq::default()).unwrap();
            let float = squared(&found.dequantize());
            assert!(float.iter().zip(&nearest).all(|(a, b)| *a <= b * (1.0 + 1e-6)), "int{bits} group {len}");
            let (integer, kept) = hqq_integer(weight, &grid, &Hqq::default()).unwrap();
            let (qmin, qmax) = grid.limits();
            assert!(integer.cells.iter().all(|cell| (qmin..=qmax).contains(&cell.zero_point)));
            let whole = squared(&integer.dequantize());
            assert!(whole.iter().zip(&nearest).all(|(a, b)| *a <= b * (1.0 + 1e-6)), "int{bits} group {len}");
            assert!(kept <= integer.cells.len() && found.kept <= kept + integer.cells.len());
            if (2..=4).contains(&bits) {
                assert!(float.iter().sum::<f64>() < 0.99 * nearest.iter().sum::<f64>());
            }
        }
    }
}

#[test]
fn a_low_rank_correction_takes_away_its_singular_values() {
    let mut random = Lcg(9);
    for (rows, columns) in [(10, 16), (16, 10)] {
        let w = random.normals(rows * columns);
        let weight = view(columns, &w);
        let q = rtn(weight, &Grid::new(2, None, Symmetry::FullHalfStep).unwrap()).unwrap().dequantize();
        let mut before = f64::INFINITY;
        for rank in 1..=10 {
            let found = lorc(weight, view(columns, &q), rank).unwrap();
            let corrected = found.corrected(view(columns, &q)).unwrap();
            let error: f64 = w.iter().zip(&corrected).map(|(w, c)| f64::from(w - c).powi(2)).sum();
            let rest: f64 = found.singular_values[rank..].iter().map(|s| s * s).sum();
            assert!(error < before, "rank {rank}: {error} after {before}");
            assert!((error - rest).abs() < 1e-5, "rank {rank}: {error}, expected {rest}");
            before = error;
        }
        assert!(before < 1e-10);
        assert!(lorc(weight, view(columns, &q), 11).is_err());
    }
}

#[test]
fn equalizing_keeps_the_function_and_makes_ranges_equal() {
    let mut random = Lcg(10);
    let (mut first, bias, second) = (random.normals(6 * 5), random.normals(6), random.normals(3 * 6));
    (0..6).for_each(|i| first[i * 5..][..5].iter_mut().for_each(|w| *w *= 10_f32.powi(i as i32 - 3)));
    let found = equalize(view(5, &first), Some(&bias), view(6, &second)).unwrap();
    let network = |first: &[f32], bias: &[f32], second: &[f32], x: &[f32]| -> Vec<f64> {
        let hidden = |i: usize| {
            let sum: f64 = (0..5).map(|j| f64::from(first[i * 5 + j]) * f64::from(x[j])).sum();
            (sum + f64::from(bias[i])).max(0.0)
        };
        (0..3).map(|o| (0..6).map(|i| f64::from(second[o * 6 + i]) * hidden(i)).sum()).collect()
    };
    for _ in 0..20 {
        let x = random.normals(5);
        let before = network(&first, &bias, &second, &x);
        let after = network(&found.first, found.bias.as_ref().unwrap(), &found.second, &x);
        let most = before.iter().fold(1.0_f64, |most, y| y.abs().max(most));
        assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-5 * most), "{before:?} {after:?}");
    }
    for i in 0..6 {
        let largest =
            |values: &mut dyn Iterator<Item = f32>| values.fold(0.0_f32, |most, w| most.max(w.abs()));
        let one = largest(&mut found.first[i * 5..(i + 1) * 5].iter().copied());
        let other = largest(&mut (0..3).map(|o| found.second[o * 6 + i]));
        assert!((one / other - 1.0).abs() < 1e-5, "{one} {other}");
    }
}

#[test]
fn smoothing_keeps_products_and_shares_the_difficulty() {
    let mut random = Lcg(11);
    let (w, x) = (random.normals(4 * 6), [0.5, 100.0, 3.0, 0.0, 1.0, 2.0]);
    let s = smooth_scales(&x, &[view(6, &w)], 0.5).unwrap();
    let scaled = scale_columns(view(6, &w), &s).unwrap();
    assert_eq!(s[3], 1.0, "nothing is known about a dead column");
    for j in [0, 1, 2, 4, 5] {
        let largest = (0..4).fold(0.0_f32, |most, row| most.max(scaled[row * 6 + j].abs()));
        assert!((x[j] / s[j] / largest - 1.0).abs() < 1e-5, "at α = ½ both sides are as large");
    }
    let two = smooth_scales(&x, &[view(6, &w), view(6, &scaled)], 0.5).unwrap();
    assert!(two.iter().zip(&s).all(|(a, b)| a <= b), "more weights, larger maxima");
}

#[test]
fn corrected_means_are_the_float_layers() {
    let mut random = Lcg(12);
    let source = Source::new(&mut random, Kind { relu: true, ..KINDS[3] }, 12);
    let (x, w) = (source.draw(&mut random, 50), random.normals(3 * 12));
    let q = rtn(view(12, &w), &affine(2, 6)).unwrap().dequantize();
    let outputs = |w: &[f32]| -> Vec<f32> {
        let row = |x: &[f32]| -> Vec<f32> {
            w.chunks(12).map(|w| w.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
        };
        x.chunks(12).flat_map(row).collect()
    };
    let (y, z) = (outputs(&w), outputs(&q));
    let mut shift = OutputShift::new(3);
    assert_eq!(shift.correction(), Err(Error::NothingSeen));
    shift.observe(view(3, &y), view(3, &z)).unwrap();
    let mut parts = OutputShift::new(3);
    for range in [0..21, 21..30, 30..150] {
        parts.observe(view(3, &y[range.clone()]), view(3, &z[range])).unwrap();
    }
    assert_eq!(parts, shift);
    let analytic = bias_correction(view(12, &w), view(12, &q), &stats(12, &x).mean().unwrap()).unwrap();
    for (a, b) in shift.correction().unwrap().iter().zip(&analytic) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
        assert!(b.abs() > 1e-3, "there was something to correct");
    }
}

#[test]
fn decomposition_keeps_outliers_from_spoiling_the_rest() {
    let mut random = Lcg(13);
    let (w, mut x) = (random.normals(5 * 24), random.normals(10 * 24));
    x.iter_mut().skip(7).step_by(24).for_each(|x| *x *= 60.0);
    let product = |(w, x): (&[f32], &[f32])| -> f64 {
        w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum()
    };
    let exact: Vec<f64> =
        (0..10 * 5).map(|at| product((&w[at % 5 * 24..][..24], &x[at / 5 * 24..][..24]))).collect();
    let error = |threshold| {
        let layer = Int8Decomposed::new(view(24, &w), threshold).unwrap();
        let found = layer.forward(view(24, &x)).unwrap();
        let sum: f64 = found.values.iter().zip(&exact).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
        (sum, found.outliers)
    };
    let (decomposed, outliers) = error(OUTLIER_THRESHOLD);
    let (plain, none) = error(f32::INFINITY);
    assert_eq!((outliers, none), (vec![7], vec![]));
    assert!(100.0 * decomposed < plain, "{decomposed} {plain}");
    let (all, columns) = error(f32::MIN_POSITIVE);
    assert!(columns.len() == 24 && all < 1e-9, "{all}");
}

#[test]
fn any_split_of_the_stream_gives_the_same_bits() {
    let mut random = Lcg(14);
    let x = random.normals(37 * 9);
    let whole = stats(9, &x);
    for size in [1, 2, 5, 36] {
        let mut parts = InputStats::new(9);
        x.chunks(size * 9).for_each(|part| parts.observe(view(9, part)).unwrap());
        assert_eq!(parts, whole);
    }
    let (mut left, right) = (stats(9, &x[..90]), stats(9, &x[90..]));
    left.merge(&right).unwrap();
    assert_eq!((left.tokens(), left.max_abs()), (37, whole.max_abs()));
    let (merged, whole) = (left.hessian().unwrap(), whole.hessian().unwrap());
    assert!(merged.values().iter().zip(whole.values()).all(|(a, b)| (a - b).abs() < 1e-13));
    let direct: f64 = x.chunks(9).map(|x| f64::from(x[2]) * f64::from(x[7])).sum::<f64>() * 2.0 / 37.0;
    assert!((whole.values()[2 * 9 + 7] - direct).abs() < 1e-13);
    assert_eq!(whole.values()[7 * 9 + 2], whole.values()[2 * 9 + 7]);
}

#[test]
fn equal_arguments_give_equal_bits() {
    let run = || {
        let mut random = Lcg(15);
        let (w, x) = (random.normals(40 * 24), random.normals(64 * 24));
        let (weight, seen, grid) = (view(24, &w), stats(24, &x), affine(3, 8));
        let hessian = seen.hessian().unwrap();
        let order = Gptq { order: Order::Activation, ..Gptq::default() };
        let learn = AdaRound { iterations: 20, ..AdaRound::default() };
        (
            gptq(weight, &hessian, &grid, &order).unwrap(),
            spqr(weight, &hessian, &grid, &Spqr::default()).unwrap(),
            awq(weight, &hessian, &seen.mean_abs().unwrap(), &grid, &Awq::default()).unwrap(),
            hqq(weight, &grid, &Hqq::default()).unwrap(),
            adaround(weight, &hessian, &grid, &learn).unwrap(),
            lorc(weight, view(24, &rtn(weight, &grid).unwrap().dequantize()), 4).unwrap(),
        )
    };
    let (one, other) = (run(), run());
    assert!(one == other);
    // Rows do not depend on each other: the last row alone gives its own codes.
    let mut random = Lcg(15);
    let (w, x) = (random.normals(40 * 24), random.normals(64 * 24));
    let hessian = stats(24, &x).hessian().unwrap();
    let order = Gptq { order: Order::Activation, ..Gptq::default() };
    let alone = gptq(view(24, &w[39 * 24..]), &hessian, &affine(3, 8), &order).unwrap();
    assert_eq!(alone.quantized.codes, one.0.quantized.codes[39 * 24..]);
}

#[test]
fn what_is_not_a_layer_is_refused_by_name() {
    for (position, bad) in [(1, f32::NAN), (0, f32::INFINITY), (2, f32::NEG_INFINITY)] {
        let mut values = [1.0, 2.0, 3.0, 4.0];
        values[position] = bad;
        let error = Matrix::new("inputs", 2, 2, &values).unwrap_err();
        assert!(matches!(error, Error::NotFiniteIn { what: "inputs", index, .. } if index == position));
        let wide: Vec<f64> = values.iter().map(|&x| f64::from(x)).collect();
        let error = Hessian::new(2, wide.clone()).unwrap_err();
        assert!(matches!(error, Error::NotFiniteIn { what: "Hessian", index, .. } if index == position));
        let ok = [1.0, 2.0, 3.0, 4.0];
        let hessian = Hessian::new(4, (0..16).map(|i| f64::from(u8::from(i % 5 == 0))).collect()).unwrap();
        assert!(awq(view(4, &ok), &hessian, &wide, &affine(4, 2), &Awq::default()).is_err());
        assert!(bias_correction(view(4, &ok), view(4, &ok), &wide).is_err());
        assert!(activation_mean(&wide, &[1.0; 4], Activation::Relu).is_err());
        assert!(smooth_scales(&values, &[view(4, &ok)], 0.5).is_err());
        assert!(equalize(view(1, &ok), Some(&values), view(4, &ok)).is_err());
    }
    assert_eq!(
        Matrix::new("weight", 2, 3, &[1.0]),
        Err(Error::Size { what: "weight", expected: 6, found: 1 })
    );
    assert!(Matrix::new("weight", 0, 3, &[]).is_err());
    assert_eq!(
        Hessian::new(2, vec![1.0, 0.5, 0.4, 1.0]),
        Err(Error::NotSymmetric { row: 0, column: 1, upper: 0.5, lower: 0.4 })
    );
    assert!(Hessian::new(1, vec![-1.0]).is_err());
    assert_eq!(InputStats::new(3).hessian(), Err(Error::NothingSeen));
    let hessian = Hessian::new(2, vec![1.0, 0.0, 0.0, 1.0]).unwrap();
    let (three, two) = (view(3, &[1.0, 2.0, 3.0]), view(2, &[1.0, 2.0]));
    let grid = affine(4, 2);
    assert!(matches!(gptq(three, &hessian, &grid, &Gptq::default()), Err(Error::Size { .. })));
    for damping in [-0.1, 1.5, f64::NAN] {
        let error = gptq(two, &hessian, &grid, &Gptq { damping, ..Gptq::default() });
        assert!(matches!(error, Err(Error::Setting { what: "a damping", .. })));
    }
    assert!(spqr(two, &hessian, &grid, &Spqr { threshold: 0.0, ..Spqr::default() }).is_err());
    assert!(hqq(two, &Grid::new(4, None, Symmetry::Narrow).unwrap(), &Hqq::default()).is_err());
    assert!(hqq(two, &grid, &Hqq { lp: f64::NAN, ..Hqq::default() }).is_err());
    assert!(adaround(two, &hessian, &grid, &AdaRound { learning_rate: 0.0, ..AdaRound::default() }).is_err());
    for (bits, symmetry) in
        [(0, Symmetry::Affine), (17, Symmetry::Affine), (1, Symmetry::Narrow), (1, Symmetry::NoClip)]
    {
        assert!(matches!(Grid::new(bits, None, symmetry), Err(Error::Setting { what: "bits", .. })));
    }
    assert!(Grid::new(4, Some(0), Symmetry::Affine).is_err());
    let huge = [1.0, 2.0, f32::MAX, f32::MIN];
    assert!(matches!(rtn(view(4, &huge), &grid), Err(Error::TooWide { cell: 1, .. })));
    assert!(matches!(hqq(view(4, &huge), &grid, &Hqq::default()), Err(Error::TooWide { cell: 1, .. })));
    assert_eq!(
        Error::NotFiniteIn { what: "weight", index: 3, value: f64::NAN }.to_string(),
        "expected finite numbers in the weight, found NaN at position 3"
    );
}

#[test]
fn every_code_of_every_grid_comes_back_and_zero_is_exact() {
    for bits in 1..=8 {
        for symmetry in [Symmetry::Narrow, Symmetry::FullHalfStep, Symmetry::NoClip, Symmetry::Affine] {
            let Ok(grid) = Grid::new(bits, None, symmetry) else { continue };
            let (qmin, qmax) = grid.limits();
            for range in [[-1.0, 1.0], [-0.3, 2.0], [0.5, 0.7], [-3.0, -1.0], [0.0, 0.0], [-1e-40, 1e-42]] {
                let cell = grid.fit(range).unwrap();
                for code in qmin..=qmax {
                    assert_eq!(grid.code(cell, cell.value(code)), code, "{grid:?} {cell:?}");
                }
                assert_eq!(cell.value(grid.code(cell, 0.0)).to_bits(), 0);
                let bound = match symmetry {
                    Symmetry::FullHalfStep | Symmetry::Affine => 1.001,
                    _ => 0.501,
                };
                for x in range {
                    let moved = (cell.value(grid.code(cell, x)) - x).abs();
                    assert!(moved <= bound * cell.scale, "{grid:?} {cell:?} {x} {moved}");
                }
            }
        }
    }
}
