//! Owns what an unsuccessful answer means. Pure; order of tests by `huggingface_hub`
//! `hf_raise_for_status`, since the Hub's statuses alone do not tell causes apart.

use std::time::Duration;

use super::error::Error;
use super::gate::Bucket;
use super::header::ContentRange;

/// An answer that is neither a success nor a redirect; texts are fit to be shown.
#[derive(Debug)]
pub(super) struct Refusal<'a> {
    pub(super) status: u16,
    /// `X-Error-Code`.
    pub(super) code: Option<&'a str>,
    /// `X-Error-Message`, else the `error` of a JSON body.
    pub(super) message: Option<String>,
    pub(super) url: String,
    pub(super) host: String,
    pub(super) request_id: Option<String>,
    /// Whether the host is the endpoint or the Hub under another name.
    pub(super) is_own: bool,
    pub(super) is_html: bool,
    /// Whether an answer on the way carried `X-Repo-Commit`: then a Hub sent us here.
    pub(super) has_commit: bool,
    pub(super) bucket: Bucket,
    pub(super) wait: Duration,
    /// `Retry-After` alone: what a busy server asks for.
    pub(super) retry_after: Option<Duration>,
    pub(super) limited: Option<String>,
    /// `Content-Range`.
    pub(super) range: Option<&'a str>,
}

impl Refusal<'_> {
    /// The cause.
    pub(super) fn into_error(self) -> Error {
        let Self { url, message, .. } = self;
        match self.code {
            Some("RevisionNotFound") => return Error::RevisionNotFound { url },
            Some("EntryNotFound") => return Error::FileNotFound { url },
            Some("GatedRepo") => return Error::Gated { url, message },
            _ if message.as_deref() == Some("Access to this resource is disabled.") => {
                return Error::RepoDisabled { url };
            }
            Some("RepoNotFound") => return Error::RepoNotFound { url, message },
            _ => {}
        }
        let is_foreign = !self.is_own && self.code.is_none();
        match self.status {
            429 => Error::RateLimited {
                url,
                wait: self.wait,
                bucket: self.limited,
            },
            416 => Error::RangeRejected {
                total: self.range.and_then(ContentRange::parse_unsatisfied),
            },
            511 => Error::NotAHub {
                url,
                why: "the network asks for a log-in".to_owned(),
            },
            408 | 500..=599 => Error::Server {
                status: self.status,
                url,
                message,
                request_id: self.request_id,
                wait: self.retry_after,
            },
            300..=399 => Error::Redirects {
                url,
                why: format!("{} is not a redirect", self.status),
            },
            200..=299 => Error::Malformed {
                url,
                why: format!("{} is no answer to this request", self.status),
            },
            // Signed links of a CDN run out; 401 and 410 are how some say so.
            400 | 401 | 403 | 410 if is_foreign && self.has_commit => {
                Error::LinkExpired { host: self.host }
            }
            _ if is_foreign && !self.has_commit => Error::NotAHub {
                url,
                why: format!(
                    "the request was led to `{}`, which answered {}",
                    self.host, self.status
                ),
            },
            401 if message.as_deref().is_some_and(is_bad_token) => Error::TokenInvalid { url },
            401 => Error::RepoNotFound { url, message },
            403 if self.is_html && message.is_none() && self.request_id.is_none() => {
                Error::NotAHub {
                    url,
                    why: "it was blocked with a web page".to_owned(),
                }
            }
            403 => Error::TokenScope { url, message },
            // The Hub names what is missing; mirrors and peers may not.
            404 => match self.bucket {
                Bucket::Resolvers => Error::FileNotFound { url },
                Bucket::Api if self.is_html => Error::NotAHub {
                    url,
                    why: "a web page says that nothing is there".to_owned(),
                },
                Bucket::Api => Error::RepoNotFound { url, message },
            },
            status => Error::Status {
                status,
                url,
                message,
            },
        }
    }
}

/// Python compares `X-Error-Message`; the Hub's JSON says the same with other endings.
fn is_bad_token(message: &str) -> bool {
    message.starts_with("Invalid credentials in Authorization header")
        || message.starts_with("Invalid username or password")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16) -> Refusal<'static> {
        Refusal {
            status,
            code: None,
            message: None,
            url: "https://h/x".to_owned(),
            host: "h".to_owned(),
            request_id: None,
            is_own: true,
            is_html: false,
            has_commit: false,
            bucket: Bucket::Api,
            wait: Duration::from_secs(56),
            retry_after: None,
            limited: Some("api".to_owned()),
            range: None,
        }
    }

    fn code(status: u16, code: &'static str) -> Error {
        Refusal {
            code: Some(code),
            ..refusal(status)
        }
        .into_error()
    }

    fn said(status: u16, message: &str) -> Error {
        Refusal {
            message: Some(message.to_owned()),
            ..refusal(status)
        }
        .into_error()
    }

    #[test]
    fn the_hubs_codes_decide_first() {
        assert!(matches!(
            code(404, "RevisionNotFound"),
            Error::RevisionNotFound { .. }
        ));
        assert!(matches!(
            code(404, "EntryNotFound"),
            Error::FileNotFound { .. }
        ));
        assert!(matches!(code(401, "GatedRepo"), Error::Gated { .. }));
        assert!(matches!(code(403, "GatedRepo"), Error::Gated { .. }));
        assert!(matches!(
            code(401, "RepoNotFound"),
            Error::RepoNotFound { .. }
        ));
        assert!(matches!(
            code(404, "RepoNotFound"),
            Error::RepoNotFound { .. }
        ));
        assert!(matches!(code(403, "Unheard"), Error::TokenScope { .. }));
    }

    #[test]
    fn messages_and_statuses_decide_next() {
        assert!(matches!(
            said(403, "Access to this resource is disabled."),
            Error::RepoDisabled { .. }
        ));
        assert!(matches!(
            said(401, "Invalid credentials in Authorization header"),
            Error::TokenInvalid { .. }
        ));
        assert!(matches!(
            said(401, "Unauthorized"),
            Error::RepoNotFound { .. }
        ));
        assert!(matches!(said(403, "no"), Error::TokenScope { .. }));
        assert!(matches!(
            refusal(404).into_error(),
            Error::RepoNotFound { .. }
        ));
        for status in [408, 500, 502, 503, 504, 520] {
            assert!(
                matches!(refusal(status).into_error(), Error::Server { .. }),
                "{status}"
            );
        }
        for status in [400, 405, 407, 418, 451] {
            assert!(
                matches!(refusal(status).into_error(), Error::Status { .. }),
                "{status}"
            );
        }
        assert!(matches!(refusal(511).into_error(), Error::NotAHub { .. }));
        assert!(matches!(refusal(304).into_error(), Error::Redirects { .. }));
        assert!(matches!(refusal(204).into_error(), Error::Malformed { .. }));
        let limited = refusal(429).into_error();
        assert!(
            matches!(&limited, Error::RateLimited { wait, bucket: Some(bucket), .. }
                if wait.as_secs() == 56 && bucket == "api"),
            "{limited:?}"
        );
    }

    #[test]
    fn a_file_or_page_that_is_missing_without_a_code() {
        let file = Refusal {
            bucket: Bucket::Resolvers,
            ..refusal(404)
        };
        assert!(matches!(file.into_error(), Error::FileNotFound { .. }));
        for status in [403, 404] {
            let page = Refusal {
                is_html: true,
                ..refusal(status)
            };
            assert!(
                matches!(page.into_error(), Error::NotAHub { .. }),
                "{status}"
            );
        }
    }

    #[test]
    fn ranges_outside_tell_the_length_if_they_can() {
        let with = Refusal {
            range: Some("bytes */10"),
            ..refusal(416)
        };
        assert!(matches!(
            with.into_error(),
            Error::RangeRejected { total: Some(10) }
        ));
        assert!(matches!(
            refusal(416).into_error(),
            Error::RangeRejected { total: None }
        ));
    }

    #[test]
    fn other_hosts_are_cdns_only_if_a_hub_sent_us_there() {
        for status in [400, 401, 403, 410] {
            let foreign = |has_commit| Refusal {
                is_own: false,
                has_commit,
                bucket: Bucket::Resolvers,
                ..refusal(status)
            };
            assert!(
                matches!(foreign(true).into_error(), Error::LinkExpired { .. }),
                "{status}"
            );
            assert!(
                matches!(foreign(false).into_error(), Error::NotAHub { .. }),
                "{status}"
            );
        }
        let gone = Refusal {
            is_own: false,
            has_commit: true,
            ..refusal(503)
        };
        assert!(matches!(gone.into_error(), Error::Server { .. }));
    }
}
