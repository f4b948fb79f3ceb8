//! Owns `--limit-rate`: a bucket that fills with time and that all bodies draw from.
//!
//! Never refuses: who draws more than there is waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The bucket holds what may come in this time.
const BURST: Duration = Duration::from_millis(250);

/// A limit on the bytes of all bodies together.
#[derive(Debug)]
pub(super) struct Rate {
    state: Mutex<State>,
    /// Who waits now.
    waiting: AtomicUsize,
}

/// One who waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

#[derive(Debug)]
struct State {
    /// Bytes a second; `None` means no limit.
    limit: Option<u64>,
    /// When the bytes drawn so far are paid for.
    paid: Option<Instant>,
}

impl Rate {
    /// So many bytes a second, or as many as come.
    pub(super) const fn new(limit: Option<u64>) -> Self {
        Self {
            state: Mutex::new(State { limit, paid: None }),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits until `bytes` more may come.
    pub(super) async fn draw(&self, bytes: u64) {
        let until = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(limit) = state.limit else {
                return;
            };
            let now = Instant::now();
            let cost = Duration::from_secs_f64(bytes as f64 / limit.max(1) as f64);
            // Time without bytes is worth no more than one burst.
            let begin = now.checked_sub(BURST).unwrap_or(now);
            let paid = state.paid.map_or(begin, |paid| paid.max(begin)) + cost;
            state.paid = Some(paid);
            paid
        };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        tokio::time::sleep_until(until).await;
    }

    /// Whether somebody waits: then silence is ours, and no stall.
    pub(super) fn is_holding(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_together_get_what_is_allowed() {
        let rate = Rate::new(Some(1_000_000));
        let start = Instant::now();
        let draw = || async {
            for _ in 0..50 {
                rate.draw(20_000).await;
            }
        };
        tokio::join!(draw(), draw(), draw(), draw());
        let took = start.elapsed();
        // Four megabytes less the burst.
        assert!((3.7..3.9).contains(&took.as_secs_f64()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_says_when_somebody_waits_and_forgets_who_has_gone() {
        let rate = Rate::new(Some(1_000));
        {
            let wait = rate.draw(50_000);
            tokio::pin!(wait);
            assert!(futures::poll!(&mut wait).is_pending());
            assert!(rate.is_holding());
        }
        assert!(!rate.is_holding());
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_never_waits() {
        let rate = Rate::new(None);
        let start = Instant::now();
        rate.draw(u64::MAX).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
