//! GPTQ against round-to-nearest and HQQ, each with its own defaults, on inputs that it has not seen; and what its knobs
//! must not spoil.
use crate::common::layers::{KINDS, Kind, Lcg, Source, stats, view};
use quant_core::ptq::*;
use quant_core::{Error, Symmetry};

/// A layer with random weights, what is known of its inputs, and inputs kept back.
struct Layer {
    columns: usize,
    w: Vec<f32>,
    seen: Hessian,
    unseen: Hessian,
}

impl Layer {
    fn new(random: &mut Lcg, kind: Kind, columns: usize, tokens: usize) -> Self {
        let source = Source::new(random, kind, columns);
        let seen = stats(columns, &source.draw(random, tokens)).hessian().unwrap();
        let unseen = stats(columns, &source.draw(random, tokens)).hessian().unwrap();
        Self { columns, w: random.normals(16 * columns), seen, unseen }
    }

    fn weight(&self) -> Matrix<'_> {
        view(self.columns, &self.w)
    }

    /// ‖X (W − Ŵ)‖² a token, on inputs kept back.
    fn error(&self, values: &[f32]) -> f64 {
        self.unseen.output_error(self.weight(), view(self.columns, values)).unwrap()
    }

    fn gptq(&self, grid: &Grid, knobs: &Gptq) -> f64 {
        self.error(&gptq(self.weight(), &self.seen, grid, knobs).unwrap().quantized.dequantize())
    }

    fn gptq_float(&self, grid: &Grid, knobs: &Gptq) -> f64 {
        self.error(&gptq_float(self.weight(), &self.seen, grid, knobs).unwrap().quantized.dequantize())
    }
}

/// Errors of round-to-nearest, of HQQ with integer and with float zero points.
fn rivals(layer: &Layer, grid: &Grid) -> [f64; 3] {
    let (weight, knobs) = (layer.weight(), Hqq::default());
    [
        layer.error(&rtn(weight, grid).unwrap().dequantize()),
        layer.error(&hqq_integer(weight, grid, &knobs).unwrap().0.dequantize()),
        layer.error(&hqq(weight, grid, &knobs).unwrap().dequantize()),
    ]
}

fn affine(bits: u32, group: usize) -> Grid {
    Grid::new(bits, Some(group), Symmetry::Affine).unwrap()
}

fn all_knobs() -> Vec<Gptq> {
    let mut all = Vec::new();
    for order in [Order::AsStored, Order::Activation] {
        for groups in [Groups::Updated, Groups::Static] {
            for range in [GroupRange::Full, GroupRange::Search] {
                for refit in [false, true] {
                    all.push(Gptq { damping: 0.01, order, groups, range, refit });
                }
            }
        }
    }
    all
}

#[test]
fn either_gptq_beats_nearest_and_either_hqq_on_inputs_it_has_not_seen() {
    let mut random = Lcg(3);
    for kind in KINDS {
        let layer = Layer::new(&mut random, kind, 128, 256);
        for (bits, group) in [(2, 32), (3, 32), (4, 32), (2, 64), (3, 64), (4, 64)] {
            let grid = affine(bits, group);
            let (integer, float) =
                (layer.gptq(&grid, &Gptq::default()), layer.gptq_float(&grid, &Gptq::default()));
            for rival in rivals(&layer, &grid) {
                let what = format!("{} int{bits} group {group}", kind.name);
                assert!(integer < rival, "{what}: {integer} against {rival}");
                assert!(float < rival, "{what}: {float} against {rival}, float zero points");
            }
        }
    }
}

#[test]
fn a_narrow_layer_takes_float_zero_points_to_beat_float_zero_points() {
    let mut random = Lcg(3);
    for kind in KINDS {
        let layer = Layer::new(&mut random, kind, 32, 128);
        for bits in [2, 3, 4] {
            let grid = affine(bits, 16);
            let [nearest, integer, float] = rivals(&layer, &grid);
            let what = format!("{} int{bits}", kind.name);
            let plain = kind.outliers == 0;
            for knobs in if plain { all_knobs() } else { vec![Gptq::default()] } {
                let found = layer.gptq(&grid, &knobs);
                // Integers are enough where few hidden numbers correlate inputs.
                let most = nearest.min(integer).min(if kind.hidden <= 8 { float } else { f64::INFINITY });
                assert!(found < most, "{what} {knobs:?}: {found} against {nearest}, {integer}, {float}");
            }
            let found = layer.gptq_float(&grid, &Gptq::default());
            assert!(
                found < nearest && found < integer && found < float,
                "{what}: {found} against {nearest}, {integer}, {float}"
            );
        }
    }
}

#[test]
fn whatever_the_knobs_like_beats_like() {
    let mut random = Lcg(5);
    for kind in KINDS.into_iter().filter(|kind| kind.outliers == 0) {
        let layer = Layer::new(&mut random, kind, 64, 256);
        for bits in [2, 3, 4] {
            let grid = affine(bits, 32);
            let [nearest, integer, float] = rivals(&layer, &grid);
            for knobs in all_knobs() {
                let what = format!("{} int{bits} {knobs:?}", kind.name);
                let found = layer.gptq(&grid, &knobs);
                assert!(found < nearest && found < integer, "{what}: {found}, {nearest}, {integer}");
                let found = layer.gptq_float(&grid, &knobs);
                assert!(found < nearest && found < float, "{what}: {found}, {nearest}, {float}");
            }
        }
    }
}

#[test]
fn refitted_scales_lower_the_error_on_what_was_seen() {
    let mut random = Lcg(6);
    let layer = Layer::new(&mut random, KINDS[2], 48, 192);
    let error = |values: &[f32]| layer.seen.output_error(layer.weight(), view(48, values)).unwrap();
    for symmetry in [Symmetry::Affine, Symmetry::FullHalfStep] {
        let grid = Grid::new(3, Some(20), symmetry).unwrap();
        for groups in [Groups::Updated, Groups::Static] {
            // Without damping what is fitted is the error itself.
            let knobs = |refit| Gptq { damping: 0.0, groups, refit, ..Gptq::default() };
            let run = |refit| gptq(layer.weight(), &layer.seen, &grid, &knobs(refit)).unwrap().quantized;
            let (plain, fitted) = (run(false), run(true));
            assert_eq!((&plain.codes, &plain.group_of), (&fitted.codes, &fitted.group_of));
            assert!(plain.cells.iter().zip(&fitted.cells).all(|(a, b)| a.zero_point == b.zero_point));
            assert!(error(&fitted.dequantize()) < 0.99 * error(&plain.dequantize()));
            if symmetry == Symmetry::Affine {
                let run =
                    |refit| gptq_float(layer.weight(), &layer.seen, &grid, &knobs(refit)).unwrap().quantized;
                let (plain, fitted) = (run(false), run(true));
                assert_eq!(plain.codes, fitted.codes);
                assert!(error(&fitted.dequantize()) < 0.99 * error(&plain.dequantize()));
            }
        }
    }
}

#[test]
fn layers_with_nothing_to_fit_are_no_trouble() {
    let grid = affine(4, 4);
    let nothing = Hessian::new(6, vec![0.0; 36]).unwrap();
    let mut h = vec![0.0; 36];
    (1..6).for_each(|j| h[j * 7] = 1.0);
    let one_dead = Hessian::new(6, h).unwrap();
    for w in [vec![0.0; 12], vec![0.25; 12], vec![1e-30; 12]] {
        for hessian in [&nothing, &one_dead] {
            let found = gptq(view(6, &w), hessian, &grid, &Gptq::default()).unwrap().quantized.dequantize();
            assert!(found.iter().all(|w| w.is_finite()));
            let found = gptq_float(view(6, &w), hessian, &grid, &Gptq::default()).unwrap().quantized;
            assert!(found.scale.iter().all(|scale| *scale > 0.0 && scale.is_finite()));
            let found = found.dequantize();
            let live = |(index, _): &(usize, &f32)| index % 6 != 0;
            let near = found
                .iter()
                .enumerate()
                .filter(live)
                .all(|(i, x)| (x - w[i]).abs() <= 1e-6 * w[i].abs().max(1e-24));
            assert!(near || hessian == &nothing, "{found:?} for {w:?}");
        }
    }
    let symmetric = Grid::new(4, None, Symmetry::Narrow).unwrap();
    let error = gptq_float(view(6, &[1.0; 12]), &one_dead, &symmetric, &Gptq::default());
    assert!(matches!(error, Err(Error::Setting { .. })));
    let error = gptq_float(view(4, &[1.0; 12]), &one_dead, &grid, &Gptq::default());
    assert!(matches!(error, Err(Error::Size { .. })));
}

#[test]
fn masked_weights_are_zero_and_the_others_make_up_for_them() {
    let mut random = Lcg(11);
    for kind in KINDS {
        let mut layer = Layer::new(&mut random, kind, 64, 256);
        let keep: Vec<bool> = (0..layer.w.len()).map(|at| (at * 7 + at / 64) % 3 != 0).collect();
        layer.w.iter_mut().zip(&keep).filter(|(_, keep)| !**keep).for_each(|(w, _)| *w = 0.0);
        let (weight, grid) = (layer.weight(), affine(3, 16));
        let nearest = layer.error(&rtn(weight, &grid).unwrap().dequantize());
        for knobs in all_knobs() {
            let found =
                gptq_masked(weight, &keep, &layer.seen, &grid, &knobs).unwrap().quantized.dequantize();
            assert!(found.iter().zip(&keep).all(|(x, keep)| *keep || *x == 0.0), "{} {knobs:?}", kind.name);
            assert!(layer.error(&found) < nearest, "{} {knobs:?}", kind.name);
        }
        let done = spqr_masked(weight, &keep, &layer.seen, &grid, &Spqr::default()).unwrap();
        assert!(done.dequantize().iter().zip(&keep).all(|(x, keep)| *keep || *x == 0.0), "{}", kind.name);
        let short = gptq_masked(weight, &keep[1..], &layer.seen, &grid, &Gptq::default());
        assert!(matches!(short, Err(Error::Size { what: "elements of the mask", .. })));
    }
}

#[test]
fn a_mask_that_keeps_everything_changes_nothing() {
    let layer = Layer::new(&mut Lcg(5), KINDS[0], 48, 128);
    let (keep, grid, knobs) = (vec![true; layer.w.len()], affine(4, 16), Gptq::default());
    let plain = gptq(layer.weight(), &layer.seen, &grid, &knobs).unwrap();
    assert_eq!(gptq_masked(layer.weight(), &keep, &layer.seen, &grid, &knobs).unwrap(), plain);
}

#[test]
fn weights_that_are_zero_stay_zero_where_bits_are_learned() {
    let mut layer = Layer::new(&mut Lcg(9), KINDS[0], 32, 128);
    layer.w.iter_mut().step_by(2).for_each(|w| *w = 0.0);
    let knobs = AdaRound { iterations: 200, ..AdaRound::default() };
    let done = adaround(layer.weight(), &layer.seen, &affine(3, 16), &knobs).unwrap();
    assert!(done.quantized.dequantize().iter().step_by(2).all(|x| *x == 0.0));
}
