//! Owns `doctor`: everything that is wrong, wasteful or surprising, with evidence, cause and plan.
//!
//! Asks no network and changes nothing, unless it is told to. Numbers and selections are the store's.

use super::args::{DoctorArgs, call_of};
use super::document::{self, Diagnosis};
use super::exit::{Ending, Work, judge};
use super::finding::{block, fresh_words, wrapped};
use super::fix::{Repair, Tally, repair, result_text, undone};
use super::follow::{Console, Session, follow};
use super::look::{has_looked, heed, learn, look};
use super::ls::ago;
use super::output::{Format, Output};
use super::remedy::Subject;
use crate::domain::{
    Command, Failure, FailureCode, Finding, Outcome, PlanStep, RepoId, Setting, VerifyTarget,
};
use crate::store::{Healing, Looked, Scope, Store, count, counts_of, grouped, healing_of, size};

/// Runs `doctor`; the exit code.
pub async fn doctor(
    session: Session<'_>,
    args: DoctorArgs,
    settings: &[Setting],
    output: Output,
) -> u8 {
    run(session, &args, settings, Console::looking(output)).await
}

async fn run(
    mut session: Session<'_>,
    args: &DoctorArgs,
    settings: &[Setting],
    mut console: Console<'_>,
) -> u8 {
    let mut store = Store::default();
    let mut targets = Vec::new();
    let mut ending = match args.targets() {
        Err(failure) => Ending::refused(*failure),
        Ok(wanted) => {
            targets = wanted;
            examine(&mut session, &mut console, &mut store, args, &targets).await
        }
    };
    let scope = Scope {
        targets: &targets,
        rules: &args.rule,
    };
    let mut repair = None;
    if args.fix && ending.exit_code == 0 {
        let begun = heal(
            &mut session,
            &mut console,
            &mut store,
            args,
            (scope, settings),
        )
        .await;
        ending = begun.1;
        repair = Some(begun.0);
    }
    let findings = store.shelf().findings_in(scope);
    heed(&mut ending, &findings, args.strict);
    let (shown, hidden): (Vec<&Finding>, Vec<&Finding>) = findings
        .iter()
        .partition(|finding| finding.severity >= args.severity);
    let diagnosis = Diagnosis {
        scope,
        settings,
        looked: store.shelf().looked_at(scope),
        counts: counts_of(&findings),
        healing: healing_of(&findings),
        shown: &shown,
        hidden: hidden.len(),
        fresh: store.shelf().fresh_partials(&repos_of(scope)),
        repair: repair.as_ref(),
        fixed: store.shelf().fixed(),
    };
    let is_told = matches!(
        ending.failures.as_slice(),
        [] | [Failure {
            code: FailureCode::Findings,
            ..
        }]
    );
    // A repair has shown it all, and what it did.
    let is_new = repair.as_ref().is_none_or(|repair| repair.is_begun);
    if console.output.format == Format::Human && is_told && is_new && has_looked(&store) {
        let now_ms = store.last_ms().unwrap_or(session.started_ms);
        let text = text(&diagnosis, args, now_ms, console.output.stdout.columns);
        console.printer.text(&console.output.drawn(&text));
    }
    let call = call_of(&args.flags(), &args.repos, &args.places);
    let subject = Subject {
        repo: args
            .repos
            .first()
            .map(String::as_str)
            .filter(|_| !is_told && args.repos.len() == 1),
        command: "doctor",
        call: Some(&call),
    };
    let closing = session.closing(&store, &ending, subject);
    console.finish(&closing, |closing, is_line| {
        document::doctor(&diagnosis, closing, is_line)
    })
}

fn repos_of(scope: Scope<'_>) -> Vec<RepoId> {
    let targets = scope.targets.iter();
    targets.map(|target| target.repo.clone()).collect()
}

/// Says what is wrong, and has it put right; then looks again.
async fn heal(
    session: &mut Session<'_>,
    console: &mut Console<'_>,
    store: &mut Store,
    args: &DoctorArgs,
    (scope, settings): (Scope<'_>, &[Setting]),
) -> (Repair, Ending) {
    let findings = store.shelf().findings_in(scope);
    let shown: Vec<&Finding> = findings
        .iter()
        .filter(|finding| finding.severity >= args.severity)
        .copied()
        .collect();
    let mut begun = Repair {
        plan: store.shelf().fix_plan(&shown),
        ..Repair::default()
    };
    if console.output.format == Format::Human {
        let diagnosis = Diagnosis {
            scope,
            settings,
            looked: store.shelf().looked_at(scope),
            counts: counts_of(&findings),
            healing: healing_of(&findings),
            shown: &shown,
            hidden: findings.len() - shown.len(),
            fresh: store.shelf().fresh_partials(&repos_of(scope)),
            ..Diagnosis::default()
        };
        let now_ms = store.last_ms().unwrap_or(session.started_ms);
        let mut text = text(&diagnosis, args, now_ms, console.output.stdout.columns);
        text.push('\n');
        console.printer.text(&console.output.drawn(&text));
    }
    let ending = repair(session, console, store, args, &mut begun).await;
    if !begun.is_begun {
        return (begun, ending);
    }
    let is_cancelled = ending.outcome == "cancelled";
    let looked = if is_cancelled {
        None
    } else {
        Some(look(session, console, store, Command::Diagnose(None)).await)
    };
    let tally = looked.as_ref().map(|_| {
        let findings = store.shelf().findings_in(scope);
        let still: Vec<&PlanStep> = findings
            .iter()
            .flat_map(|finding| &finding.plan.steps)
            .collect();
        Tally::of(&begun, store, &still)
    });
    if console.output.format == Format::Human {
        let done = result_text(&begun, store, tally);
        console.printer.text(&console.output.drawn(&done));
        console.printer.text("\n");
    }
    if ending.exit_code != 0 {
        return (begun, ending);
    }
    if let Some(looked) = looked.filter(|looked| looked.exit_code != 0) {
        return (begun, looked);
    }
    let ending = match tally.and_then(|tally| undone(tally, store)) {
        Some(failure) => Ending {
            outcome: ending.outcome,
            ..Ending::refused(failure)
        },
        None => ending,
    };
    (begun, ending)
}

/// Hashes first if that is wanted, then looks at everything; what is asked for must be there.
async fn examine(
    session: &mut Session<'_>,
    console: &mut Console<'_>,
    store: &mut Store,
    args: &DoctorArgs,
    targets: &[VerifyTarget],
) -> Ending {
    if args.online {
        let ending = learn(session, console, store, targets).await;
        if ending.exit_code != 0 {
            return ending;
        }
    }
    if args.verify {
        console.work = Work::Looking;
        (session.commands)(Command::Verify {
            targets: targets.to_vec(),
            is_deep: false,
        });
        let followed = follow(session, store, console).await;
        console.talk.settle();
        // What is broken is told below, with all the rest.
        if !matches!(followed.outcome, Some(Outcome::Verified { .. })) {
            return judge(console.work, followed.outcome.as_ref(), followed.caught);
        }
    }
    let only = match targets {
        [only] => Some(only.repo.clone()),
        _ => None,
    };
    let ending = look(session, console, store, Command::Diagnose(only)).await;
    match absent(store, targets) {
        Some(failure) if ending.exit_code == 0 => Ending::refused(failure),
        _ => ending,
    }
}

/// What was asked for and is not there.
fn absent(store: &Store, targets: &[VerifyTarget]) -> Option<Failure> {
    let shelf = store.shelf();
    targets.iter().find_map(|target| {
        if !shelf.knows(&target.repo) {
            return Some(Failure::not_in_cache(&target.repo, &shelf.repos()));
        }
        let name = target.revision.as_ref()?;
        let scope = Scope {
            targets: std::slice::from_ref(target),
            rules: &[],
        };
        let is_there = shelf.models_in(scope).next().is_some();
        // A ref may name what is not there, and a finding then says so.
        let is_told = shelf
            .findings_in(scope)
            .iter()
            .any(|finding| finding.revision.as_ref() == Some(name));
        if is_there || is_told {
            return None;
        }
        let here: Vec<String> = shelf
            .models_of(Some(&target.repo))
            .map(|row| match row.refs.first() {
                Some(name) => name.clone(),
                None => row.revision.clone(),
            })
            .collect();
        let failure = Failure::new(
            FailureCode::Incomplete,
            format!("`{}` is in the cache, but not at `{name}`", target.repo),
        );
        Some(if here.is_empty() {
            failure.because("it has no snapshot yet")
        } else {
            failure.because(format!("in the cache are: {}", here.join(", ")))
        })
    })
}

/// Blocks, the worst first, and the sum; one line where there is nothing.
fn text(diagnosis: &Diagnosis<'_>, args: &DoctorArgs, now_ms: u64, columns: Option<u16>) -> String {
    let mut text = String::new();
    for group in grouped(diagnosis.shown) {
        text.push_str(&block(&group, &args.places, columns));
        text.push('\n');
    }
    let hidden = match diagnosis.hidden {
        0 => String::new(),
        hidden => format!("; {hidden} hidden by `--severity {}`", args.severity.name()),
    };
    let looked = looked_words(&diagnosis.looked, now_ms);
    let is_nothing = diagnosis.shown.is_empty() && diagnosis.hidden == 0;
    let closing = if is_nothing {
        let what = match args.rule.as_slice() {
            [] => "nothing is wrong".to_owned(),
            rules => {
                let names: Vec<&str> = rules.iter().map(|rule| rule.name()).collect();
                format!("nothing is found by {}", names.join(", "))
            }
        };
        vec![match diagnosis.looked.models {
            0 => format!("{what}: there is no model here yet"),
            _ => format!("{what} in {looked}"),
        }]
    } else {
        let counts = diagnosis.counts.words();
        let healing = healing_words(diagnosis.healing);
        vec![
            format!("{counts}{healing}{hidden}"),
            format!("looked at {looked}"),
        ]
    };
    let closing = closing.into_iter().chain(fresh_words(diagnosis.fresh));
    let closing: Vec<String> = closing.collect();
    let room = columns.map_or(usize::MAX, usize::from);
    for line in closing.iter().flat_map(|line| wrapped(line, room)) {
        text.extend([&line, "\n"]);
    }
    text
}

fn healing_words(healing: Healing) -> String {
    let freed = match healing.freed_bytes {
        0 => String::new(),
        bytes => format!("; {} can be freed", size(bytes)),
    };
    let fetched = match healing.fetched_bytes {
        0 => String::new(),
        bytes => format!("; at most {} to fetch to heal", size(bytes)),
    };
    freed + &fetched
}

/// What was looked at, and how much of it was ever hashed.
fn looked_words(looked: &Looked, now_ms: u64) -> String {
    if looked.models == 0 {
        return "no snapshot of a model".to_owned();
    }
    let age = |then| ago(then, now_ms);
    let wrong = looked.wrong_ms.map(|then| match looked.models {
        1 => format!("wrong bytes found {}", age(then)),
        _ => format!("{} with wrong bytes, found {}", looked.wrong, age(then)),
    });
    let verified = match (looked.verified, looked.verified_ms) {
        (0, _) | (_, None) if wrong.is_some() => String::new(),
        (0, _) | (_, None) => "not verified (`larder verify` hashes it)".to_owned(),
        (1, Some(then)) if looked.models == 1 => format!("verified {}", age(then)),
        (all, Some(then)) if all == looked.models => {
            format!("all verified, the first of them {}", age(then))
        }
        (some, Some(then)) => format!("{some} verified, the first of them {}", age(then)),
    };
    let known = [Some(verified).filter(|words| !words.is_empty()), wrong];
    let known = known.into_iter().flatten().collect::<Vec<_>>().join("; ");
    format!(
        "{}, {}, {}; {known}",
        count(looked.models, "snapshot"),
        count(looked.files, "file"),
        size(looked.size_bytes)
    )
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::super::exit::Signal;
    use super::super::schema::{DOCTOR_SCHEMA, EVENT_SCHEMA};
    use super::super::stage::{self, Played, play};
    use super::*;
    use crate::domain::{Change, Event, PlanStep, Rule, Severity};
    use crate::store::script::{START_MS, Script, model_row};

    async fn seen(script: &Script, output: Output, args: DoctorArgs) -> Played {
        play(script, output, None, async |session, mut console| {
            console.talk = console.talk.without_log();
            run(session, &args, &stage::settings(), console).await
        })
        .await
    }

    fn asked(repos: &[&str]) -> DoctorArgs {
        DoctorArgs {
            repos: repos.iter().map(|&repo| repo.to_owned()).collect(),
            ..DoctorArgs::default()
        }
    }

    /// All that a plan can hold, and eight partials of one model.
    fn all_sorts() -> Script {
        let mut script = Script::survey();
        for stamped in &mut script.events {
            let Event::FindingsSeen { findings } = &mut stamped.event else {
                continue;
            };
            let partial = findings[1].clone();
            for at in 0..7_u64 {
                let mut more = partial.clone();
                let path = format!("{}{at}", more.evidence[0].path);
                more.evidence[0].path.clone_from(&path);
                let [
                    PlanStep::RemovePartial {
                        path: gone, map, ..
                    },
                ] = &mut more.plan.steps[..]
                else {
                    panic!("{more:?}");
                };
                *map = (at == 0).then(|| format!("{path}.map"));
                *gone = path;
                findings.push(more);
            }
            let changes = [
                Change::Remove {
                    path: "/cache/blobs/77".to_owned(),
                    bytes: 1_500,
                },
                Change::Remove {
                    path: "/cache/empty".to_owned(),
                    bytes: 0,
                },
                Change::Move {
                    from: "/cache/a".to_owned(),
                    to: "/cache/b".to_owned(),
                    bytes: 5,
                },
                Change::Write {
                    path: "/cache/refs/main".to_owned(),
                    text: "a1b2c3d4\n".to_owned(),
                },
                Change::Link {
                    path: "/cache/x".to_owned(),
                    target: "../../blobs/7".to_owned(),
                },
            ];
            let cache_wide = Finding::new(
                Rule::UnusedPayload,
                "a content that no repo leads to",
                "the repos that used it were deleted",
            );
            findings.push(changes.into_iter().fold(cache_wide, |finding, change| {
                finding.step(PlanStep::Change(change))
            }));
            findings.push(
                Finding::new(
                    Rule::Evicted,
                    "its bytes are in a cloud",
                    "iCloud moved them",
                )
                .of_file("model.safetensors")
                .seen("/cache/y", None, Some(17_000_000), "")
                .step(PlanStep::ByHand {
                    advice: "open the folder in Finder and choose Download Now".to_owned(),
                }),
            );
        }
        script
    }

    fn healthy() -> Script {
        let mut rows = vec![model_row("org/m", 1_350_000_000); 12];
        for row in &mut rows[..5] {
            row.verified_ms = Some(START_MS - 3 * 86_400_000);
        }
        Script::new()
            .then(1, Event::ModelsListed { models: rows })
            .then(
                1,
                Event::FindingsSeen {
                    findings: Vec::new(),
                },
            )
            .then(1, Event::Ended(Outcome::Listed))
    }

    #[tokio::test]
    async fn everything_is_told_in_full_the_worst_first() {
        let played = seen(&all_sorts(), stage::columns(80), DoctorArgs::default()).await;
        insta::assert_snapshot!(played.shown());
        assert_eq!(played.exit_code, 3);
        for line in played.stdout.lines() {
            // Paths and commands are to be copied.
            let is_whole = line.contains('/') || line.trim_start().starts_with("run");
            assert!(is_whole || line.width() <= 80, "{line}");
        }
        assert!(!played.stdout.contains('…'));
        assert!(matches!(
            played.commands.as_slice(),
            [Command::Diagnose(None)]
        ));
        let piped = seen(&all_sorts(), stage::human(), DoctorArgs::default()).await;
        assert!(piped.stdout.lines().count() < played.stdout.lines().count());
    }

    #[tokio::test]
    async fn a_healthy_cache_is_one_line() {
        let played = seen(&healthy(), stage::columns(80), DoctorArgs::default()).await;
        assert_eq!(
            played.stdout,
            "nothing is wrong in 12 snapshots, 72 files, 16.20 GB; 5 verified, the first of\nthem 3 d ago\n"
        );
        assert_eq!((played.exit_code, played.stderr.as_str()), (0, ""));
        let empty = seen(&Script::survey_of_nothing(), stage::human(), asked(&[])).await;
        assert_eq!(
            empty.stdout,
            "nothing is wrong: there is no model here yet\n"
        );
    }

    #[tokio::test]
    async fn levels_rules_and_repos_choose_and_only_levels_hide() {
        let with = |severity: Severity, rule: Vec<Rule>, repos: &[&str], strict: bool| DoctorArgs {
            severity,
            rule,
            strict,
            ..asked(repos)
        };
        for (args, shown, hidden, exit) in [
            (with(Severity::Note, vec![], &[], false), 4, 0, 3),
            (with(Severity::Error, vec![], &[], false), 1, 3, 3),
            (
                with(Severity::Error, vec![], &["org/other"], false),
                0,
                2,
                0,
            ),
            (with(Severity::Error, vec![], &["org/other"], true), 0, 2, 3),
            (
                with(Severity::Note, vec![Rule::AbandonedPartial], &[], false),
                2,
                0,
                0,
            ),
            (
                with(Severity::Note, vec![Rule::AbandonedPartial], &[], true),
                2,
                0,
                3,
            ),
            (
                with(Severity::Note, vec![Rule::OrphanBlob], &[], true),
                0,
                0,
                0,
            ),
        ] {
            let played = seen(&Script::survey(), stage::json(), args.clone()).await;
            let document = played.document(DOCTOR_SCHEMA);
            let found = document["findings"].as_array().unwrap().len();
            let got = (
                found,
                document["hidden"].as_u64().unwrap(),
                played.exit_code,
            );
            assert_eq!(got, (shown, hidden, exit), "{args:?}");
            assert_eq!(document["exit_code"], exit);
        }
        let hidden = with(Severity::Error, vec![], &["org/other"], true);
        let played = seen(&Script::survey(), stage::human(), hidden).await;
        assert!(
            played.stdout.contains("2 hidden by `--severity error`"),
            "{}",
            played.stdout
        );
    }

    #[tokio::test]
    async fn the_document_has_exact_numbers() {
        let played = seen(&all_sorts(), stage::json(), asked(&[])).await;
        let document = played.document(DOCTOR_SCHEMA);
        assert_eq!(document["failure_code"], "findings");
        assert_eq!(document["outcome"], "listed");
        assert_eq!(document["findings"].as_array().unwrap().len(), 13);
        assert_eq!(document["errors"], 1);
        assert_eq!(document["fetch_bytes"], 12_000_000);
        assert_eq!(
            document["reclaimable_bytes"],
            402_000_000_u64 * 8 + 12 + 1_500
        );
        assert_eq!(document["looked_at"]["snapshots"], 3);
        assert_eq!(document["cache"]["origin"], "HF_HOME");
        let played = seen(&all_sorts(), stage::events(), asked(&[])).await;
        let lines: Vec<&str> = played.stdout.lines().collect();
        let (last, events) = lines.split_last().unwrap();
        for event in events {
            stage::check(&serde_json::from_str(event).unwrap(), EVENT_SCHEMA);
        }
        stage::check(&serde_json::from_str(last).unwrap(), DOCTOR_SCHEMA);
    }

    #[tokio::test]
    async fn what_is_not_there_is_said_with_what_is() {
        let gemma = "mlx-community/gemma-2-2b-it-4bit";
        let other_revision = format!("{gemma}@v9");
        let known_revision = format!("{gemma}@main");
        for (repos, exit, words) in [
            (vec!["no/body", gemma], 3, "`no/body` is not in the cache"),
            (vec![other_revision.as_str()], 3, "in the cache are: main"),
            (vec![known_revision.as_str()], 3, ""),
            (vec!["a b"], 2, "a b"),
        ] {
            let played = seen(&Script::survey(), stage::human(), asked(&repos)).await;
            assert_eq!(played.exit_code, exit, "{}", played.stderr);
            assert!(played.stderr.contains(words), "{}", played.stderr);
            // What was found is told, and nothing of what was not asked about.
            assert_eq!(played.stdout.is_empty(), !words.is_empty(), "{repos:?}");
            let played = seen(&Script::survey(), stage::json(), asked(&repos)).await;
            let code = if words.is_empty() {
                "findings"
            } else if exit == 3 {
                "incomplete"
            } else {
                "usage"
            };
            assert_eq!(played.document(DOCTOR_SCHEMA)["failure_code"], code);
        }
    }

    #[tokio::test]
    async fn it_hashes_first_where_that_is_wanted() {
        let mut script = Script::verified();
        script.events.extend(healthy().events);
        let args = DoctorArgs {
            verify: true,
            ..asked(&[])
        };
        let played = seen(&script, stage::json(), args.clone()).await;
        assert!(matches!(
            played.commands.as_slice(),
            [
                Command::Verify { is_deep: false, .. },
                Command::Diagnose(None)
            ]
        ));
        played.document(DOCTOR_SCHEMA);
        assert_eq!(
            played.exit_code, 0,
            "what was hashed is gone from the cache"
        );

        let cancelled = Script::new().then(1, Event::Ended(Outcome::Cancelled));
        let played = play(
            &cancelled,
            stage::json(),
            Some((0, Signal::Interrupt)),
            async |session, console| run(session, &args, &stage::settings(), console).await,
        )
        .await;
        assert_eq!(played.exit_code, 130);
        played.document(DOCTOR_SCHEMA);
    }

    #[tokio::test]
    async fn a_cache_that_cannot_be_read_is_a_failure_and_names_stay_text() {
        let played = seen(&Script::unreadable(), stage::json(), asked(&[])).await;
        assert_eq!(played.exit_code, 7);
        played.document(DOCTOR_SCHEMA);
        let mut script = all_sorts();
        for stamped in &mut script.events {
            if let Event::FindingsSeen { findings } = &mut stamped.event {
                findings[0].cause = "\u{1b}[2J \u{202e}x".to_owned();
            }
        }
        let mut ascii = stage::columns(80);
        ascii.is_ascii = true;
        let played = seen(&script, ascii, asked(&[])).await;
        assert!(played.stdout.is_ascii(), "{}", played.stdout);
        assert!(!played.stdout.contains('\u{1b}'));
    }
}
