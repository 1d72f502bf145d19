//! Everything that must hold before a change goes in, cheapest first.
//!
//! Each step is announced with the command that runs it alone, and timed. Steps that need something this machine
//! may lack (Python, a Vulkan driver, a tool) are skipped visibly: the table at the end says which and why.
//! Burn is built as few times as possible: once by clippy's type check, once by the tests, whose build every later
//! step runs, and once for each accelerator.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use xshell::{Shell, cmd};

use crate::workspace;

mod neon;
pub(crate) mod onnxruntime;
mod smoke;
mod wgpu;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run these steps alone, by name
    steps: Vec<String>,
    /// Install a software Vulkan driver through apt where there is none
    #[arg(long)]
    install: bool,
    /// List the steps
    #[arg(long)]
    list: bool,
}

struct Step {
    name: &'static str,
    action: Action,
}

enum Action {
    /// A command line, with variables before it.
    Command(&'static [(&'static str, &'static str)], &'static str),
    /// A cargo subcommand that is a tool of its own, with its arguments; skipped where it is not installed.
    Tool(&'static str, &'static str),
    /// More than a command.
    Task(fn(&Shell, &Args) -> Result<Outcome>),
}

enum Outcome {
    Done,
    Skipped(String),
}

const STEPS: &[Step] = &[
    Step { name: "fmt", action: Action::Command(&[], "cargo fmt --all --check") },
    Step { name: "tidy", action: Action::Command(&[], "cargo xtask tidy") },
    Step { name: "typos", action: Action::Tool("typos", "typos") },
    Step { name: "deny", action: Action::Tool("cargo-deny", "cargo deny check bans licenses sources") },
    Step { name: "onnxruntime", action: Action::Task(onnxruntime::install) },
    Step {
        name: "clippy",
        action: Action::Command(&[], "cargo clippy --workspace --all-targets -- -D warnings"),
    },
    Step { name: "test", action: Action::Command(&[], "cargo test --workspace") },
    Step { name: "smoke", action: Action::Task(smoke::train) },
    Step { name: "engines", action: Action::Task(smoke::engines) },
    Step { name: "docs", action: Action::Command(&[], "cargo xtask docs --check") },
    Step {
        name: "doc",
        action: Action::Command(&[("RUSTDOCFLAGS", "-D warnings")], "cargo doc --no-deps --workspace"),
    },
    Step { name: "neon", action: Action::Task(neon::check) },
    // The variable keeps build scripts from fetching LLVM, which a type check does not need.
    Step {
        name: "cuda",
        action: Action::Command(
            &[("DOCS_RS", "1")],
            "cargo check -p kd-cli --no-default-features --features flex,cuda",
        ),
    },
    Step { name: "wgpu", action: Action::Task(wgpu::test) },
];

pub(crate) fn run(args: &Args) -> Result<()> {
    let unknown = args.steps.iter().find(|name| STEPS.iter().all(|step| step.name != name.as_str()));
    if let Some(name) = unknown {
        bail!("no step is named `{name}`; `cargo xtask ci --list` shows them");
    }
    if args.list {
        STEPS.iter().for_each(|step| println!("{:<12} {}", step.name, step.rerun()));
        return Ok(());
    }

    let sh = workspace::shell()?;
    let mut rows = Vec::new();
    let mut failed = None;
    for step in
        STEPS.iter().filter(|step| args.steps.is_empty() || args.steps.iter().any(|name| name == step.name))
    {
        println!("\n── {} ── alone: {}", step.name, step.rerun());
        let start = Instant::now();
        let outcome = step.run(&sh, args);
        let (state, stop) = match &outcome {
            Ok(Outcome::Done) => ("done".to_owned(), false),
            Ok(Outcome::Skipped(reason)) => (format!("skipped: {reason}"), false),
            Err(error) => (format!("FAILED: {error:#}"), true),
        };
        println!("── {} ── {state}", step.name);
        rows.push((step.name, start.elapsed(), state));
        if stop {
            failed = Some(step);
            break;
        }
    }
    print_table(&rows);
    match failed {
        None => Ok(()),
        Some(step) => Err(anyhow!("step `{}` failed; alone: {}", step.name, step.rerun())),
    }
}

impl Step {
    /// The command that runs this step alone.
    fn rerun(&self) -> String {
        match self.action {
            Action::Command(variables, line) => {
                let variables: String =
                    variables.iter().map(|(name, value)| format!("{name}=\"{value}\" ")).collect();
                format!("{variables}{line}")
            }
            Action::Tool(_, line) => line.to_owned(),
            Action::Task(_) => format!("cargo xtask ci {}", self.name),
        }
    }

    fn run(&self, sh: &Shell, args: &Args) -> Result<Outcome> {
        let _variables: Vec<_> =
            onnxruntime::variable().map(|(name, path)| sh.push_env(name, path)).into_iter().collect();
        match self.action {
            Action::Command(variables, line) => run_line(sh, variables, line),
            Action::Tool(program, line) => {
                if !on_path(program) {
                    return Ok(Outcome::Skipped(format!("`{program}` is not installed")));
                }
                run_line(sh, &[], line)
            }
            Action::Task(task) => task(sh, args),
        }
    }
}

fn run_line(sh: &Shell, variables: &[(&str, &str)], line: &str) -> Result<Outcome> {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap_or_default();
    cmd!(sh, "{program} {words...}").envs(variables.iter().copied()).quiet().run()?;
    Ok(Outcome::Done)
}

/// Whether a program of this name can be run.
fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A folder for what the steps write, under `target/`.
fn scratch(name: &str) -> PathBuf {
    workspace::root().join("target/ci").join(name)
}

fn print_table(rows: &[(&str, Duration, String)]) {
    println!("\n{:<12} {:>8}", "step", "time");
    for (name, time, state) in rows {
        println!("{name:<12} {:>7}  {state}", minutes(*time));
    }
    let total = rows.iter().map(|(_, time, _)| *time).sum();
    println!(
        "{:<12} {:>7}  target/ holds {:.1} GB",
        "all",
        minutes(total),
        gigabytes(&workspace::root().join("target"))
    );
}

/// What a folder takes of the disk; what cannot be read counts as nothing.
fn gigabytes(folder: &Path) -> f64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => gigabytes(&entry.path()),
        Ok(about) => about.len() as f64 / 1e9,
        Err(_) => 0.0,
    };
    entries.map(size).sum()
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}
