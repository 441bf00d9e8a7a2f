//! One writer per folder.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::error::{FileError, Result};

/// The file that is locked; it stays behind, unlocked.
pub const LOCK: &str = ".lock";

/// The right to write to a folder, given back when it is dropped or the process ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes it, without waiting.
    ///
    /// # Errors
    /// If another process has it, or there is no such folder.
    pub fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(LOCK);
        let file = File::create(&path).map_err(FileError::io("cannot create", &path))?;
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
