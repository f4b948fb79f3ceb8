//! Owns what an action means for the selected and marked rows: which command, for what, and the
//! line in the log that names its equivalent in a shell.
//!
//! Never sends anything: effects are the loop's.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::facts::Facts;
use super::pane::Pane;
use super::pulling::request_of_item;
use super::rows::{FileItem, ModelItem, Scene};
use super::ui::{Overlay, Ui};
use super::update::{Effect, View};
use super::words;
use crate::domain::{
    CacheKind, Command, GuideRequest, ModelRow, PullRequest, RepoId, Revision, VerifyTarget,
    shell_word,
};
use crate::store::{FileStatus, Guided, Pull, Store, count};

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
pub(super) fn chosen_files<'a>(ui: &Ui, scene: &Scene<'a>) -> Vec<FileItem<'a>> {
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

/// `m`.
pub(super) fn guide(ui: &mut Ui, view: View<'_>) -> Vec<Effect> {
    let scene = Scene::build(ui, view.store, view.now_ms);
    // A folder may be called anything; a guide is about a repo of the Hub.
    let selected = scene.model(ui).filter(|_| ui.focus != Pane::Health);
    let nameless = selected.and_then(|item| {
        let (place, repo) = (item.elsewhere?, item.repo()?);
        let is_of_hub = place.kind != CacheKind::Folder && repo.name().contains('/');
        (!is_of_hub).then(|| repo.to_string())
    });
    if let Some(name) = nameless {
        let words = format!(
            "`{name}` is the name of a folder; `:guide ORG/NAME` tells how to fetch a repo by hand"
        );
        ui.refuse(words, view.now_ms);
        return Vec::new();
    }
    let of_model = |item: &ModelItem<'_>| request_of_item(item);
    // In Health the key is for the model that the selected finding is about.
    let request = match scene.finding(ui).filter(|_| ui.focus == Pane::Health) {
        Some(finding) => finding.repo.as_ref().and_then(|repo| {
            let is_it =
                |item: &&ModelItem<'_>| item.elsewhere.is_none() && item.repo() == Some(repo);
            let known = scene.models.iter().find(is_it);
            known.map_or_else(
                || Some(PullRequest::new(repo.clone(), Revision::main())),
                of_model,
            )
        }),
        None => scene.model(ui).and_then(of_model),
    };
    let request = request.map(|request| GuideRequest {
        repo: request.repo,
        revision: request.revision,
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
