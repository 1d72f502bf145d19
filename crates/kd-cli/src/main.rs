//! The `kd` command with everything that this workspace ships.

use std::process::ExitCode;

use kd_train::Registry;

/// A training step allocates and frees a buffer for every operation. The system's allocator returns large ones to the
/// kernel and pays for their pages anew each time; this one keeps them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    kd_cli::main_with(Registry::builtin())
}
