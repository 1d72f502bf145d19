//! Scores of coupled channels: one for each unit of an axis.
//!
//! A unit of an axis is a set of slices in several tensors: the outputs of the layers that write it, the inputs of those
//! that read it, scales of norms in between. A criterion scores the slices of each, and [`Group`] says how these become
//! one number.

use kd_graph::{Axis, Graph, Member};

use crate::roles::{Role, Use, uses};
use crate::{
    Counts, Criterion, Error, Evidence, Group, Inputs, Matrix, Members, Normalization, Samples, Unit, Weight,
    Weights, carriers,
};

/// [`score_group`] from weights alone, with the defaults of [`Group`].
///
/// # Errors
///
/// As [`score_group`].
pub fn score_axis(
    criterion: &dyn Criterion,
    graph: &Graph,
    axis: &Axis,
    weights: &Weights,
) -> Result<Vec<f64>, Error> {
    score_group(criterion, graph, axis, &Evidence::new(weights), Group::default())
}

/// One score for each unit of `axis`, higher for what should stay.
///
/// `score[u] = reduction over members of Σ over the slices of u of criterion(slice)`. A unit has several slices in a
/// tensor where, say, a head has several positions. Members are what [`Criterion::counts`] says and [`Group::members`]
/// leaves of it; biases and running statistics never are. Then all scores are divided by their mean
/// ([`Group::normalization`]), or by what the criterion has for that.
///
/// With the defaults the same as Torch-Pruning 1.6, `GroupMagnitudeImportance(p)` and `GroupTaylorImportance()` in
/// `torch_pruning/pruner/importance.py`, which compute in single precision and leave depthwise convolutions out.
///
/// # Errors
///
/// [`Error::Unit`] for a criterion whose knobs ask for elements, [`Error::Unwritten`] where no member counts,
/// [`Error::Missing`] where the criterion reads what was not gathered, what else the criterion says, and
/// [`Error::NotFinite`] or [`Error::Length`] for numbers that cannot be scored.
pub fn score_group(
    criterion: &dyn Criterion,
    graph: &Graph,
    axis: &Axis,
    evidence: &Evidence<'_>,
    group: Group,
) -> Result<Vec<f64>, Error> {
    if criterion.unit() == Some(Unit::Element) {
        return Err(Error::Unit { criterion: criterion.name().into(), unit: Unit::Channel });
    }
    let lists = match criterion.counts() {
        Counts::Activations => of_activations(criterion, graph, axis, evidence)?,
        counts => of_parameters(criterion, graph, axis, evidence, (counts, group.members))?,
    };
    if lists.is_empty() {
        return Err(Error::Unwritten { path: label(axis), criterion: criterion.name().into() });
    }
    let scores = group.reduction.of(&lists);
    Ok(match group.normalization {
        Normalization::None => scores,
        mean => criterion.of_group(&scores).unwrap_or_else(|| mean.of(scores)),
    })
}

/// A list for each parameter that counts.
fn of_parameters(
    criterion: &dyn Criterion,
    graph: &Graph,
    axis: &Axis,
    evidence: &Evidence<'_>,
    (counts, members): (Counts, Members),
) -> Result<Vec<Vec<f64>>, Error> {
    let uses = uses(graph);
    let mut lists = Vec::new();
    for member in &axis.members {
        let role = role(graph, &uses, member).filter(|&role| counts.takes(role, members));
        let (Some(role), Some(weight)) = (role, evidence.weights().get(&member.path)) else { continue };
        let rows = match role {
            Role::BatchScale if counts == Counts::BatchScales => {
                let scales = Samples::new(&member.path, &weight.shape, &weight.values)?;
                criterion.of_member(&Inputs::default().with_bn_weight(&scales))?
            }
            _ => {
                let view = |of: &Weight| Matrix::from_weight(&member.path, &of.shape, &of.values, member.dim);
                let gathered =
                    |of: Option<&Weights>| of.and_then(|of| of.get(&member.path)).map(view).transpose();
                let matrix = view(weight)?;
                let (gradient, squares) = (gathered(evidence.gradients())?, gathered(evidence.squares())?);
                let mut inputs = Inputs::new(&matrix).of_layer(&member.path);
                if let Some(gradient) = &gradient {
                    inputs = inputs.with_grad(gradient);
                }
                if let Some(squares) = &squares {
                    inputs = inputs.with_hessian(squares);
                }
                criterion.of_member(&inputs)?
            }
        };
        lists.push(member.index.iter().map(|unit| unit.iter().map(|&row| rows[row]).sum()).collect());
    }
    Ok(lists)
}

/// A list for each site that counts, or a single one where the criterion takes them together.
fn of_activations(
    criterion: &dyn Criterion,
    graph: &Graph,
    axis: &Axis,
    evidence: &Evidence<'_>,
) -> Result<Vec<Vec<f64>>, Error> {
    let gathered = evidence.activations()?;
    let mut sites = Vec::new();
    for carrier in carriers(graph, axis)? {
        let Some(samples) = gathered.get(&(carrier.site, carrier.dim)) else { continue };
        let [examples, indices, _] = samples.channels()?;
        let each = carrier.index[0].len();
        let picked = |row: &[f64]| carrier.index.iter().flatten().map(|&at| row[at]).collect::<Vec<f64>>();
        let values: Vec<f64> = samples.values().chunks_exact(indices).flat_map(picked).collect();
        let shape = [examples, axis.size, each];
        let ones = vec![1.0; values.len()];
        // Effects are products of activations and gradients already, and what is multiplied with them is 1.
        sites.push((
            Samples::new(samples.path(), &shape, &values)?,
            Samples::new(samples.path(), &shape, &ones)?,
        ));
    }
    if sites.is_empty() {
        return Ok(Vec::new());
    }
    let inputs: Vec<_> = sites
        .iter()
        .map(|(values, ones)| Inputs::default().with_activations(values).with_grad_activations(ones))
        .collect();
    criterion.scores_of(&inputs, Unit::Channel)
}

impl Counts {
    fn takes(self, role: Role, members: Members) -> bool {
        let counts = match self {
            Counts::Everything => role != Role::Shift,
            Counts::Weights => !matches!(role, Role::Shift | Role::BatchScale),
            Counts::Writing => role == Role::Weight,
            // These have no weights among them that `members` could choose.
            Counts::BatchScales => return role == Role::BatchScale,
            Counts::Activations => false,
        };
        counts && (members == Members::Coupled || role == Role::Weight)
    }
}

/// What a member does for its units; of several roles, as tied weights have, the first one of the enum. None for what
/// is never trained.
fn role(graph: &Graph, uses: &[Use], member: &Member) -> Option<Role> {
    let param = graph.params.iter().find(|param| param.path == member.path)?;
    let of = uses.iter().filter(|it| it.path == member.path && it.dim == member.dim).map(|it| it.role);
    of.min().filter(|_| !param.buffer)
}

/// The name of an axis in messages: the path of its first member that a layer's weight is, else of its first.
pub(crate) fn label(axis: &Axis) -> String {
    let weight = axis.members.iter().find(|member| member.path.ends_with("weight"));
    weight.or(axis.members.first()).map(|member| member.path.clone()).unwrap_or_default()
}
