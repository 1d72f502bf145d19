//! From text to a checked recipe, or to everything that is wrong with it.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::objective::{Terms, terms};
use super::rules::{self, Outline, Row};
use super::table::{Found, Table};
use super::{
    Augment, DataSpec, DeviceSpec, Gate, KernelsSpec, Metric, NetworkSpec, Recipe, StageSpec, order, stages,
    words,
};
use crate::problem::{Problem, suggest};
use crate::registry::Registry;

/// Reads a recipe.
pub(super) fn recipe(text: &str, registry: &Registry) -> Result<Recipe, Vec<Problem>> {
    // One error of syntax is followed by others that are not there once it is mended: the first is said.
    let table = DeTable::parse(text).map_err(|error| vec![syntax(&error)])?;
    let found = RefCell::new(Vec::new());
    let whole = Table::new("", table.get_ref(), 0..0, &found);
    let recipe = Reader { registry, found: &found }.recipe(whole);
    let mut problems = found.into_inner();
    problems.sort_by_key(|problem| problem.labels.first().map_or(0, |label| label.span.start));
    match recipe {
        Some(recipe) if problems.is_empty() => Ok(recipe),
        _ => Err(problems),
    }
}

/// TOML that is no TOML.
pub(super) fn syntax(error: &toml::de::Error) -> Problem {
    let span = error.span().unwrap_or(0..0);
    Problem::new("recipe::syntax", format!("this is no TOML: {}", error.message()), span, "here")
}

/// A name that nothing has.
pub(super) fn unknown<'n>(
    code: &'static str,
    what: &str,
    name: &Spanned<String>,
    names: impl IntoIterator<Item = &'n str>,
) -> Problem {
    let message = format!("no {what} is named `{}`", name.get_ref());
    Problem::new(code, message, name.span(), format!("unknown {what}"))
        .maybe_help(suggest(name.get_ref(), names))
}

struct Reader<'a> {
    registry: &'a Registry,
    found: &'a Found,
}

impl<'a> Reader<'a> {
    fn recipe(&self, mut top: Table<'a>) -> Option<Recipe> {
        if let Some((schema, span)) = top.require::<i64>("schema", "schema = 1")
            && schema != 1
        {
            let message = format!("expected schema 1, found {schema}");
            let problem = Problem::new("recipe::schema", message, span, "unknown schema");
            top.problem(
                problem.help("this program reads schema 1; another schema needs another version of it"),
            );
        }
        let name = top.require::<String>("name", "name = \"mnist\"");
        if let Some((name, span)) = &name {
            rules::file_safe(&top, name, span.clone());
        }
        let seed = rules::seed(&mut top);
        let device = match top.table("device") {
            Some(table) => device(table),
            None => DeviceSpec::default(),
        };
        let data = self.required(&mut top, "data", "[data.mnist]").and_then(|table| self.data(table));
        let (teacher, teacher_given) = self.network(&mut top, "teacher");
        let (student, student_given) = self.network(&mut top, "student");
        let shared = terms(&mut top, self.registry);
        let (stages, outlines) = self.stages(&mut top, &shared);
        order::stages(&top, &outlines, teacher_given.as_ref(), student_given.is_some());
        let rows = rules::rows(&outlines, teacher_given.is_some());
        let expect = top.table("expect").map(|table| gates(table, &rows, &outlines)).unwrap_or_default();
        top.finish();
        Some(Recipe {
            name: name?.0,
            seed,
            device,
            data: data?,
            teacher: teacher?,
            student: student?,
            stages: stages?,
            expect,
            objective: match shared {
                Terms::Whole(terms) => Some(terms),
                _ => None,
            },
        })
    }

    /// A table that must be there.
    fn required(&self, top: &mut Table<'a>, key: &'static str, example: &str) -> Option<Table<'a>> {
        if !top.has(key) {
            top.missing(key, example);
        }
        top.table(key)
    }

    fn data(&self, table: Table<'a>) -> Option<DataSpec> {
        let outer = Table::new("data", &DeTable::new(), table.span.clone(), self.found);
        let (name, value) = table.only("data set", "[data.mnist]")?;
        let mut knobs = outer.as_table(name.get_ref(), &value)?;
        let batch = knobs.or("batch", NonZeroUsize::new(128).expect("128 is not 0"));
        let augment = knobs.or("augment", Augment::default());
        // What is left belongs to the source.
        let rest = Spanned::new(value.span(), DeValue::Table(knobs.rest().into_iter().map(owned).collect()));
        match self.registry.read_data(name.get_ref(), rest) {
            Some(Ok(source)) => Some(DataSpec {
                name: name.into_inner(),
                validation: source.validation(),
                source,
                batch: batch.get(),
                augment,
            }),
            Some(Err(problem)) => {
                outer.problem(with_shared_keys(*problem));
                None
            }
            None => {
                outer.problem(unknown("recipe::unknown-data", "data set", &name, self.registry.data_names()));
                None
            }
        }
    }

    /// A network, and the place of its checkpoint, which counts even where the rest is wrong.
    fn network(
        &self,
        top: &mut Table<'a>,
        role: &'static str,
    ) -> (Option<NetworkSpec>, Option<Range<usize>>) {
        let Some(mut table) = self.required(top, role, &format!("[{role}]")) else { return (None, None) };
        let given = table.has("checkpoint");
        let (checkpoint, place) = table.get::<PathBuf>("checkpoint").unzip();
        let place = place.or(given.then(|| table.span.clone()));
        let example = "model.mlp = { hidden = [64] }";
        let model =
            self.required(&mut table, "model", example).and_then(|models| models.only("model", example));
        let model = model.and_then(|(name, value)| match self.registry.read_model(name.get_ref(), value) {
            Some(read) => read.map_err(|problem| table.problem(*problem)).ok(),
            None => {
                table.problem(unknown("recipe::unknown-model", "model", &name, self.registry.model_names()));
                None
            }
        });
        table.finish();
        (model.map(|model| NetworkSpec { model, checkpoint }), place)
    }

    /// All stages where every one of them is right, and what is known of each in any case.
    fn stages(&self, top: &mut Table<'a>, shared: &Terms) -> (Option<Vec<StageSpec>>, Vec<Outline>) {
        if !top.has("stage") {
            top.missing("stage", "[[stage]]");
        }
        let Some((tables, place)) = top.tables("stage") else { return (None, vec![Outline::unknown()]) };
        if tables.is_empty() {
            let problem = Problem::new(
                "recipe::no-stages",
                "expected at least one stage, found none",
                place,
                "an empty list",
            );
            top.problem(problem.help("`kd init` writes a recipe to start from"));
        }
        let read = tables.into_iter().map(|table| stages::stage(table, shared, self.registry));
        let (stages, outlines): (Vec<_>, _) = read.unzip();
        (stages.into_iter().collect(), outlines)
    }
}

fn device(mut table: Table<'_>) -> DeviceSpec {
    let name = table.get::<String>("name");
    if let Some((name, span)) = &name {
        rules::device(&table, name, span.clone());
    }
    let kernels = table.get::<KernelsSpec>("kernels");
    let threads = table.get::<NonZeroUsize>("threads");
    table.finish();
    DeviceSpec {
        name: name.map_or(DeviceSpec::default().name, |(name, _)| name),
        kernels: kernels.map_or(KernelsSpec::Own, |(kernels, _)| kernels),
        threads: threads.map(|(threads, _)| threads.get()),
    }
}

fn gates(mut table: Table<'_>, rows: &[Row], stages: &[Outline]) -> Vec<Gate> {
    let mut gates = Vec::new();
    for (stage, value) in table.rest() {
        if !rules::row(&table, &stage, rows) && !value.get_ref().is_table() {
            continue;
        }
        let Some(mut metrics) = table.as_table(stage.get_ref(), &value) else { continue };
        for (name, value) in metrics.rest() {
            let known = Metric::ALL.iter().find(|(metric, _)| metric == name.get_ref());
            let Some((_, metric)) = known else {
                let names = Metric::ALL.iter().map(|(metric, _)| *metric);
                metrics.problem(unknown("recipe::unknown-metric", "metric", &name, names));
                continue;
            };
            if *metric == Metric::PackedRatio && !rules::has_metric(&metrics, &stage, &name, stages) {
                continue;
            }
            let Some(mut limits) = metrics.as_table(name.get_ref(), &value) else { continue };
            let (min, max) = rules::limits(&mut limits, *metric);
            limits.finish();
            gates.push(Gate { stage: stage.get_ref().clone(), metric: *metric, min, max });
        }
    }
    gates
}

/// A source knows its own keys only; those that every data table has may have been meant, too.
fn with_shared_keys(problem: Problem) -> Problem {
    if problem.code != "recipe::unknown-key" {
        return problem;
    }
    let own = problem.help.as_deref().unwrap_or_default();
    let words = words::quoted(&problem.message);
    let help = words
        .first()
        .and_then(|word| suggest(word, words::quoted(own).into_iter().chain(["batch", "augment"])));
    problem.clone().maybe_help(help)
}

fn owned<'d>(
    (key, value): (Spanned<String>, Spanned<DeValue<'d>>),
) -> (Spanned<DeString<'d>>, Spanned<DeValue<'d>>) {
    (Spanned::new(key.span(), key.into_inner().into()), value)
}
