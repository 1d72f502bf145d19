//! Rounding of activations through the tap: observe, then fake-quantize, by site.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use kd_core::{Feature, Rewrite};
use kd_deploy::ActivationPlan;
use quant_core::{
    Granularity, Observer, ObserverSpec, QParams, Range, Scheme, fake_quant, fake_quant_scalar, weight_scale,
};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::estimator::Estimator;
use crate::learned::Learned;

/// Observers and roundings of the sites that a graph names for quantization; other sites pass untouched, and all do
/// where weights alone are rounded.
///
/// A scheme with a scale for each `token` needs no observer: the scale is that of a row, the last axis of a tensor of
/// up to three, or of an example where there are more, found anew each time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Activations {
    /// None where weights alone are rounded.
    scheme: Option<Scheme>,
    sites: BTreeMap<String, Site>,
    observing: bool,
    rounding: bool,
    /// Ranges come from a calibration and do not follow training.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    fixed: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Site {
    /// What an estimator trains, in the observer's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    learned: Option<Learned>,
    observer: Observer,
    /// The first activation that was not finite, if one was met.
    broken: Option<f32>,
}

impl Activations {
    /// Observers for `sites`, nothing seen yet; observing, not rounding.
    pub fn new(sites: impl IntoIterator<Item = String>, scheme: Scheme, observer: ObserverSpec) -> Self {
        let site = Site { learned: None, observer: Observer::new(observer), broken: None };
        let sites = sites.into_iter().map(|name| (name, site.clone())).collect();
        Self { scheme: Some(scheme), sites, observing: true, rounding: false, fixed: false }
    }

    /// No rounding of activations, beside rounded weights.
    pub fn none() -> Self {
        Self { scheme: None, sites: BTreeMap::new(), observing: false, rounding: false, fixed: true }
    }

    /// Sites with ranges that were found and stay.
    pub fn fixed(ranges: BTreeMap<String, Range>, scheme: Scheme) -> Self {
        let site = |range: Range| {
            let mut observer = Observer::new(ObserverSpec::MinMax);
            observer.see(&range).expect("a first range always fits");
            Site { learned: None, observer, broken: None }
        };
        let sites = ranges.into_iter().map(|(name, range)| (name, site(range))).collect();
        Self { scheme: Some(scheme), sites, observing: false, rounding: false, fixed: true }
    }

    /// The scheme, if activations are rounded at all.
    pub fn scheme(&self) -> Option<Scheme> {
        self.scheme
    }

    /// Whether scales are found at run time.
    pub fn is_dynamic(&self) -> bool {
        self.scheme.is_some_and(|scheme| scheme.granularity() == Granularity::Token)
    }

    /// The sites whose scales are found at run time.
    pub fn dynamic_plan(&self) -> BTreeMap<String, Scheme> {
        match self.scheme.filter(|_| self.is_dynamic()) {
            Some(scheme) => self.sites.keys().map(|site| (site.clone(), scheme)).collect(),
            None => BTreeMap::new(),
        }
    }

    /// Hands the sites to an estimator that trains their rounding, from the ranges that were observed. PACT takes those
    /// alone that were never negative.
    ///
    /// # Errors
    ///
    /// As [`Activations::plan`].
    pub fn train(&mut self, estimator: Estimator) -> Result<(), Error> {
        let Some(scheme) = self.scheme.filter(|_| !self.is_dynamic()) else { return Ok(()) };
        for (name, site) in &mut self.sites {
            let qparams = site.qparams(name, &scheme)?;
            let (scale, zero) = (qparams.scale[0], qparams.zero_point[0] as f32);
            let codes = (qparams.qmax - qparams.qmin) as f32;
            site.learned = match estimator {
                Estimator::Lsq {} => Some(Learned::Scale { start: scale, ratio: 1.0, zero_point: zero }),
                Estimator::LsqPlus {} => {
                    Some(Learned::ScaleAndZero { start: scale, ratio: 1.0, shift: zero / codes })
                }
                Estimator::Pact {} if qparams.zero_point[0] == qparams.qmin => {
                    Some(Learned::Level { start: scale * codes, ratio: 1.0 })
                }
                _ => None,
            };
        }
        Ok(())
    }

    /// Names of the sites.
    pub fn sites(&self) -> impl Iterator<Item = &str> {
        self.sites.keys().map(String::as_str)
    }

    /// Sites whose rounding is trained.
    pub fn learned(&self) -> impl Iterator<Item = (&str, Learned)> {
        self.sites.iter().filter_map(|(name, site)| Some((name.as_str(), site.learned?)))
    }

    /// Changes what a site has learned.
    pub fn learn(&mut self, site: &str, change: impl FnOnce(Learned) -> Learned) {
        if let Some(site) = self.sites.get_mut(site) {
            site.learned = site.learned.map(change);
        }
    }

    /// Whether ranges follow what is seen.
    pub fn observe(&mut self, observing: bool) {
        self.observing = observing && !self.fixed;
    }

    /// Whether activations are rounded.
    pub fn round(&mut self, rounding: bool) {
        self.rounding = rounding;
    }

    /// The same ranges, rounding and no longer observing.
    pub fn frozen(&self) -> Self {
        Self { observing: false, rounding: true, ..self.clone() }
    }

    /// How each site with a scale of its own is rounded.
    ///
    /// # Errors
    ///
    /// A site that no batch has reached, or whose activations were not finite.
    pub fn plan(&self) -> Result<BTreeMap<String, ActivationPlan>, Error> {
        let Some(scheme) = self.scheme.filter(|_| !self.is_dynamic()) else { return Ok(BTreeMap::new()) };
        let plan = self.sites.iter().map(|(name, site)| {
            let qparams = site.qparams(name, &scheme)?;
            Ok((name.clone(), ActivationPlan { scheme, qparams }))
        });
        plan.collect()
    }

    /// An error if an activation was not finite.
    ///
    /// # Errors
    ///
    /// The first site in question.
    pub fn check(&self) -> Result<(), Error> {
        match self.sites.iter().find_map(|(name, site)| Some((name, site.broken?))) {
            Some((site, value)) => Err(Error::ActivationNotFinite { site: site.clone(), value }),
            None => Ok(()),
        }
    }
}

impl Site {
    fn qparams(&self, name: &str, scheme: &Scheme) -> Result<QParams, Error> {
        if let Some(value) = self.broken {
            return Err(Error::ActivationNotFinite { site: name.into(), value });
        }
        if let (Some(learned), Some(limits)) = (self.learned, scheme.limits()) {
            return Ok(learned.qparams(limits));
        }
        let range = self.observer.range().ok_or_else(|| Error::SiteNotReached { site: name.into() })?;
        Ok(QParams::from_range(range, scheme)?)
    }

    /// Takes in the range of a batch.
    fn see(&mut self, min: f32, max: f32) {
        match Range::new(vec![min], vec![max]) {
            Ok(batch) => self.observer.see(&batch).expect("one cell, always"),
            Err(_) => {
                let value = if min.is_finite() { max } else { min };
                self.broken.get_or_insert(value);
            }
        }
    }
}

impl Rewrite for Activations {
    fn rewrite(&mut self, site: &str, x: Feature) -> Feature {
        let dynamic = self.is_dynamic();
        let Some(scheme) = self.scheme else { return x };
        let Some(state) = self.sites.get_mut(site) else { return x };
        if dynamic {
            return if self.rounding { rows(x, &scheme) } else { x };
        }
        if self.observing {
            let (min, max) = extremes(&x);
            state.see(min, max);
        }
        if !self.rounding {
            return x;
        }
        // A site that cannot be rounded is reported by `check` and `plan`; here there is no way to say it.
        let Ok(qparams) = state.qparams(site, &scheme) else { return x };
        match x {
            Feature::D1(x) => Feature::D1(rounded(x, &qparams)),
            Feature::D2(x) => Feature::D2(rounded(x, &qparams)),
            Feature::D3(x) => Feature::D3(rounded(x, &qparams)),
            Feature::D4(x) => Feature::D4(rounded(x, &qparams)),
        }
    }
}

/// Every row on a grid of its own.
fn rows(x: Feature, scheme: &Scheme) -> Feature {
    fn of<const D: usize>(x: Tensor<D>, scheme: &Scheme) -> Tensor<D> {
        let Ok((symmetry, limits)) = scheme.grid() else { return x };
        let (scale, zero_point) = weight_scale(x.clone(), (D > 1).then_some(0), symmetry, limits);
        fake_quant(x, scale, zero_point, limits.0, limits.1)
    }
    match x {
        Feature::D1(x) => Feature::D1(of(x, scheme)),
        Feature::D2(x) => Feature::D2(of(x, scheme)),
        Feature::D3(x) => {
            let [batch, tokens, width] = x.dims();
            let flat = of(x.reshape([batch * tokens, width]), scheme);
            Feature::D3(flat.reshape([batch, tokens, width]))
        }
        Feature::D4(x) => Feature::D4(of(x, scheme)),
    }
}

fn rounded<const D: usize>(x: Tensor<D>, qparams: &QParams) -> Tensor<D> {
    fake_quant_scalar(x, qparams.scale[0], qparams.zero_point[0], qparams.qmin, qparams.qmax)
}

fn extremes(x: &Feature) -> (f32, f32) {
    fn of<const D: usize>(x: &Tensor<D>) -> (f32, f32) {
        let x = x.clone().without_autodiff();
        (x.clone().min().into_scalar(), x.max().into_scalar())
    }
    match x {
        Feature::D1(x) => of(x),
        Feature::D2(x) => of(x),
        Feature::D3(x) => of(x),
        Feature::D4(x) => of(x),
    }
}
