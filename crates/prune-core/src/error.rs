//! What can go wrong: a request that cannot be met, or a cut that does not fit a module.

use crate::{ElementKind, Unit};

/// Errors of this crate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A sparsity out of range.
    #[error("sparsity is {value}, expected a number in 0 ..= 1")]
    Sparsity {
        /// What was given.
        value: f64,
    },
    /// A share out of range.
    #[error("share to remove is {value}, expected a number of at least 0 and below 1")]
    Share {
        /// What was given.
        value: f64,
    },
    /// A group of an n:m pattern that keeps nothing, or more than it has.
    #[error("n:m pattern keeps {keep} of {of}, expected `keep` in 1 ..= `of`")]
    Group {
        /// Elements to keep.
        keep: usize,
        /// Elements of a group.
        of: usize,
    },
    /// An exponent that is neither 1 nor 2.
    #[error("exponent `p` is {p}, expected 1 or 2")]
    Norm {
        /// What was given.
        p: u64,
    },
    /// A knob out of range.
    #[error("{value} is out of range, expected a number of at least 0")]
    NonNegative {
        /// What was given.
        value: f64,
    },
    /// A number of bits out of range.
    #[error("`bits` is {bits}, expected 1 to 16")]
    Bits {
        /// What was given.
        bits: u64,
    },
    /// A threshold without a value, or with two.
    #[error("expected one of `value` and `sigma`, found {found}")]
    Threshold {
        /// How many there are.
        found: &'static str,
    },
    /// A pattern that cannot be read.
    #[error("`{text}` is no pattern: {reason}")]
    PatternText {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A pattern that a criterion cannot choose by.
    #[error("criterion `{criterion}` cannot remove by the pattern `{pattern}`, expected {expected}")]
    Pattern {
        /// Name of the criterion.
        criterion: String,
        /// The pattern.
        pattern: String,
        /// Those that it can.
        expected: &'static str,
    },
    /// A tensor that a criterion reads.
    #[error("the criterion reads `{input}`, which is not there")]
    Missing {
        /// Its name.
        input: String,
    },
    /// A tensor of one layer beside those of several.
    #[error(
        "`{name}` stands beside `{other}`, expected the tensors of one layer, or those of several as `layers.K.NAME`"
    )]
    TwoTensors {
        /// One.
        name: String,
        /// The other one.
        other: String,
    },
    /// A number that was computed from finite ones and is none itself.
    #[error("`{name}` would be {value} at element {index}, expected finite numbers")]
    Overflow {
        /// What was computed.
        name: String,
        /// Element, row-major.
        index: usize,
        /// What came out.
        value: f64,
    },
    /// A tensor of another shape.
    #[error("`{input}` has the shape {found:?}, expected {expected}")]
    Shape {
        /// Its name.
        input: String,
        /// The shape that would fit.
        expected: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// A tensor without numbers.
    #[error("`{input}` is empty, expected at least one sample of at least one number")]
    Empty {
        /// Its name.
        input: String,
    },
    /// A threshold by a standard deviation that does not exist.
    #[error("`{path}` has {found} elements, expected at least 2 for a standard deviation; give `value`")]
    Deviation {
        /// Path of the weight.
        path: String,
        /// Its elements.
        found: usize,
    },
    /// A range of sparsities that is wider than there is room.
    #[error(
        "layer {layer} would have the sparsity {found:.4}, expected 0 to 1: `lambda` is {lambda} around `sparsity` {sparsity}; \
         with these layers `lambda` may be {} at most", down(.largest)
    )]
    Spread {
        /// The knob.
        lambda: f64,
        /// What it spreads around.
        sparsity: f64,
        /// The first layer out of range.
        layer: usize,
        /// Its sparsity.
        found: f64,
        /// The largest `lambda` with which all layers are in range.
        largest: f64,
    },
    /// A scale that is no step between codes.
    #[error("`{path}` is {value} at row {row}, expected a number above 0")]
    Scale {
        /// Its name.
        path: String,
        /// Which one.
        row: usize,
        /// What stands there.
        value: f64,
    },
    /// Ratios of layers without a mean.
    #[error("`owl` was given no `sparsity`, the mean over the layers")]
    NoSparsity,
    /// A layer whose own sparsity is none.
    #[error(
        "the layer `{path}` would have a sparsity of {value:.4}, expected a number in 0 ..= 1: `lambda` = {lambda} spreads \
         layers too far from the mean"
    )]
    LayerSparsity {
        /// Path of the weight.
        path: String,
        /// What it would be.
        value: f64,
        /// Half the range.
        lambda: f64,
    },
    /// A matrix that cannot be inverted.
    #[error("the second derivatives of `{path}` cannot be inverted with `damping` {damping}; raise it")]
    Singular {
        /// Path of the weight.
        path: String,
        /// The damping.
        damping: f64,
    },
    /// Layers that belong to one group and have different sizes.
    #[error("`{input}` has {found} {what}, the members before it {expected}")]
    Members {
        /// Name of the first tensor that does not fit.
        input: String,
        /// What is counted.
        what: &'static str,
        /// In the members before.
        expected: usize,
        /// In this one.
        found: usize,
    },
    /// A score that has no place in an order.
    #[error("score {index} is not a number")]
    ScoreNaN {
        /// Which one.
        index: usize,
    },
    /// A number that is infinite or none at all, in a weight or in what belongs to one.
    #[error("`{path}` is {value} at element {index}, expected finite numbers")]
    NotFinite {
        /// Path of the parameter.
        path: String,
        /// Element, in the weight's own layout.
        index: usize,
        /// What stands there.
        value: f64,
    },
    /// A list whose length does not agree with a shape.
    #[error("`{path}` has {found} entries, expected {expected}")]
    Length {
        /// What it belongs to.
        path: String,
        /// Entries that the shape asks for.
        expected: usize,
        /// Entries given.
        found: usize,
    },
    /// A dimension that a tensor does not have.
    #[error("`{path}` has no dimension {dim}, its rank is {rank}")]
    Dimension {
        /// Path of the parameter.
        path: String,
        /// Dimension asked for.
        dim: usize,
        /// Dimensions there are.
        rank: usize,
    },
    /// A criterion that has no scores for such a unit.
    #[error("criterion `{criterion}` has no scores for the unit `{unit}`")]
    Unit {
        /// Name of the criterion.
        criterion: String,
        /// The unit asked for.
        unit: Unit,
    },
    /// A knob `unit` that asks for other scores than those of what is removed.
    #[error(
        "`unit = \"{scores}\"` of criterion `{criterion}` scores by {scores}, and the pattern `{pattern}` removes by {removes}"
    )]
    UnitKnob {
        /// Name of the criterion.
        criterion: String,
        /// The unit that the knob asks for.
        scores: Unit,
        /// The pattern.
        pattern: String,
        /// The unit that it removes.
        removes: Unit,
    },
    /// Units listed out of order, twice, or beyond the size of their dimension.
    #[error("cut of `{path}` keeps unit {index} of dimension {dim}, expected ascending units below {size}")]
    Keep {
        /// Path of the parameter.
        path: String,
        /// Dimension of the parameter.
        dim: usize,
        /// The first unit that is out of place.
        index: usize,
        /// Size of the dimension before the cut.
        size: usize,
    },
    /// A dimension that a cut would leave empty.
    #[error("cut of `{path}` keeps none of the {size} units of dimension {dim}")]
    KeepsNone {
        /// Path of the parameter.
        path: String,
        /// Dimension of the parameter.
        dim: usize,
        /// Size of the dimension before the cut.
        size: usize,
    },
    /// Two slices of one dimension in one cut.
    #[error("cut lists dimension {dim} of `{path}` twice; join the two lists")]
    Twice {
        /// Path of the parameter.
        path: String,
        /// Dimension of the parameter.
        dim: usize,
    },
    /// A path that the module does not have.
    #[error("cut names `{path}`, which the module does not have")]
    UnknownPath {
        /// The path.
        path: String,
    },
    /// A dimension whose size is not the one that the cut was made for.
    #[error(
        "cut was made for size {expected} of dimension {dim} of `{path}`, found {found}; was it applied already?"
    )]
    Size {
        /// Path of the parameter.
        path: String,
        /// Dimension of the parameter.
        dim: usize,
        /// Size in the receipt.
        expected: usize,
        /// Size in the module, or kept by the cut before.
        found: usize,
    },
    /// A parameter that is computed from others.
    #[error(
        "parameter `{path}` carries the reparameterization `{name}`; fold it in with `materialize()` before cutting"
    )]
    Reparameterized {
        /// Path of the parameter.
        path: String,
        /// Name of the reparameterization.
        name: String,
    },
    /// A cut that takes different units from two tensors that belong together, or one that the graph cannot follow.
    #[error("cut does not go through {place}: {reason}")]
    Misfit {
        /// The operation, with the weight it reads if it reads one.
        place: String,
        /// What does not agree there.
        reason: String,
    },
    /// A target that cannot be reached.
    #[error("cannot remove {target} of {before} multiply-accumulates, at most {most} can go; lower the target{}", hint(.whole))]
    MacsUnreachable {
        /// The share asked for.
        target: f64,
        /// Multiply-accumulates of the whole network.
        before: u64,
        /// Multiply-accumulates that can go at most.
        most: u64,
        /// Axes that are left whole.
        whole: usize,
    },
    /// Scores that do not belong to the axis.
    #[error("axis of `{path}` has {expected} units, found {found} scores")]
    Scores {
        /// First member of the axis.
        path: String,
        /// Units of the axis.
        expected: usize,
        /// Scores given.
        found: usize,
    },
    /// An axis of which a criterion has nothing to look at.
    #[error("`{criterion}` finds nothing to score on the axis of `{path}`")]
    Unwritten {
        /// First member of the axis.
        path: String,
        /// The criterion.
        criterion: String,
    },
    /// A pin that no parameter's path matches.
    #[error("`{pattern}` pins nothing: it matches none of {}", few(paths))]
    PinsNothing {
        /// What was asked for.
        pattern: String,
        /// Parameters there are.
        paths: Vec<String>,
    },
    /// A state of an optimizer that cannot be cut as its parameter is.
    #[error(
        "state `{state}` of `{path}` has shape {found:?}, the parameter had {expected:?}: \
         such an optimizer has to start anew"
    )]
    State {
        /// Path of the parameter.
        path: String,
        /// Name of the state.
        state: String,
        /// Shape of the parameter before the cut.
        expected: Box<[usize]>,
        /// Shape of the state.
        found: Box<[usize]>,
    },
    /// A record of an optimizer that Burn could not write or read.
    #[error("the optimizer's record cannot be cut: {reason}")]
    Record {
        /// What Burn says.
        reason: String,
    },
    /// A limit that makes no sense.
    #[error("`{limit}` is 0, expected at least 1")]
    Limit {
        /// Name of the limit.
        limit: &'static str,
    },
    /// Outputs that are infinite or not numbers.
    #[error("the {model} network's outputs are not finite, so that nothing can be compared")]
    OutputNotFinite {
        /// Which of the two.
        model: &'static str,
    },
    /// Two networks whose outputs have different shapes.
    #[error("outputs have shapes {masked:?} with channels silenced and {cut:?} with channels removed")]
    OutputShape {
        /// With removed channels silenced.
        masked: Vec<usize>,
        /// With removed channels removed.
        cut: Vec<usize>,
    },
    /// Removing channels does something else than silencing them.
    #[error(
        "removing channels changes an output by {max_abs:e} against silencing them, expected at most {tolerance:e} of {scale:e}"
    )]
    MaskDiffers {
        /// Largest difference.
        max_abs: f64,
        /// Largest output.
        scale: f64,
        /// Largest relative difference allowed.
        tolerance: f64,
    },
    /// Silencing and removing cannot be compared.
    #[error("silencing and removing channels cannot be compared: {reason}")]
    NotComparable {
        /// Why.
        reason: String,
    },
    /// A module that was cut differently from what the plan says.
    #[error("{what} of the cut module is {found}, planned {planned}")]
    NotAsPlanned {
        /// The quantity, with its path if it has one.
        what: String,
        /// In the plan.
        planned: String,
        /// In the module.
        found: String,
    },
    /// A network of which nothing of this kind can go.
    #[error("no {} can go{}", whole(*.kind), listed(.reasons))]
    NoElements {
        /// What was to go.
        kind: ElementKind,
        /// Elements of lists with what keeps each.
        reasons: Vec<String>,
    },
    /// More elements asked for than can go.
    #[error("{wanted} {} are to go, at most {most} can; lower the count", whole(*.kind))]
    TooFewElements {
        /// What was to go.
        kind: ElementKind,
        /// How many were asked for.
        wanted: usize,
        /// How many can.
        most: usize,
    },
    /// An element that a module cannot drop.
    #[error(
        "the module cannot drop `{path}`: it is no element of a `Vec` that the network can do without, or the module does \
         not say how to drop one, as `#[derive(SyncShape)]` does"
    )]
    NoElement {
        /// Its path.
        path: String,
    },
    /// A model without attention of which heads can go.
    #[error("no heads can go{}", listed(.reasons))]
    NoHeads {
        /// Axes of attention with what keeps each.
        reasons: Vec<String>,
    },
    /// The graph of the cut module.
    #[error(transparent)]
    Graph(#[from] kd_graph::Error),
}

fn whole(kind: ElementKind) -> &'static str {
    match kind {
        ElementKind::Layers => "residual blocks",
        ElementKind::Experts => "experts",
    }
}

/// Reasons, no more than are read.
fn listed(reasons: &[String]) -> String {
    match reasons {
        [] => ": there are none".into(),
        few if few.len() <= 3 => format!(": {}", few.join("; ")),
        many => format!(": {}; and {} more", many[..2].join("; "), many.len() - 2),
    }
}

/// A bound in few digits, rounded down so that what is printed keeps it.
fn down(bound: &f64) -> f64 {
    (bound * 1e4).floor() / 1e4
}

/// Names, no more than are read.
fn few(names: &[String]) -> String {
    match names {
        all if all.len() <= 8 => all.join(", "),
        many => format!("{} and {} more", many[..6].join(", "), many.len() - 6),
    }
}

fn hint(whole: &usize) -> String {
    match whole {
        0 => String::new(),
        axes => format!(" or free some of the {axes} axes that stay whole"),
    }
}

impl Error {
    /// The same error, its index counted from the start of a longer list.
    pub(crate) fn offset(self, start: usize) -> Self {
        match self {
            Error::ScoreNaN { index } => Error::ScoreNaN { index: start + index },
            other => other,
        }
    }
}
