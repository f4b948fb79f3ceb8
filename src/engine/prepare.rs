//! Owns everything before the first byte: resolve, list, select, look at the disk, plan.
//!
//! Never writes. What it finds is a plan that can be shown.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Shared;
use super::emit::{Emitter, millis};
use super::failure::{from_cache, from_hub};
use super::job::{Halt, blocking, or_stop};
use super::local;
use super::memory::Verdicts;
use super::plan::{OnDisk, plan};
use super::selection::{RefusedEntry, needs_index, select, shards_of_index};
use super::sources::Source;
use crate::cache::{self, Check, Hasher, Layout, Pointer, Verdict};
use crate::domain::{
    Commit, Etag, Event, Failure, FailureCode, PullPlan, PullRequest, RemoteFile, RepoId, RetryIn,
    Validation, Want,
};
use crate::host;
use crate::hub::{self, backoff};

/// A pull that is ready to start.
pub(super) struct Prepared {
    /// Paths of the cache, its root resolved.
    pub(super) layout: Layout,
    /// Every file of the commit.
    pub(super) listing: Vec<RemoteFile>,
    /// Whether the source was asked for it, and said nothing that could not be taken.
    pub(super) is_listed_afresh: bool,
    /// The files the pull is for.
    pub(super) selected: Vec<RemoteFile>,
    /// The plan as shown.
    pub(super) plan: PullPlan,
    /// Whether it would load, if that was asked.
    pub(super) validation: Option<Validation>,
}

/// What the Hub, or in its absence the disk, says about a revision.
pub(super) struct Listed {
    pub(super) repo: RepoId,
    pub(super) commit: Commit,
    pub(super) files: Vec<RemoteFile>,
    pub(super) refused: Vec<hub::Refused>,
    /// Whether the source was asked for the files.
    pub(super) is_afresh: bool,
    /// Whether its files are not for everybody, as far as that was asked.
    pub(super) is_restricted: bool,
}

/// The largest index that is read before the plan, in bytes.
const MAX_INDEX_BYTES: u64 = 64 << 20;

/// Resolves, lists and plans.
pub(super) async fn prepare(
    shared: &Shared,
    emitter: &Emitter,
    request: &PullRequest,
    stop: &CancellationToken,
) -> Result<Prepared, Halt> {
    if request.force && shared.config.is_offline {
        return Err(Failure::new(
            FailureCode::Usage,
            "`--force` fetches again, and larder is offline",
        )
        .into());
    }
    let cache_dir = shared.config.cache_dir.clone();
    let root = blocking(move || resolve(&cache_dir, "cache")).await??;
    let layout = Layout::new(root);
    let listed = if shared.config.is_offline {
        from_disk(&layout, request).await?
    } else {
        from_source(shared, emitter, request, shared.config.retry.attempts, stop).await?
    };
    emitter
        .fact(Event::Resolved {
            repo: listed.repo.clone(),
            commit: listed.commit,
            files: listed.files.len(),
        })
        .await;
    let selected = selection(shared, &layout, request, &listed, stop).await?;
    // From here on the pull is about the local dir, if there is one.
    let layout = match &request.local_dir {
        Some(dir) => {
            let (dir, selected, force) = (dir.clone(), selected.clone(), request.force);
            let of = (listed.repo.clone(), listed.commit);
            let (memory, endpoint) = (
                Arc::clone(&shared.memory),
                shared.config.endpoint.to_string(),
            );
            blocking(move || {
                let listed = memory.listings(&endpoint);
                local::layout((&dir, force), &layout, (of, &listed), &selected)
            })
            .await??
        }
        None => layout,
    };
    let offered = HashSet::new();
    let plan = look(
        shared,
        &layout,
        request,
        &listed,
        (selected.clone(), offered),
    )
    .await?;
    Ok(Prepared {
        layout,
        is_listed_afresh: listed.is_afresh && listed.refused.is_empty(),
        listing: listed.files,
        selected,
        plan,
        validation: None,
    })
}

/// The files of a listing that a request is for.
pub(super) async fn selection(
    shared: &Shared,
    layout: &Layout,
    request: &PullRequest,
    listed: &Listed,
    stop: &CancellationToken,
) -> Result<Vec<RemoteFile>, Halt> {
    let shards = match needs_index(request, &listed.files) {
        Some(index) => read_index(shared, layout, listed, index, stop).await?,
        None => None,
    };
    let refused: Vec<RefusedEntry<'_>> = listed
        .refused
        .iter()
        .map(|entry| RefusedEntry {
            path: &entry.path,
            reason: &entry.reason,
        })
        .collect();
    let chosen = select(request, &listed.files, &refused, shards.as_ref())?;
    Ok(chosen
        .into_iter()
        .map(|at| listed.files[at].clone())
        .collect())
}

/// A cache's, or another, real folder; a volume that is not there is no empty one.
pub(super) fn resolve(folder: &std::path::Path, what: &str) -> Result<PathBuf, Failure> {
    let root = cache::resolve_root(folder).map_err(from_cache)?;
    if let Some(mount) = host::absent_mount(&root) {
        return Err(Failure::new(
            FailureCode::NotWritable,
            format!(
                "the {what} `{}` is on a volume that is not there",
                root.display()
            ),
        )
        .because(format!(
            "`{}` does not exist; connect the volume",
            mount.display()
        ))
        .at_path(root.display().to_string()));
    }
    Ok(root)
}

/// What the Hub says; it is asked so often at most.
pub(super) async fn from_source(
    shared: &Shared,
    emitter: &Emitter,
    request: &PullRequest,
    attempts: u32,
    stop: &CancellationToken,
) -> Result<Listed, Halt> {
    let client = &shared.client;
    let resolved = ask_up_to(shared, emitter, attempts, stop, || {
        client.revision(&request.repo, &request.revision)
    })
    .await?;
    // A commit's files never change: what this endpoint listed before saves a request.
    let known = {
        let (memory, endpoint) = (
            Arc::clone(&shared.memory),
            shared.config.endpoint.to_string(),
        );
        let (repo, commit) = (resolved.repo.clone(), resolved.commit);
        let host = shared.source().name().to_owned();
        let pace = Arc::clone(&shared.flow.pace);
        blocking(move || {
            if let Some(connections) = memory.connections_to(&host) {
                pace.begin_with(connections);
            }
            memory.listing(&endpoint, &repo, &commit)
        })
        .await?
    };
    if let Some(files) = known {
        return Ok(Listed {
            repo: resolved.repo,
            commit: resolved.commit,
            files,
            refused: Vec::new(),
            is_afresh: false,
            is_restricted: resolved.is_restricted,
        });
    }
    let listing = ask_up_to(shared, emitter, attempts, stop, || {
        client.listing(&resolved.repo, &resolved.commit)
    })
    .await?;
    Ok(Listed {
        repo: resolved.repo,
        commit: resolved.commit,
        files: listing.files,
        refused: listing.refused,
        is_afresh: true,
        is_restricted: resolved.is_restricted,
    })
}

/// Asks until there is an answer, a failure that patience does not mend, or a wish to stop.
pub(super) async fn ask<T, Answer: Future<Output = Result<T, hub::Error>>>(
    shared: &Shared,
    emitter: &Emitter,
    stop: &CancellationToken,
    question: impl Fn() -> Answer,
) -> Result<T, Halt> {
    ask_up_to(
        shared,
        emitter,
        shared.config.retry.attempts,
        stop,
        question,
    )
    .await
}

/// [`ask`], so often at most.
async fn ask_up_to<T, Answer: Future<Output = Result<T, hub::Error>>>(
    shared: &Shared,
    emitter: &Emitter,
    attempts: u32,
    stop: &CancellationToken,
    question: impl Fn() -> Answer,
) -> Result<T, Halt> {
    let policy = &shared.config.retry;
    let mut failures = 0;
    loop {
        let error = match or_stop(stop, question()).await? {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        failures += 1;
        let failure = from_hub(error);
        if !failure.code.is_retryable() || failures >= attempts {
            return Err(Halt::Failed(failure));
        }
        let wait = match failure.retry_after_ms {
            Some(ms) => std::time::Duration::from_millis(ms),
            None => backoff(policy, failures, fastrand::f64()),
        };
        emitter
            .fact(Event::ListingRetried {
                failure,
                retry: RetryIn {
                    wait_ms: millis(wait),
                    failure: failures,
                    of: attempts,
                },
            })
            .await;
        or_stop(stop, tokio::time::sleep(wait)).await?;
    }
}

/// The listing an earlier pull, or Python, kept.
async fn from_disk(layout: &Layout, request: &PullRequest) -> Result<Listed, Failure> {
    let (layout, repo, revision) = (
        layout.clone(),
        request.repo.clone(),
        request.revision.clone(),
    );
    blocking(move || {
        let offline = |why: String| {
            Failure::new(
                FailureCode::Offline,
                format!("`{repo}` cannot be asked for while larder is offline"),
            )
            .because(why)
        };
        let commit = match revision.as_commit() {
            Some(commit) => commit,
            None => match cache::read_ref(&layout, &repo, &revision).map_err(from_cache)? {
                Some(value) => value.commit.ok_or_else(|| {
                    offline(format!(
                        "the ref `{revision}` does not hold a commit; a pull online puts it right"
                    ))
                })?,
                None => {
                    return Err(offline(format!(
                        "no ref `{revision}` of it is in the cache"
                    )));
                }
            },
        };
        let files = cache::read_tree(&layout, &repo, &commit)
            .ok_or_else(|| offline(format!("no listing of commit {} is kept", commit.short())))?;
        Ok(Listed {
            repo,
            commit,
            files,
            refused: Vec::new(),
            is_afresh: false,
            is_restricted: false,
        })
    })
    .await?
}

/// Reads the index from the cache, or fetches it into memory; proven either way.
///
/// `None` if it is not JSON of the expected form: then it vouches for nothing.
async fn read_index(
    shared: &Shared,
    layout: &Layout,
    listed: &Listed,
    index: &RemoteFile,
    stop: &CancellationToken,
) -> Result<Option<BTreeSet<String>>, Halt> {
    let blob = layout.blob(&listed.repo, &index.etag);
    let (etag, size_bytes) = (index.etag, index.size_bytes);
    let cached = blocking(move || {
        let mut never = |_| std::ops::ControlFlow::Continue(());
        match cache::check(&blob, &etag, size_bytes, Check::Hash, &mut never) {
            Ok(Verdict::Proven) => std::fs::read(&blob).ok(),
            _ => None,
        }
    })
    .await?;
    if let Some(bytes) = cached {
        return Ok(shards_of_index(&bytes));
    }
    if shared.config.is_offline {
        return Ok(None);
    }
    if size_bytes > MAX_INDEX_BYTES {
        return Err(Failure::new(
            FailureCode::SizeMismatch,
            format!("`{}` is too large to be an index", index.path),
        )
        .into());
    }
    let want = Want {
        repo: listed.repo.clone(),
        commit: listed.commit,
        path: index.path.clone(),
        etag,
        size_bytes,
    };
    let source = shared.source();
    let policy = &shared.config.retry;
    let mut failures = 0;
    loop {
        match or_stop(stop, fetch_small(&source, &want)).await? {
            Ok(bytes) => return Ok(shards_of_index(&bytes)),
            Err(failure) => {
                failures += 1;
                let once_afresh = failure.code == FailureCode::ChecksumMismatch && failures == 1;
                if failures >= policy.attempts || !(failure.code.is_retryable() || once_afresh) {
                    return Err(failure.into());
                }
                let pause = backoff(policy, failures, fastrand::f64());
                or_stop(stop, tokio::time::sleep(pause)).await?;
            }
        }
    }
}

/// Fetches a small file into memory and proves it.
async fn fetch_small(source: &Source, want: &Want) -> Result<Vec<u8>, Failure> {
    let mut body = source.open(want, 0).await.map_err(from_hub)?;
    let mut hasher = Hasher::new(&want.etag, want.size_bytes);
    let mut bytes = Vec::new();
    while let Some(chunk) = body.chunk().await.map_err(from_hub)? {
        hasher.update(&chunk);
        bytes.extend_from_slice(&chunk);
    }
    if hasher.finish() {
        Ok(bytes)
    } else {
        Err(Failure::new(
            FailureCode::ChecksumMismatch,
            format!(
                "`{}` does not match its {}",
                want.path,
                want.etag.algorithm()
            ),
        )
        .at_path(want.path.as_str()))
    }
}

/// Looks at the disk, without hashing, and plans. Of what is `offered` the bytes lie somewhere on
/// this machine. What was hashed before and is wrong is not here, whatever its name and length.
pub(super) async fn look(
    shared: &Shared,
    layout: &Layout,
    request: &PullRequest,
    listed: &Listed,
    (selected, offered): (Vec<RemoteFile>, HashSet<Etag>),
) -> Result<PullPlan, Failure> {
    let layout = layout.clone();
    let (repo, commit) = (listed.repo.clone(), listed.commit);
    let (config, is_forced) = (Arc::clone(&shared.config), request.force);
    let (revision, is_offline) = (request.revision.clone(), shared.config.is_offline);
    let left_out = listed.files.len().saturating_sub(selected.len());
    let memory = Arc::clone(&shared.memory);
    blocking(move || {
        let paths = || selected.iter().map(|file| &file.path);
        // The file system is asked only where its answer matters.
        if let Some((one, other)) = cache::find_collision(paths(), true)
            && folds_case(layout.root())
        {
            return Err(Failure::new(
                FailureCode::NameCollision,
                format!("`{one}` and `{other}` would be one file on this file system"),
            )
            .because("it does not tell upper from lower case or Unicode forms apart")
            .at_path(other.as_str()));
        }
        let mut on_disk: HashMap<Etag, OnDisk> = HashMap::new();
        let here = Here {
            has_snapshot: layout.snapshot(&repo, &commit).exists(),
            neighbours: local::neighbours(&config, &layout, &repo),
            verdicts: Verdicts::of(&memory),
        };
        let resumable = cache::all_resumable(&layout, &repo);
        for remote in &selected {
            // A place that cannot even be looked at is told now, not after the last byte.
            let pointer = layout.pointer(&repo, &commit, &remote.path);
            if let Err(error) = pointer.symlink_metadata()
                && error.kind() == std::io::ErrorKind::InvalidFilename
            {
                let error = cache::Error::from_io("place", &pointer, error);
                return Err(from_cache(error));
            }
            on_disk.entry(remote.etag).or_insert_with(|| {
                let partial_bytes = resumable.get(&remote.etag).copied().unwrap_or(0);
                let found = glance(&layout, &repo, &commit, remote, &here, partial_bytes);
                if found.is_whole || !offered.contains(&remote.etag) {
                    return found;
                }
                OnDisk {
                    is_whole: true,
                    is_copied: true,
                    partial_bytes: 0,
                }
            });
        }
        let mut sums = plan(&selected, &on_disk, is_forced);
        sums.disk_bytes += local::bytes_of_copies(&layout, &sums.files);
        Ok(PullPlan {
            snapshot: layout.snapshot(&repo, &commit).display().to_string(),
            free_bytes: host::free_space(layout.root()).ok(),
            repo,
            revision,
            commit,
            files: sums.files,
            left_out,
            total_bytes: sums.total_bytes,
            fetch_bytes: sums.fetch_bytes,
            disk_bytes: sums.disk_bytes,
            is_offline,
        })
    })
    .await?
}

/// Whether the cache's file system folds case, asked where its folder is or would be.
fn folds_case(root: &std::path::Path) -> bool {
    let Some(folder) = root.ancestors().find(|folder| folder.is_dir()) else {
        return false;
    };
    // A folder that cannot be written gives no answer, and no pull either.
    host::folds_case(folder).unwrap_or(false)
}

/// Where contents of a commit may lie beside the repo's blobs.
struct Here<'a> {
    /// Whether there is a folder, or anything else, in the place of the snapshot.
    has_snapshot: bool,
    neighbours: cache::Neighbours,
    /// What is remembered of files that were hashed.
    verdicts: Verdicts<'a>,
}

/// What is on disk of one content, by names, sizes and what is remembered.
fn glance(
    layout: &Layout,
    repo: &RepoId,
    commit: &Commit,
    remote: &RemoteFile,
    here: &Here<'_>,
    partial_bytes: u64,
) -> OnDisk {
    let is_wrong = |path: &Path| here.verdicts.is_known_wrong(path, &remote.etag);
    let blob = layout.blob(repo, &remote.etag);
    let blob_bytes = std::fs::metadata(&blob)
        .ok()
        .filter(std::fs::Metadata::is_file)
        .map(|found| found.len());
    if blob_bytes == Some(remote.size_bytes) && !is_wrong(&blob) {
        return OnDisk {
            is_whole: true,
            ..OnDisk::default()
        };
    }
    let pointer = layout.pointer(repo, commit, &remote.path);
    let is_regular = here.has_snapshot
        && matches!(
            cache::inspect_pointer(layout, repo, commit, &remote.path, &remote.etag),
            Ok(Pointer::Regular)
        )
        && std::fs::metadata(&pointer).is_ok_and(|found| found.len() == remote.size_bytes)
        && !is_wrong(&pointer);
    let is_beside = || {
        let found = here.neighbours.find(remote);
        found.iter().any(|path| !is_wrong(path))
    };
    if is_regular || is_beside() {
        return OnDisk {
            is_whole: true,
            is_copied: true,
            partial_bytes: 0,
        };
    }
    // In a local dir it may be another file, or another revision of it.
    let is_its_own = || {
        !layout.is_local()
            || cache::standing(layout, &remote.path)
                .is_ok_and(|found| found == cache::Standing::Noted(remote.etag))
    };
    match blob_bytes {
        Some(bytes) if bytes < remote.size_bytes && bytes > partial_bytes && is_its_own() => {
            OnDisk {
                is_whole: false,
                is_copied: true,
                partial_bytes: bytes,
            }
        }
        _ => OnDisk {
            is_whole: false,
            is_copied: false,
            partial_bytes: if partial_bytes > remote.size_bytes {
                0
            } else {
                partial_bytes
            },
        },
    }
}
