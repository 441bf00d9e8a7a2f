//! Models by their id: from a cache, and from a small hub of our own.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;

use crate::files::Files;
use crate::harness::{Project, fixture};
use crate::run::Run;

const ID: &str = "someone/tiny-sd1";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const UNET: &str = "unet/diffusion_pytorch_model.safetensors";
const CACHED: &str = "hf/hub/models--someone--tiny-sd1";

/// `seqlora generate` with a model of this name, no network but `endpoint`, and the cache in `hf`.
fn generate(project: &Project, model: &str, endpoint: &str) -> Command {
    let prompt = ["generate", "--prompt", "a mug", "--steps", "2", "--out", "out", "--json"];
    let mut command = project.command(&prompt);
    for name in ["HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN"] {
        command.env_remove(name);
    }
    for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(proxy).env_remove(proxy.to_uppercase());
    }
    command.env("HF_HOME", project.path("hf")).env("HF_ENDPOINT", endpoint);
    command.args(["--model", model]);
    command
}

/// Nothing listens there.
const NOWHERE: &str = "http://127.0.0.1:9";

fn image(project: &Project) -> Vec<u8> {
    project.pixels()
}

/// What the fixture makes, given as a folder.
fn expected() -> Vec<u8> {
    let project = Project::new(&[]);
    Run::of(generate(&project, fixture("tiny-sd1").to_str().unwrap(), NOWHERE)).succeeds();
    image(&project)
}

/// A model in the cache is used without any network, wherever the variables put the cache.
#[test]
fn a_cached_model_needs_no_network() {
    let project = Project::new(&[]);
    let snapshot = project.path(CACHED).join("snapshots").join(COMMIT);
    Files::read(&fixture("tiny-sd1")).write(&snapshot);
    project.write(&format!("{CACHED}/refs/main"), COMMIT);
    Run::of(generate(&project, ID, NOWHERE)).succeeds();
    assert!(image(&project) == expected(), "a different image than from the folder");

    let mut elsewhere = generate(&project, ID, NOWHERE);
    elsewhere.env("HF_HUB_CACHE", project.path("hf/hub")).env("HF_HOME", project.path("no"));
    Run::of(elsewhere).succeeds();
}

/// Without cache and network the error names the id, the cache and what to do.
#[test]
fn a_model_that_cannot_be_had() {
    let project = Project::new(&[]);
    let cache = project.path("hf/hub");
    let texts = ["`someone/tiny-sd1`", cache.to_str().unwrap(), "local model"];
    Run::of(generate(&project, ID, NOWHERE)).fails(1, &texts);
    let mut offline = generate(&project, ID, NOWHERE);
    offline.env("HF_HUB_OFFLINE", "1");
    Run::of(offline).fails(1, &["HF_HUB_OFFLINE", "`someone/tiny-sd1`"]);
}

/// A folder of that name in the current folder wins over the hub.
#[test]
fn a_path_is_never_an_id() {
    let project = Project::new(&[]);
    Files::read(&fixture("tiny-sd1")).write(&project.path(ID));
    Run::of(generate(&project, ID, NOWHERE)).succeeds();
}

/// Only what is needed is downloaded, once; a broken download goes on; a later commit on the hub
/// does not mix with what is there.
#[test]
fn a_model_is_downloaded_once() {
    let project = Project::new(&[]);
    let mut files = Files::read(&fixture("tiny-sd1"));
    files.insert("README.md", b"not needed");
    files.insert("unet/diffusion_pytorch_model.fp16.safetensors", b"not needed");
    let hub = Hub::start(files);
    Run::of(generate(&project, ID, &hub.endpoint)).succeeds();
    assert!(image(&project) == expected(), "a different image than from the folder");
    let asked = hub.asked();
    assert!(!asked.iter().any(|path| path.contains("README") || path.contains("fp16")));

    Run::of(generate(&project, ID, &hub.endpoint)).succeeds();
    assert_eq!(hub.asked(), asked, "a cached model was asked for");

    let unet = project.path(CACHED).join("snapshots").join(COMMIT).join(UNET);
    let whole = fs::read(&unet).unwrap();
    fs::remove_file(&unet).unwrap();
    Run::of(generate(&project, ID, NOWHERE)).fails(1, &["not all, in the cache"]);
    fs::write(unet.with_extension("safetensors.incomplete"), &whole[..1000]).unwrap();
    Run::of(generate(&project, ID, &hub.endpoint)).succeeds();
    let again = hub.asked().split_off(asked.len());
    let [_, rest] = &again[..] else { panic!("{again:?}") };
    assert!(rest.ends_with(&format!("{UNET} bytes=1000-")), "{rest}");
    assert!(fs::read(&unet).unwrap() == whole, "put together wrongly");
}

/// A download that stops in the middle is no model, and the next run goes on.
#[test]
fn a_download_that_breaks_off() {
    let project = Project::new(&[]);
    let files = Files::read(&fixture("tiny-sd1"));
    let short = Hub::start_with(files.clone(), 5000);
    Run::of(generate(&project, ID, &short.endpoint)).fails(1, &["broke off", "is kept"]);
    let hub = Hub::start(files);
    Run::of(generate(&project, ID, &hub.endpoint)).succeeds();
    assert!(image(&project) == expected(), "a different image than from the folder");
    assert!(hub.asked().iter().any(|path| path.ends_with("bytes=5000-")), "{:?}", hub.asked());
}

/// Repositories without a usable model, and ids that do not exist.
#[test]
fn a_repository_without_a_model() {
    let project = Project::new(&[]);
    let mut files = Files::default();
    files.insert("unet/diffusion_pytorch_model.bin", b"pickle");
    let hub = Hub::start(files);
    let texts = ["not a diffusers model", "scheduler/scheduler_config.json"];
    Run::of(generate(&project, ID, &hub.endpoint)).fails(1, &texts);
    Run::of(generate(&project, "someone/else", &hub.endpoint)).fails(1, &["`someone/else`", "404"]);
}

/// As much of a hub as the client asks for: the listing of one repository, and ranges of files.
struct Hub {
    endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    fn start(files: Files) -> Self {
        Self::start_with(files, usize::MAX)
    }

    /// That hangs up after so many bytes of a file.
    fn start_with(files: Files, patience: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that has gone away is no concern of the others.
                let _ = stream.and_then(|stream| answer(stream, &files, &log, patience));
            }
        });
        Self { endpoint, asked }
    }

    /// The paths and ranges that were asked for so far.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(
    mut stream: TcpStream,
    files: &Files,
    log: &Mutex<Vec<String>>,
    patience: usize,
) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let path = request.split(' ').nth(1).unwrap_or_default();
    let mut range = String::new();
    for line in lines {
        match line?.to_lowercase().split_once(": ") {
            Some(("range", value)) => range = value.to_string(),
            Some(_) => {}
            None => break,
        }
    }
    log.lock().unwrap().push(format!("{path} {range}"));
    let (status, body) = respond(path, &range, files);
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    stream.write_all(&body[..length.min(patience)])
}

/// Status and body.
fn respond(path: &str, range: &str, files: &Files) -> (&'static str, Vec<u8>) {
    if path == format!("/api/models/{ID}/revision/main") {
        let siblings: Vec<_> = files.names().map(|name| json!({ "rfilename": name })).collect();
        return ("200 OK", json!({ "sha": COMMIT, "siblings": siblings }).to_string().into_bytes());
    }
    let name = path.strip_prefix(&format!("/{ID}/resolve/{COMMIT}/"));
    let Some(bytes) = name.and_then(|name| files.get(name)) else {
        return ("404 Not Found", Vec::new());
    };
    let from = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
    match from.map(|from| from.parse::<usize>().unwrap()) {
        None => ("200 OK", bytes.to_vec()),
        Some(from) if from < bytes.len() => ("206 Partial Content", bytes[from..].to_vec()),
        Some(_) => ("416 Range Not Satisfiable", Vec::new()),
    }
}
