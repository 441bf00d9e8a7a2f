//! Errors that name the file.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use crate::plain::plain;

/// The result of an operation on files.
pub type Result<T, E = FileError> = std::result::Result<T, E>;

/// An error with a file or a folder, which the message names.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A file cannot be read or written.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What failed, e.g. "cannot write".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file exists, but its contents cannot be parsed.
    #[error("{} is damaged or of another kind: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file is a pickle by itself, as PyTorch wrote them before version 1.6: a program, which is not run.
    #[error(
        "{} is a bare pickle, as PyTorch wrote them before version 1.6, and reading it would run its code; \
         look for a .safetensors of it, or convert it on a machine where its code may run",
        path.display()
    )]
    BarePickle {
        /// The file.
        path: PathBuf,
    },
    /// A folder, pipe, device or socket stands where a file should be.
    #[error("{} is not a regular file", path.display())]
    NotRegular {
        /// What stands there.
        path: PathBuf,
    },
    /// A file is larger than any of its kind can be.
    #[error("{} has more than {} MiB, which is too much for a file of its kind", path.display(), limit >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A symbolic link stands where this program would write.
    #[error("{} is a symbolic link, and nothing is written through links; remove it", path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// A name in a folder of this program leads out of it.
    #[error("{} would lie outside of its folder", path.display())]
    Outside {
        /// The path.
        path: PathBuf,
    },
    /// Another process is writing to the folder.
    #[error("{} is in use by another process; wait for it, or choose another folder", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
}

impl FileError {
    /// The file or folder that it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. }
            | Self::Damaged { path, .. }
            | Self::BarePickle { path }
            | Self::NotRegular { path }
            | Self::TooLarge { path, .. }
            | Self::Link { path }
            | Self::Outside { path }
            | Self::Locked { path } => path,
        }
    }

    /// For `map_err`: an I/O error of `action` on `path`.
    pub fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// For `map_err`: a parser's error in the file `path`.
    pub fn damaged<E: Display>(path: impl Into<PathBuf>) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |reason| Self::Damaged { path, reason: plain(&reason.to_string()) }
    }
}
