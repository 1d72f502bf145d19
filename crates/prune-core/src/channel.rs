//! Scores of coupled channels: one for each unit of an axis, from the weights that write it.
//!
//! A unit of an axis is a set of slices in several tensors. What speaks for it is the weights that produce it: the
//! output slices of convolutions, linear layers and embeddings. The weights that read it say how it is used, and
//! normalizations only scale it; neither counts here.

use kd_graph::{Axis, Graph, Member};

use crate::roles::{Role, uses};
use crate::{Criterion, Error, Inputs, Matrix, Unit, Weights};

/// One score for each unit of `axis`, higher for what should stay.
///
/// `score[u] = mean over writing weights of Σ over the output rows of u of criterion(row)`. A unit has several rows
/// in a weight where, say, a head has several positions. Weights of different layers are averaged as they are,
/// without normalization, as the group norm of Fang et al., "DepGraph", arXiv:2301.12900 does.
///
/// # Errors
///
/// [`Error::Unit`] for a criterion whose knobs ask for elements, [`Error::Unwritten`] when no weight writes the axis,
/// what the criterion says, and [`Error::NotFinite`] or
/// [`Error::Length`] for weights that cannot be scored.
pub fn score_axis(
    criterion: &dyn Criterion,
    graph: &Graph,
    axis: &Axis,
    weights: &Weights,
) -> Result<Vec<f64>, Error> {
    if criterion.unit() == Some(Unit::Element) {
        return Err(Error::Unit { criterion: criterion.name().into(), unit: Unit::Channel });
    }
    let mut scores = vec![0.0; axis.size];
    let mut count = 0;
    let uses = uses(graph);
    let writes = |member: &&Member| {
        uses.iter().any(|it| it.path == member.path && it.dim == member.dim && it.role == Role::Weight)
    };
    for member in axis.members.iter().filter(writes) {
        let Some(weight) = weights.get(&member.path) else { continue };
        let matrix = Matrix::from_weight(&member.path, &weight.shape, &weight.values, member.dim)?;
        let rows = criterion.scores(&Inputs::new(&matrix), Unit::Channel)?;
        for (score, unit) in scores.iter_mut().zip(&member.index) {
            *score += unit.iter().map(|&row| rows[row]).sum::<f64>();
        }
        count += 1;
    }
    if count == 0 {
        return Err(Error::Unwritten { path: label(axis) });
    }
    Ok(scores.into_iter().map(|score| score / f64::from(count)).collect())
}

/// The name of an axis in messages: the path of its first member that a layer's weight is, else of its first.
pub(crate) fn label(axis: &Axis) -> String {
    let weight = axis.members.iter().find(|member| member.path.ends_with("weight"));
    weight.or(axis.members.first()).map(|member| member.path.clone()).unwrap_or_default()
}
