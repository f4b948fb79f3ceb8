//! Owns gathering small files that were fetched, so that the disk gets many at once: whoever comes
//! first promotes all that have come by then; the others wait for their answer.
//!
//! **Law**: every file that is handed in gets exactly one answer.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use super::job::{Job, blocking};
use crate::cache::{self, Promoted, Small};
use crate::domain::{Failure, FailureCode};
use crate::ledger::Stamp;

/// Files that are promoted at once, at most: a kill loses no more than these.
const MOST: usize = 64;

type Answer = Result<cache::Result<Promoted>, Failure>;

/// So many are promoted side by side: one is written while the other waits for the disk.
const SIDE_BY_SIDE: usize = 2;

/// The small files of a pull that wait for the disk.
#[derive(Debug)]
pub(super) struct Gather {
    waiting: Mutex<Vec<(Small, oneshot::Sender<Answer>)>>,
    /// Held by whoever promotes.
    turns: Semaphore,
}

impl Default for Gather {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            turns: Semaphore::new(SIDE_BY_SIDE),
        }
    }
}

impl Gather {
    /// Promotes a file, together with others that are here.
    pub(super) async fn promote(&self, job: &Arc<Job>, small: Small) -> Answer {
        let (sender, mut answer) = oneshot::channel();
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((small, sender));
        loop {
            tokio::select! {
                biased;
                answered = &mut answer => return answered.unwrap_or_else(|_| Err(lost())),
                turn = self.turns.acquire() => {
                    let is_any = self.promote_those_here(job).await;
                    drop(turn);
                    if !is_any {
                        // This one is in a batch that another promotes.
                        return answer.await.unwrap_or_else(|_| Err(lost()));
                    }
                }
            }
        }
    }

    /// Promotes a batch; `false` if nothing waited.
    async fn promote_those_here(&self, job: &Arc<Job>) -> bool {
        let batch: Vec<_> = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let count = waiting.len().min(MOST);
            waiting.drain(..count).collect()
        };
        if batch.is_empty() {
            return false;
        }
        let (smalls, senders): (Vec<Small>, Vec<_>) = batch.into_iter().unzip();
        let work = Arc::clone(job);
        let promoted = blocking(move || {
            let etags: Vec<_> = smalls.iter().map(|small| small.etag).collect();
            let promoted = cache::promote_all(&work.layout, &work.repo, smalls);
            for (etag, one) in etags.iter().zip(&promoted) {
                if let Ok(promoted) = one
                    && let Some(found) = &promoted.metadata
                {
                    let blob = work.layout.blob(&work.repo, etag);
                    work.diary.learn(&blob, Stamp::of(found), etag);
                }
            }
            promoted
        })
        .await;
        match promoted {
            Ok(promoted) => {
                for (sender, one) in senders.into_iter().zip(promoted) {
                    answer(sender, Ok(one));
                }
            }
            Err(failure) => {
                for sender in senders {
                    answer(sender, Err(failure.clone()));
                }
            }
        }
        true
    }
}

fn answer(sender: oneshot::Sender<Answer>, answer: Answer) {
    if sender.send(answer).is_err() {
        tracing::debug!("nobody waits for a small file any more");
    }
}

fn lost() -> Failure {
    Failure::new(
        FailureCode::Internal,
        "a small file was lost on its way to the disk",
    )
}
