//! Observers: order, merging, state, and what they refuse.
use proptest::prelude::*;
use quant_core::*;

fn observer(spec: ObserverSpec, batches: &[Vec<f32>], layout: &Layout) -> Observer {
    let mut observer = Observer::new(spec);
    for batch in batches {
        observer.observe(batch, layout).unwrap();
    }
    observer
}

fn merged(a: &Observer, b: &Observer) -> Observer {
    let mut both = a.clone();
    both.merge(b).unwrap();
    both
}

/// The state as its file would hold it, which tells −0 from 0.
fn state(observer: &Observer) -> String {
    serde_json::to_string(observer).unwrap()
}

fn batches() -> impl Strategy<Value = Vec<Vec<f32>>> {
    let value = prop_oneof![
        -1e3_f32..1e3,
        Just(0.0),
        Just(-0.0),
        any::<f32>().prop_filter("finite", |x| x.is_finite())
    ];
    prop::collection::vec(prop::collection::vec(value, 6), 0..5)
}

proptest! {
    #[test]
    fn min_max_depends_on_no_order_and_no_grouping(a in batches(), b in batches(), c in batches()) {
        let layout = Layout::channel(&[2, 3], 1).unwrap();
        let of = |batches: &[Vec<f32>]| observer(ObserverSpec::MinMax, batches, &layout);
        let all: Vec<Vec<f32>> = a.iter().chain(&b).chain(&c).cloned().collect();
        let reversed: Vec<Vec<f32>> = all.iter().rev().cloned().collect();
        let whole = state(&of(&all));
        let (a, b, c) = (of(&a), of(&b), of(&c));
        prop_assert_eq!(&whole, &state(&of(&reversed)), "order");
        prop_assert_eq!(&whole, &state(&merged(&merged(&a, &b), &c)), "(a b) c");
        prop_assert_eq!(&whole, &state(&merged(&a, &merged(&b, &c))), "a (b c)");
        prop_assert_eq!(&whole, &state(&merged(&c, &merged(&b, &a))), "c (b a)");
        prop_assert_eq!(&state(&a), &state(&merged(&a, &a)), "twice the same");
    }

    #[test]
    fn a_state_read_back_goes_on_with_the_same_bits(
        before in batches(),
        after in batches(),
        decay in prop::sample::select(vec![0.0, 0.5, 0.9, 0.99, 0.999]),
    ) {
        let layout = Layout::channel(&[2, 3], 1).unwrap();
        for spec in [ObserverSpec::MinMax, ObserverSpec::moving_average(decay).unwrap()] {
            let mut running = observer(spec, &before, &layout);
            let mut resumed: Observer = serde_json::from_str(&state(&running)).unwrap();
            for batch in &after {
                running.observe(batch, &layout).unwrap();
                resumed.observe(batch, &layout).unwrap();
            }
            prop_assert_eq!(&running, &resumed);
            prop_assert_eq!(state(&running), state(&resumed));
        }
    }

    #[test]
    fn a_moving_average_stays_a_range_inside_what_was_seen(all in batches(), decay in 0.0..1.0_f64) {
        let layout = Layout::tensor(&[6]);
        let average = observer(ObserverSpec::moving_average(decay).unwrap(), &all, &layout);
        let whole = observer(ObserverSpec::MinMax, &all, &layout);
        if let (Some(average), Some(whole)) = (average.range(), whole.range()) {
            prop_assert!(average.min()[0] <= average.max()[0]);
            prop_assert!(whole.min()[0] <= average.min()[0] && average.max()[0] <= whole.max()[0]);
        }
    }

    #[test]
    fn parameters_survive_their_text(bits in prop::collection::vec(1_u32..0x7f80_0000, 1..50)) {
        let scale: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let qparams = QParams { zero_point: vec![-3; scale.len()], scale, qmin: -128, qmax: 127 };
        let again: QParams = serde_json::from_str(&serde_json::to_string(&qparams).unwrap()).unwrap();
        prop_assert_eq!(again, qparams);
    }
}

#[test]
fn a_moving_average_starts_with_the_first_batch_and_follows() {
    let batches = [vec![-1.0, 1.0], vec![-3.0, 2.0], vec![0.0, 0.5]];
    let observer = observer(ObserverSpec::MovingAverage { decay: 0.9 }, &batches, &Layout::tensor(&[2]));
    // −1; −1 + 0.1·(−3 + 1) = −1.2; −1.2 + 0.1·(0 + 1.2) = −1.08. 1; 1.1; 1.04.
    let range = observer.range().unwrap();
    assert!((range.min()[0] + 1.08).abs() < 1e-6 && (range.max()[0] - 1.04).abs() < 1e-6, "{range:?}");
}

#[test]
fn rounding_does_not_turn_a_narrow_moving_range_inside_out() {
    // old + rate·(new − old) falls here in 32-bit floats although `old` grows by three last bits.
    let [low, high, new] = [1_036_544_768, 1_036_544_771, 1_107_983_715].map(f32::from_bits);
    let step = |old: f32| old + 0.01_f32 * (new - old);
    assert!(step(low) > step(high), "the trap itself");
    let batches = [vec![low, high], vec![new, new]];
    let observer = observer(ObserverSpec::MovingAverage { decay: 0.99 }, &batches, &Layout::tensor(&[2]));
    assert_eq!(observer.range().unwrap(), &Range::new(vec![step(low)], vec![step(low)]).unwrap());
}

#[test]
fn a_distance_that_overflows_stays_finite() {
    let batches = [vec![-3e38, -2e38], vec![2e38, 3e38]];
    let observer = observer(ObserverSpec::MovingAverage { decay: 0.5 }, &batches, &Layout::tensor(&[2]));
    assert_eq!(observer.range().unwrap(), &Range::new(vec![2e38], vec![3e38]).unwrap());
}

#[test]
fn a_batch_that_is_refused_changes_nothing() {
    let layout = Layout::tensor(&[2]);
    for spec in [ObserverSpec::MinMax, ObserverSpec::MovingAverage { decay: 0.9 }] {
        let mut watching = observer(spec, &[vec![-1.0, 2.0]], &layout);
        let before = watching.clone();
        for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            match watching.observe(&[0.0, bad], &layout) {
                Err(Error::NotFinite { index: 1, value }) => assert_eq!(value.to_bits(), bad.to_bits()),
                other => panic!("{bad} gave {other:?}"),
            }
        }
        let two = Layout::channel(&[2], 0).unwrap();
        assert_eq!(
            watching.observe(&[0.0, 1.0], &two),
            Err(Error::Cells { what: "ranges", expected: 1, found: 2 })
        );
        assert_eq!(watching.observe(&[], &Layout::tensor(&[0])), Ok(()), "nothing to see");
        assert_eq!(watching, before);
    }
    assert_eq!(Observer::new(ObserverSpec::MinMax).range(), None);
}

#[test]
fn a_moving_average_does_not_merge() {
    let moving = Observer::new(ObserverSpec::MovingAverage { decay: 0.9 });
    let mut fixed = Observer::new(ObserverSpec::MinMax);
    assert_eq!(fixed.merge(&moving), Err(Error::Merge { left: "min-max", right: "moving-average" }));
}

#[test]
fn a_decay_out_of_range_is_refused() {
    let parse = |text: &str| serde_json::from_str::<ObserverSpec>(text).map_err(|error| error.to_string());
    assert_eq!(parse(r#"{"moving-average":{}}"#), Ok(ObserverSpec::MovingAverage { decay: 0.99 }));
    assert_eq!(parse(r#""min-max""#), Ok(ObserverSpec::MinMax));
    assert!(parse(r#"{"moving-average":{"decay":1.0}}"#).unwrap_err().contains("from 0 to below 1"));
    for found in [-0.1, 1.0] {
        assert_eq!(ObserverSpec::moving_average(found), Err(Error::Decay { found }));
        let mut wrong = Observer::new(ObserverSpec::MovingAverage { decay: found });
        let range = Range::new(vec![0.0], vec![1.0]).unwrap();
        wrong.see(&range).unwrap();
        assert_eq!(wrong.see(&range), Err(Error::Decay { found }), "a rule that was built by hand");
    }
}

#[test]
fn the_table_of_observers_names_every_rule() {
    let names: Vec<&str> = OBSERVERS.iter().map(|row| row.name).collect();
    let rules = [ObserverSpec::MinMax, ObserverSpec::moving_average(0.5).unwrap()];
    assert_eq!(names, rules.map(ObserverSpec::name));
    for rule in rules {
        assert!(serde_json::to_string(&rule).unwrap().contains(rule.name()));
    }
}
