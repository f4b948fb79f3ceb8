//! Owns asking the Hub what snapshots should hold of which no listing is here, and remembering it.
//!
//! Writes to the ledger alone: a look, a verification or a repair that comes next rests on it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::emit::Emitter;
use super::failure::from_cache;
use super::job::{Halt, blocking, heard_stop};
use super::list::{absent, scan};
use super::prepare::ask;
use crate::domain::{
    Basis, Command, Commit, Event, Failure, FailureCode, Outcome, RepoId, VerifyTarget,
};

/// Asks for every listing that is not here, of the repos of the targets or of all.
pub(super) async fn run(
    shared: Arc<Shared>,
    emitter: Emitter,
    targets: Vec<VerifyTarget>,
    mut commands: mpsc::Receiver<Command>,
) {
    let stop = CancellationToken::new();
    let work = learn(&shared, &emitter, targets, &stop);
    tokio::pin!(work);
    let done = tokio::select! {
        biased;
        done = &mut work => done,
        () = heard_stop(&mut commands) => {
            stop.cancel();
            work.await
        }
    };
    let outcome = match done {
        Ok(()) => Outcome::Listed,
        Err(Halt::Interrupted) => Outcome::Cancelled,
        Err(
            Halt::Failed(failure)
            | Halt::Mismatch(failure)
            | Halt::Suspect(failure)
            | Halt::Doubt(failure)
            | Halt::Again(failure),
        ) => Outcome::Failed {
            failures: vec![failure],
        },
    };
    emitter.fact(Event::Ended(outcome)).await;
}

async fn learn(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    targets: Vec<VerifyTarget>,
    stop: &CancellationToken,
) -> Result<(), Halt> {
    if shared.config.is_offline {
        return Err(Failure::new(
            FailureCode::Usage,
            "`--online` asks the Hub, and larder is offline",
        )
        .into());
    }
    let (scanning, now) = (Arc::clone(shared), emitter.now());
    let wanted = blocking(move || unlisted(&scanning, &targets, now)).await??;
    let mut gone = Vec::new();
    for (repo, commit) in &wanted {
        let asked = ask(shared, emitter, stop, || {
            shared.client.listing(repo, commit)
        })
        .await;
        match asked {
            // What cannot be taken is not in the listing: it would be called complete without it.
            Ok(listing) if listing.refused.is_empty() => {
                let (memory, files) = (Arc::clone(&shared.memory), listing.files);
                let (endpoint, repo, commit) =
                    (shared.config.endpoint.to_string(), repo.clone(), *commit);
                let now = emitter.now();
                blocking(move || memory.keep_listing(&endpoint, &repo, &commit, &files, now))
                    .await?;
            }
            Ok(listing) => {
                let note = format!(
                    "the Hub's listing of {repo} at {} names paths that cannot be taken ({} of \
                     them): it is judged by its own files",
                    commit.short(),
                    listing.refused.len(),
                );
                emitter.fact(Event::Noted { note }).await;
            }
            // The others can still be asked for (hub.md case 44).
            Err(Halt::Failed(failure)) if is_of_one_repo(failure.code) => {
                gone.push((repo, failure.summary));
            }
            Err(halt) => return Err(halt),
        }
    }
    for (repo, why) in gone {
        let note = format!("{repo} is judged by its own files: {why}");
        emitter.fact(Event::Noted { note }).await;
    }
    Ok(())
}

/// Snapshots of the targets that are judged by their own files, for want of a listing.
fn unlisted(
    shared: &Shared,
    targets: &[VerifyTarget],
    now: std::time::SystemTime,
) -> Result<BTreeSet<(RepoId, Commit)>, Failure> {
    let events = scan(shared, None, now).map_err(from_cache)?;
    let rows = events.into_iter().flat_map(|event| match event {
        Event::ModelsListed { models } => models,
        _ => Vec::new(),
    });
    let rows: Vec<_> = rows.collect();
    for target in targets {
        if !rows.iter().any(|row| row.repo == target.repo) {
            return Err(absent(&target.repo, shared));
        }
    }
    let is_wanted = |repo: &RepoId, revision: &str, refs: &[String]| {
        targets.is_empty()
            || targets.iter().any(|target| {
                target.repo == *repo
                    && target.revision.as_ref().is_none_or(|name| {
                        revision.starts_with(name.as_str()) || refs.contains(name)
                    })
            })
    };
    let found = rows.iter().filter_map(|row| {
        let is_unlisted = row.basis == Basis::OwnFiles;
        let commit = row.commit?;
        (is_unlisted && is_wanted(&row.repo, &row.revision, &row.refs))
            .then(|| (row.repo.clone(), commit))
    });
    Ok(found.collect())
}

/// Whether a failure says something of one repo, and nothing of the Hub or the way to it.
const fn is_of_one_repo(code: FailureCode) -> bool {
    matches!(
        code,
        FailureCode::RepoNotFound
            | FailureCode::RevisionNotFound
            | FailureCode::RepoDisabled
            | FailureCode::Gated
    )
}
