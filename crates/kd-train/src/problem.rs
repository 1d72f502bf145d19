//! What is wrong with a recipe, as plain data: a code, a place, a sentence, and what helps.
//!
//! Rendering is somebody else's: the command line underlines in colour, tests in plain text.

use std::fmt;
use std::ops::Range;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What `kd explain` knows it by: `recipe::unknown-loss`.
    pub code: &'static str,
    /// What was expected and what was found.
    pub message: String,
    /// Where, most important place first.
    pub labels: Vec<Label>,
    /// What to do.
    pub help: Option<String>,
}

/// A place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Bytes.
    pub span: Range<usize>,
    /// What is there.
    pub text: String,
}

/// Everything that is wrong with a text, in the order of the places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// Name of the text, for people.
    pub name: String,
    /// The text itself.
    pub text: String,
    /// At least one.
    pub list: Vec<Problem>,
}

impl Problem {
    /// A problem at a place.
    pub fn new(
        code: &'static str,
        message: impl Into<String>,
        span: Range<usize>,
        label: impl Into<String>,
    ) -> Self {
        let labels = vec![Label { span, text: label.into() }];
        Self { code, message: message.into(), labels, help: None }
    }

    /// The same with what helps.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The same with what helps, if there is something.
    #[must_use]
    pub fn maybe_help(self, help: Option<String>) -> Self {
        Self { help: help.or(self.help.clone()), ..self }
    }

    /// The same at another place.
    #[must_use]
    pub fn at(mut self, span: Range<usize>) -> Self {
        self.labels.iter_mut().take(1).for_each(|label| label.span = span.clone());
        self
    }

    /// The same with a further place.
    #[must_use]
    pub fn also(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: label.into() });
        self
    }
}

impl fmt::Display for Problems {
    /// Plain text: code, message, line and column, the line with its place underlined, help.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.list.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            writeln!(f, "{}: {}", problem.code, problem.message)?;
            for label in &problem.labels {
                self.underline(f, label)?;
            }
            if let Some(help) = &problem.help {
                writeln!(f, "  help: {help}")?;
            }
        }
        Ok(())
    }
}

impl Problems {
    fn underline(&self, f: &mut fmt::Formatter<'_>, label: &Label) -> fmt::Result {
        let start = label.span.start.min(self.text.len());
        let from = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let to = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        let line = self.text[..start].matches('\n').count() + 1;
        let column = self.text[from..start].chars().count();
        let end = label.span.end.clamp(start, to);
        let width = self.text[start..end].chars().count().max(1);
        writeln!(f, "  {}:{line}:{}", self.name, column + 1)?;
        writeln!(f, "  | {}", &self.text[from..to])?;
        writeln!(f, "  | {}{} {}", " ".repeat(column), "^".repeat(width), label.text)
    }
}

/// A regular expression, or what was found in its place: the text with what is wrong with it.
pub(crate) fn regex(text: &str) -> Result<regex::Regex, String> {
    regex::Regex::new(text).map_err(|error| {
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("`{text}`: {reason}")
    })
}

/// The candidate nearest to `word`, if one is near enough to have been meant: a similar one, one that is a slip of one
/// letter away, or one that contains it or is contained in it.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let within = |a: &str, b: &str| a.len() > 2 && b.contains(a);
    let score = |candidate: &str| {
        let similar = strsim::jaro_winkler(word, candidate);
        let slip = candidate.len() > 1 && word.len() > 1 && strsim::osa_distance(word, candidate) == 1;
        let part = within(word, candidate) || within(candidate, word);
        (similar > 0.75 || slip || part).then_some(similar)
    };
    let scored = candidates.into_iter().filter_map(|candidate| Some((score(candidate)?, candidate)));
    let best = scored.fold(None, |best: Option<(f64, &str)>, next| match best {
        Some(best) if best.0 >= next.0 => Some(best),
        _ => Some(next),
    });
    best.map(|(_, candidate)| candidate)
}

/// `did you mean …?`, or what there is if it is little.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    match nearest(word, candidates.iter().copied()) {
        Some(candidate) => Some(format!("did you mean `{candidate}`?")),
        None if candidates.is_empty() => None,
        None if candidates.len() <= 8 => {
            let list: Vec<String> = candidates.iter().map(|candidate| format!("`{candidate}`")).collect();
            Some(format!("there are {}", list.join(", ")))
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_one_that_was_meant() {
        let names = ["cross-entropy", "hint", "kl", "learning-rate", "adam", "adam-w"];
        let near = |word| nearest(word, names);
        assert_eq!(near("k1"), Some("kl"));
        assert_eq!(near("rate"), Some("learning-rate"));
        assert_eq!(near("adamw"), Some("adam-w"));
        assert_eq!(near("corss-entropy"), Some("cross-entropy"));
        assert_eq!(near("hints"), Some("hint"));
        assert_eq!((near("hard"), near("x"), near("")), (None, None, None));
        assert_eq!(suggest("x", ["a", "b"]).as_deref(), Some("there are `a`, `b`"));
        assert_eq!(suggest("x", []), None);
        assert_eq!(suggest("zzz", (0..70).map(|_| "name")), None, "never seventy names");
    }
}
