//! Recipes as text: what an experiment changes in one that a person could also run as it is.

const STAGE: &str = "[[stage]]\n";

/// The recipe's seed.
pub(crate) fn seed(recipe: &str) -> Option<u64> {
    recipe.lines().find_map(|line| line.strip_prefix("seed = ")?.trim().parse().ok())
}

/// The recipe without a stage that was run before, as `note` says: the stage becomes a comment, so that a change of it
/// still shows in the text, by which runs are known.
pub(crate) fn without_stage(recipe: &str, name: &str, note: &str) -> Option<String> {
    let begin = recipe.find(&format!("{STAGE}name = \"{name}\"\n"))?;
    let after = &recipe[begin + 1..];
    let end = begin + 1 + after.find(STAGE).or_else(|| after.find("[expect]\n"))?;
    let run: String = recipe[begin..end].lines().map(|line| format!("# {line}\n")).collect();
    Some(format!("{}# {note}:\n{run}{}", &recipe[..begin], &recipe[end..]))
}

/// The recipe without its gates: an experiment reports what it finds.
pub(crate) fn without_gates(recipe: &str) -> &str {
    recipe.split("[expect]\n").next().unwrap_or(recipe)
}

/// The page with `text` in the place that its marks leave for it.
pub(crate) fn between(page: &str, (begin, end): (&str, &str), text: &str) -> Option<String> {
    let (before, rest) = page.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n{text}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str =
        "seed = 7\n\n[[stage]]\nname = \"a\"\n[stage.train]\n\n[[stage]]\nname = \"b\"\n\n[expect]\nx = 1\n";

    #[test]
    fn a_stage_becomes_a_comment() {
        assert_eq!(seed(RECIPE), Some(7));
        let without = without_stage(RECIPE, "a", "Done before").expect("it is there");
        assert!(
            without.contains("# Done before:\n# [[stage]]\n# name = \"a\"\n# [stage.train]\n# \n[[stage]]")
        );
        let last = without_stage(RECIPE, "b", "Done").expect("it is there");
        assert!(last.ends_with("# [[stage]]\n# name = \"b\"\n# \n[expect]\nx = 1\n"), "{last}");
        assert_eq!(without_stage(RECIPE, "c", "Done"), None);
        assert!(without_gates(RECIPE).ends_with("name = \"b\"\n\n"));
    }

    #[test]
    fn a_table_replaces_the_one_before() {
        let marks = ("<!-- a -->\n", "<!-- b -->");
        let page = |text: &str| format!("# Page\n\n{}\n{text}\n\n{}\n\nMore.\n", marks.0, marks.1);
        assert_eq!(between(&page("old"), marks, "new\n"), Some(page("new")));
        assert_eq!(between("# Page\n", marks, "new\n"), None);
    }
}
