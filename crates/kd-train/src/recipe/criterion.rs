//! Reading of criteria: the one that an option names, and whether a stage of a recipe has what one reads.

use std::num::NonZeroUsize;
use std::ops::Range;

use prune_core::{Builtin, Criterion, Gathers, Needs, Removes, Unit};
use toml::Spanned;
use toml::de::DeValue;

use super::line::{line_table, with_knobs};
use super::table::{Table, read};
use crate::problem::Problem;

/// The criterion that a line of TOML names, or a name alone.
pub(crate) fn one_criterion(line: &str) -> Result<Builtin, Box<Problem>> {
    let (text, whole) = with_knobs(line);
    let table = line_table(&text)?;
    if table.get_ref().len() != 1 {
        let found = table.get_ref().len();
        let message = format!("expected one criterion, such as `magnitude = {{ p = 1 }}`, found {found}");
        return Err(Box::new(Problem::new("recipe::no-name", message, 0..line.len(), "not one criterion")));
    }
    let span = table.span();
    let problem = |problem: Box<Problem>| {
        // The quotes that a bare name got are not in what was written.
        if whole { Box::new(problem.at(0..line.len())) } else { problem }
    };
    let criterion = read(Spanned::new(span, DeValue::Table(table.into_inner()))).map_err(problem)?;
    if let Builtin::Owl(owl) = &criterion
        && owl.sparsity.is_none()
    {
        // A stage has a pattern that says it; here nothing else does.
        let message = "this needs the key `sparsity`";
        let problem = Problem::new("recipe::missing-key", message, 0..line.len(), "incomplete");
        return Err(Box::new(problem.help("write `owl = { sparsity = 0.6 }`")));
    }
    Ok(criterion)
}

/// The criterion of a stage that removes `unit`s by a pattern; one that needs more than the weight is noted.
pub(super) fn of_stage(table: &mut Table<'_>, unit: Unit) -> Builtin {
    let usual = Builtin::Magnitude(Default::default());
    let Some((criterion, span)) = table.get::<Builtin>("criterion") else { return usual };
    if let Some((message, label, help)) = complaint(&criterion, unit) {
        let problem = Problem::new("recipe::bad-criterion", message, Range::clone(&span), label);
        table.problem(problem.help(help));
    }
    criterion
}

/// A criterion of whole modules, of which nothing but weights is gathered; another one is noted.
pub(super) fn of_weights(
    table: &mut Table<'_>,
    criterion: &Builtin,
    span: Range<usize>,
    pattern: &Range<usize>,
) {
    if criterion.gathers() != Gathers::Weights {
        let message =
            format!("`{}` reads more than weights, and the pattern takes whole modules", criterion.name());
        let problem = Problem::new("recipe::bad-criterion", message, span, "reads more than weights");
        let problem = problem.also(pattern.clone(), "whole modules");
        table.problem(
            problem.help("name a criterion of weights, or none: then the loss without a module decides"),
        );
    }
}

/// Training batches over which a criterion of channels gathers what it reads.
pub(super) fn calibration(table: &mut Table<'_>, criterion: &Builtin) -> usize {
    let idle = (criterion.gathers() == Gathers::Weights).then_some("looks at weights alone");
    batches(table, criterion, idle, "reads gradients or activations")
}

/// Training batches over which a criterion of elements gathers what it reads.
pub(super) fn calibration_of_elements(table: &mut Table<'_>, criterion: &Builtin) -> usize {
    let idle = match criterion.needs() {
        Needs::Squares | Needs::InputSquares | Needs::InputProducts => None,
        Needs::Gradient | Needs::Movement => Some("gathers what it reads while the stage trains"),
        Needs::Weight => Some("looks at weights alone"),
    };
    batches(table, criterion, idle, "gathers over batches, such as `wanda`")
}

/// The number of batches; one that nobody would look at is noted, with what a criterion does that would.
fn batches(table: &mut Table<'_>, criterion: &Builtin, idle: Option<&str>, other: &str) -> usize {
    let Some((batches, span)) = table.get::<NonZeroUsize>("calibration") else { return CALIBRATION };
    if let Some(reason) = idle {
        let message = format!("`calibration` would change nothing: `{}` {reason}", criterion.name());
        let problem = Problem::new("recipe::no-effect", message, span, "no effect");
        table.problem(problem.help(format!("take it out, or name a criterion that {other}")));
    }
    batches.get()
}

/// With the usual batches of 128 about a thousand examples, which published criteria take.
const CALIBRATION: usize = 8;

fn complaint(criterion: &Builtin, unit: Unit) -> Option<(String, &'static str, String)> {
    let (name, entry) = (criterion.name(), criterion.entry());
    let eval = format!("`kd prune eval --criterion {name}` computes it on saved tensors");
    if entry.removes == Removes::Nothing {
        return Some((format!("`{name}` takes no pattern, and a stage has one"), "takes no pattern", eval));
    }
    // A stage that sparsifies trains before masks come, and gathers gradients on the way; inputs of layers and gradients of
    // single examples it gathers over calibration batches. So does one that prunes with what scores of coupled channels
    // read.
    let (masks, cuts) = (entry.needs().is_some(), entry.removes_channels());
    let gathered = match unit {
        Unit::Element => masks,
        Unit::Channel => cuts,
    };
    // What the other kind of stage can do is a matter of units, and said so below.
    let elsewhere = (masks || cuts) && criterion.unit().is_some_and(|has| has != unit);
    if !entry.in_recipes() && !gathered && !elsewhere {
        let more = entry.inputs.iter().map(|input| input.name).filter(|&name| name != "weight");
        let more = more.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let message = format!("`{name}` reads {more}, which a stage does not have");
        return Some((message, "reads more than the weight", eval));
    }
    let has = criterion.unit().filter(|has| *has != unit)?;
    let (stage, other) = match unit {
        Unit::Element => ("sparsify", "prune"),
        Unit::Channel => ("prune", "sparsify"),
    };
    let message = format!("`{name}` scores by {has}, and a stage `{stage}` removes by {unit}");
    let help = match entry.removes {
        Removes::Any => format!("leave `unit` out, or write a stage `{other}`"),
        _ => format!("write a stage `{other}`, or another criterion: `kd list criteria` shows all"),
    };
    Some((message, "scores of the other unit", help))
}
