//! What is known along one dimension of a value: which units stay, and whether those that go are zero.

use kd_graph::ValueId;

use super::wish::Wishes;

/// One dimension of a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Units {
    /// Indices that stay, if not all.
    pub(super) keep: Option<Vec<usize>>,
    /// Why the removed ones are not exactly zero when they are silenced instead.
    pub(super) loud: Option<Loud>,
}

/// What silenced units hold instead of zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loud {
    pub(super) reason: String,
    /// Whether it is a number, which a product with zero makes zero.
    pub(super) finite: bool,
}

impl<T: Into<String>> From<T> for Loud {
    fn from(reason: T) -> Self {
        Self { reason: reason.into(), finite: true }
    }
}

/// Why a cut does not go through an operation; its place is added by the caller.
pub(super) struct Obstacle {
    pub(super) reason: String,
    /// What would have to stay of other values to go through, any of these.
    pub(super) wishes: Vec<(ValueId, usize, Vec<usize>)>,
}

impl<T: Into<String>> From<T> for Obstacle {
    fn from(reason: T) -> Self {
        Self { reason: reason.into(), wishes: Vec::new() }
    }
}

pub(super) type Rule<T> = Result<T, Obstacle>;

impl Obstacle {
    /// With the wish that one of two dimensions keeps what the other does.
    pub(super) fn wishing(self, a: (ValueId, usize, &Units), b: (ValueId, usize, &Units)) -> Self {
        let wish = |of: (ValueId, usize, &Units), as_in: &Units| Some((of.0, of.1, as_in.keep.clone()?));
        Self { wishes: [wish(a, b.2), wish(b, a.2)].into_iter().flatten().collect(), ..self }
    }
}

/// What a wish leaves of a dimension along which a value repeats.
pub(super) fn wished(wishes: &Wishes, value: ValueId, dim: usize, zero: bool) -> Units {
    let keep = wishes.get(&(value, dim)).cloned();
    let loud = (keep.is_some() && !zero).then(|| "a value is repeated for them".into());
    Units { keep, loud }
}

impl Units {
    pub(super) fn cut(&self) -> bool {
        self.keep.is_some()
    }
}

pub(super) fn agree(left: &str, lhs: &Units, right: &str, rhs: &Units) -> Rule<()> {
    if lhs.keep == rhs.keep {
        return Ok(());
    }
    let count = |units: &Units| match &units.keep {
        Some(keep) => format!("{} units", keep.len()),
        None => "all units".to_owned(),
    };
    Err(match (&lhs.keep, &rhs.keep) {
        (Some(a), Some(b)) if a.len() == b.len() => {
            format!("{left} and {right} keep different units")
        }
        _ => format!("{left} keeps {}, {right} {}", count(lhs), count(rhs)),
    }
    .into())
}

/// Channels pass, positions cannot be removed.
pub(super) fn spatial(x: &[Units]) -> Rule<()> {
    match x[2..].iter().any(Units::cut) {
        true => Err("positions would be removed".into()),
        false => Ok(()),
    }
}

pub(super) fn pool(x: &[Units]) -> Rule<Vec<Units>> {
    spatial(x)?;
    Ok(x.to_vec())
}

/// The same units behind an elementwise operation that makes `reason` of zeros.
pub(super) fn map_loud(mut x: Vec<Units>, reason: Option<Loud>) -> Vec<Units> {
    if let Some(reason) = reason {
        for units in x.iter_mut().filter(|units| units.cut()) {
            units.loud = wild(&units.loud).or_else(|| Some(reason.clone()));
        }
    }
    x
}

/// What is no number, and stays none.
pub(super) fn wild(loud: &Option<Loud>) -> Option<Loud> {
    loud.clone().filter(|loud| !loud.finite)
}

/// The dimension that a reduction leaves with size one.
pub(super) fn without(mut x: Vec<Units>, axis: usize) -> Vec<Units> {
    x[axis] = Units::default();
    x
}
