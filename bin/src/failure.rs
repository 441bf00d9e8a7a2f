//! What ends a command early, and the exit code that tells which.

use std::fmt;

use crate::hints;

/// A command that did not finish.
#[derive(Debug)]
pub enum Failure {
    /// Something went wrong.
    Failed(Box<dyn std::error::Error + Send + Sync>),
    /// The command line or a settings file asks for something that cannot be.
    Usage(String),
    /// A result has been shown, and says that something is damaged or failed.
    Damaged(String),
    /// Ctrl-C; what was done is saved.
    Interrupted(String),
}

impl Failure {
    /// A setting or an option that cannot be, as a library says it.
    pub fn usage(error: impl fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }

    /// Ctrl-C in a command that has `--resume`.
    pub fn stopped() -> Self {
        let text = "stopped; the state is saved: the same command with --resume goes on";
        Self::Interrupted(text.into())
    }

    /// A demo that Ctrl-C stopped.
    pub fn stopped_demo() -> Self {
        Self::Interrupted("stopped; the state is saved: the same command goes on".into())
    }

    /// Which options help with an error that a library reports, if any do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Failed(error) => hints::hint(error.as_ref()),
            Self::Usage(_) | Self::Damaged(_) | Self::Interrupted(_) => None,
        }
    }

    /// 1 failed, 2 wrong usage, 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(error) if hints::concerns_an_option(error.as_ref()) => 2,
            Self::Failed(_) | Self::Damaged(_) => 1,
            Self::Usage(_) => 2,
            Self::Interrupted(_) => 130,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Usage(text) | Self::Damaged(text) | Self::Interrupted(text) => text.fmt(f),
        }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(Box::new(error))
    }
}
