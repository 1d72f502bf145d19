//! Sparse and dense products of every instruction set of this machine against the definition added in `f64`.

use crate::common::{close, magnitudes, numbers, same_on_any_threads};
use kd_kernels::Isa;
use kd_kernels::matmul::{self, Packed};
use kd_kernels::sparse::{self, Blocks, Groups, PatternError, Sparse};
use proptest::prelude::*;

/// Leaves each block out that `removed` says, by its row of blocks and its column.
fn without_blocks(mut weight: Vec<f32>, inputs: usize, removed: impl Fn(usize, usize) -> bool) -> Vec<f32> {
    for (at, w) in weight.iter_mut().enumerate() {
        if removed(at / inputs / Blocks::ROWS, at % inputs) {
            *w = 0.0;
        }
    }
    weight
}

/// Leaves all but `keep` of every `of` inputs out, others in each row.
fn keeping(mut weight: Vec<f32>, inputs: usize, (keep, of): (usize, usize)) -> Vec<f32> {
    for (row, weights) in weight.chunks_mut(inputs).enumerate() {
        for (group, weights) in weights.chunks_mut(of).enumerate() {
            for (i, w) in weights.iter_mut().enumerate() {
                if (i + row + 3 * group) % of >= keep {
                    *w = 0.0;
                }
            }
        }
    }
    weight
}

fn bits(y: &[f32]) -> Vec<u32> {
    // Negative zero is zero: which of them a sum gives may depend on zeros that are left out.
    y.iter().map(|y| (y + 0.0).to_bits()).collect()
}

/// The products of a dense weight and of its sparse forms against the definition, and against each other.
fn check(weight: &[f32], shape: [usize; 2], batch: usize, pattern: Option<(usize, usize)>, seed: u64) {
    let [outputs, inputs] = shape;
    let (x, bias) = (numbers(batch * inputs, seed + 1), numbers(outputs, seed + 2));
    let blocks = Blocks::new(weight, shape).expect("every weight has blocks");
    assert_eq!(blocks.to_dense(), weight);
    let groups = pattern.map(|(keep, of)| Groups::new(weight, shape, keep, of).expect("it has the pattern"));
    for bias in [None, Some(&bias[..])] {
        let expected = matmul::reference::forward(shape, weight, &x, bias);
        let sizes = bias.map(magnitudes);
        let size = matmul::reference::forward(shape, &magnitudes(weight), &magnitudes(&x), sizes.as_deref());
        let same = |found: &[f64]| {
            found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-12 * (1.0 + b.abs()))
        };
        assert!(same(&sparse::reference::blocks(&blocks, &x, bias)));
        for isa in Isa::available() {
            let what = format!("{isa:?} {shape:?} batch {batch}");
            let dense = matmul::forward(&Packed::new(isa, weight, shape), &x, bias);
            close(&format!("dense {what}"), &dense, &expected, &size);
            let found = sparse::forward(isa, &blocks, &x, bias);
            close(&format!("blocks {what}"), &found, &expected, &size);
            assert_eq!(bits(&found), bits(&dense), "blocks and dense {what}");
            if let Some(groups) = &groups {
                assert_eq!(groups.to_dense(), weight);
                assert!(same(&sparse::reference::groups(groups, &x, bias)));
                let found = sparse::forward(isa, groups, &x, bias);
                close(&format!("{:?} {what}", groups.pattern()), &found, &expected, &size);
                assert_eq!(bits(&found), bits(&dense), "{:?} and dense {what}", groups.pattern());
            }
        }
    }
}

prop_compose! {
    /// Few and many rows of every dimension: tails of vectors, tiles, panels and blocks.
    fn shapes()(
        outputs in prop_oneof![1usize..=9, 1usize..=150],
        inputs in prop_oneof![1usize..=9, 1usize..=300],
        batch in prop_oneof![0usize..=3, 1usize..=20, 1usize..=220],
    ) -> ([usize; 2], usize) {
        ([outputs, inputs], batch)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn blocks_equal_the_definition((shape, batch) in shapes(), density in 0u64..=10, seed in 0u64..1000) {
        // Whole rows of blocks go too, and at the ends of the range all or none.
        let chosen = |row: usize, column: usize| {
            let mix = (row as u64 * 31 + column as u64 + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            mix % 10 >= density || (density < 10 && row % 5 == 3)
        };
        let weight = without_blocks(numbers(shape[0] * shape[1], seed), shape[1], chosen);
        check(&weight, shape, batch, None, seed);
    }

    #[test]
    fn groups_equal_the_definition(
        (shape, batch) in shapes(),
        of in 1usize..=17,
        keep in 1usize..=17,
        seed in 0u64..1000,
    ) {
        let pattern = (keep.min(of), of);
        let weight = keeping(numbers(shape[0] * shape[1], seed), shape[1], pattern);
        check(&weight, shape, batch, Some(pattern), seed);
    }
}

#[test]
fn patterns_at_their_ends_equal_the_definition() {
    let shape = [70, 90];
    let weight = numbers(70 * 90, 1);
    for batch in [1, 7, 16, 97, 193] {
        check(&vec![0.0; 70 * 90], shape, batch, Some((2, 4)), 2);
        check(&weight, shape, batch, Some((4, 4)), 3);
        check(&keeping(weight.clone(), 90, (2, 4)), shape, batch, Some((2, 4)), 4);
        check(&keeping(weight.clone(), 90, (1, 256)), shape, batch, Some((1, 256)), 5);
    }
}

#[test]
fn a_row_of_the_batch_gives_the_same_bits_alone() {
    let (shape, batch) = ([37, 300], 101);
    let weight = keeping(numbers(37 * 300, 1), 300, (2, 4));
    let (x, bias) = (numbers(batch * 300, 2), numbers(37, 3));
    let blocks = Blocks::new(&weight, shape).expect("blocks");
    let groups = Groups::new(&weight, shape, 2, 4).expect("it is 2:4");
    for isa in Isa::available() {
        let packed = Packed::new(isa, &weight, shape);
        let products = |x: &[f32]| {
            [
                matmul::forward(&packed, x, Some(&bias)),
                sparse::forward(isa, &blocks, x, Some(&bias)),
                sparse::forward(isa, &groups, x, Some(&bias)),
            ]
        };
        let whole = products(&x);
        // As many together as take one way or the other.
        for few in [1, 2, 3, 4, 5, 16] {
            let mut parts = [const { Vec::new() }; 3];
            for x in x.chunks(few * 300) {
                parts.iter_mut().zip(products(x)).for_each(|(part, y)| part.extend(y));
            }
            assert!(parts == whole, "{isa:?} by {few}");
        }
    }
}

#[test]
fn instruction_sets_that_round_products_once_agree_to_the_bit() {
    let (shape, batch) = ([33, 120], 50);
    let weight = numbers(33 * 120, 1);
    let x = numbers(batch * 120, 2);
    let blocks = Blocks::new(&weight, shape).expect("blocks");
    // In the definition's order, with the standard library's own product and sum.
    let mut expected = Vec::new();
    for x in x.chunks(120) {
        for w in weight.chunks(120) {
            expected.push(w.iter().zip(x).fold(0.0f32, |sum, (&w, &x)| w.mul_add(x, sum)));
        }
    }
    for isa in Isa::available().into_iter().filter(|&isa| isa != Isa::Scalar) {
        assert!(sparse::forward(isa, &blocks, &x, None) == expected, "blocks {isa:?}");
        assert!(matmul::forward(&Packed::new(isa, &weight, shape), &x, None) == expected, "dense {isa:?}");
    }
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    let (shape, batch) = ([300, 260], 130);
    let weight = keeping(numbers(300 * 260, 1), 260, (2, 4));
    let x = numbers(batch * 260, 2);
    let blocks = Blocks::new(&weight, shape).expect("blocks");
    let groups = Groups::new(&weight, shape, 2, 4).expect("it is 2:4");
    for isa in Isa::available() {
        let packed = Packed::new(isa, &weight, shape);
        same_on_any_threads(|| {
            let dense = matmul::forward(&packed, &x, None);
            (dense, sparse::forward(isa, &blocks, &x, None), sparse::forward(isa, &groups, &x, None))
        });
    }
}

#[test]
fn not_a_number_and_infinity_reach_the_outputs_that_keep_a_weight_for_them() {
    // The third row of blocks keeps nothing, the second a zero for the input that is infinite.
    let shape = [10, 9];
    let mut weight = without_blocks(numbers(90, 1), 9, |row, column| row == 2 || (row == 0 && column == 4));
    weight[5 * 9 + 4] = 0.0;
    let blocks = Blocks::new(&weight, shape).expect("blocks");
    let two = keeping(numbers(90, 2), 9, (2, 4));
    let groups = Groups::new(&two, shape, 2, 4).expect("it is 2:4");
    for (batch, place, value) in [(1, 4, f32::INFINITY), (40, 4, f32::NEG_INFINITY), (17, 8, f32::NAN)] {
        let mut x = numbers(batch * 9, 3);
        x[(batch - 1) * 9 + place] = value;
        for isa in Isa::available() {
            let pairs = [
                (sparse::forward(isa, &blocks, &x, None), sparse::reference::blocks(&blocks, &x, None)),
                (sparse::forward(isa, &groups, &x, None), sparse::reference::groups(&groups, &x, None)),
            ];
            for (found, expected) in pairs {
                assert!(expected.iter().any(|y| !y.is_finite()) && expected.iter().any(|y| y.is_finite()));
                for (&found, expected) in found.iter().zip(expected) {
                    assert_eq!(found.is_nan(), expected.is_nan(), "{isa:?} {value}");
                    if expected.is_infinite() {
                        assert_eq!(f64::from(found), expected);
                    }
                }
            }
            // What keeps nothing is its bias, whatever the input is.
            let y = sparse::forward(isa, &blocks, &x, Some(&numbers(10, 4)));
            assert_eq!(y[(batch - 1) * 10 + 8..], numbers(10, 4)[8..]);
        }
    }
    // A weight that is no number is kept.
    let nan = Blocks::new(&[f32::NAN, 0.0], [2, 1]).expect("blocks");
    let y = sparse::forward(Isa::best(), &nan, &[1.0], None);
    assert!(y[0].is_nan() && y[1] == 0.0);
}

#[test]
fn what_has_no_pattern_says_where() {
    let said = |error: PatternError| error.to_string();
    let weight = [1.0, 0.0, 2.0, 0.0, 0.0, 1.0, 1.0, 1.0];
    assert_eq!(Groups::new(&weight, [1, 8], 2, 4).map_err(said), Err("expected at most 2 of 4 weights in row 0 from column 4 on, found 3; prune the weight to this pattern first".to_owned()));
    assert_eq!(
        Groups::new(&weight, [2, 4], 3, 2).map_err(said),
        Err("expected 1 ≤ keep ≤ of ≤ 256, found keep = 3, of = 2".to_owned())
    );
    assert_eq!(
        Blocks::new(&weight, [3, 3]).map_err(said),
        Err("expected 9 numbers for a weight of [3, 3], found 8".to_owned())
    );
    assert_eq!(
        Blocks::new(&[], [3, 0]).map_err(said),
        Err("expected between 1 and 4294967295 inputs, found a weight of [3, 0]".to_owned())
    );
    let mask = [true, false, true, true, true, false, true, false];
    assert_eq!(Blocks::with_mask(&weight, &mask, [4, 2]).map_err(said), Err("expected whole blocks of 4 rows by one column, found a mask that in column 1 keeps row 1 and removes row 0; prune the weight by blocks first".to_owned()));
}

#[test]
fn a_mask_keeps_zeros_and_removes_what_it_removes() {
    let mask = [true, false, true, false, true, false, true, false, false, true];
    let weight = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
    let blocks = Blocks::with_mask(&weight, &mask, [5, 2]).expect("whole blocks");
    assert_eq!((blocks.starts(), blocks.columns()), (&[0, 1, 2][..], &[0, 1][..]));
    assert_eq!(blocks.values(), [0.0, 2.0, 4.0, 6.0, 9.0, 0.0, 0.0, 0.0]);
    assert_eq!(blocks.to_dense(), [0.0, 0.0, 2.0, 0.0, 4.0, 0.0, 6.0, 0.0, 0.0, 9.0]);
    assert_eq!((blocks.kept(), blocks.bytes()), (8, 3 * 8 + 2 * 4 + 8 * 4));
    let groups = Groups::new(&[0.0, 0.0, 5.0, 0.0, 0.0], [1, 5], 2, 4).expect("it is 2:4");
    // The first zero fills the group, and the last group has one input alone. Three outputs are not there.
    assert_eq!((groups.kept(), groups.bytes()), (12, 12 * 5));
}
