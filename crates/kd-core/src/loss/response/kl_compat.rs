//! Public toolkits whose distillation term has another value than `kl`, by name, so that a run of theirs can be
//! repeated before it is improved.

use serde::{Deserialize, Serialize};

use super::kl::{Divergence, Kl, Reduction};

/// A public implementation of distillation with another value than the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KlCompat {
    /// `KDLoss` with α = 0 or without labels: KL / B, no T².
    Torchdistill,
    /// `VanillaKD`: T² times the mean of squared differences of probabilities.
    KdLib,
    /// `TAKD` of KD-Lib: T² times the mean of squared differences of log-probabilities.
    KdLibTakd,
    /// `LogitsDistillationLoss`: T² times KL / (B·C).
    ModelOptimizer,
    /// `KnowledgeDistillationLoss` with `KL`: T² times KL / (B·C).
    NeuralCompressor,
    /// `kd_ce_loss`: soft cross entropy over positions, no T².
    Textbrewer,
}

impl Kl {
    /// The knobs that it computes with; those of `compat` where it is given.
    pub(super) fn settled(self) -> Self {
        let (divergence, reduction, t_squared) = match self.compat {
            None => return self,
            Some(KlCompat::Torchdistill) => (Divergence::Forward, Reduction::BatchMean, false),
            Some(KlCompat::KdLib | KlCompat::KdLibTakd) => {
                (Divergence::ProbabilityMse, Reduction::Mean, true)
            }
            Some(KlCompat::ModelOptimizer | KlCompat::NeuralCompressor) => {
                (Divergence::Forward, Reduction::Mean, true)
            }
            Some(KlCompat::Textbrewer) => (Divergence::SoftCrossEntropy, Reduction::TokenMean, false),
        };
        Kl { divergence, reduction, t_squared, ..self }
    }

    /// Whether nothing is chosen that `compat` chooses.
    pub(super) fn leaves_the_rest_alone(&self) -> bool {
        *self == Kl { compat: self.compat, ..Kl::new(self.temperature) }
    }
}
