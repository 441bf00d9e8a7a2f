//! A lock that allows one writer per folder.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::error::{FileError, Result};
use crate::open::open_to_write;

/// The name of the lock file, which remains in the folder after the lock is released.
pub const LOCK: &str = ".lock";

/// An exclusive lock on a folder, which is released when it is dropped or the process ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock of a folder without waiting.
    ///
    /// # Errors
    /// [`FileError::Locked`] if another process holds it, [`FileError::Link`] if the lock file is a link,
    /// or [`FileError::Io`] if it cannot be created.
    pub fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(LOCK);
        let file = open_to_write(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(FileError::Locked { path: folder.into() }),
            Err(TryLockError::Error(source)) => Err(FileError::io("cannot lock", &path)(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_writer() {
        let folder = tempfile::tempdir().unwrap();
        let lock = FolderLock::take(folder.path()).unwrap();
        let refusal = FolderLock::take(folder.path()).unwrap_err();
        assert!(matches!(refusal, FileError::Locked { .. }), "{refusal}");
        drop(lock);
        FolderLock::take(folder.path()).unwrap();
    }
}
