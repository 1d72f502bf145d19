//! The tests of the crate's public interface, in one binary: linking Burn once is faster than nine times.

#![allow(clippy::unwrap_used, reason = "tests")]

mod adaptive;
mod combination_properties;
mod connectors;
mod extremes;
mod feature_more_properties;
mod feature_properties;
mod features;
mod golden;
mod golden_losses;
mod gradients;
mod kl_properties;
mod knobs;
mod losses;
mod objective;
mod relation_properties;
mod response_more_properties;
mod response_properties;
mod schedule_grammar;
mod schedules;
mod support;
mod tap;
mod transformer_properties;
