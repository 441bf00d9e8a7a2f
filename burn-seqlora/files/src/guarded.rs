//! A folder below which nothing is written, removed or renamed through a link.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::error::{FileError, Result};
use crate::files::to_json;
use crate::open::refuse_link;
use crate::storage::{Disk, Storage, folder_of, is_temporary, write_atomic};

/// A folder that may come from a stranger, and that this program writes to. The folder itself may be a
/// link of the user's; what lies in it is reached by plain names only, and none of them may be a link.
#[derive(Debug, Clone)]
pub struct GuardedFolder {
    path: PathBuf,
    storage: Arc<dyn Storage>,
}

impl GuardedFolder {
    /// A folder of the file system; nothing is created.
    pub fn new(path: &Path) -> Self {
        Self::with_storage(path, Arc::new(Disk))
    }

    /// A folder that is written through another storage.
    pub fn with_storage(path: &Path, storage: Arc<dyn Storage>) -> Self {
        Self { path: path.into(), storage }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The full path of something in it.
    ///
    /// # Errors
    /// [`FileError::Outside`] if `inside` is not made of plain names, or [`FileError::Link`] if one of
    /// them is a link.
    pub fn check(&self, inside: impl AsRef<Path>) -> Result<PathBuf> {
        let mut path = self.path.clone();
        for part in inside.as_ref().components() {
            let Component::Normal(name) = part else {
                return Err(FileError::Outside { path: self.path.join(inside.as_ref()) });
            };
            path.push(name);
            refuse_link(&path)?;
        }
        Ok(path)
    }

    /// Creates a folder in it, and those above it that are missing. It is there after a loss of power.
    ///
    /// # Errors
    /// As [`check`](Self::check), or if it cannot be created.
    pub fn create_folder(&self, inside: impl AsRef<Path>) -> Result<()> {
        let path = self.check(inside)?;
        let missing = path.ancestors().filter(|path| !path.as_os_str().is_empty());
        let missing: Vec<&Path> = missing.take_while(|path| !path.is_dir()).collect();
        for folder in missing.into_iter().rev() {
            self.storage.create_folder(folder)?;
            self.storage.sync(folder_of(folder))?;
        }
        Ok(())
    }

    /// Writes a file atomically; after a loss of power it is the old or the new one.
    ///
    /// # Errors
    /// As [`check`](Self::check), or if the disk is full. What was there is then unchanged.
    pub fn write(&self, inside: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
        write_atomic(self.storage.as_ref(), &self.check(inside)?, bytes)
    }

    /// Writes a value as indented JSON, atomically.
    ///
    /// # Errors
    /// As [`write`](Self::write), or if the value cannot be serialised.
    pub fn write_json<T: Serialize>(&self, inside: impl AsRef<Path>, value: &T) -> Result<()> {
        let bytes = to_json(inside.as_ref(), value)?;
        self.write(inside, &bytes)
    }

    /// Cuts a file to `length` bytes and writes behind them. What a loss of power leaves of these bytes
    /// is uncertain until [`sync`](Self::sync).
    ///
    /// # Errors
    /// As [`check`](Self::check), or if the disk is full.
    pub fn append(&self, inside: impl AsRef<Path>, length: u64, bytes: &[u8]) -> Result<()> {
        self.storage.write(&self.check(inside)?, length, bytes)
    }

    /// Brings a file and its name to the disk.
    ///
    /// # Errors
    /// As [`check`](Self::check), or if the disk reports an error.
    pub fn sync(&self, inside: impl AsRef<Path>) -> Result<()> {
        let path = self.check(inside)?;
        self.storage.sync(&path)?;
        self.storage.sync(folder_of(&path))
    }

    /// Removes a file, or a folder with everything in it, if it is there.
    ///
    /// # Errors
    /// As [`check`](Self::check), or if it cannot be removed.
    pub fn remove(&self, inside: impl AsRef<Path>) -> Result<()> {
        let path = self.check(inside)?;
        if !path.exists() {
            return Ok(());
        }
        self.storage.remove(&path)?;
        self.storage.sync(folder_of(&path))
    }

    /// Removes the temporary files that killed processes left in a folder, `""` for this one.
    ///
    /// # Errors
    /// As [`remove`](Self::remove).
    pub fn remove_temporary(&self, inside: impl AsRef<Path>) -> Result<()> {
        let folder = self.check(inside)?;
        let names = fs::read_dir(&folder).into_iter().flatten().flatten();
        let names: Vec<OsString> = names.map(|entry| entry.file_name()).collect();
        names
            .into_iter()
            .filter(|name| is_temporary(name))
            .try_for_each(|name| self.storage.remove(&folder.join(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_is_reached_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let guarded = GuardedFolder::new(&folder.path().join("bank"));
        for outside in ["../victim", "/victim", "a/../../victim"] {
            let error = guarded.write(outside, b"x").unwrap_err();
            assert!(matches!(error, FileError::Outside { .. }), "{error}");
        }
        guarded.create_folder("a/b").unwrap();
        guarded.write("a/b/c", b"x").unwrap();
        guarded.append("a/b/c", 1, b"y").unwrap();
        assert_eq!(fs::read(folder.path().join("bank/a/b/c")).unwrap(), b"xy");
        guarded.remove("a").unwrap();
        guarded.remove("a").unwrap();
        assert_eq!(fs::read_dir(guarded.path()).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn nothing_outside_is_reached_through_links() {
        let folder = tempfile::tempdir().unwrap();
        let [bank, victim] = ["bank", "victim"].map(|name| folder.path().join(name));
        fs::create_dir_all(bank.join("real")).unwrap();
        fs::create_dir_all(victim.join("checkpoint")).unwrap();
        std::os::unix::fs::symlink(&victim, bank.join("concepts")).unwrap();
        std::os::unix::fs::symlink(&victim, bank.join("real/.seqlora-tmp-1")).unwrap();
        let guarded = GuardedFolder::new(&bank);
        let results = [
            guarded.create_folder("concepts/dog"),
            guarded.write("concepts/dog", b"x"),
            guarded.append("concepts/dog", 0, b"x"),
            guarded.remove("concepts/checkpoint"),
            guarded.remove_temporary("concepts"),
        ];
        for result in results {
            let error = result.unwrap_err();
            assert!(matches!(error, FileError::Link { .. }), "{error}");
        }
        guarded.remove_temporary("real").unwrap();
        guarded.remove("real").unwrap();
        assert!(victim.join("checkpoint").is_dir(), "links are removed, not followed");
    }
}
