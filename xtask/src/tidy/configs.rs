//! Every recipe in `configs/` stands in its table, and every recipe of the table is there.

use std::collections::BTreeSet;

use crate::tidy::{Problem, Text};

const TABLE: &str = "configs/README.md";

pub(crate) fn check(texts: &[Text]) -> Vec<Problem> {
    let recipes: BTreeSet<String> = texts
        .iter()
        .filter_map(|text| text.name().strip_prefix("configs/").map(str::to_owned))
        .filter(|name| name.ends_with(".toml"))
        .collect();
    let Some(table) = texts.iter().find(|text| text.name() == TABLE) else {
        return if recipes.is_empty() { Vec::new() } else { vec![Problem::new(TABLE, None, "is missing")] };
    };
    let named: BTreeSet<String> = table
        .content
        .split(['`', '(', ')', '|', ' ', '/'])
        .filter(|word| word.ends_with(".toml"))
        .map(str::to_owned)
        .collect();
    let missing =
        recipes.difference(&named).map(|name| Problem::new(TABLE, None, format!("does not list `{name}`")));
    let absent = named
        .difference(&recipes)
        .map(|name| Problem::new(TABLE, None, format!("lists `{name}`, which is absent")));
    missing.chain(absent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_and_their_table_agree() {
        let text = |path: &str, content: &str| Text { path: path.into(), content: content.to_owned() };
        let says = |texts: &[Text]| check(texts).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(says(&[]), [""; 0]);
        assert_eq!(says(&[text("configs/a.toml", "")]), ["configs/README.md: is missing"]);
        let table = "| [`a.toml`](a.toml) | 1 s |\n| `gone.toml` | 2 s |";
        assert_eq!(
            says(&[text("configs/a.toml", ""), text("configs/b.toml", ""), text(TABLE, table)]),
            [
                "configs/README.md: does not list `b.toml`",
                "configs/README.md: lists `gone.toml`, which is absent"
            ]
        );
    }
}
