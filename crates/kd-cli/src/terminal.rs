//! Standard error, for everything that is not data: whether it is a terminal, whether it has color, and lines on it
//! that do not run into a progress bar.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

use clap::ColorChoice;
use clap::builder::styling::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressDrawTarget};

use crate::args::Global;
use crate::environment::Environment;

/// Standard error.
#[derive(Debug, Clone)]
pub(crate) struct Terminal {
    /// Bars are drawn and redrawn in place.
    pub(crate) interactive: bool,
    /// Text may carry colors.
    pub(crate) color: bool,
    quiet: bool,
    verbose: u8,
    bars: MultiProgress,
}

impl Terminal {
    /// Standard error as options and environment want it.
    pub(crate) fn new(global: &Global, environment: &Environment) -> Self {
        let terminal = std::io::stderr().is_terminal() && !environment.dumb_terminal;
        let color = match global.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !environment.no_color,
        };
        let interactive = terminal && !global.quiet;
        let target = if interactive { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self {
            interactive,
            color,
            quiet: global.quiet,
            verbose: global.verbose,
            bars: MultiProgress::with_draw_target(target),
        }
    }

    /// Bars that share the terminal with the lines.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// A line of information, unless the user wants quiet.
    pub(crate) fn say(&self, line: impl Display) {
        if !self.quiet {
            self.always(line);
        }
    }

    /// A line for those who want to know more.
    pub(crate) fn detail(&self, line: impl Display) {
        if self.verbose > 0 {
            self.always(line);
        }
    }

    /// A line that is always written. A closed standard error is nobody's problem.
    pub(crate) fn always(&self, line: impl Display) {
        self.bars.suspend(|| {
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        });
    }

    /// `error[code]: …`
    pub(crate) fn error(&self, code: Option<&str>, message: impl Display) {
        let word = match code {
            Some(code) => format!("error[{code}]:"),
            None => "error:".to_owned(),
        };
        self.always(format_args!("{} {message}", self.paint(AnsiColor::Red.on_default().bold(), &word)));
    }

    /// `hint: …`, on a line of its own.
    pub(crate) fn hint(&self, message: impl Display) {
        self.always(format_args!("{} {message}", self.paint(AnsiColor::Cyan.on_default().bold(), "hint:")));
    }

    /// Text in a style, where there is color.
    fn paint(&self, style: Style, text: &str) -> String {
        match self.color {
            true => format!("{style}{text}{style:#}"),
            false => text.to_owned(),
        }
    }
}
