//! Atomic writes: after a crash or on a full disk, the old file is still there.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};
use tempfile::{Builder, NamedTempFile};

use crate::error::{FileError, Result};
use crate::open::{read_text, sync_folder};
use crate::storage::{self, Disk, TEMPORARY, folder_of, is_temporary};

/// Writes a file atomically: it writes a temporary file in the same folder and renames it.
///
/// # Errors
/// If the disk is full, the folder cannot be written, or something other than a file is in the way. What
/// was there is then unchanged.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    storage::write_atomic(&Disk, path, bytes)
}

/// Checks that [`write_atomic`] can write a file, before long work ends with it. Nothing is left behind.
///
/// # Errors
/// If no file can be made in its folder, or something other than a file is in the way.
pub fn check_target(path: &Path) -> Result<()> {
    storage::refuse_other(path)?;
    temporary(folder_of(path)).map(drop).map_err(FileError::io("cannot write", path))
}

/// Creates a folder unless it is there, and checks that files can be made in it, before long work writes them. No file is
/// left behind.
///
/// # Errors
/// If the folder cannot be created, or no file can be made in it.
pub fn check_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(FileError::io("cannot create", path))?;
    temporary(path).map(drop).map_err(FileError::io("cannot write to", path))
}

/// Writes a file atomically unless it exists. Returns whether it was written.
///
/// # Errors
/// If the disk is full or the folder cannot be written.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<bool> {
    let folder = folder_of(path);
    let write = || -> io::Result<()> {
        let mut file = temporary(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path).map_err(|e| e.error)?;
        sync_folder(folder)
    };
    match write() {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(FileError::io("cannot write", path)(error)),
    }
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
    write_atomic(path, &to_json(path, value)?)
}

/// A value as indented JSON with a line feed at its end; the path is for messages.
///
/// # Errors
/// If the value cannot be serialised.
pub fn to_json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(FileError::damaged(path))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads a JSON file.
///
/// # Errors
/// If it is no regular file, cannot be read, or is not the JSON of a `T`.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = read_text(path)?;
    serde_json::from_str(&text).map_err(FileError::damaged(path))
}
