//! The table: one line a loss, the best first, and what a reader needs to judge it.

use std::fmt::Write as _;

use crate::statistics::{Verdict, factor, interval, quantile, spread};
use crate::sweep::losses::Loss;

/// What was reached, in percent of the test examples, a number for each seed.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) seeds: Vec<u64>,
    /// How many test examples there are.
    pub(crate) examples: usize,
    pub(crate) teacher: Vec<f64>,
    /// The student from labels alone, with all examples and with the few that the losses have.
    pub(crate) with_all: Vec<f64>,
    pub(crate) alone: Vec<f64>,
    pub(crate) losses: Vec<Row>,
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) loss: &'static Loss,
    /// Or what ended the first run that failed.
    pub(crate) accuracy: Result<Vec<f64>, String>,
}

impl Reached {
    /// The differences of a loss to the student alone, seed by seed, in points.
    fn differences(&self, accuracy: &[f64]) -> Vec<f64> {
        accuracy.iter().zip(&self.alone).map(|(with, without)| with - without).collect()
    }

    /// The losses that have results with these and their differences, the best first, and those that have none.
    fn ranked(&self) -> (Vec<Ranked<'_>>, Vec<(&'static Loss, &str)>) {
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for Row { loss, accuracy } in &self.losses {
            match accuracy {
                Ok(accuracy) => done.push(Ranked { loss, accuracy, differences: self.differences(accuracy) }),
                Err(reason) => failed.push((*loss, reason.as_str())),
            }
        }
        done.sort_by(|a, b| spread(&b.differences).0.total_cmp(&spread(&a.differences).0));
        (done, failed)
    }
}

struct Ranked<'a> {
    loss: &'static Loss,
    accuracy: &'a [f64],
    differences: Vec<f64>,
}

/// The whole report, Markdown.
pub(crate) fn render(reached: &Reached) -> String {
    let (done, failed) = reached.ranked();
    let mut out = String::from(
        "| loss | compares | weight of labels | weight of loss | its knobs | accuracy, % | to the student alone, points | 95 % interval | verdict |\n\
         | --- | --- | --: | --: | --- | --: | --: | --: | --- |\n",
    );
    for (name, labels, accuracy) in [
        ("the teacher", "1.0", &reached.teacher),
        ("the student alone, all examples", "1.0", &reached.with_all),
        ("**the student alone**", "1.0", &reached.alone),
    ] {
        let _ = writeln!(out, "| {name} | labels | {labels} | | | {} | | | |", plain(accuracy));
    }
    for row in &done {
        let interval = interval(&row.differences)
            .map_or_else(|| "none".to_owned(), |(low, high)| format!("{low:+.2} … {high:+.2}"));
        let _ = writeln!(
            out,
            "{} {} | {} | {interval} | {} |",
            what(row.loss),
            plain(row.accuracy),
            signed(&row.differences),
            Verdict::of(&row.differences).word(),
        );
    }
    for (loss, _) in &failed {
        let _ = writeln!(out, "{} | | | failed |", what(loss));
    }
    out.push('\n');
    out += &verdicts(&done, reached.seeds.len());
    for (loss, reason) in &failed {
        let _ = writeln!(out, "- `{}` failed: {reason}.", loss.name);
    }
    out.push('\n');
    out += &about(reached, done.len());
    out
}

/// The cells that say what a loss is.
fn what(loss: &Loss) -> String {
    let Loss { name, compares, labels, weight, knobs } = loss;
    let weight = if weight.starts_with('{') { format!("`{weight}`") } else { (*weight).to_owned() };
    format!("| `{name}` | {compares} | {labels} | {weight} | `{knobs}` |")
}

/// The losses by verdict, a line each.
fn verdicts(done: &[Ranked<'_>], seeds: usize) -> String {
    let line = |title: &str, verdict: Verdict| {
        let names: Vec<String> = done
            .iter()
            .filter(|row| Verdict::of(&row.differences) == verdict)
            .map(|row| format!("`{}`", row.loss.name))
            .collect();
        format!("- {title}: {}.\n", if names.is_empty() { "none".to_owned() } else { names.join(", ") })
    };
    line("Helps", Verdict::Helps)
        + &line("Hurts", Verdict::Hurts)
        + &line(&format!("Cannot tell from {}", counted(seeds, "seed")), Verdict::CannotTell)
}

/// How the numbers came about, and how far they reach.
fn about(reached: &Reached, losses: usize) -> String {
    let Reached { seeds, examples, .. } = reached;
    let mut out = match seeds.as_slice() {
        [seed] => format!("Seed {seed}"),
        [first, .., last] => format!("Seeds {first} to {last}"),
        [] => String::new(),
    };
    let _ = writeln!(
        out,
        "; {examples} test examples, so that one of them is {:.2} points.",
        100.0 / *examples as f64
    );
    match (factor(seeds.len()), quantile(seeds.len())) {
        (Some(factor), Some(t)) => {
            let _ = write!(
                out,
                "With {} the interval reaches {factor:.2} standard deviations to each side (Student's t is {t:.2}): \
                 a small effect does not show, and `cannot tell` does not mean that there is none.\n\
                 Of {} without any effect, one in twenty would be said to help or to hurt by chance.\n",
                counted(seeds.len(), "seed"),
                counted(losses, "loss"),
            );
        }
        _ => out += "One seed has no spread: nothing can be told from it.\n",
    }
    out
}

fn counted(n: usize, what: &str) -> String {
    match (n, what) {
        (1, what) => format!("one {what}"),
        (n, "loss") => format!("{n} losses"),
        (n, what) => format!("{n} {what}s"),
    }
}

fn plain(values: &[f64]) -> String {
    let (mean, deviation) = spread(values);
    format!("{mean:.2}{}", deviation.map_or_else(String::new, |deviation| format!(" ± {deviation:.2}")))
}

fn signed(values: &[f64]) -> String {
    let (mean, deviation) = spread(values);
    format!("{mean:+.2}{}", deviation.map_or_else(String::new, |deviation| format!(" ± {deviation:.2}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::losses::LOSSES;

    fn reached(seeds: usize, losses: &[Result<&[f64], &str>]) -> Reached {
        let row = |(loss, accuracy): (_, &Result<&[f64], &str>)| Row {
            loss,
            accuracy: accuracy.map(<[f64]>::to_vec).map_err(str::to_owned),
        };
        Reached {
            seeds: (42..).take(seeds).collect(),
            examples: 10000,
            teacher: vec![99.0; seeds],
            with_all: vec![98.5; seeds],
            alone: vec![96.0, 96.2, 96.1][..seeds].to_vec(),
            losses: LOSSES.iter().zip(losses).map(row).collect(),
        }
    }

    #[test]
    fn the_best_comes_first_and_no_loss_is_left_out() {
        let text = render(&reached(
            3,
            &[Ok(&[96.0, 96.0, 96.0]), Ok(&[96.5, 96.7, 96.6]), Err("it diverged"), Ok(&[90.0, 90.2, 90.1])],
        ));
        let names: Vec<&str> =
            text.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim).collect();
        let name = |i: usize| format!("`{}`", LOSSES[i].name);
        assert_eq!(names[5..], [name(1), name(0), name(3), name(2)]);
        assert!(text.contains(" 96.60 ± 0.10 | +0.50 ± 0.00 | +0.50 … +0.50 | helps |\n"), "{text}");
        assert!(text.contains(&format!("- Helps: {}.\n- Hurts: {}.\n", name(1), name(3))), "{text}");
        assert!(text.contains(&format!("- Cannot tell from 3 seeds: {}.\n", name(0))), "{text}");
        assert!(text.contains(&format!("- {} failed: it diverged.\n", name(2))), "{text}");
        assert!(text.contains("Seeds 42 to 44; 10000 test examples, so that one of them is 0.01 points.\n"));
        assert!(text.contains("2.48 standard deviations to each side (Student's t is 4.30)"), "{text}");
        let columns: Vec<usize> =
            text.lines().filter(|line| line.starts_with('|')).map(|line| line.matches('|').count()).collect();
        assert!(columns.iter().all(|&count| count == 10), "{text}");
    }

    #[test]
    fn one_seed_tells_nothing() {
        let text = render(&reached(1, &[Ok(&[99.0])]));
        assert!(text.contains(" 99.00 | +3.00 | none | cannot tell |\n"), "{text}");
        assert!(text.contains("- Helps: none.\n- Hurts: none.\n"), "{text}");
        assert!(text.ends_with("One seed has no spread: nothing can be told from it.\n"), "{text}");
    }
}
