//! Owns the picture: where each pane is at which size, and the order in which things are drawn.
//!
//! Never asks the system and never changes the store. **Law**: any state at any size gives a
//! picture.

mod cells;
mod chrome;
mod details;
mod files;
mod first_run;
mod health;
mod help;
mod locks;
mod log;
mod models;
mod overlay;
mod text;
mod why;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Block, Clear, Widget as _};

use self::cells::Cells;
use super::glyph::Glyphs;
use super::pane::Pane;
use super::purging;
use super::rows::Scene;
use super::ui::{Overlay, Question, Ui};
use super::update::View;
use super::wish::is_first_run;

/// Narrower or lower than this, nothing useful fits.
const LEAST: (u16, u16) = (40, 10);
/// From this size on, all panes are beside each other.
const WIDE: (u16, u16) = (120, 30);

/// What a view needs besides its rows.
#[derive(Clone, Copy)]
pub(super) struct Canvas<'a> {
    pub(super) view: View<'a>,
    pub(super) ui: &'a Ui,
    pub(super) glyphs: &'static Glyphs,
}

/// Where the panes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Places {
    panes: [Option<Rect>; 5],
    /// The log as a strip below a single pane.
    is_strip: bool,
    /// The demo's story, above the last row.
    story: Option<Rect>,
}

/// Rows of the demo's story.
const STORY_ROWS: u16 = 3;

impl Places {
    fn of(area: Rect, ui: &Ui, has_story: bool) -> Self {
        let mut places = Self::default();
        let mut body = Rect {
            y: area.y + 1,
            height: area.height.saturating_sub(2),
            ..area
        };
        if has_story && body.height >= 12 + STORY_ROWS {
            body.height -= STORY_ROWS;
            places.story = Some(Rect {
                y: body.bottom(),
                height: STORY_ROWS,
                ..body
            });
        }
        if ui.is_zoomed {
            places.panes[ui.focus.index()] = Some(body);
            return places;
        }
        if area.width >= WIDE.0 && area.height >= WIDE.1 {
            places.wide(body);
            return places;
        }
        if ui.focus == Pane::Log {
            places.panes[Pane::Log.index()] = Some(body);
            return places;
        }
        // Two lines of log below; lower terminals keep the pane whole.
        let strip = if body.height >= 14 { 4 } else { 0 };
        let main = Rect {
            height: body.height - strip.min(body.height) + u16::from(strip > 0),
            ..body
        };
        // Where there is room beside it, the models stay in sight.
        if area.width >= 100 && ui.focus != Pane::Models {
            let (left, right) = split_columns(main, 30);
            places.panes[Pane::Models.index()] = Some(left);
            places.panes[ui.focus.index()] = Some(right);
        } else if area.width >= 100 {
            let (left, right) = split_columns(main, 44);
            places.panes[Pane::Models.index()] = Some(left);
            places.panes[Pane::Files.index()] = Some(right);
        } else {
            places.panes[ui.focus.index()] = Some(main);
        }
        if strip > 0 {
            places.is_strip = true;
            places.panes[Pane::Log.index()] = Some(Rect {
                y: body.y + body.height - strip,
                height: strip,
                ..body
            });
        }
        places
    }

    /// All five. Neighbours share a line.
    fn wide(&mut self, body: Rect) {
        let log = (body.height / 5).clamp(5, 12);
        let upper = Rect {
            height: body.height - log + 1,
            ..body
        };
        let models = (body.width / 4).clamp(30, 46);
        let health = (body.width * 28 / 100).clamp(34, 60);
        let (left, rest) = split_columns(upper, models);
        let (middle, right) = split_columns(rest, rest.width - health + 1);
        let findings = (upper.height * 3 / 5).max(6);
        self.panes[Pane::Models.index()] = Some(left);
        self.panes[Pane::Files.index()] = Some(middle);
        self.panes[Pane::Health.index()] = Some(Rect {
            height: findings,
            ..right
        });
        self.panes[Pane::Locks.index()] = Some(Rect {
            y: right.y + findings - 1,
            height: right.height - findings + 1,
            ..right
        });
        self.panes[Pane::Log.index()] = Some(Rect {
            y: upper.y + upper.height - 1,
            height: log,
            ..body
        });
    }
}

/// Two columns that share a line, the left one of that width.
fn split_columns(area: Rect, left: u16) -> (Rect, Rect) {
    let left = left.min(area.width);
    (
        Rect {
            width: left,
            ..area
        },
        Rect {
            x: area.x + left.saturating_sub(1),
            width: area.width - left + u16::from(left > 0),
            ..area
        },
    )
}

/// Draws the dashboard; where the cursor stands, if a field is open.
pub fn draw(buf: &mut Buffer, ui: &mut Ui, view: View<'_>) -> Option<Position> {
    let area = buf.area;
    let glyphs = Glyphs::of(view.facts.is_ascii);
    buf.set_style(area, ui.theme.text);
    if area.width < LEAST.0 || area.height < LEAST.1 {
        too_small(buf, ui);
        return None;
    }
    let scene = Scene::build(ui, view.store, view.now_ms);
    let places = Places::of(area, ui, !view.facts.story.is_empty());
    let below = |pane: Pane| {
        let rect = places.panes[pane.index()]?;
        let canvas = Canvas { view, ui, glyphs };
        let columns = usize::from(rect.width).saturating_sub(4);
        let inner = Rect {
            width: rect.width.saturating_sub(2),
            height: rect.height.saturating_sub(2),
            ..rect
        };
        let lines = match pane {
            Pane::Files => files::foot(canvas, &scene, columns).len(),
            Pane::Health => health::foot(canvas, &scene, inner).len(),
            Pane::Models | Pane::Locks | Pane::Log => 0,
        };
        let height = rect
            .height
            .saturating_sub(2 + to_u16(health::head(pane, view)));
        Some(files::foot_rows(height, scene.len(pane), lines))
    };
    let taken = Pane::ALL.map(|pane| below(pane).unwrap_or(0) + health::head(pane, view));
    for pane in Pane::ALL {
        let page = places.panes[pane.index()].map_or(0, |rect| {
            usize::from(rect.height.saturating_sub(2)).saturating_sub(taken[pane.index()])
        });
        let len = scene.len(pane);
        match pane {
            Pane::Models => ui.models.show(len, page),
            Pane::Files => ui.files.show(len, page),
            Pane::Health => ui.health.show(len, page),
            Pane::Locks => ui.locks.show(len, page),
            Pane::Log => ui.log.show(len, page),
        }
    }
    let canvas = Canvas { view, ui, glyphs };
    chrome::header(buf, canvas, &scene);
    chrome::footer(buf, canvas, &scene);
    if is_first_run(view.store) && !ui.is_zoomed && ui.focus != Pane::Log {
        let body = Rect {
            y: area.y + 1,
            height: area.height - 2,
            ..area
        };
        first_run::draw(buf, body, canvas);
    } else {
        // The focused pane last: the lines it shares are its own.
        let others = Pane::ALL.into_iter().filter(|pane| *pane != ui.focus);
        for pane in others.chain([ui.focus]) {
            if let Some(rect) = places.panes[pane.index()] {
                draw_pane(buf, pane, rect, canvas, &scene, places.is_strip);
            }
        }
        // Titles last of all: one stands in a line that two panes share.
        for pane in Pane::ALL {
            if let Some(rect) = places.panes[pane.index()] {
                write_title(buf, pane, rect, canvas, &scene);
            }
        }
    }
    if let Some(rect) = places.story {
        chrome::story(buf, rect, canvas);
    }
    level(buf);
    let cursor = overlay::draw(buf, canvas, &scene);
    if view.facts.is_ascii {
        to_ascii(buf);
    }
    if let Some(Overlay::Ask {
        question: Question::Discard(asked),
        ..
    }) = &mut ui.overlay
    {
        asked.is_shown = purging::planned_discard(view.store, asked).is_some();
    }
    cursor
}

/// A reversed row has one colour: its coloured words would be patches, and its bar a hole.
fn level(buf: &mut Buffer) {
    for cell in &mut buf.content {
        if cell.modifier.contains(Modifier::REVERSED) {
            cell.fg = Color::Reset;
        }
    }
}

/// What is still not ASCII, in sentences and in names: a sign that is near, or a question mark.
fn to_ascii(buf: &mut Buffer) {
    for cell in &mut buf.content {
        if !cell.symbol().is_ascii() {
            let near = match cell.symbol() {
                "→" => ">",
                "…" => "~",
                "·" => "-",
                _ => "?",
            };
            cell.set_symbol(near);
        }
    }
}

fn draw_pane(
    buf: &mut Buffer,
    pane: Pane,
    rect: Rect,
    canvas: Canvas<'_>,
    scene: &Scene<'_>,
    is_strip: bool,
) {
    let inner = frame(buf, rect, pane, canvas);
    match pane {
        Pane::Models => models::draw(buf, inner, canvas, scene),
        Pane::Files => files::draw(buf, inner, canvas, scene),
        Pane::Health => health::draw(buf, inner, canvas, scene),
        Pane::Locks => locks::draw(buf, inner, canvas, scene),
        Pane::Log => log::draw(
            buf,
            inner,
            canvas,
            scene,
            is_strip && canvas.ui.focus != pane,
        ),
    }
    let shown = match pane {
        Pane::Models => (canvas.ui.models.offset, canvas.ui.models.page),
        Pane::Files => (canvas.ui.files.offset, canvas.ui.files.page),
        Pane::Health => (canvas.ui.health.offset, canvas.ui.health.page),
        Pane::Locks => (canvas.ui.locks.offset, canvas.ui.locks.page),
        Pane::Log => (canvas.ui.log.offset, canvas.ui.log.page),
    };
    thumb(buf, rect, canvas, pane, (shown.0, shown.1, scene.len(pane)));
}

/// The lines around a pane; what is left inside.
fn frame(buf: &mut Buffer, rect: Rect, pane: Pane, canvas: Canvas<'_>) -> Rect {
    let ui = canvas.ui;
    let style = if ui.focus == pane {
        ui.theme.focus
    } else {
        ui.theme.border
    };
    let mut block = Block::bordered()
        .border_set(canvas.glyphs.border)
        .border_style(style);
    if !canvas.glyphs.is_ascii {
        block = block.merge_borders(ratatui::symbols::merge::MergeStrategy::Exact);
    }
    let inner = block.inner(rect);
    block.render(rect, buf);
    inner
}

/// A pane's title, in its upper line.
fn write_title(buf: &mut Buffer, pane: Pane, rect: Rect, canvas: Canvas<'_>, scene: &Scene<'_>) {
    let ui = canvas.ui;
    let title = match pane {
        Pane::Models => models::title(canvas, scene),
        Pane::Files => files::title(canvas, scene, rect.width),
        Pane::Health => health::title(canvas, scene),
        Pane::Locks => locks::title(canvas, scene),
        Pane::Log => log::title(canvas, scene),
    };
    // The line below the words may be the focused pane's, and heavier.
    let own = |style: Style| Style::reset().patch(style);
    let room = usize::from(rect.width.saturating_sub(4));
    let number = format!(" {} ", pane.index() + 1);
    let name_style = if ui.focus == pane {
        ui.theme.focus
    } else {
        ui.theme.text
    };
    let mut cells = Cells::new(buf, rect.y, rect.x + 1, rect.x + 1 + to_u16(room) + 1);
    cells.put(&number, own(ui.theme.dim));
    let mut parts = title.splitn(2, '\u{0}');
    cells.put(parts.next().unwrap_or_default(), own(name_style));
    if let Some(rest) = parts.next() {
        cells.put(" ", own(ui.theme.text));
        cells.put_cut(rest, own(ui.theme.dim), canvas.glyphs.cut);
    }
    cells.put(" ", own(ui.theme.text));
}

/// Where the visible rows are among all, on the right line.
fn thumb(
    buf: &mut Buffer,
    rect: Rect,
    canvas: Canvas<'_>,
    pane: Pane,
    (first_row, visible, len): (usize, usize, usize),
) {
    let rows = usize::from(rect.height.saturating_sub(2));
    if len <= visible || rows == 0 {
        return;
    }
    let size = (rows * visible / len).max(1);
    let first = (rows - size) * first_row / (len - visible).max(1);
    let style = if canvas.ui.focus == pane {
        canvas.ui.theme.focus
    } else {
        canvas.ui.theme.dim
    };
    for row in first..(first + size).min(rows) {
        let at = Position::new(rect.x + rect.width - 1, rect.y + 1 + to_u16(row));
        if let Some(cell) = buf.cell_mut(at) {
            cell.set_symbol(canvas.glyphs.thumb).set_style(style);
        }
    }
}

/// A row's style: selected, or in an unfocused pane only marked by weight.
fn row_style(canvas: Canvas<'_>, pane: Pane, is_selected: bool) -> Style {
    let ui = canvas.ui;
    if !is_selected {
        return Style::new();
    }
    if ui.focus == pane {
        ui.theme.selected
    } else {
        Style::new().add_modifier(Modifier::BOLD)
    }
}

/// A number of cells; more than any terminal has is as many as it has.
fn to_u16(cells: usize) -> u16 {
    u16::try_from(cells).unwrap_or(u16::MAX)
}

fn too_small(buf: &mut Buffer, ui: &Ui) {
    let area = buf.area;
    Clear.render(area, buf);
    if area.height == 0 || area.width == 0 {
        return;
    }
    let words = format!(
        "larder needs {}x{} cells, here are {}x{}",
        LEAST.0, LEAST.1, area.width, area.height
    );
    let text = super::fit::wrap(&words, usize::from(area.width));
    let first = area.y + area.height.saturating_sub(to_u16(text.len())) / 2;
    for (line, y) in text.iter().zip(first..area.bottom()) {
        let mut cells = Cells::new(buf, y, area.x, area.right());
        cells.put(line, ui.theme.text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::stage::facts;

    #[test]
    fn panes_cover_the_screen_and_stay_on_it() {
        let mut ui = Ui::new(&facts());
        for width in 40..220 {
            for height in [10, 13, 16, 24, 30, 32, 60] {
                for pane in Pane::ALL {
                    for is_zoomed in [false, true] {
                        ui.focus_on(pane);
                        ui.is_zoomed = is_zoomed;
                        let area = Rect::new(0, 0, width, height);
                        let places = Places::of(area, &ui, width % 2 == 0);
                        let shown = places.panes[pane.index()];
                        assert!(shown.is_some(), "{pane:?} at {width}x{height}");
                        for rect in places.panes.into_iter().flatten() {
                            assert_eq!(rect.intersection(area), rect);
                            assert!(rect.height >= 3 && rect.width >= 20, "{rect:?}");
                            assert!(rect.y >= 1 && rect.bottom() < height);
                        }
                    }
                }
            }
        }
    }
}
