//! Owns `ready` and `wait`: whether a model can be loaded now, by looking alone, and whom to wait
//! for if somebody is fetching it.
//!
//! Never asks the network and never hashes. Removes one thing: a download marker whose writer is
//! gone, since apps that only test for it would wait for ever.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Shared;
use super::emit::Emitter;
use super::failure::from_cache;
use super::job::{blocking, heard_stop};
use super::lookout::{CacheSighting, Glance, Lookout};
use crate::cache::{self, Layout, RefValue};
use crate::config::Config;
use crate::domain::{
    Command, Event, Failure, FailureCode, LockRow, LockState, ModelRow, ModelState, Outcome,
    PartialState, ReadyRequest, RepoId, Revision, sanitize,
};

/// How often it is looked whether somebody is still at work.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long another program may make no progress before waiting for it ends (product.md, section 4).
const PATIENCE: Duration = Duration::from_mins(5);
/// How often waiting is told, at most.
const TOLD_EVERY: Duration = Duration::from_secs(2);
/// So many reasons are named.
const REASONS: usize = 5;

/// What one look gave.
struct Seen {
    model: Option<ModelRow>,
    /// Why there is no such model, where something of the repo is here.
    why_absent: Option<String>,
    /// Who is at work on the repo, a sentence each; empty if nobody is.
    busy: Vec<String>,
    /// What changes while they make progress.
    pulse: (u64, u64, Option<u64>),
}

/// Looks, and looks again while somebody is at work if that was asked for.
pub(super) async fn run(
    shared: Arc<Shared>,
    emitter: Emitter,
    request: ReadyRequest,
    mut commands: mpsc::Receiver<Command>,
) {
    let outcome = tokio::select! {
        biased;
        outcome = judge(&shared, &emitter, &request) => match outcome {
            Ok(()) => Outcome::Listed,
            Err(failure) => Outcome::Failed { failures: vec![failure] },
        },
        () = heard_stop(&mut commands) => Outcome::Cancelled,
    };
    emitter.fact(Event::Ended(outcome)).await;
}

async fn judge(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    request: &ReadyRequest,
) -> Result<(), Failure> {
    let began = Instant::now();
    let limit = request
        .wait
        .map(|wait| wait.limit_ms.map(Duration::from_millis));
    let mut pulse = None;
    // Counted in looks: while this process does not run, nobody else is seen to stand still.
    let mut still = Duration::ZERO;
    let mut was_idle = false;
    let mut told: Option<(Instant, String)> = None;
    let mut view = View::new(shared);
    loop {
        let mut seen = view.look(shared, emitter, request).await?;
        // Asking for programs takes longer than the rest: not where all is there and nobody holds
        // anything.
        if !view.sees_programs && (!seen.is_ready() || !seen.busy.is_empty()) {
            view.sees_programs = true;
            seen = view.look(shared, emitter, request).await?;
        }
        let is_ready = seen.is_ready();
        let Some(who) = seen.busy.first() else {
            // What was missing may have come between the look at it and the one at the locks.
            if is_ready || std::mem::replace(&mut was_idle, true) {
                return say(shared, emitter, request, seen).await;
            }
            view.is_whole = true;
            if limit.is_some() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            continue;
        };
        was_idle = false;
        let Some(limit) = limit else {
            // What is complete is not made worse by whoever fetches something else.
            if is_ready {
                return say(shared, emitter, request, seen).await;
            }
            return Err(busy(&request.repo, "is being fetched", who));
        };
        if pulse.replace(seen.pulse) != Some(seen.pulse) {
            still = Duration::ZERO;
        }
        let is_late = limit.is_some_and(|limit| began.elapsed() >= limit);
        if is_ready && (is_late || still >= PATIENCE) {
            return say(shared, emitter, request, seen).await;
        }
        if still >= PATIENCE {
            return Err(busy(
                &request.repo,
                "makes no progress for five minutes",
                who,
            ));
        }
        if is_late {
            return Err(busy(&request.repo, "is still being fetched", who));
        }
        let is_news = told
            .as_ref()
            .is_none_or(|(at, words)| at.elapsed() >= TOLD_EVERY && words != who);
        if is_news {
            let note = format!("waiting for `{}`: {who}", request.repo);
            emitter.fact(Event::Noted { note }).await;
            told = Some((Instant::now(), who.clone()));
        }
        tokio::time::sleep(LOOK_EVERY).await;
        still += LOOK_EVERY;
    }
}

fn busy(repo: &RepoId, what: &str, who: &str) -> Failure {
    Failure::new(FailureCode::LockBusy, format!("`{repo}` {what}")).because(who)
}

/// What looks at one repo again and again.
struct View {
    /// `None` while a thread has it.
    lookout: Option<Lookout>,
    /// What lies in the cache, as last seen.
    cache: CacheSighting,
    /// Whether all of the repo is looked at, and not only what has changed.
    is_whole: bool,
    sees_programs: bool,
}

impl View {
    fn new(shared: &Shared) -> Self {
        Self {
            lookout: Some(Lookout::new(shared)),
            cache: CacheSighting::default(),
            is_whole: true,
            sees_programs: false,
        }
    }

    async fn look(
        &mut self,
        shared: &Arc<Shared>,
        emitter: &Emitter,
        request: &ReadyRequest,
    ) -> Result<Seen, Failure> {
        let mut lookout = self.lookout.take().unwrap_or_else(|| Lookout::new(shared));
        lookout.see_programs(self.sees_programs);
        lookout.trust_proven();
        let (repo, now) = (request.repo.clone(), emitter.now());
        let revision = request.revision.clone();
        let config = Arc::clone(&shared.config);
        let sees_programs = self.sees_programs;
        let glance = if std::mem::take(&mut self.is_whole) {
            Glance::Whole(Some(repo.clone()))
        } else {
            Glance::Changes(BTreeSet::new())
        };
        let looked = blocking(move || {
            let layout = Layout::new(cache::resolve_root(&config.cache_dir).map_err(from_cache)?);
            tidy(&config, &layout, &repo, &mut lookout, now);
            let sighting = lookout.look(&glance, Some(&repo), now)?;
            // Larder writes its marker for as long as it lives, also while it only hashes.
            let has_marker = layout.marker(&repo).symlink_metadata().is_ok();
            let may_grow = has_marker || sees_programs;
            let print = may_grow.then(|| cache::print_of_growth(&layout, &repo));
            let named = cache::read_ref(&layout, &repo, &revision).ok().flatten();
            Ok::<_, Failure>((lookout, sighting, print, named))
        });
        let (lookout, sighting, print, named) = looked.await??;
        self.lookout = Some(lookout);
        if let Some(cache) = sighting.cache {
            self.cache = cache;
        }
        let model = self
            .cache
            .models
            .iter()
            .filter(|model| model.repo == request.repo && is_meant(model, &request.revision))
            // A commit before a folder that only has the revision's name.
            .max_by_key(|model| (model.state == ModelState::Complete, model.commit.is_some()))
            .cloned();
        let mut busy: Vec<String> = sighting
            .locks
            .iter()
            .filter(|lock| lock.repo == request.repo && !lock.is_ours)
            .filter(|lock| lock.state == LockState::Held)
            .map(words)
            .collect();
        let partials = || {
            let all = self.cache.partials.iter();
            all.filter(|partial| partial.repo == request.repo)
        };
        // One that has merely changed a moment ago may be what a dead process left.
        let live = partials().filter(|partial| {
            matches!(
                partial.state,
                PartialState::Live {
                    is_ours: false,
                    pid: Some(_),
                    ..
                }
            )
        });
        busy.extend(live.map(|partial| {
            format!(
                "somebody writes `{}`",
                partial.file.as_deref().unwrap_or(&partial.path)
            )
        }));
        let bytes = partials().map(|partial| partial.bytes).sum::<u64>();
        let present = model.as_ref().map_or(0, |model| model.size_bytes);
        let why_absent = match &model {
            Some(_) => None,
            None => why_absent(&self.cache.models, request, named.as_ref()),
        };
        Ok(Seen {
            model,
            why_absent,
            busy,
            pulse: (bytes, present, print),
        })
    }
}

impl Seen {
    fn is_ready(&self) -> bool {
        let model = self.model.as_ref();
        model.is_some_and(|model| model.state == ModelState::Complete)
    }
}

/// Takes away a marker that was left behind, where larder may.
fn tidy(config: &Config, layout: &Layout, repo: &RepoId, lookout: &mut Lookout, now: SystemTime) {
    if config.is_read_only {
        return;
    }
    if let Err(error) = cache::remove_stale_marker(layout, repo, || lookout.programs(layout), now) {
        tracing::debug!(%error, "a marker that was left behind was not removed");
    }
}

fn is_meant(model: &ModelRow, revision: &Revision) -> bool {
    let revision = revision.as_str();
    model.refs.iter().any(|name| name == revision)
        || model.revision == revision
        || (revision.len() >= 7 && model.revision.starts_with(revision))
}

/// Why a ref leads to no model, where something of the repo is here: a snapshot without a ref is
/// whole, and what is missing is the name.
fn why_absent(
    models: &[ModelRow],
    request: &ReadyRequest,
    named: Option<&RefValue>,
) -> Option<String> {
    if request.revision.as_commit().is_some() {
        return None;
    }
    let mut here = models.iter().filter(|model| model.repo == request.repo);
    let name = sanitize(request.revision.as_str());
    let missing = match named {
        None => format!("the ref `{name}` is missing"),
        Some(value) if value.commit.is_none() => {
            format!("the ref `{name}` does not hold a commit")
        }
        Some(_) => return None,
    };
    let first = here.next()?;
    let whole: Vec<String> = std::iter::once(first)
        .chain(here)
        .filter(|model| model.state == ModelState::Complete)
        .filter_map(|model| Some(model.commit?.short()))
        .collect();
    Some(match whole.as_slice() {
        [] => missing,
        [one] => format!(
            "{missing}; the snapshot of {one} is here whole, and where that is what the Hub calls \
             `{name}`, a pull fetches nothing and writes the ref"
        ),
        more => format!(
            "{missing}; the snapshots of {} are here whole",
            more.join(", ")
        ),
    })
}

/// Who holds a lock, in a sentence.
fn words(lock: &LockRow) -> String {
    let who = match (&lock.program, lock.pid) {
        (Some(program), Some(pid)) => format!("`{program}` (process {pid})"),
        (None, Some(pid)) => format!("process {pid}"),
        _ => "another program".to_owned(),
    };
    match &lock.file {
        Some(file) => format!("{who} fetches `{file}`; {}", lock.proof),
        None => format!("{who} fetches it; {}", lock.proof),
    }
}

/// Says what is there, if it can be loaded.
async fn say(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    request: &ReadyRequest,
    seen: Seen,
) -> Result<(), Failure> {
    let not_ready = |what: &str| {
        Failure::new(
            FailureCode::Incomplete,
            format!("`{}` {what}", request.repo),
        )
    };
    let Some(model) = seen.model else {
        let failure = not_ready(&format!("is not in the cache at `{}`", request.revision));
        return Err(match seen.why_absent {
            Some(why) => failure.because(why),
            None => failure,
        });
    };
    let failure = match model.state {
        ModelState::Complete if !request.is_verified || is_verified(shared, &model).await? => None,
        ModelState::Complete => Some(
            Failure::new(
                FailureCode::Findings,
                format!(
                    "not all of `{}` was hashed since it last changed",
                    request.repo
                ),
            )
            .because("its files are there; `larder verify` hashes them"),
        ),
        ModelState::Partial => Some(not_ready("is not complete")),
        ModelState::Broken => Some(not_ready("is broken")),
        ModelState::Absent => Some(not_ready(&format!(
            "is not in the cache at `{}`",
            request.revision
        ))),
    };
    let note = model.commit.is_none().then(|| {
        format!(
            "`{}` is a folder of that name, not a commit: Python and mlx-lm do not find it by \
             its name, only by its path",
            model.revision
        )
    });
    let snapshot = model.snapshot.clone();
    let reasons: Vec<String> = model.problems.iter().take(REASONS).cloned().collect();
    emitter
        .fact(Event::ModelsListed {
            models: vec![model],
        })
        .await;
    match failure {
        None => {
            if let Some(note) = note {
                emitter.fact(Event::Noted { note }).await;
            }
            Ok(())
        }
        Some(failure) if reasons.is_empty() => Err(failure.at_path(snapshot)),
        Some(failure) => Err(failure.because(reasons.join("; ")).at_path(snapshot)),
    }
}

/// Whether the ledger knows every file of the snapshot as it is now.
async fn is_verified(shared: &Arc<Shared>, model: &ModelRow) -> Result<bool, Failure> {
    let (memory, config) = (Arc::clone(&shared.memory), Arc::clone(&shared.config));
    let (repo, commit) = (model.repo.clone(), model.commit);
    blocking(move || {
        let Some(commit) = commit else {
            return false;
        };
        let Ok(root) = cache::resolve_root(&config.cache_dir) else {
            return false;
        };
        let layout = Layout::new(root);
        let Ok(paths) = cache::snapshot_paths(&layout, &repo, &commit) else {
            return false;
        };
        let diary = memory.diary(&layout.blobs(&repo));
        let snapshot = layout.snapshot(&repo, &commit);
        let mut places = paths.iter().map(|path| snapshot.join(path.as_str()));
        places.all(|place| diary.knows_content(&place))
    })
    .await
}
