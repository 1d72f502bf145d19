//! Floats in JSON state, bit for bit: `#[serde(with = "exact")]` writes the 64 bits in hexadecimal.
//!
//! A JSON reader may be off by one unit in the last place of a decimal number, and then a resumed run is another
//! run.

use serde::{Deserialize, Deserializer, Serializer, de::Error};

pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{:016x}", value.to_bits()))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let text = String::deserialize(deserializer)?;
    u64::from_str_radix(&text, 16).map(f64::from_bits).map_err(D::Error::custom)
}
