//! Reading of objectives: terms, and which list of them a stage learns from.

use std::sync::Arc;

use kd_core::loss::CrossEntropy;
use kd_core::{DistillLoss, Objective, Schedule, Term};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::TermSpec;
use super::line::{line_table, with_knobs};
use super::read::unknown;
use super::table::Table;
use crate::problem::{Problem, nearest};
use crate::registry::Registry;

/// A list of terms as it was found.
#[derive(Debug, Clone)]
pub(super) enum Terms {
    /// There is none.
    Absent,
    /// There is one, with problems that are noted.
    Broken,
    /// At least one term.
    Whole(Vec<TermSpec>),
}

/// What a stage learns from.
pub(super) struct Learning {
    /// As it was found: the stage's own, else the recipe's.
    pub(super) terms: Terms,
    /// The stage's own, to be written out again.
    pub(super) own: Option<Vec<TermSpec>>,
    pub(super) objective: Arc<Objective>,
    pub(super) alone: Arc<Objective>,
}

impl Learning {
    /// The stage's own terms, else the recipe's; without either cross entropy, which is what a teacher learns from
    /// and what stands in for an objective that the recipe must still write.
    pub(super) fn new(own: Terms, shared: &Terms, registry: &Registry) -> Self {
        let terms = match &own {
            Terms::Absent => shared.clone(),
            own => own.clone(),
        };
        let list = match &terms {
            Terms::Whole(list) => list.as_slice(),
            _ => &[],
        };
        Self {
            objective: objective(list, registry),
            alone: alone(list),
            own: match own {
                Terms::Whole(list) => Some(list),
                _ => None,
            },
            terms,
        }
    }
}

/// Reads the list `objective` of a table.
pub(super) fn terms(table: &mut Table<'_>, registry: &Registry) -> Terms {
    let present = table.has("objective");
    match table.tables("objective") {
        None if present => Terms::Broken,
        None => Terms::Absent,
        Some((tables, place)) if tables.is_empty() => {
            let message = "expected at least one term in `objective`, found none";
            let problem = Problem::new("recipe::no-objective", message, place, "an empty list");
            table.problem(
                problem.help("write `[[objective]]` with a `weight` and a loss, or leave the key out"),
            );
            Terms::Broken
        }
        Some((tables, _)) => {
            let terms: Vec<_> = tables.into_iter().map(|table| term(table, registry)).collect();
            terms.into_iter().collect::<Option<_>>().map_or(Terms::Broken, Terms::Whole)
        }
    }
}

fn term(mut table: Table<'_>, registry: &Registry) -> Option<TermSpec> {
    let weighted = table.has("weight");
    let weight = table.get::<Schedule>("weight").map(|(weight, _)| weight);
    let (path, span) = (table.path.clone(), table.span.clone());
    let losses = table.rest();
    let [(name, value)] = losses.as_slice() else {
        let typo = losses.iter().map(|(key, _)| key).find(|key| nearest(key.get_ref(), ["weight"]).is_some());
        let problem = match losses.as_slice() {
            [_, _] if !weighted && let Some(key) = typo => {
                let message = format!("`{path}` has no key `{}`", key.get_ref());
                Problem::new("recipe::unknown-key", message, key.span(), "unknown key")
                    .help("did you mean `weight`?")
            }
            [(first, _), (second, _), ..] => {
                let names = format!("`{}` and `{}`", first.get_ref(), second.get_ref());
                Problem::new(
                    "recipe::two-names",
                    format!("`{path}` names one loss, found {names}"),
                    second.span(),
                    "a second one",
                )
                .also(first.span(), "the first one")
                .help("begin a new `[[objective]]`")
            }
            _ => Problem::new("recipe::no-name", format!("`{path}` names no loss"), span, "no loss")
                .help("write, for example, `cross-entropy = {}`"),
        };
        table.problem(problem);
        return None;
    };
    let (loss, knobs) = match registry.read_loss(name.get_ref(), value.clone()) {
        Some(Ok(read)) => read,
        Some(Err(problem)) => {
            table.problem(*problem);
            return None;
        }
        None => {
            table.problem(unknown("recipe::unknown-loss", "loss", name, registry.loss_names()));
            return None;
        }
    };
    sites(&table, loss.as_ref(), value);
    if let Some(lacks) =
        kd_core::loss::TABLE.iter().find(|row| row.name == name.get_ref()).and_then(|row| row.lacks)
    {
        let message = format!("`{}` needs {lacks}, which a recipe cannot give it", name.get_ref());
        let problem =
            Problem::new("recipe::loss-lacks", message, name.span(), "needs more than a recipe has");
        table.problem(problem.help(format!(
            "`kd explain loss.{}` says what it reads; use it through the crate `kd-core`, or on saved tensors with \
             `kd loss eval`",
            name.get_ref()
        )));
        return None;
    }
    // A weight that is there and wrong is noted; one that is absent is 1.
    let weight = if weighted { weight? } else { one() };
    Some(TermSpec { weight, teacher: loss.needs_teacher(), loss: name.get_ref().clone(), knobs })
}

/// The loss that a line names, `kl = { temperature = 4.0 }` or, where it needs no knobs, `sp`; and its name.
pub(crate) fn one_loss(
    line: &str,
    registry: &Registry,
) -> Result<(String, Box<dyn DistillLoss>), Box<Problem>> {
    let (text, _) = with_knobs(line);
    let table = line_table(&text)?;
    let entries: Vec<_> = table.get_ref().iter().collect();
    let [(name, value)] = entries.as_slice() else {
        let message =
            format!("expected one loss, such as `kl = {{ temperature = 4.0 }}`, found {}", entries.len());
        return Err(Box::new(Problem::new("recipe::no-name", message, 0..line.len(), "not one loss")));
    };
    let name = Spanned::new(name.span(), name.get_ref().to_string());
    let unknown = || Box::new(unknown("recipe::unknown-loss", "loss", &name, registry.loss_names()));
    let (loss, _) = registry.read_loss(name.get_ref(), (*value).clone()).ok_or_else(unknown)??;
    Ok((name.into_inner(), loss))
}

/// Whether the sites that a loss names could be names of sites; whether they are is known once the model is there.
fn sites(table: &Table<'_>, loss: &dyn DistillLoss, knobs: &Spanned<DeValue<'_>>) {
    let pairs = loss.sites();
    let all = pairs.iter().flat_map(|pair| pair.student_sites().chain([pair.teacher.as_str()]));
    for site in all.map(str::to_owned) {
        if !site.is_empty() && !site.contains(char::is_whitespace) {
            continue;
        }
        let entries = knobs.get_ref().as_table().into_iter().flat_map(|table| table.values());
        let place = entries.into_iter().find(|value| value.get_ref().as_str() == Some(&site));
        let span = place.map_or(knobs.span(), Spanned::span);
        let message = format!("expected the name of a site, such as `block1`, found `{site}`");
        table.problem(Problem::new("recipe::bad-value", message, span, "not the name of a site"));
    }
}

/// An objective of these terms; cross entropy where there are none. Names are those of the losses, numbered where a
/// loss comes again.
fn objective(terms: &[TermSpec], registry: &Registry) -> Arc<Objective> {
    let mut named: Vec<Term> = Vec::with_capacity(terms.len().max(1));
    for (i, spec) in terms.iter().enumerate() {
        let name = match terms[..i].iter().filter(|other| other.loss == spec.loss).count() {
            0 => spec.loss.clone(),
            before => format!("{}-{}", spec.loss, before + 1),
        };
        named.push(Term { name, weight: spec.weight.clone(), loss: loss(spec, registry) });
    }
    if named.is_empty() {
        named.push(Term::new("cross-entropy", one(), CrossEntropy::default()));
    }
    Arc::new(Objective::new(named).expect("names are numbered apart"))
}

/// A loss anew from what was read of it: losses are not copied, since every stage has its own.
fn loss(spec: &TermSpec, registry: &Registry) -> Box<dyn DistillLoss> {
    let text = toml::Table::from_iter([("knobs".to_owned(), spec.knobs.clone())]).to_string();
    let table = DeTable::parse(&text).expect("what was written reads again");
    let knobs = table.get_ref().get("knobs").expect("the only key").clone();
    let (loss, _) = (registry.read_loss(&spec.loss, knobs).expect("it was found before"))
        .unwrap_or_else(|problem| panic!("`{}` does not read what it wrote: {}", spec.loss, problem.message));
    loss
}

/// Cross entropy at weight 1, with the label smoothing of the cross entropy among `terms`.
fn alone(terms: &[TermSpec]) -> Arc<Objective> {
    let own = terms.iter().find(|term| term.loss == "cross-entropy");
    let loss = own.and_then(|term| term.knobs.clone().try_into::<CrossEntropy>().ok()).unwrap_or_default();
    Arc::new(Objective::new(vec![Term::new("cross-entropy", one(), loss)]).expect("one term"))
}

fn one() -> Schedule {
    Schedule::constant(1.0).expect("1 is finite")
}
