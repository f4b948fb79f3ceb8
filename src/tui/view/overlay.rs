//! Owns what lies over the panes: boxes, questions, fields.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::widgets::{Block, Clear, Widget as _};
use tui_input::Input;

use super::super::action::Action;
use super::super::rows::Scene;
use super::super::ui::{Add, CommandLine, Discarding, Emptying, Overlay, Question, TrashList};
use super::super::{dialog, fit, holding, mending, pulling, purging, typed, wish, words};
use super::text::{Text, failure_lines};
use super::{Canvas, Cells, details, help, to_u16};
use crate::domain::{
    Discard, DiscardKind, Plan, PlanStep, PurgePlan, RepoId, TrashRow, UnfinishedPull, sanitize,
};
use crate::store::{FixPlan, Phase, Pull, count, size};

/// Draws what is open; where the cursor stands.
pub(super) fn draw(buf: &mut Buffer, canvas: Canvas<'_>, scene: &Scene<'_>) -> Option<Position> {
    let screen = buf.area;
    match canvas.ui.overlay.as_ref()? {
        Overlay::Help { scroll } => {
            let columns = usize::from(screen.width.min(84)).saturating_sub(4);
            let text = help::text(canvas, columns);
            let title = format!("Keys of {}", canvas.ui.focus.title());
            text_box(buf, canvas, &title, &text, *scroll);
            None
        }
        Overlay::Details { of, scroll } => {
            let columns = usize::from(screen.width.min(110)).saturating_sub(4);
            let (title, text) = details::text(canvas, scene, of, columns);
            text_box(buf, canvas, &title, &text, *scroll);
            None
        }
        Overlay::Guide { repo, scroll } => {
            let columns = usize::from(screen.width.min(110)).saturating_sub(4);
            let text = guide(canvas, repo, columns);
            text_box(buf, canvas, &format!("{repo} by hand"), &text, *scroll);
            None
        }
        Overlay::Ask { question, scroll } => {
            ask(buf, canvas, question, *scroll);
            None
        }
        Overlay::Trash(list) => {
            trash(buf, canvas, list);
            None
        }
        Overlay::Add(add) => add_model(buf, canvas, add),
        Overlay::Command(line) => Some(command_line(buf, canvas, line)),
        Overlay::Filter { input, .. } => {
            let y = screen.bottom() - 1;
            clear_row(buf, y);
            Some(field(buf, canvas, y, "/", input))
        }
    }
}

/// The steps of fetching a model by hand, or why there are none.
fn guide(canvas: Canvas<'_>, repo: &RepoId, columns: usize) -> Text {
    let theme = &canvas.ui.theme;
    let mut text = Text::new(columns);
    let Some(guided) = wish::guide_of(canvas.view.store, repo) else {
        text.wrapped(0, "asking what is missing …", theme.dim);
        return text;
    };
    let Some(guide) = &guided.guide else {
        match &guided.failure {
            Some(failure) => failure_lines(&mut text, canvas, failure, &repo.to_string()),
            None => text.wrapped(0, "it was cancelled", theme.dim),
        }
        return text;
    };
    if !guide.files.is_empty() {
        let key = canvas.ui.keymap.key_of(Action::Copy);
        let keys = format!("{key} copies all of it as a shell script, Y the addresses alone");
        text.wrapped(0, &keys, theme.accent);
        text.blank();
    }
    for line in guide.steps(&size, &canvas.view.facts.places) {
        let line = fit::clean(&line);
        let indent = line.len() - line.trim_start().len();
        if line.trim().is_empty() {
            text.blank();
        } else {
            text.wrapped(indent, line.trim_start(), theme.text);
        }
    }
    text
}

/// A box in the middle that is as high as its text, or as the screen.
fn text_box(buf: &mut Buffer, canvas: Canvas<'_>, title: &str, text: &Text, scroll: usize) {
    let height = to_u16(text.len()).saturating_add(2);
    let inner = centred(buf, canvas, title, text.columns, height);
    let page = usize::from(inner.height);
    let most = text.len().saturating_sub(page);
    let scroll = scroll.min(most);
    text.draw(buf, inner, scroll);
    if most > 0 {
        let words = format!(
            " {}-{} of {} ",
            scroll + 1,
            (scroll + page).min(text.len()),
            text.len()
        );
        let x = inner.right().saturating_sub(to_u16(words.len()));
        let mut cells = Cells::new(buf, inner.bottom(), x, inner.right());
        cells.put(&words, canvas.ui.theme.dim);
    }
}

/// Pulls that did not end.
fn resuming(text: &mut Text, canvas: Canvas<'_>, pulls: &[UnfinishedPull]) {
    let theme = &canvas.ui.theme;
    text.wrapped(0, "This was not fetched to the end:", theme.text);
    text.blank();
    for pull in pulls {
        let name = format!("{} @ {}", pull.repo, pull.revision);
        text.wrapped(2, &name, theme.text);
        let dir = pull.local_dir.as_ref();
        let dir = dir.map(|dir| sanitize(&dir.to_string_lossy()));
        if let Some(dir) = &dir {
            text.wrapped(4, &format!("into {dir}"), theme.text);
        }
        let begun = words::ago(pull.begun_ms, canvas.view.now_ms);
        let partials = canvas.view.store.shelf().partials_of(Some(&pull.repo));
        let is_there = |path: &str| {
            dir.as_ref().is_none_or(|dir| {
                let below = path.strip_prefix(dir.as_str());
                below.is_some_and(|rest| rest.starts_with('/'))
            })
        };
        let here: u64 = partials
            .iter()
            .filter(|partial| is_there(&partial.path))
            .map(|partial| partial.bytes)
            .sum();
        let facts = if here > 0 {
            format!("begun {begun}; {} of unfinished files are here", size(here))
        } else {
            format!("begun {begun}")
        };
        text.wrapped(4, &facts, theme.dim);
    }
    text.blank();
    let words = "What is here is kept, and only the rest is fetched.";
    text.wrapped(0, words, theme.dim);
}

/// An empty box in the middle; its inside.
fn centred(buf: &mut Buffer, canvas: Canvas<'_>, title: &str, columns: usize, height: u16) -> Rect {
    let screen = buf.area;
    let width = to_u16(columns + 4).min(screen.width);
    let height = height.min(screen.height.saturating_sub(2)).max(3);
    let rect = Rect {
        x: screen.x + (screen.width - width) / 2,
        y: screen.y + 1 + (screen.height.saturating_sub(2 + height)) / 2,
        width,
        height,
    };
    Clear.render(rect, buf);
    buf.set_style(rect, canvas.ui.theme.text);
    let title = format!(
        " {} ",
        fit::end(&fit::clean(title), columns, canvas.glyphs.cut)
    );
    Block::bordered()
        .border_set(canvas.glyphs.border)
        .border_style(canvas.ui.theme.focus)
        .title(title)
        .render(rect, buf);
    Rect {
        x: rect.x + 2,
        y: rect.y + 1,
        width: rect.width.saturating_sub(4),
        height: rect.height.saturating_sub(2),
    }
}

fn ask(buf: &mut Buffer, canvas: Canvas<'_>, question: &Question, scroll: usize) {
    let theme = &canvas.ui.theme;
    let columns = usize::from(buf.area.width.min(100)).saturating_sub(4);
    let mut text = Text::new(columns);
    let bold = Modifier::BOLD;
    let title = match question {
        Question::Quit => {
            let store = canvas.view.store;
            let running = store.running().count();
            if running > 0 {
                let words = format!(
                    "{} still running. What is here is kept; next time it is resumed.",
                    match running {
                        1 => "1 download is".to_owned(),
                        running => format!("{running} downloads are"),
                    }
                );
                text.wrapped(0, &words, theme.text);
            }
            if store.shelf().verifying().is_some() {
                text.wrapped(0, "Verifying goes on; it would begin afresh.", theme.text);
            }
            "Leave?"
        }
        Question::Purge(plan) => {
            let words = format!("This takes away {}:", purging::purge_words(plan));
            text.wrapped(0, &words, theme.text);
            text.blank();
            partial_lines(&mut text, canvas, plan);
            text.blank();
            text.wrapped(
                0,
                "Nothing else is touched; what somebody writes meanwhile stays.",
                theme.dim,
            );
            "Purge?"
        }
        Question::Fix(plan) => {
            fix_lines(&mut text, canvas, plan);
            "Fix?"
        }
        Question::Discard(asked) => {
            discarding(&mut text, canvas, asked);
            "Purge?"
        }
        Question::Empty(asked) => {
            emptying(&mut text, canvas, asked);
            "Empty the trash?"
        }
        Question::Resume(pulls) => {
            resuming(&mut text, canvas, pulls);
            "Go on?"
        }
    };
    text.blank();
    // The answer stays in sight below however long a plan.
    let height = to_u16(text.len()).saturating_add(3);
    let inner = centred(buf, canvas, title, columns, height);
    let page = usize::from(inner.height.saturating_sub(1));
    let most = text.len().saturating_sub(page);
    let body = Rect {
        height: inner.height.saturating_sub(1),
        ..inner
    };
    text.draw(buf, body, scroll.min(most));
    let mut cells = Cells::new(buf, inner.bottom() - 1, inner.x, inner.right());
    let answers = dialog::answers(question, canvas.view.store);
    if let Question::Discard(asked) = question
        && answers.first().is_some_and(|(key, _)| *key == "Enter")
    {
        cells.put("> ", theme.accent.add_modifier(bold));
        cells.put(&asked.typed, theme.text);
        cells.put("    ", theme.text);
    }
    put_answers(&mut cells, canvas, &answers);
    if most > 0 {
        // Letters are typed where a name is asked for.
        let is_typed = answers.first().is_some_and(|(key, _)| *key == "Enter");
        let keys = if is_typed { "PgDn PgUp" } else { "j k" };
        cells.put(&format!("    {keys} scroll"), theme.dim);
    }
}

/// The keys that answer, with what they do.
fn put_answers(cells: &mut Cells<'_>, canvas: Canvas<'_>, answers: &[dialog::Answer]) {
    let theme = &canvas.ui.theme;
    for (at, (key, words)) in answers.iter().enumerate() {
        cells.skip(if at > 0 { 4 } else { 0 });
        cells.put(key, theme.accent.add_modifier(Modifier::BOLD));
        cells.put(&format!(" {words}"), theme.text);
    }
}

/// What the trash holds, one of it selected.
fn trash(buf: &mut Buffer, canvas: Canvas<'_>, list: &TrashList) {
    let theme = &canvas.ui.theme;
    let columns = usize::from(buf.area.width.min(110)).saturating_sub(4);
    let mut text = Text::new(columns);
    let Some(rows) = holding::rows(canvas.view.store, list.looks_before) else {
        text.wrapped(0, "looking into the trash …", theme.dim);
        return text_box(buf, canvas, "Trash", &text, 0);
    };
    if rows.is_empty() {
        text.wrapped(0, "The trash is empty.", theme.dim);
        return text_box(buf, canvas, "Trash", &text, 0);
    }
    trash_lines(&mut text, canvas, &rows, Some(list.at));
    if let Some(row) = rows.get(list.at) {
        text.blank();
        text.wrapped(0, &canvas.view.facts.short_path(&row.path), theme.dim);
    }
    let page = usize::from(buf.area.height.saturating_sub(4));
    let scroll = (list.at + 1).saturating_sub(page);
    let title = format!("Trash: {}", holding::sum(&rows));
    text_box(buf, canvas, &title, &text, scroll);
}

/// A line for each row of the trash, in columns.
fn trash_lines(text: &mut Text, canvas: Canvas<'_>, rows: &[&TrashRow], selected: Option<usize>) {
    let theme = &canvas.ui.theme;
    let rows: Vec<[String; 5]> = rows
        .iter()
        .map(|row| holding::row_words(row, canvas.view.now_ms))
        .collect();
    let widest = |column: usize| {
        let cells = rows.iter().map(|row| fit::width(&row[column]));
        cells.max().unwrap_or(0)
    };
    let fixed = widest(0) + widest(1) + widest(2) + 8;
    let room = text.columns.saturating_sub(fixed);
    let name = widest(3).min(room * 2 / 3);
    let what = widest(4).min(room.saturating_sub(name));
    for (at, row) in rows.iter().enumerate() {
        let repo = fit::clean(&row[3]);
        let repo = fit::middle(&repo, name, canvas.glyphs.cut);
        let pad = " ".repeat(name.saturating_sub(fit::width(&repo)));
        let what = fit::end(&fit::clean(&row[4]), what, canvas.glyphs.cut).into_owned();
        let line = format!(
            "{:<id$}  {:>bytes$}  {:>age$}  {repo}{pad}  {what}",
            row[0],
            row[1],
            row[2],
            id = widest(0),
            bytes = widest(1),
            age = widest(2),
        );
        let style = if selected == Some(at) {
            theme.text.patch(theme.selected)
        } else {
            theme.text
        };
        text.line(&[(&line, style)]);
    }
}

/// What of the trash is freed for good.
fn emptying(text: &mut Text, canvas: Canvas<'_>, asked: &Emptying) {
    let theme = &canvas.ui.theme;
    let Some(rows) = holding::due(canvas.view.store, asked) else {
        text.wrapped(0, "looking into the trash …", theme.dim);
        return;
    };
    if rows.is_empty() {
        text.wrapped(0, "There is nothing to free.", theme.text);
        return;
    }
    let words = format!("This is freed for good: {}.", holding::sum(&rows));
    text.wrapped(0, &words, theme.text);
    text.blank();
    trash_lines(text, canvas, &rows, None);
    text.blank();
    for row in &rows {
        text.wrapped(0, &canvas.view.facts.short_path(&row.path), theme.dim);
    }
}

/// What a repair does, with every path, and what it leaves to a person.
fn fix_lines(text: &mut Text, canvas: Canvas<'_>, plan: &FixPlan) {
    let theme = &canvas.ui.theme;
    let words = format!("This is done, in order: {}.", mending::sum(plan));
    text.wrapped(0, &words, theme.text);
    text.blank();
    for (at, step) in plan.all_steps().iter().enumerate() {
        let words = mending::step_words(step, canvas.view.facts);
        text.wrapped(2, &format!("{}. {words}", at + 1), theme.text);
    }
    if !plan.replaced.is_empty() {
        text.blank();
        let words = "The wrong bytes of these are put aside. Blobs go once the right ones are proven; \
                     what may be somebody's work is kept:";
        text.wrapped(0, words, theme.text);
        for path in &plan.replaced {
            text.wrapped(2, &canvas.view.facts.short_path(path), theme.dim);
        }
    }
    if !plan.left.is_empty() {
        text.blank();
        text.wrapped(0, "This is left to you:", theme.text);
        for sentence in &plan.left {
            text.wrapped(2, &sanitize(sentence), theme.dim);
        }
    }
    text.blank();
    text.wrapped(
        0,
        "Nothing else is touched; what is not as it was shown, or somebody writes, stays.",
        theme.dim,
    );
}

/// Unfinished blobs that a plan takes away.
fn partial_lines(text: &mut Text, canvas: Canvas<'_>, plan: &Plan) {
    let theme = &canvas.ui.theme;
    for step in &plan.steps {
        if let PlanStep::RemovePartial {
            path,
            bytes,
            modified_ms,
            map,
            ..
        } = step
        {
            let age = words::ago(*modified_ms, canvas.view.now_ms);
            let path = canvas.view.facts.short_path(path);
            text.wrapped(2, &path, theme.text);
            let facts = format!("{}, last written {age}", size(*bytes));
            text.wrapped(4, &facts, theme.dim);
            if let Some(map) = map {
                text.wrapped(2, &canvas.view.facts.short_path(map), theme.text);
                text.wrapped(4, "its chunk map", theme.dim);
            }
        }
    }
}

/// What a purge of models takes away, and what has to be typed for it.
fn discarding(text: &mut Text, canvas: Canvas<'_>, asked: &Discarding) {
    let theme = &canvas.ui.theme;
    let Some(planned) = purging::planned_discard(canvas.view.store, asked) else {
        let words = "It is being looked at what would go. If that fails, the log says why.";
        text.wrapped(0, words, theme.dim);
        return;
    };
    if !purging::takes_something(&planned) {
        text.wrapped(0, "There is nothing to take away.", theme.text);
    }
    // What is asked for comes first: the paths may be more than there is room for.
    if let Some(name) = purging::name_of_whole(&planned) {
        let whole = planned.plan.discards();
        let whole = whole.filter(|discard| discard.kind == DiscardKind::Repo);
        let words = match whole.count() {
            1 => format!("A whole model goes. Type `{name}` and Enter for yes."),
            _ => format!("Whole models go. Type `{name}` and Enter for yes."),
        };
        text.wrapped(0, &words, theme.accent);
        text.blank();
    }
    purge_sum(text, canvas, &planned);
    for kept in &planned.kept {
        let path = canvas.view.facts.short_path(&kept.path);
        text.wrapped(0, &format!("{path} stays: {}", kept.why), theme.dim);
    }
    for discard in planned.plan.discards() {
        text.blank();
        text.wrapped(0, &discard_words(canvas, discard), theme.text);
        if let Some(at_ms) = discard.accessed_ms {
            let used = format!("last used {}", words::ago(at_ms, canvas.view.now_ms));
            text.wrapped(2, &used, theme.dim);
        }
        let paths = discard.paths.iter().map(|path| &path.path);
        for path in paths.chain(&discard.locks) {
            text.wrapped(2, &canvas.view.facts.short_path(path), theme.text);
        }
    }
    partial_lines(text, canvas, &planned.plan);
    if !planned.trash.is_empty() {
        text.blank();
        text.wrapped(0, "This is freed of what lies in the trash:", theme.text);
        let rows: Vec<&TrashRow> = planned.trash.iter().collect();
        trash_lines(text, canvas, &rows, None);
    }
}

/// What goes of one model, how much that is, and where it goes.
fn discard_words(canvas: Canvas<'_>, discard: &Discard) -> String {
    let what = match discard.kind {
        DiscardKind::Repo => "all of it".to_owned(),
        DiscardKind::Revisions => count(discard.what.len(), "snapshot"),
        DiscardKind::Corrupt => count(discard.what.len(), "wrong blob"),
        DiscardKind::Orphans => count(discard.what.len(), "unused blob"),
    };
    let end = match &discard.trash {
        Some(trash) => {
            let trash = canvas.view.facts.short_path(trash);
            format!("{} into the trash {trash}", size(discard.bytes))
        }
        None => format!("{} freed at once", size(discard.bytes)),
    };
    format!("{}: {what}, {end}", discard.repo)
}

/// Of several models: what goes in all, and each with its bytes.
fn purge_sum(text: &mut Text, canvas: Canvas<'_>, planned: &PurgePlan) {
    let theme = &canvas.ui.theme;
    let discards: Vec<&Discard> = planned.plan.discards().collect();
    if discards.len() < 2 {
        return;
    }
    let paths = discards.iter().flat_map(|discard| &discard.paths);
    let files = paths.filter(|path| path.bytes > 0).count();
    let freed: u64 = discards.iter().map(|discard| discard.freed_bytes()).sum();
    let all: u64 = discards.iter().map(|discard| discard.bytes).sum();
    let repos: std::collections::BTreeSet<&RepoId> =
        discards.iter().map(|discard| &discard.repo).collect();
    let end = match (freed, all - freed) {
        (0, _) => " into the trash: 0 B freed yet".to_owned(),
        (_, 0) => " freed at once".to_owned(),
        (freed, kept) => format!(
            ": {} into the trash, {} freed at once",
            size(kept),
            size(freed)
        ),
    };
    let words = format!(
        "{}, {}, {}{end}",
        count(repos.len(), "model"),
        count(files, "file"),
        size(all),
    );
    text.wrapped(0, &words, theme.text);
    for discard in &discards {
        let words = format!("{:>9}  {}", words::bytes(discard.bytes), discard.repo);
        text.line(&[(&fit::clean(&words), theme.text)]);
    }
}

/// The dialog in which a model is added.
fn add_model(buf: &mut Buffer, canvas: Canvas<'_>, add: &Add) -> Option<Position> {
    let theme = &canvas.ui.theme;
    let columns = usize::from(buf.area.width.min(84)).saturating_sub(4);
    let mut text = Text::new(columns);
    let planned = add
        .planning
        .as_ref()
        .map(|(_, before)| pulling::preview_after(canvas.view.store, *before));
    text.wrapped(
        0,
        "A name like mlx-community/gemma-2-2b-it-4bit, or a link from the browser:",
        theme.dim,
    );
    text.blank();
    let line = text.len();
    text.blank();
    text.blank();
    match planned {
        None => {
            if let Some(error) = &add.error {
                text.wrapped(0, error, theme.error);
            } else {
                text.wrapped(
                    0,
                    "Its files and sizes are shown before anything is fetched.",
                    theme.dim,
                );
                offers(&mut text, canvas, add);
            }
        }
        Some(None) => text.wrapped(0, "asking the Hub …", theme.dim),
        Some(Some(pull)) => plan_lines(&mut text, canvas, add, pull),
    }
    let height = to_u16(text.len()).saturating_add(2);
    let inner = centred(buf, canvas, "Add a model", columns, height);
    text.draw(buf, inner, 0);
    let y = inner.y + to_u16(line);
    if y >= inner.bottom() {
        return None;
    }
    let is_typing = add.planning.is_none();
    let mut cells = Cells::new(buf, y, inner.x, inner.right());
    cells.put("> ", theme.accent);
    let (x, room) = (cells.x(), cells.room());
    let at = put_input(
        buf,
        Rect::new(x, y, to_u16(room), 1),
        &add.input,
        theme.text,
    );
    is_typing.then_some(at)
}

fn offers(text: &mut Text, canvas: Canvas<'_>, add: &Add) {
    let theme = &canvas.ui.theme;
    let typed = add.input.value().to_lowercase();
    let offered: Vec<_> = canvas
        .view
        .facts
        .offered
        .iter()
        .filter(|offered| offered.repo.to_string().to_lowercase().contains(&typed))
        .collect();
    if offered.is_empty() {
        return;
    }
    text.blank();
    text.line(&[("For example:", theme.dim)]);
    for offered in offered {
        let repo = format!("  {}", offered.repo);
        let about = format!("  {}, about {}", offered.note, size(offered.size_bytes));
        text.line(&[(&repo, theme.text), (&about, theme.dim)]);
    }
    if typed.is_empty() {
        text.line(&[("Enter alone takes the first.", theme.dim)]);
    }
}

/// What a pull would do, before it does it.
fn plan_lines(text: &mut Text, canvas: Canvas<'_>, add: &Add, pull: &Pull) {
    let (theme, glyphs) = (&canvas.ui.theme, canvas.glyphs);
    let target = pull.target();
    let styles = (theme.dim, theme.text);
    let Some(plan) = pull.plan() else {
        if pull.phase() == Phase::Ended {
            let repo = target.repo.to_string();
            for failure in pull.failures() {
                failure_lines(text, canvas, failure, &repo);
            }
            if pull.failures().is_empty() {
                text.wrapped(0, "it was cancelled", theme.dim);
            }
        } else {
            let words = format!("asking {} …", words::host(&target.endpoint));
            text.wrapped(0, &words, theme.dim);
        }
        return;
    };
    text.field("repo", &plan.repo.to_string(), styles);
    let revision = format!("{} {} {}", plan.revision, glyphs.arrow, plan.commit.short());
    text.field("revision", &revision, styles);
    let left_out = match plan.left_out {
        0 => "all of the repo".to_owned(),
        left_out => format!("what MLX loaders read; {left_out} others are left out"),
    };
    text.field(
        "files",
        &format!("{}: {left_out}", count(plan.files.len(), "file")),
        styles,
    );
    let here = plan.total_bytes.saturating_sub(plan.fetch_bytes);
    let fetch = if here == 0 {
        size(plan.fetch_bytes)
    } else {
        format!(
            "{} of {}; {} are here already",
            size(plan.fetch_bytes),
            size(plan.total_bytes),
            size(here)
        )
    };
    text.field("to fetch", &fetch, styles);
    let disk = match plan.free_bytes {
        Some(free) => format!("{} needed, {} free", size(plan.disk_bytes), size(free)),
        None => format!("{} needed", size(plan.disk_bytes)),
    };
    text.field("disk", &disk, styles);
    text.field(
        "into",
        &canvas.view.facts.short_path(&plan.snapshot),
        styles,
    );
    text.blank();
    let mut largest: Vec<_> = plan.files.iter().collect();
    largest.sort_by_key(|file| std::cmp::Reverse(file.size_bytes));
    let shown = 6;
    for file in largest.iter().take(shown) {
        let name = fit::clean(file.path.as_str());
        let name = fit::middle(&name, 44, glyphs.cut);
        let gap = " ".repeat(46_usize.saturating_sub(fit::width(&name)));
        let note = if file.is_reuse { "  here already" } else { "" };
        text.line(&[
            (&format!("  {name}{gap}"), theme.text),
            (&format!("{:>9}", size(file.size_bytes)), theme.text),
            (note, theme.dim),
        ]);
    }
    if largest.len() > shown {
        let more = format!("  and {} more", largest.len() - shown);
        text.line(&[(&more, theme.dim)]);
    }
    text.blank();
    let failures = pull.failures();
    if failures.is_empty() {
        // Until the plan has ended, Enter does nothing yet.
        if pull.phase() != Phase::Ended {
            return;
        }
        let bold = theme.accent.add_modifier(Modifier::BOLD);
        let answers = dialog::add_answers(canvas.view.store, add);
        let words: Vec<(String, String)> = answers
            .iter()
            .map(|(key, words)| ((*key).to_owned(), format!(" {words}    ")))
            .collect();
        let parts = words.iter();
        let parts: Vec<(&str, Style)> = parts
            .flat_map(|(key, words)| [(key.as_str(), bold), (words.as_str(), theme.text)])
            .collect();
        text.line(&parts);
    } else {
        let repo = target.repo.to_string();
        for failure in failures {
            failure_lines(text, canvas, failure, &repo);
        }
    }
}

fn clear_row(buf: &mut Buffer, y: u16) {
    let row = Rect {
        y,
        height: 1,
        ..buf.area
    };
    Clear.render(row, buf);
}

/// A field in the last row.
fn field(buf: &mut Buffer, canvas: Canvas<'_>, y: u16, sign: &str, input: &Input) -> Position {
    let area = buf.area;
    let mut cells = Cells::new(buf, y, area.x, area.right());
    cells.skip(1);
    let bold = canvas.ui.theme.accent.add_modifier(Modifier::BOLD);
    cells.put(sign, bold);
    let (x, room) = (cells.x(), cells.room());
    put_input(
        buf,
        Rect::new(x, y, to_u16(room), 1),
        input,
        canvas.ui.theme.text,
    )
}

/// What was typed, scrolled so that the cursor is visible.
fn put_input(buf: &mut Buffer, area: Rect, input: &Input, style: Style) -> Position {
    let room = usize::from(area.width).saturating_sub(1);
    let before: String = input.value().chars().take(input.cursor()).collect();
    let skip = fit::width(&before).saturating_sub(room);
    let mut passed = 0;
    let shown: String = input
        .value()
        .chars()
        .skip_while(|c| {
            let is_skipped = passed < skip;
            passed += fit::width(c.encode_utf8(&mut [0; 4]));
            is_skipped
        })
        .collect();
    let mut cells = Cells::new(buf, area.y, area.x, area.right());
    cells.put(&fit::clean(&shown), style);
    let x = area
        .x
        .saturating_add(to_u16(fit::width(&before).saturating_sub(skip)));
    Position::new(x.min(area.right().saturating_sub(1)), area.y)
}

fn command_line(buf: &mut Buffer, canvas: Canvas<'_>, line: &CommandLine) -> Position {
    let theme = &canvas.ui.theme;
    let area = buf.area;
    let y = area.bottom() - 1;
    // One row above: why it cannot be done, what Tab offers, or what the word does.
    let row = y.saturating_sub(1);
    clear_row(buf, y);
    clear_row(buf, row);
    let mut cells = Cells::new(buf, row, area.x, area.right());
    cells.skip(2);
    if let Some(error) = &line.error {
        let error = error.replace('\n', " ");
        cells.put_cut(&fit::clean(&error), theme.error, canvas.glyphs.cut);
    } else if line.offers.is_empty() {
        let about = typed::about(canvas.view.facts, line.input.value())
            .unwrap_or_else(|| "a command; Tab completes, Esc closes".to_owned());
        cells.put_cut(&about, theme.dim, canvas.glyphs.cut);
    } else {
        let first = line.chosen.unwrap_or(0).saturating_sub(2);
        for (at, offer) in line.offers.iter().enumerate().skip(first) {
            let style = if Some(at) == line.chosen {
                theme.text.patch(theme.selected)
            } else {
                theme.dim
            };
            cells.put_cut(&fit::clean(offer), style, canvas.glyphs.cut);
            cells.skip(2);
        }
    }
    field(buf, canvas, y, ":", &line.input)
}
