//! Owns `f`: what would be put right, the question about it, and what follows a yes.
//!
//! Never changes anything itself: changes and pulls are commands. What rests on a pull is sent when
//! that has ended well.

use super::facts::Facts;
use super::pane::Pane;
use super::rows::Scene;
use super::ui::{AfterPull, Overlay, Question, Ui};
use super::update::{Effect, View};
use super::{wish, words};
use crate::domain::{
    Command, Event, Finding, Outcome, PlanStep, PullRequest, Revision, Stamped, VerifyTarget,
};
use crate::store::{FixPlan, Scope, Store, count, short};

/// `f`: asks, with the plan.
pub(super) fn fix(ui: &mut Ui, view: View<'_>) -> Vec<Effect> {
    let scene = Scene::build(ui, view.store, view.now_ms);
    let shelf = view.store.shelf();
    let findings: Vec<&Finding> = match ui.focus {
        Pane::Health => scene
            .finding_row(ui)
            .map_or_else(Vec::new, |group| group.all.clone()),
        Pane::Models | Pane::Files | Pane::Locks | Pane::Log => {
            let targets: Vec<VerifyTarget> = wish::chosen_models(ui, &scene)
                .into_iter()
                .filter_map(|item| {
                    Some(VerifyTarget {
                        repo: item.repo()?.clone(),
                        revision: None,
                    })
                })
                .collect();
            if targets.is_empty() {
                Vec::new()
            } else {
                shelf.findings_in(Scope {
                    targets: &targets,
                    rules: &[],
                })
            }
        }
    };
    let plan = shelf.fix_plan(&findings);
    if plan.is_empty() {
        let why = match plan.left.first() {
            Some(left) => format!("no repair puts that right: {left}"),
            None => "nothing to fix here".to_owned(),
        };
        ui.refuse(why, view.now_ms);
    } else {
        ui.overlay = Some(Overlay::Ask {
            question: Question::Fix(plan),
            scroll: 0,
        });
    }
    Vec::new()
}

/// The commands that carry a plan out, with their line.
pub(super) fn fixed(ui: &mut Ui, facts: &Facts, plan: &FixPlan) -> Vec<Effect> {
    let mut effects = Vec::new();
    let mut repos: Vec<String> = plan.about.iter().map(ToString::to_string).collect();
    repos.sort();
    let call = facts.call(&["doctor --fix", &repos.join(" ")].join(" "));
    effects.push(Effect::Log(format!("$ {}", call.trim_end())));
    if !plan.first.steps.is_empty() {
        effects.push(Effect::Send(Command::Fix(plan.first.clone())));
    }
    for pull in &plan.pulls {
        // A name that is none was told in the plan's own words.
        let Ok(revision) = Revision::new(&pull.revision) else {
            continue;
        };
        effects.push(Effect::Send(Command::Pull(PullRequest {
            files: pull.files.clone(),
            ..PullRequest::new(pull.repo.clone(), revision)
        })));
    }
    if !plan.last.steps.is_empty() {
        let waits = plan.pulls.iter().map(|pull| pull.repo.clone()).collect();
        ui.after_pulls.push(AfterPull {
            waits,
            plan: plan.last.clone(),
        });
    }
    effects
}

/// What follows an event: changes that rested on a pull that has ended well.
pub(super) fn heed(ui: &mut Ui, store: &Store, stamped: &Stamped) -> Vec<Effect> {
    let Event::Ended(outcome) = &stamped.event else {
        return Vec::new();
    };
    let is_complete = matches!(outcome, Outcome::Complete(_));
    let pull = store.pulls().find(|pull| pull.job() == stamped.job);
    let Some(repo) = pull.map(|pull| &pull.target().repo) else {
        return Vec::new();
    };
    let mut effects = Vec::new();
    ui.after_pulls.retain_mut(|after| {
        if !is_complete && after.waits.contains(repo) {
            // What rests on it is not done; the finding stays, and with it the key.
            return false;
        }
        if let Some(at) = after.waits.iter().position(|waited| waited == repo) {
            after.waits.remove(at);
        }
        if after.waits.is_empty() {
            effects.push(Effect::Send(Command::Fix(std::mem::take(&mut after.plan))));
        }
        !after.waits.is_empty()
    });
    effects
}

/// What a plan takes and gives, in a few words.
pub(super) fn sum(plan: &FixPlan) -> String {
    let mut words = vec![count(plan.steps(), "step")];
    if plan.freed_bytes() > 0 {
        words.push(format!("frees {}", words::bytes(plan.freed_bytes())));
    }
    if plan.fetched_bytes() > 0 {
        words.push(format!("fetches {}", words::bytes(plan.fetched_bytes())));
    }
    words.join(", ")
}

/// A step with its path.
pub(super) fn step_words(step: &PlanStep, facts: &Facts) -> String {
    match step {
        PlanStep::RemovePartial { path, bytes, .. } => format!(
            "remove {}, {}: the blob itself is here",
            facts.short_path(path),
            words::bytes(*bytes)
        ),
        PlanStep::Pull {
            repo,
            revision,
            files,
            fetch_bytes,
        } => {
            let named = match files.as_slice() {
                [] => String::new(),
                files => format!("`{}` of ", files.join("`, `")),
            };
            let bytes = fetch_bytes.map_or_else(
                || "what is right is reused".to_owned(),
                |bytes| format!("{} to fetch", words::bytes(bytes)),
            );
            format!("pull {named}{repo} @ {}: {bytes}", short(revision))
        }
        PlanStep::Change(change) => change.words(),
        PlanStep::Discard(discard) => format!("take {} away", discard.repo),
        PlanStep::ByHand { advice } => advice.clone(),
    }
}
