//! What there is to know about a criterion beside its arithmetic: for lists, explanations and the reading of files.

/// A criterion in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Name in recipes.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Its definition.
    pub formula: &'static str,
    /// Where it comes from.
    pub paper: &'static str,
    /// The public implementation that it equals, and where the two differ.
    pub reference: &'static str,
    /// When it helps, and when not.
    pub when: &'static str,
    /// The tensors that it reads.
    pub inputs: &'static [Input],
    /// What may be removed by it.
    pub removes: Removes,
    /// Its knobs.
    pub knobs: &'static [Knob],
    /// Knobs to try it with, as a recipe writes them.
    pub example: &'static str,
}

impl Entry {
    /// Whether a stage of a recipe can use it: it reads the weight alone and leaves the choice to a pattern.
    pub fn in_recipes(&self) -> bool {
        self.removes != Removes::Nothing && self.inputs.iter().all(|input| input.name == "weight")
    }
}

/// A tensor that a criterion reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input {
    /// Its name in files, after `layers.K.` where there are several layers.
    pub name: &'static str,
    /// Its sizes; `…` stands for any number of them.
    pub shape: &'static [&'static str],
    /// What it is.
    pub meaning: &'static str,
    /// Whether it may be left out, as where another one takes its place.
    pub optional: bool,
}

/// What a criterion's scores may be turned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removes {
    /// Elements by a pattern, or channels.
    Any,
    /// Elements by a pattern.
    Elements,
    /// Channels.
    Channels,
    /// Elements, `unstructured` in each layer or n:m: the sweep that updates the weights has to meet them column by column.
    Sweep,
    /// None by itself: it says how sparse layers are, and a stage of a recipe gives that to `unstructured`.
    Ratios,
    /// It takes no pattern.
    Nothing,
}

impl Removes {
    /// The patterns, in words.
    pub fn patterns(self) -> &'static str {
        match self {
            Removes::Any => "every pattern",
            Removes::Elements => "every pattern but `channels`",
            Removes::Channels => "`channels`",
            Removes::Sweep => "`unstructured` without `scope=global`, `keep=K of=M`",
            Removes::Ratios | Removes::Nothing => "none",
        }
    }
}

/// A knob of a criterion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knob {
    /// Name in recipes.
    pub name: &'static str,
    /// Legal values, the default first.
    pub values: &'static str,
    /// One line.
    pub summary: &'static str,
}

/// The weight, which most criteria read.
pub(super) const WEIGHT: Input =
    Input { name: "weight", shape: &["out", "…"], meaning: "the weight", optional: false };

/// The gradient of the loss by the weight.
pub(super) const GRAD: Input = Input {
    name: "grad",
    shape: &["out", "…"],
    meaning: "gradient of the loss by the weight",
    optional: false,
};

/// Gradients of single examples.
pub(super) const GRADS: Input = Input {
    name: "grads",
    shape: &["samples", "out", "…"],
    meaning: "gradients of the losses of single examples",
    optional: false,
};

/// What a layer was given.
pub(super) const LAYER_INPUTS: Input = Input {
    name: "activations",
    shape: &["samples", "in"],
    meaning: "inputs of the layer; of a convolution, its unfolded patches",
    optional: false,
};

/// What stands behind a layer.
pub(super) const FEATURES: Input = Input {
    name: "activations",
    shape: &["samples", "channels", "…"],
    meaning: "the activations whose channels are scored",
    optional: false,
};

/// The knob that every criterion with both units has.
pub(super) const UNIT: Knob = Knob {
    name: "unit",
    values: "\"element\" | \"channel\"; without it, what the pattern ranks",
    summary: "what gets a score: a weight, or an output unit",
};
