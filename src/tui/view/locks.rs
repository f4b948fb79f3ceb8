//! Owns the pane of locks.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::pane::Pane;
use super::super::rows::Scene;
use super::super::{fit, words};
use super::{Canvas, Cells, row_style};
use crate::domain::{LockKind, LockState};

/// Title: how many are held.
pub(super) fn title(canvas: Canvas<'_>, scene: &Scene<'_>) -> String {
    let filter = canvas.ui.filter(Pane::Locks);
    let held = scene
        .locks
        .iter()
        .filter(|lock| lock.state == LockState::Held && !lock.is_program())
        .count();
    let mut rest = match (scene.locks.len(), held) {
        (0, _) => String::new(),
        (total, 0) => format!("{total} free"),
        (_, held) => format!("{held} held"),
    };
    if !filter.is_empty() {
        rest = format!("{rest} /{}", fit::clean(filter.text()));
    }
    if rest.is_empty() {
        "Locks".to_owned()
    } else {
        format!("Locks\u{0}{rest}")
    }
}

/// The rows.
pub(super) fn draw(buf: &mut Buffer, area: Rect, canvas: Canvas<'_>, scene: &Scene<'_>) {
    let (ui, theme, glyphs) = (canvas.ui, &canvas.ui.theme, canvas.glyphs);
    if scene.locks.is_empty() {
        let words = match scene.model(ui).and_then(|item| item.repo()) {
            Some(repo) => format!("no locks on {}", words::split_name(repo.name()).1),
            None => "no locks".to_owned(),
        };
        super::text::paragraph(buf, area, &words, theme.dim);
        return;
    }
    for (at, y) in (ui.locks.offset..scene.locks.len()).zip(area.y..area.bottom()) {
        let lock = scene.locks[at];
        let is_selected = at == ui.locks.index;
        buf.set_style(
            Rect {
                y,
                height: 1,
                ..area
            },
            row_style(canvas, Pane::Locks, is_selected),
        );
        let mut cells = Cells::new(buf, y, area.x, area.right());
        let (sign, state) = words::lock_state(lock, glyphs, theme);
        cells.skip(1);
        cells.put(sign.0, sign.1);
        cells.skip(1);
        let state = fit::clean(&state);
        let state_width = fit::width(&state).min(cells.room().saturating_sub(11));
        let name_width = cells.room().saturating_sub(state_width + 1);
        let name = words::lock_name(lock);
        let name = if lock.kind == LockKind::Swift {
            format!("{name} (Swift)")
        } else {
            name
        };
        cells.left_middle(&fit::clean(&name), name_width, theme.text, glyphs.cut);
        cells.skip(1);
        cells.right(&state, state_width, sign.1, glyphs.cut);
    }
}
