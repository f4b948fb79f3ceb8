//! Owns keeping child processes and locks apart in tests: between fork and exec a child holds
//! every open file of its parent, and with it every `flock` that a test next door has just let go.
//!
//! Never part of the program.

use std::process::{Child, Command};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How many tests hold locks.
static LOCKING: Mutex<usize> = Mutex::new(0);
static CHANGED: Condvar = Condvar::new();

fn locking() -> MutexGuard<'static, usize> {
    LOCKING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As long as this lives, no child is started.
#[derive(Debug)]
pub(crate) struct NoForks(());

/// Keeps children from being started. May be asked for more than once in a test.
pub(crate) fn no_forks() -> NoForks {
    *locking() += 1;
    NoForks(())
}

impl Drop for NoForks {
    fn drop(&mut self) {
        *locking() -= 1;
        CHANGED.notify_all();
    }
}

/// Starts a child while no test holds locks. Not to be called by a test that does.
pub(crate) fn spawn(command: &mut Command) -> Child {
    let mut count = locking();
    while *count > 0 {
        count = CHANGED.wait(count).unwrap_or_else(PoisonError::into_inner);
    }
    // Returns once the child has become another program, which holds nothing of ours.
    command.spawn().unwrap()
}

/// The id of a process that has ended.
pub(crate) fn dead_pid() -> u32 {
    let mut child = spawn(&mut Command::new("true"));
    child.wait().unwrap();
    child.id()
}
