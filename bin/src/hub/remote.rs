//! One model on a hub: its listing, and its files.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use burn_seqlora::error::Error;
use burn_seqlora::files::{open_to_write, printable, sha256_of_file};
use serde::Deserialize;
use ureq::Body;
use ureq::http::Response;

use super::client::{Client, header};
use super::revision::{Revision, is_commit};
use crate::failure::Failure;
use crate::progress::ProgressBar;

/// The largest listing that is read. That of a large repository has 100 kB.
const LISTING_LIMIT: u64 = 16 << 20;

/// One model's place on a hub.
#[derive(Debug, Clone)]
pub struct Hub {
    client: Client,
    id: String,
}

/// What the hub says of a model.
#[derive(Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Hub {
    /// The model `id` on the hub of `HF_ENDPOINT`.
    pub fn new(id: &str, token: Option<String>) -> Self {
        Self { client: Client::new(token), id: id.into() }
    }

    /// The newest commit of a revision, and the paths of its files.
    pub fn listing(&self, revision: &Revision) -> Result<(String, Vec<String>), Failure> {
        let url =
            self.client.url(&format!("api/models/{}/revision/{}", self.id, revision.in_url()));
        let body = self.client.get(&url, 0)?.response.into_body().into_reader();
        let listing: Listing = serde_json::from_reader(body.take(LISTING_LIMIT))
            .map_err(|e| Failure::Failed(format!("{url} does not answer as a hub: {e}").into()))?;
        // It becomes the name of a folder.
        if !is_commit(&listing.sha) {
            let text = format!("{url} names no commit, but `{}`", printable(&listing.sha));
            return Err(Failure::Failed(text.into()));
        }
        Ok((listing.sha, listing.siblings.into_iter().map(|file| file.rfilename).collect()))
    }

    /// Downloads a file, `COMMIT/PATH`; one that broke off goes on where it stopped. If the hub knows
    /// its SHA-256, it is compared.
    pub fn fetch(&self, path: &str, to: &Path, bar: &ProgressBar) -> Result<(), Failure> {
        let url = self.client.url(&format!("{}/resolve/{path}", self.id));
        let folder = to.parent().expect("a file in a folder");
        fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
        let mut part = to.as_os_str().to_owned();
        part.push(".incomplete");
        let part = Path::new(&part);
        let file = open_to_write(part)?;
        let have = file.metadata().map_err(Error::io("cannot read", part))?.len();
        let answer = self.client.get(&url, have)?;
        match answer.response.status().as_u16() {
            // There is nothing after what is here: it may be all, if the process ended before the name.
            416 if whole(&answer.response) == Some(have) => {}
            416 => {
                let text = format!("{} belonged to another file; it is removed", part.display());
                return Err(discarded(part, text));
            }
            _ => receive(answer.response, Part { file, have, path: part }, &url, bar)?,
        }
        if let Some(expected) = answer.sha256 {
            let found = sha256_of_file(part)?;
            if found != expected {
                let text = format!(
                    "{url} came damaged: its SHA-256 is {found}, the hub says {expected}; it is removed"
                );
                return Err(discarded(part, text));
            }
        }
        Ok(fs::rename(part, to).map_err(Error::io("cannot write", to))?)
    }
}

/// Removes what was downloaded, for a reason.
fn discarded(part: &Path, reason: String) -> Failure {
    match fs::remove_file(part) {
        Ok(()) => Failure::Failed(reason.into()),
        Err(error) => Error::io("cannot remove", part)(error).into(),
    }
}

/// What has come of a file.
struct Part<'a> {
    file: File,
    have: u64,
    path: &'a Path,
}

/// Adds what comes to a part, or writes it anew if all comes.
fn receive(
    response: Response<Body>,
    part: Part<'_>,
    url: &str,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let Part { mut file, have, path } = part;
    let goes_on = response.status() == 206
        && header(&response, "content-range")
            .is_some_and(|r| r.starts_with(&format!("bytes {have}-")));
    let have = if goes_on { have } else { 0 };
    let length = header(&response, "content-length").and_then(|text| text.parse::<u64>().ok());
    let total = length.map(|length| have.saturating_add(length));
    bar.set_length(total.unwrap_or(0));
    bar.set_position(have);
    file.set_len(have)
        .and_then(|()| file.seek(SeekFrom::Start(have)))
        .map_err(Error::io("cannot write", path))?;
    let size = have + copy(response.into_body().into_reader(), file, path, url, bar)?;
    match total {
        Some(total) if total != size => {
            let text = format!("{url} broke off after {size} of {total} bytes");
            Err(Failure::Failed(text.into()))
        }
        _ => Ok(()),
    }
}

/// The size of the whole file, from the answer to a range after its end.
fn whole(response: &Response<Body>) -> Option<u64> {
    header(response, "content-range")?.strip_prefix("bytes */")?.parse().ok()
}

/// The number of bytes copied. What came stays, also after Ctrl-C.
fn copy(
    mut from: impl Read,
    mut file: File,
    path: &Path,
    url: &str,
    bar: &ProgressBar,
) -> Result<u64, Failure> {
    let mut buffer = vec![0; 1 << 16];
    let mut copied = 0;
    loop {
        let broke_off = |e| Failure::Failed(format!("{url} broke off: {e}").into());
        match from.read(&mut buffer).map_err(broke_off)? {
            0 => break,
            read => {
                file.write_all(&buffer[..read]).map_err(Error::io("cannot write", path))?;
                copied += read as u64;
                bar.inc(read as u64);
            }
        }
    }
    file.sync_all().map_err(Error::io("cannot write", path))?;
    Ok(copied)
}
