//! Owns asking the system for other programs that download or load models, no more often than that is
//! worth.
//!
//! Never judges them: that is `cache/programs.rs`. Blocks, so it runs in a thread that may.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::cache::Programs;
use crate::host::{self, OpenFile};

/// How often processes are listed: what they begin is seen that soon.
const EVERY: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_millis(200);

/// Looks at other programs, and remembers what it saw.
#[derive(Debug, Default)]
pub(super) struct Observer {
    programs: Programs,
    looked: Option<Instant>,
    /// `None` if the system did not answer.
    open: Option<Vec<OpenFile>>,
    opened: Option<Instant>,
}

impl Observer {
    /// What they do now, or did a moment ago; of the files they have open, those in the cache at
    /// `root`.
    pub(super) fn look(&mut self, root: &Path) -> &Programs {
        if !is_recent(self.looked, EVERY) {
            self.looked = Some(Instant::now());
            let processes = host::processes();
            self.programs = Programs::among(processes.as_deref(), |pids| {
                if !is_recent(self.opened, host::OPEN_FILES_EVERY) {
                    self.opened = Some(Instant::now());
                    self.open = host::open_files(pids, root);
                }
                self.open.clone()
            });
        }
        &self.programs
    }

    /// What was last seen, without asking.
    pub(super) const fn seen(&self) -> &Programs {
        &self.programs
    }

    /// What they do now, asked once.
    pub(super) fn once(root: &Path) -> Programs {
        let mut observer = Self::default();
        observer.look(root);
        observer.programs
    }
}

/// Whether it is too soon to ask again, give or take a moment: whoever looks every second must not
/// have to look once more.
fn is_recent(at: Option<Instant>, every: Duration) -> bool {
    at.is_some_and(|at| at.elapsed() + SLACK < every)
}
