//! A line of TOML that names one thing, as options take it: `kl = { temperature = 4.0 }`, or a name alone.

use toml::Spanned;
use toml::de::DeTable;

use crate::problem::Problem;

/// The line with the empty table that a name alone stands for; and whether it was a name alone.
pub(super) fn with_knobs(line: &str) -> (String, bool) {
    let bare = line.trim();
    let alone = !bare.is_empty() && bare.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    (if alone { format!("{bare:?} = {{}}") } else { line.to_owned() }, alone)
}

/// The table of a line's text.
pub(crate) fn line_table(text: &str) -> Result<Spanned<DeTable<'_>>, Box<Problem>> {
    DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or(0..text.len());
        Box::new(Problem::new("recipe::syntax", error.message(), span, "not TOML"))
    })
}
