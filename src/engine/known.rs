//! Owns what this machine knows of a repo's files without asking anybody: listings that the cache
//! or the ledger keeps, and when they stand in for the Hub's.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Shared;
use super::emit::Emitter;
use super::failure::from_cache;
use super::job::{Halt, blocking};
use super::prepare::{Listed, from_source};
use crate::cache::{self, Layout};
use crate::domain::{
    Commit, Event, Failure, FailureCode, PullRequest, RemoteFile, RepoId, Revision,
};

/// How long the Hub is waited for where what it would say is known.
const PATIENCE: Duration = Duration::from_secs(10);

/// A listing, and where it is from.
pub(super) struct Source {
    pub(super) listed: Listed,
    /// Whether the Hub was not asked, or did not answer.
    pub(super) is_offline: bool,
}

/// The files of a revision: as the Hub says, once where it is known here too; else as is known.
pub(super) async fn files_of(
    shared: &std::sync::Arc<Shared>,
    emitter: &Emitter,
    layout: &Layout,
    (repo, revision): (&RepoId, &Revision),
    stop: &CancellationToken,
) -> Result<Source, Halt> {
    let known = {
        let (shared, layout) = (std::sync::Arc::clone(shared), layout.clone());
        let (repo, revision) = (repo.clone(), revision.clone());
        blocking(move || known(&shared, &layout, &repo, &revision)).await?
    };
    let by_known = |listed| Source {
        listed,
        is_offline: true,
    };
    if shared.config.is_offline {
        return match known {
            Some(listed) => Ok(by_known(listed)),
            None => Err(unknown(repo, revision).into()),
        };
    }
    let request = PullRequest::new(repo.clone(), revision.clone());
    let by_hub = |listed| Source {
        listed,
        is_offline: false,
    };
    let Some(known) = known else {
        let attempts = shared.config.retry.attempts;
        let listed = from_source(shared, emitter, &request, attempts, stop).await?;
        return Ok(by_hub(listed));
    };
    let asked = from_source(shared, emitter, &request, 1, stop);
    let failure = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(listed)) => return Ok(by_hub(listed)),
        Ok(Err(Halt::Failed(failure))) if is_of_the_way(failure.code) => failure,
        Ok(Err(halt)) => return Err(halt),
        Err(_) => Failure::new(FailureCode::Timeout, "the Hub did not answer in time"),
    };
    let note = format!("{failure}; what was known of `{repo}` on this machine is used");
    emitter.fact(Event::Noted { note }).await;
    Ok(by_known(known))
}

/// Whether it is the way to the Hub that failed, and not the Hub that refused.
const fn is_of_the_way(code: FailureCode) -> bool {
    code.is_retryable()
        || matches!(
            code,
            FailureCode::Tls | FailureCode::Proxy | FailureCode::CaptivePortal
        )
}

/// What is known of a revision's files.
pub(super) fn known(
    shared: &Shared,
    layout: &Layout,
    repo: &RepoId,
    revision: &Revision,
) -> Option<Listed> {
    let endpoint = shared.config.endpoint.as_str();
    let files = |commit: &Commit| -> Option<Vec<RemoteFile>> {
        cache::read_tree(layout, repo, commit)
            .or_else(|| shared.memory.listing(endpoint, repo, commit))
    };
    let at = |commit: Commit| {
        Some(Listed {
            repo: repo.clone(),
            commit,
            files: files(&commit)?,
            refused: Vec::new(),
            is_afresh: false,
            is_restricted: false,
        })
    };
    if let Some(commit) = revision.as_commit() {
        return at(commit);
    }
    let named = cache::read_ref(layout, repo, revision).ok().flatten();
    if let Some(found) = named.and_then(|value| value.commit).and_then(at) {
        return Some(found);
    }
    // A pull that failed has left no ref, but what it was told. Of another branch that says nothing.
    if *revision != Revision::main() {
        return None;
    }
    let listed = shared.memory.listings(endpoint).into_iter();
    let commits = listed
        .filter(|(of, _)| of == repo)
        .map(|(_, commit)| commit);
    commits
        .chain(cache::listed_commits(layout, repo))
        .find_map(at)
}

/// The repos of which something is known.
pub(super) fn known_repos(shared: &Shared, layout: &Layout) -> Result<BTreeSet<RepoId>, Failure> {
    let mut repos: BTreeSet<RepoId> = cache::repos(layout)
        .map_err(from_cache)?
        .into_iter()
        .collect();
    let endpoint = shared.config.endpoint.as_str();
    let listed = shared.memory.listings(endpoint);
    repos.extend(listed.into_iter().map(|(repo, _)| repo));
    Ok(repos)
}

fn unknown(repo: &RepoId, revision: &Revision) -> Failure {
    Failure::new(
        FailureCode::Offline,
        format!("the files of `{repo}` @ {revision} are not known here, and larder is offline"),
    )
    .because(
        "neither the cache nor the ledger keeps a listing of it; one answer of the Hub is enough",
    )
}
