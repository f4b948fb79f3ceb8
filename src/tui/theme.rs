//! Owns colours: the five themes, which one fits a terminal, and a style for each role.
//!
//! Never carries meaning alone: every state has its word or its sign beside the colour.

use ratatui::style::{Color, Modifier, Style};

/// How many colours the terminal can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// None, or none are wanted.
    None,
    /// The sixteen of its palette.
    #[default]
    Sixteen,
    /// The fixed 256.
    Many,
    /// Any.
    True,
}

/// A theme by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThemeName {
    /// Dark background.
    Dark,
    /// Light background.
    Light,
    /// As much difference as there is.
    HighContrast,
    /// The terminal's own palette.
    Sixteen,
    /// No colour.
    Mono,
}

impl ThemeName {
    /// Every theme, in the order in which a key steps through them.
    pub const ALL: [Self; 5] = [
        Self::Dark,
        Self::Light,
        Self::HighContrast,
        Self::Sixteen,
        Self::Mono,
    ];

    /// The name as it stands in the config file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::Light => "light",
            Self::HighContrast => "high-contrast",
            Self::Sixteen => "16-colour",
            Self::Mono => "mono",
        }
    }

    /// The theme of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.name() == name)
    }

    /// The theme for a terminal where nobody chose one.
    pub const fn fitting(depth: Depth, is_light: bool) -> Self {
        match (depth, is_light) {
            (Depth::None, _) => Self::Mono,
            (Depth::Sixteen, _) => Self::Sixteen,
            (Depth::Many | Depth::True, true) => Self::Light,
            (Depth::Many | Depth::True, false) => Self::Dark,
        }
    }

    /// The next one.
    #[must_use]
    pub fn next(self) -> Self {
        let at = Self::ALL.iter().position(|theme| *theme == self);
        Self::ALL[(at.unwrap_or(0) + 1) % Self::ALL.len()]
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Dark => include_str!("../../assets/themes/dark.toml"),
            Self::Light => include_str!("../../assets/themes/light.toml"),
            Self::HighContrast => include_str!("../../assets/themes/high-contrast.toml"),
            Self::Sixteen => include_str!("../../assets/themes/16-colour.toml"),
            Self::Mono => include_str!("../../assets/themes/mono.toml"),
        }
    }
}

/// A style for each role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// What is read.
    pub text: Style,
    /// What is there to be found, not to be read.
    pub dim: Style,
    /// Names and titles.
    pub accent: Style,
    /// Lines around panes.
    pub border: Style,
    /// Lines around the focused pane.
    pub focus: Style,
    /// Right and done.
    pub good: Style,
    /// Worth knowing.
    pub note: Style,
    /// larder copes.
    pub warning: Style,
    /// Failed.
    pub error: Style,
    /// The part of a bar that is there.
    pub bar: Style,
    /// The part that is not.
    pub bar_rest: Style,
    /// The selected row, over the others.
    pub selected: Style,
}

impl Theme {
    /// The theme of that name for a terminal of that depth.
    pub fn load(name: ThemeName, depth: Depth) -> Self {
        let table: toml::Table = name.text().parse().unwrap_or_default();
        let style = |role: &str| {
            let value = table.get(role).and_then(toml::Value::as_str);
            parse(value.unwrap_or("default"), depth)
        };
        let selected = match table.get("selected").and_then(toml::Value::as_str) {
            Some("reverse") | None => Style::new().add_modifier(Modifier::REVERSED),
            Some(value) => match parse(value, depth).fg {
                Some(color) => Style::new().bg(color),
                None => Style::new().add_modifier(Modifier::REVERSED),
            },
        };
        Self {
            text: style("text"),
            dim: style("dim"),
            accent: style("accent"),
            border: style("border"),
            focus: style("focus").add_modifier(Modifier::BOLD),
            good: style("good"),
            note: style("note"),
            warning: style("warning"),
            error: style("error"),
            bar: style("bar"),
            bar_rest: style("bar-rest"),
            selected,
        }
    }
}

fn parse(value: &str, depth: Depth) -> Style {
    match value {
        "default" => return Style::new(),
        "bold" => return Style::new().add_modifier(Modifier::BOLD),
        "reverse" => return Style::new().add_modifier(Modifier::REVERSED),
        _ => {}
    }
    if depth == Depth::None {
        return Style::new();
    }
    if let Some((r, g, b)) = rgb(value) {
        return Style::new().fg(match depth {
            Depth::True => Color::Rgb(r, g, b),
            Depth::Many => Color::Indexed(nearest_256(r, g, b)),
            Depth::Sixteen | Depth::None => nearest_16(r, g, b),
        });
    }
    let color = match value {
        "bright-black" => Color::DarkGray,
        "red" => Color::Red,
        "green" => Color::Green,
        "yellow" => Color::Yellow,
        "blue" => Color::Blue,
        "magenta" => Color::Magenta,
        "cyan" => Color::Cyan,
        "white" => Color::White,
        _ => return Style::new(),
    };
    Style::new().fg(color)
}

fn rgb(value: &str) -> Option<(u8, u8, u8)> {
    let digits = value.strip_prefix('#').filter(|d| d.len() == 6)?;
    let part = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    Some((part(0)?, part(2)?, part(4)?))
}

/// The nearest of the 6×6×6 cube or the grey ramp of xterm.
fn nearest_256(r: u8, g: u8, b: u8) -> u8 {
    const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let step = |value: u8| -> u8 {
        (0..6_u8)
            .min_by_key(|at| STEPS[usize::from(*at)].abs_diff(value))
            .unwrap_or(0)
    };
    let (sr, sg, sb) = (step(r), step(g), step(b));
    let cube = 16 + 36 * sr + 6 * sg + sb;
    let off = |(x, y, z): (u8, u8, u8)| {
        let part = |a: u8, b: u8| u32::from(a.abs_diff(b)).pow(2);
        part(x, r) + part(y, g) + part(z, b)
    };
    let of_cube = (
        STEPS[usize::from(sr)],
        STEPS[usize::from(sg)],
        STEPS[usize::from(sb)],
    );
    let grey = (0..24_u8)
        .min_by_key(|at| {
            let value = 8 + 10 * at;
            off((value, value, value))
        })
        .unwrap_or(0);
    let value = 8 + 10 * grey;
    if off((value, value, value)) < off(of_cube) {
        232 + grey
    } else {
        cube
    }
}

/// Good enough where somebody chose a theme that the terminal cannot show.
fn nearest_16(r: u8, g: u8, b: u8) -> Color {
    let high = |value: u8| value > 130;
    match (high(r), high(g), high(b)) {
        (true, true, true) => Color::White,
        (true, true, false) => Color::Yellow,
        (true, false, true) => Color::Magenta,
        (true, false, false) => Color::Red,
        (false, true, true) => Color::Cyan,
        (false, true, false) => Color::Green,
        (false, false, true) => Color::Blue,
        (false, false, false) => Color::DarkGray,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_theme_names_every_role_and_no_other() {
        let roles = [
            "text", "dim", "accent", "border", "focus", "good", "note", "warning", "error", "bar",
            "bar-rest", "selected",
        ];
        for name in ThemeName::ALL {
            let table: toml::Table = name.text().parse().unwrap();
            for role in roles {
                let value = table[role].as_str().unwrap();
                let is_known = rgb(value).is_some()
                    || ["default", "bold", "reverse"].contains(&value)
                    || parse(value, Depth::Sixteen).fg.is_some();
                assert!(is_known, "{}: {role} = {value}", name.name());
            }
            assert_eq!(table.len(), roles.len(), "{}", name.name());
            assert_eq!(ThemeName::named(name.name()), Some(name));
        }
    }

    #[test]
    fn a_terminal_gets_what_it_can_show() {
        assert_eq!(
            ThemeName::fitting(Depth::None, false),
            ThemeName::Mono,
            "NO_COLOR"
        );
        assert_eq!(ThemeName::fitting(Depth::True, true), ThemeName::Light);
        for name in ThemeName::ALL {
            let theme = Theme::load(name, Depth::None);
            for style in [theme.text, theme.error, theme.bar, theme.selected] {
                assert_eq!((style.fg, style.bg), (None, None), "{}", name.name());
            }
            let theme = Theme::load(name, Depth::Many);
            assert!(!matches!(theme.error.fg, Some(Color::Rgb(..))));
        }
    }

    #[test]
    fn the_nearest_of_256_is_near() {
        assert_eq!(nearest_256(255, 255, 255), 231);
        assert_eq!(nearest_256(0, 0, 0), 16);
        assert_eq!(nearest_256(128, 128, 128), 244);
        assert_eq!(nearest_256(255, 0, 0), 196);
    }

    #[test]
    fn the_key_steps_through_all() {
        let mut seen = vec![ThemeName::Dark];
        while seen.len() < 5 {
            seen.push(seen[seen.len() - 1].next());
        }
        assert_eq!(seen, ThemeName::ALL);
        assert_eq!(ThemeName::Mono.next(), ThemeName::Dark);
    }
}
