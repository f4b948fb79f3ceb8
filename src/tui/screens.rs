//! Screens of the dashboard as pictures in text: event scripts, folded and drawn at every size, in
//! colour and without.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use unicode_width::UnicodeWidthStr as _;

use super::action::Action;
use super::desk::sick;
use super::facts::Facts;
use super::keymap::Key;
use super::pane::Pane;
use super::stage::{self, facts};
use super::theme::ThemeName;
use super::ui::Ui;
use super::update::{self, View};
use crate::domain::{
    Disk, Event, Failure, FailureCode, FileId, JobId, Network, Outcome, PullRequest, RepoId,
    RepoKind, RetryIn, Revision, Stamped, UnfinishedPull,
};
use crate::store::Store;
use crate::store::script::{START_MS, Script, reset};

/// The sizes of the contract.
pub(super) const SIZES: [(u16, u16); 4] = [(80, 24), (120, 32), (200, 60), (39, 9)];

/// A story and what the user did.
pub(super) struct Screen {
    name: &'static str,
    store: Store,
    now_ms: u64,
    facts: Facts,
    /// Keys pressed after it, by action.
    actions: Vec<Action>,
    /// Text typed after those.
    typed: &'static str,
    /// Pulls of an earlier run that did not end.
    unfinished: Vec<UnfinishedPull>,
}

impl Screen {
    pub(super) fn of(name: &'static str, script: &Script) -> Self {
        Self {
            name,
            store: script.fold(),
            now_ms: script.now_ms() + 300,
            facts: facts(),
            actions: Vec::new(),
            typed: "",
            unfinished: Vec::new(),
        }
    }

    pub(super) fn after(mut self, actions: &[Action]) -> Self {
        self.actions.extend_from_slice(actions);
        self
    }

    fn typing(mut self, text: &'static str) -> Self {
        self.typed = text;
        self
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Facts)) -> Self {
        change(&mut self.facts);
        self
    }

    /// The picture in a theme.
    pub(super) fn draw(&self, size: (u16, u16), theme: ThemeName) -> Buffer {
        let mut ui = Ui::new(&self.facts);
        ui.set_theme(theme, &self.facts);
        let view = View {
            store: &self.store,
            facts: &self.facts,
            now_ms: self.now_ms,
        };
        // As the loop does: a picture before each key, since pages depend on the size.
        let mut buffer = Buffer::empty(Rect::new(0, 0, size.0, size.1));
        update::follow(&mut ui, view);
        update::unfinished(&mut ui, view.store, view.facts, &self.unfinished);
        super::view::draw(&mut buffer, &mut ui, view);
        for action in &self.actions {
            update::act(&mut ui, view, *action);
            update::follow(&mut ui, view);
            super::view::draw(&mut buffer, &mut ui, view);
        }
        for c in self.typed.chars() {
            let key = if c == '\n' {
                Key::of(crossterm::event::KeyCode::Enter)
            } else {
                Key::char(c)
            };
            update::press(&mut ui, view, key);
        }
        let mut buffer = Buffer::empty(Rect::new(0, 0, size.0, size.1));
        super::view::draw(&mut buffer, &mut ui, view);
        buffer
    }
}

/// The cells of a picture as text.
pub(super) fn text(buffer: &Buffer) -> String {
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
            skip = symbol.width().saturating_sub(1);
            line.push_str(symbol);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A letter for each style, row by row: what colour and weight say beside the text.
fn styles(buffer: &Buffer) -> String {
    let mut known: Vec<Style> = Vec::new();
    let mut rows = String::new();
    let area = buffer.area;
    for y in area.y..area.bottom() {
        let mut row = String::new();
        for x in area.x..area.right() {
            let style = buffer[(x, y)].style();
            let at = known.iter().position(|other| *other == style);
            let at = at.unwrap_or_else(|| {
                known.push(style);
                known.len() - 1
            });
            row.push(char::from(b"abcdefghijklmnopqrstuvwxyz"[at % 26]));
        }
        rows.push_str(&row);
        rows.push('\n');
    }
    let legend: Vec<String> = known
        .iter()
        .zip("abcdefghijklmnopqrstuvwxyz".chars())
        .map(|(style, letter)| {
            format!(
                "{letter}: {:?} on {:?} {:?}",
                style.fg.unwrap_or(Color::Reset),
                style.bg.unwrap_or(Color::Reset),
                style.add_modifier
            )
        })
        .collect();
    format!("{rows}{}\n", legend.join("\n"))
}

/// Draws a story at every size and compares.
pub(super) fn check(screen: &Screen) {
    for size in SIZES {
        let name = format!("{}_{}x{}", screen.name, size.0, size.1);
        let dark = screen.draw(size, ThemeName::Dark);
        let mono = screen.draw(size, ThemeName::Mono);
        assert_eq!(text(&dark), text(&mono), "{name}: a theme changes no word");
        for cell in &mono.content {
            let is_plain = cell.fg == Color::Reset && cell.bg == Color::Reset;
            assert!(is_plain, "{name}: a colour in mono: {cell:?}");
        }
        assert!(
            dark.content
                .iter()
                .all(|cell| !cell.symbol().contains(|c: char| c.is_control())),
            "{name}: a control character in a cell"
        );
        insta::assert_snapshot!(name.as_str(), text(&dark));
        if size == (80, 24) {
            insta::assert_snapshot!(format!("{name}_dark"), styles(&dark));
            insta::assert_snapshot!(format!("{name}_mono"), styles(&mono));
        }
    }
}

const RETRY: RetryIn = RetryIn {
    wait_ms: 2_100,
    failure: 1,
    of: 5,
};

/// A pull in the middle: one done, one reused, two on their way, among models.
pub(super) fn downloading() -> Script {
    stage::zoo(Script::planned())
        .connecting(0, 1)
        .downloading(0, 1, 0)
        .fetched(0, 1, 4_100)
        .reusing(1, 1)
        .then(
            1,
            Event::Reused {
                file: FileId(1),
                attempt: 1,
                origin: crate::domain::Origin::Cache,
                is_verified: true,
            },
        )
        .connecting(2, 1)
        .downloading(2, 1, 5_000_000)
        .connecting(3, 1)
        .downloading(3, 1, 0)
        .progress(1_000, 2, 1, 8_000_000)
        .progress(1, 3, 1, 90_000_000)
        .progress(1_000, 2, 1, 11_000_000)
        .progress(1, 3, 1, 170_000_000)
        .progress(1_000, 2, 1, 13_900_000)
        .progress(1, 3, 1, 250_000_000)
}

/// A cache without models, on a good network.
pub(super) fn empty() -> Script {
    Script::new()
        .then(
            1,
            Event::DiskSeen(Disk {
                free_bytes: 212_000_000_000,
                total_bytes: 994_000_000_000,
            }),
        )
        .then(1, Event::NetworkSeen(Network::Reachable { answer_ms: 38 }))
        .then(1, Event::ModelsListed { models: Vec::new() })
}

fn wrong_hash() -> Script {
    let failure = Failure::new(
        FailureCode::ChecksumMismatch,
        "the bytes of `tokenizer.json` are not those the Hub promised",
    )
    .because("SHA-256 is 77e0…, promised was 3f28…")
    .at_path("tokenizer.json");
    downloading()
        .then(
            20,
            Event::Verifying {
                file: FileId(2),
                attempt: 1,
            },
        )
        .failed(
            2,
            1,
            failure.clone(),
            Some(RetryIn {
                wait_ms: 0,
                ..RETRY
            }),
        )
        .connecting(2, 2)
        .downloading(2, 2, 0)
        .then(
            20,
            Event::Verifying {
                file: FileId(2),
                attempt: 2,
            },
        )
        .failed(2, 2, failure.clone(), None)
        .then(
            900,
            Event::Verifying {
                file: FileId(3),
                attempt: 1,
            },
        )
        .then(
            1,
            Event::Finished {
                file: FileId(3),
                attempt: 1,
                fetched_bytes: 1_330_000_000,
            },
        )
        .then(
            1,
            Event::Ended(Outcome::Failed {
                failures: vec![failure],
            }),
        )
}

#[test]
fn first_run() {
    check(&Screen::of("first_run", &empty()));
}

#[test]
fn first_run_without_network() {
    let failure = Failure::new(FailureCode::Dns, "the host's name was not found");
    let script = empty().then(1, Event::NetworkSeen(Network::Unreachable { failure }));
    check(&Screen::of("no_network", &script));
}

#[test]
fn a_volume_that_is_not_there() {
    let failure = Failure::new(
        FailureCode::NotWritable,
        "the cache `/Volumes/Models/hub` is on a volume that is not there",
    )
    .because("`/Volumes/Models` does not exist; connect the volume")
    .at_path("/Volumes/Models/hub");
    let script = Script::new().then(1, Event::CacheUnreadable { failure });
    check(&Screen::of("unplugged", &script));
}

#[test]
fn downloads() {
    check(&Screen::of("downloading", &downloading()).after(&[Action::Focus(Pane::Files)]));
    let stalled = downloading().stalled(6_000, 3, 1, 6_000);
    check(&Screen::of("stalled", &stalled).after(&[Action::Focus(Pane::Files)]));
    let retrying = downloading().failed(3, 1, reset(), Some(RETRY));
    check(&Screen::of("retrying", &retrying).after(&[Action::Focus(Pane::Files)]));
}

#[test]
fn endings() {
    let failed = Script::broken();
    check(&Screen::of("failed", &stage::zoo(failed)).after(&[Action::Focus(Pane::Files)]));
    check(&Screen::of("wrong_hash", &wrong_hash()).after(&[Action::Focus(Pane::Files)]));
    let done = stage::zoo(Script::complete());
    check(&Screen::of("all_done", &done).after(&[Action::Focus(Pane::Files)]));
    let cancelled = stage::zoo(Script::cancelled());
    check(&Screen::of("cancelled", &cancelled).after(&[Action::Focus(Pane::Files)]));
}

#[test]
fn health() {
    check(&Screen::of("ten_findings", &sick()).after(&[Action::Focus(Pane::Health)]));
    let verifying = sick()
        .then(
            1,
            Event::VerifyStarted {
                snapshots: 6,
                files: 31,
                bytes: 7_080_000_000,
            },
        )
        .then(
            4_000,
            Event::VerifyProgress {
                files: 9,
                bytes: 2_400_000_000,
                path: "model.safetensors".to_owned(),
            },
        );
    check(&Screen::of("verifying", &verifying).after(&[Action::Focus(Pane::Health)]));
}

#[test]
fn help() {
    check(&Screen::of("help", &downloading()).after(&[Action::Focus(Pane::Files), Action::Help]));
}

#[test]
fn details() {
    use Action::{Bottom, Details, Down, Focus};
    let file = [Focus(Pane::Files), Down, Down, Details];
    check(&Screen::of("details_file", &wrong_hash()).after(&file));
    check(&Screen::of("details_model", &sick()).after(&[Down, Details]));
    let finding = [Focus(Pane::Health), Down, Details];
    check(&Screen::of("details_finding", &sick()).after(&finding));
    let lock = [Focus(Pane::Locks), Details];
    check(&Screen::of("details_lock", &sick()).after(&lock));
    let line = [Focus(Pane::Log), Bottom, Details];
    check(&Screen::of("details_line", &wrong_hash()).after(&line));
}

#[test]
fn a_guide_to_fetching_by_hand() {
    let story = Script::broken().guided();
    check(&Screen::of("guide", &story).after(&[Action::Guide]));
}

#[test]
fn questions() {
    let purge = [Action::Focus(Pane::Locks), Action::Focus(Pane::Models)];
    let purge = Screen::of("purge_plan", &sick()).after(&purge);
    // Down to the model with an abandoned partial.
    check(&purge.after(&[Action::Down, Action::Purge]));
    check(&Screen::of("quit", &downloading()).after(&[Action::Quit]));
    let mut resume = Screen::of("resume", &sick());
    let pull = |name: &str, begun_ms| {
        let repo = RepoId::new(RepoKind::Model, name).unwrap();
        UnfinishedPull::of(&PullRequest::new(repo, Revision::main()), begun_ms)
    };
    resume.unfinished = vec![
        pull("mlx-community/gemma-2-2b-it-4bit", START_MS - 7_200_000),
        pull("someone/other", START_MS - 90_000_000),
        UnfinishedPull {
            local_dir: Some("/models/my gemma".into()),
            ..pull("mlx-community/gemma-2-2b-it-4bit", START_MS - 5_000)
        },
    ];
    check(&resume);
}

#[test]
fn fields() {
    check(
        &Screen::of("command_line", &sick())
            .after(&[Action::Command])
            .typing("verify mlx-c"),
    );
    check(
        &Screen::of("command_error", &sick())
            .after(&[Action::Command])
            .typing("fly\n"),
    );
    check(
        &Screen::of("filter", &sick())
            .after(&[Action::Filter])
            .typing("qwen"),
    );
    check(&Screen::of("add", &empty()).after(&[Action::Add]));
    check(
        &Screen::of("add_wrong", &empty())
            .after(&[Action::Add])
            .typing("a b\n"),
    );
}

fn at<'a>(store: &'a Store, facts: &'a Facts) -> View<'a> {
    View {
        store,
        facts,
        now_ms: START_MS + 500,
    }
}

#[test]
fn a_plan_before_it_starts() {
    let mut store = sick().fold();
    let mut ui_script = Script::planned().events;
    ui_script.push(Stamped {
        at_ms: START_MS + 300,
        job: JobId(0),
        event: Event::Ended(Outcome::Planned),
    });
    for stamped in &mut ui_script {
        stamped.job = JobId(7);
        if let Event::PullStarted { is_dry_run, .. } = &mut stamped.event {
            *is_dry_run = true;
        }
    }
    let facts = facts();
    for size in SIZES {
        let mut ui = Ui::new(&facts);
        update::act(&mut ui, at(&store, &facts), Action::Add);
        for c in "mlx-community/gemma-2-2b-it-4bit".chars() {
            update::press(&mut ui, at(&store, &facts), Key::char(c));
        }
        let enter = Key::of(crossterm::event::KeyCode::Enter);
        let effects = update::press(&mut ui, at(&store, &facts), enter);
        assert!(matches!(
            effects.as_slice(),
            [update::Effect::Send(crate::domain::Command::Pull(request))] if request.dry_run
        ));
        for stamped in &ui_script {
            crate::store::reduce(&mut store, stamped);
        }
        let mut buffer = Buffer::empty(Rect::new(0, 0, size.0, size.1));
        super::view::draw(&mut buffer, &mut ui, at(&store, &facts));
        insta::assert_snapshot!(format!("add_plan_{}x{}", size.0, size.1), text(&buffer));
        let effects = update::press(&mut ui, at(&store, &facts), enter);
        assert!(
            matches!(
                effects.as_slice(),
                [
                    update::Effect::Log(line),
                    update::Effect::Send(crate::domain::Command::Pull(request)),
                ] if !request.dry_run && line.starts_with("$ larder pull mlx-community/gemma")
            ),
            "{effects:?}"
        );
        store = sick().fold();
    }
}

#[test]
fn a_reversed_row_has_one_colour_and_a_title_only_its_own() {
    let screen = Screen::of("reversed", &downloading()).after(&[Action::Focus(Pane::Files)]);
    let drawn = screen.draw((80, 24), ThemeName::Sixteen);
    let reversed: Vec<_> = drawn
        .content
        .iter()
        .filter(|cell| cell.modifier.contains(Modifier::REVERSED))
        .collect();
    assert!(reversed.len() > 70, "{}", reversed.len());
    assert!(reversed.iter().all(|cell| cell.fg == Color::Reset));
    let row = text(&drawn)
        .lines()
        .position(|line| line.starts_with("├ 5 Log"));
    let log = &drawn[(4, u16::try_from(row.unwrap()).unwrap())];
    assert!(
        log.symbol() == "L" && !log.modifier.contains(Modifier::BOLD),
        "the focus is on the files: {log:?}"
    );
}

#[test]
fn between_the_sizes() {
    let screen = Screen::of("between", &downloading()).after(&[Action::Focus(Pane::Files)]);
    for size in [(50, 16), (100, 28), (40, 10)] {
        let shown = text(&screen.draw(size, ThemeName::Dark));
        insta::assert_snapshot!(format!("between_{}x{}", size.0, size.1), shown);
    }
}
