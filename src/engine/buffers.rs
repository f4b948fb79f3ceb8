//! Owns the memory that bytes pass through between the network and the disk: a fixed number of
//! buffers, used again and again.
//!
//! **Law**: however many files and connections there are, and however slow the disk is, no more
//! memory than this is taken.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The room of one buffer, in bytes: what one system call writes.
pub(super) const BUFFER_BYTES: usize = 256 << 10;
/// Buffers beyond one for each connection: they are being written and hashed meanwhile.
const BESIDE_CONNECTIONS: usize = 10;

/// All buffers of an engine.
#[derive(Debug)]
pub(super) struct Buffers {
    idle: Mutex<Vec<Vec<u8>>>,
    permits: Arc<Semaphore>,
}

/// A buffer in use. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    home: Arc<Buffers>,
    _permit: OwnedSemaphorePermit,
}

impl Buffers {
    /// Enough for so many connections.
    pub(super) fn new(connections: usize) -> Self {
        Self {
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(connections + BESIDE_CONNECTIONS)),
        }
    }

    /// Waits for an empty buffer; `None` if the engine is closing.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Buffer> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        Some(Buffer {
            bytes: idle.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES)),
            home: Arc::clone(self),
            _permit: permit,
        })
    }
}

impl Buffer {
    /// Adds as much of `bytes` as there is room for; returns how much that was.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(BUFFER_BYTES - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..count]);
        count
    }

    /// Takes the last `count` bytes out again.
    pub(super) fn cut(&mut self, count: usize) {
        self.bytes.truncate(self.bytes.len().saturating_sub(count));
    }

    /// Whether there is no room left.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= BUFFER_BYTES
    }

    /// How many bytes it holds.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.home
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn buffers_are_used_again_and_never_more_than_allowed() {
        let buffers = Arc::new(Buffers::new(0));
        let mut held = Vec::new();
        for _ in 0..BESIDE_CONNECTIONS {
            held.push(buffers.take().await.unwrap());
        }
        let wait = buffers.take();
        tokio::pin!(wait);
        assert!(futures::poll!(&mut wait).is_pending());
        let mut one = held.pop().unwrap();
        assert_eq!(one.fill(&vec![7; BUFFER_BYTES + 1]), BUFFER_BYTES);
        assert!(one.is_full());
        let place = one.as_ref().as_ptr();
        drop(one);
        let again = wait.await.unwrap();
        assert_eq!((again.len(), again.as_ref().as_ptr()), (0, place));
    }
}
