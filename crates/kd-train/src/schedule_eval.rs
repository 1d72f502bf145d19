//! One schedule as numbers, so that anyone can plot it or hold it against their own formula.

use kd_core::{Progress, Schedule, ScheduleName};
use toml::Spanned;
use toml::de::DeValue;

use crate::error::Error;
use crate::problem::{Problem, Problems};
use crate::sparsify::WHENS;

/// The schedules of numbers.
pub fn names() -> impl Iterator<Item = &'static ScheduleName> {
    Schedule::NAMES.iter()
}

/// What `[stage.sparsify]` takes beside them.
pub fn sparsity_names() -> impl Iterator<Item = &'static ScheduleName> {
    WHENS.iter()
}

/// The schedule that a line of TOML names, `linear = { from = 1.0, to = 0.0 }`; a number is a constant.
///
/// # Errors
///
/// A line that is no TOML, that names no schedule or an unknown one, knobs that do not exist or are out of range.
pub fn parse(line: &str) -> Result<Schedule, Error> {
    one(line).map_err(|problem| {
        Error::Problems(Problems { name: "schedule".into(), text: line.into(), list: vec![*problem] })
    })
}

fn one(line: &str) -> Result<Schedule, Box<Problem>> {
    if let Ok(value) = DeValue::parse(line) {
        return crate::recipe::read_value(value);
    }
    let table = crate::recipe::line_table(line).map_err(|problem| {
        Box::new(problem.help("write, for example, `linear = { from = 1.0, to = 0.0 }`"))
    })?;
    let only = table.get_ref().keys().next().filter(|_| table.get_ref().len() == 1);
    if let Some(name) = only
        && let Some(row) = sparsity_names().find(|row| row.name == name.get_ref().as_ref())
    {
        let message = format!("`{}` says when a stage sparsifies, and is not a number", row.name);
        let problem = Problem::new("recipe::unknown-name", message, name.span(), "of `[stage.sparsify]`");
        return Err(Box::new(problem.help(format!("`kd explain schedule.{}` says more", row.name))));
    }
    let whole = Spanned::new(0..line.len(), DeValue::Table(table.into_inner()));
    crate::recipe::read_value(whole)
}

/// Its values at t = i/(steps − 1) for i from 0; one step is t = 0.
pub fn values(schedule: &Schedule, steps: usize) -> impl Iterator<Item = f64> {
    let place = move |step| match steps {
        0 | 1 => Progress::START,
        _ => Progress::of(step, steps - 1),
    };
    (0..steps).map(move |step| schedule.at(place(step)))
}

/// The shortest text that reads back as exactly this number; plain digits where an exponent saves nothing.
pub fn shortest(value: f64) -> String {
    let (plain, exponent) = (format!("{value}"), format!("{value:e}"));
    if exponent.len() < plain.len() { exponent } else { plain }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn numbers_are_short_and_read_back() {
        for (value, text) in [
            (0.0, "0"),
            (0.5, "0.5"),
            (-2.0, "-2"),
            (0.01, "0.01"),
            (0.001, "1e-3"),
            (4e-6, "4e-6"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e300, "1e300"),
        ] {
            assert_eq!(shortest(value), text);
            assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(value.to_bits()));
        }
    }

    #[test]
    fn steps_run_from_0_to_1() {
        let line = Schedule::linear(0.0, 1.0).unwrap();
        for steps in 0..50 {
            let found: Vec<f64> = values(&line, steps).collect();
            let expected: Vec<f64> =
                (0..steps).map(|i| if steps == 1 { 0.0 } else { i as f64 / (steps - 1) as f64 }).collect();
            assert_eq!(found, expected);
        }
    }
}
