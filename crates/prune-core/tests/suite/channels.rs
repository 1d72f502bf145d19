//! Removing channels end to end: capture, plan, cut, proof, on small networks with every kind of coupling.

mod coupling;
mod group;
mod numbers;
mod plan;
mod proof;
mod scope;
