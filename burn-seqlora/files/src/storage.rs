//! The few operations by which folders that must survive a crash are written.
//!
//! A program that runs on sees the effect of each at once. After a loss of power only what was synced is
//! certain: contents by a sync of the file; names that were made, changed or removed by a sync of their
//! folder. What was not synced may be there or not, in parts and in any order.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::Path;

use crate::error::{FileError, Result};
use crate::open::{open_to_write, refuse_link, sync_folder};

/// The prefix of the names of temporary files.
pub(crate) const TEMPORARY: &str = ".seqlora-tmp-";

/// Where files are written: a disk, or in tests something that records what would reach it.
pub trait Storage: Debug + Send + Sync {
    /// Creates a folder in one that exists. One that is already there stays as it is.
    ///
    /// # Errors
    /// If it cannot be created.
    fn create_folder(&self, path: &Path) -> Result<()>;

    /// Cuts a file to `length` bytes and writes behind them. A missing file is created.
    ///
    /// # Errors
    /// If the disk is full, or something other than a file is there.
    fn write(&self, path: &Path, length: u64, bytes: &[u8]) -> Result<()>;

    /// Waits until a file's contents, or the names in a folder, would survive a loss of power.
    ///
    /// # Errors
    /// If the system cannot tell.
    fn sync(&self, path: &Path) -> Result<()>;

    /// Gives a file another name in the same folder, in place of a file of that name.
    ///
    /// # Errors
    /// If a folder is in the way.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file, or a folder with everything in it. Links are removed, not followed.
    ///
    /// # Errors
    /// If it cannot be removed; what is not there is no error.
    fn remove(&self, path: &Path) -> Result<()>;
}

/// The file system.
#[derive(Debug, Clone, Copy)]
pub struct Disk;

impl Storage for Disk {
    fn create_folder(&self, path: &Path) -> Result<()> {
        match fs::create_dir(path) {
            Err(_) if path.is_dir() => Ok(()),
            created => created.map_err(FileError::io("cannot create", path)),
        }
    }

    fn write(&self, path: &Path, length: u64, bytes: &[u8]) -> Result<()> {
        let mut file = open_to_write(path)?;
        let written = file.set_len(length).and_then(|()| {
            file.seek(SeekFrom::Start(length))?;
            file.write_all(bytes)
        });
        written.map_err(FileError::io("cannot write", path))
    }

    fn sync(&self, path: &Path) -> Result<()> {
        let synced = match path.is_dir() {
            true => sync_folder(path),
            false => File::options().write(true).open(path).and_then(|file| file.sync_all()),
        };
        synced.map_err(FileError::io("cannot write", path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(FileError::io("cannot write", to))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let is_folder = fs::symlink_metadata(path).is_ok_and(|what| what.is_dir());
        let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        match removed {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(FileError::io("cannot remove", path)),
        }
    }
}

/// Writes a file atomically: it writes a temporary file in the same folder, syncs and renames it.
pub(crate) fn write_atomic(storage: &dyn Storage, path: &Path, bytes: &[u8]) -> Result<()> {
    refuse_other(path)?;
    let folder = folder_of(path);
    let temporary = folder.join(format!("{TEMPORARY}{:016x}", RandomState::new().hash_one(path)));
    let steps = || {
        storage.write(&temporary, 0, bytes)?;
        storage.sync(&temporary)?;
        storage.rename(&temporary, path)?;
        // The new name has to reach the disk as well.
        storage.sync(folder)
    };
    steps().map_err(|error| {
        // It is removed at the next opening if that fails too.
        let _ = storage.remove(&temporary);
        match error {
            FileError::Io { source, .. } => FileError::io("cannot write", path)(source),
            other => other,
        }
    })
}

/// Refuses a link, a device or a pipe, whose place a rename would take.
pub(crate) fn refuse_other(path: &Path) -> Result<()> {
    refuse_link(path)?;
    match fs::symlink_metadata(path).is_ok_and(|old| !old.is_file()) {
        true => Err(FileError::NotRegular { path: path.into() }),
        false => Ok(()),
    }
}

/// The folder that a file lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Whether a file name is that of a temporary file of an atomic write.
pub fn is_temporary(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes())
}
