//! Reading of stages that sparsify: what goes, and when; and which of the two leaves no choice to the other.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use kd_core::{Progress, Schedule};
use prune_core::{Builtin, Criterion, Needs, Pattern, Scope, Unit};
use toml::Spanned;
use toml::de::DeValue;

use super::stages::schedule;
use super::table::Table;
use super::{FitSpec, SparsifySpec, criterion, rules};
use crate::problem::{Problem, suggest};
use crate::sparsify::{Shape, WHENS, Way, When};

/// What is read of the masks, each with its place where it was written.
pub(super) struct Read {
    shape: Option<(Shape, Range<usize>)>,
    criterion: Builtin,
    ranks: Option<Range<usize>>,
    calibration: usize,
    when: Option<When>,
    place: Option<Range<usize>>,
    frequency: Option<(NonZeroUsize, Range<usize>)>,
    lock_after: Option<(f64, Range<usize>)>,
}

/// The keys of masks.
pub(super) fn masks(table: &mut Table<'_>) -> Read {
    let shape = table.require::<Shape>("pattern", "pattern.unstructured = { sparsity = 0.9 }");
    let ranks = table.place("criterion");
    let criterion = criterion::of_stage(table, Unit::Element);
    let calibration = criterion::calibration_of_elements(table, &criterion);
    let (when, at) = match table.take("schedule") {
        None => (Some(When::Curve(default())), None),
        Some((_, value)) => {
            let span = value.span();
            (when(table, value), Some(span))
        }
    };
    Read {
        shape,
        criterion,
        ranks,
        calibration,
        when,
        place: at,
        frequency: table.get("frequency"),
        lock_after: rules::place(table, "lock-after"),
    }
}

/// The stage, once it is known how it trains.
pub(super) fn spec(table: &Table<'_>, read: Read, fit: Option<FitSpec>) -> Option<SparsifySpec> {
    let when = read.when.as_ref()?;
    let place = read.place.clone().unwrap_or(table.span.clone());
    let bad = |message: String, span: Range<usize>, label: &str| {
        Problem::new("recipe::bad-value", message, span, label)
    };
    let no_effect = |key: &str, span: &Range<usize>, why: &str| {
        let message = format!("`{key}` would change nothing: {why}");
        let problem = Problem::new("recipe::no-effect", message, span.clone(), "no effect");
        table.problem(problem.also(place.clone(), "beside this").help("take one of the two out"));
    };
    if let Some(span) = read.ranks.as_ref().filter(|_| when.is_movement()) {
        no_effect("criterion", span, "movement ranks by scores of its own");
    }
    let random = read.shape.as_ref().filter(|(shape, _)| matches!(shape, Shape::Each(Pattern::Random(_))));
    if let (Some(span), Some((_, pattern))) = (read.ranks.as_ref().filter(|_| !when.is_movement()), random) {
        let message = "`criterion` would change nothing: chance alone chooses the connections of `random`";
        let problem = Problem::new("recipe::no-effect", message, span.clone(), "no effect");
        table.problem(problem.also(pattern.clone(), "beside this").help("take one of the two out"));
    }
    if let Some((_, span)) = read.frequency.as_ref().filter(|_| !when.is_gradual()) {
        no_effect("frequency", span, "masks change at the beginning of rounds alone");
    }
    if let Some((lock, span)) = &read.lock_after {
        if !when.recomputes() {
            no_effect("lock-after", span, "masks are not recomputed after that");
        } else if when.share(0.5, Progress::new(*lock).unwrap_or(Progress::END)) < 1.0 {
            let message = format!("expected a `lock-after` where `schedule` has arrived, found {lock}");
            let problem = bad(message, span.clone(), "too early");
            table.problem(problem.also(place.clone(), "arrives later").help(
                "masks that are locked before stay short of what `pattern` says; let the schedule end earlier",
            ));
        }
    }
    if let Some((shape, span)) = &read.shape {
        fits(table, (shape, span), when, &place);
    }
    if let Some(ranks) = read.ranks.as_ref().filter(|_| !when.is_movement() && random.is_none()) {
        let shape = read.shape.as_ref().map(|(shape, span)| (shape, span));
        of_inputs(table, (&read.criterion, ranks), shape, (when, &place));
    }
    let fit = fit?;
    if read.criterion.needs().is_of_training()
        && !when.is_movement()
        && (fit.epochs == 0 || when.is_at_once())
    {
        let message = format!(
            "`{}` reads gradients of training steps, and masks come before the first one",
            read.criterion.name()
        );
        let problem = bad(message, read.ranks.clone().unwrap_or(place.clone()), "no step to learn from");
        table.problem(problem.also(place.clone(), "begins at once").help(
            "let the schedule begin later, as `one-shot = { at = 0.1 }` does, and give the stage epochs",
        ));
    }
    if when.needs_training() && fit.epochs == 0 {
        let message = "expected at least one epoch: this schedule is a way of training, found 0";
        let problem = bad(message.into(), place, "needs epochs");
        table.problem(problem.help("write `epochs = 2` into the stage, or leave `schedule` out"));
    }
    Some(SparsifySpec {
        shape: read.shape?.0,
        criterion: Arc::new(read.criterion),
        calibration: read.calibration,
        frequency: read.frequency.map(|(steps, _)| steps.get()),
        lock_after: read.lock_after.map(|(lock, _)| lock),
        when: read.when?,
        fit,
    })
}

/// A way with knobs of its own, or a curve that says a share.
fn when<'a>(table: &Table<'a>, value: Spanned<DeValue<'a>>) -> Option<When> {
    let span = value.span();
    let name = value.get_ref().as_table().filter(|table| table.len() == 1);
    let name = name.and_then(|table| table.keys().next()).map(|name| {
        let place = name.span();
        (name.get_ref().to_string(), place)
    });
    let own = |name: &String| name == "exponential" || WHENS.iter().any(|row| row.name == *name);
    let curve = |name: &String| Schedule::NAMES.iter().any(|row| row.name == *name);
    match name {
        Some((name, _)) if own(&name) => table.read(value).map(When::Way),
        Some((name, place)) if !curve(&name) => {
            let message = format!("no schedule of a stage that sparsifies is named `{name}`");
            let problem = Problem::new("recipe::unknown-name", message, place, "unknown name");
            let names = Schedule::NAMES.iter().chain(WHENS).map(|row| row.name);
            table.problem(problem.maybe_help(suggest(&name, names)));
            None
        }
        _ => {
            let schedule = table.read::<Schedule>(value)?;
            rules::share_schedule(table, "schedule", &schedule, span);
            Some(When::Curve(schedule))
        }
    }
}

/// Patterns that a schedule can do nothing with, and knobs that a pattern can do nothing with.
fn fits(table: &Table<'_>, (shape, span): (&Shape, &Range<usize>), when: &When, place: &Range<usize>) {
    let (message, label) = match (when, shape) {
        (When::Way(Way::SoftMovement(_)), Shape::Each(Pattern::NM(_))) => (
            "expected a pattern of single elements or blocks, found `n-m`: a threshold keeps no fixed number in a group"
                .to_owned(),
            "a number in each group",
        ),
        (when, Shape::Each(Pattern::Random(_))) if when.is_movement() => (
            "expected a pattern that ranks, found `random`: movement trains scores, and chance looks at none".to_owned(),
            "no scores",
        ),
        (When::Way(Way::SoftMovement(soft)), Shape::Each(_)) if soft.units != 1.0 => {
            let message = "`units` would change nothing: this pattern has no hidden units";
            let problem = Problem::new("recipe::no-effect", message, place.clone(), "no effect");
            let problem = problem.also(span.clone(), "beside this");
            table.problem(problem.help("take `units` out, or write `pattern.hybrid`"));
            return;
        }
        (When::Way(Way::Exponential(curve)), _) if shape.sparsity() >= 1.0 || curve.from > shape.sparsity() => (
            format!(
                "expected a sparsity from {} to below 1 under an exponential schedule, found {}",
                curve.from,
                shape.sparsity()
            ),
            "out of its reach",
        ),
        _ => return,
    };
    let problem = Problem::new("recipe::bad-value", message, span.clone(), label);
    table.problem(problem.also(place.clone(), "the schedule").help("`kd list schedules` shows others"));
}

/// Patterns, schedules and knobs that criteria which read the inputs of layers can do nothing with.
fn of_inputs(
    table: &Table<'_>,
    (criterion, ranks): (&Builtin, &Range<usize>),
    shape: Option<(&Shape, &Range<usize>)>,
    (when, place): (&When, &Range<usize>),
) {
    let name = criterion.name();
    let problem = |code: &'static str, message: String, span: &Range<usize>, label: &str, help: &str| {
        let problem = Problem::new(code, message, span.clone(), label);
        table.problem(problem.also(ranks.clone(), "the criterion").help(help));
    };
    match criterion {
        Builtin::SparseGpt(sparse) if sparse.bits.is_some() => {
            let message = "`bits` rounds to scales that a stage does not have";
            let problem = Problem::new("recipe::bad-criterion", message, ranks.clone(), "rounds");
            table.problem(problem.help("take `bits` out, and write a stage `quantize` behind this one"));
        }
        Builtin::Owl(owl) if owl.sparsity.is_some() => {
            let message = "`sparsity` of `owl` would change nothing: the pattern says it";
            let problem = Problem::new("recipe::no-effect", message, ranks.clone(), "no effect");
            let problem = match shape {
                Some((_, pattern)) => problem.also(pattern.clone(), "says it"),
                None => problem,
            };
            table.problem(problem.help("write `criterion.owl = {}`"));
        }
        _ => {}
    }
    if criterion.needs() == Needs::InputProducts && !matches!(when, When::Way(Way::OneShot(_))) {
        let message = format!(
            "expected `schedule.one-shot`: `{name}` changes the weights that stay when it masks, and does so once"
        );
        problem(
            "recipe::bad-value",
            message,
            place,
            "masks more than once",
            "write `schedule.one-shot = {}`, or take `wanda`, which changes none",
        );
    }
    let Some((shape, pattern)) = shape else { return };
    let local =
        |shape: &Shape| matches!(shape, Shape::Each(Pattern::Unstructured(it)) if it.scope == Scope::Local);
    let (can, expected) = match criterion {
        Builtin::SparseGpt(_) => (
            local(shape) || matches!(shape, Shape::Each(Pattern::NM(_))),
            "`unstructured` within each layer, or `n-m`",
        ),
        Builtin::Owl(_) => (local(shape), "`unstructured` within each layer"),
        _ => (true, ""),
    };
    if !can {
        let message = format!("expected {expected} under `{name}`, found `{shape}`");
        let help = "write `pattern.unstructured = { sparsity = 0.5 }`, or take `wanda`, which goes with every pattern";
        problem("recipe::bad-value", message, pattern, "it cannot choose so", help);
    }
}

/// Zhu and Gupta's cubic, done after three quarters of the stage so that the rest recovers.
fn default() -> Schedule {
    schedule("cubic = { from = 0.0, to = 1.0, end = 0.75 }")
}
