//! Tests of the ledger: what is written is read, whoever else writes, and damage costs nothing else.

use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;
use crate::domain::{
    Etag, HistoryRow, RemoteFile, RepoId, RepoKind, RepoPath, Revision, UnfinishedPull,
};

fn etag(seed: u8) -> Etag {
    Etag::Sha256([seed; 32])
}

fn stamp(seed: u64) -> Stamp {
    Stamp {
        device: u64::MAX - seed,
        inode: seed,
        size: seed * 3,
        modified_ns: -5,
        changed_ns: i64::MAX,
    }
}

fn proven(path: &str, seed: u8) -> Proven {
    Proven {
        path: path.to_owned(),
        stamp: stamp(seed.into()),
        etag: etag(seed),
    }
}

#[test]
fn a_pair_is_remembered_in_either_order_while_both_are_what_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(&dir.path().join("ledger")).unwrap();
    let file = |path: &str, seed| (path.to_owned(), stamp(seed));
    let pair = Pair::of(file("/a", 1), file("/b", 2));
    assert_eq!(ledger.pair(&pair).unwrap(), None);
    ledger.keep_pair(&pair, false, 5).unwrap();
    let turned = Pair::of(file("/b", 2), file("/a", 1));
    assert_eq!(ledger.pair(&turned).unwrap(), Some(false));
    for other in [
        Pair::of(file("/a", 1), file("/b", 3)),
        Pair::of(file("/a", 2), file("/b", 1)),
        Pair::of(file("/a", 1), file("/c", 2)),
    ] {
        assert_eq!(ledger.pair(&other).unwrap(), None, "{other:?}");
    }
    ledger.keep_pair(&turned, true, 6).unwrap();
    assert_eq!(ledger.pair(&pair).unwrap(), Some(true));
}

#[test]
fn a_pull_that_began_is_remembered_until_it_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(&dir.path().join("ledger")).unwrap();
    let pull = |name: &str, begun_ms| UnfinishedPull {
        repo: RepoId::new(RepoKind::Model, name).unwrap(),
        revision: Revision::new("refs/pr/1").unwrap(),
        files: vec!["a \"b\".json".to_owned()],
        include: vec!["*.x".to_owned()],
        exclude: Vec::new(),
        all: false,
        local_dir: None,
        begun_ms,
    };
    let (one, other) = (pull("org/one", 5), pull("org/other", 7));
    for pull in [&pull("org/one", 1), &one, &other] {
        ledger.keep_unfinished("/hub", pull).unwrap();
    }
    assert_eq!(ledger.unfinished(Some("/elsewhere"), 0).unwrap(), []);
    assert_eq!(
        ledger.unfinished(Some("/hub"), 6).unwrap(),
        std::slice::from_ref(&other)
    );
    assert_eq!(
        ledger.unfinished(Some("/hub"), 0).unwrap(),
        [other.clone(), one]
    );
    let connection = ledger.lock();
    let newer = "update unfinished set selection = '{}' where repo like '%other'";
    connection.execute(newer, []).unwrap();
    drop(connection);
    assert_eq!(ledger.unfinished(Some("/hub"), 0).unwrap().len(), 1);
    let revision = Revision::new("refs/pr/1").unwrap();
    let one = pull("org/one", 0);
    ledger
        .forget_unfinished("/hub", &one.repo, &revision)
        .unwrap();
    assert_eq!(ledger.unfinished(Some("/hub"), 0).unwrap(), []);
    ledger.keep_unfinished("/hub", &one).unwrap();
    // One into a folder is of no cache, and knows the folder.
    let local = UnfinishedPull {
        local_dir: Some("/models/one".into()),
        ..one.clone()
    };
    ledger.keep_unfinished("/models/one", &local).unwrap();
    assert_eq!(ledger.unfinished(None, 0).unwrap(), [local]);
    assert_eq!(ledger.unfinished(Some("/models/one"), 0).unwrap(), []);
    ledger.forget_unfinished_of("/hub", &one.repo).unwrap();
    assert_eq!(ledger.unfinished(Some("/hub"), 0).unwrap(), []);
    assert_eq!(ledger.unfinished(None, 0).unwrap().len(), 1);
}

fn row(repo: &str, at_ms: u64) -> HistoryRow {
    HistoryRow {
        at_ms,
        kind: "pull".to_owned(),
        repo: repo.to_owned(),
        revision: "main".to_owned(),
        bytes: 7,
        took_ms: 9,
        retries: 1,
        outcome: "complete".to_owned(),
        reason: None,
    }
}

#[test]
fn what_is_kept_is_found_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/er/ledger.sqlite3");
    let (ledger, aside) = Ledger::open(&path).unwrap();
    assert_eq!(aside, None);
    let files = [
        proven("/c/blobs/a", 1),
        proven("/c/blobs/b/c", 2),
        proven("/c/blobs0", 3),
        proven("/c/blob", 4),
    ];
    ledger.keep_proven(&files, 5).unwrap();
    ledger.keep_proven(&[proven("/c/blobs/a", 9)], 6).unwrap();
    ledger.forget_proven(&["/c/blob".to_owned()]).unwrap();
    ledger
        .keep_digests(&etag(1), 20, 8, &[[1; 16], [2; 16], [3; 16]], 5)
        .unwrap();
    for at_ms in 0..5 {
        ledger
            .keep_transfer(&row(&format!("org/m{}", at_ms % 2), at_ms))
            .unwrap();
    }
    drop(ledger);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let (ledger, _) = Ledger::open(&path).unwrap();
    let found = ledger.known_in("/c/blobs").unwrap();
    assert_eq!(found.len(), 2);
    let known = |seed: u8, at_ms| Known {
        stamp: stamp(seed.into()),
        etag: etag(seed),
        computed: None,
        at_ms,
    };
    assert_eq!(found["/c/blobs/a"], known(9, 6));
    assert_eq!(
        ledger.digests(&etag(1), 20).unwrap(),
        Some((8, vec![[1; 16], [2; 16], [3; 16]]))
    );
    assert_eq!(
        ledger.digests(&etag(1), 21).unwrap(),
        None,
        "another length"
    );
    assert_eq!(ledger.digests(&etag(2), 20).unwrap(), None);
    let times = |repo: Option<&str>, most| -> Vec<u64> {
        let rows = ledger.transfers(repo, most).unwrap();
        rows.iter().map(|row| row.at_ms).collect()
    };
    assert_eq!(times(None, 3), [4, 3, 2]);
    assert_eq!(times(Some("Org/M1"), 9), [3, 1]);
    assert_eq!(ledger.sample("h").unwrap(), None);
    let sample = Sample {
        at_ms: 1,
        host: "h".to_owned(),
        bytes: 2,
        took_ms: 3,
        connections: 4,
    };
    ledger.keep_sample(&sample).unwrap();
    assert_eq!(ledger.sample("h").unwrap(), Some(sample));
}

#[test]
fn two_larders_write_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite3");
    std::thread::scope(|scope| {
        for writer in 0..4_u64 {
            let path = &path;
            scope.spawn(move || {
                let (ledger, aside) = Ledger::open(path).unwrap();
                assert_eq!(aside, None);
                for number in 0..25 {
                    let name = format!("/c/{writer}/{number}");
                    ledger.keep_proven(&[proven(&name, 1)], 1).unwrap();
                    ledger.keep_transfer(&row("org/m", number)).unwrap();
                }
            });
        }
    });
    let (ledger, _) = Ledger::open(&path).unwrap();
    assert_eq!(ledger.known_in("/c").unwrap().len(), 100);
    assert_eq!(ledger.transfers(None, 1_000).unwrap().len(), 100);
}

#[test]
fn many_larders_begin_at_once() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/ledger.sqlite3");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(Ledger::open(&path).unwrap().1, None));
            }
        });
    }
}

#[test]
fn larders_that_find_the_same_damage_set_it_aside_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite3");
    std::fs::write(&path, "no database ".repeat(999)).unwrap();
    let aside: Vec<_> = std::thread::scope(|scope| {
        let opens: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| Ledger::open(&path).unwrap()))
            .collect();
        let opened = opens.into_iter().map(|open| open.join().unwrap());
        opened.filter_map(|(_, aside)| aside).collect()
    });
    assert_eq!(aside.len(), 1, "{aside:?}");
}

#[test]
fn damage_that_shows_later_is_set_aside_unless_another_larder_did() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite3");
    let (first, _) = Ledger::open(&path).unwrap();
    let (second, _) = Ledger::open(&path).unwrap();
    let aside = first.set_aside().unwrap().unwrap();
    assert!(aside.exists() && !path.exists());
    assert_eq!(second.set_aside().unwrap(), None);
    let (_anew, nothing) = Ledger::open(&path).unwrap();
    assert_eq!(nothing, None);
    assert_eq!(second.set_aside().unwrap(), None, "it is another one now");
    assert!(path.exists());
}

#[test]
fn a_damaged_ledger_is_set_aside_and_a_new_one_begun() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite3");
    for number in 1..3 {
        std::fs::write(
            &path,
            "this is no database, and long enough to be read as one ".repeat(99),
        )
        .unwrap();
        let (ledger, aside) = Ledger::open(&path).unwrap();
        let aside = aside.unwrap();
        assert!(aside.ends_with(format!("ledger.sqlite3.damaged-{number}")));
        assert!(aside.exists());
        assert!(ledger.transfers(None, 1).unwrap().is_empty());
    }
    // Damage in the middle of a real one.
    let (ledger, _) = Ledger::open(&path).unwrap();
    for at_ms in 0..500 {
        ledger.keep_transfer(&row("org/m", at_ms)).unwrap();
    }
    drop(ledger);
    let mut bytes = std::fs::read(&path).unwrap();
    let from = bytes.len().min(4096);
    bytes[from..].fill(0xEE);
    std::fs::write(&path, bytes).unwrap();
    let (ledger, aside) = Ledger::open(&path).unwrap();
    assert!(aside.is_some());
    assert!(ledger.transfers(None, 9).unwrap().is_empty());
}

#[test]
fn the_ledger_of_a_newer_larder_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite3");
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 2).unwrap();
    drop(newer);
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(
        Ledger::open(&path),
        Err(Error::Newer { version: 2, .. })
    ));
    assert_eq!(std::fs::read(&path).unwrap().len(), before.len());
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    assert!(matches!(Ledger::open(&folder), Err(Error::Open { .. })));
}

proptest! {
    #[test]
    fn listings_come_back_as_they_went_in(
        files in proptest::collection::vec(("[a-zé#% ./_-]{1,30}", any::<u64>(), any::<[u8; 20]>(),
            proptest::option::of("[0-9a-f]{64}")), 0..12)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(&dir.path().join("l")).unwrap();
        let files: Vec<RemoteFile> = files
            .into_iter()
            .filter_map(|(path, size_bytes, oid, xet_hash)| Some(RemoteFile {
                path: RepoPath::new(&path).ok()?,
                size_bytes,
                etag: Etag::GitSha1(oid),
                git_oid: hex::encode(oid),
                xet_hash,
            }))
            .collect();
        ledger.keep_listing("https://h", "org/m", "c", &files, 1).unwrap();
        prop_assert_eq!(ledger.listing("https://h", "org/m", "c").unwrap(), Some(files.clone()));
        prop_assert_eq!(ledger.listing("https://other", "org/m", "c").unwrap(), None);
        ledger.keep_listing("https://h", "org/n", "d", &files, 2).unwrap();
        let known = [("org/n", "d"), ("org/m", "c")].map(|(repo, commit)| (repo.to_owned(), commit.to_owned()));
        prop_assert_eq!(ledger.listings("https://h").unwrap(), known);
    }
}

#[test]
fn a_file_is_right_or_wrong_and_the_last_word_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(&dir.path().join("ledger.sqlite3")).unwrap();
    let wrong = Wrong {
        path: "/c/blobs/a".to_owned(),
        stamp: stamp(1),
        etag: etag(1),
        computed: etag(7),
    };
    let computed = || ledger.known_in("/c").unwrap()["/c/blobs/a"].computed;
    ledger.keep_proven(&[proven("/c/blobs/a", 1)], 1).unwrap();
    assert_eq!(computed(), None);
    ledger.keep_wrong(&[wrong], 2).unwrap();
    assert_eq!(computed(), Some(etag(7)));
    assert_eq!(ledger.known_in("/c").unwrap()["/c/blobs/a"].at_ms, 2);
    ledger.keep_proven(&[proven("/c/blobs/a", 1)], 3).unwrap();
    assert_eq!(computed(), None);
    ledger.forget_proven(&["/c/blobs/a".to_owned()]).unwrap();
    assert!(ledger.known_in("/c").unwrap().is_empty());

    let formed = [
        ("/c/blobs/t".to_owned(), stamp(2)),
        ("/d/t".to_owned(), stamp(3)),
    ];
    ledger.keep_formed(&formed, 4).unwrap();
    let found = ledger.formed_in("/c").unwrap();
    assert_eq!((found.len(), found["/c/blobs/t"]), (1, stamp(2)));
}
