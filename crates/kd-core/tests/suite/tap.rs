//! The tap: nothing attached is nothing done; rewrites come before keeping; features are what the model goes on with.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{Device, Tensor};
use kd_core::{EachRank, Feature, Rewrite, Tap};

use crate::support::{leaf, number, numbers};

/// Adds a number to every activation and remembers the sites.
struct Add(f64, Vec<String>);

impl EachRank for Add {
    fn apply<const D: usize>(&mut self, x: Tensor<D>) -> Tensor<D> {
        x + self.0
    }
}

impl Rewrite for Add {
    fn rewrite(&mut self, site: &str, x: Feature) -> Feature {
        self.1.push(site.to_string());
        x.map(self)
    }
}

/// Multiplies every activation.
struct Scale(f64);

impl EachRank for Scale {
    fn apply<const D: usize>(&mut self, x: Tensor<D>) -> Tensor<D> {
        x * self.0
    }
}

impl Rewrite for Scale {
    fn rewrite(&mut self, _: &str, x: Feature) -> Feature {
        x.map(self)
    }
}

/// x → 2x at `double` → the same as [N, F, 1, 1] at `map` → flattened at `flat`.
fn forward(x: Tensor<2>, tap: &mut Tap) -> Tensor<2> {
    let [batch, features] = x.dims();
    let x = tap.at("double", x * 2.0);
    let x = tap.at("map", x.reshape([batch, features, 1, 1]));
    tap.at("flat", x.reshape([batch, features]))
}

fn input() -> Tensor<2> {
    Tensor::from_data([[1.0, 2.0]], &Device::default())
}

fn feature(tap: Tap<'_>, site: &str) -> Vec<f64> {
    match tap.into_features().get(site).unwrap().clone() {
        Feature::D2(x) => numbers(x),
        Feature::D4(x) => numbers(x),
        other => panic!("no site of the model has rank {}", other.rank()),
    }
}

#[test]
fn with_nothing_attached_the_activation_passes_and_nothing_is_recorded() {
    let mut tap = Tap::none();
    assert_eq!(numbers(forward(input(), &mut tap)), [2.0, 4.0]);
    assert!(tap.seen().is_empty() && tap.repeated().is_empty());
    assert!(tap.into_features().is_empty());
}

#[test]
fn wanted_sites_are_kept_and_all_are_recorded_in_order() {
    let mut tap = Tap::wanting(["flat", "double", "nowhere"]);
    assert_eq!(numbers(forward(input(), &mut tap)), [2.0, 4.0]);
    assert_eq!(tap.seen(), ["double", "map", "flat"]);
    let features = tap.into_features();
    assert_eq!(features.sites().collect::<Vec<_>>(), ["double", "flat"], "the order of the forward pass");
    assert!(features.get("nowhere").is_none());
}

#[test]
fn wanting_nothing_only_records() {
    let mut tap = Tap::wanting(Vec::<String>::new());
    forward(input(), &mut tap);
    assert_eq!(tap.seen().len(), 3);
    assert!(tap.into_features().is_empty());
}

#[test]
fn everything_keeps_every_rank() {
    let mut tap = Tap::everything();
    forward(input(), &mut tap);
    let features = tap.into_features();
    let dims: Vec<_> = features.iter().map(|(site, feature)| (site, feature.dims())).collect();
    assert_eq!(dims, [("double", vec![1, 2]), ("map", vec![1, 2, 1, 1]), ("flat", vec![1, 2])]);
}

#[test]
fn a_rewrite_sees_every_site_and_the_model_goes_on_with_what_it_returns() {
    let mut add = Add(1.0, vec![]);
    let mut tap = Tap::none().with_rewrite(&mut add);
    assert_eq!(numbers(forward(input(), &mut tap)), [5.0, 7.0], "once at each of three sites");
    assert!(tap.seen().is_empty(), "a tap that keeps nothing does not record");
    assert_eq!(add.1, ["double", "map", "flat"]);
}

#[test]
fn rewrites_come_in_the_order_of_attachment_and_before_keeping() {
    let (mut add, mut scale) = (Add(1.0, vec![]), Scale(10.0));
    let mut tap = Tap::wanting(["double"]).with_rewrite(&mut add).with_rewrite(&mut scale);
    forward(input(), &mut tap);
    assert_eq!(feature(tap, "double"), [30.0, 50.0], "(2x + 1) · 10");

    let (mut add, mut scale) = (Add(1.0, vec![]), Scale(10.0));
    let mut tap = Tap::wanting(["double"]).with_rewrite(&mut scale).with_rewrite(&mut add);
    forward(input(), &mut tap);
    assert_eq!(feature(tap, "double"), [21.0, 41.0], "2x · 10 + 1");
}

#[test]
fn a_kept_feature_carries_its_gradient() {
    let x = leaf(&[1.0, 2.0], [1, 2]);
    let mut tap = Tap::wanting(["map"]);
    forward(x.clone(), &mut tap);
    let features = tap.into_features();
    let Some(Feature::D4(kept)) = features.get("map") else { panic!("`map` has rank 4") };
    let sum = kept.clone().sum();
    let gradients = sum.backward();
    assert_eq!(number(sum), 6.0);
    assert_eq!(numbers(x.grad(&gradients).unwrap()), [2.0, 2.0]);
}

#[test]
fn of_a_site_reached_twice_the_last_is_kept_and_the_name_is_remembered() {
    let mut tap = Tap::everything();
    for value in [1.0, 2.0, 3.0] {
        tap.at("again", Tensor::<2>::from_data([[value]], &Device::default()));
    }
    tap.at("once", input());
    assert_eq!(tap.seen(), ["again", "once"]);
    assert_eq!(tap.repeated(), ["again"]);
    assert_eq!(feature(tap, "again"), [3.0]);
}

#[test]
fn a_rewrite_that_changes_the_rank_is_named_with_its_site() {
    struct Flatten;
    impl Rewrite for Flatten {
        fn rewrite(&mut self, _: &str, x: Feature) -> Feature {
            let elements = x.dims().iter().product::<usize>();
            match x {
                Feature::D2(x) => Feature::D1(x.reshape([elements])),
                other => other,
            }
        }
    }
    let mut flatten = Flatten;
    let mut tap = Tap::none().with_rewrite(&mut flatten);
    let payload = catch_unwind(AssertUnwindSafe(|| tap.at("double", input()))).unwrap_err();
    assert_eq!(
        payload.downcast_ref::<String>().unwrap(),
        "a rewrite turned the activation at `double` from rank 2 into rank 1"
    );
}
