//! `kd train`: runs a recipe, or goes on with a run.

use std::path::PathBuf;

use kd_train::session::{self, Options};

use super::{Context, source};
use crate::args::Train;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::progress::Progress;

pub(super) fn run(args: Train, context: &Context) -> Result<Exit, Failure> {
    let terminal = &context.terminal;
    let mut progress = Progress::new(terminal.clone(), Interrupt::listen(terminal));
    let outcome = match (&args.resume, &args.recipe) {
        (Some(dir), _) => {
            let env = context.environment.with_engines();
            session::resume(dir, &env, &context.registry, &mut progress)?
        }
        (None, Some(recipe)) => {
            let recipe = source(recipe, context)?;
            let options = Options {
                run_dir: args.run_dir,
                device: args.device,
                threads: args.threads,
                seeds: args.seeds,
                // The current directory, so that messages name runs as a user would.
                base: PathBuf::new(),
            };
            let env = context.environment.with_engines();
            session::start(&recipe, &args.overrides.set, &options, &env, &context.registry, &mut progress)?
        }
        (None, None) => unreachable!("clap wants a recipe or `--resume`"),
    };
    progress.clear();
    context.output.data(|| outcome.report.clone(), || outcome.json.clone())?;
    terminal.say(format_args!("results are in `{}`", outcome.dir.display()));
    match outcome.gates_missed {
        0 => Ok(Exit::Done),
        1 => {
            terminal.error(None, "a gate of the recipe was missed");
            Ok(Exit::GateMissed)
        }
        missed => {
            terminal.error(None, format_args!("{missed} gates of the recipe were missed"));
            Ok(Exit::GateMissed)
        }
    }
}
