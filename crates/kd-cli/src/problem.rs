//! Problems of a recipe, all of them, each with its code, its place underlined in the text, and what helps.

use std::fmt;

use kd_train::problem::{Problem, Problems};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use crate::terminal::Terminal;

/// Columns that a message is wrapped at. Wide enough for a line of TOML, narrow enough for a log.
const WIDTH: usize = 100;

/// Says all problems.
pub(crate) fn report(problems: &Problems, terminal: &Terminal) {
    terminal.always(render(problems, terminal.color));
    let (what, explain) = match problems.list.as_slice() {
        [problem] => ("1 problem".to_owned(), format!("`kd explain {}` says more", problem.code)),
        list => (format!("{} problems", list.len()), "`kd explain CODE` says more about each".to_owned()),
    };
    terminal.error(None, format_args!("{what} in `{}`", problems.name));
    terminal.hint(explain);
}

/// The problems as text; without color also without any character that is not ASCII of our own, for logs.
fn render(problems: &Problems, color: bool) -> String {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::none() };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_links(false)
        .with_width(WIDTH)
        .with_context_lines(1)
        .without_syntax_highlighting();
    let source = NamedSource::new(&problems.name, problems.text.clone());
    let mut out = String::new();
    for problem in &problems.list {
        let shown = Shown { problem, source: &source, len: problems.text.len() };
        // A place that cannot be shown must not take the message with it.
        if handler.render_report(&mut out, &shown).is_err() {
            out.push_str(&format!("{}: {}\n", problem.code, problem.message));
        }
        out.push('\n');
    }
    // One empty line stays between the last problem and what follows.
    out.pop();
    out
}

/// A problem as miette wants it.
#[derive(Debug)]
struct Shown<'a> {
    problem: &'a Problem,
    source: &'a NamedSource<String>,
    len: usize,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn code(&self) -> Option<Box<dyn fmt::Display + '_>> {
        Some(Box::new(self.problem.code))
    }

    fn help(&self) -> Option<Box<dyn fmt::Display + '_>> {
        self.problem.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let labels = self.problem.labels.iter().enumerate().map(|(index, label)| {
            let start = label.span.start.min(self.len);
            let end = label.span.end.clamp(start, self.len);
            let text = Some(label.text.clone()).filter(|text| !text.is_empty());
            match index {
                0 => LabeledSpan::new_primary_with_span(text, start..end),
                _ => LabeledSpan::new_with_span(text, start..end),
            }
        });
        Some(Box::new(labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Problems {
        let text = "seed = 1\nsede = 2\n\n[device]\nname = \"flox\"\n".to_owned();
        let unknown = Problem::new("recipe::unknown-key", "no key is named `sede`", 9..13, "unknown key");
        let device = Problem::new("recipe::bad-value", "no device is named `flox`", 35..41, "");
        let list = vec![unknown.help("did you mean `seed`?").also(0..4, "here already"), device];
        Problems { name: "recipe.toml".into(), text, list }
    }

    #[test]
    fn every_problem_has_code_place_and_help() {
        // The rules of a snapshot in the source leave no line that ends in spaces.
        let text = render(&two(), false).lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        insta::assert_snapshot!(text, @r#"
        recipe::unknown-key

          x no key is named `sede`
           ,-[recipe.toml:2:1]
         1 | seed = 1
           : ^^|^
           :   `-- here already
         2 | sede = 2
           : ^^|^
           :   `-- unknown key
         3 |
           `----
          help: did you mean `seed`?

        recipe::bad-value

          x no device is named `flox`
           ,-[recipe.toml:5:8]
         4 | [device]
         5 | name = "flox"
           :        ^^^^^^
           `----
        "#);
    }

    #[test]
    fn color_is_only_where_it_is_wanted() {
        assert!(render(&two(), true).contains('\u{1b}'));
        assert!(!render(&two(), false).contains('\u{1b}'));
    }

    #[test]
    fn a_place_outside_of_the_text_still_has_its_message() {
        let list = vec![Problem::new("recipe::syntax", "the text ends too early", 90..99, "here")];
        let problems = Problems { name: "r.toml".into(), text: "a = 1".into(), list };
        let text = render(&problems, false);
        assert!(text.contains("the text ends too early") && text.contains("recipe::syntax"), "{text}");
    }
}
