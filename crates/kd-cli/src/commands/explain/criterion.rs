//! `kd explain criterion.NAME`: its definition, what it reads, what it removes, its knobs, and an example that runs.

use kd_train::prune_eval::{Needs, Removes, TABLE, example, pattern_of};
use serde_json::{Value, json};

use super::{read_json, read_line, script, unknown, wrapped};
use crate::commands::Context;
use crate::failure::Failure;

pub(super) fn explain(name: &str, context: &Context) -> Result<(), Failure> {
    let row = TABLE.iter().find(|row| row.name == name);
    let row =
        row.ok_or_else(|| unknown(["criterion", "criteria"], name, TABLE.iter().map(|row| row.name)))?;
    let recipe = match (row.in_recipes(), row.needs(), row.removes_channels()) {
        (true, ..) => "Usable in a recipe.",
        (_, Some(Needs::InputSquares), _) if row.removes == Removes::Ratios => {
            "Usable in a recipe's stage `sparsify` with `pattern.unstructured`, whose `sparsity` is the mean over layers; it \
             gathers what each layer reads over `calibration` batches."
        }
        (_, Some(Needs::InputSquares), _) => {
            "Usable in a recipe's stage `sparsify`, which gathers what each layer reads over `calibration` batches."
        }
        (_, Some(Needs::InputProducts), _) => {
            "Usable in a recipe's stage `sparsify` with `schedule.one-shot`, which gathers what each layer reads over \
             `calibration` batches and changes the weights that stay."
        }
        (_, Some(Needs::Squares), _) => {
            "Usable in a recipe: stages `sparsify` and `prune` gather what it reads over `calibration` batches."
        }
        (_, Some(_), true) => {
            "Usable in a recipe: a stage `sparsify` gathers gradients while it trains, a stage `prune` over \
             `calibration` batches before it cuts."
        }
        (_, Some(_), false) => {
            "Usable in a recipe's stage `sparsify`, which gathers gradients while it trains."
        }
        (_, None, true) => {
            "Usable in a recipe's stage `prune`, which gathers what it reads over `calibration` batches."
        }
        (_, None, false) if row.removes == Removes::Nothing => {
            "Not usable in a recipe, whose stages remove by a pattern: it takes none."
        }
        (_, None, false) => "Not usable in a recipe, whose stages have no such inputs.",
    };
    let text = || {
        let mut out = format!("{}: {}\n\n    {}\n\n", row.name, row.summary, row.formula);
        out += &wrapped(&format!("{}\n\nPaper: {}\nReference: {}", row.when, row.paper, row.reference));
        out += "\nReads\n";
        for input in row.inputs {
            out += &read_line(input.name, input.shape, input.meaning, input.optional);
        }
        out += &format!("\nRemoves by\n    {}\n", row.removes.patterns());
        if !row.knobs.is_empty() {
            out += "\nKnobs\n";
        }
        for knob in row.knobs {
            out += &format!("    {} = {}: {}\n", knob.name, knob.values, knob.summary);
        }
        let pattern = pattern_of(row).map(|pattern| format!("--pattern '{pattern}' ")).unwrap_or_default();
        let command = format!(
            "kd prune eval --criterion '{} = {}' {pattern}--in tensors.safetensors --out pruned.safetensors",
            row.name, row.example
        );
        out + &format!("\n{recipe}\n\nExample\n") + &script(example(row), &command)
    };
    let json = || {
        let inputs: Vec<Value> = row
            .inputs
            .iter()
            .map(|input| read_json(input.name, input.shape, input.meaning, input.optional))
            .collect();
        let knobs: Vec<Value> = row
            .knobs
            .iter()
            .map(|knob| json!({ "name": knob.name, "values": knob.values, "meaning": knob.summary }))
            .collect();
        json!({
            "name": row.name, "about": row.summary, "formula": row.formula, "paper": row.paper,
            "reference": row.reference, "when": row.when, "recipe": row.in_recipes() || row.needs().is_some() || row.removes_channels(),
            "patterns": row.removes.patterns(), "inputs": inputs, "knobs": knobs,
            "example": format!("{} = {}", row.name, row.example), "pattern": pattern_of(row),
        })
    };
    context.output.data(text, json)
}
