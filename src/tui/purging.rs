//! Owns what is asked before something is taken away, and what puts it back.
//!
//! Never sends anything: effects are the loop's. **Law**: what goes was in a plan that was shown.

use std::borrow::Cow;

use super::facts::{Facts, PurgeWish};
use super::pane::Pane;
use super::rows::{ModelItem, Scene};
use super::ui::{Discarding, Overlay, Question, Ui};
use super::update::{Effect, View};
use super::wish::chosen_models;
use super::words;
use crate::domain::{
    Command, Commit, DiscardKind, DiscardRequest, ModelRow, Plan, PlanStep, PurgePlan, RepoId,
    TrashRequest, shell_word,
};
use crate::store::{Store, count, size};

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
    // What is unfinished goes first; where there is nothing of that, or where several are marked, the
    // models themselves are meant.
    let is_whole = plan.removals().next().is_none() || chosen.len() > 1;
    if is_whole && !repos.is_empty() {
        let targets = chosen.iter().filter_map(|item| {
            let revision = only_of_several(view.store, item);
            Some((item.repo()?.clone(), revision))
        });
        let request = DiscardRequest {
            targets: targets.collect(),
            ..DiscardRequest::default()
        };
        return plan_discard(ui, view, request, Vec::new());
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
fn plan_discard(
    ui: &mut Ui,
    view: View<'_>,
    request: DiscardRequest,
    unfinished: Vec<PlanStep>,
) -> Vec<Effect> {
    ui.overlay = Some(Overlay::Ask {
        question: Question::Discard(Discarding {
            request: request.clone(),
            unfinished,
            plans_before: view.store.shelf().plans(),
            typed: String::new(),
            is_shown: false,
        }),
        scroll: 0,
    });
    vec![Effect::Send(Command::PlanPurge(request))]
}

/// What a question about models is about, once it is planned.
pub(super) fn planned_discard<'a>(
    store: &'a Store,
    asked: &Discarding,
) -> Option<Cow<'a, PurgePlan>> {
    let shelf = store.shelf();
    let planned = (shelf.plans() > asked.plans_before)
        .then(|| shelf.planned())
        .flatten()
        .filter(|planned| planned.request == asked.request)?;
    if asked.unfinished.is_empty() {
        return Some(Cow::Borrowed(planned));
    }
    let mut all = planned.clone();
    for step in &asked.unfinished {
        if !all.plan.steps.contains(step) {
            all.plan.steps.push(step.clone());
        }
    }
    Some(Cow::Owned(all))
}

/// Whether a plan takes anything away.
pub(super) fn takes_something(planned: &PurgePlan) -> bool {
    !planned.plan.steps.is_empty() || !planned.trash.is_empty()
}

/// `:purge …`: asks about unfinished blobs, or has the rest planned and asks about all of it.
pub(super) fn ask(ui: &mut Ui, view: View<'_>, wanted: PurgeWish) -> Vec<Effect> {
    let mut unfinished = match &wanted.unfinished {
        Some(repos) => view.store.shelf().purge_plan(repos),
        None => Plan::default(),
    };
    unfinished.steps.retain(|step| {
        matches!(step, PlanStep::RemovePartial { modified_ms, .. }
            if view.now_ms.saturating_sub(*modified_ms) >= wanted.age_ms)
    });
    if wanted.request.is_empty() {
        return ask_purge(ui, view, unfinished);
    }
    plan_discard(ui, view, wanted.request, unfinished.steps)
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

/// The commands that carry a plan out, with their line.
pub(super) fn purged(facts: &Facts, planned: &PurgePlan) -> Vec<Effect> {
    let call = facts.call(&format!("purge {} --yes", words_of(planned).join(" ")));
    let mut effects = vec![Effect::Log(format!("$ {call}"))];
    if !planned.plan.steps.is_empty() {
        effects.push(Effect::Send(Command::Purge(planned.plan.clone())));
    }
    if !planned.trash.is_empty() {
        let rows = planned.trash.clone();
        effects.push(Effect::Send(Command::Trash(TrashRequest::Empty { rows })));
    }
    effects
}

/// The words of a call that takes the same away.
fn words_of(planned: &PurgePlan) -> Vec<String> {
    let (request, plan) = (&planned.request, &planned.plan);
    let is_partial = |step: &PlanStep| matches!(step, PlanStep::RemovePartial { .. });
    let has_conditions = request.is_unreferenced || request.is_corrupt || request.is_policy;
    let has = |kind| plan.discards().any(|discard| discard.kind == kind);
    let mut words: Vec<String> = [
        ("--policy", request.is_policy),
        (
            "--incomplete",
            plan.steps.iter().any(is_partial) && !request.is_policy,
        ),
        (
            "--unreferenced",
            request.is_unreferenced || has(DiscardKind::Orphans),
        ),
        ("--corrupt", request.is_corrupt || has(DiscardKind::Corrupt)),
        ("--now", request.is_now),
    ]
    .into_iter()
    .filter(|(_, is_set)| *is_set)
    .map(|(flag, _)| flag.to_owned())
    .collect();
    if let Some(age_ms) = request.unused_ms {
        words.push(format!("--older-than {}s", age_ms / 1_000));
    }
    let mut targets: Vec<String> = if has_conditions || request.unused_ms.is_some() {
        let name = |(repo, revision): &(RepoId, Option<String>)| match revision {
            Some(revision) => format!("{repo}@{revision}"),
            None => repo.to_string(),
        };
        request.targets.iter().map(name).collect()
    } else {
        plan.steps.iter().flat_map(targets_of).collect()
    };
    targets.sort();
    targets.dedup();
    words.extend(targets);
    words
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

/// What a plan to purge comes to, in a sentence.
pub(super) fn purge_words(plan: &Plan) -> String {
    format!(
        "{}, {}",
        count(plan.removals().count(), "unfinished blob"),
        size(plan.freed_bytes())
    )
}
