//! Owns the facts: what happened, in the past tense, with absolute numbers.
//!
//! **Law**: a file's attempt starts with `Connecting`, `Reusing` or `Waiting` after it was planned;
//! byte counts never fall within an attempt but by `Rewound`, which says why; each attempt ends in
//! exactly one of `Finished`, `Reused`, `Failed`, `Cancelled`; every file event carries its attempt.

use serde::Serialize;

use super::discard::{PurgePlan, TrashResult, TrashRow};
use super::failure::Failure;
use super::file::{Etag, RepoPath};
use super::finding::Finding;
use super::guide::Guide;
use super::history::{HistoryRow, UnfinishedPull};
use super::import::{ImportResult, Recognition};
use super::load::Validation;
use super::repo::{Commit, RepoId, Revision};
use super::report::{CacheRow, FileRow, ModelRow};
use super::survey::{Disk, FixResult, LockRow, Network, PartialRow, PurgeResult, Verification};

/// One command's worth of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct JobId(pub u32);

impl JobId {
    /// Nobody's: for what a face tells the store itself.
    pub const FACE: Self = Self(u32::MAX);
}

/// A file of a job: its index in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct FileId(pub u32);

/// An event, when it happened, and in which job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stamped {
    /// Milliseconds since the Unix epoch, by the engine's clock; never falls.
    pub at_ms: u64,
    /// The job.
    pub job: JobId,
    /// What happened.
    pub event: Event,
}

/// Where bytes came from without the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Origin {
    /// The blob was already in this repo's cache.
    Cache,
    /// A regular file in this snapshot, or in a folder of the repo that is named after a branch, held
    /// the right bytes.
    Snapshot,
    /// A blob of another repo, or of the shared store, taken by reflink, hard link or copy.
    OtherRepo {
        /// The folder it came from.
        folder: String,
    },
    /// The file was already in the local dir that the pull is for.
    LocalDir,
    /// A blob of the Hub cache, taken into a local dir by reflink or copy.
    HubCache,
    /// The content is empty, so nothing had to be fetched.
    Empty,
    /// A file that the user offered, taken by reflink or copy.
    Import {
        /// The file; sanitised.
        path: String,
    },
}

/// What was wrong on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealingKind {
    /// The blob's bytes do not hash to its name.
    WrongHash,
    /// The blob is shorter than its file.
    Truncated,
    /// The blob is longer than its file.
    TooLong,
    /// The blob is the text of an LFS pointer in the place of the content.
    LfsPointer,
    /// The blob is shorter than its file and a web page or an error of a server.
    ErrorPage,
    /// A folder stood in the place of the blob.
    Folder,
    /// A pointer leads to a blob that is not there.
    DanglingPointer,
    /// A pointer is absolute or leads out of the repo.
    ForeignPointer,
    /// A pointer leads to another blob than the listing says.
    WrongPointer,
    /// A regular file stood in the place of a pointer.
    RegularFile,
    /// A ref held more or less than one commit hash.
    MalformedRef,
    /// A marker said that an existing file does not exist.
    StaleNoExist,
    /// A staging folder or partial left by a larder that died.
    Leftover,
}

/// Something broken that was found and put right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Healing {
    /// What was wrong.
    pub kind: HealingKind,
    /// The file in the repo it was found for; `None` for a ref or a leftover.
    pub path: Option<RepoPath>,
    /// Where on disk it was.
    pub location: String,
    /// Where the old bytes are kept, if anything was set aside.
    pub set_aside: Option<String>,
}

/// Who a lock is held by, as far as that can be known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LockWait {
    /// The lock file.
    pub lock: String,
    /// The holder's process id.
    pub pid: Option<u32>,
    /// The holder's program name.
    pub program: Option<String>,
    /// Bytes of the holder's growing partial.
    pub other_bytes: Option<u64>,
}

/// Another program's download of the repo that a pull is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OtherPull {
    /// Its process id, where that is known.
    pub pid: Option<u32>,
    /// Its program, where that is known; sanitised.
    pub program: Option<String>,
    /// How far it is, where it says so.
    pub progress: Option<OtherProgress>,
    /// How it is known to be at work, in a sentence; sanitised.
    pub proof: String,
}

/// How far another program's download is, as its marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct OtherProgress {
    /// Files that are in place.
    pub files_done: u64,
    /// Files of its selection.
    pub files_total: u64,
    /// Bytes that are here.
    pub bytes_done: u64,
    /// Bytes of its selection.
    pub bytes_total: u64,
}

impl OtherPull {
    /// Who it is, as a sentence has it.
    pub fn name(&self) -> String {
        match (&self.program, self.pid) {
            (Some(program), Some(pid)) => format!("`{program}` (process {pid})"),
            (Some(program), None) => format!("`{program}`"),
            (None, Some(pid)) => format!("process {pid}"),
            (None, None) => "another program".to_owned(),
        }
    }
}

/// When the next attempt starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RetryIn {
    /// Milliseconds until then.
    pub wait_ms: u64,
    /// How many failures in a row this was.
    pub failure: u32,
    /// How many are allowed.
    pub of: u32,
}

/// A file of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedFile {
    /// Its id in later events.
    pub file: FileId,
    /// Path inside the repo.
    pub path: RepoPath,
    /// Length in bytes.
    pub size_bytes: u64,
    /// The content's name.
    pub etag: Etag,
    /// The earlier file with the same content; transfer events name only that one.
    pub same_as: Option<FileId>,
    /// Bytes of this content already on disk (whole blob, or partial), by size alone.
    pub have_bytes: u64,
    /// Whether the content is expected to be reused without fetching.
    pub is_reuse: bool,
}

/// What a pull is going to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PullPlan {
    /// The repo, in the Hub's spelling.
    pub repo: RepoId,
    /// The revision as typed.
    pub revision: Revision,
    /// The commit it resolved to.
    pub commit: Commit,
    /// Selected files, in the order of the listing.
    pub files: Vec<PlannedFile>,
    /// Files of the repo that were not selected.
    pub left_out: usize,
    /// Bytes of all selected files, each content once.
    pub total_bytes: u64,
    /// Bytes that must come over the network.
    pub fetch_bytes: u64,
    /// Bytes the pull will add to the cache's file system.
    pub disk_bytes: u64,
    /// Bytes free there; `None` if it could not be asked.
    pub free_bytes: Option<u64>,
    /// Where the snapshot will be.
    pub snapshot: String,
    /// Whether the listing came from disk because there is no network.
    pub is_offline: bool,
}

/// What became of the ref.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum RefMove {
    /// The revision is a full commit hash: there is no ref to write.
    None,
    /// It already named this commit.
    Unchanged,
    /// It names this commit now.
    Moved {
        /// What it named before; `None` if it is new.
        from: Option<Commit>,
    },
    /// It still names another commit.
    Kept {
        /// The commit it names.
        at: Option<Commit>,
        /// Why it did not move.
        why: String,
    },
}

/// How a pull ended well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PullResult {
    /// The folder of pointers, absolute.
    pub snapshot: String,
    /// The commit.
    pub commit: Commit,
    /// What became of the ref.
    pub reference: RefMove,
    /// Bytes that came over the network, faults and repeats included.
    pub fetched_bytes: u64,
    /// Whether every file was proven by its hash in this run (`false` with `--trust-size`).
    pub is_verified: bool,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// Every selected file is in place and proven.
    Complete(PullResult),
    /// Planned only, nothing written.
    Planned,
    /// A scan is done.
    Listed,
    /// Something failed; what is proven or partial stays.
    Failed {
        /// Every failure that ended a file, or the one that ended the job.
        failures: Vec<Failure>,
    },
    /// Verifying is done.
    Verified {
        /// Snapshots in which everything is right.
        good: usize,
        /// Snapshots in which something is wrong or missing.
        broken: usize,
    },
    /// A purge is done.
    Purged(PurgeResult),
    /// The changes of a plan are carried out.
    Fixed(FixResult),
    /// An import is done; what it lacks is said.
    Imported(ImportResult),
    /// Something was put back from the trash, or it was emptied.
    Trashed(TrashResult),
    /// Cancelled; partials stay.
    Cancelled,
}

/// A fact.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// A pull was accepted.
    PullStarted {
        /// The repo as typed.
        repo: RepoId,
        /// The revision as typed.
        revision: Revision,
        /// The endpoint asked, without user or password.
        endpoint: String,
        /// The cache folder.
        cache_dir: String,
        /// Whether it only plans.
        is_dry_run: bool,
        /// Whether the endpoint is not asked: what is known on this machine has to do.
        is_offline: bool,
    },
    /// Asking the Hub failed and will be tried again.
    ListingRetried {
        /// Why.
        failure: Failure,
        /// When.
        retry: RetryIn,
    },
    /// The revision was resolved and listed.
    Resolved {
        /// The repo in the Hub's spelling.
        repo: RepoId,
        /// The commit.
        commit: Commit,
        /// How many files the repo has.
        files: usize,
    },
    /// Another program downloads the repo; the pull goes on when that has ended.
    WaitingForPull(OtherPull),
    /// The plan was made; no byte was written before this.
    Planned(PullPlan),
    /// Parts of the planned files were looked at: whether the model would load.
    Validated(Validation),
    /// Another program holds the blob's lock.
    Waiting {
        /// The file.
        file: FileId,
        /// Its attempt.
        attempt: u32,
        /// For whom.
        lock: LockWait,
    },
    /// Bytes already on disk are being hashed to reuse or resume them.
    Reusing {
        /// The file.
        file: FileId,
        /// Its attempt.
        attempt: u32,
    },
    /// Bytes were copied from elsewhere on this machine, and hashed. May be dropped; the next one
    /// heals the loss.
    Copied {
        /// The file.
        file: FileId,
        /// Its attempt.
        attempt: u32,
        /// Bytes of the copy.
        bytes: u64,
    },
    /// A source is being asked.
    Connecting {
        /// The file.
        file: FileId,
        /// Its attempt.
        attempt: u32,
        /// The source: a host.
        source: String,
    },
    /// The first bytes arrived.
    Downloading {
        /// The file.
        file: FileId,
        /// Its attempt.
        attempt: u32,
        /// The first byte asked for: what was already there and hashed.
        from_bytes: u64,
    },
    /// More bytes were written. May be dropped; the next one heals the loss.
    Progress {
        /// The file.
        file: FileId,
        /// Its attempt.
        attempt: u32,
        /// Bytes of the file on disk.
        bytes: u64,
    },
    /// No byte arrived for a while; the attempt goes on.
    Stalled {
        /// The file.
        file: FileId,
        /// Its attempt.
        attempt: u32,
        /// For how long, in milliseconds.
        silent_ms: u64,
    },
    /// One of several connections of a file broke or was given up; the others go on, and what it did
    /// not bring is fetched over a new one.
    ConnectionLost {
        /// The file.
        file: FileId,
        /// Its attempt.
        attempt: u32,
        /// Bytes it had brought.
        bytes: u64,
        /// Why.
        failure: Failure,
    },
    /// Past transfers, newest first.
    HistoryListed {
        /// What is remembered.
        rows: Vec<HistoryRow>,
    },
    /// Bytes had to be given up; progress goes back.
    Rewound {
        /// The file.
        file: FileId,
        /// Its attempt.
        attempt: u32,
        /// Bytes before.
        from_bytes: u64,
        /// Bytes now.
        to_bytes: u64,
        /// Why.
        why: String,
    },
    /// Another program deleted the partial; it was put back from the open handle.
    PartialRestored {
        /// The file.
        file: FileId,
        /// Its attempt.
        attempt: u32,
        /// Bytes put back.
        bytes: u64,
    },
    /// All bytes are here; they are being proven and made durable.
    Verifying {
        /// The file.
        file: FileId,
        /// Its attempt.
        attempt: u32,
    },
    /// The blob is proven, durable and in place.
    Finished {
        /// The file.
        file: FileId,
        /// Its attempt.
        attempt: u32,
        /// Bytes fetched in this attempt.
        fetched_bytes: u64,
    },
    /// The blob was already somewhere on this machine, and is proven and in place.
    Reused {
        /// The file.
        file: FileId,
        /// Its attempt.
        attempt: u32,
        /// Where it was.
        origin: Origin,
        /// Whether it was hashed (`false` with `--trust-size`).
        is_verified: bool,
    },
    /// The attempt failed.
    Failed {
        /// The file.
        file: FileId,
        /// Its attempt.
        attempt: u32,
        /// Why.
        failure: Failure,
        /// When it is tried again; `None` if it is not.
        retry: Option<RetryIn>,
    },
    /// The attempt was cancelled by the user.
    Cancelled {
        /// The file.
        file: FileId,
        /// Its attempt.
        attempt: u32,
        /// Whether it goes on when resumed.
        is_paused: bool,
    },
    /// Something broken was found and put right.
    Healed(Healing),
    /// Something worth a line, said once.
    Noted {
        /// The sentence.
        note: String,
    },
    /// Places that were looked at, the main cache first.
    CachesSeen {
        /// All of them.
        caches: Vec<CacheRow>,
    },
    /// Models found in the cache.
    ModelsListed {
        /// One per snapshot.
        models: Vec<ModelRow>,
    },
    /// Files of one model found in the cache.
    FilesListed {
        /// The model.
        model: Box<ModelRow>,
        /// Its files.
        files: Vec<FileRow>,
    },
    /// What is wrong in the cache, as far as a look without hashing tells.
    FindingsSeen {
        /// All of it, the worst first.
        findings: Vec<Finding>,
    },
    /// Pulls of earlier runs that did not end.
    UnfinishedSeen {
        /// All of them, the newest first.
        pulls: Vec<UnfinishedPull>,
    },
    /// Locks that were asked.
    LocksSeen {
        /// All that are held or of the repo in focus.
        locks: Vec<LockRow>,
    },
    /// Unfinished blobs in the cache.
    PartialsSeen {
        /// All of them.
        partials: Vec<PartialRow>,
    },
    /// Room on the file system of the cache.
    DiskSeen(Disk),
    /// Whether the Hub answers.
    NetworkSeen(Network),
    /// What a purge would take out of the cache.
    PurgePlanned(PurgePlan),
    /// What the trash holds.
    TrashSeen {
        /// All of it, the oldest first.
        rows: Vec<TrashRow>,
    },
    /// The cache as a whole cannot be read.
    CacheUnreadable {
        /// Why.
        failure: Failure,
    },
    /// Carrying out the changes of a plan began.
    FixStarted,
    /// Verifying began.
    VerifyStarted {
        /// Snapshots to look at.
        snapshots: usize,
        /// Distinct contents to hash.
        files: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// More was hashed. May be dropped; the next one heals the loss.
    VerifyProgress {
        /// Contents hashed so far.
        files: usize,
        /// Bytes hashed so far.
        bytes: u64,
        /// The file in the repo that is being hashed; not sanitised.
        path: String,
    },
    /// A snapshot was verified.
    ModelVerified(Verification),
    /// Files that were offered for import were looked at; nothing was written before this.
    Recognised(Recognition),
    /// A guide to fetching a model by hand was made, or why none could be.
    Guided {
        /// The repo as typed.
        repo: RepoId,
        /// The guide.
        guide: Option<Box<Guide>>,
        /// Why there is none.
        failure: Option<Failure>,
    },
    /// Files were started again after the job had ended.
    Reopened {
        /// Which.
        files: Vec<FileId>,
    },
    /// The job ended.
    Ended(Outcome),
}
