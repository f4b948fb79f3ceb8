//! Owns the memory that bytes pass through between the network and the disk: a fixed number of
//! buffers, used again and again.
//!
//! **Law**: however many files and connections there are, and however slow the disk is, no more
//! memory than this is taken.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cache::{Backlog, InMemory};
use crate::host::Aligned;

/// The room of a small buffer, in bytes, and the unit of what is taken.
pub(super) const SMALL_BYTES: usize = 256 << 10;
/// The room of a large one: a disk takes one such write in half the time of four small ones.
pub(super) const LARGE_BYTES: usize = 1 << 20;
/// Small buffers beyond one for each connection, at least: they are being written meanwhile.
const BESIDE_CONNECTIONS: usize = 8;
/// So many small buffers are enough for a usual number of connections.
const ENOUGH: usize = 32;
/// Small buffers that may wait to be hashed.
const HELD: usize = 18;

/// All buffers of an engine.
#[derive(Debug)]
pub(super) struct Buffers {
    idle: Mutex<Idle>,
    permits: Arc<Semaphore>,
    backlog: Arc<Backlog>,
}

/// Buffers that nobody uses, by their room.
#[derive(Debug, Default)]
struct Idle {
    small: Vec<Aligned>,
    large: Vec<Aligned>,
}

/// A buffer in use. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: Aligned,
    len: usize,
    /// How much it takes.
    room: usize,
    home: Arc<Buffers>,
    _permit: OwnedSemaphorePermit,
}

impl Idle {
    /// Takes memory with so much room. What has another room goes: all together would be too much.
    fn take(&mut self, room: usize) -> Aligned {
        let (same, other) = if room >= LARGE_BYTES {
            (&mut self.large, &mut self.small)
        } else {
            (&mut self.small, &mut self.large)
        };
        same.pop().unwrap_or_else(|| {
            other.clear();
            Aligned::new(room)
        })
    }

    fn put(&mut self, memory: Aligned) {
        if memory.bytes().len() >= LARGE_BYTES {
            self.large.push(memory);
        } else {
            self.small.push(memory);
        }
    }
}

impl Buffers {
    /// Enough for so many connections.
    pub(super) fn new(connections: usize) -> Self {
        let units = ENOUGH.max(connections + BESIDE_CONNECTIONS);
        Self {
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(units)),
            backlog: Backlog::new(HELD * SMALL_BYTES),
        }
    }

    /// Room for those that wait to be hashed.
    pub(super) const fn backlog(&self) -> &Arc<Backlog> {
        &self.backlog
    }

    /// Waits for an empty buffer of [`SMALL_BYTES`] or [`LARGE_BYTES`], for bytes that belong at
    /// `offset` of a file: it takes as many as there are to the next multiple of its room. `None` if
    /// the engine is closing.
    pub(super) async fn take(self: &Arc<Self>, offset: u64, room: usize) -> Option<Buffer> {
        let units = u32::try_from(room / SMALL_BYTES).unwrap_or(1);
        let permits = Arc::clone(&self.permits);
        let permit = permits.acquire_many_owned(units).await.ok()?;
        let memory = self.lock().take(room);
        let over = usize::try_from(offset % room as u64).unwrap_or(0);
        Some(Buffer {
            memory,
            len: 0,
            room: room - over,
            home: Arc::clone(self),
            _permit: permit,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    /// Adds as much of `bytes` as there is room for; returns how much that was.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room - self.len);
        let end = self.len + count;
        self.memory.bytes_mut()[self.len..end].copy_from_slice(&bytes[..count]);
        self.len += count;
        count
    }

    /// Takes the last `count` bytes out again.
    pub(super) fn cut(&mut self, count: usize) {
        self.len = self.len.saturating_sub(count);
    }

    /// Whether there is no room left.
    pub(super) fn is_full(&self) -> bool {
        self.len >= self.room
    }

    /// How many bytes it holds.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory.bytes()[..self.len]
    }
}

impl InMemory for Buffer {
    fn room(&self) -> usize {
        self.memory.bytes().len()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.lock().put(std::mem::take(&mut self.memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::DIRECT_ALIGN;

    #[tokio::test]
    async fn buffers_are_used_again_and_never_more_than_allowed() {
        let buffers = Arc::new(Buffers::new(0));
        let mut held = Vec::new();
        for _ in 0..ENOUGH {
            held.push(buffers.take(0, SMALL_BYTES).await.unwrap());
        }
        let wait = buffers.take(SMALL_BYTES as u64 * 3 + 100, SMALL_BYTES);
        tokio::pin!(wait);
        assert!(futures::poll!(&mut wait).is_pending());
        let mut one = held.pop().unwrap();
        assert_eq!(one.fill(&vec![7; SMALL_BYTES + 1]), SMALL_BYTES);
        assert!(one.is_full());
        let place = one.as_ref().as_ptr();
        drop(one);
        let mut again = wait.await.unwrap();
        assert_eq!((again.len(), again.as_ref().as_ptr()), (0, place));
        assert_eq!(place.align_offset(DIRECT_ALIGN), 0);
        assert_eq!(again.fill(&vec![7; SMALL_BYTES]), SMALL_BYTES - 100);
        assert!(again.is_full());
        again.cut(1);
        assert_eq!((again.fill(&[1, 2]), again.as_ref().last()), (1, Some(&1)));
        // A large one is four small ones, and their memory goes.
        let large = buffers.take(0, LARGE_BYTES);
        tokio::pin!(large);
        assert!(futures::poll!(&mut large).is_pending());
        held.truncate(held.len() - 3);
        assert!(futures::poll!(&mut large).is_pending());
        drop(again);
        let mut large = large.await.unwrap();
        assert!(buffers.lock().small.is_empty());
        assert_eq!(large.fill(&vec![7; LARGE_BYTES + 1]), LARGE_BYTES);
    }
}
