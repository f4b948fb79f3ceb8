//! A dashboard on a story, for tests: keys go in, what they came to is looked at.

use crossterm::event::KeyCode;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::action::Action;
use super::facts::Facts;
use super::keymap::Key;
use super::stage::{self, facts};
use super::ui::Ui;
use super::update::{Effect, View, act, follow, paste, press};
use crate::domain::{Command, Event};
use crate::store::Store;
use crate::store::script::Script;

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
pub(super) fn told(effects: &[Effect]) -> Vec<&str> {
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

pub(super) fn running() -> Script {
    stage::zoo(Script::planned())
        .connecting(3, 1)
        .downloading(3, 1, 0)
        .progress(500, 3, 1, 90_000_000)
}
