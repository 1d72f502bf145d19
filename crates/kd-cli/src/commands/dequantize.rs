//! `kd dequantize`: a quantized checkpoint as floats again.

use kd_train::checkpoint_quant::dequantize;

use super::Context;
use crate::args::Dequantize;
use crate::failure::Failure;

pub(super) fn run(args: &Dequantize, context: &Context) -> Result<(), Failure> {
    let done = dequantize(&args.folder, &args.out)?;
    context.terminal.say(format_args!(
        "decoded {} weights, kept {} other tensors, and wrote `{}`",
        done.weights,
        done.kept,
        args.out.display()
    ));
    Ok(())
}
