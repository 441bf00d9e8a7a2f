//! Writing files so that a crash or a full disk leaves the old one.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};
use tempfile::{Builder, NamedTempFile, PersistError};

use crate::error::{FileError, Result};

/// How the names of files that are being written begin.
const TEMPORARY: &str = ".seqlora-tmp-";

/// Writes a file by way of a temporary one: all of it, or nothing.
///
/// # Errors
/// If the disk is full or the folder cannot be written; the old file is then untouched.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes, |file| file.persist(path)).map_err(FileError::io("cannot write", path))
}

/// [`write_atomic`], but `false` if there is a file already, which then stays.
///
/// # Errors
/// If the disk is full or the folder cannot be written.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<bool> {
    match write(path, bytes, |file| file.persist_noclobber(path)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(FileError::io("cannot write", path)(error)),
    }
}

fn write(
    path: &Path,
    bytes: &[u8],
    persist: impl FnOnce(NamedTempFile) -> std::result::Result<File, PersistError>,
) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut file = temporary(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    persist(file).map_err(|e| e.error)?;
    // The rename itself has to reach the disk too; other systems open no folders.
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    Ok(())
}

/// A temporary file that the group and others may read as far as the umask lets them.
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.prefix(TEMPORARY).tempfile_in(folder)
}

/// Whether a file was being written by [`write_atomic`].
pub fn is_temporary(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes())
}

/// Removes what killed processes were writing in a folder, if it is there.
pub fn remove_temporary(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_temporary(&entry.file_name()) {
            fs::remove_file(entry.path()).map_err(FileError::io("cannot remove", entry.path()))?;
        }
    }
    Ok(())
}

/// Writes a value as indented JSON, atomically.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(FileError::damaged(path))?;
    text.push('\n');
    write_atomic(path, text.as_bytes())
}

/// Reads a JSON file.
///
/// # Errors
/// If it is not there or not what it should be.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(FileError::io("cannot read", path))?;
    serde_json::from_str(&text).map_err(FileError::damaged(path))
}
