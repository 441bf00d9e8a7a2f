//! What is at a path, before it is known which tool wrote it.

use std::path::{Path, PathBuf};

use seqlora_files::Header;

use crate::error::Result;

/// A folder or a file that may hold an adapter.
#[derive(Debug)]
pub enum Source {
    /// A folder; its format reads what is in it.
    Folder(PathBuf),
    /// A file of tensors, whose numbers have not been read.
    File(Header),
}

impl Source {
    /// Opens a folder, or reads the header of a file.
    ///
    /// # Errors
    /// If there is nothing, or a file is no file of tensors.
    pub fn open(path: &Path) -> Result<Self> {
        match path.is_dir() {
            true => Ok(Self::Folder(path.into())),
            false => Ok(Self::File(Header::read(path)?)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) => path,
            Self::File(header) => header.path(),
        }
    }

    /// Whether it is a file whose keys all satisfy a condition.
    pub fn is_file_of(&self, is_key: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Folder(_) => false,
            Self::File(header) => {
                !header.tensors().is_empty() && header.tensors().keys().all(|key| is_key(key))
            }
        }
    }

    /// The header of the file, or of the first file with one of these names in the folder.
    ///
    /// # Errors
    /// If none is there, or it is no file of tensors.
    pub fn header(self, names: &[&str]) -> Result<Header> {
        match self {
            Self::File(header) => Ok(header),
            Self::Folder(folder) => Ok(Header::read(&file_in(&folder, names))?),
        }
    }
}

/// The first file with one of these names in a folder; where none is, the first name, for messages.
pub fn file_in(folder: &Path, names: &[&str]) -> PathBuf {
    let found = names.iter().find(|name| folder.join(name).is_file());
    folder.join(found.or(names.first()).copied().unwrap_or_default())
}
