//! Screens of the dashboard as pictures in text: event scripts, folded and drawn.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::facts::Facts;
use super::stage::facts;
use super::ui::Ui;
use super::update::View;
use crate::store::Store;
use crate::store::script::Script;

/// The cells of a picture as text.
fn text(buffer: &Buffer) -> String {
    let area = buffer.area;
    let mut out = String::new();
    for y in area.y..area.bottom() {
        let mut line = String::new();
        let mut skip = 0;
        for x in area.x..area.right() {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            let symbol = buffer[(x, y)].symbol();
            skip = unicode_width::UnicodeWidthStr::width(symbol).saturating_sub(1);
            line.push_str(symbol);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn draw(ui: &mut Ui, store: &Store, facts: &Facts, now_ms: u64, size: (u16, u16)) -> Buffer {
    let mut buffer = Buffer::empty(Rect::new(0, 0, size.0, size.1));
    let view = View {
        store,
        facts,
        now_ms,
    };
    super::view::draw(&mut buffer, ui, view);
    buffer
}

#[test]
fn look() {
    let facts = facts();
    for (name, script) in [
        ("planned", Script::planned()),
        ("eventful", Script::eventful()),
        ("complete", Script::complete()),
        ("broken", Script::broken()),
    ] {
        let store = script.fold();
        for size in [(120, 32), (80, 24), (50, 16), (39, 9)] {
            let mut ui = Ui::new(&facts);
            let buffer = draw(&mut ui, &store, &facts, script.now_ms(), size);
            println!("--- {name} {size:?}\n{}", text(&buffer));
        }
    }
}
