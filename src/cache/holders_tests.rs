//! Owns the tests of what is told of locks and unfinished blobs by looking.
//!
//! Never part of the program.

use std::fs::{self, File, FileTimes};
use std::time::{Duration, SystemTime};

use super::*;
use crate::cache::fixture::{self, etag, held, now, path, remote, repo};
use crate::cache::partials::{Ours, Unfinished, partials_of};
use crate::cache::{Marker, MarkerAttempt, Programs, Tree, prepare_repo, write_tree};
use crate::domain::PartialState;
use crate::host::LockTable;
use crate::host::holder::NAMES_HOLDERS;

fn look(layout: &Layout, ours: Option<&Ours>) -> (Vec<LockRow>, Vec<Unfinished>) {
    let repo = repo("org/m");
    let ours = |_: &RepoId, _: &Etag| ours.cloned();
    let eyes = Eyes {
        now: now(),
        table: LockTable::read(),
        programs: &Programs::unknown(),
        ours: &ours,
    };
    let contents = crate::cache::trees::contents_of(layout, &repo);
    (
        locks_of(layout, &repo, &contents, &eyes),
        partials_of(layout, &repo, &contents, &eyes).unwrap(),
    )
}

fn age(path: &Path, by: Duration) -> SystemTime {
    let then = now() - by;
    let file = File::options().write(true).open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(then)).unwrap();
    then
}

#[test]
fn a_lock_of_ours_is_ours_and_a_leftover_is_harmless() {
    let (_dir, layout) = fixture::cache();
    let (repo, etag) = (repo("org/m"), etag(b"x"));
    assert!(look(&layout, None).0.is_empty());
    let lock = held(&layout, &repo, &etag);
    prepare_repo(&layout, &repo).unwrap();
    write_tree(
        &layout,
        &repo,
        &fixture::commit('a'),
        &[remote("config.json", b"x")],
        Tree::Own,
    )
    .unwrap();
    let (rows, _) = look(&layout, None);
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert_eq!(row.state, LockState::Held, "{row:?}");
        assert_eq!(row.file.as_deref(), Some("config.json"));
        assert_eq!(row.pid, NAMES_HOLDERS.then(std::process::id));
        assert_eq!(row.is_ours, NAMES_HOLDERS);
    }
    assert_eq!(
        (rows[0].kind, rows[1].kind),
        (LockKind::Hub, LockKind::Swift)
    );
    drop(lock);
    for row in look(&layout, None).0 {
        assert_eq!(row.state, LockState::Free);
        assert!(!row.is_ours && row.pid.is_none());
    }
}

#[test]
fn locks_whose_existence_counts_are_told_with_their_proof() {
    let dead = host::forks::dead_pid();
    let (_dir, layout) = fixture::cache();
    let (repo, etag) = (repo("org/m"), etag(b"x"));
    drop(held(&layout, &repo, &etag));
    let lock = layout.hub_lock(&repo, &etag);
    let here = host::host_name();
    let alive = std::process::id();
    for (content, is_old, state, says) in [
        (
            format!("{dead}\n{here}\n"),
            false,
            LockState::Stale,
            "is gone",
        ),
        (
            format!("{dead}\n{here}\n"),
            true,
            LockState::Stale,
            "is gone",
        ),
        (
            format!("{alive}\n{here}\n"),
            false,
            LockState::Held,
            "which lives",
        ),
        (
            format!("{alive}\n{here}\n"),
            true,
            LockState::Unknown,
            "3 h ago",
        ),
        (format!("{dead}\nfar\n"), false, LockState::Held, "`far`"),
        (
            "\u{1}".to_owned(),
            false,
            LockState::Held,
            "existence counts",
        ),
    ] {
        fs::write(&lock, &content).unwrap();
        if is_old {
            age(&lock, Duration::from_hours(3));
        }
        let (rows, _) = look(&layout, None);
        let row = rows.iter().find(|row| row.kind == LockKind::Hub).unwrap();
        assert_eq!(row.state, state, "{content:?} {row:?}");
        assert!(row.proof.contains(says), "{row:?}");
        assert_eq!(fs::read_to_string(&lock).unwrap(), content, "never changed");
    }
}

#[test]
fn who_writes_an_unfinished_blob_is_told_by_lock_mark_and_time() {
    let (_dir, layout) = fixture::cache();
    let (repo, etag) = (repo("org/m"), etag(b"x"));
    prepare_repo(&layout, &repo).unwrap();
    let partial = layout.partial(&repo, &etag, 1);
    fs::write(&partial, "half").unwrap();
    let state = |ours: Option<&Ours>| look(&layout, ours).1.remove(0).0.state;
    let unknown = PartialState::Live {
        is_ours: false,
        pid: None,
        program: None,
    };
    assert_eq!(state(None), unknown, "it changed a moment ago");
    let ours = |is_at_work, let_go| Ours {
        is_at_work,
        is_wanted: false,
        let_go,
        file: path("config.json"),
        size_bytes: 9,
    };
    assert_eq!(
        state(Some(&ours(false, Some(now())))),
        PartialState::Abandoned,
        "we have let go of it"
    );
    let earlier = now() - Duration::from_secs(30);
    assert_eq!(state(Some(&ours(false, Some(earlier)))), unknown);
    let live = state(Some(&ours(true, None)));
    assert!(matches!(live, PartialState::Live { is_ours: true, .. }));
    let paused = Ours {
        is_wanted: true,
        ..ours(false, Some(now()))
    };
    let live = state(Some(&paused));
    assert!(matches!(live, PartialState::Live { is_ours: true, .. }));
    age(&partial, Duration::from_mins(2));
    assert_eq!(state(None), PartialState::Abandoned);
    let marked = File::open(&partial).unwrap();
    marked.try_lock().unwrap();
    assert!(matches!(state(None), PartialState::Live { .. }), "marked");
    drop(marked);
    let lock = held(&layout, &repo, &etag);
    assert!(matches!(state(None), PartialState::Live { .. }), "locked");
    drop(lock);
    assert_eq!(state(None), PartialState::Abandoned);
}

/// larder marks what it writes: what it left is nobody's at once, unless it says that it goes on.
#[test]
fn a_partial_with_a_chunk_map_that_nobody_has_marked_is_abandoned() {
    let (_dir, layout) = fixture::cache();
    let (repo, etag) = (repo("org/m"), etag(b"x"));
    prepare_repo(&layout, &repo).unwrap();
    let partial = layout.partial(&repo, &etag, 1);
    fs::write(&partial, "half").unwrap();
    fs::write(Layout::map_of(&partial).unwrap(), "a map").unwrap();
    let state = || look(&layout, None).1.remove(0).0.state;
    assert_eq!(state(), PartialState::Abandoned);
    let Ok(MarkerAttempt::Held(marker)) = Marker::take(&layout, &repo, now()) else {
        panic!("the marker is free");
    };
    assert!(matches!(state(), PartialState::Live { .. }), "it rests");
    drop(marker);
    assert_eq!(state(), PartialState::Abandoned);
}

#[test]
fn every_writers_partials_are_counted_and_nothing_else() {
    let (_dir, layout) = fixture::cache();
    let (repo, etag) = (repo("org/m"), etag(b"x"));
    prepare_repo(&layout, &repo).unwrap();
    let blobs = layout.blobs(&repo);
    for (ending, bytes) in [
        (".incomplete", 10),
        (".part", 20),
        (".0123abcd.incomplete", 30),
        (".0123abcd.corrupt", 40),
        (".0123abcd.map.incomplete", 50),
        (".lock", 0),
        ("", 60),
    ] {
        fs::write(blobs.join(format!("{etag}{ending}")), vec![1; bytes]).unwrap();
    }
    let mut counted = vec![0; 100];
    counted.extend(7_u64.to_le_bytes());
    fs::write(blobs.join(format!("{etag}.sync.part")), counted).unwrap();
    fs::write(blobs.join("tmp.incomplete"), "x").unwrap();
    let (_, rows) = look(&layout, None);
    let mut seen: Vec<_> = rows
        .iter()
        .map(|(row, length, _)| (row.bytes, *length))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [(7, 108), (10, 10), (20, 20), (30, 30)]);
}
