//! A storage that records what is written.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use seqlora_files::{Disk, Result, Storage};

/// One operation, with paths relative to the recorder's folder.
#[derive(Debug, Clone)]
pub enum Operation {
    CreateFolder(PathBuf),
    Write {
        path: PathBuf,
        length: u64,
        bytes: Vec<u8>,
    },
    Sync(PathBuf),
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    /// A file, or a folder that is empty.
    Remove(PathBuf),
}

/// Writes to a folder of the file system, without waiting for it, and records the operations.
#[derive(Debug)]
pub struct Recorder {
    root: PathBuf,
    log: Mutex<Vec<Operation>>,
}

impl Recorder {
    pub fn new(root: &Path) -> Self {
        Self { root: root.into(), log: Mutex::new(Vec::new()) }
    }

    /// All operations so far.
    pub fn log(&self) -> Vec<Operation> {
        self.log.lock().unwrap().clone()
    }

    fn record(&self, operation: Operation) {
        self.log.lock().unwrap().push(operation);
    }

    fn inside(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).expect("nothing outside is written").into()
    }

    /// Folders are removed after what is in them.
    fn record_removal(&self, path: &Path) {
        for entry in fs::read_dir(path).into_iter().flatten() {
            self.record_removal(&entry.unwrap().path());
        }
        self.record(Operation::Remove(self.inside(path)));
    }
}

impl Storage for Recorder {
    fn create_folder(&self, path: &Path) -> Result<()> {
        self.record(Operation::CreateFolder(self.inside(path)));
        Disk.create_folder(path)
    }

    fn write(&self, path: &Path, length: u64, bytes: &[u8]) -> Result<()> {
        let (path_inside, bytes_kept) = (self.inside(path), bytes.to_vec());
        self.record(Operation::Write { path: path_inside, length, bytes: bytes_kept });
        Disk.write(path, length, bytes)
    }

    fn sync(&self, path: &Path) -> Result<()> {
        self.record(Operation::Sync(self.inside(path)));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.record(Operation::Rename { from: self.inside(from), to: self.inside(to) });
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.record_removal(path);
        Disk.remove(path)
    }
}
