//! Schedules: formulas, ends, bounds, and that they go one way.

use kd_core::{Curve, Error, OneCycle, Progress, Ramp, Schedule};
use proptest::prelude::*;

use crate::support::assert_close;

const CURVES: [Curve; 5] = [Curve::Linear, Curve::Cosine, Curve::Cubic, Curve::Exponential, Curve::Geometric];

fn at(schedule: &Schedule, t: f64) -> f64 {
    schedule.at(Progress::new(t).unwrap())
}

#[test]
fn every_schedule_follows_its_formula() {
    struct Case(&'static str, f64, f64);
    let cases = [
        Case("0.25", 0.7, 0.25),
        Case("3", 0.0, 3.0),
        Case("{ constant = { value = -2.5 } }", 1.0, -2.5),
        Case("{ linear = { from = 1.0, to = 0.5 } }", 0.25, 0.875),
        Case("{ linear = { from = 0, to = 10, begin = 0.2, end = 0.7 } }", 0.3, 2.0),
        Case("{ linear = { from = 0, to = 10, begin = 0.2, end = 0.7 } }", 0.1, 0.0),
        Case("{ linear = { from = 0, to = 10, begin = 0.2, end = 0.7 } }", 0.9, 10.0),
        Case("{ cosine = { from = 1.0, to = 0.0 } }", 0.5, 0.5),
        Case("{ cosine = { from = 1.0, to = 0.0 } }", 1.0 / 3.0, 0.75),
        Case("{ cubic = { from = 0.0, to = 0.8 } }", 0.5, 0.7),
        Case("{ cubic = { from = 0.2, to = 0.8, end = 0.5 } }", 0.25, 0.725),
        // Density from 1 to 0.01: a tenth at half time.
        Case("{ exponential = { from = 0.0, to = 0.99 } }", 0.5, 0.9),
        Case("{ exponential = { from = -1.0, to = 0.5 } }", 0.5, 0.0),
        Case("{ geometric = { from = 1e-2, to = 1e-6 } }", 0.5, 1e-4),
        Case("{ geometric = { from = 1, to = 8 } }", 2.0 / 3.0, 4.0),
        Case("{ step = { at = [0.0, 0.5, 0.75], values = [1.0, 0.1, 0.01] } }", 0.49, 1.0),
        Case("{ step = { at = [0.0, 0.5, 0.75], values = [1.0, 0.1, 0.01] } }", 0.5, 0.1),
        Case("{ step = { at = [0.0, 0.5, 0.75], values = [1.0, 0.1, 0.01] } }", 1.0, 0.01),
        Case("{ step = { at = [0.5], values = [7.0] } }", 0.25, 0.0),
        Case("{ one-cycle = { peak = 1.0 } }", 0.0, 0.04),
        Case("{ one-cycle = { peak = 1.0 } }", 0.3, 1.0),
        Case("{ one-cycle = { peak = 1.0 } }", 1.0, 4e-6),
        Case("{ one-cycle = { peak = 1.0 } }", 0.15, 0.52),
        Case("{ one-cycle = { peak = 2.0, warm-up = 0.5, start-factor = 2, end-factor = 2 } }", 0.75, 1.25),
        Case("{ one-cycle = { peak = 2.0, warm-up = 0 } }", 0.0, 2.0),
        Case("{ warm-up = { share = 0.2, then = 5.0 } }", 0.05, 1.25),
        Case("{ warm-up = { share = 0.2, then = { linear = { from = 1.0, to = 0.0 } } } }", 0.1, 0.5),
        Case("{ warm-up = { share = 0.2, then = { linear = { from = 1.0, to = 0.0 } } } }", 0.2, 1.0),
        Case("{ warm-up = { share = 0.2, then = { linear = { from = 1.0, to = 0.0 } } } }", 0.6, 0.5),
        Case("{ warm-up = { share = 0.0, then = 5.0 } }", 0.0, 5.0),
        Case("{ sequence = [[0.5, 1.0], [1.0, { linear = { from = 0.0, to = 4.0 } }]] }", 0.25, 1.0),
        Case("{ sequence = [[0.5, 1.0], [1.0, { linear = { from = 0.0, to = 4.0 } }]] }", 0.5, 0.0),
        Case("{ sequence = [[0.5, 1.0], [1.0, { linear = { from = 0.0, to = 4.0 } }]] }", 0.75, 2.0),
        Case("{ sequence = [[0.5, 1.0], [1.0, { linear = { from = 0.0, to = 4.0 } }]] }", 1.0, 4.0),
        Case("{ sequence = [[1.0, { cubic = { from = 1.0, to = 0.0 } }]] }", 0.5, 0.125),
    ];
    for Case(text, t, expected) in cases {
        let schedule = crate::schedule_grammar::parse(text).unwrap();
        let what = format!("{text} at {t}");
        assert_close(&what, &[at(&schedule, t)], &[expected], 1e-14);
    }
}

#[test]
fn constructors_make_what_recipes_write() {
    let parse = |text| crate::schedule_grammar::parse(text).unwrap();
    assert_eq!(Schedule::constant(2.0).unwrap(), parse("2"));
    assert_eq!(Schedule::linear(1.0, 0.0).unwrap(), parse("{ linear = { from = 1, to = 0 } }"));
    assert_eq!(Schedule::cosine(1.0, 0.0).unwrap(), parse("{ cosine = { from = 1, to = 0 } }"));
    let ramp = Ramp::new(0.0, 0.5).and_then(|ramp| ramp.between(0.1, 0.9)).unwrap();
    assert_eq!(
        Schedule::ramp(Curve::Cubic, ramp).unwrap(),
        parse("{ cubic = { from = 0, to = 0.5, begin = 0.1, end = 0.9 } }")
    );
    assert_eq!(
        Schedule::step(&[0.0, 0.5], &[1.0, 0.1]).unwrap(),
        parse("{ step = { at = [0, 0.5], values = [1, 0.1] } }")
    );
    let cycle = OneCycle::new(4e-3).and_then(|cycle| cycle.with_warm_up(0.2)).unwrap();
    assert_eq!(Schedule::one_cycle(cycle), parse("{ one-cycle = { peak = 4e-3, warm-up = 0.2 } }"));
    assert_eq!(
        Schedule::warm_up(0.1, Schedule::linear(1.0, 0.0).unwrap()).unwrap(),
        parse("{ warm-up = { share = 0.1, then.linear = { from = 1, to = 0 } } }")
    );
    assert_eq!(
        Schedule::sequence(vec![
            (0.5, Schedule::constant(1.0).unwrap()),
            (1.0, Schedule::constant(0.0).unwrap())
        ])
        .unwrap(),
        parse("{ sequence = [[0.5, 1.0], [1.0, 0.0]] }")
    );
}

#[test]
fn impossible_schedules_are_refused() {
    let out_of_range = |name, expected, found| Error::OutOfRange { name, expected, found };
    assert!(matches!(Schedule::constant(f64::NAN), Err(Error::OutOfRange { name: "value", .. })));
    assert_eq!(Ramp::new(f64::INFINITY, 0.0).unwrap_err(), out_of_range("from", "finite", f64::INFINITY));
    let ramp = Ramp::new(0.0, 1.0).unwrap();
    assert_eq!(ramp.between(0.5, 0.5).unwrap_err(), Error::EmptyRange { begin: 0.5, end: 0.5 });
    assert_eq!(ramp.between(0.0, 1.5).unwrap_err(), out_of_range("progress", "from 0 to 1", 1.5));
    assert_eq!(
        Schedule::ramp(Curve::Exponential, ramp).unwrap_err(),
        Error::ExponentialRange { from: 0.0, to: 1.0 }
    );
    assert_eq!(
        Schedule::ramp(Curve::Geometric, ramp).unwrap_err(),
        Error::GeometricRange { from: 0.0, to: 1.0 }
    );
    assert_eq!(Schedule::step(&[0.1], &[]).unwrap_err(), Error::StepLengths { at: 1, values: 0 });
    assert_eq!(Schedule::step(&[], &[]).unwrap_err(), Error::NoPieces { schedule: "step" });
    assert_eq!(
        Schedule::step(&[0.5, 0.5], &[1.0, 2.0]).unwrap_err(),
        Error::NotAscending { schedule: "step", previous: 0.5, found: 0.5 }
    );
    let one = || Schedule::constant(1.0).unwrap();
    assert_eq!(Schedule::sequence(vec![]).unwrap_err(), Error::NoPieces { schedule: "sequence" });
    assert_eq!(Schedule::sequence(vec![(0.9, one())]).unwrap_err(), Error::SequenceEnd { found: 0.9 });
    assert_eq!(
        Schedule::sequence(vec![(0.0, one()), (1.0, one())]).unwrap_err(),
        Error::NotAscending { schedule: "sequence", previous: 0.0, found: 0.0 }
    );
    assert_eq!(
        Schedule::sequence(vec![(1.0, one()), (0.5, one())]).unwrap_err(),
        Error::NotAscending { schedule: "sequence", previous: 1.0, found: 0.5 }
    );
    assert_eq!(Schedule::warm_up(1.0, one()).unwrap_err(), out_of_range("share", "from 0 to below 1", 1.0));
    assert_eq!(OneCycle::new(0.0).unwrap_err(), out_of_range("peak", "finite and above 0", 0.0));
    let cycle = OneCycle::new(1.0).unwrap();
    assert_eq!(cycle.with_warm_up(1.0).unwrap_err(), out_of_range("warm-up", "from 0 to below 1", 1.0));
    assert_eq!(
        cycle.with_factors(0.5, 2.0).unwrap_err(),
        out_of_range("start-factor", "finite and at least 1", 0.5)
    );
}

/// Two values that every curve accepts.
fn ends() -> impl Strategy<Value = (f64, f64)> {
    (1e-6..0.999f64, 1e-6..0.999f64)
}

proptest! {
    #[test]
    fn ramps_begin_and_end_exactly_and_hold((from, to) in ends(), begin in 0.0..0.5f64, width in 0.01..0.5f64) {
        let ramp = Ramp::new(from, to).unwrap().between(begin, begin + width).unwrap();
        for curve in CURVES {
            let schedule = Schedule::ramp(curve, ramp).unwrap();
            prop_assert_eq!(at(&schedule, 0.0), from);
            prop_assert_eq!(at(&schedule, begin), from);
            prop_assert_eq!(at(&schedule, begin + width), to);
            prop_assert_eq!(at(&schedule, 1.0), to);
        }
    }

    #[test]
    fn ramps_stay_between_their_ends_and_never_turn((from, to) in ends(), mut places in prop::collection::vec(0.0..=1.0f64, 2..20)) {
        places.sort_by(f64::total_cmp);
        for curve in CURVES {
            let schedule = Schedule::ramp(curve, Ramp::new(from, to).unwrap()).unwrap();
            let values: Vec<f64> = places.iter().map(|&t| at(&schedule, t)).collect();
            let (low, high) = (from.min(to) - 1e-12, from.max(to) + 1e-12);
            prop_assert!(values.iter().all(|v| (low..=high).contains(v)), "{curve:?}: {values:?}");
            let ascending = from < to;
            prop_assert!(
                values.windows(2).all(|pair| if ascending { pair[1] >= pair[0] - 1e-12 } else { pair[1] <= pair[0] + 1e-12 }),
                "{curve:?}: {values:?}"
            );
        }
    }

    #[test]
    fn one_cycle_rises_to_its_peak_and_falls(peak in 1e-5..10.0f64, warm_up in 0.01..0.99f64, t in 0.0..=1.0f64) {
        let schedule = Schedule::one_cycle(OneCycle::new(peak).unwrap().with_warm_up(warm_up).unwrap());
        prop_assert_eq!(at(&schedule, warm_up), peak);
        prop_assert_eq!(at(&schedule, 0.0), peak / 25.0);
        prop_assert_eq!(at(&schedule, 1.0), peak / 25.0 / 1e4);
        let later = (t + 0.001).min(1.0);
        let (now, next) = (at(&schedule, t), at(&schedule, later));
        if later <= warm_up {
            prop_assert!(next >= now);
        } else if t >= warm_up {
            prop_assert!(next <= now);
        }
        prop_assert!(now <= peak && now >= peak / 25.0 / 1e4);
    }

    #[test]
    fn warm_up_arrives_at_the_first_value_and_ends_with_the_last(share in 0.0..0.99f64, (from, to) in ends()) {
        let schedule = Schedule::warm_up(share, Schedule::cosine(from, to).unwrap()).unwrap();
        prop_assert_eq!(at(&schedule, share), from);
        prop_assert_eq!(at(&schedule, 1.0), to);
        if share > 0.0 {
            prop_assert_eq!(at(&schedule, 0.0), 0.0);
            prop_assert!((at(&schedule, share / 2.0) - from / 2.0).abs() < 1e-12);
        }
    }

    #[test]
    fn a_schedule_is_finite_everywhere(schedule in crate::schedule_grammar::schedules(), t in 0.0..=1.0f64) {
        prop_assert!(at(&schedule, t).is_finite());
    }
}
