//! Progress of long work: a bar on a terminal; elsewhere, as in the log of a batch job, a line of text
//! every so often.

use std::env;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressDrawTarget, ProgressStyle};

use crate::failure::Failure;
use crate::text::{printable, say, seconds};

/// The environment variable with the seconds from one line to the next.
const SECONDS: &str = "SEQLORA_PROGRESS_SECONDS";

/// The time from one line to the next without it.
pub const USUAL: Duration = Duration::from_secs(30);

/// What a bar counts.
#[derive(Debug, Clone, Copy)]
pub enum Count {
    /// Things of this name.
    Of(&'static str),
    /// Hundredths of work of several kinds.
    Share,
    /// The bytes of a file.
    Bytes,
}

/// The progress of one piece of work.
#[derive(Debug)]
pub struct ProgressBar {
    /// It keeps the position and estimates the time, drawn or not.
    bar: indicatif::ProgressBar,
    count: Count,
    log: Option<Log>,
}

/// When the next line of text is due.
#[derive(Debug)]
struct Log {
    every: Duration,
    last: Mutex<Instant>,
}

/// The time from one line of text to the next.
///
/// # Errors
/// If the environment asks for one that is no number of seconds.
pub fn interval() -> Result<Duration, Failure> {
    let Some(text) = env::var_os(SECONDS) else { return Ok(USUAL) };
    let number = text.to_str().and_then(|text| text.trim().parse().ok());
    number.and_then(|number| Duration::try_from_secs_f64(number).ok()).ok_or_else(|| {
        let text = text.to_string_lossy();
        Failure::Usage(format!("{SECONDS} is `{text}`; it must be a number of seconds, 0 or more"))
    })
}

impl ProgressBar {
    /// One that is never shown.
    pub fn hidden() -> Self {
        Self { bar: indicatif::ProgressBar::hidden(), count: Count::Share, log: None }
    }

    /// Shown as a bar if standard error is a terminal and `drawn`, else as lines of text, if there is
    /// a time from one to the next.
    pub fn new(label: &str, count: Count, drawn: bool, lines: Option<Duration>) -> Self {
        let stderr = ProgressDrawTarget::stderr();
        let (target, log) = match stderr.is_hidden() {
            false if drawn => (stderr, None),
            false => (ProgressDrawTarget::hidden(), None),
            true => (ProgressDrawTarget::hidden(), lines.map(Log::new)),
        };
        let bar = indicatif::ProgressBar::with_draw_target(None, target);
        let counted = match count {
            Count::Of(unit) => format!("{{pos}}/{{len}} {unit}"),
            Count::Share => "{percent:>3} %".into(),
            Count::Bytes => "{bytes}/{total_bytes}".into(),
        };
        let template =
            format!("{{prefix:<11}}{{bar:24}} {counted}  {{elapsed}} < {{eta}}  {{msg}}");
        bar.set_style(ProgressStyle::with_template(&template).expect("a valid template"));
        bar.set_prefix(printable(label).into_owned());
        Self { bar, count, log }
    }

    /// How much there is to do.
    pub fn set_length(&self, length: u64) {
        self.bar.set_length(length);
    }

    /// How much is done.
    pub fn set_position(&self, position: u64) {
        self.bar.set_position(position);
        self.log_if_due();
    }

    /// How much is done so far.
    pub fn position(&self) -> u64 {
        self.bar.position()
    }

    /// More is done.
    pub fn inc(&self, more: u64) {
        self.bar.inc(more);
        self.log_if_due();
    }

    /// What is being done, or how well.
    pub fn set_message(&self, text: String) {
        self.bar.set_message(printable(&text).into_owned());
    }

    /// The speed is measured from here on.
    pub fn reset_eta(&self) {
        self.bar.reset_eta();
    }

    /// Prints something beside the bar.
    pub fn suspend(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// The work is done: the bar goes, and a last line of text tells how long it took.
    pub fn finish_and_clear(&self) {
        if self.log.is_some() && self.bar.position() > 0 {
            say(self.line(true));
        }
        self.bar.finish_and_clear();
    }

    fn log_if_due(&self) {
        let Some(Log { every, last }) = &self.log else { return };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= *every {
            *last = Instant::now();
            say(self.line(false));
        }
    }

    fn line(&self, done: bool) -> String {
        let (position, length) = (self.bar.position(), self.bar.length().unwrap_or(0));
        let percent = 100.0 * position as f64 / length.max(1) as f64;
        let counted = match self.count {
            Count::Of(unit) => format!("{position}/{length} {unit} ({percent:.0} %)"),
            Count::Share => format!("{percent:.0} %"),
            Count::Bytes => format!("{} of {}", HumanBytes(position), HumanBytes(length)),
        };
        let took = seconds(self.bar.elapsed());
        let left = match done {
            true => String::new(),
            false => format!(", about {} left", seconds(self.bar.eta())),
        };
        let (label, message) = (self.bar.prefix(), self.bar.message());
        let line = format!("{label:<13}{counted} in {took}{left}  {message}");
        line.trim_end().to_string()
    }
}

impl Log {
    fn new(every: Duration) -> Self {
        Self { every, last: Mutex::new(Instant::now()) }
    }
}
