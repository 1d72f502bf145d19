//! The training loop, for teachers and students alike, read from top to bottom.
//!
//! A step depends on the state in [`State`] and on the seed, and on nothing else: data order and augmentation are
//! functions of the epoch and the step, schedules are functions of progress. So the loop can stop after any step
//! and go on in another process, bit for bit.

use std::time::Instant;

use burn::tensor::Device;
use kd_core::{Connectors, Objective, Observed, Progress, Tap, View};
use kd_deploy::Weights;
use kd_graph::Fold;
use serde::Serialize;

use crate::batches::{Batch, Data};
use crate::checkpoint::{Best, Cursor, Exact, State, Sums};
use crate::connect;
use crate::error::Error;
use crate::evaluate::predict;
use crate::event::{Event, Sink};
use crate::learned::{Live, Sites};
use crate::network::Network;
use crate::optimizer::Optimizers;
use crate::prune::gather::Lesson;
use crate::recipe::FitSpec;
use crate::regime::Regime;
use crate::run_dir::StageDir;
use crate::seeds;
use crate::sparsify::{Calibration, Memory, Sparsifier, Turn};
use crate::survey::Entry;

/// Steps between two lines of `metrics.jsonl`.
const METRICS_EVERY: usize = 50;

/// What is trained, on what, and from whom.
pub struct Job<'a> {
    /// The recipe's seed.
    pub seed: u64,
    /// Names the stream of data order and augmentation. The baseline has that of the stage it mirrors.
    pub order: &'a str,
    /// Examples.
    pub data: &'a Data,
    /// Epochs, optimizer, learning rate.
    pub spec: &'a FitSpec,
    /// What is learned from.
    pub objective: &'a Objective,
    /// The teacher, in inference, where the objective needs one.
    pub teacher: Option<&'a dyn Network>,
    /// Batch norms that a stage which rounds folds on the way.
    pub folds: &'a [Fold],
    /// How masks tighten, in a stage that sparsifies.
    pub sparsifier: Option<&'a Sparsifier>,
    /// Training batches over which a stage that sparsifies gathers what its criterion reads.
    pub calibration: usize,
    /// Share of the stage from which on an epoch may be passed on: one before masks are final may not.
    pub ready: f64,
    /// The plain device.
    pub device: &'a Device,
}

/// What training left.
pub struct Fitted {
    /// The student of the epoch best on validation data, in inference; the last one without validation data.
    pub student: Box<dyn Network>,
    /// What was done to it.
    pub regime: Regime,
    /// The last epoch's student, in inference.
    pub last: Box<dyn Network>,
    /// What was done to that.
    pub last_regime: Regime,
}

/// Trains `student`, which is on the plain device, from its beginning or from where the stage's folder says that an
/// earlier session stopped.
///
/// # Errors
///
/// A loss or an activation that is not finite, a site that does not exist, features that cannot be joined, a state
/// that cannot be read or written, or the user's wish to stop; then the state is on disk.
pub fn fit(
    job: &Job<'_>,
    student: Box<dyn Network>,
    mut regime: Regime,
    stage: &mut StageDir,
    sink: &mut dyn Sink,
) -> Result<Fitted, Error> {
    let autodiff = job.device.clone().autodiff();
    let (epochs, steps) = (job.spec.epochs, job.data.steps());
    let connectors = connect::connectors(job, student.as_ref(), &autodiff)?;
    let student = student.training();
    let mut now = Training {
        connectors,
        sites: regime.activations().and_then(|activations| Sites::of(activations, &autodiff)),
        optimizer: Optimizers::build(&job.spec.optimizer),
        cursor: Cursor { metrics: stage.metrics_len(), ..Cursor::default() },
        best: student.weights(),
        best_regime: regime.clone(),
        memory: Memory::default(),
        student,
        regime,
    };

    let saved = State::load(stage.path())?;
    let fresh = saved.is_none();
    if let Some(state) = saved {
        now.regime = state.regime;
        if let Some(masks) = now.regime.masks() {
            now.student.remask(masks);
        }
        now.student.set_weights(&state.student);
        now.regime.settle(job.folds, now.student.as_mut());
        now.connectors = connect::restored(now.connectors, &state.connectors);
        now.sites = now.regime.activations().and_then(|activations| Sites::of(activations, &autodiff));
        let entries = connect::entries(now.student.as_ref(), &now.connectors);
        let scales = scales(now.student.as_ref(), now.sites.as_ref());
        now.optimizer =
            now.optimizer.load(&state.optimizer, &entries, &scales).map_err(|e| stage.broken_state(e))?;
        (now.cursor, now.best, now.best_regime) = (state.cursor, state.best, state.best_regime);
        now.memory = state.memory;
    }
    stage.rewind_metrics(now.cursor.metrics)?;
    if fresh {
        // From here on a kill finds a state that knows how long the metrics were.
        now.save(stage)?;
    }
    sink.event(Event::StageStarted {
        stage: stage.name().into(),
        kind: stage.kind(),
        steps: epochs * steps,
        done: now.cursor.epoch * steps + now.cursor.step,
    });

    let wanted = connect::wanted(job.objective);
    let mut last_finite = f64::NAN;
    while now.cursor.epoch < epochs {
        let started = Instant::now();
        let batches = job.data.epoch(job.seed, job.order, now.cursor.epoch, now.cursor.step, &autodiff);
        for batch in batches {
            let done = now.cursor.epoch * steps + now.cursor.step;
            let progress = Progress::of(done, epochs * steps);
            if now.before_step(job, done, progress)? == Turn::Again {
                now.optimizer = Optimizers::build(&job.spec.optimizer);
            }
            // Where rounds begin again, so do schedules.
            let learning = job.sparsifier.map_or(progress, |sparsifier| sparsifier.calendar.learning(done));
            let rate = job.spec.learning_rate.at(learning);

            let teachers: Vec<_> =
                job.teacher.iter().map(|teacher| observe(*teacher, &batch, &wanted.teacher)).collect();
            now.student.draw(seeds::derive(job.seed, &format!("noise {}", job.order), &[done as u64]));
            let mut tap = Tap::wanting(wanted.student.iter().map(String::as_str));
            let mut live =
                now.regime.activations().map(|activations| Live { activations, sites: now.sites.as_ref() });
            if let Some(live) = &mut live {
                tap = tap.with_rewrite(live);
            }
            let logits = now.student.forward(batch.rows.clone(), &mut tap);
            let observed = Observed::new(logits).with_features(tap.into_features());
            let evaluation = job.objective.evaluate(&View {
                student: &observed,
                teachers: &teachers,
                targets: Some(&batch.labels),
                mask: None,
                progress: learning,
                connectors: &now.connectors,
            })?;

            let loss = f64::from(evaluation.total.clone().into_scalar::<f32>());
            let terms: Vec<(String, f64)> = (evaluation.terms.iter())
                .map(|term| (term.name.clone(), f64::from(term.value.clone().into_scalar::<f32>())))
                .collect();
            if !loss.is_finite() {
                return Err(not_finite(stage.name(), done, &terms, last_finite));
            }
            now.regime.check()?;
            last_finite = loss;

            let mut gradients = evaluation.total.backward();
            let mut own = now.student.gradients(&mut gradients);
            if let Some(sparsifier) = job.sparsifier {
                sparsifier.behind_backward(&mut now.memory, now.student.as_ref(), &mut own, done)?;
            }
            if let Some(by) = job.spec.bn_scale_penalty {
                now.student.shrink_scales(&mut own, by);
            }
            if let Some(most) = job.spec.clip {
                now.student.clip(&mut own, most);
            }
            let of_scales = now.student.scale_gradients(&mut own);
            now.student.step(&mut now.optimizer.weights, rate, own);
            if !of_scales.is_empty() {
                now.student.step(&mut now.optimizer.scales, rate, of_scales);
            }
            now.connectors = connect::step(now.connectors, &mut now.optimizer.weights, rate, &mut gradients);
            if let (Some(found), Some(activations)) = (now.sites.take(), now.regime.activations()) {
                now.sites = Some(found.step(&mut now.optimizer.scales, rate, &mut gradients, activations));
            }

            now.cursor.step += 1;
            now.cursor.sums.add(loss, &terms);
            if (done + 1).is_multiple_of(METRICS_EVERY) {
                let terms = terms.into_iter().collect();
                stage.metric(&Metric::Step {
                    stage: stage.name().to_owned(),
                    step: done + 1,
                    loss,
                    terms,
                    learning_rate: rate,
                })?;
            }
            sink.event(Event::Step { done: done + 1, loss });
            if sink.stopped() && now.cursor.step < steps {
                now.cursor.metrics = stage.metrics_len();
                now.save(stage)?;
                return Err(Error::Interrupted { run: stage.run().to_owned() });
            }
        }

        now.cursor.epoch += 1;
        now.cursor.step = 0;
        let progress = Progress::of(now.cursor.epoch, epochs);
        let sums = std::mem::take(&mut now.cursor.sums);
        if progress.get() >= 1.0 {
            // The last update: whatever the schedule ends at is in force in what is passed on.
            now.before_step(job, epochs * steps, progress)?;
        }
        now.regime.fold(job.folds, now.student.as_mut(), progress)?;
        let judged = judge(job, now.student.as_ref(), &now.regime);
        let eligible = progress.get() >= job.ready;
        if eligible && judged.is_none_or(|judged| judged.beats(now.cursor.best)) {
            now.cursor.best = judged.map(|judged| Best { epoch: now.cursor.epoch, ..judged });
            (now.best, now.best_regime) = (now.student.weights(), now.regime.clone());
        }
        let loss = sums.loss / steps as f64;
        stage.metric(&Metric::Epoch {
            stage: stage.name().to_owned(),
            epoch: now.cursor.epoch,
            loss,
            terms: (job.objective.terms().iter().zip(&sums.terms))
                .map(|(term, sum)| (term.name.clone(), sum.0 / steps as f64))
                .collect(),
            validation: judged.map(|judged| Validation { accuracy: judged.accuracy, loss: judged.loss }),
            best: now.cursor.best.map(|best| best.epoch),
        })?;
        now.cursor.metrics = stage.metrics_len();
        now.save(stage)?;
        let seconds = started.elapsed().as_secs_f64();
        stage.timing(&format!("epoch {}", now.cursor.epoch), seconds)?;
        sink.event(Event::Epoch {
            epoch: now.cursor.epoch,
            epochs,
            loss,
            validation: judged.map(|judged| judged.accuracy),
            seconds,
        });
        if sink.stopped() {
            return Err(Error::Interrupted { run: stage.run().to_owned() });
        }
    }
    let last = now.student.inference();
    let mut chosen = now.student;
    if let Some(masks) = now.best_regime.masks() {
        chosen.remask(masks);
    }
    chosen.set_weights(&now.best);
    Ok(Fitted { student: chosen.inference(), regime: now.best_regime, last, last_regime: now.regime })
}

/// Trained scales of weights and of activations.
fn scales(student: &dyn Network, sites: Option<&Sites>) -> Vec<Entry> {
    student.scales().into_iter().chain(sites.map(Sites::entries).unwrap_or_default()).collect()
}

/// Logits and wanted features of the teacher, out of reach of gradients.
pub(crate) fn observe(teacher: &dyn Network, batch: &Batch, sites: &[String]) -> Observed {
    let mut tap = match sites.is_empty() {
        true => Tap::none(),
        false => Tap::wanting(sites.iter().map(String::as_str)),
    };
    let logits = teacher.forward(batch.rows.clone().without_autodiff(), &mut tap);
    Observed::new(logits).with_features(tap.into_features())
}

/// How the student does on validation data, if there is any.
fn judge(job: &Job<'_>, student: &dyn Network, regime: &Regime) -> Option<Best> {
    if job.data.split.validation.is_empty() {
        return None;
    }
    let student = student.inference();
    let predictions = predict(student.as_ref(), regime.for_evaluation(), job.data.validation(job.device));
    Some(Best { epoch: 0, accuracy: predictions.accuracy(), loss: predictions.loss() })
}

impl Best {
    /// More right, or as many right and surer; the earlier epoch wins a draw.
    fn beats(&self, other: Option<Best>) -> bool {
        other.is_none_or(|other| {
            self.accuracy > other.accuracy || (self.accuracy == other.accuracy && self.loss < other.loss)
        })
    }
}

impl Sums {
    fn add(&mut self, loss: f64, terms: &[(String, f64)]) {
        self.loss += loss;
        self.terms.resize(terms.len(), Exact(0.0));
        for (sum, (_, value)) in self.terms.iter_mut().zip(terms) {
            sum.0 += value;
        }
    }
}

fn not_finite(stage: &str, step: usize, terms: &[(String, f64)], last: f64) -> Error {
    let culprit = terms.iter().find(|(_, value)| !value.is_finite()).map(|(name, _)| name.clone());
    Error::NonFinite {
        stage: stage.to_owned(),
        step: step + 1,
        term: culprit.unwrap_or_else(|| "total".into()),
        last,
    }
}

/// What changes while a stage trains, all of which a state holds.
struct Training {
    student: Box<dyn Network>,
    regime: Regime,
    connectors: Connectors,
    sites: Option<Sites>,
    optimizer: Optimizers,
    cursor: Cursor,
    best: Weights,
    best_regime: Regime,
    memory: Memory,
}

impl Training {
    fn before_step(&mut self, job: &Job<'_>, step: usize, progress: Progress) -> Result<Turn, Error> {
        let batches = job.data.calibration_again(job.calibration, job.device);
        let (objective, teacher, connectors) = (job.objective, job.teacher, &self.connectors);
        let lesson = Lesson { objective, teacher, connectors };
        let calibration = Calibration { batches: &batches, lesson, device: job.device };
        let sparsifier = job.sparsifier.map(|sparsifier| (sparsifier, &mut self.memory, &calibration));
        self.regime.before_step(sparsifier, job.folds, self.student.as_mut(), step, progress)
    }

    fn save(&self, stage: &StageDir) -> Result<(), Error> {
        let entries = connect::entries(self.student.as_ref(), &self.connectors);
        let scales = scales(self.student.as_ref(), self.sites.as_ref());
        let state = State {
            cursor: self.cursor.clone(),
            regime: self.regime.clone(),
            best_regime: self.best_regime.clone(),
            student: self.student.weights(),
            best: self.best.clone(),
            connectors: connect::weights(&self.connectors),
            optimizer: self.optimizer.save(&entries, &scales).map_err(|error| stage.broken_state(error))?,
            memory: self.memory.clone(),
        };
        state.save(stage.path())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
enum Metric {
    Step {
        stage: String,
        step: usize,
        loss: f64,
        terms: std::collections::BTreeMap<String, f64>,
        learning_rate: f64,
    },
    Epoch {
        stage: String,
        epoch: usize,
        loss: f64,
        terms: std::collections::BTreeMap<String, f64>,
        validation: Option<Validation>,
        best: Option<usize>,
    },
}

#[derive(Serialize)]
struct Validation {
    accuracy: f64,
    loss: f64,
}
