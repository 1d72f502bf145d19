//! A scheme for each weight, within so many bits for each number on disk.
//!
//! Candidates are affine integers of 2, 3, 4, 5, 6 and 8 bits in groups of 128, 64 and 32 columns, where those divide the
//! weight's, and in channels; and the weight as it is. What is minimized is Σ over weights of Σ(w − ŵ)² / Σw², the inverse
//! of SQNR as a ratio, with codes rounded to nearest whatever the method: no data says which weight matters more. The
//! choice is exact, by [`Front`], over bytes on disk.

use std::str::FromStr;

use quant_core::budget::{Choice, Front};
use quant_core::{Encoder, Scheme};

use super::form::Form;
use super::methods::{Method, check, failed};
use super::report::{Sums, bpw};
use super::source::{Entry, Source, pieces};
use crate::error::Error;

/// Bits on disk for each number, at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget(f64);

impl FromStr for Budget {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let number = text.trim().strip_suffix("bpw").and_then(|number| number.trim().parse::<f64>().ok());
        match number.filter(|bits| bits.is_finite() && *bits > 0.0) {
            Some(bits) => Ok(Self(bits)),
            None => Err(Error::QuantizeOption {
                option: "--budget".into(),
                expected: "bits for each number, above 0, as in `4.2 bpw`".into(),
                found: format!("`{text}`"),
            }),
        }
    }
}

impl Budget {
    /// The number of bits.
    pub fn bits(self) -> f64 {
        self.0
    }
}

/// Bits and groups of candidates; a group of 0 is a channel.
const BITS: [u32; 6] = [2, 3, 4, 5, 6, 8];
const GROUPS: [usize; 4] = [0, 128, 64, 32];

/// The form of each weight, none where it stays as it is.
pub(super) fn choose(
    source: &Source,
    weights: &[(&str, &Entry)],
    budget: Budget,
    (method, own): (Method, bool),
) -> Result<Vec<Option<Form>>, Error> {
    let (mut items, mut forms, mut count) = (Vec::new(), Vec::new(), 0);
    for (name, entry) in weights {
        let (rows, columns) = (entry.shape[0], entry.shape[1]);
        count += (rows * columns) as u64;
        let mut candidates = Vec::new();
        for form in candidates_for(columns, method, own)? {
            candidates.push((Some(form), form.bytes(rows, columns), Sums::default()));
        }
        measure(name, source, entry, &mut candidates)?;
        candidates.push((None, entry.bytes(), Sums::default()));
        let (kept, choices): (Vec<_>, Vec<_>) = undominated(candidates).into_iter().unzip();
        forms.push(kept);
        items.push(choices);
    }
    // The largest number of bytes whose bits a number are not above the budget.
    let mut most = (budget.0 * count as f64 / 8.0) as u64;
    while most > 0 && bpw(most, count) > budget.0 {
        most -= 1;
    }
    let front = Front::new(&items, Some(most)).map_err(|error| match error {
        quant_core::Error::Budget { least, .. } => {
            Error::BudgetTooSmall { budget: budget.0, least: bpw(least, count), weights: weights.len() }
        }
        error => Error::Quant(error),
    })?;
    let choices = front.within(most).map_err(Error::Quant)?.choices;
    Ok(forms.into_iter().zip(choices).map(|(forms, choice)| forms[choice]).collect())
}

fn candidates_for(columns: usize, method: Method, own: bool) -> Result<Vec<Form>, Error> {
    let mut forms = Vec::new();
    for bits in BITS {
        for group in GROUPS {
            let words = match group {
                0 => format!("int{bits} channel affine"),
                _ if columns.is_multiple_of(group) && group < columns => {
                    format!("int{bits} group={group} affine")
                }
                _ => continue,
            };
            let scheme: Scheme = words.parse().map_err(Error::WeightScheme)?;
            forms.push(method.form(scheme, own)?);
        }
    }
    Ok(forms)
}

type Candidate = (Option<Form>, u64, Sums);

/// Noise of every candidate, in one reading.
fn measure(name: &str, source: &Source, entry: &Entry, candidates: &mut [Candidate]) -> Result<(), Error> {
    let columns = entry.shape[1];
    for piece in pieces(entry.shape[0], columns, 1) {
        let values = source.rows(entry, piece.clone())?;
        check(name, &values, piece.start * columns)?;
        for (form, _, sums) in candidates.iter_mut() {
            let Some(form) = form else { continue };
            let encoder = Encoder::new(&form.scheme);
            let encoded = encoder.encode(&values, piece.len(), columns).map_err(failed(name))?;
            sums.add(&values, &encoded.decode());
        }
    }
    Ok(())
}

/// Candidates of which none is cheaper and no worse, by ascending bytes.
fn undominated(mut candidates: Vec<Candidate>) -> Vec<(Option<Form>, Choice)> {
    candidates.sort_by(|a, b| a.1.cmp(&b.1).then(a.2.noise().total_cmp(&b.2.noise())));
    let mut best = f64::INFINITY;
    let mut all = Vec::new();
    for (form, cost, sums) in candidates {
        let loss = sums.noise();
        if loss < best {
            best = loss;
            all.push((form, Choice { cost, loss }));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_number_of_bits() {
        for (text, bits) in [("4.2 bpw", Some(4.2)), ("3bpw", Some(3.0)), (" 8  bpw ", Some(8.0))] {
            assert_eq!(text.parse::<Budget>().ok().map(Budget::bits), bits, "{text}");
        }
        for text in ["4.2", "bpw", "-1 bpw", "NaN bpw", "0 bpw", "4,2 bpw", "inf bpw"] {
            assert!(text.parse::<Budget>().is_err(), "{text}");
        }
    }
}
