//! Owns what a repair may do in a model's folder outside of a Hub cache: which findings about it are put
//! right with what the main Hub cache holds, and by which steps.
//!
//! Never changes anything and hashes nothing. What is proposed is proven when it is done. A file that
//! somebody may have edited is left to people, and so is every folder that somebody writes into.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::amend::{aside_of, may_be_edited};
use super::copies::contents_of_hub;
use super::folder::{Sketch, is_newer};
use super::note::Note;
use crate::cache::sharing::blob_at;
use crate::cache::snapshot::named_blob;
use crate::cache::trees::{listed_commits, read_listing, read_tree};
use crate::cache::{Judge, Layout, read_ref};
use crate::domain::{
    CacheKind, Change, Commit, Etag, Finding, PartialState, PlanStep, RemoteFile, RepoId, RepoPath,
    Revision, Rule, sanitize,
};

/// Listings of one repo that are read, beside those of its branch and of the notes.
const MOST_LISTINGS: usize = 20;

/// What the main Hub cache holds, read when it is first needed.
pub(super) struct Stock<'a> {
    main: &'a Layout,
    judge: Judge<'a>,
    contents: Option<HashMap<Etag, (PathBuf, u64)>>,
    listings: HashMap<RepoId, Vec<(Commit, Vec<RemoteFile>)>>,
}

impl<'a> Stock<'a> {
    pub(super) fn of(main: &'a Layout, judge: Judge<'a>) -> Self {
        Self {
            main,
            judge,
            contents: None,
            listings: HashMap::new(),
        }
    }

    /// A blob with that content, and its length, that is not known to be wrong.
    fn blob(&mut self, etag: &Etag) -> Option<(PathBuf, u64)> {
        let main = self.main;
        let contents = self.contents.get_or_insert_with(|| {
            let all = contents_of_hub(main).into_iter();
            all.map(|(repo, etag, bytes)| (etag, (main.blob(&repo, &etag), bytes)))
                .collect()
        });
        let (place, bytes) = contents.get(etag)?.clone();
        let real = std::fs::canonicalize(&place).ok()?;
        let found = real.symlink_metadata().ok()?;
        let known = (self.judge.hashed)(&real, &found, etag);
        let is_wrong = known.is_some_and(|hashed| hashed.computed.is_some());
        (!is_wrong).then_some((place, bytes))
    }

    /// The listings of a repo that are here, that of `main` first.
    fn listings(&mut self, repo: &RepoId) -> &[(Commit, Vec<RemoteFile>)] {
        let (main, judge) = (self.main, self.judge);
        self.listings.entry(repo.clone()).or_insert_with(|| {
            let branch = Revision::new("main").ok().and_then(|branch| {
                let value = read_ref(main, repo, &branch).ok().flatten()?;
                value.commit
            });
            let mut commits: Vec<Commit> = branch.into_iter().collect();
            for commit in listed_commits(main, repo).into_iter().take(MOST_LISTINGS) {
                if !commits.contains(&commit) {
                    commits.push(commit);
                }
            }
            let of = |commit: Commit| {
                let files = read_tree(main, repo, &commit);
                let files = files.or_else(|| (judge.listing)(repo, &commit))?;
                Some((commit, files))
            };
            commits.into_iter().filter_map(of).collect()
        })
    }
}

/// The steps that put a finding about a model's folder right; `None` if it is left to people. What no
/// step is for stays as the finding has it.
pub(super) fn steps(
    sketch: &Sketch,
    finding: &Finding,
    stock: &mut Stock<'_>,
) -> Option<Vec<PlanStep>> {
    let is_live = |state: &PartialState| matches!(state, PartialState::Live { .. });
    let mut partials = sketch.partials.iter();
    if sketch.is_unsettled || partials.any(|partial| is_live(&partial.row.state)) {
        return None;
    }
    let kind = sketch.model.cache;
    if !matches!(kind, CacheKind::HubApi | CacheKind::LocalDir) {
        return None;
    }
    let folder = Folder {
        sketch,
        path: Path::new(&sketch.model.snapshot),
    };
    let (mut steps, mut is_all) = (Vec::new(), true);
    for file in folder.meant(finding) {
        let found = match finding.rule {
            Rule::MissingMetadata => folder.note(&file, stock).map(|step| vec![step]),
            Rule::MissingFiles | Rule::DanglingPointer | Rule::EscapingPointer
                if !folder.is_unplugged(&file) =>
            {
                folder.bytes(&file, stock)
            }
            Rule::Truncated
            | Rule::WrongSize
            | Rule::EmptyBlob
            | Rule::WrongHash
            | Rule::LfsPointer
            | Rule::ErrorPage
                if !folder.may_be_edited(&file) =>
            {
                folder.bytes(&file, stock)
            }
            // Without a listing nothing tells lengths but the blob of that name.
            Rule::WouldNotLoad
                if !folder.may_be_edited(&file) && folder.has_another_length(&file, stock) =>
            {
                folder.bytes(&file, stock)
            }
            _ => None,
        };
        is_all &= found.is_some();
        steps.extend(found.into_iter().flatten());
    }
    if steps.is_empty() {
        return None;
    }
    if !is_all {
        steps.extend(finding.plan.steps.iter().cloned());
    }
    Some(steps)
}

/// A model's folder as it was seen.
struct Folder<'a> {
    sketch: &'a Sketch,
    path: &'a Path,
}

impl Folder<'_> {
    /// The files that a finding is about.
    fn meant(&self, finding: &Finding) -> Vec<RepoPath> {
        let notes = &self.sketch.notes;
        let present = self.sketch.paths.iter().map(|(path, _)| path);
        if let Some(shown) = finding.file.as_deref() {
            let mut all = present.chain(notes.by_file.keys());
            let named = all.find(|path| sanitize(path.as_str()) == shown);
            return named.into_iter().cloned().collect();
        }
        match finding.rule {
            Rule::MissingMetadata => {
                let is_hidden = |path: &RepoPath| path.segments().any(|it| it.starts_with('.'));
                present
                    .filter(|path| !notes.by_file.contains_key(*path) && !is_hidden(path))
                    .cloned()
                    .collect()
            }
            Rule::MissingFiles => {
                let here: BTreeSet<&RepoPath> = present.collect();
                let gone = notes.by_file.keys().filter(|path| !here.contains(path));
                gone.cloned().collect()
            }
            _ => Vec::new(),
        }
    }

    fn own_note(&self, file: &RepoPath) -> Option<Note> {
        self.sketch.notes.by_file.get(file)?.as_ref().ok().copied()
    }

    /// Whether a file was changed after its note was written, and not by what replaces contents on the
    /// way.
    fn may_be_edited(&self, file: &RepoPath) -> bool {
        let place = self.path.join(file.as_str());
        let Ok(found) = place.symlink_metadata() else {
            return true;
        };
        let note = self.own_note(file);
        note.is_none_or(|note| is_newer(&found, &note)) && may_be_edited(&place, &found)
    }

    /// Whether a link in the place of a file leads to a volume that is not there now.
    fn is_unplugged(&self, file: &RepoPath) -> bool {
        let target = std::fs::read_link(self.path.join(file.as_str()));
        target.is_ok_and(|target| crate::host::absent_mount(&target).is_some())
    }

    /// Whether a file is shorter or longer than the blob that its note names.
    fn has_another_length(&self, file: &RepoPath, stock: &mut Stock<'_>) -> bool {
        let place = self.path.join(file.as_str());
        let found = place.symlink_metadata().ok();
        let blob = self.own_note(file).and_then(|note| stock.blob(&note.etag));
        let both = found.zip(blob);
        both.is_some_and(|(found, (_, bytes))| found.is_file() && found.len() != bytes)
    }

    /// The step that puts the right bytes into the place of a file, and the note that follows.
    fn bytes(&self, file: &RepoPath, stock: &mut Stock<'_>) -> Option<Vec<PlanStep>> {
        let place = self.path.join(file.as_str());
        let noted = self.own_note(file);
        let etag = noted.map(|note| note.etag);
        let etag = etag.or_else(|| self.linked(file, stock.main))?;
        let (from, bytes) = stock.blob(&etag)?;
        let mut steps = vec![PlanStep::Change(Change::Place {
            path: place.to_str()?.to_owned(),
            from: from.to_str()?.to_owned(),
            bytes,
            aside: aside_of(self.path, file).to_str()?.to_owned(),
        })];
        if noted.is_none() {
            let listed = self.listed(file, stock, &|remote| remote.etag == etag);
            steps.extend(listed.and_then(|(commit, _)| self.noted_as(file, &etag, &commit)));
        }
        Some(steps)
    }

    /// The content that a link in the place of a file leads to: a blob of the main cache, also by way of
    /// its pointer.
    fn linked(&self, file: &RepoPath, main: &Layout) -> Option<Etag> {
        let place = self.path.join(file.as_str());
        let text = std::fs::read_link(&place).ok()?;
        let at = place.parent()?.join(text);
        let folder = std::fs::canonicalize(at.parent()?).ok()?;
        let at = folder.join(at.file_name()?);
        if let Some((_, etag)) = blob_at(main, &at) {
            return Some(etag);
        }
        let pointer = std::fs::read_link(&at).ok()?;
        let snapshots = at
            .ancestors()
            .find(|above| above.file_name().is_some_and(|name| name == "snapshots"))?;
        let below = at.strip_prefix(snapshots).ok()?.to_str()?;
        let (_, named) = below.split_once('/')?;
        let name = named_blob(&RepoPath::new(named).ok()?, &pointer)?;
        let blob = snapshots.parent()?.join("blobs").join(name);
        blob_at(main, &blob).map(|(_, etag)| etag)
    }

    /// The step that writes the note of a file, where a listing names a file of its path and length and
    /// it is not known to be another content.
    fn note(&self, file: &RepoPath, stock: &mut Stock<'_>) -> Option<PlanStep> {
        let place = self.path.join(file.as_str());
        let found = place.symlink_metadata().ok()?;
        if !found.is_file() || crate::host::is_evicted(&place, &found) {
            return None;
        }
        let content = (stock.judge.content)(&place, &found).map(|(etag, _)| etag);
        let may_be = |etag: &Etag| {
            content.is_none_or(|known| known.algorithm() != etag.algorithm() || known == *etag)
        };
        // One that was changed since: it may be what it was all the same.
        if let Some(note) = self.own_note(file) {
            let hashed = (stock.judge.hashed)(&place, &found, &note.etag);
            let is_wrong = hashed.is_some_and(|hashed| hashed.computed.is_some());
            if is_wrong || !may_be(&note.etag) {
                return None;
            }
            return self.noted_as(file, &note.etag, &note.commit?);
        }
        let is_it = |remote: &RemoteFile| remote.size_bytes == found.len() && may_be(&remote.etag);
        let (commit, etag) = self.listed(file, stock, &is_it)?;
        self.noted_as(file, &etag, &commit)
    }

    /// The commit by whose listing a file is what it should be: that of the other notes, else that of
    /// the branch, else any.
    fn listed(
        &self,
        file: &RepoPath,
        stock: &mut Stock<'_>,
        is_it: &dyn Fn(&RemoteFile) -> bool,
    ) -> Option<(Commit, Etag)> {
        let of = |files: &[RemoteFile]| {
            let mut files = files.iter();
            let found = files.find(|remote| remote.path == *file && is_it(remote));
            found.map(|remote| remote.etag)
        };
        let repo = &self.sketch.model.repo;
        if let Some(commit) = self.sketch.model.commit {
            let own = self.path.join(".cache/huggingface/trees");
            let files = read_listing(&own.join(format!("{commit}.json")))
                .or_else(|| read_tree(stock.main, repo, &commit))
                .or_else(|| (stock.judge.listing)(repo, &commit));
            if let Some(etag) = files.as_deref().and_then(of) {
                return Some((commit, etag));
            }
        }
        let mut listings = stock.listings(repo).iter();
        listings.find_map(|(commit, files)| Some((*commit, of(files)?)))
    }

    fn noted_as(&self, file: &RepoPath, etag: &Etag, commit: &Commit) -> Option<PlanStep> {
        let note = self.sketch.notes.place_of(file);
        Some(PlanStep::Change(Change::Note {
            path: note.to_str()?.to_owned(),
            file: self.path.join(file.as_str()).to_str()?.to_owned(),
            etag: etag.to_string(),
            commit: commit.to_string(),
        }))
    }
}
