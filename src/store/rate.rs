//! Owns speed: bytes per second over the last five seconds.
//!
//! **Law**: without new bytes it falls, and after the window it is zero. Never asks a clock.

use std::collections::VecDeque;

/// How far back speed looks.
const WINDOW_MS: u64 = 5_000;
/// A shorter history than this would make the first packet look like a record.
const SHORTEST_MS: u64 = 1_000;
/// Bytes that arrive closer together than this share a sample, so that memory is bounded.
const GRAIN_MS: u64 = 100;

/// Bytes as they arrived.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    /// When bytes began to arrive after the last silence of a whole window.
    began_ms: u64,
    samples: VecDeque<(u64, u64)>,
}

impl Rate {
    /// No bytes yet.
    pub(super) const fn new() -> Self {
        Self {
            began_ms: 0,
            samples: VecDeque::new(),
        }
    }

    /// Says that a transfer begins to count now, before its first bytes.
    pub(super) fn begin(&mut self, at_ms: u64) {
        let is_silent = self
            .samples
            .back()
            .is_none_or(|&(last_ms, _)| last_ms + WINDOW_MS < at_ms);
        if is_silent {
            self.samples.clear();
            self.samples.push_back((at_ms, 0));
            self.began_ms = at_ms;
        }
    }

    /// Adds bytes that arrived.
    pub(super) fn add(&mut self, at_ms: u64, bytes: u64) {
        self.begin(at_ms);
        match self.samples.back_mut() {
            Some((last_ms, sum)) if *sum > 0 && at_ms < *last_ms + GRAIN_MS => *sum += bytes,
            _ => self.samples.push_back((at_ms, bytes)),
        }
        while self
            .samples
            .front()
            .is_some_and(|&(first_ms, _)| first_ms + WINDOW_MS < at_ms)
        {
            self.samples.pop_front();
        }
    }

    /// Bytes per second at `now_ms`.
    pub(super) fn speed(&self, now_ms: u64) -> u64 {
        let bytes: u64 = self
            .samples
            .iter()
            .filter(|&&(at_ms, _)| at_ms + WINDOW_MS > now_ms)
            .map(|&(_, bytes)| bytes)
            .sum();
        bytes.saturating_mul(1_000) / self.age(now_ms).clamp(SHORTEST_MS, WINDOW_MS)
    }

    /// How long bytes have been arriving, in milliseconds.
    pub(super) fn age(&self, now_ms: u64) -> u64 {
        if self.samples.is_empty() {
            return 0;
        }
        now_ms.saturating_sub(self.began_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_shows_its_speed() {
        let mut rate = Rate::default();
        rate.begin(10_000);
        for tick in 1..=100 {
            rate.add(10_000 + tick * 100, 1_000);
        }
        assert_eq!(rate.speed(20_000), 10_000);
    }

    #[test]
    fn silence_decays_to_zero() {
        let mut rate = Rate::default();
        rate.begin(0);
        for tick in 1..=50 {
            rate.add(tick * 100, 1_000);
        }
        let speeds: Vec<u64> = (5..=10).map(|s| rate.speed(s * 1_000)).collect();
        assert!(speeds.is_sorted_by(|a, b| a > b), "{speeds:?}");
        assert_eq!(speeds.last(), Some(&0));
    }

    #[test]
    fn the_first_packet_is_no_record() {
        let mut rate = Rate::default();
        rate.begin(1_000);
        rate.add(1_001, 1_000_000);
        assert_eq!(rate.speed(1_001), 1_000_000);
        assert_eq!(Rate::default().speed(7), 0);
    }

    #[test]
    fn speed_after_a_long_silence_counts_from_its_end() {
        let mut rate = Rate::default();
        rate.add(0, 9_000);
        rate.begin(60_000);
        rate.add(61_000, 4_000);
        rate.add(62_000, 4_000);
        assert_eq!(rate.speed(62_000), 4_000);
    }

    #[test]
    fn samples_are_bounded() {
        let mut rate = Rate::default();
        for at_ms in 0..100_000 {
            rate.add(at_ms, 1);
        }
        assert!(rate.samples.len() < 60, "{}", rate.samples.len());
    }
}
