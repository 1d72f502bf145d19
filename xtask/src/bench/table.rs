//! The table: one line a benchmark.

use std::fmt::Write as _;

use super::measured::Row;
use super::record::Record;

/// Smaller differences of medians are called noise.
const THRESHOLD: f64 = 0.05;

/// A row against the same row of the baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    New,
    Unchanged,
    /// Relative change of the median, negative.
    Faster(f64),
    /// Relative change of the median, positive.
    Slower(f64),
}

impl Verdict {
    fn of(now: &Row, before: Option<&Row>) -> Self {
        let Some(before) = before else { return Verdict::New };
        let change = now.median / before.median - 1.0;
        let disjoint = now.high < before.low || before.high < now.low;
        match change {
            change if !disjoint || change.abs() <= THRESHOLD => Verdict::Unchanged,
            change if change < 0.0 => Verdict::Faster(change),
            change => Verdict::Slower(change),
        }
    }

    fn text(self) -> String {
        match self {
            Verdict::New => "new".to_owned(),
            Verdict::Unchanged => "unchanged".to_owned(),
            Verdict::Faster(change) | Verdict::Slower(change) => format!("{:+.1} %", change * 100.0),
        }
    }
}

/// The whole table, with what was measured on, and against what.
pub(crate) fn render(now: &Record, before: Option<&Record>) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(String::new());
    line(format!("device   {} · {}", now.device, now.machine));
    line(format!("revision {} · rustc {} · burn {}", now.revision, now.rustc, now.burn));
    match before {
        Some(before) if before.machine == now.machine => line(format!("baseline {}", before.revision)),
        Some(before) => line(format!(
            "baseline {} · ANOTHER MACHINE: {}; differences may be the machine's",
            before.revision, before.machine
        )),
        None => line("baseline none; `--save` makes one".to_owned()),
    }
    line(String::new());

    let width = now.rows.keys().map(|name| name.chars().count()).max().unwrap_or(0).max(9);
    line(format!(
        "{:<width$}  {:>10}  {:^24}  {:>11}  {:>14}",
        "benchmark", "median", "95 % interval", "vs baseline", "throughput"
    ));
    let (mut faster, mut slower, mut unchanged, mut new) = (0, 0, 0, 0);
    for (name, row) in &now.rows {
        let verdict = Verdict::of(row, before.and_then(|before| before.rows.get(name)));
        match verdict {
            Verdict::New => new += 1,
            Verdict::Unchanged => unchanged += 1,
            Verdict::Faster(_) => faster += 1,
            Verdict::Slower(_) => slower += 1,
        }
        let interval = format!("{:>10} – {:>10}", time(row.low), time(row.high));
        line(format!(
            "{name:<width$}  {:>10}  {interval:^24}  {:>11}  {:>14}",
            time(row.median),
            verdict.text(),
            throughput(row)
        ));
    }
    let mut summary = format!("{} benchmarks", now.rows.len());
    if before.is_some() {
        let _ = write!(
            summary,
            " · {faster} faster · {slower} slower · {unchanged} unchanged · {new} new \
             (more than {:.0} % and disjoint intervals)",
            THRESHOLD * 100.0
        );
    }
    line(summary);
    out
}

/// Nanoseconds in the unit that leaves three digits.
fn time(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "µs"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

fn throughput(row: &Row) -> String {
    let Some(throughput) = &row.throughput else { return String::new() };
    let per_second = throughput.amount / row.median * 1e9;
    let (value, prefix) = match per_second {
        x if x < 1e3 => (x, ""),
        x if x < 1e6 => (x / 1e3, "k"),
        x if x < 1e9 => (x / 1e6, "M"),
        x => (x / 1e9, "G"),
    };
    let unit = match throughput.unit.as_str() {
        "elements" => "elem",
        "bytes" | "bytesdecimal" => "B",
        other => other,
    };
    format!("{} {prefix}{unit}/s", three_digits(value))
}

fn three_digits(value: f64) -> String {
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(median: f64, half_width: f64) -> Row {
        Row { median, low: median - half_width, high: median + half_width, throughput: None }
    }

    #[test]
    fn a_change_counts_if_it_is_large_and_intervals_are_disjoint() {
        let before = row(100.0, 2.0);
        for (now, verdict) in [
            (row(90.0, 2.0), Verdict::Faster(-0.1)),
            (row(110.0, 2.0), Verdict::Slower(0.1)),
            (row(110.0, 9.0), Verdict::Unchanged),
            (row(104.5, 0.1), Verdict::Unchanged),
            (row(100.0, 0.0), Verdict::Unchanged),
        ] {
            let found = Verdict::of(&now, Some(&before));
            let close = match (found, verdict) {
                (Verdict::Faster(a), Verdict::Faster(b)) | (Verdict::Slower(a), Verdict::Slower(b)) => {
                    (a - b).abs() < 1e-12
                }
                (a, b) => a == b,
            };
            assert!(close, "{now:?}: {found:?}");
        }
        assert_eq!(Verdict::of(&before, None), Verdict::New);
    }

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        for (ns, text) in
            [(1.234, "1.23 ns"), (45_678.0, "45.7 µs"), (123_456_789.0, "123 ms"), (2e9, "2.00 s")]
        {
            assert_eq!(time(ns), text);
        }
        let mut million = row(2e6, 0.0);
        million.throughput =
            Some(super::super::measured::Throughput { unit: "elements".to_owned(), amount: 1e6 });
        assert_eq!(throughput(&million), "500 Melem/s");
    }
}
