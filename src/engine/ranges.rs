//! Owns which connection fetches which bytes of a file. Pure.
//!
//! **Law**: every byte is fetched by at most one connection at a time, and what a connection did not
//! get is there for another.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::buffers::{LARGE_BYTES, SMALL_BYTES};
use crate::cache::Extents;

/// A connection of a file.
pub(super) type LaneId = u32;

/// Chunks that one request asks for: enough that the time between two requests does not count,
/// few enough that all connections end at about the same time.
const MOST_CHUNKS: u64 = 2;
/// Where a request costs nothing, a range is this long, in bytes: so the bytes of all connections
/// come nearly in the order of the file, and are hashed from memory instead of read again.
const SMALL_STEP: u64 = LARGE_BYTES as u64;
/// As long as so few connections are at work there is memory for large buffers.
const FEW_LANES: usize = 6;
/// An answer that begins this soon costs nothing.
const SOON: Duration = Duration::from_millis(2);
/// Ranges begin at multiples of this where they can: the disk takes such pieces best.
const ALIGN: u64 = LARGE_BYTES as u64;
/// Less than this is not worth a connection of its own, in bytes.
const LEAST_SPLIT: u64 = 1 << 20;
/// What a part must be worth before it is known how fast connections are.
const FIRST_SPLIT: u64 = 4 << 20;
/// A part is worth a connection of its own if it takes the other this long: its answer goes on
/// for a moment, and what comes then is lost.
const WORTH_MS: u64 = 150;

/// The bytes of a file that are still to come.
#[derive(Debug)]
pub(super) struct Ranges {
    chunk_bytes: u64,
    /// Nobody fetches these.
    missing: Extents,
    /// What each connection has still to fetch.
    lanes: BTreeMap<LaneId, Range<u64>>,
    /// The least that is taken from a connection.
    worth: u64,
    /// How soon an answer began, at best.
    soonest: Option<Duration>,
}

impl Ranges {
    /// Everything of a file but what is `present`.
    pub(super) fn new(size_bytes: u64, chunk_bytes: u64, present: &Extents) -> Self {
        let mut missing = Extents::default();
        for gap in present.gaps(&(0..size_bytes)) {
            missing.insert(gap);
        }
        Self {
            chunk_bytes,
            missing,
            lanes: BTreeMap::new(),
            worth: FIRST_SPLIT,
            soonest: None,
        }
    }

    /// The next bytes for a connection without work: the first that nobody fetches, else half of
    /// what the connection has that would finish last.
    pub(super) fn take(&mut self, lane: LaneId) -> Option<Range<u64>> {
        let first = self.missing.iter().next();
        let span = match first {
            Some(gap) => gap.start..gap.end.min(self.step_end(gap.start)),
            None => self.split()?,
        };
        self.missing.remove(span.clone());
        self.lanes.insert(lane, span.clone());
        Some(span)
    }

    /// Where a range that begins at `start` should end. The first connection takes little, to learn
    /// how soon an answer comes.
    fn step_end(&self, start: u64) -> u64 {
        if self.soonest.is_some_and(|soonest| soonest > SOON) {
            let chunk = start / self.chunk_bytes;
            return (chunk + MOST_CHUNKS) * self.chunk_bytes;
        }
        (start / ALIGN) * ALIGN + SMALL_STEP
    }

    /// Whether answers come at once.
    pub(super) fn is_near(&self) -> bool {
        self.soonest.is_some_and(|soonest| soonest <= SOON)
    }

    /// Whether so many connections are enough for this file: a few fill any line without delay, and
    /// each has its memory.
    pub(super) fn is_served_by(&self, connections: usize) -> bool {
        self.is_near() && connections >= FEW_LANES
    }

    /// How much is written at once, in bytes: much where the bytes come fast.
    pub(super) fn piece_bytes(&self) -> usize {
        if self.is_near() && self.lanes.len() <= FEW_LANES {
            LARGE_BYTES
        } else {
            SMALL_BYTES
        }
    }

    /// Takes the second half from whoever has most left, if that is worth it.
    fn split(&mut self) -> Option<Range<u64>> {
        let victim = self
            .lanes
            .values_mut()
            .max_by_key(|span| span.end - span.start)?;
        let left = victim.end - victim.start;
        if left < 2 * self.worth {
            return None;
        }
        let half = (victim.end - left / 2).next_multiple_of(ALIGN);
        let span = half..victim.end;
        victim.end = half;
        Some(span)
    }

    /// Notes how many bytes a second a connection brings.
    pub(super) fn saw_rate(&mut self, bytes_per_s: u64) {
        self.worth = (bytes_per_s.saturating_mul(WORTH_MS) / 1000).max(LEAST_SPLIT);
    }

    /// Notes how soon an answer began.
    pub(super) fn saw_answer(&mut self, after: Duration) {
        self.soonest = Some(self.soonest.map_or(after, |known| known.min(after)));
    }

    /// Whether a further connection would have work.
    pub(super) fn has_work(&self) -> bool {
        self.missing.bytes() > 0
            || self
                .lanes
                .values()
                .any(|span| span.end - span.start >= 2 * self.worth)
    }

    /// Where a connection's next byte belongs.
    pub(super) fn position(&self, lane: LaneId) -> Option<u64> {
        self.lanes.get(&lane).map(|span| span.start)
    }

    /// What a connection may still fetch.
    pub(super) fn left(&self, lane: LaneId) -> u64 {
        self.lanes
            .get(&lane)
            .map_or(0, |span| span.end - span.start)
    }

    /// Notes that a connection got so many of its bytes; returns where in the file they belong. It
    /// may have lost some of them to another connection: what is beyond is not noted.
    pub(super) fn advance(&mut self, lane: LaneId, bytes: u64) -> Option<Range<u64>> {
        let span = self.lanes.get_mut(&lane)?;
        let got = span.start..span.end.min(span.start.saturating_add(bytes));
        span.start = got.end;
        Some(got)
    }

    /// A connection has ended: what it did not get is for others.
    pub(super) fn give_back(&mut self, lane: LaneId) {
        if let Some(span) = self.lanes.remove(&lane) {
            self.missing.insert(span);
        }
    }

    /// The bytes of `range` that nobody has got yet and nobody fetches.
    pub(super) fn missing_in(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        self.missing
            .iter()
            .map(|gap| gap.start.max(range.start)..gap.end.min(range.end))
            .filter(|gap| !gap.is_empty())
            .collect()
    }

    /// Notes that bytes came outside of any connection's range.
    pub(super) fn got(&mut self, range: Range<u64>) {
        self.missing.remove(range);
    }

    /// Whether every byte has come.
    pub(super) fn is_done(&self) -> bool {
        self.missing.bytes() == 0 && self.lanes.values().all(Range::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;
    const CHUNK: u64 = 8 * MIB;

    #[test]
    fn chunks_come_in_order_and_the_last_one_is_shared() {
        let mut ranges = Ranges::new(50 * MIB, CHUNK, &Extents::default());
        ranges.saw_rate(1);
        ranges.saw_answer(Duration::from_millis(20));
        assert_eq!(ranges.take(0), Some(0..16 * MIB));
        assert_eq!(ranges.take(1), Some(16 * MIB..32 * MIB));
        assert_eq!(ranges.take(2), Some(32 * MIB..48 * MIB));
        assert_eq!(ranges.take(3), Some(48 * MIB..50 * MIB));
        ranges.advance(0, 4 * MIB);
        ranges.advance(2, MIB);
        // The first has 12 MiB left, the third 15, the second 16: that one would end last.
        assert_eq!(ranges.take(4), Some(24 * MIB..32 * MIB));
        assert_eq!(ranges.left(1), 8 * MIB);
        // A connection that reads on learns where its part ends.
        assert_eq!(ranges.advance(1, 9 * MIB), Some(16 * MIB..24 * MIB));
        assert_eq!(ranges.left(1), 0);
    }

    #[test]
    fn what_is_there_is_not_fetched_and_what_was_lost_is() {
        let mut present = Extents::default();
        present.insert(0..CHUNK);
        present.insert(2 * CHUNK..3 * CHUNK + 5);
        let mut ranges = Ranges::new(4 * CHUNK, CHUNK, &present);
        ranges.saw_rate(1);
        ranges.saw_answer(Duration::from_millis(20));
        assert_eq!(ranges.take(0), Some(CHUNK..2 * CHUNK));
        assert_eq!(ranges.take(1), Some(3 * CHUNK + 5..4 * CHUNK));
        ranges.advance(0, 100);
        ranges.give_back(0);
        assert_eq!(ranges.take(2), Some(CHUNK + 100..2 * CHUNK));
        assert_eq!(ranges.take(3), Some(3 * CHUNK + 5 * MIB..4 * CHUNK));
    }

    #[test]
    fn where_answers_come_at_once_ranges_are_small() {
        let mut ranges = Ranges::new(50 * MIB, CHUNK, &Extents::default());
        assert_eq!(ranges.take(0), Some(0..MIB), "not known yet");
        assert_eq!(ranges.piece_bytes(), SMALL_BYTES);
        ranges.saw_answer(Duration::from_millis(5));
        assert_eq!(ranges.take(1), Some(MIB..16 * MIB));
        assert_eq!(ranges.piece_bytes(), SMALL_BYTES);
        ranges.saw_answer(Duration::from_micros(300));
        ranges.saw_answer(Duration::from_millis(5));
        assert_eq!(ranges.piece_bytes(), LARGE_BYTES);
        assert!(!ranges.is_served_by(5) && ranges.is_served_by(6));
        assert_eq!(ranges.take(2), Some(16 * MIB..17 * MIB));
        ranges.advance(2, 5);
        ranges.give_back(2);
        assert_eq!(ranges.position(2), None);
        assert_eq!(ranges.take(3), Some(16 * MIB + 5..17 * MIB));
        assert_eq!(ranges.position(3), Some(16 * MIB + 5));
        for lane in 4..9 {
            ranges.take(lane).unwrap();
        }
        assert_eq!(ranges.piece_bytes(), SMALL_BYTES, "too many for large ones");
    }

    #[test]
    fn crumbs_are_not_split() {
        let mut ranges = Ranges::new(8 * MIB - 1, CHUNK, &Extents::default());
        ranges.saw_answer(Duration::from_millis(20));
        ranges.take(0).unwrap();
        assert!(!ranges.has_work(), "nothing is known yet");
        ranges.saw_rate(20_000_000);
        assert!(ranges.has_work(), "a fifth of a second is saved");
        ranges.saw_rate(200_000_000);
        assert!(!ranges.has_work(), "it is over before another has begun");
        assert_eq!(ranges.take(1), None);
    }

    proptest! {
        /// Any order, any loss, any splitting: every byte comes exactly once.
        #[test]
        fn every_byte_comes_exactly_once(
            size in 1_u64..100 * MIB,
            held in proptest::collection::vec((0_u64..100 * MIB, 0_u64..20 * MIB), 0..5),
            steps in proptest::collection::vec((0_u32..6, 0_u64..20 * MIB, 0_u8..8), 0..80),
            answer_ms in proptest::option::of(0_u64..5),
        ) {
            let mut present = Extents::default();
            for (start, length) in held {
                present.insert(start.min(size)..(start + length).min(size));
            }
            let mut ranges = Ranges::new(size, CHUNK, &present);
            if let Some(ms) = answer_ms {
                ranges.saw_answer(Duration::from_millis(ms));
            }
            let mut got = present.clone();
            let mut busy = std::collections::BTreeSet::new();
            let mut step = |ranges: &mut Ranges, lane: u32, bytes: u64, fate: u8| {
                if !busy.contains(&lane) && ranges.take(lane).is_some() {
                    busy.insert(lane);
                }
                if let Some(range) = ranges.advance(lane, bytes) {
                    assert!(got.gaps(&range) == [range.clone()] || range.is_empty());
                    got.insert(range);
                }
                if fate == 0 || ranges.left(lane) == 0 {
                    ranges.give_back(lane);
                    busy.remove(&lane);
                }
                got.bytes()
            };
            for (lane, bytes, fate) in steps {
                step(&mut ranges, lane, bytes, fate);
            }
            for lane in 0..6 {
                ranges.give_back(lane);
            }
            let mut bytes = 0;
            for turn in 0..200 {
                bytes = step(&mut ranges, 7 + turn % 3, 5 * MIB, 1);
            }
            prop_assert_eq!(bytes, size);
            prop_assert!(ranges.is_done() && !ranges.has_work());
        }
    }
}
