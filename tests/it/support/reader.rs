//! A reader of caches with its own idea of the layout, so that a mistake in larder's is not
//! repeated here: every blob must hash to its name, every pointer must lead to such a blob.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// Fails if anything visible in the cache is not proven by its name.
#[track_caller]
pub(crate) fn assert_all_visible_bytes_proven(cache: &Path) {
    let wrong: Vec<String> = unproven(cache).into_values().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Everything visible in the cache that is not proven by its name, and what is wrong with it.
pub(crate) fn unproven(cache: &Path) -> BTreeMap<PathBuf, String> {
    let mut wrong = BTreeMap::new();
    // Many names lead to one blob: it is hashed once.
    let mut known: BTreeMap<(Option<PathBuf>, String), bool> = BTreeMap::new();
    let mut is_content_of = |path: &Path, etag: &str| {
        let real = fs::canonicalize(path).ok();
        let key = (real, etag.to_owned());
        *known
            .entry(key)
            .or_insert_with(|| is_content_of(path, etag))
    };
    for repo in folders(cache) {
        let name = repo.file_name().unwrap().to_string_lossy().into_owned();
        if !name.contains("--") {
            continue;
        }
        for blob in entries(&repo.join("blobs")) {
            let name = blob.file_name().unwrap().to_string_lossy().into_owned();
            if name.chars().all(|c| c.is_ascii_hexdigit()) && !is_content_of(&blob, &name) {
                let what = format!("{} does not hash to its name", blob.display());
                wrong.insert(blob, what);
            }
        }
        for snapshot in folders(&repo.join("snapshots")) {
            let listing = listing_of(&repo, &snapshot);
            for file in files_below(&snapshot) {
                let inside = file.strip_prefix(&snapshot).unwrap().to_str().unwrap();
                let etag = match fs::read_link(&file) {
                    Ok(target) => target.file_name().unwrap().to_str().unwrap().to_owned(),
                    Err(_) => match &listing {
                        Some(listing) => {
                            let entry = &listing["files"][inside];
                            let name = entry.get("lfs_sha256").unwrap_or(&entry["blob_id"]);
                            name.as_str().unwrap_or("not listed").to_owned()
                        }
                        None => "no listing".to_owned(),
                    },
                };
                if !is_content_of(&file, &etag) {
                    let what = format!("{} is not `{etag}`", file.display());
                    wrong.insert(file, what);
                }
            }
        }
    }
    wrong
}

fn listing_of(repo: &Path, snapshot: &Path) -> Option<serde_json::Value> {
    let name = format!("{}.json", snapshot.file_name()?.to_str()?);
    [repo.join("trees"), repo.join(".larder/trees")]
        .iter()
        .find_map(|folder| serde_json::from_slice(&fs::read(folder.join(&name)).ok()?).ok())
}

/// Whether the file's bytes are what a blob of that name must hold.
fn is_content_of(path: &Path, etag: &str) -> bool {
    let Ok(bytes) = fs::read(path) else {
        return false;
    };
    let hash = if etag.len() == 64 {
        hex::encode(Sha256::digest(&bytes))
    } else {
        let mut git = Sha1::new();
        git.update(format!("blob {}\0", bytes.len()));
        git.update(&bytes);
        hex::encode(git.finalize())
    };
    hash == etag
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect()
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    entries(folder)
        .into_iter()
        .filter(|path| path.is_dir())
        .collect()
}

/// Everything below a folder that is not a folder itself.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in entries(folder) {
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}
