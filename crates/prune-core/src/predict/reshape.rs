//! How kept indices go through a reshape.
//!
//! A reshape is a list of independent regroupings: from the left, dimensions are gathered on both sides until
//! their products agree. Inside such a group the kept indices are written out over the flattened elements and
//! read off the dimensions of the other side again; they can be, exactly if the kept set is a product of one set a
//! dimension. So a flatten spreads a channel over its positions, and a split into heads tells a removed head from a
//! removed position inside every head.

use kd_graph::Dim;

/// A group of dimensions on both sides that hold the same elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) from: std::ops::Range<usize>,
    pub(crate) to: std::ops::Range<usize>,
}

/// The regroupings of a reshape; `None` if the two shapes do not hold the same elements.
pub(crate) fn groups(from: &[Dim], to: &[Dim]) -> Option<Vec<Group>> {
    let mut groups = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < from.len() || j < to.len() {
        let (start, goal) = (i, j);
        let (mut left, mut right) = ((0, 1), (0, 1));
        // One step on a side that has dimensions left, then the smaller side catches up.
        match i < from.len() {
            true => advance(&mut left, from, &mut i),
            false => advance(&mut right, to, &mut j),
        }
        while left != right {
            match left < right {
                true if i < from.len() => advance(&mut left, from, &mut i),
                false if j < to.len() => advance(&mut right, to, &mut j),
                _ => return None,
            }
        }
        groups.push(Group { from: start..i, to: goal..j });
    }
    Some(groups)
}

/// Product of sizes so far: power of the batch size first, so that tuples order as large products do.
fn advance(product: &mut (usize, usize), dims: &[Dim], at: &mut usize) {
    match dims[*at] {
        Dim::Fixed(size) => product.1 *= size,
        Dim::Batch(factor) => *product = (product.0 + 1, product.1 * factor),
    }
    *at += 1;
}

/// Row-major positions, in a block of `sizes`, of the elements whose every index is kept.
pub(super) fn flatten(sizes: &[usize], keeps: &[Option<Vec<usize>>]) -> Vec<usize> {
    let mut flat = vec![0];
    for (&size, keep) in sizes.iter().zip(keeps) {
        let all: Vec<usize>;
        let keep = match keep {
            Some(keep) => keep,
            None => {
                all = (0..size).collect();
                &all
            }
        };
        flat = flat.iter().flat_map(|&high| keep.iter().map(move |&low| high * size + low)).collect();
    }
    flat
}

/// The kept indices of each dimension of a block of `sizes`, if `flat` is a product of such; `None` for a dimension
/// that keeps everything.
pub(super) fn unflatten(sizes: &[usize], flat: &[usize]) -> Option<Vec<Option<Vec<usize>>>> {
    let mut keeps = vec![None; sizes.len()];
    let mut count = 1;
    let mut inner = 1;
    for (dim, &size) in sizes.iter().enumerate().rev() {
        let mut kept = vec![false; size];
        for position in flat {
            kept[position / inner % size] = true;
        }
        let keep: Vec<usize> = (0..size).filter(|&index| kept[index]).collect();
        count *= keep.len();
        inner *= size;
        if keep.len() < size {
            keeps[dim] = Some(keep);
        }
    }
    // `flat` is contained in the product of its projections, so equal counts make them equal.
    (count == flat.len()).then_some(keeps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(sizes: &[usize]) -> Vec<Dim> {
        sizes.iter().map(|&size| Dim::Fixed(size)).collect()
    }

    #[test]
    fn groups_are_the_smallest_that_hold_the_same_elements() {
        let group = |from, to| Group { from, to };
        let from = [Dim::Batch(1), Dim::Fixed(4), Dim::Fixed(7), Dim::Fixed(7)];
        let to = [Dim::Batch(1), Dim::Fixed(196)];
        assert_eq!(groups(&from, &to), Some(vec![group(0..1, 0..1), group(1..4, 1..2)]));
        assert_eq!(groups(&to, &from), Some(vec![group(0..1, 0..1), group(1..2, 1..4)]));
        let merged = [Dim::Batch(4), Dim::Fixed(49)];
        assert_eq!(groups(&from, &merged), Some(vec![group(0..2, 0..1), group(2..4, 1..2)]));
        let ones = [Dim::Batch(1), Dim::Fixed(196), Dim::Fixed(1)];
        assert_eq!(groups(&ones, &to), Some(vec![group(0..1, 0..1), group(1..2, 1..2), group(2..3, 2..2)]));
        assert_eq!(groups(&fixed(&[6]), &fixed(&[4])), None);
        assert_eq!(groups(&fixed(&[6]), &fixed(&[2, 4])), None);
    }

    #[test]
    fn a_flatten_spreads_a_channel_and_a_split_reads_it_back() {
        let keeps = vec![Some(vec![0, 2]), None];
        let flat = flatten(&[3, 4], &keeps);
        assert_eq!(flat, [0, 1, 2, 3, 8, 9, 10, 11]);
        assert_eq!(unflatten(&[3, 4], &flat), Some(keeps));
        // Position 1 of every head of size 2, not a head.
        assert_eq!(unflatten(&[2, 2], &[0, 2]), Some(vec![None, Some(vec![0])]));
        // Neither a set of heads nor one of positions.
        assert_eq!(unflatten(&[2, 2], &[0, 1, 2]), None);
    }
}
