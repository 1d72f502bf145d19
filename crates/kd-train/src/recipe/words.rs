//! serde's words in ours: what it says about a value is right, but it speaks of Rust's types.

use std::ops::Range;

use toml::de::DeValue;

use crate::problem::{Problem, suggest};

/// The problem that a message of serde's describes.
pub(super) fn problem(message: &str, span: Range<usize>) -> Problem {
    let quoted = quoted(message);
    let names = quoted.split_first();
    if let (true, Some((word, known))) = (message.starts_with("unknown field"), names) {
        let message = format!("there is no key `{word}` here");
        return Problem::new("recipe::unknown-key", message, span, "unknown key")
            .maybe_help(suggest(word, known.iter().copied()));
    }
    if let Some(help) = message.strip_prefix("`kl` has no `alpha`: ") {
        return Problem::new("recipe::alpha", "`kl` has no `alpha`", span, "not a knob of `kl`").help(help);
    }
    if message.starts_with("a schedule has one name") {
        return Problem::new("recipe::two-names", message, span, "a second one")
            .help("take one of the two out");
    }
    let unknown = message.starts_with("unknown variant") || message.starts_with("no schedule is named");
    if let (true, Some((word, known))) = (unknown, names) {
        let message = format!("nothing is named `{word}` here");
        return Problem::new("recipe::unknown-name", message, span, "unknown name")
            .maybe_help(suggest(word, known.iter().copied()));
    }
    if let (true, Some((key, _))) = (message.starts_with("missing field"), names) {
        let message = format!("this needs the key `{key}`");
        return Problem::new("recipe::missing-key", message, span, format!("no `{key}`"))
            .help(format!("write `{key} = …` into it"));
    }
    if message.starts_with("wanted exactly 1 element") {
        return match message.ends_with("found 0 elements") {
            true => Problem::new("recipe::no-name", "expected one name, found none", span, "no name"),
            false => {
                Problem::new("recipe::two-names", "expected one name, found several", span, "several names")
            }
        };
    }
    for (code, start) in [("recipe::wrong-type", "invalid type: "), ("recipe::bad-value", "invalid value: ")]
    {
        if let Some((found, wanted)) =
            message.strip_prefix(start).and_then(|rest| rest.split_once(", expected "))
        {
            let wanted = expected(wanted);
            let message = format!("expected {wanted}, found {}", seen(found));
            let help = (wanted == SCHEDULE)
                .then(|| "`kd list schedules` shows the names and their knobs".to_owned());
            return Problem::new(code, message, span, format!("expected {wanted}")).maybe_help(help);
        }
    }
    Problem::new("recipe::bad-value", message, span, "not possible")
}

/// A value, or what it is where it is large.
pub(super) fn value(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => format!("`{value}`"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

const SCHEDULE: &str = "a number or a schedule";

/// Everything between backticks.
pub(super) fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// What a type is, in words.
fn expected(type_name: &str) -> String {
    let words = match type_name {
        "usize" | "u8" | "u16" | "u32" | "u64" => "a whole number of at least 0",
        "a nonzero usize" | "a nonzero u32" | "a nonzero u64" => "a whole number of at least 1",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "`true` or `false`",
        "a string" | "a borrowed string" | "a character" => "a text in quotes",
        "path string" => "a path in quotes",
        "a sequence" => "a list",
        "a map" => "a table",
        "string or table" => "a name in quotes, or a table with one name",
        "unit" => "nothing",
        other if other.contains("the name of a schedule") => SCHEDULE,
        other if other.starts_with("struct ") || other.starts_with("struct variant ") => "a table",
        other if other.starts_with("enum ") => "a name, or a table with one name",
        other => other,
    };
    words.to_owned()
}

/// What serde found, in words.
fn seen(found: &str) -> String {
    let value = |start| found.strip_prefix(start).map(str::to_owned);
    let number = |start| value(start).map(|number| number.trim_matches('`').to_owned());
    match found {
        "map" => "a table".to_owned(),
        "sequence" => "a list".to_owned(),
        _ => value("string ")
            .or_else(|| number("integer "))
            .or_else(|| number("floating point "))
            .or_else(|| value("boolean "))
            .unwrap_or_else(|| found.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_rust_are_not_mentioned() {
        let say = |message: &str| problem(message, 0..1).message;
        assert_eq!(
            say("invalid value: integer `-1`, expected usize"),
            "expected a whole number of at least 0, found -1"
        );
        assert_eq!(say("invalid type: string \"a\", expected f64"), "expected a number, found \"a\"");
        assert_eq!(say("invalid type: map, expected a sequence"), "expected a list, found a table");
        assert_eq!(say("unknown field `a`, there are no fields"), "there is no key `a` here");
        assert_eq!(say("wanted exactly 1 element, found 0 elements"), "expected one name, found none");
        assert_eq!(say("`temperature` must be large"), "`temperature` must be large");
    }
}
