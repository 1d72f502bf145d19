//! The table of schedules: what `kd list` and `kd explain` print, and the names that the grammar knows.

use super::Schedule;
use crate::Knob;

/// One schedule of the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleName {
    /// Its key in a recipe.
    pub name: &'static str,
    /// What it does, in one line.
    pub line: &'static str,
    /// What to write for it, as TOML.
    pub example: &'static str,
    /// What its table takes. `sequence` is an array instead, described by one knob without a name.
    pub knobs: &'static [Knob],
}

impl Schedule {
    /// Every schedule that a recipe can write.
    pub const NAMES: &'static [ScheduleName] = &[
        ScheduleName {
            name: "constant",
            line: "the same value throughout, as a plain number is",
            example: "constant = { value = 0.5 }",
            knobs: &[Knob::required("value", "the value")],
        },
        ScheduleName {
            name: "linear",
            line: "from + (to - from)·p",
            example: "linear = { from = 1.0, to = 0.5 }",
            knobs: RAMP,
        },
        ScheduleName {
            name: "cosine",
            line: "from + (to - from)·(1 - cos πp)/2: level at both ends",
            example: "cosine = { from = 1e-3, to = 1e-5 }",
            knobs: RAMP,
        },
        ScheduleName {
            name: "cubic",
            line: "to + (from - to)·(1 - p)³: steep at first, level at the end, for sparsities",
            example: "cubic = { from = 0.0, to = 0.9, end = 0.75 }",
            knobs: RAMP,
        },
        ScheduleName {
            name: "exponential",
            line: "1 - (1 - from)·((1 - to)/(1 - from))^p: density by equal factors, for sparsities, both ends below 1",
            example: "exponential = { from = 0.0, to = 0.9 }",
            knobs: RAMP,
        },
        ScheduleName {
            name: "geometric",
            line: "from·(to/from)^p: by equal factors, for learning rates, weights and temperatures, both ends above 0",
            example: "geometric = { from = 8.0, to = 1.0 }",
            knobs: RAMP,
        },
        ScheduleName {
            name: "step",
            line: "the last value whose place is reached, 0 before the first",
            example: "step = { at = [0.0, 0.5], values = [1.0, 0.1] }",
            knobs: &[
                Knob::required("at", "places from 0 to 1, ascending"),
                Knob::required("values", "one value for each place"),
            ],
        },
        ScheduleName {
            name: "one-cycle",
            line: "a cosine up to a peak and a cosine down to almost nothing, for learning rates",
            example: "one-cycle = { peak = 4e-3 }",
            knobs: &[
                Knob::required("peak", "the largest value, above 0"),
                Knob::or("warm-up", "0.3", "share of the run for the ascent, from 0 to below 1"),
                Knob::or("start-factor", "25.0", "peak / first value, at least 1"),
                Knob::or("end-factor", "10000.0", "first value / last value, at least 1"),
            ],
        },
        ScheduleName {
            name: "warm-up",
            line: "linear from 0 to the first value of another schedule, then that one over the rest of the run",
            example: "warm-up = { share = 0.1, then.cosine = { from = 1e-3, to = 1e-5 } }",
            knobs: &[
                Knob::required("share", "share of the run for the ascent, from 0 to below 1"),
                Knob::required("then", "a number or a schedule"),
            ],
        },
        ScheduleName {
            name: "sequence",
            line: "one schedule after the other: an array of [until, schedule], each over its own 0 to 1",
            example: "sequence = [[0.3, 0.0], [1.0, { linear = { from = 0.0, to = 1.0 } }]]",
            knobs: &[Knob::required(
                "",
                "an array of pairs [until, number or schedule]; `until` ascends and ends with 1",
            )],
        },
    ];
}

const RAMP: &[Knob] = &[
    Knob::required("from", "value until `begin`"),
    Knob::required("to", "value from `end` on"),
    Knob::or("begin", "0.0", "progress at which the value starts to move, from 0 to 1"),
    Knob::or("end", "1.0", "progress at which it arrives, above `begin`, up to 1"),
];
