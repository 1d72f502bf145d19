//! What has a score of its own in a network: elements, tiles or lines of one weight, or units that several weights share.
//!
//! A part is a set of units and says of each element of each weight which unit it belongs to. An element that is in
//! two parts, as one between two hidden layers is, stays if both its units do.

use kd_deploy::Weights;
use kd_graph::{Axis, Kind};
use prune_core::{Block, Matrix, Pattern, Sparsity, select};

use super::shape::{Hybrid, Shape};
use super::units::{count, units};
use super::{Masks, masked};
use crate::error::Error;
use crate::survey::Entry;

/// Units that are ranked against each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The path of the weight that it is in; of hidden units, that of the first weight with `units of ` before it.
    pub name: String,
    /// Whether its units are hidden ones, which may have a penalty of their own.
    pub hidden: bool,
    /// Share of the units that goes in the end.
    pub sparsity: Sparsity,
    /// How many units there are.
    pub count: usize,
    /// For each weight its path and the unit of each element, as they are stored; none where another part has it.
    pub places: Vec<(String, Vec<Option<u32>>)>,
}

/// The parts of a network. `axes` are those of its graph, and are not looked at where `shape` is one pattern.
///
/// Hidden units are the units of every [`Kind::Width`] that is not pinned and that a masked weight writes or reads. The
/// last layer is masked by none, so that a unit before it is the row that writes it alone.
pub(super) fn parts(
    shape: &Shape,
    entries: &[Entry],
    weights: &Weights,
    axes: &[Axis],
) -> Result<Vec<Part>, Error> {
    let layers = masked(entries);
    let each = |pattern: Pattern, (path, out): &(String, usize)| -> Result<Part, Error> {
        let array = &weights[path];
        let matrix = Matrix::from_weight(path, array.shape(), array.data(), *out)?;
        let units = units(&pattern, &matrix);
        let stored = matrix.to_stored(&units)?.into_iter().map(index).collect();
        Ok(Part {
            name: path.clone(),
            hidden: false,
            sparsity: Sparsity::new(pattern.sparsity())?,
            count: count(&units),
            places: vec![(path.clone(), stored)],
        })
    };
    let hybrid = match shape {
        Shape::Each(pattern) => return layers.iter().map(|layer| each(*pattern, layer)).collect(),
        Shape::Hybrid(hybrid) => hybrid,
    };
    let mut parts: Vec<Part> =
        axes.iter().filter_map(|axis| hidden(axis, hybrid.units, &layers, weights)).collect();
    for layer in &layers {
        let (path, out) = layer;
        if parts.iter().any(|part| part.hidden && part.units(path).is_some()) {
            continue;
        }
        let reads_heads = |axis: &&Axis| {
            matches!(axis.kind, Kind::Heads | Kind::KvGroups | Kind::VDims)
                && axis.members.iter().any(|member| member.path == *path && member.dim != *out)
        };
        parts.push(each(tile(hybrid, axes.iter().any(|axis| reads_heads(&axis))), layer)?);
    }
    Ok(parts)
}

fn tile(hybrid: &Hybrid, turned: bool) -> Pattern {
    let Hybrid { rows, columns, sparsity, .. } = *hybrid;
    let (rows, columns) = if turned { (columns, rows) } else { (rows, columns) };
    Pattern::Block(Block { rows, columns, sparsity })
}

/// The units of an axis that may go as a whole, if they are hidden ones of weights that are masked.
fn hidden(axis: &Axis, sparsity: Sparsity, layers: &[(String, usize)], weights: &Weights) -> Option<Part> {
    if axis.kind != Kind::Width || axis.pinned.is_some() || axis.size < 2 {
        return None;
    }
    let members = axis.members.iter().filter(|member| layers.iter().any(|(path, _)| *path == member.path));
    let places: Vec<_> = members
        .map(|member| {
            let shape = weights[&member.path].shape();
            let (size, inner) = (shape[member.dim], shape[member.dim + 1..].iter().product::<usize>());
            let mut unit_at = vec![None; size];
            for (unit, indices) in member.index.iter().enumerate() {
                indices.iter().for_each(|&at| unit_at[at] = index(unit));
            }
            let elements = shape.iter().product::<usize>();
            (member.path.clone(), (0..elements).map(|at| unit_at[at / inner % size]).collect())
        })
        .collect();
    let (first, _) = places.first()?;
    Some(Part { name: format!("units of {first}"), hidden: true, sparsity, count: axis.size, places })
}

/// Units are counted in 32 bits: there are as many as elements, and one is kept for each of those.
fn index(unit: usize) -> Option<u32> {
    u32::try_from(unit).ok()
}

impl Part {
    /// The unit of each element of a weight, if it has any here.
    pub fn units(&self, path: &str) -> Option<&[Option<u32>]> {
        self.places.iter().find(|(place, _)| place == path).map(|(_, units)| units.as_slice())
    }

    /// How many units a share of the part's sparsity takes.
    pub(super) fn removed(&self, share: f64) -> Result<usize, Error> {
        let sparsity = Sparsity::new((self.sparsity.get() * share).clamp(0.0, 1.0))?;
        Ok(select::removed(sparsity, self.count))
    }

    /// Sums over the units, of numbers for each element of a weight.
    pub(super) fn sums<'a, T: Copy + Into<f64> + 'a>(
        &self,
        of: impl Fn(&str) -> Option<&'a [T]>,
    ) -> Vec<f64> {
        let mut sums = vec![0.0; self.count];
        for (path, units) in &self.places {
            for (unit, &value) in units.iter().zip(of(path).into_iter().flatten()) {
                if let Some(unit) = unit {
                    sums[*unit as usize] += value.into();
                }
            }
        }
        sums
    }

    /// Means over the units.
    pub(super) fn means(&self, of: &std::collections::BTreeMap<String, Vec<f64>>) -> Vec<f64> {
        let sizes = self.sizes();
        let sums = self.sums(|path| of.get(path).map(Vec::as_slice));
        sums.into_iter().zip(sizes).map(|(sum, size)| sum / size.max(1) as f64).collect()
    }

    /// Which units have an element that is still there.
    pub(super) fn there(&self, floor: &Masks) -> Vec<bool> {
        let mut there = vec![false; self.count];
        for (path, units) in &self.places {
            for (at, unit) in units.iter().enumerate() {
                let Some(unit) = unit else { continue };
                there[*unit as usize] |= floor.get(path).is_none_or(|floor| floor[at]);
            }
        }
        there
    }

    /// Takes the elements of units that go out of masks; a weight that has none yet had everything.
    pub(super) fn mask(&self, keep: &[bool], masks: &mut Masks) {
        for (path, units) in &self.places {
            let mask = masks.entry(path.clone()).or_insert_with(|| vec![true; units.len()]);
            for (stays, unit) in mask.iter_mut().zip(units) {
                *stays &= unit.is_none_or(|unit| keep[unit as usize]);
            }
        }
    }

    /// Elements of each unit.
    fn sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.count];
        for unit in self.places.iter().flat_map(|(_, units)| units).flatten() {
            sizes[*unit as usize] += 1;
        }
        sizes
    }
}
