//! The `kd` command with everything that this workspace ships.

use std::process::ExitCode;

use kd_train::Registry;

fn main() -> ExitCode {
    kd_cli::main_with(Registry::builtin())
}
