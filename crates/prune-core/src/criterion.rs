//! How much a weight matters: the scores that everything else ranks by.
//!
//! A criterion is a small value with its knobs, one file each. It sees one layer's [`Inputs`] on the host and returns
//! one score for each element or each output unit, higher for what should stay. Most know neither the pattern nor the
//! sparsity; the few whose authors tie the choice to the score say so by one of the trait's hooks, and what calls
//! these hooks in order is [`prune`](crate::prune()). To add one: a file beside `magnitude.rs` with a struct, its
//! [`Criterion`] and its [`Entry`]; a line of the list below; golden vectors. What it needs beside the weight joins
//! [`Inputs`].

mod entry;
mod knobs;

use std::fmt::{self, Debug, Display, Formatter};

use serde::{Deserialize, Serialize};

pub use self::entry::{Entry, Input, Knob, Removes};
use self::entry::{FEATURES, GRAD, GRADS, LAYER_INPUTS, UNIT, WEIGHT};
pub use self::knobs::{Bits, NonNegative, Norm};
pub(crate) use self::random::chance;
use crate::{Counts, Error, Gathers, Inputs, Needs, Pattern, Pruned, Sparsity};

/// A rule that scores the weights of a layer.
///
/// Object-safe: the set of criteria is open, and a registry holds them as `Box<dyn Criterion>`.
pub trait Criterion: Debug + Send + Sync {
    /// What training has to gather for it.
    fn needs(&self) -> Needs {
        Needs::Weight
    }

    /// What has to be gathered before coupled channels are removed by it.
    fn gathers(&self) -> Gathers {
        Gathers::Weights
    }

    /// Which members of a coupled group speak for a unit.
    fn counts(&self) -> Counts {
        Counts::Everything
    }

    /// Its name in recipes.
    fn name(&self) -> &str;

    /// The unit that its knobs ask for, or the only one that it has.
    fn unit(&self) -> Option<Unit>;

    /// One score for each element of the weight (row-major), or one for each of its rows.
    ///
    /// # Errors
    ///
    /// What the criterion cannot do: a unit it has no scores for, an input that is missing.
    fn scores(&self, inputs: &Inputs<'_>, unit: Unit) -> Result<Vec<f64>, Error>;

    /// The unit that is scored where neither a knob nor a pattern says one.
    fn usual_unit(&self) -> Unit {
        Unit::Element
    }

    /// Scores of several layers of one network: each one's, unless layers count against each other. One list for
    /// several layers where they are members of one group.
    ///
    /// # Errors
    ///
    /// As [`scores`](Criterion::scores).
    fn scores_of(&self, layers: &[Inputs<'_>], unit: Unit) -> Result<Vec<Vec<f64>>, Error> {
        layers.iter().map(|inputs| self.scores(inputs, unit)).collect()
    }

    /// What each row of a member of a coupled group says, before members become one score.
    ///
    /// # Errors
    ///
    /// As [`scores`](Criterion::scores).
    fn of_member(&self, inputs: &Inputs<'_>) -> Result<Vec<f64>, Error> {
        self.scores(inputs, Unit::Channel)
    }

    /// Scores of a whole group as other groups may be compared with, in place of the division by their mean.
    fn of_group(&self, scores: &[f64]) -> Option<Vec<f64>> {
        let _ = scores;
        None
    }

    /// Which scores of a layer the pattern `unstructured` ranks against each other.
    fn ranking(&self) -> Ranking {
        Ranking::Layer
    }

    /// The weights that stay, for a criterion that decides without a pattern.
    ///
    /// # Errors
    ///
    /// As [`scores`](Criterion::scores).
    fn decide(&self, inputs: &Inputs<'_>, scores: &[f64]) -> Option<Result<Vec<bool>, Error>> {
        let _ = (inputs, scores);
        None
    }

    /// A sparsity for each layer around a mean of `sparsity`, for a criterion that gives layers other ones.
    ///
    /// # Errors
    ///
    /// As [`scores`](Criterion::scores), [`Error::LayerSparsity`].
    fn sparsities(&self, sparsity: Sparsity, layers: &[Inputs<'_>]) -> Option<Result<Vec<f64>, Error>> {
        let _ = (sparsity, layers);
        None
    }

    /// The weight after removal of what is not kept, removed elements 0, where those that stay make up for it.
    ///
    /// # Errors
    ///
    /// As [`scores`](Criterion::scores).
    fn update(&self, inputs: &Inputs<'_>, keep: &[bool]) -> Option<Result<Vec<f64>, Error>> {
        let _ = (inputs, keep);
        None
    }

    /// Everything at once, for a criterion that chooses while it updates; called instead of the rest.
    ///
    /// # Errors
    ///
    /// As [`scores`](Criterion::scores), and a pattern that it cannot choose by.
    fn sweep(&self, inputs: &Inputs<'_>, pattern: &Pattern) -> Option<Result<Pruned, Error>> {
        let _ = (inputs, pattern);
        None
    }
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

/// Scores of a layer that `unstructured` compares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ranking {
    /// Those of one output unit: every row of the matrix loses as many.
    Row,
    /// All.
    #[default]
    Layer,
}

/// Writes what goes along the list of all criteria.
macro_rules! criteria {
    ($($text:literal $file:ident $name:ident,)+) => {
        $(mod $file;)+
        $(pub use self::$file::$name;)+

        /// The criteria of this crate as recipes spell them: `magnitude = { p = 2 }`.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub enum Builtin {
            $(
                #[doc = concat!("[`", stringify!($name), "`].")]
                #[serde(rename = $text)]
                $name($name),
            )+
        }

        impl Builtin {
            /// The criterion itself.
            pub fn as_criterion(&self) -> &dyn Criterion {
                match self {
                    $(Builtin::$name(criterion) => criterion,)+
                }
            }

            /// What there is to know about it.
            pub fn entry(&self) -> &'static Entry {
                match self {
                    $(Builtin::$name(_) => &$file::ENTRY,)+
                }
            }
        }

        /// All criteria of this crate, in the order of [`Builtin`].
        ///
        #[doc = include_str!("../CRITERIA.md")]
        pub const TABLE: &[Entry] = &[$($file::ENTRY,)+];
    };
}

criteria! {
    "magnitude" magnitude Magnitude,
    "threshold" threshold Threshold,
    "lamp" lamp Lamp,
    "random" random Random,
    "bn-scale" bn_scale BnScale,
    "fpgm" fpgm Fpgm,
    "taylor" taylor Taylor,
    "snip" snip Snip,
    "movement" movement Movement,
    "wanda" wanda Wanda,
    "sparsegpt" sparsegpt SparseGpt,
    "obd" obd Obd,
    "obs" obs Obs,
    "group-fisher" group_fisher GroupFisher,
    "activation-norm" activation_norm ActivationNorm,
    "owl" owl Owl,
}

pub use self::obs::Update;
pub use self::sparsegpt::hessian;
pub use self::taylor::Form;

impl Criterion for Builtin {
    fn needs(&self) -> Needs {
        self.entry().needs().unwrap_or_default()
    }

    fn gathers(&self) -> Gathers {
        self.as_criterion().gathers()
    }

    fn counts(&self) -> Counts {
        self.as_criterion().counts()
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

    fn usual_unit(&self) -> Unit {
        self.as_criterion().usual_unit()
    }

    fn scores_of(&self, layers: &[Inputs<'_>], unit: Unit) -> Result<Vec<Vec<f64>>, Error> {
        self.as_criterion().scores_of(layers, unit)
    }

    fn of_member(&self, inputs: &Inputs<'_>) -> Result<Vec<f64>, Error> {
        self.as_criterion().of_member(inputs)
    }

    fn of_group(&self, scores: &[f64]) -> Option<Vec<f64>> {
        self.as_criterion().of_group(scores)
    }

    fn ranking(&self) -> Ranking {
        self.as_criterion().ranking()
    }

    fn decide(&self, inputs: &Inputs<'_>, scores: &[f64]) -> Option<Result<Vec<bool>, Error>> {
        self.as_criterion().decide(inputs, scores)
    }

    fn sparsities(&self, sparsity: Sparsity, layers: &[Inputs<'_>]) -> Option<Result<Vec<f64>, Error>> {
        self.as_criterion().sparsities(sparsity, layers)
    }

    fn update(&self, inputs: &Inputs<'_>, keep: &[bool]) -> Option<Result<Vec<f64>, Error>> {
        self.as_criterion().update(inputs, keep)
    }

    fn sweep(&self, inputs: &Inputs<'_>, pattern: &Pattern) -> Option<Result<Pruned, Error>> {
        self.as_criterion().sweep(inputs, pattern)
    }
}

/// The error of a criterion that has one unit alone and is asked for the other.
fn only(criterion: &Entry, has: Unit, unit: Unit) -> Result<(), Error> {
    match has == unit {
        true => Ok(()),
        false => Err(Error::Unit { criterion: criterion.name.into(), unit }),
    }
}

/// The scores of elements as they are, or each row of `columns` summed up.
fn by_unit(scores: Vec<f64>, columns: usize, unit: Unit) -> Vec<f64> {
    match unit {
        Unit::Element => scores,
        Unit::Channel => rows(&scores, columns).map(|row| row.iter().sum()).collect(),
    }
}

/// The rows of a matrix; none where they would be empty.
fn rows(values: &[f64], columns: usize) -> std::slice::ChunksExact<'_, f64> {
    values.chunks_exact(columns.max(1))
}
