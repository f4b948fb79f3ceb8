//! Screens of the dashboard as pictures in text: event scripts, folded and drawn at every size, in
//! colour and without.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use unicode_width::UnicodeWidthStr as _;

use super::action::Action;
use super::facts::Facts;
use super::keymap::Key;
use super::pane::Pane;
use super::stage::{self, facts};
use super::theme::ThemeName;
use super::ui::Ui;
use super::update::{self, View};
use crate::domain::{
    Bundle, CacheKind, Disk, Event, Failure, FailureCode, FileId, FileRow, FileState, Finding,
    JobId, LockState, ModelState, Network, OtherProgress, OtherPull, Outcome, PlannedFile,
    PullPlan, PullRequest, RepoId, RepoKind, RetryIn, Revision, Rule, Stamped, UnfinishedPull,
    Verification,
};
use crate::store::script::{START_MS, Script, file_row, model_row, plan, planned_file, reset};
use crate::store::{Level, Store};

/// The sizes of the contract.
const SIZES: [(u16, u16); 4] = [(80, 24), (120, 32), (200, 60), (39, 9)];

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
fn downloading() -> Script {
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

fn sick() -> Script {
    stage::zoo(Script::new())
        .then(
            1,
            Event::FindingsSeen {
                findings: stage::findings(),
            },
        )
        .then(
            1,
            Event::LocksSeen {
                locks: stage::locks(),
            },
        )
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
fn another_download_goes_first() {
    let waiting = Script::started().then(
        1,
        Event::WaitingForPull(OtherPull {
            pid: Some(4_121),
            program: Some("larder".to_owned()),
            progress: Some(OtherProgress {
                files_done: 3,
                files_total: 5,
                bytes_done: 812_000_000,
                bytes_total: 1_350_000_000,
            }),
            proof: "its `flock` is taken".to_owned(),
        }),
    );
    check(&Screen::of("waiting_for_pull", &waiting).after(&[Action::Focus(Pane::Files)]));
}

/// A partial model that another larder is at.
#[test]
fn another_download_goes_on() {
    let mut row = model_row("mlx-community/gemma-2-2b-it-4bit", 5);
    row.state = ModelState::Partial;
    row.refs.clear();
    row.problems = vec!["a pull was not finished".to_owned()];
    let mut marker = stage::locks().remove(3);
    marker.state = LockState::Held;
    marker.pid = Some(4_121);
    marker.program = Some("larder".to_owned());
    marker.proof = "its `flock` is taken; it has 4 of 5 files, 7 %".to_owned();
    let locks = vec![marker];
    let script = Script::listed(vec![row])
        .then(1, Event::LocksSeen { locks })
        .then(
            1,
            Event::PartialsSeen {
                partials: stage::partials(),
            },
        );
    check(&Screen::of("fetched_elsewhere", &script).after(&[Action::Focus(Pane::Files)]));
}

#[test]
fn locks_of_others() {
    let script = downloading()
        .then(
            1,
            Event::LocksSeen {
                locks: stage::locks(),
            },
        )
        .then(
            1,
            Event::PartialsSeen {
                partials: stage::partials(),
            },
        )
        .waiting(10, 4, 1);
    check(&Screen::of("locks_held", &script).after(&[Action::Focus(Pane::Locks)]));
    check(&Screen::of("foreign", &script).after(&[Action::Focus(Pane::Files)]));
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

/// A plan of many files, four of them under way.
pub(super) fn many_files(files: u32) -> Script {
    let planned: Vec<PlannedFile> = (0..files)
        .map(|id| planned_file(id, &format!("data/part-{id:05}.safetensors"), 5_000_000))
        .collect();
    let plan = PullPlan {
        total_bytes: u64::from(files) * 5_000_000,
        fetch_bytes: u64::from(files) * 5_000_000,
        files: planned,
        ..plan()
    };
    let mut script = Script::new()
        .then(0, Script::planned().events[0].event.clone())
        .then(1, Event::Planned(plan));
    for file in 0..files / 2 {
        let file = FileId(file);
        script = script
            .then(
                0,
                Event::Connecting {
                    file,
                    attempt: 1,
                    source: "huggingface.co".to_owned(),
                },
            )
            .then(
                0,
                Event::Finished {
                    file,
                    attempt: 1,
                    fetched_bytes: 5_000_000,
                },
            );
    }
    for file in files / 2..files / 2 + 64.min(files / 2) {
        script = script.connecting(file, 1).downloading(file, 1, 0).progress(
            20,
            file,
            1,
            1_000_000 + u64::from(file % 7) * 500_000,
        );
    }
    script
}

#[test]
fn ten_thousand_files_scrolled_to_the_middle() {
    check(&Screen::of("many_files", &many_files(10_000)).after(&[Action::Focus(Pane::Files)]));
}

#[test]
fn a_thousand_models() {
    let models = (0..1_000)
        .map(|at| model_row(&format!("org/model-{at:04}"), 1_000_000 * (at + 1)))
        .collect();
    let script = stage::zoo(Script::new()).then(1, Event::ModelsListed { models });
    let screen = Screen::of("many_models", &script);
    check(&screen.after(&[Action::PageDown, Action::PageDown, Action::PageDown]));
}

#[test]
fn strange_names() {
    let long = format!("org/{}", "x".repeat(90));
    let mut models = vec![model_row(&long, 7_000), model_row("org/m", 1)];
    models[1].refs = vec!["分支/🦙-很长的名字".repeat(8)];
    let mut files: Vec<FileRow> = vec![
        file_row("模型/权重-🦙🦙🦙.safetensors", 1_330_000_000),
        file_row(&"长".repeat(200), 48_000),
        file_row(&"n".repeat(200), 48_000),
        file_row("a\u{1b}[31mred\u{7}\u{202e}gpj.exe", 12),
        file_row("é́combining.json", 5),
    ];
    files[1].state = crate::domain::FileState::Truncated;
    let failure = Failure::new(FailureCode::Server, "the server answered 500")
        .because("\u{1b}]0;owned\u{7}\u{9b}2J");
    let script = Script::new()
        .then(
            1,
            Event::ModelsListed {
                models: models.clone(),
            },
        )
        .then(
            1,
            Event::FilesListed {
                model: Box::new(models[0].clone()),
                files,
            },
        )
        .then(1, Event::Ended(Outcome::Listed))
        .then(1, Event::CacheUnreadable { failure })
        .then(1, Event::ModelsListed { models });
    let screen =
        Screen::of("strange_names", &script).after(&[Action::Down, Action::Focus(Pane::Files)]);
    for size in SIZES {
        let shown = text(&screen.draw(size, ThemeName::Dark));
        assert!(!shown.contains(['\u{1b}', '\u{9b}', '\u{202e}', '\u{7}']));
    }
    check(&screen);
}

#[test]
fn in_ascii_and_read_only() {
    let screen = Screen::of("ascii", &downloading())
        .after(&[Action::Focus(Pane::Files)])
        .with(|facts| {
            facts.is_ascii = true;
            facts.is_read_only = true;
        });
    for size in SIZES {
        let shown = text(&screen.draw(size, ThemeName::Dark));
        assert!(shown.is_ascii(), "{shown}");
    }
    check(&screen);
}

#[test]
fn between_the_sizes() {
    let screen = Screen::of("between", &downloading()).after(&[Action::Focus(Pane::Files)]);
    for size in [(50, 16), (100, 28), (40, 10)] {
        let shown = text(&screen.draw(size, ThemeName::Dark));
        insta::assert_snapshot!(format!("between_{}x{}", size.0, size.1), shown);
    }
}

#[test]
fn files_say_what_hashing_said_of_them() {
    let row = model_row("org/m", 2_000);
    let mut files = vec![
        file_row("config.json", 1_000),
        file_row("model.safetensors", 1_000),
        file_row("notes.txt", 5),
        file_row("README.md", 8),
    ];
    files[2].state = FileState::Regular;
    files[3].state = FileState::Absent;
    let finding = Finding::new(
        Rule::WrongHash,
        "`model.safetensors` does not hash to its name",
        "a disk that forgets",
    )
    .of_model(&row.repo, Some(&row.revision))
    .of_file("model.safetensors");
    let verified = Verification {
        what: Bundle::Snapshot,
        cache: CacheKind::Hub,
        repo: Some(row.repo.clone()),
        revision: row.revision.clone(),
        snapshot: row.snapshot.clone(),
        files_good: 1,
        files_total: 3,
        files_unread: 0,
        files_unknown: 1,
        files_hashed: 0,
        basis: Vec::new(),
        bytes: 2_000,
        findings: vec![finding],
    };
    let script = Script::new()
        .then(
            1,
            Event::ModelsListed {
                models: vec![row.clone()],
            },
        )
        .then(
            1,
            Event::FilesListed {
                model: Box::new(row),
                files,
            },
        )
        .then(1, Event::ModelVerified(verified));
    let screen = Screen::of("hashed", &script).after(&[Action::Focus(Pane::Files)]);
    let shown = text(&screen.draw((80, 24), ThemeName::Dark));
    for (file, word) in [
        ("config.json", "verified"),
        ("model.safetensors", "wrong hash"),
        ("notes.txt", "here, no pointer"),
        ("README.md", "not fetched"),
    ] {
        let line = shown.lines().find(|line| line.contains(file));
        assert!(line.is_some_and(|line| line.contains(word)), "{shown}");
    }
    check(&screen);
}

#[test]
fn a_broken_model_after_verifying() {
    let repo = RepoId::new(RepoKind::Model, "mlx-community/Qwen3-4B-4bit").unwrap();
    let zoo = stage::zoo(Script::new());
    let snapshot = zoo
        .fold()
        .shelf()
        .models()
        .unwrap()
        .iter()
        .find(|row| row.repo == repo)
        .map(|row| row.snapshot.clone())
        .unwrap();
    let finding = stage::findings().remove(0);
    let verified = |findings| {
        Event::ModelVerified(Verification {
            what: Bundle::Snapshot,
            cache: CacheKind::Hub,
            repo: Some(repo.clone()),
            revision: crate::store::script::commit().to_string(),
            snapshot: snapshot.clone(),
            files_good: 5,
            files_total: 6,
            files_unread: 0,
            files_unknown: 0,
            files_hashed: 0,
            basis: Vec::new(),
            bytes: 2_280_000_000,
            findings,
        })
    };
    let script = zoo.then(1, verified(vec![finding]));
    let store = script.fold();
    assert_eq!(store.shelf().findings().len(), 1);
    assert!(
        store
            .log()
            .since(0)
            .any(|line| line.level == Level::Error && line.text.contains("5 of 6 files right"))
    );
    let again = script.then(1, verified(Vec::new())).fold();
    assert!(again.shelf().findings().is_empty());
}
