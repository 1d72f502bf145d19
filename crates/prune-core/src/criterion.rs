//! How much a weight matters: the scores that everything else ranks by.
//!
//! A criterion is a small value with its knobs, one file each. It sees one layer's inputs on the host and returns
//! one score for each element or each output unit, higher for what should stay; it knows neither the pattern nor
//! the sparsity, and nothing about Burn. To add one: a file beside `magnitude.rs` with a struct, its
//! [`Criterion`] and its [`Entry`]; a `mod` line, a variant of [`Builtin`] and a line of [`TABLE`] here; golden
//! vectors. What it needs besides the weight joins [`Inputs`].

mod magnitude;
mod random;

use std::fmt::{self, Debug, Display, Formatter};

use serde::{Deserialize, Serialize};

pub use self::magnitude::{Magnitude, Norm};
pub use self::random::Random;
use crate::{Error, Matrix, Needs};

/// A rule that scores the weights of a layer.
///
/// Object-safe: the set of criteria is open, and a registry holds them as `Box<dyn Criterion>`.
pub trait Criterion: Debug + Send + Sync {
    /// What training has to gather for it.
    fn needs(&self) -> Needs {
        Needs::Weight
    }

    /// Its name in recipes.
    fn name(&self) -> &str;

    /// The unit that its knobs ask for, if they do.
    fn unit(&self) -> Option<Unit>;

    /// One score for each element of `inputs.weight` (row-major), or one for each of its rows.
    ///
    /// # Errors
    ///
    /// What the criterion cannot do: a unit it has no scores for, an input that is missing.
    fn scores(&self, inputs: &Inputs<'_>, unit: Unit) -> Result<Vec<f64>, Error>;
}

/// What a score belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// One weight.
    Element,
    /// One output unit of the layer: a row of its matrix.
    Channel,
}

impl Display for Unit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Element => "element",
            Unit::Channel => "channel",
        })
    }
}

/// What a criterion may look at, for one layer.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Inputs<'a> {
    /// The weight.
    pub weight: &'a Matrix,
    /// The gradient of the loss by it, as [`Criterion::needs`] asks.
    pub gradient: Option<&'a Matrix>,
}

impl<'a> Inputs<'a> {
    /// A weight and nothing else.
    pub fn new(weight: &'a Matrix) -> Self {
        Self { weight, gradient: None }
    }

    /// The same with a gradient.
    pub fn with_gradient(self, gradient: &'a Matrix) -> Self {
        Self { gradient: Some(gradient), ..self }
    }
}

/// The criteria of this crate as recipes spell them: `magnitude = { p = 2 }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Builtin {
    /// [`Magnitude`].
    Magnitude(Magnitude),
    /// [`Random`].
    Random(Random),
}

impl Builtin {
    /// The criterion itself.
    pub fn as_criterion(&self) -> &dyn Criterion {
        match self {
            Builtin::Magnitude(criterion) => criterion,
            Builtin::Random(criterion) => criterion,
        }
    }
}

impl Criterion for Builtin {
    fn needs(&self) -> Needs {
        self.as_criterion().needs()
    }

    fn name(&self) -> &str {
        self.as_criterion().name()
    }

    fn unit(&self) -> Option<Unit> {
        self.as_criterion().unit()
    }

    fn scores(&self, inputs: &Inputs<'_>, unit: Unit) -> Result<Vec<f64>, Error> {
        self.as_criterion().scores(inputs, unit)
    }
}

/// What there is to know about a criterion, for lists and explanations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Name in recipes.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Where it comes from.
    pub paper: &'static str,
    /// Its knobs.
    pub knobs: &'static [Knob],
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

/// All criteria of this crate, in the order of [`Builtin`].
pub const TABLE: &[Entry] = &[magnitude::ENTRY, random::ENTRY];

/// The knob that every criterion with both units has.
const UNIT: Knob = Knob {
    name: "unit",
    values: "\"element\" | \"channel\"; without it, what the pattern ranks",
    summary: "what gets a score: a weight, or an output unit",
};
