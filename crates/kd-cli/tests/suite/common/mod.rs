//! What tests of the binary share: a command in a clean environment, and recipes that take a second.

use std::path::Path;
use std::process::{Command, Output};

/// Teacher and student are perceptrons on the embedded digits; the first run of anything takes a second.
pub(crate) const TINY: &str = r#"schema = 1
name = "tiny"
seed = 1

[data.digits]
batch = 128

[teacher]
model.mlp = { hidden = [16] }

[student]
model.mlp = { hidden = [8] }

[[objective]]
weight = 0.5
cross-entropy = {}

[[objective]]
weight = 0.5
kl = { temperature = 2.0 }

[[stage]]
name = "teacher"
[stage.train]
of = "teacher"
epochs = 1

[[stage]]
name = "distill"
[stage.distill]
epochs = 1
"#;

/// `kd` in `folder`, with nothing of this machine's environment that it reads.
pub(crate) fn kd(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kd"));
    command.current_dir(folder).args(args);
    for name in ["KD_DATA", "NO_COLOR", "RUST_BACKTRACE", "RUST_LOG"] {
        command.env_remove(name);
    }
    // Set but empty: no search for ONNX Runtime, so that machines with and without it behave alike.
    command.env("ORT_DYLIB_PATH", "").env("XDG_CACHE_HOME", folder.join("cache"));
    command
}

/// Runs `kd` to its end.
pub(crate) fn run(folder: &Path, args: &[&str]) -> Output {
    kd(folder, args).output().expect("the binary was built for this test")
}

/// Runs `kd` and expects success.
pub(crate) fn done(folder: &Path, args: &[&str]) -> String {
    let output = run(folder, args);
    assert!(output.status.success(), "kd {args:?}: {}\n{}", output.status, text(&output.stderr));
    text(&output.stdout)
}

/// Bytes of a stream as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
