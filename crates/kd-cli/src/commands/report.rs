//! `kd report`: several runs side by side.

use kd_train::session;

use super::Context;
use crate::args::Report;
use crate::failure::Failure;

pub(super) fn run(args: &Report, context: &Context) -> Result<(), Failure> {
    let (text, json) = session::report(&args.runs)?;
    context.output.data(|| text, || json)
}
