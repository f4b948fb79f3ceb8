//! Owns the tests of taking locks and of looking at them.
//!
//! Never part of the program.

use std::fs::FileTimes;
use std::os::unix::fs::symlink;

use super::*;
use crate::cache::fixture::{self, etag, held, now, repo};
use crate::host::holder::NAMES_HOLDERS;

fn busy(layout: &Layout, repo: &RepoId, etag: &Etag) -> Busy {
    match try_lock(layout, repo, etag, now()).unwrap() {
        LockAttempt::Busy(busy) => busy,
        LockAttempt::Held(_) => panic!("the lock was free"),
    }
}

fn foreign(path: &Path) -> File {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap()
}

#[test]
fn two_lockers_exclude_each_other_until_the_first_lets_go() {
    let (_dir, layout) = fixture::cache();
    let (repo, etag) = (repo("org/m"), etag(b"x"));
    let lock = held(&layout, &repo, &etag);
    assert!(lock.is_backed_by_flock());
    let in_the_way = busy(&layout, &repo, &etag);
    assert_eq!(in_the_way.path, layout.hub_lock(&repo, &etag));
    assert!(!in_the_way.is_soft_marker);
    let pid = in_the_way.holder.map(|holder| holder.pid);
    assert_eq!(pid, NAMES_HOLDERS.then(std::process::id));
    drop(lock);
    drop(held(&layout, &repo, &etag));
    for path in [
        layout.hub_lock(&repo, &etag),
        layout.swift_lock(&repo, &etag),
    ] {
        let metadata = path.metadata().unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o664);
        assert_eq!(metadata.len(), 0);
    }
    assert!(!layout.legacy_lock(&repo, &etag).exists());
}

#[test]
fn every_client_is_waited_for_and_nothing_is_held_meanwhile() {
    let (_dir, layout) = fixture::cache();
    let (repo, etag) = (repo("org/m"), etag(b"x"));
    let python = layout.hub_lock(&repo, &etag);
    for path in [
        python.clone(),
        layout.swift_lock(&repo, &etag),
        layout.legacy_lock(&repo, &etag),
    ] {
        let theirs = foreign(&path);
        theirs.try_lock().unwrap();
        assert_eq!(busy(&layout, &repo, &etag).path, path);
        if path != python {
            foreign(&python).try_lock().expect("Python's lock was kept");
        }
        drop(theirs);
        drop(held(&layout, &repo, &etag));
    }
}

#[test]
fn a_lock_file_that_was_replaced_is_locked_again() {
    let (_dir, layout) = fixture::cache();
    let (repo, etag) = (repo("org/m"), etag(b"x"));
    let path = layout.hub_lock(&repo, &etag);
    // What filelock 3.24 leaves to the one that opened before the unlink.
    let old = foreign(&path);
    old.try_lock().unwrap();
    fs::remove_file(&path).unwrap();
    let lock = held(&layout, &repo, &etag);
    assert!(path.exists());
    assert_eq!(busy(&layout, &repo, &etag).path, path);
    drop((lock, old));
}

#[test]
fn soft_markers_count_while_they_are_fresh_and_their_process_lives() {
    let dead = host::forks::dead_pid();
    let (_dir, layout) = fixture::cache();
    let (repo, etag) = (repo("org/m"), etag(b"x"));
    let path = layout.hub_lock(&repo, &etag);
    drop(foreign(&path));
    let here = host::host_name();

    let alive = format!("{}\n{here}\n", std::process::id());
    fs::write(&path, &alive).unwrap();
    let marker = busy(&layout, &repo, &etag);
    assert!(marker.is_soft_marker);
    assert_eq!(marker.holder.unwrap().pid, std::process::id());

    fs::write(&path, format!("{dead}\nanother-host\n")).unwrap();
    assert!(busy(&layout, &repo, &etag).holder.is_none());
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(busy(&layout, &repo, &etag).is_soft_marker);

    fs::write(&path, format!("{dead}\n{here}\n")).unwrap();
    drop(held(&layout, &repo, &etag));

    fs::write(&path, &alive).unwrap();
    let old = now() - Duration::from_mins(6);
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_times(FileTimes::new().set_modified(old))
        .unwrap();
    drop(held(&layout, &repo, &etag));
    assert_eq!(fs::read_to_string(&path).unwrap(), alive, "never truncated");
}

#[test]
fn a_link_in_the_place_of_a_lock_is_refused() {
    let (_dir, layout) = fixture::cache();
    let (repo, etag) = (repo("org/m"), etag(b"x"));
    let path = layout.hub_lock(&repo, &etag);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let target = layout.root().join("target");
    symlink(&target, &path).unwrap();
    assert!(try_lock(&layout, &repo, &etag, now()).is_err());
    assert!(!target.exists());
}

#[test]
fn a_file_system_without_flock_is_recognised() {
    for raw in [libc::ENOSYS, libc::ENOTSUP, libc::ENOLCK] {
        assert!(has_no_flock(&io::Error::from_raw_os_error(raw)));
    }
    assert!(!has_no_flock(&io::Error::from_raw_os_error(libc::EIO)));
}

#[test]
fn growth_is_that_of_the_partial_written_last() {
    let (_dir, layout) = fixture::cache();
    let (repo, etag) = (repo("org/m"), etag(b"x"));
    assert_eq!(other_progress(&layout, &repo, &etag), None);
    let blobs = layout.blobs(&repo);
    fs::create_dir_all(&blobs).unwrap();
    let dead = blobs.join(format!("{etag}.00000001.incomplete"));
    fs::write(&dead, [0; 900]).unwrap();
    File::options()
        .write(true)
        .open(&dead)
        .unwrap()
        .set_times(FileTimes::new().set_modified(now() - Duration::from_hours(1)))
        .unwrap();
    assert_eq!(other_progress(&layout, &repo, &etag), Some(900));
    let mut counted = vec![0; 24];
    counted[16..].copy_from_slice(&7u64.to_le_bytes());
    fs::write(blobs.join(format!("{etag}.sync.part")), counted).unwrap();
    assert_eq!(other_progress(&layout, &repo, &etag), Some(7));
}

#[test]
fn a_look_takes_nothing_and_makes_nothing() {
    let (_dir, layout) = fixture::cache();
    let (repo, etag) = (repo("org/m"), etag(b"x"));
    let path = layout.hub_lock(&repo, &etag);
    assert!(matches!(look(&path, now()), Look::Absent));
    assert!(!path.parent().unwrap().exists());
    let lock = held(&layout, &repo, &etag);
    assert!(matches!(look(&path, now()), Look::Held(_)));
    drop(lock);
    assert!(matches!(look(&path, now()), Look::Free(None)));
    drop(held(&layout, &repo, &etag));
    let link = path.with_extension("link");
    symlink(&path, &link).unwrap();
    assert!(matches!(look(&link, now()), Look::Link));
    assert!(matches!(look(layout.root(), now()), Look::Unreadable(_)));
}

#[test]
fn looking_never_makes_an_attempt_of_ours_fail() {
    let (_dir, layout) = fixture::cache();
    let (repo, etag) = (repo("org/m"), etag(b"x"));
    drop(held(&layout, &repo, &etag));
    let paths = [
        layout.hub_lock(&repo, &etag),
        layout.swift_lock(&repo, &etag),
    ];
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for path in &paths {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    drop(look(path, now()));
                }
            });
        }
        for _ in 0..500 {
            drop(held(&layout, &repo, &etag));
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
