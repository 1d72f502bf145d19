//! How long a model takes on an engine.
//!
//! Never inferred from operation counts. Machines are shared and clocks wander, so that models to be compared take
//! turns, run by run, and a median with its spread is reported instead of a mean.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{Error, Session};

/// How much to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Runs of each session that do not count.
    pub warm_up: usize,
    /// Most runs of each session that count.
    pub runs: usize,
    /// Time after which no further round begins, once there are [`FEWEST_RUNS`].
    pub limit: Duration,
}

impl Default for Effort {
    fn default() -> Self {
        Self { warm_up: 5, runs: 200, limit: Duration::from_secs(3) }
    }
}

/// Runs that are measured even if they take longer than the limit.
pub const FEWEST_RUNS: usize = 5;

/// Milliseconds a run takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the runs took no longer.
    pub median: f64,
    /// 95 of 100 runs took no longer.
    pub p95: f64,
}

impl Latency {
    /// From the times of single runs: the median (the mean of the middle two where their number is even), and the
    /// smallest time that 95 % do not exceed. `None` without a run.
    pub fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let ms = |index: usize| times.get(index).map(|time| time.as_secs_f64() * 1e3);
        let n = times.len();
        let upper = ms(n / 2)?;
        let lower = ms(n.saturating_sub(1) / 2)?;
        let p95 = ms((n * 95).div_ceil(100).saturating_sub(1))?;
        Some(Self { median: f64::midpoint(lower, upper), p95 })
    }
}

/// Measures several sessions, in turns, on batches of `batch` examples of shape `example` from the start of `input`.
///
/// # Errors
/// When `input` is shorter than a batch, the batch is empty, or a session fails.
pub fn measure(
    sessions: &mut [Box<dyn Session>],
    input: &[f32],
    example: &[usize],
    batch: usize,
    effort: Effort,
) -> Result<Vec<Latency>, Error> {
    if batch == 0 {
        return Err(Error::Zero { what: "the batch size" });
    }
    let shape: Vec<usize> = std::iter::once(batch).chain(example.iter().copied()).collect();
    let expected = shape.iter().product();
    let input = input.get(..expected).ok_or(Error::Length {
        what: "input of a latency measurement",
        expected,
        found: input.len(),
    })?;
    for session in &mut *sessions {
        for _ in 0..effort.warm_up {
            session.run(input, &shape)?;
        }
    }
    let mut times = vec![Vec::new(); sessions.len()];
    let begin = Instant::now();
    for round in 0..effort.runs.max(1) {
        if round >= FEWEST_RUNS && begin.elapsed() > effort.limit {
            break;
        }
        for (session, times) in sessions.iter_mut().zip(&mut times) {
            let start = Instant::now();
            session.run(input, &shape)?;
            times.push(start.elapsed());
        }
    }
    let latency = |times| Latency::of(times).expect("at least one round has run");
    Ok(times.into_iter().map(latency).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::{Arc, Mutex};

    use super::*;

    fn of(ms: impl IntoIterator<Item = u64>) -> Option<Latency> {
        Latency::of(ms.into_iter().map(Duration::from_millis).collect())
    }

    #[test]
    fn median_and_tail_of_known_times() {
        assert_eq!(of((1..=100).rev()), Some(Latency { median: 50.5, p95: 95.0 }));
        assert_eq!(of([3, 1, 2]), Some(Latency { median: 2.0, p95: 3.0 }));
        assert_eq!(of([7]), Some(Latency { median: 7.0, p95: 7.0 }));
        assert_eq!(of([]), None);
    }

    type Log = Arc<Mutex<Vec<u8>>>;

    /// Writes its number into a shared log whenever it runs.
    struct Logging(u8, Log);

    impl Session for Logging {
        fn threads(&self) -> usize {
            1
        }
        fn run(&mut self, input: &[f32], shape: &[usize]) -> Result<Vec<f32>, Error> {
            assert_eq!((input.len(), shape), (6, [3, 2].as_slice()));
            self.1.lock().unwrap().push(self.0);
            Ok(Vec::new())
        }
    }

    fn sessions(numbers: &[u8]) -> (Vec<Box<dyn Session>>, Log) {
        let log = Log::default();
        let session = |&n: &u8| Box::new(Logging(n, Arc::clone(&log))) as Box<dyn Session>;
        (numbers.iter().map(session).collect(), log)
    }

    #[test]
    fn sessions_take_turns_after_the_warm_up() {
        let (mut sessions, log) = sessions(&[0, 1]);
        let effort = Effort { warm_up: 2, runs: 3, limit: Duration::from_secs(60) };
        let latency = measure(&mut sessions, &[0.0; 10], &[2], 3, effort).unwrap();
        assert_eq!(latency.len(), 2);
        assert_eq!(*log.lock().unwrap(), [0, 0, 1, 1, 0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn the_limit_leaves_a_few_runs() {
        let (mut sessions, log) = sessions(&[0]);
        let effort = Effort { warm_up: 0, runs: 1000, limit: Duration::ZERO };
        measure(&mut sessions, &[0.0; 6], &[2], 3, effort).unwrap();
        assert_eq!(log.lock().unwrap().len(), FEWEST_RUNS);
    }

    #[test]
    fn too_little_input_is_an_error() {
        let error = measure(&mut [], &[0.0; 5], &[2], 3, Effort::default()).unwrap_err();
        let expected = "input of a latency measurement: expected 6 elements, found 5";
        assert_eq!(error.to_string(), expected);
    }
}
