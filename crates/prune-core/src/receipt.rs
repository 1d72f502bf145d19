//! A [`Cut`] as JSON: what stays, and what to know about it.
//!
//! The form is an object, so that it can grow. It was a bare list of slices, and such receipts are still read; which of the
//! two it is shows at the first byte, so that a message speaks of the form that was meant.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Across, Cut, Slice};

/// The object. A field that is not there is empty.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Receipt {
    slices: Vec<Slice>,
    #[serde(default)]
    across: Vec<Across>,
}

impl Serialize for Cut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let receipt = Receipt { slices: self.slices().collect(), across: self.across().collect() };
        receipt.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Cut {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Receipt { slices, across } = deserializer.deserialize_any(Form)?;
        let cut = Cut::new(slices).map_err(D::Error::custom)?;
        Ok(cut.with_across(across))
    }
}

struct Form;

impl<'de> Visitor<'de> for Form {
    type Value = Receipt;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `slices`, or a list of slices")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Receipt, A::Error> {
        Receipt::deserialize(MapAccessDeserializer::new(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Receipt, A::Error> {
        let slices = Vec::deserialize(SeqAccessDeserializer::new(list))?;
        Ok(Receipt { slices, across: Vec::new() })
    }
}
