//! How schedules are written: what is read, what is written back, and where an error stands.

use kd_core::{Curve, OneCycle, Ramp, Schedule};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// A document with a schedule in it, as a recipe is.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    weight: Schedule,
}

pub(crate) fn parse(text: &str) -> Result<Schedule, toml::de::Error> {
    toml::from_str(&format!("weight = {text}")).map(|document: Document| document.weight)
}

/// Any schedule there is, nested up to three deep.
pub(crate) fn schedules() -> impl Strategy<Value = Schedule> {
    let value = -1e3..1e3f64;
    let places = || prop::collection::btree_set(1..1000u32, 1..5);
    let ramp =
        ((1e-3..0.9f64, 1e-3..0.9f64), (0.0..0.5f64, 0.51..1.0f64)).prop_map(|((from, to), (begin, end))| {
            Ramp::new(from, to).and_then(|ramp| ramp.between(begin, end)).unwrap()
        });
    let curve = prop::sample::select(vec![
        Curve::Linear,
        Curve::Cosine,
        Curve::Cubic,
        Curve::Exponential,
        Curve::Geometric,
    ]);
    let leaf = prop_oneof![
        value.clone().prop_map(|value| Schedule::constant(value).unwrap()),
        (curve, ramp).prop_map(|(curve, ramp)| Schedule::ramp(curve, ramp).unwrap()),
        (places(), value).prop_map(|(places, value)| {
            let at: Vec<f64> = places.iter().map(|&place| f64::from(place) / 1000.0).collect();
            let values: Vec<f64> = at.iter().map(|place| place * value).collect();
            Schedule::step(&at, &values).unwrap()
        }),
        (1e-6..10.0f64, 0.0..0.99f64, 1.0..100.0f64, 1.0..1e5f64).prop_map(|(peak, warm_up, start, end)| {
            let cycle = OneCycle::new(peak).and_then(|cycle| cycle.with_warm_up(warm_up));
            Schedule::one_cycle(cycle.and_then(|cycle| cycle.with_factors(start, end)).unwrap())
        }),
    ];
    leaf.prop_recursive(2, 8, 3, move |inner| {
        prop_oneof![
            (0.0..0.99f64, inner.clone()).prop_map(|(share, then)| Schedule::warm_up(share, then).unwrap()),
            (places(), prop::collection::vec(inner, 6)).prop_map(|(places, schedules)| {
                let until = places.iter().map(|&place| f64::from(place) / 1000.0).chain([1.0]);
                Schedule::sequence(until.zip(schedules).collect()).unwrap()
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back_exactly(schedule in schedules()) {
        let document = Document { weight: schedule };
        let text = toml::to_string(&document).unwrap();
        let back: Document = toml::from_str(&text).unwrap();
        prop_assert_eq!(back, document, "{}", text);
    }
}

#[test]
fn defaults_are_written_out() {
    struct Case(&'static str, &'static str);
    let cases = [
        Case("0.5", "weight = 0.5\n"),
        Case("{ constant = { value = 2 } }", "weight = 2.0\n"),
        Case(
            "{ linear = { from = 1, to = 0.5 } }",
            "[weight.linear]\nfrom = 1.0\nto = 0.5\nbegin = 0.0\nend = 1.0\n",
        ),
        Case(
            "{ one-cycle = { peak = 4e-3 } }",
            "[weight.one-cycle]\npeak = 0.004\nwarm-up = 0.3\nstart-factor = 25.0\nend-factor = 10000.0\n",
        ),
        Case("{ warm-up = { share = 0.1, then = 1 } }", "[weight.warm-up]\nshare = 0.1\nthen = 1.0\n"),
        Case("{ sequence = [[0.5, 1], [1, 0]] }", "[weight]\nsequence = [[0.5, 1.0], [1.0, 0.0]]\n"),
        Case("{ step = { at = [0.5], values = [1] } }", "[weight.step]\nat = [0.5]\nvalues = [1.0]\n"),
    ];
    for Case(text, expected) in cases {
        let document = Document { weight: parse(text).unwrap() };
        assert_eq!(toml::to_string(&document).unwrap(), expected, "{text}");
    }
}

#[test]
fn dotted_keys_and_json_are_read_too() {
    let dotted: Document = toml::from_str("weight.linear = { from = 1.0, to = 0.5 }").unwrap();
    let json: Document =
        serde_json::from_str(r#"{ "weight": { "linear": { "from": 1, "to": 0.5 } } }"#).unwrap();
    assert_eq!(dotted, json);
    assert_eq!(dotted.weight.name(), "linear");
}

/// Every error stands where the mistake is: `underlined` is the text under the span that the parser reports.
#[test]
fn an_error_stands_where_the_mistake_is() {
    struct Case {
        text: &'static str,
        underlined: &'static str,
        message: &'static str,
    }
    let cases = [
        Case {
            text: "{ lineal = { from = 1, to = 0 } }",
            underlined: "lineal",
            message: "no schedule is named `lineal`: there are `constant`, `linear`, ",
        },
        Case {
            text: "{ cosine = { from = 1, to = 0 }, linear = { from = 1, to = 0 } }",
            underlined: "linear",
            message: "a schedule has one name, found `cosine` and `linear`",
        },
        Case { text: "'high'", underlined: "'high'", message: "expected a number, or a table with one key" },
        Case { text: "true", underlined: "true", message: "expected a number, or a table with one key" },
        Case { text: "{}", underlined: "{}", message: "a schedule needs a name: one of `constant`" },
        Case { text: "nan", underlined: "nan", message: "`value` must be finite, found NaN" },
        Case {
            text: "{ linear = { from = 1, to = inf } }",
            underlined: "inf",
            message: "`value` must be finite, found inf",
        },
        Case { text: "{ linear = { from = 1 } }", underlined: "{ from = 1 }", message: "missing field `to`" },
        Case {
            text: "{ linear = { from = 1, to = 0, until = 1 } }",
            underlined: "until",
            message: "unknown field `until`, expected one of `from`, `to`, `begin`, `end`",
        },
        Case {
            text: "{ linear = { from = 1, to = 'low' } }",
            underlined: "'low'",
            message: "invalid type: string \"low\", expected f64",
        },
        Case {
            text: "{ linear = { from = 1, to = 0, end = 1.5 } }",
            underlined: "1.5",
            message: "`progress` must be from 0 to 1, found 1.5",
        },
        Case {
            text: "{ cosine = { from = 1, to = 0, begin = 0.5, end = 0.25 } }",
            underlined: "{ from = 1, to = 0, begin = 0.5, end = 0.25 }",
            message: "`begin` must be smaller than `end`, found begin = 0.5 and end = 0.25",
        },
        Case {
            text: "{ exponential = { from = 1e-3, to = 1 } }",
            underlined: "{ from = 1e-3, to = 1 }",
            message: "use `geometric` for learning rates",
        },
        Case {
            text: "{ geometric = { from = 0, to = 1 } }",
            underlined: "{ from = 0, to = 1 }",
            message: "`from` and `to` must be above 0",
        },
        Case {
            text: "{ step = { at = [0.5, 0.2], values = [1, 2] } }",
            underlined: "{ at = [0.5, 0.2], values = [1, 2] }",
            message: "the places of `step` must ascend, found 0.2 after 0.5",
        },
        Case {
            text: "{ step = { at = [0.5, 2], values = [1, 2] } }",
            // The parser knows the place of an array, not of a number in it.
            underlined: "[0.5, 2]",
            message: "`progress` must be from 0 to 1, found 2",
        },
        Case {
            text: "{ one-cycle = { peak = -1 } }",
            underlined: "{ peak = -1 }",
            message: "`peak` must be finite and above 0, found -1",
        },
        Case {
            text: "{ warm-up = { share = 0.1, then = { cubic = { from = 1, to = nan } } } }",
            underlined: "nan",
            message: "`value` must be finite, found NaN",
        },
        Case {
            text: "{ warm-up = { share = 1, then = 1 } }",
            underlined: "{ share = 1, then = 1 }",
            message: "`share` must be from 0 to below 1, found 1",
        },
        Case {
            text: "{ sequence = [[0.5, 1], [0.9, 0]] }",
            underlined: "[[0.5, 1], [0.9, 0]]",
            message: "the last piece of `sequence` must last until 1, found 0.9",
        },
        Case {
            text: "{ sequence = [[0.5, 1], [1, { liner = 0 }]] }",
            underlined: "liner",
            message: "no schedule is named `liner`",
        },
    ];
    for Case { text, underlined, message } in cases {
        let error = parse(text).unwrap_err();
        let span = error.span().unwrap_or_else(|| panic!("{text}: the error has no place: {error}"));
        let document = format!("weight = {text}");
        assert_eq!(&document[span], underlined, "{text}: {error}");
        assert!(
            error.message().contains(message),
            "{text}: found {:?}, expected {message:?}",
            error.message()
        );
    }
}

/// The table names every schedule that the grammar reads, with the knobs and defaults that it has.
#[test]
fn the_table_of_schedules_tells_the_truth() {
    for row in Schedule::NAMES {
        let required = match row.name {
            "constant" => "value = 1.0",
            "step" => "at = [0.5]\nvalues = [1.0]",
            "one-cycle" => "peak = 1.0",
            "warm-up" => "share = 0.1\nthen = 1.0",
            "sequence" => {
                assert_eq!(parse("{ sequence = [[1.0, 1.0]] }").unwrap().name(), "sequence");
                continue;
            }
            _ => "from = 0.1\nto = 0.2",
        };
        let document: Document = toml::from_str(&format!("[weight.{}]\n{required}", row.name)).unwrap();
        assert_eq!(document.weight.name(), row.name);
        if row.name == "constant" {
            continue;
        }
        let written = toml::Table::try_from(&document).unwrap();
        let knobs = written["weight"][row.name].as_table().unwrap();
        assert_eq!(
            knobs.keys().collect::<std::collections::BTreeSet<_>>(),
            row.knobs.iter().map(|knob| knob.name.to_string()).collect::<Vec<_>>().iter().collect(),
            "{}",
            row.name
        );
        for knob in row.knobs {
            match knob.default {
                Some(default) => {
                    let default: toml::Table = toml::from_str(&format!("x = {default}")).unwrap();
                    assert_eq!(knobs[knob.name], default["x"], "{} of {}", knob.name, row.name);
                }
                None => {
                    assert!(required.contains(&format!("{} = ", knob.name)), "{} of {}", knob.name, row.name)
                }
            }
        }
    }
}
