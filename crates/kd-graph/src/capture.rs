//! Recording a module's forward pass with Burn's capture device.
//!
//! The only module that knows the capture device and Burn's intermediate representation; both are young and
//! change between Burn's versions. Facts that it rests on:
//!
//! - A tensor belongs to one recording. Parameters are moved onto the device inside the recording and found
//!   again by the id of their tensor.
//! - Clones of a module share the running statistics of batch norm, and moving one moves both. `valid()` makes
//!   statistics of its own, so the caller's module stays where it is.

mod arithmetic;
mod device;
mod elements;
mod layers;
mod params;
mod quiet;
mod recorder;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::backend::Capture;
use burn::backend::ir::TensorId;
use burn::module::Module;
use burn::tensor::{CapturedGraph, Tensor, TensorData};

use self::device::Borrowed;
use self::params::Params;
use self::quiet::quietly;
use self::recorder::Recorder;
use crate::draft::{Draft, merge};
use crate::error::Error;
use crate::graph::Graph;
use crate::sizes::{InputDim, Refusal, changed, trials};

/// Batch sizes of the two recordings. Any two different sizes do; these are no sizes of a model, which keeps
/// error messages readable.
const BATCHES: [usize; 2] = [7, 11];

/// The graph of `module`'s forward pass in inference: batch norm with running statistics, no dropout.
///
/// `example` is the shape of the input with the batch first; the batch entry is ignored, since two different
/// batch sizes are recorded and compared. Each other dimension is then recorded at twice its size and, if the model
/// refuses that, at half of it. Where the forward pass goes through with the same operations, the size is the data's
/// ([`Value::varies`](crate::Value::varies)); else it is the model's, and [`Graph::input_dims`] says why.
/// No kernel runs. Reparameterized parameters are materialized first,
/// and the module may be on any device, with autodiff or without; it is not changed. `forward` marks the values
/// that the model names through [`Sites::mark`]. It may itself call `capture`. A panic of `forward` at a size that is
/// tried is caught and not reported: the first capture of a process puts a panic hook before the one there is, which passes
/// all others on. A program that is built with `panic = "abort"` tries no sizes.
///
/// # Errors
///
/// [`Error::Forward`] where the forward pass panics, as it does when it reads values of tensors;
/// [`Error::BatchDependent`] where batches of different sizes are treated differently; [`Error::Foreign`] and
/// [`Error::Recording`] where the result or a site does not come from the input. An operation that the graph
/// cannot describe is no error here: it becomes [`Op::Opaque`](crate::Op::Opaque). Nor is a size that is refused.
pub fn capture<M: Module, const D: usize>(
    module: &M,
    mut example: [usize; D],
    forward: impl Fn(&M, Tensor<D>, &mut Sites) -> Tensor<2>,
) -> Result<Graph, Error> {
    let mut at = |batch: usize| {
        example.iter_mut().take(1).for_each(|size| *size = batch);
        example
    };
    let [first, second] = BATCHES.map(&mut at);
    let whole = record(module, first, &forward)?;
    let large = record(module, second, &forward)?.simplified();
    let small = whole.clone().simplified();
    let mut varies = vec![BTreeSet::new(); small.values.len()];
    let input_dims =
        (1..D).map(|dim| vary(module, first, dim, &forward, (&whole, &small), &mut varies)).collect();
    merge(small, large, varies, input_dims)
}

/// Records one dimension of the input at other sizes, and notes in `varies` which dimensions of which values follow. The
/// recording at the example's own size is there as it was recorded, and simplified.
fn vary<M: Module, const D: usize>(
    module: &M,
    example: [usize; D],
    dim: usize,
    forward: &impl Fn(&M, Tensor<D>, &mut Sites) -> Tensor<2>,
    (whole, draft): (&Draft, &Draft),
    varies: &mut [BTreeSet<usize>],
) -> InputDim {
    let size = example[dim];
    if cfg!(panic = "abort") {
        let fixed = Some(Refusal("not tried, as this program ends with the first panic".into()));
        return InputDim { dim, size, fixed };
    }
    let mut fixed = None;
    for tried in trials(size) {
        let mut other = example;
        other[dim] = tried;
        let recorded = quietly(|| record(module, other, forward));
        let recorded = recorded.map_err(|Stopped { error, reached }| {
            let at = reached.and_then(|reached| reached.next_of(whole));
            at.map_or_else(|| error.in_short(), |at| error.in_short_at(&at))
        });
        match recorded.and_then(|recorded| changed(draft, &recorded.simplified())) {
            Ok(dims) => {
                // Along a size of one nothing runs, so that what follows it may be a unit of the model, many times.
                if size > 1 {
                    varies.iter_mut().zip(dims).for_each(|(all, dims)| all.extend(dims));
                }
                return InputDim { dim, size, fixed: None };
            }
            Err(reason) => {
                fixed.get_or_insert_with(|| Refusal(format!("at {tried}, {reason}")));
            }
        }
    }
    InputDim { dim, size, fixed }
}

/// The named values of a forward pass that is being recorded.
#[derive(Debug, Default)]
pub struct Sites {
    marks: Vec<(String, TensorId)>,
    foreign: Option<String>,
}

impl Sites {
    /// Gives the value `x` the name `site`. One name may be given to several values, and one value several names.
    pub fn mark<const D: usize>(&mut self, site: &str, x: &Tensor<D>) {
        match id(x) {
            Some(id) => self.marks.push((site.to_owned(), id)),
            None => self.foreign = self.foreign.take().or(Some(format!("site `{site}`"))),
        }
    }
}

/// A recording that did not go through.
struct Stopped {
    error: Error,
    /// What was recorded until a panic.
    reached: Option<Box<Draft>>,
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self { error, reached: None }
    }
}

impl From<Stopped> for Error {
    fn from(stopped: Stopped) -> Self {
        stopped.error
    }
}

fn record<M: Module, const D: usize>(
    module: &M,
    example: [usize; D],
    forward: &impl Fn(&M, Tensor<D>, &mut Sites) -> Tensor<2>,
) -> Result<Draft, Stopped> {
    let borrowed = Borrowed::new();
    let device = borrowed.device();
    let mut sites = Sites::default();
    let mut params = Params::default();
    let mut ends = (None, None);
    let mut panicked = None;
    let run = AssertUnwindSafe(|| {
        device.capture_scope(|scope| {
            let module = module.valid().materialize().to_device(device);
            module.visit(&mut params);
            let input = Tensor::<D>::from_data(TensorData::zeros::<f32, _>(example), device);
            ends.0 = id(&input);
            // A panic ends the forward pass and not the recording, which says how far it went.
            match catch_unwind(AssertUnwindSafe(|| forward(&module, input, &mut sites))) {
                Ok(output) => ends.1 = id(&output),
                Err(panic) => panicked = Some(message(panic.as_ref())),
            }
            scope.complete(ends.0, ends.1)
        })
    });
    let recorded = catch_unwind(run)
        .map_err(|panic| Error::Forward { message: message(panic.as_ref()), behind: None })?;
    let draft = |recorded: CapturedGraph, input: TensorId, output: TensorId, sites: Sites| {
        let batch = example.first().copied().unwrap_or(1);
        let mut recorder = Recorder::new(&params, &recorded.values, batch, input);
        for operation in &recorded.graph.operations {
            recorder.operation(operation);
        }
        recorder.finish(params.params.clone(), output, sites.marks)
    };
    if let Some(message) = panicked {
        let reached = recorded.ok().zip(ends.0);
        let reached =
            reached.map(|(recorded, input)| Box::new(draft(recorded, input, input, Sites::default())));
        let behind = reached.as_deref().and_then(Draft::last);
        return Err(Stopped { error: Error::Forward { message, behind }, reached });
    }
    if let Some(what) = sites.foreign {
        return Err(Error::Foreign { what }.into());
    }
    let (Some(input), Some(output)) = ends else {
        return Err(Error::Foreign { what: "the output".into() }.into());
    };
    let recorded = recorded.map_err(|error| Error::Recording { reason: error.to_string() })?;
    Ok(draft(recorded, input, output, sites))
}

/// The id of a tensor of the recording.
fn id<const D: usize>(x: &Tensor<D>) -> Option<TensorId> {
    x.clone().try_into_primitive::<Capture>().ok().map(|tensor| tensor.id())
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".into())
}
