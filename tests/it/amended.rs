//! Folders of apps beside the Hub cache, repaired by the real binary from what the cache holds: files get
//! the right bytes, and notes that say only what was hashed; what somebody edited, writes or made himself
//! stays.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::program::finish;
#[cfg(target_os = "linux")]
use crate::support::program::{Running, wait_until};
use crate::support::zoo::{Apart, DOCUMENTS, Model, NESTED, WEIGHTS, Zoo};

const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "config.json";

/// Runs the binary for the user of a zoo, without a network.
fn ask(zoo: &Zoo, arguments: &[&str]) -> Value {
    // What was hashed within a tick of its last change is not remembered.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.args(arguments).args(["--offline", "--json"]);
    zoo.tell(&mut command);
    let ran = finish(&mut command);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:#?}"))
}

fn fix(zoo: &Zoo) -> Value {
    ask(zoo, &["doctor", "--fix", "--yes"])
}

/// Hashes everything first.
fn fix_by_hash(zoo: &Zoo) -> Value {
    ask(zoo, &["doctor", "--verify", "--fix", "--yes"])
}

/// The changes of a repair that were made, by their names. What is right in both places comes to share
/// its bytes where the file system has clones: `sharing_bytes` is about that.
fn done(document: &Value) -> Vec<String> {
    let steps = document["repair"]["done"].as_array().unwrap().iter();
    let names = steps.map(|step| step["change"].as_str().unwrap_or("?").to_owned());
    names.filter(|name| name != "share").collect()
}

/// Findings of these rules about a folder.
fn left(zoo: &Zoo, app: &Apart) -> Vec<Value> {
    let document = ask(zoo, &["doctor"]);
    let folder = app.folder.to_str().unwrap();
    let all = document["findings"].as_array().unwrap().iter();
    let about = all.filter(|finding| {
        let mut facts = finding["evidence"].as_array().unwrap().iter();
        finding["rule"] != "duplicate-model"
            && facts.any(|fact| fact["path"].as_str().unwrap().starts_with(folder))
    });
    about.cloned().collect()
}

/// The same model in the main cache and in the folder of an app.
fn both(name: &str) -> (Zoo, Model, Apart) {
    let mut zoo = Zoo::of_a_user();
    let main = zoo.model(name);
    let app = Apart::hub_api(&mut zoo, DOCUMENTS, name);
    (zoo, main, app)
}

/// Whether a program that goes by swift-transformers' rules loads the folder offline: every visible file
/// is a plain one, right, and has a note of three lines that says so (hub.md 3.2).
#[track_caller]
fn assert_loads(app: &Apart) {
    for path in app.model.paths() {
        let piece = app.model.piece(&path);
        let found = app.at(&path).symlink_metadata().unwrap();
        assert!(found.is_file(), "{path}");
        assert_eq!(fs::read(app.at(&path)).unwrap(), piece.bytes, "{path}");
        let note = fs::read_to_string(app.noted(&path)).unwrap();
        let lines: Vec<&str> = note.split('\n').collect();
        assert_eq!(lines.len(), 4, "{note:?}");
        assert_eq!(lines[..2], [app.model.commit(), &piece.etag], "{path}");
        assert_eq!(lines[3], "");
        let at: f64 = lines[2].parse().unwrap();
        // As Python compares them (hub.md 3.1).
        let modified = found.modified().unwrap();
        let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
        assert!(since.as_secs_f64() - 1.0 <= at, "{path}: {note}");
    }
    let own = crate::support::files_below(&app.folder);
    let visible = own.iter().filter(|path| {
        let below = path.strip_prefix(&app.folder).unwrap();
        !below
            .components()
            .any(|part| part.as_os_str().to_string_lossy().starts_with('.'))
    });
    assert_eq!(visible.count(), app.model.paths().len(), "{own:?}");
    let strange = own.iter().find(|path| {
        let end = path.extension().unwrap_or_default();
        ["larder", "tmp", "incomplete"].iter().any(|it| end == *it)
    });
    assert_eq!(strange, None);
}

/// Two loads raced: the second deleted the file of the first and had nothing to move (hub.md 3.3).
#[test]
fn a_file_that_is_gone_comes_back_from_the_cache() {
    let (zoo, main, app) = both("zoo/raced");
    for path in [TOKENIZER, NESTED] {
        fs::remove_file(app.at(path)).unwrap();
    }
    fs::remove_dir(app.at(NESTED).parent().unwrap()).unwrap();
    zoo.settle();
    let mut seen = ask(&zoo, &["doctor"]);
    let findings = seen["findings"].as_array_mut().unwrap();
    findings.retain(|finding| finding["rule"] == "missing-files");
    let steps = findings[0]["plan"]["steps"].as_array().unwrap();
    let from: Vec<_> = steps
        .iter()
        .map(|step| step["from"].as_str().unwrap())
        .collect();
    assert_eq!(from.len(), 2, "{steps:#?}");
    for path in [TOKENIZER, NESTED] {
        assert!(
            from.contains(&main.blob(path).to_str().unwrap()),
            "{steps:#?}"
        );
    }
    let fixed = fix(&zoo);
    assert_eq!(done(&fixed), ["place", "place"], "{:#}", fixed["repair"]);
    assert_loads(&app);
    assert_eq!(left(&zoo, &app), [Value::Null; 0]);
    assert_eq!(done(&fix(&zoo)), [""; 0]);
}

#[test]
fn wrong_bytes_give_way_to_right_ones_under_every_disguise() {
    type Spoil = fn(&Apart);
    let cases: [(&str, Spoil); 5] = [
        ("cut off", |app| app.cut(WEIGHTS, 500)),
        ("empty", |app| app.cut(WEIGHTS, 0)),
        ("a page", |app| {
            fs::write(app.at(TOKENIZER), "<!DOCTYPE html><p>Sign in</p>").unwrap();
        }),
        ("flipped", |app| {
            let mut bytes = app.model.piece(WEIGHTS).bytes.clone();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(app.at(WEIGHTS), bytes).unwrap();
        }),
        ("a link to nothing", |app| {
            fs::remove_file(app.at(CONFIG)).unwrap();
            symlink("gone.json", app.at(CONFIG)).unwrap();
        }),
    ];
    for (what, spoil) in cases {
        let (zoo, _, app) = both("zoo/disguised");
        spoil(&app);
        zoo.settle();
        let fixed = fix_by_hash(&zoo);
        assert_eq!(done(&fixed), ["place"], "{what}: {:#}", fixed["repair"]);
        assert_loads(&app);
        assert_eq!(left(&zoo, &app), [Value::Null; 0], "{what}");
        // Times do not tell bits that fell over from somebody's own work.
        let kept = kept(&app);
        assert_eq!(
            kept.len(),
            usize::from(what == "flipped"),
            "{what}: {kept:?}"
        );
    }
}

/// What is kept that stood in the place of right bytes.
fn kept(app: &Apart) -> Vec<(String, Vec<u8>)> {
    let folder = app.at(".cache/huggingface/larder/aside");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let kept = entries.map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    });
    kept.collect()
}

/// What is moved or copied keeps the time that it had elsewhere, and so looks older than the note.
#[test]
fn a_file_of_somebodys_own_is_kept_however_old_it_is() {
    let (zoo, _, app) = both("zoo/moved-in");
    zoo.settle();
    let mine = r#"{"model_type": "gemma3_text", "note": "mine"}"#;
    let elsewhere = zoo.user().join("config.json");
    fs::write(&elsewhere, mine).unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let written = File::options().write(true).open(&elsewhere).unwrap();
    written.set_modified(old).unwrap();
    drop(written);
    fs::rename(&elsewhere, app.at(CONFIG)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.args(["doctor", "--verify", "--fix", "--offline"]);
    zoo.tell(&mut command);
    let shown = finish(&mut command).stdout;
    assert!(
        shown.contains("`.cache/huggingface/larder/aside`"),
        "{shown}"
    );
    assert_eq!(fs::read_to_string(app.at(CONFIG)).unwrap(), mine, "no yes");
    let fixed = fix_by_hash(&zoo);
    assert_eq!(done(&fixed), ["place"], "{:#}", fixed["repair"]);
    assert_loads(&app);
    let kept = kept(&app);
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept[0].0.starts_with("config.json."), "{kept:?}");
    assert_eq!(kept[0].1, mine.as_bytes());
    assert_eq!(left(&zoo, &app), [Value::Null; 0]);
}

/// In a folder of Python's: its notes hold times that count, and its locks are there.
#[test]
fn a_local_dir_is_repaired_with_the_times_that_python_looks_at() {
    let mut zoo = Zoo::of_a_user();
    zoo.model("zoo/local");
    let app = Apart::local_dir(&mut zoo, "zoo/local");
    app.cut(WEIGHTS, 500);
    // Changed after its note was written, and what it was all the same.
    app.note(CONFIG, &app.model.piece(CONFIG).etag, -600);
    zoo.settle();
    let lock = File::open(app.download(&format!("{WEIGHTS}.lock"))).unwrap();
    lock.lock().unwrap();
    let fixed = fix(&zoo);
    assert_eq!(done(&fixed), ["note"], "{:#}", fixed["repair"]);
    assert!(fixed["repair"]["kept"].to_string().contains("lock"));
    assert_eq!(app.at(WEIGHTS).metadata().unwrap().len(), 500);
    drop(lock);
    let fixed = fix(&zoo);
    assert_eq!(done(&fixed), ["place"], "{:#}", fixed["repair"]);
    assert_loads(&app);
    assert_eq!(left(&zoo, &app), [Value::Null; 0]);
}

#[test]
fn a_link_becomes_a_file_and_what_it_led_to_stays() {
    let (zoo, main, app) = both("zoo/linked");
    // By hand, to save room: without a note, one to the pointer and one to the blob.
    for (path, target) in [
        (WEIGHTS, main.pointer(WEIGHTS)),
        (CONFIG, main.blob(CONFIG)),
    ] {
        fs::remove_file(app.at(path)).unwrap();
        fs::remove_file(app.noted(path)).unwrap();
        symlink(target, app.at(path)).unwrap();
    }
    zoo.settle();
    let before = main.blob(WEIGHTS).metadata().unwrap();
    let fixed = fix(&zoo);
    let mut steps = done(&fixed);
    steps.sort();
    assert_eq!(
        steps,
        ["note", "note", "place", "place"],
        "{:#}",
        fixed["repair"]
    );
    assert_loads(&app);
    assert_eq!(main.blob(WEIGHTS).metadata().unwrap().ino(), before.ino());
    assert!(
        main.pointer(WEIGHTS)
            .symlink_metadata()
            .unwrap()
            .is_symlink()
    );
    assert_eq!(left(&zoo, &app), [Value::Null; 0]);
}

#[test]
fn notes_say_only_what_was_hashed_and_listed() {
    let mut zoo = Zoo::of_a_user();
    zoo.model("zoo/bare");
    let app = Apart::plain(&mut zoo, DOCUMENTS, "zoo/bare");
    // As long as the listing says, and another content; and something of the user's own.
    let length = app.model.piece("README.md").bytes.len();
    fs::write(app.at("README.md"), "x".repeat(length)).unwrap();
    fs::write(app.at("notes.txt"), "mine").unwrap();
    zoo.settle();
    let fixed = fix(&zoo);
    assert_eq!(
        done(&fixed).len(),
        app.model.paths().len() - 1,
        "{:#}",
        fixed["repair"]
    );
    assert!(!app.noted("README.md").exists() && !app.noted("notes.txt").exists());
    for path in app.model.paths().iter().filter(|path| *path != "README.md") {
        let note = fs::read_to_string(app.noted(path)).unwrap();
        assert!(note.contains(&app.model.piece(path).etag), "{path}");
    }
    assert_eq!(fs::read(app.at("notes.txt")).unwrap(), b"mine");
    assert_eq!(
        fs::read(app.at("README.md")).unwrap(),
        "x".repeat(length).as_bytes()
    );
    // A torn note is written anew.
    fs::write(app.noted(CONFIG), "abc\n").unwrap();
    let fixed = fix(&zoo);
    assert!(
        done(&fixed).contains(&"note".to_owned()),
        "{:#}",
        fixed["repair"]
    );
    let note = fs::read_to_string(app.noted(CONFIG)).unwrap();
    assert!(note.contains(&app.model.piece(CONFIG).etag), "{note}");
}

#[test]
fn what_somebody_edited_is_left_to_him() {
    let (zoo, _, app) = both("zoo/edited");
    let edited = r#"{"model_type": "gemma3_text", "note": "mine"}"#;
    fs::write(app.at(CONFIG), edited).unwrap();
    // Ten minutes before the last change of everything.
    app.note(CONFIG, &app.model.piece(CONFIG).etag, -600);
    zoo.settle();
    let fixed = fix_by_hash(&zoo);
    assert_eq!(done(&fixed), [""; 0], "{:#}", fixed["repair"]);
    assert_eq!(fs::read_to_string(app.at(CONFIG)).unwrap(), edited);
}

/// Whoever put it there would miss it on the file that takes its place.
#[test]
#[cfg(target_os = "linux")]
#[expect(
    clippy::print_stderr,
    reason = "what is not tested here is said to whoever runs the tests"
)]
fn a_file_with_an_attribute_of_somebodys_stays_and_is_named() {
    let (zoo, _, app) = both("zoo/tagged");
    app.cut(WEIGHTS, 500);
    zoo.settle();
    let place = app.at(WEIGHTS);
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::lsetxattr(&place, "user.tag", b"mine", flags).is_err() {
        eprintln!("not tested: attributes, which this file system has none of");
        return;
    }
    let fixed = fix(&zoo);
    assert_eq!(done(&fixed), [""; 0], "{:#}", fixed["repair"]);
    let kept = fixed["repair"]["kept"].to_string();
    assert!(kept.contains("`user.tag` would be lost"), "{kept}");
    assert_eq!(place.metadata().unwrap().len(), 500);
    assert!(!app.download(&format!("{WEIGHTS}.larder")).exists());
    rustix::fs::lremovexattr(&place, "user.tag").unwrap();
    assert_eq!(done(&fix(&zoo)), ["place"]);
    assert_loads(&app);
}

#[test]
fn a_blob_that_is_wrong_itself_repairs_nothing() {
    let (zoo, main, app) = both("zoo/blind");
    let mut bytes = main.piece(TOKENIZER).bytes.clone();
    *bytes.last_mut().unwrap() ^= 1;
    main.spoil(TOKENIZER, bytes);
    fs::remove_file(app.at(TOKENIZER)).unwrap();
    zoo.settle();
    // Nobody has hashed it: it is proposed, and found out.
    let fixed = ask(
        &zoo,
        &["doctor", "--fix", "--yes", "--rule", "missing-files"],
    );
    assert_eq!(done(&fixed), [""; 0], "{:#}", fixed["repair"]);
    let kept = fixed["repair"]["kept"].to_string();
    assert!(kept.contains("does not hold the content"), "{kept}");
    assert!(app.at(TOKENIZER).symlink_metadata().is_err());
    let left: Vec<_> = crate::support::files_below(&app.folder)
        .into_iter()
        .filter(|path| path.to_str().unwrap().ends_with(".larder"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn what_a_program_writes_stays() {
    let (zoo, _, app) = both("zoo/written");
    app.cut(WEIGHTS, 500);
    zoo.settle();
    let mut command = Command::new("tail");
    command.args(["-f", "/dev/null"]);
    command.stdout(File::options().append(true).open(app.at(WEIGHTS)).unwrap());
    let writer = Running(command.spawn().unwrap());
    // It keeps what it gave away.
    drop(command);
    let pid = writer.0.id();
    wait_until("the writer", || {
        Path::new(&format!("/proc/{pid}/fd/1")).exists()
    });
    let fixed = fix(&zoo);
    assert_eq!(done(&fixed), [""; 0], "{:#}", fixed["repair"]);
    assert_eq!(app.at(WEIGHTS).metadata().unwrap().len(), 500);
    drop(writer);
    assert_eq!(done(&fix(&zoo)), ["place"]);
    assert_loads(&app);
}

/// As a larder leaves it that was killed before the swap of the names, or after.
#[test]
fn what_a_killed_larder_left_aside_goes() {
    let (zoo, _, app) = both("zoo/killed");
    app.cut(WEIGHTS, 500);
    let aside = app.download(&format!("{WEIGHTS}.larder"));
    fs::write(&aside, &app.model.piece(WEIGHTS).bytes[..300]).unwrap();
    let other = app.download(&format!("{CONFIG}.larder"));
    fs::write(&other, &app.model.piece(CONFIG).bytes[..9]).unwrap();
    // Taken out of its place, and nobody knows whose work it was.
    let somebodys = app.download(&format!("{TOKENIZER}.larder"));
    fs::write(&somebodys, "somebody's own").unwrap();
    // Not ours: it has no such name, or does not lie among the notes.
    fs::write(app.at(".mine.larder"), "mine").unwrap();
    zoo.settle();
    let seen = ask(&zoo, &["doctor"]);
    let found = seen["findings"].to_string();
    for path in [&aside, &other, &somebodys] {
        assert!(found.contains(path.to_str().unwrap()), "{seen:#}");
    }
    let fixed = fix(&zoo);
    assert!(!aside.exists() && !other.exists(), "{:#}", fixed["repair"]);
    assert_eq!(fs::read(app.at(".mine.larder")).unwrap(), b"mine");
    fs::remove_file(app.at(".mine.larder")).unwrap();
    assert_eq!(fs::read(&somebodys).unwrap(), b"somebody's own");
    let told = fixed["repair"]["kept"].to_string();
    assert!(told.contains("somebody's work"), "{told}");
    // Once its file breaks, it gives way, and is kept all the same.
    app.cut(TOKENIZER, 9);
    zoo.settle();
    assert_eq!(done(&fix_by_hash(&zoo)), ["place"]);
    assert!(!somebodys.exists());
    assert_eq!(kept(&app)[0].1, b"somebody's own");
    assert_loads(&app);
    assert_eq!(left(&zoo, &app), [Value::Null; 0]);
}

/// Three kinds of damage in a folder of an app: cut off, gone, and a link without a note.
#[cfg(target_os = "linux")]
fn damaged() -> (Zoo, Model, Apart) {
    let (zoo, main, app) = both("zoo/killed-at");
    app.cut(WEIGHTS, 500);
    fs::remove_file(app.at(TOKENIZER)).unwrap();
    fs::remove_file(app.at(CONFIG)).unwrap();
    fs::remove_file(app.noted(CONFIG)).unwrap();
    symlink(main.pointer(CONFIG), app.at(CONFIG)).unwrap();
    zoo.settle();
    (zoo, main, app)
}

#[test]
#[cfg(target_os = "linux")]
fn killed_at_any_step_a_file_is_the_old_or_the_right_one_and_a_second_run_finishes() {
    use crate::support::seam::{deaths, run_in};

    let fix_args = ["doctor", "--fix", "--yes"];
    let (zoo, _, app) = damaged();
    let steps = run_in(&zoo, &fix_args, None).changes();
    assert_loads(&app);
    for call in ["write", "unlink", "rename"] {
        assert!(steps.iter().any(|step| step.call() == call), "{steps:#?}");
    }
    for (step, fault) in deaths(&steps) {
        let what = format!("{step:?} {fault:?}");
        let (zoo, main, app) = damaged();
        let log = run_in(&zoo, &fix_args, Some((step, fault)));
        assert!(log.has_happened(), "{what}");
        for path in app.model.paths() {
            let good = &app.model.piece(&path).bytes;
            let now = fs::read(app.at(&path));
            let is_right = now.as_ref().is_ok_and(|now| now == good);
            let is_old = match path.as_str() {
                WEIGHTS => now.as_ref().is_ok_and(|now| *now == good[..500]),
                TOKENIZER => now.is_err(),
                _ => false,
            };
            assert!(is_right || is_old, "{what}: {path}");
            assert_eq!(
                fs::read(main.pointer(&path)).unwrap(),
                *good,
                "{what}: {path}"
            );
        }
        let again = fix(&zoo);
        assert_eq!(
            left(&zoo, &app),
            [Value::Null; 0],
            "{what}: {:#}",
            again["repair"]
        );
        assert_loads(&app);
    }
}
