//! Models by their id on a hub: from the cache that other tools share, else downloaded into it.
//!
//! The cache is Hugging Face's: `models--OWNER--NAME/refs/REVISION` holds the commit that
//! `models--OWNER--NAME/snapshots/COMMIT/` is a copy of. It lies where `HF_HUB_CACHE`, `HF_HOME` or
//! `XDG_CACHE_HOME` say, `HF_ENDPOINT` chooses another hub, `HF_TOKEN` opens what is not public, and
//! `HF_HUB_OFFLINE=1` forbids the network.

mod cache;
mod client;
mod remote;
mod revision;

use std::env;
use std::fs;
use std::path::PathBuf;

use burn_seqlora::error::Error;
use burn_seqlora::files::FolderLock;
use burn_seqlora::models::weights::{Variant, needed_files};
use cache::Cache;
use remote::Hub;
pub use revision::Revision;

use crate::failure::Failure;
use crate::terminal::Terminal;

/// Whether `text` has the form `owner/name` of a model on a hub.
pub fn is_id(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_name = |s: &str| !s.is_empty() && !s.starts_with('.') && s.chars().all(allowed);
    matches!(text.split_once('/'), Some((owner, name)) if is_name(owner) && is_name(name))
}

/// The folder with the files of model `id`, downloaded if they are not all in the cache.
///
/// # Errors
/// If they are not there and cannot be had. Ctrl-C ends the program at once, and what has come stays.
pub fn folder(
    id: &str,
    revision: &Revision,
    variant: Variant,
    terminal: &Terminal,
) -> Result<PathBuf, Failure> {
    let cache = Cache::of(id);
    if let Some(folder) = cache.snapshot(revision, variant) {
        return Ok(folder);
    }
    download(id, revision, variant, &cache, terminal).map_err(|failure| match failure {
        Failure::Failed(reason) => {
            let cache = cache.folder().display();
            Failure::Failed(
                format!(
                    "`{id}` is no file or folder here, and the model of this id cannot be had: \
                     {reason}\nits files are not, or not all, in the cache {cache}; give the \
                     path of a local model, or try again when the hub can be reached: what is \
                     downloaded already is kept"
                )
                .into(),
            )
        }
        other => other,
    })
}

/// Downloads what is missing of the revision's commit; only then it becomes the one that is used.
fn download(
    id: &str,
    revision: &Revision,
    variant: Variant,
    cache: &Cache,
    terminal: &Terminal,
) -> Result<PathBuf, Failure> {
    let offline = env::var("HF_HUB_OFFLINE").unwrap_or_default().to_uppercase();
    if ["1", "ON", "YES", "TRUE"].contains(&offline.as_str()) {
        return Err(Failure::Failed("HF_HUB_OFFLINE forbids the network".into()));
    }
    let hub = Hub::new(id, cache::token());
    let (commit, files) = hub.listing(revision)?;
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let needed = needed_files(&files, variant)?;
    let folder = cache.of_commit(&commit);
    // Two processes that add to one file would spoil it.
    fs::create_dir_all(cache.folder()).map_err(Error::io("cannot create", cache.folder()))?;
    let _lock = FolderLock::take(cache.folder())?;
    let missing: Vec<&str> = needed.into_iter().filter(|f| !folder.join(f).exists()).collect();
    terminal.line("download", format!("{id} to {}", folder.display()));
    for file in missing {
        let bar = terminal.bytes_bar(file);
        hub.fetch(&format!("{commit}/{file}"), &folder.join(file), &bar)?;
        bar.finish_and_clear();
    }
    cache.use_commit(revision, &commit)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::is_id;

    #[test]
    fn ids_have_an_owner_and_a_name() {
        assert!(is_id("stable-diffusion-v1-5/stable-diffusion-v1-5") && is_id("a/b_c.d"));
        for path in ["model", "a/b/c", "./model", "../model", "a/", "/b", "a b/c", "a/.b"] {
            assert!(!is_id(path), "{path}");
        }
    }
}
