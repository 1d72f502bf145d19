//! `kd completions`: what a shell needs to complete our command lines.

use clap::CommandFactory;

use super::Context;
use crate::args::{Cli, Completions};
use crate::failure::Failure;

pub(super) fn run(args: &Completions, context: &Context) -> Result<(), Failure> {
    // Into memory first: the generator panics where a write fails, and a closed pipe is no mistake.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kd", &mut script);
    context.output.raw(&script)
}
