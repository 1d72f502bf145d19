//! Which crate may look at which: the table is the picture in ARCHITECTURE.md.

use crate::tidy::Problem;
use crate::workspace::{self, Package};

/// For each crate, the crates of this workspace that it may use (tests aside).
const LAYERS: &[(&str, &[&str])] = &[
    ("kd-core", &[]),
    ("quant-core", &[]),
    ("kd-graph", &[]),
    ("kd-kernels", &[]),
    ("kd-derive", &[]),
    ("kd-datasets", &[]),
    ("kd-nn", &["kd-kernels", "kd-derive"]),
    ("prune-core", &["kd-graph", "kd-nn"]),
    ("kd-deploy", &["kd-graph", "quant-core", "kd-kernels"]),
    ("kd-train", &["kd-core", "quant-core", "kd-graph", "prune-core", "kd-deploy", "kd-datasets", "kd-nn"]),
    ("kd-cli", &["kd-train", "kd-deploy", "kd-datasets", "kd-kernels"]),
];

/// Crates that may use anything, and that nothing may use.
const TOPS: &[&str] = &["kd-benches", "xtask"];

/// Dependencies with one owner, and whether others may have them in tests.
const OWNED: &[(&str, &str, bool)] = &[
    ("clap", "kd-cli", false),
    ("clap_complete", "kd-cli", false),
    ("miette", "kd-cli", false),
    ("indicatif", "kd-cli", false),
    ("toml", "kd-train", true),
];

pub(crate) fn check(packages: &[Package]) -> Vec<Problem> {
    let ours: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    packages.iter().flat_map(|package| check_one(package, &ours)).collect()
}

fn check_one(package: &Package, ours: &[&str]) -> Vec<Problem> {
    let name = package.name.as_str();
    let root = workspace::root();
    let manifest = package.manifest_path.strip_prefix(root).unwrap_or(&package.manifest_path);
    let problem = |message: String| Problem::new(manifest, None, message);
    let mut problems = Vec::new();

    let used = package.dependencies.iter().filter(|d| !d.is_dev() && ours.contains(&d.name.as_str()));
    if let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) {
        for dependency in used.filter(|dependency| !allowed.contains(&dependency.name.as_str())) {
            let allowed = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
            problems.push(problem(format!(
                "uses `{}`; of this workspace it may use: {allowed}",
                dependency.name
            )));
        }
    } else if !is_top(package) {
        problems.push(problem("has no place in the table of layers of `cargo xtask tidy`".to_owned()));
    }

    for dependency in &package.dependencies {
        let found = dependency.name.as_str();
        // xtask is a command line of its own, for those who work here.
        let owner =
            OWNED.iter().find(|(owned, owner, _)| *owned == found && *owner != name && name != "xtask");
        if let Some((_, owner, in_tests)) = owner
            && !(*in_tests && dependency.is_dev())
        {
            problems.push(problem(format!("uses `{found}`, which only `{owner}` may")));
        }
        if (found == "burn" || found.starts_with("burn-")) && !dependency.req.starts_with('=') {
            problems.push(problem(format!(
                "asks for `{found}` {}; Burn is pinned exactly, with `=`",
                dependency.req
            )));
        }
        if found == "burn" && name == "kd-deploy" && !dependency.is_dev() {
            problems.push(problem("uses `burn`; artifacts and engines know it in tests alone".to_owned()));
        }
    }
    problems
}

fn is_top(package: &Package) -> bool {
    TOPS.contains(&package.name.as_str())
        || package.manifest_path.components().any(|part| part.as_os_str() == "examples")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, folder: &str, dependencies: &[(&str, Option<&str>, &str)]) -> Package {
        Package {
            name: name.to_owned(),
            manifest_path: format!("/{folder}/Cargo.toml").into(),
            dependencies: dependencies
                .iter()
                .map(|(name, kind, req)| Dependency {
                    name: (*name).to_owned(),
                    kind: kind.map(str::to_owned),
                    req: (*req).to_owned(),
                })
                .collect(),
        }
    }

    fn says(name: &str, folder: &str, dependencies: &[(&str, Option<&str>, &str)]) -> Vec<String> {
        let ours = ["kd-core", "quant-core", "kd-graph", "kd-train", "kd-cli"];
        let problems = check_one(&package(name, folder, dependencies), &ours);
        problems.into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn layers_point_one_way() {
        assert_eq!(
            says("kd-train", "crates/x", &[("kd-core", None, "^0.1"), ("serde", None, "^1")]),
            [""; 0]
        );
        assert_eq!(
            says("kd-core", "crates/x", &[("quant-core", None, "^0.1")]),
            ["uses `quant-core`; of this workspace it may use: none"]
        );
        assert_eq!(
            says("prune-core", "crates/x", &[("kd-core", Some("build"), "^0.1")]),
            ["uses `kd-core`; of this workspace it may use: kd-graph, kd-nn"]
        );
        assert_eq!(says("kd-core", "crates/x", &[("quant-core", Some("dev"), "^0.1")]), [""; 0]);
        assert_eq!(
            says("new", "crates/x", &[]),
            ["has no place in the table of layers of `cargo xtask tidy`"]
        );
        assert_eq!(says("new", "examples/x", &[("kd-cli", None, "^0.1")]), [""; 0]);
    }

    #[test]
    fn some_dependencies_have_one_owner() {
        assert_eq!(says("kd-core", "crates/x", &[("toml", Some("dev"), "^1")]), [""; 0]);
        assert_eq!(
            says("kd-core", "crates/x", &[("toml", None, "^1")]),
            ["uses `toml`, which only `kd-train` may"]
        );
        assert_eq!(
            says("kd-train", "crates/x", &[("clap", Some("dev"), "^4")]),
            ["uses `clap`, which only `kd-cli` may"]
        );
        assert_eq!(says("xtask", "xtask", &[("clap", None, "^4")]), [""; 0]);
    }

    #[test]
    fn burn_is_pinned_and_deploy_does_without() {
        assert_eq!(
            says("kd-core", "crates/x", &[("burn", None, "^0.22.1")]),
            ["asks for `burn` ^0.22.1; Burn is pinned exactly, with `=`"]
        );
        assert_eq!(
            says("kd-deploy", "crates/x", &[("burn", None, "=0.22.1")]),
            ["uses `burn`; artifacts and engines know it in tests alone"]
        );
        assert_eq!(says("kd-deploy", "crates/x", &[("burn", Some("dev"), "=0.22.1")]), [""; 0]);
    }
}
