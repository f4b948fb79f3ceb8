//! Taking models away: which row is meant, which plan is asked about, and what is typed for a yes.

use crossterm::event::KeyCode;

use super::action::Action;
use super::desk::{Desk, sent};
use super::mending_tests::{complete, pull_started};
use super::pane::Pane;
use super::screens::text;
use super::update::Effect;
use crate::domain::{
    CacheKind, CacheRow, Command, Commit, DiscardKind, DiscardRequest, Event, ModelRow, PlanStep,
    PurgePlan,
};
use crate::store::script::{Script, commit, model_row, repo};
use crate::store::survey_script::purge_plan;

const NAME: &str = "mlx-community/gemma-2-2b-it-4bit";

fn listed(models: Vec<ModelRow>) -> Script {
    Script::new().then(1, Event::ModelsListed { models })
}

/// A model, and beside its snapshot a folder that is called like its ref.
fn with_a_branch_folder() -> Script {
    let branch = ModelRow {
        revision: "main".to_owned(),
        commit: None,
        refs: Vec::new(),
        snapshot: "/cache/models--m/snapshots/main".to_owned(),
        ..model_row(NAME, 6)
    };
    listed(vec![model_row(NAME, 1_350_000_000), branch])
}

fn asked_for(commands: &[Command]) -> DiscardRequest {
    match commands {
        [Command::PlanPurge(request)] => request.clone(),
        other => panic!("{other:?}"),
    }
}

fn shown(desk: &mut Desk) -> String {
    text(&desk.look(120, 32))
}

#[test]
fn a_whole_model_goes_only_for_its_name() {
    let mut desk = Desk::on(&listed(vec![model_row(NAME, 1_350_000_000)]));
    let request = asked_for(&sent(&desk.key(KeyCode::Char('p'))));
    assert_eq!(request.targets, [(repo(), None)]);
    desk.heeds(5, Event::PurgePlanned(purge_plan()));
    assert!(shown(&mut desk).contains("A whole model goes"));
    // A yes of another question is none here.
    assert!(sent(&desk.types("y\n")).is_empty());
    desk.key(KeyCode::Esc);
    desk.key(KeyCode::Char('p'));
    desk.heeds(6, Event::PurgePlanned(purge_plan()));
    let purged = sent(&desk.types(&format!("{NAME}\n")));
    assert!(
        matches!(&purged[..], [Command::Purge(plan)] if *plan == purge_plan().plan),
        "{purged:?}"
    );
}

#[test]
fn the_plan_of_another_question_is_not_asked_about() {
    let mut desk = Desk::on(&listed(vec![model_row(NAME, 1_350_000_000)]));
    desk.key(KeyCode::Char('p'));
    let other = DiscardRequest {
        is_unreferenced: true,
        ..DiscardRequest::default()
    };
    desk.heeds(
        5,
        Event::PurgePlanned(PurgePlan {
            request: other,
            ..purge_plan()
        }),
    );
    let waits = shown(&mut desk);
    assert!(
        waits.contains("what would go") && !waits.contains("whole model"),
        "{waits}"
    );
    assert!(sent(&desk.types(&format!("{NAME}\n"))).is_empty());
}

#[test]
fn of_several_snapshots_the_one_in_the_row_is_meant() {
    let mut desk = Desk::on(&with_a_branch_folder());
    let request = asked_for(&sent(&desk.key(KeyCode::Char('p'))));
    let whole = format!("snapshots/{}", commit());
    assert_eq!(request.targets, [(repo(), Some(whole))]);
    desk.key(KeyCode::Esc);
    desk.act(Action::Down);
    let request = asked_for(&sent(&desk.key(KeyCode::Char('p'))));
    let part = "snapshots/main".to_owned();
    assert_eq!(request.targets, [(repo(), Some(part))]);
    // The line in the log means no more than what was done.
    let mut planned = PurgePlan {
        request,
        ..purge_plan()
    };
    for step in &mut planned.plan.steps {
        if let PlanStep::Discard(discard) = step {
            discard.kind = DiscardKind::Revisions;
            discard.what = vec!["main".to_owned(), commit().to_string()];
        }
    }
    desk.heeds(5, Event::PurgePlanned(planned));
    // What was typed ahead of the plan is no answer to it.
    assert!(desk.key(KeyCode::Char('y')).is_empty());
    desk.look(120, 32);
    let done = desk.key(KeyCode::Char('y'));
    let [Effect::Log(line), Effect::Send(Command::Purge(_))] = &done[..] else {
        panic!("{done:?}");
    };
    let folder = format!("{NAME}@snapshots/main");
    assert_eq!(
        *line,
        format!("$ larder purge {NAME}@{} {folder} --yes", commit())
    );
}

#[test]
fn a_copy_in_a_folder_of_an_app_is_no_model_of_the_cache() {
    let place = CacheRow {
        kind: CacheKind::LmStudio,
        path: "/home/me/.lmstudio/models".to_owned(),
        origin: "default".to_owned(),
        is_present: true,
        trouble: None,
        models: 1,
        size_bytes: 1,
    };
    let copy = ModelRow {
        cache: CacheKind::LmStudio,
        snapshot: format!("{}/{NAME}", place.path),
        ..model_row(NAME, 1_350_000_000)
    };
    let script = Script::new()
        .then(
            1,
            Event::CachesSeen {
                caches: vec![place],
            },
        )
        .then(1, Event::ModelsListed { models: vec![copy] });
    let mut desk = Desk::on(&script);
    assert!(sent(&desk.key(KeyCode::Char('p'))).is_empty());
    assert!(
        desk.refused().is_some_and(|why| why.contains("lmstudio")),
        "{:?}",
        desk.refused()
    );
}

#[test]
fn pulls_of_one_snapshot_are_one_row() {
    let mut desk = Desk::on(&listed(vec![model_row(NAME, 1_350_000_000)]));
    for (job, revision) in [(7, "main"), (8, &*commit().to_string())] {
        desk.heeds(job, pull_started(&repo(), revision));
        desk.heeds(
            job,
            Event::Resolved {
                repo: repo(),
                commit: commit(),
                files: 6,
            },
        );
        desk.heeds(job, complete());
    }
    desk.act(Action::Focus(Pane::Models));
    let picture = shown(&mut desk);
    assert!(picture.contains("1 Models 1 "), "{picture}");
    // Another commit is another snapshot.
    desk.heeds(9, pull_started(&repo(), "dev"));
    desk.heeds(
        9,
        Event::Resolved {
            repo: repo(),
            commit: Commit::new(&"b".repeat(40)).unwrap(),
            files: 6,
        },
    );
    let picture = shown(&mut desk);
    assert!(picture.contains("1 Models 2 "), "{picture}");
}

#[test]
fn a_folder_that_is_called_like_the_ref_is_a_row_of_its_own() {
    let mut desk = Desk::on(&with_a_branch_folder());
    for (width, height) in [(80, 24), (120, 32), (200, 60)] {
        desk.act(Action::Focus(Pane::Models));
        let picture = text(&desk.look(width, height));
        assert!(picture.contains("bit main/"), "{picture}");
    }
    desk.act(Action::Down);
    desk.act(Action::Mark);
    desk.look(120, 32);
    assert_eq!(desk.ui.marked_models.len(), 1);
    let request = asked_for(&sent(&desk.key(KeyCode::Char('p'))));
    assert_eq!(request.targets.len(), 1, "{request:?}");
}

#[test]
fn a_filter_that_says_nothing_is_told_to_be_none() {
    let mut desk = Desk::on(&listed(vec![model_row(NAME, 1_350_000_000)]));
    desk.act(Action::Focus(Pane::Models));
    desk.types("/size>>3\n");
    assert!(
        desk.refused().is_some_and(|why| why.contains("size>>3")),
        "{:?}",
        desk.refused()
    );
}

#[test]
fn a_guide_is_for_repos_of_the_hub_and_not_for_what_a_folder_is_called() {
    let place = CacheRow {
        kind: CacheKind::Folder,
        path: "/data/models".to_owned(),
        origin: "the settings".to_owned(),
        is_present: true,
        trouble: None,
        models: 1,
        size_bytes: 1,
    };
    let copy = ModelRow {
        cache: CacheKind::Folder,
        snapshot: format!("{}/{NAME}", place.path),
        ..model_row(NAME, 1_350_000_000)
    };
    let caches = vec![place];
    let script = Script::new()
        .then(1, Event::CachesSeen { caches })
        .then(1, Event::ModelsListed { models: vec![copy] });
    let mut desk = Desk::on(&script);
    assert!(sent(&desk.key(KeyCode::Char('m'))).is_empty());
    assert!(
        desk.refused()
            .is_some_and(|why| why.contains(":guide ORG/NAME"))
    );
}
