//! Owns asking whether a model would load before it is downloaded: the small files whole, of each
//! weight file eight bytes and then its header.
//!
//! Never writes; judges with what judges a folder (`mlx`).

use std::collections::BTreeMap;

use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::emit::Emitter;
use super::job::Halt;
use super::prepare::{Prepared, ask};
use crate::domain::{Failure, FailureCode, LoadLevel, PullPlan, RemoteFile, Validation, Want};
use crate::hub;
use crate::mlx::{self, Ask, Listed};

/// Files that are asked for at once.
const AT_ONCE: usize = 8;
/// The length of a header stands in the first bytes.
const LENGTH_BYTES: u64 = 8;

/// Asks, and judges.
pub(super) async fn validate(
    shared: &Shared,
    emitter: &Emitter,
    prepared: &Prepared,
    stop: &CancellationToken,
) -> Result<Validation, Halt> {
    if shared.config.is_offline {
        return Err(Failure::new(
            FailureCode::Offline,
            "`--validate` asks for parts of the files, and larder is offline",
        )
        .into());
    }
    let listing: BTreeMap<&str, &RemoteFile> = prepared
        .selected
        .iter()
        .map(|file| (file.path.as_str(), file))
        .collect();
    let mut files: BTreeMap<String, Listed> = listing
        .iter()
        .map(|(name, file)| {
            let listed = Listed {
                size_bytes: file.size_bytes,
                start: None,
            };
            ((*name).to_owned(), listed)
        })
        .collect();
    let mut asked_bytes = 0;
    // The index, once it is there, may name further weights.
    loop {
        let wanted = mlx::asks(&prepared.selected, &files);
        if wanted.is_empty() {
            break;
        }
        let mut answers = futures::stream::iter(wanted)
            .map(|wanted| {
                let (Ask::Whole(name) | Ask::Header(name)) = &wanted;
                let file = listing.get(name.as_str()).copied();
                async move {
                    let (Ask::Whole(name) | Ask::Header(name)) = &wanted;
                    let start = match file {
                        Some(file) => fetch(shared, emitter, prepared, &wanted, file, stop).await?,
                        None => Vec::new(),
                    };
                    Ok::<_, Halt>((name.clone(), start))
                }
            })
            .buffer_unordered(AT_ONCE);
        while let Some(answer) = answers.next().await {
            let (name, start) = answer?;
            asked_bytes += start.len() as u64;
            if let Some(listed) = files.get_mut(&name) {
                listed.start = Some(start);
            }
        }
    }
    let examination = mlx::examine_listed(&files);
    Ok(Validation {
        would_load: examination.would_load(),
        asked_bytes,
        troubles: examination.troubles,
    })
}

/// What is needed of one file.
async fn fetch(
    shared: &Shared,
    emitter: &Emitter,
    prepared: &Prepared,
    wanted: &Ask,
    file: &RemoteFile,
    stop: &CancellationToken,
) -> Result<Vec<u8>, Halt> {
    let want = Want {
        repo: prepared.plan.repo.clone(),
        commit: prepared.plan.commit,
        path: file.path.clone(),
        etag: file.etag,
        size_bytes: file.size_bytes,
    };
    let (shared_source, want) = (shared.source(), &want);
    let part = |from: u64, end: u64| {
        let source = shared_source.clone();
        async move {
            if from >= end {
                return Ok(Vec::new());
            }
            let (body, _) = source.range(want, from..end, None).await?;
            read(body, from, end).await
        }
    };
    match wanted {
        Ask::Whole(_) => ask(shared, emitter, stop, || part(0, want.size_bytes)).await,
        Ask::Header(_) => {
            let end = LENGTH_BYTES.min(want.size_bytes);
            let mut start = ask(shared, emitter, stop, || part(0, end)).await?;
            if let Some(end) = mlx::header_length(&start, want.size_bytes) {
                let rest = ask(shared, emitter, stop, || part(LENGTH_BYTES, end)).await?;
                start.extend(rest);
            }
            Ok(start)
        }
    }
}

/// The bytes from `from` to before `end`, of a body that may be the whole file: not every server
/// does ranges. What comes after them is not waited for.
async fn read(mut body: super::sources::Body, from: u64, end: u64) -> Result<Vec<u8>, hub::Error> {
    let length = usize::try_from(end - from).unwrap_or(usize::MAX);
    let mut skip = from.saturating_sub(body.first_byte());
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let Some(chunk) = body.chunk().await? else {
            break;
        };
        let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
        skip -= skipped as u64;
        let rest = &chunk[skipped..];
        bytes.extend_from_slice(&rest[..rest.len().min(length - bytes.len())]);
    }
    Ok(bytes)
}

/// What a model that would not load ends with.
pub(super) fn refusal(plan: &PullPlan, validation: &Validation) -> Option<Failure> {
    if validation.would_load {
        return None;
    }
    let mut failure = Failure::new(
        FailureCode::Findings,
        format!("`{}` would not load", plan.repo),
    );
    for trouble in &validation.troubles {
        if matches!(trouble.level, LoadLevel::Broken | LoadLevel::Missing) {
            failure = failure.because(trouble.sentence.clone());
        }
    }
    Some(failure)
}
