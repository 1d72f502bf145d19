//! The programs that are measured: they stay up, with their networks built, and answer a line with a line.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use xshell::{Shell, cmd};

use super::contestant::Contestant;
use super::rounds::Answers;
use crate::workspace;

const SCRIPT: &str = "tools/bench/pytorch.py";

/// A Python that has PyTorch.
#[derive(Debug)]
pub(crate) struct Opponent {
    python: PathBuf,
}

impl Opponent {
    /// The one that is asked for, which must have PyTorch, or one on the path that has it.
    pub(crate) fn find(asked: Option<&Path>) -> Result<Option<Self>> {
        if let Some(python) = asked {
            ensure!(has_torch(python), "`{}` cannot `import torch`", python.display());
            return Ok(Some(Self { python: python.to_owned() }));
        }
        let found = ["python3", "python"].into_iter().map(PathBuf::from).find(|python| has_torch(python));
        Ok(found.map(|python| Self { python }))
    }
}

fn has_torch(python: &Path) -> bool {
    let imported = Command::new(python)
        .args(["-c", "import torch"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    imported.is_ok_and(|status| status.success())
}

/// Builds our half and returns its path.
pub(crate) fn build(sh: &Shell) -> Result<PathBuf> {
    let messages =
        cmd!(sh, "cargo bench -p kd-benches --bench train --no-run --message-format=json-render-diagnostics")
            .read()?;
    executable(&messages).context("cargo did not say where it put the benchmark `train`")
}

/// The path of the benchmark `train` among cargo's messages, one JSON object a line.
fn executable(messages: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        target: Option<Target>,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok()).find_map(|message| {
        let target = message.target?;
        let ours = target.name == "train" && target.kind.iter().any(|kind| kind == "bench");
        message.executable.filter(|_| ours)
    })
}

/// Everyone's server, for one number of threads.
#[derive(Debug)]
pub(crate) struct Servers {
    rust: Server,
    python: Option<Server>,
}

impl Servers {
    pub(crate) fn start(program: &Path, opponent: Option<&Opponent>, threads: usize) -> Result<Self> {
        let rust = Server::start(Command::new(program).env("BURN_DEVICE", "flex"), threads)?;
        let python = opponent
            .map(|opponent| {
                let script = workspace::root().join(SCRIPT);
                Server::start(Command::new(&opponent.python).arg(script).envs(MEMORY), threads)
            })
            .transpose()?;
        Ok(Self { rust, python })
    }
}

/// Makes the C library keep freed memory and ask for it in large pages, as our half does: without that, steps of either
/// side are slower.
const MEMORY: [(&str, &str); 3] = [
    ("MALLOC_MMAP_MAX_", "0"),
    ("MALLOC_TRIM_THRESHOLD_", "2147483647"),
    ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
];

impl Answers for Servers {
    fn takes_part(&self, contestant: Contestant) -> bool {
        !contestant.is_python() || self.python.is_some()
    }

    fn ask(&mut self, contestant: Contestant, request: &str) -> Result<String> {
        let server = if contestant.is_python() {
            self.python.as_mut().context("there is no Python with PyTorch")?
        } else {
            &mut self.rust
        };
        server.ask(request)
    }
}

#[derive(Debug)]
struct Server {
    child: Child,
    /// `None` only while it is dropped.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Server {
    fn start(command: &mut Command, threads: usize) -> Result<Self> {
        let mut child = command
            .args(["serve", "--threads", &threads.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("a server without output")?);
        Ok(Self { child, input, output })
    }

    fn ask(&mut self, request: &str) -> Result<String> {
        let input = self.input.as_mut().context("the server has ended")?;
        writeln!(input, "{request}").with_context(|| format!("`{request}` was not taken"))?;
        let mut reply = String::new();
        self.output.read_line(&mut reply)?;
        understood(request, &reply)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends where its input ends.
        self.input = None;
        let _ended = self.child.wait();
    }
}

/// The reply, unless it says that something failed.
fn understood(request: &str, reply: &str) -> Result<String> {
    match reply.trim_end() {
        "" => bail!("the server ended at `{request}`"),
        reply => match reply.strip_prefix("error ") {
            Some(reason) => bail!("`{request}`: {reason}"),
            None => Ok(reply.to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_benchmark_is_found_among_other_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"train"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"train"},"executable":"/t/other"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["bench"],"name":"train"},"executable":"/t/train-1"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executable(messages), Some("/t/train-1".into()));
        assert_eq!(executable("{}\nnoise"), None);
    }

    #[test]
    fn a_reply_is_a_line_and_failures_say_why() {
        let check = |reply| understood("own mlp 5", reply).map_err(|error| error.to_string());
        assert_eq!(check("1.5e-3\n"), Ok("1.5e-3".to_owned()));
        assert_eq!(check("error the loss is NaN\n"), Err("`own mlp 5`: the loss is NaN".to_owned()));
        assert_eq!(check(""), Err("the server ended at `own mlp 5`".to_owned()));
    }
}
