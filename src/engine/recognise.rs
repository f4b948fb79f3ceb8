//! Owns recognising files that are offered to an import: by length and hash against a listing, with
//! a reason for each that is none of its files.
//!
//! **Law**: what is called wanted here is only worth trying; what proves it is the copy.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::offers::{Source, words_of};
use crate::cache::{self, Looks, Offered, OfferedFile};
use crate::domain::{Etag, Offer, OfferKind, RemoteFile, RepoId, RepoPath, sanitize};
use crate::ledger::Stamp;

/// Files of this length or more are not read before they are copied, where their length says which
/// content they may be: they would be read twice.
const READ_ONCE_FROM: u64 = 1 << 20;
/// So many files that are none of the repo are named.
const FOREIGN_TOLD: usize = 100;

/// What the offered files are.
#[derive(Debug, Default)]
pub(super) struct Recognised {
    pub(super) offers: Vec<Offer>,
    pub(super) more_foreign: usize,
    /// Where each content may be taken from.
    pub(super) sources: HashMap<Etag, Vec<Source>>,
}

/// What recognising asks of the disk.
pub(super) trait Eyes {
    /// The repo that is looked for from now on.
    fn is_about(&mut self, _repo: &RepoId) {}
    /// Both names of a file's content.
    fn hashes(&mut self, file: &OfferedFile) -> cache::Result<[Etag; 2]>;
    /// What a file that should be `name` looks like.
    fn looks(&self, path: &Path, name: &str) -> Looks;
    /// Whether the cache has a blob of the name and length.
    fn is_here(&self, file: &RemoteFile) -> bool;
}

/// A listing, asked by what a file on disk tells.
pub(super) struct Index<'a> {
    sizes: HashMap<u64, Vec<&'a RemoteFile>>,
    etags: BTreeMap<Etag, Vec<&'a RemoteFile>>,
    names: HashMap<&'a str, Vec<&'a RemoteFile>>,
}

impl<'a> Index<'a> {
    pub(super) fn of(files: &'a [RemoteFile]) -> Self {
        let mut index = Self {
            sizes: HashMap::new(),
            etags: BTreeMap::new(),
            names: HashMap::new(),
        };
        for file in files {
            index.sizes.entry(file.size_bytes).or_default().push(file);
            index.etags.entry(file.etag).or_default().push(file);
            let name = file.path.file_name();
            index.names.entry(name).or_default().push(file);
        }
        index
    }

    /// The content that a file may be by its length alone; `None` if that says nothing, or too much.
    fn only_of(&self, size_bytes: u64) -> Option<&'a RemoteFile> {
        let (first, more) = self.sizes.get(&size_bytes)?.split_first()?;
        more.iter()
            .all(|other| other.etag == first.etag)
            .then_some(*first)
    }

    /// A content of the listing that has one of the names.
    fn named(&self, hashes: &[Etag; 2]) -> Option<&'a RemoteFile> {
        let known = hashes.iter().find_map(|etag| self.etags.get(etag))?;
        known.first().copied()
    }

    /// Every file with a content.
    fn files_of(&self, etag: &Etag) -> Vec<RepoPath> {
        let files = self.etags.get(etag).into_iter().flatten();
        files.map(|file| file.path.clone()).collect()
    }

    /// The file that bears one of the names of an offered one: with its folders if they are there too,
    /// else by the last part alone where that names one file.
    fn like(&self, names: &[String]) -> Option<&'a RemoteFile> {
        let is_end = |name: &str, path: &str| {
            name.strip_suffix(path)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
        };
        let last = |name: &'_ String| name.rsplit('/').next().unwrap_or_default().to_owned();
        let alike = |name: &String| self.names.get(last(name).as_str()).cloned();
        let whole = names.iter().find_map(|name| {
            let mut ends = alike(name)?;
            ends.retain(|file| is_end(name, file.path.as_str()));
            ends.into_iter().max_by_key(|file| file.path.depth())
        });
        whole.or_else(|| {
            names.iter().find_map(|name| match alike(name)?.as_slice() {
                [only] => Some(*only),
                _ => None,
            })
        })
    }

    /// How many contents of the listing the files are, as far as files up to `most_bytes` are read.
    pub(super) fn matches(
        &self,
        offered: &[Offered],
        most_bytes: u64,
        eyes: &mut dyn Eyes,
    ) -> cache::Result<usize> {
        let mut found = std::collections::BTreeSet::new();
        for one in offered {
            let Offered::File(file) = one else {
                continue;
            };
            let size = file.found.len();
            let Some(candidates) = self.sizes.get(&size) else {
                continue;
            };
            if size == 0 {
                continue;
            }
            if size > most_bytes {
                found.extend(candidates.first().map(|file| file.etag));
                continue;
            }
            match eyes.hashes(file) {
                Ok(hashes) => found.extend(self.named(&hashes).map(|file| file.etag)),
                Err(cache::Error::Interrupted) => return Err(cache::Error::Interrupted),
                Err(_) => {}
            }
        }
        Ok(found.len())
    }
}

/// Says what each file is. With `reads_all` every file that may be one is hashed now.
pub(super) fn recognise(
    index: &Index<'_>,
    offered: &[Offered],
    reads_all: bool,
    eyes: &mut dyn Eyes,
) -> cache::Result<Recognised> {
    let mut found = Recognised::default();
    let mut foreign = 0;
    for one in offered {
        let (path, size_bytes, kind) = match one {
            Offered::File(file) => {
                let (kind, content) = kind_of(index, file, reads_all, eyes)?;
                if let Some(content) = content {
                    found.sources.entry(content).or_default().push(Source {
                        path: file.path.clone(),
                        stamp: Stamp::of(&file.found),
                    });
                }
                (&file.path, Some(file.found.len()), kind)
            }
            Offered::Outside(path) => (path, None, OfferKind::Outside),
            Offered::Unreadable { path, why } => {
                let why = sanitize(why);
                (path, None, OfferKind::Unreadable { why })
            }
        };
        if kind == OfferKind::Foreign {
            foreign += 1;
            if foreign > FOREIGN_TOLD {
                found.more_foreign += 1;
                continue;
            }
        }
        found.offers.push(Offer {
            path: sanitize(&path.to_string_lossy()),
            size_bytes,
            kind,
        });
    }
    Ok(found)
}

/// What a file is, and the content it is to be tried as.
fn kind_of(
    index: &Index<'_>,
    file: &OfferedFile,
    reads_all: bool,
    eyes: &mut dyn Eyes,
) -> cache::Result<(OfferKind, Option<Etag>)> {
    let size = file.found.len();
    let right = |of: &RemoteFile, is_hashed, eyes: &dyn Eyes| {
        let files = index.files_of(&of.etag);
        let kind = if eyes.is_here(of) {
            OfferKind::Here { files }
        } else {
            OfferKind::Wanted { files, is_hashed }
        };
        Ok((kind, Some(of.etag)))
    };
    if !index.sizes.contains_key(&size) {
        let kind = match index.like(&file.names) {
            Some(like) => wrong_length(file, like, eyes),
            None => OfferKind::Foreign,
        };
        return Ok((kind, None));
    }
    let only = index.only_of(size);
    if let Some(only) = only
        && size >= READ_ONCE_FROM
        && !reads_all
    {
        return right(only, false, eyes);
    }
    let like = index.like(&file.names);
    match eyes.hashes(file) {
        Ok(hashes) => {
            if let Some(of) = index.named(&hashes) {
                return right(of, true, eyes);
            }
            // Long files are of one length by nothing but chance; short ones often are.
            let like = like.or_else(|| only.filter(|_| size >= READ_ONCE_FROM));
            Ok((wrong(file, like, eyes), None))
        }
        Err(cache::Error::Interrupted) => Err(cache::Error::Interrupted),
        Err(cache::Error::Unsteady { .. }) => {
            let kind = like
                .or(only)
                .map_or(OfferKind::Foreign, |like| OfferKind::Changed {
                    file: like.path.clone(),
                });
            Ok((kind, None))
        }
        Err(error) => Ok((
            OfferKind::Unreadable {
                why: words_of(&error),
            },
            None,
        )),
    }
}

/// Why a file that bears the name of another, and is not of its length, is not it.
fn wrong_length(file: &OfferedFile, like: &RemoteFile, eyes: &dyn Eyes) -> OfferKind {
    let expected_bytes = like.size_bytes;
    match wrong(file, Some(like), eyes) {
        OfferKind::WrongHash { file: path } if file.found.len() < expected_bytes => {
            OfferKind::Truncated {
                file: path,
                expected_bytes,
            }
        }
        OfferKind::WrongHash { file } => OfferKind::TooLong {
            file,
            expected_bytes,
        },
        other => other,
    }
}

fn wrong(file: &OfferedFile, like: Option<&RemoteFile>, eyes: &dyn Eyes) -> OfferKind {
    let Some(like) = like else {
        return OfferKind::Foreign;
    };
    let path = like.path.clone();
    match eyes.looks(&file.path, path.file_name()) {
        Looks::Page => OfferKind::ErrorPage { file: path },
        Looks::LfsPointer => OfferKind::LfsPointer { file: path },
        Looks::Content => OfferKind::WrongHash { file: path },
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Hashes by what the file is called on disk, and counts how often it is asked.
    struct Known {
        hashes: HashMap<PathBuf, [Etag; 2]>,
        asked: usize,
        here: Option<Etag>,
    }

    impl Eyes for Known {
        fn hashes(&mut self, file: &OfferedFile) -> cache::Result<[Etag; 2]> {
            self.asked += 1;
            Ok(self.hashes[&file.path])
        }
        fn looks(&self, path: &Path, _: &str) -> Looks {
            match path.extension().and_then(|end| end.to_str()) {
                Some("page") => Looks::Page,
                Some("lfs") => Looks::LfsPointer,
                _ => Looks::Content,
            }
        }
        fn is_here(&self, file: &RemoteFile) -> bool {
            self.here == Some(file.etag)
        }
    }

    fn etag(byte: u8) -> Etag {
        Etag::Sha256([byte; 32])
    }

    fn remote(path: &str, byte: u8, size_bytes: u64) -> RemoteFile {
        RemoteFile {
            path: RepoPath::new(path).unwrap(),
            size_bytes,
            etag: etag(byte),
            git_oid: "0".repeat(40),
            xet_hash: None,
        }
    }

    struct Folder {
        dir: tempfile::TempDir,
        offered: Vec<Offered>,
        eyes: Known,
    }

    impl Folder {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().unwrap(),
                offered: Vec::new(),
                eyes: Known {
                    hashes: HashMap::new(),
                    asked: 0,
                    here: None,
                },
            }
        }

        /// A file of a name and length whose content has this hash.
        fn with(mut self, name: &str, byte: u8, size: u64) -> Self {
            let path = self.dir.path().join(name.replace('/', "_"));
            let file = std::fs::File::create(&path).unwrap();
            file.set_len(size).unwrap();
            self.eyes
                .hashes
                .insert(path.clone(), [etag(byte), Etag::GitSha1([byte; 20])]);
            self.offered.push(Offered::File(OfferedFile {
                path,
                names: vec![name.to_owned()],
                found: file.metadata().unwrap(),
            }));
            self
        }

        fn kinds(&mut self, files: &[RemoteFile], reads_all: bool) -> Vec<OfferKind> {
            let found =
                recognise(&Index::of(files), &self.offered, reads_all, &mut self.eyes).unwrap();
            found.offers.into_iter().map(|offer| offer.kind).collect()
        }
    }

    fn path(path: &str) -> RepoPath {
        RepoPath::new(path).unwrap()
    }

    #[test]
    fn every_file_is_told_what_it_is() {
        let files = [
            remote("config.json", 1, 10),
            remote("empty.json", 2, 2),
            remote("sub/empty.json", 2, 2),
            remote("tokenizer.json", 3, 500),
        ];
        let mut folder = Folder::new()
            .with("config.json", 1, 10)
            .with("sub/empty.json", 2, 2)
            .with("renamed", 3, 500)
            .with("tokenizer.json", 9, 499)
            .with("a/tokenizer.json", 9, 501)
            .with("b/tokenizer.json", 9, 500)
            .with("else", 9, 500)
            .with("README", 9, 77);
        let file = || path("tokenizer.json");
        assert_eq!(
            folder.kinds(&files, false),
            [
                OfferKind::Wanted {
                    files: vec![path("config.json")],
                    is_hashed: true
                },
                OfferKind::Wanted {
                    files: vec![path("empty.json"), path("sub/empty.json")],
                    is_hashed: true
                },
                OfferKind::Wanted {
                    files: vec![file()],
                    is_hashed: true
                },
                OfferKind::Truncated {
                    file: file(),
                    expected_bytes: 500
                },
                OfferKind::TooLong {
                    file: file(),
                    expected_bytes: 500
                },
                OfferKind::WrongHash { file: file() },
                OfferKind::Foreign,
                OfferKind::Foreign,
            ]
        );
    }

    #[test]
    fn a_large_file_is_read_once_unless_its_length_leaves_a_choice() {
        const BIG: u64 = 5 << 20;
        let alone = [remote("model.safetensors", 1, BIG)];
        let mut folder = Folder::new().with("download (1)", 1, BIG);
        let tried = OfferKind::Wanted {
            files: vec![path("model.safetensors")],
            is_hashed: false,
        };
        assert_eq!(folder.kinds(&alone, false), [tried]);
        assert_eq!(folder.eyes.asked, 0);
        folder.kinds(&alone, true);
        assert_eq!(folder.eyes.asked, 1);
        // Two shards of one length, their names swapped.
        let shards = [remote("a-1", 1, BIG), remote("a-2", 2, BIG)];
        let mut folder = Folder::new().with("a-1", 2, BIG).with("a-2", 1, BIG);
        let wanted = |name| OfferKind::Wanted {
            files: vec![path(name)],
            is_hashed: true,
        };
        assert_eq!(folder.kinds(&shards, false), [wanted("a-2"), wanted("a-1")]);
    }

    #[test]
    fn pages_and_pointers_in_the_place_of_files_are_named() {
        let files = [
            remote("model.page", 1, 5 << 20),
            remote("model.lfs", 2, 5 << 20),
        ];
        let mut folder = Folder::new()
            .with("model.page", 9, 300)
            .with("model.lfs", 9, 130);
        assert_eq!(
            folder.kinds(&files, false),
            [
                OfferKind::ErrorPage {
                    file: path("model.page")
                },
                OfferKind::LfsPointer {
                    file: path("model.lfs")
                },
            ]
        );
    }

    #[test]
    fn what_the_cache_has_is_said_and_may_heal_it_all_the_same() {
        let files = [remote("config.json", 1, 10)];
        let mut folder = Folder::new().with("config.json", 1, 10);
        folder.eyes.here = Some(etag(1));
        let index = Index::of(&files);
        let found = recognise(&index, &folder.offered, false, &mut folder.eyes).unwrap();
        assert!(matches!(found.offers[0].kind, OfferKind::Here { .. }));
        assert_eq!(found.sources[&etag(1)].len(), 1);
    }

    #[test]
    fn thousands_of_other_files_are_counted_and_not_named() {
        let files = [remote("config.json", 1, 10)];
        let mut folder = Folder::new();
        for number in 0..130 {
            folder = folder.with(&format!("x{number}"), 9, 77);
        }
        let index = Index::of(&files);
        let found = recognise(&index, &folder.offered, false, &mut folder.eyes).unwrap();
        assert_eq!((found.offers.len(), found.more_foreign), (100, 30));
    }
}
