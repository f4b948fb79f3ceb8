//! Owns turning a picture of cells into an SVG that looks the same everywhere: no font is brought
//! along, lines and blocks are shapes, and every text is held to the grid.
//!
//! Only for tests. **Law**: the same picture gives the same bytes.

use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr as _;

/// A cell, in units of the drawing.
const CELL: (usize, usize) = (9, 19);
/// Size of a font whose characters are as wide as a cell: most monospaced ones are 0.6 em wide.
const FONT_SIZE: usize = 15;
/// From the top of a cell down to the line on which letters stand.
const BASELINE: usize = 14;
/// Around the cells.
const MARGIN: usize = 12;
/// The bar with the title.
const BAR: usize = 34;

/// What a terminal brings along: its background, the colours it calls by number, its frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    /// Text where no colour is set.
    pub(super) text: &'static str,
    /// Behind the cells.
    pub(super) ground: &'static str,
    /// The bar with the title.
    pub(super) bar: &'static str,
    /// The line around the window, and the title.
    pub(super) edge: &'static str,
    /// The title.
    pub(super) title: &'static str,
    /// The sixteen colours, black first.
    pub(super) sixteen: [&'static str; 16],
}

/// A colour and what is done with it: one group of the drawing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ink {
    color: String,
    is_bold: bool,
    is_dim: bool,
}

/// What one ink draws.
struct Layer {
    ink: Ink,
    texts: String,
    /// Filled shapes, as a path.
    shapes: String,
    /// Filled shapes that let the ground shine through.
    shades: String,
    /// Thin lines, as a path.
    lines: String,
    /// Signs as thick as letters, as a path.
    signs: String,
    /// Thick lines, as a path.
    bars: String,
}

/// The picture.
pub(super) fn picture(buffer: &Buffer, palette: &Palette, title: &str, about: &str) -> String {
    let (columns, rows) = (
        usize::from(buffer.area.width),
        usize::from(buffer.area.height),
    );
    let (width, height) = (
        columns * CELL.0 + 2 * MARGIN,
        rows * CELL.1 + BAR + MARGIN + 4,
    );
    let mut drawing = Drawing {
        buffer,
        palette,
        layers: Vec::new(),
        grounds: Vec::new(),
    };
    for y in 0..rows {
        drawing.row(y, columns);
    }
    drawing.strokes(columns, rows);
    let mut out = format!(
        concat!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" ",
            "width=\"{w}\" height=\"{h}\" role=\"img\" aria-label=\"{about}\">\n",
            "<rect x=\".5\" y=\".5\" width=\"{iw}\" height=\"{ih}\" rx=\"9.5\" ",
            "fill=\"{ground}\" stroke=\"{edge}\"/>\n",
            "<path d=\"M1 {bar}V10a9 9 0 0 1 9-9H{right}a9 9 0 0 1 9 9V{bar}Z\" fill=\"{fill}\"/>\n",
            "<path d=\"M1 {line}H{end}\" stroke=\"{edge}\"/>\n",
            "<g fill=\"{edge}\"><circle cx=\"20\" cy=\"17\" r=\"6\"/>",
            "<circle cx=\"40\" cy=\"17\" r=\"6\"/><circle cx=\"60\" cy=\"17\" r=\"6\"/></g>\n",
            "<text x=\"{middle}\" y=\"22\" text-anchor=\"middle\" font-family=\"system-ui, ",
            "sans-serif\" font-size=\"13\" fill=\"{title_fill}\">{title}</text>\n",
            "<g transform=\"translate({margin} {top})\" font-family=\"ui-monospace, ",
            "SFMono-Regular, Menlo, Consolas, monospace\" font-size=\"{size}\" ",
            "style=\"font-variant-ligatures:none\">\n",
        ),
        w = width,
        h = height,
        about = escape(about),
        iw = width - 1,
        ih = height - 1,
        ground = palette.ground,
        edge = palette.edge,
        bar = BAR,
        right = width - 10,
        fill = palette.bar,
        line = format_args!("{BAR}.5"),
        end = width - 1,
        middle = width / 2,
        title_fill = palette.title,
        title = escape(title),
        margin = MARGIN,
        top = BAR + 7,
        size = FONT_SIZE,
    );
    for (color, path) in &drawing.grounds {
        let _ = writeln!(out, "<path d=\"{path}\" fill=\"{color}\"/>");
    }
    for layer in &drawing.layers {
        layer.write(&mut out);
    }
    out.push_str("</g>\n</svg>\n");
    out
}

impl Layer {
    fn write(&self, out: &mut String) {
        let _ = write!(out, "<g fill=\"{}\"", self.ink.color);
        if self.ink.is_bold {
            out.push_str(" font-weight=\"700\"");
        }
        if self.ink.is_dim {
            out.push_str(" opacity=\".6\"");
        }
        out.push_str(">\n");
        if !self.shapes.is_empty() {
            let _ = writeln!(out, "<path d=\"{}\"/>", self.shapes);
        }
        if !self.shades.is_empty() {
            let _ = writeln!(out, "<path d=\"{}\" opacity=\".5\"/>", self.shades);
        }
        let strokes = [(&self.lines, "1"), (&self.signs, "1.5"), (&self.bars, "3")];
        for (path, width) in strokes {
            if !path.is_empty() {
                let _ = writeln!(
                    out,
                    "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\"/>",
                    self.ink.color
                );
            }
        }
        out.push_str(&self.texts);
        out.push_str("</g>\n");
    }
}

struct Drawing<'a> {
    buffer: &'a Buffer,
    palette: &'a Palette,
    layers: Vec<Layer>,
    /// Backgrounds that are not the terminal's own.
    grounds: Vec<(String, String)>,
}

impl Drawing<'_> {
    fn cell(&self, x: usize, y: usize) -> &Cell {
        &self.buffer.content[y * usize::from(self.buffer.area.width) + x]
    }

    /// Backgrounds, blocks, signs and words of a row.
    fn row(&mut self, y: usize, columns: usize) {
        let mut x = 0;
        while x < columns {
            let ground = self.ground(x, y);
            let len = (x..columns)
                .take_while(|x| self.ground(*x, y) == ground)
                .count();
            if let Some(color) = ground {
                let path = rect(x * CELL.0, y * CELL.1, len * CELL.0, CELL.1);
                match self.grounds.iter_mut().find(|(known, _)| *known == color) {
                    Some((_, known)) => known.push_str(&path),
                    None => self.grounds.push((color, path)),
                }
            }
            x += len;
        }
        let mut x = 0;
        while x < columns {
            let cell = self.cell(x, y);
            let symbol = cell.symbol().to_owned();
            let wide = symbol.width().max(1);
            if symbol.trim().is_empty() || arms(&symbol).is_some() {
                x += wide;
                continue;
            }
            let ink = self.ink(cell);
            if matches!(symbol.as_str(), "█" | "░" | "▌") {
                let len = (x..columns)
                    .take_while(|x| {
                        let other = self.cell(*x, y);
                        other.symbol() == symbol && self.ink(other) == ink
                    })
                    .count();
                let len = if symbol == "▌" { 1 } else { len };
                let (left, top) = (x * CELL.0, y * CELL.1);
                let layer = self.layer(ink);
                match symbol.as_str() {
                    "▌" => layer.shapes += &rect(left, top, CELL.0 / 2, CELL.1),
                    // A bar has air above and below, as bars of a row have in most terminals.
                    "█" => layer.shapes += &rect(left, top + 2, len * CELL.0, CELL.1 - 4),
                    _ => layer.shades += &rect(left, top + 2, len * CELL.0, CELL.1 - 4),
                }
                x += len;
                continue;
            }
            if let Some(path) = sign(&symbol, x * CELL.0, y * CELL.1) {
                let layer = self.layer(ink);
                match path {
                    Sign::Filled(path) => layer.shapes += &path,
                    Sign::Drawn(path) => layer.signs += &path,
                }
                x += wide;
                continue;
            }
            x += self.words(x, y, columns, ink);
        }
    }

    /// Writes the words that begin at a cell; how many cells they take. A run ends where the style
    /// does, at two spaces, and around what is not ASCII, which may come from another font.
    fn words(&mut self, x: usize, y: usize, columns: usize, ink: Ink) -> usize {
        let mut text = self.cell(x, y).symbol().to_owned();
        let mut taken = text.width().max(1);
        if text.is_ascii() {
            while x + taken < columns {
                let next = self.cell(x + taken, y);
                let is_same = next.symbol() == " " || self.ink(next) == ink;
                let is_gap = next.symbol() == " " && text.ends_with(' ');
                if !next.symbol().is_ascii() || !is_same || is_gap {
                    break;
                }
                text.push_str(next.symbol());
                taken += 1;
            }
        }
        let shown = text.trim_end();
        let _ = writeln!(
            self.layer(ink).texts,
            "<text x=\"{}\" y=\"{}\" textLength=\"{}\" lengthAdjust=\"spacingAndGlyphs\">{}</text>",
            x * CELL.0,
            y * CELL.1 + BASELINE,
            shown.width() * CELL.0,
            escape(shown)
        );
        taken
    }

    /// Lines around panes: arms that continue each other are one stroke.
    fn strokes(&mut self, columns: usize, rows: usize) {
        let (half_x, half_y) = (CELL.0 / 2, CELL.1 / 2);
        for y in 0..rows {
            let at = |x: usize| (x, y);
            self.stroke(
                columns,
                at,
                |arms| (arms.left, arms.right),
                |from, to| {
                    let edge = |half: usize| half / 2 * CELL.0 + half % 2 * half_x;
                    let begin = edge(from);
                    // To the far side of the middle line, so that corners are closed.
                    let end = edge(to) + usize::from(to % 2 == 1);
                    format!("M{begin} {}.5H{end}", y * CELL.1 + half_y)
                },
            );
        }
        for x in 0..columns {
            let at = |y: usize| (x, y);
            self.stroke(
                rows,
                at,
                |arms| (arms.up, arms.down),
                |from, to| {
                    let edge = |half: usize| half / 2 * CELL.1 + half % 2 * half_y;
                    let begin = edge(from);
                    let end = edge(to) + usize::from(to % 2 == 1);
                    format!("M{}.5 {begin}V{end}", x * CELL.0 + half_x)
                },
            );
        }
    }

    /// The strokes along a row or a column, counted in half cells.
    fn stroke(
        &mut self,
        cells: usize,
        at: impl Fn(usize) -> (usize, usize),
        ends: impl Fn(Arms) -> (u8, u8),
        path: impl Fn(usize, usize) -> String,
    ) {
        let halves: Vec<Option<(Ink, u8)>> = (0..cells)
            .flat_map(|step| {
                let (x, y) = at(step);
                let cell = self.cell(x, y);
                let (first, second) = arms(cell.symbol()).map_or((0, 0), &ends);
                let half = |weight: u8| (weight > 0).then(|| (self.ink(cell), weight));
                [half(first), half(second)]
            })
            .collect();
        let mut from = 0;
        while from < halves.len() {
            let len = halves[from..]
                .iter()
                .take_while(|half| **half == halves[from])
                .count();
            if let Some((ink, weight)) = &halves[from] {
                let layer = self.layer(ink.clone());
                let to = path(from, from + len);
                if *weight > 1 {
                    layer.bars += &to;
                } else {
                    layer.lines += &to;
                }
            }
            from += len;
        }
    }

    fn layer(&mut self, ink: Ink) -> &mut Layer {
        let at = self.layers.iter().position(|layer| layer.ink == ink);
        let at = at.unwrap_or_else(|| {
            self.layers.push(Layer {
                ink,
                texts: String::new(),
                shapes: String::new(),
                shades: String::new(),
                lines: String::new(),
                signs: String::new(),
                bars: String::new(),
            });
            self.layers.len() - 1
        });
        &mut self.layers[at]
    }

    /// The background of a cell; `None` where it is the terminal's own.
    fn ground(&self, x: usize, y: usize) -> Option<String> {
        let cell = self.cell(x, y);
        let is_reversed = cell.modifier.contains(Modifier::REVERSED);
        match (is_reversed, cell.fg, cell.bg) {
            (true, Color::Reset, _) => Some(self.palette.text.to_owned()),
            (true, color, _) | (false, _, color) if color != Color::Reset => {
                Some(self.color(color))
            }
            _ => None,
        }
    }

    fn ink(&self, cell: &Cell) -> Ink {
        let is_reversed = cell.modifier.contains(Modifier::REVERSED);
        let color = match (is_reversed, cell.fg, cell.bg) {
            (false, Color::Reset, _) => self.palette.text.to_owned(),
            (true, _, Color::Reset) => self.palette.ground.to_owned(),
            (false, color, _) | (true, _, color) => self.color(color),
        };
        // A line is as thick in any weight.
        let has_letters = arms(cell.symbol()).is_none();
        Ink {
            color,
            is_bold: has_letters && cell.modifier.contains(Modifier::BOLD),
            is_dim: cell.modifier.contains(Modifier::DIM),
        }
    }

    fn color(&self, color: Color) -> String {
        let number = match color {
            Color::Rgb(r, g, b) => return format!("#{r:02x}{g:02x}{b:02x}"),
            Color::Indexed(number) if number < 16 => usize::from(number),
            Color::Black => 0,
            Color::Red => 1,
            Color::Green => 2,
            Color::Yellow => 3,
            Color::Blue => 4,
            Color::Magenta => 5,
            Color::Cyan => 6,
            Color::Gray => 7,
            Color::DarkGray => 8,
            Color::LightRed => 9,
            Color::LightGreen => 10,
            Color::LightYellow => 11,
            Color::LightBlue => 12,
            Color::LightMagenta => 13,
            Color::LightCyan => 14,
            Color::White => 15,
            // Pictures are of terminals with true colour or with sixteen.
            Color::Indexed(_) | Color::Reset => panic!("{color:?} has no place in a picture"),
        };
        self.palette.sixteen[number].to_owned()
    }
}

/// Where the lines of a box go from the middle of its cell: 0 nowhere, 1 thin, 2 thick.
#[derive(Clone, Copy)]
struct Arms {
    up: u8,
    right: u8,
    down: u8,
    left: u8,
}

fn arms(symbol: &str) -> Option<Arms> {
    let (up, right, down, left) = match symbol {
        "│" => (1, 0, 1, 0),
        "─" => (0, 1, 0, 1),
        "┌" => (0, 1, 1, 0),
        "┐" => (0, 0, 1, 1),
        "└" => (1, 1, 0, 0),
        "┘" => (1, 0, 0, 1),
        "├" => (1, 1, 1, 0),
        "┤" => (1, 0, 1, 1),
        "┬" => (0, 1, 1, 1),
        "┴" => (1, 1, 0, 1),
        "┼" => (1, 1, 1, 1),
        "┃" => (2, 0, 2, 0),
        "━" => (0, 2, 0, 2),
        _ => return None,
    };
    Some(Arms {
        up,
        right,
        down,
        left,
    })
}

/// A sign as a path.
enum Sign {
    Filled(String),
    Drawn(String),
}

/// Signs that many fonts do not have, or have in another width.
fn sign(symbol: &str, left: usize, top: usize) -> Option<Sign> {
    Some(match symbol {
        "✓" => Sign::Drawn(format!("M{left}.5 {}l3 4 5-9", top + 10)),
        "✗" => Sign::Drawn(format!("M{} {}l7 8m0-8l-7 8", left + 1, top + 6)),
        "●" => Sign::Filled(circle(left, top + 6, 4)),
        "○" => Sign::Drawn(circle(left, top + 6, 4)),
        "→" => Sign::Drawn(format!("M{left} {}.5h8m-3-3l3 3-3 3", top + 9)),
        _ => {
            let mut chars = symbol.chars();
            let c = chars.next().filter(|_| chars.next().is_none())?;
            let dots = u32::from(c).checked_sub(0x2800).filter(|dots| *dots < 64)?;
            // Dots of Braille: three down on the left, three down on the right.
            let path = (0..6_usize)
                .filter(|dot| dots >> dot & 1 == 1)
                .map(|dot| rect(left + 2 + dot / 3 * 4, top + 4 + dot % 3 * 4, 2, 2))
                .collect();
            Sign::Filled(path)
        }
    })
}

fn rect(left: usize, top: usize, width: usize, height: usize) -> String {
    format!("M{left} {top}h{width}v{height}h-{width}z")
}

fn circle(left: usize, top: usize, radius: usize) -> String {
    let round = 2 * radius;
    format!(
        "M{left} {}a{radius} {radius} 0 1 1 {round} 0a{radius} {radius} 0 1 1-{round} 0z",
        top + radius
    )
}

/// Text as it may stand in XML.
fn escape(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, c| {
            match c {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '"' => out.push_str("&quot;"),
                _ => out.push(c),
            }
            out
        })
}
