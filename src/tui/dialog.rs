//! Owns what is typed and answered: questions, adding a model, the command line.
//!
//! **Law**: Enter on a question is No; only `y` is Yes.

use crossterm::event::KeyCode;
use tui_input::Input;

use super::facts::{Facts, Wish};
use super::keymap::Key;
use super::pane::Pane;
use super::rows::Scene;
use super::theme::ThemeName;
use super::ui::{Add, CommandLine, Discarding, Overlay, Question, Ui};
use super::update::{self, Effect, View};
use super::{action::Action, mending, pulling, purging, wish};
use crate::domain::{Command, FileSelection, PullRequest, RepoReference, Revision};
use crate::store::{Level, Phase, Store};

/// A key while a question is open.
pub(super) fn answer(
    ui: &mut Ui,
    view: View<'_>,
    question: Question,
    scroll: usize,
    key: Key,
) -> Vec<Effect> {
    let question = match question {
        Question::Discard(asked) => return discard_key(ui, view, asked, scroll, key),
        other => other,
    };
    match key.code {
        KeyCode::Char('y' | 'Y') => match question {
            Question::Discard(_) => Vec::new(),
            Question::Quit => vec![Effect::Quit],
            Question::Purge(plan) => purging::purged(view.facts, plan),
            Question::Fix(plan) => mending::fixed(ui, view.facts, plan),
            Question::Resume(pulls) => {
                // What goes on is looked at next.
                ui.set_filter(Pane::Models, "");
                select_after_start(ui, view.store);
                pulling::resume(ui, view.facts, &pulls)
            }
        },
        KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc | KeyCode::Enter => {
            if matches!(question, Question::Purge(_)) {
                ui.say("nothing was removed", view.now_ms);
            }
            if matches!(question, Question::Fix(_)) {
                ui.say("nothing was changed", view.now_ms);
            }
            if matches!(question, Question::Resume(_)) {
                ui.say(
                    "it stays as it is, and is offered again at the next start",
                    view.now_ms,
                );
            }
            Vec::new()
        }
        _ => {
            // Other keys answer nothing; they may scroll the plan.
            let scroll = update::scrolled(scroll, key).unwrap_or(scroll);
            ui.overlay = Some(Overlay::Ask { question, scroll });
            Vec::new()
        }
    }
}

/// A key while it is asked whether a model goes: its name and Enter are Yes, everything else is none.
fn discard_key(
    ui: &mut Ui,
    view: View<'_>,
    mut asked: Discarding,
    scroll: usize,
    key: Key,
) -> Vec<Effect> {
    let planned = purging::planned_discard(view.store, &asked);
    let name = planned.and_then(purging::name_of_whole);
    let goes = planned.filter(|planned| !planned.plan.steps.is_empty());
    let is_yes = match (&name, key.code) {
        (Some(name), KeyCode::Enter) => asked.typed == *name,
        (None, KeyCode::Char('y' | 'Y')) => true,
        _ => false,
    };
    if let Some(planned) = goes.filter(|_| is_yes) {
        return purging::purged(view.facts, planned.plan.clone());
    }
    match key.code {
        KeyCode::Esc | KeyCode::Enter => {
            ui.say("nothing was taken away", view.now_ms);
            return Vec::new();
        }
        KeyCode::Char('n' | 'N' | 'q') if name.is_none() => {
            ui.say("nothing was taken away", view.now_ms);
            return Vec::new();
        }
        KeyCode::Backspace => drop(asked.typed.pop()),
        KeyCode::Char(letter) if name.is_some() => asked.typed.push(letter),
        _ => {}
    }
    let scroll = if name.is_some() && matches!(key.code, KeyCode::Char(_)) {
        scroll
    } else {
        update::scrolled(scroll, key).unwrap_or(scroll)
    };
    ui.overlay = Some(Overlay::Ask {
        question: Question::Discard(asked),
        scroll,
    });
    Vec::new()
}

/// What was typed as a request, or why it is none.
fn request(text: &str) -> Result<PullRequest, String> {
    let reference = RepoReference::parse(text).map_err(|error| error.to_string())?;
    let revision = reference.revision.unwrap_or_else(Revision::main);
    let mut request = PullRequest::new(reference.repo, revision);
    if let Some(file) = reference.file {
        request.files.push(file.as_str().to_owned());
    }
    Ok(request)
}

/// Asks the Hub what a pull would do.
fn plan(store: &Store, mut add: Add, request: PullRequest) -> (Overlay, Vec<Effect>) {
    let before = store.preview().map(crate::store::Pull::job);
    let mut dry = request.clone();
    dry.dry_run = true;
    add.error = None;
    add.planning = Some((request, before));
    (Overlay::Add(add), vec![Effect::Send(Command::Pull(dry))])
}

/// Whether a plan stands there that can be carried out.
pub(super) fn is_ready(store: &Store, add: &Add) -> bool {
    add.planning
        .as_ref()
        .and_then(|(_, before)| pulling::preview_after(store, *before))
        .is_some_and(|pull| {
            pull.phase() == Phase::Ended && pull.failures().is_empty() && pull.plan().is_some()
        })
}

/// A key while a model is added.
pub(super) fn add_key(ui: &mut Ui, view: View<'_>, mut add: Add, key: Key) -> Vec<Effect> {
    let is_ready = is_ready(view.store, &add);
    if let Some((request, before)) = add.planning.take() {
        let planned = pulling::preview_after(view.store, before);
        return match key.code {
            KeyCode::Enter | KeyCode::Char('y') if is_ready => {
                ui.focus_on(Pane::Files);
                // The new pull is the row that is looked at next.
                ui.models.go(0);
                ui.set_filter(Pane::Models, "");
                select_after_start(ui, view.store);
                pulling::pull(view.facts, request)
            }
            KeyCode::Esc | KeyCode::Char('n' | 'q') => planned
                .filter(|pull| pull.phase() != Phase::Ended)
                .map(|pull| Effect::Send(Command::Cancel(FileSelection::Job(pull.job()))))
                .into_iter()
                .collect(),
            // Back to the field, to correct what was typed.
            KeyCode::Backspace | KeyCode::Char('e') => {
                ui.overlay = Some(Overlay::Add(add));
                Vec::new()
            }
            _ => {
                add.planning = Some((request, before));
                ui.overlay = Some(Overlay::Add(add));
                Vec::new()
            }
        };
    }
    match key.code {
        KeyCode::Esc => return Vec::new(),
        KeyCode::Enter if add.input.value().trim().is_empty() => {
            // Nothing typed where models are offered means the first of them.
            if let Some(offered) = view.facts.offered.first() {
                add.input = Input::new(offered.repo.to_string());
            }
        }
        KeyCode::Enter => match request(add.input.value()) {
            Ok(request) => {
                let (overlay, effects) = plan(view.store, add, request);
                ui.overlay = Some(overlay);
                return effects;
            }
            Err(error) => add.error = Some(error),
        },
        _ => {
            if update::edit(&mut add.input, key) {
                add.error = None;
            }
        }
    }
    ui.overlay = Some(Overlay::Add(add));
    Vec::new()
}

/// Pulls of this run are the first rows, in the order they started: the next one comes after them.
fn select_after_start(ui: &mut Ui, store: &Store) {
    let mut seen = std::collections::BTreeSet::new();
    for pull in store.pulls() {
        let target = pull.target();
        seen.insert((target.repo.clone(), target.revision.as_str().to_owned()));
    }
    ui.models.go(seen.len());
}

/// Adds the model that is offered first.
pub(super) fn add_offered(ui: &mut Ui, view: View<'_>) -> Vec<Effect> {
    let Some(offered) = view.facts.offered.first() else {
        return Vec::new();
    };
    open_add(ui, view, &offered.repo.to_string())
}

/// Opens the dialog with a name and asks for its plan.
pub(super) fn open_add(ui: &mut Ui, view: View<'_>, text: &str) -> Vec<Effect> {
    let add = Add {
        input: Input::new(text.to_owned()),
        error: None,
        planning: None,
    };
    if view.facts.is_read_only {
        ui.refuse("add: this dashboard is read-only", view.now_ms);
        return Vec::new();
    }
    match request(text) {
        Ok(request) => {
            let (overlay, effects) = plan(view.store, add, request);
            ui.overlay = Some(overlay);
            effects
        }
        Err(error) => {
            ui.overlay = Some(Overlay::Add(Add {
                error: Some(error),
                ..add
            }));
            Vec::new()
        }
    }
}

/// Opens what the dashboard was called for: it is looked at, and offered to be fetched.
pub(super) fn open_reference(ui: &mut Ui, reference: &RepoReference, facts: &Facts) -> Vec<Effect> {
    let mut text = reference.repo.to_string();
    if let Some(revision) = &reference.revision {
        text = format!("{text}@{revision}");
    }
    let store = Store::default();
    let view = View {
        store: &store,
        facts,
        now_ms: 0,
    };
    ui.set_filter(Pane::Models, reference.repo.name());
    open_add(ui, view, &text)
}

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
        "pull" | "add" | "verify" | "purge" | "ls" | "status" | "doctor" | "locks" => {
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
    let wish = (view.facts.interpret)(text)?;
    let is_writing = matches!(
        wish,
        Wish::Pull(_) | Wish::PurgeIncomplete(_) | Wish::Discard(_) | Wish::Undo(_)
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
            let (overlay, effects) = plan(view.store, add, *request);
            ui.overlay = Some(overlay);
            effects
        }
        Wish::Pull(request) => pulling::pull(view.facts, *request),
        Wish::Verify(targets) => wish::start_verify(ui, view, targets),
        Wish::PurgeIncomplete(repos) => {
            let plan = view.store.shelf().purge_plan(&repos);
            purging::ask_purge(ui, view, plan)
        }
        Wish::Guide(request) => wish::ask_guide(ui, view.facts, request),
        Wish::Discard(request) => purging::plan_discard(ui, view, *request),
        Wish::Undo(id) => purging::restore(view.facts, id),
        Wish::Models => {
            ui.focus_on(Pane::Models);
            Vec::new()
        }
        Wish::Health => {
            ui.focus_on(Pane::Health);
            Vec::new()
        }
        Wish::Locks => {
            ui.focus_on(Pane::Locks);
            Vec::new()
        }
        Wish::ShellOnly => {
            return Err(format!("run `larder {verb}` in a shell"));
        }
    })
}

/// Changes the theme and keeps it.
pub(super) fn set_theme(ui: &mut Ui, view: View<'_>, name: ThemeName) -> Vec<Effect> {
    ui.set_theme(name, view.facts);
    ui.say(format!("theme {}", name.name()), view.now_ms);
    vec![
        Effect::Log(format!("theme = \"{}\" in the config file", name.name())),
        Effect::Remember("theme", name.name().to_owned()),
    ]
}

/// Changes what the log shows.
pub(super) fn set_level(ui: &mut Ui, view: View<'_>, level: Level) -> Vec<Effect> {
    ui.level = level;
    ui.log.is_at_end = true;
    ui.say(
        format!("the log shows {} and worse", level.name()),
        view.now_ms,
    );
    Vec::new()
}
