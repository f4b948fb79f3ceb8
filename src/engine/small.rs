//! Owns fetching a small file: into memory, since a partial on disk would cost more than fetching it
//! again.

use std::time::Duration;

use tokio::time::Instant;

use super::attempt::Attempt;
use super::emit::millis;
use super::job::{Halt, or_stop};
use super::sources::Body;
use super::writer::{PROGRESS_EVERY, STALL_TOLD, stalled};
use crate::domain::{Event, Want};
use crate::hub::{self, TransportKind};

/// Contents below this length are small.
pub(super) const SMALL_BYTES: u64 = 1 << 20;

/// Fetches all of `want`.
pub(super) async fn fetch(attempt: &mut Attempt<'_>, want: &Want) -> Result<Vec<u8>, Halt> {
    let opened = or_stop(&attempt.stop, attempt.job.source.open(want, 0)).await?;
    let body = opened.map_err(Attempt::halt_of)?;
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
                    attempt.job.flow.pace.came(count);
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
                Err(hub::Error::Transport { kind: TransportKind::Timeout, .. }) => {
                    return Err(Halt::Failed(stalled(attempt, heard.elapsed())));
                }
                Err(error) => return Err(Attempt::halt_of(error)),
            },
            () = tokio::time::sleep_until(heard + mark) => {
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
