//! Owns looking at many things in a few threads: a scan waits for the disk more than it computes.
//!
//! Never decides what a look is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Threads of a look.
const THREADS: usize = 4;

/// What the looks at all of them found, in their order.
pub(super) fn look_at_all<T, S: Send>(things: &[T], look: &(dyn Fn(&T) -> S + Sync)) -> Vec<S>
where
    T: Sync,
{
    let next = AtomicUsize::new(0);
    let seen = Mutex::new(Vec::with_capacity(things.len()));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(thing) = things.get(at) else {
                break;
            };
            let found = look(thing);
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((at, found));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..THREADS.min(things.len()) {
            let thread = std::thread::Builder::new().name("look".to_owned());
            // With fewer it only takes longer.
            if thread.spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    let mut seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    seen.sort_unstable_by_key(|(at, _)| *at);
    seen.into_iter().map(|(_, found)| found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_comes_in_the_order_of_the_things() {
        let things: Vec<u64> = (0..500).collect();
        let found = look_at_all(&things, &|thing| {
            if thing % 7 == 0 {
                std::thread::yield_now();
            }
            thing * 2
        });
        assert_eq!(found, (0..500).map(|thing| thing * 2).collect::<Vec<_>>());
        assert!(look_at_all::<u64, u64>(&[], &|thing| *thing).is_empty());
    }
}
