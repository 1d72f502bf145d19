//! Labels for what runs along a dimension, and how two dimensions that must agree become one.
//!
//! A *label* stands for a set of units, such as the channels of a convolution. What runs along a dimension is an
//! [`Extent`]: a concatenation of ordered products of labels, outermost first. Channels flattened with their
//! positions are the product `[channel, row, column]`; the input of a layer behind a concatenation is
//! `[a] + [b]`. Two extents of equal size are unified:
//!
//! | left | right | then |
//! | --- | --- | --- |
//! | label of n | label of n | they are one label |
//! | label of n | product that starts with a label of m, m divides n | n becomes a product of m and n/m |
//! | product of n that starts with a label | concatenation that starts with m < n | that label becomes a concatenation, if m holds whole units of it |
//! | anything else | | everything in both is pinned: no cut of one can be expressed in the other |
//!
//! Every rule ties only what must go together: a product's units are cut in whole rows or columns, or not at all.
//! The last one is safe because what is pinned is never cut.
//! Labels of size one do not exist: the product of nothing stands for them.

use std::collections::BTreeSet;

use crate::kind::Trait;

/// Index of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Label(usize);

/// What runs along a dimension: a concatenation of ordered products.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extent(Vec<Vec<Label>>);

impl Extent {
    /// Size one.
    pub(crate) fn unit() -> Self {
        Self(vec![Vec::new()])
    }

    /// One after the other.
    pub(crate) fn concat(parts: impl IntoIterator<Item = Extent>) -> Self {
        Self(parts.into_iter().flat_map(|part| part.0).collect())
    }
}

/// Why units can never be cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pin {
    /// A constant of the forward pass has as many.
    Constant,
    /// They are positions in space, time or batch.
    Position,
    /// Another reason.
    Because(String),
}

/// What is known about a label.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) size: usize,
    pub(crate) pin: Option<Pin>,
    pub(crate) numbers: BTreeSet<String>,
    pub(crate) across: BTreeSet<String>,
    pub(crate) traits: BTreeSet<Trait>,
}

#[derive(Debug)]
struct Entry {
    facts: Facts,
    /// The label that this one was found equal to.
    same: Option<Label>,
    /// What this label was found to consist of.
    parts: Option<Extent>,
}

/// All labels of a graph.
#[derive(Debug, Default)]
pub(crate) struct Labels(Vec<Entry>);

impl Labels {
    /// A new label of this size.
    pub(crate) fn fresh(&mut self, size: usize, pin: Option<Pin>) -> Extent {
        if size == 1 {
            return Extent::unit();
        }
        let facts = Facts { size, pin, ..Facts::default() };
        self.0.push(Entry { facts, same: None, parts: None });
        Extent(vec![vec![Label(self.0.len() - 1)]])
    }

    /// Facts of a label that [`Labels::leaves`] or [`Labels::units`] returned.
    pub(crate) fn facts(&self, label: Label) -> &Facts {
        &self.0[label.0].facts
    }

    pub(crate) fn size(&self, extent: &Extent) -> usize {
        extent.0.iter().map(|term| self.term_size(term)).sum()
    }

    /// The labels that an extent consists of, at the end of all unification so far.
    pub(crate) fn leaves(&self, extent: &Extent) -> Vec<Label> {
        let mut leaves = Vec::new();
        for &label in extent.0.iter().flatten() {
            let label = self.find(label);
            match &self.0[label.0].parts {
                Some(parts) => leaves.extend(self.leaves(parts)),
                None => leaves.push(label),
            }
        }
        leaves
    }

    /// The label of an extent that was taken apart into single units, which have none of their own.
    pub(crate) fn scattered(&self, extent: &Extent) -> Option<Label> {
        match extent.0.as_slice() {
            [term] if term.len() == 1 && self.leaves(extent).is_empty() => Some(self.find(term[0])),
            _ => None,
        }
    }

    /// Whether a label was taken apart into single units.
    pub(crate) fn is_scattered(&self, label: Label) -> bool {
        self.0[label.0].parts.as_ref().is_some_and(|parts| self.leaves(parts).is_empty())
    }

    /// For every index along an extent, the labels it belongs to and its unit in each.
    pub(crate) fn units(&self, extent: &Extent) -> Vec<Vec<(Label, usize)>> {
        let mut all = Vec::new();
        for term in &extent.0 {
            let mut product: Vec<Vec<(Label, usize)>> = vec![Vec::new()];
            for &label in term {
                let label = self.find(label);
                let factor = match &self.0[label.0].parts {
                    Some(parts) => self.units(parts),
                    None => (0..self.0[label.0].facts.size).map(|unit| vec![(label, unit)]).collect(),
                };
                let pairs = product.iter().flat_map(|outer| factor.iter().map(move |inner| (outer, inner)));
                product = pairs.map(|(outer, inner)| [outer.as_slice(), inner].concat()).collect();
            }
            all.extend(product);
        }
        all
    }

    /// Forbids every cut of an extent. The first reason stays.
    pub(crate) fn pin(&mut self, extent: &Extent, pin: &Pin) {
        for label in self.leaves(extent) {
            let facts = &mut self.0[label.0].facts;
            if let None | Some(Pin::Constant) = facts.pin {
                facts.pin = Some(pin.clone());
            }
        }
    }

    /// Notes a plain number of the model that has to follow a cut of these units.
    pub(crate) fn note_number(&mut self, extent: &Extent, number: &str) {
        for label in self.leaves(extent) {
            self.0[label.0].facts.numbers.insert(number.to_owned());
        }
    }

    /// Notes an operation that combines these units with each other.
    pub(crate) fn note_across(&mut self, extent: &Extent, operation: &str) {
        for label in self.leaves(extent) {
            self.0[label.0].facts.across.insert(operation.to_owned());
        }
    }

    /// Notes what an operation saw along an extent.
    pub(crate) fn note_trait(&mut self, extent: &Extent, it: Trait) {
        for label in self.leaves(extent) {
            self.0[label.0].facts.traits.insert(it);
        }
    }

    /// The same for a label that [`Labels::leaves`] returned.
    pub(crate) fn note_label(&mut self, label: Label, it: Trait) {
        self.0[label.0].facts.traits.insert(it);
    }

    /// Makes two extents of equal size one.
    pub(crate) fn unify(&mut self, a: &Extent, b: &Extent) {
        while let (Some(x), Some(y)) = (self.resolve(a), self.resolve(b)) {
            match self.step(&x, &y) {
                Step::Equal => return,
                Step::Progress => {}
                Step::Stuck => break,
            }
        }
        let (a_sizes, b_sizes) = (self.structure(a), self.structure(b));
        let why = Pin::Because(format!("sizes {a_sizes} and {b_sizes} must agree and do not factor alike"));
        self.pin(a, &why);
        self.pin(b, &why);
    }

    /// Ordered product, outer first; `None` where the inner one is a concatenation, whose flattening would
    /// interleave its parts.
    pub(crate) fn product(&self, outer: &Extent, inner: &Extent) -> Option<Extent> {
        let (outer, inner) = (self.resolve(outer)?, self.resolve(inner)?);
        if outer == Extent::unit() {
            return Some(inner);
        }
        let [inner] = inner.0.as_slice() else { return None };
        Some(Extent(outer.0.iter().map(|term| [term.as_slice(), inner].concat()).collect()))
    }

    /// The part from `start` to before `end`; what cannot be taken apart there is pinned.
    ///
    /// What is pinned already is not taken apart: its units stay, whatever a slice reads of them.
    pub(crate) fn slice(&mut self, extent: &Extent, start: usize, end: usize) -> Extent {
        let pins = self.leaves(extent).into_iter().map(|label| self.facts(label).pin.clone());
        if let Some(Some(pin)) = pins.reduce(|all, pin| all.and(pin)) {
            return self.fresh(end - start, Some(pin));
        }
        'resolve: while let Some(whole) = self.resolve(extent) {
            let (mut offset, mut part) = (0, Vec::new());
            for term in &whole.0 {
                let size = self.term_size(term);
                for edge in [start, end] {
                    if offset < edge && edge < offset + size {
                        match self.split(term, edge - offset) {
                            true => continue 'resolve,
                            false => break 'resolve,
                        }
                    }
                }
                if start <= offset && offset + size <= end {
                    part.push(term.clone());
                }
                offset += size;
            }
            return Extent(part);
        }
        let why = Pin::Because(format!("a slice from {start} to {end} cuts through units"));
        self.pin(extent, &why);
        self.fresh(end - start, Some(why))
    }

    /// Extents of the row-major reshape of `dims` to sizes `out`.
    ///
    /// Neighbors merge into products. Where one dimension becomes several, all but the first are new labels and
    /// so is the first, unless it holds a concatenation; `number` is noted for them, since the model chose their
    /// sizes.
    pub(crate) fn reshape(&mut self, dims: &[Extent], out: &[usize], number: &str) -> Vec<Extent> {
        let sized: Vec<(usize, &Extent)> =
            dims.iter().map(|dim| (self.size(dim), dim)).filter(|&(size, _)| size != 1).collect();
        let (mut sized, mut out_sizes) =
            (sized.into_iter(), out.iter().copied().filter(|&size| size != 1).peekable());
        let mut blocks = Vec::new();
        while out_sizes.peek().is_some() {
            let (mut ins, mut outs, mut in_product, mut out_product) = (Vec::new(), Vec::new(), 1, 1);
            while ins.is_empty() || outs.is_empty() || in_product != out_product {
                if in_product <= out_product {
                    let Some((size, dim)) = sized.next() else { break };
                    in_product *= size;
                    ins.push(dim);
                } else {
                    let Some(size) = out_sizes.next() else { break };
                    out_product *= size;
                    outs.push(size);
                }
            }
            if outs.is_empty() {
                break;
            }
            blocks.extend(self.reshape_block(&ins, &outs, number));
        }
        let mut blocks = blocks.into_iter();
        let mut next = |size| if size == 1 { None } else { blocks.next() };
        out.iter().map(|&size| next(size).unwrap_or_else(Extent::unit)).collect()
    }

    fn reshape_block(&mut self, ins: &[&Extent], outs: &[usize], number: &str) -> Vec<Extent> {
        let flat = ins.iter().try_fold(Extent::unit(), |flat, dim| self.product(&flat, dim));
        let inner: usize = outs[1..].iter().product();
        match flat {
            Some(flat) if outs.len() == 1 => return vec![flat],
            Some(flat) if flat.0.iter().all(|term| self.term_size(term).is_multiple_of(inner)) => {
                let tail: Vec<Extent> = outs[1..].iter().map(|&size| self.fresh(size, None)).collect();
                let mut heads = Vec::new();
                for term in flat.0 {
                    let head = self.fresh(self.term_size(&term) / inner, None);
                    let split = Extent(vec![[&head].into_iter().chain(&tail).flat_map(first_term).collect()]);
                    self.unify(&Extent(vec![term]), &split);
                    heads.push(head);
                }
                let mut first = Extent::concat(heads);
                if first.0.len() > 1 && first == Extent(vec![Vec::new(); first.0.len()]) {
                    // One row for each part: which part it is is a dimension like any other, but not one to cut.
                    let parts = first.0.len();
                    first = self.fresh(parts, Some(Pin::Because(format!("{number} stacks {parts} parts"))));
                }
                let mut result = vec![first];
                result.extend(tail);
                result.iter().for_each(|extent| self.note_number(extent, number));
                return result;
            }
            _ => {}
        }
        let why = Pin::Because(format!("{number} interleaves units"));
        ins.iter().for_each(|dim| self.pin(dim, &why));
        outs.iter().map(|&size| self.fresh(size, Some(why.clone()))).collect()
    }

    fn find(&self, mut label: Label) -> Label {
        while let Some(same) = self.0[label.0].same {
            label = same;
        }
        label
    }

    fn term_size(&self, term: &[Label]) -> usize {
        term.iter().map(|label| self.0[label.0].facts.size).product()
    }

    /// An extent over labels that have no parts; `None` where that would need a concatenation inside a product.
    fn resolve(&self, extent: &Extent) -> Option<Extent> {
        let mut terms = Vec::new();
        for term in &extent.0 {
            let mut product: Vec<Vec<Label>> = vec![Vec::new()];
            for &label in term {
                let label = self.find(label);
                let factor = match &self.0[label.0].parts {
                    Some(parts) => self.resolve(parts)?.0,
                    None => vec![vec![label]],
                };
                match factor.as_slice() {
                    [only] => product.iter_mut().for_each(|term| term.extend(only)),
                    _ if product == [Vec::new()] => product = factor,
                    _ => return None,
                }
            }
            terms.extend(product);
        }
        Some(Extent(terms))
    }

    /// Does the first thing that makes two resolved extents more alike.
    fn step(&mut self, x: &Extent, y: &Extent) -> Step {
        if x == y {
            return Step::Equal;
        }
        for (a, b) in x.0.iter().zip(&y.0) {
            let (a_size, b_size) = (self.term_size(a), self.term_size(b));
            if a_size != b_size {
                let done = if a_size > b_size { self.split(a, b_size) } else { self.split(b, a_size) };
                return if done { Step::Progress } else { Step::Stuck };
            }
            if let Some((&a, &b)) = a.iter().zip(b).find(|(a, b)| a != b) {
                return self.align(a, b);
            }
        }
        Step::Stuck
    }

    /// Makes two leading labels one, or gives the larger one the smaller as its first factor.
    fn align(&mut self, a: Label, b: Label) -> Step {
        let (a_size, b_size) = (self.0[a.0].facts.size, self.0[b.0].facts.size);
        if a_size == b_size {
            self.join(a, b);
            return Step::Progress;
        }
        let (large, size, small) = if a_size > b_size { (a, a_size, b_size) } else { (b, b_size, a_size) };
        if !size.is_multiple_of(small) {
            return Step::Stuck;
        }
        let (outer, inner) = (self.fresh(small, None), self.fresh(size / small, None));
        let factors = [outer, inner].iter().flat_map(first_term).collect();
        self.define(large, Extent(vec![factors]));
        Step::Progress
    }

    /// Makes a product a concatenation of `at` elements and the rest, if whole units of its first label are there.
    fn split(&mut self, term: &[Label], at: usize) -> bool {
        let Some((&first, rest)) = term.split_first() else { return false };
        let inner = self.term_size(rest);
        if !at.is_multiple_of(inner) {
            return false;
        }
        let size = self.0[first.0].facts.size;
        let parts = [self.fresh(at / inner, None), self.fresh(size - at / inner, None)];
        self.define(first, Extent::concat(parts));
        true
    }

    fn define(&mut self, label: Label, parts: Extent) {
        let facts = self.0[label.0].facts.clone();
        for part in self.leaves(&parts) {
            self.absorb(part, &facts);
        }
        self.0[label.0].parts = Some(parts);
    }

    fn join(&mut self, a: Label, b: Label) {
        let facts = self.0[b.0].facts.clone();
        self.absorb(a, &facts);
        self.0[b.0].same = Some(a);
    }

    fn absorb(&mut self, label: Label, other: &Facts) {
        let facts = &mut self.0[label.0].facts;
        facts.numbers.extend(other.numbers.iter().cloned());
        facts.across.extend(other.across.iter().cloned());
        facts.traits.extend(&other.traits);
        // Where there are two reasons, the one that says more.
        let says = |pin: &Option<Pin>| match pin {
            None => 0,
            Some(Pin::Constant) => 1,
            Some(Pin::Position) => 2,
            Some(Pin::Because(_)) => 3,
        };
        if says(&facts.pin) < says(&other.pin) {
            facts.pin.clone_from(&other.pin);
        }
    }

    /// Sizes of an extent's labels: `3·4 + 2`.
    fn structure(&self, extent: &Extent) -> String {
        let resolved = self.resolve(extent);
        let term = |term: &Vec<Label>| {
            let sizes: Vec<String> =
                term.iter().map(|label| self.0[label.0].facts.size.to_string()).collect();
            if sizes.is_empty() { "1".into() } else { sizes.join("·") }
        };
        resolved.as_ref().unwrap_or(extent).0.iter().map(term).collect::<Vec<_>>().join(" + ")
    }
}

enum Step {
    Equal,
    Progress,
    Stuck,
}

fn first_term(extent: &Extent) -> Vec<Label> {
    extent.0.first().cloned().unwrap_or_default()
}
