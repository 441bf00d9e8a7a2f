//! A stranger's bank: files of a learnt one changed by hand, with digests that are right again.
//!
//! It also works on banks of version 1, which older programs make and which have no digests.

use std::fs;
use std::path::PathBuf;

use burn_seqlora::files::sha256;
use serde_json::Value;

use crate::harness::Project;
use crate::weights::{self, Weights};

/// The bank in a project's folder.
#[derive(Debug)]
pub struct Stranger<'a> {
    project: &'a Project,
}

impl<'a> Stranger<'a> {
    /// Someone who changes the project's bank.
    pub fn new(project: &'a Project) -> Self {
        Self { project }
    }

    /// A path in the bank.
    pub fn path(&self, name: &str) -> PathBuf {
        self.project.path("bank").join(name)
    }

    /// Changes `bank.json`.
    pub fn bank(&self, change: impl FnOnce(&mut Value)) {
        self.json("bank.json", change);
    }

    /// Changes a concept's `concept.json`; the bank's digest of it is right again.
    pub fn concept(&self, id: &str, change: impl FnOnce(&mut Value)) {
        let file = format!("concepts/{id}/concept.json");
        self.json(&file, change);
        self.digest(&file);
    }

    /// Changes the tensors of a concept's file; all digests are right again.
    pub fn tensors(&self, id: &str, name: &str, change: impl FnOnce(&mut Weights)) {
        let path = self.path(&format!("concepts/{id}/{name}"));
        let mut tensors = weights::read(&path);
        change(&mut tensors);
        weights::write(&path, &tensors);
        let digest = sha256(&fs::read(path).unwrap());
        self.concept(id, |record| {
            if let Some(known) = record.pointer_mut(&format!("/digests/{name}")) {
                *known = digest.into();
            }
        });
    }

    /// Removes a file or folder and puts a link in its place.
    #[cfg(unix)]
    pub fn link(&self, name: &str, target: &std::path::Path) {
        let path = self.path(name);
        let _ = fs::remove_file(&path);
        let _ = fs::remove_dir_all(&path);
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    /// Removes a file and puts a pipe without a writer in its place.
    #[cfg(unix)]
    pub fn pipe(&self, name: &str) {
        let path = self.path(name);
        fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    fn json(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let path = self.path(name);
        let mut value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        fs::write(path, value.to_string()).unwrap();
    }

    /// Sets the bank's digest of a concept's record, if it has one.
    fn digest(&self, record: &str) {
        let id = record.split('/').nth(1).expect("concepts/<id>/concept.json");
        let digest = sha256(&fs::read(self.path(record)).unwrap());
        self.bank(|bank| {
            if let Some(known) = bank.pointer_mut(&format!("/digests/{id}")) {
                *known = digest.into();
            }
        });
    }
}
