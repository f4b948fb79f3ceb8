//! Owns an import from command to ending: recognise what is offered, then build blobs, snapshot and
//! ref as a pull does, from these files instead of the network.
//!
//! **Law**: there is one way into the cache, and it is the pull's: its locks, its proof, its
//! publishing. What is offered is only read.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::board::{Board, Settled};
use super::emit::Emitter;
use super::history;
use super::job::{Halt, Job, blocking, heard_stop};
use super::known::Source as Listing;
use super::marker::Keeper;
use super::offers::Offers;
use super::prepare::{Listed, look, resolve, selection};
use super::publish::Publication;
use super::pull::{Order, job_of, keep_listing, outcome_of, sweep, tell_trouble};
use super::recognise::{Eyes, Index, Recognised, recognise};
use super::which_repo::{Reader, which_repo};
use crate::cache::{self, Layout, Looks, OfferedFile};
use crate::domain::{
    Command, Etag, Event, Failure, FailureCode, ImportRequest, ImportResult, MissingFile, Offer,
    OfferKind, Outcome, PullPlan, PullRequest, Recognition, RemoteFile, RepoId, RepoPath, sanitize,
};

/// Reading files of this length takes a while that is worth a line.
const LONG_BYTES: u64 = 256 << 20;

/// Imports, and says what came of it.
pub(super) async fn run(
    shared: Arc<Shared>,
    emitter: Emitter,
    request: ImportRequest,
    mut commands: mpsc::Receiver<Command>,
) {
    let started = emitter.now();
    let mut repo = request.repo.clone();
    let outcome = match import(&shared, &emitter, &request, &mut commands, &mut repo).await {
        Ok(outcome) => outcome,
        Err(halt) => outcome_of(halt),
    };
    if !request.dry_run {
        let bytes = match &outcome {
            Outcome::Imported(result) => result.imported_bytes,
            _ => 0,
        };
        let times = (started, emitter.now());
        let repos: Vec<RepoId> = repo.iter().cloned().collect();
        let row = history::row("import", &repos, bytes, times, &outcome);
        history::keep(&shared, row).await;
    }
    tell_trouble(&shared, &emitter).await;
    emitter.fact(Event::Ended(outcome)).await;
    if let Some(repo) = &repo {
        shared.stirred.add(repo);
    }
}

async fn import(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    request: &ImportRequest,
    commands: &mut mpsc::Receiver<Command>,
    repo: &mut Option<RepoId>,
) -> Result<Outcome, Halt> {
    let stop = CancellationToken::new();
    let prepared = {
        let preparing = prepare(shared, emitter, request, &stop);
        tokio::pin!(preparing);
        tokio::select! {
            biased;
            prepared = &mut preparing => prepared?,
            () = heard_stop(commands) => {
                stop.cancel();
                // A thread that reads lets go of its file, and only then is it over.
                preparing.await?
            }
        }
    };
    *repo = Some(prepared.plan.repo.clone());
    if request.dry_run {
        return Ok(Outcome::Planned);
    }
    carry_out(shared, emitter, request, prepared, commands).await
}

/// An import that is ready to start.
struct Prepared {
    layout: Layout,
    listed: Listed,
    /// The files that the model needs.
    required: Vec<RemoteFile>,
    /// The files that can be put in place.
    chosen: Vec<RemoteFile>,
    plan: PullPlan,
    offers: Offers,
}

/// Looks at everything and says what each file is. Never writes.
async fn prepare(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    request: &ImportRequest,
    stop: &CancellationToken,
) -> Result<Prepared, Halt> {
    let (cache_dir, paths, halt) = (
        shared.config.cache_dir.clone(),
        request.paths.clone(),
        stop.clone(),
    );
    let (layout, offered) = blocking(move || {
        let layout = Layout::new(resolve(&cache_dir, "cache")?);
        require_there(&paths)?;
        let offered = cache::offered(&paths, &|| !halt.is_cancelled()).map_err(Halt::of_cache)?;
        Ok::<_, Halt>((layout, Arc::new(offered)))
    })
    .await??;
    let reader: Reader = Box::new(Reading {
        emitter: emitter.clone(),
        stop: stop.clone(),
        layout: layout.clone(),
        repo: None,
        known: HashMap::new(),
    });
    let (listing, reader) =
        which_repo(shared, emitter, &layout, request, &offered, reader, stop).await?;
    let Listing { listed, is_offline } = listing;
    say_what(shared, emitter, request, &listed).await;
    let asked = PullRequest::new(listed.repo.clone(), request.revision.clone());
    let required = match selection(shared, &layout, &asked, &listed, stop).await {
        Ok(required) => required,
        Err(Halt::Interrupted) => return Err(Halt::Interrupted),
        // A repo of which a pull would not know what to fetch: what is offered is what is meant.
        Err(_) => Vec::new(),
    };
    let (recognised, listed) = {
        let (offered, reads_all) = (Arc::clone(&offered), request.dry_run);
        let mut reader = reader;
        reader.is_about(&listed.repo);
        blocking(move || {
            let found = recognise(&Index::of(&listed.files), &offered, reads_all, &mut *reader);
            (found, listed)
        })
        .await?
    };
    let recognised = recognised.map_err(Halt::of_cache)?;
    let sources = recognised.sources.clone();
    let wanted: HashSet<Etag> = sources.keys().copied().collect();
    // Everything that may be there in the end, to see what of it is.
    let every: Vec<RemoteFile> = listed
        .files
        .iter()
        .filter(|file| wanted.contains(&file.etag) || required.contains(file))
        .cloned()
        .collect();
    let glanced = look(shared, &layout, &asked, &listed, (every.clone(), wanted)).await?;
    let is_at_hand: Vec<bool> = glanced.files.iter().map(|file| file.is_reuse).collect();
    let split = |at_hand| {
        let files = every.iter().zip(&is_at_hand);
        files
            .filter(|(_, is)| **is == at_hand)
            .map(|(file, _)| file.clone())
            .collect::<Vec<_>>()
    };
    let (chosen, lacking) = (split(true), split(false));
    let recognition = Recognition {
        repo: listed.repo.clone(),
        revision: request.revision.clone(),
        commit: listed.commit,
        is_offline,
        offers: recognised.offers.clone(),
        more_foreign: recognised.more_foreign,
        missing: missing_of(&lacking),
    };
    emitter.fact(Event::Recognised(recognition)).await;
    if sources.is_empty() {
        return Err(nothing_of(&listed, &recognised).into());
    }
    let offered = sources.keys().copied().collect();
    let plan = look(shared, &layout, &asked, &listed, (chosen.clone(), offered)).await?;
    emitter.fact(Event::Planned(plan.clone())).await;
    Ok(Prepared {
        layout,
        listed,
        required,
        chosen,
        plan,
        offers: Offers::new(sources),
    })
}

/// What was named and is not there is a slip of the keys, and says nothing of the disk.
fn require_there(paths: &[PathBuf]) -> Result<(), Failure> {
    let gone = paths.iter().find(|path| {
        let looked = path.metadata();
        looked.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    });
    gone.map_or(Ok(()), |path| {
        let name = sanitize(&path.to_string_lossy());
        let what = match path.symlink_metadata() {
            Ok(_) => format!("the link `{name}` leads to nothing"),
            Err(_) => format!("there is no file or folder `{name}`"),
        };
        Err(Failure::new(FailureCode::Usage, what).because("nothing was imported"))
    })
}

/// Begins what a face shows as it shows a pull.
async fn say_what(shared: &Shared, emitter: &Emitter, request: &ImportRequest, listed: &Listed) {
    let endpoint = shared.config.endpoint.as_str().trim_end_matches('/');
    emitter
        .fact(Event::PullStarted {
            repo: listed.repo.clone(),
            revision: request.revision.clone(),
            endpoint: endpoint.to_owned(),
            cache_dir: shared.config.cache_dir.display().to_string(),
            is_dry_run: request.dry_run,
            is_offline: shared.config.is_offline,
        })
        .await;
    emitter
        .fact(Event::Resolved {
            repo: listed.repo.clone(),
            commit: listed.commit,
            files: listed.files.len(),
        })
        .await;
}

fn missing_of(files: &[RemoteFile]) -> Vec<MissingFile> {
    let missing = files.iter().map(|file| MissingFile {
        path: file.path.clone(),
        size_bytes: file.size_bytes,
    });
    missing.collect()
}

/// None of the files is one of the repo's.
fn nothing_of(listed: &Listed, recognised: &Recognised) -> Failure {
    let wrong: Vec<&Offer> = recognised
        .offers
        .iter()
        .filter(|offer| offer.kind.is_wrong())
        .collect();
    let files = recognised.offers.len() + recognised.more_foreign;
    let what = format!(
        "{} one of `{}` at {}",
        match files {
            0 => "no file was offered that is".to_owned(),
            1 => "the file that was offered is not".to_owned(),
            files => format!("none of the {files} files that were offered is"),
        },
        listed.repo,
        listed.commit.short()
    );
    let failure = Failure::new(FailureCode::Incomplete, what);
    match wrong.first() {
        Some(offer) => failure.because(format!("`{}` {}", offer.path, why(&offer.kind))),
        None => failure.because("nothing was imported; another `--revision` may hold them"),
    }
}

/// Why a file is not what it seems, after its name.
fn why(kind: &OfferKind) -> String {
    kind.words(&|bytes| format!("{bytes} bytes"))
}

/// Puts everything in place that can be.
async fn carry_out(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    request: &ImportRequest,
    prepared: Prepared,
    commands: &mut mpsc::Receiver<Command>,
) -> Result<Outcome, Halt> {
    let Prepared {
        layout,
        listed,
        required,
        chosen,
        plan,
        offers,
    } = prepared;
    let asked = PullRequest::new(plan.repo.clone(), request.revision.clone());
    let order = Order {
        request: &asked,
        deadline: None,
    };
    let job = job_of(shared, emitter, (&layout, &plan), Some(offers), order).await;
    sweep(&job).await;
    let keeper = Keeper::of_import(&job, &plan).await;
    let done = place(
        shared,
        emitter,
        request,
        &job,
        (listed, required),
        (plan, chosen),
        commands,
    )
    .await;
    keeper.end().await;
    done
}

/// Takes the files in, and makes visible what is proven.
async fn place(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    request: &ImportRequest,
    job: &Arc<Job>,
    (listed, required): (Listed, Vec<RemoteFile>),
    (plan, chosen): (PullPlan, Vec<RemoteFile>),
    commands: &mut mpsc::Receiver<Command>,
) -> Result<Outcome, Halt> {
    let mut board = Board::new(&plan.files, &chosen);
    let settled = board.run(job, commands).await;
    keep_diary(shared, job).await;
    match settled {
        Settled::Cancelled => return Ok(Outcome::Cancelled),
        Settled::Failed(failures) => {
            // A file that is not what it seemed is left out; anything else is no matter of one file.
            let graver: Vec<Failure> = failures
                .into_iter()
                .filter(|failure| failure.code != FailureCode::Incomplete)
                .collect();
            if !graver.is_empty() {
                return Ok(Outcome::Failed { failures: graver });
            }
        }
        Settled::Proven { .. } => {}
    }
    let proven = board.proven();
    let mut files = plan.files.iter().zip(&chosen);
    let selected: Vec<RemoteFile> = files
        .by_ref()
        .filter(|(planned, _)| proven.contains(&planned.file))
        .map(|(_, file)| file.clone())
        .collect();
    let publication = Arc::new(Publication {
        layout: job.layout.clone(),
        repo: plan.repo.clone(),
        revision: request.revision.clone(),
        commit: plan.commit,
        listing: listed.files,
        selected,
        use_symlinks: shared.config.use_symlinks,
        required: required.iter().map(|file| file.path.clone()).collect(),
        is_pinned: request.commit.is_some(),
    });
    let result = publish(job, &publication, &plan, &required).await?;
    if listed.is_afresh && listed.refused.is_empty() {
        keep_listing(shared, emitter, &publication).await;
    }
    if result.is_complete() {
        let (memory, job) = (Arc::clone(&shared.memory), Arc::clone(job));
        let revision = request.revision.clone();
        blocking(move || memory.forget_unfinished(job.layout.root(), &job.repo, &revision)).await?;
    }
    Ok(Outcome::Imported(result))
}

/// Keeps what was proven, so that it need not be read again.
async fn keep_diary(shared: &Shared, job: &Arc<Job>) {
    let (memory, job, now) = (
        Arc::clone(&shared.memory),
        Arc::clone(job),
        job.emitter.now(),
    );
    if let Err(failure) = blocking(move || memory.keep(&job.diary, now)).await {
        tracing::warn!(%failure, "what was proven was not remembered");
    }
}

/// Makes what is proven visible, and says what is not there.
async fn publish(
    job: &Arc<Job>,
    publication: &Arc<Publication>,
    plan: &PullPlan,
    required: &[RemoteFile],
) -> Result<ImportResult, Halt> {
    if publication.selected.is_empty() {
        let refused = job.offers.as_ref().map(Offers::refused).unwrap_or_default();
        let what = format!("nothing of `{}` was imported", plan.repo);
        let failure = Failure::new(FailureCode::Incomplete, what);
        let told = refused.first().map_or_else(
            || "no file that was offered is what it seemed".to_owned(),
            |offer| format!("`{}` {}", offer.path, why(&offer.kind)),
        );
        return Err(failure.because(told).into());
    }
    let work = Arc::clone(publication);
    let published = blocking(move || work.publish()).await??;
    for healing in published.healings {
        job.emitter.fact(Event::Healed(healing)).await;
    }
    for note in published.notes {
        job.emitter.fact(Event::Noted { note }).await;
    }
    let lacks: HashSet<&RepoPath> = published.missing.iter().collect();
    let lacking: Vec<RemoteFile> = required
        .iter()
        .filter(|file| lacks.contains(&file.path))
        .cloned()
        .collect();
    let offers = job.offers.as_ref();
    let taken = offers.map(Offers::taken).unwrap_or_default();
    let imported = |file: &&RemoteFile| taken.contains(&file.etag);
    let selected = &publication.selected;
    let imported_files = selected.iter().filter(imported).count();
    let mut counted = HashSet::new();
    let imported_bytes = selected
        .iter()
        .filter(imported)
        .filter(|file| counted.insert(file.etag))
        .map(|file| file.size_bytes)
        .sum();
    Ok(ImportResult {
        snapshot: plan.snapshot.clone(),
        commit: plan.commit,
        reference: published.reference,
        imported_files,
        imported_bytes,
        here_files: selected.len() - imported_files,
        refused: offers.map(Offers::refused).unwrap_or_default(),
        missing: missing_of(&lacking),
    })
}

/// Reads files that are offered, each at most once.
struct Reading {
    emitter: Emitter,
    stop: CancellationToken,
    layout: Layout,
    repo: Option<RepoId>,
    known: HashMap<PathBuf, [Etag; 2]>,
}

impl Eyes for Reading {
    fn is_about(&mut self, repo: &RepoId) {
        self.repo = Some(repo.clone());
    }

    fn hashes(&mut self, file: &OfferedFile) -> cache::Result<[Etag; 2]> {
        if let Some(known) = self.known.get(&file.path) {
            return Ok(*known);
        }
        let size = file.found.len();
        if size >= LONG_BYTES {
            let name = sanitize(&file.path.to_string_lossy());
            let note = format!("reading `{name}`, {size} bytes, to see what it is");
            self.emitter.progress(Event::Noted { note });
        }
        let stop = self.stop.clone();
        let hashes = cache::hashes_of(&file.path, size, &mut |_| {
            if stop.is_cancelled() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        self.known.insert(file.path.clone(), hashes);
        Ok(hashes)
    }

    fn looks(&self, path: &Path, name: &str) -> Looks {
        cache::looks_of(path, name)
    }

    fn is_here(&self, file: &RemoteFile) -> bool {
        let Some(repo) = &self.repo else {
            return false;
        };
        let blob = self.layout.blob(repo, &file.etag);
        std::fs::metadata(blob).is_ok_and(|found| found.is_file() && found.len() == file.size_bytes)
    }
}
