//! Weight sharing: k-means finds the values that stand for all weights.
//!
//! Han et al. 2016, "Deep Compression", arXiv 1510.00149. In one dimension Lloyd's algorithm needs no distances: sorted
//! numbers fall into intervals between midpoints, and sums of intervals come from running totals.

use serde::{Deserialize, Serialize};

use super::matrix::{check_finite, check_knob};
use crate::Error;

/// Knobs of [`kmeans`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Kmeans {
    /// Where centroids start.
    pub start: Start,
    /// Most iterations; it stops earlier where no centroid moves.
    pub iterations: u32,
    /// Whether zeros keep a code of their own, 0, that stands for exactly 0: for weights that were pruned.
    pub zero: bool,
}

impl Default for Kmeans {
    fn default() -> Self {
        Self { start: Start::Linear, iterations: 300, zero: false }
    }
}

/// Where centroids start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Evenly from the smallest number to the largest: large weights, which are few and matter, keep centroids near
    /// them. The best of three in the paper.
    #[default]
    Linear,
    /// At quantiles: as many numbers between two as between any other two.
    Density,
}

/// Numbers as codes of shared values.
#[derive(Debug, Clone, PartialEq)]
pub struct Shared {
    /// Ascending, but for a first 0 where zeros have a code of their own.
    pub centroids: Vec<f32>,
    /// A centroid for each number.
    pub codes: Vec<u16>,
}

impl Shared {
    /// The centroid of every number.
    pub fn decode(&self) -> Vec<f32> {
        self.codes.iter().map(|&code| self.centroids[usize::from(code)]).collect()
    }
}

/// Clusters finite numbers around `count` centroids (1 ..= 65 536, that of zero included): a local minimum of
/// Σ (x − c)².
///
/// A number between two centroids belongs to the nearer, at the midpoint to the lower. A centroid to which nothing
/// belongs stays where it is. Sums are taken in 64-bit floats over sorted numbers, so that the order of the numbers does
/// not matter.
///
/// # Errors
///
/// [`Error::Setting`] for a number of centroids out of range, [`Error::NotFiniteIn`].
pub fn kmeans(values: &[f32], count: usize, knobs: &Kmeans) -> Result<Shared, Error> {
    let least = 1 + usize::from(knobs.zero);
    check_knob(
        "centroids",
        "from 1, from 2 where zero has its own, to 65536",
        count as f64,
        (least..=1 << 16).contains(&count),
    )?;
    check_finite("values", values.iter().map(|&x| f64::from(x)))?;
    let mut sorted: Vec<f32> = values.iter().copied().filter(|x| !(knobs.zero && *x == 0.0)).collect();
    sorted.sort_by(f32::total_cmp);
    let free = count - usize::from(knobs.zero);
    let centroids = lloyd(&sorted, start(&sorted, free, knobs.start), knobs.iterations);
    let pairs: Vec<&[f32]> = centroids.windows(2).collect();
    let codes = values.iter().map(|&x| match knobs.zero && x == 0.0 {
        true => 0,
        false => (pairs.partition_point(|pair| beyond(x, pair)) + usize::from(knobs.zero)) as u16,
    });
    let codes = codes.collect();
    let zero = knobs.zero.then_some(0.0).into_iter();
    Ok(Shared { codes, centroids: zero.chain(centroids).collect() })
}

/// Whether `x` is nearer to the upper of two centroids.
fn beyond(x: f32, pair: &[f32]) -> bool {
    2.0 * f64::from(x) > f64::from(pair[0]) + f64::from(pair[1])
}

fn start(sorted: &[f32], count: usize, how: Start) -> Vec<f32> {
    let (Some(&low), Some(&high)) = (sorted.first(), sorted.last()) else { return vec![0.0; count] };
    let steps = (count - 1).max(1) as f64;
    let at = |index: usize| match how {
        Start::Linear => (f64::from(low) + (f64::from(high) - f64::from(low)) * index as f64 / steps) as f32,
        Start::Density => sorted[((sorted.len() - 1) as f64 * index as f64 / steps).round() as usize],
    };
    (0..count).map(at).collect()
}

fn lloyd(sorted: &[f32], mut centroids: Vec<f32>, iterations: u32) -> Vec<f32> {
    let mut sums = vec![0.0; sorted.len() + 1];
    for (index, &x) in sorted.iter().enumerate() {
        sums[index + 1] = sums[index] + f64::from(x);
    }
    for _ in 0..iterations {
        let mut ends: Vec<usize> =
            centroids.windows(2).map(|pair| sorted.partition_point(|&x| !beyond(x, pair))).collect();
        ends.push(sorted.len());
        let mut moved = false;
        let mut first = 0;
        for (centroid, end) in centroids.iter_mut().zip(ends) {
            let end = end.max(first);
            if end > first {
                let mean = ((sums[end] - sums[first]) / (end - first) as f64) as f32;
                moved |= mean != *centroid;
                *centroid = mean;
            }
            first = end;
        }
        if !moved {
            break;
        }
    }
    centroids
}
