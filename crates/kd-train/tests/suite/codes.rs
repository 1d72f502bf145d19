//! Every code in this crate's source is explained, and shown in a snapshot; and no other.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kd_train::explain;

/// All Rust files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// Texts of the form `family::some-name`, whole string literals only.
fn codes(text: &str) -> BTreeSet<String> {
    let word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    let code =
        |literal: &&str| literal.split_once("::").is_some_and(|(family, name)| word(family) && word(name));
    text.split('"').filter(code).map(str::to_owned).collect()
}

#[test]
fn every_code_is_explained_and_shown() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = root.join("src");
    let used: BTreeSet<String> = files(&source)
        .into_iter()
        .filter(|path| !path.starts_with(source.join("explain")) && !path.ends_with("explain.rs"))
        .flat_map(|path| codes(&std::fs::read_to_string(path).unwrap()))
        .collect();
    assert!(used.len() > 50, "the source is read: {used:?}");

    let explained: BTreeSet<String> = explain::all().map(|explanation| explanation.code.to_owned()).collect();
    let unexplained: Vec<_> = used.difference(&explained).collect();
    assert!(unexplained.is_empty(), "in the source, but not in `explain`: {unexplained:?}");
    let unused: Vec<_> = explained.difference(&used).collect();
    assert!(unused.is_empty(), "in `explain`, but not in the source: {unused:?}");

    let shown: String = ["recipes.rs", "errors.rs"]
        .map(|file| std::fs::read_to_string(root.join("tests/suite").join(file)).unwrap())
        .concat();
    let hidden: Vec<_> = used.iter().filter(|code| !shown.contains(&format!("{code}: "))).collect();
    assert!(hidden.is_empty(), "in no snapshot: {hidden:?}");
}
