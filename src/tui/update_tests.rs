//! What keys do: each action on a story, what is asked before it is done, and any keys on any
//! story at any size.

use crossterm::event::KeyCode;
use proptest::prelude::*;
use ratatui::layout::Rect;

use super::action::Action;
use super::desk::{Desk, running, sent, sick, told};
use super::keymap::{Key, Keymap};
use super::pane::Pane;
use super::stage;
use super::ui::{Overlay, Question};
use super::update::{Effect, View};
use crate::domain::{
    Command, Event, Failure, FailureCode, FileId, FileSelection, JobId, ModelState, Outcome,
    PlanStep, Recognition, Revision, Stamped, VerifyTarget,
};
use crate::store::script::{Script, commit, model_row, repo};

#[test]
fn retry_is_for_what_failed_and_names_its_command() {
    let mut desk = Desk::on(&Script::broken());
    let effects = desk.act(Action::Retry);
    assert_eq!(
        sent(&effects),
        [Command::Retry(FileSelection::Job(JobId(0)))]
    );
    assert_eq!(
        told(&effects),
        ["$ larder pull mlx-community/gemma-2-2b-it-4bit"]
    );

    desk.act(Action::Focus(Pane::Files));
    let effects = desk.act(Action::Retry);
    assert_eq!(
        sent(&effects),
        [Command::Retry(FileSelection::Files(
            JobId(0),
            vec![FileId(0)]
        ))]
    );
    assert_eq!(
        sent(&desk.act(Action::RetryAll)),
        [Command::Retry(FileSelection::Job(JobId(0)))]
    );

    let mut desk = Desk::on(&stage::zoo(Script::complete()));
    assert!(desk.act(Action::Retry).is_empty());
    assert!(desk.refused().unwrap().contains("nothing to retry"));
    assert!(desk.act(Action::RetryAll).is_empty());
}

#[test]
fn retry_pulls_what_is_broken() {
    let mut desk = Desk::on(&sick());
    let effects = desk.act(Action::Retry);
    let [Command::Pull(request)] = &sent(&effects)[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(
        request.repo.name(),
        "mlx-community/Llama-3.2-3B-Instruct-4bit"
    );
    assert!(!request.dry_run);
    // A finding's plan says what to pull.
    desk.act(Action::Focus(Pane::Health));
    desk.act(Action::Down);
    let effects = desk.act(Action::Retry);
    assert!(matches!(sent(&effects).as_slice(), [Command::Pull(_)]));
}

#[test]
fn marks_say_for_which_files() {
    let mut desk = Desk::on(&Script::broken());
    desk.act(Action::Focus(Pane::Files));
    desk.act(Action::Mark);
    desk.act(Action::Down);
    desk.act(Action::Down);
    desk.act(Action::Mark);
    assert_eq!(desk.ui.marked_files.len(), 2);
    assert_eq!(
        sent(&desk.act(Action::Retry)),
        [Command::Retry(FileSelection::Files(
            JobId(0),
            vec![FileId(0), FileId(3)]
        ))]
    );
    assert!(desk.ui.marked_files.is_empty(), "done with them");
    desk.act(Action::Mark);
    desk.act(Action::Back);
    assert!(desk.ui.marked_files.is_empty());
}

#[test]
fn verify_is_for_the_marked_models() {
    let mut desk = Desk::on(&sick());
    let target = |name: &str| VerifyTarget {
        repo: crate::domain::RepoId::new(crate::domain::RepoKind::Model, name).unwrap(),
        revision: Some(commit().to_string()),
    };
    desk.act(Action::Down);
    desk.act(Action::Mark);
    desk.act(Action::Mark);
    let effects = desk.act(Action::Verify);
    assert_eq!(
        sent(&effects),
        [Command::Verify {
            targets: vec![
                target("mlx-community/Qwen3-4B-4bit"),
                target("mlx-community/gemma-3-1b-it-4bit"),
            ],
            is_deep: true,
        }]
    );
    assert!(told(&effects)[0].starts_with("$ larder verify --deep mlx-community/Qwen3-4B-4bit@"));
    assert_eq!(
        sent(&desk.act(Action::VerifyAll)),
        [Command::Verify {
            targets: Vec::new(),
            is_deep: true,
        }]
    );
    let verifying = sick().then(
        1,
        Event::VerifyStarted {
            snapshots: 1,
            files: 1,
            bytes: 1,
        },
    );
    let mut desk = Desk::on(&verifying);
    assert!(desk.act(Action::VerifyAll).is_empty());
    desk.act(Action::Focus(Pane::Health));
    assert_eq!(
        sent(&desk.act(Action::Cancel)),
        [Command::Cancel(FileSelection::Job(JobId(0)))]
    );
}

#[test]
fn nothing_is_purged_before_somebody_says_yes() {
    for no in [
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Char('n'),
        KeyCode::Char('q'),
    ] {
        let mut desk = Desk::on(&sick());
        desk.act(Action::Focus(Pane::Log));
        assert!(desk.act(Action::Purge).is_empty());
        // In the log there is no selected model: everything is meant.
        let Some(Overlay::Ask {
            question: Question::Purge(plan),
            ..
        }) = &desk.ui.overlay
        else {
            panic!("no question");
        };
        assert_eq!(plan.removals().count(), 2);
        assert_eq!(plan.freed_bytes(), 345_000_000);
        for key in [
            KeyCode::Char('j'),
            KeyCode::Char('x'),
            KeyCode::Tab,
            KeyCode::Char(' '),
        ] {
            assert!(desk.key(key).is_empty());
            assert!(desk.ui.overlay.is_some(), "{key:?} is no answer");
        }
        assert!(desk.key(no).is_empty(), "{no:?} is No");
        assert!(desk.ui.overlay.is_none());
    }
    let mut desk = Desk::on(&sick());
    for _ in 0..2 {
        desk.act(Action::Down);
    }
    desk.act(Action::Purge);
    let effects = desk.key(KeyCode::Char('y'));
    let [Command::Purge(plan)] = &sent(&effects)[..] else {
        panic!("{effects:?}");
    };
    assert!(matches!(
        plan.steps.as_slice(),
        [PlanStep::RemovePartial { repo, .. }] if repo.name() == "mlx-community/gemma-3-1b-it-4bit"
    ));
    assert_eq!(
        told(&effects),
        ["$ larder purge --incomplete mlx-community/gemma-3-1b-it-4bit --yes"]
    );
}

#[test]
fn pause_turns_into_resume() {
    let mut desk = Desk::on(&running());
    assert_eq!(
        sent(&desk.act(Action::Pause)),
        [Command::Pause(FileSelection::Job(JobId(0)))]
    );
    let mut script = running();
    for file in [0, 1, 2, 3, 4] {
        script = script.then(
            1,
            Event::Cancelled {
                file: FileId(file),
                attempt: 1,
                is_paused: true,
            },
        );
    }
    let mut desk = Desk::on(&script);
    assert_eq!(
        sent(&desk.act(Action::Pause)),
        [Command::Resume(FileSelection::Job(JobId(0)))]
    );
    desk.act(Action::Focus(Pane::Files));
    assert_eq!(
        sent(&desk.act(Action::Pause)),
        [Command::Resume(FileSelection::Files(
            JobId(0),
            vec![FileId(0)]
        ))]
    );
    assert_eq!(
        sent(&desk.act(Action::Cancel)),
        [Command::Cancel(FileSelection::Files(
            JobId(0),
            vec![FileId(0)]
        ))]
    );
    let mut idle = Desk::on(&sick());
    assert!(idle.act(Action::Pause).is_empty() && idle.act(Action::Cancel).is_empty());
    assert!(idle.refused().is_some());
}

#[test]
fn leaving_asks_only_where_something_runs() {
    let mut idle = Desk::on(&sick());
    assert_eq!(idle.act(Action::Quit), [Effect::Quit]);
    let mut desk = Desk::on(&running());
    assert!(desk.act(Action::Quit).is_empty());
    assert!(desk.key(KeyCode::Enter).is_empty());
    assert!(desk.press(Key::ctrl('c')).is_empty());
    assert_eq!(
        desk.press(Key::ctrl('c')),
        [Effect::Abort],
        "twice is at once"
    );
    desk.act(Action::Quit);
    assert_eq!(desk.key(KeyCode::Char('y')), [Effect::Quit]);
}

#[test]
fn read_only_writes_nothing() {
    let mut desk = Desk::on(&sick());
    desk.facts.is_read_only = true;
    for action in Action::ALL {
        if !action.is_writing() {
            continue;
        }
        assert!(desk.act(action).is_empty(), "{}", action.name());
        assert!(desk.refused().unwrap().contains("read-only"));
        assert!(desk.ui.overlay.is_none());
    }
    for line in [
        "pull org/m",
        "purge --incomplete",
        "purge org/m",
        "trash restore last",
        "add org/m",
    ] {
        desk.act(Action::Command);
        let effects = desk.types(&format!("{line}\n"));
        assert!(sent(&effects).is_empty(), "{line}");
        desk.ui.overlay = None;
    }
    desk.paste("mlx-community/gemma-2-2b-it-4bit");
    assert!(desk.ui.overlay.is_none());
    assert!(
        !sent(&desk.act(Action::VerifyAll)).is_empty(),
        "reading is allowed"
    );
}

#[test]
fn what_is_selected_is_watched_and_its_files_are_asked_for() {
    let mut desk = Desk::on(&sick());
    let commands = sent(&desk.follow());
    assert!(matches!(
        commands.as_slice(),
        [Command::Watch(Some(_)), Command::List(Some(_))]
    ));
    assert!(desk.follow().is_empty(), "once");
    desk.act(Action::Down);
    assert_eq!(sent(&desk.follow()).len(), 2);
}

#[test]
fn copying_takes_what_is_most_useful() {
    let mut desk = Desk::on(&sick());
    let copied = |effects: Vec<Effect>| match effects.as_slice() {
        [Effect::Copy(text)] => text.clone(),
        other => panic!("{other:?}"),
    };
    assert!(copied(desk.act(Action::Copy)).contains("/snapshots/"));
    desk.act(Action::Focus(Pane::Health));
    desk.act(Action::Down);
    assert!(copied(desk.act(Action::Copy)).contains('\n'));
    desk.act(Action::Focus(Pane::Locks));
    assert!(copied(desk.act(Action::Copy)).contains("/.locks/"));
    let mut failed = Desk::on(&Script::broken());
    failed.act(Action::Focus(Pane::Files));
    assert!(copied(failed.act(Action::Copy)).contains("no such file"));
    let mut empty = Desk::on(&Script::new());
    assert!(empty.act(Action::Copy).is_empty());
}

#[test]
fn the_guide_is_asked_for_shown_and_copied_as_a_script_or_as_addresses() {
    let mut desk = Desk::on(&Script::broken());
    let effects = desk.press(Key::char('m'));
    assert_eq!(
        told(&effects),
        ["$ larder guide mlx-community/gemma-2-2b-it-4bit"]
    );
    assert!(matches!(
        sent(&effects).as_slice(),
        [Command::Guide(request)] if request.repo == repo()
    ));
    let shown = |desk: &mut Desk| super::screens::text(&desk.look(120, 32));
    assert!(shown(&mut desk).contains("asking what is missing"));
    assert!(desk.press(Key::char('y')).is_empty(), "nothing to copy yet");
    assert!(desk.refused().is_some());
    desk.store = Script::broken().guided().fold();
    let text = shown(&mut desk);
    assert!(text.contains("/resolve/"), "{text}");
    let copied = |effects: Vec<Effect>| match effects.as_slice() {
        [Effect::Copy(text)] => text.clone(),
        other => panic!("{other:?}"),
    };
    assert!(copied(desk.press(Key::char('y'))).starts_with("#!/bin/sh\n"));
    let urls = copied(desk.press(Key::char('Y')));
    assert!(
        urls.lines().count() == 2 && urls.starts_with("https://"),
        "{urls}"
    );
    desk.press(Key::char('j'));
    assert!(matches!(
        &desk.ui.overlay,
        Some(Overlay::Guide { scroll: 1, .. })
    ));
    desk.key(KeyCode::Esc);
    assert!(desk.ui.overlay.is_none());
    // Where there is none, why and what to do.
    let failure =
        crate::domain::Failure::new(crate::domain::FailureCode::Offline, "not known here");
    let none = Script::broken().then(
        5,
        Event::Guided {
            repo: repo(),
            guide: None,
            failure: Some(failure),
        },
    );
    let mut desk = Desk::on(&none);
    desk.press(Key::char('m'));
    let text = shown(&mut desk);
    assert!(
        text.contains("not known here") && text.contains("go online"),
        "{text}"
    );
}

/// What pressing an action's key changes: every binding of the map has its line here, and a new
/// one without it fails.
#[test]
fn every_binding_does_something() {
    let map = Keymap::default();
    for binding in map.all() {
        let pane = binding.panes[0];
        let script = match binding.action {
            Action::Pause | Action::Cancel => running(),
            Action::Retry | Action::RetryAll => Script::broken(),
            _ => sick(),
        };
        for key in &binding.keys {
            let mut desk = Desk::on(&script);
            desk.ui.focus_on(pane);
            match binding.action {
                // There must be something above, or something to take back.
                Action::Up | Action::PageUp | Action::Top => {
                    desk.act(Action::Bottom);
                }
                Action::NextMatch | Action::PreviousMatch => {
                    desk.ui.set_filter(pane, "mlx");
                    desk.look(120, 32);
                }
                Action::Back => desk.ui.set_filter(pane, "x"),
                Action::Copy if pane == Pane::Log => {}
                Action::Focus(to) if to == pane => desk.ui.focus_on(pane.next()),
                _ => {}
            }
            let before = format!("{:?}", desk.ui);
            let effects = desk.press(*key);
            let has_changed = format!("{:?}", desk.ui) != before;
            assert!(
                has_changed || !effects.is_empty(),
                "{} ({key}) in {pane:?} does nothing",
                binding.action.name()
            );
        }
    }
}

#[test]
fn a_key_of_another_pane_says_where_it_is_for() {
    let mut desk = Desk::on(&sick());
    desk.act(Action::Focus(Pane::Locks));
    assert!(desk.press(Key::char('s')).is_empty());
    let words = desk.refused().unwrap();
    assert!(
        words.contains("1 Models") && words.contains("2 Files"),
        "{words}"
    );
}

/// What an import left missing is pulled: nobody offers those files a second time.
#[test]
fn after_an_import_a_model_is_what_the_cache_has_of_it_and_a_retry_is_a_pull() {
    let recognised = Recognition {
        repo: repo(),
        revision: Revision::main(),
        commit: commit(),
        is_offline: true,
        offers: Vec::new(),
        more_foreign: 3,
        missing: Vec::new(),
    };
    let failure = Failure::new(FailureCode::Incomplete, "none of the 3 files is one of it");
    for (state, word) in [
        (ModelState::Complete, "complete"),
        (ModelState::Partial, "partial"),
    ] {
        let mut row = model_row("mlx-community/gemma-2-2b-it-4bit", 5);
        row.state = state;
        let models = vec![row];
        let script = Script::started()
            .then(1, Event::Recognised(recognised.clone()))
            .then(
                1,
                Event::Ended(Outcome::Failed {
                    failures: vec![failure.clone()],
                }),
            )
            .then(1, Event::ModelsListed { models });
        let mut desk = Desk::on(&script);
        let picture = super::screens::text(&desk.look(120, 32));
        let first = picture.lines().nth(2).unwrap();
        assert!(first.contains(word), "{picture}");
        let sent = sent(&desk.act(Action::Retry));
        match state {
            ModelState::Complete => assert!(sent.is_empty(), "{sent:?}"),
            _ => assert!(matches!(&sent[..], [Command::Pull(_)]), "{sent:?}"),
        }
    }
}

/// Any event of the stories, for any of two jobs.
fn any_events() -> impl Strategy<Value = Vec<Stamped>> {
    let stories: Vec<Vec<Stamped>> = vec![
        Script::complete().events,
        Script::broken().events,
        Script::cancelled().events,
        sick().events,
        super::row_screens::many_files(40).events,
    ];
    let all: Vec<Stamped> = stories.into_iter().flatten().collect();
    prop::collection::vec((prop::sample::select(all), 0..2_u32), 0..80).prop_map(|picked| {
        picked
            .into_iter()
            .map(|(mut stamped, job)| {
                stamped.job = JobId(job);
                stamped
            })
            .collect()
    })
}

fn any_key() -> impl Strategy<Value = Key> {
    let keys: Vec<Key> = Keymap::default()
        .all()
        .iter()
        .flat_map(|binding| binding.keys.clone())
        .filter(|key| *key != Key::ctrl('z'))
        .chain([
            Key::of(KeyCode::Backspace),
            Key::of(KeyCode::Delete),
            Key::ctrl('w'),
            Key::char('ü'),
            Key::char('🦙'),
        ])
        .collect();
    prop_oneof![
        3 => prop::sample::select(keys),
        1 => any::<char>().prop_map(Key::char),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn any_keys_on_any_story_at_any_size_give_a_picture(
        events in any_events(),
        keys in prop::collection::vec((any_key(), 0..250_u16, 0..70_u16), 0..40),
        is_ascii in any::<bool>(),
    ) {
        let mut desk = Desk::on(&Script::new());
        desk.facts.is_ascii = is_ascii;
        let mut events = events.into_iter();
        for (key, width, height) in keys {
            for stamped in events.by_ref().take(3) {
                desk.now_ms = desk.now_ms.max(stamped.at_ms);
                crate::store::reduce(&mut desk.store, &stamped);
            }
            desk.press(key);
            desk.follow();
            let buffer = desk.look(width, height);
            prop_assert_eq!(buffer.area, Rect::new(0, 0, width, height));
            for cell in &buffer.content {
                prop_assert!(!cell.symbol().contains(|c: char| c.is_control()));
                prop_assert!(!is_ascii || cell.symbol().is_ascii());
            }
            let view = View { store: &desk.store, facts: &desk.facts, now_ms: desk.now_ms };
            let scene = super::rows::Scene::build(&mut desk.ui, view.store, view.now_ms);
            for pane in Pane::ALL {
                let len = scene.len(pane);
                let at = *desk.ui.place(pane).0;
                prop_assert!(at < len.max(1), "{:?}: {} of {}", pane, at, len);
            }
        }
    }
}
