//! Owns the pauses that a rate limit asks for: one per bucket, shared by all tasks.
//!
//! Never decides that a request is tried again.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The Hub's buckets of requests that larder draws from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// Revisions and listings.
    Api,
    /// Files.
    Resolvers,
}

impl Bucket {
    /// The bucket of that name in a `RateLimit` header.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "api" => Some(Self::Api),
            "resolvers" => Some(Self::Resolvers),
            _ => None,
        }
    }
}

/// The pauses in force.
#[derive(Debug, Default)]
pub(super) struct Gate {
    api: Mutex<Option<Instant>>,
    resolvers: Mutex<Option<Instant>>,
}

impl Gate {
    /// Keeps the bucket shut for `pause` from now, or longer if it already is.
    pub(super) fn pause(&self, bucket: Bucket, pause: Duration) {
        let until = Instant::now() + pause;
        let mut shut = self.shut(bucket);
        *shut = Some(shut.map_or(until, |before| before.max(until)));
    }

    /// Whether the bucket is shut now.
    pub(super) fn is_shut(&self, bucket: Bucket) -> bool {
        self.shut(bucket)
            .is_some_and(|until| until > Instant::now())
    }

    /// Waits until the bucket is open, however often it is shut again meanwhile.
    pub(super) async fn pass(&self, bucket: Bucket) {
        loop {
            let until = *self.shut(bucket);
            match until {
                Some(until) if until > Instant::now() => sleep_until(until).await,
                _ => return,
            }
        }
    }

    fn shut(&self, bucket: Bucket) -> std::sync::MutexGuard<'_, Option<Instant>> {
        let slot = match bucket {
            Bucket::Api => &self.api,
            Bucket::Resolvers => &self.resolvers,
        };
        // An instant is whole whatever a panicking holder did.
        slot.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_tasks_of_a_bucket_pause_together_and_others_do_not() {
        let gate = Arc::new(Gate::default());
        let start = Instant::now();
        gate.pause(Bucket::Resolvers, Duration::from_secs(56));
        let mut tasks = JoinSet::new();
        for _ in 0..4 {
            let gate = Arc::clone(&gate);
            tasks.spawn(async move {
                gate.pass(Bucket::Resolvers).await;
                Instant::now()
            });
        }
        gate.pass(Bucket::Api).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        while let Some(passed) = tasks.join_next().await {
            let waited = passed.unwrap() - start;
            assert!(waited >= Duration::from_secs(56) && waited < Duration::from_secs(57));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_can_grow_but_not_shrink() {
        let gate = Gate::default();
        let start = Instant::now();
        gate.pause(Bucket::Api, Duration::from_secs(10));
        gate.pause(Bucket::Api, Duration::from_secs(2));
        let longer = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            gate.pause(Bucket::Api, Duration::from_secs(20));
        };
        tokio::join!(gate.pass(Bucket::Api), longer);
        assert!(start.elapsed() >= Duration::from_secs(25));
    }
}
