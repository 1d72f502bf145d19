//! `kd explain`: more about a problem than its message says.

mod criterion;
mod pattern;

use kd_train::explain;
use kd_train::loss_eval::{Content, Example, Input, Knob, LossName, TABLE, example};
use kd_train::schedule_eval;

use super::Context;
use crate::args::Explain;
use crate::failure::Failure;

/// Columns that a paragraph may fill.
const WIDTH: usize = 100;

pub(super) fn run(args: &Explain, context: &Context) -> Result<(), Failure> {
    let code = args.code.trim();
    if let Some(name) = code.strip_prefix("loss.") {
        return loss(name, context);
    }
    if let Some(name) = code.strip_prefix("schedule.") {
        return schedule(name, context);
    }
    if let Some(name) = code.strip_prefix("criterion.") {
        return criterion::explain(name, context);
    }
    if let Some(name) = code.strip_prefix("pattern.") {
        return pattern::explain(name, context);
    }
    let found = explain::explain(code)
        .ok_or_else(|| Failure::UnknownCode { code: code.to_owned(), nearest: explain::nearest(code) })?;
    let text = || format!("{}: {}\n\n{}", found.code, found.about, wrapped(found.text));
    let json = || serde_json::json!({ "code": found.code, "about": found.about, "text": found.text });
    context.output.data(text, json)
}

/// A loss: its definition, what it reads, its knobs, and an example that runs.
fn loss(name: &str, context: &Context) -> Result<(), Failure> {
    let row = TABLE.iter().find(|row| row.name == name);
    let row = row.ok_or_else(|| unknown(["loss", "losses"], name, TABLE.iter().map(|row| row.name)))?;
    let text = || {
        let mut out = format!("{}: {}\n\n    {}\n\n", row.name, row.line, row.formula);
        out += &wrapped(&format!("{}\n\nPaper: {}\nReference: {}", row.when, row.paper, row.reference));
        out += "\nReads\n";
        for input in row.inputs {
            out += &read_line(input.name, input.shape, input.meaning, input.optional);
        }
        if !row.knobs.is_empty() {
            out += "\nKnobs\n";
        }
        out += &knobs(row.knobs);
        out += &match row.lacks {
            None => "\nUsable in a recipe.\n".to_owned(),
            Some(lacks) => format!("\nNot usable in a recipe, which has no {lacks}.\n"),
        };
        if row.knobs.iter().any(|knob| knob.name == "temperature") {
            out += "`temperature` may be a schedule, as weights may: temperature.linear = { from = 8.0, to = 1.0 }\n";
        }
        out + "\nExample\n" + &commands(row)
    };
    let json = || {
        let input = |input: &Input| read_json(input.name, input.shape, input.meaning, input.optional);
        serde_json::json!({
            "name": row.name, "about": row.line, "formula": row.formula, "paper": row.paper,
            "reference": row.reference, "when": row.when, "recipe": row.lacks.is_none(), "lacks": row.lacks,
            "inputs": row.inputs.iter().map(input).collect::<Vec<_>>(),
            "knobs": row.knobs.iter().map(knob_json).collect::<Vec<_>>(),
            "example": format!("{} = {}", row.name, row.example),
        })
    };
    context.output.data(text, json)
}

/// A schedule: its formula, its knobs, and what it prints.
fn schedule(name: &str, context: &Context) -> Result<(), Failure> {
    let all = || schedule_eval::names().chain(schedule_eval::sparsity_names());
    let row = all().find(|row| row.name == name);
    let row = row.ok_or_else(|| unknown(["schedule", "schedules"], name, all().map(|row| row.name)))?;
    let number = schedule_eval::names().any(|other| other.name == name);
    let example = match number {
        true => format!("kd schedule eval '{}' --steps 5", row.example),
        false => format!("schedule.{}", row.example),
    };
    let text = || {
        let mut out = wrapped(&format!("{}: {}", row.name, row.line));
        out += match number {
            true => "\np goes from 0 at `begin` to 1 at `end`, and t from 0 to 1 over a stage.\n",
            false => {
                "\nA schedule of `[stage.sparsify]`, as the schedules of numbers are; s is the pattern's sparsity.\n"
            }
        };
        out += match (number, name) {
            (false, _) => "",
            (true, "exponential") => {
                "In `[stage.sparsify]` it takes `from = 0.0`, `begin = 0.0` and `end = 0.75`, and arrives at the pattern's\nsparsity.\n"
            }
            (true, _) => {
                "In `[stage.sparsify]` its values are shares of the pattern's sparsity, and end at 1.\n"
            }
        };
        out += "\nKnobs\n";
        out += &knobs(row.knobs);
        out + &format!("\nExample\n    {example}\n")
    };
    let json = || {
        serde_json::json!({
            "name": row.name, "about": row.line, "number": number,
            "knobs": row.knobs.iter().map(knob_json).collect::<Vec<_>>(), "example": row.example,
        })
    };
    context.output.data(text, json)
}

/// A name of a loss, criterion, schedule or pattern that there is not; `called` is what one and what several are called.
fn unknown(called: [&'static str; 2], name: &str, names: impl IntoIterator<Item = &'static str>) -> Failure {
    let ([what, list], nearest) = (called, kd_train::problem::nearest(name, names));
    Failure::UnknownName { what, list, name: name.to_owned(), nearest }
}

/// One line for a tensor that is read.
fn read_line(name: &str, shape: &[&str], meaning: &str, optional: bool) -> String {
    let note = if optional { ", may be left out" } else { "" };
    format!("    {name} [{}]: {meaning}{note}\n", shape.join(", "))
}

fn read_json(name: &str, shape: &[&str], meaning: &str, optional: bool) -> serde_json::Value {
    serde_json::json!({ "name": name, "shape": shape, "meaning": meaning, "optional": optional })
}

fn knob_json(knob: &Knob) -> serde_json::Value {
    serde_json::json!({ "name": knob.name, "default": knob.default, "meaning": knob.meaning })
}

/// One line a knob; what has no name is described by its meaning alone.
fn knobs(knobs: &[Knob]) -> String {
    let line = |knob: &Knob| match (knob.name, knob.default) {
        ("", _) => format!("    {}\n", knob.meaning),
        (name, Some(default)) => format!("    {name} = {default}: {}\n", knob.meaning),
        (name, None) => format!("    {name}: {}\n", knob.meaning),
    };
    knobs.iter().map(line).collect()
}

/// Commands that compute the loss on random tensors, for the shell.
fn commands(row: &LossName) -> String {
    let loss = format!("{} = {}", row.name, row.example);
    let line = format!("kd loss eval --loss '{loss}' --in tensors.safetensors --out result.safetensors");
    script(example(row), &line)
}

/// Lines for the shell that write random tensors to a file and run a command on it.
fn script(examples: Vec<Example>, command: &str) -> String {
    let mut lines = String::new();
    for Example { name, shape, content } in examples {
        let shape: Vec<_> = shape.iter().map(usize::to_string).collect();
        let shape = shape.join(", ");
        let numbers = match content {
            Content::Normal => format!("torch.randn({shape})"),
            Content::Positive => format!("torch.rand({shape}) + 0.5"),
            Content::Classes(count) => format!("torch.randint(0, {count}, ({shape},))"),
            Content::Places(count) => format!("torch.randint(0, {count}, ({shape},)).float()"),
            Content::Ones => format!("torch.ones({shape})"),
        };
        lines += &format!("        {name:?}: {numbers},\n");
    }
    format!(
        "    python3 - <<'END'\n    import torch, safetensors.torch\n    safetensors.torch.save_file({{\n{lines}    }}, \
         \"tensors.safetensors\")\n    END\n    {command}\n"
    )
}

/// Lines broken between words; examples, which begin with spaces, as they are.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        if line.starts_with(' ') {
            out += line;
        } else {
            let mut column = 0;
            for word in line.split(' ') {
                let width = word.chars().count();
                if column > 0 && column + 1 + width > WIDTH {
                    out.push('\n');
                    column = 0;
                } else if column > 0 {
                    out.push(' ');
                    column += 1;
                }
                out += word;
                column += width;
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_wrapped_and_examples_are_not() {
        let (words, example) = ("word ".repeat(30), format!("    {}", "x".repeat(120)));
        let text = wrapped(&format!("{}\n\n{example}\n\nend", words.trim_end()));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].len(), 99);
        assert_eq!(lines[1].split(' ').count(), 10);
        assert_eq!(lines[2..], ["", example.as_str(), "", "end"]);
    }
}
