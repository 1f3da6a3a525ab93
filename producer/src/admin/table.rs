//! Aligned columns.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

use crate::term::{Paint, visible};

/// How a cell looks on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// Needs a look.
    Warning,
    /// Something is wrong.
    Bad,
    /// Matters less.
    Dim,
}

/// One cell.
#[derive(Debug)]
pub struct Cell(String, Tone);

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self(text.to_string(), Tone::Plain)
    }
}

/// A cell with a tone.
pub fn cell(text: impl ToString, tone: Tone) -> Cell {
    Cell(text.to_string(), tone)
}

/// Rows below headings. A heading that ends in `>` stands over a column of numbers, to the right.
pub struct Table {
    headings: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// No rows yet.
    pub const fn new(headings: &'static [&'static str]) -> Self {
        Self {
            headings,
            rows: Vec::new(),
        }
    }

    /// Adds a row with as many cells as there are headings.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.headings.len());
        let harmless = |Cell(text, tone)| Cell(visible(&text).into_owned(), tone);
        self.rows.push(cells.into_iter().map(harmless).collect());
    }

    /// The table; without rows, `empty` instead.
    pub fn show(&self, paint: Paint, empty: &str) -> String {
        if self.rows.is_empty() {
            return format!("{empty}\n");
        }
        let names = self.headings.iter().map(|name| name.trim_end_matches('>'));
        let widths: Vec<usize> = names
            .clone()
            .enumerate()
            .map(|(i, name)| {
                let cells = self.rows.iter().map(|row| row[i].0.width());
                cells.chain([name.width()]).max().unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        let mut line = |cells: Vec<(&str, Tone)>| {
            let mut text = String::new();
            for (i, (cell, tone)) in cells.iter().enumerate() {
                let pad = " ".repeat(widths[i] - cell.width());
                let gap = if i == 0 { "" } else { "  " };
                let shown = match tone {
                    _ if cell.is_empty() => String::new(),
                    Tone::Plain => (*cell).to_owned(),
                    Tone::Warning => paint.warning(cell).to_string(),
                    Tone::Bad => paint.error(cell).to_string(),
                    Tone::Dim => paint.dim(cell).to_string(),
                };
                let _ = if self.headings[i].ends_with('>') {
                    write!(text, "{gap}{pad}{shown}")
                } else {
                    write!(text, "{gap}{shown}{pad}")
                };
            }
            out.push_str(text.trim_end());
            out.push('\n');
        };
        line(names.map(|name| (name, Tone::Dim)).collect());
        for row in &self.rows {
            line(
                row.iter()
                    .map(|Cell(text, tone)| (text.as_str(), *tone))
                    .collect(),
            );
        }
        out
    }
}

/// Lines of `name  value`, aligned; a value may be several lines.
pub fn facts(paint: Paint, facts: &[(&str, String)]) -> String {
    let width = facts
        .iter()
        .map(|(name, _)| name.width())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for (name, value) in facts {
        for (i, line) in value.lines().enumerate() {
            let name = if i == 0 { *name } else { "" };
            let pad = " ".repeat(width - name.width());
            let _ = writeln!(out, "{}{pad}  {}", paint.dim(name), visible(line));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen_and_text_cannot_drive_the_terminal() {
        let mut table = Table::new(&["NAME", "JOBS>", "NOTE"]);
        table.row(["你好".into(), 7.into(), "a\x1b[2J".into()]);
        table.row(["ada".into(), 1200.into(), "".into()]);
        assert_eq!(
            table.show(Paint::PLAIN, "none"),
            "NAME  JOBS  NOTE\n你好     7  a\\u{1b}[2J\nada   1200\n"
        );
        assert_eq!(Table::new(&["A"]).show(Paint::PLAIN, "none"), "none\n");
    }

    #[test]
    fn facts_keep_the_lines_of_a_value_together() {
        let text = facts(
            Paint::PLAIN,
            &[("id", "x".to_owned()), ("error", "a\nb".to_owned())],
        );
        assert_eq!(text, "id     x\nerror  a\n       b\n");
    }
}
