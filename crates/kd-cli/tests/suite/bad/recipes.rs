//! Recipes with mistakes: all of them said at once, with their places. The table of every problem is the library's
//! test; here it is seen that they reach the user.

use std::path::Path;

use super::{Case, TINY, refused};

/// Replaces a part of the tiny recipe and expects `kd check` to refuse it.
#[track_caller]
fn edited(name: &str, from: &str, to: &str, says: &[&str]) {
    assert!(TINY.contains(from), "{name}: the recipe has no `{from}`");
    written(name, &TINY.replacen(from, to, 1), says);
}

#[track_caller]
fn written(name: &str, recipe: &str, says: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.toml"), recipe).unwrap();
    refused(folder.path(), &Case { name, args: &["check", "bad.toml"], exit: 2, says });
    // Training refuses it likewise, and makes nothing.
    refused(folder.path(), &Case { name, args: &["train", "bad.toml"], exit: 2, says });
    assert!(!folder.path().join("runs").exists(), "{name}");
}

#[test]
fn problems_are_underlined_and_the_nearest_name_is_suggested() {
    edited("no TOML", "seed = 1", "seed = ", &["recipe::syntax", "bad.toml:3"]);
    edited("unknown key", "seed = 1", "sede = 1", &["recipe::unknown-key", "bad.toml:3:1", "sede", "`seed`"]);
    edited("wrong type", "epochs = 1", "epochs = \"one\"", &["recipe::wrong-type", "bad.toml:26", "\"one\""]);
    edited("negative temperature", "temperature = 2.0", "temperature = -2.0", &["bad.toml:20", "-2"]);
    edited("unknown loss", "cross-entropy", "cross-entropi", &["recipe::unknown-loss", "`cross-entropy`"]);
    edited(
        "alpha in kl",
        "temperature = 2.0",
        "temperature = 2.0, alpha = 0.5",
        &["bad.toml:20", "alpha", "weight"],
    );
    edited("unknown model", "model.mlp", "model.mlpp", &["recipe::unknown-model", "`mlp`"]);
    edited("unknown data", "[data.digits]", "[data.digit]", &["recipe::unknown-data", "`digits`"]);
    edited("a future recipe", "schema = 1", "schema = 9", &["recipe::schema", "9"]);
    edited("a name for no folder", "\"tiny\"", "\"../tiny\"", &["recipe::bad-name", "../tiny"]);
}

#[test]
fn all_problems_are_said_at_once() {
    let two = TINY.replacen("seed = 1", "sede = 1", 1).replacen("kl =", "lk =", 1);
    let three = two.replacen("[data.digits]", "[data.digit]", 1);
    let says =
        ["recipe::unknown-key", "recipe::unknown-loss", "recipe::unknown-data", "3 problems in `bad.toml`"];
    written("three mistakes", &three, &says);
}

#[test]
fn what_needs_the_model_is_refused_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, recipe: String, says: &[&str]| {
        std::fs::write(folder.path().join("bad.toml"), recipe).unwrap();
        refused(folder.path(), &Case { name, args: &["check", "bad.toml"], exit: 2, says });
    };
    let hint = "hint = { student = \"hiden1\", teacher = \"hidden1\" }";
    check(
        "unknown site",
        TINY.replacen("cross-entropy = {}", hint, 1),
        &["site::unknown", "hiden1", "`hidden1`"],
    );
    let deep = "model.convnet = { channels = [4, 4, 4, 4], hidden = 8 }";
    let small = TINY.replacen("model.mlp = { hidden = [8] }", deep, 1);
    check("more halvings than pixels", small, &["model::unfit", "student", "8×8"]);
    let greedy = TINY.replacen("batch = 128", "batch = 128\nvalidation = 9999", 1);
    check("more validation than data", greedy, &["9999", "3823"]);
}

#[test]
fn a_recipe_that_is_no_text_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("latin1.toml"), b"name = \"caf\xe9\"").unwrap();
    let check = |name: &str, file: &str, says: &[&str]| {
        refused(folder.path(), &Case { name, args: &["check", file], exit: 2, says });
    };
    check("absent", "absent.toml", &["absent.toml", "kd init"]);
    check("a folder", ".", &["`.`", "because"]);
    check("not UTF-8", "latin1.toml", &["latin1.toml", "UTF-8"]);
}

#[test]
fn overrides_are_checked_like_the_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let path: &Path = folder.path();
    std::fs::write(path.join("tiny.toml"), TINY).unwrap();
    let set = |name: &str, set: &str, says: &[&str]| {
        refused(path, &Case { name, args: &["train", "tiny.toml", "--set", set], exit: 2, says });
    };
    set("no value", "seed", &["recipe::bad-override", "seed", "key=value"]);
    set("no such stage", "stage.prune.name=x", &["recipe::bad-override", "prune"]);
    set("no such key", "sede=7", &["recipe::unknown-key", "sede"]);
    set("wrong type", "seed=seven", &["seven"]);
    assert!(!path.join("runs").exists());
}
