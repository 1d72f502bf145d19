//! Reference pages, made from what the program itself lists and explains: they cannot say what the code does not.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use xshell::{Shell, cmd};

use crate::workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write nothing, and fail where a page is not what it would be
    #[arg(long)]
    check: bool,
}

/// A page of names: what `kd list` is asked for, and the words above its table.
const TABLES: &[(&str, &str)] = &[
    ("models", "What a teacher or a student can be: keys of `model`."),
    ("datasets", "What a recipe can learn from: keys of `data`."),
    ("losses", "Terms of an objective: keys of `[[objective]]` beside `weight`."),
    ("schedules", "Values over a stage, for `weight`, `learning-rate` and others; `p` goes from 0 to 1."),
    ("optimizers", "What turns gradients into steps: keys of `optimizer`."),
    ("formats", "Number formats that weights and activations can be rounded to."),
    ("observers", "What finds the range of an activation: keys of `observer`."),
    ("criteria", "What decides which weights and channels stay: keys of `criterion`."),
];

const PROBLEMS: (&str, &str) =
    ("problems", "Every code that an error can carry, as `kd explain CODE` prints it.");

const FOLDER: &str = "docs/reference";

const MARK: &str = "<!-- Written by `cargo xtask docs`. -->\n";

/// A name of `kd list`.
#[derive(Debug, Deserialize)]
struct Row {
    name: String,
    about: String,
    #[serde(default)]
    knobs: String,
}

/// What `kd explain` says of a code.
#[derive(Debug, Deserialize)]
struct Explanation {
    code: String,
    about: String,
    text: String,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let sh = workspace::shell()?;
    let kd = workspace::program(&sh, "kd")?;
    let mut pages = Vec::new();
    for (kind, intro) in TABLES {
        let rows: Vec<Row> = ask(&sh, &kd, &["list", kind])?;
        pages.push(((*kind).to_owned(), table_page(kind, intro, &rows)));
    }
    let codes: Vec<Row> = ask(&sh, &kd, &["list", "codes"])?;
    let explanations: Result<Vec<Explanation>> =
        codes.iter().map(|row| ask(&sh, &kd, &["explain", &row.name])).collect();
    pages.push((PROBLEMS.0.to_owned(), problems_page(&explanations?)));
    pages.push(("README".to_owned(), index()));

    let mut stale = Vec::new();
    for (name, page) in pages {
        let path = format!("{FOLDER}/{name}.md");
        if sh.read_file(&path).ok().as_ref() == Some(&page) {
            continue;
        }
        if args.check {
            stale.push(path);
        } else {
            sh.write_file(&path, &page)?;
            println!("wrote {path}");
        }
    }
    ensure!(stale.is_empty(), "not what the code says: {}; `cargo xtask docs` writes them", stale.join(", "));
    Ok(())
}

/// What `kd` answers in JSON.
fn ask<T: DeserializeOwned>(sh: &Shell, kd: &Path, words: &[&str]) -> Result<T> {
    let json = cmd!(sh, "{kd} {words...} --format json").quiet().read()?;
    serde_json::from_str(&json).with_context(|| format!("cannot understand `kd {}`", words.join(" ")))
}

fn index() -> String {
    let mut page =
        format!("{MARK}\n# Reference\n\nEvery name that a recipe knows, from the program's own tables.\n\n");
    for (name, intro) in TABLES.iter().chain([&PROBLEMS]) {
        let _ = writeln!(page, "- [{name}]({name}.md): {}", lower(intro));
    }
    page
}

fn table_page(kind: &str, intro: &str, rows: &[Row]) -> String {
    let mut page = format!("{MARK}\n# {}\n\n{intro}\n\n", upper(kind));
    let with_knobs = rows.iter().any(|row| !row.knobs.is_empty());
    page.push_str(if with_knobs {
        "| name | what it is | keys and defaults |\n| --- | --- | --- |\n"
    } else {
        "| name | what it is |\n| --- | --- |\n"
    });
    for row in rows {
        let _ = write!(page, "| `{}` | {} |", row.name, cell(&row.about));
        if with_knobs {
            let _ = write!(page, " {} |", cell(&row.knobs));
        }
        page.push('\n');
    }
    page
}

fn problems_page(explanations: &[Explanation]) -> String {
    let mut page = format!("{MARK}\n# {}\n\n{}\n", upper(PROBLEMS.0), PROBLEMS.1);
    for Explanation { code, about, text } in explanations {
        // Examples are indented by four, which Markdown reads as code.
        let _ = write!(page, "\n## `{code}`\n\n{}.\n\n{}\n", upper(about), text.trim_end());
    }
    page
}

/// Text that does not end its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn upper(text: &str) -> String {
    first(text, |c| c.to_uppercase().collect())
}

fn lower(text: &str) -> String {
    first(text, |c| c.to_lowercase().collect())
}

/// The text with its first letter changed.
fn first(text: &str, change: impl Fn(char) -> String) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| change(first) + chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, about: &str, knobs: &str) -> Row {
        Row { name: name.to_owned(), about: about.to_owned(), knobs: knobs.to_owned() }
    }

    #[test]
    fn names_become_a_table() {
        let rows = [row("int8", "whole numbers", "tensor|channel"), row("uint8", "the same, from 0", "")];
        assert_eq!(
            table_page("formats", "What there is.", &rows),
            "<!-- Written by `cargo xtask docs`. -->\n\n# Formats\n\nWhat there is.\n\n\
             | name | what it is | keys and defaults |\n| --- | --- | --- |\n\
             | `int8` | whole numbers | tensor\\|channel |\n| `uint8` | the same, from 0 |  |\n"
        );
        assert!(
            table_page("formats", "", &[row("a", "b", "")])
                .ends_with("| name | what it is |\n| --- | --- |\n| `a` | b |\n")
        );
    }

    #[test]
    fn problems_become_sections() {
        let explanation = Explanation {
            code: "data::missing".to_owned(),
            about: "data that is not there".to_owned(),
            text: "It was not found.\n\n    kd data fetch mnist\n".to_owned(),
        };
        let page = problems_page(&[explanation]);
        assert!(
            page.ends_with(
                "\n## `data::missing`\n\nData that is not there.\n\nIt was not found.\n\n    kd data fetch mnist\n"
            ),
            "{page}"
        );
    }

    #[test]
    fn every_page_is_in_the_index() {
        for (name, _) in TABLES.iter().chain([&PROBLEMS]) {
            assert!(index().contains(&format!("]({name}.md)")));
        }
    }
}
