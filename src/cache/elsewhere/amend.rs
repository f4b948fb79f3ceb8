//! Owns changing a model's folder outside of a Hub cache as a shown plan says: the right bytes in the
//! place of a file, and the note of what a file is (hub.md 3.1, 3.2).
//!
//! **Law**: a name leads to the old bytes until it leads to proven ones, at every instant; what a
//! program writes stays; what may be somebody's work is kept; a note says only what was hashed. Nothing
//! visible is made beside the files: swift-transformers would take it for a file without a note.

use std::fs::{self, File, FileTimes, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::copies::contents_of_hub;
use super::folder::is_newer;
use super::needless::{is_needless, keep, kept_name};
use super::note::{NOTES, Note, Notes, read, short_hash};
use crate::cache::durable::{self, is_same_file};
use crate::cache::likeness::take_after;
use crate::cache::lock::{self, Hold, Look, Origin, is_unmarked, mark_live};
use crate::cache::mend::{Mending, Placed, Refusal, remove, require_proven, seen, sync};
use crate::cache::sharing::{blob_at, clone_into, has_same_bytes, is_unchanged, require_closed};
use crate::cache::staging::sweep_scratch;
use crate::cache::{Error, blob};
use crate::domain::{Commit, Etag, RepoPath, sanitize};
use crate::host;

/// How the name ends that new bytes have until they are in their place, and old ones after.
const ASIDE: &str = ".larder";
/// Room that stays free beside what is written.
const MARGIN_BYTES: u64 = 64 << 20;

/// Where the new bytes of a file are written first: among the notes, where nobody looks for files.
pub(super) fn aside_of(folder: &Path, file: &RepoPath) -> PathBuf {
    folder.join(NOTES).join(format!("{file}{ASIDE}"))
}

/// Whether a path is such a name.
pub(in crate::cache) fn is_aside(path: &Path) -> bool {
    path.to_str()
        .is_some_and(|path| path.ends_with(ASIDE) && path.contains(&format!("/{NOTES}/")))
}

/// A file of a model's folder.
struct Place {
    /// The model's folder.
    folder: PathBuf,
    file: RepoPath,
    /// What lies there: a file or a link; `None` if nothing does.
    old: Option<Metadata>,
}

impl Place {
    /// Reads which file it is from its own path and from that of something among the notes.
    fn of(path: &Path, beside: &Path, ending: &str) -> Result<Self, Refusal> {
        let meant = |folder: &Path| {
            let file = RepoPath::new(path.strip_prefix(folder).ok()?.to_str()?).ok()?;
            let expected = folder.join(NOTES).join(format!("{file}{ending}"));
            (expected == beside).then(|| (folder.to_owned(), file))
        };
        let found = path.ancestors().skip(1).find_map(meant);
        let (folder, file) = found.ok_or("it is not what was shown")?;
        if fs::canonicalize(&folder).ok().as_deref() != Some(&folder) {
            return Err("a folder on the way is a link".to_owned());
        }
        let old = match seen(path, Some(&folder)) {
            Ok(old) if old.is_dir() => return Err("a folder lies in its place".to_owned()),
            Ok(old) => Some(old),
            // Its folder is as it should be, and it is not there.
            Err(why) => match path.symlink_metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                _ => return Err(why),
            },
        };
        Ok(Self { folder, file, old })
    }

    /// Refuses while a program is at work on the file.
    fn require_free(&self, mending: Mending<'_>, path: &Path) -> Result<(), Refusal> {
        if let Some(old) = self.old.as_ref().filter(|old| old.is_file()) {
            mending.require_quiet(path, old)?;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = self.beside("");
        let folder = beside.parent().unwrap_or(&self.folder);
        let unfinished = Notes::of(&self.folder).partials;
        let unfinished: Vec<&Path> = unfinished
            .iter()
            .map(PathBuf::as_path)
            .filter(|partial| partial.parent() == Some(folder))
            .collect();
        let mut asked = vec![path];
        asked.extend(&unfinished);
        require_closed(&asked)?;
        // Swift-transformers locks nothing: what grows is all there is to see of it.
        let short = short_hash(&self.file);
        for partial in unfinished {
            let own = partial.file_name().unwrap_or_default().to_string_lossy();
            let is_own = own.starts_with(&format!("{name}.")) || own.starts_with(&short);
            if let Some(found) = partial.symlink_metadata().ok().filter(|_| is_own) {
                mending.require_quiet(partial, &found)?;
            }
        }
        Ok(())
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let name = format!("{}{ending}", self.file);
        self.folder.join(NOTES).join(name)
    }

    /// The folders above something among the notes, made if they are not there; no link is on the way.
    fn make_room(&self, beside: &Path) -> Result<(), Refusal> {
        let folder = beside.parent().ok_or("it lies in no folder")?;
        let mut at = self.folder.clone();
        for part in folder.strip_prefix(&self.folder).unwrap_or(folder) {
            at.push(part);
            match fs::create_dir(&at) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(format!("`{}` cannot be made: {error}", at.display()));
                }
                _ => {}
            }
            if !at.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                return Err("a folder on the way is a link".to_owned());
            }
        }
        Ok(())
    }

    /// Takes Python's lock of the file (hub.md 3.1), made only where Python has made its own.
    fn lock(&self, mending: Mending<'_>) -> Result<Option<File>, Refusal> {
        let path = self.beside(".lock");
        if let Look::Held(_) = lock::look(&path, mending.eyes.now) {
            return Err("another program holds its lock".to_owned());
        }
        let is_pythons = self.folder.join(".cache/huggingface/.gitignore").exists();
        let origin = if is_pythons {
            Origin::Create
        } else {
            Origin::OnlyIfThere
        };
        match lock::hold(&path, origin).map_err(|error| error.to_string())? {
            Hold::Held(file) => Ok(Some(file)),
            Hold::Busy => Err("another program holds its lock".to_owned()),
            Hold::NoFlock | Hold::Absent => Ok(None),
        }
    }

    /// Its note, if it can be read.
    fn note(&self) -> Option<Note> {
        read(&self.beside(".metadata")).ok()
    }
}

/// Puts the bytes of a blob of the main cache in the place of a file.
///
/// # Errors
/// Why everything stays as it is, in a sentence.
pub(in crate::cache) fn place(
    mending: Mending<'_>,
    path: &Path,
    from: &Path,
    aside: &Path,
) -> Result<Vec<Placed>, Refusal> {
    let place = Place::of(path, aside, ASIDE)?;
    let (_, etag) = blob_at(mending.layout, from).ok_or("its bytes are not in a blob")?;
    let note = place.note();
    if note.is_some_and(|note| note.etag != etag) {
        return Err("its note names another content".to_owned());
    }
    place.make_room(aside)?;
    let _lock = place.lock(mending)?;
    place.require_free(mending, path)?;
    if let Some(old) = place.old.as_ref().filter(|old| old.is_file()) {
        if require_proven(path, &etag).is_ok() {
            return Err("its bytes are right by now".to_owned());
        }
        // Without a note nobody knows whose it is.
        if note.is_none_or(|note| is_newer(old, &note)) && may_be_edited(path, old) {
            return Err("somebody may have changed it, or made it himself".to_owned());
        }
    }
    place.make_room(path)?;
    let held = fill(aside, from, &place, note)?;
    let before = held.metadata().map_err(|error| error.to_string())?;
    let done = require_proven(aside, &etag).and_then(|()| exchange(&place, path, aside, &held));
    if done.is_err() {
        remove_own(&held, aside);
    }
    done?;
    let found = held.metadata().map_err(|error| error.to_string())?;
    // What somebody wrote into it meanwhile was not proven.
    let is_proven = has_same_bytes(&before, &found);
    let placed = is_proven.then(|| Placed::of(path, found, &etag));
    Ok(placed.into_iter().collect())
}

/// Whether what lies there may be somebody's work: it is neither empty nor what servers and git leave in
/// the place of a content.
pub(in crate::cache) fn may_be_edited(path: &Path, found: &Metadata) -> bool {
    let name = path.to_string_lossy();
    found.len() > 0 && super::content::impostor(path, &name, found.len()).is_none()
}

/// Writes the bytes of the blob under the name aside. The file is marked as being at work on for as long
/// as it is open.
fn fill(aside: &Path, from: &Path, place: &Place, note: Option<Note>) -> Result<File, Refusal> {
    let text = |error: io::Error| format!("it cannot be written: {error}");
    let source = blob::open_content(from).map_err(text)?;
    let bytes = source.metadata().map_err(text)?.len();
    // What a larder that was killed left there is half of what is written now, or what it replaced.
    if let Ok(left) = aside.symlink_metadata() {
        if let Ok(left) = host::open_itself(aside)
            && !is_unmarked(&left, aside).unwrap_or(false)
        {
            return Err("another larder is at work on it".to_owned());
        }
        if is_needless(aside, &place.file, &left, Some(&source)) {
            remove(aside)?;
        } else {
            let kept = kept_name(&place.folder, &place.file);
            place.make_room(&kept)?;
            keep(aside, &kept)?;
        }
    }
    let made = fresh(aside).map_err(text)?;
    let cloned = clone_into(&source, aside, &made).and_then(|file| {
        let marked = mark_live(&file, aside).map_err(io::Error::other);
        marked
            .inspect_err(|_| remove_own(&file, aside))
            .map(|_| file)
    });
    let filled = cloned.or_else(|error| {
        tracing::debug!(%error, "the bytes are copied");
        copied(&source, aside, made, bytes)
    });
    let file = filled.map_err(text)?;
    let finish = || {
        if let Some(old) = place.old.as_ref().filter(|old| old.is_file()) {
            let path = place.folder.join(place.file.as_str());
            take_after(&file, aside, (&path, old))?;
        }
        // Python takes a file for changed that is newer than its note.
        if let Some(note) = note.filter(|note| note.at >= 1.0)
            && let Ok(since) = Duration::try_from_secs_f64(note.at.floor())
        {
            let at = UNIX_EPOCH + since;
            let now = file.metadata()?.modified()?;
            file.set_times(FileTimes::new().set_modified(at.min(now)))?;
        }
        file.sync_all()
    };
    finish().map_err(|error| {
        remove_own(&file, aside);
        format!("it cannot be replaced: {error}")
    })?;
    Ok(file)
}

/// The bytes in the file that was made for them, or in a new one if it is gone.
fn copied(mut source: &File, aside: &Path, made: File, bytes: u64) -> io::Result<File> {
    let mut copy = if is_same_file(&made, aside) {
        made
    } else {
        fresh(aside)?
    };
    let mut write = || {
        if host::free_space(aside)? < bytes.saturating_add(MARGIN_BYTES) {
            return Err(io::Error::other("the disk has too little room"));
        }
        copy.set_len(0)?;
        io::copy(&mut source, &mut copy)
    };
    match write() {
        Ok(_) => Ok(copy),
        Err(error) => {
            remove_own(&copy, aside);
            Err(error)
        }
    }
}

/// Takes away what was written here; another program's file of that name stays.
fn remove_own(file: &File, aside: &Path) {
    if is_same_file(file, aside) {
        drop(fs::remove_file(aside));
    }
}

/// A new file under that name, marked as being at work on.
fn fresh(aside: &Path) -> io::Result<File> {
    let file = durable::create_new(aside)?;
    mark_live(&file, aside).map_err(io::Error::other)?;
    Ok(file)
}

/// Lets the proven file and what lies in its place swap their names, and takes the old one away if it is
/// what was seen and nothing is lost with it; else it is kept. A kill before the swap leaves a hidden file
/// that nobody needs, and after it the old one under that name: the next look tells of both, and a repair
/// looks at them in the same way.
fn exchange(place: &Place, path: &Path, aside: &Path, held: &File) -> Result<(), Refusal> {
    if !is_same_file(held, aside) {
        return Err("another program took its new bytes away".to_owned());
    }
    let folder = path.parent().unwrap_or(&place.folder);
    let Some(old) = &place.old else {
        host::rename_new(aside, path).map_err(|error| format!("it cannot be placed: {error}"))?;
        sync(folder);
        return Ok(());
    };
    // The swap itself is a change of the inode on some file systems.
    let is_as_seen = |at: &Path| {
        at.symlink_metadata()
            .is_ok_and(|now| has_same_bytes(old, &now))
    };
    let is_needless = is_needless(path, &place.file, old, Some(held));
    let kept = kept_name(&place.folder, &place.file);
    if !is_needless {
        place.make_room(&kept)?;
    }
    let now = path.symlink_metadata().map_err(|error| error.to_string())?;
    if !is_unchanged(old, &now) {
        return Err("it has changed meanwhile".to_owned());
    }
    host::swap(aside, path).map_err(|error| match error.kind() {
        io::ErrorKind::Unsupported => {
            "this file system cannot swap two names in one step".to_owned()
        }
        _ => format!("it cannot be replaced: {error}"),
    })?;
    if !is_as_seen(aside) {
        // Somebody was faster: what they put there gets its name back.
        return Err(match host::swap(aside, path) {
            Ok(()) => "it has changed meanwhile".to_owned(),
            Err(error) => format!(
                "it has changed meanwhile, and what was put there is now `{}`: {error}",
                sanitize(&aside.to_string_lossy())
            ),
        });
    }
    sync(folder);
    if is_needless {
        return remove(aside);
    }
    keep(aside, &kept)
}

/// Writes the note of a file, if it is what the note says.
///
/// # Errors
/// Why everything stays as it is, in a sentence.
pub(in crate::cache) fn note(
    mending: Mending<'_>,
    (path, file): (&Path, &Path),
    etag: &str,
    commit: &str,
) -> Result<Vec<Placed>, Refusal> {
    let place = Place::of(file, path, ".metadata")?;
    let etag = Etag::new(etag).map_err(|error| error.to_string())?;
    let commit = Commit::new(commit).map_err(|error| error.to_string())?;
    let old = place.old.as_ref().filter(|old| old.is_file());
    let old = old.ok_or("it is no plain file")?;
    place.make_room(path)?;
    let _lock = place.lock(mending)?;
    require_closed(&[file])?;
    if let Some(known) = place.note()
        && (known.etag != etag || !is_newer(old, &known))
    {
        return Err("it has a note by now".to_owned());
    }
    require_proven(file, &etag)?;
    let now = file.symlink_metadata().map_err(|error| error.to_string())?;
    if !is_unchanged(old, &now) {
        return Err("it has changed meanwhile".to_owned());
    }
    // Not before the file's last change, or Python takes it for changed.
    let changed = now.modified().unwrap_or(UNIX_EPOCH);
    let at = mending.eyes.now.max(changed);
    let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let text = format!(
        "{commit}\n{etag}\n{}.{:06}\n",
        at.as_secs(),
        at.subsec_micros()
    );
    let folder = path.parent().ok_or("it lies in no folder")?;
    drop(sweep_scratch(folder));
    durable::write_whole(folder, path, text.as_bytes())
        .map_err(|error: Error| error.to_string())?;
    Ok(vec![Placed::of(file, now, &etag)])
}

/// Takes away what a larder that was killed left aside, if nothing is lost with it.
///
/// # Errors
/// Why it stays, in a sentence.
pub(in crate::cache) fn remove_aside(mending: Mending<'_>, path: &Path) -> Result<(), Refusal> {
    let found = seen(path, path.parent())?;
    if !is_aside(path) || found.is_dir() {
        return Err("it is not what was shown".to_owned());
    }
    if found.is_file() {
        mending.require_quiet(path, &found)?;
        let file = host::open_itself(path).map_err(|error| error.to_string())?;
        if !is_unmarked(&file, path).map_err(|error| sanitize(&error.to_string()))? {
            return Err("another larder is at work on it".to_owned());
        }
    }
    if !is_left_over(mending, path, &found) {
        return Err(
            "it is neither a link nor empty nor the start of the right bytes, so it may be \
             somebody's work: look at it, and move or delete it yourself"
                .to_owned(),
        );
    }
    let now = path.symlink_metadata().map_err(|error| error.to_string())?;
    if !is_unchanged(&found, &now) {
        return Err("it has changed meanwhile".to_owned());
    }
    remove(path)
}

/// Whether nothing is lost with what was left aside: also because its bytes are the first ones of the
/// file that it was made or replaced for, or of a blob that the file's note names.
fn is_left_over(mending: Mending<'_>, path: &Path, found: &Metadata) -> bool {
    let parts = || {
        let (folder, name) = path.to_str()?.rsplit_once(&format!("/{NOTES}/"))?;
        let file = RepoPath::new(name.strip_suffix(ASIDE)?).ok()?;
        Some((PathBuf::from(folder), file))
    };
    let Some((folder, file)) = parts() else {
        return false;
    };
    let note = read(&folder.join(NOTES).join(format!("{file}.metadata"))).ok();
    let mut right = vec![folder.join(file.as_str())];
    if let Some(note) = note {
        let blobs = contents_of_hub(mending.layout).into_iter();
        let meant = blobs.filter(|(_, etag, _)| *etag == note.etag);
        right.extend(meant.map(|(repo, etag, _)| mending.layout.blob(&repo, &etag)));
    }
    is_needless(path, &file, found, None)
        || right.iter().any(|right| {
            let right = blob::open_content(right).ok();
            is_needless(path, &file, found, right.as_ref())
        })
}
