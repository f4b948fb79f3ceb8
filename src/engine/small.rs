//! Owns fetching a small file: into memory, since a partial on disk would cost more than fetching it
//! again; then it is promoted together with others.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::attempt::{Attempt, Done};
use super::emit::millis;
use super::job::{Halt, or_stop};
use super::sources::Body;
use super::writer::{PROGRESS_EVERY, STALL_TOLD, not_run, stalled};
use crate::cache::{self, BlobLock, Small};
use crate::domain::{Event, Want};
use crate::hub;

/// Contents below this length are small.
pub(super) const SMALL_BYTES: u64 = 1 << 20;

impl Attempt<'_> {
    /// Fetches a small file and promotes it with others.
    pub(super) async fn fetch_small(
        &mut self,
        lock: BlobLock,
        connection: Option<OwnedSemaphorePermit>,
    ) -> Result<Done, Halt> {
        let connection = match connection {
            Some(connection) => connection,
            // Not waited for long: all that are before it are small.
            None => or_stop(&self.stop, self.job.budget.small_line())
                .await?
                .ok_or(Halt::Interrupted)?,
        };
        self.say_connecting().await;
        let want = self.want();
        let bytes = fetch(self, &want).await?;
        // For the next file, while this one waits for the disk.
        drop(connection);
        self.say_verifying().await;
        let (size, etag) = (bytes.len() as u64, self.remote.etag);
        let content = Small { etag, bytes, lock };
        let promoted = self.job.gather.promote(self.job, content).await?;
        match promoted {
            Ok(promoted) => Ok(Done::Fetched {
                fetched_bytes: size,
                healing: self.healing(promoted),
            }),
            Err(cache::Error::HashMismatch { .. }) => Err(self.mismatch(size, false, None).await),
            Err(error) => Err(Halt::of_cache(error)),
        }
    }
}

/// Fetches all of `want`.
async fn fetch(attempt: &mut Attempt<'_>, want: &Want) -> Result<Vec<u8>, Halt> {
    let opened = or_stop(&attempt.stop, attempt.job.source.open(want, 0)).await?;
    let body = opened.map_err(Halt::of_hub)?;
    attempt
        .job
        .emitter
        .fact(Event::Downloading {
            file: attempt.file,
            attempt: attempt.number,
            from_bytes: 0,
        })
        .await;
    let capacity = usize::try_from(want.size_bytes).unwrap_or_default();
    let mut bytes = Vec::with_capacity(capacity);
    let read = read(attempt, body, &mut bytes).await;
    let count = bytes.len() as u64;
    attempt.gained = 0..count;
    attempt
        .job
        .fetched_bytes
        .fetch_add(count, std::sync::atomic::Ordering::Relaxed);
    read.map(|()| bytes)
}

async fn read(attempt: &Attempt<'_>, mut body: Body, bytes: &mut Vec<u8>) -> Result<(), Halt> {
    let limit = attempt.job.config.stall_timeout;
    let mut heard = Instant::now();
    let mut told = heard;
    let mut mark = STALL_TOLD.min(limit);
    loop {
        tokio::select! {
            biased;
            () = attempt.stop.cancelled() => return Err(Halt::Interrupted),
            chunk = body.chunk() => match chunk {
                Ok(Some(chunk)) => {
                    let count = chunk.len() as u64;
                    attempt.job.flow.came(count);
                    or_stop(&attempt.stop, attempt.job.flow.rate.draw(count)).await?;
                    bytes.extend_from_slice(&chunk);
                    (heard, mark) = (Instant::now(), STALL_TOLD.min(limit));
                    if told.elapsed() >= PROGRESS_EVERY {
                        told = heard;
                        attempt.job.emitter.progress(Event::Progress {
                            file: attempt.file,
                            attempt: attempt.number,
                            bytes: bytes.len() as u64,
                        });
                    }
                }
                Ok(None) => return Ok(()),
                Err(hub::Error::Silent { .. }) => {
                    return Err(Halt::Failed(stalled(attempt, heard.elapsed())));
                }
                Err(error) => return Err(Halt::of_hub(error)),
            },
            () = tokio::time::sleep_until(heard + mark) => {
                if !not_run(heard + mark).is_zero() {
                    heard = Instant::now();
                    continue;
                }
                let silence = heard.elapsed();
                if silence >= limit {
                    return Err(Halt::Failed(stalled(attempt, silence)));
                }
                attempt
                    .job
                    .emitter
                    .fact(Event::Stalled {
                        file: attempt.file,
                        attempt: attempt.number,
                        silent_ms: millis(silence),
                    })
                    .await;
                mark = limit.min(silence + Duration::from_secs(1));
            }
        }
    }
}
