//! Owns how long to wait after a failure.
//!
//! Never waits, never rolls the dice itself: chance enters as a number.

use std::time::Duration;

use crate::config::RetryPolicy;

/// The pause after the `failure`-th failure in a row (counted from 1): doubled each time up to the
/// cap, then somewhere between half of that and all of it as `unit_random` (0 to 1) says, so that
/// many clients do not come back at once.
pub fn backoff(policy: &RetryPolicy, failure: u32, unit_random: f64) -> Duration {
    let doublings = failure.saturating_sub(1);
    let full = 1_u32
        .checked_shl(doublings)
        .and_then(|factor| policy.base.checked_mul(factor))
        .map_or(policy.cap, |pause| pause.min(policy.cap));
    let chance = if unit_random.is_finite() {
        unit_random.clamp(0.0, 1.0)
    } else {
        1.0
    };
    full.mul_f64(0.5 + chance / 2.0).min(full)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap() {
        let policy = RetryPolicy::default();
        let pauses: Vec<u64> = (1..=8)
            .map(|failure| backoff(&policy, failure, 1.0).as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff(&policy, 1, 0.0), Duration::from_millis(500));
    }

    proptest! {
        #[test]
        fn pauses_stay_in_their_half_and_below_the_cap(
            base_ms in 0_u64..10_000_000,
            cap_ms in 0_u64..10_000_000,
            failure in any::<u32>(),
            chance in any::<f64>(),
        ) {
            let policy = RetryPolicy {
                base: Duration::from_millis(base_ms),
                cap: Duration::from_millis(cap_ms),
                ..RetryPolicy::default()
            };
            let pause = backoff(&policy, failure, chance);
            let factor = 2_u128.saturating_pow(failure.saturating_sub(1));
            let full_ms = u128::from(base_ms).saturating_mul(factor).min(u128::from(cap_ms));
            prop_assert!(pause.as_nanos() <= full_ms * 1_000_000);
            prop_assert!(pause.as_nanos() * 2 + 2 >= full_ms * 1_000_000, "{pause:?}");
        }

        #[test]
        fn more_failures_never_wait_less(failure in 1_u32..100, chance in 0.0..1.0_f64) {
            let policy = RetryPolicy::default();
            prop_assert!(backoff(&policy, failure + 1, chance) >= backoff(&policy, failure, chance));
        }
    }
}
