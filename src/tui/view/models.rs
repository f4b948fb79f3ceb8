//! Owns the pane of models.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use super::super::pane::Pane;
use super::super::rows::{Scene, is_branch_folder};
use super::super::{fit, words};
use super::{Canvas, Cells, row_style};

/// Title: how many, and the filter.
pub(super) fn title(canvas: Canvas<'_>, scene: &Scene<'_>) -> String {
    let filter = canvas.ui.filter(Pane::Models);
    let marks = match canvas.ui.marked_models.len() {
        0 => String::new(),
        marks => format!("  {marks} marked"),
    };
    if filter.is_empty() {
        match scene.models_total {
            0 => "Models".to_owned(),
            total => format!("Models\u{0}{total}{marks}"),
        }
    } else {
        format!(
            "Models\u{0}{} of {} /{}{marks}",
            scene.models.len(),
            scene.models_total,
            fit::clean(filter.text())
        )
    }
}

/// The rows.
pub(super) fn draw(buf: &mut Buffer, area: Rect, canvas: Canvas<'_>, scene: &Scene<'_>) {
    let (ui, theme, glyphs) = (canvas.ui, &canvas.ui.theme, canvas.glyphs);
    if scene.models.is_empty() {
        let words = match (
            canvas.view.store.shelf().models(),
            canvas.view.store.shelf().trouble(),
        ) {
            (_, Some(failure)) => failure.to_string(),
            (None, None) => "reading the cache".to_owned(),
            (Some(_), None) if scene.models_total > 0 => "no model matches".to_owned(),
            (Some(_), None) => "no models yet; `a` adds one".to_owned(),
        };
        super::text::paragraph(buf, area, &words, theme.dim);
        return;
    }
    let has_size = area.width >= 36;
    for (at, y) in (ui.models.offset..scene.models.len()).zip(area.y..area.bottom()) {
        let item = &scene.models[at];
        let is_selected = at == ui.models.index;
        let style = row_style(canvas, Pane::Models, is_selected);
        buf.set_style(
            Rect {
                y,
                height: 1,
                ..area
            },
            style,
        );
        let mut cells = Cells::new(buf, y, area.x, area.right());
        let is_marked = ui.marked_models.contains(&item.key);
        let mark = if is_marked { glyphs.mark } else { " " };
        cells.put(mark, theme.accent);
        let has_room = area.width >= 44;
        let (sign, state) = words::model_state(item, canvas, has_room);
        cells.put(sign.0, sign.1);
        cells.skip(1);
        let state_width = if has_room { words::STATE_COLUMNS } else { 8 };
        let size_width = if has_size { 7 } else { 0 };
        let name_width = cells
            .room()
            .saturating_sub(state_width + 1 + size_width + usize::from(has_size));
        let repo = item.repo().map(ToString::to_string).unwrap_or_default();
        let repo = fit::clean(&repo);
        let (owner, name) = words::split_name(&repo);
        let name_style = if is_selected {
            theme.text.add_modifier(Modifier::BOLD)
        } else {
            theme.text
        };
        let revision = item.revision();
        let suffix = if let Some(place) = item.elsewhere {
            format!(" {}", place.kind.name())
        } else if item.row.is_some_and(is_branch_folder) {
            format!(" {}/", fit::clean(revision))
        } else if revision == "main" {
            String::new()
        } else {
            format!(" @{}", fit::clean(&crate::store::short(revision)))
        };
        // The owner is shown where there is room for every row's.
        if area.width >= 60 && fit::width(&repo) + fit::width(&suffix) <= name_width {
            cells.put(owner, theme.dim);
            cells.put(name, name_style);
            cells.put(&suffix, theme.dim);
            let rest = name_width - fit::width(&repo) - fit::width(&suffix);
            cells.skip(rest);
        } else if fit::width(name) + fit::width(&suffix) <= name_width {
            cells.put(name, name_style);
            cells.put(&suffix, theme.dim);
            cells.skip(name_width - fit::width(name) - fit::width(&suffix));
        } else if item.row.is_some_and(is_branch_folder) {
            // Without it the row looks like that of the model.
            let room = name_width.saturating_sub(fit::width(&suffix));
            cells.left_middle(name, room, name_style, glyphs.cut);
            cells.put(&suffix, theme.dim);
        } else {
            cells.left_middle(name, name_width, name_style, glyphs.cut);
        }
        if has_size {
            cells.skip(1);
            let bytes = item
                .pull
                .and_then(|pull| pull.plan())
                .map(|plan| plan.total_bytes)
                .or_else(|| item.row.map(|row| row.size_bytes));
            let text = bytes.map(words::bytes).unwrap_or_default();
            cells.right(&text, size_width, theme.dim, glyphs.cut);
        }
        cells.skip(1);
        let state_style = if item.is_running() || item.has_failed() {
            sign.1
        } else {
            theme.dim
        };
        cells.right(&state, state_width, state_style, glyphs.cut);
    }
}
