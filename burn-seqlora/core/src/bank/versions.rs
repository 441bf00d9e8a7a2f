//! Records that say their version.

use std::path::Path;

use seqlora_files::{FileError, read_bytes};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Reads a record of at most `largest` bytes: its version if it says one, and its text.
///
/// # Errors
/// If it is no regular file, too large, no JSON, or its version is no number.
pub fn read_with_version(path: &Path, largest: u64) -> Result<(Option<u64>, String)> {
    let text = read_text(path, largest)?;
    let version = version(path, &text)?;
    Ok((version, text))
}

/// Reads a text file of at most `largest` bytes.
///
/// # Errors
/// If it is no regular file, too large, or not UTF-8.
pub fn read_text(path: &Path, largest: u64) -> Result<String> {
    let bytes = read_bytes(path, largest)?;
    String::from_utf8(bytes).map_err(|_| Error::damaged(path, "it is not UTF-8"))
}

/// The version of a record, if it says one; everything else in it is skipped without being stored.
///
/// # Errors
/// If it is no JSON, or its version is no number.
pub fn version(path: &Path, text: &str) -> Result<Option<u64>> {
    #[derive(Deserialize)]
    struct Head {
        version: Option<u64>,
    }
    match serde_json::from_str::<Head>(text) {
        Ok(head) => Ok(head.version),
        Err(error) if error.is_data() => Err(Error::damaged(path, "`version` is no number")),
        Err(error) => Err(Error::damaged(path, error)),
    }
}

/// Parses a record.
///
/// # Errors
/// If it is not the JSON of a `T`.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    Ok(serde_json::from_str(text).map_err(FileError::damaged(path))?)
}

/// Checks the version of a record.
///
/// # Errors
/// If it is missing, or greater than what this program reads.
pub fn check_version(path: &Path, version: Option<u64>, known: u32) -> Result<()> {
    match version {
        None | Some(0) => Err(Error::damaged(path, "`version` is missing or no positive number")),
        Some(version) if version > known.into() => {
            Err(Error::NewerVersion { path: path.into(), version, known })
        }
        Some(_) => Ok(()),
    }
}
