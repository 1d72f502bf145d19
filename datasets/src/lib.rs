#![doc = include_str!("../README.md")]

pub use catalog::{
    Availability, DIGITS, FASHION_MNIST, Knob, Listing, MNIST, Published, PublishedFile, SOURCES, SourceDoc,
    WORDNET_GLOSSES, list,
};
pub use csv::{Csv, LabelColumn};
pub use dataset::{Dataset, Examples, Pixels};
pub use digits::Digits;
pub use error::{Attempt, Damage, Error, Kind, Place};
pub use fetch::{Fetched, FetchedFile, Outcome, Route, fetch, fetch_by};
pub use folders::{Folders, workspace_datasets};
pub use glosses::{GlossLength, WordnetGlosses};
pub use idx::Idx;
pub use mnist::{FashionMnist, Mnist};
pub use normalization::Normalization;
pub use number::{Classes, Finite, Positive};
pub use source::{Form, Source};
pub use split::{Split, split};
pub use verify::{FileState, Verified, verify};

mod dataset;
mod normalization;
mod split;

mod catalog;
mod csv;
mod digits;
mod folders;
mod glosses;
mod idx;
mod mnist;
mod source;

mod fetch;
mod verify;

mod error;
mod file;
mod http;
mod number;
