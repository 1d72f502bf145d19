//! Training steps on request: our half of `cargo xtask bench train`, which lets two programs take turns.
//!
//! `serve --threads N` reads one request a line and answers each with one line; what fails is answered with `error …`.
//!
//! ```text
//! networks               all names: `mlp teacher …`
//! count NETWORK          trainable numbers and examples of a batch: `669706 128`
//! own NETWORK STEPS      seconds of a training step on our kernels
//! burn NETWORK STEPS     the same on Burn's
//! ```
//!
//! `tools/bench/pytorch.py` answers in the same way. Under criterion's own arguments nothing is measured.
#![expect(clippy::print_stdout, reason = "a server answers on its output")]

use std::collections::BTreeMap;
use std::io::BufRead;
use std::process::ExitCode;
use std::time::Instant;

use burn::tensor::Device;
use kd_benches::device;
use kd_benches::networks::{NETWORKS, Training};
use kd_nn::Kernels;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ["serve", "--threads", threads] = words[..] else {
        println!("training steps are measured by `cargo xtask bench train`");
        return ExitCode::SUCCESS;
    };
    match serve(threads) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("error {reason}");
            ExitCode::FAILURE
        }
    }
}

fn serve(threads: &str) -> Result<(), String> {
    let threads = threads.parse().map_err(|_| format!("expected a number of threads, found `{threads}`"))?;
    // As the command line does, and as the opponent is started too.
    kd_kernels::memory::keep_in_large_pages();
    // Before anything else: the pool is made once, with this thread in it, as the command line does.
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .use_current_thread()
        .build_global()
        .map_err(|error| error.to_string())?;
    let mut server = Server { device: device(), jobs: BTreeMap::new() };
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        match server.answer(&line) {
            Ok(reply) => println!("{reply}"),
            Err(reason) => println!("error {reason}"),
        }
    }
    Ok(())
}

struct Server {
    device: Device,
    /// By kernels and network: both have weights and moments of their own.
    jobs: BTreeMap<(&'static str, String), Training>,
}

impl Server {
    fn answer(&mut self, line: &str) -> Result<String, String> {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["networks"] => Ok(NETWORKS.join(" ")),
            ["count", network] => {
                let training = self.training(network)?;
                Ok(format!("{} {}", training.parameters(), training.batch()))
            }
            ["own", network, steps] => self.run(("own", Kernels::Own), network, steps),
            ["burn", network, steps] => self.run(("burn", Kernels::Burn), network, steps),
            _ => Err(format!("not understood: {line}")),
        }
    }

    fn training(&self, network: &str) -> Result<Training, String> {
        Training::new(network, &self.device).ok_or_else(|| format!("no network is named `{network}`"))
    }

    /// Seconds of a step, after one that does not count.
    fn run(
        &mut self,
        (name, kernels): (&'static str, Kernels),
        network: &str,
        steps: &str,
    ) -> Result<String, String> {
        let steps: u32 = steps.parse().map_err(|_| format!("expected a number of steps, found `{steps}`"))?;
        let _guard = kernels.scope();
        let key = (name, network.to_owned());
        if !self.jobs.contains_key(&key) {
            self.jobs.insert(key.clone(), self.training(network)?);
        }
        let training = self.jobs.get_mut(&key).ok_or("it was just put there")?;
        let mut step = || training.step().map_err(|error| error.to_string());
        let mut loss = step()?;
        let start = Instant::now();
        for _ in 0..steps {
            loss = step()?;
        }
        let seconds = start.elapsed().as_secs_f64() / f64::from(steps.max(1));
        // The device is eager: the steps are done, and this reads what is there.
        let loss = loss.into_scalar::<f32>();
        if !loss.is_finite() {
            return Err(format!("the loss is {loss}"));
        }
        Ok(format!("{seconds:.9e}"))
    }
}
