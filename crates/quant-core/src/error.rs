//! Everything that can be wrong with a scheme, a range or a layout.

/// An error of this crate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A scheme that is not three words.
    #[error(
        "expected a format and what shares a scale, such as `int8 channel symmetric` or `nf4 group=64`, found `{found}`"
    )]
    SchemeWords {
        /// The text.
        found: String,
    },
    /// A word of a scheme that does not exist.
    #[error("unknown {what} `{word}`; expected {}{}", list(expected), near(nearest.as_deref()))]
    SchemeWord {
        /// `format`, `granularity` or `symmetry`.
        what: &'static str,
        /// The word.
        word: String,
        /// The words that exist.
        expected: Vec<&'static str>,
        /// The one that was probably meant.
        nearest: Option<&'static str>,
    },
    /// Two words of a scheme for the same thing.
    #[error("`{word}` is a second {what} in `{found}`; write one")]
    SchemeTwice {
        /// `granularity`, `symmetry` or `format of scales`.
        what: &'static str,
        /// The later word.
        word: String,
        /// The text.
        found: String,
    },
    /// Parts of a scheme that do not go together.
    #[error("with `{format}` a scheme takes {expected}")]
    SchemeParts {
        /// Name of the format.
        format: &'static str,
        /// What it takes.
        expected: &'static str,
    },
    /// A decay of a moving average outside its range.
    #[error("expected a decay from 0 to below 1, found {found}")]
    Decay {
        /// The number.
        found: f64,
    },
    /// A value or a limit that is infinite or not a number.
    #[error("expected finite numbers, found {value} at position {index}")]
    NotFinite {
        /// Where.
        index: usize,
        /// What.
        value: f32,
    },
    /// A smallest value above the largest.
    #[error("expected a range, found {min} .. {max} in cell {cell}")]
    Empty {
        /// Which scale.
        cell: usize,
        /// Smallest value.
        min: f32,
        /// Largest value.
        max: f32,
    },
    /// A range whose grid does not fit into 32-bit floats.
    #[error(
        "expected a range within 32-bit floats, found {min:e} .. {max:e} in cell {cell}, whose grid overflows"
    )]
    TooWide {
        /// Which scale.
        cell: usize,
        /// Smallest value.
        min: f32,
        /// Largest value.
        max: f32,
    },
    /// A scale by which nothing can be divided.
    #[error("expected a positive finite scale, found {scale} in cell {cell}")]
    Scale {
        /// Which scale.
        cell: usize,
        /// Its value.
        scale: f32,
    },
    /// Limits of codes that are no interval, or that 32-bit floats cannot count through.
    #[error("expected a smallest code below the largest and both within 2^23 of 0, found {qmin} and {qmax}")]
    Codes {
        /// Smallest code.
        qmin: i32,
        /// Largest code.
        qmax: i32,
    },
    /// A zero point that is not a code, so that zero would not be representable.
    #[error("expected a zero point from {qmin} to {qmax}, found {zero_point} in cell {cell}")]
    ZeroPoint {
        /// Which zero point.
        cell: usize,
        /// Its value.
        zero_point: i32,
        /// Smallest code.
        qmin: i32,
        /// Largest code.
        qmax: i32,
    },
    /// Two observers whose ranges do not add up.
    #[error(
        "expected two `min-max` observers to merge, found `{left}` and `{right}`; a moving average depends on the order of its batches"
    )]
    Merge {
        /// Name of the first observer.
        left: &'static str,
        /// Name of the second one.
        right: &'static str,
    },
    /// Two histograms of different resolution.
    #[error("expected two histograms of as many bins to merge, found {left} and {right}")]
    Bins {
        /// Bins of the first.
        left: usize,
        /// Bins of the second.
        right: usize,
    },
    /// A stored histogram that no values could have made.
    #[error("expected {what} in a histogram")]
    Histogram {
        /// What does not hold.
        what: &'static str,
    },
    /// Two tensors that should have the same shape.
    #[error("expected two tensors of the same shape, found {left:?} and {right:?}")]
    Shapes {
        /// Shape of the first.
        left: Vec<usize>,
        /// Shape of the second.
        right: Vec<usize>,
    },
    /// As many limits, scales or zero points as there are cells are needed.
    #[error("expected {expected} {what}, one a cell, found {found}")]
    Cells {
        /// What there should be of.
        what: &'static str,
        /// How many.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// Values that do not fill their shape.
    #[error("shape {shape:?} has {expected} values, found {found}")]
    Length {
        /// The shape.
        shape: Vec<usize>,
        /// Its number of elements.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// An axis that the shape does not have.
    #[error("shape {shape:?} has no axis {axis}")]
    Axis {
        /// The shape.
        shape: Vec<usize>,
        /// The axis.
        axis: usize,
    },
    /// A code outside the format.
    #[error("expected codes from {qmin} to {qmax}, found {code} at position {index}")]
    Code {
        /// Where.
        index: usize,
        /// What.
        code: i32,
        /// Smallest code.
        qmin: i32,
        /// Largest code.
        qmax: i32,
    },
    /// A knob of an algorithm outside its range.
    #[error("expected {what} {expected}, found {found}")]
    Setting {
        /// Which knob.
        what: &'static str,
        /// What is legal.
        expected: &'static str,
        /// The number.
        found: f64,
    },
    /// A list, or a side of a matrix, of another length than the rest of the arguments asks for.
    #[error("expected {what} of {expected}, found {found}")]
    Size {
        /// Of what.
        what: &'static str,
        /// How long it should be.
        expected: usize,
        /// How long it is.
        found: usize,
    },
    /// An element of an algorithm's argument that is infinite or not a number.
    #[error("expected finite numbers in the {what}, found {value} at position {index}")]
    NotFiniteIn {
        /// The argument.
        what: &'static str,
        /// Row-major position.
        index: usize,
        /// What is there.
        value: f64,
    },
    /// A Hessian that no damping makes positive definite: it is not a sum of x xᵀ.
    #[error(
        "expected a positive semidefinite Hessian, found none up to a damping of {damping} of its mean diagonal"
    )]
    NotPositive {
        /// The largest damping that was tried.
        damping: f64,
    },
    /// A Hessian that is not symmetric.
    #[error("expected a symmetric Hessian, found {upper} and {lower} at row {row}, column {column}")]
    NotSymmetric {
        /// Row of the upper element.
        row: usize,
        /// Column of the upper element.
        column: usize,
        /// The element.
        upper: f64,
        /// Its mirror image.
        lower: f64,
    },
    /// Outputs of a block that has not used the weights it was given.
    #[error("expected outputs that depend on the weights given, found none of their gradient")]
    NotOfWeights,
    /// Statistics asked for before anything was observed.
    #[error("expected inputs, found none")]
    NothingSeen,
    /// A budget below the cheapest assignment.
    #[error("expected a budget of at least {least}, found {budget}")]
    Budget {
        /// What may be spent.
        budget: u64,
        /// What the cheapest choices cost together.
        least: u64,
    },
    /// An item of a budget among whose choices nothing can be chosen, or whose costs do not add up in 64 bits.
    #[error("expected {expected} in item {item}")]
    Item {
        /// Which item.
        item: usize,
        /// What is legal.
        expected: &'static str,
    },
    /// Bits that a packing, or the type of its codes, does not have.
    #[error("packing `{packing}` takes codes of {} bits here, found {found}", numbers(expected))]
    PackWidth {
        /// Name of the packing.
        packing: &'static str,
        /// Bits that it has, and that fit into the type of the codes.
        expected: Vec<u32>,
        /// Bits asked for.
        found: u32,
    },
    /// Bytes that do not hold as many codes.
    #[error("packing `{packing}` takes {expected} bytes for {shape:?} codes of {bits} bits, found {found}")]
    PackLength {
        /// Name of the packing.
        packing: &'static str,
        /// Rows and columns.
        shape: [usize; 2],
        /// Bits of a code.
        bits: u32,
        /// Bytes that they take.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// Rows that end within a byte, in a packing that has no padding for them.
    #[error("packing `{packing}` takes a multiple of {multiple} columns of {bits} bits, found {found}")]
    PackColumns {
        /// Name of the packing.
        packing: &'static str,
        /// Bits of a code.
        bits: u32,
        /// What the columns have to be a multiple of.
        multiple: usize,
        /// Columns.
        found: usize,
    },
    /// A byte that is no five trits.
    #[error("expected bytes below 243, five trits each, found {byte} at position {index}")]
    PackTrits {
        /// Where.
        index: usize,
        /// What.
        byte: u8,
    },
    /// Bytes that are not as many blocks as rows of values take.
    #[error("`{format}` takes {expected} bytes for {shape:?} values, found {found}")]
    BlockLength {
        /// Name of the format.
        format: &'static str,
        /// Rows and columns.
        shape: [usize; 2],
        /// Bytes that they take.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// A name of a number format that does not exist.
    #[error("unknown number format `{found}`{}", near(nearest.as_deref()))]
    UnknownNumber {
        /// The name.
        found: String,
        /// The one that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A name of a numerics profile that does not exist.
    #[error("unknown numerics `{found}`; expected {}{}", list(expected), near(nearest.as_deref()))]
    UnknownNumerics {
        /// The name.
        found: String,
        /// The names that exist.
        expected: Vec<&'static str>,
        /// The one that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A format that a numerics profile says nothing about.
    #[error("numerics `{numerics}` do not define `{format}`; these do: {}", list(defined))]
    Undefined {
        /// Name of the format.
        format: &'static str,
        /// Name of the profile.
        numerics: &'static str,
        /// Profiles that define the format.
        defined: Vec<&'static str>,
    },
    /// A NaN or an infinity for which a format has no code.
    #[error("`{format}` has no code for {value}, found at position {index}")]
    NoCode {
        /// Name of the format.
        format: &'static str,
        /// Where.
        index: usize,
        /// What.
        value: f32,
    },
    /// A negative number in a format without a sign.
    #[error("`{format}` has no negative numbers, found {value} at position {index}")]
    Negative {
        /// Name of the format.
        format: &'static str,
        /// Where.
        index: usize,
        /// What.
        value: f32,
    },
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn numbers(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

fn near(word: Option<&str>) -> String {
    word.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default()
}
