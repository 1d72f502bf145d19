//! The one seam in a model.
//!
//! A model calls [`Tap::at`] once for each site and never asks who is listening: feature distillation keeps what
//! passes, calibration observes it, quantization-aware training replaces it. With nothing attached the call is one
//! branch, so that the line can stay in every forward pass there is.

use std::collections::BTreeSet;
use std::fmt;

use burn::tensor::Tensor;

use crate::{Error, Feature, Features};

/// Watches, keeps and rewrites the activations of one forward pass.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use kd_core::Tap;
///
/// fn forward(x: Tensor<2>, tap: &mut Tap) -> Tensor<2> {
///     let x = tap.at("scaled", x * 2.0);
///     let x = tap.at("shifted", x + 1.0);
///     x
/// }
///
/// let x = Tensor::<2>::from_data([[1.0, 2.0]], &Device::default());
/// let mut tap = Tap::wanting(["scaled"]);
/// forward(x, &mut tap);
/// assert_eq!(tap.seen(), ["scaled", "shifted"]);
/// let features = tap.into_features();
/// assert_eq!(features.get("scaled").map(|feature| feature.dims()), Some(vec![1, 2]));
/// assert!(features.get("shifted").is_none());
/// ```
///
/// Site names are unique within a forward pass. Where a model reaches one twice, both activations are rewritten, the
/// last is kept, and [`repeated`](Tap::repeated) names the site, so that a caller can refuse it.
#[derive(Default)]
pub struct Tap<'a> {
    /// Whether anything below is in use: the branch.
    attached: bool,
    keep: Keep,
    rewrites: Vec<&'a mut dyn Rewrite>,
    seen: Vec<String>,
    repeated: Vec<String>,
    features: Features,
}

/// Replaces the activation at a site, or only looks at it.
pub trait Rewrite {
    /// The activation with which the forward pass goes on. Its rank must be that of `x`; its shape should be.
    fn rewrite(&mut self, site: &str, x: Feature) -> Feature;
}

#[derive(Default)]
enum Keep {
    #[default]
    Nothing,
    Named(BTreeSet<String>),
    Everything,
}

impl<'a> Tap<'a> {
    /// Nothing attached: every activation passes.
    pub fn none() -> Self {
        Tap::default()
    }

    /// Keeps the activations at `sites`, and records the name of every site on the way.
    ///
    /// A name that the forward pass does not reach is simply not among the features; compare with
    /// [`seen`](Tap::seen). Without names, only the record remains.
    pub fn wanting(sites: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Tap {
            attached: true,
            keep: Keep::Named(sites.into_iter().map(Into::into).collect()),
            ..Tap::default()
        }
    }

    /// Keeps the activations at all sites, and records their names.
    pub fn everything() -> Self {
        Tap { attached: true, keep: Keep::Everything, ..Tap::default() }
    }

    /// Also hands every activation to `rewrite`; several are applied in the order in which they were attached.
    #[must_use]
    pub fn with_rewrite(mut self, rewrite: &'a mut dyn Rewrite) -> Self {
        self.attached = true;
        self.rewrites.push(rewrite);
        self
    }

    /// Passes the activation `x` at `site`: first through the rewrites, then, as they left it, to whoever keeps it.
    ///
    /// # Panics
    ///
    /// If a rewrite returns another rank, which is a mistake in the program and not in its input.
    #[inline]
    pub fn at<const D: usize>(&mut self, site: &str, x: Tensor<D>) -> Tensor<D>
    where
        Feature: From<Tensor<D>>,
        Tensor<D>: TryFrom<Feature, Error = Error>,
    {
        if self.attached { self.attend(site, x) } else { x }
    }

    /// Names of the sites reached so far, each once, in the order of the forward pass; empty unless the tap keeps
    /// something or was made to.
    pub fn seen(&self) -> &[String] {
        &self.seen
    }

    /// Names of the sites that were reached more than once, each once.
    pub fn repeated(&self) -> &[String] {
        &self.repeated
    }

    /// What was kept.
    pub fn into_features(self) -> Features {
        self.features
    }

    fn attend<const D: usize>(&mut self, site: &str, x: Tensor<D>) -> Tensor<D>
    where
        Feature: From<Tensor<D>>,
        Tensor<D>: TryFrom<Feature, Error = Error>,
    {
        let x = if self.rewrites.is_empty() {
            x
        } else {
            let mut feature = Feature::from(x);
            for rewrite in &mut self.rewrites {
                feature = rewrite.rewrite(site, feature);
            }
            match feature.try_into() {
                Ok(x) => x,
                Err(Error::Rank { expected, found }) => {
                    panic!(
                        "a rewrite turned the activation at `{site}` from rank {expected} into rank {found}"
                    )
                }
                Err(other) => unreachable!("only the rank of a feature can be wrong here: {other}"),
            }
        };
        let wanted = match &self.keep {
            Keep::Nothing => return x,
            Keep::Named(sites) => sites.contains(site),
            Keep::Everything => true,
        };
        self.record(site);
        if wanted {
            self.features.insert(site, Feature::from(x.clone()));
        }
        x
    }

    fn record(&mut self, site: &str) {
        if !self.seen.iter().any(|name| name == site) {
            self.seen.push(site.to_string());
        } else if !self.repeated.iter().any(|name| name == site) {
            self.repeated.push(site.to_string());
        }
    }
}

impl fmt::Debug for Tap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap")
            .field("attached", &self.attached)
            .field("rewrites", &self.rewrites.len())
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}
