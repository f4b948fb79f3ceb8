//! Owns what becomes of a blob of the Hub cache that was to be copied and turned out to hold something
//! else: it is remembered as wrong, and told.
//!
//! Never changes it: that is the doctor's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::attempt::Attempt;
use super::job::{Halt, blocking};
use super::memory::Memory;
use crate::cache;
use crate::domain::{Etag, Event, RepoId, sanitize, shell_word};
use crate::ledger::{Stamp, Wrong};

impl Attempt<'_> {
    /// Reads a blob again that turned out to hold something else, and remembers it as wrong: `ls`,
    /// `ready` and `doctor` say so from then on. `false` if it is right, or has changed meanwhile.
    pub(super) async fn learn_wrong(&self, source: PathBuf) -> Result<bool, Halt> {
        let (job, etag) = (Arc::clone(self.job), self.remote.etag);
        let mut watch = self.watch();
        blocking(move || {
            let now = job.emitter.now();
            // Under its real name, as `verify` remembers it.
            let look = || {
                let real = std::fs::canonicalize(&source).ok()?;
                let found = real.metadata().ok()?;
                Some((real, Stamp::of(&found)))
            };
            let Some((real, stamp)) = look() else {
                return Ok(false);
            };
            let computed = match cache::hashes_of(&real, stamp.size, &mut watch) {
                Ok([sha256, git]) => match etag {
                    Etag::Sha256(_) => sha256,
                    Etag::GitSha1(_) => git,
                },
                Err(cache::Error::Interrupted) => return Err(Halt::Interrupted),
                // One that cannot be read is no wrong one.
                Err(_) => return Ok(false),
            };
            if computed == etag || look() != Some((real.clone(), stamp)) {
                return Ok(false);
            }
            if let Ok(path) = real.into_os_string().into_string()
                && Memory::is_settled(&stamp, now)
            {
                let wrong = Wrong {
                    path,
                    stamp,
                    etag,
                    computed,
                };
                job.memory.keep_wrong(vec![wrong], now);
            }
            Ok(true)
        })
        .await?
    }

    /// Says which blob is wrong, and what to do about it.
    pub(super) async fn say_wrong(&self, source: &Path) {
        let blobs = source.parent();
        let folder = blobs.and_then(Path::parent).and_then(Path::file_name);
        let repo = folder.and_then(|name| RepoId::from_folder(name.to_str()?));
        let repo = repo.map_or_else(String::new, |repo| format!(" {repo}"));
        let config = &self.job.config;
        let place = match config.origin("cache_dir") {
            Some("--cache-dir") => {
                let dir = shell_word(&config.cache_dir.to_string_lossy());
                format!(" --cache-dir {dir}")
            }
            _ => String::new(),
        };
        let note = format!(
            "`{}` does not hold what its name says and was not used; `larder doctor{repo} --fix\
             {place}` puts it right",
            sanitize(&source.to_string_lossy())
        );
        self.job.emitter.fact(Event::Noted { note }).await;
    }
}
