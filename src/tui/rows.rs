//! Owns what the panes list: models, files, findings and locks as rows, made from the store.
//!
//! Never draws and never remembers: the same store and filters give the same rows.

use super::fit::clean;
use super::pane::Pane;
use super::ui::{Cursor, Ui};
use super::words;
use crate::domain::{
    CacheRow, Commit, Etag, FileRow, FileState, Finding, LockRow, LockState, ModelRow, ModelState,
    PartialRow, RepoId, Rule, Severity,
};
use crate::store::{FileView, FindingGroup, LogLine, Phase, Pull, Store, Verified, grouped};

/// Which model a row is about, also when it is fetched afresh or takes another commit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelKey {
    /// The repo, folded: the Hub answers in its own spelling.
    repo: String,
    /// The ref, or the commit where none names it.
    revision: String,
    /// The folder, where that is not in the main cache, or has the name of a branch: a ref may have
    /// that too.
    folder: Option<String>,
}

impl ModelKey {
    /// The key of a repo at a revision as typed.
    pub fn new(repo: &RepoId, revision: &str) -> Self {
        Self {
            repo: format!("{}/{}", repo.kind().plural(), repo.name().to_lowercase()),
            revision: revision.to_owned(),
            folder: None,
        }
    }

    fn of_row(row: &ModelRow, is_elsewhere: bool) -> Self {
        let main = row.refs.iter().find(|name| *name == "main");
        let revision = main.or_else(|| row.refs.first()).unwrap_or(&row.revision);
        Self {
            folder: (is_elsewhere || is_branch_folder(row)).then(|| row.snapshot.clone()),
            ..Self::new(&row.repo, revision)
        }
    }
}

/// Neither a commit nor a ref leads to it.
const fn is_nameless(row: &ModelRow) -> bool {
    row.commit.is_none() && row.refs.is_empty()
}

/// Whether it is a folder in `snapshots` that is not named after a commit.
pub(super) fn is_branch_folder(row: &ModelRow) -> bool {
    is_nameless(row) && !["", "unfinished"].contains(&row.revision.as_str())
}

/// A model: what is on disk of it, what is being fetched of it, or both.
#[derive(Clone, Debug)]
pub struct ModelItem<'a> {
    /// Its key.
    pub key: ModelKey,
    /// What is on disk.
    pub row: Option<&'a ModelRow>,
    /// The newest pull of it in this run.
    pub pull: Option<&'a Pull>,
    /// Where it lies, if that is not the main cache.
    pub elsewhere: Option<&'a CacheRow>,
}

impl ModelItem<'_> {
    /// The repo.
    pub fn repo(&self) -> Option<&RepoId> {
        self.pull
            .map(|pull| &pull.target().repo)
            .or_else(|| self.row.map(|row| &row.repo))
    }

    /// The revision as a command names it: a ref, or a commit.
    pub fn revision(&self) -> &str {
        self.pull.map_or(self.key.revision.as_str(), |pull| {
            pull.target().revision.as_str()
        })
    }

    /// The snapshot's folder.
    pub fn snapshot(&self) -> Option<&str> {
        self.pull
            .and_then(|pull| pull.result())
            .map(|result| result.snapshot.as_str())
            .or_else(|| self.row.map(|row| row.snapshot.as_str()))
    }

    /// Whether a pull of it goes on.
    pub fn is_running(&self) -> bool {
        self.pull.is_some_and(|pull| pull.phase() != Phase::Ended)
    }

    /// Whether a pull of it ended without being complete.
    pub fn has_failed(&self) -> bool {
        self.pull.is_some_and(Pull::has_ended_ill)
    }

    /// Whether a pull would complete or heal it.
    pub fn needs_pull(&self) -> bool {
        self.elsewhere.is_none()
            && self
                .row
                .is_some_and(|row| row.state != ModelState::Complete)
    }
}

/// A file of the selected model.
#[derive(Clone, Copy, Debug)]
pub(super) enum FileItem<'a> {
    /// Being fetched, or fetched in this run.
    Transfer(&'a Pull, FileView<'a>),
    /// On disk.
    Cached(&'a ModelRow, &'a FileRow),
    /// Another program is at work on it, or left it unfinished.
    Partial(&'a PartialRow),
}

impl<'a> FileItem<'a> {
    /// The name shown; not sanitised.
    pub(super) fn name(&self) -> &'a str {
        match self {
            Self::Transfer(_, view) => view.path.as_str(),
            Self::Cached(_, row) => &row.path,
            Self::Partial(partial) => partial.file.as_deref().unwrap_or(&partial.etag),
        }
    }

    /// What tells it from the others.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Transfer(..) | Self::Cached(..) => self.name().to_owned(),
            Self::Partial(partial) => partial.path.clone(),
        }
    }

    /// Whether it wants to be seen: something goes on with it, or went wrong.
    pub(super) fn is_active(&self) -> bool {
        match self {
            Self::Transfer(_, view) => view.status.is_active(),
            Self::Cached(..) => false,
            Self::Partial(partial) => partial.is_foreign(),
        }
    }
}

/// What hashing in this run said of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hashed {
    /// Its bytes are those of its name.
    Right,
    /// Something is wrong with it.
    Wrong(Rule),
}

/// Everything the panes list, with filters applied.
#[derive(Clone, Debug)]
pub(super) struct Scene<'a> {
    /// Models.
    pub models: Vec<ModelItem<'a>>,
    /// How many there are without the filter.
    pub models_total: usize,
    /// What hashing said of the selected model.
    verified: Option<&'a Verified>,
    /// Files of the selected model.
    pub files: Vec<FileItem<'a>>,
    /// How many there are without the filter.
    pub files_total: usize,
    /// Findings, a row each; what is unfinished of one model is one.
    pub findings: Vec<FindingGroup<'a>>,
    /// How many findings there are without the filter, each for itself.
    pub findings_total: usize,
    /// Locks.
    pub locks: Vec<&'a LockRow>,
    /// Lines of the log.
    pub lines: Vec<&'a LogLine>,
}

impl<'a> Scene<'a> {
    /// The rows of this moment. The cursors of `ui` are brought onto rows that exist.
    pub(super) fn build(ui: &mut Ui, store: &'a Store, now_ms: u64) -> Self {
        let mut models = models(store);
        let models_total = models.len();
        let filter = ui.filter(Pane::Models);
        if !filter.is_empty() {
            models.retain(|item| filter.takes_model(item, now_ms));
        }
        let keys = |at: usize| models.get(at).map(|item| item.key.clone());
        ui.models.settle(models.len(), keys);

        let verified = models
            .get(ui.models.index)
            .and_then(ModelItem::snapshot)
            .and_then(|snapshot| store.shelf().verified(snapshot));
        let mut files = models
            .get(ui.models.index)
            .map_or_else(Vec::new, |item| files(store, item));
        let files_total = files.len();
        let filter = ui.filter(Pane::Files);
        if !filter.is_empty() {
            files.retain(|item| filter.takes(item.name()));
        }
        if ui.follows_activity
            && let Some(at) = files.iter().position(FileItem::is_active)
        {
            ui.files.go(at);
        }
        ui.files
            .settle(files.len(), |at| files.get(at).map(FileItem::key));

        let mut findings = store.shelf().findings();
        let findings_total = findings.len();
        let filter = ui.filter(Pane::Health);
        if !filter.is_empty() {
            findings.retain(|finding| {
                let repo = finding.repo.as_ref().map(ToString::to_string);
                let text = [
                    repo.as_deref().unwrap_or_default(),
                    &finding.summary,
                    finding.rule.name(),
                ]
                .join(" ");
                filter.takes(&text)
            });
        }
        let findings = gathered(&findings);
        ui.health.settle(findings.len(), |at| {
            findings.get(at).map(|group| finding_key(group.first))
        });

        let mut locks: Vec<&LockRow> = store.shelf().locks().iter().collect();
        // What keeps others out comes first.
        locks.sort_by_key(|lock| match lock.state {
            LockState::Held => 0,
            LockState::Stale => 1,
            LockState::Unknown => 2,
            LockState::Free => 3,
        });
        let filter = ui.filter(Pane::Locks);
        if !filter.is_empty() {
            locks.retain(|lock| filter.takes(&words::lock_name(lock)));
        }
        ui.locks.settle(locks.len(), |at| {
            locks.get(at).map(|lock| lock.path.clone())
        });

        let filter = ui.filter(Pane::Log);
        let level = ui.level;
        let lines: Vec<&LogLine> = store
            .log()
            .since(0)
            .filter(|line| line.level >= level && filter.takes(&line.text))
            .collect();
        ui.log.settle_line(lines.len());
        Self {
            models,
            models_total,
            verified,
            files,
            files_total,
            findings,
            findings_total,
            locks,
            lines,
        }
    }

    /// The selected model.
    pub(super) fn model(&self, ui: &Ui) -> Option<&ModelItem<'a>> {
        self.models.get(ui.models.index)
    }

    /// The selected file.
    pub(super) fn file(&self, ui: &Ui) -> Option<FileItem<'a>> {
        self.files.get(ui.files.index).copied()
    }

    /// What hashing said of a file that lies there; nothing of one that is on its way.
    pub(super) fn hashed(&self, item: &FileItem<'_>) -> Option<Hashed> {
        let verified = self.verified?;
        let can_be_right = match item {
            FileItem::Transfer(_, view) if view.status.is_in_place() => true,
            // A file without a pointer may have had no hash to compare with.
            FileItem::Cached(_, row) if row.state == FileState::Unverified => row
                .etag
                .as_deref()
                .is_some_and(|etag| Etag::new(etag).is_ok()),
            FileItem::Cached(_, row) if row.state == FileState::Regular => false,
            FileItem::Transfer(..) | FileItem::Cached(..) | FileItem::Partial(_) => return None,
        };
        let name = clean(item.name());
        let wrong = verified.findings.iter().find(|finding| {
            finding.severity == Severity::Error && finding.file.as_deref() == Some(&*name)
        });
        match wrong {
            Some(finding) => Some(Hashed::Wrong(finding.rule)),
            None => can_be_right.then_some(Hashed::Right),
        }
    }

    /// The selected finding; the first of them where the row is of several.
    pub(super) fn finding(&self, ui: &Ui) -> Option<&'a Finding> {
        self.finding_row(ui).map(|group| group.first)
    }

    /// The selected findings.
    pub(super) fn finding_row(&self, ui: &Ui) -> Option<&FindingGroup<'a>> {
        self.findings.get(ui.health.index)
    }

    /// The row of findings with that key, and its place.
    pub(super) fn finding_with(&self, key: &str) -> Option<(usize, &FindingGroup<'a>)> {
        let mut rows = self.findings.iter().enumerate();
        rows.find(|(_, group)| finding_key(group.first) == key)
    }

    /// The selected lock.
    pub(super) fn lock(&self, ui: &Ui) -> Option<&'a LockRow> {
        self.locks.get(ui.locks.index).copied()
    }

    /// The selected line of the log.
    pub(super) fn line(&self, ui: &Ui) -> Option<&'a LogLine> {
        self.lines.get(ui.log.index).copied()
    }

    /// How many rows a pane has.
    pub(super) fn len(&self, pane: Pane) -> usize {
        match pane {
            Pane::Models => self.models.len(),
            Pane::Files => self.files.len(),
            Pane::Health => self.findings.len(),
            Pane::Locks => self.locks.len(),
            Pane::Log => self.lines.len(),
        }
    }
}

/// Findings as rows: what is unfinished of one model stands together, the others each for itself.
fn gathered<'a>(findings: &[&'a Finding]) -> Vec<FindingGroup<'a>> {
    let is_unfinished = |finding: &Finding| finding.rule == Rule::AbandonedPartial;
    let unfinished = findings.iter().copied();
    let unfinished: Vec<&Finding> = unfinished.filter(|one| is_unfinished(one)).collect();
    // In the order of the first of each, as they come below.
    let mut groups = grouped(&unfinished).into_iter().peekable();
    let mut rows = Vec::new();
    for finding in findings {
        if is_unfinished(finding) {
            rows.extend(groups.next_if(|group| std::ptr::eq(group.first, *finding)));
        } else {
            rows.push(FindingGroup {
                first: finding,
                all: vec![finding],
            });
        }
    }
    rows
}

/// What tells a row of findings from the others. What is unfinished of a model stays one row when
/// one of it is gone.
pub(super) fn finding_key(finding: &Finding) -> String {
    if finding.rule == Rule::AbandonedPartial {
        let repo = finding.repo.as_ref().map(ToString::to_string);
        let revision = finding.revision.as_deref().unwrap_or_default();
        let (repo, rule) = (repo.unwrap_or_default(), finding.rule.name());
        return format!("{repo}|{revision}|{rule}|{}", finding.cause);
    }
    format!(
        "{}|{}|{}|{}|{}",
        finding
            .repo
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        finding.revision.as_deref().unwrap_or_default(),
        finding.file.as_deref().unwrap_or_default(),
        finding.rule.name(),
        finding
            .evidence
            .first()
            .map(|fact| fact.path.as_str())
            .unwrap_or_default(),
    )
}

/// Pulls of this run first, in the order they started; then what is on disk, by name.
fn models(store: &Store) -> Vec<ModelItem<'_>> {
    let shelf = store.shelf();
    let rows = shelf.models().unwrap_or_default();
    let mut is_taken = vec![false; rows.len()];
    let mut items: Vec<ModelItem<'_>> = Vec::new();
    for pull in store.pulls() {
        let target = pull.target();
        let key = ModelKey::new(&target.repo, target.revision.as_str());
        let known = items
            .iter_mut()
            .find(|item| item.key == key || item.pull.is_some_and(|other| is_one(other, pull)));
        if let Some(item) = known {
            let is_named = target
                .commit
                .is_none_or(|it| key.revision != it.to_string());
            // By its ref a row is found again; and what runs is not hidden by what has ended.
            if is_named {
                item.key = key;
            }
            if !item.is_running() || pull.phase() != Phase::Ended {
                item.pull = Some(pull);
            }
            continue;
        }
        items.push(ModelItem {
            key,
            row: None,
            pull: Some(pull),
            elsewhere: None,
        });
    }
    for item in &mut items {
        let Some(pull) = item.pull else { continue };
        let target = pull.target();
        let is_same = |row: &ModelRow| {
            !shelf.is_elsewhere(row)
                && row.repo.kind() == target.repo.kind()
                && row.repo.name().eq_ignore_ascii_case(target.repo.name())
        };
        let by_commit = Commit::new(target.revision.as_str()).ok();
        let exact = rows.iter().position(|row| {
            is_same(row)
                && target.commit.or(by_commit).map_or_else(
                    || row.refs.iter().any(|name| name == target.revision.as_str()),
                    |commit| row.commit == Some(commit),
                )
        });
        // A pull that has not come to a snapshot yet.
        let unfinished = || {
            rows.iter()
                .position(|row| is_same(row) && is_nameless(row) && !is_branch_folder(row))
        };
        if let Some(at) = exact.or_else(unfinished).filter(|at| !is_taken[*at]) {
            is_taken[at] = true;
            item.row = Some(&rows[at]);
            // A repair pulls by the commit what has the name of a ref: it stays the row that it was.
            if by_commit.is_some_and(|commit| item.key.revision == commit.to_string()) {
                item.key = ModelKey::of_row(&rows[at], false);
            }
        }
    }
    let mut others: Vec<&ModelRow> = rows
        .iter()
        .zip(&is_taken)
        .filter(|(_, is_taken)| !**is_taken)
        .map(|(row, _)| row)
        .collect();
    others.sort_by(|a, b| {
        let place = |row: &ModelRow| shelf.is_elsewhere(row).then(|| row.snapshot.clone());
        (a.repo.name(), place(a), a.refs.is_empty(), &a.revision).cmp(&(
            b.repo.name(),
            place(b),
            b.refs.is_empty(),
            &b.revision,
        ))
    });
    items.extend(others.into_iter().map(|row| ModelItem {
        key: ModelKey::of_row(row, shelf.is_elsewhere(row)),
        row: Some(row),
        pull: None,
        elsewhere: shelf.place_of(row).filter(|_| shelf.is_elsewhere(row)),
    }));
    items
}

/// Whether two pulls are of one snapshot: one by a ref, say, and one by its commit.
fn is_one(one: &Pull, other: &Pull) -> bool {
    let (one, other) = (one.target(), other.target());
    one.commit.is_some()
        && one.commit == other.commit
        && one.repo.kind() == other.repo.kind()
        && one.repo.name().eq_ignore_ascii_case(other.repo.name())
}

/// The plan's files where a pull has one, else those on disk; then what others are fetching.
fn files<'a>(store: &'a Store, item: &ModelItem<'a>) -> Vec<FileItem<'a>> {
    let mut rows: Vec<FileItem<'a>> = Vec::new();
    if let Some(pull) = item.pull.filter(|pull| pull.plan().is_some()) {
        rows.extend(pull.files().map(|view| FileItem::Transfer(pull, view)));
    } else if let Some(model) = item.row {
        let listed = store
            .listing()
            .files
            .iter()
            .find(|(row, _)| row.snapshot == model.snapshot);
        if let Some((_, files)) = listed {
            // What was left out on purpose comes last.
            let (absent, here): (Vec<&FileRow>, Vec<&FileRow>) = files
                .iter()
                .partition(|file| file.state == FileState::Absent);
            let files = here.into_iter().chain(absent);
            rows.extend(files.map(|file| FileItem::Cached(model, file)));
        }
    }
    let Some(repo) = item.repo() else {
        return rows;
    };
    let is_running = item.is_running();
    let partials = store.shelf().partials().iter().filter(|partial| {
        partial.repo.kind() == repo.kind()
            && partial.repo.name().eq_ignore_ascii_case(repo.name())
            // Our own are the transfers above; abandoned ones are about to be taken up.
            && (partial.is_foreign() || (!is_running && item.pull.is_none()))
    });
    rows.extend(partials.map(FileItem::Partial));
    rows
}

impl Cursor<usize> {
    /// A cursor over lines that only grow at the end.
    pub(super) fn settle_line(&mut self, len: usize) {
        if self.is_at_end {
            self.index = len.saturating_sub(1);
        }
        self.index = self.index.min(len.saturating_sub(1));
    }
}
