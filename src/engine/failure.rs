//! Owns the one mapping from typed errors to plain failures. Exhaustive: a new error in the wire
//! or the disk breaks this file, not a user.

#![deny(clippy::wildcard_enum_match_arm)]

use super::emit::millis;
use super::local::{is_link, is_of_another, is_strange};
use crate::cache;
use crate::domain::{Failure, FailureCode, Obstacle, sanitize};
use crate::hub::{self, TransportKind};

/// A failure from the wire.
#[expect(
    clippy::too_many_lines,
    reason = "one line of words for each cause, in one table"
)]
pub(super) fn from_hub(error: hub::Error) -> Failure {
    use hub::Error;

    match error {
        Error::Transport { kind, url, source } => {
            let (code, what) = match kind {
                TransportKind::Dns => (FailureCode::Dns, "the host's name was not found"),
                TransportKind::Connect => (FailureCode::Connect, "no connection could be made"),
                TransportKind::Timeout => {
                    (FailureCode::Timeout, "the server did not answer in time")
                }
                TransportKind::Reset => (FailureCode::Reset, "the connection was cut"),
                TransportKind::Tls => (FailureCode::Tls, "the encrypted connection was refused"),
                TransportKind::Proxy => (FailureCode::Proxy, "the proxy did not let it through"),
            };
            Failure::new(code, what)
                .because(innermost(&source))
                .at_url(url)
        }
        Error::Silent { url, lasted } => {
            Failure::new(FailureCode::Timeout, "the server did not answer in time")
                .because(format!("nothing came for {} s", lasted.as_secs()))
                .at_url(url)
        }
        Error::Server {
            status,
            url,
            message,
            request_id,
            wait,
        } => {
            let mut failure =
                Failure::new(FailureCode::Server, format!("the server answered {status}"))
                    .at_url(url);
            if let Some(message) = message {
                failure = failure.because(message);
            }
            // "At once" is no answer to a server that is down: then the usual pauses apply.
            failure.retry_after_ms = wait.filter(|wait| !wait.is_zero()).map(millis);
            match request_id {
                Some(id) => failure.because(format!("request id {id}")),
                None => failure,
            }
        }
        Error::RateLimited { url, wait, bucket } => {
            let mut failure = Failure::new(
                FailureCode::RateLimited,
                match bucket {
                    Some(bucket) => format!("the Hub limits `{bucket}` requests"),
                    None => "the Hub limits requests".to_owned(),
                },
            )
            .because(format!("it asks to come back in {} s", wait.as_secs()))
            .at_url(url);
            failure.retry_after_ms = Some(millis(wait));
            failure
        }
        Error::TokenInvalid { url } => Failure::new(
            FailureCode::TokenInvalid,
            "the Hub does not accept the token",
        )
        .because("a wrong token hides public repos too")
        .at_url(url),
        Error::TokenScope { url, message } => with_message(
            Failure::new(FailureCode::TokenScope, "the token may not read this repo").at_url(url),
            message,
        ),
        Error::Gated { url, message } => with_message(
            Failure::new(
                FailureCode::Gated,
                "the repo is gated: its terms must be accepted first",
            )
            .at_url(url),
            message,
        ),
        Error::RepoNotFound { url, message } => with_message(
            Failure::new(
                FailureCode::RepoNotFound,
                "the Hub has no such repo, or it is private",
            )
            .at_url(url),
            message,
        ),
        Error::RepoDisabled { url } => {
            Failure::new(FailureCode::RepoDisabled, "the Hub has disabled this repo").at_url(url)
        }
        Error::RevisionNotFound { url } => Failure::new(
            FailureCode::RevisionNotFound,
            "the repo has no such branch, tag or commit",
        )
        .at_url(url),
        Error::FileNotFound { url } => Failure::new(
            FailureCode::FileNotFound,
            "the repo has no such file at this commit",
        )
        .at_url(url),
        Error::NotAHub { url, why } => Failure::new(
            FailureCode::CaptivePortal,
            "something between this machine and the Hub answered in its place",
        )
        .because(why)
        .at_url(url),
        Error::LinkExpired { host } => {
            Failure::new(FailureCode::Server, "the download link has expired")
                .because(format!("`{host}` refused it; a new one is asked for"))
        }
        Error::RangeRejected { total } => Failure::new(
            FailureCode::Server,
            "the server refused to continue the file",
        )
        .because(match total {
            Some(total) => format!("it says that the file has {total} bytes"),
            None => "it did not say why".to_owned(),
        }),
        Error::WrongRange { got, wanted_from } => Failure::new(
            FailureCode::Server,
            "the server sent another part of the file than asked for",
        )
        .because(format!(
            "asked for bytes from {wanted_from} on, got `{got}`"
        )),
        Error::Truncated { got, expected } => Failure::new(
            FailureCode::Reset,
            "the connection ended before the file did",
        )
        .because(format!("{got} of {expected} bytes came")),
        Error::TooLong { expected } => Failure::new(
            FailureCode::SizeMismatch,
            "the server sent more bytes than the file has",
        )
        .because(format!("the listing says {expected} bytes")),
        Error::SizeMismatch {
            announced,
            expected,
        } => Failure::new(
            FailureCode::SizeMismatch,
            "the server announced another size than the listing",
        )
        .because(format!("{announced} bytes announced, {expected} expected")),
        Error::ChangedUpstream {
            announced,
            expected,
        } => Failure::new(
            FailureCode::ChangedUpstream,
            "the server announced other content than the listing",
        )
        .because(format!("`{announced}` announced, `{expected}` expected")),
        Error::Redirects { url, why } => {
            Failure::new(FailureCode::Server, "the redirects cannot be followed")
                .because(why)
                .at_url(url)
        }
        Error::Malformed { url, why } => {
            Failure::new(FailureCode::Server, "the server's answer cannot be read")
                .because(why)
                .at_url(url)
        }
        Error::UnknownEncoding { url, encoding } => Failure::new(
            FailureCode::Server,
            "the server compressed the file in a way larder does not know",
        )
        .because(format!("content encoding `{encoding}`"))
        .at_url(url),
        Error::Status {
            status: 407, url, ..
        } => Failure::new(FailureCode::Proxy, "the proxy asks for a user and password").at_url(url),
        Error::Status {
            status,
            url,
            message,
        } => with_message(
            Failure::new(
                FailureCode::Refused,
                format!("the server refused with {status}"),
            )
            .at_url(url),
            message,
        ),
        Error::Build { why } => {
            Failure::new(FailureCode::Internal, "the HTTP client cannot be set up").because(why)
        }
    }
}

fn with_message(failure: Failure, message: Option<String>) -> Failure {
    match message {
        Some(message) => failure.because(message),
        None => failure,
    }
}

/// The deepest cause: the operating system's or the TLS library's own words.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// A failure from the disk.
pub(super) fn from_cache(error: cache::Error) -> Failure {
    use cache::Error;

    let summary = error.to_string();
    match error {
        // A name or path beyond what the file system takes (hub.md case 53).
        Error::Io { path, source, .. } if source.kind() == std::io::ErrorKind::InvalidFilename => {
            Failure::new(FailureCode::UnsafePath, summary)
                .because(source.to_string())
                .at_path(shown(&path))
        }
        // The system's refusals are the disk's: a file where a folder has to be, a device that
        // fails. None of them is a bug of ours.
        Error::Io { path, source, .. } | Error::ReadOnly { path, source } => {
            Failure::new(FailureCode::NotWritable, summary)
                .because(source.to_string())
                .at_path(shown(&path))
        }
        Error::DiskFull { path, source } => Failure::new(FailureCode::DiskFull, summary)
            .because(source.to_string())
            .at_path(shown(&path)),
        Error::Permission {
            path,
            owner,
            source,
            ..
        } => {
            let failure = Failure::new(FailureCode::Permission, summary)
                .because(source.to_string())
                .at_path(shown(&path));
            match owner {
                Some(owner) => failure.because(owner),
                None => failure,
            }
        }
        Error::AbsentMount { path, .. } => Failure::new(FailureCode::NotWritable, summary)
            .because("connect the volume, or use another cache")
            .at_path(shown(&path)),
        Error::HashMismatch { path, .. } => {
            Failure::new(FailureCode::ChecksumMismatch, summary).at_path(shown(&path))
        }
        Error::SizeExceeded { path, .. } => {
            Failure::new(FailureCode::SizeMismatch, summary).at_path(shown(&path))
        }
        Error::Interrupted => Failure::new(FailureCode::Cancelled, summary),
        Error::RefConflict { reference, .. } => {
            Failure::new(FailureCode::NameCollision, summary).at_path(shown(&reference))
        }
        Error::BlockedByFolder { path } => Failure::new(FailureCode::NotWritable, summary)
            .because("larder takes no folder away")
            .at_path(shown(&path))
            .blocked_by(thing(&path)),
        Error::NotAFolder { path, other } => Failure::new(FailureCode::NameCollision, summary)
            .because("larder takes nothing away that it did not put there")
            .at_path(shown(&path))
            .blocked_by(thing(&other)),
        Error::Collision { path, .. } => {
            Failure::new(FailureCode::NameCollision, summary).at_path(shown(&path))
        }
        Error::SymlinkedParent { path, link } => Failure::new(FailureCode::UnsafePath, summary)
            .because("a link is not followed there")
            .at_path(shown(&path))
            .blocked_by(thing(&link)),
        Error::NotOurs { folder, path } => is_strange(&folder, &path),
        Error::OfAnother { folder, path, repo } => is_of_another(&folder, &[path], &repo),
        Error::LinkInPlace { folder, path } => is_link(&folder, &path),
        Error::Unsteady { path } => {
            Failure::new(FailureCode::LockBusy, summary).at_path(shown(&path))
        }
    }
}

fn shown(path: &std::path::Path) -> String {
    path.display().to_string()
}

/// What nothing of ours takes away.
pub(super) fn thing(path: &std::path::Path) -> Obstacle {
    let path = sanitize(&path.to_string_lossy());
    Obstacle::Thing { path }
}
