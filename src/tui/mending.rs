//! Owns `f`: what would be put right, the question about it, and what follows a yes.
//!
//! Never changes anything itself: changes and pulls are commands, one after the other as the plan
//! has them, one repair at a time.

use super::facts::{Facts, FixWish};
use super::pane::Pane;
use super::rows::Scene;
use super::ui::{Mend, Overlay, Question, Stage, Ui};
use super::update::{Effect, View};
use super::{wish, words};
use crate::domain::{
    Change, Command, Event, Finding, JobId, Outcome, PlanStep, PullRequest, Revision, Stamped,
    VerifyTarget,
};
use crate::store::{FixPlan, Phase, Pull, Scope, Store, count, short};

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
    ask(ui, view, &findings);
    Vec::new()
}

/// `:doctor --fix`: asks about all that is found.
pub(super) fn fix_all(ui: &mut Ui, view: View<'_>, wanted: &FixWish) -> Vec<Effect> {
    let mut findings = view.store.shelf().findings_in(Scope {
        targets: &wanted.targets,
        rules: &wanted.rules,
    });
    findings.retain(|finding| finding.severity >= wanted.severity);
    ask(ui, view, &findings);
    Vec::new()
}

fn ask(ui: &mut Ui, view: View<'_>, findings: &[&Finding]) {
    let plan = view.store.shelf().fix_plan(findings);
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
}

/// A yes: the plan waits its turn, with its line in the log.
pub(super) fn fixed(ui: &mut Ui, facts: &Facts, plan: FixPlan) -> Vec<Effect> {
    let mut repos: Vec<String> = plan.about.iter().map(ToString::to_string).collect();
    repos.sort();
    let call = facts.call(&["doctor --fix", &repos.join(" ")].join(" "));
    let mut effects = vec![Effect::Log(format!("$ {}", call.trim_end()))];
    effects.extend(enqueue(ui, plan));
    effects
}

/// Begins a repair, or lets it wait for the one that runs: two would be in each other's way.
fn enqueue(ui: &mut Ui, plan: FixPlan) -> Option<Effect> {
    ui.mends.push_back(Mend {
        plan,
        stage: Stage::Before,
        job: None,
        pulled: Vec::new(),
    });
    (ui.mends.len() == 1).then(|| proceed(ui)).flatten()
}

/// What the front repair does next; those that are at their end leave the queue.
fn proceed(ui: &mut Ui) -> Option<Effect> {
    while let Some(mend) = ui.mends.front_mut() {
        mend.job = None;
        mend.stage = match mend.stage {
            Stage::Before => Stage::First,
            Stage::First => Stage::Pull(0),
            Stage::Pull(at) if at + 1 < mend.plan.pulls.len() => Stage::Pull(at + 1),
            Stage::Pull(_) => Stage::Last,
            Stage::Last => {
                ui.mends.pop_front();
                continue;
            }
        };
        let command = match mend.stage {
            Stage::First if !mend.plan.first.steps.is_empty() => {
                Some(Command::Fix(mend.plan.first.clone()))
            }
            // A name that is none was told in the plan's own words.
            Stage::Pull(at) => mend.plan.pulls.get(at).and_then(|pull| {
                let revision = Revision::new(&pull.revision).ok()?;
                Some(Command::Pull(PullRequest {
                    files: pull.files.clone(),
                    ..PullRequest::new(pull.repo.clone(), revision)
                }))
            }),
            Stage::Last if !mend.plan.last.steps.is_empty() => {
                Some(Command::Fix(mend.plan.last.clone()))
            }
            Stage::Before | Stage::First | Stage::Last => None,
        };
        if let Some(command) = command {
            return Some(Effect::Send(command));
        }
    }
    None
}

/// What follows an event: the next step of the repair that runs, and wrong bytes that were put
/// aside go when the right ones are there.
pub(super) fn heed(ui: &mut Ui, store: &Store, stamped: &Stamped) -> Vec<Effect> {
    let job = stamped.job;
    match &stamped.event {
        Event::FixStarted => {
            if let Some(mend) = ui.mends.front_mut().filter(|mend| mend.awaits_changes()) {
                mend.job = Some(job);
            }
            Vec::new()
        }
        // One that runs already is not started again, and says so.
        Event::PullStarted { .. } | Event::Noted { .. } => {
            let pull = store.pulls().find(|pull| pull.job() == job);
            let pull = pull.filter(|pull| pull.phase() != Phase::Ended);
            let mend = ui.mends.front_mut();
            if let Some(mend) = mend.filter(|mend| pull.is_some_and(|pull| mend.awaits(pull))) {
                mend.job = Some(job);
            }
            Vec::new()
        }
        Event::FindingsSeen { .. } => forget_wrong_bytes(ui, store).into_iter().collect(),
        Event::Ended(outcome) => ended(ui, store, job, outcome),
        _ => Vec::new(),
    }
}

/// A part of the repair has ended.
fn ended(ui: &mut Ui, store: &Store, job: JobId, outcome: &Outcome) -> Vec<Effect> {
    let Some(mend) = ui.mends.front_mut().filter(|mend| mend.job == Some(job)) else {
        return Vec::new();
    };
    let is_pull = matches!(mend.stage, Stage::Pull(_));
    match outcome {
        Outcome::Cancelled => {}
        Outcome::Failed { .. } if !is_pull => {}
        _ => {
            mend.pulled.extend(is_pull.then_some(job));
            if mend.stage == mend.final_stage() {
                let pulls = store
                    .pulls()
                    .filter(|pull| mend.pulled.contains(&pull.job()));
                let aside = pulls
                    .flat_map(Pull::healed)
                    .filter(|healing| mend.plan.is_put_aside(healing))
                    .filter_map(|healing| healing.set_aside.clone());
                ui.put_aside.extend(aside);
            }
            return proceed(ui).into_iter().collect();
        }
    }
    ui.mends.pop_front();
    let words = "the repair stops here: what was not done yet stays as it was";
    let mut effects = vec![Effect::Log(words.to_owned())];
    effects.extend(proceed(ui));
    effects
}

/// The repair that takes away what was put aside, once a look has found it there.
fn forget_wrong_bytes(ui: &mut Ui, store: &Store) -> Option<Effect> {
    if ui.put_aside.is_empty() {
        return None;
    }
    let first = store.shelf().removal_of(&ui.put_aside);
    if first.steps.is_empty() {
        return None;
    }
    // Once: what stays then is a finding, with its reason in the log.
    for step in &first.steps {
        if let PlanStep::Change(Change::Remove { path, .. }) = step {
            ui.put_aside.remove(path);
        }
    }
    enqueue(
        ui,
        FixPlan {
            first,
            ..FixPlan::default()
        },
    )
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
        PlanStep::Change(change) => facts.short_text(&change.words()).into_owned(),
        PlanStep::Discard(discard) => format!("take {} away", discard.repo),
        PlanStep::ByHand { advice } => advice.clone(),
    }
}
