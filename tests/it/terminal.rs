//! The real binary on a terminal: bars, resizing, Ctrl-C and the other signals.
//!
//! Every test waits for what it wants to see, with a deadline. The terminal gives each run the
//! dispositions of a fresh session, so that a `nohup` around the tests changes nothing.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use larder::cli::PULL_SCHEMA;
use larder::serve::{Effect, Fault, Matcher, Origin};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::catalogue::{GEMMA, GEMMA_WEIGHTS_BYTES};
use crate::support::program::{Home, wait_until};
use crate::support::terminal::{Terminal, is_drawn, is_whole};
use crate::support::{assert_all_visible_bytes_proven, catalogue};

/// Longer than any of these runs: what ends sooner was not waited for.
const STALL: Duration = Duration::from_mins(1);
/// What "at once" may take on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);

fn weights() -> Matcher {
    Matcher::path("model.safetensors").origin(Origin::Cdn)
}

/// The weights come in about `GEMMA_WEIGHTS_BYTES / bytes_per_s` seconds.
fn slow(bytes_per_s: u64) -> Vec<Fault> {
    vec![Fault::new(weights(), Effect::Slow { bytes_per_s })]
}

/// The weights stop for longer than anybody waits.
fn stalled() -> Vec<Fault> {
    let millis = u64::try_from(STALL.as_millis()).unwrap();
    let stall = Effect::Stall {
        after_bytes: GEMMA_WEIGHTS_BYTES / 4,
        millis,
    };
    vec![Fault::new(weights(), stall)]
}

async fn home(faults: Vec<Fault>) -> Home {
    Home::new(catalogue::gemma(), faults).await
}

/// The partial that a run left, which the next one goes on with.
#[track_caller]
fn assert_resumes(home: &Home) {
    let kept = home.partial(1).expect("the partial is kept");
    let kept = fs::metadata(kept).unwrap().len();
    home.hub.set_faults(Vec::new());
    home.hub.clear_requests();
    let ran = home.run(&["pull", GEMMA]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let ranges: Vec<String> = home
        .hub
        .requests()
        .into_iter()
        .filter(|request| request.origin == Origin::Cdn)
        .filter_map(|request| request.range)
        .collect();
    assert!(
        ranges
            .iter()
            .any(|range| range.starts_with(&format!("bytes={kept}-"))),
        "resumed from {kept}: {ranges:?}"
    );
    assert!(home.partial(0).is_none());
    assert_all_visible_bytes_proven(&home.cache());
}

/// The document that a run left in the file `document` of its home.
fn document(home: &Home) -> Value {
    let text = fs::read_to_string(home.path().join("document")).unwrap();
    let document = serde_json::from_str(&text).expect("one document");
    let schema = serde_json::from_str(PULL_SCHEMA).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    assert!(schema.is_valid(&document), "{document:#}");
    document
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_fit_the_terminal_and_the_summary_stays() {
    let home = home(slow(1_000_000)).await;
    let mut terminal = Terminal::start(&home, &["pull", GEMMA]);
    let mut seen = 0;
    terminal.wait_for("bar of the weights that moves", |screen| {
        let rows: Vec<&str> = screen.lines().filter(|row| is_drawn(row)).collect();
        let moving = rows
            .iter()
            .find(|row| row.contains("model.safetensors") && row.contains('█'));
        seen += usize::from(moving.is_some());
        moving.is_some() && rows.iter().any(|row| is_whole(row))
    });
    assert!(seen > 0);
    assert_eq!(terminal.wait(), 0);
    terminal.wait_for("summary", |screen| {
        screen.contains("complete · ") && screen.contains("/snapshots/")
    });
    let shown = terminal.shown();
    let text = shown.text();
    assert!(!text.lines().any(is_drawn), "bars are left behind:\n{text}");
    assert_eq!(shown.wrapped, Vec::<String>::new());
    assert!(!shown.parser.screen().hide_cursor());
    assert!(!shown.parser.screen().alternate_screen());
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_dumb_and_quiet_terminals_get_no_bars() {
    for (term, words, has_lines) in [
        ("xterm", &["pull", GEMMA, "--plain"][..], true),
        ("dumb", &["pull", GEMMA], true),
        ("xterm", &["pull", GEMMA, "--quiet"], false),
    ] {
        let home = home(slow(8_000_000)).await.with("TERM", term);
        let mut terminal = Terminal::start(&home, words);
        assert_eq!(terminal.wait(), 0);
        terminal.wait_for("the path", |screen| screen.contains("/snapshots/"));
        let sent = String::from_utf8(terminal.shown().sent.clone()).unwrap();
        assert!(!sent.lines().any(is_drawn), "{sent:?}");
        assert!(!sent.contains("\u{1b}["), "{sent:?}");
        assert_eq!(
            sent.contains("model.safetensors: done"),
            has_lines,
            "{sent:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_may_change_its_size() {
    let home = home(slow(500_000)).await;
    let mut terminal = Terminal::start(&home, &["pull", GEMMA]);
    let bar = |screen: &str| screen.contains("model.safetensors") && screen.contains('█');
    terminal.wait_for("bar", bar);
    // Narrow terminals have no room for bars, only for numbers.
    terminal.resize(24, 40);
    terminal.wait_for("row without a bar", |screen| {
        let row = screen.lines().rfind(|row| row.contains("% of "));
        row.is_some_and(|row| !is_drawn(row))
    });
    terminal.resize(30, 120);
    terminal.wait_for("bar again", |screen| {
        screen
            .lines()
            .any(|row| row.contains('█') && row.contains("% of "))
    });
    assert_eq!(terminal.wait(), 0);
    terminal.wait_for("summary", |screen| screen.contains("complete · "));
    assert_all_visible_bytes_proven(&home.cache());
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_keeps_what_is_here_and_the_next_run_goes_on() {
    let home = home(slow(500_000)).await;
    let mut terminal = Terminal::start(&home, &["pull", GEMMA]);
    home.wait_for_partial(100_000);
    terminal.press("\u{3}");
    assert_eq!(terminal.wait(), 130);
    terminal.wait_for("words about resuming", |screen| {
        let words = screen.replace('\n', " ");
        screen.contains("error: cancelled: interrupted (SIGINT)")
            && words.contains("resumed next time")
            && words.contains("goes on where it stopped")
    });
    let shown = terminal.shown();
    assert!(!shown.parser.screen().hide_cursor());
    let text = shown.text();
    // The terminal's own echo of `^C` moves the cursor down, which costs the bars one row.
    let left = text.lines().filter(|row| is_drawn(row)).count();
    assert!(left <= 1, "bars are left behind:\n{text}");
    drop(shown);
    assert!(!home.blobs().parent().unwrap().join("refs/main").exists());
    assert_resumes(&home);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_does_not_wait_for_a_server_that_stalls() {
    for keys in ["\u{3}", "\u{3}\u{3}"] {
        let home = home(stalled()).await;
        let mut terminal = Terminal::start(&home, &["pull", GEMMA]);
        home.wait_for_partial(GEMMA_WEIGHTS_BYTES / 4);
        let pressed = Instant::now();
        terminal.press(keys);
        assert_eq!(terminal.wait(), 130);
        assert!(pressed.elapsed() < AT_ONCE, "{:?}", pressed.elapsed());
        assert_resumes(&home);
    }
}

/// Nobody reads the events, so the run hangs in writing one: the first Ctrl-C cannot end it.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_ctrl_c_leaves_at_once() {
    let mut home = home(stalled()).await;
    home.hub.edit(|hub| *hub = catalogue::many(2_000));
    home = home.with("LARDER_CONNECTIONS", "16");
    let fifo = home.path().join("events");
    let made = std::process::Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .unwrap();
    assert!(made.success());
    let mut terminal = Terminal::script(
        &home,
        "exec \"$@\" > events",
        &["pull", "someone/many", "--all", "--events"],
    );
    // Opened, so that the shell goes on; then not read.
    let unread = fs::File::open(&fifo).unwrap();
    wait_until("a full pipe", || is_full(&unread));
    terminal.press("\u{3}");
    terminal.wait_for("Ctrl-C", |screen| screen.contains("^C"));
    let pressed = Instant::now();
    let code = loop {
        terminal.press("\u{3}");
        if let Some(status) = terminal.child.try_wait().unwrap() {
            break status.exit_code();
        }
        assert!(pressed.elapsed() < AT_ONCE, "{}", terminal.screen());
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(code, 130);
    drop(unread);
    assert_all_visible_bytes_proven(&home.cache());
}

/// Whether a pipe holds as much as it can: on Linux and macOS that is at most 64 KiB.
fn is_full(pipe: &fs::File) -> bool {
    rustix::io::ioctl_fionread(pipe).is_ok_and(|bytes| bytes > 60_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_signal_ends_in_its_code_and_one_document() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let home = home(slow(500_000)).await;
        let mut terminal =
            Terminal::script(&home, "exec \"$@\" > document", &["pull", GEMMA, "--json"]);
        home.wait_for_partial(50_000);
        terminal.kill(signal);
        assert_eq!(terminal.wait(), code);
        let document = document(&home);
        assert_eq!(document["exit_code"], code);
        assert_eq!(document["failure_code"], "cancelled");
        assert_eq!(document["outcome"], "cancelled");
        assert_resumes(&home);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_is_closed_hangs_up() {
    let home = home(slow(500_000)).await;
    let mut terminal = Terminal::start(&home, &["pull", GEMMA]);
    home.wait_for_partial(50_000);
    terminal.close();
    assert_eq!(terminal.wait(), 129);
    assert_resumes(&home);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_nohup_a_hangup_changes_nothing() {
    let home = home(slow(1_000_000)).await;
    let mut terminal = Terminal::script(
        &home,
        "trap '' HUP; exec \"$@\" > document 2> talk < /dev/null",
        &["pull", GEMMA],
    );
    home.wait_for_partial(50_000);
    terminal.kill(Signal::HUP);
    assert!(
        home.partial(0).is_some(),
        "the hang-up came in the middle of the pull"
    );
    assert_eq!(terminal.wait(), 0);
    let printed = fs::read_to_string(home.path().join("document")).unwrap();
    assert!(
        PathBuf::from(printed.trim_end())
            .join("model.safetensors")
            .is_file()
    );
    assert_all_visible_bytes_proven(&home.cache());
}

/// A process that the test's terminal does not end.
#[cfg(target_os = "linux")]
struct Detached(rustix::process::Pid);

#[cfg(target_os = "linux")]
impl Drop for Detached {
    fn drop(&mut self) {
        // It may have ended.
        let _ = rustix::process::kill_process(self.0, Signal::KILL);
    }
}

/// macOS has no `setsid` command.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn in_a_session_of_its_own_it_survives_its_window() {
    let home = home(slow(1_000_000)).await;
    let mut terminal = Terminal::script(
        &home,
        "setsid sh -c 'echo $$ > pid.new; mv pid.new pid; exec \"$@\"' sh \"$@\" & read -r _",
        &["pull", GEMMA],
    );
    let pid = home.path().join("pid");
    wait_until("its process id", || pid.exists());
    let pid = fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    let _larder = Detached(rustix::process::Pid::from_raw(pid).unwrap());
    home.wait_for_partial(50_000);
    terminal.close();
    assert!(home.partial(0).is_some(), "it was closed in the middle");
    let repo = home.blobs().parent().unwrap().to_owned();
    wait_until("the ref", || repo.join("refs/main").exists());
    let marker = repo.join(".manual_download_lock");
    wait_until("the end of the marker", || !marker.exists());
    let model = fs::read_to_string(repo.join("refs/main")).unwrap();
    let weights = repo.join("snapshots").join(model).join("model.safetensors");
    assert_eq!(fs::metadata(weights).unwrap().len(), GEMMA_WEIGHTS_BYTES);
    assert_all_visible_bytes_proven(&home.cache());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_asks_and_ctrl_c_is_a_no() {
    let home = home(Vec::new()).await;
    home.run(&["pull", GEMMA]);
    let partial = home.abandon_partial();
    let is_asked = |screen: &str| screen.contains("[y/N]");
    for (keys, code, is_gone) in [
        ("\r", 0, false),
        ("n\r", 0, false),
        ("\u{3}", 130, false),
        ("\u{4}", 0, false),
        ("y\r", 0, true),
    ] {
        let mut terminal = Terminal::start(&home, &["purge", "--incomplete"]);
        terminal.wait_for("question", is_asked);
        assert!(partial.exists());
        let asked = Instant::now();
        terminal.press(keys);
        assert_eq!(terminal.wait(), code, "{keys:?}: {}", terminal.screen());
        // A thread that still reads the keyboard must not hold up the end.
        assert!(asked.elapsed() < Duration::from_millis(1_500), "{keys:?}");
        assert_eq!(!partial.exists(), is_gone, "{keys:?}");
    }
}
