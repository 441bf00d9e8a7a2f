//! As much of a hub as the client asks for: the listing of one repository, and ranges of files.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use crate::files::Files;
use crate::harness::fixture;

/// The repository.
pub const ID: &str = "someone/tiny-sd1";
/// Its only commit.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How a hub behaves.
#[derive(Clone)]
pub struct Manners {
    /// It hangs up after so many bytes of a file.
    pub patience: usize,
    /// It says no more, instead of hanging up.
    pub stalls: bool,
    /// It refuses requests without this token.
    pub token: Option<&'static str>,
    /// Where it redirects requests for files: a path, or another host with a path.
    pub files_at: Option<String>,
    /// A large file, and the SHA-256 that it gives for it.
    pub digest_of: Option<(&'static str, String)>,
    /// The only branch.
    pub revision: &'static str,
    /// It speaks TLS, with a certificate of `fixtures/tls`.
    pub secure: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            patience: usize::MAX,
            stalls: false,
            token: None,
            files_at: None,
            digest_of: None,
            revision: "main",
            secure: false,
        }
    }
}

/// A hub that runs until the test ends.
pub struct Hub {
    /// Its address.
    pub endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    /// One with these files.
    pub fn start(files: Files) -> Self {
        Self::start_with(files, Manners::default())
    }

    /// One that behaves in some other way.
    pub fn start_with(files: Files, manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if manners.secure { "https" } else { "http" };
        let endpoint = format!("{scheme}://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&asked);
        let tls = manners.secure.then(tls);
        thread::spawn(move || {
            let mut stalled: Vec<Box<dyn Stream>> = Vec::new();
            for stream in listener.incoming().flatten() {
                let mut stream: Box<dyn Stream> = match &tls {
                    Some(config) => {
                        let connection = ServerConnection::new(Arc::clone(config)).unwrap();
                        Box::new(StreamOwned::new(connection, stream))
                    }
                    None => Box::new(stream),
                };
                // A client that has gone away is no concern of the others.
                let _ = answer(&mut *stream, &files, &log, &manners);
                if manners.stalls {
                    stalled.push(stream);
                }
            }
        });
        Self { endpoint, asked }
    }

    /// The paths, tokens and ranges that were asked for so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// A connection.
trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

fn tls() -> Arc<ServerConfig> {
    let pem = |name: &str| fixture("tls").join(name);
    let certificate = CertificateDer::from_pem_file(pem("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(pem("server.key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(config.with_single_cert(vec![certificate], key).unwrap())
}

/// What is asked for.
struct Request {
    path: String,
    token: String,
    range: String,
}

/// What is answered.
struct Response {
    status: &'static str,
    headers: String,
    body: Vec<u8>,
}

impl Response {
    fn new(status: &'static str, body: Vec<u8>) -> Self {
        Self { status, headers: String::new(), body }
    }
}

fn answer(
    stream: &mut dyn Stream,
    files: &Files,
    log: &Mutex<Vec<String>>,
    manners: &Manners,
) -> io::Result<()> {
    let mut lines = BufReader::new(&mut *stream).lines();
    let line = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_string();
    let mut request = Request { path, token: String::new(), range: String::new() };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        match &name.to_lowercase()[..] {
            "range" => request.range = value.to_string(),
            "authorization" => request.token = format!("{value} "),
            _ => {}
        }
    }
    log.lock().unwrap().push(format!("{} {}{}", request.path, request.token, request.range));
    let Response { status, headers, body } = respond(&request, files, manners);
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(&body[..length.min(manners.patience)])?;
    stream.flush()
}

fn respond(request: &Request, files: &Files, manners: &Manners) -> Response {
    let Request { path, token, range } = request;
    if manners.token.is_some_and(|wanted| *token != format!("Bearer {wanted} ")) {
        return Response::new("401 Unauthorized", Vec::new());
    }
    if *path == format!("/api/models/{ID}/revision/{}", manners.revision) {
        let siblings: Vec<_> = files.names().map(|name| json!({ "rfilename": name })).collect();
        let listing = json!({ "sha": COMMIT, "siblings": siblings });
        return Response::new("200 OK", listing.to_string().into_bytes());
    }
    let moved = path.strip_prefix("/files");
    let start = format!("/{ID}/resolve/{COMMIT}/");
    let name = moved.unwrap_or(path).strip_prefix(&start);
    let Some((name, bytes)) = name.and_then(|name| Some((name, files.get(name)?))) else {
        return Response::new("404 Not Found", Vec::new());
    };
    let mut response = match (&manners.files_at, moved) {
        (Some(place), None) => Response {
            headers: format!("Location: {place}{path}\r\n"),
            ..Response::new("302 Found", Vec::new())
        },
        _ => part(bytes, range),
    };
    if let Some((file, digest)) = &manners.digest_of
        && *file == name
    {
        response.headers += &format!("X-Linked-Etag: \"{digest}\"\r\n");
    }
    response
}

/// The range of a file.
fn part(bytes: &[u8], range: &str) -> Response {
    let from = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
    match from.map(|from| from.parse::<usize>().unwrap()) {
        None => Response::new("200 OK", bytes.to_vec()),
        Some(from) if from < bytes.len() => {
            let (last, all) = (bytes.len() - 1, bytes.len());
            Response {
                headers: format!("Content-Range: bytes {from}-{last}/{all}\r\n"),
                ..Response::new("206 Partial Content", bytes[from..].to_vec())
            }
        }
        Some(_) => Response::new("416 Range Not Satisfiable", Vec::new()),
    }
}
