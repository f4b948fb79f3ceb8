//! Copies of one content in more than one store, by the real binary: blobs of two Hub caches become one,
//! what an app may write into stays a file of its own, and what is wrong or being written stays.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::assert_all_visible_bytes_proven;
use crate::support::program::{Ran, finish};
#[cfg(target_os = "linux")]
use crate::support::program::{Running, wait_until};
#[cfg(target_os = "linux")]
use crate::support::seam::{deaths, run_in};
use crate::support::zoo::{Apart, DOCUMENTS, WEIGHTS, Zoo, twins};

/// Runs the binary for the user of a zoo, without a network.
fn larder(zoo: &Zoo, arguments: &[&str]) -> Ran {
    // What was hashed within a tick of its last change is not remembered.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.args(arguments).arg("--offline");
    zoo.tell(&mut command);
    finish(&mut command)
}

fn ask(zoo: &Zoo, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--json"]].concat();
    let ran = larder(zoo, &arguments);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:#?}"))
}

/// What is said of copies.
fn duplicates(document: &Value) -> Vec<Value> {
    let all = document["findings"].as_array().unwrap().iter();
    let meant = all.filter(|finding| finding["rule"] == "duplicate-model");
    meant.cloned().collect()
}

fn shares(finding: &Value) -> Vec<(PathBuf, PathBuf, u64)> {
    let steps = finding["plan"]["steps"].as_array().unwrap().iter();
    let path = |step: &Value, name: &str| PathBuf::from(step[name].as_str().unwrap());
    steps
        .filter(|step| step["change"] == "share")
        .map(|step| {
            let bytes = step["bytes"].as_u64().unwrap();
            (path(step, "path"), path(step, "with"), bytes)
        })
        .collect()
}

/// Whether two files lie on the disk once.
fn are_one(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| {
        path.metadata()
            .map(|found| (found.dev(), found.ino()))
            .unwrap()
    };
    id(one) == id(other) || larder::host::share_blocks(one, other)
}

/// Whether the tests run where files can be cloned.
fn has_clones(folder: &Path) -> bool {
    let (from, to) = (folder.join("clone-1"), folder.join("clone-2"));
    fs::write(&from, "content").unwrap();
    let has = reflink_copy::reflink(&from, &to).is_ok();
    for path in [from, to] {
        drop(fs::remove_file(path));
    }
    has
}

#[test]
fn two_hub_caches_keep_one_content_once() {
    let mut zoo = Zoo::of_a_user();
    let [main, other] = twins(&mut zoo, "zoo/twins");
    zoo.settle();
    larder(&zoo, &["verify"]);
    let (mine, theirs) = (main.blob(WEIGHTS), other.blob(WEIGHTS));
    let before = mine.metadata().unwrap();
    let seen = ask(&zoo, &["doctor"]);
    let found = duplicates(&seen);
    assert_eq!(found.len(), 1, "{seen:#}");
    let bytes = before.len();
    let planned = shares(&found[0]);
    assert!(
        planned.contains(&(mine.clone(), theirs.clone(), bytes)),
        "{:#}",
        found[0]
    );
    // All of them can, so nothing is left to a person.
    let steps = found[0]["plan"]["steps"].as_array().unwrap();
    assert!(
        steps.iter().all(|step| step["change"] == "share"),
        "{steps:#?}"
    );
    let freed: u64 = planned.iter().map(|(.., bytes)| bytes).sum();

    let shown = larder(&zoo, &["doctor", "--fix"]);
    for path in [&mine, &theirs] {
        assert!(
            shown.stdout.contains(path.to_str().unwrap()),
            "{}",
            shown.stdout
        );
    }
    assert!(!are_one(&mine, &theirs), "nothing is done without a yes");

    let fixed = ask(&zoo, &["doctor", "--fix", "--yes"]);
    assert_eq!(
        fixed["repair"]["freed_bytes"], freed,
        "{:#}",
        fixed["repair"]
    );
    assert!(are_one(&mine, &theirs), "{:#}", fixed["repair"]);
    let after = mine.metadata().unwrap();
    assert_eq!(after.permissions().mode(), before.permissions().mode());
    assert_eq!(after.modified().unwrap(), before.modified().unwrap());
    assert!(mine.symlink_metadata().unwrap().is_file());
    for path in main.paths() {
        assert_eq!(
            fs::read(main.pointer(&path)).unwrap(),
            main.piece(&path).bytes
        );
        assert_eq!(
            fs::read(other.pointer(&path)).unwrap(),
            other.piece(&path).bytes
        );
    }
    assert_all_visible_bytes_proven(zoo.root());
    let left = main.folder().join(".larder");
    let left: Vec<_> = fs::read_dir(left).into_iter().flatten().collect();
    assert!(left.is_empty(), "{left:?}");

    // What was proven still is, without being read again.
    let ready = larder(&zoo, &["ready", "zoo/twins", "--verified"]);
    assert_eq!(ready.code, Some(0), "{ready:#?}");
    let again = ask(&zoo, &["doctor", "--fix", "--yes"]);
    assert!(duplicates(&again).is_empty(), "{again:#}");
    let done = again["repair"]["done"].as_array().map_or(0, Vec::len);
    assert_eq!(done, 0, "{:#}", again["repair"]);

    // Each is a blob of its own cache still: one that goes takes nothing from the other.
    fs::remove_file(&theirs).unwrap();
    assert_eq!(fs::read(&mine).unwrap(), main.piece(WEIGHTS).bytes);
}

#[test]
fn what_is_wrong_is_not_two_of_one_kind() {
    let mut zoo = Zoo::of_a_user();
    let [main, other] = twins(&mut zoo, "zoo/twins");
    // As long as it should be, and nobody has read it yet.
    for (spoilt, name) in [(&main, "mine"), (&other, "theirs")] {
        let good = spoilt.piece(WEIGHTS).bytes.clone();
        let mut bytes = good.clone();
        *bytes.last_mut().unwrap() ^= 1;
        spoilt.spoil(WEIGHTS, &bytes);
        zoo.settle();
        let seen = ask(&zoo, &["doctor"]);
        let planned = shares(&duplicates(&seen)[0]);
        assert!(
            planned.iter().any(|(path, ..)| *path == main.blob(WEIGHTS)),
            "{name}"
        );
        let fixed = ask(
            &zoo,
            &["doctor", "--fix", "--yes", "--rule", "duplicate-model"],
        );
        let kept = fixed["repair"]["kept"].as_array().unwrap();
        let place = main.blob(WEIGHTS);
        let is_told = |kept: &&Value| kept["path"] == place.to_str().unwrap();
        assert!(
            kept.iter().any(|kept| is_told(&kept)),
            "{name}: {:#}",
            fixed["repair"]
        );
        assert!(
            !are_one(&main.blob(WEIGHTS), &other.blob(WEIGHTS)),
            "{name}"
        );
        assert_eq!(fs::read(spoilt.blob(WEIGHTS)).unwrap(), bytes, "{name}");
        spoilt.spoil(WEIGHTS, &good);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn what_somebody_writes_stays_and_so_does_what_is_locked() {
    let mut zoo = Zoo::of_a_user();
    let [main, other] = twins(&mut zoo, "zoo/twins");
    zoo.settle();
    let (mine, theirs) = (main.blob(WEIGHTS), other.blob(WEIGHTS));
    let fix = ["doctor", "--fix", "--yes", "--rule", "duplicate-model"];
    for written in [&mine, &theirs] {
        let mut command = Command::new("tail");
        command.args(["-f", "/dev/null"]);
        let open = File::options().append(true).open(written).unwrap();
        command.stdout(open);
        let writer = Running(command.spawn().unwrap());
        // It keeps what it gave away.
        drop(command);
        let pid = writer.0.id();
        wait_until("the writer", || {
            Path::new(&format!("/proc/{pid}/fd/1")).exists()
        });
        let fixed = ask(&zoo, &fix);
        let kept = fixed["repair"]["kept"].to_string();
        assert!(
            kept.contains(&format!("process {pid}")),
            "{:#}",
            fixed["repair"]
        );
        assert!(!are_one(&mine, &theirs));
    }
    let lock = File::open(main.lock(&main.piece(WEIGHTS).etag)).unwrap();
    lock.lock().unwrap();
    let fixed = ask(&zoo, &fix);
    assert!(!are_one(&mine, &theirs), "{:#}", fixed["repair"]);
    assert!(fixed["repair"]["kept"].to_string().contains("lock"));
    drop(lock);
    ask(&zoo, &fix);
    assert!(are_one(&mine, &theirs));
}

/// Somebody's own mark on a file would be lost with it.
#[test]
#[cfg(target_os = "linux")]
#[expect(
    clippy::print_stderr,
    reason = "what is not tested here is said to whoever runs the tests"
)]
fn a_blob_with_an_attribute_stays_and_is_not_tried_again() {
    let mut zoo = Zoo::of_a_user();
    let [main, other] = twins(&mut zoo, "zoo/twins");
    let (mine, theirs) = (main.blob(WEIGHTS), other.blob(WEIGHTS));
    zoo.settle();
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::lsetxattr(&mine, "user.tag", b"mine", flags).is_err() {
        eprintln!("not tested: attributes, which this file system has none of");
        return;
    }
    let is_planned = |document: &Value| {
        let planned = shares(&duplicates(document)[0]);
        planned.iter().any(|(path, ..)| *path == mine)
    };
    let seen = ask(&zoo, &["doctor"]);
    assert!(is_planned(&seen), "{seen:#}");
    let fixed = ask(&zoo, &["doctor", "--fix", "--yes"]);
    let kept = fixed["repair"]["kept"].to_string();
    assert!(kept.contains("`user.tag`"), "{:#}", fixed["repair"]);
    assert!(!are_one(&mine, &theirs));
    let again = ask(&zoo, &["doctor"]);
    assert!(!is_planned(&again), "{again:#}");
    let told = duplicates(&again)[0]["plan"]["steps"].to_string();
    assert!(told.contains("a repair has tried it"), "{told}");
    // Without it, both are other files than those that were tried.
    rustix::fs::lremovexattr(&mine, "user.tag").unwrap();
    assert!(is_planned(&ask(&zoo, &["doctor"])));
    ask(&zoo, &["doctor", "--fix", "--yes"]);
    assert!(are_one(&mine, &theirs));
}

/// An app may write into its own file, so it never becomes the same file as a blob.
#[test]
#[expect(
    clippy::print_stderr,
    reason = "what is not tested here is said to whoever runs the tests"
)]
fn an_apps_file_is_cloned_or_left_alone() {
    let mut zoo = Zoo::of_a_user();
    let main = zoo.model("zoo/twice");
    let app = Apart::hub_api(&mut zoo, DOCUMENTS, "zoo/twice");
    zoo.settle();
    let (mine, theirs) = (main.blob(WEIGHTS), app.at(WEIGHTS));
    let before = theirs.metadata().unwrap();
    let seen = ask(&zoo, &["doctor"]);
    let found = &duplicates(&seen)[0];
    let id = |found: &fs::Metadata| (found.ino(), found.ctime(), found.ctime_nsec());
    let has_clones = has_clones(zoo.root());
    if has_clones {
        assert!(!shares(found).is_empty(), "{found:#}");
        let fixed = ask(&zoo, &["doctor", "--fix", "--yes"]);
        let done = fixed["repair"]["done"].to_string();
        assert!(done.contains("share"), "{fixed:#}");
        // So small a file may lie where no place is told of it: `clones` has large ones. What was done
        // is remembered then.
        let again = ask(&zoo, &["doctor"]);
        assert_eq!(duplicates(&again), [Value::Null; 0]);
    } else {
        eprintln!("not tested: sharing by clones, which this file system has none of");
        assert!(shares(found).is_empty(), "{found:#}");
        let advice = found["plan"]["steps"][0]["advice"].as_str().unwrap();
        assert!(advice.contains("this file system cannot"), "{advice}");
        ask(&zoo, &["doctor", "--fix", "--yes"]);
    }
    let after = theirs.metadata().unwrap();
    assert_eq!(id(&after), id(&before), "the app's file is read only");
    assert!(mine.metadata().unwrap().ino() != after.ino());
    assert_eq!(fs::read(&theirs).unwrap(), main.piece(WEIGHTS).bytes);
    assert_all_visible_bytes_proven(zoo.root());
}

#[test]
#[cfg(target_os = "linux")]
fn killed_at_any_step_both_are_right_and_a_second_run_finishes() {
    let fix = ["doctor", "--fix", "--yes", "--rule", "duplicate-model"];
    let build = || {
        let mut zoo = Zoo::of_a_user();
        let twins = twins(&mut zoo, "zoo/twins");
        zoo.settle();
        (zoo, twins)
    };
    let (zoo, _) = build();
    let steps = run_in(&zoo, &fix, None).changes();
    // A clone is made by a call that the seam does not see.
    let calls: &[&str] = if has_clones(zoo.root()) {
        &["chmod", "rename"]
    } else {
        &["link", "rename"]
    };
    for call in calls {
        assert!(steps.iter().any(|step| step.call() == *call), "{steps:#?}");
    }
    for (step, fault) in deaths(&steps) {
        let what = format!("{step:?} {fault:?}");
        let (zoo, [main, other]) = build();
        let log = run_in(&zoo, &fix, Some((step, fault)));
        assert!(log.has_happened(), "{what}");
        for twin in [&main, &other] {
            for path in twin.paths() {
                let bytes = fs::read(twin.pointer(&path)).unwrap();
                assert!(bytes == twin.piece(&path).bytes, "{what}: {path}");
            }
        }
        let again = ask(&zoo, &fix);
        assert!(
            are_one(&main.blob(WEIGHTS), &other.blob(WEIGHTS)),
            "{what}: {:#}",
            again["repair"]
        );
        let left = main.folder().join(".larder");
        let left: Vec<_> = fs::read_dir(left).into_iter().flatten().collect();
        assert!(left.is_empty(), "{what}: {left:?}");
    }
}
