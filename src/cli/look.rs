//! Owns what the commands that look have in common: the look itself, asking for listings before it,
//! and what the findings make of its end.
//!
//! Never prints: each command says in its own words what was seen.

use super::exit::{Ending, Work, judge};
use super::follow::{Console, Session, follow};
use super::output::Output;
use crate::domain::{Command, Failure, FailureCode, Finding, RepoId, VerifyTarget};
use crate::store::{FindingCounts, Store, counts_of, harms_of};

impl Console<'static> {
    /// The process's own streams for a command that looks: its log would say everything twice.
    pub(super) fn looking(output: Output) -> Self {
        let mut console = Self::new(output).at(Work::Looking);
        console.talk = console.talk.without_log();
        console
    }
}

/// Looks at everything once, the network included.
pub(super) async fn survey(
    session: &mut Session<'_>,
    console: &mut Console<'_>,
    store: &mut Store,
    repo: Option<&RepoId>,
) -> Ending {
    look(session, console, store, Command::Survey(repo.cloned())).await
}

/// Looks as a command says. A cache that cannot be read is a failure, whatever else was seen.
pub(super) async fn look(
    session: &mut Session<'_>,
    console: &mut Console<'_>,
    store: &mut Store,
    command: Command,
) -> Ending {
    console.work = Work::Looking;
    (session.commands)(command);
    let followed = follow(session, store, console).await;
    console.talk.settle();
    let ending = judge(console.work, followed.outcome.as_ref(), followed.caught);
    match store.shelf().trouble() {
        Some(failure) if ending.exit_code == 0 => Ending::refused(failure.clone()),
        _ => ending,
    }
}

/// Asks the Hub what models should hold of which no listing is here.
pub(super) async fn learn(
    session: &mut Session<'_>,
    console: &mut Console<'_>,
    store: &mut Store,
    targets: &[VerifyTarget],
) -> Ending {
    console.work = Work::Looking;
    (session.commands)(Command::LearnListings(targets.to_vec()));
    let followed = follow(session, store, console).await;
    console.talk.settle();
    judge(console.work, followed.outcome.as_ref(), followed.caught)
}

/// Whether there is anything to show.
pub(super) fn has_looked(store: &Store) -> bool {
    let shelf = store.shelf();
    shelf.models().is_some() || shelf.trouble().is_some()
}

/// Makes findings the end of a look that found nothing else wrong.
pub(super) fn heed(ending: &mut Ending, findings: &[&Finding], is_strict: bool) {
    if ending.exit_code != 0 {
        return;
    }
    if let Some(failure) = found(findings, is_strict) {
        ending.exit_code = failure.code.exit_code();
        ending.failures.push(failure);
    }
}

/// What findings make of a look.
fn found(findings: &[&Finding], is_strict: bool) -> Option<Failure> {
    let counts = counts_of(findings);
    let FindingCounts {
        errors, warnings, ..
    } = counts;
    if errors == 0 && (!is_strict || warnings == 0) {
        return None;
    }
    let failure = Failure::new(FailureCode::Findings, counts.words());
    Some(if errors > 0 {
        harms_of(findings)
            .into_iter()
            .fold(failure, Failure::because)
    } else {
        failure.because("something is wasted or surprising")
    })
}
