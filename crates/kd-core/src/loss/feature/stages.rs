//! Losses over several stages of two networks: which maps they compare, and what the parameters of each are called.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use burn::tensor::Tensor;

use crate::{ConnectorKind, Error, Feature, Features, Side, SitePair};

/// The maps at `sites`. A feature of rank 2 is a map of one position.
pub(super) fn maps(
    loss: &'static str,
    side: Side,
    features: &Features,
    sites: &[String],
) -> Result<Vec<Tensor<4>>, Error> {
    let input = match side {
        Side::Student => "student.SITE",
        Side::Teacher => "teacher.SITE",
    };
    let expected = "[B, C, H, W] or [B, C], with the same B at all sites";
    let mut maps: Vec<Tensor<4>> = Vec::with_capacity(sites.len());
    for site in sites {
        let feature = features.require(side, site)?;
        let found = feature.dims();
        if found.contains(&0) {
            return Err(Error::Empty { shape: found });
        }
        let batch = maps.first().map_or(found[0], |first| first.dims()[0]);
        maps.push(match feature.clone() {
            Feature::D4(x) if found[0] == batch => x,
            Feature::D2(x) if found[0] == batch => x.reshape([batch, found[1], 1, 1]),
            _ => return Err(Error::Shape { loss, input, expected, found }),
        });
    }
    if maps.is_empty() { Err(Error::Missing { loss, input }) } else { Ok(maps) }
}

/// All sites, those of the largest maps first, equal ones in the order of the forward pass.
pub(super) fn largest_first(features: &Features) -> Vec<String> {
    let positions = |feature: &Feature| feature.dims().iter().skip(2).product::<usize>();
    let mut sites: Vec<_> =
        features.iter().map(|(site, x)| (Reverse(positions(x)), site.to_string())).collect();
    sites.sort_by_key(|(size, _)| *size);
    sites.into_iter().map(|(_, site)| site).collect()
}

/// Pairs of two lists of sites so that each site is in one; the only sites where none is named.
pub(super) fn pairs(student: &[String], teacher: &[String]) -> Vec<SitePair> {
    let pair = |student: &str, teacher: &str| SitePair {
        connector: Some(ConnectorKind::AsIs),
        ..SitePair::new(student, teacher)
    };
    if student.is_empty() || teacher.is_empty() {
        return vec![pair("", "")];
    }
    let longest = student.len().max(teacher.len());
    let at = |sites: &[String], i: usize| sites[i.min(sites.len() - 1)].clone();
    (0..longest).map(|i| pair(&at(student, i), &at(teacher, i))).collect()
}

/// Who owns the parameters of a loss over these sites.
pub(super) fn owner(loss: &str, student: &[String], teacher: &[String]) -> String {
    format!("{loss} {} {}", student.join(","), teacher.join(","))
}

/// The name of a parameter of a stage, `1.in`, kept as long as the program runs, as [`Parameter`](crate::Parameter)
/// wants it: there are few of them, and each is kept once.
pub(super) fn lasting(name: String) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name.as_str()) {
        return known;
    }
    let kept: &'static str = Box::leak(name.into_boxed_str());
    names.insert(kept);
    kept
}
