//! Reading of stages.

use std::num::NonZeroUsize;
use std::sync::Arc;

use kd_core::Schedule;
use kd_deploy::WeightsContainer;
use prune_core::{Group, Limits, Ranked, Share, Unit};
use quant_core::Scheme;
use quant_core::ptq::Start;

use super::criterion;
use super::objective::{Learning, Terms, terms};
use super::rules::{self, Learns, Outline};
use super::sparsify;
use super::table::Table;
use super::{
    ExportSpec, FitSpec, OptimizerSpec, PrunePattern, PruneSpec, QuantizeSpec, Role, ShareSpec, StageKind,
    StageSpec, TrainSpec,
};
use crate::estimator::Estimator;
use crate::observing::Observing;
use crate::problem::{Problem, nearest};
use crate::registry::Registry;

/// Reads a stage: all of it where nothing is wrong, and what is known of it in any case.
pub(super) fn stage(
    mut table: Table<'_>,
    shared: &Terms,
    registry: &Registry,
) -> (Option<StageSpec>, Outline) {
    let name = table.require::<String>("name", "name = \"distill\"");
    if let Some((name, span)) = &name {
        rules::file_safe(&table, name, span.clone());
    }
    let mut outline = Outline { stage: table.span.clone(), name: name.clone(), ..Outline::unknown() };
    let path = table.path.clone();
    let mut kinds: Vec<_> =
        StageKind::NAMES.into_iter().filter_map(|kind| Some((kind, table.take(kind)?))).collect();
    kinds.sort_by_key(|(_, (key, _))| key.span().start);
    let (kind, key, value) = match kinds.as_slice() {
        [(kind, (key, value))] => (*kind, key.span(), value),
        [] => {
            let problem = Problem::new(
                "recipe::no-name",
                format!("`{path}` does nothing"),
                table.span.clone(),
                "no kind",
            );
            let typo = table.rest().iter().find_map(|(key, _)| nearest(key.get_ref(), StageKind::NAMES));
            table.problem(problem.help(match typo {
                Some(kind) => format!("did you mean `[stage.{kind}]`?"),
                None => format!(
                    "write one of {}",
                    StageKind::NAMES.map(|kind| format!("`[stage.{kind}]`")).join(", ")
                ),
            }));
            return (None, outline);
        }
        [(one, (first, _)), (other, (second, _)), ..] => {
            let message = format!("`{path}` does one thing, found `{one}` and `{other}`");
            let problem = Problem::new("recipe::two-names", message, second.span(), "a second kind");
            table.problem(problem.also(first.span(), "the first kind").help("begin a new `[[stage]]`"));
            return (None, outline);
        }
    };
    outline.kind = Some((kind, key));
    let body = table.as_table(kind, value);
    table.finish();
    let Some(mut body) = body else { return (None, outline) };
    let read = match kind {
        "export" => {
            outline.learns = Learns::Nothing;
            let weights_container = body.or("weights-container", WeightsContainer::default());
            Some(StageKind::Export(ExportSpec { weights_container }))
        }
        kind => {
            let of = (kind == "train").then(|| body.require::<Role>("of", "of = \"teacher\"")).flatten();
            outline.of = of.as_ref().map(|(of, _)| *of);
            let own = terms(&mut body, registry);
            // The teacher does not learn from what its students learn from.
            let shared = if outline.of == Some(Role::Teacher) { &Terms::Absent } else { shared };
            let learning = Learning::new(own, shared, registry);
            outline.learns = Learns::from(&learning.terms);
            self::kind(kind, outline.of, &mut body, learning)
        }
    };
    body.finish();
    outline.begins = matches!(&read, Some(StageKind::Sparsify(spec)) if spec.when.begins());
    let stage = read.zip(name).map(|(kind, (name, _))| StageSpec { name, kind });
    (stage, outline)
}

fn kind(kind: &str, of: Option<Role>, table: &mut Table<'_>, learning: Learning) -> Option<StageKind> {
    match kind {
        "train" => {
            let fit = fit(table, true, learning);
            Some(StageKind::Train(TrainSpec { of: of?, fit: fit? }))
        }
        "distill" => fit(table, true, learning).map(StageKind::Distill),
        "prune" => {
            let pattern = table.require::<PrunePattern>("pattern", "pattern.channels = { macs = 0.4 }");
            let elements = pattern.as_ref().filter(|(pattern, _)| pattern.elements().is_some());
            if let Some((_, span)) = elements {
                let keys = ["round-to", "compensate", "group", "scope", "calibration"];
                let why = "the pattern takes whole modules, and no axis is cut";
                rules::idle_beside(table, &keys, span, why);
            }
            if let Some((PrunePattern::Empty(_), span)) = &pattern {
                let keys = ["criterion", "group", "scope", "calibration"];
                rules::idle_beside(table, &keys, span, "what is empty goes, and nothing else");
            }
            let named = table.place("criterion");
            let by_loss = elements.is_some() && !table.has("criterion");
            let criterion = criterion::of_stage(table, Unit::Channel);
            if let (Some((_, pattern)), Some(span)) = (elements, named) {
                criterion::of_weights(table, &criterion, span, pattern);
            }
            let group = table.or("group", Group::default());
            let scope = table.or("scope", Ranked::default());
            let calibration = criterion::calibration(table, &criterion);
            let round_to = table.or("round-to", NonZeroUsize::MIN).get();
            let min_units = table.or("min-units", NonZeroUsize::MIN).get();
            let max_share = table.get::<Share>("max-share").map(|(share, _)| share);
            let pinned = table.or("pinned", Vec::new());
            let compensate = table.or("compensate", false);
            let fit = fit(table, false, learning);
            let (pattern, _) = pattern?;
            let criterion = Arc::new(criterion);
            let limits = Limits { min_units, round_to, max_share };
            Some(StageKind::Prune(PruneSpec {
                pattern,
                criterion,
                group,
                scope,
                calibration,
                by_loss,
                limits,
                pinned,
                compensate,
                fit: fit?,
            }))
        }
        "sparsify" => {
            let masks = sparsify::masks(table);
            let fit = fit(table, false, learning);
            sparsify::spec(table, masks, fit).map(StageKind::Sparsify)
        }
        "share" => {
            let values =
                rules::shared_values(table, "values").unwrap_or(NonZeroUsize::MIN.saturating_add(31));
            let conv_values = rules::shared_values(table, "conv-values");
            let start = table.or("start", Start::default());
            let fit = fit(table, false, learning);
            Some(StageKind::Share(ShareSpec { values, conv_values, start, fit: fit? }))
        }
        _ => {
            let weights = table.require::<Scheme>("weights", "weights = \"int8 channel symmetric\"");
            let given = table.has("activations");
            let activations = table.get::<Scheme>("activations");
            rules::schemes(table, weights.as_ref(), activations.as_ref());
            let observer = table.or("observer", Observing::default());
            let calibration = table.or("calibration", NonZeroUsize::new(32).expect("32 is not 0")).get();
            let freeze_after = rules::share(table, "freeze-after", 0.5);
            let estimator = table.get::<Estimator>("estimator");
            rules::estimator(table, estimator.as_ref(), weights.as_ref(), activations.as_ref());
            let noise = rules::noise(table, "quant-noise");
            let freeze_statistics_after = rules::share(table, "freeze-statistics-after", 0.0);
            let fit = fit(table, false, learning);
            Some(StageKind::Quantize(QuantizeSpec {
                weights: weights?.0,
                activations: if given { Some(activations?.0) } else { None },
                observer,
                calibration,
                freeze_after,
                freeze_statistics_after,
                estimator: estimator.map_or_else(Estimator::default, |(estimator, _)| estimator),
                noise,
                fit: fit?,
            }))
        }
    }
}

/// How a stage trains. `learns`: it would do nothing without an epoch.
fn fit(table: &mut Table<'_>, learns: bool, learning: Learning) -> Option<FitSpec> {
    let epochs = match learns {
        true => table.require::<NonZeroUsize>("epochs", "epochs = 6").map(|(epochs, _)| epochs.get()),
        false => Some(table.or("epochs", 0_usize)),
    };
    let optimizer = table.or("optimizer", OptimizerSpec::default());
    let default = if learns { default_rate() } else { default_recovery_rate() };
    let learning_rate = rules::rate(table, "learning-rate", default);
    let clip = rules::positive(table, "gradient-clipping");
    let bn_scale_penalty = rules::positive(table, "bn-scale-penalty");
    Some(FitSpec {
        epochs: epochs?,
        optimizer,
        learning_rate,
        clip,
        bn_scale_penalty,
        objective: learning.objective,
        terms: learning.own,
        alone: learning.alone,
    })
}

fn default_rate() -> Schedule {
    schedule("one-cycle = { peak = 4e-3 }")
}

fn default_recovery_rate() -> Schedule {
    schedule("cosine = { from = 1e-3, to = 1e-5 }")
}

/// A schedule of this program's own, in the words of a recipe.
pub(super) fn schedule(text: &str) -> Schedule {
    toml::from_str(text).expect("a default is a schedule")
}
