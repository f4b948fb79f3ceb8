//! Owns what the user has done to the picture: focus, selection, marks, filters, what is open.
//!
//! Never holds what the store knows. One overlay at a time, as one `Option`.

use std::collections::{BTreeSet, VecDeque};

use tui_input::Input;

use super::facts::Facts;
use super::filter::Filter;
use super::keymap::Keymap;
use super::pane::Pane;
use super::rows::ModelKey;
use super::theme::{Theme, ThemeName};
use crate::domain::Level;
use crate::domain::{DiscardRequest, JobId, Plan, PlanStep, PullRequest, RepoId, UnfinishedPull};
use crate::store::{FixPlan, Pull};

/// A selection that stays on its row while rows come and go around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor<K> {
    /// The row that is selected; `None` before there was one.
    key: Option<K>,
    /// Its place.
    pub index: usize,
    /// The first row that is visible.
    pub offset: usize,
    /// Rows that are visible at once.
    pub page: usize,
    /// Whether it sticks to the last row (the log).
    pub is_at_end: bool,
}

impl<K> Default for Cursor<K> {
    fn default() -> Self {
        Self {
            key: None,
            index: 0,
            offset: 0,
            page: 1,
            is_at_end: false,
        }
    }
}

impl<K: PartialEq> Cursor<K> {
    /// Brings the selection onto the row with its key, or where that was, if it is gone.
    pub fn settle(&mut self, len: usize, key_at: impl Fn(usize) -> Option<K>) {
        if let Some(key) = &self.key {
            // Mostly it is where it was.
            let is_there = key_at(self.index).as_ref() == Some(key);
            if !is_there && let Some(at) = (0..len).find(|at| key_at(*at).as_ref() == Some(key)) {
                self.index = at;
            }
        }
        self.index = self.index.min(len.saturating_sub(1));
        self.key = key_at(self.index);
    }

    /// Selects a row by its place.
    pub fn go(&mut self, index: usize) {
        self.index = index;
        self.key = None;
    }

    /// Begins at the first row of something else.
    pub fn forget(&mut self) {
        self.key = None;
        self.index = 0;
        self.offset = 0;
    }

    /// The selected row's key.
    pub const fn key(&self) -> Option<&K> {
        self.key.as_ref()
    }

    /// Moves the visible part so that the selected row is in it.
    pub fn show(&mut self, len: usize, page: usize) {
        self.page = page.max(1);
        self.index = self.index.min(len.saturating_sub(1));
        if self.index < self.offset {
            self.offset = self.index;
        }
        if self.index >= self.offset + self.page {
            self.offset = self.index + 1 - self.page;
        }
        self.offset = self.offset.min(len.saturating_sub(self.page));
    }
}

/// What the details are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The selected model.
    Model,
    /// The selected file.
    File,
    /// A row of findings, whatever is selected since.
    Finding {
        /// Its key.
        key: String,
        /// What it said when it was opened.
        words: String,
    },
    /// The selected lock.
    Lock,
    /// A line of the log.
    Line(String),
}

/// A question that is open. The answer is No until somebody says Yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Leave although transfers run.
    Quit,
    /// Carry out the removals of a plan.
    Purge(Plan),
    /// Carry out a repair.
    Fix(FixPlan),
    /// Take a model out of the cache.
    Discard(Discarding),
    /// Free what lies in the trash.
    Empty(Emptying),
    /// Go on with pulls of earlier runs.
    Resume(Vec<UnfinishedPull>),
}

/// A repair that was said yes to.
#[derive(Clone, Debug)]
pub struct Mend {
    /// What was shown.
    pub plan: FixPlan,
    /// How far it is.
    pub stage: Stage,
    /// The job that is waited for, once it has begun.
    pub job: Option<JobId>,
    /// Its pulls that have ended.
    pub pulled: Vec<JobId>,
}

/// How far a repair is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits for its turn.
    Before,
    /// Changes that come first.
    First,
    /// This pull of the plan.
    Pull(usize),
    /// Changes that rest on the pulls.
    Last,
}

impl Mend {
    /// Whether it waits for changes to begin.
    pub const fn awaits_changes(&self) -> bool {
        self.job.is_none() && matches!(self.stage, Stage::First | Stage::Last)
    }

    /// Whether this is the pull that it waits for, whoever asked for it.
    pub fn awaits(&self, pull: &Pull) -> bool {
        let Stage::Pull(at) = self.stage else {
            return false;
        };
        let target = pull.target();
        self.job.is_none()
            && self.plan.pulls.get(at).is_some_and(|wanted| {
                wanted.repo.kind() == target.repo.kind()
                    && wanted.repo.name().eq_ignore_ascii_case(target.repo.name())
                    && wanted.revision == target.revision.as_str()
            })
    }

    /// The last stage in which there is something to do.
    pub const fn final_stage(&self) -> Stage {
        if !self.plan.last.steps.is_empty() {
            Stage::Last
        } else if let Some(at) = self.plan.pulls.len().checked_sub(1) {
            Stage::Pull(at)
        } else {
            Stage::First
        }
    }
}

/// Taking models out of the cache: planned first, and for their names only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discarding {
    /// What is meant: the answer to another question is not shown here.
    pub request: DiscardRequest,
    /// Unfinished blobs that go with it.
    pub unfinished: Vec<PlanStep>,
    /// How often a purge had been planned before this was asked.
    pub plans_before: usize,
    /// What was typed.
    pub typed: String,
    /// Whether the plan stood in a picture: a key that was typed ahead is no answer to it.
    pub is_shown: bool,
}

/// Freeing what lies in the trash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emptying {
    /// How often it had been looked into before this was asked.
    pub looks_before: usize,
    /// What must have lain there for so long, in milliseconds.
    pub age_ms: u64,
    /// When that was asked, milliseconds since the Unix epoch.
    pub asked_ms: u64,
}

/// What the trash holds, to put something back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrashList {
    /// How often it had been looked into before this was asked.
    pub looks_before: usize,
    /// The selected row.
    pub at: usize,
}

/// Adding a model.
#[derive(Clone, Debug)]
pub struct Add {
    /// What was typed or pasted.
    pub input: Input,
    /// Why that is no repo.
    pub error: Option<String>,
    /// What is being planned, and the newest plan before it.
    pub planning: Option<(PullRequest, Option<JobId>)>,
}

/// A line typed after `:`.
#[derive(Clone, Debug)]
pub struct CommandLine {
    /// What was typed.
    pub input: Input,
    /// Why it cannot be done.
    pub error: Option<String>,
    /// What Tab offers, and which of it is taken.
    pub offers: Vec<String>,
    /// The offer that stands in the line.
    pub chosen: Option<usize>,
    /// Which line of the past is shown; counted from the newest.
    pub past: Option<usize>,
}

/// What lies over the panes.
#[derive(Clone, Debug)]
pub enum Overlay {
    /// The keys of the focused pane.
    Help {
        /// First visible line.
        scroll: usize,
    },
    /// All that is known of a row.
    Details {
        /// Of what.
        of: Subject,
        /// First visible line.
        scroll: usize,
    },
    /// How a model is fetched by hand.
    Guide {
        /// Which.
        repo: RepoId,
        /// First visible line.
        scroll: usize,
    },
    /// What the trash holds.
    Trash(TrashList),
    /// A question.
    Ask {
        /// Which.
        question: Question,
        /// First visible line of its plan.
        scroll: usize,
    },
    /// Adding a model.
    Add(Add),
    /// The command line.
    Command(CommandLine),
    /// The filter of the focused pane.
    Filter {
        /// What is typed.
        input: Input,
        /// What it was before.
        before: String,
    },
}

/// A passing message in the footer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The words.
    pub text: String,
    /// Whether it tells of something that was not done.
    pub is_refusal: bool,
    /// Until when it is shown, milliseconds since the Unix epoch.
    pub until_ms: u64,
}

/// Everything the user has done to the picture.
#[derive(Clone, Debug)]
pub struct Ui {
    /// The focused pane.
    pub focus: Pane,
    /// Whether the focused pane is alone.
    pub is_zoomed: bool,
    /// What lies over the panes.
    pub overlay: Option<Overlay>,
    /// Selections.
    pub models: Cursor<ModelKey>,
    /// Of the selected model's files.
    pub files: Cursor<String>,
    /// Of findings.
    pub health: Cursor<String>,
    /// Of locks.
    pub locks: Cursor<String>,
    /// Of log lines.
    pub log: Cursor<usize>,
    /// Whether the files' selection goes where something happens.
    pub follows_activity: bool,
    /// Repairs that were said yes to; the first one runs.
    pub mends: VecDeque<Mend>,
    /// Wrong bytes that a repair has put aside, and takes away when the right ones are there.
    pub put_aside: BTreeSet<String>,
    /// Marked models.
    pub marked_models: BTreeSet<ModelKey>,
    /// Marked files of the selected model.
    pub marked_files: BTreeSet<String>,
    /// The filter of each pane.
    filters: [Filter; 5],
    /// The theme's name.
    pub theme_name: ThemeName,
    /// The theme.
    pub theme: Theme,
    /// What the log shows.
    pub level: Level,
    /// A passing message.
    pub message: Option<Message>,
    /// The keys.
    pub keymap: Keymap,
    /// Lines typed after `:`, oldest first.
    pub past_lines: Vec<String>,
    /// The repo whose locks are watched.
    pub watched: Option<Option<RepoId>>,
    /// The snapshot whose files were asked for, and what it looked like then.
    pub listed: Option<(String, u64)>,
    /// The model whose marks and file selection are kept.
    pub shown_model: Option<ModelKey>,
    /// Sentences of the demo's story that were told, the newest last.
    pub chapters: Vec<usize>,
    /// Until when the newest one stays, milliseconds since the Unix epoch.
    pub chapter_until_ms: u64,
}

impl Ui {
    /// As it is when the dashboard opens.
    pub fn new(facts: &Facts) -> Self {
        let theme_name = facts
            .theme
            .unwrap_or_else(|| ThemeName::fitting(facts.depth, facts.is_light));
        Self {
            focus: Pane::Models,
            is_zoomed: false,
            overlay: None,
            models: Cursor::default(),
            files: Cursor::default(),
            health: Cursor::default(),
            locks: Cursor::default(),
            log: Cursor {
                is_at_end: true,
                ..Cursor::default()
            },
            follows_activity: true,
            mends: VecDeque::new(),
            put_aside: BTreeSet::new(),
            marked_models: BTreeSet::new(),
            marked_files: BTreeSet::new(),
            filters: std::array::from_fn(|_| Filter::default()),
            theme_name,
            theme: Theme::load(theme_name, facts.depth),
            level: facts.log_level,
            message: None,
            keymap: Keymap::default(),
            past_lines: Vec::new(),
            watched: None,
            listed: None,
            shown_model: None,
            chapters: Vec::new(),
            chapter_until_ms: 0,
        }
    }

    /// The filter of a pane.
    pub fn filter(&self, pane: Pane) -> &Filter {
        &self.filters[pane.index()]
    }

    /// Sets the filter of a pane.
    pub fn set_filter(&mut self, pane: Pane, text: &str) {
        self.filters[pane.index()] = Filter::new(text);
    }

    /// Moves the focus. A log that nobody reads any more follows again.
    pub fn focus_on(&mut self, pane: Pane) {
        if self.focus == Pane::Log && pane != Pane::Log {
            self.log.is_at_end = true;
        }
        self.focus = pane;
    }

    /// Changes the theme.
    pub fn set_theme(&mut self, name: ThemeName, facts: &Facts) {
        self.theme_name = name;
        self.theme = Theme::load(name, facts.depth);
    }

    /// Shows a message for a few seconds.
    pub fn say(&mut self, text: impl Into<String>, now_ms: u64) {
        self.message = Some(Message {
            text: text.into(),
            is_refusal: false,
            until_ms: now_ms + MESSAGE_MS,
        });
    }

    /// Says why something was not done.
    pub fn refuse(&mut self, text: impl Into<String>, now_ms: u64) {
        self.message = Some(Message {
            text: text.into(),
            is_refusal: true,
            until_ms: now_ms + MESSAGE_MS,
        });
    }

    /// The place and page of a pane's selection, to move it.
    pub fn place(&mut self, pane: Pane) -> (&mut usize, usize) {
        match pane {
            Pane::Models => (&mut self.models.index, self.models.page),
            Pane::Files => (&mut self.files.index, self.files.page),
            Pane::Health => (&mut self.health.index, self.health.page),
            Pane::Locks => (&mut self.locks.index, self.locks.page),
            Pane::Log => (&mut self.log.index, self.log.page),
        }
    }

    /// Selects a row of a pane by its place.
    pub fn go(&mut self, pane: Pane, index: usize) {
        match pane {
            Pane::Models => self.models.go(index),
            Pane::Files => {
                self.follows_activity = false;
                self.files.go(index);
            }
            Pane::Health => self.health.go(index),
            Pane::Locks => self.locks.go(index),
            Pane::Log => self.log.go(index),
        }
    }
}

/// How long a message stays.
const MESSAGE_MS: u64 = 5_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_stays_on_its_row() {
        let mut cursor: Cursor<char> = Cursor::default();
        let rows = |text: &'static str| move |at: usize| text.chars().nth(at);
        cursor.settle(3, rows("abc"));
        cursor.go(1);
        cursor.settle(3, rows("abc"));
        assert_eq!((cursor.key(), cursor.index), (Some(&'b'), 1));
        cursor.settle(4, rows("xabc"));
        assert_eq!((cursor.key(), cursor.index), (Some(&'b'), 2));
        cursor.settle(2, rows("xa"));
        assert_eq!((cursor.key(), cursor.index), (Some(&'a'), 1), "it is gone");
        cursor.settle(0, rows(""));
        assert_eq!((cursor.key(), cursor.index), (None, 0));
    }

    #[test]
    fn the_selected_row_is_visible() {
        let mut cursor: Cursor<usize> = Cursor::default();
        cursor.go(50);
        cursor.show(100, 10);
        assert_eq!(cursor.offset, 41);
        cursor.go(45);
        cursor.show(100, 10);
        assert_eq!(cursor.offset, 41, "no move that is not needed");
        cursor.show(20, 10);
        assert_eq!((cursor.index, cursor.offset), (19, 10));
        cursor.show(0, 10);
        assert_eq!((cursor.index, cursor.offset), (0, 0));
    }
}
