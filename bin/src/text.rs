//! Text for people: safe to print, with readable times, sizes and tables.
//!
//! Whatever prints names, class words or messages from files passes them through [`printable`].

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

pub use burn_seqlora::files::printable;

/// A line on standard error; training goes on when nobody reads it any more.
pub fn say(text: impl Display) {
    let _ = writeln!(io::stderr(), "{}", printable(&text.to_string()));
}

/// Seconds as people write them.
pub fn seconds(duration: Duration) -> String {
    match duration.as_secs_f64() {
        s if s < 10.0 => format!("{s:.2} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s => format!("{:.0} min {:.0} s", (s / 60.0).floor(), s % 60.0),
    }
}

/// Bytes as people write them.
pub fn bytes(count: usize) -> String {
    match count as f64 {
        b if b < 1e6 => format!("{:.0} kB", b / 1e3),
        b if b < 1e9 => format!("{:.0} MB", b / 1e6),
        b => format!("{:.1} GB", b / 1e9),
    }
}

/// The characters of a cell that a table shows; JSON has all of them.
const CELL: usize = 120;

/// A table with aligned columns; the first row is its head. Each cell is one line, and long ones are cut.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|text| cell(text)).collect()).collect();
    let length = |cell: &String| cell.chars().count();
    let width = |c: usize| rows.iter().map(|row| length(&row[c])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells = cells.map(|(cell, width)| cell.clone() + &" ".repeat(width - length(cell)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn cell(text: &str) -> String {
    let text = printable(text).replace(['\n', '\t'], " ");
    match text.char_indices().nth(CELL) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(printable("plain ünïcode\n\ttext"), "plain ünïcode\n\ttext");
        let hostile = "\u{1b}[2J\r\u{9b}31m\u{202e}gnp.exe\u{7}";
        let shown = r"\u{1b}[2J\u{d}\u{9b}31m\u{202e}gnp.exe\u{7}";
        assert_eq!(printable(hostile), shown);
    }

    /// Padding by `{:<width$}` panics from 65,536 characters on.
    #[test]
    fn a_table_cuts_what_is_too_long_for_it() {
        let rows = [["id", "class"], ["a", &"x".repeat(70_000)], ["long id", "two\nlines"]];
        let rows = rows.map(|row| row.map(String::from).to_vec());
        let text = table(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], "id       class");
        assert_eq!(lines[1], format!("a        {}…", "x".repeat(CELL)));
        assert_eq!(lines[2], "long id  two lines");
    }
}
