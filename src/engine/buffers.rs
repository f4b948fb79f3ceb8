//! Owns the memory that bytes pass through between the network and the disk: a fixed number of
//! buffers, used again and again.
//!
//! **Law**: however many files and connections there are, and however slow the disk is, no more
//! memory than this is taken.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cache::Backlog;
use crate::host::DIRECT_ALIGN;

/// The room of one buffer, in bytes: what one system call writes. A multiple of what a disk asks of
/// memory.
pub(super) const BUFFER_BYTES: usize = 256 << 10;
/// Buffers beyond one for each connection: they are being written meanwhile.
const BESIDE_CONNECTIONS: usize = 8;
/// Buffers that may wait to be hashed.
const HELD: usize = 20;

/// All buffers of an engine.
#[derive(Debug)]
pub(super) struct Buffers {
    idle: Mutex<Vec<Memory>>,
    permits: Arc<Semaphore>,
    backlog: Arc<Backlog>,
}

/// The memory of a buffer: its room begins where a disk can take it from.
#[derive(Debug, Default)]
struct Memory {
    bytes: Box<[u8]>,
    start: usize,
}

/// A buffer in use. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: Memory,
    len: usize,
    /// How much it takes.
    room: usize,
    home: Arc<Buffers>,
    _permit: OwnedSemaphorePermit,
}

impl Memory {
    fn with_room() -> Self {
        let bytes = vec![0; BUFFER_BYTES + DIRECT_ALIGN].into_boxed_slice();
        // Where this cannot be told, the bytes are written another way.
        let start = bytes.as_ptr().align_offset(DIRECT_ALIGN).min(DIRECT_ALIGN);
        Self { bytes, start }
    }
}

impl Buffers {
    /// Enough for so many connections.
    pub(super) fn new(connections: usize) -> Self {
        Self {
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(connections + BESIDE_CONNECTIONS + HELD)),
            backlog: Backlog::new(HELD),
        }
    }

    /// Room for those that wait to be hashed.
    pub(super) const fn backlog(&self) -> &Arc<Backlog> {
        &self.backlog
    }

    /// Waits for an empty buffer, for bytes that belong at `offset` of a file: it takes as many as
    /// there are to the next multiple of [`BUFFER_BYTES`]. `None` if the engine is closing.
    pub(super) async fn take(self: &Arc<Self>, offset: u64) -> Option<Buffer> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let over = usize::try_from(offset % BUFFER_BYTES as u64).unwrap_or(0);
        Some(Buffer {
            memory: idle.unwrap_or_else(Memory::with_room),
            len: 0,
            room: BUFFER_BYTES - over,
            home: Arc::clone(self),
            _permit: permit,
        })
    }
}

impl Buffer {
    /// Adds as much of `bytes` as there is room for; returns how much that was.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room - self.len);
        let start = self.memory.start + self.len;
        self.memory.bytes[start..start + count].copy_from_slice(&bytes[..count]);
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
        &self.memory.bytes[self.memory.start..self.memory.start + self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(std::mem::take(&mut self.memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn buffers_are_used_again_and_never_more_than_allowed() {
        let buffers = Arc::new(Buffers::new(0));
        let mut held = Vec::new();
        for _ in 0..BESIDE_CONNECTIONS + HELD {
            held.push(buffers.take(0).await.unwrap());
        }
        let wait = buffers.take(BUFFER_BYTES as u64 * 3 + 100);
        tokio::pin!(wait);
        assert!(futures::poll!(&mut wait).is_pending());
        let mut one = held.pop().unwrap();
        assert_eq!(one.fill(&vec![7; BUFFER_BYTES + 1]), BUFFER_BYTES);
        assert!(one.is_full());
        let place = one.as_ref().as_ptr();
        drop(one);
        let again = wait.await.unwrap();
        assert_eq!((again.len(), again.as_ref().as_ptr()), (0, place));
        assert_eq!(place.align_offset(DIRECT_ALIGN), 0);
        let mut again = again;
        assert_eq!(again.fill(&vec![7; BUFFER_BYTES]), BUFFER_BYTES - 100);
        assert!(again.is_full());
        again.cut(1);
        assert_eq!((again.fill(&[1, 2]), again.as_ref().last()), (1, Some(&1)));
    }
}
