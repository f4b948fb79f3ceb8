//! Owns telling whether what lay in the place of right bytes is nobody's work, and keeping it if it may
//! be.
//!
//! **Law**: times prove nothing here: what is moved or copied keeps those it had elsewhere. Only what
//! shows by its bytes that nothing is lost with it is needless.

use std::cell::Cell;
use std::fs::{File, Metadata};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::content::impostor;
use crate::cache::mend::{Refusal, sync};
use crate::cache::{Error, blob};
use crate::domain::{RepoPath, sanitize};
use crate::host;

/// Where files are kept, below the model's folder, that stood in the place of right ones.
const KEPT: &str = ".cache/huggingface/larder/aside";

/// Whether nothing of anybody's is lost with what lies at a place: it is a link, empty, what servers
/// and git leave in the place of a content, or the beginning of the right bytes. `name` is what it was
/// called as a file of the model.
pub(in crate::cache) fn is_needless(
    place: &Path,
    name: &RepoPath,
    found: &Metadata,
    right: Option<&File>,
) -> bool {
    if found.is_symlink() || (found.is_file() && found.len() == 0) {
        return true;
    }
    found.is_file()
        && (impostor(place, name.as_str(), found.len()).is_some()
            || right.is_some_and(|right| is_start_of(place, found.len(), right)))
}

/// Whether the bytes of a file are the first ones of another.
fn is_start_of(place: &Path, bytes: u64, whole: &File) -> bool {
    let Ok(file) = host::open_itself(place) else {
        return false;
    };
    if whole
        .metadata()
        .map_or(true, |metadata| metadata.len() < bytes)
    {
        return false;
    }
    let is_same = Cell::new(true);
    let mut other = Vec::new();
    let mut watch = |_| {
        if is_same.get() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    };
    let mut compare = |offset, step: &[u8]| {
        other.resize(step.len(), 0);
        whole
            .read_exact_at(&mut other, offset)
            .map_err(Error::at("read", place))?;
        is_same.set(other.as_slice() == step);
        Ok(())
    };
    let read = blob::each_step(&file, place, bytes, &mut watch, &mut compare);
    is_same.get() && read.is_ok_and(|read| read == bytes)
}

/// A name under which a file of a model's folder is kept: the one that a pull into a folder gives as
/// well.
pub(super) fn kept_name(folder: &Path, file: &RepoPath) -> PathBuf {
    let name = format!("{}.{:08x}", file.file_name(), fastrand::u32(..));
    folder.join(KEPT).join(name)
}

/// Gives what may be somebody's work the name under which it is kept; the folder is there.
///
/// # Errors
/// Where it is now, and why.
pub(super) fn keep(from: &Path, kept: &Path) -> Result<(), Refusal> {
    host::rename_new(from, kept).map_err(|error| {
        format!(
            "what lay there may be somebody's work and stays as `{}`: {error}",
            sanitize(&from.to_string_lossy())
        )
    })?;
    for folder in [from.parent(), kept.parent()].into_iter().flatten() {
        sync(folder);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::cache::fixture::{content, path};

    #[test]
    fn only_what_shows_that_nothing_is_lost_with_it_is_needless() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("model.safetensors.larder");
        let name = path("model.safetensors");
        let good = content(3_000_000);
        fs::write(dir.path().join("right"), &good).unwrap();
        let right = File::open(dir.path().join("right")).unwrap();
        let says = |bytes: &[u8], name: &RepoPath| {
            fs::write(&place, bytes).unwrap();
            let found = place.symlink_metadata().unwrap();
            is_needless(&place, name, &found, Some(&right))
        };
        for cut in [0, 1, 1_500_000, good.len()] {
            assert!(says(&good[..cut], &name), "{cut}");
        }
        assert!(says(b"version https://git-lfs.github.com/spec/v1\n", &name));
        assert!(says(b"<!DOCTYPE html><p>Sign in</p>", &name));
        // Somebody's page is a page.
        assert!(!says(b"<!DOCTYPE html><p>Mine</p>", &path("index.html")));
        for at in [0, 1_200_000, good.len() - 1] {
            let mut other = good.clone();
            other[at] ^= 1;
            assert!(!says(&other, &name), "{at}");
        }
        assert!(!says(&[&good[..], b"x"].concat(), &name));
        // Without the right bytes nothing shows what they begin with.
        let found = place.symlink_metadata().unwrap();
        assert!(!is_needless(&place, &name, &found, None));
        fs::remove_file(&place).unwrap();
        symlink("nowhere", &place).unwrap();
        let found = place.symlink_metadata().unwrap();
        assert!(is_needless(&place, &name, &found, None));
    }
}
