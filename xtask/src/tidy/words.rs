//! Words that belong into no file: unfinished business, and paths that exist on one machine only.

use crate::tidy::{Problem, Text};

/// Marks of unfinished work. An open matter belongs where matters are tracked, not into the code.
const UNFINISHED: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("unimplemented", "!(")];

/// Folders directly under `/` that differ from machine to machine.
const ROOTS: &[&str] = &["home", "root", "work", "workspace", "mnt", "srv", "tmp", "Users", "private"];

pub(crate) fn check(text: &Text) -> Vec<Problem> {
    let mut problems = Vec::new();
    // A lock file and licences are not written by us.
    if matches!(text.name().as_str(), "Cargo.lock" | "LICENSE-APACHE" | "LICENSE-MIT") {
        return problems;
    }
    for (index, line) in text.content.lines().enumerate() {
        let mut say = |message: String| problems.push(Problem::new(&text.path, Some(index + 1), message));
        for word in UNFINISHED {
            if has_word(line, word) {
                say(format!("`{word}`: finish it or take it out"));
            }
        }
        if let Some(path) = machine_path(line) {
            say(format!("`{path}` is a path of one machine"));
        }
        if leaves_repository(text, line) {
            say("a path that leaves the repository".to_owned());
        }
    }
    problems
}

/// Whether `word` stands in the line with no letter or digit on either side.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let outside = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
        outside(line[..at].chars().next_back()) && outside(line[at + word.len()..].chars().next())
    })
}

/// An absolute path that begins in one of [`ROOTS`], unless a single letter follows: such a name stands for any.
fn machine_path(line: &str) -> Option<String> {
    ROOTS.iter().find_map(|root| {
        let pattern = format!("/{root}/");
        line.match_indices(&pattern).find_map(|(at, _)| {
            let before = line[..at].chars().next_back();
            let starts_here = before.is_none_or(|c| c.is_whitespace() || "\"'`(=:<".contains(c));
            let next =
                line[at + pattern.len()..].split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            (starts_here && next.len() != 1).then_some(pattern.clone())
        })
    })
}

/// Whether a relative path in the line goes up further than the root.
fn leaves_repository(text: &Text, line: &str) -> bool {
    let depth = text.path.components().count() - 1;
    line.split(|c: char| c.is_whitespace() || "\"'`()<>[],;".contains(c))
        .filter(|word| word.starts_with("../"))
        .any(|word| word.split('/').take_while(|part| *part == "..").count() > depth)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(path: &str, line: &str) -> Vec<String> {
        check(&Text { path: path.into(), content: line.to_owned() }).into_iter().map(|p| p.message).collect()
    }

    #[test]
    fn unfinished_work_is_named() {
        for word in UNFINISHED {
            assert_eq!(
                says("a.md", &format!("then {word} later")),
                [format!("`{word}`: finish it or take it out")]
            );
        }
        assert_eq!(says("a.md", concat!("MasTO", "DOn")), [""; 0]);
    }

    #[test]
    fn paths_of_one_machine_are_named() {
        let path = format!("/{}/me/data", ROOTS[0]);
        let said = format!("`/{}/` is a path of one machine", ROOTS[0]);
        for line in [format!("see `{path}`"), format!("KD_DATA={path}"), path.clone()] {
            assert_eq!(says("a.md", &line), [said.as_str()], "{line}");
        }
        assert_eq!(says("a.md", &format!("https://example.org{path}")), [""; 0]);
        assert_eq!(says("a.md", "target/tmp/x"), [""; 0]);
        assert_eq!(says("a.md", &path.replace("me", "a")), [""; 0]);
    }

    #[test]
    fn paths_stay_inside() {
        let up = format!("{}/x", "..");
        assert_eq!(says("crates/a/README.md", &format!("[a]({up})")), [""; 0]);
        assert_eq!(says("README.md", &format!("`{up}`")), ["a path that leaves the repository"]);
        assert_eq!(says("docs/a.md", &format!("see {}/{up}", "..")), ["a path that leaves the repository"]);
    }
}
