//! Owns `status`: everything that can be seen at a glance, on one screen.
//!
//! Never counts and never judges: numbers and findings are the store's.

use super::args::{StatusArgs, call_of, parse_repo};
use super::document::{self, Closing, Look};
use super::exit::{Ending, Work, judge};
use super::follow::{Console, Session, follow};
use super::output::{Format, Output};
use super::remedy::{self, Subject};
use super::table::cut;
use crate::domain::{
    Command, Failure, FailureCode, Finding, LockRow, ModelRow, ModelState, Network, PartialRow,
    PartialState, RepoId, Setting, sanitize,
};
use crate::store::{FindingCounts, LockCounts, Store, count, duration, short, size};

/// Models, findings, locks and downloads that are told on a terminal; the rest is a count.
const TOLD: [usize; 4] = [2, 3, 2, 2];

/// Runs `status`; the exit code.
pub async fn status(
    session: Session<'_>,
    args: StatusArgs,
    settings: &[Setting],
    output: Output,
) -> u8 {
    let mut console = Console::new(output);
    console.talk = console.talk.without_log();
    run(session, &args, settings, console).await
}

async fn run(
    mut session: Session<'_>,
    args: &StatusArgs,
    settings: &[Setting],
    mut console: Console<'_>,
) -> u8 {
    let mut store = Store::default();
    let mut repo = None;
    let mut ending = match args.repo.as_deref().map(parse_repo).transpose() {
        Err(failure) => Ending::refused(*failure),
        Ok(reference) => {
            repo = reference.map(|reference| reference.repo);
            survey(&mut session, &mut console, &mut store, repo.as_ref()).await
        }
    };
    if args.check && ending.exit_code == 0 {
        let counts = store.shelf().finding_counts(repo.as_ref());
        if let Some(failure) = found(counts, args.strict) {
            ending.exit_code = failure.code.exit_code();
            ending.failures.push(failure);
        }
    }
    let look = Look {
        shelf: store.shelf(),
        repo: repo.as_ref(),
        settings,
    };
    let now_ms = store.last_ms().unwrap_or(session.started_ms);
    let call = call_of("larder status", args.repo.as_ref(), &args.places);
    let subject = Subject {
        repo: args.repo.as_deref(),
        command: "status",
        call: Some(&call),
    };
    match console.output.format {
        Format::Human if has_looked(&store) => {
            let page = Page {
                look,
                now_ms,
                columns: console.output.stdout.columns,
                is_whole: console.output.verbose > 0,
                places: &args.places,
            };
            let text = console.output.drawn(&page.text());
            console.printer.text(&text);
        }
        Format::Human => {}
        Format::Json | Format::Events => {
            let closing = Closing {
                ending: &ending,
                subject,
                at_ms: now_ms,
                log_file: session.log_file.as_deref(),
            };
            let is_line = console.output.format == Format::Events;
            let document = document::status(look, &closing, is_line);
            console.printer.line(&document);
        }
    }
    console
        .talk
        .failures(&ending, subject, session.log_file.as_deref());
    console.close(ending.exit_code)
}

/// Looks at everything once. A cache that cannot be read is a failure, whatever else was seen.
pub(super) async fn survey(
    session: &mut Session<'_>,
    console: &mut Console<'_>,
    store: &mut Store,
    repo: Option<&RepoId>,
) -> Ending {
    console.work = Work::Looking;
    (session.commands)(Command::Survey(repo.cloned()));
    let followed = follow(session, store, console).await;
    console.talk.settle();
    let ending = judge(console.work, followed.outcome.as_ref(), followed.caught);
    match store.shelf().trouble() {
        Some(failure) if ending.exit_code == 0 => Ending::refused(failure.clone()),
        _ => ending,
    }
}

/// Whether there is anything to show.
pub(super) fn has_looked(store: &Store) -> bool {
    let shelf = store.shelf();
    shelf.models().is_some() || shelf.trouble().is_some()
}

/// What `--check` finds.
fn found(counts: FindingCounts, is_strict: bool) -> Option<Failure> {
    let FindingCounts {
        errors, warnings, ..
    } = counts;
    if errors == 0 && (!is_strict || warnings == 0) {
        return None;
    }
    let failure = Failure::new(FailureCode::Findings, finding_words(counts));
    Some(if errors > 0 {
        failure.because("a reader gets wrong or missing bytes")
    } else {
        failure.because("something is wasted or surprising")
    })
}

/// One screen about a cache.
pub(super) struct Page<'a> {
    pub(super) look: Look<'a>,
    pub(super) now_ms: u64,
    /// `None` means: no terminal, so nothing is cut or left out.
    pub(super) columns: Option<u16>,
    /// Everything is told, also on a terminal.
    pub(super) is_whole: bool,
    /// Flags that advice repeats.
    pub(super) places: &'a [String],
}

impl Page<'_> {
    /// The lines.
    pub(super) fn text(&self) -> String {
        let Look { shelf, repo, .. } = self.look;
        let mut text = String::new();
        if let Some(repo) = repo {
            text.push_str(&self.entry("repo", &repo.to_string()));
        }
        text.push_str(&self.entry("cache", &self.cache_words()));
        let disk = shelf.disk().map_or_else(
            || "unknown".to_owned(),
            |disk| {
                format!(
                    "{} free of {}",
                    size(disk.free_bytes),
                    size(disk.total_bytes)
                )
            },
        );
        text.push_str(&self.entry("disk", &disk));
        text.push_str(&self.entry("network", &self.network_words()));

        text.push_str(&self.entry("models", &self.models_words()));
        if shelf.models().is_none() {
            // What was not seen is not "none".
            return text;
        }
        let wanting = shelf
            .models_of(repo)
            .filter(|model| model.state != ModelState::Complete)
            .map(|model| vec![row(model_state(model), &model_words(model))]);
        text.push_str(&self.rows(wanting.collect(), TOLD[0]));

        let findings = shelf.findings_about(repo);
        let counts = finding_words(shelf.finding_counts(repo));
        text.push_str(&self.entry("findings", &counts));
        let told = findings
            .into_iter()
            .map(|finding| finding_rows(finding, self.places));
        text.push_str(&self.rows(told.collect(), TOLD[1]));

        let locks = lock_counts_words(shelf.lock_counts(repo));
        text.push_str(&self.entry("locks", &locks));
        let told = shelf
            .locks_of(repo)
            .map(|lock| vec![row(lock.state.name(), &lock_words(lock, self.now_ms))]);
        text.push_str(&self.rows(told.collect(), TOLD[2]));

        let counts = shelf.partial_counts(repo);
        let words = match (counts.live, counts.abandoned) {
            (0, 0) => "none in progress".to_owned(),
            (live, 0) => format!("{live} live"),
            (0, abandoned) => format!("none in progress, {abandoned} abandoned"),
            (live, abandoned) => format!("{live} live, {abandoned} abandoned"),
        };
        text.push_str(&self.entry("downloads", &words));
        let told = shelf
            .partials_of(repo)
            .into_iter()
            .map(|partial| vec![partial_row(partial, self.now_ms)]);
        text.push_str(&self.rows(told.collect(), TOLD[3]));
        text
    }

    /// A heading with what is to be said at once.
    fn entry(&self, name: &str, words: &str) -> String {
        format!("{}\n", self.cut(&format!("{name:<10} {}", sanitize(words))))
    }

    /// Rows below a heading, as many as there is room for. Advice, the second line of a row, is
    /// never cut: it is to be copied.
    fn rows(&self, rows: Vec<Vec<String>>, most: usize) -> String {
        let most = if self.columns.is_none() || self.is_whole {
            usize::MAX
        } else {
            most
        };
        let hidden = rows.len().saturating_sub(most);
        let mut text = String::new();
        for lines in rows.into_iter().take(most) {
            for (at, line) in lines.iter().enumerate() {
                let line = if at == 0 {
                    self.cut(line)
                } else {
                    line.clone()
                };
                text.extend([line.as_str(), "\n"]);
            }
        }
        if hidden > 0 {
            text.extend(["  and ", &hidden.to_string(), " more: `-v` tells all\n"]);
        }
        text
    }

    fn cut(&self, line: &str) -> String {
        self.columns.map_or_else(
            || line.trim_end().to_owned(),
            |columns| cut(line.trim_end(), usize::from(columns)),
        )
    }

    fn cache_words(&self) -> String {
        let Some(cache) = self.look.setting("cache_dir") else {
            return "unknown".to_owned();
        };
        let why = match cache.origin.as_str() {
            "default" => "the default place",
            origin => origin,
        };
        format!("{} ({why})", cache.value)
    }

    fn network_words(&self) -> String {
        let endpoint = self
            .look
            .setting("endpoint")
            .map_or("the Hub", |setting| setting.value.trim_end_matches('/'));
        match self.look.shelf.network() {
            None => "not asked".to_owned(),
            Some(Network::Offline) => {
                let why = self.look.setting("offline");
                let why = why.map_or("offline", |setting| setting.origin.as_str());
                format!("not asked: offline ({why})")
            }
            Some(Network::Reachable { answer_ms }) => {
                format!("{endpoint} answers in {answer_ms} ms")
            }
            Some(Network::Unreachable { failure }) => {
                format!("{endpoint} does not answer: {}: {failure}", failure.code)
            }
        }
    }

    fn models_words(&self) -> String {
        let Look { shelf, repo, .. } = self.look;
        if shelf.models().is_none() {
            return "unknown".to_owned();
        }
        let counts = shelf.model_counts(repo);
        if counts.all == 0 {
            return "none in this cache".to_owned();
        }
        let states: Vec<String> = [
            (counts.complete, "complete"),
            (counts.partial, "partial"),
            (counts.broken, "broken"),
            (counts.absent, "absent"),
        ]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, state)| format!("{number} {state}"))
        .collect();
        format!(
            "{}, {}: {}",
            count(counts.all, "snapshot"),
            size(counts.size_bytes),
            states.join(", ")
        )
    }
}

/// A row: its state, and what it is about.
fn row(state: &str, words: &str) -> String {
    format!("  {state:<10}{}", sanitize(words))
}

fn model_state(model: &ModelRow) -> &'static str {
    match model.state {
        ModelState::Complete => "complete",
        ModelState::Partial => "partial",
        ModelState::Broken => "broken",
        ModelState::Absent => "absent",
    }
}

fn model_words(model: &ModelRow) -> String {
    let revision = match model.refs.first() {
        Some(name) => name.clone(),
        None => short(&model.revision),
    };
    let why = match (model.problems.as_slice(), model.files_expected) {
        ([], Some(expected)) => format!("{} of {expected} files", model.files_present),
        ([], None) => "files are missing".to_owned(),
        ([only], _) => only.clone(),
        ([first, rest @ ..], _) => format!("{first}, and {} more", rest.len()),
    };
    format!("{} @ {revision}: {why}", model.repo)
}

/// How many of each severity.
fn finding_words(counts: FindingCounts) -> String {
    let words: Vec<String> = [
        (counts.errors, "error"),
        (counts.warnings, "warning"),
        (counts.notes, "note"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, noun)| count(number, noun))
    .collect();
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}

/// A finding: what, about which model, and what puts it right.
pub(super) fn finding_rows(finding: &Finding, places: &[String]) -> Vec<String> {
    let mut words = finding.summary.clone();
    if let Some(file) = finding
        .file
        .as_ref()
        .filter(|file| !words.contains(file.as_str()))
    {
        words = format!("{file}: {words}");
    }
    if let Some(repo) = &finding.repo {
        words = match &finding.revision {
            Some(revision) => format!("{words} ({repo} @ {})", short(revision)),
            None => format!("{words} ({repo})"),
        };
    }
    let mut rows = vec![row(finding.severity.name(), &words)];
    let (plan, command) = remedy::fix(finding, places);
    match command {
        Some(command) => rows.push(format!("    {}: {}", sanitize(&plan), sanitize(&command))),
        None if plan.is_empty() => {}
        None => rows.push(format!("    {}", sanitize(&plan))),
    }
    rows
}

fn lock_counts_words(counts: LockCounts) -> String {
    let words: Vec<String> = [
        (counts.held, "held"),
        (counts.unknown, "unknown"),
        (counts.stale, "stale"),
        (counts.free, "free"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, state)| format!("{number} {state}"))
    .collect();
    if words.is_empty() {
        "none held".to_owned()
    } else {
        words.join(", ")
    }
}

/// Who, as far as the system tells.
fn whom(is_ours: bool, program: Option<&str>, pid: Option<u32>) -> Option<String> {
    match (is_ours, program, pid) {
        (true, ..) => Some("this larder".to_owned()),
        (false, Some(program), Some(pid)) => Some(format!("{program} (pid {pid})")),
        (false, Some(program), None) => Some(program.to_owned()),
        (false, None, Some(pid)) => Some(format!("process {pid}")),
        (false, None, None) => None,
    }
}

fn lock_words(lock: &LockRow, now_ms: u64) -> String {
    let mut words = format!("{} of {}", lock.kind.name(), lock.repo);
    if let Some(file) = &lock.file {
        words = format!("{words}, {file}");
    }
    if let Some(who) = whom(lock.is_ours, lock.program.as_deref(), lock.pid) {
        words = format!("{words}: {who}");
    }
    match lock.since_ms {
        Some(since_ms) => format!(
            "{words}, running for {}",
            duration(now_ms.saturating_sub(since_ms))
        ),
        None => words,
    }
}

fn partial_row(partial: &PartialRow, now_ms: u64) -> String {
    let name = partial.file.as_ref().unwrap_or(&partial.etag);
    let bytes = match partial.expected_bytes {
        Some(expected) => format!("{} of {}", size(partial.bytes), size(expected)),
        None => size(partial.bytes),
    };
    let age_ms = now_ms.saturating_sub(partial.modified_ms);
    let (state, who) = match &partial.state {
        PartialState::Live {
            is_ours,
            pid,
            program,
        } => {
            let who = whom(*is_ours, program.as_deref(), *pid);
            ("live", who.unwrap_or_else(|| "another program".to_owned()))
        }
        PartialState::Abandoned => ("abandoned", format!("for {}", duration(age_ms))),
    };
    row(
        state,
        &format!("{bytes}, {who}: {name} of {}", partial.repo),
    )
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::super::exit::Signal;
    use super::super::schema::STATUS_SCHEMA;
    use super::super::stage::{self, Played, play};
    use super::*;
    use crate::domain::{Event, Outcome, Rule};
    use crate::store::script::{Script, model_row};

    async fn seen(script: &Script, output: Output, args: StatusArgs) -> Played {
        play(script, output, None, async |session, mut console| {
            console.talk = console.talk.without_log();
            run(session, &args, &stage::settings(), console).await
        })
        .await
    }

    fn healthy() -> Script {
        let mut script = Script::survey();
        script.events.retain(|stamped| {
            !matches!(
                stamped.event,
                Event::FindingsSeen { .. } | Event::LocksSeen { .. } | Event::PartialsSeen { .. }
            )
        });
        for stamped in &mut script.events {
            if let Event::ModelsListed { models } = &mut stamped.event {
                *models = vec![model_row("org/m", 1_350_000_000); 12];
            }
        }
        script
    }

    #[tokio::test]
    async fn one_screen_of_80_columns() {
        let played = seen(&Script::survey(), stage::columns(80), StatusArgs::default()).await;
        insta::assert_snapshot!(played.shown());
        assert!(played.stdout.lines().count() <= 24);
        for line in played.stdout.lines() {
            assert!(line.width() <= 80, "{line}");
        }
        assert!(matches!(
            played.commands.as_slice(),
            [Command::Survey(None)]
        ));
    }

    #[tokio::test]
    async fn a_healthy_cache_is_seven_lines() {
        let played = seen(&healthy(), stage::columns(80), StatusArgs::default()).await;
        insta::assert_snapshot!(played.stdout);
        let empty = seen(
            &Script::survey_of_nothing(),
            stage::columns(80),
            StatusArgs::default(),
        )
        .await;
        insta::assert_snapshot!(empty.shown());
    }

    #[tokio::test]
    async fn the_worst_cache_still_fits_a_screen_and_a_pipe_gets_all() {
        let mut script = Script::survey();
        for stamped in &mut script.events {
            match &mut stamped.event {
                Event::ModelsListed { models } => *models = vec![models.clone(); 50].concat(),
                Event::FindingsSeen { findings } => *findings = vec![findings.clone(); 50].concat(),
                Event::LocksSeen { locks } => *locks = vec![locks.clone(); 50].concat(),
                Event::PartialsSeen { partials } => *partials = vec![partials.clone(); 50].concat(),
                _ => {}
            }
        }
        let played = seen(&script, stage::columns(80), StatusArgs::default()).await;
        assert!(played.stdout.lines().count() <= 24, "{}", played.stdout);
        assert!(played.stdout.contains("and 197 more"), "{}", played.stdout);
        let piped = seen(&script, stage::human(), StatusArgs::default()).await;
        assert!(piped.stdout.lines().count() > 500);
        assert!(!piped.stdout.contains('…') && !piped.stdout.contains("more:"));
    }

    #[tokio::test]
    async fn a_check_ends_in_3_for_what_matters() {
        let args = |check, strict| StatusArgs {
            check,
            strict,
            ..StatusArgs::default()
        };
        let mut wasted = Script::survey();
        for stamped in &mut wasted.events {
            if let Event::FindingsSeen { findings } = &mut stamped.event {
                findings.retain(|finding| finding.rule != Rule::Truncated);
            }
        }
        for (script, check, strict, exit) in [
            (Script::survey(), false, false, 0),
            (Script::survey(), true, false, 3),
            (wasted.clone(), true, false, 0),
            (wasted, true, true, 3),
            (healthy(), true, true, 0),
            (Script::survey_of_nothing(), true, true, 0),
        ] {
            let played = seen(&script, stage::json(), args(check, strict)).await;
            let document = played.document(STATUS_SCHEMA);
            assert_eq!(played.exit_code, exit, "{}", played.stderr);
            assert_eq!(document["exit_code"], exit);
            assert_eq!(document["failure_code"].is_null(), exit == 0);
        }
        let of_other = StatusArgs {
            repo: Some("org/other".to_owned()),
            ..args(true, false)
        };
        let played = seen(&Script::survey(), stage::human(), of_other).await;
        assert_eq!(played.exit_code, 0, "the error is about another repo");
    }

    #[tokio::test]
    async fn one_repo_is_looked_at_alone() {
        let args = StatusArgs {
            repo: Some("org/other".to_owned()),
            places: vec!["--cache-dir /cache".to_owned()],
            ..StatusArgs::default()
        };
        let played = seen(&Script::survey(), stage::columns(80), args).await;
        insta::assert_snapshot!(played.stdout);
        assert!(matches!(
            played.commands.as_slice(),
            [Command::Survey(Some(_))]
        ));
    }

    #[tokio::test]
    async fn a_cache_that_cannot_be_read_is_a_failure() {
        let played = seen(
            &Script::unreadable(),
            stage::columns(80),
            StatusArgs::default(),
        )
        .await;
        insta::assert_snapshot!(played.shown());
        let played = seen(&Script::unreadable(), stage::json(), StatusArgs::default()).await;
        assert_eq!(played.exit_code, 7);
        assert_eq!(played.document(STATUS_SCHEMA)["failure_code"], "permission");
    }

    #[tokio::test]
    async fn the_document_has_exact_numbers() {
        let played = seen(&Script::survey(), stage::json(), StatusArgs::default()).await;
        let document = played.document(STATUS_SCHEMA);
        assert_eq!(document["cache"]["origin"], "HF_HOME");
        assert_eq!(document["models"]["size_bytes"], 3_615_007_000_u64);
        assert_eq!(document["findings"].as_array().unwrap().len(), 4);
        assert_eq!(document["findings"][0]["rule"], "truncated");
        assert_eq!(document["locks"][0]["since_at"], "2026-11-24T00:00:00Z");
        assert_eq!(document["partials"][0]["state"], "live");
        assert_eq!(document["disk"]["total_bytes"], 994_662_584_320_u64);
    }

    #[tokio::test]
    async fn a_signal_and_a_wrong_name_end_it() {
        let script = Script::new().then(1, Event::Ended(Outcome::Cancelled));
        let played = play(
            &script,
            stage::json(),
            Some((0, Signal::Interrupt)),
            async |session, console| {
                run(session, &StatusArgs::default(), &stage::settings(), console).await
            },
        )
        .await;
        assert_eq!(played.exit_code, 130);
        played.document(STATUS_SCHEMA);
        assert!(played.stderr.contains("nothing was changed"));
        let args = StatusArgs {
            repo: Some("a b".to_owned()),
            ..StatusArgs::default()
        };
        let played = seen(&Script::new(), stage::json(), args).await;
        assert_eq!(played.exit_code, 2);
        played.document(STATUS_SCHEMA);
    }

    #[tokio::test]
    async fn names_of_others_stay_text() {
        let mut script = Script::survey();
        for stamped in &mut script.events {
            match &mut stamped.event {
                Event::LocksSeen { locks } => {
                    locks[0].program = Some("\u{1b}[2Jpy".to_owned());
                }
                Event::PartialsSeen { partials } => {
                    partials[1].file = Some("a\u{202e}b".to_owned());
                }
                Event::ModelsListed { models } => {
                    models[1].problems = vec!["\u{9b}2J".to_owned()];
                }
                _ => {}
            }
        }
        let mut ascii = stage::columns(80);
        ascii.is_ascii = true;
        let played = seen(&script, ascii, StatusArgs::default()).await;
        for c in ['\u{1b}', '\u{9b}', '\u{202e}'] {
            assert!(!played.stdout.contains(c), "{}", played.stdout);
        }
        assert!(played.stdout.is_ascii(), "{}", played.stdout);
    }
}
