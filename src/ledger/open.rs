//! Owns opening the ledger: its folder, its format, what happens to one that is damaged.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{Error, Ledger, Result};

/// The format below. A larder that finds a higher one leaves the file alone.
const FORMAT: i64 = 1;
/// How long another larder's transaction is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long until one is asked for again that the database does not wait for by itself.
const AGAIN: Duration = Duration::from_millis(10);
/// How often that is done, each time a little later: for five seconds, or twice as long where the
/// database waits too.
const TIMES: u32 = 60;
/// How often of them also where a file could not be read: one that is being set aside cannot.
const UNSTEADY: u32 = 12;
/// How long the database waits by itself while it is opened.
const OPENING: Duration = Duration::from_millis(50);

const TABLES: &str = "
create table proven (
    path text primary key, device integer not null, inode integer not null, size integer not null,
    modified_ns integer not null, changed_ns integer not null, etag text not null,
    at_ms integer not null) without rowid;
create table chunks (
    etag text primary key, size integer not null, chunk_bytes integer not null,
    digests blob not null, at_ms integer not null) without rowid;
create table listings (
    endpoint text not null, repo text not null, commit_hash text not null, files text not null,
    at_ms integer not null, primary key (endpoint, repo, commit_hash)) without rowid;
create table transfers (
    id integer primary key, at_ms integer not null, kind text not null, repo text not null,
    revision text not null, bytes integer not null, took_ms integer not null,
    retries integer not null, outcome text not null, reason text);
create table samples (
    id integer primary key, at_ms integer not null, host text not null, bytes integer not null,
    took_ms integer not null, connections integer not null);
create index transfers_by_repo on transfers (repo, id);
create index samples_by_host on samples (host, id);
";

const UNFINISHED: &str = "unfinished (
    cache text not null, repo text not null, revision text not null, selection text not null,
    begun_ms integer not null, primary key (cache, repo, revision)) without rowid";

const WRONG: &str = "wrong (
    path text primary key, device integer not null, inode integer not null, size integer not null,
    modified_ns integer not null, changed_ns integer not null, etag text not null,
    computed text not null, at_ms integer not null) without rowid";

const FORMED: &str = "formed (
    path text primary key, device integer not null, inode integer not null, size integer not null,
    modified_ns integer not null, changed_ns integer not null, at_ms integer not null,
    rules text not null) without rowid";

const PAIRS: &str = "pairs (
    one text not null, other text not null, stamps text not null, is_shared integer not null,
    at_ms integer not null, primary key (one, other)) without rowid";

impl Ledger {
    /// Opens the ledger at `path`, or begins one. One that is damaged is set aside, never deleted;
    /// its new name is returned.
    ///
    /// # Errors
    /// When there can be none: the folder cannot be written, or a newer larder wrote it.
    pub fn open(path: &Path) -> Result<(Self, Option<PathBuf>)> {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|error| cannot(path, &error.to_string()))?;
        }
        match connect(path) {
            Err(error) if error.is_damage() => {
                // Only one larder sets it aside; another that saw the same finds a new one then.
                let io = |error: io::Error| cannot(path, &error.to_string());
                let _turn = turn(path).map_err(io)?;
                let (connection, aside) = match connect(path) {
                    Err(error) if error.is_damage() => {
                        let aside = set_aside(path).map_err(io)?;
                        (connect(path), Some(aside))
                    }
                    connected => (connected, None),
                };
                let connection = connection.map_err(|error| refused(path, error))?;
                Ok((Self::of(connection, path)?, aside))
            }
            Err(error) => Err(refused(path, error)),
            Ok(connection) => Ok((Self::of(connection, path)?, None)),
        }
    }

    fn of(connection: Connection, path: &Path) -> Result<Self> {
        let file = identity(path).map_err(|error| cannot(path, &error.to_string()))?;
        Ok(Self {
            connection: Mutex::new(connection),
            path: path.to_owned(),
            file,
        })
    }

    /// Sets a ledger aside in which damage showed after it was opened; `None` if another larder has
    /// begun a new one meanwhile. Not to be used any more afterwards.
    ///
    /// # Errors
    /// What the system says to the new name.
    pub fn set_aside(&self) -> io::Result<Option<PathBuf>> {
        let _turn = turn(&self.path)?;
        match identity(&self.path) {
            Ok(file) if file == self.file => set_aside(&self.path).map(Some),
            _ => Ok(None),
        }
    }
}

/// Which file a path leads to.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Keeps other larders from setting the same ledger aside, as long as the handle is open.
fn turn(path: &Path) -> io::Result<fs::File> {
    let folder = fs::File::open(path.parent().unwrap_or(Path::new(".")))?;
    folder.lock()?;
    Ok(folder)
}

fn cannot(path: &Path, why: &str) -> Error {
    Error::Open {
        path: path.to_owned(),
        why: why.to_owned(),
    }
}

fn refused(path: &Path, error: Error) -> Error {
    match error {
        Error::Query(error) => cannot(path, &error.to_string()),
        error => error,
    }
}

/// Connects, and asks again where the database does not wait by itself: two that turn a new file into
/// a ledger at once each hold what the other needs.
fn connect(path: &Path) -> Result<Connection> {
    for time in 0..TIMES {
        match connect_once(path) {
            // Also one that is set aside between two looks.
            Err(error)
                if error.is_busy()
                    || error.is_moved()
                    || (error.is_io() && time < UNSTEADY)
                    || (matches!(error, Error::Query(_)) && !path.exists()) =>
            {
                std::thread::sleep(AGAIN * (1 + time / 4));
            }
            connected => return connected,
        }
    }
    connect_once(path)
}

fn connect_once(path: &Path) -> Result<Connection> {
    // Made here, so that nobody else can read what was fetched and when.
    let made = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    made.map_err(|error| cannot(path, &error.to_string()))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(OPENING)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // A power cut may take the last rows away: they are a memory, not the truth.
    connection.pragma_update(None, "synchronous", "normal")?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > FORMAT {
        return Err(Error::Newer {
            path: path.to_owned(),
            version,
        });
    }
    if version < FORMAT {
        // Two larders may begin at once: the second finds it done.
        let change =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let version: i64 = change.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == 0 {
            change.execute_batch(TABLES)?;
            change.pragma_update(None, "user_version", FORMAT)?;
        }
        change.commit()?;
    }
    // Came later, and older larders do not mind it.
    for table in [UNFINISHED, WRONG, FORMED, PAIRS] {
        connection.execute_batch(&format!("create table if not exists {table}"))?;
    }
    // A look at each table: one that is missing or cannot be read shows here and not in the middle
    // of a pull.
    for table in [
        "proven",
        "chunks",
        "listings",
        "transfers",
        "samples",
        "unfinished",
        "wrong",
        "formed",
        "pairs",
    ] {
        connection
            .prepare(&format!("select * from {table} limit 1"))?
            .query([])?
            .next()?;
    }
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

/// Gives a damaged ledger another name, and its companions with it.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let name = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let aside = (1..1000)
        .map(|number| name(&format!(".damaged-{number}")))
        .find(|aside| !aside.exists())
        .ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))?;
    // First what belongs to it: whoever begins a new one in the next moment has its own.
    for companion in ["-wal", "-shm"] {
        let mut to = aside.as_os_str().to_owned();
        to.push(companion);
        match fs::rename(name(companion), to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, &aside)?;
    Ok(aside)
}
