//! Owns the first and the last row: what is going on as a whole, and the keys.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::super::action::Action;
use super::super::pane::Pane;
use super::super::pulling::can_retry;
use super::super::rows::Scene;
use super::super::story;
use super::super::ui::{Overlay, Subject};
use super::super::wish::{guide_of, is_first_run};
use super::super::words;
use super::super::{dialog, fit, holding};
use super::{Canvas, Cells};
use crate::domain::RepoId;
use crate::store::{Phase, Verdict, short};

/// A part of the header: text, style, and how soon it goes where room is short (0 stays longest).
struct Part {
    text: String,
    style: Style,
    worth: u8,
}

/// The first row.
pub(super) fn header(buf: &mut Buffer, canvas: Canvas<'_>, scene: &Scene<'_>) {
    let area = buf.area;
    let theme = &canvas.ui.theme;
    let bold = Modifier::BOLD;
    let mut left = vec![Part {
        text: " larder".to_owned(),
        style: theme.accent.add_modifier(bold),
        worth: 4,
    }];
    if let Some(item) = scene.model(canvas.ui) {
        let repo = item.repo().map(ToString::to_string).unwrap_or_default();
        left.push(Part {
            text: fit::clean(&repo).into_owned(),
            style: theme.text.add_modifier(bold),
            worth: 0,
        });
        let commit = item
            .pull
            .and_then(|pull| pull.target().commit)
            .or_else(|| item.row.and_then(|row| row.commit))
            .map(|commit| commit.short());
        let revision = short(item.revision());
        left.push(Part {
            text: format!("@ {}", fit::clean(&revision)),
            style: theme.dim,
            worth: 2,
        });
        if let Some(commit) = commit.filter(|commit| *commit != revision) {
            left.push(Part {
                text: format!("{} {commit}", canvas.glyphs.arrow),
                style: theme.dim,
                worth: 6,
            });
        }
    }
    let right = right_parts(canvas);
    let room = usize::from(area.width).saturating_sub(1);
    let (left, right) = choose(left, right, room);
    let mut cells = Cells::new(buf, area.y, area.x, area.right());
    for (at, part) in left.iter().enumerate() {
        cells.skip(usize::from(at > 0));
        // The name gives way before the numbers do.
        let taken: usize = right.iter().map(|part| fit::width(&part.text) + 2).sum();
        let later: usize = left[at + 1..]
            .iter()
            .map(|part| fit::width(&part.text) + 1)
            .sum();
        let free =
            usize::from(area.right().saturating_sub(cells.x())).saturating_sub(taken + later + 1);
        let text = if part.worth == 0 {
            fit::middle(&part.text, free, canvas.glyphs.cut)
        } else {
            part.text.as_str().into()
        };
        cells.put(&text, part.style);
    }
    let taken: usize = right.iter().map(|part| fit::width(&part.text) + 2).sum();
    let begin = area.right().saturating_sub(super::to_u16(taken));
    let mut cells = Cells::new(buf, area.y, begin.max(area.x), area.right());
    for part in &right {
        cells.put(&part.text, part.style);
        cells.skip(2);
    }
}

fn right_parts(canvas: Canvas<'_>) -> Vec<Part> {
    let (view, theme) = (canvas.view, &canvas.ui.theme);
    let store = view.store;
    let mut parts = Vec::new();
    if view.facts.is_read_only {
        parts.push(Part {
            text: "read-only".to_owned(),
            style: theme.warning,
            worth: 3,
        });
    }
    let source = words::source_name(view.facts);
    let verdict = store.verdict(view.now_ms);
    parts.push(Part {
        text: match store.shelf().answer_ms() {
            Some(ms) => format!("{source} {ms} ms"),
            None => source,
        },
        style: theme.dim,
        worth: 5,
    });
    let speed = store.total_speed(view.now_ms);
    let is_fetching = store.running().any(|pull| pull.phase() == Phase::Fetching);
    if speed > 0 || is_fetching {
        parts.push(Part {
            text: words::speed(speed),
            style: theme.accent,
            worth: 1,
        });
    }
    let style = match verdict {
        Verdict::Good => theme.good,
        Verdict::Unknown => theme.dim,
        Verdict::Offline | Verdict::Unsteady => theme.warning,
        Verdict::Stalled | Verdict::Down => theme.error,
    };
    if verdict != Verdict::Unknown {
        parts.push(Part {
            // Beside a model's name a bare "good" would be said of the model.
            text: format!("network {}", verdict.name()),
            style,
            worth: 3,
        });
    }
    if let Some(disk) = store.shelf().disk() {
        let is_tight = disk.free_bytes < disk.total_bytes / 20;
        parts.push(Part {
            text: format!("disk {} free", words::bytes(disk.free_bytes)),
            style: if is_tight { theme.warning } else { theme.dim },
            worth: 4,
        });
    }
    parts
}

/// Drops the least worthy parts until the rest fits, the name as the one that may be cut.
fn choose(mut left: Vec<Part>, mut right: Vec<Part>, room: usize) -> (Vec<Part>, Vec<Part>) {
    const NAME_NEEDS: usize = 20;
    loop {
        let needs = |part: &Part| {
            let width = fit::width(&part.text);
            if part.worth == 0 {
                width.min(NAME_NEEDS)
            } else {
                width
            }
        };
        let wide: usize = left.iter().map(|part| needs(part) + 1).sum::<usize>()
            + right.iter().map(|part| needs(part) + 2).sum::<usize>();
        let least = left
            .iter()
            .chain(&right)
            .map(|part| part.worth)
            .max()
            .unwrap_or(0);
        if wide <= room || least == 0 {
            return (left, right);
        }
        if let Some(at) = left.iter().position(|part| part.worth == least) {
            left.remove(at);
        } else if let Some(at) = right.iter().rposition(|part| part.worth == least) {
            right.remove(at);
        }
    }
}

/// The demo's story, in up to three rows.
pub(super) fn story(buf: &mut Buffer, area: Rect, canvas: Canvas<'_>) {
    let theme = &canvas.ui.theme;
    let Some((number, count, words)) = story::told(canvas.ui, canvas.view.facts) else {
        return;
    };
    let mut cells = Cells::new(buf, area.y, area.x, area.right());
    let head = format!(" {number}/{count} ");
    let head_width = fit::width(&head);
    cells.put(&head, theme.accent.add_modifier(Modifier::BOLD));
    let room = usize::from(area.width)
        .saturating_sub(head_width + 1)
        .max(10);
    for (line, y) in fit::wrap(words, room).iter().zip(area.y..area.bottom()) {
        let x = area.x + super::to_u16(head_width);
        let mut cells = Cells::new(buf, y, x, area.right());
        cells.put(line, theme.note);
    }
}

/// The last row: a message, else the keys of the focused pane. How to leave what lies over the panes
/// is said beside a message, too.
pub(super) fn footer(buf: &mut Buffer, canvas: Canvas<'_>, scene: &Scene<'_>) {
    let area = buf.area;
    let (ui, theme) = (canvas.ui, &canvas.ui.theme);
    let mut cells = Cells::new(buf, area.bottom() - 1, area.x, area.right());
    cells.skip(1);
    if let Some(message) = &ui.message {
        let style = if message.is_refusal {
            theme.warning
        } else {
            theme.note
        };
        let hints = ui
            .overlay
            .as_ref()
            .map(|overlay| overlay_hints(overlay, canvas, scene));
        let leave = hints
            .into_iter()
            .flatten()
            .find(|(key, _)| key.split(' ').any(|key| key == "Esc"));
        if let Some((key, hint)) = leave {
            cells.put(&key, theme.accent.add_modifier(Modifier::BOLD));
            cells.skip(1);
            cells.put(&hint, theme.dim);
            cells.skip(2);
        }
        cells.put_cut(&fit::clean(&message.text), style, canvas.glyphs.cut);
        return;
    }
    let hints: Vec<(String, String)> = match &ui.overlay {
        None if is_first_run(canvas.view.store) => {
            let key = |action| ui.keymap.key_of(action);
            [
                ("Enter".to_owned(), "fetch"),
                (key(Action::Add), "add"),
                (key(Action::Help), "help"),
                (key(Action::Theme), "theme"),
                (key(Action::Quit), "quit"),
            ]
            .map(|(key, hint)| (key, hint.to_owned()))
            .to_vec()
        }
        None => ui
            .keymap
            .of(ui.focus)
            // In Health only what can be done about the selected row.
            .filter(|binding| {
                ui.focus != Pane::Health || words::can_act(scene.finding(ui), binding.action)
            })
            .filter_map(|binding| {
                let key = binding.keys.first()?.to_string();
                Some((key, binding.hint.clone()?))
            })
            .collect(),
        Some(overlay) => overlay_hints(overlay, canvas, scene),
    };
    // What does not fit is left out whole, `help` and `quit` last of all.
    let width = |(key, hint): &(String, String)| fit::width(key) + 1 + fit::width(hint) + 2;
    let mut shown = hints;
    while shown.iter().map(width).sum::<usize>() > cells.room() + 2 && shown.len() > 2 {
        shown.remove(shown.len() - 2);
    }
    for (key, hint) in &shown {
        cells.put(key, theme.accent.add_modifier(Modifier::BOLD));
        cells.skip(1);
        cells.put(hint, theme.dim);
        cells.skip(2);
    }
}

fn overlay_hints(
    overlay: &Overlay,
    canvas: Canvas<'_>,
    scene: &Scene<'_>,
) -> Vec<(String, String)> {
    if let Overlay::Details { of, .. } = overlay {
        return details_hints(of, canvas, scene);
    }
    let answers;
    let pairs: &[(&str, &str)] = match overlay {
        Overlay::Help { .. } | Overlay::Details { .. } => &[("Esc", "close"), ("j k", "scroll")],
        Overlay::Guide { repo, .. } if !has_addresses(canvas, repo) => {
            &[("Esc", "close"), ("j k", "scroll")]
        }
        Overlay::Guide { .. } => &[
            ("Esc", "close"),
            ("j k", "scroll"),
            ("y", "copy the script"),
            ("Y", "the addresses"),
        ],
        Overlay::Trash(_) => &holding::KEYS,
        Overlay::Ask { question, .. } => {
            answers = dialog::answers(question, canvas.view.store);
            &answers
        }
        Overlay::Add(add) => {
            answers = dialog::add_answers(canvas.view.store, add);
            &answers
        }
        Overlay::Command(_) => &[("Enter", "do it"), ("Tab", "complete"), ("Esc", "close")],
        Overlay::Filter { .. } => &[("Enter", "keep"), ("Esc", "take back")],
    };
    pairs
        .iter()
        .map(|(key, hint)| ((*key).to_owned(), (*hint).to_owned()))
        .collect()
}

/// Whether a guide names something to fetch.
fn has_addresses(canvas: Canvas<'_>, repo: &RepoId) -> bool {
    let guided = guide_of(canvas.view.store, repo);
    let guide = guided.and_then(|guided| guided.guide.as_ref());
    guide.is_some_and(|guide| !guide.files.is_empty())
}

/// The keys of the details of a row: only those that do something with it.
fn details_hints(of: &Subject, canvas: Canvas<'_>, scene: &Scene<'_>) -> Vec<(String, String)> {
    let ui = canvas.ui;
    let can = |action| match of {
        Subject::Model | Subject::File => {
            action == Action::Retry && scene.model(ui).is_some_and(can_retry)
        }
        Subject::Finding { key, .. } => scene
            .finding_with(key)
            .is_some_and(|(_, group)| words::can_act(Some(group.first), action)),
        Subject::Lock | Subject::Line(_) => false,
    };
    let mut hints = vec![
        ("Esc".to_owned(), "close".to_owned()),
        ("j k".to_owned(), "scroll".to_owned()),
        (ui.keymap.key_of(Action::Copy), "copy".to_owned()),
    ];
    for (action, hint) in [
        (Action::Retry, "retry"),
        (Action::Purge, "purge"),
        (Action::Fix, "fix"),
    ] {
        if can(action) {
            hints.push((ui.keymap.key_of(action), hint.to_owned()));
        }
    }
    hints
}
