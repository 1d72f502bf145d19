//! Taking turns: who is asked for how many steps, and in which order.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::contestant::Contestant;
use super::quiet::Ticks;

/// What is measured at one number of threads.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) networks: Vec<String>,
    pub(crate) threads: usize,
    pub(crate) rounds: u32,
    /// How long a turn is meant to last.
    pub(crate) turn: Duration,
    /// How long nobody runs between turns.
    pub(crate) pause: Duration,
}

/// One network at one number of threads.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) network: String,
    pub(crate) batch: usize,
    pub(crate) threads: usize,
    /// Seconds of a step, one a round.
    pub(crate) seconds: BTreeMap<Contestant, Vec<f64>>,
}

/// Rows, and what a reader has to know beside them.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Measured {
    pub(crate) rows: Vec<Row>,
    pub(crate) notes: Vec<String>,
    /// Processor time of the pauses.
    pub(crate) paused: Ticks,
}

/// Those who are measured.
pub(crate) trait Answers {
    fn takes_part(&self, contestant: Contestant) -> bool;

    /// The reply to a request.
    fn ask(&mut self, contestant: Contestant, request: &str) -> Result<String>;
}

/// Builds every network, finds how many steps fill a turn, and lets everyone take turns.
pub(crate) fn measure(plan: &Plan, answers: &mut impl Answers) -> Result<Measured> {
    let mut measured = Measured::default();
    let mut steps = Vec::new();
    for network in &plan.networks {
        eprintln!("{network}, threads: {}: networks are built and tried", plan.threads);
        let batch = agreed(network, answers)?;
        let mut row_steps = BTreeMap::new();
        for contestant in Contestant::ALL {
            if !answers.takes_part(contestant) {
                continue;
            }
            match fill(contestant, network, plan, answers) {
                Ok(steps) => {
                    row_steps.insert(contestant, steps);
                }
                Err(error) if contestant.may_fail() => {
                    let title = contestant.title();
                    measured.notes.push(format!(
                        "`{network}`, threads: {}: {title} was left out: {error:#}",
                        plan.threads
                    ));
                }
                Err(error) => return Err(error),
            }
        }
        let choices = choices(network, row_steps.keys().copied(), answers)?;
        measured.notes.extend(choices.map(|text| format!("`{network}`, threads: {}: {text}", plan.threads)));
        let seconds = row_steps.keys().map(|contestant| (*contestant, Vec::new())).collect();
        steps.push(row_steps);
        measured.rows.push(Row { network: network.clone(), batch, threads: plan.threads, seconds });
    }
    for round in 0..plan.rounds {
        eprintln!("threads: {}, round {} of {}", plan.threads, round + 1, plan.rounds);
        for (row, steps) in measured.rows.iter_mut().zip(&steps) {
            for contestant in order(steps.keys().copied().collect(), round) {
                measured.paused += pause(plan.pause);
                let seconds = turn(contestant, &row.network, steps[&contestant], answers)?;
                row.seconds.entry(contestant).or_default().push(seconds);
            }
        }
    }
    Ok(measured)
}

/// What the processors did meanwhile.
fn pause(pause: Duration) -> Ticks {
    let before = Ticks::now();
    std::thread::sleep(pause);
    before.zip(Ticks::now()).map(|(before, after)| after - before).unwrap_or_default()
}

/// Nobody always follows the same neighbour: every second round goes backwards.
fn order(mut contestants: Vec<Contestant>, round: u32) -> Vec<Contestant> {
    if !round.is_multiple_of(2) {
        contestants.reverse();
    }
    contestants
}

/// The batch, if both programs have it and as many parameters.
fn agreed(network: &str, answers: &mut impl Answers) -> Result<usize> {
    let request = format!("count {network}");
    let ours = counts(&answers.ask(Contestant::Own, &request)?)?;
    if answers.takes_part(Contestant::PyTorch) {
        let theirs = counts(&answers.ask(Contestant::PyTorch, &request)?)?;
        ensure!(
            ours == theirs,
            "`{network}` has {} parameters at batch {} in benches/src/networks.rs, and {} at {} in \
             tools/bench/pytorch.py: make them the same network",
            ours.0,
            ours.1,
            theirs.0,
            theirs.1
        );
    }
    Ok(ours.1)
}

/// Parameters and batch.
fn counts(reply: &str) -> Result<(usize, usize)> {
    match reply.split_whitespace().map(str::parse).collect::<Result<Vec<usize>, _>>().as_deref() {
        Ok(&[parameters, batch]) => Ok((parameters, batch)),
        _ => bail!("expected parameters and batch, found `{reply}`"),
    }
}

/// The number of steps that fill a turn.
fn fill(contestant: Contestant, network: &str, plan: &Plan, answers: &mut impl Answers) -> Result<u32> {
    // The first turn builds, and touches memory for the first time.
    turn(contestant, network, 1, answers)?;
    let seconds = turn(contestant, network, 2, answers)?;
    Ok((plan.turn.as_secs_f64() / seconds).round().clamp(1.0, 1e6) as u32)
}

/// Seconds of a step.
fn turn(contestant: Contestant, network: &str, steps: u32, answers: &mut impl Answers) -> Result<f64> {
    let reply = answers.ask(contestant, &format!("{} {network} {steps}", contestant.word()))?;
    let seconds = reply.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0);
    seconds.with_context(|| format!("expected seconds of a step, found `{reply}`"))
}

/// Which of its ways to run PyTorch found the fastest.
fn choices(
    network: &str,
    contestants: impl Iterator<Item = Contestant>,
    answers: &mut impl Answers,
) -> Result<Option<String>> {
    let mut parts = Vec::new();
    for contestant in contestants.filter(|contestant| contestant.is_python()) {
        let choice = answers.ask(contestant, &format!("choice {} {network}", contestant.word()))?;
        parts.push(format!("{} with {choice}", contestant.title()));
    }
    Ok((!parts.is_empty()).then(|| parts.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers from a list, and keeps what it was asked.
    struct Script {
        python: bool,
        replies: BTreeMap<&'static str, &'static str>,
        asked: Vec<String>,
    }

    impl Script {
        fn new(python: bool, replies: &[(&'static str, &'static str)]) -> Self {
            Self { python, replies: replies.iter().copied().collect(), asked: Vec::new() }
        }
    }

    impl Answers for Script {
        fn takes_part(&self, contestant: Contestant) -> bool {
            self.python || !contestant.is_python()
        }

        fn ask(&mut self, contestant: Contestant, request: &str) -> Result<String> {
            self.asked.push(request.to_owned());
            let side = if contestant.is_python() { "python" } else { "rust" };
            let mut words = request.split_whitespace();
            let first = words.next().unwrap_or_default();
            let found = self.replies.get(format!("{side} {first}").as_str()).or(self.replies.get(first));
            match found {
                Some(&"fail") => bail!("no C++ compiler"),
                Some(reply) => Ok((*reply).to_owned()),
                None => bail!("`{request}` is not in the script"),
            }
        }
    }

    fn plan(rounds: u32) -> Plan {
        Plan {
            networks: vec!["mlp".to_owned()],
            threads: 2,
            rounds,
            turn: Duration::from_millis(300),
            pause: Duration::ZERO,
        }
    }

    #[test]
    fn everyone_takes_turns_that_alternate() -> Result<()> {
        let mut script = Script::new(
            true,
            &[
                ("count", "10 128"),
                ("own", "0.1"),
                ("burn", "0.5"),
                ("pytorch", "1e-1"),
                ("compiled", "fail"),
                ("choice", "channels_last, fused"),
            ],
        );
        let measured = measure(&plan(2), &mut script)?;
        let turns: Vec<&str> = script.asked.iter().rev().take(6).rev().map(String::as_str).collect();
        assert_eq!(
            turns,
            ["own mlp 3", "burn mlp 1", "pytorch mlp 3", "pytorch mlp 3", "burn mlp 1", "own mlp 3"]
        );
        let seconds = [(Contestant::Own, 0.1), (Contestant::Burn, 0.5), (Contestant::PyTorch, 0.1)];
        let row = Row {
            network: "mlp".to_owned(),
            batch: 128,
            threads: 2,
            seconds: seconds.into_iter().map(|(who, seconds)| (who, vec![seconds; 2])).collect(),
        };
        assert_eq!(measured.rows, [row]);
        assert_eq!(
            measured.notes,
            [
                "`mlp`, threads: 2: compiled was left out: no C++ compiler",
                "`mlp`, threads: 2: PyTorch with channels_last, fused"
            ]
        );
        Ok(())
    }

    #[test]
    fn without_python_the_two_are_compared() -> Result<()> {
        let mut script = Script::new(false, &[("count", "10 128"), ("own", "0.1"), ("burn", "0.2")]);
        let measured = measure(&plan(1), &mut script)?;
        assert_eq!(measured.rows[0].seconds.keys().copied().collect::<Vec<_>>(), Contestant::ALL[..2]);
        assert_eq!(measured.notes, [""; 0]);
        Ok(())
    }

    #[test]
    fn another_network_is_refused() {
        let mut script = Script::new(true, &[("rust count", "10 128"), ("python count", "11 128")]);
        let error = measure(&plan(1), &mut script).map_err(|error| error.to_string());
        assert_eq!(
            error,
            Err("`mlp` has 10 parameters at batch 128 in benches/src/networks.rs, and 11 at 128 in \
                 tools/bench/pytorch.py: make them the same network"
                .to_owned())
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for reply in ["nan", "0", "-1", "soon"] {
            let mut script = Script::new(false, &[("count", "10 128"), ("own", reply)]);
            let error = measure(&plan(1), &mut script).map_err(|error| error.to_string());
            assert_eq!(error, Err(format!("expected seconds of a step, found `{reply}`")));
        }
    }
}
