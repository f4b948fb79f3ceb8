//! Owns which key means what: `assets/keymap.toml`, read once.
//!
//! Never knows what an action does. What is typed into a field is no key of the map.

use std::fmt;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::action::Action;
use super::pane::Pane;

/// A key with what is held down beside it. Shift is part of the character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The key.
    pub code: KeyCode,
    /// Whether Ctrl is held.
    pub has_ctrl: bool,
}

impl Key {
    /// A plain key.
    pub const fn of(code: KeyCode) -> Self {
        Self {
            code,
            has_ctrl: false,
        }
    }

    /// A character.
    pub const fn char(c: char) -> Self {
        Self::of(KeyCode::Char(c))
    }

    /// A character with Ctrl.
    pub const fn ctrl(c: char) -> Self {
        Self {
            code: KeyCode::Char(c),
            has_ctrl: true,
        }
    }

    /// What a terminal reported; `None` for releases and for keys with Alt and the like, which
    /// mean nothing here.
    pub fn from_event(event: &KeyEvent) -> Option<Self> {
        if event.kind == KeyEventKind::Release {
            return None;
        }
        let foreign =
            KeyModifiers::ALT | KeyModifiers::SUPER | KeyModifiers::HYPER | KeyModifiers::META;
        if event.modifiers.intersects(foreign) {
            return None;
        }
        let has_ctrl = event.modifiers.contains(KeyModifiers::CONTROL);
        let code = match event.code {
            KeyCode::Char(c) if has_ctrl => KeyCode::Char(c.to_ascii_lowercase()),
            KeyCode::Tab if event.modifiers.contains(KeyModifiers::SHIFT) => KeyCode::BackTab,
            code => code,
        };
        Some(Self { code, has_ctrl })
    }

    /// Reads a key's name as the map writes it.
    fn named(name: &str) -> Option<Self> {
        let (has_ctrl, rest) = match name.strip_prefix("Ctrl-") {
            Some(rest) => (true, rest),
            None => (false, name),
        };
        let code = match rest {
            "Enter" => KeyCode::Enter,
            "Esc" => KeyCode::Esc,
            "Tab" => KeyCode::Tab,
            "Shift-Tab" => KeyCode::BackTab,
            "Space" => KeyCode::Char(' '),
            "Up" => KeyCode::Up,
            "Down" => KeyCode::Down,
            "Left" => KeyCode::Left,
            "Right" => KeyCode::Right,
            "PgUp" => KeyCode::PageUp,
            "PgDn" => KeyCode::PageDown,
            "Home" => KeyCode::Home,
            "End" => KeyCode::End,
            _ => {
                let mut chars = rest.chars();
                match (chars.next()?, chars.next()) {
                    (c, None) if has_ctrl => KeyCode::Char(c.to_ascii_lowercase()),
                    (c, None) => KeyCode::Char(c),
                    ('F', Some(_)) => {
                        KeyCode::F(rest[1..].parse().ok().filter(|n| (1..=12).contains(n))?)
                    }
                    _ => return None,
                }
            }
        };
        Some(Self { code, has_ctrl })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.has_ctrl {
            f.write_str("Ctrl-")?;
        }
        match self.code {
            KeyCode::Char(' ') => f.write_str("Space"),
            KeyCode::Char(c) if self.has_ctrl => write!(f, "{}", c.to_ascii_uppercase()),
            KeyCode::Char(c) => write!(f, "{c}"),
            KeyCode::F(number) => write!(f, "F{number}"),
            KeyCode::BackTab => f.write_str("Shift-Tab"),
            KeyCode::PageUp => f.write_str("PgUp"),
            KeyCode::PageDown => f.write_str("PgDn"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// An action and its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The action.
    pub action: Action,
    /// Its keys, the usual one first.
    pub keys: Vec<Key>,
    /// The word for the footer; `None` keeps it out of there.
    pub hint: Option<String>,
    /// What it does, for the help.
    pub about: String,
    /// Panes in which it means something.
    pub panes: Vec<Pane>,
}

/// The map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keymap {
    bindings: Vec<Binding>,
}

impl Default for Keymap {
    fn default() -> Self {
        // The map is part of the program and a test reads it; a broken one would be no keys at all.
        Self::parse(include_str!("../../assets/keymap.toml")).unwrap_or(Self {
            bindings: Vec::new(),
        })
    }
}

impl Keymap {
    /// Reads a map.
    ///
    /// # Errors
    /// Says which entry cannot be used.
    pub fn parse(text: &str) -> Result<Self, String> {
        let table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| error.to_string())?;
        let entries = table
            .get("action")
            .and_then(toml::Value::as_array)
            .ok_or("there is no `[[action]]`")?;
        let mut bindings: Vec<Binding> = Vec::new();
        for entry in entries {
            let text = |key: &str| entry.get(key).and_then(toml::Value::as_str);
            let words = |key: &str| -> Option<Vec<&str>> {
                let list = entry.get(key)?.as_array()?;
                Some(list.iter().filter_map(toml::Value::as_str).collect())
            };
            let name = text("name").ok_or("an action has no `name`")?;
            let action = Action::named(name).ok_or(format!("there is no action `{name}`"))?;
            let keys = words("keys")
                .ok_or(format!("`{name}` has no `keys`"))?
                .into_iter()
                .map(|key| Key::named(key).ok_or(format!("`{name}`: there is no key `{key}`")))
                .collect::<Result<Vec<_>, _>>()?;
            let panes = match words("panes") {
                None => Pane::ALL.to_vec(),
                Some(names) => names
                    .into_iter()
                    .map(|pane| {
                        Pane::named(pane).ok_or(format!("`{name}`: there is no pane `{pane}`"))
                    })
                    .collect::<Result<_, _>>()?,
            };
            if let Some(other) = bindings.iter().find(|other| {
                other.action == action
                    || (other.keys.iter().any(|key| keys.contains(key))
                        && other.panes.iter().any(|pane| panes.contains(pane)))
            }) {
                return Err(format!(
                    "`{name}` and `{}` have the same key or name",
                    other.action.name()
                ));
            }
            bindings.push(Binding {
                action,
                keys,
                hint: text("hint").map(str::to_owned),
                about: text("about")
                    .ok_or(format!("`{name}` has no `about`"))?
                    .to_owned(),
                panes,
            });
        }
        Ok(Self { bindings })
    }

    /// What a key means in a pane.
    pub fn action(&self, key: Key, pane: Pane) -> Option<Action> {
        self.bindings
            .iter()
            .find(|binding| binding.panes.contains(&pane) && binding.keys.contains(&key))
            .map(|binding| binding.action)
    }

    /// Every binding that means something in a pane, in the order of the file.
    pub fn of(&self, pane: Pane) -> impl Iterator<Item = &Binding> {
        self.bindings
            .iter()
            .filter(move |binding| binding.panes.contains(&pane))
    }

    /// Every binding.
    pub fn all(&self) -> &[Binding] {
        &self.bindings
    }

    /// The usual key of an action, as text; empty if it has none.
    pub fn key_of(&self, action: Action) -> String {
        self.bindings
            .iter()
            .find(|binding| binding.action == action)
            .and_then(|binding| binding.keys.first())
            .map(ToString::to_string)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_is_sound_and_every_action_has_a_key() {
        let map = Keymap::parse(include_str!("../../assets/keymap.toml")).unwrap();
        for action in Action::ALL {
            let binding = map
                .all()
                .iter()
                .find(|binding| binding.action == action)
                .unwrap_or_else(|| panic!("{} has no key", action.name()));
            assert!(!binding.keys.is_empty());
            for key in &binding.keys {
                assert_eq!(Key::named(&key.to_string()), Some(*key), "{key}");
                for pane in &binding.panes {
                    assert_eq!(map.action(*key, *pane), Some(action), "{key} in {pane:?}");
                }
            }
        }
        assert_eq!(map.all().len(), Action::ALL.len());
        assert_eq!(map.key_of(Action::Help), "?");
    }

    #[test]
    fn a_wrong_map_says_what_is_wrong() {
        for (text, why) in [
            ("x = 1", "no `[[action]]`"),
            ("[[action]]\nname = \"fly\"\nkeys = []", "no action `fly`"),
            (
                "[[action]]\nname = \"quit\"\nkeys = [\"Hyper-q\"]\nabout = \"\"",
                "no key `Hyper-q`",
            ),
            (
                "[[action]]\nname = \"quit\"\nkeys = [\"q\"]\nabout = \"\"\npanes = [\"roof\"]",
                "no pane `roof`",
            ),
            (
                "[[action]]\nname = \"quit\"\nkeys = [\"q\"]\nabout = \"\"\n[[action]]\nname = \"help\"\nkeys = [\"q\"]\nabout = \"\"",
                "same key",
            ),
        ] {
            let error = Keymap::parse(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn keys_of_a_terminal_are_understood() {
        let event = |code, modifiers| KeyEvent::new(code, modifiers);
        let shift_tab = event(KeyCode::Tab, KeyModifiers::SHIFT);
        assert_eq!(Key::from_event(&shift_tab), Some(Key::of(KeyCode::BackTab)));
        let capital = event(KeyCode::Char('R'), KeyModifiers::SHIFT);
        assert_eq!(Key::from_event(&capital), Some(Key::char('R')));
        let ctrl = event(KeyCode::Char('L'), KeyModifiers::CONTROL);
        assert_eq!(Key::from_event(&ctrl), Some(Key::ctrl('l')));
        let alt = event(KeyCode::Char('q'), KeyModifiers::ALT);
        assert_eq!(Key::from_event(&alt), None);
    }
}
