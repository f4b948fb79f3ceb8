//! Owns the transfers of one pull: which run, which ended and how, and who hears a command.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::JoinSet;

use super::control::{Rein, Wish};
use super::job::Job;
use super::transfer::{Ending, Transfer};
use crate::domain::{
    Command, Event, Failure, FailureCode, FileId, FileSelection, PlannedFile, RemoteFile,
};

/// The transfers of a pull.
pub(super) struct Board {
    slots: Vec<Slot>,
    /// Every planned file's transfer: files with one content share one.
    transfer_of: HashMap<FileId, FileId>,
}

struct Slot {
    transfer: Transfer,
    state: State,
}

enum State {
    /// Not started, or to be started again.
    Ready,
    Running(Rein),
    Ended(Ending),
}

/// How the whole board stands when nothing runs any more.
pub(super) enum Settled {
    /// Every blob is proven; whether all by hash.
    Proven { is_verified: bool },
    /// Something failed.
    Failed(Vec<Failure>),
    /// Nothing failed, something was cancelled.
    Cancelled,
}

impl Board {
    /// One transfer per distinct content of the plan.
    pub(super) fn new(files: &[PlannedFile], selected: &[RemoteFile]) -> Self {
        let mut slots: Vec<Slot> = Vec::new();
        let mut transfer_of = HashMap::new();
        let mut place: HashMap<FileId, usize> = HashMap::new();
        for (planned, remote) in files.iter().zip(selected) {
            let owner = planned.same_as.unwrap_or(planned.file);
            transfer_of.insert(planned.file, owner);
            match place.get(&owner) {
                Some(&at) => slots[at].transfer.paths.push(planned.path.clone()),
                None => {
                    place.insert(owner, slots.len());
                    slots.push(Slot {
                        transfer: Transfer {
                            file: planned.file,
                            remote: remote.clone(),
                            paths: vec![planned.path.clone()],
                            is_new: planned.have_bytes == 0 && !planned.is_reuse,
                            attempts: 0,
                        },
                        state: State::Ready,
                    });
                }
            }
        }
        // Large files first: the last one to finish decides how long the pull takes.
        slots.sort_by_key(|slot| std::cmp::Reverse(slot.transfer.remote.size_bytes));
        Self { slots, transfer_of }
    }

    /// Runs what is ready until nothing runs, hearing commands meanwhile. `None` from `next` means
    /// that nobody will command any more: everything is cancelled.
    pub(super) async fn run(
        &mut self,
        job: &Arc<Job>,
        commands: &mut tokio::sync::mpsc::Receiver<Command>,
    ) -> Settled {
        let mut tasks: JoinSet<(Transfer, Ending)> = JoinSet::new();
        let mut slot_of_task = HashMap::new();
        let mut is_open = true;
        loop {
            for (at, slot) in self.slots.iter_mut().enumerate() {
                if matches!(slot.state, State::Ready) {
                    let (rein, ear) = Rein::new();
                    let task = tasks.spawn(slot.transfer.clone().run(Arc::clone(job), ear));
                    slot_of_task.insert(task.id(), at);
                    slot.state = State::Running(rein);
                }
            }
            if tasks.is_empty() {
                return self.settled();
            }
            tokio::select! {
                Some(joined) = tasks.join_next_with_id() => {
                    let (id, transfer, ending) = match joined {
                        Ok((id, (transfer, ending))) => (id, Some(transfer), ending),
                        Err(error) => {
                            let failure = Failure::new(FailureCode::Internal, "a transfer panicked")
                                .because(error.to_string());
                            (error.id(), None, Ending::Failed(failure))
                        }
                    };
                    if let Some(at) = slot_of_task.remove(&id) {
                        self.ended(at, transfer, ending, job).await;
                    }
                }
                command = commands.recv(), if is_open => match command {
                    Some(command) => self.hear(&command),
                    None => {
                        is_open = false;
                        self.wish(&FileSelection::All, Wish::Cancel);
                    }
                }
            }
        }
    }

    async fn ended(&mut self, at: usize, transfer: Option<Transfer>, ending: Ending, job: &Job) {
        let ends_job = matches!(&ending, Ending::Failed(failure) if failure.code.ends_job());
        match transfer {
            Some(transfer) => self.slots[at].transfer = transfer,
            None => {
                // The task died without a word: say its last one for it.
                if let Ending::Failed(failure) = &ending {
                    let transfer = &mut self.slots[at].transfer;
                    transfer.attempts += 1;
                    job.emitter
                        .fact(Event::Failed {
                            file: transfer.file,
                            attempt: transfer.attempts,
                            failure: failure.clone(),
                            retry: None,
                        })
                        .await;
                }
            }
        }
        if matches!(ending, Ending::Proven { .. }) {
            let files = self.slots[at].transfer.paths.len() as u64;
            job.files_done.fetch_add(files, Ordering::Relaxed);
        }
        self.slots[at].state = State::Ended(ending);
        if ends_job {
            // No other file can succeed either: stop them all, keep their partials.
            self.wish(&FileSelection::All, Wish::Cancel);
        }
    }

    fn hear(&mut self, command: &Command) {
        match command {
            Command::Cancel(files) => self.wish(files, Wish::Cancel),
            Command::Pause(files) => self.wish(files, Wish::Pause),
            Command::Resume(files) => self.wish(files, Wish::Run),
            Command::Retry(files) => {
                for slot in &mut self.slots {
                    if let State::Running(rein) = &slot.state
                        && meant(&self.transfer_of, files, slot.transfer.file)
                    {
                        rein.hurry();
                    }
                }
                self.reopen(files);
            }
            // The supervisor keeps these for itself.
            Command::Pull(_)
            | Command::History { .. }
            | Command::List(_)
            | Command::Ready(_)
            | Command::Survey(_)
            | Command::Diagnose(_)
            | Command::LearnListings(_)
            | Command::Locks(_)
            | Command::Watch(_)
            | Command::Verify { .. }
            | Command::Fix(_)
            | Command::Purge(_)
            | Command::Import(_)
            | Command::Guide(_)
            | Command::PlanPurge(_)
            | Command::Trash(_) => {}
        }
    }

    fn wish(&mut self, files: &FileSelection, wish: Wish) {
        for slot in &mut self.slots {
            if let State::Running(rein) = &slot.state
                && meant(&self.transfer_of, files, slot.transfer.file)
            {
                rein.wish(wish);
            }
        }
    }

    /// Makes failed and cancelled transfers ready again; says which.
    pub(super) fn reopen(&mut self, files: &FileSelection) -> Vec<FileId> {
        let mut reopened = Vec::new();
        for slot in &mut self.slots {
            if matches!(
                slot.state,
                State::Ended(Ending::Failed(_) | Ending::Cancelled)
            ) && meant(&self.transfer_of, files, slot.transfer.file)
            {
                slot.state = State::Ready;
                reopened.push(slot.transfer.file);
            }
        }
        reopened
    }

    /// The files whose content is proven and in place.
    pub(super) fn proven(&self) -> HashSet<FileId> {
        let owners: HashSet<FileId> = self
            .slots
            .iter()
            .filter(|slot| matches!(slot.state, State::Ended(Ending::Proven { .. })))
            .map(|slot| slot.transfer.file)
            .collect();
        self.transfer_of
            .iter()
            .filter(|(_, owner)| owners.contains(owner))
            .map(|(file, _)| *file)
            .collect()
    }

    fn settled(&self) -> Settled {
        let mut failures: Vec<Failure> = Vec::new();
        let mut any_cancelled = false;
        let mut is_verified = true;
        for slot in &self.slots {
            match &slot.state {
                State::Ended(Ending::Failed(failure)) => {
                    // What ends the job is the same for every file that met it: told once.
                    let is_told = |other: &Failure| {
                        failure.code.ends_job()
                            && (other.code, &other.summary) == (failure.code, &failure.summary)
                    };
                    if !failures.iter().any(is_told) {
                        failures.push(failure.clone());
                    }
                }
                State::Ended(Ending::Proven {
                    is_verified: by_hash,
                }) => is_verified &= by_hash,
                State::Ended(Ending::Cancelled) | State::Ready | State::Running(_) => {
                    any_cancelled = true;
                }
            }
        }
        if !failures.is_empty() {
            Settled::Failed(failures)
        } else if any_cancelled {
            Settled::Cancelled
        } else {
            Settled::Proven { is_verified }
        }
    }
}

/// Whether a command for `files` is meant for the transfer of `owner`.
fn meant(transfer_of: &HashMap<FileId, FileId>, files: &FileSelection, owner: FileId) -> bool {
    match files {
        FileSelection::All | FileSelection::Job(_) => true,
        FileSelection::Files(_, files) => files
            .iter()
            .filter_map(|file| transfer_of.get(file))
            .collect::<HashSet<_>>()
            .contains(&owner),
    }
}
