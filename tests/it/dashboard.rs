//! The dashboard in a real pseudo-terminal: every key of the map, resizing, a terminal that does
//! not read, and that it is given back whatever happens.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use larder::serve::{Catalogue, Effect, Fault, Matcher, Origin};
use larder::tui::{Action, Keymap};
use rustix::process::Signal;

use crate::support::catalogue::GEMMA;
use crate::support::program::{Home, Running, wait_until};
use crate::support::terminal::Terminal;
use crate::support::{assert_all_visible_bytes_proven, catalogue};

/// What "at once" may take on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(8);

async fn home(faults: Vec<Fault>) -> Home {
    Home::new(catalogue::gemma(), faults)
        .await
        .with("LANG", "C.UTF-8")
}

fn slow(bytes_per_s: u64) -> Vec<Fault> {
    let weights = Matcher::path("model.safetensors").origin(Origin::Cdn);
    vec![Fault::new(weights, Effect::Slow { bytes_per_s })]
}

/// A cache with a whole model, fetched by the binary itself.
async fn stocked() -> Home {
    let home = home(Vec::new()).await;
    let ran = home.run(&["pull", GEMMA]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    home
}

/// Whether the terminal is as the shell left it.
#[track_caller]
fn assert_given_back(terminal: &Terminal) {
    let shown = terminal.shown();
    let screen = shown.parser.screen();
    assert!(!screen.alternate_screen(), "{}", shown.text());
    assert!(!screen.hide_cursor());
    assert!(!screen.bracketed_paste());
    drop(shown);
    assert!(terminal.echoes(), "raw mode is still on");
}

fn opened(terminal: &Terminal) {
    terminal.wait_for("the dashboard", |screen| {
        screen.contains("Models") && screen.contains("Log") && screen.contains("quit")
    });
}

/// What each key shows or does, in the order in which they are pressed: keys, and what must then
/// be on the screen.
type Step = (&'static str, &'static [&'static str]);

/// The names of actions, and the steps that show them at work on a cache with one model.
fn steps() -> BTreeMap<&'static str, Vec<Step>> {
    BTreeMap::from([
        (
            "help",
            vec![
                ("?", &["Keys of", "every key of this pane"][..]),
                ("\u{1b}", &["quit"]),
            ],
        ),
        (
            "details",
            vec![
                ("1", &["Models"]),
                ("\r", &["basis", "snapshot"]),
                ("\u{1b}", &["quit"]),
            ],
        ),
        ("add", vec![("a", &["Add a model"]), ("\u{1b}", &["quit"])]),
        ("retry", vec![("1", &[]), ("r", &["nothing to retry"])]),
        ("retry-all", vec![("R", &["nothing failed"])]),
        (
            "verify",
            vec![
                ("1", &[]),
                ("v", &["$ larder verify", "verified: 1 snapshot right"]),
            ],
        ),
        ("verify-all", vec![("V", &["$ larder verify"])]),
        (
            "purge",
            vec![
                ("1", &[]),
                ("p", &["A whole model goes. Type"]),
                ("y", &["> y"]),
                ("\r", &["nothing was taken away yet"]),
                // Until it is closed, another key after Esc would be one with Alt.
                ("\u{1b}", &["nothing was taken away", "4 Locks"]),
            ],
        ),
        ("fix", vec![("1", &[]), ("f", &["nothing to fix here"])]),
        (
            "undo",
            vec![("1", &[]), ("u", &["nothing can be put back"])],
        ),
        ("pause", vec![("1", &[]), ("s", &["nothing to pause"])]),
        ("cancel", vec![("1", &[]), ("c", &["nothing to cancel"])]),
        (
            "mark",
            vec![("1", &[]), (" ", &["1 marked"]), (" ", &["Models"])],
        ),
        ("copy", vec![("1", &[]), ("y", &["copied: "])]),
        (
            "guide",
            vec![
                ("1", &[]),
                ("m", &["by hand", "Nothing is to be fetched by hand"]),
                ("\u{1b}", &["quit"]),
            ],
        ),
        (
            "filter",
            vec![
                ("1", &[]),
                ("/", &[]),
                ("zzz", &["no model matches"]),
                ("\u{1b}", &["gemma"]),
            ],
        ),
        (
            "command",
            vec![
                (":", &["Tab completes"]),
                ("verif\t", &[":verify"]),
                ("\u{1b}", &["quit"]),
            ],
        ),
        (
            "log-level",
            vec![
                ("5", &[]),
                ("L", &["the log shows warning"]),
                ("LLL", &["the log shows info"]),
            ],
        ),
        (
            "zoom",
            vec![("3", &[]), ("z", &["3 Health"]), ("z", &["1 Models"])],
        ),
        ("theme", vec![("t", &["theme "])]),
        ("next-match", vec![("1", &[]), ("n", &["no filter is set"])]),
        (
            "previous-match",
            vec![("1", &[]), ("N", &["no filter is set"])],
        ),
        (
            "next-pane",
            vec![
                ("1", &[]),
                ("\t", &[]),
                ("?", &["Keys of Files"]),
                ("\u{1b}", &["quit"]),
            ],
        ),
        (
            "previous-pane",
            vec![
                ("1", &[]),
                ("\u{1b}[Z", &[]),
                ("?", &["Keys of Log"]),
                ("\u{1b}", &["quit"]),
            ],
        ),
        (
            "pane-models",
            vec![
                ("1", &[]),
                ("?", &["Keys of Models"]),
                ("\u{1b}", &["quit"]),
            ],
        ),
        (
            "pane-files",
            vec![("2", &[]), ("?", &["Keys of Files"]), ("\u{1b}", &["quit"])],
        ),
        (
            "pane-health",
            vec![
                ("3", &[]),
                ("?", &["Keys of Health"]),
                ("\u{1b}", &["quit"]),
            ],
        ),
        (
            "pane-locks",
            vec![("4", &[]), ("?", &["Keys of Locks"]), ("\u{1b}", &["quit"])],
        ),
        (
            "pane-log",
            vec![("5", &[]), ("?", &["Keys of Log"]), ("\u{1b}", &["quit"])],
        ),
        (
            "down",
            vec![
                ("2", &[]),
                ("g", &[]),
                ("j", &[]),
                ("\r", &["model.safetensors", "blob"]),
                ("\u{1b}", &["quit"]),
            ],
        ),
        (
            "up",
            vec![
                ("2", &[]),
                ("k", &[]),
                ("\r", &["blob"]),
                ("\u{1b}", &["quit"]),
            ],
        ),
        ("page-down", vec![("5", &[]), ("\u{1b}[6~", &["Log"])]),
        ("page-up", vec![("5", &[]), ("\u{1b}[5~", &["G follows"])]),
        ("top", vec![("5", &[]), ("g", &["G follows"])]),
        ("bottom", vec![("5", &[]), ("G", &["Log"])]),
        (
            "back",
            vec![
                ("1", &[]),
                ("/", &[]),
                ("zzz\r", &["no model matches"]),
                ("\u{1b}", &["gemma"]),
            ],
        ),
        ("redraw", vec![("\u{c}", &["Models"])]),
    ])
}

/// Actions that end or stop the program have tests of their own.
const ELSEWHERE: [&str; 2] = ["suspend", "quit"];

#[tokio::test(flavor = "multi_thread")]
async fn every_key_of_the_map_does_what_it_says() {
    let steps = steps();
    for binding in Keymap::default().all() {
        let name = binding.action.name();
        assert!(
            steps.contains_key(name) || ELSEWHERE.contains(&name),
            "the key of `{name}` has no test"
        );
    }
    for name in steps.keys() {
        assert!(Action::named(name).is_some(), "there is no action `{name}`");
    }
    let home = stocked().await;
    let mut terminal = Terminal::start(&home, &[]);
    terminal.resize(32, 120);
    opened(&terminal);
    terminal.wait_for("the model", |screen| screen.contains("gemma-2-2b-it-4bit"));
    for (name, steps) in steps {
        for (keys, wanted) in steps {
            // A lone Esc must not look like the start of a sequence.
            if keys == "\u{1b}" {
                std::thread::sleep(Duration::from_millis(30));
            }
            terminal.press(keys);
            terminal.wait_for(
                &format!("{wanted:?} after `{keys:?}` for {name}"),
                |screen| wanted.iter().all(|word| screen.contains(word)),
            );
        }
    }
    let config = fs::read_to_string(home.path().join(".config/larder/config.toml")).unwrap();
    assert!(
        config.contains("theme = ") && config.contains("retry_base_ms = 10"),
        "{config}"
    );
    let sent = terminal.shown().sent.clone();
    let sent = String::from_utf8_lossy(&sent);
    assert!(sent.contains("\u{1b}]52;c;"), "OSC 52");
    // The last key began a verification, which may still run: then leaving is asked.
    terminal.press("qy");
    assert_eq!(terminal.wait(), 0);
    assert_given_back(&terminal);
    assert_all_visible_bytes_proven(&home.cache());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_added_watched_paused_and_cancelled() {
    let home = home(slow(200_000)).await;
    let mut terminal = Terminal::start(&home, &[]);
    terminal.resize(32, 120);
    terminal.wait_for("the first run", |screen| {
        screen.contains("Welcome") && screen.contains("fetch mlx-community/")
    });
    terminal.press("a");
    terminal.press(&format!("{GEMMA}\r"));
    terminal.wait_for("the plan", |screen| {
        screen.contains("to fetch") && screen.contains("free") && screen.contains("Enter fetch it")
    });
    assert!(
        !home
            .cache()
            .join("models--mlx-community--gemma-2-2b-it-4bit")
            .exists()
    );
    terminal.press("\r");
    terminal.wait_for("bytes", |screen| {
        screen.contains("model.safetensors") && screen.contains("B/s") && screen.contains('%')
    });
    home.wait_for_partial(10_000);
    terminal.press("1s");
    terminal.wait_for("the pause", |screen| screen.contains("paused"));
    let kept = fs::metadata(home.wait_for_partial(1)).unwrap().len();
    std::thread::sleep(Duration::from_millis(500));
    let still = fs::metadata(home.wait_for_partial(1)).unwrap().len();
    assert_eq!(kept, still, "nothing is written while paused");
    terminal.press("s");
    terminal.wait_for("more bytes", |screen| screen.contains("B/s"));
    terminal.press("c");
    terminal.wait_for("the cancel", |screen| screen.contains("cancelled"));
    home.hub.set_faults(Vec::new());
    terminal.press("r");
    // What the cancel left was a finding for a moment, until the cache is looked at again.
    terminal.wait_for("the end", |screen| {
        screen.contains("complete and verified") && !screen.contains("1 warning")
    });
    terminal.press("q");
    assert_eq!(terminal.wait(), 0);
    terminal.wait_for("the summary", |screen| {
        let words = screen.replace('\n', "");
        words.contains("is complete and verified") && words.contains("nothing is missing")
    });
    assert_given_back(&terminal);
    assert_all_visible_bytes_proven(&home.cache());
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_in_the_middle_asks_and_keeps_what_is_here() {
    let home = home(slow(400_000)).await;
    let mut terminal = Terminal::start(&home, &[GEMMA]);
    terminal.wait_for("the plan", |screen| screen.contains("Enter fetch it"));
    terminal.press("\r");
    home.wait_for_partial(100_000);
    terminal.press("q");
    terminal.wait_for("the question", |screen| {
        screen.contains("Leave?") && screen.contains("resumed")
    });
    terminal.press("\r");
    terminal.wait_for("the answer No", |screen| !screen.contains("Leave?"));
    terminal.press("q");
    terminal.wait_for("the question", |screen| screen.contains("Leave?"));
    terminal.press("y");
    assert_eq!(terminal.wait(), 0);
    terminal.wait_for("the summary", |screen| {
        screen.replace('\n', "").contains("goes on")
    });
    assert!(home.partial(100_000).is_some(), "the partial is kept");
    assert_given_back(&terminal);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_killed_is_offered_at_the_next_start_and_goes_on() {
    let home = home(slow(400_000)).await;
    let mut pull = Running(home.larder(&["pull", "--all", GEMMA]).spawn().unwrap());
    home.wait_for_partial(200_000);
    // Somebody is at it: there is nothing to offer.
    let mut terminal = Terminal::start(&home, &[]);
    terminal.wait_for("the model", |screen| screen.contains("gemma"));
    terminal.press("q");
    assert_eq!(terminal.wait(), 0);
    pull.0.kill().unwrap();
    pull.wait();

    let mut terminal = Terminal::start(&home, &[]);
    terminal.wait_for("the offer", |screen| {
        screen.contains("Go on?") && screen.contains(GEMMA) && screen.contains("kB of unfinished")
    });
    terminal.press("\r");
    terminal.wait_for("the answer No", |screen| !screen.contains("Go on?"));
    terminal.press("q");
    assert_eq!(terminal.wait(), 0);

    let mut terminal = Terminal::start(&home, &[]);
    terminal.wait_for("the offer", |screen| screen.contains("Go on?"));
    terminal.press("y");
    // Only with `--all`, as it was asked for.
    terminal.wait_for("the files", |screen| screen.contains(".gitattributes"));
    terminal.wait_for("bytes", |screen| screen.contains("B/s"));
    // As when the connection is lost.
    terminal.kill(Signal::HUP);
    assert_eq!(terminal.wait(), 129);

    home.hub.set_faults(Vec::new());
    let mut terminal = Terminal::start(&home, &["--resume"]);
    terminal.wait_for("the end", |screen| screen.contains("complete and verified"));
    terminal.press("q");
    assert_eq!(terminal.wait(), 0);
    assert_all_visible_bytes_proven(&home.cache());

    let mut terminal = Terminal::start(&home, &["--resume"]);
    opened(&terminal);
    terminal.wait_for("the model", |screen| screen.contains("verified"));
    terminal.press("q");
    assert_eq!(terminal.wait(), 0);
    let shown = terminal.shown();
    assert!(!shown.text().contains("$ larder pull"), "{}", shown.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_give_the_terminal_back_and_keep_what_is_here() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let home = home(slow(400_000)).await;
        let mut terminal = Terminal::start(&home, &[GEMMA]);
        terminal.wait_for("the plan", |screen| screen.contains("Enter fetch it"));
        terminal.press("\r");
        home.wait_for_partial(50_000);
        let sent = Instant::now();
        terminal.kill(signal);
        assert_eq!(terminal.wait(), code);
        assert!(sent.elapsed() < AT_ONCE, "{:?}", sent.elapsed());
        assert!(home.partial(50_000).is_some());
        assert_given_back(&terminal);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_it_gives_the_terminal_back_and_takes_it_again() {
    let home = stocked().await;
    // A shell with job control, as a user has one.
    let mut terminal = Terminal::script(
        &home,
        "set -m; \"$@\"; echo BACK-IN-THE-SHELL; fg >/dev/null; echo ENDED $?",
        &[],
    );
    opened(&terminal);
    terminal.press("\u{1a}");
    let mut sent = String::new();
    wait_until("the shell, and the dashboard again", || {
        sent = String::from_utf8_lossy(&terminal.shown().sent).into_owned();
        let shell = sent.find("BACK-IN-THE-SHELL");
        shell.is_some_and(|shell| sent[shell..].contains("Models"))
    });
    let left = sent
        .find("\u{1b}[?1049l")
        .expect("it left the second screen");
    let shell = sent.find("BACK-IN-THE-SHELL").expect("the shell spoke");
    let again = sent.rfind("\u{1b}[?1049h").unwrap();
    assert!(left < shell && shell < again, "{sent:?}");
    terminal.press("q");
    terminal.wait_for("the end", |screen| screen.contains("ENDED 0"));
    assert_given_back(&terminal);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_while_nothing_changes() {
    let home = stocked().await;
    let terminal = Terminal::start(&home, &[]);
    opened(&terminal);
    terminal.wait_for("the model and the Hub", |screen| {
        screen.contains("gemma-2-2b-it-4bit") && screen.contains("good")
    });
    // The first looks may still come in; and what the tests beside this one write may once be a
    // change of the free space that is worth a picture.
    let mut more = String::new();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(2));
        let before = terminal.shown().sent.len();
        std::thread::sleep(Duration::from_secs(6));
        let after = terminal.shown();
        more = String::from_utf8_lossy(&after.sent[before..]).into_owned();
        if more.is_empty() {
            return;
        }
    }
    panic!("{more:?} on\n{}", terminal.screen());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_does_not_read_holds_nothing_up() {
    let home = home(slow(2_000_000)).await;
    let mut terminal = Terminal::start(&home, &[GEMMA]);
    terminal.wait_for("the plan", |screen| screen.contains("Enter fetch it"));
    terminal.stop_reading();
    terminal.press("\r");
    // Keys that draw a lot, so that the terminal's buffer is full long before the pull ends.
    for _ in 0..40 {
        terminal.press("?\u{c}\u{1b}t");
        std::thread::sleep(Duration::from_millis(20));
    }
    let reference = home.blobs().parent().unwrap().join("refs/main");
    wait_until("the whole model", || reference.exists());
    assert_all_visible_bytes_proven(&home.cache());
    // A pull that has not quite ended asks before it is left.
    terminal.press("qy");
    assert_eq!(terminal.wait(), 0, "it ends although nobody reads");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_size_at_any_moment() {
    let home = home(slow(100_000)).await;
    let mut terminal = Terminal::start(&home, &[GEMMA]);
    terminal.wait_for("the plan", |screen| screen.contains("Enter fetch it"));
    terminal.press("\r");
    terminal.wait_for("bytes", |screen| screen.contains("B/s"));
    for (rows, columns, wanted) in [
        (9, 39, "larder needs 40x10"),
        (16, 50, "tokenizer.json"),
        (60, 200, "5 Log"),
        (32, 120, "3 Health"),
        (24, 80, "2 Files"),
    ] {
        terminal.resize(rows, columns);
        terminal.wait_for(wanted, |screen| screen.contains(wanted));
    }
    terminal.press("qy");
    assert_eq!(terminal.wait(), 0);
    assert_given_back(&terminal);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_tells_its_story_and_can_end_by_itself() {
    let home = Home::new(Catalogue::new(), Vec::new())
        .await
        .with("LANG", "C.UTF-8");
    let mut terminal = Terminal::start(&home, &["demo", "--exit-when-done"]);
    for words in ["1/5", "busy (503)", "one wrong byte", "cut half-way"] {
        terminal.wait_for(words, |screen| screen.replace('\n', " ").contains(words));
        if words == "1/5" {
            assert!(terminal.screen().contains("demo-4bit"));
        }
    }
    assert_eq!(terminal.wait(), 0);
    terminal.wait_for("the summary", |screen| {
        let words = screen.replace('\n', "");
        words.contains("is complete and verified") && words.contains("throw-away cache")
    });
    assert_given_back(&terminal);
    assert!(!home.cache().exists(), "the demo's cache is its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_it_refuses_and_names_the_commands() {
    let home = stocked().await;
    let ran = home.run::<&str>(&[]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(
        ran.stderr.contains("larder status") && ran.stderr.contains("larder pull"),
        "{ran:#?}"
    );
    assert_eq!(ran.stdout, "");
}

/// The child's half of the next test: a dashboard whose config file cannot be kept panics when the
/// theme is changed.
const PANICS: &str = "LARDER_TEST_PANICS";

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_gives_the_terminal_back_before_it_is_reported() {
    if std::env::var_os(PANICS).is_some() {
        panicking_dashboard().await;
        return;
    }
    let home = home(Vec::new()).await;
    let this = std::env::current_exe().unwrap();
    let mut terminal = Terminal::program(
        &home.with(PANICS, "1"),
        &this,
        &[
            "--exact",
            "--nocapture",
            "dashboard::a_panic_gives_the_terminal_back_before_it_is_reported",
        ],
    );
    opened(&terminal);
    terminal.press("t");
    assert_ne!(terminal.wait(), 0);
    let sent = terminal.shown().sent.clone();
    let sent = String::from_utf8_lossy(&sent).into_owned();
    let left = sent
        .rfind("\u{1b}[?1049l")
        .expect("it left the second screen");
    let report = sent.find("no room for a theme").expect("the panic is told");
    assert!(left < report, "{sent:?}");
    assert_given_back(&terminal);
}

async fn panicking_dashboard() {
    use larder::domain::Level;
    use larder::tui::{Abilities, Depth, Facts, Session};

    let (_events_in, mut events) = tokio::sync::mpsc::channel(8);
    let (_signal, signals) = tokio::sync::watch::channel(None);
    let session = Session {
        commands: &|_| true,
        events: &mut events,
        signals,
        remember: &|_, _| panic!("no room for a theme"),
        started_ms: 1_795_485_600_000,
        abilities: Abilities::default(),
    };
    let facts = Facts {
        version: "0.0.0",
        cache_dir: "/cache".to_owned(),
        cache_origin: "default".to_owned(),
        endpoint: "http://127.0.0.1:1".to_owned(),
        log_file: None,
        home: None,
        utc_offset_s: 0,
        places: Vec::new(),
        is_read_only: false,
        is_ascii: false,
        depth: Depth::Sixteen,
        is_light: false,
        theme: None,
        log_level: Level::Info,
        offered: Vec::new(),
        open: None,
        pull: None,
        resumes: false,
        story: Vec::new(),
        exit_when_done: false,
        interpret: |_| Err("nothing".to_owned()),
        verbs: Vec::new(),
    };
    let code = larder::tui::run(session, facts).await.unwrap();
    std::io::stdout().flush().unwrap();
    panic!("it ended with {code}");
}

/// How long a pull of the weights at a steady speed takes from the first byte, read or not.
async fn pull_seconds(reads: bool, bytes_per_s: u64) -> f64 {
    let home = home(slow(bytes_per_s)).await;
    let mut terminal = Terminal::start(&home, &[GEMMA]);
    terminal.resize(60, 200);
    terminal.wait_for("the plan", |screen| screen.contains("Enter fetch it"));
    let started = Instant::now();
    if !reads {
        terminal.stop_reading();
    }
    terminal.press("\r");
    let reference = home.blobs().parent().unwrap().join("refs/main");
    let until = Instant::now() + Duration::from_mins(3);
    while !reference.exists() {
        assert!(Instant::now() < until, "the pull hangs");
        std::thread::sleep(Duration::from_millis(10));
        if started.elapsed().as_millis() % 400 < 12 {
            // So much is drawn that the terminal's buffer is full at once.
            terminal.press("\u{c}");
        }
    }
    started.elapsed().as_secs_f64()
}

/// Prints by how much a terminal that is not read for a minute slows a pull.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of two minutes, to be run by hand"]
async fn measure_a_terminal_that_does_not_read() {
    let read = pull_seconds(true, 33_000).await;
    let unread = pull_seconds(false, 33_000).await;
    let ratio = unread / read;
    // The harness shows this with `--nocapture`.
    let line = format!("read {read:.2} s, unread {unread:.2} s, ratio {ratio:.3}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}
