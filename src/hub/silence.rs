//! Owns how long a server may stay silent.
//!
//! Never counts the time in which this process does not run: stopped by a signal, or asleep with the
//! machine, it hears nobody.

use std::time::Duration;

/// The time is counted in steps: however long one takes, it counts as one.
const STEP: Duration = Duration::from_millis(250);

/// What `work` gives; `None` if it gives nothing within `limit`.
pub(super) async fn unless_silent<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(work);
    let mut left = limit;
    while !left.is_zero() {
        let step = left.min(STEP);
        tokio::select! {
            biased;
            done = &mut work => return Some(done),
            () = tokio::time::sleep(step) => left -= step,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_wait_and_a_process_that_does_not_run_is_not_silence() {
        let limit = Duration::from_secs(1);
        assert_eq!(
            unless_silent(limit, std::future::pending::<()>()).await,
            None
        );
        let late = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            // As when it is stopped and goes on an hour later.
            tokio::time::advance(Duration::from_hours(1)).await;
            tokio::time::sleep(Duration::from_millis(600)).await;
            7
        };
        assert_eq!(unless_silent(limit, late).await, Some(7));
    }
}
