//! Screens about rows: very many, with strange names, of others, and what hashing said of them.

use super::action::Action;
use super::pane::Pane;
use super::screens::{SIZES, Screen, check, downloading, text};
use super::stage;
use super::theme::ThemeName;
use crate::domain::{
    Bundle, CacheKind, Event, Failure, FailureCode, FileId, FileRow, FileState, Finding, LockState,
    ModelState, OtherProgress, OtherPull, Outcome, PlannedFile, PullPlan, RepoId, RepoKind, Rule,
    Verification,
};
use crate::store::Level;
use crate::store::script::{Script, file_row, model_row, plan, planned_file};

#[test]
fn another_download_goes_first() {
    let waiting = Script::started().then(
        1,
        Event::WaitingForPull(OtherPull {
            pid: Some(4_121),
            program: Some("larder".to_owned()),
            progress: Some(OtherProgress {
                files_done: 3,
                files_total: 5,
                bytes_done: 812_000_000,
                bytes_total: 1_350_000_000,
            }),
            proof: "its `flock` is taken".to_owned(),
        }),
    );
    check(&Screen::of("waiting_for_pull", &waiting).after(&[Action::Focus(Pane::Files)]));
}

/// A partial model that another larder is at.
#[test]
fn another_download_goes_on() {
    let mut row = model_row("mlx-community/gemma-2-2b-it-4bit", 5);
    row.state = ModelState::Partial;
    row.refs.clear();
    row.problems = vec!["a pull was not finished".to_owned()];
    let mut marker = stage::locks().remove(3);
    marker.state = LockState::Held;
    marker.pid = Some(4_121);
    marker.program = Some("larder".to_owned());
    marker.proof = "its `flock` is taken; it has 4 of 5 files, 7 %".to_owned();
    let locks = vec![marker];
    let script = Script::listed(vec![row])
        .then(1, Event::LocksSeen { locks })
        .then(
            1,
            Event::PartialsSeen {
                partials: stage::partials(),
            },
        );
    check(&Screen::of("fetched_elsewhere", &script).after(&[Action::Focus(Pane::Files)]));
}

#[test]
fn locks_of_others() {
    let script = downloading()
        .then(
            1,
            Event::LocksSeen {
                locks: stage::locks(),
            },
        )
        .then(
            1,
            Event::PartialsSeen {
                partials: stage::partials(),
            },
        )
        .waiting(10, 4, 1);
    check(&Screen::of("locks_held", &script).after(&[Action::Focus(Pane::Locks)]));
    check(&Screen::of("foreign", &script).after(&[Action::Focus(Pane::Files)]));
}

/// A plan of many files, four of them under way.
pub(super) fn many_files(files: u32) -> Script {
    let planned: Vec<PlannedFile> = (0..files)
        .map(|id| planned_file(id, &format!("data/part-{id:05}.safetensors"), 5_000_000))
        .collect();
    let plan = PullPlan {
        total_bytes: u64::from(files) * 5_000_000,
        fetch_bytes: u64::from(files) * 5_000_000,
        files: planned,
        ..plan()
    };
    let mut script = Script::new()
        .then(0, Script::planned().events[0].event.clone())
        .then(1, Event::Planned(plan));
    for file in 0..files / 2 {
        let file = FileId(file);
        script = script
            .then(
                0,
                Event::Connecting {
                    file,
                    attempt: 1,
                    source: "huggingface.co".to_owned(),
                },
            )
            .then(
                0,
                Event::Finished {
                    file,
                    attempt: 1,
                    fetched_bytes: 5_000_000,
                },
            );
    }
    for file in files / 2..files / 2 + 64.min(files / 2) {
        script = script.connecting(file, 1).downloading(file, 1, 0).progress(
            20,
            file,
            1,
            1_000_000 + u64::from(file % 7) * 500_000,
        );
    }
    script
}

#[test]
fn ten_thousand_files_scrolled_to_the_middle() {
    check(&Screen::of("many_files", &many_files(10_000)).after(&[Action::Focus(Pane::Files)]));
}

#[test]
fn a_thousand_models() {
    let models = (0..1_000)
        .map(|at| model_row(&format!("org/model-{at:04}"), 1_000_000 * (at + 1)))
        .collect();
    let script = stage::zoo(Script::new()).then(1, Event::ModelsListed { models });
    let screen = Screen::of("many_models", &script);
    check(&screen.after(&[Action::PageDown, Action::PageDown, Action::PageDown]));
}

#[test]
fn strange_names() {
    let long = format!("org/{}", "x".repeat(90));
    let mut models = vec![model_row(&long, 7_000), model_row("org/m", 1)];
    models[1].refs = vec!["分支/🦙-很长的名字".repeat(8)];
    let mut files: Vec<FileRow> = vec![
        file_row("模型/权重-🦙🦙🦙.safetensors", 1_330_000_000),
        file_row(&"长".repeat(200), 48_000),
        file_row(&"n".repeat(200), 48_000),
        file_row("a\u{1b}[31mred\u{7}\u{202e}gpj.exe", 12),
        file_row("é́combining.json", 5),
    ];
    files[1].state = crate::domain::FileState::Truncated;
    let failure = Failure::new(FailureCode::Server, "the server answered 500")
        .because("\u{1b}]0;owned\u{7}\u{9b}2J");
    let script = Script::new()
        .then(
            1,
            Event::ModelsListed {
                models: models.clone(),
            },
        )
        .then(
            1,
            Event::FilesListed {
                model: Box::new(models[0].clone()),
                files,
            },
        )
        .then(1, Event::Ended(Outcome::Listed))
        .then(1, Event::CacheUnreadable { failure })
        .then(1, Event::ModelsListed { models });
    let screen =
        Screen::of("strange_names", &script).after(&[Action::Down, Action::Focus(Pane::Files)]);
    for size in SIZES {
        let shown = text(&screen.draw(size, ThemeName::Dark));
        assert!(!shown.contains(['\u{1b}', '\u{9b}', '\u{202e}', '\u{7}']));
    }
    check(&screen);
}

#[test]
fn in_ascii_and_read_only() {
    let screen = Screen::of("ascii", &downloading())
        .after(&[Action::Focus(Pane::Files)])
        .with(|facts| {
            facts.is_ascii = true;
            facts.is_read_only = true;
        });
    for size in SIZES {
        let shown = text(&screen.draw(size, ThemeName::Dark));
        assert!(shown.is_ascii(), "{shown}");
    }
    check(&screen);
}

#[test]
fn files_say_what_hashing_said_of_them() {
    let row = model_row("org/m", 2_000);
    let mut files = vec![
        file_row("config.json", 1_000),
        file_row("model.safetensors", 1_000),
        file_row("notes.txt", 5),
        file_row("README.md", 8),
    ];
    files[2].state = FileState::Regular;
    files[3].state = FileState::Absent;
    files[3].size_bytes = None;
    let finding = Finding::new(
        Rule::WrongHash,
        "`model.safetensors` does not hash to its name",
        "a disk that forgets",
    )
    .of_model(&row.repo, Some(&row.revision))
    .of_file("model.safetensors");
    let verified = Verification {
        what: Bundle::Snapshot,
        cache: CacheKind::Hub,
        repo: Some(row.repo.clone()),
        revision: row.revision.clone(),
        snapshot: row.snapshot.clone(),
        files_good: 1,
        files_total: 3,
        files_unread: 0,
        files_unknown: 1,
        files_hashed: 0,
        basis: Vec::new(),
        bytes: 2_000,
        findings: vec![finding],
    };
    let script = Script::new()
        .then(
            1,
            Event::ModelsListed {
                models: vec![row.clone()],
            },
        )
        .then(
            1,
            Event::FilesListed {
                model: Box::new(row),
                files,
            },
        )
        .then(1, Event::ModelVerified(verified));
    let screen = Screen::of("hashed", &script).after(&[Action::Focus(Pane::Files)]);
    let shown = text(&screen.draw((80, 24), ThemeName::Dark));
    for (file, word) in [
        ("config.json", "verified"),
        ("model.safetensors", "wrong hash"),
        ("notes.txt", "here, no pointer"),
        ("README.md", "not fetched"),
    ] {
        let line = shown.lines().find(|line| line.contains(file));
        assert!(line.is_some_and(|line| line.contains(word)), "{shown}");
    }
    check(&screen);
}

#[test]
fn a_broken_model_after_verifying() {
    let repo = RepoId::new(RepoKind::Model, "mlx-community/Qwen3-4B-4bit").unwrap();
    let zoo = stage::zoo(Script::new());
    let snapshot = zoo
        .fold()
        .shelf()
        .models()
        .unwrap()
        .iter()
        .find(|row| row.repo == repo)
        .map(|row| row.snapshot.clone())
        .unwrap();
    let finding = stage::findings().remove(0);
    let verified = |findings| {
        Event::ModelVerified(Verification {
            what: Bundle::Snapshot,
            cache: CacheKind::Hub,
            repo: Some(repo.clone()),
            revision: crate::store::script::commit().to_string(),
            snapshot: snapshot.clone(),
            files_good: 5,
            files_total: 6,
            files_unread: 0,
            files_unknown: 0,
            files_hashed: 0,
            basis: Vec::new(),
            bytes: 2_280_000_000,
            findings,
        })
    };
    let script = zoo.then(1, verified(vec![finding]));
    let store = script.fold();
    assert_eq!(store.shelf().findings().len(), 1);
    assert!(
        store
            .log()
            .since(0)
            .any(|line| line.level == Level::Error && line.text.contains("5 of 6 files right"))
    );
    let again = script.then(1, verified(Vec::new())).fold();
    assert!(again.shelf().findings().is_empty());
}
