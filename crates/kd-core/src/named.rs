//! A loss on tensors that are known by name: what `kd loss eval` computes, and what golden vectors are checked with.
//!
//! | name | what it is |
//! | --- | --- |
//! | `student.logits`, `teacher.logits` | `[B, C]`, or `[B, L, C]` for tokens |
//! | `student.SITE`, `teacher.SITE` | a feature of rank 1 to 4, the batch first |
//! | `teacher.K.logits`, `teacher.K.SITE` | those of several teachers, counted from 0 |
//! | `targets` | class of each example, integers |
//! | `mask` | `[B, L]`, 1 counted and 0 ignored |
//! | `connector.NAME` | what a loss trains beside the student |

use burn::tensor::{Int, Tensor};

use crate::feature::widened;
use crate::{Connectors, DistillLoss, Error, Feature, Observed, Progress, View};

/// Named tensors, all of one precision.
#[derive(Debug, Clone, Default)]
pub struct Named {
    student: Vec<(String, Feature)>,
    teachers: Vec<Observed>,
    targets: Option<Tensor<1, Int>>,
    mask: Option<Tensor<2>>,
    trained: Vec<(String, Feature)>,
}

/// What a loss makes of them.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// One element.
    pub value: Tensor<1>,
    /// A gradient for every `student.NAME` and `connector.NAME`, by that name and in its shape; zeros where the loss
    /// does not depend on it.
    pub gradients: Vec<(String, Feature)>,
}

impl Named {
    /// No tensors.
    pub fn new() -> Self {
        Named::default()
    }

    /// Puts a tensor under its name. Those of the student and of connectors must be on a device with autodiff.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownInput`] for a name that means nothing, [`Error::InputRank`] for a rank that its name does not
    /// have.
    pub fn insert(&mut self, name: &str, x: Feature) -> Result<(), Error> {
        let unknown = || Error::UnknownInput { name: name.to_string() };
        let (side, rest) = match name {
            "mask" => {
                let rank = x.rank();
                let mask = x.try_into().map_err(|_| Error::InputRank {
                    name: name.into(),
                    expected: "2",
                    found: rank,
                })?;
                self.mask = Some(mask);
                return Ok(());
            }
            _ => name.split_once('.').ok_or_else(unknown)?,
        };
        if rest.is_empty() {
            return Err(unknown());
        }
        match side {
            "student" => self.student.push((rest.to_string(), x)),
            "connector" => self.trained.push((rest.to_string(), x)),
            "teacher" => {
                let (number, site) = match rest.split_once('.') {
                    Some((number, site)) if !site.is_empty() => match number.parse::<usize>() {
                        Ok(number) => (number, site),
                        Err(_) => (0, rest),
                    },
                    _ => (0, rest),
                };
                if self.teachers.len() <= number {
                    self.teachers.resize_with(number + 1, Observed::default);
                }
                observe(&mut self.teachers[number], site, x, name)?;
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }

    /// Puts the labels.
    pub fn insert_targets(&mut self, targets: Tensor<1, Int>) {
        self.targets = Some(targets);
    }

    /// The loss and its gradients, at the end of a run (`progress` 1), with connectors that change nothing.
    ///
    /// # Errors
    ///
    /// Those of the loss.
    pub fn evaluate(self, loss: &dyn DistillLoss) -> Result<Evaluated, Error> {
        let mut leaves = Vec::new();
        let mut student = Observed::default();
        let mut mask = self.mask;
        for (name, x) in self.student {
            let x = x.require_grad();
            let full = format!("student.{name}");
            if let ("logits", Feature::D3(tokens)) = (name.as_str(), &x)
                && mask.is_none()
            {
                let [batch, length, _] = tokens.dims();
                let options = (&tokens.device(), tokens.dtype());
                mask = Some(Tensor::ones([batch, length], options));
            }
            observe(&mut student, &name, x.clone(), &full)?;
            leaves.push((full, x));
        }
        let trained: Vec<_> = self.trained.into_iter().map(|(name, x)| (name, x.require_grad())).collect();
        leaves.extend(trained.iter().map(|(name, x)| (format!("connector.{name}"), x.clone())));
        let trained = trained.into_iter().map(|(name, x)| (name, x.widened())).collect();
        let connectors = Connectors::identity(&loss.sites()).with_values(trained);
        let mask = mask.map(widened);
        let value = loss.evaluate(&View {
            student: &student,
            teachers: &self.teachers,
            targets: self.targets.as_ref(),
            mask: mask.as_ref(),
            progress: Progress::of(1, 1),
            connectors: &connectors,
        })?;
        // A loss of a batch in which it finds nothing to compare may depend on no leaf.
        let gradients = value.is_autodiff().then(|| value.backward());
        let gradient = |x: &Feature| gradients.as_ref().map_or_else(|| x.zeros_like(), |all| x.gradient(all));
        let gradients = leaves.iter().map(|(name, x)| (name.clone(), gradient(x))).collect();
        Ok(Evaluated { value, gradients })
    }
}

/// Puts a tensor where a loss looks for it; logits of tokens become rows.
fn observe(to: &mut Observed, site: &str, x: Feature, name: &str) -> Result<(), Error> {
    let x = x.widened();
    if site != "logits" {
        to.features.insert(site, x);
        return Ok(());
    }
    to.logits = Some(match x {
        Feature::D2(x) => x,
        Feature::D3(x) => {
            let [batch, length, classes] = x.dims();
            x.reshape([batch * length, classes])
        }
        x => return Err(Error::InputRank { name: name.into(), expected: "2 or 3", found: x.rank() }),
    });
    Ok(())
}
