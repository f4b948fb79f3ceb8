//! Everything that clones, on file systems that can, made for these tests: the bytes lie on the disk
//! once, which its free room shows, and nobody offers to share them again.
//!
//! Such a file system needs root, its tools and a loop device. Where one is missing the tests say so. It
//! is mounted in a namespace of its own and goes with the last process there, whatever its end was.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use larder::host::share_blocks;
use serde_json::Value;

use crate::import::files_of;
use crate::support::program::{Home, finish};
use crate::support::zoo::{Apart, DOCUMENTS, WEIGHTS, Zoo, twins};
use crate::support::{Scratch, assert_all_visible_bytes_proven, body_bytes, model};

/// Of the image, which is a file with a hole: XFS asks for more than 300 MB.
const DISK_BYTES: u64 = 640_000_000;
/// After so many seconds what runs on it has hung.
const PATIENCE_S: u32 = 540;
/// What the inner shell says where there can be no such file system.
const NOT_HERE: i32 = 77;

/// Makes the file system `$1` with the options `$2` in the file `$3` and mounts it as `$4`. What follows
/// runs tests of `$5` on it.
const SCRIPT: &str = r#"
fail() { echo "$1"; exit 77; }
[ "$(id -u)" -eq 0 ] || fail 'only root may mount it'
command -v "mkfs.$1" >/dev/null || fail "there is no mkfs.$1"
"mkfs.$1" -q $2 "$3" 2>&1 || fail 'it cannot be made'
timeout -k 5 60 mount -o loop "$3" "$4" 2>&1 || fail 'it cannot be mounted'
export TMPDIR="$4"
set -e
"#;

/// Everything that clones, and two modules that do it on the way.
const WITH_CLONES: &str = r#"
"$5" --ignored --test-threads=1 clones::inside::
"$5" --test-threads=2 amended:: sharing_bytes:: --skip killed_at_any_step
"#;

/// What is tried in vain.
const WITHOUT: &str = r#""$5" --ignored clones::without::"#;

/// Runs what is to run on such a file system.
#[expect(
    clippy::print_stderr,
    reason = "what is not tested here is said to whoever runs the tests"
)]
fn on_a_disk_of(kind: &str, options: &str, runs: &str) {
    let scratch = Scratch::new();
    let (image, mount) = (scratch.path().join("image"), scratch.path().join("disk"));
    File::create(&image).unwrap().set_len(DISK_BYTES).unwrap();
    fs::create_dir(&mount).unwrap();
    let mut command = Command::new("timeout");
    command
        .args(["-k", "10", &PATIENCE_S.to_string()])
        .args(["unshare", "--mount", "--propagation", "private"])
        .args(["sh", "-c", &format!("{SCRIPT}{runs}")])
        .args(["sh", kind, options])
        .args([image.as_os_str(), mount.as_os_str()])
        .arg(std::env::current_exe().unwrap());
    let ran = match command.output() {
        Ok(ran) => ran,
        Err(error) => {
            eprintln!("not tested: clones on {kind}: {error}");
            return;
        }
    };
    let said = [&ran.stdout[..], &ran.stderr].map(String::from_utf8_lossy);
    match ran.status.code() {
        Some(0) => {
            let count = said[0].matches("test result: ok. ").count();
            assert_eq!(count, runs.matches("$5").count(), "{}", said[0]);
            assert!(!said[0].contains("ok. 0 passed"), "{}", said[0]);
        }
        Some(NOT_HERE) => eprintln!("not tested: clones on {kind}: {}", said[0].trim()),
        // `unshare` itself ends with 1 where it may not.
        Some(1) if said[0].is_empty() && said[1].starts_with("unshare:") => {
            eprintln!("not tested: clones on {kind}: {}", said[1].trim());
        }
        code => panic!("{kind}: {code:?}\n{}\n{}", said[0], said[1]),
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(mount.to_str().unwrap()), "{mounts}");
}

#[test]
fn whatever_can_be_cloned_is_cloned_on_xfs() {
    on_a_disk_of("xfs", "", WITH_CLONES);
}

#[test]
fn whatever_can_be_cloned_is_cloned_on_btrfs() {
    on_a_disk_of("btrfs", "", WITH_CLONES);
}

/// By its kind it could.
#[test]
fn what_an_xfs_without_clones_cannot_share_is_tried_once() {
    on_a_disk_of("xfs", "-m reflink=0", WITHOUT);
}

/// The room that is taken on the disk of a folder, once everything is on it.
fn taken(folder: &Path) -> u64 {
    let open = File::open(folder).unwrap();
    rustix::fs::syncfs(&open).unwrap();
    let disk = fs2::statvfs(folder).unwrap();
    disk.total_space() - disk.free_space()
}

/// What a step took, in bytes; it may have freed some.
#[track_caller]
fn took(folder: &Path, step: impl FnOnce()) -> i64 {
    let before = taken(folder);
    step();
    taken(folder).cast_signed() - before.cast_signed()
}

/// Ledger, logs and the file system's own books.
const LITTLE: i64 = 6_000_000;

fn duplicates(document: &Value) -> Vec<Value> {
    let all = document["findings"].as_array().unwrap().iter();
    let meant = all.filter(|finding| finding["rule"] == "duplicate-model");
    meant.cloned().collect()
}

fn ask<S: AsRef<OsStr>>(command: &mut Command, arguments: &[S]) -> Value {
    // What was hashed within a tick of its last change is not remembered.
    std::thread::sleep(Duration::from_millis(200));
    let ran = finish(command.args(arguments).arg("--json"));
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:#?}"))
}

fn ask_zoo(zoo: &Zoo, arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.arg("--offline");
    zoo.tell(&mut command);
    ask(&mut command, arguments)
}

/// Bytes of a file's own, whatever the system does for `cp`.
fn write_whole(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = File::create(path).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
}

/// The rest is run by the tests above, each alone on a new file system.
mod inside {
    use super::*;

    const BYTES: u64 = 32_000_000;
    const GROUP: u32 = 54_321;

    async fn home() -> (Home, PathBuf) {
        let (_, catalogue) = model::Model::of_weights(BYTES);
        let folder_of = model::Model::of_weights(BYTES).1;
        let home = Home::new(catalogue, Vec::new()).await;
        let folder = home.path().join("Downloads");
        files_of(&folder_of, model::NAME, &folder);
        (home, folder)
    }

    fn weights_blob(home: &Home) -> PathBuf {
        let blobs = home.cache().join(model::FOLDER).join("blobs");
        let mut files = fs::read_dir(blobs).unwrap().flatten();
        let is_it = |entry: &fs::DirEntry| entry.metadata().unwrap().len() == BYTES;
        files.find(is_it).unwrap().path()
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "run by the tests above, on a file system of its own"]
    async fn an_import_a_local_dir_and_the_trash_take_no_room() {
        let (home, folder) = home().await;
        let offered = folder.join("model.safetensors");
        let bytes = took(home.path(), || {
            home.run(&["import", "Downloads", "--repo", model::NAME])
                .assert_code(0);
        });
        assert!(bytes < LITTLE, "the import took {bytes}");
        let blob = weights_blob(&home);
        assert!(share_blocks(&offered, &blob));
        assert_eq!(body_bytes(&home.hub), 0);

        let bytes = took(home.path(), || {
            home.run(&["pull", model::NAME, "--local-dir", "there"])
                .assert_code(0);
        });
        assert!(bytes < LITTLE, "the local dir took {bytes}");
        let there = home.path().join("there/model.safetensors");
        assert!(share_blocks(&blob, &there));
        assert_eq!(body_bytes(&home.hub), 0);

        // Written into one, the others keep what they were.
        let good = fs::read(&offered).unwrap();
        write_whole(&there, b"somebody's own");
        assert!(fs::read(&blob).unwrap() == good && fs::read(&offered).unwrap() == good);

        let bytes = took(home.path(), || {
            home.run(&["purge", model::NAME, "--yes"]).assert_code(0);
            home.run(&["trash", "restore", "last"]).assert_code(0);
        });
        assert!(bytes < LITTLE, "the way through the trash took {bytes}");
        assert!(share_blocks(&offered, &blob));
        home.run(&["ready", model::NAME]).assert_code(0);
        assert_all_visible_bytes_proven(&home.cache());
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "run by the tests above, on a file system of its own"]
    async fn a_folder_named_like_the_branch_becomes_a_snapshot_without_room() {
        let (home, folder) = home().await;
        let by_hand = home.cache().join(model::FOLDER).join("snapshots/main");
        fs::create_dir_all(by_hand.parent().unwrap()).unwrap();
        fs::rename(&folder, &by_hand).unwrap();
        let old = SystemTime::now() - Duration::from_mins(10);
        for path in crate::support::files_below(&by_hand) {
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(old).unwrap();
        }
        let bytes = took(home.path(), || {
            home.run(&["pull", model::NAME, "--all"]).assert_code(0);
        });
        assert!(bytes < LITTLE, "the conversion took {bytes}");
        assert_eq!(body_bytes(&home.hub), 0);
        let blob = weights_blob(&home);
        let copy = by_hand.join("model.safetensors");
        assert!(!copy.exists() || share_blocks(&copy, &blob));
        home.run(&["doctor", "--fix", "--yes"]);
        assert!(!copy.exists());
        home.run(&["ready", model::NAME]).assert_code(0);
        assert_all_visible_bytes_proven(&home.cache());
    }

    #[test]
    #[ignore = "run by the tests above, on a file system of its own"]
    fn a_repair_frees_what_it_says_and_has_nothing_to_share_afterwards() {
        let mut zoo = Zoo::of_a_user();
        let [main, other] = twins(&mut zoo, "zoo/twins");
        // An app's folder with the same bytes.
        let folder = zoo.user().join(DOCUMENTS).join(main.name());
        let (mine, theirs) = (main.blob(WEIGHTS), other.blob(WEIGHTS));
        let app = Apart {
            model: main,
            folder,
        };
        for path in app.model.paths() {
            write_whole(&app.at(&path), &app.model.piece(&path).bytes);
            app.note(&path, &app.model.piece(&path).etag, 0);
        }
        // Root gives a file to a group that it is not in, and its replacement as well.
        for path in [&mine, &app.at(WEIGHTS)] {
            std::os::unix::fs::chown(path, None, Some(GROUP)).unwrap();
        }
        zoo.settle();
        let large = i64::try_from(app.model.piece(WEIGHTS).bytes.len()).unwrap();
        let seen = ask_zoo(&zoo, &["doctor"]);
        assert!(!duplicates(&seen).is_empty(), "{seen:#}");

        let before = taken(zoo.root());
        let fixed = ask_zoo(&zoo, &["doctor", "--fix", "--yes"]);
        let freed = before.cast_signed() - taken(zoo.root()).cast_signed();
        let told = fixed["repair"]["freed_bytes"].as_i64().unwrap();
        assert!(told >= large, "{:#}", fixed["repair"]);
        assert!(freed > told - LITTLE, "{freed} of {told}");
        let with = [&theirs, &app.at(WEIGHTS)].map(|path| share_blocks(&mine, path));
        assert!(with.contains(&true), "{:#}", fixed["repair"]);

        assert_eq!(mine.metadata().unwrap().gid(), GROUP);

        // Neither for what does share nor, small as it is, for what the system says nothing of.
        let again = ask_zoo(&zoo, &["doctor", "--fix", "--yes"]);
        let done = again["repair"]["done"].as_array().map_or(0, Vec::len);
        assert_eq!(done, 0, "{:#}", again["repair"]);
        for finding in duplicates(&again) {
            let steps = finding["plan"]["steps"].as_array().unwrap();
            assert!(
                steps.iter().all(|step| step["step"] == "by-hand"),
                "{steps:#?}"
            );
        }

        // A file of the app's that is broken comes back without room of its own.
        app.cut(WEIGHTS, 500);
        let at = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let file = File::options().write(true).open(app.at(WEIGHTS)).unwrap();
        file.set_modified(at).unwrap();
        drop(file);
        zoo.settle();
        let bytes = took(zoo.root(), || {
            let fixed = ask_zoo(&zoo, &["doctor", "--fix", "--yes"]);
            let done = fixed["repair"]["done"].to_string();
            assert!(done.contains("place"), "{:#}", fixed["repair"]);
        });
        assert!(bytes < LITTLE, "the app's file took {bytes}");
        assert!(share_blocks(&mine, &app.at(WEIGHTS)));
        assert_eq!(app.at(WEIGHTS).metadata().unwrap().gid(), GROUP);
        assert!(fs::read(app.at(WEIGHTS)).unwrap() == app.model.piece(WEIGHTS).bytes);
        assert_all_visible_bytes_proven(zoo.root());
    }

    /// Somebody's own copy keeps the bytes, so nothing would be freed.
    #[test]
    #[ignore = "run by the tests above, on a file system of its own"]
    fn what_somebody_has_cloned_already_is_not_offered() {
        let mut zoo = Zoo::of_a_user();
        let [main, _other] = twins(&mut zoo, "zoo/twins");
        let mine = main.blob(WEIGHTS);
        reflink_copy::reflink(&mine, zoo.user().join("backup")).unwrap();
        zoo.settle();
        let seen = ask_zoo(&zoo, &["doctor"]);
        let found = &duplicates(&seen)[0];
        let steps = found["plan"]["steps"].to_string();
        assert!(!steps.contains(mine.to_str().unwrap()), "{found:#}");
    }
}

/// Run by the test above.
mod without {
    use super::*;

    #[test]
    #[ignore = "run by a test above, on a file system of its own"]
    fn what_cannot_be_shared_is_not_offered_twice() {
        let mut zoo = Zoo::of_a_user();
        let main = zoo.model("zoo/apart");
        let app = Apart::hub_api(&mut zoo, DOCUMENTS, "zoo/apart");
        zoo.settle();
        let (mine, theirs) = (main.blob(WEIGHTS), app.at(WEIGHTS));
        let before = fs::metadata(&mine).unwrap().ino();
        let seen = ask_zoo(&zoo, &["doctor"]);
        let offered = duplicates(&seen)[0]["plan"].to_string();
        assert!(offered.contains(mine.to_str().unwrap()), "{seen:#}");
        let fixed = ask_zoo(&zoo, &["doctor", "--fix", "--yes"]);
        let kept = fixed["repair"]["kept"].to_string();
        assert!(kept.contains("cannot be made to share"), "{fixed:#}");
        assert_eq!(fixed["repair"]["freed_bytes"], 0);
        assert_eq!(fs::metadata(&mine).unwrap().ino(), before);
        let again = ask_zoo(&zoo, &["doctor"]);
        let told = duplicates(&again)[0]["plan"].to_string();
        assert!(told.contains("a repair has tried it"), "{told}");
        assert!(!told.contains("\"share\""), "{told}");
        // Bytes are copied where they cannot be cloned.
        app.cut(WEIGHTS, 500);
        zoo.settle();
        ask_zoo(&zoo, &["doctor", "--fix", "--yes"]);
        assert_eq!(fs::read(&theirs).unwrap(), main.piece(WEIGHTS).bytes);
        assert!(!share_blocks(&mine, &theirs));
    }
}
