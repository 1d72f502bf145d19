//! What the crates below tell while they work, on standard error for those who ask with `-v`.

use std::io;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::terminal::Terminal;

/// Crates whose words are of interest; those of Burn and of engines are not.
const OURS: [&str; 8] =
    ["kd_cli", "kd_core", "kd_datasets", "kd_deploy", "kd_graph", "kd_train", "prune_core", "quant_core"];

/// Shows warnings, with `-v` also information, with `-vv` everything.
pub(crate) fn start(terminal: &Terminal, quiet: bool, verbose: u8) {
    let level = match (quiet, verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, _) => LevelFilter::TRACE,
    };
    let lines = terminal.clone();
    let layer = tracing_subscriber::fmt::layer()
        .without_time()
        .with_target(verbose > 1)
        .with_writer(move || Lines(lines.clone()));
    let targets = Targets::new().with_targets(OURS.map(|target| (target, level)));
    // A program of one's own may have installed a subscriber before it called us. Then that one is in charge.
    let _ = tracing_subscriber::registry().with(targets).with(layer).try_init();
}

/// Standard error beside bars. The layer writes each event in one piece.
struct Lines(Terminal);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.always(String::from_utf8_lossy(bytes).trim_end());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
