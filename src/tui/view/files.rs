//! Owns the pane of files: the transfers of the selected model, or what is on disk of it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use super::super::action::Action;
use super::super::pane::Pane;
use super::super::rows::{FileItem, Hashed, Scene};
use super::super::{copy, fit, words};
use super::text::Text;
use super::{Canvas, Cells, row_style, to_u16};
use crate::domain::{FileState, RefMove};
use crate::store::{FileStatus, Phase, other_pull_line};

/// Title: how far the model is.
pub(super) fn title(canvas: Canvas<'_>, scene: &Scene<'_>, width: u16) -> String {
    let now_ms = canvas.view.now_ms;
    let dot = canvas.glyphs.dot;
    let filter = canvas.ui.filter(Pane::Files);
    let mut parts: Vec<String> = Vec::new();
    if !filter.is_empty() {
        parts.push(format!(
            "{} of {} /{}",
            scene.files.len(),
            scene.files_total,
            fit::clean(filter.text())
        ));
    }
    if !canvas.ui.marked_files.is_empty() {
        parts.push(format!("{} marked", canvas.ui.marked_files.len()));
    }
    let pull = scene.model(canvas.ui).and_then(|item| item.pull);
    match pull.filter(|pull| pull.plan().is_some()) {
        Some(pull) => {
            let counts = pull.counts();
            parts.push(format!("{} of {}", counts.files_done, counts.files_total));
            if counts.bytes_done == counts.bytes_total {
                parts.push(words::bytes(counts.bytes_total));
            } else {
                parts.push(format!(
                    "{} of {}",
                    words::bytes(counts.bytes_done),
                    words::bytes(counts.bytes_total)
                ));
            }
            if let Some(eta_ms) = pull.eta_ms(now_ms) {
                parts.push(words::whole_seconds(eta_ms));
            } else if pull.phase() != Phase::Ended && width > 70 && counts.files_failed > 0 {
                parts.push(format!("{} failed", counts.files_failed));
            }
        }
        None if filter.is_empty() && !scene.files.is_empty() => {
            parts.push(scene.files_total.to_string());
        }
        None => {}
    }
    if parts.is_empty() {
        "Files".to_owned()
    } else {
        format!("Files\u{0}{}", parts.join(&format!(" {dot} ")))
    }
}

/// Widths of the columns at a width of the pane; 0 leaves a column out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Columns {
    size: usize,
    bar: usize,
    percent: usize,
    state: usize,
}

impl Columns {
    /// Columns drop in the order of their worth: the bar first, the state never.
    fn at(width: usize) -> Self {
        Self {
            size: if width >= 38 { 7 } else { 0 },
            bar: match width {
                0..66 => 0,
                66..150 => (width - 40) / 4,
                _ => 27,
            },
            percent: if width >= 46 { 5 } else { 0 },
            state: match width {
                0..46 => 11,
                46..90 => 16,
                _ => 26,
            },
        }
    }

    const fn taken(self) -> usize {
        let mut taken = self.state + 1;
        if self.size > 0 {
            taken += self.size + 1;
        }
        if self.bar > 0 {
            taken += self.bar + 1;
        }
        taken + self.percent
    }
}

/// What stands below the rows: how a pull ended and what to do next, or what is wrong.
pub(super) fn foot(canvas: Canvas<'_>, scene: &Scene<'_>, columns: usize) -> Text {
    let (theme, glyphs, facts) = (&canvas.ui.theme, canvas.glyphs, canvas.view.facts);
    let mut text = Text::new(columns);
    let Some(item) = scene.model(canvas.ui).filter(|_| !scene.files.is_empty()) else {
        return text;
    };
    let key = |action| canvas.ui.keymap.key_of(action);
    let Some(pull) = item.pull else {
        let shelf = canvas.view.store.shelf();
        if let Some(other) = item.repo().and_then(|repo| shelf.other_download(repo)) {
            let who = words::lock_holder(other);
            text.wrapped(
                0,
                &format!("{who} downloads it: {}", other.proof),
                theme.accent,
            );
            return text;
        }
        let problems = item.row.map_or(&[][..], |row| &row.problems);
        for problem in problems.iter().take(2) {
            text.wrapped(0, problem, theme.warning);
        }
        if let Some(instead) = copy::instead(item, canvas.view.store) {
            text.wrapped(0, &facts.short_text(&instead), theme.accent);
        } else if !problems.is_empty() && !facts.is_read_only && item.needs_pull() {
            let words = format!(
                "`{}` pulls it again: what is right is reused, the rest fetched and proven",
                key(Action::Retry)
            );
            text.wrapped(0, &words, theme.accent);
        }
        return text;
    };
    let failures = pull.failures();
    if let Some(result) = pull.result() {
        let proof = if result.is_verified {
            "complete and verified"
        } else {
            "complete; sizes believed, not verified"
        };
        let bold = theme.good.add_modifier(Modifier::BOLD);
        text.wrapped(0, &format!("{} {proof}", glyphs.good), bold);
        text.wrapped(2, &facts.short_path(&result.snapshot), theme.text);
        let copies = format!("`{}` in Models copies the path", key(Action::Copy));
        // Without a ref nobody finds it by name, and a local dir is no part of the cache.
        let words = match result.reference {
            RefMove::Moved { .. } | RefMove::Unchanged => {
                format!("apps that read the Hub cache find it there; {copies}")
            }
            RefMove::None | RefMove::Kept { .. } => copies,
        };
        text.wrapped(2, &words, theme.dim);
        if let RefMove::Kept { why, .. } = &result.reference {
            let words = format!("ref {} stayed where it was: {why}", pull.target().revision);
            text.wrapped(2, &words, theme.warning);
        }
    } else if !failures.is_empty() {
        let repo = pull.target().repo.to_string();
        super::text::failure_lines(&mut text, canvas, failures[0], &repo);
        if failures.len() > 1 {
            let more = format!(
                "and {} more; Enter on a file tells its own",
                failures.len() - 1
            );
            text.wrapped(0, &more, theme.dim);
        }
    } else if pull.phase() == Phase::Ended {
        let words = format!(
            "cancelled; what is here is kept, and `{}` goes on",
            key(Action::Retry)
        );
        text.wrapped(0, &words, theme.warning);
    }
    text
}

/// The rows.
pub(super) fn draw(buf: &mut Buffer, area: Rect, canvas: Canvas<'_>, scene: &Scene<'_>) {
    let ui = canvas.ui;
    if scene.files.is_empty() {
        empty(buf, area, canvas, scene);
        return;
    }
    let columns = Columns::at(usize::from(area.width));
    let below = foot(canvas, scene, usize::from(area.width).saturating_sub(2));
    let rows = foot_rows(area.height, scene.files.len(), below.len());
    let area = if rows > 0 {
        let foot = Rect {
            x: area.x + 1,
            y: area.bottom() - to_u16(below.len()),
            width: area.width.saturating_sub(2),
            height: to_u16(below.len()),
        };
        below.draw_in(buf, foot);
        Rect {
            height: area.height - to_u16(rows),
            ..area
        }
    } else {
        area
    };
    for (at, y) in (ui.files.offset..scene.files.len()).zip(area.y..area.bottom()) {
        row(
            buf,
            Rect {
                y,
                height: 1,
                ..area
            },
            canvas,
            (scene, &scene.files[at]),
            columns,
            at,
        );
    }
}

/// Rows that the foot takes, with a blank one above; none where rows would have too little left.
pub(super) fn foot_rows(height: u16, files: usize, lines: usize) -> usize {
    let height = usize::from(height);
    if lines == 0 || lines + 1 + files.min(3) > height {
        return 0;
    }
    lines + usize::from(lines + 1 + files <= height || height > lines + 6)
}

fn row(
    buf: &mut Buffer,
    area: Rect,
    canvas: Canvas<'_>,
    (scene, item): (&Scene<'_>, &FileItem<'_>),
    columns: Columns,
    at: usize,
) {
    let (ui, theme, glyphs, now_ms) = (
        canvas.ui,
        &canvas.ui.theme,
        canvas.glyphs,
        canvas.view.now_ms,
    );
    let is_selected = at == ui.files.index;
    buf.set_style(area, row_style(canvas, Pane::Files, is_selected));
    let mut cells = Cells::new(buf, area.y, area.x, area.right());
    let is_marked = ui.marked_files.contains(&item.key());
    cells.put(if is_marked { glyphs.mark } else { " " }, theme.accent);
    let hashed = scene.hashed(item);
    let sign = match hashed {
        Some(Hashed::Wrong(_)) => (glyphs.bad, theme.error),
        Some(Hashed::Right) | None => words::file_sign(item, glyphs, theme, now_ms),
    };
    cells.put(sign.0, sign.1);
    cells.skip(1);
    let name = fit::clean(item.name());
    let name_width = cells.room().saturating_sub(columns.taken());
    let name_style = match item {
        _ if is_selected => theme.text.add_modifier(Modifier::BOLD),
        FileItem::Transfer(_, view) if *view.status == FileStatus::Queued => theme.dim,
        FileItem::Cached(_, row) if row.state == FileState::Absent => theme.dim,
        _ => theme.text,
    };
    cells.left_middle(&name, name_width, name_style, glyphs.cut);
    let (bytes, total) = amounts(item);
    let shows_bar = is_under_way(item);
    if columns.size > 0 {
        cells.skip(1);
        match (bytes, total) {
            // Where there is no room for both, a bar tells more of a file that is under way.
            (Some(bytes), Some(total)) if shows_bar && columns.bar == 0 => {
                let (full, rest) = glyphs.bar(bytes, total, columns.size);
                cells.put(&full, theme.bar);
                cells.put(&rest, theme.bar_rest);
            }
            _ => {
                let text = total.or(bytes).map(words::bytes).unwrap_or_default();
                cells.right(&text, columns.size, theme.dim, glyphs.cut);
            }
        }
    }
    if columns.bar > 0 {
        cells.skip(1);
        if let (true, Some(bytes), Some(total)) = (shows_bar, bytes, total) {
            let (full, rest) = glyphs.bar(bytes, total, columns.bar);
            cells.put(&full, theme.bar);
            cells.put(&rest, theme.bar_rest);
        } else {
            cells.skip(columns.bar);
        }
    }
    if columns.percent > 0 {
        match (shows_bar, bytes, total) {
            (true, Some(bytes), Some(total)) => {
                let text = format!("{}%", words::percent(bytes, total));
                cells.right(&text, columns.percent, theme.text, glyphs.cut);
            }
            _ => cells.skip(columns.percent),
        }
    }
    cells.skip(1);
    let (state, style) = match (hashed, item) {
        (Some(Hashed::Wrong(rule)), _) => (words::rule_word(rule).to_owned(), theme.error),
        (Some(Hashed::Right), FileItem::Cached(..)) => ("verified".to_owned(), theme.good),
        _ => (
            words::file_state(item, now_ms, columns.state),
            state_style(item, sign.1, canvas),
        ),
    };
    cells.left(&fit::clean(&state), columns.state, style, glyphs.cut);
}

fn state_style(
    item: &FileItem<'_>,
    sign: ratatui::style::Style,
    canvas: Canvas<'_>,
) -> ratatui::style::Style {
    match item {
        FileItem::Transfer(_, view) if view.status.is_in_place() => canvas.ui.theme.dim,
        FileItem::Cached(_, row) if row.state == FileState::Unverified => canvas.ui.theme.dim,
        _ => sign,
    }
}

/// Bytes here and bytes there will be.
fn amounts(item: &FileItem<'_>) -> (Option<u64>, Option<u64>) {
    match item {
        FileItem::Transfer(_, view) => (Some(view.bytes), Some(view.size_bytes)),
        FileItem::Cached(_, row) => (row.size_bytes, row.expected_bytes.or(row.size_bytes)),
        FileItem::Partial(partial) => (Some(partial.bytes), partial.expected_bytes),
    }
}

/// Whether a bar says more than the state does.
fn is_under_way(item: &FileItem<'_>) -> bool {
    match item {
        FileItem::Transfer(_, view) => {
            !view.status.is_in_place() && (view.bytes > 0 || view.status.is_active())
        }
        FileItem::Cached(_, row) => row.state == FileState::Truncated,
        FileItem::Partial(_) => true,
    }
}

fn empty(buf: &mut Buffer, area: Rect, canvas: Canvas<'_>, scene: &Scene<'_>) {
    let (ui, theme) = (canvas.ui, &canvas.ui.theme);
    let Some(item) = scene.model(ui) else {
        super::text::paragraph(buf, area, "no model is selected", theme.dim);
        return;
    };
    if scene.files_total > 0 {
        super::text::paragraph(buf, area, "no file matches", theme.dim);
        return;
    }
    if let Some(pull) = item.pull {
        if pull.phase() == Phase::Ended {
            let failures = pull.failures();
            let repo = pull.target().repo.to_string();
            super::text::failures(buf, area, canvas, &failures, &repo);
            return;
        }
        let words = match pull.waits_for() {
            Some(other) => other_pull_line(other),
            None => format!(
                "asking {} for its files",
                words::host(&pull.target().endpoint)
            ),
        };
        super::text::paragraph(buf, area, &words, theme.dim);
        return;
    }
    let words = item
        .row
        .and_then(|row| row.problems.first())
        .map_or("reading the files", String::as_str);
    super::text::paragraph(buf, area, words, theme.dim);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_leave_room_for_a_name() {
        for width in 20..240 {
            let columns = Columns::at(width);
            let room = width.saturating_sub(3 + columns.taken());
            assert!(room >= 5, "{width}: {columns:?} leaves {room}");
            assert!(width < 70 || room >= 20, "{width}: {room}");
        }
    }
}
