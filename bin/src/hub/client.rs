//! Requests to a hub: its redirects, the token, and certificates.

use std::env;
use std::time::Duration;

use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::failure::Failure;

/// The longest chain of redirects that is followed.
const REDIRECTS: usize = 10;

/// The longest wait for a connection, for an answer and for the next bytes, unless
/// `HF_HUB_DOWNLOAD_TIMEOUT` says otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client of one hub.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

/// What a hub answers.
#[derive(Debug)]
pub struct Answer {
    /// The last response, which is no redirect.
    pub response: Response<Body>,
    /// The SHA-256 that the hub itself gives for a large file. The bytes come from elsewhere.
    pub sha256: Option<String>,
}

impl Client {
    /// For the hub of `HF_ENDPOINT`.
    pub fn new(token: Option<String>) -> Self {
        let variable = |name| env::var(name).ok().filter(|value: &String| !value.is_empty());
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let seconds = variable("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|text| text.parse().ok());
        let patience = seconds.map_or(PATIENCE, |seconds: u32| Duration::from_secs(seconds.into()));
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            .timeout_per_read(Some(patience))
            .tls_config(TlsConfig::builder().root_certs(root_certs()).build())
            .user_agent(concat!("seqlora/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: agent.into(), endpoint: endpoint.trim_end_matches('/').into(), token }
    }

    /// The address of a path on the hub.
    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.endpoint)
    }

    /// Asks for the bytes from number `from` on, and follows redirects. The token goes to the hub's own
    /// host only.
    ///
    /// # Errors
    /// If there is no answer, or a refusal.
    pub fn get(&self, url: &str, from: u64) -> Result<Answer, Failure> {
        let failed = |text: String| Failure::Failed(text.into());
        let (mut place, mut sha256) = (url.to_string(), None);
        for _ in 0..=REDIRECTS {
            let own = origin(&place) == origin(&self.endpoint);
            let mut request = self.agent.get(&place);
            if from > 0 {
                request = request.header("Range", format!("bytes={from}-"));
            }
            if let Some(token) = self.token.as_ref().filter(|_| own) {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            let response = request.call().map_err(|error| failed(reason(&place, &error)))?;
            if own && sha256.is_none() {
                sha256 = header(&response, "x-linked-etag").and_then(digest);
            }
            match response.status().as_u16() {
                301 | 302 | 303 | 307 | 308 => {
                    let to = header(&response, "location").and_then(|to| joined(&place, to));
                    place = to.ok_or_else(|| failed(format!("{place} redirects to nowhere")))?;
                }
                // 416: there is nothing from there on.
                200..=299 | 416 => return Ok(Answer { response, sha256 }),
                status => return Err(failed(refusal(&place, status))),
            }
        }
        Err(failed(format!("{url} redirects more than {REDIRECTS} times")))
    }
}

/// The certificates of the system, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`: a company may have its own.
/// Where there are none, Mozilla's.
fn root_certs() -> RootCerts {
    let found = rustls_native_certs::load_native_certs().certs;
    let certs: Vec<_> = found.iter().map(|cert| Certificate::from_der(cert).to_owned()).collect();
    if certs.is_empty() { RootCerts::WebPki } else { RootCerts::new_with_certs(&certs) }
}

/// Why there is no answer.
fn reason(url: &str, error: &ureq::Error) -> String {
    let text = error.to_string();
    let hint = match text.contains("certificate") {
        true => "; if your network has certificates of its own, name their file in SSL_CERT_FILE",
        false => "",
    };
    format!("{url}: {text}{hint}")
}

fn refusal(url: &str, status: u16) -> String {
    match status {
        401 | 403 => format!(
            "{url} is refused: there is no such model, or it needs a token (HF_TOKEN, or `hf auth \
             login`) of somebody who has accepted its licence"
        ),
        404 => format!("there is no {url} (404)"),
        status => format!("{url} answers with {status}"),
    }
}

/// A header's text.
pub fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// The SHA-256 in an entity tag; other tags are no digests of the content.
fn digest(tag: &str) -> Option<String> {
    let text = tag.trim_start_matches("W/").trim_matches('"').to_lowercase();
    (text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit())).then_some(text)
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    Some(format!("{scheme}://{host}").to_lowercase())
}

/// Where a redirect leads, unless it leaves TLS.
fn joined(from: &str, to: &str) -> Option<String> {
    let (scheme, _) = from.split_once("://")?;
    let address = if to.contains("://") {
        to.to_string()
    } else if to.starts_with("//") {
        format!("{scheme}:{to}")
    } else if to.starts_with('/') {
        format!("{}{to}", origin(from)?)
    } else {
        let (folder, _) = from.split(['?', '#']).next()?.rsplit_once('/')?;
        format!("{folder}/{to}")
    };
    let secure = |url: &str| url.to_lowercase().starts_with("https://");
    (secure(&address) || !secure(from)).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_they_say_but_not_out_of_tls() {
        let from = "https://hub.example/a/resolve/main/x?y=/z";
        let cases = [
            ("https://cdn.example/x", Some("https://cdn.example/x")),
            ("//cdn.example/x", Some("https://cdn.example/x")),
            ("/b/x", Some("https://hub.example/b/x")),
            ("other", Some("https://hub.example/a/resolve/main/other")),
            ("http://hub.example/x", None),
        ];
        for (to, expected) in cases {
            assert_eq!(joined(from, to).as_deref(), expected, "{to}");
        }
        assert!(joined("http://127.0.0.1:9/a", "http://127.0.0.1:8/b").is_some());
    }

    #[test]
    fn the_token_stays_with_host_and_port() {
        let own = origin("https://Hub.example/a");
        assert_eq!(own, origin("https://hub.example?x"));
        for other in ["http://hub.example/", "https://hub.example:444/", "https://hub.example.org/"]
        {
            assert_ne!(own, origin(other), "{other}");
        }
        assert_ne!(own, origin("https://hub.example@evil.example/"));
    }

    #[test]
    fn only_a_sha_256_is_a_digest() {
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(&format!("\"{sum}\"")).as_deref(), Some(sum));
        assert_eq!(digest("\"0123456789abcdef0123456789abcdef01234567\""), None);
    }
}
