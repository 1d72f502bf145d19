//! Rounding of a whole network: which weights and sites, calibration, and the plan that an export follows.

use std::collections::BTreeMap;

use kd_core::Tap;
use kd_deploy::{Array, QuantPlan, RoundedWeight, WeightPlan, WeightsContainer};
use quant_core::{
    Granularity, Layout, Observer, ObserverSpec, QParams, decode_weight, encode_weight, round_weight,
    weight_matrix,
};

use crate::activations::Activations;
use crate::batches::Batch;
use crate::compress::{Compression, SCALE, START, WeightQuant};
use crate::error::Error;
use crate::evaluate::Predictions;
use crate::network::Network;
use crate::observing::Histograms;
use crate::recipe::QuantizeSpec;
use crate::summary::RoundedSummary;
use crate::survey::Entry;
use crate::weights::masked;

/// Rounding of every convolution's and linear layer's weight, added to the masks that are in force.
pub fn compression(network: &dyn Network, spec: &QuantizeSpec) -> Compression {
    let (scheme, estimator, noise) = (spec.weights, spec.estimator, spec.noise);
    let weights = network.entries().into_iter().filter_map(|entry: Entry| {
        let axis = entry.output_axis()?;
        Some((entry.path, WeightQuant { scheme, axis, estimator, noise }))
    });
    let masks = network.compression().masks.clone();
    Compression { masks, quant: weights.collect(), ..Compression::default() }
}

/// Observers at the sites that the graph names, filled with the float network's activations over `batches`, where the
/// stage rounds activations with scales that are observed.
///
/// # Errors
///
/// A layer that reads no site, activations that are not finite.
pub fn calibrate(
    network: &dyn Network,
    spec: &QuantizeSpec,
    batches: impl Iterator<Item = Batch>,
) -> Result<Activations, Error> {
    let Some(scheme) = spec.activations else { return Ok(Activations::none()) };
    let placements = kd_graph::placements(&network.graph()?)?;
    let sites = placements.into_iter().map(|placement| placement.site);
    let running = spec.observer.running().unwrap_or_default();
    let mut activations = Activations::new(sites, scheme, running);
    if scheme.granularity() == Granularity::Token {
        activations.round(true);
        return Ok(activations);
    }
    let network = network.inference();
    match spec.observer.search() {
        Some(search) => {
            let mut histograms = Histograms::new(activations.sites().map(str::to_owned))?;
            for batch in batches {
                network.forward(batch.rows, &mut Tap::none().with_rewrite(&mut histograms));
            }
            activations = Activations::fixed(histograms.ranges(&search, &scheme)?, scheme);
        }
        None => {
            for batch in batches {
                network.forward(batch.rows, &mut Tap::none().with_rewrite(&mut activations));
            }
        }
    }
    activations.check()?;
    activations.plan()?;
    activations.train(spec.estimator)?;
    activations.round(true);
    Ok(activations)
}

/// An error for the first weight of convolutions and linear layers that is not finite.
///
/// # Errors
///
/// That weight, by path.
pub fn check_weights(network: &dyn Network) -> Result<(), Error> {
    let weights = masked(network);
    for entry in network.entries().into_iter().filter(|entry| entry.output_axis().is_some()) {
        let values = weights[&entry.path].data();
        if let Some(index) = values.iter().position(|x| !x.is_finite()) {
            let source = quant_core::Error::NotFinite { index, value: values[index] };
            return Err(Error::Weight { path: entry.path, source });
        }
    }
    Ok(())
}

/// How an export rounds: integers and scales of weights that engines run so, values of the others, and scales of the
/// observed activations.
///
/// # Errors
///
/// Weights that are not finite, a site that no batch has reached.
pub fn plan(network: &dyn Network, activations: &Activations) -> Result<QuantPlan, Error> {
    let (stored, materialized) = (masked(network), network.materialized().weights());
    let (mut weights, mut rounded) = (BTreeMap::new(), BTreeMap::new());
    for (path, quant) in &network.compression().quant {
        let array = &stored[path];
        let broken = |source| Error::Weight { path: path.clone(), source };
        if !quant.runs_on_integers() {
            let codes =
                encode_weight(array.data(), array.shape(), quant.axis, &quant.scheme).map_err(broken)?;
            let own = decode_weight(&codes, array.shape(), quant.axis).map_err(broken)?;
            let masked = network.compression().masks.contains_key(path) && !quant.has_zero();
            let (values, method) = match quant.estimator.follows_scheme() && !masked {
                true => (Array::new(array.shape(), own)?, None),
                false if masked => {
                    (materialized[path].clone(), Some(format!("{}, masked", quant.estimator.name())))
                }
                false => (materialized[path].clone(), Some(quant.estimator.name().to_owned())),
            };
            let (scheme, axis) = (quant.scheme, quant.axis);
            let encoded = method.is_none().then_some(codes);
            rounded.insert(path.clone(), RoundedWeight { scheme, axis, method, values, encoded });
            continue;
        }
        if quant.is_ternary() {
            weights.insert(path.clone(), ternary(quant, array, &materialized[path]).map_err(broken)?);
            continue;
        }
        if let (Some(ratio), Some(start)) =
            (stored.get(&format!("{path}{SCALE}")), stored.get(&format!("{path}{START}")))
        {
            let (qmin, qmax) = quant.scheme.grid()?.1;
            let product = |(ratio, start): (&f32, &f32)| (ratio * start).max(f32::MIN_POSITIVE);
            let scale: Vec<f32> = ratio.data().iter().zip(start.data()).map(product).collect();
            let qparams = QParams { zero_point: vec![0; scale.len()], scale, qmin, qmax };
            let axis = quant.channel_axis();
            weights.insert(path.clone(), WeightPlan { scheme: quant.scheme, axis, qparams, chosen: None });
            continue;
        }
        let layout = Layout { shape: array.shape().to_vec(), axis: quant.channel_axis() };
        let mut observer = Observer::new(ObserverSpec::MinMax);
        observer.observe(array.data(), &layout).map_err(broken)?;
        let range = observer.range().expect("a weight has elements: no model is built or cut without");
        let qparams = QParams::from_range(range, &quant.scheme).map_err(broken)?;
        let axis = quant.channel_axis();
        weights.insert(path.clone(), WeightPlan { scheme: quant.scheme, axis, qparams, chosen: None });
    }
    let (activations, dynamic) = (activations.plan()?, activations.dynamic_plan());
    Ok(QuantPlan { weights, rounded, activations, dynamic, container: WeightsContainer::default() })
}

/// A ternary weight as integers −1, 0 and 1: the scale is the size of what is not zero.
fn ternary(quant: &WeightQuant, stored: &Array, values: &Array) -> Result<WeightPlan, quant_core::Error> {
    let follows = quant.estimator.follows_scheme();
    let values = match follows {
        true => round_weight(stored.data(), stored.shape(), quant.axis, &quant.scheme)?,
        false => values.data().to_vec(),
    };
    let axis = quant.channel_axis();
    let (cells, inner) = match axis {
        None => (1, values.len()),
        Some(axis) => (stored.shape()[axis], stored.shape()[axis + 1..].iter().product()),
    };
    let mut scale = vec![0.0_f32; cells];
    for (at, x) in values.iter().enumerate() {
        let cell = &mut scale[at / inner.max(1) % cells];
        *cell = cell.max(x.abs());
    }
    scale.iter_mut().filter(|scale| **scale == 0.0).for_each(|scale| *scale = 1.0);
    scale.iter_mut().for_each(|scale| *scale = scale.max(f32::MIN_POSITIVE));
    let qparams = QParams { zero_point: vec![0; cells], scale, qmin: -1, qmax: 1 };
    let chosen = match follows {
        true => None,
        false => {
            let values = Array::new(stored.shape(), values).expect("as many as the weight has");
            Some((quant.estimator.name().to_owned(), values))
        }
    };
    Ok(WeightPlan { scheme: quant.scheme, axis, qparams, chosen })
}

/// Moves biases onto the steps in which an integer engine adds them, so that what is scored is what is shipped.
///
/// # Errors
///
/// As [`plan`], and a forward pass that cannot be captured.
pub fn settle(network: &mut dyn Network, activations: &Activations) -> Result<(), Error> {
    let plan = plan(network, activations)?;
    let biases = kd_deploy::rounded_biases(&network.graph()?, &masked(network), &plan)?;
    network.set_weights(&biases);
    Ok(())
}

/// Whether an engine finds integers for every layer: weights as integers, activations with scales known beforehand.
pub fn runs_on_integers(network: &dyn Network, activations: &Activations) -> bool {
    let weights = network.compression().quant.values().all(WeightQuant::runs_on_integers);
    weights && activations.scheme().is_some() && !activations.is_dynamic()
}

/// What the rounded weights of a model take, exactly, and how far they are from the stored ones.
///
/// # Errors
///
/// None that a plan would not have met.
pub fn measure(
    network: &dyn Network,
    activations: &Activations,
    (float, rounded): (&Predictions, &Predictions),
) -> Result<Option<RoundedSummary>, Error> {
    let (stored, values) = (masked(network), network.materialized().weights());
    let (mut count, mut bits, mut signal, mut noise) = (0, 0, 0.0, 0.0);
    let (mut masked_zeros, mut rounded_zeros) = (0, 0);
    for (path, quant) in &network.compression().quant {
        let array = &stored[path];
        let (rows, columns) = weight_matrix(array.shape(), quant.axis)?;
        count += array.data().len() as u64;
        bits += quant.scheme.bits(rows, columns);
        let keep = network.compression().masks.get(path);
        masked_zeros += keep.map_or(0, |keep| keep.iter().filter(|&&keep| !keep).count()) as u64;
        for (&x, &rounded) in array.data().iter().zip(values[path].data()) {
            // A masked weight is stored as 0 and is none of these.
            rounded_zeros += u64::from(x != 0.0 && rounded == 0.0);
            signal += f64::from(x).powi(2);
            noise += (f64::from(x) - f64::from(rounded)).powi(2);
        }
    }
    let Some(first) = network.compression().quant.values().next().filter(|_| count > 0) else {
        return Ok(None);
    };
    let sqnr_db = (signal > 0.0 && noise > 0.0).then(|| 10.0 * (signal / noise).log10());
    Ok(Some(RoundedSummary {
        weights: first.scheme.to_string(),
        activations: activations.scheme().map(|scheme| scheme.to_string()),
        integers: runs_on_integers(network, activations),
        elements: count,
        bits,
        bits_per_weight: bits as f64 / count as f64,
        masked_zeros,
        rounded_zeros,
        sqnr_db,
        logit_kl: float.divergence(rounded),
        agreement: rounded.agreement(float),
    }))
}
