//! What the tests share: catalogues to serve, folders to throw away, and a reader that believes
//! nothing and hashes everything.

pub(crate) mod catalogue;
pub(crate) mod model;
pub(crate) mod peak;
#[cfg(target_os = "linux")]
pub(crate) mod power;
pub(crate) mod program;
pub(crate) mod python;
mod reader;
#[cfg(target_os = "linux")]
pub(crate) mod scene;
#[cfg(target_os = "linux")]
pub(crate) mod seam;
#[cfg(target_os = "linux")]
mod sight;
pub(crate) mod terminal;
pub(crate) mod watched;
pub(crate) mod zoo;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use larder::serve::{Origin, Serving};

pub(crate) use reader::{assert_all_visible_bytes_proven, files_below, wrong_bytes};

/// Bytes of file bodies that the Hub sent since the last look.
pub(crate) fn body_bytes(hub: &Serving) -> u64 {
    let bytes = hub
        .requests()
        .iter()
        .filter(|request| {
            request.method == "GET"
                && (request.origin == Origin::Cdn || request.path.contains("/resolve"))
        })
        .map(|request| request.body_bytes_sent)
        .sum();
    hub.clear_requests();
    bytes
}

/// Everything in a folder, with what a write would change.
pub(crate) fn traces(folder: &Path) -> BTreeMap<PathBuf, (SystemTime, SystemTime, u64)> {
    let mut all = vec![folder.to_owned()];
    let mut found = BTreeMap::new();
    while let Some(path) = all.pop() {
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            all.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        let changed = SystemTime::UNIX_EPOCH
            + Duration::new(
                u64::try_from(metadata.ctime()).unwrap(),
                u32::try_from(metadata.ctime_nsec()).unwrap(),
            );
        found.insert(
            path,
            (metadata.modified().unwrap(), changed, metadata.ino()),
        );
    }
    found
}

/// Says a line with figures: `--nocapture` shows them.
#[expect(
    clippy::print_stdout,
    reason = "the figures of a campaign are for people"
)]
pub(crate) fn report(line: &str) {
    println!("{line}");
}

/// A folder that goes away with the test.
pub(crate) struct Scratch {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("larder-test-")
            .tempdir()
            .unwrap();
        // Paths are compared with what larder prints, which is the resolved one.
        let path = std::fs::canonicalize(folder.path()).unwrap();
        Self { folder, path }
    }

    pub(crate) fn path(&self) -> &Path {
        assert!(self.folder.path().exists());
        &self.path
    }
}
