//! `kd init`: a recipe to start from, which runs as it stands, in a minute and without any file.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::Context;
use crate::args::Init;
use crate::failure::Failure;

/// The recipe, but for its name.
const TEMPLATE: &str = include_str!("init/recipe.toml");

/// The name in it.
const PLACE: &str = "name = \"recipe\"";

pub(super) fn run(args: &Init, context: &Context) -> Result<(), Failure> {
    let (path, name) = place(&args.name)?;
    create(&path, &TEMPLATE.replacen(PLACE, &format!("name = \"{name}\""), 1))?;
    let shown = path.display().to_string();
    context.output.data(|| shown.clone(), || serde_json::json!({ "path": shown, "name": name }))?;
    context.terminal.say(format_args!("`kd check {shown}` shows its plan, `kd train {shown}` runs it"));
    Ok(())
}

/// File and name of the recipe; `NAME` may be given as the file's path.
fn place(given: &str) -> Result<(PathBuf, String), Failure> {
    let path = Path::new(given.strip_suffix(".toml").unwrap_or(given));
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(fine) {
        return Err(Failure::RecipeName { name: given.to_owned() });
    }
    Ok((path.with_file_name(format!("{name}.toml")), name))
}

/// Writes a file that is not there yet, or nothing.
fn create(path: &Path, text: &str) -> Result<(), Failure> {
    let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Failure::RecipeExists { path: path.into() });
        }
        Err(source) => return Err(Failure::Write { path: path.into(), source }),
    };
    file.write_all(text.as_bytes()).map_err(|source| {
        // Half a recipe would only be in the way of the next try.
        let _ = std::fs::remove_file(path);
        Failure::Write { path: path.into(), source }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_name_is_a_name_a_file_or_a_path() {
        let of = |given: &str| place(given).ok().map(|(path, name)| (path.display().to_string(), name));
        assert_eq!(of("mine"), Some(("mine.toml".into(), "mine".into())));
        assert_eq!(of("mine.toml"), Some(("mine.toml".into(), "mine".into())));
        assert_eq!(of("recipes/v1.2"), Some(("recipes/v1.2.toml".into(), "v1.2".into())));
        for wrong in ["", "a b", "../..", ".toml", "/"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_template_has_one_place_for_the_name() {
        assert_eq!(TEMPLATE.matches(PLACE).count(), 1);
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        create(&path, "one").unwrap();
        assert!(matches!(create(&path, "two"), Err(Failure::RecipeExists { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
    }
}
