//! Part of the tests on `wgpu`, where a Vulkan driver is found or may be installed: a software one is enough.

use anyhow::Result;
use xshell::{Shell, cmd};

use super::{Args, Outcome, on_path};

/// Test programs that ask for the default device, which `BURN_DEVICE` moves: losses with their gradients, cuts with
/// the forward passes that prove them, and fake-quantization. All pass on Mesa 22.3's software driver.
const TESTS: &[(&str, &[&str])] =
    &[("kd-core", &["suite"]), ("prune-core", &["channels"]), ("quant-core", &["fake_quant"])];

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
    let (mut packages, mut features, mut tests) = (Vec::new(), Vec::new(), Vec::new());
    for (package, names) in TESTS {
        packages.extend(["-p", package]);
        features.push(format!("{package}/wgpu"));
        tests.extend(names.iter().flat_map(|name| ["--test", name]));
    }
    let features = features.join(",");
    cmd!(sh, "cargo test {packages...} --features {features} {tests...}").env("BURN_DEVICE", "wgpu").run()?;
    Ok(Outcome::Done)
}

fn has_driver() -> bool {
    DRIVERS.iter().any(|folder| {
        std::fs::read_dir(folder).is_ok_and(|mut entries| {
            entries
                .any(|entry| entry.is_ok_and(|entry| entry.path().extension().is_some_and(|e| e == "json")))
        })
    })
}
