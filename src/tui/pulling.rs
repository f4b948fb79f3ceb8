//! Owns what the keys for transfers mean: fetch, try again, pause, end.
//!
//! Never sends anything: effects are the loop's.

use std::path::Path;

use super::facts::Facts;
use super::pane::Pane;
use super::rows::{FileItem, ModelItem, Scene};
use super::ui::Ui;
use super::update::{Effect, View};
use super::wish::{chosen_files, chosen_models};
use super::{copy, words};
use crate::domain::{
    Command, FileId, FileSelection, ImportRequest, JobId, PlanStep, PullRequest, RepoId, Revision,
    UnfinishedPull, shell_word,
};
use crate::store::{FileStatus, Phase, Pull, Store, count};

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
    if let Some(folder) = &request.local_dir {
        let folder = shell_word(&folder.to_string_lossy());
        words = format!("{words} --local-dir {folder}");
    }
    for (flag, is_set) in [
        ("--all", request.all),
        ("--force", request.force),
        ("--trust-size", request.trust_size),
    ] {
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

/// Takes files on this machine into the cache, or says what they are.
pub(super) fn import(ui: &mut Ui, facts: &Facts, mut request: ImportRequest) -> Vec<Effect> {
    // In a shell that would be done before larder sees it.
    if let Some(home) = &facts.home {
        for path in &mut request.paths {
            if let Ok(below) = path.strip_prefix("~") {
                *path = Path::new(home).join(below);
            }
        }
    }
    let mut words = vec!["import".to_owned()];
    let paths = request.paths.iter();
    words.extend(paths.map(|path| shell_word(&path.to_string_lossy())));
    let repo = request.repo.as_ref().map(ToString::to_string);
    let revision = Some(request.revision.as_str()).filter(|name| *name != "main");
    let commit = request.commit.map(|commit| commit.to_string());
    for (flag, value) in [
        ("--repo", repo.as_deref()),
        ("--revision", revision),
        ("--commit", commit.as_deref()),
    ] {
        words.extend(value.map(|value| format!("{flag} {}", shell_word(value))));
    }
    words.extend(request.dry_run.then(|| "--dry-run".to_owned()));
    // Where nothing is done the log says what each file is; so it does where the repo is not found.
    ui.focus_on(if request.dry_run {
        Pane::Log
    } else {
        Pane::Files
    });
    ui.set_filter(Pane::Models, "");
    vec![
        Effect::Log(format!("$ {}", facts.call(&words.join(" ")))),
        Effect::Send(Command::Import(request)),
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

pub(super) fn request_of_item(item: &ModelItem<'_>) -> Option<PullRequest> {
    let revision = match item.row {
        // What a broken tool named otherwise is fetched from the main branch.
        Some(row) if item.pull.is_none() && row.refs.is_empty() && row.commit.is_none() => "main",
        _ => item.revision(),
    };
    request_of(item.repo()?, revision)
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
        // An import is not begun again: what it left missing is pulled.
        if pull.has_ended_ill() && !pull.is_import() {
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
        Some(pull) if pull.has_ended_ill() && !pull.is_import() => true,
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
            let has_ended = pull.has_ended_ill() && !pull.is_import();
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

/// The newest plan that was only looked at, if it is younger than `before`.
pub(super) fn preview_after(store: &Store, before: Option<JobId>) -> Option<&Pull> {
    store
        .preview()
        .filter(|pull| before.is_none_or(|before| pull.job() > before))
}
