//! Owns the tests of local dirs: what is told apart in one, and what is never replaced.
//!
//! Never part of the program.

use std::collections::HashMap;
use std::os::unix::fs::symlink;

use super::*;
use crate::cache::fixture::{self, commit, content, etag, held, now, path, repo};
use crate::cache::{LockAttempt, Partial, SetAside, Sharing, place_copy, prepare_repo, try_lock};

fn local(files: &[(&str, &[u8])]) -> (fixture::Folder, Layout) {
    let (dir, cache) = fixture::cache();
    let files: HashMap<Etag, RepoPath> = files
        .iter()
        .map(|(name, bytes)| (etag(bytes), path(name)))
        .collect();
    let of = (repo("org/m"), commit('a'));
    (dir, Layout::local(cache.root().join("dir"), of, files))
}

#[test]
fn the_hidden_folder_is_pythons_and_is_made_once() {
    let (_dir, layout) = local(&[("sub/a.json", b"a")]);
    prepare_repo(&layout, &repo("org/m")).unwrap();
    let hidden = layout.hidden();
    assert_eq!(fs::read(hidden.join(".gitignore")).unwrap(), b"*");
    fs::write(hidden.join(".gitignore"), "mine").unwrap();
    prepare_repo(&layout, &repo("org/m")).unwrap();
    assert_eq!(fs::read(hidden.join(".gitignore")).unwrap(), b"mine");
    assert_eq!(fixture::names(layout.root()), [".cache", "sub"]);
    assert_eq!(
        fixture::names(&hidden),
        [".gitignore", "CACHEDIR.TAG", "download", "larder"]
    );
    assert!(hidden.join("download/sub").is_dir());
}

#[test]
fn a_note_is_believed_until_the_file_changes() {
    let (_dir, layout) = local(&[("a.json", b"a")]);
    prepare_repo(&layout, &repo("org/m")).unwrap();
    let (file, target) = (path("a.json"), layout.root().join("a.json"));
    assert_eq!(standing(&layout, &file).unwrap(), Standing::Absent);
    fs::write(&target, "a").unwrap();
    assert_eq!(standing(&layout, &file).unwrap(), Standing::Strange);
    let (commit, etag) = (commit('a'), etag(b"a"));
    // Also where the file is of a clock that was ahead.
    for ahead in [0, 3600] {
        let times = fs::File::options().write(true).open(&target).unwrap();
        let at = now() + Duration::from_secs(ahead);
        times.set_modified(at).unwrap();
        let seen = Seen::of(&target.symlink_metadata().unwrap());
        assert!(write_note(&layout, &file, &commit, &etag, &seen, now()).unwrap());
        assert!(has_note(&layout, &file, &commit, &etag), "{ahead}");
        assert_eq!(standing(&layout, &file).unwrap(), Standing::Noted(etag));
        times.set_modified(at + Duration::from_secs(5)).unwrap();
        assert!(!has_note(&layout, &file, &commit, &etag), "{ahead}");
        assert_eq!(standing(&layout, &file).unwrap(), Standing::Strange);
    }
    let text = fs::read_to_string(layout.note(&file)).unwrap();
    let lines: Vec<&str> = text.split('\n').collect();
    assert_eq!(lines[..2], [commit.to_string(), etag.to_string()]);
    assert!(lines[2].parse::<f64>().is_ok() && lines[3].is_empty());
    assert!(!has_note(&layout, &file, &fixture::commit('b'), &etag));
}

#[test]
fn a_note_is_only_about_the_bytes_that_were_proven() {
    let (_dir, layout) = local(&[("a.json", b"a")]);
    prepare_repo(&layout, &repo("org/m")).unwrap();
    let (file, target) = (path("a.json"), layout.root().join("a.json"));
    fs::write(&target, "a").unwrap();
    let seen = Seen::of(&target.symlink_metadata().unwrap());
    fs::write(&target, "edited").unwrap();
    let noted = write_note(&layout, &file, &commit('a'), &etag(b"a"), &seen, now());
    assert!(!noted.unwrap());
    assert!(!layout.note(&file).exists());
    assert_eq!(standing(&layout, &file).unwrap(), Standing::Strange);
}

/// A noted file as long ago as the note says, which is before the changes that a test makes.
fn noted_long_ago(layout: &Layout, file: &RepoPath, bytes: &[u8]) -> SystemTime {
    let target = layout.root().join(file.as_str());
    fs::write(&target, bytes).unwrap();
    let then = now() - Duration::from_hours(1);
    made_then(&target, then);
    let seen = Seen::of(&target.symlink_metadata().unwrap());
    assert!(write_note(layout, file, &commit('a'), &etag(bytes), &seen, then).unwrap());
    then
}

fn made_then(target: &Path, then: SystemTime) {
    let file = fs::File::options().write(true).open(target).unwrap();
    file.set_modified(then).unwrap();
}

#[test]
fn an_old_time_does_not_make_a_file_that_was_moved_there_ours() {
    let (_dir, layout) = local(&[("a.json", b"new")]);
    prepare_repo(&layout, &repo("org/m")).unwrap();
    let (file, target) = (path("a.json"), layout.root().join("a.json"));
    let then = noted_long_ago(&layout, &file, b"fetched");
    // Its inode has changed since, its bytes have not.
    let fetched = Standing::Noted(etag(b"fetched"));
    assert_eq!(judge(&layout, &file).unwrap(), fetched);
    let mine = layout.root().join("mine");
    fs::write(&mine, "mine").unwrap();
    made_then(&mine, then - Duration::from_hours(9));
    fs::rename(&mine, &target).unwrap();
    // Python sees nothing.
    assert_eq!(standing(&layout, &file).unwrap(), fetched);
    assert_eq!(judge(&layout, &file).unwrap(), Standing::Strange);
}

#[test]
fn what_comes_into_the_place_between_two_looks_is_seen() {
    let (_dir, layout) = local(&[("a.json", b"new")]);
    prepare_repo(&layout, &repo("org/m")).unwrap();
    let target = layout.root().join("a.json");
    let name = etag(b"new");
    let is_seen = |before| !is_as_before(&layout, &name, before, false).unwrap();
    let nothing = giving_way(&layout, &name).unwrap();
    assert!(nothing.is_none() && !is_seen(nothing));
    noted_long_ago(&layout, &path("a.json"), b"fetched");
    assert!(is_seen(nothing));
    let fetched = giving_way(&layout, &name).unwrap();
    assert!(fetched.is_some() && !is_seen(fetched));
    // A second name is no other file, where one was given.
    fs::hard_link(&target, layout.root().join("second")).unwrap();
    assert!(is_as_before(&layout, &name, fetched, true).unwrap());
    for edit in [b"fetchee".as_slice(), b"longer than it was"] {
        let before = giving_way(&layout.clone().replacing(true), &name).unwrap();
        fs::write(&target, edit).unwrap();
        assert!(is_seen(before));
        assert!(!is_as_before(&layout, &name, before, true).unwrap());
    }
    let refused = giving_way(&layout, &name);
    assert!(matches!(refused, Err(Error::NotOurs { .. })), "{refused:?}");
    fs::write(&target, "new").unwrap();
    assert!(giving_way(&layout, &name).is_ok(), "the same bytes");
}

#[test]
fn a_file_does_not_get_its_name_where_somebody_put_another_or_a_link_meanwhile() {
    let good = content(5000);
    let (_dir, layout) = local(&[("sub/a.json", &good)]);
    let (repo, name) = (repo("org/m"), etag(&good));
    prepare_repo(&layout, &repo).unwrap();
    let lock = held(&layout, &repo, &name);
    let outside = layout.root().with_file_name("outside");
    fs::create_dir(&outside).unwrap();
    let (folder, target) = (layout.root().join("sub"), layout.blob(&repo, &name));
    let whole = || {
        let mut partial = Partial::fresh(&layout, &repo, &name, 5000).unwrap();
        partial.append(&good).unwrap();
        partial
    };
    let refused = || {
        let failed = whole().prove_and_promote(&lock, SetAside::Keep);
        let failed = failed.unwrap_err();
        // What was proven can be gone on with.
        assert_eq!(failed.partial.bytes(), 5000);
        let mut partial = failed.partial;
        assert!(partial.take_blobs_name().is_err(), "as one of many");
        failed.error
    };
    fs::write(&target, "mine").unwrap();
    assert!(matches!(refused(), Error::NotOurs { .. }));
    assert_eq!(fs::read(&target).unwrap(), b"mine");
    fs::remove_file(&target).unwrap();
    symlink(outside.join("a.json"), &target).unwrap();
    assert!(matches!(refused(), Error::LinkInPlace { .. }));
    assert!(target.is_symlink());
    fs::remove_file(&target).unwrap();
    fs::remove_dir(&folder).unwrap();
    symlink(&outside, &folder).unwrap();
    assert!(matches!(refused(), Error::SymlinkedParent { .. }));
    assert!(fixture::names(&outside).is_empty());
}

#[test]
fn no_link_leads_out_of_the_folder() {
    let (dir, layout) = local(&[("sub/a.json", b"a")]);
    let outside = layout.root().with_file_name("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(layout.root()).unwrap();
    for name in ["sub", ".cache"] {
        let link = layout.root().join(name);
        symlink(&outside, &link).unwrap();
        for refused in [
            standing(&layout, &path("sub/a.json")).map(drop),
            prepare_repo(&layout, &repo("org/m")),
        ] {
            assert!(
                matches!(refused, Err(Error::SymlinkedParent { link: found, .. }) if found == link),
                "{name}"
            );
        }
        assert!(fixture::names(&outside).is_empty());
        fs::remove_file(link).unwrap();
        fs::remove_dir_all(layout.root()).unwrap();
        fs::create_dir_all(layout.root()).unwrap();
    }
    prepare_repo(&layout, &repo("org/m")).unwrap();
    symlink(&outside, layout.root().join("sub/a.json")).unwrap();
    assert_eq!(
        standing(&layout, &path("sub/a.json")).unwrap(),
        Standing::Link
    );
    drop(dir);
}

#[test]
fn what_was_fetched_is_replaced_and_what_was_edited_is_kept_aside() {
    let (old, new) = (content(700), content(900));
    let (_dir, strict) = local(&[("a.json", &new)]);
    let layout = strict.clone().replacing(true);
    let repo = repo("org/m");
    prepare_repo(&layout, &repo).unwrap();
    let (file, target) = (path("a.json"), layout.root().join("a.json"));
    let source = layout.root().with_file_name("source");
    fs::write(&source, &new).unwrap();
    let lock = held(&layout, &repo, &etag(&new));
    let place = |layout: &Layout| {
        let from = (&*source, Sharing::Copies);
        let size = new.len() as u64;
        place_copy(
            from,
            layout,
            &repo,
            &etag(&new),
            size,
            &lock,
            &mut fixture::on,
        )
    };
    noted_long_ago(&layout, &file, &old);
    assert_eq!(place(&strict).unwrap().set_aside, None);
    assert_eq!(fs::read(&target).unwrap(), new);
    fs::write(&target, "edited").unwrap();
    let refused = place(&strict);
    assert!(matches!(refused, Err(Error::NotOurs { .. })), "{refused:?}");
    assert_eq!(fs::read(&target).unwrap(), b"edited");
    let kept = place(&layout).unwrap().set_aside.unwrap();
    assert!(kept.starts_with(layout.own_hidden()));
    assert_eq!(fs::read(kept).unwrap(), b"edited");
    assert_eq!(fs::read(&target).unwrap(), new);
    assert_eq!(fixture::names(layout.root()), [".cache", "a.json"]);
}

#[test]
fn the_lock_that_is_ours_alone_goes_with_whoever_held_it() {
    let (_dir, layout) = local(&[("a.json", b"a")]);
    let (repo, name) = (repo("org/m"), etag(b"a"));
    prepare_repo(&layout, &repo).unwrap();
    for _ in 0..2 {
        let lock = held(&layout, &repo, &name);
        assert!(layout.swift_lock(&repo, &name).exists());
        let other = try_lock(&layout, &repo, &name, now()).unwrap();
        assert!(matches!(other, LockAttempt::Busy(_)));
        drop(lock);
        assert!(!layout.swift_lock(&repo, &name).exists());
        assert!(layout.hub_lock(&repo, &name).exists(), "Python's stays");
    }
}

#[test]
fn pythons_folder_is_no_place_for_files() {
    for (name, is) in [
        (".cache/huggingface/download/x.metadata", true),
        (".Cache/HuggingFace/x", true),
        (".cache", true),
        (".cache/other", false),
        ("sub/.cache/huggingface/x", false),
    ] {
        assert_eq!(is_reserved(&path(name)), is, "{name}");
    }
}

#[test]
fn a_file_of_another_repo_is_told_from_one_of_another_revision() {
    let (old, new) = (content(700), content(900));
    let (_dir, layout) = local(&[("a.json", &new)]);
    let file = path("a.json");
    prepare_repo(&layout, &repo("org/m")).unwrap();
    let root = layout.root().to_owned();
    let of = |name: &str, at: char| {
        let files = HashMap::from([(etag(&new), file.clone())]);
        Layout::local(root.clone(), (repo(name), commit(at)), files)
    };
    assert_eq!(fetched_commits(&root), [commit('a')]);
    assert_eq!(repo_of(&root, &commit('a')), Some(repo("org/m")));
    noted_long_ago(&layout, &file, &old);
    let fetched = Standing::Noted(etag(&old));
    // Another revision, other letters, and a commit that two names have: one repo.
    for own in [of("org/m", 'b'), of("Org/M", 'b'), of("org/renamed", 'a')] {
        assert_eq!(judge(&own, &file).unwrap(), fetched);
        assert!(giving_way(&own, &etag(&new)).is_ok());
    }
    let other = of("org/other", 'b');
    let of_another = Standing::OfAnother {
        etag: etag(&old),
        repo: repo("org/m"),
    };
    assert_eq!(standing(&other, &file).unwrap(), of_another);
    assert_eq!(judge(&other, &file).unwrap(), of_another);
    let refused = giving_way(&other, &etag(&new));
    assert!(matches!(refused, Err(Error::OfAnother { repo: of, .. }) if of == repo("org/m")));
    let forced = other.clone().replacing(true);
    assert_eq!(judge(&forced, &file).unwrap(), fetched);
    // The same bytes are of both.
    let same = HashMap::from([(etag(&old), file.clone())]);
    let same = Layout::local(root.clone(), (repo("org/other"), commit('b')), same);
    assert!(giving_way(&same, &etag(&old)).is_ok());
    // What was edited is a person's, whosever it was.
    fs::write(root.join("a.json"), "mine").unwrap();
    assert_eq!(judge(&other, &file).unwrap(), Standing::Strange);
    noted_long_ago(&layout, &file, &old);
    // Where nothing is known, or what is there cannot be read as a repo, it is Python's way.
    let known = layout.repo_notes().join(commit('a').to_string());
    for text in ["", "nonsense\n", "models--org--\u{1b}\n"] {
        fs::write(&known, text).unwrap();
        assert_eq!(judge(&other, &file).unwrap(), fetched, "{text}");
    }
    fs::write(&known, "models--org--m\n").unwrap();
    let away = root.with_file_name("away");
    fs::rename(layout.repo_notes(), &away).unwrap();
    symlink(&away, layout.repo_notes()).unwrap();
    assert_eq!(
        judge(&other, &file).unwrap(),
        fetched,
        "no link is followed"
    );
    assert!(fetched_commits(&root).is_empty());
    assert!(prepare_repo(&other, &repo("org/other")).is_err());
}
