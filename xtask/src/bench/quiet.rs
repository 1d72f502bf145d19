//! How much the processors do while none of those who are measured does anything.
//!
//! Another busy program does not slow everyone alike: PyTorch's threads wait for each other in every operation, and
//! beside a compiler they are slower by an order of magnitude. A table made then would praise us for nothing.

use std::ops::{AddAssign, Sub};
use std::time::Duration;

/// Above this share of busy processors no table is written.
pub(crate) const MOST: f64 = 0.1;

/// Processor time in the kernel's ticks.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticks {
    busy: u64,
    all: u64,
}

impl Ticks {
    /// Since the machine started; `None` where there is no `/proc/stat`.
    pub(crate) fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// What the processors do in a pause of so long, in which nothing is measured.
    pub(crate) fn paused(pause: Duration) -> Self {
        let before = Self::now();
        std::thread::sleep(pause);
        match (before, Self::now()) {
            (Some(before), Some(after)) => after - before,
            _ => Self::default(),
        }
    }

    /// The first line has user, nice, system, idle, iowait, irq, softirq and steal; what follows is counted in these.
    fn parse(stat: &str) -> Option<Self> {
        let numbers = stat.lines().next()?.strip_prefix("cpu ")?;
        let numbers: Option<Vec<u64>> =
            numbers.split_whitespace().take(8).map(|number| number.parse().ok()).collect();
        let numbers = numbers.filter(|numbers| numbers.len() == 8)?;
        let all = numbers.iter().sum();
        Some(Self { busy: all - numbers[3] - numbers[4], all })
    }

    /// Share of the time in which processors were busy, for this machine or, in a virtual one, for others.
    pub(crate) fn share(self) -> Option<f64> {
        (self.all > 0).then(|| self.busy as f64 / self.all as f64)
    }
}

impl Sub for Ticks {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        // The kernel's idle time is known to step back by a tick.
        Self { busy: self.busy.saturating_sub(earlier.busy), all: self.all.saturating_sub(earlier.all) }
    }
}

impl AddAssign for Ticks {
    fn add_assign(&mut self, other: Self) {
        self.busy += other.busy;
        self.all += other.all;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_idle_nor_waiting_is_busy() {
        let stat = "cpu  10 1 5 100 20 2 3 4 7 7\ncpu0 1 2 3 4 5 6 7 8 9 9\n";
        assert_eq!(Ticks::parse(stat), Some(Ticks { busy: 25, all: 145 }));
        assert_eq!(Ticks::parse("cpu  1 2 3\n"), None);
        assert_eq!(Ticks::parse("intr 5"), None);
    }

    #[test]
    fn shares_are_of_what_passed() {
        let mut sum = Ticks::default();
        assert_eq!(sum.share(), None);
        sum += Ticks { busy: 30, all: 150 } - Ticks { busy: 25, all: 100 };
        sum += Ticks { busy: 45, all: 250 } - Ticks { busy: 45, all: 200 };
        assert_eq!(sum.share(), Some(0.05));
    }
}
