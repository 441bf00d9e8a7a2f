//! One model in the cache on disk.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use burn_seqlora::error::{Error, Result};
use burn_seqlora::files::{read_bytes, write_atomic};
use burn_seqlora::models::weights::{Variant, needed_files};

use super::revision::{Revision, is_commit};

/// The largest file with a commit or a token that is read.
const LIMIT: u64 = 1 << 16;

/// The cache's folder of one model.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// That of `owner/name`.
    pub fn of(id: &str) -> Self {
        let hub = path("HF_HUB_CACHE").unwrap_or_else(|| home().join("hub"));
        Self { folder: hub.join(format!("models--{}", id.replace('/', "--"))) }
    }

    /// Where it is, or would be.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files of a commit.
    pub fn of_commit(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The files of the revision's commit, if all that a model is loaded from are there.
    pub fn snapshot(&self, revision: &Revision, variant: Variant) -> Option<PathBuf> {
        let commit = match revision.commit() {
            Some(commit) => commit.to_string(),
            // A damaged reference must not lead out of the cache.
            None => text(&self.reference(revision)).filter(|commit| is_commit(commit))?,
        };
        let folder = self.of_commit(&commit);
        let files = files(&folder);
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        needed_files(&files, variant).is_ok().then_some(folder)
    }

    /// Puts a commit in use for a revision.
    ///
    /// # Errors
    /// If the reference cannot be written.
    pub fn use_commit(&self, revision: &Revision, commit: &str) -> Result<()> {
        if revision.commit().is_some() {
            return Ok(());
        }
        let file = self.reference(revision);
        let folder = file.parent().expect("a file in a folder");
        fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
        Ok(write_atomic(&file, commit.as_bytes())?)
    }

    fn reference(&self, revision: &Revision) -> PathBuf {
        self.folder.join("refs").join(revision.name())
    }
}

/// The token for what is not public, from the environment or from where `hf auth login` puts it.
pub fn token() -> Option<String> {
    let file = || path("HF_TOKEN_PATH").unwrap_or_else(|| home().join("token"));
    let given = variable("HF_TOKEN").and_then(|token| token.into_string().ok());
    let token = given.map(|token| token.trim().to_string()).or_else(|| text(&file()));
    token.filter(|token| !token.is_empty())
}

/// The content of a small text file, if it is there.
fn text(file: &Path) -> Option<String> {
    let text = String::from_utf8(read_bytes(file, LIMIT).ok()?).ok()?;
    Some(text.trim().to_string())
}

/// The folder of all that Hugging Face's tools keep.
fn home() -> PathBuf {
    path("HF_HOME").unwrap_or_else(|| {
        let cache = path("XDG_CACHE_HOME").unwrap_or_else(|| user().join(".cache"));
        cache.join("huggingface")
    })
}

fn user() -> PathBuf {
    env::home_dir().unwrap_or_default()
}

/// The path in a variable, where `~` is the user's home.
fn path(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(variable(name)?);
    match path.strip_prefix("~") {
        Ok(inside) => Some(user().join(inside)),
        Err(_) => Some(path),
    }
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// The files in the folders of a folder, with `/`. A link to a file that is gone is none.
fn files(folder: &Path) -> Vec<String> {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let inside = entries(folder).flat_map(|part| {
        let name = part.file_name().to_string_lossy().into_owned();
        let files = entries(&part.path()).filter(|file| file.path().exists());
        files
            .map(move |file| format!("{name}/{}", file.file_name().to_string_lossy()))
            .collect::<Vec<_>>()
    });
    inside.collect()
}
