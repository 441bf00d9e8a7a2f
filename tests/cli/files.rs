//! All files of a folder in memory: to compare folders byte by byte, and to copy them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The files of a folder by their path in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<PathBuf, Vec<u8>>);

impl Files {
    /// Reads a folder, if it is there, with all its sub-folders, but for the lock of a bank.
    pub fn read(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        if folder.exists() {
            collect(folder, folder, &mut files);
        }
        files.remove(Path::new(".lock"));
        Self(files)
    }

    /// Writes them to another folder.
    pub fn write(&self, folder: &Path) {
        for (name, bytes) in &self.0 {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().expect("it lies in the folder")).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// Those in a sub-folder, under their full names.
    pub fn under(&self, folder: &str) -> Self {
        let inside = |(name, _): &(&PathBuf, &Vec<u8>)| name.starts_with(folder);
        Self(self.0.iter().filter(inside).map(|(n, b)| (n.clone(), b.clone())).collect())
    }

    /// Their paths, with `/`.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.0.keys().map(|name| name.to_string_lossy().replace('\\', "/"))
    }

    /// Adds a file.
    pub fn insert(&mut self, name: &str, bytes: &[u8]) {
        self.0.insert(name.into(), bytes.to_vec());
    }

    /// The content of one file, if it is there.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(Path::new(name)).map(Vec::as_slice)
    }

    /// The content of one file.
    #[track_caller]
    pub fn bytes(&self, name: &str) -> &[u8] {
        self.0.get(Path::new(name)).unwrap_or_else(|| panic!("no {name} in {:?}", self.0.keys()))
    }

    /// # Panics
    /// If a file of this folder is missing in the other or different there.
    #[track_caller]
    pub fn assert_kept_in(&self, other: &Self) {
        let kept = |(name, bytes): (&PathBuf, _)| other.0.get(name) == Some(bytes);
        assert!(self.0.iter().all(kept), "of {:?} not all are kept", self.0.keys());
    }

    /// # Panics
    /// If a file is missing, left over or different; names them all.
    #[track_caller]
    pub fn assert_same(&self, other: &Self) {
        let names: BTreeSet<&PathBuf> = self.0.keys().chain(other.0.keys()).collect();
        let differs = |name: &&&PathBuf| self.0.get(**name) != other.0.get(**name);
        let different: Vec<_> = names.iter().filter(differs).collect();
        assert!(!self.0.is_empty() && different.is_empty(), "these differ: {different:?}");
    }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).expect("it lies in the folder");
            files.insert(name.into(), fs::read(&path).unwrap());
        }
    }
}
