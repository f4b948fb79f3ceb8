//! Owns `doctor --fix`: the plan is shown, somebody says yes, it is carried out, and what came of it.
//!
//! **Law**: every path is shown before anything is changed, and without a yes nothing is. What is done
//! is decided by the engine, step by step; here it is only put in order.

use std::collections::BTreeSet;

use super::args::DoctorArgs;
use super::ask::{Answer, ask};
use super::exit::{Ending, Work, judge};
use super::finding::{steps_text, wrapped};
use super::follow::{Console, Session, follow};
use super::look::look;
use super::output::Format;
use crate::domain::{
    Change, Command, Failure, FailureCode, Outcome, Plan, PlanStep, PullRequest, Revision,
    exit_code, sanitize,
};
use crate::store::{FixPlan, FixPull, Pull, Store, count, short, size};

/// A repair: what was planned, and what came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Repair {
    /// The plan as it was shown.
    pub(super) plan: FixPlan,
    /// Whether somebody said yes.
    pub(super) is_begun: bool,
    /// What came of the pulls that were begun.
    pub(super) pulls: Vec<Pulled>,
}

/// What came of a pull.
#[derive(Clone, Debug)]
pub(super) struct Pulled {
    /// As it was planned.
    pub(super) pull: FixPull,
    /// Bytes that came over the network.
    pub(super) fetched_bytes: u64,
    /// Why it failed; none if it did not.
    pub(super) failures: Vec<Failure>,
}

/// Shows the plan, gets a yes, and has it carried out.
pub(super) async fn repair(
    session: &mut Session<'_>,
    console: &mut Console<'_>,
    store: &mut Store,
    args: &DoctorArgs,
    repair: &mut Repair,
) -> Ending {
    let plan = repair.plan.clone();
    if console.output.format == Format::Human {
        let text = plan_text(&plan, args, console.output.stdout.columns);
        console.printer.text(&console.output.drawn(&text));
        // What could not be shown must not be done, also where only the reader went away.
        if let Some(failure) = console.printer.unshown() {
            return Ending::refused(failure);
        }
    }
    if plan.is_empty() {
        return Ending::done("fixed");
    }
    if !args.yes {
        let question = format!("carry out {}?", count(plan.steps(), "step"));
        match ask(session, console, &question).await {
            Answer::Yes => {}
            Answer::No => {
                console.talk.remark("nothing was changed");
                return Ending::done("planned");
            }
            Answer::Caught(signal) => return judge(Work::Looking, None, Some(signal)),
            Answer::Nobody => {
                return Ending::refused(
                    Failure::new(
                        FailureCode::Refused,
                        "nothing is repaired without a yes, and nothing was changed",
                    )
                    .because("there is no terminal to ask on, and `--yes` was not given"),
                );
            }
        }
    }
    repair.is_begun = true;
    let ending = changes(session, console, store, &plan.first).await;
    if ending.exit_code != 0 {
        return ending;
    }
    for pull in &plan.pulls {
        let (pulled, ending) = fetch(session, console, store, pull).await;
        repair.pulls.push(pulled);
        if ending.outcome == "cancelled" {
            return ending;
        }
    }
    let mut ending = changes(session, console, store, &plan.last).await;
    if ending.exit_code == 0 {
        ending = forget_wrong_bytes(session, console, store, &plan).await;
    }
    // A pull of what nobody knows has failed as the plan had it, if the ref to it is gone.
    let failures: Vec<Failure> = repair
        .pulls
        .iter()
        .filter(|pulled| !is_dropped(store, &pulled.pull))
        .flat_map(|pulled| pulled.failures.iter().cloned())
        .collect();
    if ending.exit_code != 0 || failures.is_empty() {
        return ending;
    }
    Ending {
        outcome: "failed",
        exit_code: exit_code(&failures),
        failures,
    }
}

/// Takes away the wrong bytes that the pulls have put aside: the right ones are there now.
async fn forget_wrong_bytes(
    session: &mut Session<'_>,
    console: &mut Console<'_>,
    store: &mut Store,
    plan: &FixPlan,
) -> Ending {
    let aside: BTreeSet<String> = store
        .pulls()
        .flat_map(Pull::healed)
        .filter(|healing| plan.is_put_aside(healing))
        .filter_map(|healing| healing.set_aside.clone())
        .collect();
    if aside.is_empty() {
        return Ending::done("fixed");
    }
    let looked = look(session, console, store, Command::Diagnose(None)).await;
    if looked.exit_code != 0 {
        return looked;
    }
    let plan = store.shelf().removal_of(&aside);
    changes(session, console, store, &plan).await
}

/// Has the changes of a plan carried out.
async fn changes(
    session: &mut Session<'_>,
    console: &mut Console<'_>,
    store: &mut Store,
    plan: &Plan,
) -> Ending {
    if plan.steps.is_empty() {
        return Ending::done("fixed");
    }
    console.work = Work::Mending;
    (session.commands)(Command::Fix(plan.clone()));
    let followed = follow(session, store, console).await;
    console.talk.settle();
    judge(console.work, followed.outcome.as_ref(), followed.caught)
}

/// Pulls a snapshot.
async fn fetch(
    session: &mut Session<'_>,
    console: &mut Console<'_>,
    store: &mut Store,
    pull: &FixPull,
) -> (Pulled, Ending) {
    let mut pulled = Pulled {
        pull: pull.clone(),
        fetched_bytes: 0,
        failures: Vec::new(),
    };
    let revision = match Revision::new(&pull.revision) {
        Ok(revision) => revision,
        Err(error) => {
            let failure = Failure::new(FailureCode::Usage, error.to_string());
            pulled.failures.push(failure.clone());
            return (pulled, Ending::refused(failure));
        }
    };
    console.work = Work::Fetching;
    console.talk.say_log();
    let request = PullRequest {
        files: pull.files.clone(),
        ..PullRequest::new(pull.repo.clone(), revision)
    };
    (session.commands)(Command::Pull(request));
    let followed = follow(session, store, console).await;
    console.talk.settle();
    console.talk.hide_log();
    let ending = judge(console.work, followed.outcome.as_ref(), followed.caught);
    if let Some(Outcome::Complete(result)) = &followed.outcome {
        pulled.fetched_bytes = result.fetched_bytes;
    }
    pulled.failures.clone_from(&ending.failures);
    (pulled, ending)
}

/// Every step with every path, what that takes and gives, and what is left for a person.
fn plan_text(plan: &FixPlan, args: &DoctorArgs, columns: Option<u16>) -> String {
    let mut text = String::new();
    let room = columns.map_or(usize::MAX, usize::from);
    if plan.is_empty() {
        text.push_str("nothing that a repair can put right\n");
    } else {
        text.push_str("what the repair does\n");
        text.push_str(&steps_text(&plan.all_steps(), columns));
        let unknown = match plan.pulls.iter().filter(|pull| !pull.is_known).count() {
            0 => String::new(),
            some => format!(
                ", and what {} to fetch that no listing tells",
                match some {
                    1 => "one pull has".to_owned(),
                    more => format!("{more} pulls have"),
                }
            ),
        };
        let sum = format!(
            "{}: frees {}, fetches {}{unknown}",
            count(plan.steps(), "step"),
            size(plan.freed_bytes()),
            match plan.fetched_bytes() {
                0 => size(0),
                // Of a large file that is damaged here and there only the damaged parts are fetched.
                bytes => format!("{} at most", size(bytes)),
            },
        );
        for line in wrapped(&sum, room) {
            text.extend([&line, "\n"]);
        }
        if !plan.replaced.is_empty() {
            let aside = "the wrong bytes of these are put aside; blobs go once the right ones are \
                         proven, what may be somebody's work is kept:";
            for line in wrapped(aside, room) {
                text.extend([&line, "\n"]);
            }
            for path in &plan.replaced {
                text.extend(["  ", &sanitize(path), "\n"]);
            }
        }
    }
    if !plan.left.is_empty() {
        text.push_str("\nwhat it leaves to you\n");
        for sentence in &plan.left {
            for (at, line) in wrapped(&sanitize(sentence), room.saturating_sub(4).max(20))
                .iter()
                .enumerate()
            {
                let head = if at == 0 { "  - " } else { "    " };
                text.extend([head, line, "\n"]);
            }
        }
    }
    // The places of the call matter for what a person does next.
    if !plan.left.is_empty() && !args.places.is_empty() {
        let places = args.places.join(" ");
        text.extend(["  (with ", &places, ")\n"]);
    }
    text.push('\n');
    text
}

/// How many steps of a plan came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) done: usize,
    /// Not done, and nothing asks for them any more.
    pub(super) needless: usize,
    /// Not done, and still to be done.
    pub(super) left: usize,
}

impl Tally {
    /// Counts, once it was looked again: `still` are the steps that the findings ask for now.
    pub(super) fn of(repair: &Repair, store: &Store, still: &[&PlanStep]) -> Self {
        let mut tally = Self::default();
        let done = store.shelf().fixed().map_or(&[][..], |fixed| &fixed.done);
        let plan = &repair.plan;
        for step in plan.first.steps.iter().chain(&plan.last.steps) {
            *if done.contains(step) {
                &mut tally.done
            } else if still.contains(&step) {
                &mut tally.left
            } else {
                &mut tally.needless
            } += 1;
        }
        for pull in &plan.pulls {
            let pulled = repair.pulls.iter().find(|pulled| pulled.pull == *pull);
            *if pulled.is_some_and(|pulled| pulled.failures.is_empty()) {
                &mut tally.done
            } else if is_dropped(store, pull) {
                &mut tally.needless
            } else {
                &mut tally.left
            } += 1;
        }
        tally
    }

    fn words(self) -> String {
        let all = self.done + self.needless + self.left;
        let done = if self.done == all {
            format!("{} done", count(all, "step"))
        } else {
            format!("{} of {} done", self.done, count(all, "step"))
        };
        let needless = match self.needless {
            0 => String::new(),
            some => format!("; {some} not needed any more"),
        };
        let left = match self.left {
            0 => String::new(),
            some => format!("; {some} not done: see above why"),
        };
        format!("{done}{needless}{left}")
    }
}

/// Whether the ref by which a pull was planned was taken away instead.
fn is_dropped(store: &Store, pull: &FixPull) -> bool {
    let done = store.shelf().fixed().map_or(&[][..], |fixed| &fixed.done);
    done.iter().any(|step| {
        matches!(step, PlanStep::Change(Change::DropRef { repo, revision, .. })
            if *repo == pull.repo && *revision == pull.revision)
    })
}

/// A repair that left something of its plan undone has not done what it was asked.
pub(super) fn undone(tally: Tally, store: &Store) -> Option<Failure> {
    const TOLD: usize = 3;
    if tally.left == 0 {
        return None;
    }
    let all = tally.done + tally.needless + tally.left;
    let failure = Failure::new(
        FailureCode::Findings,
        format!(
            "{} of {} of the repair not done",
            tally.left,
            count(all, "step")
        ),
    );
    let mut whys: Vec<&str> = Vec::new();
    for kept in store.shelf().fixed().iter().flat_map(|fixed| &fixed.kept) {
        if !whys.contains(&kept.why.as_str()) {
            whys.push(&kept.why);
        }
    }
    Some(whys.into_iter().take(TOLD).fold(failure, Failure::because))
}

/// What was done, in the order in which it was planned, and what stays as it was.
pub(super) fn result_text(repair: &Repair, store: &Store, tally: Option<Tally>) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        text.push_str(&sanitize(&words));
        text.push('\n');
    };
    let is_first = |step: &PlanStep| repair.plan.first.steps.contains(step);
    let done = store.shelf().fixed().map_or(&[][..], |fixed| &fixed.done);
    for step in done.iter().filter(|step| is_first(step)) {
        done_words(step).into_iter().for_each(&mut line);
    }
    for pulled in &repair.pulls {
        let what = format!("{} @ {}", pulled.pull.repo, short(&pulled.pull.revision));
        match pulled.failures.first() {
            None => line(format!(
                "pulled: {what}, {} fetched; every byte is proven",
                size(pulled.fetched_bytes)
            )),
            Some(failure) => line(format!("not pulled: {what}: {}", failure.summary)),
        }
    }
    for step in done.iter().filter(|step| !is_first(step)) {
        done_words(step).into_iter().for_each(&mut line);
    }
    if let Some(fixed) = store.shelf().fixed() {
        for kept in &fixed.kept {
            line(format!("stays: `{}`: {}", kept.path, kept.why));
        }
    }
    if let Some(tally) = tally {
        line(tally.words());
    }
    text
}

fn done_words(step: &PlanStep) -> Option<String> {
    match step {
        PlanStep::Change(change) => Some(format!("done: {}", change.words())),
        PlanStep::RemovePartial { path, .. } => Some(format!("done: remove `{path}`")),
        PlanStep::Pull { .. } | PlanStep::Discard(_) | PlanStep::ByHand { .. } => None,
    }
}
