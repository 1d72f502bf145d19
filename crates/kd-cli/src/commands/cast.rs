//! `kd cast`: saved tensors in a number format, so that anyone can compare it with their own tool.

use kd_train::cast::{Target, cast};
use kd_train::tensors;

use super::Context;
use crate::args::{Cast, Format};
use crate::failure::Failure;

pub(super) fn run(args: &Cast, context: &Context) -> Result<(), Failure> {
    let format = match &args.format {
        Format::Number(name) => name.as_str(),
        Format::Text => "text",
        Format::Json => "json",
    };
    let target = Target::new(format, args.numerics.as_deref())?;
    let inputs = tensors::read(&args.input)?;
    let results = cast(&inputs, target)?;
    tensors::write(&args.output, &results)?;
    let (format, numerics) = (target.format(), target.numerics());
    context.terminal.say(format_args!(
        "cast {} tensors to `{format}` as `{numerics}` does, and wrote {} to `{}`",
        inputs.len(),
        results.len(),
        args.output.display()
    ));
    Ok(())
}
