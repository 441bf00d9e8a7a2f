//! One model on a hub: its listing, and its files.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use burn_seqlora::error::Error;
use serde::Deserialize;
use ureq::http::Response;
use ureq::{Agent, Body, RequestBuilder, typestate::WithoutBody};

use crate::failure::Failure;
use crate::interrupt;
use crate::progress::ProgressBar;

/// One model's place on a hub.
pub struct Hub {
    agent: Agent,
    endpoint: String,
    id: String,
    token: Option<String>,
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
    /// The model `id` on the hub of `HF_ENDPOINT`. The token is not sent on to where files may be
    /// redirected.
    pub fn new(id: &str, token: Option<String>) -> Self {
        let endpoint = env::var("HF_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty());
        let endpoint = endpoint.unwrap_or_else(|| "https://huggingface.co".into());
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .user_agent(concat!("seqlora/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: agent.into(),
            endpoint: endpoint.trim_end_matches('/').into(),
            id: id.into(),
            token,
        }
    }

    /// The newest commit and the paths of its files.
    pub fn listing(&self) -> Result<(String, Vec<String>), Failure> {
        let url = format!("{}/api/models/{}/revision/main", self.endpoint, self.id);
        let response = answer(self.get(&url), &url)?;
        let listing: Listing = serde_json::from_reader(response.into_body().into_reader())
            .map_err(|e| Failure::Failed(format!("{url} does not answer as a hub: {e}").into()))?;
        // It becomes the name of a folder.
        if listing.sha.is_empty() || !listing.sha.chars().all(|c| c.is_ascii_alphanumeric()) {
            let text = format!("{url} names no commit, but `{}`", listing.sha);
            return Err(Failure::Failed(text.into()));
        }
        Ok((listing.sha, listing.siblings.into_iter().map(|file| file.rfilename).collect()))
    }

    /// Downloads a file; one that broke off goes on where it stopped.
    pub fn fetch(
        &self,
        commit: &str,
        file: &str,
        to: &Path,
        bar: &ProgressBar,
    ) -> Result<(), Failure> {
        let url = format!("{}/{}/resolve/{commit}/{file}", self.endpoint, self.id);
        let folder = to.parent().expect("a file in a folder");
        fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
        let mut part = to.as_os_str().to_owned();
        part.push(".incomplete");
        let part = Path::new(&part);
        let have = part.metadata().map_or(0, |data| data.len());
        let request = self.get(&url);
        let request =
            if have > 0 { request.header("Range", format!("bytes={have}-")) } else { request };
        let response = answer(request, &url)?;
        if response.status() == 416 {
            // There is nothing after what is here: it may be all, if the process ended before the name.
            let range =
                response.headers().get("Content-Range").and_then(|range| range.to_str().ok());
            let whole = range.and_then(|range| range.strip_prefix("bytes */")?.parse().ok());
            if whole == Some(have) {
                return Ok(fs::rename(part, to).map_err(Error::io("cannot write", to))?);
            }
            fs::remove_file(part).map_err(Error::io("cannot remove", part))?;
            let text = format!("{} belonged to another file; it is removed", part.display());
            return Err(Failure::Failed(text.into()));
        }
        let have = if response.status() == 206 { have } else { 0 };
        let total = length(&response).map(|length| have + length);
        bar.set_length(total.unwrap_or(0));
        bar.set_position(have);
        let mut options = OpenOptions::new();
        let file = options.create(true).write(true).append(have > 0).truncate(have == 0).open(part);
        let file = file.map_err(Error::io("cannot write", part))?;
        let size = have + copy(response.into_body().into_reader(), file, part, &url, bar)?;
        if total.is_some_and(|total| total != size) {
            let text = format!("{url} broke off after {size} of {} bytes", total.unwrap_or(0));
            return Err(Failure::Failed(text.into()));
        }
        Ok(fs::rename(part, to).map_err(Error::io("cannot write", to))?)
    }

    fn get(&self, url: &str) -> RequestBuilder<WithoutBody> {
        let request = self.agent.get(url);
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }
}

/// The response, unless it is a refusal.
fn answer(request: RequestBuilder<WithoutBody>, url: &str) -> Result<Response<Body>, Failure> {
    let response = request.call().map_err(|e| Failure::Failed(format!("{url}: {e}").into()))?;
    let text = match response.status().as_u16() {
        // 416: there is nothing from there on.
        200..300 | 416 => return Ok(response),
        401 | 403 => format!(
            "{url} is refused: there is no such model, or it needs a token (HF_TOKEN, or `hf auth \
             login`) of somebody who has accepted its licence"
        ),
        404 => format!("there is no {url} (404)"),
        status => format!("{url} answers with {status}"),
    };
    Err(Failure::Failed(text.into()))
}

/// The bytes of a response's body, if it says.
fn length(response: &Response<Body>) -> Option<u64> {
    response.headers().get("content-length")?.to_str().ok()?.parse().ok()
}

/// The number of bytes copied. Ctrl-C stops it, and what came stays.
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
        if interrupt::requested() {
            let text = "stopped; what is downloaded is kept, and the same command goes on";
            return Err(Failure::Interrupted(text.into()));
        }
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
