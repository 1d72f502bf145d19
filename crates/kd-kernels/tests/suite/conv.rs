//! Every kernel of every instruction set of this machine against the definition added in `f64`.

use crate::common::{close, magnitudes, numbers, same_on_any_threads};
use kd_kernels::conv::{self, Layout, reference};
use kd_kernels::{Conv, Isa};
use proptest::prelude::*;

const LAYOUTS: [Layout; 3] = [Layout::Images, Layout::Channels, Layout::Pixels];

fn check(shape: &Conv, seed: u64) {
    let (x, w) = (numbers(shape.input_len(), seed), numbers(shape.weight_len(), seed + 1));
    let (dy, bias) = (numbers(shape.output_len(), seed + 2), numbers(shape.channels[1], seed + 3));
    let (xs, ws, dys) = (magnitudes(&x), magnitudes(&w), magnitudes(&dy));
    let y = reference::forward(shape, &x, &w, Some(&bias));
    let y_size = reference::forward(shape, &xs, &ws, Some(&magnitudes(&bias)));
    let dx = reference::grad_input(shape, &dy, &w);
    let dx_size = reference::grad_input(shape, &dys, &ws);
    let (dw, db) = reference::grad_weight(shape, &x, &dy);
    let (dw_size, db_size) = reference::grad_weight(shape, &xs, &dys);
    for isa in Isa::available() {
        for layout in LAYOUTS {
            let what = format!("{isa:?} {layout:?} {shape:?}");
            let found = conv::forward_in(isa, layout, shape, &x, &w, Some(&bias));
            close(&format!("forward {what}"), &found, &y, &y_size);
            let found = conv::grad_input_in(isa, layout, shape, &dy, &w);
            close(&format!("input's gradient {what}"), &found, &dx, &dx_size);
        }
        let (found_w, found_b) = conv::grad_weight(isa, shape, &x, &dy);
        close(&format!("weight's gradient {isa:?} {shape:?}"), &found_w, &dw, &dw_size);
        close(&format!("bias's gradient {isa:?} {shape:?}"), &found_b, &db, &db_size);
    }
}

prop_compose! {
    fn shapes()(
        batch in 1usize..=33,
        groups in 1usize..=4,
        depthwise in any::<bool>(),
        per_group in [1usize..=17, 1usize..=17],
        input in [1usize..=11, 1usize..=19],
        kernel in [1usize..=7, 1usize..=7],
        stride in [1usize..=3, 1usize..=3],
        padding in [(0usize..=3, 0usize..=3), (0usize..=3, 0usize..=3)],
        dilation in [1usize..=2, 1usize..=2],
    ) -> Conv {
        let (groups, [from, to]) = if depthwise { (per_group[0] * groups, [1, 1]) } else { (groups, per_group) };
        Conv { batch, channels: [from * groups, to * groups], groups, input, kernel, stride, padding, dilation }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn every_kernel_equals_the_definition(shape in shapes(), seed in 0u64..1000) {
        // Larger ones take the definition seconds and show nothing else.
        prop_assume!(shape.output_len() * shape.weight_len() / shape.channels[1] <= 3_000_000);
        check(&shape, seed);
    }
}

#[test]
fn shapes_of_networks_equal_the_definition() {
    let same = |batch, channels, side, kernel: usize| Conv {
        padding: [(kernel / 2, kernel / 2); 2],
        ..Conv::new(batch, channels, [side; 2], [kernel; 2])
    };
    check(&same(20, [1, 6], 28, 5), 1);
    check(&same(17, [6, 10], 14, 5), 2);
    check(&same(3, [70, 33], 7, 3), 3);
    check(&Conv { stride: [2; 2], ..same(4, [16, 32], 16, 3) }, 4);
    check(&Conv { groups: 40, ..same(16, [40, 40], 9, 3) }, 5);
    check(&Conv { groups: 3, stride: [2; 2], ..same(9, [3, 3], 32, 3) }, 11);
    check(&same(33, [64, 70], 5, 1), 6);
    check(&Conv { groups: 2, ..same(9, [10, 14], 8, 1) }, 9);
    check(&same(3, [5, 3], 13, 1), 10);
    // One dimension is two with a height of one.
    check(
        &Conv { padding: [(0, 0), (4, 0)], dilation: [1, 2], ..Conv::new(9, [12, 20], [1, 50], [1, 3]) },
        7,
    );
    // A batch large enough to go to several threads.
    check(&same(64, [8, 16], 12, 3), 8);
}

#[test]
fn nothing_fits_gives_nothing() {
    let shape = Conv::new(2, [3, 4], [2, 2], [3, 3]);
    assert_eq!(shape.output(), [0, 0]);
    check(&shape, 1);
    check(&Conv::new(0, [3, 4], [5, 5], [3, 3]), 1);
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    let ordinary = Conv { padding: [(1, 1); 2], ..Conv::new(70, [12, 20], [15, 15], [3, 3]) };
    let depthwise = Conv { groups: 36, channels: [36; 2], ..ordinary };
    for shape in [ordinary, depthwise] {
        let (x, w) = (numbers(shape.input_len(), 1), numbers(shape.weight_len(), 2));
        let dy = numbers(shape.output_len(), 3);
        for isa in Isa::available() {
            same_on_any_threads(|| {
                let y = conv::forward(isa, &shape, &x, &w, None);
                (y, conv::grad_input(isa, &shape, &dy, &w), conv::grad_weight(isa, &shape, &x, &dy))
            });
        }
    }
}

/// A corner that is no number concerns only the taps that see it, even where a kernel multiplies more than it must.
#[test]
fn a_corner_that_is_no_number_stays_out_of_other_taps() {
    let shape = Conv { padding: [(1, 1); 2], groups: 3, ..Conv::new(5, [3, 3], [9, 9], [3, 3]) };
    let (mut x, dy) = (numbers(shape.input_len(), 1), numbers(shape.output_len(), 2));
    (x[81], x[4 * 243 + 161]) = (f32::NAN, f32::INFINITY);
    let (expected, _) = reference::grad_weight(&shape, &x, &dy);
    assert!(expected[9..18].iter().any(|x| x.is_nan()) && expected[9..18].iter().any(|x| x.is_finite()));
    for isa in Isa::available() {
        let (found, _) = conv::grad_weight(isa, &shape, &x, &dy);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!((found.is_nan(), found.is_infinite()), (expected.is_nan(), expected.is_infinite()));
        }
    }
}

#[test]
fn not_a_number_and_infinity_come_out_where_they_went_in() {
    let shape = Conv { padding: [(1, 1); 2], ..Conv::new(18, [2, 5], [6, 6], [3, 3]) };
    let (mut x, w) = (numbers(shape.input_len(), 1), numbers(shape.weight_len(), 2));
    x[0] = f32::NAN;
    x[17 * 72 + 40] = f32::INFINITY;
    let expected = reference::forward(&shape, &x, &w, None);
    for isa in Isa::available() {
        for layout in LAYOUTS {
            let found = conv::forward_in(isa, layout, &shape, &x, &w, None);
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found.is_nan(), expected.is_nan());
                if expected.is_infinite() {
                    assert_eq!(f64::from(*found), *expected);
                }
            }
        }
    }
}

#[test]
fn a_weight_of_another_shape_is_refused() {
    let shape = Conv::new(1, [1, 1], [3, 3], [2, 2]);
    let refused = std::panic::catch_unwind(|| conv::forward(Isa::best(), &shape, &[0.0; 9], &[0.0; 5], None));
    let said = refused.expect_err("five numbers are no weight of two by two");
    let said = said.downcast_ref::<String>().expect("a message");
    assert!(said.contains("numbers of the weight"), "{said}");
}
