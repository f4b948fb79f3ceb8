//! Owns giving many small contents their names together: all are written, then all synced, then all
//! renamed, then their folder is synced once.
//!
//! **Law**: as for one: nothing is renamed that was not proven and synced; whoever holds the locks
//! is the only one who does this.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;

use super::blob::Hasher;
use super::incomplete::Partial;
use super::lock::BlobLock;
use super::promote::{Promoted, SetAside, folder_of};
use super::{Error, Layout, Result};
use crate::domain::{Etag, RepoId};
use crate::host;

/// A small content in memory, and the locks of its blob.
#[derive(Debug)]
pub struct Small {
    /// Its name.
    pub etag: Etag,
    /// What is to be that content.
    pub bytes: Vec<u8>,
    /// Shows that nobody else does the same.
    pub lock: BlobLock,
}

/// Proves the contents, makes them durable and gives them their blobs' names; one result each, in
/// order.
///
/// # Errors
/// [`Error::HashMismatch`] for bytes that are not the content; nothing of them is left.
pub fn promote_all(layout: &Layout, repo: &RepoId, smalls: Vec<Small>) -> Vec<Result<Promoted>> {
    let targets: Vec<PathBuf> = smalls
        .iter()
        .map(|small| layout.blob(repo, &small.etag))
        .collect();
    let made: Vec<(Result<Partial>, BlobLock)> = smalls
        .into_iter()
        .map(|small| (write(layout, repo, &small), small.lock))
        .collect();
    let partials = || made.iter().filter_map(|(made, _)| made.as_ref().ok());
    // Asked for all first, so that the disk has them all at once and one commit of the file system's
    // journal serves them all.
    for partial in partials() {
        host::start_writeback(&partial.file, &(0..partial.size_bytes));
    }
    let files: Vec<&File> = partials().map(|partial| &*partial.file).collect();
    let mut answers = host::sync_files(&files).into_iter();
    let synced: Vec<(Result<Partial>, BlobLock)> = made
        .into_iter()
        .map(|(partial, lock)| {
            let synced = partial.and_then(|partial| match answers.next() {
                Some(Ok(())) => Ok(partial),
                answer => {
                    let error = answer.and_then(std::result::Result::err);
                    let error = error.unwrap_or_else(|| std::io::Error::other("not synced"));
                    let error = Error::from_io("sync", &partial.path, error);
                    Err(given_up(partial, error))
                }
            });
            (synced, lock)
        })
        .collect();
    let named: Vec<Result<Promoted>> = synced
        .into_iter()
        .map(|(partial, lock)| partial.and_then(|partial| name(partial, &lock)))
        .collect();
    // One in a Hub cache.
    let folders: BTreeSet<PathBuf> = targets
        .iter()
        .map(|target| folder_of(target).to_owned())
        .collect();
    for folder in folders {
        let Err(error) = host::sync_dir(&folder) else {
            continue;
        };
        // They are there and right, but a power cut may take their names away again.
        let (kind, words) = (error.kind(), error.to_string());
        return named
            .into_iter()
            .map(|one| {
                one.and_then(|_| {
                    let error = std::io::Error::new(kind, words.clone());
                    Err(Error::from_io("sync", &folder, error))
                })
            })
            .collect();
    }
    let named = named.into_iter();
    named.map(|one| one.map(Promoted::forget_wrong)).collect()
}

/// Writes a content to a partial of its own, if it is what its name says.
fn write(layout: &Layout, repo: &RepoId, small: &Small) -> Result<Partial> {
    let size_bytes = small.bytes.len() as u64;
    let mut hasher = Hasher::new(&small.etag, size_bytes);
    hasher.update(&small.bytes);
    if !hasher.finish() {
        return Err(Error::HashMismatch {
            path: layout.blob(repo, &small.etag),
            expected: small.etag,
        });
    }
    let mut partial = Partial::fresh(layout, repo, &small.etag, size_bytes)?;
    match partial.append(&small.bytes) {
        Ok(_) => Ok(partial),
        Err(error) => Err(given_up(partial, error)),
    }
}

/// Gives a synced partial its blob's name.
fn name(mut partial: Partial, lock: &BlobLock) -> Result<Promoted> {
    match partial.take_blobs_name() {
        Ok(Some(promoted)) => Ok(promoted),
        // Another program took the file away or put one in its place: the long way knows how.
        Ok(None) => partial
            .prove_and_promote(lock, SetAside::Keep)
            .map_err(Error::from),
        Err(error) => Err(given_up(partial, error)),
    }
}

/// Takes the partial away; the first error is the one to tell, and a leftover is adopted later.
fn given_up(partial: Partial, error: Error) -> Error {
    if let Err(other) = partial.discard() {
        tracing::debug!(%other, "a partial of a small file stays");
    }
    error
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cache::fixture::{self, content, etag, held, repo};

    fn small(layout: &Layout, bytes: &[u8], name: &Etag) -> Small {
        Small {
            etag: *name,
            bytes: bytes.to_vec(),
            lock: held(layout, &repo("org/m"), name),
        }
    }

    #[test]
    fn right_ones_get_their_names_and_wrong_ones_leave_nothing() {
        let (_dir, layout) = fixture::cache();
        let repo = repo("org/m");
        crate::cache::prepare_repo(&layout, &repo).unwrap();
        let contents: Vec<Vec<u8>> = (1..40).map(|length| content(length * 100)).collect();
        let mut smalls: Vec<Small> = contents
            .iter()
            .map(|bytes| small(&layout, bytes, &etag(bytes)))
            .collect();
        let wrong = etag(b"what it should be");
        smalls.insert(7, small(&layout, b"what it is", &wrong));
        let results = promote_all(&layout, &repo, smalls);
        for (at, result) in results.iter().enumerate() {
            assert_eq!(result.is_ok(), at != 7, "{at}: {result:?}");
        }
        assert!(matches!(results[7], Err(Error::HashMismatch { .. })));
        for bytes in &contents {
            assert_eq!(fs::read(layout.blob(&repo, &etag(bytes))).unwrap(), *bytes);
        }
        assert_eq!(fixture::names(&layout.blobs(&repo)).len(), contents.len());
    }

    #[test]
    fn what_stands_there_is_kept_if_it_is_wrong_or_a_folder_with_something_in_it() {
        let (_dir, layout) = fixture::cache();
        let repo = repo("org/m");
        crate::cache::prepare_repo(&layout, &repo).unwrap();
        let (one, two, three) = (content(10), content(20), content(30));
        fs::write(layout.blob(&repo, &etag(&one)), "wrong").unwrap();
        fs::write(layout.blob(&repo, &etag(&two)), &two).unwrap();
        fs::create_dir(layout.blob(&repo, &etag(&three))).unwrap();
        fs::write(layout.blob(&repo, &etag(&three)).join("mine"), "mine").unwrap();
        let smalls = [&one, &two, &three]
            .map(|bytes| small(&layout, bytes, &etag(bytes)))
            .into();
        let results = promote_all(&layout, &repo, smalls);
        let aside = results[0].as_ref().unwrap().set_aside.clone().unwrap();
        assert_eq!(fs::read(aside).unwrap(), b"wrong");
        assert_eq!(results[1].as_ref().unwrap().set_aside, None);
        let aside = results[2].as_ref().unwrap().set_aside.clone().unwrap();
        assert_eq!(fs::read(aside.join("mine")).unwrap(), b"mine");
        assert_eq!(fs::read(layout.blob(&repo, &etag(&three))).unwrap(), three);
        let names = fixture::names(&layout.blobs(&repo));
        assert_eq!(names.len(), 4, "{names:?}");
    }

    #[test]
    fn folders_that_were_removed_meanwhile_are_made_again() {
        let (_dir, layout) = fixture::cache();
        let repo = repo("org/m");
        let bytes = content(10);
        let smalls = vec![small(&layout, &bytes, &etag(&bytes))];
        assert!(!layout.blobs(&repo).exists());
        assert!(promote_all(&layout, &repo, smalls)[0].is_ok());
        assert_eq!(fs::read(layout.blob(&repo, &etag(&bytes))).unwrap(), bytes);
    }
}
