//! Owns what goes wrong, as data: which requests, how often, with what effect.
//!
//! Never touches a response: that is `tamper.rs`.

use std::sync::Mutex;

use super::serving::Origin;

/// Which requests a fault is for.
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    path_end: Option<String>,
    path_start: Option<String>,
    origin: Option<Origin>,
    method: Option<&'static str>,
}

impl Matcher {
    /// Every `GET`.
    pub fn any() -> Self {
        Self {
            method: Some("GET"),
            ..Self::default()
        }
    }

    /// A `GET` of the file of that path inside its repo, from either origin.
    pub fn path(path: &str) -> Self {
        Self {
            path_end: Some(format!("/{path}")),
            ..Self::any()
        }
    }

    /// A `GET` of the API: revisions and listings.
    pub fn api() -> Self {
        Self {
            path_start: Some("/api/".to_owned()),
            ..Self::any()
        }
    }

    /// Only requests to that origin.
    #[must_use]
    pub const fn origin(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    fn matches(&self, origin: Origin, method: &str, path: &str) -> bool {
        self.origin.is_none_or(|wanted| wanted == origin)
            && self.method.is_none_or(|wanted| wanted == method)
            && self
                .path_end
                .as_ref()
                .is_none_or(|end| path.ends_with(end.as_str()))
            && self
                .path_start
                .as_ref()
                .is_none_or(|start| path.starts_with(start.as_str()))
    }
}

/// How a rate limit says when to come back (hub.md 1.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateHeader {
    /// `RateLimit: "api";r=0;t=N`.
    RateLimit,
    /// `Retry-After: N`.
    RetryAfterSeconds,
    /// `Retry-After: <HTTP date>`.
    RetryAfterDate,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Effect {
    /// The connection is closed in good order after so many bytes of the body.
    CutAfter {
        /// Bytes that still arrive.
        bytes: u64,
    },
    /// The connection is reset after so many bytes of the body.
    ResetAfter {
        /// Bytes that still arrive.
        bytes: u64,
    },
    /// Nothing comes for a while in the middle of the body.
    Stall {
        /// Bytes that arrive before.
        after_bytes: u64,
        /// How long nothing comes.
        millis: u64,
    },
    /// The body comes slowly.
    Slow {
        /// How fast.
        bytes_per_s: u64,
    },
    /// `Range` is not obeyed: 200 and the whole body.
    IgnoreRange,
    /// A 206 whose `Content-Range` is not what was asked for.
    WrongContentRange,
    /// 416 whatever was asked.
    Status416,
    /// 429.
    RateLimited {
        /// In which form it says when to come back.
        header: RateHeader,
        /// When.
        seconds: u64,
    },
    /// This status, with a short body.
    Status {
        /// The status.
        code: u16,
    },
    /// 503 with `Retry-After` in seconds.
    Unavailable {
        /// When to come back.
        seconds: u64,
    },
    /// `Content-Length` is off, and so is the body.
    WrongLength {
        /// By how much.
        delta: i64,
    },
    /// One byte of the file is another one.
    FlipByte {
        /// Its offset in the file.
        at: u64,
    },
    /// Every byte of the file is another one: somebody has changed it since it was announced.
    OtherBytes,
    /// More bytes than announced in the listing, in a body of unannounced length.
    LongerBody {
        /// How many more.
        extra: u64,
    },
    /// The body is compressed although identity was asked for.
    Gzip,
    /// Another `ETag` and `X-Linked-Etag`.
    OtherEtag(String),
    /// 403 with the XML of a storage service whose signed link is too old.
    ExpiredLink,
    /// A redirect to another place.
    RedirectTo(String),
    /// A redirect to itself.
    RedirectLoop,
    /// 200 and the log-in page of a network.
    Html200,
    /// 200, said to be JSON, and is not.
    PlainJsonGarbage,
    /// `X-Repo-Commit` is missing.
    DropRepoCommitHeader,
    /// Nothing is answered for a while.
    Delay {
        /// For how long.
        millis: u64,
    },
    /// 401 with the Hub's words for a wrong token.
    InvalidCredentials401,
    /// The text of an LFS pointer in the place of the content.
    LfsPointerText,
}

impl Effect {
    /// 429 with a `RateLimit` header.
    pub const fn rate_limit(seconds: u64) -> Self {
        Self::RateLimited {
            header: RateHeader::RateLimit,
            seconds,
        }
    }

    /// 429 with `Retry-After` in seconds.
    pub const fn retry_after_seconds(seconds: u64) -> Self {
        Self::RateLimited {
            header: RateHeader::RetryAfterSeconds,
            seconds,
        }
    }

    /// 429 with `Retry-After` as a date.
    pub const fn retry_after_date(seconds: u64) -> Self {
        Self::RateLimited {
            header: RateHeader::RetryAfterDate,
            seconds,
        }
    }
}

/// An effect on some requests, for a number of times or for ever.
#[derive(Clone, Debug)]
pub struct Fault {
    when: Matcher,
    what: Vec<Effect>,
    times: Option<u32>,
}

impl Fault {
    /// A fault on every matching request.
    pub fn new(when: Matcher, what: Effect) -> Self {
        Self {
            when,
            what: vec![what],
            times: None,
        }
    }

    /// Also this effect, on what the others left.
    #[must_use]
    pub fn and(mut self, what: Effect) -> Self {
        self.what.push(what);
        self
    }

    /// Only on the first `times` matching requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }
}

/// The faults in force. The first that matches and is not used up has its effect.
#[derive(Debug, Default)]
pub(super) struct Script(Mutex<Vec<Fault>>);

impl Script {
    pub(super) fn new(faults: Vec<Fault>) -> Self {
        Self(Mutex::new(faults))
    }

    pub(super) fn replace(&self, faults: Vec<Fault>) {
        *self.lock() = faults;
    }

    pub(super) fn effects_on(&self, origin: Origin, method: &str, path: &str) -> Vec<Effect> {
        let mut faults = self.lock();
        let Some(fault) = faults
            .iter_mut()
            .find(|fault| fault.times != Some(0) && fault.when.matches(origin, method, path))
        else {
            return Vec::new();
        };
        if let Some(times) = &mut fault.times {
            *times -= 1;
        }
        fault.what.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Fault>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_used_up_in_order() {
        let script = Script::new(vec![
            Fault::new(Matcher::path("a"), Effect::Status { code: 500 }).times(1),
            Fault::new(Matcher::path("a"), Effect::Gzip),
        ]);
        let on = |path| script.effects_on(Origin::Hub, "GET", path);
        assert!(on("/x/resolve/main/b").is_empty());
        assert!(matches!(
            on("/x/resolve/main/a").as_slice(),
            [Effect::Status { code: 500 }]
        ));
        assert!(matches!(on("/x/resolve/main/a").as_slice(), [Effect::Gzip]));
        assert!(
            script
                .effects_on(Origin::Hub, "HEAD", "/x/resolve/main/a")
                .is_empty()
        );
        let cdn = Matcher::any().origin(Origin::Cdn);
        assert!(!cdn.matches(Origin::Hub, "GET", "/"));
    }
}
