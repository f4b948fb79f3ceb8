//! What the tests share: catalogues to serve, folders to throw away, and a reader that believes
//! nothing and hashes everything.

pub(crate) mod catalogue;
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

use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
pub(crate) use reader::wrong_bytes;
pub(crate) use reader::{assert_all_visible_bytes_proven, files_below};

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
