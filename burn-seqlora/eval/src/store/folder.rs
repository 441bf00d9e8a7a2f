//! Opening the folder of a run.

use std::fs;
use std::path::{Path, PathBuf};

use seqlora_core::check::difference;
use seqlora_files::{FileError, GuardedFolder, is_temporary, read_bytes};

use super::record::RunRecord;

/// The file with the record.
const RECORD: &str = "evaluation.json";

/// Bytes of a record at most: 10,000 concepts with 10 prompts take 10 MB.
const RECORD_LIMIT: u64 = 256 << 20;

/// The folder of a run, which is open for reading and writing.
#[derive(Debug, Clone)]
pub struct RunFolder {
    folder: GuardedFolder,
}

/// A run's folder that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file cannot be read or written, or is damaged.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder holds another run.
    #[error("{} holds another evaluation: {difference}", path.display())]
    Other {
        /// The folder.
        path: PathBuf,
        /// In what it differs.
        difference: String,
    },
    /// The folder holds something else.
    #[error("{} is not empty and holds no evaluation", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// Two folders have different files of the same name.
    #[error(
        "{count} files differ in {} and {}, the first is {first}: the same image or score came out otherwise, \
         as it does on another kind of machine; keep one of them",
        own.display(), other.display()
    )]
    Conflict {
        /// The folder that is merged into.
        own: PathBuf,
        /// The other one.
        other: PathBuf,
        /// The first file that differs.
        first: String,
        /// How many do.
        count: usize,
    },
}

impl RunFolder {
    /// Starts a run in a folder that is empty or not there, or goes on with the run in it.
    ///
    /// # Errors
    /// If the folder holds another run or something else, or cannot be written.
    pub fn open(path: &Path, record: &RunRecord) -> Result<Self, StoreError> {
        let run = Self { folder: GuardedFolder::new(path) };
        if run.folder.check(RECORD)?.exists() {
            run.check(record)?;
            return Ok(run);
        }
        let names = fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.file_name());
        if names.into_iter().any(|name| !is_temporary(&name)) {
            return Err(StoreError::Foreign { path: path.into() });
        }
        run.folder.create_folder("")?;
        run.folder.write_json(RECORD, record)?;
        Ok(run)
    }

    /// Opens the run in a folder to read it.
    ///
    /// # Errors
    /// If there is none, or it is another one.
    pub fn existing(path: &Path, record: &RunRecord) -> Result<Self, StoreError> {
        let run = Self { folder: GuardedFolder::new(path) };
        run.check(record)?;
        Ok(run)
    }

    fn check(&self, record: &RunRecord) -> Result<(), StoreError> {
        let file = self.folder.check(RECORD)?;
        let bytes = read_bytes(&file, RECORD_LIMIT)?;
        let found: RunRecord = serde_json::from_slice(&bytes).map_err(FileError::damaged(&file))?;
        match difference(&found, record) {
            None => Ok(()),
            Some(difference) => Err(StoreError::Other { path: self.path().into(), difference }),
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Everything is read and written through this.
    pub(super) fn guarded(&self) -> &GuardedFolder {
        &self.folder
    }

    /// Writes a report's file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_report(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        if let Some(parent) = Path::new(name).parent().filter(|p| !p.as_os_str().is_empty()) {
            self.folder.create_folder(parent)?;
        }
        Ok(self.folder.write(name, bytes)?)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::protocol::tests_support::{method, protocol};

    pub fn record() -> RunRecord {
        RunRecord {
            version: RunRecord::VERSION,
            base: ["base".into(), "f".into()],
            size: [64, 64],
            precision: Default::default(),
            batch: 1,
            methods: vec![method("a")],
            protocol: protocol(),
        }
    }

    #[test]
    fn a_folder_has_one_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        RunFolder::open(&path, &record()).unwrap();
        RunFolder::open(&path, &record()).unwrap();
        let mut other = record();
        other.protocol.sampling.steps += 1;
        let error = RunFolder::open(&path, &other).unwrap_err().to_string();
        assert!(error.contains("`protocol.sampling.steps` was 50, now it is 51"), "{error}");
        let file = path.join("evaluation.json");
        for bad in ["{}", "[", "{\"version\": 1e400}"] {
            fs::write(&file, bad).unwrap();
            let error = RunFolder::open(&path, &record()).unwrap_err().to_string();
            assert!(error.contains("evaluation.json is damaged"), "{error}");
        }
        fs::rename(&file, path.join("notes.txt")).unwrap();
        let error = RunFolder::open(&path, &record()).unwrap_err().to_string();
        assert!(error.contains("holds no evaluation"), "{error}");
        assert!(RunFolder::existing(&folder.path().join("no"), &record()).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_record_behind_a_link_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("victim"), "kept").unwrap();
        let path = folder.path().join("run");
        fs::create_dir(&path).unwrap();
        let link = path.join("evaluation.json");
        std::os::unix::fs::symlink(folder.path().join("victim"), link).unwrap();
        let error = RunFolder::open(&path, &record()).unwrap_err().to_string();
        assert!(error.contains("symbolic link"), "{error}");
        assert_eq!(fs::read_to_string(folder.path().join("victim")).unwrap(), "kept");
    }
}
