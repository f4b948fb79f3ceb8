//! What the tests share: catalogues to serve, folders to throw away, and a reader that believes
//! nothing and hashes everything.

pub(crate) mod catalogue;
pub(crate) mod model;
pub(crate) mod peak;
#[cfg(target_os = "linux")]
pub(crate) mod power;
pub(crate) mod program;
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

use std::path::{Path, PathBuf};

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
