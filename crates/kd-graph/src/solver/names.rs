//! What is noted for the names of axes at the end, when all labels are known.

use std::collections::BTreeSet;

use super::Solver;
use crate::attention::{Attention, attentions};
use crate::blocks::blocks;
use crate::kind::Trait;
use crate::labels::{Extent, Label, Labels, Pin};

impl Solver<'_> {
    pub(crate) fn note_streams(&mut self) {
        for block in blocks(self.graph) {
            let dims = self.get(block.stream);
            dims.iter().for_each(|dim| self.labels.note_trait(dim, Trait::Stream));
        }
    }

    pub(crate) fn note_attention(&mut self) {
        for Attention { query, key, value } in attentions(self.graph) {
            let [query, key, value] = [query, key, value].map(|id| self.get(id));
            let (inner, outer) = (query.len() - 2, query.len() - 1);
            self.labels.note_trait(&query[outer], Trait::QueryKey);
            self.labels.note_trait(&value[value.len() - 1], Trait::Value);
            self.labels.note_trait(&query[inner], Trait::Place);
            self.labels.note_trait(&key[key.len() - 1], Trait::Place);
            let heads = |labels: &Labels, dims: &[Extent]| -> BTreeSet<Label> {
                let leaves = dims.iter().flat_map(|dim| labels.leaves(dim));
                leaves.filter(|&label| labels.facts(label).pin != Some(Pin::Position)).collect()
            };
            let (own, met) =
                (heads(&self.labels, &query[..inner]), heads(&self.labels, &key[..key.len() - 2]));
            let repeated = |label: &Label| self.labels.facts(*label).traits.contains(&Trait::Repeated);
            let (shared, queries): (Vec<Label>, Vec<Label>) =
                own.into_iter().partition(|label| met.contains(label) && !repeated(label));
            for &label in &shared {
                self.labels.note_label(label, if queries.is_empty() { Trait::Head } else { Trait::Shared });
            }
            queries.into_iter().for_each(|label| self.labels.note_label(label, Trait::Query));
        }
    }
}
