//! A summary as a table for people, in Markdown that also reads well in a terminal.

use std::fmt::Write;

use crate::run::Env;
use crate::summary::{LatencySummary, SeedsSummary, StageSummary, Summary};

pub(crate) mod masked;

/// What a reader should know about the numbers of a summary.
pub fn notes(summary: &Summary, env: &Env) -> Vec<String> {
    let mut notes = env.absent.clone();
    let float = summary.stages.iter().rev().find(|stage| stage.kind != "quantize");
    let integers = |stage: &StageSummary| stage.rounded.as_ref().is_none_or(|rounded| rounded.integers);
    let rounded = summary.stages.iter().rev().find(|stage| stage.kind == "quantize" && integers(stage));
    if let (Some(float), Some(rounded)) = (float, rounded) {
        for latency in &rounded.latency_ms {
            let same = float.latency_ms.iter().find(|other| other.engine == latency.engine);
            if let Some(float) = same.filter(|float| float.batch_32.median < latency.batch_32.median) {
                notes.push(slower(latency, float));
            }
        }
    }
    let idle = |stage: &StageSummary| Some(nothing_removed(&stage.name, stage.nothing_removed.as_ref()?));
    notes.extend(summary.stages.iter().filter_map(idle));
    notes.extend(masked::notes(summary));
    if let Some(baseline) = &summary.baseline
        && let Some(distilled) = summary.stages.iter().find(|stage| stage.kind == "distill")
        && distilled.accuracy <= baseline.accuracy
    {
        notes.push(format!(
            "Distillation did not help here: the student trained alone gets {} of {} wrong, the distilled one {}. \
             One seed decides little; `--seeds 3` gives a mean and its spread.",
            baseline.errors, baseline.examples, distilled.errors
        ));
    }
    notes
}

/// What a stage that removed nothing is told for, while it runs and in the report.
pub(crate) fn nothing_removed(stage: &str, why: &str) -> String {
    format!("`{stage}`: nothing was removed: {why}.")
}

fn slower(int8: &LatencySummary, float: &LatencySummary) -> String {
    let why = match int8.engine.as_str() {
        "tract" => {
            "tract executes quantize and dequantize nodes as they stand, around float arithmetic, so that they cost \
             time and save none"
        }
        _ => "the layers are so small that quantizing their inputs costs more than integer arithmetic saves",
    };
    format!(
        "int8 is slower than float on {} ({:.3} ms against {:.3} ms for 32 examples): {why}.",
        int8.engine, int8.batch_32.median, float.batch_32.median
    )
}

/// The report of a run.
pub fn markdown(summary: &Summary) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "# {}\n", summary.name);
    let _ = writeln!(
        out,
        "Seed {}, device `{}`, {:.0} s of work.\n",
        summary.seed, summary.device, summary.wall_s
    );
    out += &stages(summary);
    out.push('\n');
    out += &rounded(summary);
    out += &packed(summary);
    out += &latencies(summary);
    if !summary.parity.is_empty() {
        out += "\n## Parity of the exported files over the test set\n\n";
        out += &table(
            &["artifact", "engine", "largest difference", "same top-1 class", "accuracy there"],
            summary.parity.iter().map(|parity| {
                vec![
                    parity.artifact.clone(),
                    parity.engine.clone(),
                    format!("{:.2e}", parity.max_abs),
                    percent(parity.top1_agreement),
                    percent(parity.accuracy),
                ]
            }),
        );
    }
    if !summary.gates.is_empty() {
        out += "\n## Gates\n\n";
        out += &table(
            &["gate", "expected", "found", ""],
            summary.gates.iter().map(|gate| {
                let limits = [gate.min.map(|min| format!("≥ {min}")), gate.max.map(|max| format!("≤ {max}"))];
                let limits = limits.into_iter().flatten().collect::<Vec<_>>().join(", ");
                let met = if gate.met { "met" } else { "MISSED" };
                vec![gate.gate.clone(), limits, format!("{}", gate.value), met.into()]
            }),
        );
    }
    if !summary.notes.is_empty() {
        out += "\n## Notes\n\n";
        for note in &summary.notes {
            let _ = writeln!(out, "- {note}");
        }
    }
    out
}

/// One row a stage: the teacher, the student alone, the student after each stage.
fn stages(summary: &Summary) -> String {
    let teacher = summary.stages.first();
    let rows = (summary.stages.iter().take(1)).chain(&summary.baseline).chain(summary.stages.iter().skip(1));
    let head = [
        "stage",
        "kind",
        "accuracy",
        "errors",
        "last epoch",
        "agreement",
        "params",
        "nonzero",
        "MACs",
        "bytes",
        "smaller",
        "seconds",
    ];
    let row = |stage: &StageSummary| {
        let smaller = teacher.map_or(1.0, |teacher| teacher.bytes as f64 / stage.bytes.max(1) as f64);
        vec![
            stage.name.clone(),
            stage.kind.clone(),
            percent(stage.accuracy),
            format!("{} of {}", stage.errors, stage.examples),
            percent(stage.accuracy_last),
            percent(stage.agreement),
            thousands(stage.params),
            thousands(stage.nonzero),
            thousands(stage.macs),
            thousands(stage.bytes),
            format!("{smaller:.1}×"),
            format!("{:.0}", stage.seconds),
        ]
    };
    table(&head, rows.map(row))
}

/// One row a stage that rounds: what its weights take under their scheme, whatever the ONNX file holds.
fn rounded(summary: &Summary) -> String {
    let stages = summary.stages.iter().filter_map(|stage| Some((stage, stage.rounded.as_ref()?)));
    let rows: Vec<Vec<String>> = stages
        .map(|(stage, rounded)| {
            vec![
                stage.name.clone(),
                rounded.weights.clone(),
                rounded.activations.clone().unwrap_or_else(|| "float".into()),
                thousands(rounded.elements),
                thousands(rounded.masked_zeros),
                thousands(rounded.rounded_zeros),
                format!("{:.3}", rounded.bits_per_weight),
                thousands(rounded.bits.div_ceil(8)),
                rounded.sqnr_db.map_or_else(|| "exact".into(), |sqnr| format!("{sqnr:.1}")),
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = [
        "stage",
        "weights",
        "activations",
        "elements",
        "masked zeros",
        "zeros by rounding",
        "bits each",
        "bytes",
        "SQNR dB",
    ];
    format!("## Rounded weights\n\n{}\n", table(&head, rows.into_iter()))
}

/// One row a stage whose weights share values.
fn packed(summary: &Summary) -> String {
    let stages = summary.stages.iter().filter_map(|stage| Some((stage, stage.packed.as_ref()?)));
    let rows: Vec<Vec<String>> = stages
        .map(|(stage, packed)| {
            vec![
                stage.name.clone(),
                thousands(packed.most_values as u64),
                thousands(packed.shared),
                thousands(packed.bytes),
                thousands(packed.float_bytes),
                format!("{:.1}×", packed.ratio),
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = [
        "stage",
        "values of a tensor, at most",
        "elements with one",
        "bytes of model.kdz",
        "bytes as f32",
        "smaller",
    ];
    format!("## Packed weights\n\n{}\n", table(&head, rows.into_iter()))
}

/// One row a stage and engine.
fn latencies(summary: &Summary) -> String {
    let all =
        || (summary.stages.iter().take(1)).chain(&summary.baseline).chain(summary.stages.iter().skip(1));
    let rows: Vec<Vec<String>> = all()
        .flat_map(|stage| stage.latency_ms.iter().map(move |latency| (stage, latency)))
        .map(|(stage, latency)| {
            vec![
                stage.name.clone(),
                latency.engine.clone(),
                latency.threads.to_string(),
                format!("{:.3}", latency.batch_1.median),
                format!("{:.3}", latency.batch_1.p95),
                format!("{:.3}", latency.batch_32.median),
                format!("{:.3}", latency.batch_32.p95),
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = ["stage", "engine", "threads", "1: median ms", "1: p95", "32: median ms", "32: p95"];
    format!("## Latency, on engines that are not Burn\n\n{}", table(&head, rows.into_iter()))
}

/// The report over several seeds.
pub fn seeds_markdown(summary: &SeedsSummary) -> String {
    let mut out = format!("# {}, {} seeds\n\n", summary.name, summary.seeds.len());
    let rows = summary.metrics.iter().map(|metric| {
        let values: Vec<String> = metric.values.iter().map(|value| number(value, &metric.metric)).collect();
        vec![
            metric.stage.clone(),
            metric.metric.clone(),
            number(&metric.mean, &metric.metric),
            number(&metric.std, &metric.metric),
            values.join(", "),
        ]
    });
    out += &table(&["stage", "metric", "mean", "standard deviation", "values"], rows);
    for note in &summary.notes {
        let _ = writeln!(out, "\n{note}");
    }
    out
}

/// Several runs side by side: one row a run and stage.
pub fn side_by_side(runs: &[(String, Summary)]) -> String {
    let head = ["run", "stage", "accuracy", "errors", "agreement", "params", "MACs", "bytes"];
    let rows = runs.iter().flat_map(|(run, summary)| {
        let stages =
            summary.stages.iter().take(1).chain(&summary.baseline).chain(summary.stages.iter().skip(1));
        stages.map(move |stage| {
            vec![
                run.clone(),
                stage.name.clone(),
                percent(stage.accuracy),
                stage.errors.to_string(),
                percent(stage.agreement),
                thousands(stage.params),
                thousands(stage.macs),
                thousands(stage.bytes),
            ]
        })
    });
    table(&head, rows)
}

fn number(value: &f64, metric: &str) -> String {
    match metric {
        "accuracy" | "accuracy-last" | "agreement" => percent(*value),
        _ => format!("{value:.1}"),
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// A Markdown table whose columns are aligned as text too; numbers stand on the right.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count(), 3]).max().unwrap_or(3)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let right = |column: usize| {
        rows.iter().all(|row| row[column].starts_with(|c: char| c.is_ascii_digit() || c == '-'))
    };
    let rights: Vec<bool> = (0..head.len()).map(right).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).zip(&rights).map(|((cell, &width), &right)| match right {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    let rule = widths.iter().zip(&rights).map(|(&width, &right)| match right {
        true => format!("{}:", "-".repeat(width - 1)),
        false => "-".repeat(width),
    });
    let rule: Vec<String> = rule.collect();
    let mut out = line(head.to_vec());
    out += &line(rule.iter().map(String::as_str).collect());
    for row in &rows {
        out += &line(row.iter().map(String::as_str).collect());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percentages_and_counts_are_numbers() {
        assert_eq!(number(&0.9943, "accuracy-last"), "99.43 %");
        assert_eq!(number(&57.0, "errors"), "57.0");
    }

    #[test]
    fn numbers_are_grouped_and_aligned() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(1234567), "1 234 567");
        assert_eq!(thousands(123456), "123 456");
        let rows = [vec!["a".to_owned(), "1".into()], vec!["bbbb".into(), "22".into()]];
        assert_eq!(
            table(&["x", "y"], rows.into_iter()),
            "| x    |   y |\n| ---- | --: |\n| a    |   1 |\n| bbbb |  22 |\n"
        );
    }
}
