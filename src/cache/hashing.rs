//! Owns the hash of a file whose bytes come in any order: a thread that takes them in the order of
//! the file, from memory where they come in time, else from the disk.
//!
//! **Law**: the thread has let go of the file when its owner is dropped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::blob::Hasher;
use super::digest::{ChunkDigest, ChunkHasher};
use super::incomplete::Partial;
use super::{Error, Result};
use crate::host::{Aligned, DIRECT_ALIGN, Direct};

/// Bytes that came this far ahead of the hash wait for it in memory.
const AHEAD_BYTES: u64 = 6 << 20;
/// The hash may be this far behind what is there; then it is waited for, as long as it takes bytes
/// from memory.
const BEHIND_BYTES: u64 = 4 << 20;
/// If it is to keep step it is also waited for while it reads again what it has missed, up to this
/// much: what came in an earlier run it reads while others come.
const CATCH_UP_BYTES: u64 = 256 << 20;
/// How much is read back at a time.
const READ_BYTES: usize = 512 << 10;

/// Bytes on their way through memory.
pub trait InMemory: AsRef<[u8]> + Send + 'static {
    /// How much memory they take, in bytes: as much as there is room for in their buffer.
    fn room(&self) -> usize;
}

impl InMemory for Vec<u8> {
    fn room(&self) -> usize {
        self.capacity()
    }
}

/// Room for bytes that wait to be hashed, for all files together.
#[derive(Debug)]
pub struct Backlog(AtomicUsize);

/// Room for the bytes of one buffer. Dropping it gives it back.
struct Room {
    bytes: usize,
    home: Arc<Backlog>,
}

impl Backlog {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(bytes)))
    }

    fn take(self: &Arc<Self>, bytes: usize) -> Option<Room> {
        let less = |room: usize| room.checked_sub(bytes);
        let took = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        took.is_ok().then(|| Room {
            bytes,
            home: Arc::clone(self),
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.home.0.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

/// A running hash. Dropping it ends the thread.
pub(super) struct Hashing<B> {
    desk: Arc<Desk<B>>,
    backlog: Arc<Backlog>,
    thread: Option<JoinHandle<Result<Hasher>>>,
    /// Whether the hash is to keep step with what comes.
    pub(super) waits: bool,
}

/// What owner and thread share.
struct Desk<B> {
    state: Mutex<State<B>>,
    /// There is something to hash, or nothing more.
    news: Condvar,
    /// The thread has taken something, or is gone.
    progress: Condvar,
}

struct State<B> {
    file: Arc<File>,
    /// How it is read back where that was written past the system's memory.
    direct: Option<Arc<Direct>>,
    path: PathBuf,
    /// Bytes that wait, each with its offset.
    held: BTreeMap<u64, (B, Room)>,
    /// So many bytes from the start are written.
    ready: u64,
    /// So many bytes the thread has taken.
    taken: u64,
    /// Digests of chunks that the thread has passed, since they were asked for.
    digests: Vec<ChunkDigest>,
    /// Whether there will be no more.
    is_closed: bool,
    /// Whether nobody wants the hash any more.
    is_abandoned: bool,
    /// Whether the thread has ended.
    is_over: bool,
}

/// Tells that the thread has ended, however it did.
struct Farewell<'a, B>(&'a Desk<B>);

impl<B> Drop for Farewell<'_, B> {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.progress.notify_all();
    }
}

/// What the thread does next.
enum Work<B> {
    Hash(B),
    Read {
        file: Arc<File>,
        direct: Option<Arc<Direct>>,
        offset: u64,
        bytes: usize,
    },
}

impl<B: InMemory> Hashing<B> {
    /// Starts with the first `ready` bytes of the partial, which are there.
    pub(super) fn start(partial: &Partial, ready: u64, backlog: &Arc<Backlog>) -> Result<Self> {
        let desk = Arc::new(Desk {
            state: Mutex::new(State {
                file: Arc::clone(&partial.file),
                direct: None,
                path: partial.path.clone(),
                held: BTreeMap::new(),
                ready,
                taken: 0,
                digests: Vec::new(),
                is_closed: false,
                is_abandoned: false,
                is_over: false,
            }),
            news: Condvar::new(),
            progress: Condvar::new(),
        });
        let hasher = Hasher::new(&partial.etag, partial.size_bytes);
        let digests = ChunkHasher::new(partial.size_bytes);
        let thread = {
            let desk = Arc::clone(&desk);
            std::thread::Builder::new()
                .name("hash".to_owned())
                .spawn(move || {
                    let _farewell = Farewell(&desk);
                    desk.hash_all(hasher, digests)
                })
                .map_err(Error::at("start a thread for", &partial.path))?
        };
        Ok(Self {
            desk,
            backlog: Arc::clone(backlog),
            thread: Some(thread),
            waits: false,
        })
    }

    /// How far the thread has come, in bytes.
    pub(super) fn taken(&self) -> u64 {
        self.desk.lock().taken
    }

    /// Whether bytes that belong at `offset` are about to be hashed, so that they should wait for it
    /// in memory.
    pub(super) fn is_near(&self, offset: u64) -> bool {
        let taken = self.taken();
        (taken..taken + AHEAD_BYTES).contains(&offset)
    }

    /// Tells that bytes were written, and that now `ready` bytes from the start are there. They are
    /// kept for the hash if it is about to come to them; if it is far behind, it is waited for.
    /// Returns the digests of the chunks that it has passed since this was called last.
    pub(super) fn offer(&self, offset: u64, bytes: B, ready: u64) -> Vec<ChunkDigest> {
        let mut state = self.desk.lock();
        let is_news = ready > state.ready;
        state.ready = ready;
        if is_news {
            self.desk.news.notify_one();
        }
        let near = state.taken..state.taken + AHEAD_BYTES;
        if near.contains(&offset) {
            // A buffer that is hardly filled takes the same memory as a full one.
            let size = bytes.room();
            let mut room = self.backlog.take(size);
            while room.is_none() && state.is_working() {
                state = self.desk.wait_for_progress(state);
                room = self.backlog.take(size);
            }
            match room {
                Some(room) if offset >= state.taken => {
                    state.held.insert(offset, (bytes, room));
                    self.desk.news.notify_one();
                }
                // Not kept while it waits below.
                _ => drop(bytes),
            }
        } else {
            drop(bytes);
        }
        while state.is_behind() && (state.is_working() || self.waits && state.can_catch_up()) {
            state = self.desk.wait_for_progress(state);
        }
        std::mem::take(&mut state.digests)
    }

    /// From now on, bytes are read back past the system's memory: they are not in it.
    pub(super) fn read_by(&self, direct: &Arc<Direct>) {
        let mut state = self.desk.lock();
        if state.direct.is_none() {
            state.direct = Some(Arc::clone(direct));
        }
    }

    /// Goes on with another file that holds the same bytes.
    pub(super) fn turn_to(&self, file: Arc<File>, path: &Path) {
        let mut state = self.desk.lock();
        state.file = file;
        state.direct = None;
        path.clone_into(&mut state.path);
    }

    /// Whether all that is there without a gap is hashed, or the thread has given up.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.desk.lock();
        state.is_over || state.taken >= state.ready
    }

    /// The error of a thread that panicked.
    fn broken(&self) -> Error {
        let path = self.desk.lock().path.clone();
        Error::from_io(
            "hash",
            &path,
            io::Error::other("the thread that hashes is gone"),
        )
    }

    /// Waits until everything that is there without a gap is hashed; also returns the digests of the
    /// last chunks.
    pub(super) fn finish(&mut self) -> Result<(Hasher, Vec<ChunkDigest>)> {
        self.desk.lock().is_closed = true;
        self.desk.news.notify_one();
        let hasher = match self.thread.take().map(JoinHandle::join) {
            Some(hashed) => hashed.unwrap_or_else(|_| Err(self.broken()))?,
            None => return Err(self.broken()),
        };
        Ok((hasher, std::mem::take(&mut self.desk.lock().digests)))
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

impl<B> State<B> {
    /// Whether the thread is about to free room.
    fn is_working(&self) -> bool {
        !self.is_over && self.ready > self.taken && !self.held.is_empty()
    }

    fn is_behind(&self) -> bool {
        self.ready.saturating_sub(self.taken) > BEHIND_BYTES
    }

    fn can_catch_up(&self) -> bool {
        !self.is_over && self.ready.saturating_sub(self.taken) <= CATCH_UP_BYTES
    }
}

impl<B> Desk<B> {
    fn wait_for_progress<'a>(&self, state: MutexGuard<'a, State<B>>) -> MutexGuard<'a, State<B>> {
        self.progress
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many of the bytes from `from` to `until` are read at once: as many as there is room for, and
/// so that the disk can be asked directly for all but the edges.
fn step_of(from: u64, until: u64) -> usize {
    let align = DIRECT_ALIGN as u64;
    let end = until.min(from + READ_BYTES as u64);
    let end = if !from.is_multiple_of(align) {
        end.min(from.next_multiple_of(align))
    } else if end - from > align {
        end / align * align
    } else {
        end
    };
    usize::try_from(end - from).unwrap_or(READ_BYTES)
}

impl<B: InMemory> Desk<B> {
    fn hash_all(&self, mut hasher: Hasher, mut digests: ChunkHasher) -> Result<Hasher> {
        let mut buffer = None;
        loop {
            match self.next_work(&mut digests)? {
                None => {
                    let last = digests.finish();
                    self.lock().digests.extend(last);
                    return Ok(hasher);
                }
                Some(Work::Hash(bytes)) => {
                    hasher.update(bytes.as_ref());
                    digests.update(bytes.as_ref());
                }
                Some(Work::Read {
                    file,
                    direct,
                    offset,
                    bytes,
                }) => {
                    let buffer = buffer.get_or_insert_with(|| Aligned::new(READ_BYTES));
                    let step = &mut buffer.bytes_mut()[..bytes];
                    // What it refuses, the ordinary way gives or explains.
                    let is_read = direct.is_some_and(|direct| {
                        direct.read_exact_at(step, offset).is_ok_and(|read| read)
                    });
                    if !is_read && let Err(error) = file.read_exact_at(step, offset) {
                        let path = self.lock().path.clone();
                        return Err(Error::from_io("read back", &path, error));
                    }
                    hasher.update(step);
                    digests.update(step);
                }
            }
        }
    }

    /// Waits for something to hash; `None` when all is done.
    fn next_work(&self, digests: &mut ChunkHasher) -> Result<Option<Work<B>>> {
        let mut state = self.lock();
        state.digests.append(&mut digests.take_done());
        loop {
            if state.is_abandoned {
                return Err(Error::Interrupted);
            }
            let taken = state.taken;
            let is_there = taken < state.ready;
            while let Some(first) = state.held.first_entry().filter(|_| is_there) {
                let at = *first.key();
                if at > taken {
                    break;
                }
                let (bytes, _room) = first.remove();
                if at == taken {
                    state.taken += bytes.as_ref().len() as u64;
                    self.progress.notify_one();
                    return Ok(Some(Work::Hash(bytes)));
                }
            }
            let until = state.held.keys().next().copied().unwrap_or(state.ready);
            let until = until.min(state.ready);
            if until > taken {
                let bytes = step_of(taken, until);
                state.taken += bytes as u64;
                self.progress.notify_one();
                return Ok(Some(Work::Read {
                    file: Arc::clone(&state.file),
                    direct: state.direct.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_what_a_disk_can_be_asked_for() {
        const MIB: u64 = 1 << 20;
        assert_eq!(step_of(0, 5 * MIB), READ_BYTES);
        assert_eq!(step_of(100, 5 * MIB), DIRECT_ALIGN - 100);
        assert_eq!(step_of(100, 200), 100);
        assert_eq!(step_of(MIB, MIB + 10_000), 2 * DIRECT_ALIGN);
        assert_eq!(step_of(MIB, MIB + 4096), DIRECT_ALIGN);
        assert_eq!(step_of(MIB, MIB + 17), 17);
    }
}
