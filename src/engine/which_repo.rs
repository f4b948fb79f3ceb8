//! Owns finding out which repo offered files are of, where nobody says: by the folders they are in,
//! and by what is known of the repos on this machine.
//!
//! Never guesses between two that are as likely: then somebody has to say it.

use std::path::{Component, Path};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Shared;
use super::emit::Emitter;
use super::job::{Halt, blocking};
use super::known::{Source, files_of, known, known_repos};
use super::recognise::{Eyes, Index};
use crate::cache::{Layout, Offered};
use crate::domain::{Failure, FailureCode, ImportRequest, RepoId, RepoKind, Revision};

/// Files up to this length are read to find out.
const READ_UP_TO: u64 = 32 << 20;
/// So many repos that folders are named after are asked for at the Hub.
const ASKED: usize = 4;

/// Who looks at the files; it remembers what it has read.
pub(super) type Reader = Box<dyn Eyes + Send>;

/// A repo and how many of its contents the files are.
struct Candidate {
    source: Source,
    matches: usize,
}

/// The listing that the files are to be compared with.
pub(super) async fn which_repo(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    layout: &Layout,
    request: &ImportRequest,
    offered: &Arc<Vec<Offered>>,
    mut reader: Reader,
    stop: &CancellationToken,
) -> Result<(Source, Reader), Halt> {
    let revision = match request.commit {
        Some(commit) => Revision::new(&commit.to_string())
            .map_err(|error| Failure::new(FailureCode::Usage, error.to_string()))?,
        None => request.revision.clone(),
    };
    if let Some(repo) = &request.repo {
        let source = files_of(shared, emitter, layout, (repo, &revision), stop).await?;
        return Ok((source, reader));
    }
    let mut candidates: Vec<Candidate> = Vec::new();
    for repo in named_repos(request, offered) {
        match files_of(shared, emitter, layout, (&repo, &revision), stop).await {
            Ok(source) => {
                let counted = count(source, offered, reader).await?;
                reader = counted.1;
                candidates.push(counted.0);
            }
            Err(Halt::Interrupted) => return Err(Halt::Interrupted),
            // A folder may be called anything.
            Err(halt) => tracing::debug!(%repo, ?halt, "a folder's name is no repo"),
        }
    }
    if candidates.iter().all(|candidate| candidate.matches == 0) {
        let (sharing, at, of) = (Arc::clone(shared), layout.clone(), revision.clone());
        let here = blocking(move || {
            let repos = known_repos(&sharing, &at)?;
            let listed = repos
                .iter()
                .filter_map(|repo| known(&sharing, &at, repo, &of));
            Ok::<_, Failure>(listed.collect::<Vec<_>>())
        })
        .await??;
        for listed in here {
            let source = Source {
                listed,
                is_offline: true,
            };
            let counted = count(source, offered, reader).await?;
            reader = counted.1;
            candidates.push(counted.0);
        }
    }
    candidates.retain(|candidate| candidate.matches > 0);
    // The first of the best: folders' names come before what is merely known.
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.matches));
    let mut candidates = candidates.into_iter();
    let Some(best) = candidates.next() else {
        return Err(cannot_tell(&[]).into());
    };
    if let Some(next) = candidates.next()
        && next.matches == best.matches
        && next.source.listed.repo != best.source.listed.repo
    {
        let repos = [best.source.listed.repo, next.source.listed.repo];
        return Err(cannot_tell(&repos).into());
    }
    if !best.source.is_offline || shared.config.is_offline {
        return Ok((best.source, reader));
    }
    // The Hub's word, unless the files are of an older commit.
    let repo = best.source.listed.repo.clone();
    match files_of(shared, emitter, layout, (&repo, &revision), stop).await {
        Ok(source) => {
            let (fresh, reader) = count(source, offered, reader).await?;
            let better = if fresh.matches >= best.matches {
                fresh
            } else {
                best
            };
            Ok((better.source, reader))
        }
        Err(Halt::Interrupted) => Err(Halt::Interrupted),
        Err(_) => Ok((best.source, reader)),
    }
}

/// Counts off the threads that must not wait.
async fn count(
    source: Source,
    offered: &Arc<Vec<Offered>>,
    mut reader: Reader,
) -> Result<(Candidate, Reader), Halt> {
    let offered = Arc::clone(offered);
    blocking(move || {
        let matches =
            Index::of(&source.listed.files).matches(&offered, READ_UP_TO, &mut *reader)?;
        Ok((Candidate { source, matches }, reader))
    })
    .await?
    .map_err(Halt::of_cache)
}

fn cannot_tell(repos: &[RepoId]) -> Failure {
    let failure = Failure::new(
        FailureCode::Usage,
        "it cannot be told which repo these files are of",
    );
    match repos {
        [one, other] => failure.because(format!(
            "they are as well of `{one}` as of `{other}`: say which with `--repo`"
        )),
        _ => failure.because(
            "neither their folder nor what is known on this machine says it: name it with \
             `--repo ORG/NAME`",
        ),
    }
}

/// The repos that the folders on the way are named after: a Hub cache's `models--ORG--NAME`, or two
/// folders `ORG/NAME`, as most apps keep them.
fn named_repos(request: &ImportRequest, offered: &[Offered]) -> Vec<RepoId> {
    let mut found: Vec<RepoId> = Vec::new();
    let mut add = |repo: RepoId| {
        if !found.contains(&repo) && found.len() < ASKED {
            found.push(repo);
        }
    };
    let files = offered.iter().filter_map(|one| match one {
        Offered::File(file) => Some(file.path.as_path()),
        Offered::Outside(_) | Offered::Unreadable { .. } => None,
    });
    let typed: Vec<&Path> = request.paths.iter().map(AsRef::as_ref).collect();
    for path in typed.iter().copied().chain(files.clone()) {
        // As it was typed it may have no folders above it.
        let real = std::fs::canonicalize(path);
        let path = real.as_deref().unwrap_or(path);
        let names = path.components().filter_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        });
        names.filter_map(RepoId::from_folder).for_each(&mut add);
    }
    let folders = typed.iter().copied().chain(
        files
            .filter(|path| is_of_model(path))
            .filter_map(Path::parent),
    );
    for folder in folders {
        let real = std::fs::canonicalize(folder);
        let folder = real.as_deref().unwrap_or(folder);
        let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
        let pair = folder
            .parent()
            .and_then(|above| Some(format!("{}/{}", name(above)?, name(folder)?)));
        if let Some(repo) = pair.and_then(|pair| RepoId::new(RepoKind::Model, &pair).ok()) {
            add(repo);
        }
    }
    found
}

/// Whether a file says that its folder is a model's.
fn is_of_model(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "config.json")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn folders_name_the_repo() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        let names = |path: &str| {
            let folder = root.join(path);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("config.json"), "{}").unwrap();
            let named: PathBuf = root.join(path.split('/').next().unwrap());
            let request = ImportRequest {
                paths: vec![named.clone()],
                repo: None,
                revision: Revision::main(),
                commit: None,
                dry_run: false,
            };
            let offered = crate::cache::offered(&[named], &|| true).unwrap();
            let repos = named_repos(&request, &offered);
            repos.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let of = |path: &str, repo: &str| {
            let found = names(path);
            assert!(found.contains(&repo.to_owned()), "{path}: {found:?}");
        };
        of("models--org--m/snapshots/main", "org/m");
        of("lm-studio/mlx-community/gemma", "mlx-community/gemma");
    }
}
