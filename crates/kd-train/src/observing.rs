//! How ranges of activations are found, as a recipe says it: by what a running observer keeps, or by a search through
//! histograms of the calibration.

use std::collections::BTreeMap;

use kd_core::{Feature, Rewrite};
use quant_core::{HistogramObserver, Layout, ObserverSpec, Range, Scheme, Search};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::Error;
use crate::survey::to_array;

/// `observer.NAME = { … }`
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Observing {
    /// [`ObserverSpec::MinMax`].
    MinMax,
    /// [`ObserverSpec::MovingAverage`].
    MovingAverage {
        /// Share of the old range that stays.
        #[serde(default = "usual_decay", deserialize_with = "decay")]
        decay: f64,
    },
    /// [`Search::Percentile`].
    Percentile {
        /// Share of the values inside.
        #[serde(default = "Search::usual_share", deserialize_with = "share")]
        share: f64,
    },
    /// [`Search::Entropy`].
    Entropy,
    /// [`Search::Mse`].
    Mse {
        /// Exponent of the error.
        #[serde(default = "Search::usual_norm", deserialize_with = "norm")]
        norm: f64,
        /// Ranges to try.
        #[serde(default = "Search::usual_steps", deserialize_with = "steps")]
        steps: u32,
    },
    /// [`Search::L2`].
    L2,
}

impl Default for Observing {
    fn default() -> Self {
        Self::MovingAverage { decay: usual_decay() }
    }
}

impl Observing {
    /// The running observer, which follows the student while it trains; none where histograms are searched.
    pub fn running(self) -> Option<ObserverSpec> {
        match self {
            Self::MinMax => Some(ObserverSpec::MinMax),
            Self::MovingAverage { decay } => Some(ObserverSpec::MovingAverage { decay }),
            _ => None,
        }
    }

    /// The search through histograms of the calibration, whose ranges stay while the student trains.
    pub fn search(self) -> Option<Search> {
        match self {
            Self::MinMax | Self::MovingAverage { .. } => None,
            Self::Percentile { share } => Some(Search::Percentile { share }),
            Self::Entropy => Some(Search::Entropy),
            Self::Mse { norm, steps } => Some(Search::Mse { norm, steps }),
            Self::L2 => Some(Search::L2),
        }
    }
}

/// Histograms of the sites that a graph names, at most 4096 counts each, however many batches pass.
#[derive(Debug)]
pub struct Histograms(BTreeMap<String, Result<HistogramObserver, f32>>);

impl Histograms {
    /// Nothing seen yet.
    ///
    /// # Errors
    ///
    /// None for the usual number of bins.
    pub fn new(sites: impl IntoIterator<Item = String>) -> Result<Self, Error> {
        let empty = HistogramObserver::new(HistogramObserver::BINS)?;
        Ok(Self(sites.into_iter().map(|site| (site, Ok(empty.clone()))).collect()))
    }

    /// The range of each site.
    ///
    /// # Errors
    ///
    /// A site that no batch has reached, or whose activations were not finite.
    pub fn ranges(&self, search: &Search, scheme: &Scheme) -> Result<BTreeMap<String, Range>, Error> {
        let range = |(site, seen): (&String, &Result<HistogramObserver, f32>)| {
            let broken = |value: &f32| Error::ActivationNotFinite { site: site.clone(), value: *value };
            let found = seen.as_ref().map_err(broken)?.range(search, scheme)?;
            let range = found.ok_or_else(|| Error::SiteNotReached { site: site.clone() })?;
            Ok((site.clone(), range))
        };
        self.0.iter().map(range).collect()
    }
}

impl Rewrite for Histograms {
    fn rewrite(&mut self, site: &str, x: Feature) -> Feature {
        if let Some(seen) = self.0.get_mut(site)
            && let Ok(histogram) = seen
        {
            let array = match x.clone() {
                Feature::D1(x) => to_array(x),
                Feature::D2(x) => to_array(x),
                Feature::D3(x) => to_array(x),
                Feature::D4(x) => to_array(x),
            };
            let layout = Layout::tensor(array.shape());
            if histogram.observe(array.data(), &layout).is_err() {
                let value = array.data().iter().copied().find(|x| !x.is_finite());
                *seen = Err(value.unwrap_or(f32::NAN));
            }
        }
        x
    }
}

fn usual_decay() -> f64 {
    0.99
}

/// A knob that its own constructor accepts.
fn checked<'de, D: Deserializer<'de>, T: Deserialize<'de> + Copy, U>(
    deserializer: D,
    check: impl Fn(T) -> Result<U, quant_core::Error>,
) -> Result<T, D::Error> {
    let found = T::deserialize(deserializer)?;
    check(found).map(|_| found).map_err(serde::de::Error::custom)
}

fn decay<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, ObserverSpec::moving_average)
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, Search::percentile)
}

fn norm<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    checked(deserializer, |norm| Search::mse(norm, Search::usual_steps()))
}

fn steps<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    checked(deserializer, |steps| Search::mse(Search::usual_norm(), steps))
}

#[cfg(test)]
mod tests {
    use quant_core::{OBSERVERS, SEARCHES};

    use super::*;

    #[test]
    fn every_observer_and_every_search_is_read_with_its_usual_knobs() {
        let read = |name: &str| -> Observing {
            let table: toml::Table = toml::from_str(&format!("observer.{name} = {{}}")).expect("TOML");
            table["observer"].clone().try_into().expect("an observer")
        };
        for row in OBSERVERS {
            assert_eq!(read(row.name).running().map(ObserverSpec::name), Some(row.name));
        }
        for (row, usual) in SEARCHES.iter().zip(Search::usual()) {
            assert_eq!(read(row.name).search(), Some(usual), "{}", row.name);
        }
        assert_eq!(read("moving-average"), Observing::default());
    }
}
