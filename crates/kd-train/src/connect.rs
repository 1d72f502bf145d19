//! The trainable layers between a student's features and its teacher's: made before the first step from the
//! shapes that one batch shows, optimized beside the student, never exported.

use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Gradients;
use burn::tensor::{Device, Tensor};
use kd_core::{Connectors, Objective, Observed, Side, Tap};
use kd_deploy::Weights;

use crate::error::Error;
use crate::fit::Job;
use crate::network::Network;
use crate::seeds;
use crate::survey::{self, Entry};

/// Sites that an objective reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sites {
    /// In the student.
    pub(crate) student: Vec<String>,
    /// In the teacher.
    pub(crate) teacher: Vec<String>,
}

/// The sites that `objective` reads, each once.
pub(crate) fn wanted(objective: &Objective) -> Sites {
    let mut sites = Sites::default();
    for pair in objective.sites() {
        let want = |list: &mut Vec<String>, site: &str| {
            if !list.iter().any(|known| known == site) {
                list.push(site.to_owned());
            }
        };
        pair.student_sites().for_each(|site| want(&mut sites.student, site));
        want(&mut sites.teacher, &pair.teacher);
    }
    sites
}

/// Checks every site that the objective reads on two examples, and joins the features.
///
/// # Errors
///
/// A site that a model does not have, with those it has; features that cannot be joined.
pub(crate) fn connectors(
    job: &Job<'_>,
    student: &dyn Network,
    autodiff: &Device,
) -> Result<Connectors, Error> {
    let pairs = job.objective.sites();
    let Some(teacher) = job.teacher else { return Ok(Connectors::none()) };
    let rows = Tensor::zeros([2, job.data.task().features()], job.device);
    let look = |network: &dyn Network, side, sites: &[String]| {
        let mut tap = Tap::everything();
        let logits = network.inference().forward(rows.clone(), &mut tap);
        match sites.iter().find(|site| !tap.seen().contains(site)) {
            Some(site) => Err(Error::UnknownSite { side, site: site.clone(), sites: tap.seen().to_vec() }),
            None => Ok(Observed::new(logits).with_features(tap.into_features())),
        }
    };
    let sites = wanted(job.objective);
    let student = look(student, Side::Student, &sites.student)?;
    let teacher = look(teacher, Side::Teacher, &sites.teacher)?;
    let seed = seeds::derive(job.seed, &format!("connectors {}", job.order), &[]);
    crate::network::with_seed(autodiff, seed, || {
        let connectors = Connectors::create(&pairs, &student.features, &teacher.features, autodiff)?;
        Ok(connectors.with_parameters(job.objective.parameters(&student, &teacher)?, autodiff))
    })
}

/// The connectors with saved weights.
pub(crate) fn restored(connectors: Connectors, weights: &Weights) -> Connectors {
    survey::write(connectors, weights)
}

/// Their weights.
pub(crate) fn weights(connectors: &Connectors) -> Weights {
    use burn::module::Module;
    survey::read(&connectors.valid())
}

/// Everything that the optimizer steps, under paths that cannot meet.
pub(crate) fn entries(student: &dyn Network, connectors: &Connectors) -> Vec<Entry> {
    let own = survey::survey(connectors).into_iter();
    let own = own.map(|entry| Entry { path: format!("connectors:{}", entry.path), ..entry });
    student.entries().into_iter().chain(own).collect()
}

/// One optimizer step of the connectors.
pub(crate) fn step(
    connectors: Connectors,
    optimizer: &mut ModuleOptimizer,
    rate: f64,
    gradients: &mut Gradients,
) -> Connectors {
    if connectors.is_empty() {
        return connectors;
    }
    let gradients = GradientsParams::from_module(gradients, &connectors);
    optimizer.step(rate, connectors, gradients)
}
