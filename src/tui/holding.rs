//! Owns what the trash holds, in the dashboard: its list, putting one back, and freeing it.
//!
//! Never sends anything: effects are the loop's. **Law**: what is freed stood in the question.

use crossterm::event::KeyCode;

use super::keymap::Key;
use super::ui::{Emptying, Overlay, Question, TrashList, Ui};
use super::update::{self, Effect, View};
use super::{purging, words};
use crate::domain::{Command, TrashRequest, TrashRow};
use crate::store::{Store, count, size, trashed};

/// The keys of the list.
pub(super) const KEYS: [(&str, &str); 4] = [
    ("Enter", "put back"),
    ("e", "empty it"),
    ("j k", "move"),
    ("Esc", "close"),
];

/// `:trash`: opens the list, and has it looked into.
pub(super) fn open(ui: &mut Ui, view: View<'_>) -> Vec<Effect> {
    ui.overlay = Some(Overlay::Trash(TrashList {
        looks_before: view.store.shelf().trash_looks(),
        at: 0,
    }));
    vec![Effect::Send(Command::Trash(TrashRequest::ListOwn))]
}

/// The rows of the list, the newest first; `None` until it was looked into.
pub(super) fn rows(store: &Store, looks_before: usize) -> Option<Vec<&TrashRow>> {
    let shelf = store.shelf();
    let rows = shelf.trash().filter(|_| shelf.trash_looks() > looks_before);
    rows.map(|rows| rows.iter().rev().collect())
}

/// A key while the list is open.
pub(super) fn key(ui: &mut Ui, view: View<'_>, mut list: TrashList, key: Key) -> Vec<Effect> {
    let rows = rows(view.store, list.looks_before).unwrap_or_default();
    let bottom = rows.len().saturating_sub(1);
    match key.code {
        KeyCode::Esc | KeyCode::Char('q') => return Vec::new(),
        KeyCode::Enter | KeyCode::Char('u') => {
            if let Some(row) = rows.get(list.at) {
                if view.facts.is_read_only {
                    ui.refuse("put back: this dashboard is read-only", view.now_ms);
                } else {
                    ui.say(
                        format!("putting {} back; the log says what came of it", row.repo),
                        view.now_ms,
                    );
                    // By its path, since ids of two folders may be alike.
                    let id = if rows.iter().filter(|other| other.id == row.id).count() > 1 {
                        &row.path
                    } else {
                        &row.id
                    };
                    return purging::restore(view.facts, Some(id.clone()));
                }
            }
        }
        KeyCode::Char('e') if view.facts.is_read_only => {
            ui.refuse("empty: this dashboard is read-only", view.now_ms);
        }
        KeyCode::Char('e') if !rows.is_empty() => return ask_empty(ui, view, 0),
        _ => {
            list.at = update::scrolled(list.at, key)
                .unwrap_or(list.at)
                .min(bottom);
        }
    }
    ui.overlay = Some(Overlay::Trash(list));
    Vec::new()
}

/// `:trash empty`: has it looked into, and asks.
pub(super) fn ask_empty(ui: &mut Ui, view: View<'_>, age_ms: u64) -> Vec<Effect> {
    ui.overlay = Some(Overlay::Ask {
        question: Question::Empty(Emptying {
            looks_before: view.store.shelf().trash_looks(),
            age_ms,
            asked_ms: view.now_ms,
        }),
        scroll: 0,
    });
    vec![Effect::Send(Command::Trash(TrashRequest::ListOwn))]
}

/// What would be freed; `None` until it was looked into.
pub(super) fn due<'a>(store: &'a Store, asked: &Emptying) -> Option<Vec<&'a TrashRow>> {
    let mut rows = rows(store, asked.looks_before)?;
    rows.retain(|row| asked.asked_ms.saturating_sub(row.purged_ms) >= asked.age_ms);
    Some(rows)
}

/// A yes.
pub(super) fn emptied(ui: &mut Ui, view: View<'_>, asked: &Emptying) -> Vec<Effect> {
    let rows = due(view.store, asked).unwrap_or_default();
    if rows.is_empty() {
        ui.say("there was nothing to free", view.now_ms);
        return Vec::new();
    }
    let age = match asked.age_ms {
        0 => String::new(),
        age_ms => format!(" --older-than {}s", age_ms / 1_000),
    };
    let call = view.facts.call(&format!("trash empty{age} --yes"));
    let rows = rows.into_iter().cloned().collect();
    vec![
        Effect::Log(format!("$ {call}")),
        Effect::Send(Command::Trash(TrashRequest::Empty { rows })),
    ]
}

/// How many purges, and their bytes.
pub(super) fn sum(rows: &[&TrashRow]) -> String {
    let bytes = rows.iter().map(|row| row.bytes).sum();
    format!("{}, {}", count(rows.len(), "purge"), size(bytes))
}

/// A row: which, how much, since when, of what, and what of that.
pub(super) fn row_words(row: &TrashRow, now_ms: u64) -> [String; 5] {
    let what = trashed(row);
    [
        row.id.clone(),
        words::bytes(row.bytes),
        words::age(now_ms.saturating_sub(row.purged_ms)),
        row.repo.to_string(),
        what,
    ]
}
