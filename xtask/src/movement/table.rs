//! The table, Markdown.

use std::fmt::Write as _;

use super::experiment::Reached;
use super::rows::{ALONE, MAGNITUDE, SPARSITY};
use crate::runs::Stage;
use crate::statistics::{interval, spread};

/// The table and what it says of movement.
pub(crate) fn render(reached: &Reached, about: &str) -> String {
    let mut out = String::from(
        "| way | what goes | zeros in the layers, % | parameters left, % | multiply-accumulates, % | accuracy, % | to magnitude | 95 % interval |\n\
         | --- | --- | --: | --: | --: | --: | --: | --: |\n",
    );
    let of = |name: &str| reached.ways.iter().find(|(row, _)| row.name == name).map(|(_, stages)| stages);
    let magnitude = of(MAGNITUDE).map(Vec::as_slice).unwrap_or_default();
    // Magnitude takes its share of the masked layers, which says how many elements they have.
    let masked = mean(magnitude, |stage| (stage.params - stage.nonzero) as f64) / SPARSITY;
    let dense_macs = of("dense").map_or(0.0, |stages| mean(stages, |stage| stage.macs as f64));
    for (row, stages) in &reached.ways {
        let left = mean(stages, |stage| stage.nonzero as f64);
        let macs = match dense_macs > 0.0 {
            true => format!("{:.1}", 100.0 * mean(stages, |stage| stage.macs as f64) / dense_macs),
            false => String::new(),
        };
        let differences = differences(stages, magnitude);
        let (to, range) = match row.name == MAGNITUDE {
            true => (String::new(), String::new()),
            false => (format!("{:+.2}", spread(&differences).0), range(&differences)),
        };
        let _ = writeln!(
            out,
            "| {} | {} | {:.1} | {:.1} | {macs} | {} | {to} | {range} |",
            row.name,
            row.about,
            100.0 * (reached.params as f64 - left) / masked,
            100.0 * left / reached.params as f64,
            plain(&accuracies(stages)),
        );
    }
    let others = [(MAGNITUDE, "with the same teacher"), (ALONE, "from labels alone")];
    for (name, how) in others {
        let (Some(movement), Some(other)) = (of("movement"), of(name)) else { continue };
        let ahead = spread(&differences(movement, other)).0;
        let reaches = if ahead >= 0.0 { "reaches" } else { "does not reach" };
        let _ = writeln!(
            out,
            "\nMovement pruning with the teacher {reaches} magnitude pruning {how}: {ahead:+.2} points on average.",
        );
    }
    let [teacher, student] = &reached.before;
    let _ = write!(
        out,
        "\nMean ± standard deviation over {} seed{} on {} test examples, of the last epoch; differences in points, seed by seed. \
         Before any of it the teacher has {} % and the dense student {} %. Zeros are counted in the weights that are masked, \
         what is taken out among them; multiply-accumulates are those of the shapes, which masks leave alone.\n{about}\n",
        reached.seeds,
        if reached.seeds == 1 { "" } else { "s" },
        reached.examples,
        plain(teacher),
        plain(student),
    );
    out
}

fn mean(stages: &[Stage], of: impl Fn(&Stage) -> f64) -> f64 {
    let values: Vec<f64> = stages.iter().map(of).collect();
    spread(&values).0
}

fn accuracies(stages: &[Stage]) -> Vec<f64> {
    stages.iter().map(|stage| stage.accuracy_last * 100.0).collect()
}

fn differences(stages: &[Stage], to: &[Stage]) -> Vec<f64> {
    accuracies(stages).iter().zip(accuracies(to)).map(|(found, other)| found - other).collect()
}

fn plain(values: &[f64]) -> String {
    match spread(values) {
        (mean, Some(deviation)) => format!("{mean:.2} ± {deviation:.2}"),
        (mean, None) => format!("{mean:.2}"),
    }
}

fn range(values: &[f64]) -> String {
    interval(values).map_or_else(|| "none".to_owned(), |(low, high)| format!("{low:+.2} … {high:+.2}"))
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::super::rows::ROWS;
    use super::*;

    fn stage(accuracy: f64, params: u64, nonzero: u64, macs: u64) -> Result<Stage> {
        Ok(serde_json::from_str(&format!(
            r#"{{"name":"sparse","accuracy_last":{accuracy},"examples":100,"params":{params},"nonzero":{nonzero},"macs":{macs},
            "bytes":4000}}"#
        ))?)
    }

    #[test]
    fn ways_are_held_against_magnitude_seed_by_seed() -> Result<()> {
        let of = |name: &str, stages: Vec<Stage>| {
            ROWS.iter().find(|row| row.name == name).map(|row| (row, stages))
        };
        let ways = [
            of("dense", vec![stage(0.5, 1000, 1000, 400)?, stage(0.6, 1000, 1000, 400)?]),
            of(MAGNITUDE, vec![stage(0.3, 1000, 280, 400)?, stage(0.4, 1000, 280, 400)?]),
            of("movement", vec![stage(0.31, 1000, 280, 400)?, stage(0.43, 1000, 280, 400)?]),
            of("filled", vec![stage(0.2, 600, 600, 100)?, stage(0.2, 600, 600, 100)?]),
        ];
        let ways = ways.into_iter().flatten().collect();
        let before = [vec![51.0, 52.0], vec![49.0, 50.0]];
        let reached = Reached { examples: 100, seeds: 2, before, params: 1000, ways };
        let text = render(&reached, "`a.toml`.");
        for part in [
            "| dense | nothing goes | 0.0 | 100.0 | 100.0 | 55.00 ± 7.07 | +20.00 | +20.00 … +20.00 |",
            "| magnitude | single weights, by their size | 90.0 | 28.0 | 100.0 | 35.00 ± 7.07 |  |  |",
            "| 90.0 | 28.0 | 100.0 | 37.00 ± 8.49 | +2.00 | -10.71 … +14.71 |",
            "| 50.0 | 60.0 | 25.0 | 20.00 ± 0.00 | -15.00 |",
            "reaches magnitude pruning with the same teacher: +2.00 points",
            "over 2 seeds on 100 test examples",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        Ok(())
    }
}
