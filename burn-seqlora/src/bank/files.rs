//! Writing files so that a crash or a full disk leaves the old one.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};
use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// Writes a file by way of a temporary one: all of it, or nothing.
///
/// # Errors
/// If the disk is full or the folder cannot be written; the old file is then untouched.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || {
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        // The rename itself has to reach the disk too.
        File::open(folder)?.sync_all()
    };
    write().map_err(Error::io("cannot write", path))
}

/// Writes a value as indented JSON, atomically.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(Error::damaged(path))?;
    text.push('\n');
    write_atomic(path, text.as_bytes())
}

/// Reads a JSON file.
///
/// # Errors
/// If it is not there or not what it should be.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(Error::io("cannot read", path))?;
    serde_json::from_str(&text).map_err(Error::damaged(path))
}
