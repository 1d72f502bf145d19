//! Tasks of the workspace, as `cargo xtask TASK`.
//!
//! A task is a file. They are ordinary programs over `cargo`, `git` and text, so that what continuous integration
//! does can be done, and read, by anyone with Rust.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a task talks to the person who runs it")]

use std::process::ExitCode;

use clap::Parser;

mod bench;
mod ci;
mod docs;
mod formats;
mod golden;
mod movement;
mod recipes;
mod results;
mod runs;
mod sparsity;
mod statistics;
mod sweep;
mod tidy;
mod workspace;

/// Tasks of the kd workspace
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Check everything that must hold before a change goes in
    Ci(ci::Args),
    /// Check the invariants of ARCHITECTURE.md that a program can check
    Tidy,
    /// Run the benchmarks and compare them with the saved baseline
    Bench(bench::Args),
    /// Write the golden vectors of the tests anew, in Python
    Golden(golden::Args),
    /// Write the README's results table from a finished run
    Results(results::Args),
    /// Write the reference pages from the program's own tables
    Docs(docs::Args),
    /// Train one student with each of many losses, and say which of them help
    Sweep(sweep::Args),
    /// Round one student to each of many number formats, and say what each costs
    Formats(formats::Args),
    /// Take weights and channels from one student, and say what that costs and saves
    Sparsity(sparsity::Args),
    /// Take nine weights of ten out of a transformer in several ways, and say what each costs
    Movement(movement::Args),
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Ci(args) => ci::run(&args),
        Task::Tidy => tidy::run(),
        Task::Bench(args) => bench::run(&args),
        Task::Golden(args) => golden::run(&args),
        Task::Results(args) => results::run(&args),
        Task::Docs(args) => docs::run(&args),
        Task::Sweep(args) => sweep::run(&args),
        Task::Formats(args) => formats::run(&args),
        Task::Sparsity(args) => sparsity::run(&args),
        Task::Movement(args) => movement::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace that anyhow's own `Debug` would add: what failed is a command, and it is named.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
