//! Data that is missing, cut off, or not what it is said to be.

use std::path::Path;

use super::{Case, TINY, all_refused, refused};

/// The tiny recipe on IDX files of `[n, 4, 4]` images in the same folder.
fn idx_recipe(classes: usize) -> String {
    let table = format!(
        "[data.idx]\ntrain-images = \"x.idx\"\ntrain-labels = \"y.idx\"\ntest-images = \"x.idx\"\n\
         test-labels = \"y.idx\"\nclasses = {classes}\nvalidation = 2"
    );
    TINY.replacen("[data.digits]", &table, 1)
}

/// An IDX file of bytes.
fn idx(shape: &[u32], values: &[u8]) -> Vec<u8> {
    let rank = u8::try_from(shape.len()).unwrap();
    let mut bytes = vec![0, 0, 8, rank];
    bytes.extend(shape.iter().flat_map(|dim| dim.to_be_bytes()));
    bytes.extend_from_slice(values);
    bytes
}

fn images(folder: &Path, values: usize) {
    let values: Vec<u8> = (0..values).map(|i| (i * 7 % 251) as u8).collect();
    std::fs::write(folder.join("x.idx"), idx(&[8, 4, 4], &values)).unwrap();
}

#[test]
fn files_of_ones_own_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("idx.toml"), idx_recipe(3)).unwrap();
    let refused = |name: &str, says: &[&str]| {
        refused(path, &Case { name, args: &["train", "idx.toml"], exit: 2, says });
        assert!(!path.join("runs").exists(), "{name}");
    };
    refused("absent", &["x.idx"]);
    images(path, 8 * 16 - 5);
    std::fs::write(path.join("y.idx"), idx(&[8], &[0, 1, 2, 0, 1, 2, 0, 1])).unwrap();
    refused("truncated", &["x.idx", "144 bytes", "139"]);
    images(path, 8 * 16);
    std::fs::write(path.join("y.idx"), idx(&[8], &[0, 1, 2, 3, 1, 2, 0, 1])).unwrap();
    refused("a label that is no class", &["y.idx", "example 3", "`3`"]);
    std::fs::write(path.join("y.idx"), idx(&[7], &[0; 7])).unwrap();
    refused("fewer labels than images", &["y.idx", "8 labels", "found 7"]);
    std::fs::write(path.join("y.idx"), "label\n1\n").unwrap();
    refused("a table where labels should be", &["y.idx", "IDX"]);
}

#[test]
fn a_table_says_line_and_column_of_its_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let table = "[data.csv]\ntrain = \"t.csv\"\ntest = \"t.csv\"\nclasses = 2\nvalidation = 1";
    std::fs::write(folder.path().join("csv.toml"), TINY.replacen("[data.digits]", table, 1)).unwrap();
    std::fs::write(folder.path().join("t.csv"), "1,2,0\n3,x,1\n5,6,0\n").unwrap();
    let says = &["t.csv", "line 2, column 2", "`x`"];
    refused(folder.path(), &Case { name: "a word", args: &["check", "csv.toml"], exit: 2, says });
}

#[test]
fn published_sets_that_are_not_here_are_told_how_to_come() {
    let case = |name, args, says| Case { name, args, exit: 2, says };
    all_refused(&[
        case("verify it", &["data", "verify", "mnist"], &["mnist", "kd data fetch mnist"]),
        case("no such set", &["data", "fetch", "minst"], &["minst", "`mnist`"]),
        case("no such set to verify", &["data", "verify", "cifar"], &["cifar"]),
        case("nothing to fetch from", &["data", "fetch", "mnist", "--from", "absent"], &["absent/mnist"]),
    ]);
}

#[test]
fn a_recipe_on_a_set_that_is_not_here_says_how_to_fetch_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mnist.toml"), TINY.replacen("digits", "mnist", 1)).unwrap();
    let says = &["data::missing", "mnist", "kd data fetch mnist"];
    refused(folder.path(), &Case { name: "absent", args: &["train", "mnist.toml"], exit: 2, says });
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn damaged_files_are_named_and_never_copied() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("cache/kd/datasets/fashion-mnist");
    std::fs::create_dir_all(&set).unwrap();
    std::fs::write(set.join("t10k-labels-idx1-ubyte"), "short").unwrap();
    let from = set.display().to_string();
    let args = &["data", "fetch", "fashion-mnist", "--from", &from];
    let says = &["fashion-mnist"];
    refused(folder.path(), &Case { name: "an incomplete source", args, exit: 2, says });

    // Verifying writes what it found to standard output, and fails.
    let output = crate::common::run(folder.path(), &["data", "verify", "fashion-mnist"]);
    let (stdout, stderr) = (crate::common::text(&output.stdout), crate::common::text(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stdout.contains("t10k-labels-idx1-ubyte") && stdout.contains("damaged: 5 bytes"), "{stdout}");
    assert!(stdout.contains("missing"), "{stdout}");
    assert!(stderr.contains("`fashion-mnist` is not as published"), "{stderr}");
}
