//! Owns carrying out one change on the disk that a shown plan names.
//!
//! **Law**: what is no longer as it was shown stays; what a program writes stays; what gets a name was
//! proven first; and what could be good is not taken away.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::blob::{self, Check, Verdict};
use super::elsewhere::{is_aside, is_needless};
use super::holders::marker_row;
use super::leftovers::{folder_etag, is_probe_folder, is_swapped, is_temp, is_tree_temp};
use super::lock::{self, BlobLock, LockAttempt};
use super::loose::pointed;
use super::loose::remove_wrong_payload;
use super::marker::remove_stale_marker;
use super::partials::{Eyes, distance};
use super::promote::{aside_for, is_written_by_hand};
use super::refs::{is_leftover, names_nothing, read_ref, write_ref};
use super::salvage::exact_etag;
use super::snapshot::{named_blob, paths_below};
use super::staging::{LinkMode, is_number, link_mode};
use super::{Layout, elsewhere, publish, sharing};
use crate::domain::{
    Change, Commit, Etag, Finding, LockState, RepoId, RepoPath, Revision, Rule, sanitize,
};
use crate::host;

/// A file this new may be in use.
const FRESH: Duration = Duration::from_mins(1);

/// Why a file stays of which the system does not say who has it open.
pub(super) const UNSEEN: &str = "nobody can tell whether another program has it open for writing";

/// Why everything stays as it is, in a sentence.
pub(super) type Refusal = String;

/// A file that has got its name, or its note, and that was proven for it.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Where it is.
    pub path: PathBuf,
    /// What it looked like then.
    pub metadata: Metadata,
    /// Its content.
    pub etag: Etag,
}

impl Placed {
    pub(super) fn of(path: &Path, metadata: Metadata, etag: &Etag) -> Self {
        Self {
            path: path.to_owned(),
            metadata,
            etag: *etag,
        }
    }
}

/// Where a change is made, and why.
#[derive(Clone, Copy)]
pub struct Mending<'a> {
    /// The cache.
    pub layout: &'a Layout,
    /// What was found a moment ago.
    pub finding: &'a Finding,
    /// What is known of other programs.
    pub eyes: &'a Eyes<'a>,
}

impl<'a> Mending<'a> {
    /// Makes one change that the plan of the finding names; what was proven for it.
    ///
    /// # Errors
    /// Why everything stays as it is, in a sentence.
    pub fn carry_out(self, change: &Change) -> Result<Vec<Placed>, Refusal> {
        match change {
            Change::Share { path, with, bytes } => {
                self.share((path, with), *bytes).map_err(|apart| apart.why)
            }
            Change::Place {
                path, from, aside, ..
            } => elsewhere::place(self, Path::new(path), Path::new(from), Path::new(aside)),
            Change::Note {
                path,
                file,
                etag,
                commit,
            } => elsewhere::note(self, (Path::new(path), Path::new(file)), etag, commit),
            Change::Remove { .. }
            | Change::RemoveCopy { .. }
            | Change::DropRef { .. }
            | Change::Move { .. }
            | Change::Write { .. }
            | Change::Link { .. } => self.mend(change).map(|()| Vec::new()),
        }
    }

    /// Lets a blob share the bytes of another file, as the plan of the finding names it; what was proven
    /// for it.
    ///
    /// # Errors
    /// Why everything stays as it is.
    pub fn share(
        self,
        (path, with): (&str, &str),
        bytes: u64,
    ) -> Result<Vec<Placed>, sharing::Apart> {
        sharing::share(self, (Path::new(path), Path::new(with)), bytes)
    }

    /// Makes a change in the cache itself.
    fn mend(self, change: &Change) -> Result<(), Refusal> {
        let rule = self.finding.rule;
        if rule != Rule::StaleMarker
            && let Some(repo) = &self.finding.repo
            && let Some(marker) = marker_row(self.layout, repo, self.eyes)
            && marker.state == LockState::Held
        {
            return Err(format!("{repo} is being downloaded"));
        }
        match (change, rule) {
            (Change::Remove { path, .. }, Rule::LeftoverRef) => {
                let refs = self.layout.refs(self.repo()?);
                self.remove_file(Path::new(path), Some(&refs), &is_leftover)
            }
            (Change::Remove { path, .. }, Rule::LeftoverTemp) if is_aside(Path::new(path)) => {
                elsewhere::remove_aside(self, Path::new(path))
            }
            (Change::Remove { path, .. }, Rule::LeftoverTemp) => self.remove_left(Path::new(path)),
            (Change::Remove { path, .. }, Rule::StaleNoExist) => self.remove_mark(Path::new(path)),
            (Change::Remove { path, .. }, Rule::StaleMarker) => self.remove_marker(Path::new(path)),
            (Change::Remove { path, .. }, Rule::BranchFolder) => remove_empty(Path::new(path)),
            (Change::Remove { path, .. }, Rule::WrongHash) if self.finding.repo.is_none() => {
                remove_wrong_payload(self.layout, Path::new(path))
            }
            (
                Change::Remove { path, .. },
                Rule::WrongHash
                | Rule::Truncated
                | Rule::WrongSize
                | Rule::EmptyBlob
                | Rule::LfsPointer
                | Rule::ErrorPage,
            ) => self.remove_wrong_orphan(Path::new(path)),
            (Change::Write { path, text }, Rule::MalformedRef) => {
                self.rewrite_ref(Path::new(path), text)
            }
            (
                Change::DropRef {
                    path,
                    revision,
                    holds,
                    ..
                },
                Rule::MalformedRef | Rule::RefToNowhere,
            ) => self.drop_ref(Path::new(path), revision, holds),
            (Change::Move { from, to, .. }, Rule::LeftoverTemp) => {
                self.restore(Path::new(from), Path::new(to))
            }
            (Change::Link { path, target }, Rule::CopiedFile) => {
                self.link(Path::new(path), Path::new(target))
            }
            (Change::RemoveCopy { path, .. }, Rule::BranchFolder) => {
                self.require_needless(change)?;
                remove(Path::new(path))
            }
            (Change::Remove { .. }, Rule::OrphanBlob | Rule::UnusedPayload) => {
                Err("its bytes may be good, and a repair takes nothing good away".to_owned())
            }
            _ => Err("no repair of this kind is known".to_owned()),
        }
    }

    fn repo(self) -> Result<&'a RepoId, Refusal> {
        let repo = self.finding.repo.as_ref();
        repo.ok_or_else(|| "it is not said of which repo it is".to_owned())
    }

    fn age(self, found: &Metadata) -> Duration {
        let changed = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        distance(self.eyes.now, changed)
    }

    /// Refuses what may be in use.
    pub(super) fn require_quiet(self, path: &Path, found: &Metadata) -> Result<(), Refusal> {
        if self.age(found) < FRESH {
            return Err("it changed less than a minute ago, so somebody may be at work".to_owned());
        }
        self.require_no_writer(path)
    }

    pub(super) fn require_no_writer(self, path: &Path) -> Result<(), Refusal> {
        match self.eyes.programs.writer_of(path) {
            Some(writer) => Err(format!("process {} has it open for writing", writer.pid)),
            None if self.eyes.programs.may_write_unseen() => Err(UNSEEN.to_owned()),
            None => Ok(()),
        }
    }

    /// Takes a file or a link away, itself and not what it leads to.
    fn remove_file(
        self,
        path: &Path,
        within: Option<&Path>,
        is_meant: &dyn Fn(&str) -> bool,
    ) -> Result<(), Refusal> {
        let found = seen(path, within)?;
        let name = path.file_name().and_then(|name| name.to_str());
        if found.is_dir() || !name.is_some_and(is_meant) {
            return Err("it is not what was shown".to_owned());
        }
        self.require_quiet(path, &found)?;
        remove(path)
    }

    /// What a program that died left in a repo, or at the root of the cache.
    fn remove_left(self, path: &Path) -> Result<(), Refusal> {
        let root = self.layout.root();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or("it has no name")?;
        let found = seen(path, Some(root))?;
        if found.is_dir() && folder_etag(name).is_some() {
            let _lock = self.lock_folder(path, &found)?;
            return fs::remove_dir(path).map_err(|error| format!("it cannot be removed: {error}"));
        }
        if found.is_dir() {
            if !is_probe_folder(name, path) {
                return Err("it holds more than a probe for links".to_owned());
            }
            self.require_quiet(path, &found)?;
            return remove_probe(path);
        }
        let set_aside = name.strip_suffix(".corrupt").and_then(|stem| {
            let (etag, number) = stem.split_once('.')?;
            exact_etag(etag).filter(|_| is_number(number))
        });
        let old = is_swapped(name, "old").and_then(exact_etag);
        if let Some(etag) = set_aside.or(old) {
            // Until the right bytes are there, these may be of use.
            let blob = self.layout.blob(self.repo()?, &etag);
            let Ok(there) = blob.symlink_metadata() else {
                return Err("the blob that it gave way to is not there".to_owned());
            };
            if there.ino() == found.ino() && there.dev() == found.dev() {
                return Err("it is a second name of the blob".to_owned());
            }
            let _lock = self.lock(&etag)?;
            require_proven(&blob, &etag)?;
            if set_aside.is_some() {
                if is_written_by_hand(path) {
                    return Err("it is a text, and may be somebody's edit".to_owned());
                }
                // However new: it has lost its name, and nobody reads it.
                self.require_no_writer(path)?;
                return remove(path);
            }
            return self.remove_file(path, Some(root), &|_| true);
        }
        self.remove_file(path, Some(root), &|name| {
            is_temp(name) || is_tree_temp(name) || is_swapped(name, "new").is_some()
        })
    }

    /// Takes the lock of the blob whose name a folder has; not while a pointer leads to it: then a pull
    /// puts it away when it has the right bytes.
    fn lock_folder(self, path: &Path, found: &Metadata) -> Result<BlobLock, Refusal> {
        let repo = self.repo()?;
        let name = path.file_name().and_then(|name| name.to_str());
        let etag = name.and_then(folder_etag);
        let etag = etag.filter(|_| path.parent() == Some(&self.layout.blobs(repo)));
        let etag = etag.ok_or("it is not what was shown")?;
        self.require_quiet(path, found)?;
        let lock = self.lock(&etag)?;
        match pointed(self.layout, repo) {
            None => Err("not every pointer of the repo can be read".to_owned()),
            Some(pointed) if path.file_name().is_some_and(|name| pointed.contains(name)) => Err(
                "a pointer leads to it: a pull puts it away when it has the right bytes".to_owned(),
            ),
            Some(_) => Ok(lock),
        }
    }

    fn remove_mark(self, path: &Path) -> Result<(), Refusal> {
        let marks = self.layout.repo(self.repo()?).join(".no_exist");
        let found = seen(path, Some(&marks))?;
        if !found.is_file() || found.len() > 0 {
            return Err("it is no mark: it holds something".to_owned());
        }
        remove(path)
    }

    fn remove_marker(self, path: &Path) -> Result<(), Refusal> {
        let repo = self.repo()?;
        if self.layout.marker(repo) != path {
            return Err("it does not lie where such things lie in this cache".to_owned());
        }
        let programs = || self.eyes.programs.clone();
        match remove_stale_marker(self.layout, repo, programs, self.eyes.now) {
            Ok(true) => Ok(()),
            Ok(false) => Err("its program may be at work again".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A blob with wrong bytes that no pointer leads to.
    fn remove_wrong_orphan(self, path: &Path) -> Result<(), Refusal> {
        let repo = self.repo()?;
        let blobs = self.layout.blobs(repo);
        let found = seen(path, Some(&blobs))?;
        let name = path.file_name().and_then(|name| name.to_str());
        let etag = name.and_then(exact_etag).filter(|_| found.is_file());
        let etag = etag.ok_or("it is not what was shown")?;
        let _lock = self.lock(&etag)?;
        self.require_no_writer(path)?;
        match pointed(self.layout, repo) {
            None => return Err("not every pointer of the repo can be read".to_owned()),
            Some(pointed) if pointed.contains(OsStr::new(&etag.to_string())) => {
                return Err("a pointer leads to it".to_owned());
            }
            Some(_) => {}
        }
        require_wrong(path, &etag)?;
        remove(path)
    }

    fn rewrite_ref(self, path: &Path, text: &str) -> Result<(), Refusal> {
        let repo = self.repo()?;
        let refs = self.layout.refs(repo);
        seen(path, Some(&refs))?;
        let name = path.strip_prefix(&refs).ok().and_then(Path::to_str);
        let revision = name
            .and_then(|name| Revision::new(name).ok())
            .ok_or("it is no revision's name")?;
        let value = read_ref(self.layout, repo, &revision).map_err(|error| error.to_string())?;
        let commit = Commit::new(text).map_err(|error| error.to_string())?;
        if value.and_then(|value| value.commit) != Some(commit) {
            return Err("it does not hold that commit any more".to_owned());
        }
        write_ref(self.layout, repo, &revision, &commit).map_err(|error| error.to_string())
    }

    /// Takes a ref away that leads to nothing. That nobody knows what it names was asked before.
    fn drop_ref(self, path: &Path, revision: &str, holds: &str) -> Result<(), Refusal> {
        let repo = self.repo()?;
        let revision = Revision::new(revision).map_err(|error| error.to_string())?;
        let found = seen(path, Some(&self.layout.refs(repo)))?;
        if !found.is_file() || self.layout.reference(repo, &revision) != path {
            return Err("it is not what was shown".to_owned());
        }
        // Python writes the ref first, and the files one by one.
        self.require_quiet(path, &found)?;
        if !self
            .eyes
            .programs
            .downloaders(self.layout, repo, false)
            .is_empty()
        {
            return Err(format!("{repo} is being downloaded"));
        }
        if !names_nothing(self.layout, repo, &revision, holds) {
            return Err("it has changed, or leads somewhere now".to_owned());
        }
        remove(path)
    }

    /// Moves a folder aside that has a blob's name, with all that is in it.
    fn move_folder(self, from: &Path, to: &Path, found: &Metadata) -> Result<(), Refusal> {
        let _lock = self.lock_folder(from, found)?;
        let repo = self.repo()?;
        let name = from.file_name().and_then(|name| name.to_str());
        let etag = name
            .and_then(folder_etag)
            .ok_or("it is not what was shown")?;
        if to != aside_for(self.layout, repo, &etag) {
            return Err("something else has the place that it was to have".to_owned());
        }
        let cannot = |error: std::io::Error| format!("it cannot be moved: {error}");
        let place = to.parent().ok_or("it lies in no folder")?;
        fs::create_dir_all(place).map_err(cannot)?;
        host::rename_new(from, to).map_err(cannot)?;
        sync(place);
        sync(&self.layout.blobs(repo));
        Ok(())
    }

    /// Gives the only copy of a blob its name back, if it is right.
    fn restore(self, from: &Path, to: &Path) -> Result<(), Refusal> {
        let blobs = self.layout.blobs(self.repo()?);
        let found = seen(from, Some(&blobs))?;
        if found.is_dir() {
            return self.move_folder(from, to, &found);
        }
        let name = |path: &Path| path.file_name()?.to_str().map(ToOwned::to_owned);
        let etag = name(to).and_then(|name| exact_etag(&name));
        let etag = etag.filter(|_| to.parent() == Some(&blobs) && found.is_file());
        let etag = etag.ok_or("it is not what was shown")?;
        self.require_quiet(from, &found)?;
        let _lock = self.lock(&etag)?;
        require_proven(from, &etag)?;
        // Fails if something has got the name meanwhile.
        fs::hard_link(from, to).map_err(|error| format!("it cannot get its name back: {error}"))?;
        sync(&blobs);
        remove(from)
    }

    /// Puts a pointer in the place of a copy, if both are right.
    fn link(self, path: &Path, target: &Path) -> Result<(), Refusal> {
        let repo = self.repo()?;
        let snapshots = self.layout.snapshots(repo);
        let found = seen(path, Some(&snapshots))?;
        let below = path.strip_prefix(&snapshots).ok().and_then(Path::to_str);
        let (commit, file) = below
            .and_then(|below| below.split_once('/'))
            .and_then(|(commit, file)| Some((Commit::new(commit).ok()?, RepoPath::new(file).ok()?)))
            .ok_or("it is no file of a snapshot")?;
        let etag = named_blob(&file, target).and_then(|name| exact_etag(&name));
        let etag = etag.ok_or("its blob has no content's name")?;
        if !found.is_file() {
            return Err("it is no plain file any more".to_owned());
        }
        self.require_quiet(path, &found)?;
        if !matches!(link_mode(self.layout, repo), Ok(LinkMode::Symlink)) {
            return Err("no links can be made in this cache".to_owned());
        }
        let _lock = self.lock(&etag)?;
        require_proven(&self.layout.blob(repo, &etag), &etag)?;
        require_proven(path, &etag)?;
        publish(
            self.layout,
            repo,
            &commit,
            &[(file, etag)],
            LinkMode::Symlink,
        )
        .map(drop)
        .map_err(|error| error.to_string())
    }

    /// Whether a copy is needless: a snapshot holds the same bytes, or it is what programs that die and
    /// servers that refuse leave in their place.
    ///
    /// # Errors
    /// Why it is not, in a sentence.
    pub fn require_needless(self, change: &Change) -> Result<(), Refusal> {
        let Change::RemoveCopy {
            path,
            bytes,
            revision,
            file,
        } = change
        else {
            return Ok(());
        };
        let (path, bytes) = (Path::new(path), *bytes);
        let repo = self.repo()?;
        let snapshots = self.layout.snapshots(repo);
        let found = seen(path, Some(&snapshots))?;
        if !found.is_file() || found.len() != bytes {
            return Err("it has changed since the plan was made".to_owned());
        }
        self.require_quiet(path, &found)?;
        let kept = |why: &str| format!("{why}, so the copy stays");
        let revision = Revision::new(revision).map_err(|error| error.to_string())?;
        let file = RepoPath::new(file).map_err(|error| error.to_string())?;
        let value = read_ref(self.layout, repo, &revision).map_err(|error| error.to_string())?;
        let commit = value
            .and_then(|value| value.commit)
            .ok_or_else(|| kept(&format!("no ref `{revision}` is there")))?;
        let pointer = self.layout.pointer(repo, &commit, &file);
        let text = fs::read_link(&pointer)
            .map_err(|_| kept(&format!("`{file}` of {revision} is not there as a pointer")))?;
        let etag = named_blob(&file, &text).and_then(|name| exact_etag(&name));
        let etag = etag.ok_or_else(|| kept("its pointer names no blob"))?;
        require_proven(&pointer, &etag)?;
        let right = blob::open_content(&pointer).map_err(|error| error.to_string())?;
        if is_needless(path, &file, &found, Some(&right)) {
            return Ok(());
        }
        require_proven(path, &etag)
            .map_err(|_| kept(&format!("`{file}` of {revision} is another content")))
    }

    fn lock(self, etag: &Etag) -> Result<BlobLock, Refusal> {
        self.lock_of(self.repo()?, etag)
    }

    /// Takes the locks of a blob.
    pub(super) fn lock_of(self, repo: &RepoId, etag: &Etag) -> Result<BlobLock, Refusal> {
        if (self.eyes.ours)(repo, etag).is_some_and(|ours| ours.is_at_work || ours.is_wanted) {
            return Err("it is being fetched, or will be when that goes on".to_owned());
        }
        match lock::try_lock(self.layout, repo, etag, self.eyes.now) {
            Ok(LockAttempt::Held(lock)) => Ok(lock),
            Ok(LockAttempt::Busy(busy)) => Err(match busy.holder {
                Some(holder) => format!("process {} holds its lock", holder.pid),
                None => "another program holds its lock".to_owned(),
            }),
            Err(error) => Err(format!("its lock cannot be taken: {error}")),
        }
    }
}

/// The metadata of what lies at a path itself, directly in a folder that no link leads to.
pub(super) fn seen(path: &Path, within: Option<&Path>) -> Result<Metadata, Refusal> {
    let folder = path.parent().ok_or("it lies in no folder")?;
    if let Some(within) = within {
        let is_inside = folder.starts_with(within);
        if !is_inside || fs::canonicalize(folder).ok().as_deref() != Some(folder) {
            return Err("it does not lie where such things lie in this cache".to_owned());
        }
    } else if !folder.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        return Err("a folder on the way is a link".to_owned());
    }
    path.symlink_metadata().map_err(|error| error.to_string())
}

/// Refuses bytes that are not those of the content.
pub(super) fn require_proven(path: &Path, etag: &Etag) -> Result<(), Refusal> {
    let bytes = path.metadata().map_err(|error| error.to_string())?.len();
    let mut on = |_| ControlFlow::Continue(());
    match blob::check(path, etag, bytes, Check::Hash, &mut on) {
        Ok(Verdict::Proven) => Ok(()),
        Ok(_) => Err(format!(
            "`{}` does not hold the content {etag}",
            sanitize(&path.to_string_lossy())
        )),
        Err(error) => Err(error.to_string()),
    }
}

/// Refuses bytes that are those of the content, and those of which nobody can tell.
pub(super) fn require_wrong(path: &Path, etag: &Etag) -> Result<(), Refusal> {
    let bytes = path.metadata().map_err(|error| error.to_string())?.len();
    let mut on = |_| ControlFlow::Continue(());
    match blob::check(path, etag, bytes, Check::Hash, &mut on) {
        Ok(Verdict::WrongHash | Verdict::LfsPointer) => Ok(()),
        Ok(Verdict::Proven) => Err("its bytes are right".to_owned()),
        Ok(Verdict::Unreadable(error)) | Err(error) => {
            Err(format!("nobody can tell what its bytes are: {error}"))
        }
        Ok(
            Verdict::Missing
            | Verdict::SizeMatches
            | Verdict::Truncated { .. }
            | Verdict::TooLong { .. },
        ) => Err("it has changed meanwhile".to_owned()),
    }
}

pub(super) fn remove(path: &Path) -> Result<(), Refusal> {
    fs::remove_file(path).map_err(|error| format!("it cannot be removed: {error}"))?;
    if let Some(folder) = path.parent() {
        sync(folder);
    }
    Ok(())
}

pub(super) fn sync(folder: &Path) {
    if let Err(error) = host::sync_dir(folder) {
        tracing::warn!(folder = %folder.display(), %error, "a change may be undone by a power cut");
    }
}

/// A probe for links: the folder and what its probe is called.
fn remove_probe(folder: &Path) -> Result<(), Refusal> {
    let entries = fs::read_dir(folder).map_err(|error| error.to_string())?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        let is_probe = path
            .symlink_metadata()
            .is_ok_and(|found| found.is_symlink() || (found.is_file() && found.len() == 0));
        if !is_probe {
            return Err("it holds more than a probe for links".to_owned());
        }
        remove(&path)?;
    }
    fs::remove_dir(folder).map_err(|error| format!("it cannot be removed: {error}"))
}

/// A folder that holds nothing but folders.
fn remove_empty(folder: &Path) -> Result<(), Refusal> {
    if !folder.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        return Err("it is no folder any more".to_owned());
    }
    if let Ok(left) = paths_below(folder)
        && let Some(first) = left.first()
    {
        return Err(format!("`{first}` is still in it"));
    }
    let mut folders = vec![folder.to_owned()];
    let mut at = 0;
    while let Some(open) = folders.get(at).cloned() {
        let entries = fs::read_dir(&open).map_err(|error| error.to_string())?;
        for entry in entries {
            let entry = entry.map_err(|error| error.to_string())?;
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let name = entry.file_name();
                return Err(format!(
                    "`{}` is still in it",
                    sanitize(&name.to_string_lossy())
                ));
            }
            folders.push(entry.path());
        }
        at += 1;
    }
    folders
        .iter()
        .rev()
        .try_for_each(fs::remove_dir)
        .map_err(|error| format!("it cannot be removed: {error}"))
}
