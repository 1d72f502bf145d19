//! Links between Markdown files point at files that are there.

use crate::tidy::{Problem, Text};
use crate::workspace;

pub(crate) fn check(text: &Text) -> Vec<Problem> {
    if text.path.extension().is_none_or(|extension| extension != "md") {
        return Vec::new();
    }
    let folder = workspace::root().join(&text.path).parent().map(ToOwned::to_owned).unwrap_or_default();
    targets(&text.content)
        .into_iter()
        .filter(|(_, target)| !folder.join(target).exists())
        .map(|(line, target)| {
            Problem::new(&text.path, Some(line), format!("links to `{target}`, which is absent"))
        })
        .collect()
}

/// Relative targets of the links of a page, with their lines; code blocks aside.
fn targets(content: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (index, line) in content.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for part in line.split("](").skip(1) {
            let target = part.split([')', '#', ' ']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains(':') {
                found.push((index + 1, target.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_targets_are_found() {
        let page = "[a](b.md) [c](https://example.org) [d](#e)\n```\n[f](g.md)\n```\n[h](i/j.md#k)";
        assert_eq!(targets(page), [(1, "b.md".to_owned()), (5, "i/j.md".to_owned())]);
    }
}
