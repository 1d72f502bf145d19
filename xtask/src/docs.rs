//! Reference pages, made from the tables that the program itself lists: they cannot say what the code does not.
//!
//! `kd list KIND --format json` prints an array of objects. Each object becomes a section: `name` its title, `about`
//! its first paragraph, an array of objects (`knobs`) a table, and every other field a line, in the order given.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};
use xshell::{Shell, cmd};

use crate::workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write nothing, and fail where a page is not what it would be
    #[arg(long)]
    check: bool,
}

/// A page: its name, the kind that `kd list` is asked for, and the words above its sections.
const PAGES: &[(&str, &str, &str)] = &[
    ("models", "models", "What a teacher or a student can be: keys of `model`."),
    ("losses", "losses", "Terms of an objective: keys of `[[objective]]`."),
    (
        "schedules",
        "schedules",
        "Numbers that change over a stage: values of `weight`, `learning-rate` and others.",
    ),
    ("optimizers", "optimizers", "What turns gradients into steps: keys of `optimizer`."),
    ("formats", "formats", "Number formats that weights and activations can be rounded to."),
    ("observers", "observers", "What finds the range of an activation."),
    ("criteria", "criteria", "What says which weight or channel matters least: keys of `criterion`."),
    ("problems", "codes", "Every code that an error can carry; `kd explain CODE` prints the same."),
];

const FOLDER: &str = "docs/reference";

pub(crate) fn run(args: &Args) -> Result<()> {
    let sh = workspace::shell()?;
    let kd = workspace::program(&sh, "kd")?;
    let mut stale = Vec::new();
    for (name, kind, intro) in PAGES {
        let path = format!("{FOLDER}/{name}.md");
        let page = page(name, intro, &list(&sh, &kd, kind)?)?;
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

fn list(sh: &Shell, kd: &Path, kind: &str) -> Result<Vec<Map<String, Value>>> {
    let json = cmd!(sh, "{kd} list {kind} --format json").quiet().read()?;
    serde_json::from_str(&json)
        .with_context(|| format!("`kd list {kind}` does not print an array of objects"))
}

fn page(title: &str, intro: &str, entries: &[Map<String, Value>]) -> Result<String> {
    let mut page =
        format!("<!-- Written by `cargo xtask docs`. -->\n\n# {}\n\n{intro}\n", capitalized(title));
    for entry in entries {
        let name = entry.get("name").or_else(|| entry.get("code")).and_then(Value::as_str);
        let name =
            name.with_context(|| format!("an entry of the page `{title}` has neither `name` nor `code`"))?;
        write!(page, "\n## `{name}`\n")?;
        if let Some(about) = entry.get("about").and_then(Value::as_str) {
            write!(page, "\n{}\n", sentence(about))?;
        }
        let mut lines = String::new();
        let mut tables = String::new();
        for (key, value) in entry.iter().filter(|(key, _)| !matches!(key.as_str(), "name" | "code" | "about"))
        {
            match value {
                Value::Array(rows) if rows.iter().any(Value::is_object) => tables.push_str(&table(rows)?),
                value if is_empty(value) => {}
                // Longer texts are paragraphs, one sentence a line as they come.
                Value::String(text) if text.contains('\n') => write!(tables, "\n{}\n", text.trim())?,
                value => writeln!(lines, "- {}: {}", key.replace('_', " "), cell(value))?,
            }
        }
        if !lines.is_empty() {
            write!(page, "\n{lines}")?;
        }
        page.push_str(&tables);
    }
    Ok(page)
}

/// A table with a column for each key of the first row, the name first and the words last.
fn table(rows: &[Value]) -> Result<String> {
    let first = rows.first().and_then(Value::as_object).context("a table begins with a row")?;
    let mut keys: Vec<&String> = first.keys().collect();
    keys.sort_by_key(|key| match key.as_str() {
        "name" => 0,
        "about" => 2,
        _ => 1,
    });
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut table = format!("\n{}", line(keys.iter().map(ToString::to_string).collect()));
    table.push_str(&line(vec!["---".to_owned(); keys.len()]));
    for row in rows {
        let Some(row) = row.as_object() else { bail!("a row of a table is no object: {row}") };
        table.push_str(&line(keys.iter().map(|key| row.get(*key).map_or_else(String::new, cell)).collect()));
    }
    Ok(table)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.replace('|', "\\|").replace('\n', " "),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null()
        || value.as_array().is_some_and(Vec::is_empty)
        || value.as_str().is_some_and(str::is_empty)
}

fn sentence(text: &str) -> String {
    let text = text.trim();
    let end = if text.ends_with(['.', '!', '?', ':']) { "" } else { "." };
    format!("{}{end}", capitalized(text))
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_become_sections() {
        let entries = r#"[
            {"name": "kl", "about": "the teacher's distribution at a temperature", "paper": "Hinton et al. 2015",
             "knobs": [{"name": "temperature", "default": null, "about": "above 0 | finite"}], "source": null},
            {"code": "data::missing", "about": "Data is not there.", "text": "First.\nSecond."}
        ]"#;
        let entries: Vec<Map<String, Value>> = serde_json::from_str(entries).expect("JSON");
        let expected = "<!-- Written by `cargo xtask docs`. -->\n\n# Losses\n\nWhat they are.\n\
            \n## `kl`\n\nThe teacher's distribution at a temperature.\n\n- paper: Hinton et al. 2015\n\
            \n| name | default | about |\n| --- | --- | --- |\n| temperature |  | above 0 \\| finite |\n\
            \n## `data::missing`\n\nData is not there.\n\nFirst.\nSecond.\n";
        assert_eq!(page("losses", "What they are.", &entries).expect("a page"), expected);
    }
}
