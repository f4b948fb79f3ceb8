//! Tests of looking elsewhere: what is new, what is recognised, what is said.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::cache::Programs;
use crate::cache::fixture::{etag, git_oid, now};
use crate::config::{Elsewhere as Places, ModelPlace, PlaceRule};
use crate::domain::{Examination, Rule};
use crate::host::LockTable;

/// Looks some time after the last change; whether anything was new, and how many models were
/// examined for it.
fn again(seen: &mut Elsewhere, places: &Places, is_main_new: bool) -> (bool, usize) {
    let examined = AtomicUsize::new(0);
    let examine = |_: &Path, _: &std::collections::BTreeSet<String>| {
        examined.fetch_add(1, Ordering::Relaxed);
        Examination::default()
    };
    let judge = Judge {
        examine: &examine,
        select: &|_| Vec::new(),
        hashed: &|_, _, _| None,
        content: &|_, _| None,
        listing: &|_, _| None,
        paired: &|_, _| None,
    };
    let eyes = Eyes {
        now: now() + Duration::from_secs(1),
        table: LockTable::default(),
        programs: &Programs::unknown(),
        ours: &|_, _| None,
    };
    let main = Layout::new(PathBuf::from("/no/hub"));
    let nobody = BTreeSet::new();
    let is_new = seen.look(places, &main, is_main_new, &nobody, judge, &eyes);
    (is_new, examined.into_inner())
}

fn place(rule: PlaceRule, path: &Path) -> Places {
    Places {
        places: vec![ModelPlace {
            rule,
            path: path.to_owned(),
            origin: "a test".to_owned(),
        }],
        ..Places::default()
    }
}

fn write_with_note(folder: &Path, name: &str, content: &[u8]) {
    let notes = folder.join(note::NOTES);
    fs::create_dir_all(&notes).unwrap();
    fs::write(folder.join(name), content).unwrap();
    let text = format!("{}\n{}\n9999999999.5\n", "a".repeat(40), git_oid(content));
    fs::write(notes.join(format!("{name}.metadata")), text).unwrap();
}

#[test]
fn a_second_look_reads_nothing_and_sees_every_change() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().canonicalize().unwrap().join("models");
    let places = place(PlaceRule::HubApi, &models);
    let mut seen = Elsewhere::default();
    assert_eq!(again(&mut seen, &places, true), (true, 0));
    assert_eq!(again(&mut seen, &places, false), (false, 0));
    assert!(seen.caches().is_empty(), "what is not there is no place");

    let folder = models.join("org/m");
    write_with_note(&folder, "config.json", b"{}");
    assert_eq!(again(&mut seen, &places, false), (true, 1));
    assert_eq!(again(&mut seen, &places, false), (false, 0));
    assert_eq!(again(&mut seen, &places, true), (false, 0));
    assert!(seen.findings().is_empty());

    // A visible file without its note, below a folder; then the note comes.
    fs::create_dir(folder.join("sub")).unwrap();
    fs::write(folder.join("sub/x"), "x").unwrap();
    assert_eq!(again(&mut seen, &places, false), (true, 1));
    assert_eq!(seen.findings().len(), 1);
    let notes = folder.join(note::NOTES).join("sub");
    fs::create_dir(&notes).unwrap();
    let text = format!("{}\n{}\n1.5\n", "a".repeat(40), git_oid(b"x"));
    fs::write(notes.join("x.metadata"), text).unwrap();
    assert_eq!(again(&mut seen, &places, false), (true, 1));
    assert!(seen.findings().is_empty(), "{:?}", seen.findings());

    // One that is unfinished is looked at every time: it grows without a trace in its folder.
    let partial = folder
        .join(note::NOTES)
        .join(format!("w.safetensors.{}.incomplete", etag(b"w")));
    fs::write(&partial, "0123").unwrap();
    again(&mut seen, &places, false);
    assert_eq!(seen.partials()[0].bytes, 4);
    fs::write(&partial, "0123456").unwrap();
    assert!(again(&mut seen, &places, false).0);
    assert_eq!(seen.partials()[0].bytes, 7);

    fs::remove_dir_all(&models).unwrap();
    assert_eq!(again(&mut seen, &places, false), (true, 0));
    assert!(seen.models().is_empty() && seen.caches().is_empty());
}

#[test]
fn a_file_that_moved_between_two_looks_is_not_called_broken() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().canonicalize().unwrap().join("models");
    let places = place(PlaceRule::HubApi, &models);
    let folder = models.join("org/m");
    write_with_note(&folder, "config.json", b"{}");
    let mut seen = Elsewhere::default();
    again(&mut seen, &places, true);
    assert!(seen.findings().is_empty() && !seen.is_unsettled());
    // A program writes it anew, in place, and has not come far.
    fs::write(folder.join("config.json"), b"").unwrap();
    again(&mut seen, &places, false);
    assert!(seen.is_unsettled(), "it is looked at again soon");
    assert!(seen.findings().is_empty(), "{:?}", seen.findings());
    let model = &seen.models()[0];
    assert_eq!(model.state, crate::domain::ModelState::Partial);
    assert!(model.problems[0].contains("is being written"), "{model:?}");
    // It holds still, and nobody has it open.
    again(&mut seen, &places, false);
    assert!(!seen.is_unsettled());
    assert_eq!(seen.findings()[0].rule, crate::domain::Rule::EmptyBlob);
    // Or it goes on, and all is well.
    fs::write(folder.join("config.json"), b"{}").unwrap();
    again(&mut seen, &places, false);
    assert!(seen.findings().is_empty(), "{:?}", seen.findings());
}

#[test]
fn a_folder_that_was_named_is_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let kind = |name: &str| {
        let places = place(PlaceRule::Named, &root.join(name));
        let spots = discover(&places.places, Path::new("/no/hub"));
        assert_eq!(spots.len(), 1);
        let below = spots[0].path.strip_prefix(&root).unwrap().to_owned();
        (spots[0].kind, below.display().to_string())
    };
    fs::create_dir_all(root.join("hub/models--org--m/snapshots")).unwrap();
    assert_eq!(kind("hub"), (CacheKind::Hub, "hub".to_owned()));
    write_with_note(&root.join("swift"), "x", b"x");
    assert_eq!(kind("swift"), (CacheKind::HubApi, "swift".to_owned()));
    write_with_note(&root.join("python"), "x", b"x");
    fs::write(root.join("python/.cache/huggingface/.gitignore"), "*").unwrap();
    assert_eq!(kind("python"), (CacheKind::LocalDir, "python".to_owned()));
    write_with_note(&root.join("base/models/org/m"), "x", b"x");
    let models = (CacheKind::HubApi, "base/models".to_owned());
    assert_eq!(kind("base"), models);
    assert_eq!(kind("base/models"), models);
    fs::create_dir_all(root.join("plain/org/m")).unwrap();
    assert_eq!(kind("plain"), (CacheKind::Folder, "plain".to_owned()));
    // A folder of folders that Python downloaded into is no base of swift-transformers.
    write_with_note(&root.join("many/org/m"), "x", b"x");
    let tag = root.join("many/org/m/.cache/huggingface/CACHEDIR.TAG");
    fs::write(tag, "").unwrap();
    assert_eq!(kind("many"), (CacheKind::Folder, "many".to_owned()));
}

#[test]
fn lm_studio_is_where_its_pointer_says_or_where_it_was_first() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().canonicalize().unwrap();
    let found = || {
        let places = place(PlaceRule::LmStudio, &home);
        let spots = discover(&places.places, Path::new("/no/hub"));
        let mut spots = spots.into_iter();
        spots.next().map(|spot| {
            let below = spot.path.strip_prefix(&home).unwrap();
            below.display().to_string()
        })
    };
    assert_eq!(found(), None);
    fs::create_dir_all(home.join(".lmstudio/models")).unwrap();
    assert_eq!(found().unwrap(), ".lmstudio/models");
    fs::create_dir_all(home.join(".cache/lm-studio/models")).unwrap();
    assert_eq!(found().unwrap(), ".cache/lm-studio/models");
    let moved = home.join("moved");
    fs::create_dir_all(moved.join("models")).unwrap();
    fs::write(
        home.join(".lmstudio-home-pointer"),
        moved.display().to_string(),
    )
    .unwrap();
    assert_eq!(found().unwrap(), "moved/models");
    // What is no path is no pointer.
    fs::write(home.join(".lmstudio-home-pointer"), "\n").unwrap();
    assert_eq!(found().unwrap(), ".cache/lm-studio/models");
}

#[test]
fn what_is_done_about_another_hub_cache_names_it() {
    let repo = crate::cache::fixture::repo("org/m");
    let finding = Finding::new(crate::domain::Rule::Truncated, "x", "y")
        .step(PlanStep::Pull {
            repo: repo.clone(),
            revision: "main".to_owned(),
            files: Vec::new(),
            fetch_bytes: None,
        })
        .step(PlanStep::RemovePartial {
            repo,
            path: "/c/x.incomplete".to_owned(),
            bytes: 9,
            modified_ms: 1,
            is_superseded: false,
            map: None,
        });
    let told = of_place(finding, Path::new("/other/hub"));
    let PlanStep::ByHand { advice } = &told.plan.steps[0] else {
        panic!("{told:?}")
    };
    assert!(advice.contains("larder pull org/m --revision main --cache-dir '/other/hub'"));
    let PlanStep::ByHand { advice } = &told.plan.steps[1] else {
        panic!("{told:?}")
    };
    assert!(advice.contains("larder purge --incomplete org/m --cache-dir '/other/hub'"));
    assert_eq!(
        told.plan.removals().count(),
        0,
        "a repair takes nothing there"
    );
}

/// A plan that was made when a link to nothing stood there.
#[test]
fn a_file_without_a_note_is_somebodys_own_however_old_it_is() {
    let (_dir, layout) = crate::cache::fixture::cache();
    let repo = RepoId::from_folder("models--org--m").unwrap();
    crate::cache::prepare_repo(&layout, &repo).unwrap();
    let (good, mine) = (&b"{\"right\": 1}"[..], "{\"mine\": 1}");
    let blob = layout.blob(&repo, &etag(good));
    fs::write(&blob, good).unwrap();
    let root = layout.root().canonicalize().unwrap();
    let folder = root.join("models/org/m");
    let file = crate::cache::fixture::path("config.json");
    let path = folder.join("config.json");
    let noted = folder.join(note::NOTES).join("config.json.metadata");
    fs::create_dir_all(noted.parent().unwrap()).unwrap();
    let programs = Programs::unknown();
    let eyes = Eyes {
        now: now(),
        table: LockTable::default(),
        programs: &programs,
        ours: &|_, _| None,
    };
    let rule = Rule::DanglingPointer;
    let finding = Finding::new(rule, String::new(), crate::cache::diagnosis::cause(rule));
    let mending = crate::cache::mend::Mending {
        layout: &layout,
        finding: &finding,
        eyes: &eyes,
    };
    // Without a note, and with one that Python was killed over.
    for torn in [false, true] {
        fs::write(&path, mine).unwrap();
        let old = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let times = fs::FileTimes::new().set_modified(old);
        let opened = fs::File::options().write(true).open(&path).unwrap();
        opened.set_times(times).unwrap();
        if torn {
            fs::write(&noted, "abc").unwrap();
        }
        let aside = amend::aside_of(&folder, &file);
        let why = amend::place(mending, &path, &blob, &aside).unwrap_err();
        assert!(why.contains("himself"), "{why}");
        assert_eq!(fs::read_to_string(&path).unwrap(), mine);
        assert!(!aside.exists());
    }
}
