//! Rules that no type can express: about several places at once, or about the curve of a schedule.

use std::num::NonZeroUsize;
use std::ops::Range;

use kd_core::{Progress, Schedule};
use quant_core::{Granularity, ScaleFormat, Scheme};
use toml::Spanned;

use super::objective::Terms;
use super::table::Table;
use super::{Metric, Role};
use crate::device::BACKENDS;
use crate::estimator::Estimator;
use crate::problem::{Problem, suggest};

/// What is known of a stage, even where something in it is wrong, so that one problem hides no other.
#[derive(Debug, Clone)]
pub(super) struct Outline {
    pub(super) stage: Range<usize>,
    pub(super) name: Option<(String, Range<usize>)>,
    pub(super) kind: Option<(&'static str, Range<usize>)>,
    pub(super) of: Option<Role>,
    pub(super) learns: Learns,
    /// Whether it trains a student that has learned nothing yet, though it does not look so.
    pub(super) begins: bool,
}

/// What a stage learns from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Learns {
    /// It does not learn.
    Nothing,
    /// The recipe does not say.
    Unsaid,
    /// The recipe says it, but with problems.
    Unclear,
    /// From labels alone.
    Labels,
    /// From a teacher, by the loss of this name and perhaps others.
    Teacher(String),
}

impl Outline {
    /// A stage of which nothing could be read.
    pub(super) fn unknown() -> Self {
        Self { stage: 0..0, name: None, kind: None, of: None, learns: Learns::Unclear, begins: false }
    }

    pub(super) fn of_teacher(&self) -> bool {
        self.of == Some(Role::Teacher)
    }
}

impl From<&Terms> for Learns {
    fn from(terms: &Terms) -> Self {
        match terms {
            Terms::Absent => Learns::Unsaid,
            Terms::Broken => Learns::Unclear,
            Terms::Whole(terms) => match terms.iter().find(|term| term.teacher) {
                Some(term) => Learns::Teacher(term.loss.clone()),
                None => Learns::Labels,
            },
        }
    }
}

/// Keys that would change nothing beside a pattern, each with the reason.
pub(super) fn idle_beside(table: &Table<'_>, keys: &[&str], pattern: &Range<usize>, why: &str) {
    for key in keys {
        let Some(span) = table.place(key) else { continue };
        let problem = Problem::new(
            "recipe::no-effect",
            format!("`{key}` would change nothing: {why}"),
            span,
            "no effect",
        );
        table.problem(problem.also(pattern.clone(), "beside this").help("take one of the two out"));
    }
}

/// A name that becomes a folder.
pub(super) fn file_safe(table: &Table<'_>, name: &str, span: Range<usize>) {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(fine) {
        let message = format!("expected a name of letters, digits, `-`, `_` and `.`, found `{name}`");
        table.problem(Problem::new("recipe::bad-name", message, span, "not the name of a folder"));
    }
}

/// The recipe's seed.
pub(super) fn seed(top: &mut Table<'_>) -> u64 {
    let Some((seed, span)) = top.get::<u64>("seed") else { return 42 };
    // TOML promises 63 bits only, and `--seeds` counts on from here.
    if seed > i64::MAX as u64 / 2 {
        let message = format!("expected a seed of at most 62 bits, found {seed}");
        top.problem(Problem::new("recipe::bad-value", message, span, "too large"));
    }
    seed
}

/// The name of a device; whether it is compiled in is known to who opens it.
pub(super) fn device(table: &Table<'_>, name: &str, span: Range<usize>) {
    let (backend, index) =
        name.split_once(':').map_or((name, None), |(backend, index)| (backend, Some(index)));
    if !BACKENDS.contains(&backend) {
        let message = format!("no device is named `{backend}`");
        let problem = Problem::new("device::unknown", message, span, "unknown device");
        table.problem(problem.maybe_help(suggest(backend, BACKENDS)));
    } else if let Some(index) = index
        && (crate::device::is_exact(backend) || index.parse::<usize>().is_err())
    {
        let message =
            format!("expected a card of `wgpu` or `cuda` counted from 0, such as `cuda:1`, found `{name}`");
        table.problem(Problem::new("device::unknown", message, span, "no such card"));
    }
}

/// Weights take every scheme but one of tokens; activations integers with one scale, or one for each row at run time.
pub(super) fn schemes(
    table: &Table<'_>,
    weights: Option<&(Scheme, Range<usize>)>,
    activations: Option<&(Scheme, Range<usize>)>,
) {
    if let Some((scheme, span)) = weights
        && scheme.granularity() == Granularity::Token
    {
        let message = format!("expected a scheme for weights, found `{scheme}`");
        let problem = Problem::new("recipe::bad-scheme", message, span.clone(), "a scale for each token");
        table.problem(problem.help("weights have no tokens: write `int8 channel symmetric`"));
    }
    let Some((scheme, span)) = activations else { return };
    let bad = |expected: &str, label: &str, help: &str| {
        let message = format!("expected {expected} for activations, found `{scheme}`");
        let problem = Problem::new("recipe::bad-scheme", message, span.clone(), label);
        table.problem(problem.help(help));
    };
    if scheme.granularity() == Granularity::Channel {
        bad(
            "one scale",
            "a scale for each channel",
            "a product sums over the channels of its input: write `int8 tensor affine`",
        );
    } else if !scheme.int().is_some_and(|int| (2..=8).contains(&int.bits)) {
        bad("integers of 2 to 8 bits", "no such integer", "write `int8 tensor affine`");
    } else if !matches!(scheme.granularity(), Granularity::Tensor | Granularity::Token) {
        bad(
            "one scale, or one for each row",
            "scales for parts of a row",
            "write `int8 tensor affine`, or `int8 token affine` for scales found at run time",
        );
    } else if scheme.scale() != ScaleFormat::F32 {
        bad("a scale in f32", "a narrower scale", "leave out `scale=…`");
    }
}

/// An estimator with schemes that it takes.
pub(super) fn estimator(
    table: &Table<'_>,
    estimator: Option<&(Estimator, Range<usize>)>,
    weights: Option<&(Scheme, Range<usize>)>,
    activations: Option<&(Scheme, Range<usize>)>,
) {
    let Some((estimator, span)) = estimator else { return };
    let name = estimator.name();
    if let Some((scheme, place)) = weights
        && let Some(takes) = estimator.refuses_weights(scheme)
    {
        let message = format!("expected weights that `{name}` takes, found `{scheme}`");
        let problem = Problem::new("recipe::bad-scheme", message, place.clone(), format!("not for `{name}`"));
        table.problem(problem.also(span.clone(), "the estimator").help(format!("it takes {takes}")));
    }
    if let Some(takes) = estimator.refuses_activations(activations.map(|(scheme, _)| scheme)) {
        let found = activations.map_or_else(|| "none".into(), |(scheme, _)| format!("`{scheme}`"));
        let message = format!("expected activations that `{name}` trains, found {found}");
        let place = activations.map_or(span, |(_, place)| place).clone();
        let problem = Problem::new("recipe::bad-scheme", message, place, format!("not for `{name}`"));
        table.problem(problem.help(format!("it takes {takes}")));
    }
}

/// A share above 0, at most 1, if it is there.
pub(super) fn noise(table: &mut Table<'_>, key: &'static str) -> Option<f64> {
    number(table, key, "above 0, at most 1", |value| value > 0.0 && value <= 1.0)
}

/// A share from 0 to 1.
pub(super) fn share(table: &mut Table<'_>, key: &'static str, default: f64) -> f64 {
    number(table, key, "from 0 to 1", |value| (0.0..=1.0).contains(&value)).unwrap_or(default)
}

/// A place in the stage, with where that is written, if it is there.
pub(super) fn place(table: &mut Table<'_>, key: &'static str) -> Option<(f64, Range<usize>)> {
    let (value, span) = table.get::<f64>(key)?;
    if !(0.0..=1.0).contains(&value) {
        let message = format!("expected a number from 0 to 1 for `{key}`, found {value}");
        table.problem(Problem::new("recipe::bad-value", message, span, "not from 0 to 1"));
        return None;
    }
    Some((value, span))
}

/// How many values weights share, if it is there: more than 4095 cannot be packed.
pub(super) fn shared_values(table: &mut Table<'_>, key: &'static str) -> Option<NonZeroUsize> {
    let value = number(table, key, "from 1 to 4095, whole", |value| {
        value.fract() == 0.0 && (1.0..=4095.0).contains(&value)
    })?;
    NonZeroUsize::new(value as usize)
}

/// A number above 0, if it is there.
pub(super) fn positive(table: &mut Table<'_>, key: &'static str) -> Option<f64> {
    number(table, key, "above 0", |value| value > 0.0 && value.is_finite())
}

fn number(table: &mut Table<'_>, key: &'static str, range: &str, fits: impl Fn(f64) -> bool) -> Option<f64> {
    let (value, span) = table.get::<f64>(key)?;
    if !fits(value) {
        let message = format!("expected a number {range} for `{key}`, found {value}");
        table.problem(Problem::new("recipe::bad-value", message, span, format!("not {range}")));
    }
    Some(value)
}

/// A learning rate: never negative, and not 0 throughout.
pub(super) fn rate(table: &mut Table<'_>, key: &'static str, default: Schedule) -> Schedule {
    let Some((schedule, span)) = table.get::<Schedule>(key) else { return default };
    let lowest = values(&schedule).fold(f64::INFINITY, f64::min);
    let highest = values(&schedule).fold(f64::NEG_INFINITY, f64::max);
    if lowest < 0.0 || highest <= 0.0 {
        let found = if lowest < 0.0 { lowest } else { highest };
        let message = format!("expected a `{key}` above 0, found {found}");
        table.problem(Problem::new("recipe::bad-value", message, span, "not above 0"));
    }
    schedule
}

/// A share that rises to 1.
pub(super) fn share_schedule(table: &Table<'_>, key: &'static str, schedule: &Schedule, span: Range<usize>) {
    let end = schedule.at(Progress::END);
    let outside = values(schedule).find(|value| !(0.0..=1.0).contains(value));
    if let Some(found) = outside.or(Some(end).filter(|end| *end != 1.0)) {
        let message = format!("expected a `{key}` within 0 and 1 that ends at 1, found {found}");
        let problem = Problem::new("recipe::bad-value", message, span, "not a share that ends at 1");
        table.problem(
            problem
                .help("`pattern` says how much goes in the end, and this how much of that is gone by when"),
        );
    }
}

/// A schedule's values at places close enough to show its ends and its course.
fn values(schedule: &Schedule) -> impl Iterator<Item = f64> {
    (0..=1000).map(|i| schedule.at(Progress::of(i, 1000)))
}

/// A row of the report that a gate may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Row {
    Named(String),
    /// A stage whose name could not be read: any name may be its.
    Any,
}

/// The rows that the report will have.
pub(super) fn rows(stages: &[Outline], teacher_given: bool) -> Vec<Row> {
    let has_row = |stage: &&Outline| stage.kind.as_ref().is_none_or(|(kind, _)| *kind != "export");
    let row = |stage: &Outline| stage.name.clone().map_or(Row::Any, |(name, _)| Row::Named(name));
    let mut rows: Vec<Row> = stages.iter().filter(has_row).map(row).collect();
    rows.extend(teacher_given.then(|| Row::Named("teacher".into())));
    let distills = |stage: &Outline| stage.kind.as_ref().is_none_or(|(kind, _)| *kind == "distill");
    rows.extend(stages.iter().any(distills).then(|| Row::Named("baseline".into())));
    rows
}

/// Whether a gate's row will be there.
pub(super) fn row(table: &Table<'_>, stage: &Spanned<String>, rows: &[Row]) -> bool {
    let name = stage.get_ref();
    if rows.iter().any(|row| matches!(row, Row::Any) || matches!(row, Row::Named(row) if row == name)) {
        return true;
    }
    let names = rows.iter().filter_map(|row| match row {
        Row::Named(name) => Some(name.as_str()),
        Row::Any => None,
    });
    let help = match Metric::ALL.iter().any(|(metric, _)| metric == name) {
        true => {
            Some(format!("a gate is for one stage: write, for example, `distill.{name} = {{ min = 0.98 }}`"))
        }
        false => suggest(name, names),
    };
    let message = format!("the report will have no row `{name}`");
    let problem = Problem::new("recipe::unknown-stage", message, stage.span(), "no such stage");
    table.problem(problem.maybe_help(help));
    false
}

/// Whether a gate's stage has that number: not every stage packs.
pub(super) fn has_metric(
    table: &Table<'_>,
    stage: &Spanned<String>,
    metric: &Spanned<String>,
    stages: &[Outline],
) -> bool {
    let named = |it: &&Outline| it.name.as_ref().is_some_and(|(name, _)| name == stage.get_ref());
    let packs = stages
        .iter()
        .find(named)
        .is_some_and(|stage| stage.kind.as_ref().is_none_or(|(kind, _)| *kind == "share"));
    if !packs {
        let message = format!("`{}` packs nothing and has no `{}`", stage.get_ref(), metric.get_ref());
        let problem = Problem::new("recipe::unknown-metric", message, metric.span(), "not of this stage");
        table.problem(problem.help("name a stage `share`, which packs its weights, or gate its `bytes`"));
    }
    packs
}

/// The limits of a gate, smallest and largest; at least one is there.
pub(super) fn limits(table: &mut Table<'_>, metric: Metric) -> (Option<f64>, Option<f64>) {
    if table.is_empty() {
        let message = format!("`{}` has no limit", table.path);
        let problem = Problem::new("recipe::missing-key", message, table.span.clone(), "no limit");
        table.problem(problem.help("write `{ min = … }`, `{ max = … }` or both"));
    }
    let fraction = matches!(metric, Metric::Accuracy | Metric::AccuracyLast | Metric::Agreement);
    let mut limit = |key| match fraction {
        true => number(table, key, "from 0 to 1", |value| (0.0..=1.0).contains(&value)),
        false => number(table, key, "of at least 0", |value| value >= 0.0 && value.is_finite()),
    };
    let (min, max) = (limit("min"), limit("max"));
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        let message = format!("expected `min` of at most `max`, found {min} and {max}");
        table.problem(Problem::new("recipe::bad-value", message, table.span.clone(), "nothing lies between"));
    }
    (min, max)
}
