//! Criteria, patterns and masks: against golden vectors of another implementation, and by their properties.

use std::num::NonZeroUsize;

use proptest::prelude::*;
use prune_core::{
    Block, Builtin, Connections, Criterion, Error, Inputs, Lines, Magnitude, Matrix, NM, Norm, Pattern,
    Random, Removal, Scope, Sparsity, TABLE, Unit, Unstructured, mask, prune, select,
};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Golden {
    header: Header,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Header {
    tolerance: Tolerance,
}

#[derive(Deserialize)]
struct Tolerance {
    scores: f64,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    rows: usize,
    columns: usize,
    weight: Vec<f32>,
    scores: std::collections::BTreeMap<String, Vec<f64>>,
    masks: Vec<GoldenMask>,
}

#[derive(Deserialize)]
struct GoldenMask {
    pattern: Pattern,
    mask: String,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../golden/masks.json")).unwrap()
}

#[test]
fn magnitude_scores_equal_the_golden_ones() {
    let golden = golden();
    for case in golden.cases {
        let matrix = Matrix::new(&case.name, case.rows, case.columns, &case.weight).unwrap();
        for (p, norm) in [(1, Norm::L1), (2, Norm::L2)] {
            for (unit, name) in [(Unit::Element, "element"), (Unit::Channel, "channel")] {
                let magnitude = Magnitude { p: norm, unit: None };
                let scores = magnitude.scores(&Inputs::new(&matrix), unit).unwrap();
                let expected = &case.scores[&format!("{name}-{p}")];
                assert_eq!(scores.len(), expected.len());
                for (score, expected) in scores.iter().zip(expected) {
                    let allowed = golden.header.tolerance.scores * expected.abs();
                    assert!(
                        (score - expected).abs() <= allowed,
                        "{} {name}-{p}: {score} {expected}",
                        case.name
                    );
                }
            }
        }
    }
}

#[test]
fn masks_equal_the_golden_ones() {
    for case in golden().cases {
        let matrix = Matrix::new(&case.name, case.rows, case.columns, &case.weight).unwrap();
        let scores = Magnitude::default().scores(&Inputs::new(&matrix), Unit::Element).unwrap();
        assert_eq!(case.masks.len(), 24);
        for golden in case.masks {
            let mask = mask(&golden.pattern, &scores, case.rows, case.columns).unwrap();
            let bits: String = mask.iter().map(|&kept| if kept { '1' } else { '0' }).collect();
            assert_eq!(bits, golden.mask, "{} {:?}", case.name, golden.pattern);
        }
    }
}

fn sparsity(value: f64) -> Sparsity {
    Sparsity::new(value).unwrap()
}

#[test]
fn removed_takes_back_what_binary_fractions_lose() {
    for (share, units, expected) in [
        (0.0, 10, 0),
        (1.0, 10, 10),
        (0.5, 3, 1),
        (0.9, 10, 9),
        (0.7, 10, 7),
        (0.29, 100, 29),
        (0.1 + 0.2, 10, 3),
        (0.3 - 0.1, 5, 1),
        (0.999, 1000, 999),
        (0.5, 0, 0),
    ] {
        assert_eq!(select::removed(sparsity(share), units), expected, "{share} of {units}");
    }
    // 0.29 * 100 is 28.999999999999996, 0.3 - 0.1 is 0.19999999999999998.
    assert_eq!((0.29_f64 * 100.0).floor(), 28.0);
}

#[test]
fn of_equal_scores_the_lowest_index_stays() {
    assert_eq!(select::keep(&[1.0; 5], 2).unwrap(), [true, true, true, false, false]);
    assert_eq!(select::keep(&[0.0, -0.0, 0.0, -0.0], 2).unwrap(), [true, true, false, false]);
    assert_eq!(select::keep(&[-0.0, 0.0], 1).unwrap(), [true, false]);
    assert_eq!(select::keep(&[2.0, 1.0, 2.0, 1.0], 3).unwrap(), [true, false, false, false]);
    assert_eq!(select::order(&[2.0, -1.0, 2.0, -1.0]).unwrap(), [3, 1, 2, 0]);
    assert_eq!(select::keep(&[f64::NEG_INFINITY, -1.0, f64::INFINITY], 1).unwrap(), [false, true, true]);
    assert_eq!(select::keep(&[1.0, 2.0], 5).unwrap(), [false, false]);
}

#[test]
fn a_score_that_is_no_number_is_an_error_that_names_it() {
    let scores = [0.0, 1.0, 2.0, 3.0, 4.0, f64::NAN];
    let patterns = [
        Pattern::Unstructured(Unstructured::new(sparsity(0.5))),
        Pattern::NM(NM::new(1, 2).unwrap()),
        Pattern::Block(Block { rows: one(), columns: one(), sparsity: sparsity(0.5) }),
        Pattern::Rows(Lines { sparsity: sparsity(0.5) }),
        Pattern::Columns(Lines { sparsity: sparsity(0.5) }),
    ];
    // Chance looks at no score.
    let random = Pattern::Random(Connections { sparsity: sparsity(0.5), seed: 0 });
    assert!(mask(&random, &scores, 2, 3).is_ok());
    for pattern in patterns {
        assert_eq!(mask(&pattern, &scores, 2, 3), Err(Error::ScoreNaN { index: 5 }), "{pattern}");
        let short = Error::Length { path: "scores".into(), expected: 8, found: 6 };
        assert_eq!(mask(&pattern, &scores, 2, 4), Err(short));
        assert_eq!(mask(&pattern, &[], 0, 4).unwrap(), [false; 0]);
        assert_eq!(mask(&pattern, &[], 4, 0).unwrap(), [false; 0]);
    }
}

fn one() -> NonZeroUsize {
    NonZeroUsize::MIN
}

#[test]
fn a_linear_weight_is_turned_and_its_mask_turned_back() {
    // [in = 2, out = 3]
    let stored = [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0];
    let matrix = Matrix::from_weight("fc", &[2, 3], &stored, 1).unwrap();
    assert_eq!((matrix.rows(), matrix.columns()), (3, 2));
    assert_eq!(matrix.values(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    assert_eq!(matrix.to_stored(matrix.values()).unwrap(), stored.map(f64::from));
    let channel = Magnitude::default().scores(&Inputs::new(&matrix), Unit::Channel).unwrap();
    assert_eq!(channel, [5.0, 7.0, 9.0]);
    // 1:2 along the inputs keeps the second input of every output.
    let scores = Magnitude::default().scores(&Inputs::new(&matrix), Unit::Element).unwrap();
    let kept = mask(&Pattern::NM(NM::new(1, 2).unwrap()), &scores, 3, 2).unwrap();
    assert_eq!(matrix.to_stored(&kept).unwrap(), [false, false, false, true, true, true]);
    // A convolution's weight is the matrix already.
    let conv = Matrix::from_weight("conv", &[2, 1, 1, 3], &stored, 0).unwrap();
    assert_eq!(conv, Matrix::new("conv", 2, 3, &stored).unwrap());
    assert_eq!(conv.values(), stored.map(f64::from));
    // In the middle, as in a weight with the output between two others.
    let middle =
        Matrix::from_weight("middle", &[2, 3, 2], &(0..12).map(f64::from).collect::<Vec<_>>(), 1).unwrap();
    assert_eq!(middle.iter_rows().nth(1).unwrap(), [2.0, 3.0, 8.0, 9.0]);
}

#[test]
fn weights_that_are_no_numbers_or_do_not_fit_are_errors() {
    let error = Matrix::new("a", 1, 3, &[0.0, f32::INFINITY, 0.0]).unwrap_err();
    assert_eq!(error, Error::NotFinite { path: "a".into(), index: 1, value: f64::INFINITY });
    let error = Matrix::new("a", 2, 2, &[0.0_f32; 3]).unwrap_err();
    assert_eq!(error.to_string(), "`a` has 3 entries, expected 4");
    let error = Matrix::from_weight("a", &[4], &[0.0_f32; 4], 1).unwrap_err();
    assert_eq!(error.to_string(), "`a` has no dimension 1, its rank is 1");
    assert!(Matrix::new("a", 1, 2, &[1.0_f32; 2]).unwrap().to_stored(&[true]).is_err());
}

#[test]
fn random_scores_depend_on_seed_and_path_alone() {
    let layer = |path: &str| Matrix::new(path, 20, 50, &[0.0_f32; 1000]).unwrap();
    let scores = |seed, path: &str| {
        Random { seed, unit: None }.scores(&Inputs::new(&layer(path)), Unit::Element).unwrap()
    };
    assert_eq!(scores(0, "a"), scores(0, "a"));
    assert_ne!(scores(0, "a"), scores(1, "a"));
    assert_ne!(scores(0, "a"), scores(0, "b"));
    let channels = Random::default().scores(&Inputs::new(&layer("a")), Unit::Channel).unwrap();
    assert_eq!(channels.len(), 20);
    let all = scores(7, "a");
    assert!(all.iter().all(|score| (0.0..1.0).contains(score)));
    // 1000 uniform numbers: mean 1/2 and variance 1/12, within five standard deviations of each estimate.
    let mean = all.iter().sum::<f64>() / 1000.0;
    let variance = all.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / 1000.0;
    assert!((mean - 0.5).abs() < 0.046, "{mean}");
    assert!((variance - 1.0 / 12.0).abs() < 0.012, "{variance}");
    // The stream is part of the promise: these are the first numbers of seed 0 and path "a".
    let first: Vec<u64> = scores(0, "a")[..3].iter().map(|score| (score * 1e12) as u64).collect();
    assert_eq!(first, FIRST_OF_SEED_0);
}

/// First three scores of seed 0 and path "a", in units of 1e-12.
const FIRST_OF_SEED_0: [u64; 3] = [264_942_515_149, 489_196_844_199, 744_757_541_752];

#[test]
fn patterns_are_spelled_as_in_recipes_and_checked() {
    let read = |value| serde_json::from_value::<Pattern>(value).map_err(|error| error.to_string());
    let unstructured = Pattern::Unstructured(Unstructured::new(sparsity(0.9)));
    let block = Block { rows: NonZeroUsize::new(4).unwrap(), columns: one(), sparsity: sparsity(0.5) };
    for (pattern, spelling) in [
        (unstructured, json!({ "unstructured": { "sparsity": 0.9 } })),
        (Pattern::NM(NM::new(2, 4).unwrap()), json!({ "n-m": { "keep": 2, "of": 4 } })),
        (Pattern::Block(block), json!({ "block": { "rows": 4, "columns": 1, "sparsity": 0.5 } })),
        (Pattern::Rows(Lines { sparsity: sparsity(0.5) }), json!({ "rows": { "sparsity": 0.5 } })),
        (Pattern::Columns(Lines { sparsity: sparsity(0.5) }), json!({ "columns": { "sparsity": 0.5 } })),
        (
            Pattern::Random(Connections { sparsity: sparsity(0.5), seed: 7 }),
            json!({ "random": { "sparsity": 0.5, "seed": 7 } }),
        ),
        (
            Pattern::Unstructured(Unstructured { sparsity: sparsity(0.9), scope: Scope::Global }),
            json!({ "unstructured": { "sparsity": 0.9, "scope": "global" } }),
        ),
    ] {
        assert_eq!(serde_json::to_value(pattern).unwrap(), spelling);
        assert_eq!(read(spelling), Ok(pattern));
    }
    for (spelling, complaint) in [
        (json!({ "unstructured": { "sparsity": 1.5 } }), "sparsity is 1.5, expected a number in 0 ..= 1"),
        (json!({ "unstructured": { "sparsity": -0.1 } }), "sparsity is -0.1"),
        (json!({ "unstructured": { "sparsity": 0.5, "scope": "net" } }), "unknown variant `net`"),
        (json!({ "unstructured": { "sparsity": 0.5, "share": 1 } }), "unknown field `share`"),
        (json!({ "unstructured": {} }), "missing field `sparsity`"),
        (json!({ "n-m": { "keep": 5, "of": 4 } }), "n:m pattern keeps 5 of 4, expected `keep` in 1 ..= `of`"),
        (json!({ "n-m": { "keep": 0, "of": 4 } }), "keeps 0 of 4"),
        (json!({ "n-m": { "keep": 0, "of": 0 } }), "keeps 0 of 0"),
        (json!({ "n-m": { "keep": 2, "of": 4, "sparsity": 0.5 } }), "unknown field `sparsity`"),
        (json!({ "block": { "rows": 0, "columns": 1, "sparsity": 0.5 } }), "nonzero"),
        (json!({ "channels": { "sparsity": 0.5 } }), "unknown variant `channels`"),
    ] {
        let error = read(spelling).unwrap_err();
        assert!(error.contains(complaint), "{error}");
    }
}

#[test]
fn random_connections_follow_from_the_seed_and_the_name_and_what_is_gone_counts() {
    let drawn = |seed, share, path: &str| {
        let matrix = Matrix::new(path, 4, 10, &[1.0; 40]).unwrap();
        let removal = Removal::Elements(Pattern::Random(Connections { sparsity: sparsity(share), seed }));
        let pruned = prune(&Magnitude::default(), Some(&removal), &[Inputs::new(&matrix)]).unwrap().remove(0);
        pruned.keep.unwrap()
    };
    assert_eq!(drawn(0, 0.5, "a"), drawn(0, 0.5, "a"));
    assert_ne!(drawn(0, 0.5, "a"), drawn(1, 0.5, "a"));
    assert_ne!(drawn(0, 0.5, "a"), drawn(0, 0.5, "b"));
    // What goes at a sparsity goes at every higher one.
    let (few, many) = (drawn(0, 0.3, "a"), drawn(0, 0.8, "a"));
    assert!(few.iter().zip(&many).all(|(few, many)| *few || !many));
    let random = Pattern::Random(Connections { sparsity: sparsity(0.5), seed: 0 });
    let mut scores = [1.0; 10];
    scores[3..8].fill(f64::NEG_INFINITY);
    let kept = mask(&random, &scores, 1, 10).unwrap();
    assert_eq!(kept, [true, true, true, false, false, false, false, false, true, true]);
}

#[test]
fn criteria_are_spelled_as_in_recipes_and_listed() {
    let read = |value| serde_json::from_value::<Builtin>(value).map_err(|error| error.to_string());
    let magnitude = Magnitude { p: Norm::L2, unit: Some(Unit::Channel) };
    for (criterion, spelling) in [
        (Builtin::Magnitude(Magnitude::default()), json!({ "magnitude": { "p": 1 } })),
        (Builtin::Magnitude(magnitude), json!({ "magnitude": { "p": 2, "unit": "channel" } })),
        (Builtin::Random(Random { seed: 3, unit: None }), json!({ "random": { "seed": 3 } })),
    ] {
        assert_eq!(serde_json::to_value(&criterion).unwrap(), spelling);
        assert_eq!(read(spelling), Ok(criterion.clone()));
        assert!(TABLE.iter().any(|entry| entry.name == criterion.name()), "{}", criterion.name());
    }
    assert_eq!(read(json!({ "magnitude": {} })), Ok(Builtin::Magnitude(Magnitude::default())));
    assert_eq!(Builtin::Magnitude(magnitude).unit(), Some(Unit::Channel));
    for (spelling, complaint) in [
        (json!({ "magnitude": { "p": 3 } }), "exponent `p` is 3, expected 1 or 2"),
        (json!({ "magnitude": { "q": 1 } }), "unknown field `q`"),
        (json!({ "magnitude": { "unit": "row" } }), "unknown variant `row`"),
        (json!({ "magnitudes": {} }), "unknown variant `magnitudes`, expected one of `magnitude`"),
        (json!({ "threshold": {} }), "expected one of `value` and `sigma`, found neither"),
        (json!({ "threshold": { "value": 1.0, "sigma": 1.0 } }), "`value` and `sigma`, found both"),
        (json!({ "threshold": { "value": -1.0 } }), "-1 is out of range, expected a number of at least 0"),
        (json!({ "sparsegpt": { "bits": 0 } }), "`bits` is 0, expected 1 to 16"),
        (json!({ "sparsegpt": { "block-size": 0 } }), "nonzero"),
        (json!({ "taylor": { "form": "sum" } }), "unknown variant `sum`"),
        (json!({ "fpgm": { "unit": "channel" } }), "unknown field `unit`"),
    ] {
        let error = read(spelling).unwrap_err();
        assert!(error.contains(complaint), "{error}");
    }
    let knobs = |entry: &prune_core::Entry| match entry.name {
        "threshold" => json!({ "sigma": 1.0 }),
        _ => json!({}),
    };
    for entry in TABLE {
        let criterion = read(json!({ entry.name: knobs(entry) })).unwrap();
        assert_eq!(criterion.name(), entry.name);
        assert_eq!(criterion.entry(), entry);
        let written = serde_json::to_value(&criterion).unwrap();
        assert_eq!(read(written), Ok(criterion), "{}", entry.name);
        let by_unit = entry.knobs.iter().any(|knob| knob.name == "unit");
        assert_eq!(by_unit, entry.removes == prune_core::Removes::Any, "{}", entry.name);
        assert!(!entry.inputs.is_empty() && !entry.formula.is_empty() && !entry.when.is_empty());
    }
    let in_recipes: Vec<&str> =
        TABLE.iter().filter(|entry| entry.in_recipes()).map(|entry| entry.name).collect();
    assert_eq!(in_recipes, ["magnitude", "lamp", "random", "fpgm"]);
}

#[test]
fn patterns_are_read_from_a_line_of_words() {
    let read = |text: &str| text.parse::<Removal>().map_err(|error| error.to_string());
    for text in [
        "unstructured sparsity=0.9",
        "unstructured sparsity=0.9 scope=global",
        "keep=2 of=4",
        "block 4x1 sparsity=0.5",
        "rows sparsity=0.25",
        "columns sparsity=1",
        "channels sparsity=0.5",
    ] {
        assert_eq!(read(text).unwrap().to_string(), text);
    }
    assert_eq!(read(" unstructured   scope=local  sparsity=0.9"), read("unstructured sparsity=0.9"));
    assert_eq!(read("of=4 keep=2"), read("keep=2 of=4"));
    for (text, complaint) in [
        ("", "`` is no pattern: expected `unstructured sparsity=S`"),
        ("2:4", "expected `unstructured sparsity=S`"),
        ("unstructured", "there is no `sparsity=S`"),
        ("unstructured sparsity=half", "`sparsity` is `half`, expected a number"),
        ("unstructured sparsity=1.5", "sparsity is 1.5, expected a number in 0 ..= 1"),
        ("unstructured sparsity=NaN", "sparsity is NaN"),
        ("unstructured sparsity=0.5 scope=net", "`scope` is `net`, expected `local` or `global`"),
        ("unstructured sparsity=0.5 sparsity=0.5", "`sparsity` stands there twice"),
        ("unstructured sparsity=0.5 share=1", "`share` does not belong there"),
        ("rows sparsity=0.5 scope=global", "`scope` does not belong there"),
        ("rows columns sparsity=0.5", "`columns` does not belong there"),
        ("keep=2", "there is no `of=M`"),
        ("keep=5 of=4", "n:m pattern keeps 5 of 4"),
        ("keep=2 of=4 sparsity=0.5", "`sparsity` does not belong there"),
        ("block 4 sparsity=0.5", "expected a size of rows and columns behind `block`, such as `4x1`"),
        ("block 0x1 sparsity=0.5", "such as `4x1`"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(complaint), "{text}: {error}");
    }
}

#[test]
fn lists_of_equal_structure_are_ranked_together() {
    let scores = [vec![1.0, 5.0], vec![0.1, 0.2, 0.3], vec![2.0, 1.0]];
    let keep = select::keep_within(&["conv", "heads", "conv"], &scores, sparsity(0.5)).unwrap();
    // Of the convolutions 1.0 and 1.0 go, of the heads one: the other scale protects nobody.
    assert_eq!(keep, [vec![false, true], vec![false, true, true], vec![true, false]]);
    let keep = select::keep_together(&scores, sparsity(0.5)).unwrap();
    assert_eq!(keep, [vec![true, true], vec![false; 3], vec![true, true]]);
    // Of equal scores, the lower list's stays.
    let keep = select::keep_together(&[[1.0], [1.0]], sparsity(0.5)).unwrap();
    assert_eq!(keep, [[true], [false]]);
    let error = select::keep_within(&["a"], &[[1.0], [1.0]], sparsity(0.5)).unwrap_err();
    assert_eq!(error.to_string(), "`structures` has 1 entries, expected 2");
}

/// A criterion of someone else's: channels whose weights are spread out matter.
#[derive(Debug)]
struct Spread;

impl Criterion for Spread {
    fn name(&self) -> &str {
        "acme.spread"
    }

    fn unit(&self) -> Option<Unit> {
        None
    }

    fn scores(&self, inputs: &Inputs<'_>, unit: Unit) -> Result<Vec<f64>, Error> {
        if unit == Unit::Element {
            return Err(Error::Unit { criterion: self.name().into(), unit });
        }
        let spread = |row: &[f64]| {
            row.iter().fold(f64::MIN, |a, &b| a.max(b)) - row.iter().fold(f64::MAX, |a, &b| a.min(b))
        };
        Ok(inputs.weight()?.iter_rows().map(spread).collect())
    }
}

#[test]
fn a_criterion_can_come_from_outside() {
    let registry: Vec<Box<dyn Criterion>> =
        vec![Box::new(Builtin::Random(Random::default())), Box::new(Spread)];
    let matrix = Matrix::new("w", 2, 2, &[1.0, 3.0, 5.0, 5.0]).unwrap();
    let spread = registry.iter().find(|criterion| criterion.name() == "acme.spread").unwrap();
    assert_eq!(spread.scores(&Inputs::new(&matrix), Unit::Channel), Ok(vec![2.0, 0.0]));
    let error = spread.scores(&Inputs::new(&matrix), Unit::Element).unwrap_err();
    assert_eq!(error.to_string(), "criterion `acme.spread` has no scores for the unit `element`");
}

/// Scores with many ties.
fn tied_scores(len: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec((-3_i32..4).prop_map(|score| f64::from(score) / 2.0), len)
}

fn matrix_of_scores() -> impl Strategy<Value = (usize, usize, Vec<f64>)> {
    (1..9_usize, 1..17_usize).prop_flat_map(|(rows, columns)| {
        tied_scores(rows * columns).prop_map(move |scores| (rows, columns, scores))
    })
}

/// Whether no removed score beats a kept one, and of equal scores none is kept behind a removed one.
fn is_settled(scores: &[f64], mask: &[bool]) -> bool {
    let kept = (0..scores.len()).filter(|&index| mask[index]);
    kept.clone().all(|kept| {
        (0..scores.len()).filter(|&index| !mask[index]).all(|removed| {
            scores[kept] > scores[removed] || (scores[kept] == scores[removed] && kept < removed)
        })
    })
}

proptest! {
    #[test]
    fn unstructured_removes_exactly_what_it_says((rows, columns, scores) in matrix_of_scores(), share in 0.0..=1.0) {
        let pattern = Pattern::Unstructured(Unstructured::new(sparsity(share)));
        let mask = mask(&pattern, &scores, rows, columns).unwrap();
        let removed = mask.iter().filter(|&&kept| !kept).count();
        prop_assert_eq!(removed, (share * (rows * columns) as f64 + 1e-9).floor() as usize);
        prop_assert!(is_settled(&scores, &mask));
    }

    #[test]
    fn more_sparsity_removes_more_of_the_same(scores in tied_scores(40), a in 0..=40_usize, b in 0..=40_usize) {
        let (few, many) = (a.min(b), a.max(b));
        let (few, many) = (select::keep(&scores, few).unwrap(), select::keep(&scores, many).unwrap());
        prop_assert!(few.iter().zip(&many).all(|(few, many)| *few || !many));
    }

    #[test]
    fn every_group_keeps_exactly_its_number(
        (rows, columns, scores) in matrix_of_scores(),
        (keep, of) in (1..9_usize).prop_flat_map(|of| (1..=of, Just(of))),
    ) {
        let mask = mask(&Pattern::NM(NM::new(keep, of).unwrap()), &scores, rows, columns).unwrap();
        for (mask, scores) in mask.chunks(columns).zip(scores.chunks(columns)) {
            for (mask, scores) in mask.chunks(of).zip(scores.chunks(of)) {
                prop_assert_eq!(mask.iter().filter(|&&kept| kept).count(), keep.min(mask.len()));
                prop_assert!(is_settled(scores, mask));
            }
        }
    }

    #[test]
    fn every_output_unit_keeps_as_many_random_connections(
        (rows, columns, scores) in matrix_of_scores(),
        share in 0.0..=1.0,
        seed in 0..9_u64,
    ) {
        let random = Connections { sparsity: sparsity(share), seed };
        let mask = mask(&Pattern::Random(random), &scores, rows, columns).unwrap();
        for row in mask.chunks(columns) {
            let gone = row.iter().filter(|&&kept| !kept).count();
            prop_assert_eq!(gone, select::removed(sparsity(share), columns));
        }
    }

    #[test]
    fn blocks_go_as_a_whole(
        (rows, columns, scores) in matrix_of_scores(),
        height in 1..6_usize,
        width in 1..6_usize,
        share in 0.0..=1.0,
    ) {
        let block = Block {
            rows: NonZeroUsize::new(height).unwrap(),
            columns: NonZeroUsize::new(width).unwrap(),
            sparsity: sparsity(share),
        };
        let mask = mask(&Pattern::Block(block), &scores, rows, columns).unwrap();
        let (mut tiles, mut gone) = (0, 0);
        for top in (0..rows).step_by(height) {
            for left in (0..columns).step_by(width) {
                let down = top..rows.min(top + height);
                let cells = down.flat_map(|row| (left..columns.min(left + width)).map(move |column| (row, column)));
                let kept = cells.clone().filter(|&(row, column)| mask[row * columns + column]).count();
                prop_assert!(kept == 0 || kept == cells.count());
                tiles += 1;
                gone += usize::from(kept == 0);
            }
        }
        prop_assert_eq!(gone, select::removed(sparsity(share), tiles));
    }

    #[test]
    fn turning_a_weight_and_turning_it_back_changes_nothing(
        shape in prop::collection::vec(1..5_usize, 1..5),
        out in 0..4_usize,
    ) {
        let len: usize = shape.iter().product();
        let values: Vec<f64> = (0..len).map(|value| value as f64).collect();
        let out = out % shape.len();
        let matrix = Matrix::from_weight("w", &shape, &values, out).unwrap();
        prop_assert_eq!(matrix.rows(), shape[out]);
        prop_assert_eq!(matrix.to_stored(matrix.values()).unwrap(), values);
    }
}
