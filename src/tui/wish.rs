//! Owns what an action means for the selected and marked rows: which command, for what, and the
//! line in the log that names its equivalent in a shell.
//!
//! Never sends anything: effects are the loop's.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::facts::Facts;
use super::pane::Pane;
use super::rows::{FileItem, ModelItem, Scene};
use super::ui::{Discarding, Overlay, Question, Ui};
use super::update::{Effect, View};
use super::{copy, words};
use crate::domain::{
    Command, Commit, DiscardKind, DiscardRequest, FileId, FileSelection, GuideRequest, JobId,
    ModelRow, Plan, PlanStep, PullRequest, PurgePlan, RepoId, Revision, TrashRequest,
    UnfinishedPull, VerifyTarget, shell_word,
};
use crate::store::{FileStatus, Guided, Phase, Pull, Store, count, size};

/// Whether there is nothing to look at yet: an empty cache, and no pull.
pub(super) fn is_first_run(store: &Store) -> bool {
    store.shelf().trouble().is_none()
        && store.shelf().models().is_some_and(<[_]>::is_empty)
        && store.pulls().next().is_none()
}

/// What of a row says that its files should be asked for again.
pub(super) fn fingerprint(row: &ModelRow) -> u64 {
    let mut hasher = DefaultHasher::new();
    (
        row.size_bytes,
        row.files_present,
        row.files_expected,
        row.modified_ms,
        row.state,
        row.problems.len(),
    )
        .hash(&mut hasher);
    hasher.finish()
}

/// The marked models, or the selected one.
pub(super) fn chosen_models<'s, 'a>(ui: &Ui, scene: &'s Scene<'a>) -> Vec<&'s ModelItem<'a>> {
    if ui.focus == Pane::Models && !ui.marked_models.is_empty() {
        return scene
            .models
            .iter()
            .filter(|item| ui.marked_models.contains(&item.key))
            .collect();
    }
    scene.model(ui).into_iter().collect()
}

/// The marked files, or the selected one.
fn chosen_files<'a>(ui: &Ui, scene: &Scene<'a>) -> Vec<FileItem<'a>> {
    if !ui.marked_files.is_empty() {
        return scene
            .files
            .iter()
            .filter(|item| ui.marked_files.contains(&item.key()))
            .copied()
            .collect();
    }
    scene.file(ui).into_iter().collect()
}

/// `larder pull` for a model, as text.
pub(super) fn pull_call(facts: &Facts, request: &PullRequest) -> String {
    let mut words = format!("pull {}", request.repo);
    if request.revision != Revision::main() {
        words.push('@');
        words.push_str(request.revision.as_str());
    }
    for file in &request.files {
        words.push(' ');
        words.push_str(&shell_word(file));
    }
    for (flag, values) in [
        ("--include", &request.include),
        ("--exclude", &request.exclude),
    ] {
        for value in values {
            words = format!("{words} {flag} {}", shell_word(value));
        }
    }
    for (flag, is_set) in [("--all", request.all), ("--force", request.force)] {
        if is_set {
            words.push(' ');
            words.push_str(flag);
        }
    }
    if let Some(dir) = &request.local_dir {
        words = format!("{words} --local-dir {}", shell_word(&dir.to_string_lossy()));
    }
    facts.call(&words)
}

/// Starts a pull, with its line.
pub(super) fn pull(facts: &Facts, request: PullRequest) -> Vec<Effect> {
    vec![
        Effect::Log(format!("$ {}", pull_call(facts, &request))),
        Effect::Send(Command::Pull(request)),
    ]
}

/// Goes on with pulls of earlier runs.
pub(super) fn resume(ui: &mut Ui, facts: &Facts, pulls: &[UnfinishedPull]) -> Vec<Effect> {
    ui.focus_on(Pane::Files);
    let requests = pulls.iter().map(UnfinishedPull::request);
    requests.flat_map(|request| pull(facts, request)).collect()
}

/// The pull that completes or heals what is on disk of a model.
fn request_of(repo: &RepoId, revision: &str) -> Option<PullRequest> {
    let revision = Revision::new(revision).ok()?;
    Some(PullRequest::new(repo.clone(), revision))
}

fn request_of_item(item: &ModelItem<'_>) -> Option<PullRequest> {
    let revision = match item.row {
        // What a broken tool named otherwise is fetched from the main branch.
        Some(row) if item.pull.is_none() && row.refs.is_empty() && row.commit.is_none() => "main",
        _ => item.revision(),
    };
    request_of(item.repo()?, revision)
}

/// `m`.
pub(super) fn guide(ui: &mut Ui, view: View<'_>) -> Vec<Effect> {
    let scene = Scene::build(ui, view.store, view.now_ms);
    let request = scene.model(ui).and_then(|item| {
        let request = request_of_item(item)?;
        Some(GuideRequest {
            repo: request.repo,
            revision: request.revision,
        })
    });
    match request {
        Some(request) => ask_guide(ui, view.facts, request),
        None => {
            ui.refuse("no model is selected", view.now_ms);
            Vec::new()
        }
    }
}

/// Opens the guide to a model, and asks for it.
pub(super) fn ask_guide(ui: &mut Ui, facts: &Facts, request: GuideRequest) -> Vec<Effect> {
    let mut words = format!("guide {}", request.repo);
    if request.revision != Revision::main() {
        words = format!(
            "{words} --revision {}",
            shell_word(request.revision.as_str())
        );
    }
    ui.overlay = Some(Overlay::Guide {
        repo: request.repo.clone(),
        scroll: 0,
    });
    vec![
        Effect::Log(format!("$ {}", facts.call(&words))),
        Effect::Send(Command::Guide(request)),
    ]
}

/// The guide to a model, once it is there.
pub(super) fn guide_of<'a>(store: &'a Store, repo: &RepoId) -> Option<&'a Guided> {
    let is_it = |guided: &&Guided| {
        // The Hub answers to any letter case.
        let asked = &guided.repo;
        asked.kind() == repo.kind() && asked.name().eq_ignore_ascii_case(repo.name())
    };
    store.guided().filter(is_it)
}

/// `y` on a guide.
pub(super) fn copy_script(ui: &mut Ui, view: View<'_>, repo: &RepoId) -> Vec<Effect> {
    let guide = guide_of(view.store, repo).and_then(|guided| guided.guide.as_ref());
    let Some(guide) = guide.filter(|guide| !guide.files.is_empty()) else {
        ui.refuse("there is nothing to copy", view.now_ms);
        return Vec::new();
    };
    ui.say(
        "copied: the script; save it and run it with sh",
        view.now_ms,
    );
    vec![Effect::Copy(guide.script(&view.facts.places))]
}

/// `Y` on a guide.
pub(super) fn copy_addresses(ui: &mut Ui, view: View<'_>, repo: &RepoId) -> Vec<Effect> {
    let guide = guide_of(view.store, repo).and_then(|guided| guided.guide.as_ref());
    let Some(guide) = guide.filter(|guide| !guide.files.is_empty()) else {
        ui.refuse("there is nothing to copy", view.now_ms);
        return Vec::new();
    };
    let urls: Vec<&str> = guide.files.iter().map(|file| file.url.as_str()).collect();
    let words = format!("copied: {}, one a line", count(urls.len(), "address"));
    ui.say(words, view.now_ms);
    vec![Effect::Copy(urls.join("\n"))]
}

/// `r`.
pub(super) fn retry(ui: &mut Ui, view: View<'_>) -> Vec<Effect> {
    let scene = Scene::build(ui, view.store, view.now_ms);
    let mut effects = Vec::new();
    match ui.focus {
        Pane::Files => {
            let mut by_job: Vec<(&Pull, Vec<FileId>)> = Vec::new();
            for item in chosen_files(ui, &scene) {
                let FileItem::Transfer(pull, file) = item else {
                    continue;
                };
                let is_meant = matches!(
                    file.status,
                    FileStatus::Failed { .. } | FileStatus::Cancelled | FileStatus::Retrying { .. }
                );
                if !is_meant {
                    continue;
                }
                match by_job
                    .iter_mut()
                    .find(|(known, _)| known.job() == pull.job())
                {
                    Some((_, files)) => files.push(file.file),
                    None => by_job.push((pull, vec![file.file])),
                }
            }
            for (pull, files) in by_job {
                effects.extend(retried(view.facts, pull, files));
            }
            if effects.is_empty()
                && let Some(item) = scene.model(ui)
            {
                effects.extend(retry_model(view.facts, item));
            }
        }
        Pane::Health => {
            let step = scene.finding(ui).and_then(|finding| {
                finding.plan.steps.iter().find_map(|step| match step {
                    PlanStep::Pull {
                        repo,
                        revision,
                        files,
                        ..
                    } => request_of(repo, revision).map(|request| PullRequest {
                        files: files.clone(),
                        ..request
                    }),
                    PlanStep::RemovePartial { repo, .. } => request_of(repo, "main"),
                    PlanStep::Discard(_) | PlanStep::Change(_) | PlanStep::ByHand { .. } => None,
                })
            });
            if let Some(request) = step {
                effects.extend(pull(view.facts, request));
            }
        }
        Pane::Models | Pane::Locks | Pane::Log => {
            for item in chosen_models(ui, &scene) {
                effects.extend(retry_model(view.facts, item));
            }
        }
    }
    if effects.is_empty()
        && ui.focus == Pane::Health
        && let Some(finding) = scene.finding(ui)
    {
        let words = words::not_yet(finding).unwrap_or("there is nothing to fetch");
        ui.refuse(format!("no pull puts that right: {words}"), view.now_ms);
    } else if effects.is_empty() {
        let mut chosen = chosen_models(ui, &scene).into_iter();
        let instead = chosen.find_map(|item| copy::instead(item, view.store));
        let words = instead.map_or_else(
            || "nothing to retry: nothing failed here and nothing is missing".to_owned(),
            |words| view.facts.short_text(&words).into_owned(),
        );
        ui.refuse(words, view.now_ms);
    } else {
        ui.marked_files.clear();
        ui.marked_models.clear();
    }
    effects
}

/// Retries what failed in a pull, or pulls what is incomplete or broken.
fn retry_model(facts: &Facts, item: &ModelItem<'_>) -> Vec<Effect> {
    if let Some(pull) = item.pull {
        if pull.phase() != Phase::Ended {
            return retried(facts, pull, to_retry(pull));
        }
        if pull.result().is_none() {
            return vec![
                Effect::Log(format!("$ {}", call_of(facts, pull))),
                Effect::Send(Command::Retry(FileSelection::Job(pull.job()))),
            ];
        }
    }
    if item.needs_pull() {
        return request_of_item(item).map_or_else(Vec::new, |request| self::pull(facts, request));
    }
    Vec::new()
}

/// Files of a running pull that can be tried again at once.
fn to_retry(pull: &Pull) -> Vec<FileId> {
    let is_meant = |status: &FileStatus| {
        matches!(
            status,
            FileStatus::Failed { .. } | FileStatus::Cancelled | FileStatus::Retrying { .. }
        )
    };
    let files = pull.files().filter(|file| is_meant(file.status));
    files.map(|file| file.file).collect()
}

/// Whether `r` on a model does something.
pub(super) fn can_retry(item: &ModelItem<'_>) -> bool {
    match item.pull {
        Some(pull) if pull.phase() != Phase::Ended => !to_retry(pull).is_empty(),
        Some(pull) if pull.result().is_none() => true,
        Some(_) | None => item.needs_pull(),
    }
}

fn call_of(facts: &Facts, pull: &Pull) -> String {
    let target = pull.target();
    pull_call(
        facts,
        &PullRequest::new(target.repo.clone(), target.revision.clone()),
    )
}

fn retried(facts: &Facts, pull: &Pull, files: Vec<FileId>) -> Vec<Effect> {
    if files.is_empty() {
        return Vec::new();
    }
    vec![
        Effect::Log(format!("$ {}", call_of(facts, pull))),
        Effect::Send(Command::Retry(FileSelection::Files(pull.job(), files))),
    ]
}

/// `R`.
pub(super) fn retry_all(ui: &mut Ui, view: View<'_>) -> Vec<Effect> {
    let failed: Vec<&Pull> = view
        .store
        .latest_pulls()
        .into_iter()
        .filter(|pull| {
            let has_ended = pull.phase() == Phase::Ended && pull.result().is_none();
            has_ended || !pull.retryable_files().is_empty()
        })
        .collect();
    if failed.is_empty() {
        ui.refuse("nothing failed or was cancelled in this run", view.now_ms);
        return Vec::new();
    }
    failed
        .into_iter()
        .flat_map(|pull| {
            [
                Effect::Log(format!("$ {}", call_of(view.facts, pull))),
                Effect::Send(Command::Retry(FileSelection::Job(pull.job()))),
            ]
        })
        .collect()
}

/// `v`.
pub(super) fn verify(ui: &mut Ui, view: View<'_>) -> Vec<Effect> {
    let scene = Scene::build(ui, view.store, view.now_ms);
    let mut targets: Vec<VerifyTarget> = Vec::new();
    if ui.focus == Pane::Health
        && let Some(finding) = scene.finding(ui)
    {
        targets.extend(finding.repo.as_ref().map(|repo| VerifyTarget {
            repo: repo.clone(),
            revision: finding.revision.clone(),
        }));
    } else {
        for item in chosen_models(ui, &scene) {
            let (Some(repo), Some(row)) = (item.repo(), item.row) else {
                continue;
            };
            let is_begun = item.elsewhere.is_none() && row.commit.is_none() && row.refs.is_empty();
            if row.snapshot.is_empty() || is_begun {
                // A pull that has not come to a snapshot: there is nothing to compare yet.
                continue;
            }
            targets.push(VerifyTarget {
                repo: repo.clone(),
                revision: Some(row.revision.clone()),
            });
        }
    }
    if targets.is_empty() {
        ui.refuse("nothing to verify here yet", view.now_ms);
        return Vec::new();
    }
    ui.marked_models.clear();
    start_verify(ui, view, targets)
}

/// `V`.
pub(super) fn verify_all(ui: &mut Ui, view: View<'_>) -> Vec<Effect> {
    if view.store.shelf().models().is_none_or(<[_]>::is_empty) {
        ui.refuse("nothing to verify: there are no models", view.now_ms);
        return Vec::new();
    }
    start_verify(ui, view, Vec::new())
}

/// Starts verifying, one at a time.
pub(super) fn start_verify(ui: &mut Ui, view: View<'_>, targets: Vec<VerifyTarget>) -> Vec<Effect> {
    if view.store.shelf().verifying().is_some() {
        let key = ui.keymap.key_of(super::action::Action::Cancel);
        ui.refuse(
            format!("verifying goes on already; `{key}` in Health ends it"),
            view.now_ms,
        );
        return Vec::new();
    }
    let names: Vec<String> = targets
        .iter()
        .map(|target| match &target.revision {
            Some(revision) => format!("{}@{revision}", target.repo),
            None => target.repo.to_string(),
        })
        .collect();
    let call = view
        .facts
        .call(&["verify --deep", &names.join(" ")].join(" "));
    vec![
        Effect::Log(format!("$ {}", call.trim_end())),
        // Who asks here wants the bytes looked at, not what is remembered of them.
        Effect::Send(Command::Verify {
            targets,
            is_deep: true,
        }),
    ]
}

/// `p`: asks, with the plan.
pub(super) fn purge(ui: &mut Ui, view: View<'_>) -> Vec<Effect> {
    let scene = Scene::build(ui, view.store, view.now_ms);
    if ui.focus == Pane::Health
        && let Some(group) = scene.finding_row(ui)
    {
        // What is selected is meant, and not what else could be taken away.
        let plan = words::group_plan(group);
        if plan.removals().next().is_some() {
            return ask_purge(ui, view, plan);
        }
        let words = words::not_yet(group.first).unwrap_or("it is put right by a pull");
        ui.refuse(format!("no purge puts that right: {words}"), view.now_ms);
        return Vec::new();
    }
    let chosen: Vec<&ModelItem<'_>> = match ui.focus {
        Pane::Models => chosen_models(ui, &scene),
        Pane::Files => scene.model(ui).into_iter().collect(),
        Pane::Health | Pane::Locks | Pane::Log => Vec::new(),
    };
    if let Some(place) = chosen.iter().find_map(|item| item.elsewhere) {
        let place = view.facts.short_path(&place.path);
        let words = format!("that lies in {place}: larder takes nothing away there");
        ui.refuse(words, view.now_ms);
        return Vec::new();
    }
    if ui.focus == Pane::Files && !ui.marked_files.is_empty() {
        let words = "files do not go one by one: in Models the key takes the model away";
        ui.refuse(words, view.now_ms);
        return Vec::new();
    }
    let mut repos: Vec<RepoId> = chosen
        .iter()
        .filter_map(|item| item.repo().cloned())
        .collect();
    repos.dedup();
    let plan = view.store.shelf().purge_plan(&repos);
    // What is unfinished goes first; where there is nothing of that, the models themselves are meant.
    if plan.removals().next().is_none() && !repos.is_empty() {
        let targets = chosen.iter().filter_map(|item| {
            let revision = only_of_several(view.store, item);
            Some((item.repo()?.clone(), revision))
        });
        let request = DiscardRequest {
            targets: targets.collect(),
            ..DiscardRequest::default()
        };
        return plan_discard(ui, view, request);
    }
    ask_purge(ui, view, plan)
}

/// The snapshot that a row is, where the repo has others: they are not meant.
fn only_of_several(store: &Store, item: &ModelItem<'_>) -> Option<String> {
    let row = item.row?;
    let shelf = store.shelf();
    let is_of_repo = |other: &&ModelRow| other.repo == row.repo && !shelf.is_elsewhere(other);
    let all = shelf.models().unwrap_or_default();
    let is_one_of_several = all.iter().filter(is_of_repo).count() > 1;
    is_one_of_several.then(|| format!("snapshots/{}", row.revision))
}

/// Has it planned what a purge of models would take away; the question shows that when it is there.
pub(super) fn plan_discard(ui: &mut Ui, view: View<'_>, request: DiscardRequest) -> Vec<Effect> {
    ui.overlay = Some(Overlay::Ask {
        question: Question::Discard(Discarding {
            request: request.clone(),
            plans_before: view.store.shelf().plans(),
            typed: String::new(),
        }),
        scroll: 0,
    });
    vec![Effect::Send(Command::PlanPurge(request))]
}

/// What a question about models is about, once it is planned.
pub(super) fn planned_discard<'a>(store: &'a Store, asked: &Discarding) -> Option<&'a PurgePlan> {
    let shelf = store.shelf();
    (shelf.plans() > asked.plans_before)
        .then(|| shelf.planned())
        .flatten()
        .filter(|planned| planned.request == asked.request)
}

/// What has to be typed for a yes: the name of a whole model; nothing where only parts go.
pub(super) fn name_of_whole(planned: &PurgePlan) -> Option<String> {
    let mut whole = planned
        .plan
        .discards()
        .filter(|discard| discard.kind == DiscardKind::Repo)
        .map(|discard| discard.repo.to_string());
    let first = whole.next()?;
    match whole.count() {
        0 => Some(first),
        more => Some(count(more + 1, "model")),
    }
}

/// `u`: puts back what the last purge moved away.
pub(super) fn undo(facts: &Facts) -> Vec<Effect> {
    restore(facts, None)
}

/// Puts something of the trash back.
pub(super) fn restore(facts: &Facts, id: Option<String>) -> Vec<Effect> {
    let words = id.as_deref().unwrap_or("last");
    let call = facts.call(&format!("trash restore {}", shell_word(words)));
    vec![
        Effect::Log(format!("$ {call}")),
        Effect::Send(Command::Trash(TrashRequest::Restore { id })),
    ]
}

/// Opens the question about a purge plan.
pub(super) fn ask_purge(ui: &mut Ui, view: View<'_>, plan: Plan) -> Vec<Effect> {
    if plan.removals().next().is_none() {
        ui.refuse(
            "nothing to purge: no unfinished blob that nobody writes",
            view.now_ms,
        );
    } else {
        ui.overlay = Some(Overlay::Ask {
            question: Question::Purge(plan),
            scroll: 0,
        });
    }
    Vec::new()
}

/// The command that carries a plan out, with its line.
pub(super) fn purged(facts: &Facts, plan: Plan) -> Vec<Effect> {
    let mut repos: Vec<String> = plan.steps.iter().flat_map(targets_of).collect();
    repos.sort();
    repos.dedup();
    let flag = match plan.discards().next() {
        Some(discard) if discard.kind == DiscardKind::Corrupt => "--corrupt ",
        Some(discard) if discard.kind == DiscardKind::Orphans => "--unreferenced ",
        Some(_) => "",
        None => "--incomplete ",
    };
    let call = facts.call(&format!("purge {flag}{} --yes", repos.join(" ")));
    vec![
        Effect::Log(format!("$ {call}")),
        Effect::Send(Command::Purge(plan)),
    ]
}

/// What a step of a purge is about, as a call names it.
fn targets_of(step: &PlanStep) -> Vec<String> {
    match step {
        PlanStep::RemovePartial { repo, .. } => vec![repo.to_string()],
        PlanStep::Discard(discard) if discard.kind == DiscardKind::Revisions => {
            let name = |revision: &String| match Commit::new(revision) {
                Ok(_) => format!("{}@{revision}", discard.repo),
                // A ref may have the name of the folder.
                Err(_) => format!("{}@snapshots/{revision}", discard.repo),
            };
            discard.what.iter().map(name).collect()
        }
        PlanStep::Discard(discard) => vec![discard.repo.to_string()],
        PlanStep::Pull { .. } | PlanStep::Change(_) | PlanStep::ByHand { .. } => Vec::new(),
    }
}

/// A transfer that could be paused.
const fn is_pausable(status: &FileStatus) -> bool {
    match status {
        FileStatus::Queued
        | FileStatus::Waiting { .. }
        | FileStatus::Connecting { .. }
        | FileStatus::Downloading
        | FileStatus::Stalled { .. }
        | FileStatus::Retrying { .. }
        | FileStatus::Verifying => true,
        FileStatus::Done
        | FileStatus::Reused { .. }
        | FileStatus::Failed { .. }
        | FileStatus::Cancelled
        | FileStatus::Paused => false,
    }
}

/// What pause or resume is for: a job with the files meant, and whether any of them still runs.
struct Meant<'a> {
    pull: &'a Pull,
    files: FileSelection,
    can_pause: bool,
    can_resume: bool,
}

fn meant<'a>(ui: &Ui, scene: &Scene<'a>) -> Vec<Meant<'a>> {
    let mut found: Vec<Meant<'a>> = Vec::new();
    if ui.focus == Pane::Files {
        for item in chosen_files(ui, scene) {
            let FileItem::Transfer(pull, file) = item else {
                continue;
            };
            if pull.phase() == Phase::Ended {
                continue;
            }
            let can_pause = is_pausable(file.status);
            let can_resume = *file.status == FileStatus::Paused;
            match found
                .iter_mut()
                .find(|known| known.pull.job() == pull.job())
            {
                Some(known) => {
                    if let FileSelection::Files(_, files) = &mut known.files {
                        files.push(file.file);
                    }
                    known.can_pause |= can_pause;
                    known.can_resume |= can_resume;
                }
                None => found.push(Meant {
                    pull,
                    files: FileSelection::Files(pull.job(), vec![file.file]),
                    can_pause,
                    can_resume,
                }),
            }
        }
        return found;
    }
    for item in chosen_models(ui, scene) {
        let Some(pull) = item.pull.filter(|pull| pull.phase() != Phase::Ended) else {
            continue;
        };
        found.push(Meant {
            pull,
            files: FileSelection::Job(pull.job()),
            can_pause: pull.files().any(|file| is_pausable(file.status)),
            can_resume: pull.files().any(|file| *file.status == FileStatus::Paused),
        });
    }
    found
}

/// `s`: pauses what runs; where nothing runs, goes on with what is paused.
pub(super) fn pause(ui: &mut Ui, view: View<'_>) -> Vec<Effect> {
    let scene = Scene::build(ui, view.store, view.now_ms);
    let meant = meant(ui, &scene);
    let is_pause = meant.iter().any(|one| one.can_pause);
    let mut effects = Vec::new();
    for one in meant {
        let repo = one.pull.target().repo.to_string();
        let name = match &one.files {
            FileSelection::Files(_, files) => format!("{} of {repo}", count(files.len(), "file")),
            FileSelection::All | FileSelection::Job(_) => repo,
        };
        if is_pause && one.can_pause {
            effects.push(Effect::Log(format!(
                "pausing {name}; in a shell: Ctrl-C, and `{}` goes on",
                call_of(view.facts, one.pull)
            )));
            effects.push(Effect::Send(Command::Pause(one.files)));
        } else if !is_pause && one.can_resume {
            effects.push(Effect::Log(format!(
                "going on with {name}; in a shell: `{}`",
                call_of(view.facts, one.pull)
            )));
            effects.push(Effect::Send(Command::Resume(one.files)));
        }
    }
    if effects.is_empty() {
        ui.refuse("nothing to pause: no transfer runs here", view.now_ms);
    }
    effects
}

/// `c`: ends transfers or, in Health, verifying.
pub(super) fn cancel(ui: &mut Ui, view: View<'_>) -> Vec<Effect> {
    if ui.focus == Pane::Health {
        let Some(job) = view
            .store
            .shelf()
            .verifying()
            .map(|verifying| verifying.job)
        else {
            ui.refuse("nothing to cancel: nothing is being verified", view.now_ms);
            return Vec::new();
        };
        return vec![
            Effect::Log("ending the verification; in a shell: Ctrl-C".to_owned()),
            Effect::Send(Command::Cancel(FileSelection::Job(job))),
        ];
    }
    let scene = Scene::build(ui, view.store, view.now_ms);
    let effects: Vec<Effect> = meant(ui, &scene)
        .into_iter()
        .filter(|one| one.can_pause || one.can_resume || one.pull.phase() == Phase::Listing)
        .flat_map(|one| {
            [
                Effect::Log(format!(
                    "cancelling {}; in a shell: Ctrl-C. What is here is kept: `{}` goes on",
                    one.pull.target().repo,
                    call_of(view.facts, one.pull)
                )),
                Effect::Send(Command::Cancel(one.files)),
            ]
        })
        .collect();
    if effects.is_empty() {
        ui.refuse("nothing to cancel: no transfer runs here", view.now_ms);
    }
    effects
}

/// `y`: what is most useful of the selected row.
pub(super) fn copy(ui: &mut Ui, view: View<'_>) -> Vec<Effect> {
    let scene = Scene::build(ui, view.store, view.now_ms);
    let text = match ui.focus {
        Pane::Models => scene.model(ui).and_then(|item| {
            let failure = item
                .has_failed()
                .then(|| item.pull.map(Pull::failures))
                .flatten()
                .and_then(|failures| failures.first().map(ToString::to_string));
            failure.or_else(|| item.snapshot().map(str::to_owned))
        }),
        Pane::Files => scene.file(ui).map(|item| file_text(&item, scene.model(ui))),
        Pane::Health => scene.finding_row(ui).map(|group| {
            let summary = words::group_summary(group);
            let facts = group.all.iter().flat_map(|finding| &finding.evidence);
            std::iter::once(summary.as_str())
                .chain(facts.map(|fact| fact.path.as_str()))
                .collect::<Vec<_>>()
                .join("\n")
        }),
        Pane::Locks => scene.lock(ui).map(|lock| lock.path.clone()),
        Pane::Log => scene.line(ui).map(|line| line.text.clone()),
    };
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        ui.refuse("nothing to copy here", view.now_ms);
        return Vec::new();
    };
    let shown = words::clean_line(&text, 60);
    ui.say(format!("copied: {shown}"), view.now_ms);
    vec![Effect::Copy(text)]
}

fn file_text(item: &FileItem<'_>, model: Option<&ModelItem<'_>>) -> String {
    match item {
        FileItem::Transfer(pull, file) => match file.status {
            FileStatus::Failed { failure } => failure.to_string(),
            FileStatus::Retrying { why, .. } => why.to_string(),
            _ => {
                let folder = pull.plan().map_or("", |plan| plan.snapshot.as_str());
                format!("{folder}/{}", file.path)
            }
        },
        FileItem::Cached(row, file) => {
            let folder = model
                .and_then(ModelItem::snapshot)
                .unwrap_or(row.snapshot.as_str());
            format!("{folder}/{}", file.path)
        }
        FileItem::Partial(partial) => partial.path.clone(),
    }
}

/// What a plan to purge comes to, in a sentence.
pub(super) fn purge_words(plan: &Plan) -> String {
    format!(
        "{}, {}",
        count(plan.removals().count(), "unfinished blob"),
        size(plan.freed_bytes())
    )
}

/// The newest plan that was only looked at, if it is younger than `before`.
pub(super) fn preview_after(store: &Store, before: Option<JobId>) -> Option<&Pull> {
    store
        .preview()
        .filter(|pull| before.is_none_or(|before| pull.job() > before))
}
