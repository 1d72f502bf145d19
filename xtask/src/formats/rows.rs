//! The formats of the table, and the limits that some must keep.

/// A format as the table has it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// The scheme of weights, as recipes write it.
    pub(crate) weights: &'static str,
    /// How the rounding is trained, as recipes write it.
    pub(crate) estimator: &'static str,
}

const fn row(name: &'static str, weights: &'static str) -> Row {
    Row { name, weights, estimator: "{ straight-through = {} }" }
}

/// From wide to narrow.
pub(crate) const ROWS: &[Row] = &[
    row("bf16", "bf16"),
    row("fp16", "fp16"),
    row("fp8 e4m3", "e4m3fn channel"),
    row("fp8 e5m2", "e5m2 channel"),
    row("mxfp8 e4m3", "mxfp8_e4m3"),
    row("mxint8", "mxint8"),
    row("int8", "int8 channel narrow"),
    row("int7", "int7 channel narrow"),
    row("fp6 e2m3", "e2m3fn channel"),
    row("fp6 e3m2", "e3m2fn channel"),
    row("mxfp6 e2m3", "mxfp6_e2m3"),
    row("int6", "int6 channel narrow"),
    row("int5", "int5 channel narrow"),
    row("fp4 e2m1", "e2m1fn channel"),
    row("mxfp4", "mxfp4"),
    row("nvfp4", "nvfp4"),
    row("nf4", "nf4 group=64"),
    row("int4", "int4 channel narrow"),
    row("int3", "int3 channel narrow"),
    row("int2", "int2 channel narrow"),
    row("ternary", "ternary channel"),
    row("binary", "binary channel"),
];

/// A loss of accuracy that a format must not exceed, on average over seeds.
#[derive(Debug)]
pub(crate) struct Limit {
    pub(crate) row: &'static str,
    /// Whether it trains with the rounding, or is rounded only.
    pub(crate) trained: bool,
    /// In points.
    pub(crate) most: f64,
}

/// What is promised on MNIST's student.
pub(crate) const LIMITS: &[Limit] = &[
    Limit { row: "int8", trained: false, most: 0.1 },
    Limit { row: "int8", trained: true, most: 0.05 },
    Limit { row: "int4", trained: true, most: 0.3 },
    Limit { row: "ternary", trained: true, most: 1.0 },
    Limit { row: "binary", trained: true, most: 2.0 },
];
