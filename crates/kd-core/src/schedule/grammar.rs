//! How a schedule is written in a recipe: a number, or a table with one key.
//!
//! The visitor is written by hand because serde's `untagged` and `flatten` buffer their input and lose the place of
//! an error; here a wrong key, a wrong knob and a wrong value are each reported where they stand.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::pieces::{Sequence, Step, WarmUp};
use super::ramp::{Curve, Ramp};
use super::{Form, OneCycle, Schedule};
use crate::Error;

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScheduleVisitor)
    }
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Form::Constant(value) = self.0 {
            return serializer.serialize_f64(value);
        }
        let mut table = serializer.serialize_map(Some(1))?;
        let name = self.name();
        match &self.0 {
            Form::Constant(value) => table.serialize_entry(name, value)?,
            Form::Ramp(_, ramp) => table.serialize_entry(name, ramp)?,
            Form::Step(step) => table.serialize_entry(name, step)?,
            Form::OneCycle(cycle) => table.serialize_entry(name, cycle)?,
            Form::WarmUp(warm_up) => table.serialize_entry(name, warm_up)?,
            Form::Sequence(sequence) => table.serialize_entry(name, sequence)?,
        }
        table.end()
    }
}

/// A number that is neither infinite nor NaN, so that the place of one that is can be pointed at.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "f64")]
pub(super) struct Finite(pub(super) f64);

impl TryFrom<f64> for Finite {
    type Error = Error;

    fn try_from(value: f64) -> Result<Self, Error> {
        super::finite("value", value).map(Finite)
    }
}

#[derive(Deserialize)]
#[serde(rename = "Constant", rename_all = "kebab-case", deny_unknown_fields)]
struct ConstantKnobs {
    value: Finite,
}

struct ScheduleVisitor;

impl<'de> Visitor<'de> for ScheduleVisitor {
    type Value = Schedule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number, or a table with one key, the name of a schedule ({})", names())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Schedule, E> {
        Schedule::constant(value).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Schedule, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Schedule, E> {
        self.visit_f64(value as f64)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Schedule, A::Error> {
        let Some(name) = map.next_key_seed(NameSeed)? else {
            return Err(A::Error::custom(format!("a schedule needs a name: one of {}", names())));
        };
        let form = match name {
            "constant" => Form::Constant(map.next_value::<ConstantKnobs>()?.value.0),
            "linear" => map.next_value_seed(RampSeed(Curve::Linear))?,
            "cosine" => map.next_value_seed(RampSeed(Curve::Cosine))?,
            "cubic" => map.next_value_seed(RampSeed(Curve::Cubic))?,
            "exponential" => map.next_value_seed(RampSeed(Curve::Exponential))?,
            "geometric" => map.next_value_seed(RampSeed(Curve::Geometric))?,
            "step" => Form::Step(map.next_value::<Step>()?),
            "one-cycle" => Form::OneCycle(map.next_value::<OneCycle>()?),
            "warm-up" => Form::WarmUp(map.next_value::<WarmUp>()?),
            "sequence" => Form::Sequence(map.next_value::<Sequence>()?),
            other => unreachable!("`{other}` is in the table of schedules, and nothing reads it"),
        };
        map.next_key_seed(NoMore { name })?;
        Ok(Schedule(form))
    }
}

/// Reads a key that must be the name of a schedule.
struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for NameSeed {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a schedule")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<&'static str, E> {
        Schedule::NAMES
            .iter()
            .map(|row| row.name)
            .find(|name| *name == key)
            .ok_or_else(|| E::custom(format!("no schedule is named `{key}`: there are {}", names())))
    }
}

/// Reads the knobs of a ramp and holds them against the curve, so that the error stands at the knobs.
struct RampSeed(Curve);

impl<'de> DeserializeSeed<'de> for RampSeed {
    type Value = Form;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Form, D::Error> {
        let ramp = Ramp::deserialize(deserializer)?;
        self.0.check(&ramp).map_err(D::Error::custom)?;
        Ok(Form::Ramp(self.0, ramp))
    }
}

/// Refuses a second key, at the place of that key.
struct NoMore {
    name: &'static str,
}

impl<'de> DeserializeSeed<'de> for NoMore {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for NoMore {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no further key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<(), E> {
        Err(E::custom(format!("a schedule has one name, found `{}` and `{key}`", self.name)))
    }
}

fn names() -> String {
    let names: Vec<String> = Schedule::NAMES.iter().map(|row| format!("`{}`", row.name)).collect();
    names.join(", ")
}
