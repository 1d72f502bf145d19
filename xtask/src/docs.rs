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
    (
        "formats",
        "Number formats that `kd cast` knows; recipes round weights and activations to those with keys.",
    ),
    ("observers", "What finds the range of an activation: keys of `observer`."),
    ("estimators", "What trains through rounding, and the schemes that it takes: keys of `estimator`."),
    ("criteria", "What decides which weights and channels stay: keys of `criterion`."),
    ("patterns", "What stages `sparsify` and `prune` remove: keys of `pattern`."),
];

const PROBLEMS: (&str, &str) =
    ("problems", "Every code that an error can carry, as `kd explain CODE` prints it.");

const FOLDER: &str = "docs/reference";

/// What the documentation of `kd_core::loss` ends with; the crate's sources hold it, since a published crate has
/// nothing of what lies around it.
const LOSSES: &str = "crates/kd-core/LOSSES.md";

/// What the documentation of `prune_core::TABLE` ends with, for the same reason.
const CRITERIA: &str = "crates/prune-core/CRITERIA.md";

/// Knobs that choose among published definitions.
const CHOICES: [&str; 2] = ["variant", "compat"];

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

/// What `kd explain` says of a loss.
#[derive(Debug, Deserialize)]
struct Loss {
    name: String,
    about: String,
    paper: String,
    reference: String,
    /// What a recipe cannot give it.
    lacks: Option<String>,
    knobs: Vec<Knob>,
}

/// What `kd explain` says of a criterion.
#[derive(Debug, Deserialize)]
struct Criterion {
    name: String,
    about: String,
    formula: String,
    paper: String,
    reference: String,
    inputs: Vec<Named>,
    patterns: String,
    recipe: bool,
}

/// An input, of which the page says the name alone.
#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Knob {
    name: String,
    default: Option<String>,
    meaning: String,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let sh = workspace::shell()?;
    let kd = workspace::program(&sh, "kd")?;
    let page = |name: &str| format!("{FOLDER}/{name}.md");
    let mut pages = Vec::new();
    for (kind, intro) in TABLES {
        let rows: Vec<Row> = ask(&sh, &kd, &["list", kind])?;
        pages.push((page(kind), table_page(kind, intro, &rows)));
    }
    let codes: Vec<Row> = ask(&sh, &kd, &["list", "codes"])?;
    let explanations: Result<Vec<Explanation>> =
        codes.iter().map(|row| ask(&sh, &kd, &["explain", &row.name])).collect();
    pages.push((page(PROBLEMS.0), problems_page(&explanations?)));
    let losses: Vec<Row> = ask(&sh, &kd, &["list", "losses"])?;
    let losses: Result<Vec<Loss>> =
        losses.iter().map(|row| ask(&sh, &kd, &["explain", &format!("loss.{}", row.name)])).collect();
    pages.push((LOSSES.to_owned(), losses_page(&losses?)));
    let criteria: Vec<Row> = ask(&sh, &kd, &["list", "criteria"])?;
    let explained =
        criteria.iter().map(|row| ask(&sh, &kd, &["explain", &format!("criterion.{}", row.name)]));
    pages.push((CRITERIA.to_owned(), criteria_page(&explained.collect::<Result<Vec<Criterion>>>()?)));
    pages.push((page("README"), index()));

    let mut stale = Vec::new();
    for (path, page) in pages {
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

fn losses_page(losses: &[Loss]) -> String {
    let mut page = format!(
        "{MARK}\n# All losses\n\nThe reference is the public implementation that a loss equals: repository, file and \
         commit.\nA variant is one of several published definitions; `compat` repeats what an implementation does \
         otherwise than its paper.\nWhat a recipe cannot use is for code of one's own and for `kd loss eval`.\n\n\
         | name | what it is | paper | reference | variants | in a recipe |\n\
         | --- | --- | --- | --- | --- | --- |\n"
    );
    for Loss { name, about, paper, reference, lacks, knobs } in losses {
        let variants: Vec<String> =
            knobs.iter().filter(|knob| CHOICES.contains(&knob.name.as_str())).map(choice).collect();
        let recipe =
            lacks.as_ref().map_or_else(|| "yes".to_owned(), |lacks| format!("no: it has no {lacks}"));
        let cells = [about, paper, reference, &variants.join("; "), &recipe].map(|text| plain(&cell(text)));
        let _ = writeln!(page, "| `{name}` | {} |", cells.join(" | "));
    }
    page
}

fn criteria_page(criteria: &[Criterion]) -> String {
    let mut page = format!(
        "{MARK}\n# All criteria\n\nThe reference is the public implementation that a criterion is compared with, and where \
         the two differ.\nStages of recipes gather gradients by weights and what layers read, and for channels activations; what a recipe cannot use is for code \
         of one's own and for `kd prune eval`.\n\n\
         | name | what it is | formula | reads | removes by | paper | reference | in a recipe |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    );
    for Criterion { name, about, formula, paper, reference, inputs, patterns, recipe } in criteria {
        let inputs: Vec<String> = inputs.iter().map(|input| format!("`{}`", input.name)).collect();
        let recipe = if *recipe { "yes" } else { "no" };
        let cells =
            [about, formula, &inputs.join(", "), patterns, paper, reference].map(|text| plain(&cell(text)));
        let _ = writeln!(page, "| `{name}` | {} | {recipe} |", cells.join(" | "));
    }
    page
}

/// A knob and what it takes.
fn choice(knob: &Knob) -> String {
    let default = knob.default.as_ref().map(|default| format!(" = {default}")).unwrap_or_default();
    format!("`{}{default}`: {}", knob.name, knob.meaning)
}

/// Text outside backticks as it is: rustdoc would look for what stands in brackets, and a star would emphasise.
fn plain(text: &str) -> String {
    let mut code = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        code ^= c == '`';
        if !code && "[]<>*_".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
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
    fn losses_become_a_table() {
        let knob = |name: &str, default: Option<&str>, meaning: &str| Knob {
            name: name.to_owned(),
            default: default.map(str::to_owned),
            meaning: meaning.to_owned(),
        };
        let loss = Loss {
            name: "at".to_owned(),
            about: "attention, as `hint` of |maps|".to_owned(),
            paper: "Zagoruyko".to_owned(),
            reference: "a/b at_loss.py 893df54".to_owned(),
            lacks: Some("maps [B, C]".to_owned()),
            knobs: vec![
                knob("power", Some("2.0"), "of an activation"),
                knob("variant", Some("\"sum\""), "sum or mean"),
                knob("compat", None, "other"),
            ],
        };
        let page = losses_page(&[loss]);
        assert!(
            page.ends_with(
                "| --- |\n| `at` | attention, as `hint` of \\|maps\\| | Zagoruyko | a/b at\\_loss.py 893df54 | \
                 `variant = \"sum\"`: sum or mean; `compat`: other | no: it has no maps \\[B, C\\] |\n"
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
