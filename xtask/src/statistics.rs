//! Mean, spread, and what so few seeds can tell.

/// The mean and the sample standard deviation of at least one number; one alone has no spread.
pub(crate) fn spread(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()))
}

/// The 95 % confidence interval of a mean, from Student's t; none of one number.
pub(crate) fn interval(values: &[f64]) -> Option<(f64, f64)> {
    let (mean, deviation) = spread(values);
    let half = factor(values.len())? * deviation?;
    Some((mean - half, mean + half))
}

/// How many standard deviations the interval of `n` numbers reaches to each side.
pub(crate) fn factor(n: usize) -> Option<f64> {
    Some(quantile(n)? / (n as f64).sqrt())
}

/// The quantile of Student's t at 97.5 % for `n` numbers; none for one, or for more than [`MOST`].
pub(crate) fn quantile(n: usize) -> Option<f64> {
    T.get(n.checked_sub(2)?).copied()
}

/// The most numbers that there is a quantile for.
pub(crate) const MOST: usize = T.len() + 1;

/// A number of seeds that there is a quantile for, from a command line.
pub(crate) fn seeds(text: &str) -> Result<u64, String> {
    let most = MOST as u64;
    text.parse()
        .ok()
        .filter(|seeds| (1..=most).contains(seeds))
        .ok_or(format!("expected a number from 1 to {most}"))
}

/// By degrees of freedom from 1 on; NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.6.7.2.
const T: [f64; 20] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086,
];

/// What the differences to the student alone, one a seed, say about a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The whole interval is above 0.
    Helps,
    /// 0 is within it, or there is none.
    CannotTell,
    /// The whole interval is below 0.
    Hurts,
}

impl Verdict {
    pub(crate) fn of(differences: &[f64]) -> Self {
        match interval(differences) {
            Some((low, _)) if low > 0.0 => Self::Helps,
            Some((_, high)) if high < 0.0 => Self::Hurts,
            _ => Self::CannotTell,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Helps => "helps",
            Self::CannotTell => "cannot tell",
            Self::Hurts => "hurts",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_the_sample_standard_deviation() {
        assert_eq!(spread(&[1.0, 2.0, 3.0]), (2.0, Some(1.0)));
        assert_eq!(spread(&[5.0]), (5.0, None));
    }

    #[test]
    fn three_numbers_reach_two_and_a_half_deviations() {
        let (low, high) = interval(&[1.0, 2.0, 3.0]).expect("three have one");
        assert!((low - (2.0 - 4.303 / 3.0_f64.sqrt())).abs() < 1e-12 && (low + high - 4.0).abs() < 1e-12);
        assert_eq!(interval(&[1.0]), None);
        assert_eq!(factor(MOST).map(|factor| (factor * 100.0).round()), Some(46.0));
        assert_eq!(factor(MOST + 1), None);
    }

    #[test]
    fn a_verdict_needs_the_whole_interval_on_one_side() {
        assert_eq!(Verdict::of(&[0.9, 1.0, 1.1]), Verdict::Helps);
        assert_eq!(Verdict::of(&[-0.9, -1.0, -1.1]), Verdict::Hurts);
        // Ahead in every seed, and yet not far enough for three.
        assert_eq!(Verdict::of(&[0.1, 0.5, 0.9]), Verdict::CannotTell);
        assert_eq!(Verdict::of(&[0.0, 0.0, 0.0]), Verdict::CannotTell);
        assert_eq!(Verdict::of(&[3.0]), Verdict::CannotTell);
    }
}
