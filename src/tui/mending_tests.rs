//! What follows a yes to a repair: one step after the other, one repair at a time.

use super::desk::{Desk, sent, sick};
use super::mending;
use super::rows::{ModelItem, Scene};
use super::ui::Mend;
use super::update::Effect;
use crate::domain::{
    Change, Command, Event, Failure, FailureCode, Finding, FixResult, Healing, HealingKind, JobId,
    Outcome, Plan, PlanStep, PullResult, RefMove, RepoId, Revision, Rule, Stamped,
};
use crate::store::script::{SNAPSHOT, Script, commit, repo};
use crate::store::{FixPlan, FixPull};

const BLOB: &str = "/cache/models--a--b/blobs/0a";

impl Desk {
    /// An event of a job reaches the store and the dashboard.
    pub(super) fn heeds(&mut self, job: u32, event: Event) -> Vec<Command> {
        let stamped = Stamped {
            job: JobId(job),
            at_ms: self.now_ms,
            event,
        };
        crate::store::reduce(&mut self.store, &stamped);
        sent(&mending::heed(&mut self.ui, &self.store, &stamped))
    }

    fn says_yes(&mut self, plan: FixPlan) -> Vec<Command> {
        sent(&mending::fixed(&mut self.ui, &self.facts, plan))
    }
}

fn removal(path: &str) -> Plan {
    Plan {
        steps: vec![PlanStep::Change(Change::Remove {
            path: path.to_owned(),
            bytes: 1,
        })],
    }
}

fn pull_of(revision: &str) -> FixPull {
    FixPull {
        repo: repo(),
        revision: revision.to_owned(),
        files: Vec::new(),
        fetch_bytes: 1,
        is_known: true,
    }
}

fn plan() -> FixPlan {
    FixPlan {
        first: removal("/cache/first"),
        pulls: vec![pull_of("main"), pull_of("dev")],
        last: removal("/cache/last"),
        replaced: [BLOB.to_owned()].into(),
        ..FixPlan::default()
    }
}

pub(super) fn pull_started(repo: &RepoId, revision: &str) -> Event {
    Event::PullStarted {
        repo: repo.clone(),
        revision: Revision::new(revision).unwrap(),
        endpoint: "http://127.0.0.1:1".to_owned(),
        cache_dir: "/cache".to_owned(),
        is_dry_run: false,
        is_offline: false,
    }
}

fn fixed() -> Event {
    Event::Ended(Outcome::Fixed(FixResult::default()))
}

pub(super) fn complete() -> Event {
    Event::Ended(Outcome::Complete(PullResult {
        snapshot: SNAPSHOT.to_owned(),
        commit: commit(),
        reference: RefMove::Unchanged,
        fetched_bytes: 1,
        is_verified: true,
    }))
}

fn failed() -> Event {
    Event::Ended(Outcome::Failed {
        failures: vec![Failure::new(FailureCode::Reset, "connection reset")],
    })
}

fn is_fix_of(commands: &[Command], path: &str) -> bool {
    matches!(commands, [Command::Fix(plan)] if *plan == removal(path))
}

fn is_pull_of(commands: &[Command], revision: &str) -> bool {
    matches!(commands, [Command::Pull(request)] if request.revision.as_str() == revision)
}

#[test]
fn a_repair_is_done_in_the_order_that_was_shown() {
    let mut desk = Desk::on(&Script::new());
    let began = desk.says_yes(plan());
    assert!(is_fix_of(&began, "/cache/first"), "{began:?}");
    assert!(desk.heeds(7, Event::FixStarted).is_empty());
    // The end of something else is not the end of it.
    assert!(desk.heeds(6, fixed()).is_empty());
    let then = desk.heeds(7, fixed());
    assert!(is_pull_of(&then, "main"), "{then:?}");
    // Somebody's pull of another model is none of it.
    let other = RepoId::new(repo().kind(), "some/other").unwrap();
    desk.heeds(8, pull_started(&other, "main"));
    assert!(desk.heeds(8, complete()).is_empty());
    // Nor is one of another revision.
    desk.heeds(8, pull_started(&repo(), "v2"));
    assert!(desk.heeds(8, complete()).is_empty());
    desk.heeds(9, pull_started(&repo(), "main"));
    let then = desk.heeds(9, failed());
    assert!(is_pull_of(&then, "dev"), "{then:?}");
    desk.heeds(10, pull_started(&repo(), "dev"));
    let then = desk.heeds(10, complete());
    assert!(is_fix_of(&then, "/cache/last"), "{then:?}");
    desk.heeds(11, Event::FixStarted);
    assert!(desk.heeds(11, fixed()).is_empty());
    assert!(desk.ui.mends.is_empty(), "{:?}", desk.ui.mends);
}

#[test]
fn a_repair_by_the_commit_leaves_the_selection_on_its_row() {
    let mut desk = Desk::on(&sick());
    let models = Scene::build(&mut desk.ui, &desk.store, desk.now_ms).models;
    let is_named = |item: &ModelItem<'_>| item.row.is_some_and(|row| !row.refs.is_empty());
    let at = models.iter().rposition(is_named).unwrap();
    let row = models[at].row.unwrap().clone();
    assert!(at > 0 && row.commit.is_some(), "{row:?}");
    desk.ui.models.go(at);
    desk.look(120, 32);
    let selected = desk.ui.models.key().cloned();
    desk.heeds(9, pull_started(&row.repo, &row.revision));
    desk.look(120, 32);
    assert_eq!(desk.ui.models.key().cloned(), selected);
    assert_eq!(desk.ui.models.index, 0, "what runs comes first");
}

#[test]
fn a_cancelled_pull_and_a_failed_change_end_a_repair() {
    for end in [Event::Ended(Outcome::Cancelled), failed()] {
        let mut desk = Desk::on(&Script::new());
        desk.says_yes(plan());
        desk.heeds(1, Event::FixStarted);
        assert!(desk.heeds(1, end).is_empty());
        assert!(desk.ui.mends.is_empty());
    }
    let mut desk = Desk::on(&Script::new());
    desk.says_yes(FixPlan {
        first: Plan::default(),
        ..plan()
    });
    desk.heeds(1, pull_started(&repo(), "main"));
    assert!(desk.heeds(1, Event::Ended(Outcome::Cancelled)).is_empty());
    assert!(
        desk.ui.mends.is_empty(),
        "what rests on the pull is not done"
    );
}

#[test]
fn a_second_repair_waits_for_the_first() {
    let mut desk = Desk::on(&Script::new());
    let one = FixPlan {
        first: removal("/cache/one"),
        ..FixPlan::default()
    };
    let two = FixPlan {
        first: removal("/cache/two"),
        ..FixPlan::default()
    };
    assert!(is_fix_of(&desk.says_yes(one), "/cache/one"));
    let yes = mending::fixed(&mut desk.ui, &desk.facts, two);
    assert!(
        sent(&yes).is_empty() && matches!(yes[..], [Effect::Log(_)]),
        "{yes:?}"
    );
    desk.heeds(1, Event::FixStarted);
    // Also when the first one comes to nothing.
    let then = desk.heeds(1, failed());
    assert!(is_fix_of(&then, "/cache/two"), "{then:?}");
}

#[test]
fn wrong_bytes_that_were_put_aside_go_when_a_look_finds_them() {
    let mut desk = Desk::on(&Script::new());
    desk.says_yes(FixPlan {
        first: Plan::default(),
        pulls: vec![pull_of("main")],
        last: Plan::default(),
        ..plan()
    });
    desk.heeds(1, pull_started(&repo(), "main"));
    for aside in [
        format!("{BLOB}.12345678.corrupt"),
        "/cache/else.1.corrupt".to_owned(),
    ] {
        desk.heeds(
            1,
            Event::Healed(Healing {
                kind: HealingKind::WrongHash,
                path: None,
                location: BLOB.to_owned(),
                set_aside: Some(aside),
            }),
        );
    }
    assert!(
        desk.heeds(1, complete()).is_empty(),
        "not seen by a look yet"
    );
    assert!(
        desk.heeds(
            2,
            Event::FindingsSeen {
                findings: Vec::new()
            }
        )
        .is_empty()
    );
    let left = |path: &str| {
        Finding::new(Rule::LeftoverTemp, "left", "put aside").step(PlanStep::Change(
            Change::Remove {
                path: path.to_owned(),
                bytes: 1,
            },
        ))
    };
    let aside = format!("{BLOB}.12345678.corrupt");
    let findings = vec![left("/cache/else.1.corrupt"), left(&aside)];
    let sees = Event::FindingsSeen { findings };
    let then = desk.heeds(2, sees.clone());
    assert!(is_fix_of(&then, &aside), "{then:?}");
    desk.heeds(3, Event::FixStarted);
    // Once: what stays is for a person to look at.
    assert!(desk.heeds(2, sees).is_empty());
    assert!(desk.heeds(3, fixed()).is_empty());
    assert!(desk.ui.mends.iter().collect::<Vec<&Mend>>().is_empty());
}

#[test]
fn a_pull_that_runs_already_is_waited_for() {
    let mut desk = Desk::on(&Script::new());
    desk.heeds(3, pull_started(&repo(), "main"));
    desk.says_yes(FixPlan {
        first: Plan::default(),
        pulls: vec![pull_of("main")],
        ..plan()
    });
    let note = "it is being fetched already".to_owned();
    assert!(desk.heeds(3, Event::Noted { note }).is_empty());
    let then = desk.heeds(3, complete());
    assert!(is_fix_of(&then, "/cache/last"), "{then:?}");
}
