//! What goes wrong with a scorer.

use seqlora_files::printable;

/// An external scorer that cannot be used. Every message names the scorer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExternalError {
    /// The settings of a scorer do not make sense.
    #[error("the scorer `{name}`: {reason}")]
    Config {
        /// The scorer.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The program cannot be started.
    #[error("the scorer `{name}` cannot be started: `{command}`: {source}")]
    Start {
        /// The scorer.
        name: String,
        /// The program.
        command: String,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The program has ended.
    #[error("the scorer `{name}` ended ({status}) while {doing}{}", shown(log))]
    Ended {
        /// The scorer.
        name: String,
        /// How it ended.
        status: String,
        /// What it was expected to do.
        doing: &'static str,
        /// The end of its log.
        log: String,
    },
    /// The program does not answer.
    #[error("the scorer `{name}` did not answer within {seconds} s while {doing}{}", shown(log))]
    Timeout {
        /// The scorer.
        name: String,
        /// How long was waited.
        seconds: u64,
        /// What it was expected to do.
        doing: &'static str,
        /// The end of its log.
        log: String,
    },
    /// The program printed a line that is not of the protocol.
    #[error("the scorer `{name}` printed `{}`: {reason}", printable(line))]
    Garbage {
        /// The scorer.
        name: String,
        /// The start of the line.
        line: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The program could not score an image.
    #[error("the scorer `{name}` could not score image {image}: {}", printable(reason))]
    Item {
        /// The scorer.
        name: String,
        /// The position of the image.
        image: usize,
        /// The scorer's reason.
        reason: String,
    },
    /// An image for the program cannot be written.
    #[error("the scorer `{name}`: an image for it cannot be written: {reason}")]
    Image {
        /// The scorer.
        name: String,
        /// The reason.
        reason: String,
    },
}

/// The end of a log, as the end of a sentence.
fn shown(log: &str) -> String {
    match log.trim() {
        "" => String::new(),
        log => format!("; the end of its log: {}", printable(log)),
    }
}
