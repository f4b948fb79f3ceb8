//! Owns the fetch of one large file over several connections: who fetches what, which connection is
//! given up for another, when a server is taken for one that does no ranges.
//!
//! ```text
//! lane: range -> body -> buffers --+
//! lane: range -> body -> buffers --+-> one thread: place, digest, map -> hash in order
//! lane: ...                      --+
//! ```
//!
//! **Law**: nothing of a lane outlives the attempt; bytes that came are written before it ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::Attempt;
use super::buffers::Buffer;
use super::emit::millis;
use super::job::{Halt, blocking, or_stop};
use super::lane::{Desk, Lane, LaneEnd, Piece};
use super::pace::Ticket;
use super::ranges::{LaneId, Ranges};
use super::telling::{Silence, Telling, Written};
use super::writer::{PROGRESS_EVERY, not_run};
use crate::cache::{self, Chunked};
use crate::domain::{Event, FailureCode, Want};
use crate::hub::{self, backoff};

/// A connection is judged after this time.
const SLOW_AFTER: Duration = Duration::from_secs(3);
/// How far below its siblings a connection may be: a part of what the median brings.
const SLOW_PART: u64 = 8;
/// Fewer bytes than this a connection may end by itself, however slow it is.
const SLOW_LEFT: u64 = 1 << 20;
/// A link that has expired so often without a byte in between is no link.
const EXPIRED_IN_A_ROW: u32 = 3;

/// Fetches what `chunked` lacks and returns it full. On failure what came stays on disk, and the
/// file is let go of before this returns.
pub(super) async fn download(
    attempt: &mut Attempt<'_>,
    chunked: Chunked<Buffer>,
    want: &Want,
    ticket: Ticket,
) -> Result<Chunked<Buffer>, Halt> {
    let have = chunked.present().bytes();
    let ranges = Ranges::new(want.size_bytes, chunked.chunk_bytes(), chunked.present());
    let written = Arc::new(Written::default());
    let (sender, receiver) = mpsc::channel(Desk::QUEUE);
    let writing = {
        let written = Arc::clone(&written);
        blocking(move || write_all(chunked, receiver, &written))
    };
    let desk = Arc::new(Desk::new(attempt, want, ranges, sender));
    let mut foreman = Foreman {
        attempt,
        telling: Telling::new(attempt, &written, have),
        lanes: JoinSet::new(),
        roll: BTreeMap::new(),
        next: 0,
        own: None,
        fruitless: 0,
        expired: 0,
        new_bytes: 0,
        hire_after: None,
    };
    let fetching = async {
        let fetched = foreman.run(&desk, ticket).await;
        // Whatever happened, the lanes let go of what they hold; then the writer ends.
        foreman.dismiss(&desk).await;
        drop(desk);
        fetched
    };
    let (fetched, wrote) = tokio::join!(fetching, writing);
    foreman.telling.tell_progress();
    let reached = written.bytes.load(Ordering::Relaxed);
    attempt.gained = have..have + reached;
    attempt
        .job
        .fetched_bytes
        .fetch_add(reached, Ordering::Relaxed);
    let (chunked, wrote) = wrote?;
    match (fetched, wrote) {
        (Ok(()), Ok(())) => Ok(chunked),
        (fetched, wrote) => {
            let source = attempt.job.source.name().to_owned();
            let closed = blocking(move || chunked.close(&source)).await?;
            wrote.map_err(Halt::of_cache)?;
            fetched?;
            closed.map_err(Halt::of_cache)?;
            Err(Halt::Interrupted)
        }
    }
}

/// Writes pieces until no lane is left or the disk fails.
fn write_all(
    mut chunked: Chunked<Buffer>,
    mut pieces: mpsc::Receiver<Piece>,
    written: &Written,
) -> (Chunked<Buffer>, Result<(), cache::Error>) {
    while let Some(piece) = pieces.blocking_recv() {
        let bytes = piece.buffer.len() as u64;
        chunked.keep_in_step(piece.is_near);
        match chunked.write(piece.offset, piece.buffer, &piece.source) {
            Ok(None) => {}
            Ok(Some(bytes)) => written.restored.store(bytes, Ordering::Relaxed),
            Err(error) => return (chunked, Err(error)),
        }
        written.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    (chunked, Ok(()))
}

/// A connection at work, as the foreman sees it.
struct Hand {
    task: Id,
    since: Instant,
    bytes: Arc<AtomicU64>,
    leave: CancellationToken,
}

/// Who hires and dismisses the connections of one file.
struct Foreman<'a, 'b> {
    attempt: &'a Attempt<'b>,
    telling: Telling<'a, 'b>,
    lanes: JoinSet<(LaneId, LaneEnd)>,
    roll: BTreeMap<LaneId, Hand>,
    next: LaneId,
    /// Who uses the connection that the file has as long as it is in flight.
    own: Option<LaneId>,
    /// Failures since the file last got far enough.
    fruitless: u32,
    /// Links that expired without a byte in between.
    expired: u32,
    /// Bytes since the count of failures last started.
    new_bytes: u64,
    /// No further connection before.
    hire_after: Option<Instant>,
}

impl Foreman<'_, '_> {
    async fn run(&mut self, desk: &Arc<Desk>, ticket: Ticket) -> Result<(), Halt> {
        let pace = Arc::clone(&self.attempt.job.flow.pace);
        // The file's own connection: it is there as long as the file is.
        let _own = ticket;
        let mut extra: BTreeMap<LaneId, Ticket> = BTreeMap::new();
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut silence = Silence::begin(Instant::now());
        let mut came = 0;
        let mut looked = Instant::now();
        loop {
            self.hire(desk, &mut extra);
            if self.lanes.is_empty() && desk.ranges().is_done() {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = self.attempt.stop.cancelled() => return Err(Halt::Interrupted),
                () = desk.closed() => return Ok(()),
                Some(joined) = self.lanes.join_next_with_id() => {
                    let end = self.ended(joined, &mut extra)?;
                    if let Some(body) = self.judge(desk, end).await? {
                        return self.take_whole(desk, body).await;
                    }
                }
                _ = ticks.tick() => {
                    let now = Instant::now();
                    pace.look(now);
                    let count = desk.came();
                    if count > came {
                        self.new_bytes += count - came;
                        self.saw(desk, count - came, now - looked);
                        came = count;
                        silence.since = now;
                    }
                    silence.since = (silence.since + not_run(looked + PROGRESS_EVERY)).min(now);
                    looked = now;
                    if self.lanes.is_empty() || desk.is_held_back() {
                        // We wait, not the server.
                        silence.since = now;
                    }
                    self.let_slow_go(desk, now).await;
                    self.telling.tell(desk, &mut silence, now).await?;
                }
            }
        }
    }

    /// Tells the plan how fast connections are.
    fn saw(&self, desk: &Desk, bytes: u64, took: Duration) {
        let lanes = u64::try_from(self.lanes.len().max(1)).unwrap_or(1);
        let bytes_per_s = bytes.saturating_mul(1000) / millis(took).max(1);
        desk.ranges().saw_rate(bytes_per_s / lanes);
    }

    /// Sends connections to work: one always, more as the pace allows.
    fn hire(&mut self, desk: &Arc<Desk>, extra: &mut BTreeMap<LaneId, Ticket>) {
        if self.hire_after.is_some_and(|at| at > Instant::now()) {
            return;
        }
        while desk.ranges().has_work() {
            // One that finds out where the file is comes first: the others ask the same.
            if !self.lanes.is_empty() && !desk.knows_link() {
                return;
            }
            if desk.ranges().is_served_by(self.lanes.len()) {
                return;
            }
            let id = self.next;
            let is_own = self.own.is_none();
            if is_own {
                self.own = Some(id);
            } else {
                match self.attempt.job.flow.pace.try_enrol() {
                    Some(ticket) => drop(extra.insert(id, ticket)),
                    None => return,
                }
            }
            self.next += 1;
            let lane = Lane::new(id, desk, is_own);
            let (bytes, leave) = (lane.bytes(), lane.leave());
            let task = self.lanes.spawn(lane.run()).id();
            let hand = Hand {
                task,
                since: Instant::now(),
                bytes,
                leave,
            };
            self.roll.insert(id, hand);
        }
    }

    /// Strikes a connection off the roll.
    fn ended(
        &mut self,
        joined: Result<(Id, (LaneId, LaneEnd)), tokio::task::JoinError>,
        extra: &mut BTreeMap<LaneId, Ticket>,
    ) -> Result<LaneEnd, Halt> {
        match joined {
            Ok((_, (lane, end))) => {
                extra.remove(&lane);
                self.roll.remove(&lane);
                self.own = self.own.filter(|own| *own != lane);
                Ok(end)
            }
            Err(error) => {
                self.roll.retain(|_, hand| hand.task != error.id());
                let failure =
                    crate::domain::Failure::new(FailureCode::Internal, "a connection panicked")
                        .because(error.to_string());
                Err(Halt::Failed(failure))
            }
        }
    }

    /// What the end of a connection means for the file; a body if the server does no ranges.
    async fn judge(
        &mut self,
        desk: &Desk,
        end: LaneEnd,
    ) -> Result<Option<super::sources::Body>, Halt> {
        let (error, bytes) = match end {
            LaneEnd::Idle | LaneEnd::Left => return Ok(None),
            LaneEnd::Whole(body) => return Ok(Some(*body)),
            LaneEnd::Lost { error, bytes } => (error, bytes),
        };
        if self.attempt.stop.is_cancelled() {
            return Err(Halt::Interrupted);
        }
        if bytes > 0 {
            self.expired = 0;
        }
        match error {
            hub::Error::LinkExpired { .. } => {
                self.expired += 1;
                if self.expired >= EXPIRED_IN_A_ROW {
                    return Err(Halt::of_hub(error));
                }
                return Ok(None);
            }
            hub::Error::RangeRejected { .. } | hub::Error::WrongRange { .. } => {
                let opening = self.attempt.job.source.open(desk.want(), 0);
                let body = or_stop(&self.attempt.stop, opening).await?;
                return body.map(Some).map_err(Halt::of_hub);
            }
            _ => {}
        }
        let is_objection = is_objection(&error, bytes);
        // None of these bytes was taken: what is here is as good as before.
        let is_odd = matches!(
            error,
            hub::Error::TooLong { .. } | hub::Error::SizeMismatch { .. }
        );
        let failure = match Halt::of_hub(error) {
            Halt::Failed(failure) => failure,
            Halt::Mismatch(failure) if is_odd => failure,
            halt => return Err(halt),
        };
        let now = Instant::now();
        if is_objection {
            self.attempt.job.flow.pace.objected(now);
        }
        let policy = &self.attempt.job.config.retry;
        // Several connections may break in the same moment: one that brought enough is no failure in
        // a row, whatever came in between.
        if self.new_bytes.max(bytes) >= policy.fresh_after_bytes {
            (self.fruitless, self.new_bytes) = (0, 0);
        } else {
            self.fruitless += 1;
        }
        let is_last = self.lanes.is_empty() && bytes == 0;
        let is_over = !(failure.code.is_retryable() || is_odd)
            || self.fruitless >= policy.attempts
            || is_last;
        if is_odd && is_last {
            return Err(Halt::Again(failure));
        }
        if is_over {
            return Err(Halt::Failed(failure));
        }
        self.attempt.job.diary.tried_again();
        self.attempt
            .job
            .emitter
            .fact(Event::ConnectionLost {
                file: self.attempt.file,
                attempt: self.attempt.number,
                bytes,
                failure: failure.clone(),
            })
            .await;
        if self.fruitless > 0 {
            let pause = match failure.retry_after_ms {
                Some(ms) => Duration::from_millis(ms),
                None => backoff(policy, self.fruitless.max(1), fastrand::f64()),
            };
            self.hire_after = Some(now + pause);
        }
        Ok(None)
    }

    /// Gives up a connection that is far below the others; its range goes to a new one.
    async fn let_slow_go(&mut self, desk: &Desk, now: Instant) {
        let mut rates: Vec<(u64, LaneId)> = self
            .roll
            .iter()
            .filter(|(_, hand)| now - hand.since >= SLOW_AFTER && !hand.leave.is_cancelled())
            .map(|(&lane, hand)| {
                let seconds = (now - hand.since).as_secs().max(1);
                (hand.bytes.load(Ordering::Relaxed) / seconds, lane)
            })
            .collect();
        if rates.len() < 3 {
            return;
        }
        rates.sort_unstable();
        let median = rates[rates.len() / 2].0;
        let (slowest, lane) = rates[0];
        if slowest >= median / SLOW_PART || desk.ranges().left(lane) < SLOW_LEFT {
            return;
        }
        if let Some(hand) = self.roll.get(&lane) {
            hand.leave.cancel();
            let failure = crate::domain::Failure::new(
                FailureCode::Stalled,
                "a connection was far slower than the others",
            )
            .because(format!(
                "{slowest} bytes a second, where half of them bring {median} or more"
            ));
            self.attempt
                .job
                .emitter
                .fact(Event::ConnectionLost {
                    file: self.attempt.file,
                    attempt: self.attempt.number,
                    bytes: hand.bytes.load(Ordering::Relaxed),
                    failure,
                })
                .await;
        }
    }

    /// Takes the whole file from a server that does no ranges: one stream from the start, of which
    /// only what is not here is written.
    async fn take_whole(
        &mut self,
        desk: &Arc<Desk>,
        body: super::sources::Body,
    ) -> Result<(), Halt> {
        self.dismiss(desk).await;
        tracing::info!(file = %self.attempt.remote.path, "the server does no ranges: one stream");
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let reading = super::lane::read_whole(desk, body, &self.attempt.stop);
        tokio::pin!(reading);
        let mut silence = Silence::begin(Instant::now());
        let mut came = desk.came();
        let mut looked = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = desk.closed() => return Ok(()),
                done = &mut reading => {
                    self.telling.say_downloading(desk).await;
                    return match done {
                        Ok(()) if desk.ranges().is_done() => Ok(()),
                        Ok(()) => Err(Halt::Interrupted),
                        Err(error) => Err(Halt::of_hub(error)),
                    };
                }
                _ = ticks.tick() => {
                    let now = Instant::now();
                    if desk.came() > came {
                        came = desk.came();
                        silence.since = now;
                    }
                    silence.since = (silence.since + not_run(looked + PROGRESS_EVERY)).min(now);
                    looked = now;
                    if desk.is_held_back() {
                        silence.since = now;
                    }
                    self.telling.tell(desk, &mut silence, now).await?;
                }
            }
        }
    }

    /// Ends all connections; what they have got is handed over before they go.
    async fn dismiss(&mut self, desk: &Desk) {
        desk.quit();
        while self.lanes.join_next().await.is_some() {}
        self.roll.clear();
    }
}

/// Whether the server wants fewer connections, or cannot take as many: it says so, or ends one that
/// has brought nothing. One that brought `bytes` and then broke says nothing about the others.
const fn is_objection(error: &hub::Error, bytes: u64) -> bool {
    match error {
        hub::Error::RateLimited { .. } | hub::Error::Server { .. } => true,
        hub::Error::Transport { kind, .. } => {
            bytes == 0
                && matches!(
                    kind,
                    hub::TransportKind::Connect | hub::TransportKind::Reset
                )
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_that_gives_nothing_wants_fewer_connections() {
        let limited = || hub::Error::RateLimited {
            url: String::new(),
            wait: Duration::ZERO,
            bucket: None,
        };
        let cut = hub::Error::Truncated {
            got: 1,
            expected: 2,
        };
        assert!(is_objection(&limited(), 0) && is_objection(&limited(), 9));
        assert!(!is_objection(&cut, 0) && !is_objection(&cut, 30_000_000));
    }
}
