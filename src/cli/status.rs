//! Owns `status`: one look at everything, and what `--check` makes of it.
//!
//! Never counts and never judges: numbers and findings are the store's, their words are `page`'s.

use super::args::{StatusArgs, call_of, parse_repo};
use super::document::{self, Look};
use super::exit::Ending;
use super::follow::{Console, Session};
use super::look::{has_looked, heed, survey};
use super::output::{Format, Output};
use super::page::Page;
use super::remedy::Subject;
use crate::domain::Setting;
use crate::store::Store;

/// Runs `status`; the exit code.
pub async fn status(
    session: Session<'_>,
    args: StatusArgs,
    settings: &[Setting],
    output: Output,
) -> u8 {
    run(session, &args, settings, Console::looking(output)).await
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
    if args.check {
        let findings = store.shelf().findings_about(repo.as_ref());
        heed(&mut ending, &findings, args.strict);
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
    let is_absent = repo
        .as_ref()
        .is_some_and(|repo| !store.shelf().knows(repo) && ending.exit_code != 0);
    if console.output.format == Format::Human && has_looked(&store) && !is_absent {
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
    let closing = session.closing(&store, &ending, subject);
    console.finish(&closing, |closing, is_line| {
        document::status(look, closing, is_line)
    })
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::super::exit::Signal;
    use super::super::schema::STATUS_SCHEMA;
    use super::super::stage::{self, Played, play};
    use super::*;
    use crate::domain::{Command, Event, Finding, Outcome, PlanStep, RepoId, RepoKind, Rule};
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
                Event::FindingsSeen { findings } => {
                    // Of one model they would be told together.
                    let of = |finding: &Finding, at: usize| Finding {
                        repo: RepoId::new(RepoKind::Model, &format!("org/m{at}")).ok(),
                        ..finding.clone()
                    };
                    *findings = findings
                        .iter()
                        .flat_map(|finding| (0..50).map(move |at| of(finding, at)))
                        .collect();
                }
                Event::LocksSeen { locks } => *locks = vec![locks.clone(); 50].concat(),
                Event::PartialsSeen { partials } => *partials = vec![partials.clone(); 50].concat(),
                _ => {}
            }
        }
        let played = seen(&script, stage::columns(80), StatusArgs::default()).await;
        assert!(played.stdout.lines().count() <= 24, "{}", played.stdout);
        assert!(played.stdout.contains("and 147 more"), "{}", played.stdout);
        let piped = seen(&script, stage::human(), StatusArgs::default()).await;
        assert!(piped.stdout.lines().count() > 500);
        assert!(!piped.stdout.contains('…') && !piped.stdout.contains("more:"));
    }

    #[tokio::test]
    async fn eight_partials_of_one_model_are_one_row_and_eight_findings() {
        let mut script = Script::survey();
        for stamped in &mut script.events {
            if let Event::FindingsSeen { findings } = &mut stamped.event {
                let partial = findings[1].clone();
                findings.extend((0..7).map(|at| {
                    let mut more = partial.clone();
                    more.evidence[0].path += &at.to_string();
                    for step in &mut more.plan.steps {
                        if let PlanStep::RemovePartial { path, .. } = step {
                            *path += &at.to_string();
                        }
                    }
                    more
                }));
            }
        }
        let played = seen(&script, stage::human(), StatusArgs::default()).await;
        let told: Vec<&str> = played
            .stdout
            .lines()
            .skip_while(|line| !line.starts_with("findings"))
            .filter(|line| line.contains("unfinished blob") || line.contains("goes on"))
            .collect();
        assert_eq!(
            told,
            [
                "  warning   8 unfinished blobs, and nobody is fetching the rest \
                 (mlx-community/gemma-2-2b-it-4bit)",
                "    goes on, or frees 3.22 GB: larder pull \
                 mlx-community/gemma-2-2b-it-4bit",
                "  warning   an unfinished blob that nobody is writing (org/other)",
                "    goes on, or frees 12 B: larder pull org/other",
            ]
        );
        let played = seen(&script, stage::json(), StatusArgs::default()).await;
        let document = played.document(STATUS_SCHEMA);
        assert_eq!(document["findings"].as_array().unwrap().len(), 4 + 7);

        for stamped in &mut script.events {
            if let Event::PartialsSeen { partials } = &mut stamped.event {
                partials.extend(vec![partials[0].clone(); 7]);
            }
        }
        let played = seen(&script, stage::human(), StatusArgs::default()).await;
        let told: Vec<&str> = played
            .stdout
            .lines()
            .filter(|line| line.starts_with("  abandoned"))
            .collect();
        assert_eq!(
            told,
            [
                "  abandoned 8 unfinished blobs with 3.22 GB, the last for 3 h: \
                 mlx-community/gemma-2-2b-it-4bit",
                "  abandoned 12 B of 1.33 GB, for 3 h: model.safetensors of org/other",
            ]
        );
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
