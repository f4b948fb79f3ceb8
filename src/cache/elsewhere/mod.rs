//! Owns the places beside the main Hub cache where models lie (hub.md 2.10, 3 and 4): finding them,
//! looking at them, and looking again at what has changed.
//!
//! **Law**: nothing is changed by looking, not even a time of access; no link leads out of a place;
//! what cannot be read is a row that says so, never the end of the look.

mod amend;
mod content;
mod copies;
mod discover;
mod folder;
mod homes;
mod locks;
mod needless;
mod note;
mod proposal;
mod prove;
mod split;
#[cfg(test)]
mod tests;
mod unfinished;
mod whole;
mod words;
mod writing;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use self::copies::Holding;
use self::discover::{Spot, discover};
use self::folder::{Sketch, look};
use self::homes::homes;
use self::proposal::Stock;
use self::writing::Looks;
use super::partials::Eyes;
use super::several::look_at_all;
use super::sight::Print;
use super::{Census, Judge, Layout, Programs};
use crate::config;
use crate::domain::{
    CacheKind, CacheRow, FileRow, Finding, ModelRow, PartialRow, PlanStep, RepoId, sanitize,
};
use crate::host;

pub use self::writing::HOLDS_STILL;

pub(super) use self::amend::may_be_edited;
pub use self::content::is_error_page;
pub(super) use self::copies::contents_of_hub;
pub(super) use self::folder::is_newer;
pub(super) use self::homes::Home;
pub use self::locks::locks_elsewhere;
pub(super) use self::needless::is_needless;
pub(super) use self::note::{Note, read as read_note, short_hash};
pub use self::words::absent_volume;

pub(super) use self::amend::{is_aside, note, place, remove_aside};

/// Files of one model whose times are looked at.
const WATCHED: usize = 256;

/// The places beside the main cache as last seen.
#[derive(Debug, Default)]
pub struct Elsewhere {
    spots: Vec<Place>,
    /// By folder.
    sketches: BTreeMap<PathBuf, Known>,
    split: Option<Finding>,
    duplicates: Vec<Finding>,
    /// What a repair may do about a finding of a model's folder, by the finding's place in the sketch.
    proposed: BTreeMap<(PathBuf, usize), Vec<PlanStep>>,
    has_looked: bool,
}

/// A place and what lies in it.
#[derive(Debug)]
struct Place {
    spot: Spot,
    /// What was left out, if anything was.
    left_out: Option<String>,
    /// The folders of its models, where it is no Hub cache.
    homes: Vec<PathBuf>,
    /// Where it is one.
    hub: Option<(Layout, Census)>,
}

#[derive(Debug)]
struct Known {
    /// `None` if nothing of a model is there.
    sketch: Option<Sketch>,
    watched: Vec<PathBuf>,
    print: Print,
}

impl Known {
    fn of(home: &Home, before: Option<&Looks>, judge: Judge<'_>, eyes: &Eyes<'_>) -> Self {
        // The times come first: what changes while the rest is read is seen next time.
        let mut watched = vec![home.folder.clone()];
        let mut print = Print::of(&watched, eyes.now);
        let sketch = look(home, before, judge, eyes);
        if let Some(sketch) = &sketch {
            let before = print.hash;
            if Print::of(&watched, eyes.now).hash == before {
                watched.clone_from(&sketch.folders);
                // Some programs write files in place.
                let files = sketch.paths.iter().take(WATCHED);
                watched.extend(files.map(|(path, _)| home.folder.join(path.as_str())));
                print = Print::of(&watched, eyes.now);
            }
        }
        Self {
            sketch,
            watched,
            print,
        }
    }

    fn is_outdated(&self, now: SystemTime) -> bool {
        let is_in_progress = self
            .sketch
            .as_ref()
            .is_some_and(|sketch| sketch.is_unsettled || !sketch.partials.is_empty());
        is_in_progress
            || self.print.is_racy
            || Print::of(&self.watched, now).hash != self.print.hash
    }
}

impl Elsewhere {
    /// Looks at everything the first time, and later at what has changed; whether anything is new.
    /// `main` is the main cache, whose contents are compared with those elsewhere; of `stirred` repos
    /// more may be known now, changed or not.
    pub fn look(
        &mut self,
        places: &config::Elsewhere,
        main: &Layout,
        is_main_new: bool,
        stirred: &BTreeSet<RepoId>,
        judge: Judge<'_>,
        eyes: &Eyes<'_>,
    ) -> bool {
        let mut is_new = !std::mem::replace(&mut self.has_looked, true);
        let mut known: BTreeMap<PathBuf, Place> = std::mem::take(&mut self.spots)
            .into_iter()
            .map(|place| (place.spot.path.clone(), place))
            .collect();
        let mut wanted: Vec<Home> = Vec::new();
        let mut claimed = HashSet::new();
        for spot in discover(&places.places, main.root()) {
            let before = known.remove(&spot.path);
            let (place, is_changed, homes) = at(spot, before, stirred, judge, eyes);
            is_new |= is_changed;
            // A folder in two places is of the first one.
            wanted.extend(
                homes
                    .into_iter()
                    .filter(|home| claimed.insert(home.folder.clone())),
            );
            self.spots.push(place);
        }
        is_new |= !known.is_empty();
        let mut first = HashSet::new();
        for place in &mut self.spots {
            place.homes.retain(|folder| first.insert(folder.clone()));
        }
        let before = self.sketches.len();
        self.sketches.retain(|folder, _| claimed.contains(folder));
        is_new |= self.sketches.len() != before;
        let due: Vec<Home> = wanted
            .into_iter()
            .filter(|home| {
                let known = self.sketches.get(&home.folder);
                stirred.contains(&home.repo)
                    || known.is_none_or(|known| known.is_outdated(eyes.now))
            })
            .collect();
        is_new |= !due.is_empty();
        let before: BTreeMap<PathBuf, Known> = due
            .iter()
            .filter_map(|home| self.sketches.remove_entry(&home.folder))
            .collect();
        self.look_at(&due, &before, judge, eyes);
        if let Some((programs, due)) = self.ask_who_writes(&due) {
            let eyes = Eyes {
                now: eyes.now,
                table: eyes.table.clone(),
                programs: &programs,
                ours: eyes.ours,
            };
            self.look_at(&due, &before, judge, &eyes);
        }
        let split = split::split(places);
        is_new |= split != self.split;
        self.split = split;
        if is_new || is_main_new {
            let duplicates = self.find_duplicates(main, judge);
            is_new |= duplicates != self.duplicates;
            self.duplicates = duplicates;
            let proposed = self.propose(main, judge);
            is_new |= proposed != self.proposed;
            self.proposed = proposed;
        }
        is_new
    }

    /// Looks at models, and keeps what it sees. `before` is what was seen of them the time before.
    fn look_at(
        &mut self,
        due: &[Home],
        before: &BTreeMap<PathBuf, Known>,
        judge: Judge<'_>,
        eyes: &Eyes<'_>,
    ) {
        let looks = |home: &Home| {
            let sketch = before.get(&home.folder)?.sketch.as_ref()?;
            Some(&sketch.looks)
        };
        let seen = look_at_all(due, &|home| Known::of(home, looks(home), judge, eyes));
        let folders = due.iter().map(|home| home.folder.clone());
        self.sketches.extend(folders.zip(seen));
    }

    /// Who has files open that may be being written: unfinished ones, and those that look broken;
    /// and the models for which the answer matters. `None` if there is nothing to ask, or nobody
    /// answers.
    fn ask_who_writes(&self, looked_at: &[Home]) -> Option<(Programs, Vec<Home>)> {
        let mut asked = Vec::new();
        let mut by_home = Vec::new();
        for home in looked_at {
            let known = self.sketches.get(&home.folder);
            let Some(sketch) = known.and_then(|known| known.sketch.as_ref()) else {
                continue;
            };
            let paths = sketch.in_question();
            if !paths.is_empty() {
                let is_asked = sketch.is_unsettled || !sketch.partials.is_empty();
                by_home.push((home, paths.clone(), is_asked));
                asked.extend(paths);
            }
        }
        if asked.is_empty() {
            return None;
        }
        let open = host::openers(&asked)?;
        let is_open = |path: &PathBuf| open.iter().any(|file| file.path == *path);
        let due: Vec<Home> = by_home
            .into_iter()
            .filter(|(_, paths, is_asked)| *is_asked || paths.iter().any(is_open))
            .map(|(home, ..)| home.clone())
            .collect();
        Some((Programs::with_open(open), due))
    }

    /// Whether a file is being written that would be broken if it stayed so: it is worth looking
    /// again soon.
    pub fn is_unsettled(&self) -> bool {
        let mut known = self.sketches.values();
        known.any(|known| known.sketch.as_ref().is_some_and(|one| one.is_unsettled))
    }

    /// What a repair may do about the findings of models' folders, with what lies in the main cache.
    fn propose(
        &self,
        main: &Layout,
        judge: Judge<'_>,
    ) -> BTreeMap<(PathBuf, usize), Vec<PlanStep>> {
        let mut stock = Stock::of(main, judge);
        let mut proposed = BTreeMap::new();
        for (folder, known) in &self.sketches {
            let Some(sketch) = &known.sketch else {
                continue;
            };
            for (at, finding) in sketch.findings.iter().enumerate() {
                if let Some(steps) = proposal::steps(sketch, finding, &mut stock) {
                    proposed.insert((folder.clone(), at), steps);
                }
            }
        }
        proposed
    }

    /// The findings of a model's folder, with what a repair may do about them.
    fn findings_of<'a>(&'a self, sketch: &'a Sketch) -> impl Iterator<Item = Finding> + 'a {
        let folder = Path::new(&sketch.model.snapshot);
        let all = sketch.findings.iter().enumerate();
        all.map(move |(at, finding)| {
            let mut finding = finding.clone();
            if let Some(steps) = self.proposed.get(&(folder.to_owned(), at)) {
                finding.plan.steps.clone_from(steps);
            }
            finding
        })
    }

    fn find_duplicates(&self, main: &Layout, judge: Judge<'_>) -> Vec<Finding> {
        let hubs = self.spots.iter().filter_map(|place| place.hub.as_ref());
        let mut holdings: Vec<Holding> = Vec::new();
        for place in &self.spots {
            let name = place.spot.path.to_string_lossy();
            holdings.extend(place.sketches(&self.sketches).map(|sketch| Holding {
                repo: sketch.model.repo.clone(),
                folder: sanitize(&sketch.model.snapshot),
                place: name.clone().into_owned(),
                copies: sketch.copies.clone(),
            }));
        }
        let is_any = |holding: &Holding| !holding.copies.is_empty();
        if !holdings.iter().any(is_any) && hubs.clone().next().is_none() {
            // The names of the main cache's blobs are not read for nothing.
            return Vec::new();
        }
        let mut all = copies::of_hub(main);
        all.extend(hubs.flat_map(|(layout, _)| copies::of_hub(layout)));
        all.append(&mut holdings);
        copies::duplicates(&all, main, judge.paired)
    }

    /// Whether one of these repos is anywhere here.
    pub fn holds_any(&self, repos: &BTreeSet<RepoId>) -> bool {
        !repos.is_empty()
            && self
                .models()
                .iter()
                .any(|model| repos.contains(&model.repo))
    }

    /// The places, in the order of the rules.
    pub fn caches(&self) -> Vec<CacheRow> {
        let row = |place: &Place| {
            let mut counted = HashSet::new();
            let mut size_bytes = 0;
            for sketch in place.sketches(&self.sketches) {
                let all = sketch.model.size_bytes;
                let known: u64 = sketch.copies.iter().map(|copy| copy.bytes).sum();
                let mut own = all.saturating_sub(known);
                for copy in &sketch.copies {
                    if counted.insert(copy.id) {
                        own += copy.bytes;
                    }
                }
                size_bytes += own;
            }
            let mut models = place.sketches(&self.sketches).count();
            if let Some((_, census)) = &place.hub {
                models += census.models().len();
                size_bytes += census.size_bytes();
            }
            CacheRow {
                kind: place.spot.kind,
                path: sanitize(&place.spot.path.to_string_lossy()),
                origin: place.spot.origin.clone(),
                is_present: place.spot.is_present,
                trouble: place
                    .spot
                    .trouble
                    .clone()
                    .or_else(|| place.left_out.clone()),
                models,
                size_bytes,
            }
        };
        self.spots.iter().map(row).collect()
    }

    /// Every model, by place.
    pub fn models(&self) -> Vec<ModelRow> {
        let mut models = Vec::new();
        for place in &self.spots {
            models.extend(place.hub.iter().flat_map(|(_, census)| census.models()));
            let sketches = place.sketches(&self.sketches);
            models.extend(sketches.map(|sketch| sketch.model.clone()));
        }
        models
    }

    /// The other Hub caches.
    pub fn hubs(&self) -> impl Iterator<Item = &Layout> {
        let places = self.spots.iter();
        places.filter_map(|place| place.hub.as_ref().map(|(layout, _)| layout))
    }

    /// The models of one repo with their files.
    pub fn files(&self, repo: &RepoId, judge: Judge<'_>) -> Vec<(ModelRow, Vec<FileRow>)> {
        let mut found = Vec::new();
        for place in &self.spots {
            if let Some((layout, _)) = &place.hub
                && layout.repo(repo).is_dir()
            {
                found.extend(super::scan_repo(layout, repo, judge).unwrap_or_default());
            }
            let sketches = place.sketches(&self.sketches);
            found.extend(
                sketches
                    .filter(|sketch| sketch.model.repo == *repo)
                    .map(|sketch| (sketch.model.clone(), sketch.files.clone())),
            );
        }
        found
    }

    /// Everything that is wrong, by place.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.split.iter().cloned().collect();
        for (place, row) in self.spots.iter().zip(self.caches()) {
            let spot = &place.spot;
            if let Some(mount) = &spot.absent_mount {
                findings.push(words::absent_volume(mount, &spot.path, &spot.origin));
            } else if let Some(why) = &spot.trouble {
                findings.push(words::unreadable(&row.path, why));
            }
            if spot.is_purgeable() && row.models > 0 {
                findings.push(words::purgeable(&spot.path, row.models, row.size_bytes));
            }
            if let Some((layout, census)) = &place.hub {
                let found = census.findings().into_iter();
                findings.extend(found.map(|finding| of_place(finding, layout.root())));
            }
            for sketch in place.sketches(&self.sketches) {
                findings.extend(self.findings_of(sketch));
            }
        }
        findings.extend(self.duplicates.iter().cloned());
        findings
    }

    /// Every unfinished file, by place.
    pub fn partials(&self) -> Vec<PartialRow> {
        let mut partials = Vec::new();
        for place in &self.spots {
            partials.extend(place.hub.iter().flat_map(|(_, census)| census.partials()));
            let sketches = place.sketches(&self.sketches);
            partials.extend(
                sketches.flat_map(|sketch| sketch.partials.iter().map(|one| one.row.clone())),
            );
        }
        partials
    }
}

impl Place {
    fn sketches<'a>(
        &'a self,
        known: &'a BTreeMap<PathBuf, Known>,
    ) -> impl Iterator<Item = &'a Sketch> {
        let homes = self.homes.iter();
        homes.filter_map(|folder| known.get(folder)?.sketch.as_ref())
    }
}

/// A place, whether it is not what it was, and the models' folders in it.
fn at(
    spot: Spot,
    before: Option<Place>,
    stirred: &BTreeSet<RepoId>,
    judge: Judge<'_>,
    eyes: &Eyes<'_>,
) -> (Place, bool, Vec<Home>) {
    let mut is_new = before.as_ref().is_none_or(|before| before.spot != spot);
    let mut place = Place {
        spot,
        left_out: None,
        homes: Vec::new(),
        hub: None,
    };
    if !place.spot.is_present || place.spot.trouble.is_some() {
        return (place, is_new, Vec::new());
    }
    if place.spot.kind == CacheKind::Hub {
        let hub = before.and_then(|before| before.hub);
        let layout = Layout::new(place.spot.path.clone());
        let looked = match hub {
            Some((layout, mut census)) => census
                .look_again(&layout, None, stirred, judge, eyes)
                .map(|changed| (census, changed)),
            None => {
                let mut census = Census::default();
                census
                    .look(&layout, None, judge, eyes)
                    .map(|()| (census, true))
            }
        };
        match looked {
            Ok((census, changed)) => {
                is_new |= changed;
                place.hub = Some((layout, census));
            }
            Err(error) => place.spot.trouble = Some(sanitize(&error.to_string())),
        }
        return (place, is_new, Vec::new());
    }
    match homes(&place.spot) {
        Ok((homes, left_out)) => {
            place.left_out = left_out.map(|why| sanitize(&why));
            place.homes = homes.iter().map(|home| home.folder.clone()).collect();
            (place, is_new, homes)
        }
        Err(error) => {
            place.spot.trouble = Some(sanitize(&error.to_string()));
            (place, is_new, Vec::new())
        }
    }
}

/// A finding about another Hub cache than the main one: what is done about it says which.
fn of_place(mut finding: Finding, root: &Path) -> Finding {
    let root = sanitize(&root.to_string_lossy());
    for step in &mut finding.plan.steps {
        match step {
            PlanStep::Pull { repo, revision, .. } => {
                *step = words::by_hand(format!(
                    "`larder pull {repo} --revision {revision} --cache-dir '{root}'`"
                ));
            }
            // A pull goes on with it; whoever does not want that takes it away there.
            PlanStep::RemovePartial { repo, .. } => {
                *step = words::by_hand(format!(
                    "`larder pull {repo} --cache-dir '{root}'` goes on with it, `larder purge \
                     --incomplete {repo} --cache-dir '{root}'` takes it away"
                ));
            }
            // A repair changes the cache that it is for, under the locks of that.
            PlanStep::Change(_) => {
                *step = words::by_hand(format!("`larder doctor --fix --cache-dir '{root}'`"));
            }
            PlanStep::Discard(_) | PlanStep::ByHand { .. } => {}
        }
    }
    finding.plan.steps.dedup();
    finding
}
