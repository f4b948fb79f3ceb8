//! Questions: the keys that are named are those that answer, and what they are about is shown whole.

use crossterm::event::KeyCode;

use super::action::Action;
use super::desk::{Desk, sent, sick, told};
use super::dialog::answers;
use super::pane::Pane;
use super::screens::{SIZES, text};
use super::ui::{Overlay, Question};
use super::update::Effect;
use crate::domain::{
    Command, Discard, DiscardRequest, Event, Outcome, PlanStep, PurgePlan, RepoId, RepoKind,
    TrashRequest,
};
use crate::store::script::Script;
use crate::store::survey_script::{purge_plan, trash_rows};

const QWEN: &str = "mlx-community/Qwen3-4B-4bit";
const GPT2: &str = "openai-community/gpt2";

/// A plan of several models, as it comes for that request.
fn plan_of(request: &DiscardRequest, names: &[&str]) -> PurgePlan {
    let one = purge_plan();
    let discard = one.plan.discards().next().unwrap().clone();
    let of = |name: &&str| {
        PlanStep::Discard(Discard {
            repo: RepoId::new(RepoKind::Model, name).unwrap(),
            ..discard.clone()
        })
    };
    let mut planned = one.clone();
    planned.request = request.clone();
    planned.plan.steps = names.iter().map(of).collect();
    planned
}

fn seen() -> Event {
    Event::TrashSeen { rows: trash_rows() }
}

/// A desk at each question there is.
fn questions() -> Vec<(&'static str, Desk)> {
    let typed = |line: &str| {
        let mut desk = Desk::on(&sick());
        desk.act(Action::Command);
        desk.types(&format!("{line}\n"));
        desk
    };
    let mut whole = typed(&format!("purge {QWEN}"));
    let request = DiscardRequest {
        targets: vec![(RepoId::new(RepoKind::Model, QWEN).unwrap(), None)],
        ..DiscardRequest::default()
    };
    whole.heeds(5, Event::PurgePlanned(plan_of(&request, &[QWEN])));
    let mut parts = typed("purge --unreferenced");
    let request = DiscardRequest {
        is_unreferenced: true,
        ..DiscardRequest::default()
    };
    parts.heeds(
        5,
        Event::PurgePlanned(PurgePlan {
            request,
            ..PurgePlan::default()
        }),
    );
    let mut empty = typed("trash empty");
    empty.heeds(5, seen());
    let mut quit = Desk::on(&Script::planned());
    quit.act(Action::Quit);
    vec![
        ("whole", whole),
        ("parts", parts),
        ("partials", typed("purge --incomplete")),
        ("waits", typed(&format!("purge {QWEN}"))),
        ("fix", typed("doctor --fix")),
        ("empty", empty),
        ("empty waits", typed("trash empty")),
        ("quit", quit),
    ]
}

fn question(desk: &Desk) -> Option<&Question> {
    match &desk.ui.overlay {
        Some(Overlay::Ask { question, .. }) => Some(question),
        _ => None,
    }
}

#[test]
fn the_keys_that_are_named_below_a_question_are_those_that_answer_it() {
    for (name, mut desk) in questions() {
        let keys = answers(question(&desk).expect(name), &desk.store);
        for (width, height) in [(80, 24), (120, 32)] {
            let picture = text(&desk.look(width, height));
            let last = picture.lines().last().unwrap().to_owned();
            let above: Vec<&str> = picture.lines().rev().skip(1).collect();
            for (key, words) in &keys {
                let pair = format!("{key} {words}");
                assert!(last.contains(&pair), "{name}: the footer: {picture}");
                let is_above = above.iter().any(|line| line.contains(&pair));
                assert!(is_above, "{name}: the box: {picture}");
            }
        }
        let asked = desk.ui.overlay.clone();
        let is_typed = keys[0].0 == "Enter";
        for (key, words) in keys {
            let is_yes = !["stay as it is", "close"].contains(&words);
            for key in key.split(' ').filter(|_| !(is_typed && is_yes)) {
                desk.ui.overlay.clone_from(&asked);
                let effects = desk.key(match key {
                    "Esc" => KeyCode::Esc,
                    "Enter" => KeyCode::Enter,
                    letter => KeyCode::Char(letter.chars().next().unwrap()),
                });
                assert!(desk.ui.overlay.is_none(), "{name}: {key} closes it");
                assert_eq!(!effects.is_empty(), is_yes, "{name}: {key}: {effects:?}");
            }
        }
        // Enter alone is never a yes.
        desk.ui.overlay.clone_from(&asked);
        assert!(desk.key(KeyCode::Enter).is_empty(), "{name}");
    }
}

#[test]
fn a_mistyped_name_is_neither_a_yes_nor_a_no() {
    let (_, mut desk) = questions().swap_remove(0);
    assert!(desk.types("mlx-community/Qwen\n").is_empty());
    assert!(
        desk.refused()
            .is_some_and(|why| why.contains("nothing was taken away yet"))
    );
    let purged = sent(&desk.types("3-4B-4bit\n"));
    assert!(matches!(&purged[..], [Command::Purge(_)]), "{purged:?}");
}

#[test]
fn of_several_marked_models_the_sum_each_and_what_stays_are_shown() {
    let mut desk = Desk::on(&sick());
    for name in [QWEN, GPT2] {
        desk.ui.set_filter(Pane::Models, name);
        desk.look(120, 32);
        desk.act(Action::Mark);
    }
    desk.ui.set_filter(Pane::Models, "");
    desk.look(120, 32);
    // Of one of them something is unfinished: the models are meant all the same.
    let commands = sent(&desk.act(Action::Purge));
    let [Command::PlanPurge(request)] = &commands[..] else {
        panic!("{commands:?}");
    };
    assert_eq!(request.targets.len(), 2);
    desk.heeds(5, Event::PurgePlanned(plan_of(request, &[QWEN, GPT2])));
    for (width, height) in SIZES {
        let picture = text(&desk.look(width, height));
        if width < 80 {
            continue;
        }
        for words in [
            "2 models, 4 files, 2.70 GB",
            &format!("1.35 GB  {QWEN}"),
            &format!("1.35 GB  {GPT2}"),
            "stays: process 4121 writes it",
            "Type `2 models`",
        ] {
            assert!(picture.contains(words), "{words}: {picture}");
        }
    }
    insta::assert_snapshot!("purge_of_two", text(&desk.look(120, 32)));
    let effects = desk.types("2 models\n");
    assert_eq!(
        told(&effects),
        [format!("$ larder purge {QWEN} {GPT2} --yes")]
    );
}

#[test]
fn the_trash_is_a_list_from_which_one_comes_back_by_its_key() {
    let mut desk = Desk::on(&sick());
    desk.act(Action::Command);
    let looked = sent(&desk.types("trash\n"));
    assert_eq!(looked, [Command::Trash(TrashRequest::ListOwn)]);
    assert!(text(&desk.look(120, 32)).contains("looking into the trash"));
    assert!(desk.key(KeyCode::Enter).is_empty(), "nothing is there yet");
    desk.heeds(5, seen());
    insta::assert_snapshot!("trash_80x24", text(&desk.look(80, 24)));
    insta::assert_snapshot!("trash_120x32", text(&desk.look(120, 32)));
    desk.key(KeyCode::Down);
    desk.key(KeyCode::Down);
    let effects = desk.key(KeyCode::Enter);
    // The newest is first, and the selection stops at the last.
    let [Effect::Log(line), Effect::Send(command)] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(line, "$ larder trash restore 6a1f3b20");
    let id = Some("6a1f3b20".to_owned());
    assert_eq!(*command, Command::Trash(TrashRequest::Restore { id }));
    assert!(desk.ui.overlay.is_none());
}

#[test]
fn the_trash_is_emptied_of_what_was_shown_and_after_a_yes_only() {
    let (_, mut desk) = questions().swap_remove(5);
    insta::assert_snapshot!("trash_empty", text(&desk.look(120, 32)));
    let asked = desk.ui.overlay.clone();
    assert!(desk.key(KeyCode::Enter).is_empty());
    desk.ui.overlay = asked;
    let effects = desk.key(KeyCode::Char('y'));
    assert_eq!(told(&effects), ["$ larder trash empty --yes"]);
    let [Command::Trash(TrashRequest::Empty { rows })] = &sent(&effects)[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(rows.len(), trash_rows().len());
    // From the list, too.
    let mut desk = Desk::on(&sick());
    desk.act(Action::Command);
    desk.types("trash\n");
    desk.heeds(5, seen());
    let looked = sent(&desk.key(KeyCode::Char('e')));
    assert_eq!(looked, [Command::Trash(TrashRequest::ListOwn)]);
    assert!(matches!(question(&desk), Some(Question::Empty(_))));
}

#[test]
fn a_restore_that_takes_long_shows_how_far_it_is() {
    let mut desk = Desk::on(&sick());
    desk.heeds(
        9,
        Event::VerifyStarted {
            snapshots: 0,
            files: 3,
            bytes: 1_350_000_000,
        },
    );
    desk.heeds(
        9,
        Event::VerifyProgress {
            files: 1,
            bytes: 675_000_000,
            path: "blobs/03".to_owned(),
        },
    );
    let picture = text(&desk.look(120, 32));
    assert!(picture.contains("50%"), "{picture}");
    desk.heeds(9, Event::Ended(Outcome::Cancelled));
    assert!(!text(&desk.look(120, 32)).contains("50%"));
}
