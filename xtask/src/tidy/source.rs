//! What Rust sources may not contain, by place: the invariants that a crate's manifest does not show.

use crate::tidy::{Problem, Text};

/// Backends, each a crate feature; one file chooses among them.
const BACKENDS: &[&str] = &["flex", "ndarray", "wgpu", "cuda"];

/// Files that may ask which backend is compiled in: the one that opens a device, and the one that registers kernels.
const BACKEND_SITES: &[&str] = &["crates/kd-train/src/device.rs", "crates/kd-nn/src/extension.rs"];

/// Crates that are numbers and tensors alone.
const CORES: &[&str] = &["kd-core", "quant-core", "kd-graph", "prune-core", "kd-kernels", "kd-nn"];

/// What the cores do not do.
const OUTSIDE_WORLD: &[&str] = &[
    "std::fs",
    "std::env",
    "std::net",
    "std::time",
    "std::process",
    "std::io",
    "Instant::now",
    "println!",
    "eprintln!",
    "env::var",
];

/// What the libraries and most of `kd-cli` do not do.
const ENVIRONMENT: &[&str] = &["env::var", "env::args", "env::current_dir"];

/// The files of `kd-cli` that do: one reads variables and folders, one is handed the arguments.
const ENVIRONMENT_SITES: &[&str] = &["crates/kd-cli/src/environment.rs", "crates/kd-cli/src/lib.rs"];

/// Young interfaces of Burn, each with the one file that touches it, with its submodules.
const CONTACTS: &[(&str, &str)] = &[
    ("burn::backend::ir", "crates/kd-graph/src/capture.rs"),
    ("burn::backend::Capture", "crates/kd-graph/src/capture.rs"),
    ("Device::capture", "crates/kd-graph/src/capture.rs"),
    ("Reparameterizer", "crates/kd-train/src/compress/attach.rs"),
    ("OptimizerRecord", "crates/kd-train/src/optimizer.rs"),
];

/// serde attributes that lose the place of a value in a recipe.
const PLACELESS: &[&str] = &["tag", "untagged", "flatten"];

/// Where recipe types live.
const RECIPE_CODE: &[&str] = &[
    "crates/kd-core/src/",
    "crates/quant-core/src/",
    "crates/prune-core/src/",
    "crates/kd-train/src/",
    "datasets/src/",
];

/// Attributes of tests that run by accident or never.
const BANNED_TESTS: &[&str] = &["ignore", "should_panic"];

/// Whether a file is the module `site` or below it.
fn belongs(name: &str, site: &str) -> bool {
    let below = site.strip_suffix(".rs").and_then(|stem| name.strip_prefix(stem));
    below.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

pub(crate) fn check(text: &Text) -> Vec<Problem> {
    if !text.is_rust() {
        return Vec::new();
    }
    let name = text.name();
    let mut problems = Vec::new();
    let mut find = |pattern: &str, message: String| {
        for line in lines_with(&text.content, pattern) {
            problems.push(Problem::new(&text.path, Some(line), message.clone()));
        }
    };

    for attribute in BANNED_TESTS {
        find(&format!("#[{attribute}"), format!("`{attribute}`: a test runs, and says what it expects"));
    }
    if name.contains("/src/") && !BACKEND_SITES.contains(&name.as_str()) {
        for backend in BACKENDS {
            find(
                &format!("feature = \"{backend}\""),
                format!("asks for the backend `{backend}`; only `{}` may", BACKEND_SITES[0]),
            );
        }
    }
    if name.starts_with("crates/") && name.contains("/src/") {
        for (interface, site) in CONTACTS.iter().filter(|(_, site)| !belongs(&name, site)) {
            find(interface, format!("`{interface}` is touched in `{site}` alone"));
        }
    }
    find(
        concat!("B: ", "Backend"),
        "a backend type parameter; Burn's `Device` says where a tensor lives".to_owned(),
    );
    if CORES.iter().any(|core| name.starts_with(&format!("crates/{core}/src/"))) {
        for pattern in OUTSIDE_WORLD {
            find(pattern, format!("`{pattern}` in a crate that is numbers and tensors alone"));
        }
    } else if is_library(&name) && !ENVIRONMENT_SITES.contains(&name.as_str()) {
        for pattern in ENVIRONMENT {
            let message = format!(
                "`{pattern}`: only `{}` reads the environment; take the value as an argument",
                ENVIRONMENT_SITES[0]
            );
            find(pattern, message);
        }
    }
    if RECIPE_CODE.iter().any(|folder| name.starts_with(folder)) {
        for (line, word) in placeless_attributes(&text.content) {
            let message =
                format!("`#[serde({word})]` loses the place of a value in a recipe; tag externally");
            problems.push(Problem::new(&text.path, Some(line), message));
        }
    }
    problems
}

/// Sources of the crates, which other programs are made of.
fn is_library(name: &str) -> bool {
    name.starts_with("crates/") && name.contains("/src/") || name.starts_with("datasets/src/")
}

/// The lines, counted from 1, that hold `pattern` outside of comments, up to the tests at the end of the file.
fn lines_with<'a>(content: &'a str, pattern: &'a str) -> impl Iterator<Item = usize> + 'a {
    content
        .lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]" || pattern.starts_with("#["))
        .filter(move |(_, line)| line.split("//").next().is_some_and(|code| code.contains(pattern)))
        .map(|(index, _)| index + 1)
}

/// The banned words in `#[serde(…)]` of types that are read, with the line on which the attribute begins.
fn placeless_attributes(content: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    let mut rest = 0;
    while let Some(at) = content[rest..].find("#[serde(") {
        let start = rest + at;
        let attribute = content[start..].split(")]").next().unwrap_or_default();
        // The type that it belongs to begins with the nearest derive above.
        let derive = content[..start].rfind("#[derive(").map_or("", |at| &content[at..start]);
        let is_read = derive.split(")]").next().is_some_and(|derive| derive.contains("Deserialize"));
        // Names and defaults stand in quotes: `rename = "tag"` is fine.
        let words = attribute
            .split('"')
            .step_by(2)
            .flat_map(|code| code.split(|c: char| !c.is_alphanumeric() && c != '_'));
        for word in words {
            if let Some(banned) = PLACELESS.iter().find(|banned| **banned == word && is_read) {
                found.push((content[..start].matches('\n').count() + 1, *banned));
            }
        }
        rest = start + attribute.len();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(path: &str, content: &str) -> Vec<String> {
        let problems = check(&Text { path: path.into(), content: content.to_owned() });
        problems
            .into_iter()
            .map(|problem| format!("{}: {}", problem.line.unwrap_or(0), problem.message))
            .collect()
    }

    #[test]
    fn backends_are_chosen_in_one_place() {
        let code = format!("fn f() {{}}\n#[cfg({} = \"wgpu\")]\nfn g() {{}}\n", "feature");
        assert_eq!(
            says("crates/kd-core/src/lib.rs", &code),
            ["2: asks for the backend `wgpu`; only `crates/kd-train/src/device.rs` may"]
        );
        assert_eq!(says("crates/kd-train/src/device.rs", &code), [""; 0]);
        assert_eq!(says("crates/kd-core/src/lib.rs", &format!("// {}", code.replace('\n', " "))), [""; 0]);
    }

    #[test]
    fn cores_know_nothing_of_the_world() {
        let code = "use std::fs::File;\n";
        assert_eq!(
            says("crates/quant-core/src/x.rs", code),
            ["1: `std::fs` in a crate that is numbers and tensors alone"]
        );
        assert_eq!(says("crates/kd-train/src/x.rs", code), [""; 0]);
        assert_eq!(
            says("crates/quant-core/src/x.rs", &format!("#[cfg(test)]\nmod tests {{ {code} }}")),
            [""; 0]
        );
        assert_eq!(says("crates/quant-core/tests/x.rs", code), [""; 0]);
    }

    #[test]
    fn the_environment_is_read_in_one_file() {
        let code = "let home = std::env::var(\"HOME\");";
        let said = "1: `env::var`: only `crates/kd-cli/src/environment.rs` reads the environment; take the value as an argument";
        for path in ["datasets/src/x.rs", "crates/kd-train/src/x.rs", "crates/kd-cli/src/commands/x.rs"] {
            assert_eq!(says(path, code), [said]);
        }
        for path in ["crates/kd-cli/src/environment.rs", "crates/kd-cli/tests/x.rs", "xtask/src/x.rs"] {
            assert_eq!(says(path, code), [""; 0]);
        }
    }

    #[test]
    fn young_interfaces_are_touched_in_one_file_each() {
        for (interface, site) in CONTACTS {
            let code = format!("use {interface};");
            assert_eq!(says(site, &code), [""; 0]);
            let said = format!("1: `{interface}` is touched in `{site}` alone");
            assert!(says("crates/kd-train/src/x.rs", &code).contains(&said));
        }
    }

    #[test]
    fn recipe_types_keep_places() {
        let code = |derive| {
            format!(
                "struct A;\n#[derive(Debug, {derive})]\n#[serde(\n    rename = \"flatten\",\n    untagged\n)]\n\
                 enum B {{}}\n#[serde(flatten)]\n"
            )
        };
        let said = |line, word| {
            format!("{line}: `#[serde({word})]` loses the place of a value in a recipe; tag externally")
        };
        assert_eq!(
            says("datasets/src/x.rs", &code("Deserialize")),
            [said(3, "untagged"), said(8, "flatten")]
        );
        assert_eq!(
            says("datasets/src/x.rs", &code("Serialize")),
            [""; 0],
            "what is only written has no place"
        );
        assert_eq!(says("xtask/src/x.rs", &code("Deserialize")), [""; 0]);
        let fine = "#[derive(Deserialize)]\n#[serde(rename_all = \"kebab-case\", default)]";
        assert_eq!(says("datasets/src/x.rs", fine), [""; 0]);
    }

    #[test]
    fn tests_run_and_say_what_they_expect() {
        for attribute in BANNED_TESTS {
            let code =
                format!("#[cfg(test)]\nmod tests {{\n    #[test]\n    #[{attribute}]\n    fn f() {{}}\n}}\n");
            let said = format!("4: `{attribute}`: a test runs, and says what it expects");
            assert_eq!(says("crates/kd-cli/src/x.rs", &code), [said]);
        }
    }
}
