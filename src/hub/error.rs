//! Owns the causes why the wire did not deliver.
//!
//! **Law**: every text in here is sanitised; addresses carry no query, user or password.

use std::fmt;
use std::time::Duration;

use crate::domain::Etag;

/// Why a request or a body failed.
#[derive(Debug, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "the fields are what their names say, and each variant has its sentence"
)]
pub enum Error {
    /// No answer, or the connection broke.
    #[error("`{url}` could not be read: {kind}")]
    Transport {
        kind: TransportKind,
        url: String,
        source: reqwest::Error,
    },
    /// Nothing came for a while.
    #[error("`{url}` sent nothing for {} s", lasted.as_secs())]
    Silent { url: String, lasted: Duration },
    /// 408 or 5xx.
    #[error("`{url}` answered {status}{}", aside(message.as_deref()))]
    Server {
        status: u16,
        url: String,
        message: Option<String>,
        /// What to quote to the server's support.
        request_id: Option<String>,
        /// When the server wants to be asked again (`Retry-After`).
        wait: Option<Duration>,
    },
    /// 429; the bucket is paused for `wait`.
    #[error("`{url}` limits the rate of requests: next one in {} s", wait.as_secs())]
    RateLimited {
        url: String,
        wait: Duration,
        bucket: Option<String>,
    },
    /// The Hub does not know the token.
    #[error("`{url}` does not accept the token")]
    TokenInvalid { url: String },
    /// The token is known but not allowed to read this.
    #[error("`{url}` may not be read with this token{}", aside(message.as_deref()))]
    TokenScope {
        url: String,
        message: Option<String>,
    },
    /// The repo's terms have not been accepted.
    #[error("`{url}` is gated{}", aside(message.as_deref()))]
    Gated {
        url: String,
        message: Option<String>,
    },
    /// Missing, misspelt or private: the Hub does not say which.
    #[error("`{url}` is not a repo this user can see{}", aside(message.as_deref()))]
    RepoNotFound {
        url: String,
        message: Option<String>,
    },
    /// The Hub has switched the repo off.
    #[error("`{url}` is disabled")]
    RepoDisabled { url: String },
    /// No such branch, tag or commit.
    #[error("`{url}` names a revision that does not exist")]
    RevisionNotFound { url: String },
    /// No such file at that revision.
    #[error("`{url}` does not exist")]
    FileNotFound { url: String },
    /// Something else answered: a log-in page, a proxy, a wrong endpoint.
    #[error("`{url}` is not answered by a Hub: {why}")]
    NotAHub { url: String, why: String },
    /// A signed link ran out; asking the Hub again gives a new one.
    #[error("the link to `{host}` has expired")]
    LinkExpired { host: String },
    /// 416: the range lies outside the file.
    #[error("the range lies outside the file, which has {} bytes", known(*total))]
    RangeRejected { total: Option<u64> },
    /// Other bytes were sent than those asked for: ask again without a range.
    #[error("the range `{got}` was sent where bytes from {wanted_from} on were asked for")]
    WrongRange { got: String, wanted_from: u64 },
    /// The body ended early.
    #[error("the body ended after {got} of {expected} bytes")]
    Truncated { got: u64, expected: u64 },
    /// The body did not end.
    #[error("the body is longer than {expected} bytes")]
    TooLong { expected: u64 },
    /// The size announced is not the one listed.
    #[error("{announced} bytes are announced where the listing says {expected}")]
    SizeMismatch { announced: u64, expected: u64 },
    /// The content announced is not the one listed.
    #[error("content `{announced}` is announced where the listing says `{expected}`")]
    ChangedUpstream { announced: String, expected: Etag },
    /// A redirect that cannot be followed.
    #[error("`{url}` redirects in a way that cannot be followed: {why}")]
    Redirects { url: String, why: String },
    /// An answer that is not what the protocol says.
    #[error("`{url}` sent an answer that makes no sense: {why}")]
    Malformed { url: String, why: String },
    /// A compression nobody asked for and larder does not know.
    #[error("`{url}` sent its answer as `{encoding}`, which larder cannot decode")]
    UnknownEncoding { encoding: String, url: String },
    /// Any other status.
    #[error("`{url}` answered {status}{}", aside(message.as_deref()))]
    Status {
        status: u16,
        url: String,
        message: Option<String>,
    },
    /// The client could not be built from the settings.
    #[error("the HTTP client cannot be set up: {why}")]
    Build { why: String },
}

/// Where a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportKind {
    /// The host's name has no address.
    Dns,
    /// Nobody listens, or no way leads there.
    Connect,
    /// Nothing came in time.
    Timeout,
    /// The connection broke or the answer was not HTTP.
    Reset,
    /// No trust, or no TLS on the other side.
    Tls,
    /// The proxy in between did not let it through.
    Proxy,
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "its name has no address",
            Self::Connect => "no connection",
            Self::Timeout => "no answer in time",
            Self::Reset => "the connection broke",
            Self::Tls => "no trusted encryption",
            Self::Proxy => "the proxy did not let it through",
        })
    }
}

fn aside(message: Option<&str>) -> String {
    message.map_or_else(String::new, |message| format!(": {message}"))
}

fn known(total: Option<u64>) -> String {
    total.map_or_else(
        || "an unknown number of".to_owned(),
        |total| total.to_string(),
    )
}
