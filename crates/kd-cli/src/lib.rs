//! The `kd` command, as a library: words, colors and exit codes around `kd_train`.
//!
//! A program of one's own gets the whole command line for models, losses and data sets that it registers:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use kd_train::Registry;
//!
//! fn main() -> ExitCode {
//!     // .model::<Acme>("acme.net") and the like go here.
//!     kd_cli::main_with(Registry::builtin())
//! }
//! ```
//!
//! This crate is the only one that reads the environment, and the only one that prints. Data goes to standard output,
//! everything else to standard error; [`Exit`] says what the exit codes mean.

mod args;
mod exit;

mod commands;

mod environment;
mod interrupt;
mod logging;
mod output;
mod panic;
mod progress;
mod terminal;

mod failure;
mod problem;
mod table;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use kd_train::Registry;

use crate::args::Cli;
use crate::commands::Context;
use crate::environment::Environment;
use crate::output::Output;
use crate::terminal::Terminal;

pub use crate::exit::Exit;

/// Runs the command line of this process, with the names of `registry`.
pub fn main_with(registry: Registry) -> ExitCode {
    kd_kernels::memory::keep_in_large_pages();
    run(registry, std::env::args_os().collect()).into()
}

fn run(registry: Registry, args: Vec<OsString>) -> Exit {
    let command = Cli::command().color(args::color(&args));
    let cli = match command.try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` come this way too, and go to standard output. Nobody may be reading.
            let _ = error.print();
            return if error.use_stderr() { Exit::Request } else { Exit::Done };
        }
    };
    let environment = Environment::read();
    let terminal = Terminal::new(&cli.global, &environment);
    panic::guard(&terminal, || {
        logging::start(&terminal, cli.global.quiet, cli.global.verbose);
        let output = Output::new(cli.global.format);
        let context = Context { registry, environment, terminal: terminal.clone(), output };
        commands::run(cli.command, &context).unwrap_or_else(|failure| {
            failure.report(&terminal);
            failure.exit()
        })
    })
}
