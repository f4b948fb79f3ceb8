//! What keys do: each action on a story, what is asked before it is done, and any keys on any
//! story at any size.

use crossterm::event::KeyCode;
use proptest::prelude::*;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::action::Action;
use super::facts::Facts;
use super::keymap::{Key, Keymap};
use super::pane::Pane;
use super::stage::{self, facts};
use super::ui::{Overlay, Question, Ui};
use super::update::{Effect, View, act, follow, paste, press};
use crate::domain::{
    Command, Event, FileId, FileSelection, JobId, Level, PlanStep, Stamped, VerifyTarget,
};
use crate::store::Store;
use crate::store::script::{Script, commit, repo};

/// A dashboard on a story.
pub(super) struct Desk {
    pub(super) ui: Ui,
    pub(super) store: Store,
    pub(super) facts: Facts,
    pub(super) now_ms: u64,
}

impl Desk {
    pub(super) fn on(script: &Script) -> Self {
        let facts = facts();
        let mut desk = Self {
            ui: Ui::new(&facts),
            store: script.fold(),
            facts,
            now_ms: script.now_ms(),
        };
        desk.look(120, 32);
        desk
    }

    pub(super) fn look(&mut self, width: u16, height: u16) -> Buffer {
        let view = View {
            store: &self.store,
            facts: &self.facts,
            now_ms: self.now_ms,
        };
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        super::view::draw(&mut buffer, &mut self.ui, view);
        buffer
    }

    pub(super) fn act(&mut self, action: Action) -> Vec<Effect> {
        let view = View {
            store: &self.store,
            facts: &self.facts,
            now_ms: self.now_ms,
        };
        act(&mut self.ui, view, action)
    }

    pub(super) fn press(&mut self, key: Key) -> Vec<Effect> {
        let view = View {
            store: &self.store,
            facts: &self.facts,
            now_ms: self.now_ms,
        };
        press(&mut self.ui, view, key)
    }

    pub(super) fn key(&mut self, code: KeyCode) -> Vec<Effect> {
        self.press(Key::of(code))
    }

    pub(super) fn types(&mut self, text: &str) -> Vec<Effect> {
        text.chars()
            .flat_map(|c| {
                let key = if c == '\n' {
                    KeyCode::Enter
                } else {
                    KeyCode::Char(c)
                };
                self.key(key)
            })
            .collect()
    }

    pub(super) fn paste(&mut self, text: &str) {
        let view = View {
            store: &self.store,
            facts: &self.facts,
            now_ms: self.now_ms,
        };
        paste(&mut self.ui, view, text);
    }

    pub(super) fn follow(&mut self) -> Vec<Effect> {
        let view = View {
            store: &self.store,
            facts: &self.facts,
            now_ms: self.now_ms,
        };
        follow(&mut self.ui, view)
    }

    pub(super) fn refused(&self) -> Option<&str> {
        let message = self.ui.message.as_ref()?;
        message.is_refusal.then_some(message.text.as_str())
    }
}

/// Commands sent, without the lines beside them.
pub(super) fn sent(effects: &[Effect]) -> Vec<Command> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Send(command) => Some(command.clone()),
            _ => None,
        })
        .collect()
}

/// Lines for the log.
fn told(effects: &[Effect]) -> Vec<&str> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Log(line) => Some(line.as_str()),
            _ => None,
        })
        .collect()
}

pub(super) fn sick() -> Script {
    stage::zoo(Script::new())
        .then(
            1,
            Event::FindingsSeen {
                findings: stage::findings(),
            },
        )
        .then(
            1,
            Event::LocksSeen {
                locks: stage::locks(),
            },
        )
}

fn running() -> Script {
    stage::zoo(Script::planned())
        .connecting(3, 1)
        .downloading(3, 1, 0)
        .progress(500, 3, 1, 90_000_000)
}

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
fn the_command_line_knows_the_commands() {
    let mut desk = Desk::on(&sick());
    desk.act(Action::Command);
    let effects = desk.types("pull mlx-community/x\n");
    assert!(matches!(sent(&effects).as_slice(), [Command::Pull(_)]));
    assert!(desk.ui.overlay.is_none());

    desk.act(Action::Command);
    assert!(desk.types("fly\n").is_empty());
    let Some(Overlay::Command(line)) = &desk.ui.overlay else {
        panic!("a mistake stays to be corrected");
    };
    assert_eq!(line.error.as_deref(), Some("there is no command `fly`"));
    desk.ui.overlay = None;

    desk.act(Action::Command);
    let effects = desk.types("theme light\n");
    assert!(effects.contains(&Effect::Remember("theme", "light".to_owned())));
    desk.act(Action::Command);
    desk.types("level debug\n");
    assert_eq!(desk.ui.level, Level::Debug);
    desk.act(Action::Command);
    assert!(desk.types("demo\n").is_empty());
    let Some(Overlay::Command(line)) = &desk.ui.overlay else {
        panic!("it is for a shell");
    };
    assert!(line.error.as_deref().unwrap().contains("in a shell"));
    // Lines of the past come back.
    desk.ui.overlay = None;
    desk.act(Action::Command);
    desk.key(KeyCode::Up);
    desk.key(KeyCode::Up);
    let Some(Overlay::Command(line)) = &desk.ui.overlay else {
        panic!("closed");
    };
    assert_eq!(line.input.value(), "theme light");
}

#[test]
fn tab_completes_commands_repos_and_values() {
    let mut desk = Desk::on(&sick());
    for (typed, tabs, line) in [
        ("verif", 2, "verify-all"),
        ("pul", 1, "pull "),
        (
            "verify mlx-community/Qw",
            1,
            "verify mlx-community/Qwen3-4B-4bit ",
        ),
        ("theme h", 1, "theme high-contrast "),
        ("pull org/m --a", 1, "pull org/m --all "),
        ("zzz", 1, "zzz"),
    ] {
        desk.act(Action::Command);
        desk.types(typed);
        for _ in 0..tabs {
            desk.key(KeyCode::Tab);
        }
        let Some(Overlay::Command(field)) = &desk.ui.overlay else {
            panic!("closed");
        };
        assert_eq!(field.input.value(), line, "{typed}");
        desk.ui.overlay = None;
    }
}

#[test]
fn filters_narrow_and_are_taken_back() {
    let mut desk = Desk::on(&sick());
    desk.act(Action::Filter);
    desk.types("qwen");
    assert_eq!(desk.ui.filter(Pane::Models).text(), "qwen");
    desk.key(KeyCode::Esc);
    assert!(desk.ui.filter(Pane::Models).is_empty(), "as before");
    desk.act(Action::Filter);
    desk.types("mlx size>1GB\n");
    desk.look(120, 32);
    desk.act(Action::Bottom);
    assert_eq!(desk.ui.models.index, 2, "three of six are left");
    desk.act(Action::NextMatch);
    assert_eq!(desk.ui.models.index, 0, "around the end");
    desk.act(Action::PreviousMatch);
    assert_eq!(desk.ui.models.index, 2);
    desk.act(Action::Back);
    assert!(desk.ui.filter(Pane::Models).is_empty());
}

#[test]
fn a_pasted_link_is_a_model_to_add() {
    let mut desk = Desk::on(&sick());
    desk.paste("https://huggingface.co/mlx-community/gemma-2-2b-it-4bit/tree/main\n");
    let Some(Overlay::Add(_)) = &desk.ui.overlay else {
        panic!("no dialog");
    };
    let effects = desk.key(KeyCode::Enter);
    let [Command::Pull(request)] = &sent(&effects)[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(request.repo, repo());
    assert!(request.dry_run, "it is looked at first");
    desk.ui.overlay = None;
    desk.paste("just some words");
    assert!(desk.ui.overlay.is_none());
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

/// Any event of the stories, for any of two jobs.
fn any_events() -> impl Strategy<Value = Vec<Stamped>> {
    let stories: Vec<Vec<Stamped>> = vec![
        Script::complete().events,
        Script::broken().events,
        Script::cancelled().events,
        sick().events,
        super::screens::many_files(40).events,
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
