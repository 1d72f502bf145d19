//! What every code means: what happened, why it matters, how to mend it.
//!
//! A message is short because it stands beside the place; the long form is here, one paragraph or two a code, and
//! `kd explain` and the reference are made from it. A test finds every code in this crate's source and holds it
//! against this table.

mod recipe;
mod run;

use crate::problem::nearest as nearest_of;

/// The long form of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// As messages begin: `recipe::unknown-loss`.
    pub code: &'static str,
    /// One line.
    pub about: &'static str,
    /// What happened, why it is refused or fatal, how to mend it, mostly with an example. Paragraphs are parted by
    /// an empty line; lines that begin with four spaces are examples.
    pub text: &'static str,
}

/// Every code, those of recipes first.
pub fn all() -> impl Iterator<Item = &'static Explanation> {
    recipe::ALL.iter().chain(run::ALL)
}

/// The long form of a code, if there is such a code.
pub fn explain(code: &str) -> Option<&'static Explanation> {
    all().find(|explanation| explanation.code == code)
}

/// The code nearest to a word that is none: with or without its family before the colons.
pub fn nearest(word: &str) -> Option<&'static str> {
    let bare = |code: &'static str| code.split_once("::").map_or(code, |(_, name)| name);
    let codes = || all().map(|explanation| explanation.code);
    codes().find(|code| bare(code) == word).or_else(|| nearest_of(word, codes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_with_and_without_their_family() {
        assert_eq!(explain("recipe::unknown-loss").map(|found| found.code), Some("recipe::unknown-loss"));
        assert_eq!(explain("unknown-loss"), None);
        assert_eq!(nearest("unknown-loss"), Some("recipe::unknown-loss"));
        assert_eq!(nearest("recipe::unknown-los"), Some("recipe::unknown-loss"));
        assert_eq!(nearest("q"), None);
    }

    #[test]
    fn every_text_is_whole_and_every_code_is_there_once() {
        let mut codes: Vec<_> = all().map(|explanation| explanation.code).collect();
        for Explanation { code, about, text } in all() {
            assert!(!about.ends_with('.') && about.len() < 90, "{code}: {about}");
            assert!(
                text.len() > 150 && text.trim() == *text,
                "{code} says too little or begins with a space"
            );
        }
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }
}
