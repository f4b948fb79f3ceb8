//! Owns the files that were offered to an import: which may be which content, and which turned out
//! to be something else when they were read.
//!
//! Never reads them: that is the attempt's, whose copy is what is proven.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::cache;
use crate::domain::{Etag, Failure, FailureCode, Offer, OfferKind, RemoteFile, sanitize};
use crate::ledger::Stamp;

/// A file that may be a content.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// As it was when it was recognised.
    pub(super) stamp: Stamp,
}

/// The files of one import.
#[derive(Debug, Default)]
pub(super) struct Offers {
    by_etag: HashMap<Etag, Vec<Source>>,
    refused: Mutex<Vec<Offer>>,
    taken: Mutex<HashSet<Etag>>,
}

impl Offers {
    pub(super) fn new(by_etag: HashMap<Etag, Vec<Source>>) -> Self {
        Self {
            by_etag,
            refused: Mutex::default(),
            taken: Mutex::default(),
        }
    }

    /// The files that may be this content.
    pub(super) fn of(&self, etag: &Etag) -> Vec<Source> {
        self.by_etag.get(etag).cloned().unwrap_or_default()
    }

    /// Notes that a file is not the content: because its bytes say so, or it cannot be read.
    pub(super) fn refuse(&self, source: &Source, remote: &RemoteFile, why: Option<&cache::Error>) {
        let now = std::fs::metadata(&source.path).ok();
        let is_as_before = now
            .as_ref()
            .is_some_and(|found| Stamp::of(found) == source.stamp);
        let file = remote.path.clone();
        let kind = match why {
            Some(error) => OfferKind::Unreadable {
                why: words_of(error),
            },
            None if is_as_before => OfferKind::WrongHash { file },
            None => OfferKind::Changed { file },
        };
        let offer = Offer {
            path: sanitize(&source.path.to_string_lossy()),
            size_bytes: now.map(|found| found.len()),
            kind,
        };
        self.lock().push(offer);
    }

    /// The failure of a content that none of the offered files is.
    pub(super) fn nothing_right(&self, remote: &RemoteFile) -> Failure {
        let tried = self.of(&remote.etag);
        let failure = Failure::new(
            FailureCode::Incomplete,
            format!("no file that was offered is `{}`", remote.path),
        )
        .at_path(remote.path.as_str());
        match tried.first() {
            Some(source) => failure.because(format!(
                "`{}` is as long and holds something else",
                source.path.display()
            )),
            None => failure.because("what the cache has of it is not right"),
        }
    }

    /// Notes that a content was made of one of the files.
    pub(super) fn take(&self, etag: Etag) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.insert(etag);
    }

    /// The contents that were made of the files.
    pub(super) fn taken(&self) -> HashSet<Etag> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.clone()
    }

    /// What was refused when it was read.
    pub(super) fn refused(&self) -> Vec<Offer> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Offer>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a file cannot be read, in the system's words.
pub(super) fn words_of(error: &cache::Error) -> String {
    match error {
        cache::Error::Io { source, .. } | cache::Error::Permission { source, .. } => {
            sanitize(&source.to_string())
        }
        other => sanitize(&other.to_string()),
    }
}
