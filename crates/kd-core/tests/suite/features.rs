//! Rank-erased tensors and the ordered table of them.

use burn::tensor::{Device, Tensor};
use kd_core::{EachRank, Error, Feature, Features, Side};

use crate::support::{leaf, numbers};

fn ones<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::ones(shape, &Device::default())
}

#[test]
fn a_feature_gives_back_the_tensor_it_was_made_of() {
    fn check<const D: usize>(shape: [usize; D])
    where
        Feature: From<Tensor<D>>,
        Tensor<D>: TryFrom<Feature, Error = Error>,
    {
        let feature = Feature::from(ones(shape));
        assert_eq!((feature.rank(), feature.dims()), (D, shape.to_vec()));
        let back: Tensor<D> = feature.try_into().unwrap();
        assert_eq!(back.dims(), shape);
    }
    check([2]);
    check([2, 3]);
    check([2, 3, 4]);
    check([2, 3, 4, 5]);
}

#[test]
fn the_wrong_rank_is_an_error() {
    let feature = Feature::from(ones([2, 3, 4]));
    assert_eq!(Tensor::<2>::try_from(feature).unwrap_err(), Error::Rank { expected: 2, found: 3 });
}

#[test]
fn a_function_for_every_rank_is_applied_to_any_feature() {
    struct Double(usize);
    impl EachRank for Double {
        fn apply<const D: usize>(&mut self, x: Tensor<D>) -> Tensor<D> {
            self.0 += 1;
            x * 2.0
        }
    }
    let mut double = Double(0);
    let features =
        [ones([2]).into(), ones([2, 1]).into(), ones([2, 1, 1]).into(), Feature::from(ones([2, 1, 1, 1]))];
    for (rank, feature) in (1..).zip(features) {
        let feature = feature.map(&mut double);
        assert_eq!(feature.rank(), rank);
        let all = match feature {
            Feature::D1(x) => numbers(x),
            Feature::D2(x) => numbers(x),
            Feature::D3(x) => numbers(x),
            Feature::D4(x) => numbers(x),
        };
        assert_eq!(all, [2.0, 2.0]);
    }
    assert_eq!(double.0, 4);
}

#[test]
fn without_autodiff_cuts_the_graph() {
    let leaf = leaf(&[1.0, 2.0], [1, 2]);
    let features: Features = [("a", Feature::from(leaf.clone() * 3.0))].into_iter().collect();
    let Some(Feature::D2(kept)) = features.get("a") else { panic!("the feature has rank 2") };
    assert!(kept.is_tracked());
    let features = features.without_autodiff();
    let Some(Feature::D2(constant)) = features.get("a") else { panic!("the feature has rank 2") };
    assert!(!constant.is_autodiff());
    assert_eq!(numbers(constant.clone()), [3.0, 6.0]);
}

#[test]
fn features_keep_the_order_of_arrival_and_replace_in_place() {
    let mut features = Features::new();
    assert!(features.is_empty());
    assert!(features.insert("z", ones([1, 1]).into()).is_none());
    assert!(features.insert("a", ones([1, 2]).into()).is_none());
    let old = features.insert("z", ones([1, 3]).into()).unwrap();
    assert_eq!(old.dims(), [1, 1]);
    assert_eq!(features.len(), 2);
    assert_eq!(features.sites().collect::<Vec<_>>(), ["z", "a"]);
    let dims: Vec<_> = features.iter().map(|(site, feature)| (site, feature.dims())).collect();
    assert_eq!(dims, [("z", vec![1, 3]), ("a", vec![1, 2])]);
}

#[test]
fn a_missing_site_is_an_error_that_lists_the_others() {
    let features: Features =
        [("block1", ones([1, 1]).into()), ("block2", ones([1, 1]).into())].into_iter().collect();
    let error = features.require(Side::Teacher, "block3").unwrap_err();
    assert_eq!(error.to_string(), "the teacher has no site `block3`: there are `block1`, `block2`");
    assert!(features.require(Side::Teacher, "block1").is_ok());
}
