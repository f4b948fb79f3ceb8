//! Owns the hash of a file whose bytes come in any order: a thread that takes them in the order of
//! the file, from memory where they come in time, else from the disk.
//!
//! **Law**: the thread has let go of the file when its owner is dropped.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::blob::Hasher;
use super::incomplete::Partial;
use super::{Error, Result};

/// Buffers that may wait to be hashed.
const QUEUE: usize = 4;
/// How much is read back at a time.
const READ_BYTES: usize = 1 << 20;

/// A running hash. Dropping it ends the thread.
pub(super) struct Hashing<B> {
    desk: Arc<Desk<B>>,
    thread: Option<JoinHandle<Result<Hasher>>>,
}

/// What owner and thread share.
struct Desk<B> {
    state: Mutex<State<B>>,
    news: Condvar,
}

struct State<B> {
    file: Arc<File>,
    path: PathBuf,
    /// Bytes in order, each with its offset.
    queue: VecDeque<(u64, B)>,
    /// So many bytes from the start are written.
    ready: u64,
    /// So many bytes the thread has taken.
    taken: u64,
    /// Whether there will be no more.
    is_closed: bool,
    /// Whether nobody wants the hash any more.
    is_abandoned: bool,
}

/// What the thread does next.
enum Work<B> {
    Hash(B),
    Read {
        file: Arc<File>,
        offset: u64,
        bytes: usize,
    },
}

impl<B: AsRef<[u8]> + Send + 'static> Hashing<B> {
    /// Starts with the first `ready` bytes of the partial, which are there.
    pub(super) fn start(partial: &Partial, ready: u64) -> Result<Self> {
        let desk = Arc::new(Desk {
            state: Mutex::new(State {
                file: Arc::clone(&partial.file),
                path: partial.path.clone(),
                queue: VecDeque::with_capacity(QUEUE),
                ready,
                taken: 0,
                is_closed: false,
                is_abandoned: false,
            }),
            news: Condvar::new(),
        });
        let hasher = Hasher::new(&partial.etag, partial.size_bytes);
        let thread = {
            let desk = Arc::clone(&desk);
            std::thread::Builder::new()
                .name("hash".to_owned())
                .spawn(move || desk.hash_all(hasher))
                .map_err(Error::at("start a thread for", &partial.path))?
        };
        Ok(Self {
            desk,
            thread: Some(thread),
        })
    }

    /// Tells that bytes were written, and that now `ready` bytes from the start are there. They are
    /// kept for the hash if it is about to come to them.
    pub(super) fn offer(&self, offset: u64, bytes: B, ready: u64) {
        let mut state = self.desk.lock();
        let is_news = ready > state.ready;
        state.ready = ready;
        let next = state
            .queue
            .back()
            .map_or(state.taken, |(at, bytes)| at + bytes.as_ref().len() as u64);
        if offset == next && state.queue.len() < QUEUE {
            state.queue.push_back((offset, bytes));
        }
        drop(state);
        if is_news {
            self.desk.news.notify_one();
        }
    }

    /// Goes on with another file that holds the same bytes.
    pub(super) fn turn_to(&self, file: Arc<File>, path: &Path) {
        let mut state = self.desk.lock();
        state.file = file;
        path.clone_into(&mut state.path);
    }

    /// Waits until everything that is there without a gap is hashed.
    pub(super) fn finish(mut self) -> Result<Hasher> {
        self.desk.lock().is_closed = true;
        self.desk.news.notify_one();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(hashed)) => hashed,
            _ => Err(Error::Interrupted),
        }
    }
}

impl<B> Drop for Hashing<B> {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.desk.lock().is_abandoned = true;
            self.desk.news.notify_one();
            // A panic of the thread is its own report; there is no hash to lose here.
            drop(thread.join());
        }
    }
}

impl<B> Desk<B> {
    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: AsRef<[u8]>> Desk<B> {
    fn hash_all(&self, mut hasher: Hasher) -> Result<Hasher> {
        let mut buffer = Vec::new();
        loop {
            match self.next_work()? {
                None => return Ok(hasher),
                Some(Work::Hash(bytes)) => hasher.update(bytes.as_ref()),
                Some(Work::Read {
                    file,
                    offset,
                    bytes,
                }) => {
                    buffer.resize(READ_BYTES, 0);
                    let step = &mut buffer[..bytes];
                    if let Err(error) = file.read_exact_at(step, offset) {
                        let path = self.lock().path.clone();
                        return Err(Error::from_io("read back", &path, error));
                    }
                    hasher.update(step);
                }
            }
        }
    }

    /// Waits for something to hash; `None` when all is done.
    fn next_work(&self) -> Result<Option<Work<B>>> {
        let mut state = self.lock();
        loop {
            if state.is_abandoned {
                return Err(Error::Interrupted);
            }
            let taken = state.taken;
            match state.queue.front().map(|(at, _)| *at) {
                Some(at) if at == taken => {
                    if let Some((_, bytes)) = state.queue.pop_front() {
                        state.taken += bytes.as_ref().len() as u64;
                        return Ok(Some(Work::Hash(bytes)));
                    }
                }
                Some(at) if at < taken => {
                    state.queue.pop_front();
                    continue;
                }
                _ => {}
            }
            let until = state.queue.front().map_or(state.ready, |(at, _)| *at);
            let until = until.min(state.ready);
            if until > taken {
                let bytes = usize::try_from(until - taken)
                    .unwrap_or(usize::MAX)
                    .min(READ_BYTES);
                state.taken += bytes as u64;
                return Ok(Some(Work::Read {
                    file: Arc::clone(&state.file),
                    offset: taken,
                    bytes,
                }));
            }
            if state.is_closed {
                return Ok(None);
            }
            state = self
                .news
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
