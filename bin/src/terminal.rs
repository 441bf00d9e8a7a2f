//! What the user sees: text on standard error, results on standard output.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use burn_seqlora::error::Error;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::failure::Failure;

/// How much the user wants to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// What was found, what happens, what came out.
    Normal,
    /// Every layer too.
    Verbose,
}

/// Where messages go.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    verbosity: Verbosity,
    json: bool,
}

impl Terminal {
    /// `json` keeps standard output for one JSON value.
    pub fn new(verbosity: Verbosity, json: bool) -> Self {
        Self { verbosity, json }
    }

    fn is_quiet(&self) -> bool {
        self.verbosity == Verbosity::Quiet
    }

    /// One labelled line of text.
    pub fn line(&self, label: &str, text: impl Display) {
        if !self.is_quiet() {
            say(format_args!("{label:<13}{text}"));
        }
    }

    /// A line for those who want details.
    pub fn detail(&self, label: &str, text: impl Display) {
        if self.verbosity >= Verbosity::Verbose {
            self.line(label, text);
        }
    }

    /// Something that the user should look at.
    pub fn warning(&self, text: impl Display) {
        if !self.is_quiet() {
            say(format_args!("warning: {text}"));
        }
    }

    /// What ended the command.
    pub fn error(&self, failure: &Failure) {
        match failure {
            Failure::Interrupted(text) => say(text),
            other => say(format_args!("error: {other}")),
        }
        if let Some(hint) = failure.hint() {
            say(format_args!("hint: {hint}"));
        }
    }

    /// The command's result: as JSON if that was asked for, else as text.
    ///
    /// # Errors
    /// If standard output cannot be written; a reader that has seen enough is no error.
    pub fn result(&self, json: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let text = match (self.json, self.is_quiet()) {
            (true, _) => format!("{json:#}"),
            (false, false) => text(),
            (false, true) => return Ok(()),
        };
        match writeln!(io::stdout(), "{text}") {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Error::io("cannot write to", "standard output")(error).into())
            }
            _ => Ok(()),
        }
    }

    /// A progress bar with the time that is left; `unit` is what is counted.
    pub fn bar(&self, label: &str, total: usize, unit: &str) -> ProgressBar {
        let bar = self.bar_showing(label, &format!("{{pos}}/{{len}} {unit}"));
        bar.set_length(total as u64);
        bar
    }

    /// The same for work of several kinds: it shows the share that is done.
    pub fn share_bar(&self, label: &str, total: usize) -> ProgressBar {
        let bar = self.bar_showing(label, "{percent:>3} %");
        bar.set_length(total as u64);
        bar
    }

    /// A progress bar of a file's bytes, whose number is set later.
    pub fn bytes_bar(&self, file: &str) -> ProgressBar {
        let bar = self.bar_showing("", "{bytes}/{total_bytes}");
        bar.set_message(file.to_string());
        bar
    }

    fn bar_showing(&self, label: &str, count: &str) -> ProgressBar {
        let hidden = self.is_quiet() || self.json;
        let target =
            if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        let template = format!("{{prefix:<11}}{{bar:24}} {count}  {{elapsed}} < {{eta}}  {{msg}}");
        bar.set_style(ProgressStyle::with_template(&template).expect("a valid template"));
        bar.set_prefix(label.to_string());
        bar
    }
}

/// A line on standard error; training goes on when nobody reads it any more.
fn say(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
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

/// A table with aligned columns; the first row is its head.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |c: usize| rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, w)| format!("{cell:<w$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
