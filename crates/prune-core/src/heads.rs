//! Whole heads of attention as what goes: queries with the keys and values that they meet.
//!
//! The axes of attention are four (heads or groups of keys and values, queries that share one, dimensions of queries and
//! keys, dimensions of values), and a head is a unit of the first. Where all queries share one set of keys and values
//! (Shazeer, "Fast Transformer Decoding", 2019, arXiv:1911.02150), a head is a query.

use kd_graph::{Axis, Kind};

use crate::Error;
use crate::channel::label;

/// Pins every axis but those whose units are heads.
///
/// # Errors
///
/// [`Error::NoHeads`] where none of these can be cut.
pub fn only_heads(axes: &mut [Axis]) -> Result<(), Error> {
    let whole = |axis: &Axis| matches!(axis.kind, Kind::Heads | Kind::KvGroups) && axis.size > 1;
    let met: Vec<String> = (axes.iter().filter(|axis| whole(axis)))
        .flat_map(|axis| axis.members.iter().map(|member| member.path.clone()))
        .collect();
    // Queries of a group go with it, and by themselves only where there is one group.
    let alone = |axis: &Axis| {
        axis.kind == Kind::QueryReplicas && !axis.members.iter().any(|member| met.contains(&member.path))
    };
    let (mut open, mut reasons) = (false, Vec::new());
    for axis in axes.iter_mut() {
        if !whole(axis) && !alone(axis) {
            axis.pinned
                .get_or_insert_with(|| format!("its units are {}, and heads alone are to go", axis.kind));
            continue;
        }
        match &axis.pinned {
            _ if !axis.numbers.is_empty() && axis.pinned.is_none() => {
                reasons.push(format!("`{}`: {} would have to follow", label(axis), axis.numbers.join(", ")));
            }
            Some(reason) => reasons.push(format!("`{}`: {reason}", label(axis))),
            None => open = true,
        }
    }
    match open {
        true => Ok(()),
        false => Err(Error::NoHeads { reasons }),
    }
}
