//! `--set key=value`: the recipe's text with values replaced, before it is read.
//!
//! So an override gets the same checks and the same messages as a line of the file, and there is no second
//! configuration. The text keeps its lines and comments, so that a message about it shows what the user wrote.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::read::syntax;
use crate::problem::{Problem, Problems};

/// The text with every override applied; the very text where there are none.
pub(super) fn apply(text: &str, overrides: &[String], name: &str) -> Result<String, Problems> {
    if overrides.is_empty() {
        return Ok(text.to_owned());
    }
    let mut recipe = text.to_owned();
    if let Err(error) = DeTable::parse(&recipe) {
        return Err(Problems { name: name.to_owned(), text: recipe, list: vec![syntax(&error)] });
    }
    // All overrides, one a line, so that all problems with them have their places in one text.
    let mut given = String::new();
    let mut list = Vec::new();
    for line in overrides {
        match Override::parse(line).and_then(|set| set.apply(&recipe)) {
            Ok(changed) => recipe = changed,
            Err((message, help)) => {
                let span = given.len()..given.len() + line.len();
                list.push(Problem::new("recipe::bad-override", message, span, "this override").help(help));
            }
        }
        given.push_str(line);
        given.push('\n');
    }
    match list.is_empty() {
        true => Ok(recipe),
        false => Err(Problems { name: "--set".into(), text: given, list }),
    }
}

/// What was wrong, and what helps.
type Refused = (String, &'static str);

const EXAMPLE: &str = "write, for example, `--set seed=7`";
const ELEMENTS: &str =
    "an element of a list is called by its `name` or counted from 0: `stage.distill.distill.epochs=2`";

/// One `key=value`.
struct Override {
    path: Vec<String>,
    /// As TOML.
    value: String,
}

/// A place where a value can be put.
enum Place {
    /// Where an old value stands.
    Old(Range<usize>),
    /// A new line, or a new entry of a table in one line, for a key below the table that is there.
    New { body: Body, depth: usize },
}

/// Where the entries of a table stand.
#[derive(Clone)]
enum Body {
    /// The top of the text, up to the end of the last plain value there.
    Top(usize),
    /// Below this header.
    Header(Range<usize>),
    /// Between these braces.
    Braces(Range<usize>),
}

impl Override {
    fn parse(line: &str) -> Result<Self, Refused> {
        let Some((key, value)) = line.split_once('=') else {
            return Err((format!("expected `key=value`, found `{line}`"), EXAMPLE));
        };
        let path = path(key).ok_or_else(|| {
            (format!("expected a key, or keys with dots between them, found `{}`", key.trim()), EXAMPLE)
        })?;
        Ok(Self { path, value: toml_value(value.trim()) })
    }

    fn apply(&self, text: &str) -> Result<String, Refused> {
        let table = DeTable::parse(text).expect("it was read before, and after every override");
        let place = self.place(table.get_ref(), text).map_err(|message| (message, ELEMENTS))?;
        let mut changed = text.to_owned();
        match place {
            Place::Old(span) => changed.replace_range(span, &self.value),
            Place::New { body, depth } => {
                let key: Vec<String> = self.path[depth..].iter().map(|step| key_text(step)).collect();
                insert(&mut changed, body, &format!("{} = {}", key.join("."), self.value));
            }
        }
        match DeTable::parse(&changed) {
            Ok(_) => Ok(changed),
            Err(error) => Err((format!("the recipe is no TOML with it: {}", error.message()), ELEMENTS)),
        }
    }

    /// Walks down the path as far as it is there.
    fn place(&self, top: &DeTable<'_>, text: &str) -> Result<Place, String> {
        let plain =
            top.values().filter(|value| !matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_)));
        let mut body = (Body::Top(plain.map(|value| value.span().end).max().unwrap_or(0)), 0);
        let mut at: Option<&Spanned<DeValue<'_>>> = None;
        for (depth, step) in self.path.iter().enumerate() {
            let next = match at.map(|value| value.get_ref()) {
                None => top.get(step.as_str()),
                Some(DeValue::Table(table)) => table.get(step.as_str()),
                Some(DeValue::Array(list)) => {
                    let named = |value: &&Spanned<DeValue<'_>>| {
                        value.get_ref().as_table().and_then(|table| table.get("name")?.get_ref().as_str())
                            == Some(step)
                    };
                    let counted = || list.get(step.parse::<usize>().ok()?);
                    let element = list.iter().find(named).or_else(counted);
                    Some(element.ok_or_else(|| {
                        format!("`{}` has no element `{step}`", self.path[..depth].join("."))
                    })?)
                }
                Some(_) => return Err(format!("`{}` is no table", self.path[..depth].join("."))),
            };
            let Some(next) = next else { return Ok(Place::New { body: body.0, depth: body.1 }) };
            if let (DeValue::Table(_), Some(own)) = (next.get_ref(), Body::of(next.span(), text)) {
                body = (own, depth + 1);
            }
            at = Some(next);
        }
        let old = at.expect("a path has a step");
        let (start, is_table) = (text[old.span()].chars().next(), old.get_ref().is_table());
        match start {
            Some('[') if is_table || text[old.span()].starts_with("[[") && holds_tables(old.get_ref()) => {}
            Some('{') => return Ok(Place::Old(old.span())),
            _ if is_table => {}
            _ => return Ok(Place::Old(old.span())),
        }
        Err(format!("`{}` is a whole table: set a key in it", self.path.join(".")))
    }
}

impl Body {
    /// The body of a table, if it has one of its own: a table of dotted keys has not.
    fn of(span: Range<usize>, text: &str) -> Option<Self> {
        match text[span.clone()].chars().next() {
            Some('[') => Some(Body::Header(span)),
            Some('{') => Some(Body::Braces(span)),
            _ => None,
        }
    }
}

fn holds_tables(value: &DeValue<'_>) -> bool {
    value
        .as_array()
        .is_some_and(|list| !list.is_empty() && list.iter().all(|value| value.get_ref().is_table()))
}

fn insert(text: &mut String, body: Body, entry: &str) {
    match body {
        Body::Top(0) => text.insert_str(0, &format!("{entry}\n")),
        Body::Top(end) | Body::Header(Range { end, .. }) => match text[end..].find('\n') {
            Some(line) => text.insert_str(end + line + 1, &format!("{entry}\n")),
            None => text.push_str(&format!("\n{entry}\n")),
        },
        Body::Braces(span) => {
            let inside = text[span.start..span.end - 1].trim_end();
            let comma = if inside.ends_with(['{', ',']) { " " } else { ", " };
            text.insert_str(span.start + inside.len(), &format!("{comma}{entry}"));
        }
    }
}

/// The steps of a dotted key.
fn path(key: &str) -> Option<Vec<String>> {
    let text = format!("{} = 0", key.trim());
    let table = DeTable::parse(&text).ok()?;
    let (mut table, mut path) = (table.get_ref(), Vec::new());
    loop {
        let (key, value) = table.iter().next().filter(|_| table.len() == 1)?;
        path.push(key.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => return Some(path),
        }
    }
}

/// A key as TOML.
pub(super) fn key_text(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match !key.is_empty() && key.chars().all(bare) {
        true => key.to_owned(),
        false => toml::Value::from(key).to_string(),
    }
}

/// The value if it is TOML, else the words as a text.
fn toml_value(value: &str) -> String {
    let text = format!("v = {value}");
    let table = DeTable::parse(&text).ok();
    match table.as_ref().map(|table| table.get_ref()).filter(|table| table.len() == 1) {
        Some(table) => text[table.get("v").expect("the only key").span()].to_owned(),
        None => toml::Value::from(value).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
seed = 1 # drawn by lot

[teacher]
model.convnet = { channels = [16, 32], hidden = 128 }

[[stage]]
name = \"a\"

[[stage]]
name = \"b\"
[stage.train] # the second one
epochs = 1";

    fn set(overrides: &[&str]) -> Result<String, Problems> {
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        apply(TEXT, &overrides, "x")
    }

    #[test]
    fn overrides_change_the_text_where_it_says_so_and_nowhere_else() {
        let overrides = [
            "seed=7",
            "name = it's me",
            "device.name=wgpu",
            "stage.b.train.epochs=2 # two",
            "stage.0.name=\"first\"",
            "stage.b.train.learning-rate.cosine={ from = 1e-3, to = 0.0 }",
            "stage.b.train.learning-rate.cosine.end=0.5",
            "stage.first.export={}",
            "teacher.model.convnet.hidden = 64",
            "teacher.model.convnet.channels.1 = 8",
            "teacher.model.convnet.kernel = 3",
            "teacher.model.\"acme.net\".deep = true",
            "teacher.checkpoint = a=b",
        ];
        let text = set(&overrides).unwrap_or_else(|problems| panic!("{problems}"));
        insta::assert_snapshot!(text, @r#"
        seed = 7 # drawn by lot
        name = "it's me"
        device.name = "wgpu"

        [teacher]
        checkpoint = "a=b"
        model."acme.net".deep = true
        model.convnet = { channels = [16, 8], hidden = 64, kernel = 3 }

        [[stage]]
        export = {}
        name = "first"

        [[stage]]
        name = "b"
        [stage.train] # the second one
        learning-rate.cosine = { from = 1e-3, to = 0.0, end = 0.5 }
        epochs = 2
        "#);
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let overrides = [
            "seed=2",
            "seed",
            "seed.x=1",
            "stage.z.name=1",
            "stage=1",
            "stage.0={}",
            "teacher=1",
            "a b=1",
            "=1",
            "teacher.model.convnet.channels.9=1",
        ];
        let problems = set(&overrides).expect_err("all but the first are wrong");
        insta::assert_snapshot!(problems, @"
        recipe::bad-override: expected `key=value`, found `seed`
          --set:2:1
          | seed
          | ^^^^ this override
          help: write, for example, `--set seed=7`

        recipe::bad-override: `seed` is no table
          --set:3:1
          | seed.x=1
          | ^^^^^^^^ this override
          help: an element of a list is called by its `name` or counted from 0: `stage.distill.distill.epochs=2`

        recipe::bad-override: `stage` has no element `z`
          --set:4:1
          | stage.z.name=1
          | ^^^^^^^^^^^^^^ this override
          help: an element of a list is called by its `name` or counted from 0: `stage.distill.distill.epochs=2`

        recipe::bad-override: `stage` is a whole table: set a key in it
          --set:5:1
          | stage=1
          | ^^^^^^^ this override
          help: an element of a list is called by its `name` or counted from 0: `stage.distill.distill.epochs=2`

        recipe::bad-override: `stage.0` is a whole table: set a key in it
          --set:6:1
          | stage.0={}
          | ^^^^^^^^^^ this override
          help: an element of a list is called by its `name` or counted from 0: `stage.distill.distill.epochs=2`

        recipe::bad-override: `teacher` is a whole table: set a key in it
          --set:7:1
          | teacher=1
          | ^^^^^^^^^ this override
          help: an element of a list is called by its `name` or counted from 0: `stage.distill.distill.epochs=2`

        recipe::bad-override: expected a key, or keys with dots between them, found `a b`
          --set:8:1
          | a b=1
          | ^^^^^ this override
          help: write, for example, `--set seed=7`

        recipe::bad-override: expected a key, or keys with dots between them, found ``
          --set:9:1
          | =1
          | ^^ this override
          help: write, for example, `--set seed=7`

        recipe::bad-override: `teacher.model.convnet.channels` has no element `9`
          --set:10:1
          | teacher.model.convnet.channels.9=1
          | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ this override
          help: an element of a list is called by its `name` or counted from 0: `stage.distill.distill.epochs=2`
        ");
    }

    #[test]
    fn without_overrides_the_text_stays_byte_for_byte() {
        let odd = "this is = = no TOML";
        assert_eq!(apply(odd, &[], "x").as_deref(), Ok(odd));
        let problems = apply(odd, &["seed=1".into()], "x").expect_err("no TOML");
        assert_eq!(problems.list[0].code, "recipe::syntax");
    }
}
