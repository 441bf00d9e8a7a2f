//! Atomic writes: after a crash or on a full disk, the old file is still there.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};
use tempfile::{Builder, NamedTempFile, PersistError};

use crate::error::{FileError, Result};
use crate::open::{read_text, refuse_link, sync_folder};

/// The prefix of the names of temporary files.
const TEMPORARY: &str = ".seqlora-tmp-";

/// Writes a file atomically: it writes a temporary file in the same folder and renames it.
///
/// # Errors
/// If the disk is full, the folder cannot be written, or something other than a file is in the way. What
/// was there is then unchanged.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    refuse_other(path)?;
    write(path, bytes, |file| file.persist(path)).map_err(FileError::io("cannot write", path))
}

/// Checks that [`write_atomic`] can write a file, before long work ends with it. Nothing is left behind.
///
/// # Errors
/// If no file can be made in its folder, or something other than a file is in the way.
pub fn check_target(path: &Path) -> Result<()> {
    refuse_other(path)?;
    temporary(folder_of(path)).map(drop).map_err(FileError::io("cannot write", path))
}

/// Refuses a link, a device or a pipe, whose place a rename would take.
fn refuse_other(path: &Path) -> Result<()> {
    refuse_link(path)?;
    match fs::symlink_metadata(path).is_ok_and(|old| !old.is_file()) {
        true => Err(FileError::NotRegular { path: path.into() }),
        false => Ok(()),
    }
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Writes a file atomically unless it exists. Returns whether it was written.
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
    let folder = folder_of(path);
    let mut file = temporary(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    persist(file).map_err(|e| e.error)?;
    // The rename has to reach the disk as well.
    sync_folder(folder)
}

/// A temporary file with the permissions that the umask gives to new files.
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.prefix(TEMPORARY).tempfile_in(folder)
}

/// Whether a file name is that of a temporary file of [`write_atomic`].
pub fn is_temporary(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes())
}

/// Removes the temporary files that killed processes left in a folder. A missing folder is no error.
///
/// # Errors
/// If a file cannot be removed.
pub fn remove_temporary(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_temporary(&entry.file_name()) {
            fs::remove_file(entry.path()).map_err(FileError::io("cannot remove", entry.path()))?;
        }
    }
    Ok(())
}

/// Writes a value as indented JSON, atomically.
///
/// # Errors
/// If the value cannot be serialised or the file cannot be written.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(FileError::damaged(path))?;
    text.push('\n');
    write_atomic(path, text.as_bytes())
}

/// Reads a JSON file.
///
/// # Errors
/// If it is no regular file, cannot be read, or is not the JSON of a `T`.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = read_text(path)?;
    serde_json::from_str(&text).map_err(FileError::damaged(path))
}
