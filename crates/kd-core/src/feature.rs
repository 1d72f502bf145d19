//! Activations of any rank in one type, so that a rewrite and a table of features can hold what any layer gives.
//!
//! Burn's tensors carry their rank in their type. Losses, observers and fake-quantizers do not care which it is;
//! they get a [`Feature`] and go back to a ranked tensor with `try_into` or [`Feature::map`].

use burn::tensor::{DType, Gradients, Tensor};

use crate::{Error, Side};

/// A tensor of rank 1 to 4, the batch in its first dimension.
#[derive(Debug, Clone)]
pub enum Feature {
    /// `[batch]`
    D1(Tensor<1>),
    /// `[batch, features]`
    D2(Tensor<2>),
    /// `[batch, positions, features]`
    D3(Tensor<3>),
    /// `[batch, channels, height, width]`
    D4(Tensor<4>),
}

/// A function from tensors to tensors of the same rank, for every rank: what [`Feature::map`] takes, since a closure
/// cannot be generic.
pub trait EachRank {
    /// Applies the function.
    fn apply<const D: usize>(&mut self, x: Tensor<D>) -> Tensor<D>;
}

/// A feature of the same rank, made by an expression that holds for every rank.
macro_rules! each {
    ($feature:expr, $x:ident => $made:expr) => {
        match $feature {
            Feature::D1($x) => Feature::D1($made),
            Feature::D2($x) => Feature::D2($made),
            Feature::D3($x) => Feature::D3($made),
            Feature::D4($x) => Feature::D4($made),
        }
    };
}

impl Feature {
    /// Sizes of the dimensions.
    pub fn dims(&self) -> Vec<usize> {
        match self {
            Feature::D1(x) => x.dims().to_vec(),
            Feature::D2(x) => x.dims().to_vec(),
            Feature::D3(x) => x.dims().to_vec(),
            Feature::D4(x) => x.dims().to_vec(),
        }
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        match self {
            Feature::D1(_) => 1,
            Feature::D2(_) => 2,
            Feature::D3(_) => 3,
            Feature::D4(_) => 4,
        }
    }

    /// The tensor that `function` makes of this one; its rank stays.
    #[must_use]
    pub fn map(self, function: &mut impl EachRank) -> Self {
        match self {
            Feature::D1(x) => Feature::D1(function.apply(x)),
            Feature::D2(x) => Feature::D2(function.apply(x)),
            Feature::D3(x) => Feature::D3(function.apply(x)),
            Feature::D4(x) => Feature::D4(function.apply(x)),
        }
    }

    /// The same numbers as a constant: no gradient flows into what made them.
    #[must_use]
    pub fn without_autodiff(self) -> Self {
        each!(self, x => x.without_autodiff())
    }

    /// The same as a leaf of which gradients are taken.
    #[must_use]
    pub fn require_grad(self) -> Self {
        each!(self, x => x.require_grad())
    }

    /// The gradient of this leaf; zeros where nothing depended on it.
    #[must_use]
    pub fn gradient(&self, gradients: &Gradients) -> Self {
        each!(self.clone(), x => x.grad(gradients).unwrap_or_else(|| x.without_autodiff().zeros_like()))
    }

    /// The same numbers in single precision where they are in half; what is wider stays as it is.
    ///
    /// Losses add, divide by norms and take logarithms: in half precision their smallest constants are zero.
    #[must_use]
    pub fn widened(self) -> Self {
        each!(self, x => widened(x))
    }

    pub(crate) fn is_half(&self) -> bool {
        let dtype = match self {
            Feature::D1(x) => x.dtype(),
            Feature::D2(x) => x.dtype(),
            Feature::D3(x) => x.dtype(),
            Feature::D4(x) => x.dtype(),
        };
        is_half(dtype)
    }

    /// Zeros of the same shape.
    #[must_use]
    pub fn zeros_like(&self) -> Self {
        each!(self.clone(), x => x.without_autodiff().zeros_like())
    }

    /// One row for each example.
    pub fn rows(self) -> Tensor<2> {
        match self {
            Feature::D1(x) => x.unsqueeze_dim(1),
            Feature::D2(x) => x,
            Feature::D3(x) => x.flatten(1, 2),
            Feature::D4(x) => x.flatten(1, 3),
        }
    }

    /// All numbers, row-major.
    pub fn flat(self) -> Tensor<1> {
        match self {
            Feature::D1(x) => x,
            Feature::D2(x) => x.flatten(0, 1),
            Feature::D3(x) => x.flatten(0, 2),
            Feature::D4(x) => x.flatten(0, 3),
        }
    }
}

pub(crate) fn widened<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if is_half(x.dtype()) { x.cast(DType::F32) } else { x }
}

/// Whether numbers are in half precision.
pub(crate) fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

macro_rules! ranks {
    ($($rank:literal $variant:ident),+) => { $(
        impl From<Tensor<$rank>> for Feature {
            fn from(x: Tensor<$rank>) -> Self {
                Feature::$variant(x)
            }
        }

        impl TryFrom<Feature> for Tensor<$rank> {
            type Error = Error;

            fn try_from(feature: Feature) -> Result<Self, Error> {
                match feature {
                    Feature::$variant(x) => Ok(x),
                    other => Err(Error::Rank { expected: $rank, found: other.rank() }),
                }
            }
        }
    )+ };
}

ranks!(1 D1, 2 D2, 3 D3, 4 D4);

/// What a forward pass left at its sites, in the order in which it reached them.
#[derive(Debug, Clone, Default)]
pub struct Features(Vec<(String, Feature)>);

impl Features {
    /// No features.
    pub fn new() -> Self {
        Features::default()
    }

    /// Puts `feature` at `site`. A site that is there already keeps its place and loses its old feature, which is
    /// returned.
    pub fn insert(&mut self, site: impl Into<String>, feature: Feature) -> Option<Feature> {
        let site = site.into();
        match self.0.iter_mut().find(|(name, _)| *name == site) {
            Some((_, old)) => Some(std::mem::replace(old, feature)),
            None => {
                self.0.push((site, feature));
                None
            }
        }
    }

    /// The feature at `site`.
    pub fn get(&self, site: &str) -> Option<&Feature> {
        self.0.iter().find(|(name, _)| name == site).map(|(_, feature)| feature)
    }

    /// The feature at `site`, or an error that lists the sites there are. An empty name is the only site.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownSite`]; `side` says whose site is missing.
    pub fn require(&self, side: Side, site: &str) -> Result<&Feature, Error> {
        let found = match (site, self.0.as_slice()) {
            ("", [(_, only)]) => Some(only),
            _ => self.get(site),
        };
        found.ok_or_else(|| Error::UnknownSite {
            side,
            site: site.to_string(),
            sites: self.sites().map(str::to_string).collect(),
        })
    }

    /// Names and features, in the order of the forward pass.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Feature)> {
        self.0.iter().map(|(site, feature)| (site.as_str(), feature))
    }

    /// Names, in the order of the forward pass.
    pub fn sites(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(site, _)| site.as_str())
    }

    /// Number of sites.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same numbers as constants.
    #[must_use]
    pub fn without_autodiff(self) -> Self {
        Features(self.0.into_iter().map(|(site, feature)| (site, feature.without_autodiff())).collect())
    }
}

impl Features {
    /// Whether any is in half precision.
    pub(crate) fn has_half(&self) -> bool {
        self.0.iter().any(|(_, feature)| feature.is_half())
    }

    /// All of them in single precision at least.
    pub(crate) fn widened(self) -> Self {
        Features(self.0.into_iter().map(|(site, feature)| (site, feature.widened())).collect())
    }
}

impl<S: Into<String>> FromIterator<(S, Feature)> for Features {
    fn from_iter<I: IntoIterator<Item = (S, Feature)>>(features: I) -> Self {
        let mut all = Features::new();
        for (site, feature) in features {
            all.insert(site, feature);
        }
        all
    }
}
