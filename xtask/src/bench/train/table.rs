//! The table, in Markdown: one line a network and number of threads.

use super::contestant::Contestant;
use super::rounds::Row;
use super::statistics::{interval, median};

/// Against whom we are compared.
const OPPONENTS: [Contestant; 3] = [Contestant::PyTorch, Contestant::Compiled, Contestant::Burn];

/// Samples in a second, and how many times as many are ours. Columns of those who took no part are left out.
pub(crate) fn render(rows: &[Row]) -> String {
    let took_part = |contestant: &Contestant| rows.iter().any(|row| row.seconds.contains_key(contestant));
    let columns: Vec<Contestant> = Contestant::ALL.into_iter().filter(took_part).collect();
    let opponents: Vec<Contestant> = OPPONENTS.into_iter().filter(took_part).collect();

    let mut heads: Vec<String> = ["network", "batch", "threads"].map(str::to_owned).into();
    heads.extend(columns.iter().map(|contestant| contestant.title().to_owned()));
    heads.extend(opponents.iter().map(|opponent| format!("own / {}", opponent.title())));
    let rule = heads.iter().enumerate().map(|(i, _)| if i == 0 { "---" } else { "--:" }.to_owned());
    let rule = rule.collect::<Vec<_>>();

    let mut out = line(&heads) + &line(&rule);
    for row in rows {
        let mut cells = vec![row.network.clone(), row.batch.to_string(), row.threads.to_string()];
        cells.extend(columns.iter().map(|contestant| rate(row, *contestant)));
        cells.extend(opponents.iter().map(|opponent| ratio(row, *opponent)));
        out += &line(&cells);
    }
    out
}

fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// Samples in a second, by the median of the rounds.
fn rate(row: &Row, contestant: Contestant) -> String {
    let seconds = row.seconds.get(&contestant).and_then(|seconds| median(seconds));
    seconds.map_or_else(absent, |seconds| three_digits(row.batch as f64 / seconds))
}

/// The rows that an opponent wins beyond the interval, a line for each opponent; the losses are not to be looked for.
pub(crate) fn losses(rows: &[Row]) -> String {
    let mut out = String::new();
    for opponent in OPPONENTS {
        let told: Vec<(&Row, f64)> =
            rows.iter().filter_map(|row| Some((row, interval(&ratios(row, opponent))?.1))).collect();
        if told.is_empty() {
            continue;
        }
        let lost = told.iter().filter(|(_, high)| *high < 1.0);
        let lost: Vec<String> =
            lost.map(|(row, _)| format!("`{}` with {}", row.network, threads(row.threads))).collect();
        let lost = if lost.is_empty() { "nowhere".to_owned() } else { lost.join(", ") };
        out += &format!("Slower than {}: {lost}.\n", opponent.title());
    }
    out
}

fn threads(count: usize) -> String {
    format!("{count} thread{}", if count == 1 { "" } else { "s" })
}

/// How many times as fast as the opponent we are, round by round.
fn ratios(row: &Row, opponent: Contestant) -> Vec<f64> {
    let seconds = |contestant| row.seconds.get(&contestant).into_iter().flatten();
    seconds(Contestant::Own).zip(seconds(opponent)).map(|(own, theirs)| theirs / own).collect()
}

/// The median of [`ratios`], with its interval.
fn ratio(row: &Row, opponent: Contestant) -> String {
    let ratios = ratios(row, opponent);
    match (median(&ratios), interval(&ratios)) {
        (Some(median), Some((low, high))) => format!("{median:.2} ({low:.2} – {high:.2})"),
        (Some(median), None) => format!("{median:.2}"),
        (None, _) => absent(),
    }
}

fn absent() -> String {
    "–".to_owned()
}

/// Three digits that mean something, and commas between thousands.
fn three_digits(value: f64) -> String {
    if value < 100.0 {
        let decimals = if value < 10.0 { 2 } else { 1 };
        return format!("{value:.decimals$}");
    }
    let unit = 10_f64.powi(value.log10().floor() as i32 - 2);
    let digits = format!("{:.0}", (value / unit).round() * unit);
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seconds: &[(Contestant, &[f64])]) -> Row {
        Row {
            network: "mlp".to_owned(),
            batch: 128,
            threads: 2,
            seconds: seconds.iter().map(|(who, seconds)| (*who, seconds.to_vec())).collect(),
        }
    }

    #[test]
    fn rates_are_medians_and_ratios_are_taken_within_rounds() {
        // The machine was half as fast in every second round, which the ratios do not see.
        let own: &[f64] = &[0.01, 0.02, 0.01, 0.02, 0.01, 0.02];
        let burn: &[f64] = &[0.03, 0.06, 0.03, 0.06, 0.03, 0.06];
        let table = render(&[row(&[(Contestant::Own, own), (Contestant::Burn, burn)])]);
        assert_eq!(
            table,
            "| network | batch | threads | own | Burn | own / Burn |\n\
             | --- | --: | --: | --: | --: | --: |\n\
             | mlp | 128 | 2 | 8,530 | 2,840 | 3.00 (3.00 – 3.00) |\n"
        );
    }

    #[test]
    fn who_is_absent_in_a_row_has_a_dash() {
        let all = row(&[
            (Contestant::Own, &[0.02]),
            (Contestant::Burn, &[0.04]),
            (Contestant::PyTorch, &[0.01]),
            (Contestant::Compiled, &[0.005]),
        ]);
        let mut without = all.clone();
        without.seconds.remove(&Contestant::Compiled);
        let table = render(&[all, without]);
        let lines: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "| mlp | 128 | 2 | 6,400 | 3,200 | 12,800 | 25,600 | 0.50 | 0.25 | 2.00 |",
                "| mlp | 128 | 2 | 6,400 | 3,200 | 12,800 | – | 0.50 | – | 2.00 |"
            ]
        );
    }

    #[test]
    fn losses_are_those_beyond_the_interval() {
        let (fast, slow): (&[f64], &[f64]) = (&[0.01; 6], &[0.02; 6]);
        let lost = row(&[(Contestant::Own, slow), (Contestant::Burn, slow), (Contestant::PyTorch, fast)]);
        let won = row(&[(Contestant::Own, fast), (Contestant::Burn, slow), (Contestant::PyTorch, slow)]);
        assert_eq!(
            losses(&[lost, won]),
            "Slower than PyTorch: `mlp` with 2 threads.\nSlower than Burn: nowhere.\n"
        );
        assert_eq!(losses(&[row(&[(Contestant::Own, &[0.02]), (Contestant::PyTorch, &[0.01])])]), "");
    }

    #[test]
    fn numbers_have_three_digits() {
        let cases =
            [(1.234, "1.23"), (45.67, "45.7"), (123.4, "123"), (999.6, "1,000"), (1_234_567.0, "1,230,000")];
        for (value, text) in cases {
            assert_eq!(three_digits(value), text);
        }
    }
}
