//! Owns how many connections carry bodies at once, over all files: few at first, more while that
//! brings more, fewer when it does not or when a server objects.
//!
//! Never opens a connection and never reads the clock: time and bytes come in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Connections at the beginning.
const FIRST: usize = 4;
/// New connections need a moment before their bytes count.
const SETTLING: Duration = Duration::from_millis(150);
/// How long a number of connections is tried.
const TRIAL: Duration = Duration::from_millis(250);
/// How long a number that was found good is kept before more are tried.
const STEADY: Duration = Duration::from_secs(4);
/// After an objection.
const CHASTENED: Duration = Duration::from_secs(15);
/// More connections are worth it if they bring at least this much more.
const GAIN: f64 = 1.08;
/// From so many bytes a second on the machine is the limit and not the line, and figures waver: more
/// connections cost memory, and must bring much more.
const FAST: f64 = 4e8;
/// What they must bring there.
const FAST_GAIN: f64 = 1.4;

/// The pace of an engine.
#[derive(Debug)]
pub(super) struct Pace {
    state: Mutex<State>,
    /// Bytes of bodies since the start.
    bytes: AtomicU64,
    most: usize,
}

#[derive(Debug)]
struct State {
    allowed: usize,
    at_work: usize,
    /// What is being found out, and since when.
    stage: Stage,
    /// Fewest connections at work since the measurement started.
    least_at_work: usize,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Nothing flows yet.
    Idle,
    /// Connections were added; their bytes count from then on.
    Settling {
        until: Instant,
        before: Option<Before>,
    },
    /// What they bring is measured.
    Trying {
        since: Instant,
        bytes: u64,
        before: Option<Before>,
    },
    /// The number is good for a while.
    Steady {
        until: Instant,
        since: Instant,
        bytes: u64,
    },
}

/// What fewer connections brought.
#[derive(Clone, Copy, Debug)]
struct Before {
    allowed: usize,
    bytes_per_s: f64,
}

/// The right to one connection. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Ticket(Arc<Pace>);

impl Pace {
    /// At most `most` connections.
    pub(super) fn new(most: usize) -> Self {
        Self {
            state: Mutex::new(State {
                allowed: FIRST.min(most).max(1),
                at_work: 0,
                stage: Stage::Idle,
                least_at_work: 0,
            }),
            bytes: AtomicU64::new(0),
            most: most.max(1),
        }
    }

    /// The connection that every file in flight has.
    pub(super) fn enrol(self: &Arc<Self>) -> Ticket {
        self.lock().at_work += 1;
        Ticket(Arc::clone(self))
    }

    /// A further connection, if one is allowed.
    pub(super) fn try_enrol(self: &Arc<Self>) -> Option<Ticket> {
        let mut state = self.lock();
        if state.at_work >= state.allowed {
            return None;
        }
        state.at_work += 1;
        drop(state);
        Some(Ticket(Arc::clone(self)))
    }

    /// How many connections are allowed now.
    pub(super) fn allowed(&self) -> usize {
        self.lock().allowed
    }

    /// Begins with the number that was good for a host before, if nothing has begun yet.
    pub(super) fn begin_with(&self, connections: usize) {
        let mut state = self.lock();
        if matches!(state.stage, Stage::Idle) && state.at_work == 0 {
            state.allowed = connections.clamp(1, self.most);
        }
    }

    /// Whether there are more connections than allowed, so that one of them should end.
    pub(super) fn is_over(&self) -> bool {
        let state = self.lock();
        state.at_work > state.allowed
    }

    /// Notes bytes that came.
    pub(super) fn came(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A server limits the rate, is overloaded, or breaks connections.
    pub(super) fn objected(&self, now: Instant) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let mut state = self.lock();
        state.allowed = (state.allowed * 3 / 4).max(1);
        state.stage = Stage::Steady {
            until: now + CHASTENED,
            since: now,
            bytes,
        };
    }

    /// Looks how it goes. Called again and again while bodies flow.
    pub(super) fn look(&self, now: Instant) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let mut state = self.lock();
        // What few connections bring says nothing about as many as are allowed.
        let is_full = state.least_at_work >= state.allowed;
        state.least_at_work = state.least_at_work.min(state.at_work);
        match state.stage {
            Stage::Idle => {
                state.stage = Stage::Settling {
                    until: now + SETTLING,
                    before: None,
                };
            }
            Stage::Settling { until, before } => {
                if now >= until {
                    state.stage = Stage::Trying {
                        since: now,
                        bytes,
                        before,
                    };
                    state.least_at_work = state.at_work;
                }
            }
            Stage::Trying {
                since,
                bytes: from,
                before,
            } => {
                let took = now.saturating_duration_since(since);
                if took < TRIAL {
                    return;
                }
                let bytes_per_s = (bytes - from) as f64 / took.as_secs_f64();
                if !is_full {
                    // Other files, or their ends: nothing was learnt.
                    state.stage = Stage::Settling { until: now, before };
                    return;
                }
                let is_worth_it = before.is_none_or(|before| {
                    let is_fast = before.bytes_per_s > FAST;
                    bytes_per_s > before.bytes_per_s * if is_fast { FAST_GAIN } else { GAIN }
                });
                if is_worth_it && state.allowed < self.most && bytes > from {
                    let before = Before {
                        allowed: state.allowed,
                        bytes_per_s,
                    };
                    state.allowed = (state.allowed * 2).min(self.most);
                    state.stage = Stage::Settling {
                        until: now + SETTLING,
                        before: Some(before),
                    };
                    return;
                }
                if let Some(before) = before
                    && !is_worth_it
                {
                    state.allowed = before.allowed;
                }
                state.stage = Stage::Steady {
                    until: now + STEADY,
                    since: now,
                    bytes,
                };
            }
            Stage::Steady {
                until,
                since,
                bytes: from,
            } => {
                if now < until {
                    return;
                }
                if state.allowed >= self.most || !is_full || bytes == from {
                    state.stage = Stage::Steady {
                        until: now + STEADY,
                        since: now,
                        bytes,
                    };
                    state.least_at_work = state.at_work;
                    return;
                }
                let took = now.saturating_duration_since(since);
                let before = Before {
                    allowed: state.allowed,
                    bytes_per_s: (bytes - from) as f64 / took.as_secs_f64().max(0.001),
                };
                state.allowed = (state.allowed + state.allowed.div_ceil(4)).min(self.most);
                state.stage = Stage::Settling {
                    until: now + SETTLING,
                    before: Some(before),
                };
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.at_work = state.at_work.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets connections work on a line that gives each `each` and all together `all` bytes a second;
    /// returns how many are allowed after every second.
    fn run(pace: &Arc<Pace>, each: f64, all: f64, seconds: usize, now: &mut Instant) -> Vec<usize> {
        const STEP: Duration = Duration::from_millis(50);
        let mut tickets = Vec::new();
        let mut seen = Vec::new();
        for step in 0..seconds * 20 {
            while let Some(ticket) = pace.try_enrol() {
                tickets.push(ticket);
            }
            while pace.is_over() {
                tickets.pop();
            }
            let count = f64::from(u32::try_from(tickets.len()).unwrap());
            let bytes = (count * each).min(all) * STEP.as_secs_f64();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a positive number of bytes"
            )]
            pace.came(bytes as u64);
            *now += STEP;
            pace.look(*now);
            if step % 20 == 19 {
                seen.push(pace.lock().allowed);
            }
        }
        seen
    }

    #[test]
    fn it_grows_while_that_brings_more_and_no_further() {
        let mut now = Instant::now();
        let pace = Arc::new(Pace::new(32));
        let seen = run(&pace, 20e6, 160e6, 4, &mut now);
        assert_eq!(seen.last(), Some(&8), "{seen:?}");
        // The line grows: so does the number, a little later.
        let seen = run(&pace, 20e6, 600e6, 30, &mut now);
        assert!(*seen.last().unwrap() > 20, "{seen:?}");
    }

    #[test]
    fn a_line_that_one_connection_fills_gets_few() {
        let mut now = Instant::now();
        let pace = Arc::new(Pace::new(16));
        let seen = run(&pace, 1e9, 1e9, 10, &mut now);
        assert!(seen.iter().all(|&allowed| allowed <= 8), "{seen:?}");
    }

    #[test]
    fn an_objection_costs_a_quarter_and_is_remembered() {
        let mut now = Instant::now();
        let pace = Arc::new(Pace::new(16));
        run(&pace, 20e6, 1e9, 4, &mut now);
        assert_eq!(pace.lock().allowed, 16);
        pace.objected(now);
        assert_eq!(pace.lock().allowed, 12);
        let seen = run(&pace, 20e6, 1e9, 14, &mut now);
        assert!(seen.iter().all(|&allowed| allowed == 12), "{seen:?}");
        for _ in 0..20 {
            pace.objected(now);
        }
        assert_eq!(pace.lock().allowed, 1, "one always remains");
    }

    #[test]
    fn never_more_than_asked_for() {
        let mut now = Instant::now();
        let pace = Arc::new(Pace::new(1));
        assert!(run(&pace, 1e6, 1e9, 20, &mut now).iter().all(|&n| n == 1));
        let first = pace.enrol();
        assert!(pace.try_enrol().is_none());
        drop(first);
        assert!(pace.try_enrol().is_some());
    }
}
