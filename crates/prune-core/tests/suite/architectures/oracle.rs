//! What goes together in a network, found without labels: each channel of each value is an atom, every operation joins
//! atoms, and what is joined in the end is what one unit removes.

use std::collections::{BTreeMap, BTreeSet};

use kd_graph::Axis;

/// What must go together, index by index.
#[derive(Default)]
pub(super) struct Oracle {
    atoms: Vec<usize>,
    places: BTreeMap<(String, usize, usize), usize>,
    pub(super) pinned: Vec<usize>,
}

impl Oracle {
    pub(super) fn fresh(&mut self) -> usize {
        self.atoms.push(self.atoms.len());
        self.atoms.len() - 1
    }

    pub(super) fn find(&self, mut atom: usize) -> usize {
        while self.atoms[atom] != atom {
            atom = self.atoms[atom];
        }
        atom
    }

    pub(super) fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.atoms[a] = b;
    }

    /// The atoms along a dimension of a parameter.
    pub(super) fn along(&mut self, path: &str, dim: usize, size: usize) -> Vec<usize> {
        (0..size)
            .map(|index| {
                let place = (path.to_owned(), dim, index);
                match self.places.get(&place) {
                    Some(&atom) => atom,
                    None => {
                        let atom = self.fresh();
                        self.places.insert(place, atom);
                        atom
                    }
                }
            })
            .collect()
    }

    pub(super) fn unify(&mut self, a: &[usize], b: &[usize]) {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).for_each(|(&a, &b)| self.join(a, b));
    }

    /// Vectors with an entry for each channel.
    pub(super) fn vectors(&mut self, x: &[usize], paths: &[String]) {
        for path in paths {
            let vector = self.along(path, 0, x.len());
            self.unify(x, &vector);
        }
    }

    /// What each unit removes, but for what may not go; and how often its kind of set occurs.
    pub(super) fn units(&self) -> BTreeSet<BTreeSet<(String, usize, usize)>> {
        let pinned: BTreeSet<usize> = self.pinned.iter().map(|&atom| self.find(atom)).collect();
        let mut units: BTreeMap<usize, BTreeSet<(String, usize, usize)>> = BTreeMap::new();
        for (place, &atom) in &self.places {
            let atom = self.find(atom);
            if !pinned.contains(&atom) {
                units.entry(atom).or_default().insert(place.clone());
            }
        }
        units.into_values().collect()
    }
}

/// What each unit of the axes removes.
pub(super) fn removed(axes: &[Axis]) -> BTreeSet<BTreeSet<(String, usize, usize)>> {
    let free = axes.iter().filter(|axis| axis.pinned.is_none());
    free.flat_map(|axis| {
        (0..axis.size).map(move |unit| {
            let members = axis.members.iter();
            let places = members.flat_map(|member| {
                member.index[unit].iter().map(|&index| (member.path.clone(), member.dim, index))
            });
            places.collect()
        })
    })
    .collect()
}

/// The parameters and dimensions of a set, with how many indices of each.
pub(super) fn signature(unit: &BTreeSet<(String, usize, usize)>) -> BTreeMap<(String, usize), usize> {
    let mut signature = BTreeMap::new();
    for (path, dim, _) in unit {
        *signature.entry((path.clone(), *dim)).or_default() += 1;
    }
    signature
}
