//! Owns what the dashboard is told when it starts: places, abilities of the terminal, wishes.
//!
//! Never changes afterwards, and never asked of the system here: `main` hands it over.

use super::theme::{Depth, ThemeName};
use crate::domain::{
    DiscardRequest, FailureCode, GuideRequest, ImportRequest, PullRequest, RepoId, RepoReference,
    Rule, Severity, VerifyTarget,
};
use crate::store::Level;

/// A model that is offered where there is none yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// The repo.
    pub repo: RepoId,
    /// What people call it.
    pub title: String,
    /// Bytes to fetch, about.
    pub size_bytes: u64,
    /// What it is good for.
    pub note: String,
}

/// When a sentence of the demo's story is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// An attempt of the file failed with that code.
    Failed(FailureCode),
    /// The file is in place.
    Done,
}

/// A sentence of the demo's story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chapter {
    /// The file in the repo.
    pub file: String,
    /// When it is told.
    pub moment: Moment,
    /// What happens, for somebody who sees it for the first time.
    pub text: String,
}

/// What a line typed after `:` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// `pull …`.
    Pull(Box<PullRequest>),
    /// `verify …`.
    Verify(Vec<VerifyTarget>),
    /// `purge …`.
    Purge(Box<PurgeWish>),
    /// `guide …`.
    Guide(GuideRequest),
    /// `import …`.
    Import(Box<ImportRequest>),
    /// `doctor --fix …`.
    Fix(FixWish),
    /// `trash`: what it holds.
    Trash,
    /// `trash restore`: of that id, or the newest.
    Undo(Option<String>),
    /// `trash empty`: what has lain there for so many milliseconds.
    Empty(u64),
    /// A command that shows something.
    Look(Look),
    /// A command that is for a shell only.
    ShellOnly,
}

/// What is to be taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeWish {
    /// Models and parts of them; empty where only unfinished blobs are meant.
    pub request: DiscardRequest,
    /// Unfinished blobs of these repos, of all where none is named; `None` if none are meant.
    pub unfinished: Option<Vec<RepoId>>,
    /// How long nobody must have written an unfinished blob, in milliseconds.
    pub age_ms: u64,
}

/// What is to be put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixWish {
    /// Of these; of everything where none is named.
    pub targets: Vec<VerifyTarget>,
    /// By these rules; by all where none is named.
    pub rules: Vec<Rule>,
    /// As bad as this, or worse.
    pub severity: Severity,
}

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// `ls`: the models that a filter takes.
    Models(String),
    /// `ls REPO`: the files of one.
    Files(RepoId),
    /// `status`, `doctor`: what is wrong, with one repo or all.
    Health(Option<RepoId>),
    /// `locks`: of one repo, or those that are held.
    Locks(Option<RepoId>),
}

/// Reads a command line without the word `larder`; says why it cannot.
pub type Interpreter = fn(&str) -> Result<Wish, String>;

/// A command of the shell, for completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verb {
    /// Its name.
    pub name: String,
    /// What it does.
    pub about: String,
    /// The flags that mean something here, with their dashes.
    pub flags: Vec<String>,
    /// The flags that mean something in a shell only.
    pub shell_flags: Vec<String>,
}

/// What the dashboard knows from its start on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// larder's version.
    pub version: &'static str,
    /// The cache folder.
    pub cache_dir: String,
    /// Why it is that one: a flag, a variable, a file, or `default`.
    pub cache_origin: String,
    /// The Hub's address.
    pub endpoint: String,
    /// Today's log file.
    pub log_file: Option<String>,
    /// The home folder, shown as `~`.
    pub home: Option<String>,
    /// Seconds that local time is ahead of UTC.
    pub utc_offset_s: i32,
    /// Flags that say which cache and which Hub, for commands that are named.
    pub places: Vec<String>,
    /// Nothing is changed.
    pub is_read_only: bool,
    /// Only ASCII is drawn.
    pub is_ascii: bool,
    /// How many colours there are.
    pub depth: Depth,
    /// Whether the background is light.
    pub is_light: bool,
    /// The theme somebody chose.
    pub theme: Option<ThemeName>,
    /// How much the log shows at first.
    pub log_level: Level,
    /// Models offered where there is none, the default first.
    pub offered: Vec<Offered>,
    /// The model the dashboard was opened for.
    pub open: Option<RepoReference>,
    /// A pull that starts at once: the demo's.
    pub pull: Option<PullRequest>,
    /// Whether pulls of earlier runs go on without a question.
    pub resumes: bool,
    /// The demo's story; empty elsewhere.
    pub story: Vec<Chapter>,
    /// Whether to leave when the first pull has ended.
    pub exit_when_done: bool,
    /// Reads what is typed after `:`.
    pub interpret: Interpreter,
    /// What can be typed there.
    pub verbs: Vec<Verb>,
}

impl Facts {
    /// A path with the home folder as `~`.
    pub fn short_path(&self, path: &str) -> String {
        match self
            .home
            .as_deref()
            .and_then(|home| path.strip_prefix(home))
        {
            Some(rest) if rest.starts_with('/') => format!("~{rest}"),
            _ => path.to_owned(),
        }
    }

    /// A text in which paths below the home folder begin with `~`.
    pub fn short_text<'a>(&self, text: &'a str) -> std::borrow::Cow<'a, str> {
        match self.home.as_deref() {
            Some(home) if home.len() > 1 && text.contains(home) => {
                let below = format!("{home}/");
                std::borrow::Cow::Owned(text.replace(&below, "~/"))
            }
            _ => std::borrow::Cow::Borrowed(text),
        }
    }

    /// A command of the shell that does the same, with the flags that say where.
    pub fn call(&self, words: &str) -> String {
        let mut call = format!("larder {words}");
        for place in &self.places {
            call.push(' ');
            call.push_str(place);
        }
        call
    }
}
