//! Owns the listings of commits: Python's `trees/<commit>.json`, and larder's own of the same form.
//!
//! Law: what is written is, to the byte, what `huggingface_hub` 2.x writes (`_tree_cache.py`); what
//! Python would reject is rejected.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::SystemTime;

use serde::Deserialize;

use super::layout::is_xet_hash;
use super::staging::scratch_dir;
use super::{Error, Layout, Result, durable};
use crate::domain::{Commit, Etag, RemoteFile, RepoId, RepoPath};
use crate::host;

/// A listing of half a million files is below this; what is longer is none, whoever wrote it.
const MAX_LISTING_BYTES: u64 = 128 << 20;
/// The only format there is.
const FORMAT_VERSION: u64 = 1;

/// Whose listing to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    /// The one all tools read: with it, an offline Python demands every file it lists (hub.md 6.1).
    Shared,
    /// larder's own.
    Own,
}

#[derive(Deserialize)]
struct Document {
    format_version: u64,
    files: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    size: u64,
    blob_id: String,
    lfs_sha256: Option<String>,
    lfs_size: Option<u64>,
    xet_hash: Option<String>,
}

/// The files of a commit by the listing on disk, in order: Python's, else larder's own. `None` if
/// neither is there, readable and sound.
pub fn read_tree(layout: &Layout, repo: &RepoId, commit: &Commit) -> Option<Vec<RemoteFile>> {
    [layout.tree(repo, commit), layout.own_tree(repo, commit)]
        .iter()
        .find_map(|path| parse(&read_quietly(path).ok()?))
}

/// The files of the listing at a path, as [`read_tree`] reads it.
pub(super) fn read_listing(path: &Path) -> Option<Vec<RemoteFile>> {
    parse(&read_quietly(path).ok()?)
}

/// Every content that any listing of the repo names, with a file that has it.
pub(super) fn contents_of(layout: &Layout, repo: &RepoId) -> HashMap<Etag, (RepoPath, u64)> {
    all_files(layout, repo)
        .into_iter()
        .map(|file| (file.etag, (file.path, file.size_bytes)))
        .collect()
}

/// The files of every listing of the repo.
pub(super) fn all_files(layout: &Layout, repo: &RepoId) -> Vec<RemoteFile> {
    let folders = [
        layout.repo(repo).join("trees"),
        layout.larder_dir(repo).join("trees"),
    ];
    folders
        .iter()
        .filter_map(|folder| host::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .filter_map(|path| parse(&read_quietly(&path).ok()?))
        .flatten()
        .collect()
}

/// The commit of a listing that names a content, for every content that any listing names.
pub(super) fn commits_by_content(layout: &Layout, repo: &RepoId) -> HashMap<Etag, Commit> {
    let mut found = HashMap::new();
    for folder in [layout.repo(repo), layout.larder_dir(repo)] {
        let entries = host::read_dir(&folder.join("trees")).into_iter().flatten();
        let commits = entries.flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Commit::new(name.strip_suffix(".json")?).ok()
        });
        for commit in commits {
            let files = read_tree(layout, repo, &commit).unwrap_or_default();
            found.extend(files.into_iter().map(|file| (file.etag, commit)));
        }
    }
    found
}

/// The commits of which a listing is on disk, the newest listing first.
pub fn listed_commits(layout: &Layout, repo: &RepoId) -> Vec<Commit> {
    let mut found: Vec<(SystemTime, Commit)> = Vec::new();
    for folder in [layout.repo(repo), layout.larder_dir(repo)] {
        let entries = host::read_dir(&folder.join("trees")).into_iter().flatten();
        found.extend(entries.flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let commit = Commit::new(name.strip_suffix(".json")?).ok()?;
            let found = entry.path().symlink_metadata().ok()?;
            Some((found.modified().ok()?, commit))
        }));
    }
    found.sort();
    found.reverse();
    let mut seen = BTreeSet::new();
    found.retain(|(_, commit)| seen.insert(*commit));
    found.into_iter().map(|(_, commit)| commit).collect()
}

fn read_quietly(path: &Path) -> io::Result<Vec<u8>> {
    let file = host::open_quietly(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > MAX_LISTING_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::new();
    file.take(MAX_LISTING_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn parse(bytes: &[u8]) -> Option<Vec<RemoteFile>> {
    let document: Document = serde_json::from_slice(bytes).ok()?;
    if document.format_version != FORMAT_VERSION {
        return None;
    }
    document
        .files
        .into_iter()
        .map(|(path, entry)| {
            if entry.xet_hash.as_deref().is_some_and(|h| !is_xet_hash(h)) {
                return None;
            }
            let name = entry.lfs_sha256.as_ref().unwrap_or(&entry.blob_id);
            Some(RemoteFile {
                path: RepoPath::new(&path).ok()?,
                size_bytes: entry.lfs_size.unwrap_or(entry.size),
                etag: Etag::new(name).ok()?,
                git_oid: entry.blob_id,
                xet_hash: entry.xet_hash,
            })
        })
        .collect()
}

/// Writes the listing of a commit.
pub fn write_tree(
    layout: &Layout,
    repo: &RepoId,
    commit: &Commit,
    files: &[RemoteFile],
    which: Tree,
) -> Result<()> {
    let path = match which {
        Tree::Shared => layout.tree(repo, commit),
        Tree::Own => layout.own_tree(repo, commit),
    };
    let scratch = scratch_dir(layout, repo)?;
    let parent = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(parent).map_err(Error::at("create", parent))?;
    durable::write_whole(&scratch, &path, render(files).as_bytes())
}

/// The text of `json.dump(…, indent=1)` with sorted paths.
pub(super) fn render(files: &[RemoteFile]) -> String {
    // Code points in order are UTF-8 bytes in order, as Python's `sorted` has them.
    let sorted: BTreeMap<&str, &RemoteFile> = files
        .iter()
        .map(|file| (file.path.as_str(), file))
        .collect();
    let mut text = format!("{{\n \"format_version\": {FORMAT_VERSION},\n \"files\": {{");
    let mut separator = "\n";
    for (path, file) in sorted {
        text.push_str(separator);
        separator = ",\n";
        text.push_str("  ");
        push_string(&mut text, path);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            ": {{\n   \"size\": {},\n   \"blob_id\": ",
            file.size_bytes
        );
        push_string(&mut text, &file.git_oid);
        if file.is_lfs() {
            let _ = write!(
                text,
                ",\n   \"lfs_sha256\": \"{}\",\n   \"lfs_size\": {}",
                file.etag, file.size_bytes
            );
        }
        // Python throws the whole listing away for one hash it does not like.
        if let Some(hash) = file.xet_hash.as_deref().filter(|hash| is_xet_hash(hash)) {
            let _ = write!(text, ",\n   \"xet_hash\": \"{hash}\"");
        }
        text.push_str("\n  }");
    }
    text.push_str(if files.is_empty() { "}\n}" } else { "\n }\n}" });
    text
}

/// A JSON string in ASCII, escaped as Python does.
fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixture::{self, commit, path, repo};

    /// Written by `huggingface_hub` 2.4.0's `write_tree_cache`.
    const PYTHONS: &str = r#"{
 "format_version": 1,
 "files": {
  "config.json": {
   "size": 2,
   "blob_id": "9e26dfeeb6e641a33dae4961196235bdb965b21b"
  },
  "model.safetensors": {
   "size": 1000,
   "blob_id": "1111111111111111111111111111111111111111",
   "lfs_sha256": "abababababababababababababababababababababababababababababababab",
   "lfs_size": 1000,
   "xet_hash": "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
  },
  "sub dir/\u00fcn\u00ef \"q\" \ud83e\udd99.json": {
   "size": 0,
   "blob_id": "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
  }
 }
}"#;

    fn files() -> Vec<RemoteFile> {
        let plain = |name: &str, size_bytes, oid: &str| RemoteFile {
            path: path(name),
            size_bytes,
            etag: Etag::new(oid).unwrap(),
            git_oid: oid.to_owned(),
            xet_hash: None,
        };
        vec![
            plain("config.json", 2, "9e26dfeeb6e641a33dae4961196235bdb965b21b"),
            RemoteFile {
                etag: Etag::new(&"ab".repeat(32)).unwrap(),
                xet_hash: Some("cd".repeat(32)),
                ..plain("model.safetensors", 1000, &"1".repeat(40))
            },
            plain(
                "sub dir/ünï \"q\" 🦙.json",
                0,
                "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
            ),
        ]
    }

    #[test]
    fn the_file_is_pythons_to_the_byte() {
        let (_dir, layout) = fixture::cache();
        let (repo, commit) = (repo("org/m"), commit('a'));
        let mut shuffled = files();
        shuffled.rotate_left(1);
        for which in [Tree::Own, Tree::Shared] {
            write_tree(&layout, &repo, &commit, &shuffled, which).unwrap();
        }
        for path in [layout.tree(&repo, &commit), layout.own_tree(&repo, &commit)] {
            assert_eq!(fs::read_to_string(path).unwrap(), PYTHONS);
        }
        assert_eq!(read_tree(&layout, &repo, &commit), Some(files()));
        assert_eq!(fixture::names(&layout.larder_dir(&repo)), ["trees"]);
        assert_eq!(
            fixture::names(&layout.repo(&repo).join("trees")),
            [format!("{commit}.json")]
        );
        assert_eq!(render(&[]), "{\n \"format_version\": 1,\n \"files\": {}\n}");
    }

    #[test]
    fn what_python_rejects_is_rejected_and_the_own_listing_is_read() {
        let (_dir, layout) = fixture::cache();
        let (repo, commit) = (repo("org/m"), commit('a'));
        assert_eq!(read_tree(&layout, &repo, &commit), None);
        write_tree(&layout, &repo, &commit, &files(), Tree::Own).unwrap();
        let shared = layout.tree(&repo, &commit);
        fs::create_dir_all(shared.parent().unwrap()).unwrap();
        for bad in [
            PYTHONS.replace("cdcd", "CDCD"),
            PYTHONS.replace("\"format_version\": 1", "\"format_version\": 2"),
            PYTHONS.replace("sub dir/", "../"),
            PYTHONS.replace("\"size\": 2,", ""),
            PYTHONS[..200].to_owned(),
            "[]".to_owned(),
        ] {
            fs::write(&shared, bad).unwrap();
            assert_eq!(read_tree(&layout, &repo, &commit), Some(files()));
        }
        fs::remove_file(layout.own_tree(&repo, &commit)).unwrap();
        assert_eq!(read_tree(&layout, &repo, &commit), None);
    }

    #[test]
    fn a_hash_python_would_not_like_is_left_out() {
        let mut file = files().remove(1);
        file.xet_hash = Some("REDACTED".to_owned());
        assert!(!render(&[file]).contains("xet_hash"));
    }
}
