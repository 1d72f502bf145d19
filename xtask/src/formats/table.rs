//! The tables, Markdown.

use std::fmt::Write as _;

use super::experiment::{Format, Held, Reached};
use crate::statistics::{interval, spread};

/// The table of a data set.
pub(crate) fn render(reached: &Reached, about: &str) -> String {
    let mut out = String::from(
        "| weights | bits a weight | bytes | SQNR, dB | logit KL | top-1 agreement, % | rounded, % | trained, % | with the teacher, % |\n\
         | --- | --: | --: | --: | --: | --: | --: | --: | --: |\n",
    );
    let [before, labels, teacher] = &reached.float;
    let _ =
        writeln!(out, "| fp32 | 32 | | | | | {} | {} | {} |", plain(before), plain(labels), plain(teacher));
    for (row, format) in &reached.formats {
        match format {
            Ok(format) => out += &line(row.name, format, &reached.float),
            Err(reason) => {
                let _ = writeln!(out, "| {} | failed {reason} | | | | | | | |", row.name);
            }
        }
    }
    let seeds = &reached.seeds;
    let _ = write!(
        out,
        "\nMean ± standard deviation over {} on {} test examples; in brackets the mean difference to fp32 in the same \
         column, seed by seed, in points. Activations are int8 in every row but fp32.\n{about}\n",
        counted(seeds.len(), "seed"),
        reached.examples,
    );
    out
}

fn line(name: &str, format: &Format, float: &[Vec<f64>; 3]) -> String {
    let mean = |of: &dyn Fn(&crate::runs::Rounded) -> f64| {
        let values: Vec<f64> = format.rounded.iter().map(of).collect();
        spread(&values).0
    };
    let exact = format.rounded.iter().any(|rounded| rounded.sqnr_db.is_none());
    let sqnr = match exact {
        true => "∞".to_owned(),
        false => format!("{:.1}", mean(&|rounded| rounded.sqnr_db.unwrap_or_default())),
    };
    let cells: Vec<String> = (format.accuracy.iter().zip(float))
        .map(|(found, float)| format!("{} ({:+.2})", plain(found), spread(&differences(found, float)).0))
        .collect();
    format!(
        "| {name} | {:.2} | {:.0} | {sqnr} | {:.2e} | {:.2} | {} |\n",
        mean(&|rounded| rounded.bits_per_weight),
        mean(&|rounded| rounded.bits.div_ceil(8) as f64),
        mean(&|rounded| rounded.logit_kl),
        100.0 * mean(&|rounded| rounded.agreement),
        cells.join(" | "),
    )
}

/// The limits and whether they hold.
pub(crate) fn limits(held: &[Held], about: &str) -> String {
    let mut out = String::from(
        "| weights | how | most that may be lost, points | lost with int8 activations | 95 % interval | lost with float activations | 95 % interval | holds |\n\
         | --- | --- | --: | --: | --: | --: | --: | --- |\n",
    );
    for Held { limit, differences } in held {
        let [rounded, float] = differences;
        let lost = |differences: &[f64]| differences.iter().map(|d| -d).collect::<Vec<f64>>();
        let (rounded, float) = (lost(rounded), lost(float));
        let holds = [&rounded, &float].iter().all(|lost| spread(lost).0 <= limit.most);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            limit.row,
            if limit.trained { "trained" } else { "rounded" },
            limit.most,
            signed(&rounded),
            range(&rounded),
            signed(&float),
            range(&float),
            if holds { "yes" } else { "no" },
        );
    }
    let seeds = held.first().map_or(0, |held| held.differences[0].len());
    let _ = write!(
        out,
        "\nMean ± standard deviation over {} of the accuracy of the float student after the same number of further steps \
         less that of the rounded one; a minus sign is a gain. All layers are rounded, the first and the last too.\n{about}\n",
        counted(seeds, "seed"),
    );
    out
}

pub(crate) fn differences(found: &[f64], float: &[f64]) -> Vec<f64> {
    found.iter().zip(float).map(|(found, float)| found - float).collect()
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

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
