//! Owns the stream from a source to a partial: a network task reads, a thread writes and hashes,
//! and between them a short queue, so that memory stays flat at any size.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::attempt::Attempt;
use super::emit::millis;
use super::job::{Halt, blocking, or_stop};
use super::sources::Body;
use crate::cache::{self, BlobLock, Partial};
use crate::domain::{Event, Failure, FailureCode, Want};
use crate::hub;

/// A partial and the lock that makes it ours.
pub(super) struct Bench {
    pub(super) lock: BlobLock,
    pub(super) partial: Partial,
}

/// Chunks that may wait for the disk.
const QUEUE: usize = 4;
/// Least time between two progress events of a file.
pub(super) const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Silence after which a stall is told; it ends the attempt only at the configured timeout.
pub(super) const STALL_TOLD: Duration = Duration::from_secs(3);
/// A timer that comes so much too late says that this process did not run.
const LATE: Duration = Duration::from_secs(1);

/// Fetches what `bench` lacks and returns it full. On failure the partial stays on disk, and the
/// lock is released before this returns.
pub(super) async fn download(
    attempt: &mut Attempt<'_>,
    bench: Bench,
    want: &Want,
) -> Result<Bench, Halt> {
    let have = bench.partial.bytes();
    let opened = or_stop(&attempt.stop, attempt.job.source.open(want, have)).await?;
    let body = match opened {
        Ok(body) => body,
        Err(error) => {
            if is_unusable_range(&error) {
                rewind(
                    attempt,
                    bench,
                    have,
                    "the server refused to continue where it stopped",
                )
                .await?;
            }
            return Err(Halt::of_hub(error));
        }
    };
    let bench = if body.first_byte() == have {
        bench
    } else {
        rewind(
            attempt,
            bench,
            have,
            "the server sends the file from the beginning",
        )
        .await?
    };
    attempt
        .job
        .emitter
        .fact(Event::Downloading {
            file: attempt.file,
            attempt: attempt.number,
            from_bytes: body.first_byte(),
        })
        .await;
    let from = body.first_byte();
    let is_encoded = body.is_encoded();
    let written = Arc::new(AtomicU64::new(from));
    let restored = Arc::new(AtomicU64::new(0));
    let (sender, receiver) = mpsc::channel(QUEUE);
    let writing = {
        let (written, restored) = (Arc::clone(&written), Arc::clone(&restored));
        blocking(move || write_all(bench, receiver, &written, &restored))
    };
    let reading = read_all(attempt, body, sender, &written, &restored);
    // The reader owns the sender: the writer ends when the reader has.
    let (read, wrote) = tokio::join!(reading, writing);
    let reached = written.load(Ordering::Relaxed).max(from);
    attempt.gained = from..reached;
    attempt
        .job
        .fetched_bytes
        .fetch_add(reached - from, Ordering::Relaxed);
    let (bench, wrote) = wrote?;
    wrote.map_err(Halt::of_cache)?;
    match read {
        Ok(()) => Ok(bench),
        Err(halt) => {
            if is_encoded || matches!(halt, Halt::Mismatch(_)) {
                let why = if is_encoded {
                    "the server compressed it, so it cannot be continued"
                } else {
                    "the server sent something else"
                };
                let have = bench.partial.bytes();
                rewind(attempt, bench, have, why).await?;
            }
            Err(halt)
        }
    }
}

const fn is_unusable_range(error: &hub::Error) -> bool {
    matches!(
        error,
        hub::Error::RangeRejected { .. } | hub::Error::WrongRange { .. }
    )
}

/// Gives up what the partial holds.
async fn rewind(
    attempt: &Attempt<'_>,
    bench: Bench,
    from_bytes: u64,
    why: &str,
) -> Result<Bench, Halt> {
    let Bench { lock, mut partial } = bench;
    let (partial, restarted) = blocking(move || {
        let restarted = partial.restart();
        (partial, restarted)
    })
    .await?;
    restarted.map_err(Halt::of_cache)?;
    if from_bytes > 0 {
        attempt
            .job
            .emitter
            .fact(Event::Rewound {
                file: attempt.file,
                attempt: attempt.number,
                from_bytes,
                to_bytes: 0,
                why: why.to_owned(),
            })
            .await;
    }
    Ok(Bench { lock, partial })
}

/// Writes chunks until the reader ends or the disk fails.
fn write_all(
    mut bench: Bench,
    mut chunks: mpsc::Receiver<Bytes>,
    written: &AtomicU64,
    restored: &AtomicU64,
) -> (Bench, Result<(), cache::Error>) {
    while let Some(chunk) = chunks.blocking_recv() {
        match bench.partial.append(&chunk) {
            Ok(None) => {}
            Ok(Some(bytes)) => restored.store(bytes, Ordering::Relaxed),
            Err(error) => return (bench, Err(error)),
        }
        written.store(bench.partial.bytes(), Ordering::Relaxed);
    }
    (bench, Ok(()))
}

/// For how long this process has not run when it wakes so much after `due`: stopped by a signal, it
/// heard nobody. A moment is nothing to speak of.
pub(super) fn not_run(due: Instant) -> Duration {
    let late = due.elapsed();
    if late < LATE { Duration::ZERO } else { late }
}

/// Reads the body to its end, tells progress and stalls, and ends the attempt when nothing comes.
async fn read_all(
    attempt: &Attempt<'_>,
    mut body: Body,
    sender: mpsc::Sender<Bytes>,
    written: &AtomicU64,
    restored: &AtomicU64,
) -> Result<(), Halt> {
    let limit = attempt.job.config.stall_timeout;
    let mut heard = Instant::now();
    let mut told = Instant::now();
    loop {
        let silence = heard.elapsed();
        let next_mark = if silence < STALL_TOLD.min(limit) {
            STALL_TOLD.min(limit)
        } else {
            // Afterwards told once a second, so that the seconds shown are true.
            limit.min(silence + Duration::from_secs(1))
        };
        tokio::select! {
            biased;
            () = attempt.stop.cancelled() => return Err(Halt::Interrupted),
            chunk = body.chunk() => match chunk {
                Ok(Some(chunk)) => {
                    let count = chunk.len() as u64;
                    attempt.job.flow.came(count);
                    or_stop(&attempt.stop, attempt.job.flow.rate.draw(count)).await?;
                    // The queue is short: a full one means that the disk is the slower side, and
                    // a closed one that the writer failed, which its own result tells.
                    let sent = or_stop(&attempt.stop, sender.send(chunk)).await?;
                    if sent.is_err() {
                        return Ok(());
                    }
                    heard = Instant::now();
                }
                Ok(None) => {
                    tell_progress(attempt, written);
                    return Ok(());
                }
                // The client gives silence up by itself after the same time.
                Err(hub::Error::Silent { .. }) => {
                    return Err(Halt::Failed(stalled(attempt, heard.elapsed())));
                }
                Err(error) => return Err(Halt::of_hub(error)),
            },
            () = tokio::time::sleep_until(heard + next_mark) => {
                if !not_run(heard + next_mark).is_zero() {
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
            }
        }
        let bytes = restored.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            attempt
                .job
                .emitter
                .fact(Event::PartialRestored {
                    file: attempt.file,
                    attempt: attempt.number,
                    bytes,
                })
                .await;
        }
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            tell_progress(attempt, written);
        }
    }
}

fn tell_progress(attempt: &Attempt<'_>, written: &AtomicU64) {
    attempt.job.emitter.progress(Event::Progress {
        file: attempt.file,
        attempt: attempt.number,
        bytes: written.load(Ordering::Relaxed),
    });
}

pub(super) fn stalled(attempt: &Attempt<'_>, silence: Duration) -> Failure {
    Failure::new(FailureCode::Stalled, "the transfer stalled")
        .because(format!(
            "no byte arrived from `{}` for {} s",
            attempt.job.source.name(),
            silence.as_secs()
        ))
        .at_path(attempt.remote.path.as_str())
}
