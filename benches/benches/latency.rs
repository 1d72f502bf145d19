//! How long engines take for ONNX files, in turns: the measuring half of `cargo xtask bench pruned`.
//!
//! ```text
//! networks FOLDER                              writes the files that are compared, and prints a line for each:
//!                                              its name, widths, multiply-accumulates, trainable numbers and the
//!                                              file
//! measure ENGINE BATCH SHAPE ROUNDS FILE …     prints a line for each file: its seconds in each round
//! ```
//!
//! `ENGINE` is `tract` or the path of ONNX Runtime's library, `SHAPE` that of an example, as `3,32,32`; one thread. In
//! each round every file has a turn of about 50 ms, every second round in the opposite order, and the median of its
//! runs is the round's. Fields stand between tabs. Under criterion's own arguments nothing is measured.
#![expect(clippy::print_stdout, reason = "a program answers on its output")]

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kd_benches::networks::build;
use kd_benches::{device, pruned, values};
use kd_deploy::{Engine, OnnxRuntime, Session, Tract};
use kd_train::network::Network;
use prune_core::{Channels, Limits, Share};

/// How long a turn lasts, or one run where that takes longer.
const TURN: Duration = Duration::from_millis(50);

/// The network that is pruned.
const NETWORK: &str = "resnet-20";

/// Share of the multiply-accumulates that goes.
const LESS: f64 = 0.5;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["networks", folder] => networks(Path::new(folder)),
        ["measure", engine, batch, shape, rounds, ref files @ ..] if !files.is_empty() => {
            measure(engine, batch, shape, rounds, files)
        }
        _ => {
            println!("latency of pruned networks is measured by `cargo xtask bench pruned`");
            return ExitCode::SUCCESS;
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn networks(folder: &Path) -> Result<(), String> {
    let whole = build(NETWORK, &device()).ok_or("there is no such network")?;
    let half = Channels::Macs(Share::new(LESS).map_err(|error| error.to_string())?);
    let cut = |round_to: usize| {
        let limits = Limits { round_to, ..Limits::default() };
        pruned::channels(whole.as_ref(), half, limits).map_err(|error| error.to_string())
    };
    let networks = [
        ("whole", whole.inference()),
        ("pruned", cut(1)?),
        ("pruned to multiples of 8", cut(8)?),
        ("pruned to multiples of 16", cut(16)?),
    ];
    for (name, network) in &networks {
        let macs = pruned::macs(network.as_ref()).map_err(|error| error.to_string())?;
        let entries = network.entries();
        let own = entries.iter().filter(|entry| !entry.is_buffer());
        let params: usize = own.map(|entry| entry.shape.iter().product::<usize>()).sum();
        let file = folder.join(format!("{}.onnx", name.replace(' ', "-")));
        let model = pruned::onnx(network.as_ref()).map_err(|error| error.to_string())?;
        std::fs::write(&file, model)
            .map_err(|error| format!("cannot write `{}`: {error}", file.display()))?;
        println!("{name}\t{}\t{macs}\t{params}\t{}", widths(network.as_ref()), file.display());
    }
    Ok(())
}

/// Outputs of the convolutions, each number once where it comes several times in a row.
fn widths(network: &dyn Network) -> String {
    let entries = network.entries();
    let mut widths: Vec<usize> =
        entries.iter().filter(|entry| entry.shape.len() == 4).map(|entry| entry.shape[0]).collect();
    widths.dedup();
    widths.iter().map(usize::to_string).collect::<Vec<_>>().join("-")
}

fn measure(engine: &str, batch: &str, shape: &str, rounds: &str, files: &[&str]) -> Result<(), String> {
    let number = |text: &str| text.parse::<usize>().map_err(|_| format!("expected a number, found `{text}`"));
    let (batch, rounds) = (number(batch)?, number(rounds)?);
    let mut shape = shape.split(',').map(number).collect::<Result<Vec<usize>, String>>()?;
    shape.insert(0, batch);
    let engine: Box<dyn Engine> = match engine {
        "tract" => Box::new(Tract),
        library => {
            Box::new(OnnxRuntime::open(Path::new(library)).map_err(|error| format!("`{library}`: {error}"))?)
        }
    };
    let loaded = files.iter().map(|file| engine.load(Path::new(file), 1));
    let mut sessions: Vec<Box<dyn Session>> =
        loaded.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let input = values(shape.iter().product());
    let mut seconds = vec![Vec::new(); sessions.len()];
    // The first round warms up, and does not count.
    for round in 0..=rounds {
        let mut order: Vec<usize> = (0..sessions.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let found = turn(sessions[at].as_mut(), &input, &shape).map_err(|error| error.to_string())?;
            if round > 0 {
                seconds[at].push(found.to_string());
            }
        }
    }
    for seconds in seconds {
        println!("{}", seconds.join(" "));
    }
    Ok(())
}

/// The median of a turn's runs, in seconds.
fn turn(session: &mut dyn Session, input: &[f32], shape: &[usize]) -> Result<f64, kd_deploy::Error> {
    let (begin, mut times) = (Instant::now(), Vec::new());
    while times.is_empty() || begin.elapsed() < TURN {
        let start = Instant::now();
        session.run(input, shape)?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
