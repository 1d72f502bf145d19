//! Medians of a few numbers, and how far they can be trusted without assuming a distribution.

/// The middle one, or the mean of the two in the middle; `None` of none.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len().is_multiple_of(2) { f64::midpoint(sorted[middle - 1], upper) } else { upper })
}

/// The narrowest interval between the k-th smallest and the k-th largest value that covers the median of their
/// distribution, whatever it is, with a probability of at least 95 %; `None` of fewer than six values, which have none.
///
/// The median lies outside if fewer than k of the n values lie on one side of it, with a probability of twice
/// `P(X < k)`, X binomial with n and 1/2. See David and Nagaraja, "Order Statistics", 2003, section 7.1.
pub(crate) fn interval(values: &[f64]) -> Option<(f64, f64)> {
    let rank = rank(values.len())?;
    let sorted = sorted(values);
    Some((sorted[rank - 1], sorted[sorted.len() - rank]))
}

/// What a reader has to know of the intervals of so many rounds.
pub(crate) fn about_intervals(rounds: usize) -> &'static str {
    match rank(rounds) {
        Some(_) => "; ratios within a round, with 95 % intervals of their medians",
        None => "; ratios within a round, without intervals, for which at least six rounds are needed",
    }
}

/// The largest k with `2·P(X < k) ≤ 5 %`, X binomial with `n` and 1/2.
fn rank(n: usize) -> Option<usize> {
    let mut term = 0.5_f64.powi(i32::try_from(n).ok()?);
    let mut below = 0.0;
    let mut rank = 0;
    while 2.0 * (below + term) <= 0.05 && rank < n {
        below += term;
        term *= (n - rank) as f64 / (rank + 1) as f64;
        rank += 1;
    }
    (rank > 0).then_some(rank)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn ranks_are_those_of_the_sign_test() {
        // Critical values of the two-sided sign test at 5 %, as in any table of it, plus one.
        for (n, critical) in [(6, 0), (8, 0), (9, 1), (12, 2), (15, 3), (20, 5), (25, 7), (50, 17)] {
            assert_eq!(rank(n), Some(critical + 1), "{n}");
        }
        assert_eq!(rank(5), None);
        assert_eq!(rank(0), None);
    }

    #[test]
    fn an_interval_leaves_the_extremes_out() {
        let values: Vec<f64> = (1..=15).rev().map(f64::from).collect();
        assert_eq!(interval(&values), Some((4.0, 12.0)));
        assert_eq!(interval(&values[..6]), Some((10.0, 15.0)));
        assert_eq!(interval(&values[..5]), None);
    }
}
