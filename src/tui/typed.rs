//! Owns the line typed after `:`: its completion, its past, and what it does.
//!
//! Never reads a grammar: `main` hands over an interpreter. **Law**: a word that is offered is
//! carried out whole, or it is said which shell command does it.

use crossterm::event::KeyCode;
use tui_input::Input;

use super::action::Action;
use super::dialog::{open_add, set_level, set_theme};
use super::facts::{Facts, Look, Wish};
use super::keymap::Key;
use super::pane::Pane;
use super::rows::Scene;
use super::theme::ThemeName;
use super::ui::{Add, CommandLine, Overlay, Ui};
use super::update::{self, Effect, View};
use super::{dialog, holding, mending, pulling, purging, wish};
use crate::domain::RepoId;
use crate::store::Level;

/// Commands of the dashboard itself, for the command line.
const OWN: [(&str, &str); 13] = [
    (
        "retry",
        "start failed or cancelled files of this model again",
    ),
    ("retry-all", "start everything that failed again"),
    ("verify-all", "hash everything in the cache"),
    ("pause", "pause or resume this model's transfers"),
    ("cancel", "end this model's transfers"),
    ("filter", "narrow the focused pane"),
    ("theme", "dark, light, high-contrast, 16-colour or mono"),
    ("level", "debug, info, warning or error"),
    ("zoom", "the focused pane alone"),
    ("copy", "copy what is selected"),
    ("add", "fetch a model"),
    ("help", "the keys"),
    ("quit", "leave"),
];

/// A key in the command line.
pub(super) fn command_key(
    ui: &mut Ui,
    view: View<'_>,
    mut line: CommandLine,
    key: Key,
) -> Vec<Effect> {
    match key.code {
        KeyCode::Esc => return Vec::new(),
        KeyCode::Enter => {
            let text = line.input.value().trim().to_owned();
            if text.is_empty() {
                return Vec::new();
            }
            return match run(ui, view, &text) {
                Ok(effects) => {
                    ui.past_lines.retain(|past| *past != text);
                    ui.past_lines.push(text);
                    effects
                }
                Err(error) => {
                    line.error = Some(error);
                    ui.overlay = Some(Overlay::Command(line));
                    Vec::new()
                }
            };
        }
        KeyCode::Tab | KeyCode::BackTab => complete(ui, view, &mut line, key.code == KeyCode::Tab),
        KeyCode::Up | KeyCode::Down => recall(ui, &mut line, key.code == KeyCode::Up),
        KeyCode::Backspace if line.input.value().is_empty() => return Vec::new(),
        _ => {
            if update::edit(&mut line.input, key) {
                line.error = None;
                line.offers.clear();
                line.chosen = None;
            }
        }
    }
    ui.overlay = Some(Overlay::Command(line));
    Vec::new()
}

/// Lines of the past, newest first.
fn recall(ui: &Ui, line: &mut CommandLine, is_older: bool) {
    let next = match (line.past, is_older) {
        (None, true) => Some(0),
        (Some(at), true) => Some((at + 1).min(ui.past_lines.len().saturating_sub(1))),
        (Some(0) | None, false) => None,
        (Some(at), false) => Some(at - 1),
    };
    line.past = next.filter(|_| !ui.past_lines.is_empty());
    let text = line
        .past
        .and_then(|at| ui.past_lines.iter().rev().nth(at))
        .cloned()
        .unwrap_or_default();
    line.input = Input::new(text);
}

/// Tab: the words that can stand here, one after the other.
fn complete(ui: &mut Ui, view: View<'_>, line: &mut CommandLine, is_forward: bool) {
    if line.offers.is_empty() {
        line.offers = offers(ui, view, line.input.value());
        line.chosen = None;
    }
    if line.offers.is_empty() {
        return;
    }
    let count = line.offers.len();
    let at = match (line.chosen, is_forward) {
        (None, true) => 0,
        (None, false) => count - 1,
        (Some(at), true) => (at + 1) % count,
        (Some(at), false) => (at + count - 1) % count,
    };
    line.chosen = Some(at);
    let value = line.input.value();
    let keep = value.rfind(' ').map_or(0, |at| at + 1);
    let mut text = format!("{}{}", &value[..keep], line.offers[at]);
    if count == 1 {
        // The only one: what follows can be typed at once.
        text.push(' ');
        line.offers.clear();
        line.chosen = None;
    }
    line.input = Input::new(text);
}

/// Words that can stand at the end of a line.
pub(super) fn offers(ui: &mut Ui, view: View<'_>, text: &str) -> Vec<String> {
    let mut words: Vec<&str> = text.split(' ').collect();
    let last = words.pop().unwrap_or_default();
    let starts = |word: &str| word.to_lowercase().starts_with(&last.to_lowercase());
    let Some(verb) = words.first() else {
        let own = OWN.iter().map(|(name, _)| (*name).to_owned());
        let theirs = view.facts.verbs.iter().map(|verb| verb.name.clone());
        let mut all: Vec<String> = own.chain(theirs).filter(|name| starts(name)).collect();
        all.sort();
        all.dedup();
        return all;
    };
    let mut found: Vec<String> = match *verb {
        "theme" => ThemeName::ALL.map(|name| name.name().to_owned()).to_vec(),
        "level" => ["debug", "info", "warning", "error"]
            .map(str::to_owned)
            .to_vec(),
        "trash" if words.len() == 1 => ["ls", "restore", "empty"].map(str::to_owned).to_vec(),
        "pull" | "add" | "verify" | "purge" | "ls" | "status" | "doctor" | "locks" | "guide" => {
            let scene = Scene::build(ui, view.store, view.now_ms);
            let known = scene
                .models
                .iter()
                .filter_map(|item| item.repo().map(ToString::to_string));
            let offered = view
                .facts
                .offered
                .iter()
                .map(|offered| offered.repo.to_string());
            let mut names: Vec<String> = known.collect();
            if matches!(*verb, "pull" | "add") {
                names.extend(offered);
            }
            names
        }
        _ => Vec::new(),
    };
    if let Some(verb) = view.facts.verbs.iter().find(|known| known.name == *verb)
        && last.starts_with('-')
    {
        found.extend(verb.flags.iter().cloned());
    }
    found.retain(|word| starts(word));
    found.sort();
    found.dedup();
    found
}

/// What a word at the start of a line does, for the line below it.
pub(super) fn about(facts: &Facts, text: &str) -> Option<String> {
    let verb = text.split(' ').next().filter(|word| !word.is_empty())?;
    OWN.iter()
        .find(|(name, _)| *name == verb)
        .map(|(_, about)| (*about).to_owned())
        .or_else(|| {
            facts
                .verbs
                .iter()
                .find(|known| known.name == verb)
                .map(|known| known.about.clone())
        })
}

/// Carries out a line.
fn run(ui: &mut Ui, view: View<'_>, text: &str) -> Result<Vec<Effect>, String> {
    let text = text.strip_prefix("larder ").unwrap_or(text).trim();
    let (verb, rest) = text
        .split_once(' ')
        .map_or((text, ""), |(verb, rest)| (verb, rest.trim()));
    let action = match verb {
        "retry" if rest.is_empty() => Some(Action::Retry),
        "retry-all" => Some(Action::RetryAll),
        "verify-all" => Some(Action::VerifyAll),
        "pause" | "resume" => Some(Action::Pause),
        "cancel" => Some(Action::Cancel),
        "zoom" => Some(Action::Zoom),
        "copy" => Some(Action::Copy),
        "help" => Some(Action::Help),
        "quit" | "q" | "exit" => Some(Action::Quit),
        _ => None,
    };
    if let Some(action) = action {
        return Ok(update::act(ui, view, action));
    }
    match verb {
        "add" if rest.is_empty() => return Ok(update::act(ui, view, Action::Add)),
        "add" => return Ok(open_add(ui, view, rest)),
        "filter" => {
            let pane = ui.focus;
            ui.set_filter(pane, rest);
            return Ok(Vec::new());
        }
        "theme" => {
            let name = ThemeName::named(rest)
                .ok_or("the themes are dark, light, high-contrast, 16-colour and mono")?;
            return Ok(set_theme(ui, view, name));
        }
        "level" => {
            let level =
                Level::named(rest).ok_or("the levels are debug, info, warning and error")?;
            return Ok(set_level(ui, view, level));
        }
        _ => {}
    }
    if let Some(why) = refused_flag(view.facts, verb, rest) {
        return Err(why);
    }
    let wish = (view.facts.interpret)(text)?;
    let is_writing = matches!(
        wish,
        Wish::Pull(_)
            | Wish::Purge(_)
            | Wish::Import(_)
            | Wish::Fix(_)
            | Wish::Undo(_)
            | Wish::Empty(_)
    );
    if is_writing && view.facts.is_read_only {
        return Err("this dashboard is read-only".to_owned());
    }
    Ok(match wish {
        Wish::Pull(mut request) if request.dry_run => {
            request.dry_run = false;
            let add = Add {
                input: Input::new(request.repo.to_string()),
                error: None,
                planning: None,
            };
            let (overlay, effects) = dialog::plan(view.store, add, *request);
            ui.overlay = Some(overlay);
            effects
        }
        Wish::Pull(request) => pulling::pull(view.facts, *request),
        Wish::Verify(targets) => wish::start_verify(ui, view, targets),
        Wish::Purge(wanted) => purging::ask(ui, view, *wanted),
        Wish::Guide(request) => wish::ask_guide(ui, view.facts, request),
        Wish::Import(request) => pulling::import(ui, view.facts, *request),
        Wish::Fix(wanted) => mending::fix_all(ui, view, &wanted),
        Wish::Trash => holding::open(ui, view),
        Wish::Undo(id) => purging::restore(view.facts, id),
        Wish::Empty(age_ms) => holding::ask_empty(ui, view, age_ms),
        Wish::Look(look) => look_at(ui, view, look)?,
        Wish::ShellOnly => {
            return Err(format!("run `larder {verb}` in a shell"));
        }
    })
}

/// Why a flag that a shell knows is none here; `None` if there is no such flag in the line.
fn refused_flag(facts: &Facts, verb: &str, rest: &str) -> Option<String> {
    let known = facts.verbs.iter().find(|known| known.name == verb)?;
    let words = rest.split_whitespace().take_while(|word| *word != "--");
    let flags = words.map(|word| word.split('=').next().unwrap_or(word));
    let mut wrong = flags.filter(|flag| known.shell_flags.iter().any(|known| known == flag));
    let flag = wrong.next()?;
    Some(match flag {
        "--yes" | "-y" => format!("leave `{flag}` out: the plan is shown here, and a key says yes"),
        _ => format!("`{flag}` is for a shell: run `larder {verb} {rest}` there"),
    })
}

/// Shows what a command of the shell would print.
fn look_at(ui: &mut Ui, view: View<'_>, look: Look) -> Result<Vec<Effect>, String> {
    match look {
        Look::Models(filter) => {
            ui.focus_on(Pane::Models);
            ui.set_filter(Pane::Models, &filter);
        }
        Look::Files(repo) => {
            select(ui, view, &repo)?;
            ui.focus_on(Pane::Files);
        }
        Look::Health(repo) => {
            ui.focus_on(Pane::Health);
            let repo = repo.map(|repo| repo.to_string()).unwrap_or_default();
            ui.set_filter(Pane::Health, &repo);
        }
        Look::Locks(repo) => {
            if let Some(repo) = repo {
                select(ui, view, &repo)?;
            }
            ui.focus_on(Pane::Locks);
        }
    }
    Ok(Vec::new())
}

/// Selects a model, whatever is filtered.
fn select(ui: &mut Ui, view: View<'_>, repo: &RepoId) -> Result<(), String> {
    let before = ui.filter(Pane::Models).text().to_owned();
    ui.set_filter(Pane::Models, "");
    let scene = Scene::build(ui, view.store, view.now_ms);
    let mut repos = scene.models.iter().map(|item| item.repo());
    let Some(at) = repos.position(|known| known == Some(repo)) else {
        ui.set_filter(Pane::Models, &before);
        return Err(format!("`{repo}` is not in the cache"));
    };
    ui.models.go(at);
    Ok(())
}
