//! Schedules as numbers, against `tests/golden/schedules.json`, which `tools/golden/schedules.py` writes.
use std::collections::BTreeMap;

use kd_train::schedule_eval::{names, parse, shortest, sparsity_names, values};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    schedule: String,
    /// By the number of steps.
    values: BTreeMap<usize, Vec<f64>>,
}

#[test]
fn every_schedule_is_its_formula_at_every_number_of_steps() {
    let golden: Golden = serde_json::from_str(include_str!("../golden/schedules.json")).unwrap();
    assert!(golden.cases.len() > 70, "{} schedules", golden.cases.len());
    for Case { schedule, values: expected } in golden.cases {
        let parsed = parse(&schedule).unwrap();
        for (steps, expected) in expected {
            let found: Vec<f64> = values(&parsed, steps).collect();
            assert_eq!(found.len(), steps, "{schedule}");
            let largest = expected.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
            for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let near = (found - expected).abs() <= 1e-14 * largest;
                assert!(near, "{schedule}, step {step} of {steps}: {found} for {expected}");
                assert_eq!(shortest(*found).parse(), Ok(*found), "{schedule}");
            }
        }
    }
}

#[test]
fn examples_run_and_knobs_are_theirs() {
    for row in names() {
        let schedule = parse(row.example).unwrap_or_else(|error| panic!("{}: {error:?}", row.example));
        assert_eq!(schedule.name(), row.name);
        assert!(values(&schedule, 5).all(f64::is_finite), "{}", row.name);
    }
    for row in sparsity_names() {
        let error = parse(row.example).unwrap_err();
        assert!(matches!(error, kd_train::Error::Problems(_)), "{error}");
    }
}

#[test]
fn mistakes_are_shown_at_their_place() {
    let say = |line: &str| match parse(line).unwrap_err() {
        kd_train::Error::Problems(problems) => problems.to_string(),
        other => panic!("{other}"),
    };
    insta::assert_snapshot!(say("exponential = { from = 1.0, to = 0.01 }"), @"
    recipe::bad-value: `exponential` moves on density, 1 − value, so `from` and `to` must be below 1, found from = 1 and to = 0.01; use `geometric` for learning rates, weights and temperatures
      schedule:1:15
      | exponential = { from = 1.0, to = 0.01 }
      |               ^^^^^^^^^^^^^^^^^^^^^^^^^ not possible
    ");
    insta::assert_snapshot!(say("geometric = { from = 0.0, to = 0.01 }"), @"
    recipe::bad-value: `geometric` moves by a factor, so `from` and `to` must be above 0, found from = 0 and to = 0.01
      schedule:1:13
      | geometric = { from = 0.0, to = 0.01 }
      |             ^^^^^^^^^^^^^^^^^^^^^^^^^ not possible
    ");
    insta::assert_snapshot!(say("linear = { from = -1.7e308, to = 1.7e308 }"), @"
    recipe::bad-value: `to` must be near enough to `from` that their difference or ratio is a number, found 170000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
      schedule:1:34
      | linear = { from = -1.7e308, to = 1.7e308 }
      |                                  ^^^^^^^ not possible
    ");
    insta::assert_snapshot!(say("cubik = { from = 0.0, to = 0.01 }"), @"
    recipe::unknown-name: nothing is named `cubik` here
      schedule:1:1
      | cubik = { from = 0.0, to = 0.01 }
      | ^^^^^ unknown name
      help: did you mean `cubic`?
    ");
    insta::assert_snapshot!(say("linear = { from = 0.0 }"), @"
    recipe::missing-key: this needs the key `to`
      schedule:1:10
      | linear = { from = 0.0 }
      |          ^^^^^^^^^^^^^^ no `to`
      help: write `to = …` into it
    ");
    insta::assert_snapshot!(say("linear"), @"
    recipe::syntax: key with no value, expected `=`
      schedule:1:7
      | linear
      |       ^ not TOML
      help: write, for example, `linear = { from = 1.0, to = 0.0 }`
    ");
    insta::assert_snapshot!(say("one-shot = {}"), @"
    recipe::unknown-name: `one-shot` says when a stage sparsifies, and is not a number
      schedule:1:1
      | one-shot = {}
      | ^^^^^^^^ of `[stage.sparsify]`
      help: `kd explain schedule.one-shot` says more
    ");
    insta::assert_snapshot!(say("linear = { from = 0.0, to = 1.0 }\nconstant = { value = 1.0 }"), @"
    recipe::two-names: a schedule has one name, found `constant` and `linear`
      schedule:1:1
      | linear = { from = 0.0, to = 1.0 }
      | ^^^^^^ a second one
      help: take one of the two out
    ");
}

#[test]
fn numbers_are_constants() {
    for (line, value) in [("0.5", 0.5), ("-3", -3.0), ("1e-3", 1e-3), ("{ constant = { value = 2 } }", 2.0)] {
        assert_eq!(values(&parse(line).unwrap(), 3).collect::<Vec<_>>(), [value; 3]);
    }
}
