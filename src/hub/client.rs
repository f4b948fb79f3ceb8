//! Owns the connections and the headers every request carries, and follows redirects by hand.
//!
//! Never retries; never lets the HTTP library follow a redirect or decode a body by itself: the
//! Hub's own words are on the redirects, and ranges need raw bytes.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Response, Url};

use crate::config::{Config, Token};
use crate::domain::sanitize_line;

use super::address::{self, Endpoint, Hop};
use super::error::Error;
use super::gate::{Bucket, Gate};
use super::header;
use super::refusal::Refusal;
use super::silence::unless_silent;

/// Connections without work that are kept for the next range of a file.
const IDLE_CONNECTIONS: usize = 64;
/// As `huggingface_hub`.
const MAX_REDIRECTS: usize = 20;
/// A redirect's or error's body up to this size is read, so that the connection can be used again.
const SMALL_BODY_BYTES: u64 = 64 * 1024;
/// Reading such a body must not become a wait of its own.
const SMALL_BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// A Hub that has not answered by then does not count as reachable.
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// Servers have a handful of warning topics; a flood of them is not worth memory.
const MAX_WARNING_TOPICS: usize = 64;

/// A client of one endpoint. Clones share connections, pauses and warnings.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    token: Option<Token>,
    authorization: Option<HeaderValue>,
    /// Revisions and listings; may speak HTTP/2.
    api: Lines,
    /// Files: HTTP/1 only, since streams of one HTTP/2 connection share one congestion window.
    bodies: Lines,
    /// How long a server may stay silent. Silence ends a call, never its length: a long listing on a
    /// slow line is no failure.
    silence: Duration,
    gate: Gate,
    warned: Mutex<BTreeSet<String>>,
}

/// Connections of one kind. Made when first used: reading the system's certificates takes longer
/// than all that a command without network does.
type Lines = LazyLock<Result<reqwest::Client, String>, Box<dyn FnOnce() -> Built + Send>>;
type Built = Result<reqwest::Client, String>;

/// An answer that is not a redirect, and the request that got it.
pub(super) struct Answer {
    pub(super) response: Response,
    pub(super) hop: Hop,
    /// How long its body may stay silent.
    pub(super) silence: Duration,
}

fn opened(lines: &Lines) -> Result<&reqwest::Client, Error> {
    lines
        .as_ref()
        .map_err(|why| Error::Build { why: why.clone() })
}

impl Client {
    /// A client by the settings.
    ///
    /// Proxies are those of the environment and the system; an endpoint on this machine is always
    /// asked directly.
    ///
    /// # Errors
    /// [`Error::Build`] when a setting cannot be a header. That the TLS library finds no roots is told
    /// by the first request.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let endpoint = Endpoint::new(config.endpoint.clone());
        let is_loopback = endpoint.is_loopback();
        let agent = user_agent(config.user_agent_origin.as_deref());
        let (connect, silence) = (config.connect_timeout, config.stall_timeout);
        let lines = |kind: fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder| -> Lines {
            let agent = agent.clone();
            LazyLock::new(Box::new(move || {
                let builder = kind(reqwest::Client::builder());
                let builder = if is_loopback {
                    builder.no_proxy()
                } else {
                    builder
                };
                builder
                    .user_agent(agent)
                    .redirect(Policy::none())
                    .referer(false)
                    .connect_timeout(connect)
                    .build()
                    .map_err(|error| because(&error))
            }))
        };
        let api = lines(|builder| builder);
        let bodies = lines(|builder| {
            builder
                .http1_only()
                .pool_max_idle_per_host(IDLE_CONNECTIONS)
        });
        let authorization = match &config.token {
            Some(token) => Some(authorization(token)?),
            None => None,
        };
        Ok(Self(Arc::new(Inner {
            endpoint,
            token: config.token.clone(),
            authorization,
            api,
            bodies,
            silence,
            gate: Gate::default(),
            warned: Mutex::default(),
        })))
    }

    /// Waits while the bucket is paused by a rate limit. Every request does so by itself.
    pub async fn rate_gate(&self, kind: Bucket) {
        self.0.gate.pass(kind).await;
    }

    /// Whether the bucket is paused by a rate limit now.
    pub fn is_paused(&self, kind: Bucket) -> bool {
        self.0.gate.is_shut(kind)
    }

    /// Asks whether the endpoint answers at all: its front page, without the token, without
    /// following where it leads. Any answer is one.
    ///
    /// # Errors
    /// [`Error::Transport`] when none came in time.
    pub async fn ping(&self) -> Result<(), Error> {
        let url = self.endpoint().front_page();
        let asked = opened(&self.0.api)?
            .head(url.clone())
            .timeout(PING_TIMEOUT)
            .send();
        let response = asked.await.map_err(|error| Error::transport(&url, error))?;
        tracing::trace!(
            method = "HEAD",
            url = address::shown(&url),
            status = response.status().as_u16()
        );
        Ok(())
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// Gets `url`, following redirects; `look` sees the headers of every answer on the way.
    pub(super) async fn get(
        &self,
        bucket: Bucket,
        url: Url,
        headers: &HeaderMap,
        look: impl FnMut(&HeaderMap) -> Result<(), Error> + Send,
    ) -> Result<Answer, Error> {
        let hop = Hop::first(self.endpoint(), url);
        self.get_from(bucket, hop, headers, look).await
    }

    /// As [`Self::get`], from somewhere that a redirect has led to before.
    pub(super) async fn get_from(
        &self,
        bucket: Bucket,
        mut hop: Hop,
        headers: &HeaderMap,
        mut look: impl FnMut(&HeaderMap) -> Result<(), Error> + Send,
    ) -> Result<Answer, Error> {
        self.rate_gate(bucket).await;
        let first = address::shown(&hop.url);
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(bucket, &hop, headers).await?;
            look(response.headers())?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(Answer {
                    response,
                    hop,
                    silence: self.0.silence,
                });
            }
            let next = match header::text(response.headers(), LOCATION.as_str()) {
                Some(location) => hop.follow(self.endpoint(), location)?,
                None => {
                    return Err(Error::Redirects {
                        url: address::shown(&hop.url),
                        why: "it names no target".to_owned(),
                    });
                }
            };
            small_body(response).await;
            hop = next;
        }
        Err(Error::Redirects {
            url: first,
            why: format!("more than {MAX_REDIRECTS} in a row"),
        })
    }

    async fn send(
        &self,
        bucket: Bucket,
        hop: &Hop,
        headers: &HeaderMap,
    ) -> Result<Response, Error> {
        let (client, encodings) = match bucket {
            Bucket::Api => (opened(&self.0.api)?, "gzip"),
            // Sizes and ranges are those of the content itself.
            Bucket::Resolvers => (opened(&self.0.bodies)?, "identity"),
        };
        let mut request = client
            .get(hop.url.clone())
            .header(ACCEPT_ENCODING, encodings)
            .headers(headers.clone());
        if hop.is_trusted
            && let Some(authorization) = &self.0.authorization
        {
            request = request.header(AUTHORIZATION, authorization);
        }
        let sent = match unless_silent(self.0.silence, request.send()).await {
            Some(sent) => sent.map_err(|error| Error::transport(&hop.url, error)),
            None => Err(Error::Silent {
                url: address::shown(&hop.url),
                lasted: self.0.silence,
            }),
        };
        let response = sent.inspect_err(|error| {
            tracing::debug!(method = "GET", url = address::shown(&hop.url), %error);
        })?;
        tracing::debug!(
            method = "GET",
            url = address::shown(&hop.url),
            status = response.status().as_u16(),
            request_id = header::request_id(response.headers()),
        );
        self.note_warnings(response.headers());
        Ok(response)
    }

    /// Why `answer` is a refusal; pauses the bucket if it is a rate limit. `has_commit` tells
    /// whether a Hub spoke on the way.
    pub(super) async fn refuse(&self, answer: Answer, bucket: Bucket, has_commit: bool) -> Error {
        let Answer { response, hop, .. } = answer;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = if header::is_json(&headers) {
            small_body(response).await
        } else {
            None
        };
        let message = header::text(&headers, "x-error-message")
            .map(ToOwned::to_owned)
            .or_else(|| message_in(&body?));
        let (wait, limited) = header::rate_limit(&headers);
        if status == 429 {
            let paused = limited.as_deref().and_then(Bucket::named);
            self.0.gate.pause(paused.unwrap_or(bucket), wait);
        }
        Refusal {
            status,
            code: header::text(&headers, "x-error-code"),
            message: message.map(|message| self.without_token(&message)),
            url: address::shown(&hop.url),
            host: address::host(&hop.url),
            request_id: header::request_id(&headers),
            is_own: self.endpoint().is_own(&hop.url),
            is_html: header::is_html(&headers),
            has_commit,
            bucket,
            wait,
            retry_after: header::asked_wait(&headers),
            limited,
            range: header::text(&headers, "content-range"),
        }
        .into_error()
    }

    /// A server's words, fit to be shown: a server may repeat what it was sent.
    fn without_token(&self, words: &str) -> String {
        let words = match &self.0.token {
            Some(token) => words.replace(token.expose(), "***"),
            None => words.to_owned(),
        };
        sanitize_line(&words, 300)
    }

    /// `X-HF-Warning: topic; text`, told once per topic.
    fn note_warnings(&self, headers: &HeaderMap) {
        for value in headers.get_all("x-hf-warning") {
            let words = self.without_token(&String::from_utf8_lossy(value.as_bytes()));
            let (topic, text) = words.split_once(';').unwrap_or(("", &words));
            let mut warned = self.0.warned.lock().unwrap_or_else(PoisonError::into_inner);
            if warned.len() < MAX_WARNING_TOPICS && warned.insert(topic.to_owned()) {
                tracing::warn!(topic, "the Hub warns: {}", text.trim());
            }
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.0.endpoint)
            .finish_non_exhaustive()
    }
}

/// The whole body if it is small and comes soon; reading it lets the connection be used again.
async fn small_body(mut response: Response) -> Option<Vec<u8>> {
    if response.content_length()? > SMALL_BODY_BYTES {
        return None;
    }
    let read = async {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.ok()? {
            body.extend_from_slice(&chunk);
        }
        Some(body)
    };
    tokio::time::timeout(SMALL_BODY_TIMEOUT, read).await.ok()?
}

/// The `error` of the Hub's JSON answers.
fn message_in(body: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(value.get("error")?.as_str()?.to_owned())
}

fn authorization(token: &Token) -> Result<HeaderValue, Error> {
    let mut value =
        HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| Error::Build {
            why: "the token cannot be a header".to_owned(),
        })?;
    value.set_sensitive(true);
    Ok(value)
}

fn user_agent(origin: Option<&str>) -> String {
    let mut agent = format!(
        "larder/{}; rust; os/{}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS
    );
    // Other characters cannot be in a header, and the name is only a courtesy.
    let origin: String = origin
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_graphic)
        .collect();
    if !origin.is_empty() {
        agent.push_str("; origin/");
        agent.push_str(&origin);
    }
    agent
}

fn because(error: &reqwest::Error) -> String {
    let mut why = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        why.push_str(": ");
        why.push_str(&next.to_string());
        cause = next.source();
    }
    sanitize_line(&why, 300)
}
