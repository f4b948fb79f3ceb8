//! Owns why something failed, as plain data: code, words, what to do next, exit code.
//!
//! Never holds a live error; those end at the engine. Every match here is exhaustive.

#![deny(clippy::wildcard_enum_match_arm)]

use std::fmt;

use serde::Serialize;

use super::repo::RepoId;

/// The public contract: the failure table, kebab-case in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    missing_docs,
    reason = "the names are the documentation; README has the table"
)]
pub enum FailureCode {
    Usage,
    Refused,
    ReadOnly,
    NoWeights,
    Incomplete,
    Findings,
    LockBusy,
    Offline,
    Dns,
    Connect,
    Timeout,
    Stalled,
    Server,
    Reset,
    Tls,
    Proxy,
    CaptivePortal,
    RateLimited,
    TokenInvalid,
    TokenScope,
    Gated,
    RepoNotFound,
    RepoDisabled,
    RevisionNotFound,
    FileNotFound,
    DiskFull,
    Permission,
    NotWritable,
    NameCollision,
    UnsafePath,
    ChecksumMismatch,
    SizeMismatch,
    ChangedUpstream,
    Cancelled,
    Internal,
}

impl FailureCode {
    /// Every code, in the order of the table.
    pub const ALL: [Self; 35] = [
        Self::Usage,
        Self::Refused,
        Self::ReadOnly,
        Self::NoWeights,
        Self::Incomplete,
        Self::Findings,
        Self::LockBusy,
        Self::Offline,
        Self::Dns,
        Self::Connect,
        Self::Timeout,
        Self::Stalled,
        Self::Server,
        Self::Reset,
        Self::Tls,
        Self::Proxy,
        Self::CaptivePortal,
        Self::RateLimited,
        Self::TokenInvalid,
        Self::TokenScope,
        Self::Gated,
        Self::RepoNotFound,
        Self::RepoDisabled,
        Self::RevisionNotFound,
        Self::FileNotFound,
        Self::DiskFull,
        Self::Permission,
        Self::NotWritable,
        Self::NameCollision,
        Self::UnsafePath,
        Self::ChecksumMismatch,
        Self::SizeMismatch,
        Self::ChangedUpstream,
        Self::Cancelled,
        Self::Internal,
    ];

    /// The code as it stands in JSON and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Refused => "refused",
            Self::ReadOnly => "read-only",
            Self::NoWeights => "no-weights",
            Self::Incomplete => "incomplete",
            Self::Findings => "findings",
            Self::LockBusy => "lock-busy",
            Self::Offline => "offline",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Stalled => "stalled",
            Self::Server => "server",
            Self::Reset => "reset",
            Self::Tls => "tls",
            Self::Proxy => "proxy",
            Self::CaptivePortal => "captive-portal",
            Self::RateLimited => "rate-limited",
            Self::TokenInvalid => "token-invalid",
            Self::TokenScope => "token-scope",
            Self::Gated => "gated",
            Self::RepoNotFound => "repo-not-found",
            Self::RepoDisabled => "repo-disabled",
            Self::RevisionNotFound => "revision-not-found",
            Self::FileNotFound => "file-not-found",
            Self::DiskFull => "disk-full",
            Self::Permission => "permission",
            Self::NotWritable => "not-writable",
            Self::NameCollision => "name-collision",
            Self::UnsafePath => "unsafe-path",
            Self::ChecksumMismatch => "checksum-mismatch",
            Self::SizeMismatch => "size-mismatch",
            Self::ChangedUpstream => "changed-upstream",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }

    /// The exit code of a command that ends with this failure alone.
    ///
    /// `Cancelled` gives 130; the binary replaces it by 129 or 143 when it knows the signal.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Usage | Self::Refused | Self::ReadOnly | Self::NoWeights => 2,
            Self::Incomplete | Self::Findings => 3,
            Self::LockBusy => 4,
            Self::Offline
            | Self::Dns
            | Self::Connect
            | Self::Timeout
            | Self::Stalled
            | Self::Server
            | Self::Reset
            | Self::Tls
            | Self::Proxy
            | Self::CaptivePortal
            | Self::RateLimited => 5,
            Self::TokenInvalid
            | Self::TokenScope
            | Self::Gated
            | Self::RepoNotFound
            | Self::RepoDisabled
            | Self::RevisionNotFound
            | Self::FileNotFound => 6,
            Self::DiskFull
            | Self::Permission
            | Self::NotWritable
            | Self::NameCollision
            | Self::UnsafePath => 7,
            Self::ChecksumMismatch | Self::SizeMismatch | Self::ChangedUpstream => 8,
            Self::Cancelled => 130,
            Self::Internal => 70,
        }
    }

    /// Whether the same attempt may succeed later without anybody doing anything.
    ///
    /// Bytes that do not match are retried too, but once and afresh: the engine counts those apart.
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::Offline
            | Self::Dns
            | Self::Connect
            | Self::Timeout
            | Self::Stalled
            | Self::Server
            | Self::Reset
            | Self::RateLimited => true,
            Self::Usage
            | Self::Refused
            | Self::ReadOnly
            | Self::NoWeights
            | Self::Incomplete
            | Self::Findings
            | Self::LockBusy
            | Self::Tls
            | Self::Proxy
            | Self::CaptivePortal
            | Self::TokenInvalid
            | Self::TokenScope
            | Self::Gated
            | Self::RepoNotFound
            | Self::RepoDisabled
            | Self::RevisionNotFound
            | Self::FileNotFound
            | Self::DiskFull
            | Self::Permission
            | Self::NotWritable
            | Self::NameCollision
            | Self::UnsafePath
            | Self::ChecksumMismatch
            | Self::SizeMismatch
            | Self::ChangedUpstream
            | Self::Cancelled
            | Self::Internal => false,
        }
    }

    /// Whether another program or another machine may well fetch it where larder cannot: then the
    /// guide to fetching by hand is a way.
    pub const fn leaves_the_hand(self) -> bool {
        match self {
            Self::Dns
            | Self::Connect
            | Self::Timeout
            | Self::Stalled
            | Self::Server
            | Self::Reset
            | Self::Tls
            | Self::Proxy
            | Self::ChecksumMismatch
            | Self::SizeMismatch
            | Self::ChangedUpstream => true,
            Self::Usage
            | Self::Refused
            | Self::ReadOnly
            | Self::NoWeights
            | Self::Incomplete
            | Self::Findings
            | Self::LockBusy
            | Self::Offline
            | Self::CaptivePortal
            | Self::RateLimited
            | Self::TokenInvalid
            | Self::TokenScope
            | Self::Gated
            | Self::RepoNotFound
            | Self::RepoDisabled
            | Self::RevisionNotFound
            | Self::FileNotFound
            | Self::DiskFull
            | Self::Permission
            | Self::NotWritable
            | Self::NameCollision
            | Self::UnsafePath
            | Self::Cancelled
            | Self::Internal => false,
        }
    }

    /// Whether no other file of the job can succeed either.
    pub const fn ends_job(self) -> bool {
        match self {
            Self::DiskFull
            | Self::NotWritable
            | Self::TokenInvalid
            | Self::TokenScope
            | Self::Gated
            | Self::RepoNotFound
            | Self::RepoDisabled
            | Self::RevisionNotFound
            | Self::Tls
            | Self::Proxy
            | Self::CaptivePortal => true,
            Self::Usage
            | Self::Refused
            | Self::ReadOnly
            | Self::NoWeights
            | Self::Incomplete
            | Self::Findings
            | Self::LockBusy
            | Self::Offline
            | Self::Dns
            | Self::Connect
            | Self::Timeout
            | Self::Stalled
            | Self::Server
            | Self::Reset
            | Self::RateLimited
            | Self::FileNotFound
            | Self::Permission
            | Self::NameCollision
            | Self::UnsafePath
            | Self::ChecksumMismatch
            | Self::SizeMismatch
            | Self::ChangedUpstream
            | Self::Cancelled
            | Self::Internal => false,
        }
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the user should do; each face says how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Correct the call.
    FixCall,
    /// Nothing MLX can read: fetch everything or choose another repo.
    FetchAll,
    /// Run the pull again to complete or heal the model.
    PullAgain,
    /// Another program is at work: wait for it.
    WaitForLock,
    /// Look at the network; what is here is resumed.
    CheckNetwork,
    /// Offline mode is on, or there is no network: go online.
    GoOnline,
    /// The certificate or a proxy in between is the problem.
    CheckTls,
    /// The proxy's variable is wrong.
    CheckProxy,
    /// The network wants a log-in in a browser.
    LogInToNetwork,
    /// Wait for the rate limit, or use a token.
    WaitForRateLimit,
    /// The token is wrong: log in again or go without.
    LogIn,
    /// The token lacks the right: use one that can read this repo.
    WidenToken,
    /// The repo's terms must be accepted on its page.
    AcceptTerms,
    /// Check the spelling, or log in: the Hub does not say which it is.
    CheckName,
    /// The repo is disabled by the Hub; choose another.
    ChooseAnother,
    /// Free disk space.
    FreeSpace,
    /// Correct the owner or mode of a folder, or use another cache.
    FixPermissions,
    /// Leave the offending file out.
    ExcludeFile,
    /// Move away what stands in the place of a file or a folder.
    ClearWay,
    /// Move a file in a folder away, or ask for it to be replaced.
    Replace,
    /// Bytes from this source do not match what the Hub promised: try again, or another source.
    TryAgainLater,
    /// Run the same command again: it resumes.
    Resume,
    /// A bug in larder.
    ReportBug,
}

/// What stands in a file's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Files that are replaced if that is asked for. Sanitised.
    Files {
        /// The folder that is pulled into.
        folder: String,
        /// The file; `None` if it is about all that a pull would replace.
        file: Option<String>,
    },
    /// What nothing replaces: a link, a folder, a file in the place of a folder. Sanitised.
    Thing {
        /// Its path.
        path: String,
    },
}

/// Why something failed, told in a form that every face can show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The stable code.
    pub code: FailureCode,
    /// What failed: lower case, no full stop, names in backticks. Already sanitised.
    pub summary: String,
    /// Why, outermost cause first. Already sanitised and free of secrets.
    pub causes: Vec<String>,
    /// The file in the repo or on disk it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The address asked, without query, user or password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Bytes needed on the cache's file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needed_bytes: Option<u64>,
    /// Bytes free there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// When the server said to come back, in milliseconds from the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// What stands in the way; the faces say what to do about it.
    #[serde(skip)]
    pub obstacle: Option<Obstacle>,
}

impl Failure {
    /// A failure with a code and what failed.
    pub fn new(code: FailureCode, summary: impl Into<String>) -> Self {
        Self {
            code,
            summary: super::text::sanitize(&summary.into()),
            causes: Vec::new(),
            path: None,
            url: None,
            needed_bytes: None,
            free_bytes: None,
            retry_after_ms: None,
            obstacle: None,
        }
    }

    /// The Hub that was asked, or the one that everybody knows where none was: for pages that a person
    /// is sent to.
    pub fn hub(&self, repo: &str) -> &str {
        let url = self.url.as_deref().unwrap_or_default();
        let parts = ["/api/".to_owned(), format!("/{repo}/")];
        let end = parts.iter().find_map(|part| url.find(part.as_str()));
        end.map_or("https://huggingface.co", |end| &url[..end])
    }

    /// A repo of which nothing is in the cache, and some of those that are: first what was probably
    /// meant.
    pub fn not_in_cache(repo: &RepoId, here: &[RepoId]) -> Self {
        const TOLD: usize = 5;
        let failure = Self::new(
            FailureCode::Incomplete,
            format!("`{repo}` is not in the cache"),
        );
        if here.is_empty() {
            return failure.because("the cache is empty");
        }
        let last = |repo: &RepoId| {
            let name = repo.name().rsplit('/').next().unwrap_or_default();
            name.to_lowercase()
        };
        let wanted = last(repo);
        let mut names: Vec<&RepoId> = here.iter().collect();
        names.sort_by_key(|other| {
            let name = last(other);
            let is_near = name.contains(&wanted) || wanted.contains(&name);
            (name != wanted, !is_near)
        });
        let more = match names.len().saturating_sub(TOLD) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let names: Vec<String> = names.iter().take(TOLD).map(ToString::to_string).collect();
        failure.because(format!("in the cache are {}{more}", names.join(", ")))
    }

    /// Adds a cause below those already there.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes
            .push(super::text::sanitize_line(&cause.into(), 400));
        self
    }

    /// Names the file it is about.
    #[must_use]
    pub fn at_path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(super::text::sanitize(&path.into()));
        self
    }

    /// Names the address asked; the caller has taken secrets out.
    #[must_use]
    pub fn at_url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(super::text::sanitize(&url.into()));
        self
    }

    /// Says what stands in the way.
    #[must_use]
    pub fn blocked_by(mut self, obstacle: Obstacle) -> Self {
        self.obstacle = Some(obstacle);
        self
    }

    /// What to do about it.
    pub const fn help(&self) -> Remedy {
        match self.obstacle {
            Some(Obstacle::Files { .. }) => return Remedy::Replace,
            Some(Obstacle::Thing { .. }) => return Remedy::ClearWay,
            None => {}
        }
        match self.code {
            FailureCode::Usage | FailureCode::Refused | FailureCode::ReadOnly => Remedy::FixCall,
            FailureCode::NoWeights => Remedy::FetchAll,
            FailureCode::Incomplete | FailureCode::Findings => Remedy::PullAgain,
            FailureCode::LockBusy => Remedy::WaitForLock,
            FailureCode::Offline => Remedy::GoOnline,
            FailureCode::Dns
            | FailureCode::Connect
            | FailureCode::Timeout
            | FailureCode::Stalled
            | FailureCode::Server
            | FailureCode::Reset => Remedy::CheckNetwork,
            FailureCode::Tls => Remedy::CheckTls,
            FailureCode::Proxy => Remedy::CheckProxy,
            FailureCode::CaptivePortal => Remedy::LogInToNetwork,
            FailureCode::RateLimited => Remedy::WaitForRateLimit,
            FailureCode::TokenInvalid => Remedy::LogIn,
            FailureCode::TokenScope => Remedy::WidenToken,
            FailureCode::Gated => Remedy::AcceptTerms,
            FailureCode::RepoNotFound
            | FailureCode::RevisionNotFound
            | FailureCode::FileNotFound => Remedy::CheckName,
            FailureCode::RepoDisabled => Remedy::ChooseAnother,
            FailureCode::DiskFull => Remedy::FreeSpace,
            FailureCode::Permission | FailureCode::NotWritable => Remedy::FixPermissions,
            FailureCode::NameCollision | FailureCode::UnsafePath => Remedy::ExcludeFile,
            FailureCode::ChecksumMismatch
            | FailureCode::SizeMismatch
            | FailureCode::ChangedUpstream => Remedy::TryAgainLater,
            FailureCode::Cancelled => Remedy::Resume,
            FailureCode::Internal => Remedy::ReportBug,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

/// The exit code of a command with these failures: their class if they share one, else 1.
pub fn exit_code(failures: &[Failure]) -> u8 {
    let mut classes = failures.iter().map(|failure| failure.code.exit_code());
    let Some(first) = classes.next() else {
        return 0;
    };
    if classes.all(|class| class == first) {
        first
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_in_json_are_their_names() {
        for code in FailureCode::ALL {
            let json = serde_json::to_string(&code).unwrap();
            assert_eq!(json, format!("\"{}\"", code.name()));
        }
    }

    #[test]
    fn shared_class_decides_and_mixed_is_one() {
        let failure = |code| Failure::new(code, "x");
        assert_eq!(exit_code(&[]), 0);
        assert_eq!(
            exit_code(&[failure(FailureCode::Reset), failure(FailureCode::Dns)]),
            5
        );
        assert_eq!(
            exit_code(&[failure(FailureCode::Reset), failure(FailureCode::Gated)]),
            1
        );
    }

    #[test]
    fn texts_are_harmless() {
        let failure = Failure::new(FailureCode::Server, "a\u{1b}[31m").because("b\u{7}");
        assert_eq!(failure.to_string(), "a\\x1b[31m: b\\x07");
    }

    #[test]
    fn pages_are_those_of_the_hub_that_was_asked() {
        let of = |url: &str| {
            let failure = Failure::new(FailureCode::RepoNotFound, "x").at_url(url);
            failure.hub("org/m").to_owned()
        };
        for (url, hub) in [
            (
                "http://127.0.0.1:80/api/models/org/m/revision/main",
                "http://127.0.0.1:80",
            ),
            (
                "https://mirror.example/hf/org/m/resolve/main/x",
                "https://mirror.example/hf",
            ),
            (
                "https://huggingface.co/org/m/resolve/main/x",
                "https://huggingface.co",
            ),
            ("https://cdn.example/3f28", "https://huggingface.co"),
        ] {
            assert_eq!(of(url), hub, "{url}");
        }
        let nowhere = Failure::new(FailureCode::RepoNotFound, "x");
        assert_eq!(nowhere.hub("org/m"), "https://huggingface.co");
    }
}
