//! Owns what is kept in a local dir of files that were replaced: what lies there, and freeing what has
//! lain there for long.
//!
//! **Law**: only files that larder put there go, each by the time of its own last change, which no
//! program can set.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::sight::is_own_folder;
use super::{Error, Layout, Result};
use crate::host;

/// Digits behind the last dot of a name that larder gave.
const DIGITS: usize = 8;

/// Files that are kept, or were freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// How many.
    pub files: usize,
    /// Their lengths together.
    pub bytes: u64,
}

impl Kept {
    fn add(&mut self, found: &Metadata) {
        self.files += 1;
        self.bytes += found.len();
    }
}

/// What a local dir keeps of files that were replaced.
pub fn kept(layout: &Layout) -> Kept {
    let mut kept = Kept::default();
    for (_, found) in entries(layout) {
        kept.add(&found);
    }
    kept
}

/// Frees what has been kept for so long.
///
/// # Errors
/// When a file cannot be taken away; those before it are gone.
pub fn free_kept(layout: &Layout, after: Duration, now: SystemTime) -> Result<Kept> {
    let mut freed = Kept::default();
    for (path, found) in entries(layout) {
        // A file gets there by a new name or as a copy, and either is a change of its inode.
        let since = now.duration_since(changed(&found));
        if since.is_ok_and(|age| age >= after) {
            std::fs::remove_file(&path).map_err(Error::at("remove", &path))?;
            freed.add(&found);
        }
    }
    Ok(freed)
}

/// The files that larder put there.
fn entries(layout: &Layout) -> Vec<(PathBuf, Metadata)> {
    let folder = layout.aside_folder();
    let way = [layout.hidden(), layout.own_hidden(), folder.clone()];
    if !layout.is_local() || !way.iter().all(|folder| is_own_folder(folder)) {
        return Vec::new();
    }
    let is_named_by_us = |name: &str| {
        name.rsplit_once('.').is_some_and(|(_, number)| {
            number.len() == DIGITS && number.bytes().all(|b| b.is_ascii_hexdigit())
        })
    };
    let found = host::read_dir(&folder).into_iter().flatten().flatten();
    found
        .filter(|entry| entry.file_name().to_str().is_some_and(is_named_by_us))
        .filter_map(|entry| {
            let found = entry.path().symlink_metadata().ok()?;
            found.is_file().then(|| (entry.path(), found))
        })
        .collect()
}

fn changed(found: &Metadata) -> SystemTime {
    let seconds = u64::try_from(found.ctime()).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::cache::fixture::{self, commit, now, path, repo};
    use crate::cache::prepare_repo;

    #[test]
    fn only_what_larder_put_there_long_ago_is_freed() {
        let (_dir, cache) = fixture::cache();
        let of = (repo("org/m"), commit('a'));
        let files = HashMap::from([(fixture::etag(b"x"), path("x.json"))]);
        let layout = Layout::local(cache.root().join("dir"), of, files);
        assert_eq!(kept(&layout), Kept::default(), "no folder yet");
        prepare_repo(&layout, &repo("org/m")).unwrap();
        let aside = layout.aside_folder();
        let put = |name: &str| fs::write(aside.join(name), "four").unwrap();
        put("x.json.0123abcd");
        put("model.safetensors.ffffffff");
        // A person's.
        put("mine");
        put("x.json.0123abc");
        put("x.json.0123abcg");
        fs::create_dir(aside.join("folder.01234567")).unwrap();
        symlink("mine", aside.join("link.01234567")).unwrap();
        let ours = Kept { files: 2, bytes: 8 };
        assert_eq!(kept(&layout), ours);
        let day = Duration::from_hours(24);
        for (now, freed) in [
            (now(), Kept::default()),
            (now() + day - Duration::from_secs(5), Kept::default()),
            (now() - day, Kept::default()),
            (now() + day + Duration::from_secs(5), ours),
        ] {
            assert_eq!(free_kept(&layout, day, now).unwrap(), freed);
        }
        assert_eq!(kept(&layout), Kept::default());
        let left = [
            "folder.01234567",
            "link.01234567",
            "mine",
            "x.json.0123abc",
            "x.json.0123abcg",
        ];
        assert_eq!(fixture::names(&aside), left);
        // What is linked to from elsewhere is nobody's of ours.
        fs::rename(&aside, cache.root().join("away")).unwrap();
        symlink(cache.root().join("away"), &aside).unwrap();
        put("x.json.0123abcd");
        assert_eq!(kept(&layout), Kept::default());
    }
}
