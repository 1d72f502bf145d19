//! The table of ways to sparsify: what `kd list schedules` and `kd explain` print.

use kd_core::{Knob, ScheduleName};

/// Names, formulas and knobs, for `kd list schedules` and `kd explain`.
pub const WHENS: &[ScheduleName] = &[
    ScheduleName {
        name: "one-shot",
        line: "sparsify: everything that goes does so at one step",
        example: "one-shot = { at = 0.2 }",
        knobs: &[Knob::or("at", "0.0", "where in the stage, from 0 to 1")],
    },
    ScheduleName {
        name: "iterative",
        line: "sparsify: in n rounds of equal length, sparsity 1 - (1 - s)^(k/n) at the beginning of round k; then the rest recovers",
        example: "iterative = { rounds = 4 }",
        knobs: &[
            Knob::required("rounds", "how many, at least 1"),
            Knob::or("begin", "0.0", "where in the stage the first one begins"),
        ],
    },
    ScheduleName {
        name: "movement",
        line: "sparsify: of scores S = -Σ w·g, which masked weights have too, the lowest s·(1 - (1 - p)³) go; no criterion",
        example: "movement = { begin = 0.1, end = 0.8 }",
        knobs: &[
            Knob::or("begin", "0.1", "until where nothing goes, the warm-up"),
            Knob::or("end", "0.9", "from where on masks are final"),
            Knob::or(
                "scores",
                "sum",
                "sums, one an element; adam: one a unit, which Adam trains; from-magnitude = { rate }: the same from mean |w| on",
            ),
        ],
    },
    ScheduleName {
        name: "soft-movement",
        line: "sparsify: what has σ(S) ≤ τ goes, at most s of it; τ and a penalty on σ(S) rise by 1 - (1 - p)³; no criterion",
        example: "soft-movement = { threshold = 0.1, regularisation = 10.0 }",
        knobs: &[
            Knob::or("threshold", "0.1", "τ in the end, above 0 and below 1; scores begin at σ(S) = 0.5"),
            Knob::or("regularisation", "1.0", "weight of the penalty mean σ(S) in the end, at least 0"),
            Knob::or(
                "units",
                "1.0",
                "what the penalty of hidden units is multiplied by, of a hybrid pattern, at least 0",
            ),
            Knob::or("rate", "0.01", "learning rate of the scores, which Adam trains, above 0"),
            Knob::or("begin", "0.1", "until where nothing goes, the warm-up"),
            Knob::or("end", "0.9", "from where on masks are final"),
        ],
    },
    ScheduleName {
        name: "growing-regularisation",
        line: "sparsify: condemned weights shrink under λ/2·Σ w², λ growing in equal steps, and go where it arrives",
        example: "growing-regularisation = { ceiling = 1.0 }",
        knobs: &[
            Knob::or("ceiling", "1.0", "λ in the end, above 0"),
            Knob::or("begin", "0.0", "where the criterion condemns and λ begins to grow"),
            Knob::or("end", "0.5", "where λ arrives and the condemned go"),
        ],
    },
    ScheduleName {
        name: "lottery-ticket",
        line: "sparsify: n times train to the end, cut to 1 - (1 - s)^(k/n), and begin again from an early checkpoint; train the rest",
        example: "lottery-ticket = { rounds = 3, to = 0.05 }",
        knobs: &[
            Knob::required("rounds", "how many, at least 1"),
            Knob::or("to", "0.0", "share of the first round whose weights the others begin with, below 1"),
            Knob::or(
                "rewind",
                "\"weights\"",
                "\"weights\" and schedules, or the \"learning-rate\" and other schedules alone",
            ),
        ],
    },
];
