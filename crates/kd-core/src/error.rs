//! What can go wrong in this crate: a number outside its range, two tensors that do not fit, a name that nobody knows.
//!
//! Every variant carries what was expected, what was found and where as fields, so that a front end can point at
//! the place in a recipe; the text is complete without one.

use crate::{ConnectorKind, Side};

/// An error of this crate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A number lies outside the range in which it means something.
    #[error("`{name}` must be {expected}, found {found}")]
    OutOfRange {
        /// The number's name.
        name: &'static str,
        /// The legal range, in words.
        expected: &'static str,
        /// The value.
        found: f64,
    },
    /// A ramp ends before it begins.
    #[error("`begin` must be smaller than `end`, found begin = {begin} and end = {end}")]
    EmptyRange {
        /// Where the ramp leaves its first value.
        begin: f64,
        /// Where it reaches its last one.
        end: f64,
    },
    /// `exponential` interpolates 1 − value, which must stay positive.
    #[error(
        "`exponential` moves on density, 1 − value, so `from` and `to` must be below 1, found from = {from} and \
         to = {to}; use `geometric` for learning rates, weights and temperatures"
    )]
    ExponentialRange {
        /// First value.
        from: f64,
        /// Last value.
        to: f64,
    },
    /// `geometric` interpolates logarithms.
    #[error(
        "`geometric` moves by a factor, so `from` and `to` must be above 0, found from = {from} and to = {to}"
    )]
    GeometricRange {
        /// First value.
        from: f64,
        /// Last value.
        to: f64,
    },
    /// A `step` schedule has not one value for each place.
    #[error("`step` needs one value for each place in `at`, found {at} places and {values} values")]
    StepLengths {
        /// Entries of `at`.
        at: usize,
        /// Entries of `values`.
        values: usize,
    },
    /// Places along a schedule do not ascend.
    #[error("the places of `{schedule}` must ascend, found {found} after {previous}")]
    NotAscending {
        /// `step` or `sequence`.
        schedule: &'static str,
        /// The place before.
        previous: f64,
        /// The place that is not larger.
        found: f64,
    },
    /// A `step` or `sequence` has no pieces.
    #[error("`{schedule}` needs at least one piece")]
    NoPieces {
        /// `step` or `sequence`.
        schedule: &'static str,
    },
    /// A `sequence` does not cover the whole run.
    #[error("the last piece of `sequence` must last until 1, found {found}")]
    SequenceEnd {
        /// Where the last piece ends.
        found: f64,
    },
    /// Student and teacher do not give the same number of examples or classes.
    #[error(
        "logits of student and teacher must have the same shape [batch, classes], found {student:?} and {teacher:?}"
    )]
    LogitShapes {
        /// The student's shape.
        student: [usize; 2],
        /// The teacher's shape.
        teacher: [usize; 2],
    },
    /// The number of labels is not the number of examples.
    #[error("there must be one label for each of the {examples} examples, found {labels}")]
    Labels {
        /// Rows of the logits.
        examples: usize,
        /// Length of the targets.
        labels: usize,
    },
    /// A loss was asked for a tensor without elements, where a mean means nothing.
    #[error("a loss needs at least one element, found a tensor of shape {shape:?}")]
    Empty {
        /// Shape of the logits or the feature.
        shape: Vec<usize>,
    },
    /// A loss that compares with the teacher was given none.
    #[error("the loss `{loss}` compares with a teacher, and there is none")]
    NoTeacher {
        /// Name of the loss.
        loss: &'static str,
    },
    /// A loss was not given something that it reads.
    #[error("the loss `{loss}` reads `{input}`, which is not there")]
    Missing {
        /// Name of the loss.
        loss: &'static str,
        /// What is missing, as `kd loss eval` names it.
        input: &'static str,
    },
    /// A tensor whose name means nothing to a loss.
    #[error(
        "no loss reads a tensor named `{name}`: expected `student.NAME`, `teacher.NAME`, `teacher.K.NAME`, \
         `connector.NAME`, `targets` or `mask`"
    )]
    UnknownInput {
        /// The name.
        name: String,
    },
    /// A named tensor has a rank that its name does not have.
    #[error("`{name}` must have rank {expected}, found rank {found}")]
    InputRank {
        /// The name.
        name: String,
        /// The ranks, in words.
        expected: &'static str,
        /// What was found.
        found: usize,
    },
    /// A loss trains a parameter that was not created, or that has another size.
    #[error(
        "the loss `{loss}` trains `connector.{name}` of shape {shape:?}, {}",
        .found.map_or("which is not there".to_string(), |found| format!("found {found} numbers"))
    )]
    NoParameter {
        /// Name of the loss.
        loss: &'static str,
        /// Name of the parameter.
        name: &'static str,
        /// The shape that it needs.
        shape: Vec<usize>,
        /// Its numbers, if it is there.
        found: Option<usize>,
    },
    /// An input of a loss has a shape that it can do nothing with.
    #[error("`{input}` of the loss `{loss}` must be {expected}, found shape {found:?}")]
    Shape {
        /// Name of the loss.
        loss: &'static str,
        /// Which input, as `kd loss eval` names it.
        input: &'static str,
        /// The shape in words and letters, such as `[B, C, H, W]`.
        expected: &'static str,
        /// What was found.
        found: Vec<usize>,
    },
    /// A feature has another rank than the caller asked for.
    #[error("expected a feature of rank {expected}, found rank {found}")]
    Rank {
        /// Rank that was asked for.
        expected: usize,
        /// Rank of the feature.
        found: usize,
    },
    /// A loss names a site that the model never reached.
    #[error("the {side} has no site `{site}`{}", known(.sites))]
    UnknownSite {
        /// Whose site.
        side: Side,
        /// The name that was asked for.
        site: String,
        /// The sites that were kept, in the order of the forward pass.
        sites: Vec<String>,
    },
    /// Two features have different shapes where a loss compares them element by element.
    #[error(
        "features must have the same shape, found {student:?} of the student and {teacher:?} of the teacher"
    )]
    FeatureShapes {
        /// The student's shape, after its connector.
        student: Vec<usize>,
        /// The teacher's shape.
        teacher: Vec<usize>,
    },
    /// No connector of this crate turns one feature into the other.
    #[error(
        "student site `{student}` of shape {student_shape:?} cannot be joined to teacher site `{teacher}` of shape \
         {teacher_shape:?}: {reason}"
    )]
    Unjoinable {
        /// The student's site.
        student: String,
        /// Shape of the student's feature.
        student_shape: Vec<usize>,
        /// The teacher's site.
        teacher: String,
        /// Shape of the teacher's feature.
        teacher_shape: Vec<usize>,
        /// Why not.
        reason: Obstacle,
    },
    /// A loss uses a pair of sites for which no connector was created.
    #[error("no connector was created for student site `{student}` and teacher site `{teacher}`")]
    NoConnector {
        /// The student's site.
        student: String,
        /// The teacher's site.
        teacher: String,
    },
    /// An objective without terms.
    #[error("an objective needs at least one term")]
    NoTerms,
    /// Two terms of an objective have the same name, so that their reports could not be told apart.
    #[error("two terms of the objective are named `{name}`: give one of them another name")]
    DuplicateTerm {
        /// The name.
        name: String,
    },
}

/// Why two features cannot be joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Obstacle {
    /// The two features have different ranks.
    #[error("their ranks differ")]
    Ranks,
    /// The two features were seen on different numbers of examples.
    #[error("their batch sizes differ")]
    Batch,
    /// Height and width, or the length of a sequence, differ.
    #[error(
        "a connector changes channels only, and their positions differ: choose two sites of the same resolution, or \
         write `connector = \"upsample\"` for maps"
    )]
    Positions,
    /// A map has not as many pixels as there are tokens.
    #[error("tokens become the pixels of a map one by one, and their numbers differ")]
    Pixels,
    /// The asked-for connector works on another rank.
    #[error("`{kind}` joins features of rank {}", .kind.ranks())]
    Kind {
        /// The asked-for connector.
        kind: ConnectorKind,
    },
    /// The asked-for connector changes nothing, and the shapes differ.
    #[error("`identity` needs equal shapes: leave `connector` out to have one chosen")]
    NotIdentical,
    /// Features of this rank have no channels that a connector could change.
    #[error("features of rank 1 have no channels to connect")]
    NoChannels,
}

fn known(sites: &[String]) -> String {
    if sites.is_empty() {
        ", and none was kept".to_string()
    } else {
        let list: Vec<String> = sites.iter().map(|site| format!("`{site}`")).collect();
        format!(": there are {}", list.join(", "))
    }
}
