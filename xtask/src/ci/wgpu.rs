//! Part of the tests on `wgpu`, where a Vulkan driver is found or may be installed: a software one is enough.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use xshell::{Shell, cmd};

use super::{Args, Outcome, on_path};
use crate::workspace;

/// Suites and what of them asks for the default device, which `BURN_DEVICE` moves: losses with their gradients, cuts with
/// the forward passes that prove them, and fake-quantization. All pass on Mesa 22.3's software driver.
const TESTS: &[(&str, &[&str])] =
    &[("kd-core", &[]), ("prune-core", &["channels::"]), ("quant-core", &["fake_quant::"])];

/// Folders that a Vulkan loader looks for drivers in.
const DRIVERS: &[&str] = &["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];

/// Debian's names of Mesa's drivers, the software one among them, and of the loader.
const PACKAGES: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];

pub(crate) fn test(sh: &Shell, args: &Args) -> Result<Outcome> {
    if !has_driver() {
        if !args.install {
            return Ok(Outcome::Skipped(
                "no Vulkan driver; `cargo xtask ci wgpu --install` installs one".to_owned(),
            ));
        }
        if !on_path("apt-get") {
            return Ok(Outcome::Skipped("no Vulkan driver, and no `apt-get` to install one with".to_owned()));
        }
        let install = cmd!(sh, "apt-get update --quiet").run().and_then(|()| {
            cmd!(sh, "apt-get install --quiet --yes --no-install-recommends {PACKAGES...}").run()
        });
        if let Err(error) = install {
            return Ok(Outcome::Skipped(format!("no Vulkan driver, and none could be installed: {error}")));
        }
    }
    // One build for all of them, as other features would build Burn again; then each with its own filter.
    let packages = TESTS.iter().flat_map(|(package, _)| ["-p", package]);
    let features = TESTS.iter().map(|(package, _)| format!("{package}/wgpu")).collect::<Vec<_>>().join(",");
    let built = cmd!(sh, "cargo test {packages...} --features {features} --test suite --no-run")
        .arg("--message-format=json-render-diagnostics")
        .read()?;
    for (package, filters) in TESTS {
        let folder = workspace::root().join("crates").join(package);
        let program = built.lines().find_map(|line| program_of(line, &folder));
        let program = program.with_context(|| format!("cargo built no suite of {package}"))?;
        let _folder = sh.push_dir(&folder);
        cmd!(sh, "{program}").args(*filters).env("BURN_DEVICE", "wgpu").run()?;
    }
    Ok(Outcome::Done)
}

/// The test program that a line of cargo's messages reports, if it is of the package in `folder`.
fn program_of(line: &str, folder: &Path) -> Option<String> {
    let message: Value = serde_json::from_str(line).ok()?;
    let of_package = Path::new(message["manifest_path"].as_str()?).parent() == Some(folder);
    let suite = of_package && message["target"]["name"] == "suite";
    message["executable"].as_str().filter(|_| suite).map(str::to_owned)
}

fn has_driver() -> bool {
    DRIVERS.iter().any(|folder| {
        std::fs::read_dir(folder).is_ok_and(|mut entries| {
            entries
                .any(|entry| entry.is_ok_and(|entry| entry.path().extension().is_some_and(|e| e == "json")))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_found_among_what_cargo_built() {
        let line = |package: &str, name: &str, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/crates/{package}/Cargo.toml","target":{{"name":"{name}"}},"executable":{executable}}}"#
            )
        };
        let folder = Path::new("/w/crates/kd-core");
        let found = |line: String| program_of(&line, folder);
        assert_eq!(found(line("kd-core", "suite", "\"/w/t/suite-1\"")).as_deref(), Some("/w/t/suite-1"));
        assert_eq!(found(line("kd-core", "kd_core", "null")), None);
        assert_eq!(found(line("quant-core", "suite", "\"/w/t/suite-2\"")), None);
        assert_eq!(found(r#"{"reason":"build-finished","success":true}"#.to_owned()), None);
    }

    #[test]
    fn suites_have_what_is_asked_of_them() {
        for (package, filters) in TESTS {
            let suite = workspace::root().join("crates").join(package).join("tests/suite/main.rs");
            let text = std::fs::read_to_string(&suite).unwrap_or_default();
            for filter in *filters {
                let module = filter.trim_end_matches("::");
                assert!(text.contains(&format!("mod {module};")), "{package} has no tests in `{module}`");
            }
            assert!(text.contains("mod "), "{} is no suite", suite.display());
        }
    }
}
