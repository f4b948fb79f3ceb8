//! Owns keeping a pull's download marker: there before the first byte comes, true every two seconds,
//! gone before the end is told.
//!
//! Never stops a pull: where there can be no marker, the locks of the blobs still keep others out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::job::{Job, blocking};
use crate::cache::{self, Marker, MarkerAttempt, MarkerProgress};
use crate::domain::{Event, PullPlan};

/// How often the marker is written (product.md, section 4).
const EVERY: Duration = Duration::from_secs(2);
/// How often it is looked whether another's marker is gone.
const SOON: Duration = Duration::from_millis(300);

/// What a pull is to bring, as its plan has it.
#[derive(Clone, Copy)]
struct Totals {
    files: u64,
    bytes: u64,
    /// Bytes that were here.
    have: u64,
}

/// Keeps the marker until it is told to end.
pub(super) struct Keeper {
    quit: CancellationToken,
    /// The one task; it ends with this.
    task: JoinSet<()>,
}

impl Keeper {
    /// Makes the marker, if bytes are to be fetched; else as soon as some come all the same.
    pub(super) async fn start(job: &Arc<Job>, plan: &PullPlan) -> Self {
        let is_wanted = plan.fetch_bytes > 0 || job.is_forced;
        Self::keep(job, plan, is_wanted).await
    }

    /// Makes the marker for bytes that come from this machine: until they have their pointers, nothing
    /// leads to them, and nobody else is to take them for waste.
    pub(super) async fn of_import(job: &Arc<Job>, plan: &PullPlan) -> Self {
        Self::keep(job, plan, true).await
    }

    async fn keep(job: &Arc<Job>, plan: &PullPlan, is_wanted: bool) -> Self {
        let totals = Totals {
            files: plan.files.len() as u64,
            bytes: plan.total_bytes,
            have: plan.total_bytes.saturating_sub(plan.fetch_bytes),
        };
        let mut keeping = Keeping {
            job: Arc::clone(job),
            totals,
            is_wanted,
            is_told: false,
            // A local dir has none: a file like that would be one of the model's.
            is_given_up: job.layout.is_local(),
            marker: None,
        };
        keeping.look().await;
        let quit = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(keeping.run(quit.clone()));
        Self { quit, task }
    }

    /// Returns when the marker is gone.
    pub(super) async fn end(mut self) {
        self.quit.cancel();
        while let Some(ended) = self.task.join_next().await
            && let Err(error) = ended
        {
            tracing::warn!(%error, "the download marker was not kept to the end");
        }
    }
}

struct Keeping {
    job: Arc<Job>,
    totals: Totals,
    /// Whether there is to be one.
    is_wanted: bool,
    /// Whether it was told why there is none.
    is_told: bool,
    /// Whether there can be none here.
    is_given_up: bool,
    marker: Option<Marker>,
}

impl Keeping {
    async fn run(mut self, quit: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = quit.cancelled() => break,
                () = tokio::time::sleep(self.pause()) => self.look().await,
            }
        }
        let marker = self.marker.take();
        if let Err(failure) = blocking(move || drop(marker)).await {
            tracing::warn!(%failure, "the download marker was not removed");
        }
    }

    /// Until the next look: while another holds the marker, soon, so that there is always one.
    const fn pause(&self) -> Duration {
        if self.is_wanted && self.marker.is_none() && !self.is_given_up {
            SOON
        } else {
            EVERY
        }
    }

    /// Takes the marker if it is free, and writes it.
    async fn look(&mut self) {
        self.is_wanted |= self.job.flow.came.load(Ordering::Relaxed) > 0;
        if !self.is_wanted || self.is_given_up {
            return;
        }
        let (job, held, progress) = (Arc::clone(&self.job), self.marker.take(), self.progress());
        match blocking(move || keep(&job, held, &progress)).await {
            Ok(Ok(MarkerAttempt::Held(marker))) => self.marker = Some(marker),
            // Another larder downloads the same; when it dies, this one is next.
            Ok(Ok(MarkerAttempt::Busy)) => {}
            Ok(Ok(MarkerAttempt::Foreign)) => {
                self.tell(
                    "a download script's marker is there: it stays, and apps that look for one \
                     wait for it",
                )
                .await;
            }
            Ok(Ok(MarkerAttempt::NoFlock)) => {
                self.is_given_up = true;
                self.tell(
                    "this file system has no `flock`: there is no download marker, so other \
                     programs do not see this download",
                )
                .await;
            }
            // What it was tells the pull itself, whose files are in the same folder.
            Ok(Err(error)) => self.warn(&error),
            Err(failure) => self.warn(&failure),
        }
    }

    fn warn(&mut self, why: &dyn std::fmt::Display) {
        if !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!(%why, "there is no download marker");
        }
    }

    async fn tell(&mut self, note: &str) {
        if !std::mem::replace(&mut self.is_told, true) {
            let note = note.to_owned();
            self.job.emitter.fact(Event::Noted { note }).await;
        }
    }

    fn progress(&self) -> MarkerProgress {
        let Totals { files, bytes, have } = self.totals;
        let came = self.job.flow.came.load(Ordering::Relaxed);
        MarkerProgress {
            files_done: self.job.files_done.load(Ordering::Relaxed).min(files),
            files_total: files,
            // What was fetched twice counts once.
            bytes_done: have.saturating_add(came).min(bytes),
            bytes_total: bytes,
        }
    }
}

fn keep(
    job: &Job,
    held: Option<Marker>,
    progress: &MarkerProgress,
) -> cache::Result<MarkerAttempt> {
    // One that somebody removed is made anew; one that was written over is not ours any more.
    let marker = match held.filter(Marker::is_ours) {
        Some(marker) => marker,
        None => {
            cache::prepare_root(job.layout.root())?;
            cache::prepare_repo(&job.layout, &job.repo)?;
            match Marker::take(&job.layout, &job.repo, job.emitter.now())? {
                MarkerAttempt::Held(marker) => marker,
                other => return Ok(other),
            }
        }
    };
    marker.write(progress)?;
    Ok(MarkerAttempt::Held(marker))
}
