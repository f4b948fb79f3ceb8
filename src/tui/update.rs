//! Owns what a key does: the state of the picture and wishes for the rest of the program. Pure.
//!
//! Never does I/O. **Law**: what takes something away is asked first, and the answer is No until
//! somebody says Yes; every wish has its line in the log with the command that does the same.

use crossterm::event::KeyCode;
use tui_input::{Input, InputRequest};

use super::action::Action;
use super::facts::Facts;
use super::keymap::Key;
use super::pane::Pane;
use super::rows::{ModelKey, Scene, finding_key};
use super::ui::{Add, CommandLine, Overlay, Question, Subject, Ui};
use super::{dialog, holding, mending, pulling, purging, typed, wish};
use crate::domain::{Command, RepoId, UnfinishedPull};
use crate::store::{Level, Pull, Store};

/// What the loop is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a command to the engine.
    Send(Command),
    /// Write a line into the log pane.
    Log(String),
    /// Put a text on the clipboard.
    Copy(String),
    /// Keep a setting in the config file.
    Remember(&'static str, String),
    /// Draw everything again.
    Redraw,
    /// Stop, as the shell's job control does.
    Suspend,
    /// Leave.
    Quit,
    /// Leave at once.
    Abort,
}

/// Everything an update looks at.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The store.
    pub store: &'a Store,
    /// What the dashboard was told.
    pub facts: &'a Facts,
    /// Now, milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// Pulls of earlier runs did not end: they go on where that was asked for at the start, else the
/// user is asked, unless something else is being answered.
pub(super) fn unfinished(
    ui: &mut Ui,
    store: &Store,
    facts: &Facts,
    pulls: &[UnfinishedPull],
) -> Vec<Effect> {
    let is_new = |pull: &&UnfinishedPull| {
        let mut targets = store.pulls().map(Pull::target);
        targets.all(|target| target.repo != pull.repo || target.revision != pull.revision)
    };
    let pulls: Vec<UnfinishedPull> = pulls.iter().filter(is_new).cloned().collect();
    if pulls.is_empty() || facts.is_read_only {
        return Vec::new();
    }
    if facts.resumes {
        return pulling::resume(ui, facts, &pulls);
    }
    if ui.overlay.is_none() {
        let question = Question::Resume(pulls);
        ui.overlay = Some(Overlay::Ask {
            question,
            scroll: 0,
        });
    }
    Vec::new()
}

/// A key was pressed.
pub fn press(ui: &mut Ui, view: View<'_>, key: Key) -> Vec<Effect> {
    // What the last key came to was read by whoever presses the next one.
    ui.message = None;
    // Whoever presses Ctrl-C twice wants to leave, whatever is open.
    if key == Key::ctrl('c')
        && let Some(Overlay::Ask {
            question: Question::Quit,
            ..
        }) = ui.overlay
    {
        return vec![Effect::Abort];
    }
    if key == Key::ctrl('c') {
        return quit(ui, view);
    }
    if key == Key::ctrl('z') {
        return vec![Effect::Suspend];
    }
    if key == Key::ctrl('l') {
        return vec![Effect::Redraw];
    }
    match ui.overlay.take() {
        None => act_on_key(ui, view, key),
        Some(Overlay::Help { scroll }) => {
            let next = scrolled(scroll, key);
            ui.overlay = next.map(|scroll| Overlay::Help { scroll });
            Vec::new()
        }
        Some(Overlay::Details { of, scroll }) => details_key(ui, view, of, scroll, key),
        Some(Overlay::Guide { repo, scroll }) => guide_key(ui, view, repo, scroll, key),
        Some(Overlay::Trash(list)) => holding::key(ui, view, list, key),
        Some(Overlay::Ask { question, scroll }) => dialog::answer(ui, view, question, scroll, key),
        Some(Overlay::Add(add)) => dialog::add_key(ui, view, add, key),
        Some(Overlay::Command(line)) => typed::command_key(ui, view, line, key),
        Some(Overlay::Filter { input, before }) => {
            filter_key(ui, view.now_ms, (input, before), key);
            Vec::new()
        }
    }
}

/// Text was pasted.
pub(super) fn paste(ui: &mut Ui, view: View<'_>, text: &str) -> Vec<Effect> {
    let text = text.trim().replace(['\r', '\n', '\t'], " ");
    let insert = |input: &mut Input| {
        for c in text.chars().filter(|c| !c.is_control()).take(2_000) {
            input.handle(InputRequest::InsertChar(c));
        }
    };
    match &mut ui.overlay {
        Some(Overlay::Add(add)) if add.planning.is_none() => insert(&mut add.input),
        Some(Overlay::Command(line)) => insert(&mut line.input),
        Some(Overlay::Filter { input, .. }) => {
            insert(input);
            let text = input.value().to_owned();
            let focus = ui.focus;
            ui.set_filter(focus, &text);
        }
        // A link dropped onto the dashboard is a model to add.
        None if !view.facts.is_read_only && crate::domain::RepoReference::parse(&text).is_ok() => {
            let mut input = Input::default();
            insert(&mut input);
            ui.overlay = Some(Overlay::Add(Add {
                input,
                error: None,
                planning: None,
            }));
        }
        _ => {}
    }
    Vec::new()
}

/// What has to follow from what the store says now: which repo is watched, which files are
/// asked for, what the selection is about.
pub fn follow(ui: &mut Ui, view: View<'_>) -> Vec<Effect> {
    let mut effects = Vec::new();
    let store = view.store;
    let scene = Scene::build(ui, store, view.now_ms);
    let model = scene.model(ui);
    let key = model.map(|item| item.key.clone());
    if ui.shown_model != key {
        ui.shown_model = key;
        ui.marked_files.clear();
        ui.files.forget();
        ui.follows_activity = true;
    }
    let repo = model.and_then(|item| item.repo().cloned());
    if ui.watched.as_ref() != Some(&repo) {
        ui.watched = Some(repo.clone());
        effects.push(Effect::Send(Command::Watch(repo.clone())));
    }
    // The files of a model on disk are asked for when it is looked at, and again when it changed.
    if let Some(item) = model
        && item.pull.is_none_or(|pull| pull.plan().is_none())
        && let (Some(row), Some(repo)) = (item.row, repo)
    {
        let seen = (row.snapshot.clone(), wish::fingerprint(row));
        if ui.listed.as_ref() != Some(&seen) {
            ui.listed = Some(seen);
            effects.push(Effect::Send(Command::List(Some(repo))));
        }
    }
    // Marks of what is gone would act on nothing.
    if !ui.marked_models.is_empty() {
        let keys: Vec<&ModelKey> = scene.models.iter().map(|item| &item.key).collect();
        let is_filtered = !ui.filter(Pane::Models).is_empty();
        ui.marked_models
            .retain(|key| is_filtered || keys.contains(&key));
    }
    super::story::go_on(ui, store, view.facts, view.now_ms);
    if ui
        .message
        .as_ref()
        .is_some_and(|message| message.until_ms <= view.now_ms)
    {
        ui.message = None;
    }
    effects
}

fn act_on_key(ui: &mut Ui, view: View<'_>, key: Key) -> Vec<Effect> {
    if wish::is_first_run(view.store)
        && key == Key::of(KeyCode::Enter)
        && !view.facts.offered.is_empty()
    {
        return dialog::add_offered(ui, view);
    }
    match ui.keymap.action(key, ui.focus) {
        Some(action) => act(ui, view, action),
        None => {
            // A key that means something elsewhere says where, instead of doing nothing.
            let elsewhere = ui
                .keymap
                .all()
                .iter()
                .find(|binding| binding.keys.contains(&key));
            if let Some(binding) = elsewhere {
                let panes: Vec<String> = binding
                    .panes
                    .iter()
                    .map(|pane| format!("{} {}", pane.index() + 1, pane.title()))
                    .collect();
                let words = format!(
                    "`{key}` ({}) is for {}",
                    binding.action.name(),
                    panes.join(", ")
                );
                ui.refuse(words, view.now_ms);
            }
            Vec::new()
        }
    }
}

/// Carries an action out.
pub(super) fn act(ui: &mut Ui, view: View<'_>, action: Action) -> Vec<Effect> {
    if action.is_writing() && view.facts.is_read_only {
        ui.refuse(
            format!("{}: this dashboard is read-only", action.name()),
            view.now_ms,
        );
        return Vec::new();
    }
    if ui.focus == Pane::Files && matches!(action, Action::Pause | Action::Cancel | Action::Retry) {
        // The next key is for the same file, wherever something happens meanwhile.
        ui.follows_activity = false;
    }
    match action {
        Action::Help => {
            ui.overlay = Some(Overlay::Help { scroll: 0 });
            Vec::new()
        }
        Action::Details => open_details(ui, view),
        Action::Add => {
            ui.overlay = Some(Overlay::Add(Add {
                input: Input::default(),
                error: None,
                planning: None,
            }));
            Vec::new()
        }
        Action::Retry => pulling::retry(ui, view),
        Action::RetryAll => pulling::retry_all(ui, view),
        Action::Verify => wish::verify(ui, view),
        Action::VerifyAll => wish::verify_all(ui, view),
        Action::Purge => purging::purge(ui, view),
        Action::Fix => mending::fix(ui, view),
        Action::Undo => purging::undo(view.facts),
        Action::Pause => pulling::pause(ui, view),
        Action::Cancel => pulling::cancel(ui, view),
        Action::Copy => wish::copy(ui, view),
        Action::Guide => wish::guide(ui, view),
        Action::Mark => {
            mark(ui, view);
            Vec::new()
        }
        Action::Filter => {
            let before = ui.filter(ui.focus).text().to_owned();
            ui.overlay = Some(Overlay::Filter {
                input: Input::new(before.clone()),
                before,
            });
            Vec::new()
        }
        Action::Command => {
            ui.overlay = Some(Overlay::Command(CommandLine {
                input: Input::default(),
                error: None,
                offers: Vec::new(),
                chosen: None,
                past: None,
            }));
            Vec::new()
        }
        Action::LogLevel => {
            let level = match ui.level {
                Level::Debug => Level::Info,
                Level::Info => Level::Warning,
                Level::Warning => Level::Error,
                Level::Error => Level::Debug,
            };
            dialog::set_level(ui, view, level)
        }
        Action::Zoom => {
            ui.is_zoomed = !ui.is_zoomed;
            Vec::new()
        }
        Action::Theme => {
            let name = ui.theme_name.next();
            dialog::set_theme(ui, view, name)
        }
        Action::NextMatch => step_match(ui, view, true),
        Action::PreviousMatch => step_match(ui, view, false),
        Action::NextPane => focus(ui, ui.focus.next()),
        Action::PreviousPane => focus(ui, ui.focus.previous()),
        Action::Focus(pane) => focus(ui, pane),
        Action::Down => move_by(ui, view, 1),
        Action::Up => move_by(ui, view, -1),
        Action::PageDown => {
            let page = i64::try_from(ui.place(ui.focus).1).unwrap_or(1);
            move_by(ui, view, page)
        }
        Action::PageUp => {
            let page = i64::try_from(ui.place(ui.focus).1).unwrap_or(1);
            move_by(ui, view, -page)
        }
        Action::Top => move_by(ui, view, i64::MIN),
        Action::Bottom => move_by(ui, view, i64::MAX),
        Action::Back => {
            back(ui);
            Vec::new()
        }
        Action::Redraw => vec![Effect::Redraw],
        Action::Suspend => vec![Effect::Suspend],
        Action::Quit => quit(ui, view),
    }
}

fn focus(ui: &mut Ui, pane: Pane) -> Vec<Effect> {
    ui.focus_on(pane);
    Vec::new()
}

/// Takes back one thing: filter, marks, zoom.
fn back(ui: &mut Ui) {
    let pane = ui.focus;
    if !ui.filter(pane).is_empty() {
        ui.set_filter(pane, "");
    } else if !ui.marked_files.is_empty() || !ui.marked_models.is_empty() {
        ui.marked_files.clear();
        ui.marked_models.clear();
    } else if ui.is_zoomed {
        ui.is_zoomed = false;
    } else {
        ui.message = None;
    }
}

fn move_by(ui: &mut Ui, view: View<'_>, rows: i64) -> Vec<Effect> {
    let pane = ui.focus;
    let len = Scene::build(ui, view.store, view.now_ms).len(pane);
    let last = len.saturating_sub(1);
    let now = i64::try_from(*ui.place(pane).0).unwrap_or(0);
    let to = usize::try_from(now.saturating_add(rows).max(0))
        .unwrap_or(usize::MAX)
        .min(last);
    ui.go(pane, to);
    if pane == Pane::Log {
        ui.log.is_at_end = to == last && rows > 0;
    }
    Vec::new()
}

/// To the next or previous row of the filter, around the ends.
fn step_match(ui: &mut Ui, view: View<'_>, is_forward: bool) -> Vec<Effect> {
    let pane = ui.focus;
    if ui.filter(pane).is_empty() {
        ui.refuse("no filter is set; `/` sets one", view.now_ms);
        return Vec::new();
    }
    let len = Scene::build(ui, view.store, view.now_ms).len(pane);
    if len == 0 {
        return Vec::new();
    }
    let now = *ui.place(pane).0;
    let to = if is_forward {
        (now + 1) % len
    } else {
        (now + len - 1) % len
    };
    ui.go(pane, to);
    if pane == Pane::Log {
        ui.log.is_at_end = false;
    }
    Vec::new()
}

fn mark(ui: &mut Ui, view: View<'_>) {
    let scene = Scene::build(ui, view.store, view.now_ms);
    match ui.focus {
        Pane::Models => {
            if let Some(key) = scene.model(ui).map(|item| item.key.clone())
                && !ui.marked_models.remove(&key)
            {
                ui.marked_models.insert(key);
            }
        }
        Pane::Files => {
            if let Some(key) = scene.file(ui).map(|item| item.key())
                && !ui.marked_files.remove(&key)
            {
                ui.marked_files.insert(key);
            }
        }
        Pane::Health | Pane::Locks | Pane::Log => return,
    }
    // As in file managers: the next row is next.
    let pane = ui.focus;
    let (at, len) = (*ui.place(pane).0, scene.len(pane));
    if at + 1 < len {
        ui.go(pane, at + 1);
    }
}

fn open_details(ui: &mut Ui, view: View<'_>) -> Vec<Effect> {
    let scene = Scene::build(ui, view.store, view.now_ms);
    let of = match ui.focus {
        Pane::Models => scene.model(ui).map(|_| Subject::Model),
        Pane::Files => scene.file(ui).map(|_| Subject::File),
        Pane::Health => scene.finding(ui).map(|finding| Subject::Finding {
            key: finding_key(finding),
            words: finding.summary.clone(),
        }),
        Pane::Locks => scene.lock(ui).map(|_| Subject::Lock),
        Pane::Log => scene.line(ui).map(|line| Subject::Line(line.text.clone())),
    };
    ui.overlay = of.map(|of| Overlay::Details { of, scroll: 0 });
    Vec::new()
}

fn details_key(ui: &mut Ui, view: View<'_>, of: Subject, scroll: usize, key: Key) -> Vec<Effect> {
    // What can be done with the row can be done from its details, too.
    let action = ui.keymap.action(key, ui.focus);
    if let Some(
        action @ (Action::Copy
        | Action::Retry
        | Action::Verify
        | Action::Purge
        | Action::Fix
        | Action::Pause
        | Action::Guide
        | Action::Cancel),
    ) = action
    {
        let is_there = is_still_there(ui, view, &of);
        ui.overlay = Some(Overlay::Details { of, scroll });
        if !is_there {
            // The key was meant for what is gone, and not for the row that has taken its place.
            let words = "nothing was done: what this was about is not found any more";
            ui.refuse(words, view.now_ms);
            return Vec::new();
        }
        return act(ui, view, action);
    }
    ui.overlay = scrolled(scroll, key).map(|scroll| Overlay::Details { of, scroll });
    Vec::new()
}

/// Whether what the details are of is there, and selected again if it is.
fn is_still_there(ui: &mut Ui, view: View<'_>, of: &Subject) -> bool {
    let Subject::Finding { key, .. } = of else {
        return true;
    };
    let scene = Scene::build(ui, view.store, view.now_ms);
    let place = scene.finding_with(key).map(|(at, _)| at);
    if let Some(at) = place {
        ui.health.go(at);
    }
    place.is_some()
}

/// A key while a guide is open: it may be copied, as a script or as addresses alone.
fn guide_key(ui: &mut Ui, view: View<'_>, repo: RepoId, scroll: usize, key: Key) -> Vec<Effect> {
    let copied = match ui.keymap.action(key, ui.focus) {
        Some(Action::Copy) => wish::copy_script(ui, view, &repo),
        _ if key == Key::of(KeyCode::Char('Y')) => wish::copy_addresses(ui, view, &repo),
        _ => {
            ui.overlay = scrolled(scroll, key).map(|scroll| Overlay::Guide { repo, scroll });
            return Vec::new();
        }
    };
    ui.overlay = Some(Overlay::Guide { repo, scroll });
    copied
}

/// Where a text that lies over the panes is scrolled to; `None` closes it.
pub(super) fn scrolled(scroll: usize, key: Key) -> Option<usize> {
    const PAGE: usize = 10;
    Some(match key.code {
        KeyCode::Esc | KeyCode::Enter | KeyCode::Char('q' | '?') | KeyCode::F(1) => return None,
        KeyCode::Char('j') | KeyCode::Down => scroll.saturating_add(1),
        KeyCode::Char('k') | KeyCode::Up => scroll.saturating_sub(1),
        KeyCode::PageDown | KeyCode::Char(' ' | 'd') => scroll.saturating_add(PAGE),
        KeyCode::PageUp | KeyCode::Char('u') => scroll.saturating_sub(PAGE),
        KeyCode::Char('g') | KeyCode::Home => 0,
        KeyCode::Char('G') | KeyCode::End => usize::MAX,
        _ => scroll,
    })
}

fn filter_key(ui: &mut Ui, now_ms: u64, (mut input, before): (Input, String), key: Key) {
    let pane = ui.focus;
    match key.code {
        KeyCode::Enter => {
            let filter = ui.filter(ui.focus);
            if let Some(why) = filter.error().filter(|_| ui.focus == Pane::Models) {
                let why = format!("{why}; it was left out");
                ui.refuse(why, now_ms);
            }
        }
        KeyCode::Esc => ui.set_filter(pane, &before),
        _ => {
            edit(&mut input, key);
            ui.set_filter(pane, input.value());
            ui.overlay = Some(Overlay::Filter { input, before });
        }
    }
}

/// Edits a field; whether the key was one for editing.
pub(super) fn edit(input: &mut Input, key: Key) -> bool {
    let request = match (key.code, key.has_ctrl) {
        (KeyCode::Char('a'), true) | (KeyCode::Home, _) => InputRequest::GoToStart,
        (KeyCode::Char('e'), true) | (KeyCode::End, _) => InputRequest::GoToEnd,
        (KeyCode::Char('u'), true) => InputRequest::DeleteLine,
        (KeyCode::Char('w'), true) => InputRequest::DeletePrevWord,
        (KeyCode::Char('k'), true) => InputRequest::DeleteTillEnd,
        (KeyCode::Char('h'), true) | (KeyCode::Backspace, _) => InputRequest::DeletePrevChar,
        (KeyCode::Delete, _) => InputRequest::DeleteNextChar,
        (KeyCode::Left, true) => InputRequest::GoToPrevWord,
        (KeyCode::Right, true) => InputRequest::GoToNextWord,
        (KeyCode::Left, false) => InputRequest::GoToPrevChar,
        (KeyCode::Right, false) => InputRequest::GoToNextChar,
        (KeyCode::Char(c), false) if !c.is_control() => InputRequest::InsertChar(c),
        _ => return false,
    };
    input.handle(request);
    true
}

/// Leaves, or asks first where something runs.
pub(super) fn quit(ui: &mut Ui, view: View<'_>) -> Vec<Effect> {
    let is_busy = view.store.running().next().is_some() || view.store.shelf().verifying().is_some();
    if is_busy {
        ui.overlay = Some(Overlay::Ask {
            question: Question::Quit,
            scroll: 0,
        });
        Vec::new()
    } else {
        vec![Effect::Quit]
    }
}
