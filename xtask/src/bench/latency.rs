//! How long an engine takes for ONNX files: the benchmark `latency`, built, asked and read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use super::quiet::{self, Ticks};
use crate::ci::onnxruntime;

/// How long the machine is watched before and after.
const PAUSE: Duration = Duration::from_secs(1);

/// The program that measures.
#[derive(Debug)]
pub(crate) struct Latency<'a> {
    sh: &'a Shell,
    profile: &'a str,
    /// `tract`, or the library of ONNX Runtime.
    engine: PathBuf,
}

impl<'a> Latency<'a> {
    /// Builds it. The engine is ONNX Runtime if `ORT_DYLIB_PATH` names it or `cargo xtask ci onnxruntime` has brought it,
    /// else tract.
    ///
    pub(crate) fn build(sh: &'a Shell, profile: &'a str) -> Result<Self> {
        let library = onnxruntime::variable().map(|(_, library)| library);
        let engine = library.filter(|library| library.is_file()).unwrap_or_else(|| "tract".into());
        let this = Self { sh, profile, engine };
        let bench = this.words();
        cmd!(sh, "cargo {bench...} --no-run").run()?;
        Ok(this)
    }

    fn words(&self) -> Vec<&str> {
        // Under the profile of the tests another selection of packages than theirs would build Burn once more.
        let packages: &[&str] = if self.profile == "dev" { &["--workspace"] } else { &["-p", "kd-benches"] };
        [&["bench"], packages, &["--profile", self.profile, "--bench", "latency"]].concat()
    }

    /// The engine's name.
    pub(crate) fn engine(&self) -> &'static str {
        if self.engine == Path::new("tract") { "tract" } else { "ONNX Runtime" }
    }

    /// The lines that it answers with.
    pub(crate) fn ask(&self, words: &[String]) -> Result<String> {
        let (sh, bench) = (self.sh, self.words());
        Ok(cmd!(sh, "cargo {bench...} -- {words...}").read()?)
    }

    /// Times of each file for a batch of examples of `shape`, on one thread.
    pub(crate) fn measure(
        &self,
        batch: usize,
        shape: &[usize],
        rounds: u32,
        files: &[PathBuf],
    ) -> Result<Times> {
        let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
        let mut words = vec![
            "measure".to_owned(),
            self.engine.to_string_lossy().into_owned(),
            batch.to_string(),
            shape.join(","),
            rounds.to_string(),
        ];
        words.extend(files.iter().map(|file| file.to_string_lossy().into_owned()));
        let mut paused = Ticks::paused(PAUSE);
        let seconds = seconds(&self.ask(&words)?)?;
        paused += Ticks::paused(PAUSE);
        let (expected, found) = (files.len(), seconds.len());
        ensure!(found == expected, "expected {expected} measurements, found {found}");
        Ok(Times { seconds, paused })
    }
}

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// Of each file, a number for each round.
    pub(crate) seconds: Vec<Vec<f64>>,
    /// What else the processors did.
    pub(crate) paused: Ticks,
}

impl Times {
    /// How busy the machine was with something else, in a line.
    pub(crate) fn about_others(&self) -> String {
        match self.paused.share() {
            Some(share) if share > quiet::MOST => format!(
                "**Other programs kept {:.0} % of the processors busy, which hits both sides of a ratio, but not \
                 equally.**\n",
                share * 100.0
            ),
            Some(share) => {
                format!("Before and after, the processors were {:.0} % busy.\n", share * 100.0)
            }
            None => String::new(),
        }
    }
}

fn seconds(lines: &str) -> Result<Vec<Vec<f64>>> {
    let numbers = |line: &str| line.split(' ').map(str::parse).collect::<Result<Vec<f64>, _>>();
    lines.lines().map(|line| numbers(line).with_context(|| format!("not a measurement: `{line}`"))).collect()
}

/// How many times as fast as `first` in each round.
pub(crate) fn ratios(first: &[f64], other: &[f64]) -> Vec<f64> {
    first.iter().zip(other).map(|(first, other)| first / other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_number_for_each_round() -> Result<()> {
        let found = seconds("0.5 0.25\n0.25 0.25")?;
        assert_eq!(found, [[0.5, 0.25], [0.25, 0.25]]);
        assert_eq!(ratios(&found[0], &found[1]), [2.0, 1.0]);
        let error = seconds("error: no such file").map_err(|error| error.to_string());
        assert_eq!(error, Err("not a measurement: `error: no such file`".to_owned()));
        Ok(())
    }
}
