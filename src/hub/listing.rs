//! Owns the list of a repo's files at a commit: all pages, each entry checked.
//!
//! Never lets an entry through whose path or content name could not safely become a file name.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use crate::domain::{Commit, Etag, RemoteFile, RepoId, RepoPath, sanitize_line};

use super::address;
use super::api::Document;
use super::client::Client;
use super::error::Error;

/// Pages have a thousand entries; the Hub's own limit is far below two million files.
const MAX_PAGES: usize = 2_000;

/// The files of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// In the Hub's order.
    pub files: Vec<RemoteFile>,
    /// Entries that cannot be fetched safely.
    pub refused: Vec<Refused>,
}

/// An entry of the listing that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its path, sanitised.
    pub path: String,
    /// The reason.
    pub reason: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    size: Option<u64>,
    oid: Option<String>,
    lfs: Option<Lfs>,
    #[serde(rename = "xetHash")]
    xet_hash: Option<String>,
}

#[derive(Deserialize)]
struct Lfs {
    /// The SHA-256 of the content (model info calls it `sha256`).
    oid: Option<String>,
    size: Option<u64>,
}

impl Client {
    /// Every file of `repo` at `commit`.
    ///
    /// # Errors
    /// Whatever stops any request; [`Error::Malformed`] for pages without end or on other hosts.
    pub async fn listing(&self, repo: &RepoId, commit: &Commit) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        let mut by_path = HashMap::new();
        let mut seen = HashSet::new();
        let mut url = self.endpoint().tree(repo, commit)?;
        loop {
            seen.insert(url.clone());
            let page: Document<Vec<Entry>> = self.document(url).await?;
            for entry in page.value {
                listing.add(entry, &mut by_path);
            }
            let Some(link) = page.next else {
                return Ok(listing);
            };
            url = self.endpoint().next_page(&page.url, &link)?;
            if seen.contains(&url) || seen.len() >= MAX_PAGES {
                return Err(Error::Malformed {
                    url: address::shown(&url),
                    why: "its pages do not end".to_owned(),
                });
            }
        }
    }
}

impl Listing {
    /// What one page lists. A door for tests and for `fuzz/`: pages come by [`Client::listing`].
    ///
    /// # Errors
    /// When it is no list of entries.
    #[doc(hidden)]
    pub fn of_page(json: &[u8]) -> serde_json::Result<Self> {
        let entries: Vec<Entry> = serde_json::from_slice(json)?;
        let mut listing = Self::default();
        let mut by_path = HashMap::new();
        for entry in entries {
            listing.add(entry, &mut by_path);
        }
        Ok(listing)
    }

    fn add(&mut self, entry: Entry, by_path: &mut HashMap<RepoPath, usize>) {
        if entry.kind == "directory" {
            return;
        }
        let path = sanitize_line(&entry.path, 300);
        let refusal = match file(entry) {
            Ok(file) => match by_path.get(&file.path) {
                None => {
                    by_path.insert(file.path.clone(), self.files.len());
                    self.files.push(file);
                    return;
                }
                Some(&at) if self.files.get(at) == Some(&file) => return,
                Some(_) => "it is listed twice with different content".to_owned(),
            },
            Err(reason) => reason,
        };
        self.refused.push(Refused {
            path,
            reason: refusal,
        });
    }
}

fn file(entry: Entry) -> Result<RemoteFile, String> {
    if entry.kind != "file" {
        return Err(format!("it is a {}", sanitize_line(&entry.kind, 40)));
    }
    let path = RepoPath::new(&entry.path).map_err(|error| error.reason().to_owned())?;
    let git_oid = entry
        .oid
        .as_deref()
        .and_then(|oid| Etag::new(oid).ok())
        .filter(|oid| matches!(oid, Etag::GitSha1(_)))
        .ok_or("its git object id is not 40 hex characters")?;
    let (etag, size) = match entry.lfs {
        None => (git_oid, entry.size),
        Some(lfs) => {
            let sha256 = lfs
                .oid
                .as_deref()
                .and_then(|oid| Etag::new(oid).ok())
                .filter(|oid| matches!(oid, Etag::Sha256(_)))
                .ok_or("its LFS object id is not 64 hex characters")?;
            if let (Some(a), Some(b)) = (lfs.size, entry.size)
                && a != b
            {
                return Err(format!("it is listed with two sizes, {a} and {b}"));
            }
            (sha256, lfs.size.or(entry.size))
        }
    };
    Ok(RemoteFile {
        path,
        size_bytes: size.ok_or("its size is not listed")?,
        etag,
        git_oid: git_oid.to_string(),
        xet_hash: entry
            .xet_hash
            .filter(|hash| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(json: &str) -> Listing {
        Listing::of_page(json.as_bytes()).unwrap()
    }

    fn git() -> String {
        "a1".repeat(20)
    }

    #[test]
    fn small_and_large_files_get_their_names() {
        let (git, sha, xet) = (git(), "B2".repeat(32), "c3".repeat(32));
        let listing = list(&format!(
            r#"[{{"type":"directory","path":"d","oid":"x"}},
                {{"type":"file","path":"d/config.json","size":3,"oid":"{git}"}},
                {{"type":"file","path":"m.safetensors","size":9,"oid":"{git}","xetHash":"{xet}",
                  "lfs":{{"oid":"{sha}","size":9,"pointerSize":130}},"lastCommit":null}}]"#
        ));
        assert_eq!(listing.refused, []);
        let [small, large] = &listing.files[..] else {
            panic!("{listing:?}");
        };
        assert_eq!((small.etag.to_string(), small.size_bytes), (git.clone(), 3));
        assert_eq!(large.etag.to_string(), sha.to_ascii_lowercase());
        assert_eq!(
            (&large.git_oid, large.xet_hash.as_ref()),
            (&git, Some(&xet))
        );
        assert!(large.is_lfs() && !small.is_lfs());
    }

    #[test]
    fn odd_entries_are_left_out_and_named() {
        let (git, sha) = (git(), "b2".repeat(32));
        let listing = list(&format!(
            r#"[{{"type":"file","path":"../x","size":1,"oid":"{git}"}},
                {{"type":"file","path":"e\u001b[2J","size":1,"oid":"{git}"}},
                {{"type":"file","path":"short","size":1,"oid":"abc"}},
                {{"type":"file","path":"sha","size":1,"oid":"{sha}"}},
                {{"type":"file","path":"none","size":1}},
                {{"type":"file","path":"lfs","size":1,"oid":"{git}","lfs":{{"oid":"{git}","size":1}}}},
                {{"type":"file","path":"two","size":1,"oid":"{git}","lfs":{{"oid":"{sha}","size":2}}}},
                {{"type":"file","path":"sizeless","oid":"{git}"}},
                {{"type":"submodule","path":"s","oid":"{git}"}},
                {{"type":"file","path":"ok","size":1,"oid":"{git}","xetHash":"redacted"}},
                {{"type":"file","path":"ok","size":1,"oid":"{git}"}},
                {{"type":"file","path":"ok","size":2,"oid":"{git}"}}]"#
        ));
        assert_eq!(listing.files.len(), 1);
        assert_eq!(listing.files[0].xet_hash, None);
        let paths: Vec<&str> = listing.refused.iter().map(|r| r.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "../x",
                "e\\x1b[2J",
                "short",
                "sha",
                "none",
                "lfs",
                "two",
                "sizeless",
                "s",
                "ok"
            ]
        );
    }
}
