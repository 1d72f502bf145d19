//! The table, Markdown: one line a way, and whether its limit holds.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use super::experiment::{Reached, Taken};
use super::ways::{WAYS, Way};
use crate::bench::latency::ratios;
use crate::bench::statistics as medians;
use crate::statistics::{interval, spread};

/// A smaller gain is called none.
const GAIN: f64 = 1.05;

/// The whole report; `engine` measured latency, `about` says what made the rest.
pub(crate) fn render(reached: &Reached, engine: &str, about: &str) -> Result<String> {
    let mut out = String::from(
        "| student | accuracy, % | lost, points | 95 % interval | at most | holds | parameters | masked zeros | MACs | bytes | dense time / its |\n\
         | --- | --: | --: | --: | --: | --- | --: | --: | --: | --: | --: |\n",
    );
    let _ = writeln!(out, "| as trained | {} | | | | | | | | | |", plain(&reached.before));
    let (dense, first) = (reached.ways.first().context("no way")?, reached.times.seconds.first());
    let (mut broken, mut nothing) = (Vec::new(), Vec::new());
    for ((way, taken), seconds) in WAYS.iter().zip(&reached.ways).zip(&reached.times.seconds) {
        let gains = ratios(first.context("no time")?, seconds);
        let gain = medians::median(&gains).context("no round was measured")?;
        let mut cells = vec![way.name.to_owned(), plain(&taken.accuracy)];
        let own = way.most.map(|most| Limit { most, lost: lost(dense, taken) });
        match &own {
            None => cells.extend([String::new(), String::new(), String::new(), String::new()]),
            Some(limit) => {
                cells.extend([signed(&limit.lost), range(&limit.lost)]);
                cells.extend([limit.most.to_string(), if limit.holds() { "yes" } else { "**no**" }.into()]);
            }
        }
        cells.extend([&taken.params, &taken.masked, &taken.macs, &taken.bytes].map(|list| counted(list)));
        cells.push(match way.most {
            None => "1".to_owned(),
            Some(_) => ratio(gain, &gains),
        });
        let _ = writeln!(out, "| {} |", cells.join(" | "));
        if let Some(limit) = own.filter(|limit| !limit.holds()) {
            broken.push(limit.said(way));
        }
        if way.most.is_some() && gain < GAIN {
            nothing.push(way.name);
        }
    }
    out.push('\n');
    match broken.is_empty() {
        true => out += "Every limit holds.\n",
        false => broken.iter().for_each(|line| out += line),
    }
    if !nothing.is_empty() {
        let _ = writeln!(
            out,
            "Buys no time in this engine, being less than {GAIN} times as fast as dense: {}.",
            nothing.join("; ")
        );
    }
    let _ = write!(
        out,
        "\nMean ± standard deviation over {} seed{} on {} test examples. Lost is the accuracy of the dense student less that \
         of the one in the line, seed by seed, after the same number of further steps; a minus sign is a gain.\n\
         Time is the first seed's, {engine}, one thread, batches of 32, the median of the rounds' ratios with its 95 % \
         interval.\n{}{about}\n",
        reached.seeds,
        if reached.seeds == 1 { "" } else { "s" },
        reached.examples,
        reached.times.about_others(),
    );
    Ok(out)
}

/// What a way lost, seed by seed, and what it may lose.
struct Limit {
    most: f64,
    lost: Vec<f64>,
}

impl Limit {
    fn holds(&self) -> bool {
        spread(&self.lost).0 <= self.most
    }

    fn said(&self, way: &Way) -> String {
        format!(
            "**A limit does not hold: {} loses {} points, and may lose {}.**\n",
            way.name,
            signed(&self.lost),
            self.most
        )
    }
}

fn lost(dense: &Taken, taken: &Taken) -> Vec<f64> {
    dense.accuracy.iter().zip(&taken.accuracy).map(|(dense, taken)| dense - taken).collect()
}

fn ratio(median: f64, all: &[f64]) -> String {
    match medians::interval(all) {
        Some((low, high)) => format!("{median:.2} ({low:.2} – {high:.2})"),
        None => format!("{median:.2}"),
    }
}

/// A count that is mostly the same for all seeds.
fn counted(values: &[f64]) -> String {
    match spread(values) {
        (mean, Some(deviation)) if deviation > 0.0 => format!("{mean:.0} ± {deviation:.0}"),
        (mean, _) => format!("{mean:.0}"),
    }
}

fn plain(values: &[f64]) -> String {
    match spread(values) {
        (mean, Some(deviation)) => format!("{mean:.2} ± {deviation:.2}"),
        (mean, None) => format!("{mean:.2}"),
    }
}

fn signed(values: &[f64]) -> String {
    match spread(values) {
        (mean, Some(deviation)) => format!("{mean:+.3} ± {deviation:.3}"),
        (mean, None) => format!("{mean:+.3}"),
    }
}

fn range(values: &[f64]) -> String {
    interval(values).map_or_else(|| "none".to_owned(), |(low, high)| format!("{low:+.3} … {high:+.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::latency::Times;

    fn taken(accuracy: [f64; 2], masked: f64) -> Taken {
        Taken {
            accuracy: accuracy.to_vec(),
            masked: vec![masked; 2],
            params: vec![1000.0; 2],
            macs: vec![5000.0; 2],
            bytes: vec![4000.0; 2],
        }
    }

    fn reached(worst: [f64; 2]) -> Reached {
        Reached {
            seeds: 2,
            examples: 10_000,
            before: vec![99.0, 99.2],
            ways: vec![
                taken([99.2, 99.4], 0.0),
                taken(worst, 900.0),
                taken([99.1, 99.3], 0.0),
                taken([99.2, 99.5], 500.0),
            ],
            times: Times {
                seconds: vec![vec![0.02; 2], vec![0.02; 2], vec![0.01; 2], vec![0.0198; 2]],
                ..Times::default()
            },
        }
    }

    #[test]
    fn losses_are_means_of_differences_within_a_seed() -> Result<()> {
        let text = render(&reached([99.0, 99.1]), "tract", "About.")?;
        for line in [
            "| as trained | 99.10 ± 0.14 | | | | | | | | | |",
            "| dense | 99.30 ± 0.14 |  |  |  |  | 1000 | 0 | 5000 | 4000 | 1 |",
            "| 90 % of the weights masked | 99.05 ± 0.07 | +0.250 ± 0.071 |",
            "| 0.3 | yes | 1000 | 900 | 5000 | 4000 | 1.00 |",
            "| 0.2 | yes | 1000 | 0 | 5000 | 4000 | 2.00 |",
            "Every limit holds.",
            "1.05 times as fast as dense: 90 % of the weights masked; 2:4 masked.",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        Ok(())
    }

    #[test]
    fn a_limit_that_does_not_hold_is_said() -> Result<()> {
        let text = render(&reached([98.8, 98.9]), "tract", "About.")?;
        let said = "**A limit does not hold: 90 % of the weights masked loses +0.450 ± 0.071 points, and may lose 0.3.**";
        assert!(text.contains(said) && text.contains("| 0.3 | **no** |"), "{text}");
        assert!(!text.contains("Every limit holds"), "{text}");
        Ok(())
    }
}
