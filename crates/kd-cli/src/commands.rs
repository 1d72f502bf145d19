//! One file a command. Each turns its arguments into a call of the crates below, and what comes back into text or
//! JSON.

mod cast;
mod check;
mod completions;
mod data;
mod dequantize;
mod eval;
mod explain;
mod export;
mod graph;
mod init;
mod list;
mod loss;
mod pack;
mod prune;
mod quantize;
mod report;
mod schedule;
mod train;

use std::path::Path;

use kd_train::Registry;
use kd_train::recipe::Source;

use crate::args::Command;
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::terminal::Terminal;

/// What every command has at hand.
pub(crate) struct Context {
    pub(crate) registry: Registry,
    pub(crate) environment: Environment,
    pub(crate) terminal: Terminal,
    pub(crate) output: Output,
}

/// Runs a command.
pub(crate) fn run(command: Command, context: &Context) -> Result<Exit, Failure> {
    let done = match command {
        Command::Train(args) => return train::run(args, context),
        Command::Check(args) => check::run(&args, context),
        Command::Graph(args) => graph::run(&args, context),
        Command::Eval(args) => eval::run(&args, context),
        Command::Export(args) => export::run(&args, context),
        Command::Report(args) => report::run(&args, context),
        Command::Init(args) => init::run(&args, context),
        Command::List(args) => list::run(&args, context),
        Command::Explain(args) => explain::run(&args, context),
        Command::Completions(args) => completions::run(&args, context),
        Command::Data(args) => data::run(args.command, context),
        Command::Loss(args) => loss::run(args.command, context),
        Command::Schedule(args) => schedule::run(args.command, context),
        Command::Prune(args) => prune::run(args.command, context),
        Command::Cast(args) => cast::run(&args, context),
        Command::Quantize(args) => quantize::run(&args, context),
        Command::Dequantize(args) => dequantize::run(&args, context),
        Command::Pack(args) => pack::run(&args, context),
        Command::Unpack(args) => pack::undo(&args, context),
    };
    done.map(|()| Exit::Done)
}

/// Reads a recipe's text. Relative paths in it start where the command runs, as those on the command line do.
fn source(path: &Path, context: &Context) -> Result<Source, Failure> {
    let text =
        std::fs::read_to_string(path).map_err(|source| Failure::Recipe { path: path.into(), source })?;
    Ok(Source { name: path.display().to_string(), text, folder: context.environment.folder.clone() })
}

/// A value as JSON.
fn json(value: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(value).expect("plain values become JSON")
}
