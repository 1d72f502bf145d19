//! Quantize a run's model after training, on its data, and write the folder of a quantized checkpoint.

use std::collections::BTreeMap;
use std::path::Path;

use kd_deploy::safetensors;
use quant_core::Scheme;
use safetensors_types::Dtype;

use super::open::{model, named, open};
use crate::checkpoint_quant::{self, Budget, Coded, Form, Layout, Planned, Writer};
use crate::device;
use crate::error::Error;
use crate::evaluate::predict;
use crate::ptq::layers::Kind;
use crate::ptq::{
    ACTIVATION_BITS, Candidate, Layer, LayerReport, Measure, Method, Prepared, Score, Source, Walked, mixed,
    score, sensitivities, walk,
};
use crate::registry::Registry;
use crate::run::{Env, load_data};
use crate::weights::{metadata, params};

use ::safetensors as safetensors_types;

/// Training batches that layers are calibrated with unless told otherwise.
pub const CALIBRATION_BATCHES: usize = 8;

/// Which schemes layers get.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// One for all.
    Scheme(Scheme),
    /// The best for each within so many bits a weight, by this measure.
    Budget(Budget, Measure),
}

/// What is wanted.
#[derive(Debug)]
pub struct QuantizeRun {
    /// The name of a data set, the run's own without.
    pub data: Option<String>,
    /// Which schemes.
    pub goal: Goal,
    /// What finds codes.
    pub method: Method,
    /// Whose inputs layers are rounded on.
    pub source: Source,
    /// Training batches to calibrate with.
    pub batches: usize,
    /// Whether weights go to our layout.
    pub own: bool,
    /// Layers that stay as they are, by a match anywhere in their weights' names.
    pub ignore: Option<regex::Regex>,
    /// Whether all best trades are wanted, beyond the budget too.
    pub front: bool,
}

/// What was done.
pub struct QuantizedRun {
    /// Layer by layer.
    pub layers: Vec<LayerReport>,
    /// Bits a weight over them, by their codes.
    pub bits_per_weight: f64,
    /// On test data.
    pub score: Score,
    /// What was written.
    pub report: checkpoint_quant::Report,
    /// All best trades, where they were asked for.
    pub front: Vec<FrontPoint>,
}

/// A best trade.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct FrontPoint {
    /// Bytes of all layers.
    pub bytes: u64,
    /// Bits a weight.
    pub bpw: f64,
    /// Sum of their losses.
    pub loss: f64,
    /// The scheme of each layer, by the weight's name; `fp32` where it stays.
    pub schemes: BTreeMap<String, String>,
}

/// Quantizes a run's last stage, or a stage by its folder, and writes the folder `out`.
///
/// Weights of linear layers and convolutions go to the layouts of [`checkpoint_quant`]. Other products with a parameter,
/// and what no layout holds (sparse outliers, low-rank factors, masks where codes have no zero), are written as the floats
/// that their codes stand for, so that the folder is what was scored; the report says so. Weights that the run has masked
/// are exactly 0 in what is written. Batch norm is folded: its parameters are those of an identity.
///
/// # Errors
///
/// A path that is no run, a stage that is rounded already, data that is missing, a scheme that the method does not round
/// to, a budget below the cheapest schemes.
pub fn quantize(
    run: &Path,
    request: &QuantizeRun,
    out: &Path,
    env: &Env,
    registry: &Registry,
) -> Result<QuantizedRun, Error> {
    checkpoint_quant::check_out(out)?;
    let opened = open(run, None, registry)?;
    let (recipe, split_seed) = match &request.data {
        Some(name) => (named(name, registry)?, 0),
        None => (opened.recipe.clone(), opened.split_seed),
    };
    let device = device::open(&opened.recipe.device.name)?;
    let data = load_data(&recipe, split_seed, env, &opened.base)?;
    let given = model(&opened, &data, &device)?;
    if given.activations.is_some() {
        return Err(Error::QuantizeOption {
            option: "kd quantize".into(),
            expected: "a run or a stage in floats, such as the folder of the stage before".into(),
            found: format!("`{}`, which is rounded already", run.display()),
        });
    }
    let prepared = Prepared::new(given.network.as_ref())?;
    let batches = data.calibration_again(request.batches, &device);
    let ignored = |layer: &Layer| request.ignore.as_ref().is_some_and(|ignore| ignore.is_match(&layer.name));
    let (schemes, front) = chosen(&prepared, request, &ignored, &batches)?;
    let scheme_of = |layer: &Layer| schemes.get(&layer.path).copied();
    let walked = walk(&prepared, &scheme_of, &request.method, request.source, &batches)?;
    let float = predict(walked.float.as_ref(), None, data.test(&device));
    let score = score(walked.network.as_ref(), &float, data.test(&device));
    let report = write(&prepared, &walked, request, out)?;
    Ok(QuantizedRun {
        bits_per_weight: walked.bits_per_weight(),
        layers: walked.layers,
        score,
        report,
        front,
    })
}

type Chosen = (BTreeMap<String, Scheme>, Vec<FrontPoint>);

fn chosen(
    prepared: &Prepared,
    request: &QuantizeRun,
    ignored: &dyn Fn(&Layer) -> bool,
    batches: &crate::ptq::Batches<'_>,
) -> Result<Chosen, Error> {
    let (budget, measure) = match request.goal {
        Goal::Scheme(scheme) => {
            let layers = prepared.layers.iter().filter(|layer| !ignored(layer));
            return Ok((layers.map(|layer| (layer.path.clone(), scheme)).collect(), Vec::new()));
        }
        Goal::Budget(budget, measure) => (budget, measure),
    };
    let found = sensitivities(prepared, &mixed::candidates(), measure, ACTIVATION_BITS, batches)?;
    let both = prepared.layers.iter().zip(found).filter(|(layer, _)| !ignored(layer));
    let (layers, found): (Vec<Layer>, Vec<Vec<Candidate>>) =
        both.map(|(layer, own)| (layer.clone(), own)).unzip();
    let weights: usize = layers.iter().map(Layer::len).sum();
    let bpw = |bytes: u64| 8.0 * bytes as f64 / weights.max(1) as f64;
    let most = mixed::bytes(&layers, budget.bits());
    let small = |error: Error| match error {
        Error::Quant(quant_core::Error::Budget { least, .. }) => {
            Error::BudgetTooSmall { budget: budget.bits(), least: bpw(least), weights: layers.len() }
        }
        error => error,
    };
    let limit = (!request.front).then_some(most);
    let front = mixed::front(&found, mixed::Cost::Bytes, limit).map_err(small)?;
    let best = front.within(most).map_err(|error| small(error.into()))?;
    let point = |point: quant_core::budget::Point| {
        let own = mixed::schemes(&layers, &found, &point);
        let words = |layer: &Layer| own.get(&layer.path).map_or_else(|| "fp32".into(), Scheme::to_string);
        let schemes = layers.iter().map(|layer| (layer.name.clone(), words(layer))).collect();
        FrontPoint { bytes: point.cost, bpw: bpw(point.cost), loss: point.loss, schemes }
    };
    let all = if request.front { front.iter().map(point).collect() } else { Vec::new() };
    Ok((mixed::schemes(&layers, &found, &best), all))
}

/// Writes the folder.
fn write(
    prepared: &Prepared,
    walked: &Walked,
    request: &QuantizeRun,
    out: &Path,
) -> Result<checkpoint_quant::Report, Error> {
    let params = params(&walked.network.entries());
    let arrays = safetensors::to_torch(&params, &walked.network.weights())?;
    let float = safetensors::to_torch(&params, &walked.float.weights())?;
    let layers: BTreeMap<&str, &LayerReport> =
        walked.layers.iter().map(|layer| (layer.name.as_str(), layer)).collect();
    // In PyTorch's layout, a matrix of outputs by inputs as it stands.
    let upright = |name: &str| {
        let kind = |layer: &Layer| matches!(layer.kind, Kind::Linear | Kind::Conv(_));
        prepared.layers.iter().any(|layer| layer.name == name && kind(layer))
    };
    let stored = |name: &str| {
        let layer = layers.get(name).filter(|layer| upright(&layer.name))?;
        let coded = &layer.coded;
        let whole = coded.outliers.is_empty() && coded.low_rank.is_none() && !coded.masked;
        whole.then_some(*layer)
    };
    let mut plan = BTreeMap::new();
    let mut floats = Vec::new();
    for (name, array) in &arrays {
        let planned = match stored(name) {
            Some(layer) => {
                let mut form = Form::new(layer.scheme);
                form.float_zero = layer.coded.float_zeros.is_some();
                if form.layout != Layout::Dense && (request.own || form.float_zero) {
                    form.layout = Layout::Own;
                }
                let (rows, columns) = (layer.rows, layer.columns);
                let tensor = (array.shape() != [rows, columns]).then(|| array.shape().to_vec());
                Planned::Coded { form, rows, columns, tensor, dtype: Dtype::F32 }
            }
            None => {
                let counted = layers.contains_key(name.as_str());
                if counted {
                    floats.push(name.clone());
                }
                Planned::Kept { dtype: Dtype::F32, shape: array.shape().to_vec(), counted }
            }
        };
        plan.insert(name.clone(), planned);
    }
    let mut writer = Writer::create(out, plan, &metadata(walked.network.as_ref()))?;
    for (name, array) in &arrays {
        match stored(name) {
            Some(layer) => {
                let coded =
                    Coded { encoded: layer.coded.encoded.clone(), zeros: layer.coded.float_zeros.clone() };
                writer.rows(name, &coded, float[name].data())?;
            }
            None => {
                let bytes: Vec<u8> = array.data().iter().flat_map(|x| x.to_le_bytes()).collect();
                writer.keep(name, &bytes)?;
            }
        }
    }
    let mut report = writer.finish()?;
    if !floats.is_empty() {
        let names = floats.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        report
            .notes
            .push(format!("written as the floats that codes stand for, as no layout holds them: {names}"));
    }
    Ok(report)
}
