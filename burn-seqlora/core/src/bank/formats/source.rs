//! What is at a path, before it is known which tool wrote it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::bank::tensors::{Array, read_arrays};
use crate::error::Result;

/// A folder or a file with an adapter.
#[derive(Debug, Clone)]
pub enum Source {
    /// A folder; its format reads what is in it.
    Folder(PathBuf),
    /// A file, which has been read.
    File(TensorFile),
}

/// A file of tensors.
#[derive(Debug, Clone)]
pub struct TensorFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its tensors by key.
    pub tensors: BTreeMap<String, Array>,
    /// What it says besides.
    pub metadata: BTreeMap<String, String>,
}

impl Source {
    /// Opens a folder, or reads a file.
    ///
    /// # Errors
    /// If there is nothing, or a file holds anything but tensors of finite numbers.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Ok(Self::Folder(path.into()));
        }
        let (tensors, metadata) = read_arrays(path)?;
        Ok(Self::File(TensorFile { path: path.into(), tensors, metadata }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) => path,
            Self::File(file) => &file.path,
        }
    }

    /// The file, if it is one whose keys all satisfy a condition.
    pub fn file_with(&self, is_key: impl Fn(&str) -> bool) -> Option<&TensorFile> {
        match self {
            Self::File(file) if !file.tensors.is_empty() => {
                file.tensors.keys().all(|key| is_key(key)).then_some(file)
            }
            _ => None,
        }
    }
}
