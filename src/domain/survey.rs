//! Owns what a look at the machine sees beside the models: locks, unfinished blobs, the disk, the
//! network, and what verifying and purging came to.
//!
//! Never says how any of it is shown.

use serde::Serialize;

use super::failure::Failure;
use super::finding::{Finding, PlanStep};
use super::repo::RepoId;
use super::report::CacheKind;

/// Which program's lock a file is (hub.md 2.4, product.md section 4), or what a program does that has
/// to do with a repo and holds none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockKind {
    /// `.manual_download_lock`: somebody downloads the whole repo.
    Marker,
    /// `.locks/<repo>/<etag>.lock`: Python and hf-hub 1.x, one blob.
    Hub,
    /// `.locks/<repo>/blobs/<etag>.lock`: swift-huggingface, one blob.
    Swift,
    /// `blobs/<etag>.lock`: hf-hub 0.x, one blob.
    Legacy,
    /// `.cache/huggingface/download/<file>.lock`: Python, one file of a local folder.
    LocalDir,
    /// A program that downloads into the repo.
    Downloader,
    /// A program that reads the model: nobody waits for it.
    Loader,
}

impl LockKind {
    /// What it is called on screens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Marker => "download marker",
            Self::Hub => "blob lock",
            Self::Swift => "blob lock (Swift)",
            Self::Legacy => "blob lock (hf-hub 0.x)",
            Self::LocalDir => "file lock (local folder)",
            Self::Downloader => "downloader",
            Self::Loader => "loader",
        }
    }
}

/// Whether a lock keeps others out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockState {
    /// Somebody holds its `flock`, or is known to be at work without one.
    Held,
    /// It exists and nobody holds it: normal and harmless.
    Free,
    /// The file system has no `flock`, or the file cannot be asked.
    Unknown,
    /// A lock whose mere existence counts, left by a process that is gone.
    Stale,
}

impl LockState {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Free => "free",
            Self::Unknown => "unknown",
            Self::Stale => "stale",
        }
    }
}

/// A lock file, or a program at work, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LockRow {
    /// The repo.
    pub repo: RepoId,
    /// Whose way of keeping models the place is that it belongs to.
    pub cache: CacheKind,
    /// That place, absolute; sanitised.
    pub cache_path: String,
    /// Whose way of locking.
    pub kind: LockKind,
    /// The lock file, or what the program has open, absolute; sanitised.
    pub path: String,
    /// The blob it is for; `None` for a marker or a program.
    pub etag: Option<String>,
    /// The file in the repo whose content that blob is, where a listing tells; sanitised.
    pub file: Option<String>,
    /// Whether it keeps others out.
    pub state: LockState,
    /// The holder's process id, where the system tells.
    pub pid: Option<u32>,
    /// The holder's program, where the system tells; sanitised.
    pub program: Option<String>,
    /// The holder's arguments, where the system tells; sanitised.
    pub command_line: Option<String>,
    /// When the holder's process started, milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Whether this larder holds it.
    pub is_ours: bool,
    /// How the state was found out, in a sentence.
    pub proof: String,
}

impl LockRow {
    /// Whether it is a program that holds no lock, and not a lock file.
    pub const fn is_program(&self) -> bool {
        matches!(self.kind, LockKind::Downloader | LockKind::Loader)
    }

    /// The word for its state.
    pub const fn state_name(&self) -> &'static str {
        match self.kind {
            LockKind::Downloader => "downloads",
            LockKind::Loader => "loads",
            LockKind::Marker
            | LockKind::Hub
            | LockKind::Swift
            | LockKind::Legacy
            | LockKind::LocalDir => self.state.name(),
        }
    }
}

/// Whether anybody is at work on an unfinished blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum PartialState {
    /// Somebody writes it.
    Live {
        /// Whether it is this larder.
        is_ours: bool,
        /// The writer's process id, where the system tells.
        pid: Option<u32>,
        /// The writer's program, where the system tells; sanitised.
        program: Option<String>,
    },
    /// Nobody does: it can be resumed, or taken away.
    Abandoned,
}

/// An unfinished blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartialRow {
    /// The repo.
    pub repo: RepoId,
    /// The file, absolute; sanitised.
    pub path: String,
    /// The blob it will be.
    pub etag: String,
    /// The file in the repo whose content that is, where a listing tells; sanitised.
    pub file: Option<String>,
    /// Bytes there.
    pub bytes: u64,
    /// Bytes there will be, where a listing tells.
    pub expected_bytes: Option<u64>,
    /// Last change, milliseconds since the Unix epoch.
    pub modified_ms: u64,
    /// Whether the whole blob is here already, so that nobody goes on with this.
    pub is_superseded: bool,
    /// Who is at work on it.
    #[serde(flatten)]
    pub state: PartialState,
}

impl PartialRow {
    /// Whether another program writes it.
    pub const fn is_foreign(&self) -> bool {
        matches!(self.state, PartialState::Live { is_ours: false, .. })
    }
}

/// Room on the file system of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Bytes that may still be written.
    pub free_bytes: u64,
    /// Bytes of the whole file system.
    pub total_bytes: u64,
}

/// Whether the Hub answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "network")]
pub enum Network {
    /// Nobody may be asked: a flag, a variable or the config file says so.
    Offline,
    /// It answered.
    Reachable {
        /// How long the answer took, in milliseconds.
        answer_ms: u64,
    },
    /// It did not.
    Unreachable {
        /// Why.
        failure: Failure,
    },
}

/// What was verified together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bundle {
    /// A snapshot in a Hub cache.
    Snapshot,
    /// A model in a folder that is no Hub cache.
    Folder,
    /// The blobs of a repo that no snapshot leads to.
    Orphans,
    /// The contents of a shared blob store that no repo leads to.
    SharedStore,
}

impl Bundle {
    /// The name as it stands in JSON and on screens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Folder => "folder",
            Self::Orphans => "orphans",
            Self::SharedStore => "shared-store",
        }
    }
}

/// What verifying one snapshot, or other contents that belong together, came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// What it is about.
    pub what: Bundle,
    /// Whose way of keeping it.
    pub cache: CacheKind,
    /// The repo; `None` for a shared store.
    pub repo: Option<RepoId>,
    /// The snapshot: a commit, or a folder's name, sanitised; of what is neither, the name of that.
    pub revision: String,
    /// The snapshot's folder, or the one that the contents lie in, absolute.
    pub snapshot: String,
    /// Files whose bytes hash to what they should.
    pub files_good: usize,
    /// Files that were not read again: they were hashed before and have not changed since.
    pub files_unread: usize,
    /// Files looked at.
    pub files_total: usize,
    /// Files of which nothing says what they should be.
    pub files_unknown: usize,
    /// Those of them that were hashed all the same: what they are is known, not what they should be.
    pub files_hashed: usize,
    /// The bytes of all files that were hashed, now or before.
    pub bytes: u64,
    /// What says what the files should be, beyond names, notes and listings, a sentence each.
    pub basis: Vec<String>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Verification {
    /// Whose it is, in a word: the repo, else what it is.
    pub fn name(&self) -> String {
        match &self.repo {
            Some(repo) => repo.to_string(),
            None => self.what.name().to_owned(),
        }
    }

    /// Whether nothing was found wrong; how much was proven, its verdict says.
    pub fn is_good(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.severity < super::finding::Severity::Error)
    }

    /// What may be said of it as a whole.
    pub fn verdict(&self) -> Verdict {
        if !self.is_good() {
            Verdict::Broken
        } else if self.files_unknown == 0 {
            Verdict::Good
        } else if self.files_good > 0 {
            Verdict::Partly
        } else if self.files_hashed > 0 {
            Verdict::Hashed
        } else {
            Verdict::Unknown
        }
    }
}

/// What verifying may say of files as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every file is what it should be.
    Good,
    /// Some are; nothing says what the others should be, and the weights may be among those.
    Partly,
    /// They were read, and nothing says what any of them should be.
    Hashed,
    /// Nothing is known of any of them.
    Unknown,
    /// Something is wrong.
    Broken,
}

impl Verdict {
    /// In a word or two, for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Partly => "partly good",
            Self::Hashed => "hashed only",
            Self::Unknown => "unknown",
            Self::Broken => "broken",
        }
    }
}

/// Something that a purge did not take away, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The file, absolute; sanitised.
    pub path: String,
    /// Why it stays.
    pub why: String,
}

/// What carrying out the changes of a plan came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FixResult {
    /// The steps that were carried out.
    pub done: Vec<PlanStep>,
    /// Bytes freed.
    pub freed_bytes: u64,
    /// What stays although the plan named it.
    pub kept: Vec<Kept>,
}

/// What a purge came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PurgeResult {
    /// What was taken away, absolute paths.
    pub removed: Vec<String>,
    /// Bytes freed.
    pub freed_bytes: u64,
    /// Bytes moved into the trash: none of them is free yet.
    pub moved_bytes: u64,
    /// By which ids they lie there.
    pub trash: Vec<String>,
    /// What stays although the plan named it.
    pub kept: Vec<Kept>,
}
