//! How sparse each layer should be: less where more of its scores stand out.
//!
//! Yin et al., "Outlier Weighed Layerwise Sparsity (OWL): A Missing Secret Sauce for Pruning LLMs to High Sparsity",
//! arXiv:2310.05175.

use serde::{Deserialize, Serialize};

use super::{Criterion, Entry, Input, Knob, LAYER_INPUTS, NonNegative, Ranking, Removes, Unit, WEIGHT, only, wanda};
use crate::{Error, Inputs, Needs, Sparsity};

/// One sparsity a layer, around `sparsity`, from the share of outliers among Wanda's scores.
///
/// `D_K` = share of the scores of layer `K` above `m` times the layer's mean; `r = (D − min)/(max − min) · 2λ`;
/// sparsity `1 − (r_K − mean r + 1 − sparsity)`. Where all `D` are equal, `sparsity` everywhere.
///
/// The mean is over layers, whatever their sizes, so that the total is not `sparsity` where sizes differ; a layer can
/// leave `sparsity ± λ`. One that would leave 0 ..= 1 is an error: the public code goes on with a share that does not
/// exist.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Owl {
    /// The mean of the layers' sparsities; none where a pattern says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparsity: Option<Sparsity>,
    /// How many means a score has to exceed to be an outlier.
    #[serde(default = "outlier")]
    pub m: NonNegative,
    /// Half the distance between the sparsest layer and the densest.
    #[serde(default = "spread")]
    pub lambda: NonNegative,
}

impl Owl {
    /// The sparsity of each layer.
    ///
    /// # Errors
    ///
    /// [`Error::NoSparsity`], [`Error::Missing`] where a layer lacks `weight` or `activations`, what is wrong with these,
    /// and what [`ratios_of`](Owl::ratios_of) says.
    pub fn ratios(&self, layers: &[Inputs<'_>]) -> Result<Vec<f64>, Error> {
        self.ratios_around(self.sparsity.ok_or(Error::NoSparsity)?, layers)
    }

    fn ratios_around(&self, sparsity: Sparsity, layers: &[Inputs<'_>]) -> Result<Vec<f64>, Error> {
        let outliers = layers.iter().map(|inputs| self.outliers(inputs)).collect::<Result<Vec<f64>, Error>>()?;
        self.ratios_of(sparsity, &outliers)
    }

    /// The share of a layer's scores that are outliers; what is gone counts, and has none.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], and what is wrong with `weight` or `activations`.
    pub fn outliers(&self, inputs: &Inputs<'_>) -> Result<f64, Error> {
        let mut scores = wanda::scores(inputs)?;
        if let Some(there) = inputs.there()? {
            scores.iter_mut().zip(there).filter(|(_, there)| !**there).for_each(|(score, _)| *score = 0.0);
        }
        let count = scores.len().max(1) as f64;
        let height = self.m.get() * scores.iter().sum::<f64>() / count;
        Ok(scores.iter().filter(|&&score| score > height).count() as f64 / count)
    }

    /// The sparsity of each layer from its share of outliers, around a mean of `sparsity`.
    ///
    /// # Errors
    ///
    /// [`Error::Spread`] where `lambda` takes a layer out of 0 ..= 1.
    pub fn ratios_of(&self, sparsity: Sparsity, outliers: &[f64]) -> Result<Vec<f64>, Error> {
        let sparsity = sparsity.get();
        let low = outliers.iter().copied().fold(f64::INFINITY, f64::min);
        let high = outliers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if high <= low {
            return Ok(vec![sparsity; outliers.len()]);
        }
        let lambda = self.lambda.get();
        let spread = |share: &f64| (share - low) / (high - low) * 2.0 * lambda;
        let spread: Vec<f64> = outliers.iter().map(spread).collect();
        let mean = spread.iter().sum::<f64>() / spread.len() as f64;
        let ratios: Vec<f64> = spread.iter().map(|r| 1.0 - (r - mean + 1.0 - sparsity)).collect();
        // Sums of fractions may miss 0 and 1 by their last digits.
        let fits = |ratio: f64| (-ROUNDING..=1.0 + ROUNDING).contains(&ratio);
        match ratios.iter().position(|&ratio| !fits(ratio)) {
            None => Ok(ratios.into_iter().map(|ratio| ratio.clamp(0.0, 1.0)).collect()),
            Some(layer) => {
                // Layers are as far from the mean as `lambda` says, and each side has its room.
                let (above, below) = (mean / lambda, 2.0 - mean / lambda);
                let largest = ((1.0 - sparsity) / above).min(sparsity / below);
                Err(Error::Spread { lambda, sparsity, layer, found: ratios[layer], largest })
            }
        }
    }
}

/// How far a sum of fractions may miss the end of its range.
const ROUNDING: f64 = 1e-12;

/// Wanda's scores, which it counts: what to prune by once the shares are known.
impl Criterion for Owl {
    fn needs(&self) -> Needs {
        Needs::InputSquares
    }

    fn sparsities(&self, sparsity: Sparsity, layers: &[Inputs<'_>]) -> Option<Result<Vec<f64>, Error>> {
        let named = |error: Error| match error {
            Error::Spread { lambda, layer, found: value, .. } => match layers[layer].weight() {
                Ok(weight) => Error::LayerSparsity { path: weight.path().to_owned(), value, lambda },
                Err(error) => error,
            },
            other => other,
        };
        Some(self.ratios_around(sparsity, layers).map_err(named))
    }

    fn name(&self) -> &str {
        ENTRY.name
    }

    fn unit(&self) -> Option<Unit> {
        Some(Unit::Element)
    }

    fn ranking(&self) -> Ranking {
        Ranking::Row
    }

    fn scores(&self, inputs: &Inputs<'_>, unit: Unit) -> Result<Vec<f64>, Error> {
        only(&ENTRY, Unit::Element, unit)?;
        wanda::scores(inputs)
    }
}

fn outlier() -> NonNegative {
    NonNegative::usual(5.0)
}

fn spread() -> NonNegative {
    NonNegative::usual(0.08)
}

pub(super) const ENTRY: Entry = Entry {
    name: "owl",
    summary: "a sparsity for each layer, lower where more scores stand out; in a recipe, Wanda's masks at these",
    formula: "D_K = share of Wanda's scores > m·mean;  r = (D − min)/(max − min)·2λ;  1 − (r_K − mean r + 1 − sparsity)",
    paper: "Yin et al. 2023, arXiv:2310.05175",
    reference: "luuyin/OWL, lib/prune_all.py, prune_wanda_outlier at dddb7a4",
    when: "Large language models at 60 % and more. The total is not `sparsity` where layers differ in size.",
    inputs: &[
        Input { name: "layers.K.weight", ..WEIGHT },
        Input { name: "layers.K.activations", ..LAYER_INPUTS },
    ],
    removes: Removes::Ratios,
    knobs: &[
        Knob {
            name: "sparsity",
            values: "a number in 0 ..= 1; in a recipe the pattern says it",
            summary: "mean over the layers",
        },
        Knob { name: "m", values: "5.0, any number from 0 up", summary: "means that an outlier exceeds" },
        Knob {
            name: "lambda",
            values: "0.08, any number from 0 up that keeps all layers in 0 ..= 1",
            summary: "half the range of sparsities",
        },
    ],
    example: "{ sparsity = 0.6 }",
};
