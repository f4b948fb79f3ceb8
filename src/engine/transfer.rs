//! Owns one blob's way from wish to proven: attempts, backoff, pausing. What one attempt does is
//! `attempt.rs`.
//!
//! **Law**: between attempts nothing is held: no lock, no slot, no connection.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::at_work::{AtWork, Claim, Subject};
use super::attempt::{Attempt, Done, Start};
use super::control::{Control, Wish};
use super::emit::millis;
use super::job::{Halt, Job};
use crate::domain::{
    Event, Failure, FailureCode, FileId, Healing, RemoteFile, RepoPath, RetryIn, sanitize,
};
use crate::hub::backoff;

/// How a transfer ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// The blob is proven and in place.
    Proven {
        /// Whether by hash, not by size alone.
        is_verified: bool,
    },
    /// It failed for good.
    Failed(Failure),
    /// The user cancelled it.
    Cancelled,
}

/// One content of a pull.
#[derive(Clone, Debug)]
pub(super) struct Transfer {
    /// Its id in events.
    pub(super) file: FileId,
    /// The content.
    pub(super) remote: RemoteFile,
    /// Every selected path with this content.
    pub(super) paths: Vec<RepoPath>,
    /// Whether nothing of it was here when the pull was planned.
    pub(super) is_new: bool,
    /// Attempts made in earlier runs of this job, so that numbers never repeat.
    pub(super) attempts: u32,
}

/// Retry state of one run.
#[derive(Default)]
struct Patience {
    failures: u32,
    /// Fetched bytes that did not match.
    afresh: u32,
    /// Resumed bytes that did not match.
    doubts: u32,
    /// Bytes of earlier runs that were given up because the whole did not match.
    suspects: u32,
    /// How far the file was ever fetched: what comes again is nothing new.
    reached_bytes: u64,
    /// New bytes since the count of failures last started.
    new_bytes: u64,
    /// What the next attempt may build on.
    start: Start,
}

impl Transfer {
    /// Runs until the blob is proven, failed or cancelled; returns itself for a later retry.
    pub(super) async fn run(
        mut self,
        job: Arc<Job>,
        mut ear: watch::Receiver<Control>,
    ) -> (Self, Ending) {
        let subject = Subject {
            repo: job.repo.clone(),
            etag: self.remote.etag,
            file: self.remote.path.clone(),
            size_bytes: self.remote.size_bytes,
        };
        let emitter = job.emitter.clone();
        let _wanted = AtWork::claim(&job.at_work, subject, Claim::Wants, emitter);
        let mut patience = Patience::default();
        let mut is_told = false;
        let ending = loop {
            if let Some(ending) = self.wait_until_wanted(&job, &mut ear, is_told).await {
                break ending;
            }
            is_told = false;
            self.attempts += 1;
            match self
                .attempt(&job, patience.start, patience.suspects == 0, &mut ear)
                .await
            {
                Ok(done) => break self.report_done(&job, done).await,
                Err((Halt::Interrupted, _)) => {
                    // Resumed while it still stopped: it goes on. Without anybody to resume it, a
                    // stop is for good.
                    let goes_on = ear.borrow().wish != Wish::Cancel && ear.has_changed().is_ok();
                    self.report_stopped(&job, goes_on).await;
                    if !goes_on {
                        break Ending::Cancelled;
                    }
                    is_told = true;
                }
                Err((halt, gained)) => {
                    let (mut failure, wait) = patience.judge(halt, &gained, &job);
                    if failure.path.is_none() {
                        failure.path = Some(sanitize(self.remote.path.as_str()));
                    }
                    let retry = wait.map(|wait| RetryIn {
                        wait_ms: millis(wait),
                        failure: patience.failures,
                        of: job.config.retry.attempts,
                    });
                    job.emitter
                        .fact(Event::Failed {
                            file: self.file,
                            attempt: self.attempts,
                            failure: failure.clone(),
                            retry,
                        })
                        .await;
                    let Some(wait) = wait else {
                        break Ending::Failed(failure);
                    };
                    job.diary.tried_again();
                    rest(wait, &mut ear).await;
                }
            }
        };
        (self, ending)
    }

    /// Holds while paused, and says so unless it `is_told`; an ending if cancelled before anything
    /// was tried.
    async fn wait_until_wanted(
        &mut self,
        job: &Job,
        ear: &mut watch::Receiver<Control>,
        is_told: bool,
    ) -> Option<Ending> {
        let wish = ear.borrow_and_update().wish;
        if wish == Wish::Run {
            return None;
        }
        let mut is_said = is_told;
        loop {
            let wish = ear.borrow_and_update().wish;
            match wish {
                Wish::Run => return None,
                Wish::Cancel => {
                    self.attempts += 1;
                    self.report_stopped(job, false).await;
                    return Some(Ending::Cancelled);
                }
                Wish::Pause if !is_said => {
                    is_said = true;
                    self.attempts += 1;
                    self.report_stopped(job, true).await;
                }
                Wish::Pause => {}
            }
            if ear.changed().await.is_err() {
                return Some(Ending::Cancelled);
            }
        }
    }

    /// One attempt, interrupted as soon as the wish changes; with the bytes it gained on failure.
    async fn attempt(
        &mut self,
        job: &Arc<Job>,
        start: Start,
        may_suspect: bool,
        ear: &mut watch::Receiver<Control>,
    ) -> Result<Done, (Halt, Range<u64>)> {
        let stop = CancellationToken::new();
        let attempt = Attempt::new(job, self, start, may_suspect, &stop);
        let run = attempt.run();
        tokio::pin!(run);
        loop {
            tokio::select! {
                biased;
                done = &mut run => return done,
                heard = ear.changed() => {
                    if heard.is_err() || ear.borrow().wish != Wish::Run {
                        stop.cancel();
                        // The attempt lets go of what it holds, and only then ends.
                        return run.await;
                    }
                }
            }
        }
    }

    async fn report_done(&self, job: &Job, done: Done) -> Ending {
        let (file, attempt) = (self.file, self.attempts);
        let (event, healing, is_verified) = match done {
            Done::Reused {
                origin,
                is_verified,
                healing,
            } => (
                Event::Reused {
                    file,
                    attempt,
                    origin,
                    is_verified,
                },
                healing,
                is_verified,
            ),
            Done::Fetched {
                fetched_bytes,
                healing,
            } => (
                Event::Finished {
                    file,
                    attempt,
                    fetched_bytes,
                },
                healing,
                true,
            ),
        };
        self.report_healing(job, healing).await;
        job.emitter.fact(event).await;
        Ending::Proven { is_verified }
    }

    async fn report_healing(&self, job: &Job, healing: Option<Healing>) {
        if let Some(healing) = healing {
            job.emitter.fact(Event::Healed(healing)).await;
        }
    }

    async fn report_stopped(&self, job: &Job, is_paused: bool) {
        job.emitter
            .fact(Event::Cancelled {
                file: self.file,
                attempt: self.attempts,
                is_paused,
            })
            .await;
    }
}

impl Patience {
    /// Bytes that do not match are fetched afresh this often.
    const AFRESH: u32 = 1;
    /// Bytes that were here and do not match are given up for new ones this often; afterwards the
    /// source is to blame.
    const DOUBTS: u32 = 1;
    /// Spread over which tasks come back after a rate limit.
    const SPREAD_MS: u64 = 500;

    /// The failure to report and how long to rest before the next attempt; `None` ends it.
    fn judge(&mut self, halt: Halt, gained: &Range<u64>, job: &Job) -> (Failure, Option<Duration>) {
        let policy = &job.config.retry;
        if self.start == Start::Nothing {
            // What lies here now is what the last attempt fetched.
            self.start = Start::Partials;
        }
        match halt {
            Halt::Interrupted => (Failure::new(FailureCode::Cancelled, "cancelled"), None),
            Halt::Doubt(failure) if self.doubts < Self::DOUBTS => {
                self.doubts += 1;
                self.failures = 1;
                self.begin_again();
                (failure, Some(Duration::ZERO))
            }
            Halt::Suspect(failure) => {
                self.suspects += 1;
                self.failures = 1;
                (failure, Some(Duration::ZERO))
            }
            Halt::Mismatch(failure) | Halt::Doubt(failure) => {
                self.afresh += 1;
                self.failures += 1;
                self.begin_again();
                let wait = (self.afresh <= Self::AFRESH).then_some(Duration::ZERO);
                (failure, wait)
            }
            Halt::Again(failure) => {
                self.count(gained, policy.fresh_after_bytes);
                let wait = (self.failures < policy.attempts).then(|| {
                    if self.failures <= 1 {
                        Duration::ZERO
                    } else {
                        backoff(policy, self.failures - 1, fastrand::f64())
                    }
                });
                (failure, wait)
            }
            Halt::Failed(failure) => {
                self.count(gained, policy.fresh_after_bytes);
                if !failure.code.is_retryable()
                    || job.config.is_offline
                    || self.failures >= policy.attempts
                {
                    return (failure, None);
                }
                let wait = match failure.retry_after_ms {
                    Some(at) => Duration::from_millis(at + fastrand::u64(0..Self::SPREAD_MS)),
                    None => backoff(policy, self.failures, fastrand::f64()),
                };
                (failure, Some(wait))
            }
        }
    }

    /// Nothing that was here or fetched so far counts any more.
    fn begin_again(&mut self) {
        self.start = Start::Nothing;
        self.reached_bytes = 0;
        self.new_bytes = 0;
    }

    /// Counts a failure, afresh once the attempts together got far enough beyond all before them.
    fn count(&mut self, gained: &Range<u64>, fresh_after_bytes: u64) {
        let known = self.reached_bytes.max(gained.start);
        self.new_bytes += gained.end.saturating_sub(known);
        if self.new_bytes >= fresh_after_bytes {
            self.failures = 0;
            self.new_bytes = 0;
        }
        self.reached_bytes = self.reached_bytes.max(gained.end);
        self.failures += 1;
    }
}

/// Rests before the next attempt; any wish, or the wish to hurry, ends it.
async fn rest(wait: Duration, ear: &mut watch::Receiver<Control>) {
    let until = Instant::now() + wait;
    let before = *ear.borrow_and_update();
    if before.wish != Wish::Run {
        // Wished while the failure was told: there will be no other change to wake up for.
        return;
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(until) => return,
            heard = ear.changed() => {
                let now = *ear.borrow_and_update();
                if heard.is_err() || now != before {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::control::Rein;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_rest_outlasts_a_wish_that_came_before_it() {
        for wish in [Wish::Cancel, Wish::Pause] {
            let (rein, mut ear) = Rein::new();
            rein.wish(wish);
            let start = Instant::now();
            rest(Duration::from_hours(1), &mut ear).await;
            assert_eq!(start.elapsed(), Duration::ZERO, "{wish:?}");
        }
        let (_rein, mut ear) = Rein::new();
        let start = Instant::now();
        rest(Duration::from_secs(3), &mut ear).await;
        assert!(start.elapsed() >= Duration::from_secs(3));
    }

    #[test]
    fn progress_starts_the_count_afresh_and_repeats_do_not() {
        const MIB: u64 = 1 << 20;
        let mut patience = Patience::default();
        for (gained, failures) in [
            (0..0, 1),
            (0..MIB / 2, 2),
            // The same half again is nothing new.
            (0..MIB / 2, 3),
            (MIB / 2..MIB, 1),
            (MIB..MIB, 2),
            (MIB..3 * MIB, 1),
        ] {
            patience.count(&gained, MIB);
            assert_eq!(patience.failures, failures, "{gained:?}");
        }
    }
}
