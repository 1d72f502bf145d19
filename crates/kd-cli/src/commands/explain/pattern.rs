//! `kd explain pattern.NAME`: what it removes, its knobs, and what to write.

use kd_train::patterns::{PATTERNS, PatternStage};
use serde_json::json;

use super::{knob_json, knobs, unknown, wrapped};
use crate::commands::Context;
use crate::failure::Failure;

pub(super) fn explain(name: &str, context: &Context) -> Result<(), Failure> {
    let names = || PATTERNS.iter().map(|row| row.name);
    let row = PATTERNS.iter().find(|row| row.name == name);
    let row = row.ok_or_else(|| unknown(["pattern", "patterns"], name, names()))?;
    let stage = match row.stage {
        PatternStage::Sparsify => "A pattern of `[stage.sparsify]`: what goes is 0 and keeps its place.",
        PatternStage::Prune => {
            "A pattern of `[stage.prune]`: what goes is taken out, and tensors are smaller."
        }
    };
    let eval = row
        .words
        .map(|words| format!("kd prune eval --criterion magnitude --pattern '{words}' --in IN --out OUT"));
    let text = || {
        let mut out = wrapped(&format!("{}: {}\n\n{stage} {}", row.name, row.line, row.when));
        out += "\nKnobs\n";
        out += &knobs(row.knobs);
        out += &format!("\nExample\n    pattern.{}\n", row.example);
        out + &eval.as_ref().map(|eval| format!("    {eval}\n")).unwrap_or_default()
    };
    let json = || {
        json!({
            "name": row.name, "stage": row.stage.name(), "about": row.line, "when": row.when,
            "knobs": row.knobs.iter().map(knob_json).collect::<Vec<_>>(),
            "example": format!("pattern.{}", row.example), "words": row.words,
        })
    };
    context.output.data(text, json)
}
