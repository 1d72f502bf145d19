//! Which parameters' axes stay whole, in the words of a recipe.

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::problem::regex;

/// A regular expression over the paths of parameters (`^block1\.`), which matches anywhere in a path.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pin(Regex);

impl Pin {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it means the parameter at `path`.
    pub fn matches(&self, path: &str) -> bool {
        self.0.is_match(path)
    }
}

impl TryFrom<String> for Pin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        regex(&text).map(Self).map_err(|found| format!("expected a regular expression, found {found}"))
    }
}

impl From<Pin> for String {
    fn from(pin: Pin) -> Self {
        pin.as_str().to_owned()
    }
}
