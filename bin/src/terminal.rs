//! What the user sees: text on standard error, results on standard output.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use burn_seqlora::error::Error;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::progress::{Count, ProgressBar};
pub use crate::text::{bytes, seconds, table};
use crate::text::{printable, say};

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
#[derive(Debug, Clone)]
pub struct Terminal {
    verbosity: Verbosity,
    json: bool,
    /// The time from one line of progress to the next, where there is no bar.
    every: Duration,
    /// Whether the one JSON value has been printed.
    answered: Arc<AtomicBool>,
}

impl Terminal {
    /// `json` keeps standard output for one JSON value; `every` is the time from one line of progress
    /// to the next.
    pub fn new(verbosity: Verbosity, json: bool, every: Duration) -> Self {
        Self { verbosity, json, every, answered: Arc::default() }
    }

    fn is_quiet(&self) -> bool {
        self.verbosity == Verbosity::Quiet
    }

    /// One labelled line of text.
    pub fn line(&self, label: &str, text: impl Display) {
        if !self.is_quiet() {
            say(format_args!("{label:<12} {text}"));
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

    /// What ended the command; with `--json` also as the JSON value, unless there has been one.
    pub fn error(&self, failure: &Failure) {
        let hint = failure.hint();
        match failure {
            Failure::Interrupted(text) => say(text),
            other => say(format_args!("error: {other}")),
        }
        if let Some(hint) = &hint {
            say(format_args!("hint: {hint}"));
        }
        if self.json && !self.answered.load(Ordering::Relaxed) {
            print_error(&failure.to_string(), hint.as_deref(), failure.exit_code());
        }
    }

    /// The command's result: as JSON if that was asked for, else as text.
    ///
    /// # Errors
    /// If standard output cannot be written; a reader that has seen enough is no error.
    pub fn result(&self, json: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let text = match (self.json, self.is_quiet()) {
            (true, _) => format!("{json:#}"),
            (false, false) => printable(&text()).into_owned(),
            (false, true) => return Ok(()),
        };
        self.file(format!("{text}\n").as_bytes())
    }

    /// Prints a file of our own as it is.
    pub fn file(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.answered.store(true, Ordering::Relaxed);
        match io::stdout().write_all(bytes) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Error::io("cannot write to", "standard output")(error).into())
            }
            _ => Ok(()),
        }
    }

    /// Progress with the time that is left; `unit` is what is counted.
    pub fn bar(&self, label: &str, total: usize, unit: &'static str) -> ProgressBar {
        let bar = self.progress(label, Count::Of(unit));
        bar.set_length(total as u64);
        bar
    }

    /// The same for work of several kinds: it shows the share that is done.
    pub fn share_bar(&self, label: &str, total: usize) -> ProgressBar {
        let bar = self.progress(label, Count::Share);
        bar.set_length(total as u64);
        bar
    }

    /// The same for a file's bytes, whose number is set later.
    pub fn bytes_bar(&self, file: &str) -> ProgressBar {
        let bar = self.progress("", Count::Bytes);
        bar.set_message(file.to_string());
        bar
    }

    fn progress(&self, label: &str, count: Count) -> ProgressBar {
        let lines = (!self.is_quiet()).then_some(self.every);
        ProgressBar::new(label, count, !self.is_quiet() && !self.json, lines)
    }
}

/// The JSON value of a command that did not finish: `error`, `exit_code` and perhaps `hint`.
pub fn print_error(text: &str, hint: Option<&str>, exit_code: u8) {
    let mut value = json!({ "error": text, "exit_code": exit_code });
    if let Some(hint) = hint {
        value["hint"] = hint.into();
    }
    let _ = writeln!(io::stdout(), "{value:#}");
}
