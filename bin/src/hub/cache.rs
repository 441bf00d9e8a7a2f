//! One model in the cache on disk.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use burn_seqlora::error::{Error, Result};
use burn_seqlora::files::write_atomic;
use burn_seqlora::models::weights::needed_files;

/// The cache's folder of one model.
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// That of `owner/name`.
    pub fn of(id: &str) -> Self {
        let hub = variable("HF_HUB_CACHE").map_or_else(|| home().join("hub"), PathBuf::from);
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

    /// The files of the commit in use, if all that a model is loaded from are there.
    pub fn snapshot(&self) -> Option<PathBuf> {
        let commit = fs::read_to_string(self.reference()).ok()?;
        let folder = self.of_commit(commit.trim());
        let files = files(&folder);
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        needed_files(&files).is_ok().then_some(folder)
    }

    /// Puts a commit in use.
    pub fn use_commit(&self, commit: &str) -> Result<()> {
        let file = self.reference();
        let folder = file.parent().expect("a file in a folder");
        fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
        Ok(write_atomic(&file, commit.as_bytes())?)
    }

    fn reference(&self) -> PathBuf {
        self.folder.join("refs").join("main")
    }
}

/// The token for what is not public, from the environment or from where `hf auth login` puts it.
pub fn token() -> Option<String> {
    let token = variable("HF_TOKEN").or_else(|| fs::read_to_string(home().join("token")).ok());
    token.map(|token| token.trim().to_string()).filter(|token| !token.is_empty())
}

fn home() -> PathBuf {
    let user = || env::home_dir().unwrap_or_default().join(".cache").join("huggingface");
    variable("HF_HOME").map_or_else(user, PathBuf::from)
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
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
