//! Owns what a command ends with: exit code, failure code, the failures to tell.
//!
//! Codes of failures are `domain`'s; here they meet signals and engines that are gone.

use crate::domain::{Failure, FailureCode, ImportResult, Outcome, exit_code};
use crate::store::{count, size};

/// A signal that ends a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// The terminal went away.
    Hangup,
    /// Ctrl-\.
    Quit,
    /// Asked to end.
    Terminate,
}

impl Signal {
    /// The exit code of a command it ended: 128 and the signal's number.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Hangup => 129,
            Self::Quit => 131,
            Self::Terminate => 143,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Interrupt => "interrupted (SIGINT)",
            Self::Hangup => "hung up (SIGHUP)",
            Self::Quit => "ended (SIGQUIT)",
            Self::Terminate => "terminated (SIGTERM)",
        }
    }
}

/// What a command does, as far as it matters to whoever stops it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Bytes are fetched.
    Fetching,
    /// Nothing is changed.
    Looking,
    /// Files are removed.
    Removing,
    /// What is broken is put right.
    Mending,
    /// Files on this machine are taken in.
    Importing,
}

impl Work {
    /// What stays when it is stopped.
    pub(super) const fn kept(self) -> &'static str {
        match self {
            Self::Fetching => "what was fetched is kept",
            Self::Looking => "nothing was changed",
            Self::Removing => "what is not removed yet stays",
            Self::Mending => "what is put right stays so, and the rest stays as it is",
            Self::Importing => "what was taken in is kept, and your files are as they were",
        }
    }

    const fn cause(self) -> &'static str {
        match self {
            Self::Fetching => "what was fetched is kept and resumed next time",
            Self::Looking => "nothing was changed",
            Self::Removing => "what is not removed yet stays",
            Self::Mending => "what is put right stays so, and the rest stays as it is",
            Self::Importing => "what was taken in is kept, and your files are as they were",
        }
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// The word for it in documents.
    pub(super) outcome: &'static str,
    pub(super) exit_code: u8,
    /// What is to be told, in order.
    pub(super) failures: Vec<Failure>,
}

impl Ending {
    /// The end of a command that did not even begin.
    pub(super) fn refused(failure: Failure) -> Self {
        Self {
            outcome: "failed",
            exit_code: failure.code.exit_code(),
            failures: vec![failure],
        }
    }

    /// The end of a command that did what it was asked.
    pub(super) const fn done(outcome: &'static str) -> Self {
        Self {
            outcome,
            exit_code: 0,
            failures: Vec::new(),
        }
    }

    /// The code of all failures, `mixed` where they differ, `cancelled` where the user ended it.
    pub(super) fn failure_code(&self) -> Option<&'static str> {
        if self.outcome == "cancelled" {
            return Some(FailureCode::Cancelled.name());
        }
        let mut codes = self.failures.iter().map(|failure| failure.code);
        let first = codes.next()?;
        Some(if codes.all(|code| code == first) {
            first.name()
        } else {
            "mixed"
        })
    }
}

/// Judges an outcome; `None` when the engine went away without one.
pub(super) fn judge(work: Work, outcome: Option<&Outcome>, caught: Option<Signal>) -> Ending {
    let ok = Ending::done;
    let cancelled = |others: &[Failure]| {
        let words = caught.map_or("cancelled", Signal::words);
        let mut failures = vec![Failure::new(FailureCode::Cancelled, words).because(work.cause())];
        failures.extend_from_slice(others);
        Ending {
            outcome: "cancelled",
            exit_code: caught.map_or(FailureCode::Cancelled.exit_code(), Signal::exit_code),
            failures,
        }
    };
    match outcome {
        // A signal that came too late to stop anything does not make a good end bad.
        Some(Outcome::Complete(_)) => ok("complete"),
        Some(Outcome::Planned) => ok("planned"),
        Some(Outcome::Listed) => ok("listed"),
        Some(Outcome::Verified { broken: 0, .. }) => ok("verified"),
        Some(Outcome::Verified { broken, .. }) => Ending {
            outcome: "verified",
            exit_code: FailureCode::Findings.exit_code(),
            failures: vec![Failure::new(
                FailureCode::Findings,
                format!("something is wrong in {}", count(*broken, "snapshot")),
            )],
        },
        Some(Outcome::Purged(_)) => ok("purged"),
        Some(Outcome::Fixed(_)) => ok("fixed"),
        Some(Outcome::Imported(result)) => imported(result),
        Some(Outcome::Trashed(_)) => ok("done"),
        Some(Outcome::Cancelled) => cancelled(&[]),
        Some(Outcome::Failed { failures }) if caught.is_some() => cancelled(failures),
        Some(Outcome::Failed { failures }) if !failures.is_empty() => Ending {
            outcome: "failed",
            exit_code: exit_code(failures),
            failures: failures.clone(),
        },
        Some(Outcome::Failed { .. }) => Ending::refused(Failure::new(
            FailureCode::Internal,
            "the command failed without saying why",
        )),
        None if caught.is_some() => cancelled(&[]),
        None => Ending::refused(Failure::new(
            FailureCode::Internal,
            "the engine stopped before the command ended",
        )),
    }
}

/// An import that leaves something missing is done, and the model is not.
fn imported(result: &ImportResult) -> Ending {
    const TOLD: usize = 5;
    let missing = &result.missing;
    if missing.is_empty() {
        return Ending::done("imported");
    }
    let mut names: Vec<String> = missing
        .iter()
        .take(TOLD)
        .map(|file| format!("`{}`, {}", file.path, size(file.size_bytes)))
        .collect();
    if missing.len() > TOLD {
        names.push(format!("{} more", missing.len() - TOLD));
    }
    let what = format!(
        "the model is not complete: {} missing",
        count(missing.len(), "file")
    );
    let failure = Failure::new(FailureCode::Incomplete, what).because(names.join("; "));
    Ending {
        outcome: "imported",
        ..Ending::refused(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(codes: &[FailureCode]) -> Outcome {
        Outcome::Failed {
            failures: codes.iter().map(|&code| Failure::new(code, "x")).collect(),
        }
    }

    #[test]
    fn outcomes_have_their_codes() {
        use FailureCode::{Dns, Gated, Reset};
        for (outcome, caught, exit, code) in [
            (Some(Outcome::Listed), None, 0, None),
            (Some(Outcome::Planned), Some(Signal::Interrupt), 0, None),
            (Some(failed(&[Reset, Reset])), None, 5, Some("reset")),
            (Some(failed(&[Reset, Dns])), None, 5, Some("mixed")),
            (Some(failed(&[Reset, Gated])), None, 1, Some("mixed")),
            (Some(failed(&[])), None, 70, Some("internal")),
            (
                Some(failed(&[Reset])),
                Some(Signal::Terminate),
                143,
                Some("cancelled"),
            ),
            (
                Some(Outcome::Cancelled),
                Some(Signal::Hangup),
                129,
                Some("cancelled"),
            ),
            (Some(Outcome::Cancelled), None, 130, Some("cancelled")),
            (None, Some(Signal::Interrupt), 130, Some("cancelled")),
            (None, None, 70, Some("internal")),
        ] {
            let ending = judge(Work::Fetching, outcome.as_ref(), caught);
            assert_eq!(
                (ending.exit_code, ending.failure_code()),
                (exit, code),
                "{outcome:?}"
            );
            assert_eq!(ending.failures.is_empty(), code.is_none());
        }
    }
}
