//! `kd explain`: more about a problem than its message says.

use kd_train::explain;

use super::Context;
use crate::args::Explain;
use crate::failure::Failure;

/// Columns that a paragraph may fill.
const WIDTH: usize = 100;

pub(super) fn run(args: &Explain, context: &Context) -> Result<(), Failure> {
    let code = args.code.trim();
    let found = explain::explain(code)
        .ok_or_else(|| Failure::UnknownCode { code: code.to_owned(), nearest: explain::nearest(code) })?;
    let text = || format!("{}: {}\n\n{}", found.code, found.about, wrapped(found.text));
    let json = || serde_json::json!({ "code": found.code, "about": found.about, "text": found.text });
    context.output.data(text, json)
}

/// Lines broken between words; examples, which begin with spaces, as they are.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        if line.starts_with(' ') {
            out += line;
        } else {
            let mut column = 0;
            for word in line.split(' ') {
                let width = word.chars().count();
                if column > 0 && column + 1 + width > WIDTH {
                    out.push('\n');
                    column = 0;
                } else if column > 0 {
                    out.push(' ');
                    column += 1;
                }
                out += word;
                column += width;
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_wrapped_and_examples_are_not() {
        let (words, example) = ("word ".repeat(30), format!("    {}", "x".repeat(120)));
        let text = wrapped(&format!("{}\n\n{example}\n\nend", words.trim_end()));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].len(), 99);
        assert_eq!(lines[1].split(' ').count(), 10);
        assert_eq!(lines[2..], ["", example.as_str(), "", "end"]);
    }
}
