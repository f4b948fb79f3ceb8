//! Owns the grammar of the commands that take away and put back: `purge` and `trash`.

use clap::{ArgGroup, Args as ClapArgs, Subcommand};

use super::parse_repo;
use crate::domain::{DiscardRequest, Failure, FailureCode, RepoId};
use crate::store::span_ms;

/// Arguments of `purge`.
#[derive(Clone, Debug, Default, ClapArgs)]
#[command(group(ArgGroup::new("what").required(true).multiple(true)
    .args(["incomplete", "unreferenced", "older_than", "corrupt", "policy", "repos"])))]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct PurgeArgs {
    /// ORG/NAME or ORG/NAME@REVISION: what goes; with other conditions, where to look.
    #[arg(value_name = "REPO")]
    pub repos: Vec<String>,
    /// Unfinished blobs that nobody is writing.
    #[arg(long)]
    pub incomplete: bool,
    /// Snapshots that no ref names, and blobs that no snapshot leads to.
    #[arg(long)]
    pub unreferenced: bool,
    /// Only what was not used for so long, e.g. 30d; on its own: whole models.
    #[arg(long, value_name = "AGE")]
    pub older_than: Option<String>,
    /// Blobs that were hashed and are wrong, and the pointers to them.
    #[arg(long, conflicts_with = "older_than")]
    pub corrupt: bool,
    /// What the settings allow to take away unattended, and nothing else.
    #[arg(long, conflicts_with_all = ["repos", "incomplete", "unreferenced", "older_than", "corrupt"])]
    pub policy: bool,
    /// Free at once, not into the trash.
    #[arg(long)]
    pub now: bool,
    /// Show what would go; take nothing away.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
    /// The global flags that say where: without them the same call would go elsewhere.
    #[arg(skip)]
    pub places: Vec<String>,
}

impl PurgeArgs {
    /// What is to go beside unfinished blobs; nothing where only those are meant.
    ///
    /// # Errors
    /// `usage` when a text names no repo, or something cannot go together.
    pub fn request(&self) -> Result<DiscardRequest, Box<Failure>> {
        let mut targets = Vec::new();
        for text in &self.repos {
            let reference = parse_repo(text)?;
            if reference.file.is_some() {
                return Err(too_much(text, "single files of a model are not purged"));
            }
            if reference.revision.is_some() && self.incomplete {
                // Which revisions want an unfinished blob cannot be told.
                let why = "unfinished blobs belong to the repo as a whole";
                return Err(too_much(text, why));
            }
            let revision = reference.revision;
            let revision = revision.map(|revision| revision.as_str().to_owned());
            targets.push((reference.repo, revision));
        }
        let unused_ms = self.older_than_ms()?;
        let is_partials_only = self.incomplete && !self.unreferenced && !self.corrupt;
        if is_partials_only {
            return Ok(DiscardRequest::default());
        }
        Ok(DiscardRequest {
            targets,
            is_unreferenced: self.unreferenced,
            unused_ms,
            is_corrupt: self.corrupt,
            is_policy: self.policy,
            is_now: self.now,
        })
    }

    /// The least age, in milliseconds.
    ///
    /// # Errors
    /// `usage` when it is none.
    pub fn older_than_ms(&self) -> Result<Option<u64>, Box<Failure>> {
        self.older_than.as_deref().map(age_ms).transpose()
    }

    /// The repos that are meant.
    ///
    /// # Errors
    /// `usage` when a text names none.
    pub fn repos(&self) -> Result<Vec<RepoId>, Box<Failure>> {
        let parsed = self.repos.iter().map(|text| parse_repo(text));
        parsed.map(|found| found.map(|it| it.repo)).collect()
    }

    /// The flags of the call, as typed.
    pub(in super::super) fn flags(&self) -> String {
        let mut words = vec!["larder purge".to_owned()];
        for (flag, is_set) in [
            ("--incomplete", self.incomplete),
            ("--unreferenced", self.unreferenced),
            ("--corrupt", self.corrupt),
            ("--policy", self.policy),
            ("--now", self.now),
        ] {
            words.extend(is_set.then(|| flag.to_owned()));
        }
        let age = self.older_than.iter();
        words.extend(age.map(|age| format!("--older-than {}", crate::domain::shell_word(age))));
        words.join(" ")
    }
}

fn too_much(text: &str, why: &str) -> Box<Failure> {
    let what = format!("`{text}` names more than a repo");
    Box::new(Failure::new(FailureCode::Usage, what).because(why))
}

/// Reads an age.
fn age_ms(text: &str) -> Result<u64, Box<Failure>> {
    span_ms(text).map_err(|error| {
        Box::new(
            Failure::new(
                FailureCode::Usage,
                format!("`{text}` is no age, such as 30d"),
            )
            .because(error.to_string()),
        )
    })
}

/// Arguments of `trash`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct TrashArgs {
    /// What to do; without, what it holds is shown.
    #[command(subcommand)]
    pub what: Option<TrashVerb>,
    /// The global flags that say where: without them the same call would go elsewhere.
    #[arg(skip)]
    pub places: Vec<String>,
}

/// What can be done with the trash.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum TrashVerb {
    /// Show what it holds.
    Ls,
    /// Put one thing back: where it was, as it was. What is there now stays.
    Restore {
        /// Its id, or the beginning of one; `last` for the newest.
        id: String,
    },
    /// Free what it holds.
    Empty {
        /// Only what has lain there for so long, e.g. 2d.
        #[arg(long, value_name = "AGE")]
        older_than: Option<String>,
        /// Show what would be freed; free nothing.
        #[arg(long)]
        dry_run: bool,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
}

impl TrashArgs {
    /// Whether it changes anything.
    pub const fn changes(&self) -> bool {
        match &self.what {
            None | Some(TrashVerb::Ls) => false,
            Some(TrashVerb::Restore { .. }) => true,
            Some(TrashVerb::Empty { dry_run, .. }) => !*dry_run,
        }
    }

    /// The least age of what is freed, in milliseconds; 0 for all.
    ///
    /// # Errors
    /// `usage` when it is none.
    pub fn older_than_ms(&self) -> Result<u64, Box<Failure>> {
        match &self.what {
            Some(TrashVerb::Empty {
                older_than: Some(age),
                ..
            }) => age_ms(age),
            _ => Ok(0),
        }
    }

    /// The call without its flags.
    pub(in super::super) fn call(&self) -> String {
        match &self.what {
            None | Some(TrashVerb::Ls) => "larder trash ls".to_owned(),
            Some(TrashVerb::Restore { id }) => {
                format!("larder trash restore {}", crate::domain::shell_word(id))
            }
            Some(TrashVerb::Empty { .. }) => "larder trash empty".to_owned(),
        }
    }
}
