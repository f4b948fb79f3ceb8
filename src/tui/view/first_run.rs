//! Owns the screen of an empty cache: where it is and why there, and one choice.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::widgets::{Block, Widget as _};

use super::super::words;
use super::text::Text;
use super::{Canvas, to_u16};
use crate::domain::Network;
use crate::store::size;

/// Draws it.
pub(super) fn draw(buf: &mut Buffer, area: Rect, canvas: Canvas<'_>) {
    let (ui, theme, view) = (canvas.ui, &canvas.ui.theme, canvas.view);
    let facts = view.facts;
    let columns = usize::from(area.width.min(84)).saturating_sub(6);
    let mut text = Text::new(columns);
    let bold = theme.accent.add_modifier(Modifier::BOLD);
    let styles = (theme.dim, theme.text);
    text.line(&[(
        "Welcome. There are no models here yet.",
        theme.text.add_modifier(Modifier::BOLD),
    )]);
    text.blank();
    text.field("cache", &facts.short_path(&facts.cache_dir), styles);
    let why = match facts.cache_origin.as_str() {
        "default" => "there because nothing says otherwise; apps look there, too".to_owned(),
        origin => format!("there because {origin} says so"),
    };
    text.field("", &why, (theme.dim, theme.dim));
    let disk = match view.store.shelf().disk() {
        Some(disk) => format!(
            "{} free of {}",
            size(disk.free_bytes),
            size(disk.total_bytes)
        ),
        None => "being asked".to_owned(),
    };
    text.field("disk", &disk, styles);
    let (network, style) = network(canvas);
    text.field("network", &network, (theme.dim, style));
    text.blank();
    if facts.is_read_only {
        text.wrapped(
            0,
            "This dashboard is read-only: nothing is fetched.",
            theme.warning,
        );
    } else {
        if let Some(offered) = facts.offered.first() {
            text.line(&[
                ("Enter", bold),
                ("  fetch ", theme.text),
                (
                    &offered.repo.to_string(),
                    theme.text.add_modifier(Modifier::BOLD),
                ),
            ]);
            let about = format!(
                "{}; about {}, on disk the same. Files are shown first.",
                offered.note,
                size(offered.size_bytes)
            );
            text.wrapped(7, &about, theme.dim);
        }
        let add = ui.keymap.key_of(super::super::action::Action::Add);
        text.line(&[
            (&format!("{add:<5}"), bold),
            ("  another one: type its name or paste its link", theme.text),
        ]);
    }
    let quit = ui.keymap.key_of(super::super::action::Action::Quit);
    text.line(&[(&format!("{quit:<5}"), bold), ("  leave", theme.text)]);
    let width = to_u16(columns + 6).min(area.width);
    let height = to_u16(text.len()).saturating_add(4).min(area.height);
    let rect = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 3,
        width,
        height,
    };
    Block::bordered()
        .border_set(canvas.glyphs.border)
        .border_style(theme.focus)
        .title(" larder ")
        .render(rect, buf);
    let margin = u16::from(rect.height > to_u16(text.len()) + 3);
    let inner = Rect {
        x: rect.x + 3,
        y: rect.y + 1 + margin,
        width: rect.width.saturating_sub(6),
        height: rect.height.saturating_sub(2 + margin),
    };
    text.draw_in(buf, inner);
}

/// Whether the Hub answers, with its style.
fn network(canvas: Canvas<'_>) -> (String, Style) {
    let (theme, view) = (&canvas.ui.theme, canvas.view);
    let facts = view.facts;
    match view.store.shelf().network() {
        Some(Network::Reachable { answer_ms }) => (
            format!("{} answers in {answer_ms} ms", words::host(&facts.endpoint)),
            theme.good,
        ),
        Some(Network::Unreachable { failure }) => (
            format!(
                "{} does not answer: {failure}",
                words::host(&facts.endpoint)
            ),
            theme.error,
        ),
        Some(Network::Offline) => (
            "offline by choice: a flag, a variable or the config file".to_owned(),
            theme.warning,
        ),
        None => (
            format!("asking {}", words::host(&facts.endpoint)),
            theme.dim,
        ),
    }
}
