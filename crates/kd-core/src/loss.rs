//! Losses: a free function that does the arithmetic, and a struct of knobs that is its name in a recipe.
//!
//! One paper, one file. A loss holds numbers and never parameters (those are in [`Connectors`](crate::Connectors)),
//! takes the teacher's outputs as constants, and is reported without its weight. [`TABLE`] says of each which paper
//! defines it and which public implementation it equals.
#![doc = include_str!("../LOSSES.md")]

mod combination;
mod data_free;
mod feature;
mod math;
mod number;
mod paired;
mod relation;
mod response;
mod scheduled;
mod transformer;

use std::fmt::Debug;

use burn::tensor::Tensor;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use scheduled::Scheduled;
pub use {combination::*, data_free::*, feature::*, relation::*, response::*, transformer::*};

use crate::{Error, Input, Knob, Observed, Parameter, SitePair, View};

/// A loss as an [`Objective`](crate::Objective) sees it.
///
/// It is used as `Box<dyn DistillLoss>`: the set of losses is open, and an objective is a list of them.
pub trait DistillLoss: Debug + Send + Sync {
    /// Whether it compares with a teacher.
    fn needs_teacher(&self) -> bool;

    /// The sites that it compares; they are checked against both models before the first step.
    fn sites(&self) -> Vec<SitePair> {
        Vec::new()
    }

    /// The parameters that it trains, from what a dry forward pass of each model gave.
    ///
    /// # Errors
    ///
    /// Where the shapes do not fit.
    fn parameters(&self, _student: &Observed, _teacher: &Observed) -> Result<Vec<Parameter>, Error> {
        Ok(Vec::new())
    }

    /// Its value on one batch, unweighted, one element.
    ///
    /// # Errors
    ///
    /// Where what it needs is missing from `view` or has the wrong shape.
    fn evaluate(&self, view: &View<'_>) -> Result<Tensor<1>, Error>;
}

/// What is known about a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LossName {
    /// Its key in a recipe.
    pub name: &'static str,
    /// What it does, in one line.
    pub line: &'static str,
    /// The definition, in the letters of [`inputs`](Self::inputs).
    pub formula: &'static str,
    /// Where it was published.
    pub paper: &'static str,
    /// The public implementation that it equals: repository, file and commit or release.
    pub reference: &'static str,
    /// When it helps, and when it does not.
    pub when: &'static str,
    /// What its table takes.
    pub knobs: &'static [Knob],
    /// The tensors that it reads.
    pub inputs: &'static [Input],
    /// Knobs that work, as TOML.
    pub example: &'static str,
    /// What a recipe cannot give it, such as `several teachers`; none where a recipe can use it.
    pub lacks: Option<&'static str>,
}

/// Takes in losses by name, with the types that read their knobs.
pub trait Register {
    /// One loss.
    fn loss<L: DistillLoss + Serialize + DeserializeOwned + 'static>(&mut self, name: &'static LossName);
}

macro_rules! losses {
    ($($group:ident :: $module:ident :: $knobs:ident,)+) => {
        /// The losses of this crate.
        pub const TABLE: &[LossName] = &[$($group::$module::NAME),+];

        /// Hands all of them to `to`, in the order of [`TABLE`].
        pub fn register(to: &mut impl Register) {
            $(to.loss::<$group::$module::$knobs>(const { &$group::$module::NAME });)+
        }
    };
}

losses! {
    response::cross_entropy::CrossEntropy,
    response::kl::Kl,
    response::tf_kd::TfKd,
    response::dkd::Dkd,
    response::nkd::Nkd,
    response::dist::Dist,
    response::logit_standardization::LogitStandardization,
    response::wsld::Wsld,
    response::mlkd::Mlkd,
    response::ctkd::Ctkd,
    response::flsw::Flsw,
    response::cwsm::Cwsm,
    response::top_k::TopK,
    response::uld::Uld,
    response::ofa::Ofa,
    response::deit::Deit,
    feature::hint::Hint,
    feature::at::At,
    feature::fsp::Fsp,
    feature::nst::Nst,
    feature::ft::Ft,
    feature::ab::Ab,
    feature::ofd::Ofd,
    feature::vid::Vid,
    feature::cwd::Cwd,
    feature::review_kd::ReviewKd,
    feature::pkd::Pkd,
    feature::mgd::Mgd,
    feature::srd::Srd,
    feature::sem_ckd::SemCkd,
    feature::affine::Affine,
    feature::region_at::RegionAt,
    feature::temporal_difference::TemporalDifference,
    relation::rkd_distance::RkdDistance,
    relation::rkd_angle::RkdAngle,
    relation::sp::Sp,
    relation::cc::Cc,
    relation::pkt::Pkt,
    relation::crd::Crd,
    relation::irg::Irg,
    relation::cirkd::Cirkd,
    relation::ickd::Ickd,
    transformer::tinybert::TinyBert,
    transformer::distilbert::DistilBert,
    transformer::mobilebert::MobileBert,
    transformer::minilm::MiniLm,
    transformer::minilm_v2::MiniLmV2,
    transformer::pkd_bert::PkdBert,
    transformer::gkd::Gkd,
    transformer::minillm::MiniLlm,
    transformer::mobileclip::MobileClip,
    transformer::sequence_kd::SequenceKd,
    combination::multi_teacher::MultiTeacher,
    combination::ca_mkd::CaMkd,
    combination::dml::Dml,
    combination::byot::Byot,
    combination::cs_kd::CsKd,
    combination::ban::Ban,
    data_free::discriminator::Discriminator,
    data_free::dafl::Dafl,
    data_free::dfad::Dfad,
    data_free::deep_inversion::DeepInversion,
    data_free::ard::Ard,
    data_free::rslad::Rslad,
}
