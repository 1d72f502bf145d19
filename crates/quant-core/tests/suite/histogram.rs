//! Histogram observers: the same result in any order and split, and ranges against torch's and against definitions.
use proptest::prelude::*;
use quant_core::*;
use serde_json::Value;

const SCHEMES: [&str; 4] =
    ["int8 tensor narrow", "int8 tensor affine", "uint8 tensor affine", "int8 channel narrow"];

fn scheme(text: &str) -> Scheme {
    text.parse().unwrap()
}

fn watched(bins: usize, batches: &[Vec<f32>], layout: &Layout) -> HistogramObserver {
    let mut observer = HistogramObserver::new(bins).unwrap();
    for batch in batches {
        observer.observe(batch, layout).unwrap();
    }
    observer
}

fn of(values: &[f32]) -> HistogramObserver {
    watched(HistogramObserver::BINS, &[values.to_vec()], &Layout::tensor(&[values.len()]))
}

fn merged(a: &HistogramObserver, b: &HistogramObserver) -> HistogramObserver {
    let mut both = a.clone();
    both.merge(b).unwrap();
    both
}

/// The state as its file would hold it, which tells −0 from 0.
fn state(observer: &HistogramObserver) -> String {
    serde_json::to_string(observer).unwrap()
}

fn range(observer: &HistogramObserver, search: Search, text: &str) -> (f32, f32) {
    let range = observer.range(&search, &scheme(text)).unwrap().unwrap();
    (range.min()[0], range.max()[0])
}

/// The bits of every search's range for every scheme.
fn ranges(observer: &HistogramObserver) -> Vec<u32> {
    let mut all = Vec::new();
    for search in Search::usual() {
        for text in SCHEMES {
            if let Ok(Some(range)) = observer.range(&search, &scheme(text)) {
                all.extend(range.min().iter().chain(range.max()).map(|x| x.to_bits()));
            }
        }
    }
    all
}

fn value() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => -8.0_f32..8.0,
        1 => Just(0.0),
        1 => Just(-0.0),
        1 => prop::sample::select(vec![1e-45, -1e-45, 1e-40, f32::MIN_POSITIVE, 0.5, -0.5, 4.0, -4.0, 1e30, -3e38, f32::MAX]),
        1 => any::<f32>().prop_filter("finite", |x| x.is_finite()),
    ]
}

fn batches(len: usize) -> impl Strategy<Value = Vec<Vec<f32>>> {
    prop::collection::vec(prop::collection::vec(value(), len), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn order_grouping_and_split_do_not_matter(
        a in batches(6),
        b in batches(6),
        c in batches(6),
        bins in prop::sample::select(vec![2_usize, 3, 16, 300]),
    ) {
        let layout = Layout::channel(&[2, 3], 1).unwrap();
        let of = |batches: &[Vec<f32>]| watched(bins, batches, &layout);
        let all: Vec<Vec<f32>> = a.iter().chain(&b).chain(&c).cloned().collect();
        let reversed: Vec<Vec<f32>> = all.iter().rev().cloned().collect();
        // The same values as rows of half the length.
        let half = Layout::channel(&[1, 3], 1).unwrap();
        let halves: Vec<Vec<f32>> = all.iter().flat_map(|x| x.chunks(3).map(<[f32]>::to_vec)).collect();
        // And as one batch.
        let one = Layout::channel(&[2 * all.len(), 3], 1).unwrap();
        let whole = of(&all);
        let (a, b, c) = (of(&a), of(&b), of(&c));
        for (other, what) in [
            (of(&reversed), "order"),
            (watched(bins, &halves, &half), "halves"),
            (watched(bins, &[all.concat()], &one), "one batch"),
            (merged(&merged(&a, &b), &c), "(a b) c"),
            (merged(&a, &merged(&b, &c)), "a (b c)"),
            (merged(&c, &merged(&b, &a)), "c (b a)"),
        ] {
            prop_assert_eq!(&whole, &other, "{}", what);
            prop_assert_eq!(state(&whole), state(&other), "{}", what);
            if what == "c (b a)" {
                prop_assert_eq!(ranges(&whole), ranges(&other), "{}", what);
            }
        }
        let again: HistogramObserver = serde_json::from_str(&state(&whole)).unwrap();
        prop_assert_eq!(&again, &whole, "read back");
    }

    #[test]
    fn every_value_is_counted_where_it_belongs(values in prop::collection::vec(value(), 1..60), bins in 2..40_usize) {
        let observer = watched(bins, std::slice::from_ref(&values), &Layout::tensor(&[values.len()]));
        let histogram = &observer.histograms()[0];
        prop_assert!(histogram.counts().len() <= bins);
        prop_assert_eq!(histogram.total(), values.len() as u64);
        prop_assert_eq!(histogram.zeros(), values.iter().filter(|x| **x == 0.0).count() as u64);
        for (i, &count) in histogram.counts().iter().enumerate() {
            let low = (histogram.first() + i as i64) as f64 * histogram.width();
            let inside = |x: &&f32| (low..low + histogram.width()).contains(&f64::from(**x));
            prop_assert_eq!(count, values.iter().filter(inside).count() as u64);
        }
        // No finer grid would do: half the width takes more bins, or splits below the last bit.
        let half = histogram.width() / 2.0;
        let at = |x: f32| (f64::from(x) / half).floor();
        let largest = f64::from(histogram.min().abs().max(histogram.max().abs()));
        let needed = at(histogram.max()) - at(histogram.min()) + 1.0;
        prop_assert!(needed > bins as f64 || half < largest * 2.0_f64.powi(-23) || half < 2.0_f64.powi(-149));
    }

    #[test]
    fn ranges_lie_inside_the_extremes(values in prop::collection::vec(-50.0_f32..50.0, 1..300)) {
        let observer = of(&values);
        let low = values.iter().copied().fold(f32::INFINITY, f32::min);
        let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for search in Search::usual() {
            for text in SCHEMES {
                let (min, max) = range(&observer, search, text);
                // A factor shrinks toward zero, which a range away from zero does not contain.
                let (low, high) = match search {
                    Search::Mse { .. } => (low.min(0.0), high.max(0.0)),
                    _ => (low, high),
                };
                prop_assert!(low <= min && min <= max && max <= high, "{search:?} {text}: {min} .. {max}");
            }
        }
    }
}

#[test]
fn memory_is_flat_over_ten_thousand_batches() {
    let layout = Layout::tensor(&[64]);
    let mut random = Lcg(7);
    let mut observer = HistogramObserver::new(512).unwrap();
    let (mut longest, mut at_hundred, mut resident) = (0, 0, None);
    for number in 0..10_000_u32 {
        // The range keeps growing, so that the grid does too.
        let size = 1.0 + number as f32 / 50.0;
        let batch: Vec<f32> = (0..64).map(|_| random.normal() as f32 * size).collect();
        observer.observe(&batch, &layout).unwrap();
        longest = longest.max(observer.histograms()[0].counts().len());
        if number == 100 {
            at_hundred = state(&observer).len();
            resident = resident_pages();
        }
    }
    assert!(longest <= 512, "{longest} bins");
    assert_eq!(observer.histograms()[0].total(), 640_000);
    // The counts grow by digits, their number does not.
    assert!(state(&observer).len() < at_hundred * 6, "{} after {at_hundred}", state(&observer).len());
    if let (Some(before), Some(after)) = (resident, resident_pages()) {
        assert!(after < before + 1024, "{before} pages, then {after}");
    }
}

/// Resident pages of this process, where the system says.
fn resident_pages() -> Option<u64> {
    std::fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn constants_zeros_outliers_and_subnormals_have_usable_ranges() {
    let mut outlier: Vec<f32> = (0..2000).map(|i| (i as f32 - 1000.0) / 1000.0).collect();
    outlier.push(1e6);
    let tiny: Vec<f32> = (-300..300).map(|i| i as f32 * 1e-45).collect();
    for (what, values) in [
        ("a constant", vec![0.3; 100]),
        ("a negative constant", vec![-7.5; 3]),
        ("zeros", vec![0.0; 50]),
        ("zeros of both signs", vec![0.0, -0.0]),
        ("one value", vec![1.0]),
        ("one outlier", outlier),
        ("subnormals", tiny),
        ("the smallest", vec![1e-45, 0.0]),
        ("the largest", vec![1e38, -1e38, 1.0, 0.0]),
    ] {
        let observer = of(&values);
        for search in Search::usual() {
            for text in SCHEMES {
                let range = observer.range(&search, &scheme(text)).unwrap().unwrap();
                let qparams = QParams::from_range(&range, &scheme(text)).unwrap();
                let layout = Layout::tensor(&[values.len()]);
                let codes = quantize(&values, &layout, &qparams).unwrap();
                let back = dequantize(&codes, &layout, &qparams).unwrap();
                assert!(back.iter().all(|x| x.is_finite()), "{what}, {search:?}, {text}");
                if what.ends_with("constant") && values[0] != 0.0 {
                    let off = (back[0] - values[0]).abs() / values[0].abs();
                    assert!(off < 0.01, "{what}, {search:?}, {text}: {} became {}", values[0], back[0]);
                }
                if what.starts_with("zeros") {
                    assert!(back.iter().all(|x| x.to_bits() == 0), "{what}, {search:?}, {text}");
                }
            }
        }
    }
}

#[test]
fn a_percentile_leaves_an_outlier_out_and_zero_cells_alone() {
    let mut values: Vec<f32> = (0..30_000).map(|i| (i % 1000) as f32 / 1000.0).collect();
    values.push(1e4);
    let (min, max) = range(&of(&values), Search::percentile(0.9999).unwrap(), "int8 tensor affine");
    assert!(min == 0.0 && (0.9..=4.0).contains(&max), "{min} .. {max}");
    let all = range(&of(&values), Search::percentile(1.0).unwrap(), "int8 tensor affine");
    assert_eq!(all, (0.0, 1e4));
    assert_eq!(range(&of(&[3.0, 5.0]), Search::percentile(1e-9).unwrap(), "int8 tensor affine").0, 3.0);
}

#[test]
fn a_flood_of_zeros_decides_nothing() {
    let mut random = Lcg(3);
    let values: Vec<f32> = (0..20_000).map(|_| (random.normal() as f32).max(1e-3)).collect();
    let mut flooded = vec![0.0; 60_000];
    flooded.extend(&values);
    let mut one = values;
    one.push(0.0);
    for text in SCHEMES {
        for search in [Search::Entropy, Search::mse(2.4, 100).unwrap(), Search::mse(2.0, 20).unwrap()] {
            assert_eq!(range(&of(&one), search, text), range(&of(&flooded), search, text), "{search:?}");
        }
    }
}

#[test]
fn channels_are_observed_as_if_alone() {
    let mut random = Lcg(4);
    let layout = Layout::channel(&[4, 3, 50], 1).unwrap();
    let values: Vec<f32> =
        (0..600).map(|i| random.normal() as f32 * [0.01, 1.0, 300.0][layout.cell(i)]).collect();
    let together = watched(HistogramObserver::BINS, std::slice::from_ref(&values), &layout);
    for channel in 0..3 {
        let own: Vec<f32> = (0..600).filter(|i| layout.cell(*i) == channel).map(|i| values[i]).collect();
        assert_eq!(together.histograms()[channel], of(&own).histograms()[0]);
        for search in Search::usual() {
            let all = together.range(&search, &scheme("int8 channel narrow")).unwrap().unwrap();
            let alone = range(&of(&own), search, "int8 channel narrow");
            assert_eq!((all.min()[channel], all.max()[channel]), alone, "{search:?}");
        }
    }
}

#[test]
fn what_cannot_be_taken_in_is_refused_and_changes_nothing() {
    let layout = Layout::tensor(&[2]);
    let mut observer = watched(16, &[vec![-1.0, 2.0]], &layout);
    let before = observer.clone();
    for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        match observer.observe(&[1e9, bad], &layout) {
            Err(Error::NotFinite { index: 1, value }) => assert_eq!(value.to_bits(), bad.to_bits()),
            other => panic!("{bad} gave {other:?}"),
        }
    }
    let two = Layout::channel(&[2], 0).unwrap();
    let cells = |expected, found| Err(Error::Cells { what: "histograms", expected, found });
    assert_eq!(observer.observe(&[0.0, 1e9], &two), cells(1, 2));
    assert_eq!(observer.merge(&watched(16, &[vec![1e9, 1.0]], &two)), cells(1, 2));
    let coarse = watched(8, &[vec![1e9, 1.0]], &layout);
    assert_eq!(observer.merge(&coarse), Err(Error::Bins { left: 16, right: 8 }));
    assert_eq!(observer.observe(&[], &Layout::tensor(&[0])), Ok(()), "nothing to see");
    assert_eq!(observer.merge(&HistogramObserver::new(16).unwrap()), Ok(()), "nothing to add");
    assert_eq!(observer, before);
    let none = HistogramObserver::new(16).unwrap().range(&Search::L2, &scheme("int8 tensor affine"));
    assert_eq!(none, Ok(None));
    assert!(matches!(HistogramObserver::new(1), Err(Error::Setting { what: "bins", .. })));
    for (search, name) in [
        (Search::Percentile { share: 0.0 }, "share"),
        (Search::Percentile { share: f64::NAN }, "share"),
        (Search::Mse { norm: 0.0, steps: 10 }, "norm"),
        (Search::Mse { norm: 2.0, steps: 0 }, "steps"),
    ] {
        match observer.range(&search, &scheme("int8 tensor affine")) {
            Err(Error::Setting { what: knob, .. }) => assert_eq!(knob, name),
            other => panic!("{search:?} gave {other:?}"),
        }
    }
    assert!(matches!(Search::percentile(1.5), Err(Error::Setting { what: "share", .. })));
    assert!(matches!(Search::mse(2.0, 10_001), Err(Error::Setting { what: "steps", .. })));
}

#[test]
fn a_stored_state_is_checked_when_it_is_read() {
    let legal = state(&watched(4, &[vec![0.0, 3.0, 1.0, 1.5]], &Layout::tensor(&[4])));
    assert_eq!(legal, r#"{"bins":4,"cells":[{"bins":4,"min":0.0,"max":3.0,"zeros":1,"counts":[1,2,0,1]}]}"#);
    for (from, to, message) in [
        ("[1,2,0,1]", "[1,2,1]", "as many counts as there are bins"),
        ("[1,2,0,1]", "[1,2,0,0]", "a value in the bins of both extremes"),
        ("\"zeros\":1", "\"zeros\":2", "no more zeros than"),
        ("3.0", "-3.0", "expected a range"),
        ("{\"bins\":4,\"min\"", "{\"bins\":5,\"min\"", "expected"),
        ("{\"bins\":4,\"cells\"", "{\"bins\":1,\"cells\"", "expected bins from 2"),
    ] {
        assert!(legal.contains(from), "{from}");
        let error = serde_json::from_str::<HistogramObserver>(&legal.replacen(from, to, 1)).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn the_table_of_searches_names_every_rule() {
    let names: Vec<&str> = SEARCHES.iter().map(|row| row.name).collect();
    assert_eq!(names, Search::usual().map(Search::name));
    for search in Search::usual() {
        let text = serde_json::to_string(&search).unwrap();
        assert!(text.contains(search.name()));
        assert_eq!(serde_json::from_str::<Search>(&text).unwrap(), search);
    }
    let usual = |text: &str| serde_json::from_str::<Search>(text).unwrap();
    assert_eq!(usual(r#"{"percentile":{}}"#), Search::usual()[0]);
    assert_eq!(usual(r#"{"mse":{}}"#), Search::usual()[2]);
}

/// The generator of tools/golden/quant_observers.py.
struct Lcg(u64);

impl Lcg {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn uniform(&mut self) -> f64 {
        (self.bits() >> 7) as f64 / f64::from(1 << 24)
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.bits() >> 7).sum::<u64>() as f64 / f64::from(1 << 24) - 6.0
    }
}

fn values(name: &str, count: usize) -> Vec<f32> {
    let mut lcg = Lcg(11);
    let mut value = || match name {
        "normal" => lcg.normal(),
        "relu" => lcg.normal().max(0.0),
        "heavy" => {
            let x = lcg.normal();
            x * x * x
        }
        "outliers" => {
            let x = lcg.normal();
            if lcg.bits().is_multiple_of(1000) { x * 20.0 } else { x }
        }
        "skewed" => lcg.uniform() * lcg.uniform() * 4.0 - 0.3,
        other => panic!("{other}"),
    };
    (0..count).map(|_| value() as f32).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn cases() -> Vec<(String, Value, HistogramObserver)> {
    let golden: Value = serde_json::from_str(include_str!("../golden/observers.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 5);
    let count = golden["header"]["count"].as_u64().unwrap() as usize;
    let case = |case: &Value| {
        let name = case["name"].as_str().unwrap();
        let values = values(name, count);
        let sum: f64 = values.iter().map(|x| f64::from(*x)).sum();
        assert!((sum - number(&case["sum"])).abs() < 1e-6, "{name}: the generators differ");
        let observer = of(&values);
        assert_eq!(observer.histograms()[0].min(), number(&case["min"]) as f32, "{name}");
        assert_eq!(observer.histograms()[0].max(), number(&case["max"]) as f32, "{name}");
        (name.to_string(), case.clone(), observer)
    };
    cases.iter().map(case).collect()
}

#[test]
fn l2_ranges_are_torchs_within_a_bin() {
    for (name, case, observer) in cases() {
        let (min, max) = range(&observer, Search::L2, "int8 tensor affine");
        let golden = &case["l2"]["whole"];
        let bin = number(&golden["bin"]);
        assert!(observer.histograms()[0].width() <= bin * 1.0001, "{name}: as fine as torch's");
        let off = |found: f32, key: &str| (f64::from(found) - number(&golden[key])).abs() / bin;
        assert!(off(min, "min") <= 1.0 && off(max, "max") <= 1.0, "{name}: {min} .. {max}, torch {golden}");
    }
}

#[test]
fn percentiles_are_order_statistics_within_a_bin() {
    for (name, case, observer) in cases() {
        let width = observer.histograms()[0].width();
        for golden in case["quantiles"].as_array().unwrap() {
            let search = Search::percentile(number(&golden["share"])).unwrap();
            let (min, max) = range(&observer, search, "int8 tensor affine");
            let exact = |key: &str| f64::from(number(&golden[key]) as f32);
            let (low, high) = (exact("min") - f64::from(min), f64::from(max) - exact("max"));
            assert!(
                (0.0..=width).contains(&low) && (0.0..=width).contains(&high),
                "{name}: {golden}, {min} .. {max}"
            );
        }
    }
}

#[test]
fn entropy_ranges_are_those_of_the_definition() {
    for (name, case, observer) in cases() {
        for (text, golden) in case["entropy"].as_object().unwrap() {
            let expected = (number(&golden[0]) as f32, number(&golden[1]) as f32);
            assert_eq!(range(&observer, Search::Entropy, text), expected, "{name} {text}");
        }
    }
}

#[test]
fn mse_ranges_have_the_least_true_error_within_half_a_percent() {
    for (name, case, observer) in cases() {
        for (text, golden) in case["mse"].as_object().unwrap() {
            let (_, max) = range(&observer, Search::mse(2.4, 100).unwrap(), text);
            let factor = f64::from(max) / number(&case["max"]);
            let errors: Vec<f64> = golden.as_array().unwrap().iter().map(number).collect();
            let ours = errors[((1.0 - factor) * 100.0).round() as usize];
            let best = errors.iter().copied().fold(f64::INFINITY, f64::min);
            assert!(ours <= best * 1.005, "{name} {text}: factor {factor} has {ours}, the best {best}");
        }
    }
}

#[test]
fn extremes_by_channel_are_torchs() {
    let golden: Value = serde_json::from_str(include_str!("../golden/observers.json")).unwrap();
    let values = values("normal", 600);
    let layout = Layout::channel(&[1, 12, 5], 1).unwrap();
    let mut observer = Observer::new(ObserverSpec::MinMax);
    for batch in values.chunks(60) {
        observer.observe(batch, &layout).unwrap();
    }
    let floats = |key: &str| -> Vec<f32> {
        golden["channels"][key].as_array().unwrap().iter().map(|x| number(x) as f32).collect()
    };
    assert_eq!(observer.range(), Some(&Range::new(floats("min"), floats("max")).unwrap()));
}
