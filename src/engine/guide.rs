//! Owns making the guide to fetching a model by hand: from the same plan that a pull would follow,
//! only what is missing of it.
//!
//! Never writes into the cache, and never tells a token.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::emit::Emitter;
use super::failure::from_hub;
use super::job::{Halt, blocking, heard_stop};
use super::known::{Source, files_of};
use super::prepare::{look, resolve, selection};
use super::pull::outcome_of;
use crate::cache::Layout;
use crate::domain::{
    Command, Event, Failure, FailureCode, Guide, GuideFile, GuideRequest, Outcome, PullRequest,
};

/// Makes a guide.
pub(super) async fn run(
    shared: Arc<Shared>,
    emitter: Emitter,
    request: GuideRequest,
    mut commands: mpsc::Receiver<Command>,
) {
    let stop = CancellationToken::new();
    let made = {
        let making = make(&shared, &emitter, &request, &stop);
        tokio::pin!(making);
        tokio::select! {
            biased;
            made = &mut making => made,
            () = heard_stop(&mut commands) => {
                stop.cancel();
                making.await
            }
        }
    };
    let (guide, outcome) = match made {
        Ok(guide) => (Some(Box::new(guide)), Outcome::Planned),
        Err(halt) => (None, outcome_of(halt)),
    };
    let failure = match &outcome {
        Outcome::Failed { failures } => failures.first().cloned(),
        _ => None,
    };
    emitter
        .fact(Event::Guided {
            repo: request.repo.clone(),
            guide,
            failure,
        })
        .await;
    emitter.fact(Event::Ended(outcome)).await;
}

async fn make(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    request: &GuideRequest,
    stop: &CancellationToken,
) -> Result<Guide, Halt> {
    let cache_dir = shared.config.cache_dir.clone();
    let layout = blocking(move || resolve(&cache_dir, "cache").map(Layout::new)).await??;
    let Source { listed, is_offline } = files_of(
        shared,
        emitter,
        &layout,
        (&request.repo, &request.revision),
        stop,
    )
    .await
    .map_err(|halt| by_hand_alone(shared, request, halt))?;
    let asked = PullRequest::new(listed.repo.clone(), request.revision.clone());
    let selected = selection(shared, &layout, &asked, &listed, stop).await?;
    let none = HashSet::new();
    let plan = look(shared, &layout, &asked, &listed, (selected, none)).await?;
    let mut files = Vec::new();
    let missing = plan
        .files
        .iter()
        .filter(|file| file.same_as.is_none() && !file.is_reuse);
    for file in missing {
        let url = shared
            .client
            .address_of(&plan.repo, &plan.commit, &file.path)
            .map_err(from_hub)?;
        files.push(GuideFile {
            path: file.path.clone(),
            size_bytes: file.size_bytes,
            etag: file.etag,
            url,
        });
    }
    Ok(Guide {
        endpoint: shared
            .config
            .endpoint
            .as_str()
            .trim_end_matches('/')
            .to_owned(),
        here_files: plan.files.iter().filter(|file| file.is_reuse).count(),
        // What is begun is fetched whole by hand.
        fetch_bytes: files.iter().map(|file| file.size_bytes).sum(),
        repo: plan.repo,
        revision: plan.revision,
        commit: plan.commit,
        files,
        needs_token: listed.is_restricted,
        is_offline,
    })
}

/// Where nothing is known, the page in a browser is what is left.
fn by_hand_alone(shared: &Shared, request: &GuideRequest, halt: Halt) -> Halt {
    let Halt::Failed(failure) = halt else {
        return halt;
    };
    if !(failure.code == FailureCode::Offline || failure.code.is_retryable()) {
        return Halt::Failed(failure);
    }
    let endpoint = shared.config.endpoint.as_str().trim_end_matches('/');
    let page = format!(
        "{endpoint}/{}/tree/{}",
        request.repo.url_path(),
        request.revision
    );
    let failure: Failure = failure.because(format!(
        "a guide needs the list of files; a browser shows it at {page}, and what is downloaded there \
         can be imported once the Hub has answered larder"
    ));
    Halt::Failed(failure)
}
