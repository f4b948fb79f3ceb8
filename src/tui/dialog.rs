//! Owns what is answered: questions, and adding a model.
//!
//! **Law**: Enter on a question is No; only `y` is Yes.

use crossterm::event::KeyCode;
use tui_input::Input;

use super::facts::Facts;
use super::keymap::Key;
use super::pane::Pane;
use super::theme::ThemeName;
use super::ui::{Add, Discarding, Overlay, Question, Ui};
use super::update::{self, Effect, View};
use super::{holding, mending, pulling, purging};
use crate::domain::{Command, FileSelection, PullRequest, PurgePlan, RepoReference, Revision};
use crate::store::{Level, Phase, Store};

/// A key while a question is open.
pub(super) fn answer(
    ui: &mut Ui,
    view: View<'_>,
    question: Question,
    scroll: usize,
    key: Key,
) -> Vec<Effect> {
    let question = match question {
        Question::Discard(asked) => return discard_key(ui, view, asked, scroll, key),
        other => other,
    };
    match key.code {
        KeyCode::Char('y' | 'Y') => match question {
            Question::Discard(_) => Vec::new(),
            Question::Quit => vec![Effect::Quit],
            Question::Purge(plan) => {
                let planned = PurgePlan {
                    plan,
                    ..PurgePlan::default()
                };
                purging::purged(view.facts, &planned)
            }
            Question::Empty(asked) => holding::emptied(ui, view, &asked),
            Question::Fix(plan) => mending::fixed(ui, view.facts, plan),
            Question::Resume(pulls) => {
                // What goes on is looked at next.
                ui.set_filter(Pane::Models, "");
                select_after_start(ui, view.store);
                pulling::resume(ui, view.facts, &pulls)
            }
        },
        KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc | KeyCode::Enter => {
            if matches!(question, Question::Purge(_)) {
                ui.say("nothing was removed", view.now_ms);
            }
            if matches!(question, Question::Empty(_)) {
                ui.say("nothing was freed", view.now_ms);
            }
            if matches!(question, Question::Fix(_)) {
                ui.say("nothing was changed", view.now_ms);
            }
            if matches!(question, Question::Resume(_)) {
                ui.say(
                    "it stays as it is, and is offered again at the next start",
                    view.now_ms,
                );
            }
            Vec::new()
        }
        _ => {
            // Other keys answer nothing; they may scroll the plan.
            let scroll = update::scrolled(scroll, key).unwrap_or(scroll);
            ui.overlay = Some(Overlay::Ask { question, scroll });
            Vec::new()
        }
    }
}

/// A key while it is asked whether a model goes: its name and Enter are Yes, everything else is none.
fn discard_key(
    ui: &mut Ui,
    view: View<'_>,
    mut asked: Discarding,
    scroll: usize,
    key: Key,
) -> Vec<Effect> {
    let planned = purging::planned_discard(view.store, &asked);
    let name = planned.as_deref().and_then(purging::name_of_whole);
    let goes = planned
        .as_deref()
        .filter(|planned| purging::takes_something(planned));
    let is_yes = match (&name, key.code) {
        (Some(name), KeyCode::Enter) => asked.typed == *name,
        (None, KeyCode::Char('y' | 'Y')) => asked.is_shown,
        _ => false,
    };
    if let Some(planned) = goes.filter(|_| is_yes) {
        return purging::purged(view.facts, planned);
    }
    match key.code {
        // Somebody who has mistyped a name meant to say yes: it is not taken for a no.
        KeyCode::Enter if name.is_some() && !asked.typed.is_empty() => {
            let words = "that is not what is asked for: nothing was taken away yet";
            ui.refuse(words, view.now_ms);
        }
        KeyCode::Esc | KeyCode::Enter => {
            ui.say("nothing was taken away", view.now_ms);
            return Vec::new();
        }
        KeyCode::Char('n' | 'N' | 'q') if name.is_none() => {
            ui.say("nothing was taken away", view.now_ms);
            return Vec::new();
        }
        KeyCode::Backspace => drop(asked.typed.pop()),
        KeyCode::Char(letter) if name.is_some() => asked.typed.push(letter),
        _ => {}
    }
    let scroll = if name.is_some() && matches!(key.code, KeyCode::Char(_)) {
        scroll
    } else {
        update::scrolled(scroll, key).unwrap_or(scroll)
    };
    ui.overlay = Some(Overlay::Ask {
        question: Question::Discard(asked),
        scroll,
    });
    Vec::new()
}

/// A key that answers a question, or several, and what it does.
pub(super) type Answer = (&'static str, &'static str);

/// The keys of a question, as they stand below it and in the footer.
pub(super) fn answers(question: &Question, store: &Store) -> Vec<Answer> {
    const NO: Answer = ("n Esc Enter", "stay as it is");
    const CLOSE: Answer = ("Esc", "close");
    let yes = match question {
        Question::Quit => "leave",
        Question::Purge(_) => "purge",
        Question::Fix(_) => "fix",
        Question::Resume(_) => "go on",
        Question::Empty(asked) => {
            let rows = holding::due(store, asked);
            if rows.is_none_or(|rows| rows.is_empty()) {
                return vec![CLOSE];
            }
            "free"
        }
        Question::Discard(asked) => {
            let planned = purging::planned_discard(store, asked);
            let Some(planned) = planned.filter(|planned| purging::takes_something(planned)) else {
                return vec![CLOSE];
            };
            if purging::name_of_whole(&planned).is_some() {
                let typed = "purge, once the name is typed";
                return vec![("Enter", typed), ("Esc", "stay as it is")];
            }
            "purge"
        }
    };
    vec![("y", yes), NO]
}

/// The keys of the dialog in which a model is added.
pub(super) fn add_answers(store: &Store, add: &Add) -> Vec<Answer> {
    match (add.planning.is_some(), is_ready(store, add)) {
        (true, true) => vec![
            ("Enter", "fetch it"),
            ("Backspace", "change"),
            ("Esc", "not now"),
        ],
        (true, false) => vec![("Backspace", "change"), ("Esc", "close")],
        (false, _) => vec![("Enter", "look at it"), ("Esc", "close")],
    }
}

/// What was typed as a request, or why it is none.
fn request(text: &str) -> Result<PullRequest, String> {
    let reference = RepoReference::parse(text).map_err(|error| error.to_string())?;
    let revision = reference.revision.unwrap_or_else(Revision::main);
    let mut request = PullRequest::new(reference.repo, revision);
    if let Some(file) = reference.file {
        request.files.push(file.as_str().to_owned());
    }
    Ok(request)
}

/// Asks the Hub what a pull would do.
pub(super) fn plan(store: &Store, mut add: Add, request: PullRequest) -> (Overlay, Vec<Effect>) {
    let before = store.preview().map(crate::store::Pull::job);
    let mut dry = request.clone();
    dry.dry_run = true;
    add.error = None;
    add.planning = Some((request, before));
    (Overlay::Add(add), vec![Effect::Send(Command::Pull(dry))])
}

/// Whether a plan stands there that can be carried out.
pub(super) fn is_ready(store: &Store, add: &Add) -> bool {
    add.planning
        .as_ref()
        .and_then(|(_, before)| pulling::preview_after(store, *before))
        .is_some_and(|pull| {
            pull.phase() == Phase::Ended && pull.failures().is_empty() && pull.plan().is_some()
        })
}

/// A key while a model is added.
pub(super) fn add_key(ui: &mut Ui, view: View<'_>, mut add: Add, key: Key) -> Vec<Effect> {
    let is_ready = is_ready(view.store, &add);
    if let Some((request, before)) = add.planning.take() {
        let planned = pulling::preview_after(view.store, before);
        return match key.code {
            KeyCode::Enter | KeyCode::Char('y') if is_ready => {
                ui.focus_on(Pane::Files);
                // The new pull is the row that is looked at next.
                ui.models.go(0);
                ui.set_filter(Pane::Models, "");
                select_after_start(ui, view.store);
                pulling::pull(view.facts, request)
            }
            KeyCode::Esc | KeyCode::Char('n' | 'q') => planned
                .filter(|pull| pull.phase() != Phase::Ended)
                .map(|pull| Effect::Send(Command::Cancel(FileSelection::Job(pull.job()))))
                .into_iter()
                .collect(),
            // Back to the field, to correct what was typed.
            KeyCode::Backspace | KeyCode::Char('e') => {
                ui.overlay = Some(Overlay::Add(add));
                Vec::new()
            }
            _ => {
                add.planning = Some((request, before));
                ui.overlay = Some(Overlay::Add(add));
                Vec::new()
            }
        };
    }
    match key.code {
        KeyCode::Esc => return Vec::new(),
        KeyCode::Enter if add.input.value().trim().is_empty() => {
            // Nothing typed where models are offered means the first of them.
            if let Some(offered) = view.facts.offered.first() {
                add.input = Input::new(offered.repo.to_string());
            }
        }
        KeyCode::Enter => match request(add.input.value()) {
            Ok(request) => {
                let (overlay, effects) = plan(view.store, add, request);
                ui.overlay = Some(overlay);
                return effects;
            }
            Err(error) => add.error = Some(error),
        },
        _ => {
            if update::edit(&mut add.input, key) {
                add.error = None;
            }
        }
    }
    ui.overlay = Some(Overlay::Add(add));
    Vec::new()
}

/// Pulls of this run are the first rows, in the order they started: the next one comes after them.
fn select_after_start(ui: &mut Ui, store: &Store) {
    let mut seen = std::collections::BTreeSet::new();
    for pull in store.pulls() {
        let target = pull.target();
        seen.insert((target.repo.clone(), target.revision.as_str().to_owned()));
    }
    ui.models.go(seen.len());
}

/// Adds the model that is offered first.
pub(super) fn add_offered(ui: &mut Ui, view: View<'_>) -> Vec<Effect> {
    let Some(offered) = view.facts.offered.first() else {
        return Vec::new();
    };
    open_add(ui, view, &offered.repo.to_string())
}

/// Opens the dialog with a name and asks for its plan.
pub(super) fn open_add(ui: &mut Ui, view: View<'_>, text: &str) -> Vec<Effect> {
    let add = Add {
        input: Input::new(text.to_owned()),
        error: None,
        planning: None,
    };
    if view.facts.is_read_only {
        ui.refuse("add: this dashboard is read-only", view.now_ms);
        return Vec::new();
    }
    match request(text) {
        Ok(request) => {
            let (overlay, effects) = plan(view.store, add, request);
            ui.overlay = Some(overlay);
            effects
        }
        Err(error) => {
            ui.overlay = Some(Overlay::Add(Add {
                error: Some(error),
                ..add
            }));
            Vec::new()
        }
    }
}

/// Opens what the dashboard was called for: it is looked at, and offered to be fetched.
pub(super) fn open_reference(ui: &mut Ui, reference: &RepoReference, facts: &Facts) -> Vec<Effect> {
    let mut text = reference.repo.to_string();
    if let Some(revision) = &reference.revision {
        text = format!("{text}@{revision}");
    }
    let store = Store::default();
    let view = View {
        store: &store,
        facts,
        now_ms: 0,
    };
    ui.set_filter(Pane::Models, reference.repo.name());
    open_add(ui, view, &text)
}

/// Changes the theme and keeps it.
pub(super) fn set_theme(ui: &mut Ui, view: View<'_>, name: ThemeName) -> Vec<Effect> {
    ui.set_theme(name, view.facts);
    ui.say(format!("theme {}", name.name()), view.now_ms);
    vec![
        Effect::Log(format!("theme = \"{}\" in the config file", name.name())),
        Effect::Remember("theme", name.name().to_owned()),
    ]
}

/// Changes what the log shows.
pub(super) fn set_level(ui: &mut Ui, view: View<'_>, level: Level) -> Vec<Effect> {
    ui.level = level;
    ui.log.is_at_end = true;
    ui.say(
        format!("the log shows {} and worse", level.name()),
        view.now_ms,
    );
    Vec::new()
}
