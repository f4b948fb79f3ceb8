//! Owns one connection of a large file: it takes a range, reads it, hands the bytes to the writer,
//! and takes the next.
//!
//! **Law**: what a lane got is handed over before it ends; what it did not get goes back.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Flow;
use super::attempt::Attempt;
use super::buffers::Buffer;
use super::ranges::{LaneId, Ranges};
use super::sources::{Body, Link, Source};
use crate::domain::Want;
use crate::hub;

/// How long the end of an answer is waited for whose bytes have all come.
const END_PATIENCE: Duration = Duration::from_millis(500);

/// Bytes on their way to their place.
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) buffer: Buffer,
    /// Whom they came from.
    pub(super) source: Arc<str>,
    /// Whether its answers come at once.
    pub(super) is_near: bool,
}

/// How a connection ended.
pub(super) enum LaneEnd {
    /// There is nothing more to fetch.
    Idle,
    /// It was told to go, or is one too many.
    Left,
    /// The server sends the whole file whatever is asked for.
    Whole(Box<Body>),
    /// It broke after so many bytes, of all its ranges.
    Lost { error: hub::Error, bytes: u64 },
}

/// What the connections of one file share.
pub(super) struct Desk {
    source: Source,
    want: Want,
    flow: Flow,
    ranges: Mutex<Ranges>,
    /// Where the bytes are, once somebody has asked; held while somebody asks.
    link: tokio::sync::Mutex<Option<(u64, Link)>>,
    has_link: AtomicBool,
    /// Counts the links, so that only the one that expired is forgotten.
    links: AtomicU64,
    sender: mpsc::Sender<Piece>,
    came: AtomicU64,
    /// Connections that wait for memory or for the disk.
    waiting: AtomicUsize,
    quit: CancellationToken,
}

/// A connection that waits, as long as this lives.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Desk {
    /// Pieces that may wait for the disk.
    pub(super) const QUEUE: usize = 6;

    pub(super) fn new(
        attempt: &Attempt<'_>,
        want: &Want,
        ranges: Ranges,
        sender: mpsc::Sender<Piece>,
    ) -> Self {
        Self {
            source: attempt.job.source.clone(),
            want: want.clone(),
            flow: attempt.job.flow.clone(),
            ranges: Mutex::new(ranges),
            link: tokio::sync::Mutex::new(None),
            has_link: AtomicBool::new(false),
            links: AtomicU64::new(0),
            sender,
            came: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            quit: CancellationToken::new(),
        }
    }

    pub(super) fn ranges(&self) -> MutexGuard<'_, Ranges> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) const fn want(&self) -> &Want {
        &self.want
    }

    /// Bytes that came over all connections.
    pub(super) fn came(&self) -> u64 {
        self.came.load(Ordering::Relaxed)
    }

    /// Whether somebody has found out where the bytes are.
    pub(super) fn knows_link(&self) -> bool {
        self.has_link.load(Ordering::Acquire)
    }

    /// Waits until the writer has given up.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }

    /// Tells all connections to end.
    pub(super) fn quit(&self) {
        self.quit.cancel();
    }

    /// Opens a range and notes how soon it was answered.
    async fn open(&self, range: Range<u64>) -> Result<Body, hub::Error> {
        let asked = Instant::now();
        let body = self.ask(range).await?;
        self.ranges().saw_answer(asked.elapsed());
        Ok(body)
    }

    /// Asks for a range, by the link if there is one; who asks first keeps the others waiting.
    async fn ask(&self, range: Range<u64>) -> Result<Body, hub::Error> {
        let mut kept = self.link.lock().await;
        let Some((number, link)) = kept.clone() else {
            let (body, link) = self.source.range(&self.want, range, None).await?;
            let number = self.links.fetch_add(1, Ordering::Relaxed);
            *kept = Some((number, link));
            self.has_link.store(true, Ordering::Release);
            return Ok(body);
        };
        drop(kept);
        match self.source.range(&self.want, range, Some(&link)).await {
            Ok((body, _)) => Ok(body),
            Err(error) => {
                let mut kept = self.link.lock().await;
                // Whatever went wrong there, the Hub may know a better place.
                if kept.as_ref().is_some_and(|(known, _)| *known == number) {
                    *kept = None;
                }
                Err(error)
            }
        }
    }

    /// Counts bytes as they come, and waits where their rate is limited, or until nobody wants more.
    async fn count(&self, bytes: usize, leave: &CancellationToken) {
        let bytes = bytes as u64;
        self.came.fetch_add(bytes, Ordering::Relaxed);
        self.flow.came(bytes);
        tokio::select! {
            biased;
            () = self.flow.rate.draw(bytes) => {}
            () = leave.cancelled() => {}
        }
    }

    /// Whether silence is not the server's: bytes wait for their turn, for memory or for the disk, or
    /// nobody may ask.
    pub(super) fn is_held_back(&self) -> bool {
        let is_waiting = self.waiting.load(Ordering::Relaxed) > 0;
        is_waiting || self.flow.rate.is_holding() || self.source.is_paused()
    }

    fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(&self.waiting)
    }
}

/// A connection.
pub(super) struct Lane {
    id: LaneId,
    desk: Arc<Desk>,
    /// Bytes it brought.
    bytes: Arc<AtomicU64>,
    leave: CancellationToken,
    is_own: bool,
}

impl Lane {
    /// `is_own` is the one that never is one too many.
    pub(super) fn new(id: LaneId, desk: &Arc<Desk>, is_own: bool) -> Self {
        Self {
            id,
            desk: Arc::clone(desk),
            bytes: Arc::default(),
            leave: desk.quit.child_token(),
            is_own,
        }
    }

    pub(super) fn bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes)
    }

    /// Cancelling it makes the lane end.
    pub(super) fn leave(&self) -> CancellationToken {
        self.leave.clone()
    }

    pub(super) async fn run(self) -> (LaneId, LaneEnd) {
        let end = self.work().await;
        self.desk.ranges().give_back(self.id);
        (self.id, end)
    }

    async fn work(&self) -> LaneEnd {
        loop {
            if self.leave.is_cancelled() || (!self.is_own && self.desk.flow.pace.is_over()) {
                return LaneEnd::Left;
            }
            let Some(range) = self.desk.ranges().take(self.id) else {
                return LaneEnd::Idle;
            };
            let opened = tokio::select! {
                biased;
                () = self.leave.cancelled() => return LaneEnd::Left,
                opened = self.desk.open(range) => opened,
            };
            let read = match opened {
                Ok(body) if body.is_whole() => return LaneEnd::Whole(Box::new(body)),
                Ok(body) => self.read(body).await,
                Err(error) => Err(error),
            };
            match read {
                Ok(true) => {}
                Ok(false) => return LaneEnd::Left,
                Err(error) => {
                    let bytes = self.bytes.load(Ordering::Relaxed);
                    return LaneEnd::Lost { error, bytes };
                }
            }
            self.desk.ranges().give_back(self.id);
        }
    }

    /// Reads a body to the end of the lane's range; `false` if it was told to go.
    async fn read(&self, mut body: Body) -> Result<bool, hub::Error> {
        let source: Arc<str> = body.source().into();
        let mut open: Option<Open> = None;
        let result = loop {
            let read = tokio::select! {
                biased;
                () = self.leave.cancelled() => break Ok(false),
                read = body.chunk() => read,
            };
            let mut chunk = match read {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break Ok(true),
                Err(error) => break Err(error),
            };
            self.desk.count(chunk.len(), &self.leave).await;
            let Some(goes_on) = self.hand_over(&mut open, &mut chunk, &source).await else {
                break Ok(false);
            };
            if !goes_on {
                // Another connection may have got the rest; an answer that has come to its end is
                // read out, so that its connection serves the next range.
                if body.is_at_end() {
                    break tokio::select! {
                        biased;
                        () = self.leave.cancelled() => Ok(false),
                        // One that does not end is of no more use, and no less than one that broke.
                        () = tokio::time::sleep(END_PATIENCE) => Ok(true),
                        end = body.chunk() => end.map(|_| true),
                    };
                }
                break Ok(true);
            }
        };
        if let Some(open) = open {
            open.send(&self.desk, &source).await;
        }
        result
    }

    /// Puts a chunk into buffers and sends those that are full; `Some(false)` at the end of the
    /// range, `None` if nobody takes buffers any more.
    async fn hand_over(
        &self,
        open: &mut Option<Open>,
        chunk: &mut Bytes,
        source: &Arc<str>,
    ) -> Option<bool> {
        while !chunk.is_empty() {
            let mut now = match open.take() {
                Some(now) => now,
                None => {
                    let at = self.desk.ranges().position(self.id)?;
                    Open::at(&self.desk, at, &self.leave).await?
                }
            };
            let room = self.desk.ranges().left(self.id);
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            let count = now.buffer.fill(&chunk[..chunk.len().min(room)]);
            // Noted with the bytes in hand: from here on nobody else fetches them.
            let got = self.desk.ranges().advance(self.id, count as u64)?;
            let count_now = usize::try_from(got.end - got.start).unwrap_or(0);
            if count_now < count {
                now.buffer.cut(count - count_now);
            }
            self.bytes.fetch_add(count_now as u64, Ordering::Relaxed);
            drop(chunk.split_to(count));
            let is_at_end = self.desk.ranges().left(self.id) == 0;
            if now.buffer.is_full() || is_at_end {
                if !now.send(&self.desk, source).await {
                    return None;
                }
            } else {
                *open = Some(now);
            }
            if is_at_end {
                return Some(false);
            }
        }
        Some(true)
    }
}

/// A buffer that is being filled.
struct Open {
    buffer: Buffer,
    /// Where its first byte belongs.
    offset: u64,
}

impl Open {
    /// `None` if there is nothing more to do, or `stop` is heard.
    async fn at(desk: &Desk, offset: u64, stop: &CancellationToken) -> Option<Self> {
        let room = desk.ranges().piece_bytes();
        let _waiting = desk.wait();
        let buffer = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            buffer = desk.flow.buffers.take(offset, room) => buffer?,
        };
        Some(Self { buffer, offset })
    }

    /// Where the next byte would belong.
    fn end(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    /// Hands it to the writer; `false` if that has given up.
    async fn send(self, desk: &Desk, source: &Arc<str>) -> bool {
        if self.buffer.len() == 0 {
            return true;
        }
        let piece = Piece {
            offset: self.offset,
            buffer: self.buffer,
            source: Arc::clone(source),
            is_near: desk.ranges().is_near(),
        };
        let _waiting = desk.wait();
        desk.sender.send(piece).await.is_ok()
    }
}

/// Reads a whole file from its start and hands over what is not here yet.
pub(super) async fn read_whole(
    desk: &Desk,
    mut body: Body,
    stop: &CancellationToken,
) -> Result<(), hub::Error> {
    let source: Arc<str> = body.source().into();
    let mut at = body.first_byte();
    let mut open: Option<Open> = None;
    let result = loop {
        let read = tokio::select! {
            biased;
            () = stop.cancelled() => break Ok(()),
            read = body.chunk() => read,
        };
        let chunk = match read {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        desk.count(chunk.len(), stop).await;
        let range = at..at + chunk.len() as u64;
        let missing = desk.ranges().missing_in(&range);
        for gap in missing {
            let mut from = usize::try_from(gap.start - at).unwrap_or(usize::MAX);
            let to = usize::try_from(gap.end - at).unwrap_or(usize::MAX);
            while from < to {
                let offset = at + from as u64;
                let mut now = match open.take() {
                    Some(now) if now.end() == offset => now,
                    other => {
                        if let Some(other) = other
                            && !other.send(desk, &source).await
                        {
                            return Ok(());
                        }
                        match Open::at(desk, offset, stop).await {
                            Some(now) => now,
                            None => return Ok(()),
                        }
                    }
                };
                let count = now.buffer.fill(&chunk[from..to]);
                desk.ranges().got(offset..offset + count as u64);
                from += count;
                if now.buffer.is_full() {
                    if !now.send(desk, &source).await {
                        return Ok(());
                    }
                } else {
                    open = Some(now);
                }
            }
        }
        at = range.end;
    };
    if let Some(open) = open {
        open.send(desk, &source).await;
    }
    result
}
