//! The page of measurements: each table stands between two marks, and is replaced as a whole.

use anyhow::{Context, Result, ensure};
use xshell::Shell;

use super::quiet::{self, Ticks};

const PAGE: &str = "docs/speed.md";

/// The page, with a place for the table of one name.
#[derive(Debug)]
pub(crate) struct Page {
    name: &'static str,
    text: String,
}

impl Page {
    /// Reads it before anything is measured: it must have a place for the table.
    pub(crate) fn read(sh: &Shell, name: &'static str) -> Result<Self> {
        let page = Self { name, text: sh.read_file(PAGE)? };
        page.with("").with_context(|| format!("`{PAGE}` has no place for a table `{name}`"))?;
        Ok(page)
    }

    /// Writes it with `table`, unless the machine was busy in the pauses.
    pub(crate) fn write(&self, sh: &Shell, table: &str, paused: Ticks) -> Result<()> {
        let share = paused.share().unwrap_or_default();
        ensure!(
            share <= quiet::MOST,
            "other programs kept {:.0} % of the processors busy: `{PAGE}` was not written",
            share * 100.0
        );
        sh.write_file(PAGE, self.with(table).with_context(|| format!("`{PAGE}` lost its place"))?)?;
        println!("wrote {PAGE}");
        Ok(())
    }

    /// The page with `table` in the place that its marks leave for it.
    fn with(&self, table: &str) -> Option<String> {
        let (begin, end) = (format!("<!-- {}:begin -->\n", self.name), format!("<!-- {}:end -->", self.name));
        let (before, rest) = self.text.split_once(&begin)?;
        let (_, after) = rest.split_once(&end)?;
        Some(format!("{before}{begin}\n{table}\n{end}{after}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_replaces_the_one_before() {
        let with = |table: &str| format!("# Speed\n\n<!-- a:begin -->\n\n{table}\n<!-- a:end -->\n\nMore.\n");
        let page = |text: String| Page { name: "a", text };
        assert_eq!(page(with("old\n")).with("new\n"), Some(with("new\n")));
        assert_eq!(page(with("new\n")).with("new\n"), Some(with("new\n")));
        assert_eq!(page("# Speed\n".to_owned()).with("new\n"), None);
    }
}
