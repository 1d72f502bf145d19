//! What a criterion reads that only training can gather, so that whoever trains gathers that and nothing else.

/// What has to be gathered, step by step, for a criterion's scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: the weight says it all.
    #[default]
    Weight,
    /// The gradient of the loss by the weight in force, as a mean over the steps since masks were last recomputed.
    Gradient,
    /// Such a gradient that, times the weight, is Σ w·g over all steps so far: where training has been moving the weight.
    Movement,
}
