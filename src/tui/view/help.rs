//! Owns the help: every key of the focused pane, from the bindings themselves.

use ratatui::style::{Modifier, Style};

use super::super::action::Action;
use super::super::fit;
use super::super::keymap::Binding;
use super::Canvas;
use super::text::Text;

/// Columns of the keys.
const KEYS: usize = 18;

/// The lines.
pub(super) fn text(canvas: Canvas<'_>, columns: usize) -> Text {
    let theme = &canvas.ui.theme;
    let pane = canvas.ui.focus;
    let mut text = Text::new(columns);
    let (own, everywhere): (Vec<&Binding>, Vec<&Binding>) = canvas
        .ui
        .keymap
        .of(pane)
        .partition(|binding| binding.panes.len() < 5 || binding.action == Action::Add);
    let bold = theme.accent.add_modifier(Modifier::BOLD);
    for (title, bindings) in [
        (format!("In {}", pane.title()), own),
        ("Everywhere".to_owned(), everywhere),
    ] {
        text.line(&[(&title, bold)]);
        for binding in bindings {
            binding_lines(&mut text, binding, columns, bold, theme.text);
        }
        text.blank();
    }
    let elsewhere: Vec<&Binding> = canvas
        .ui
        .keymap
        .all()
        .iter()
        .filter(|binding| !binding.panes.contains(&pane))
        .collect();
    if !elsewhere.is_empty() {
        text.line(&[("In other panes", bold)]);
        for binding in elsewhere {
            binding_lines(&mut text, binding, columns, theme.dim, theme.dim);
        }
        text.blank();
    }
    text.line(&[("In fields", bold)]);
    text.line(&[(
        "  Ctrl-A Ctrl-E start and end, Ctrl-W word, Ctrl-U all, Tab completes",
        theme.dim,
    )]);
    let facts = canvas.view.facts;
    text.blank();
    text.line(&[("larder ", theme.dim), (facts.version, theme.dim)]);
    if let Some(log_file) = &facts.log_file {
        let log_file = facts.short_path(log_file);
        text.line(&[("log file ", theme.dim), (&log_file, theme.dim)]);
    }
    text
}

fn binding_lines(text: &mut Text, binding: &Binding, columns: usize, key: Style, about: Style) {
    let keys: Vec<String> = binding.keys.iter().map(ToString::to_string).collect();
    let keys = keys.join(" ");
    let room = columns.saturating_sub(KEYS + 2).max(12);
    for (at, line) in fit::wrap(&binding.about, room).iter().enumerate() {
        let left = if at == 0 { keys.as_str() } else { "" };
        let gap = KEYS.saturating_sub(fit::width(left));
        let head = format!("  {left}{}", " ".repeat(gap));
        text.line(&[(&head, key), (line, about)]);
    }
}
