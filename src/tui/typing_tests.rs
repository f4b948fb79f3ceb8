//! What is typed: the command line, its completion, filters, pasted links.

use crossterm::event::KeyCode;

use super::action::Action;
use super::desk::{Desk, sent, sick};
use super::pane::Pane;
use super::ui::Overlay;
use super::update::Effect;
use crate::domain::{Command, Event, Level, PurgePlan};
use crate::store::script::repo;

#[test]
fn the_command_line_knows_the_commands() {
    let mut desk = Desk::on(&sick());
    desk.act(Action::Command);
    let effects = desk.types("pull mlx-community/x\n");
    assert!(matches!(sent(&effects).as_slice(), [Command::Pull(_)]));
    assert!(desk.ui.overlay.is_none());

    desk.act(Action::Command);
    assert!(desk.types("fly\n").is_empty());
    let Some(Overlay::Command(line)) = &desk.ui.overlay else {
        panic!("a mistake stays to be corrected");
    };
    assert_eq!(line.error.as_deref(), Some("there is no command `fly`"));
    desk.ui.overlay = None;

    desk.act(Action::Command);
    let effects = desk.types("theme light\n");
    assert!(effects.contains(&Effect::Remember("theme", "light".to_owned())));
    desk.act(Action::Command);
    desk.types("level debug\n");
    assert_eq!(desk.ui.level, Level::Debug);
    desk.act(Action::Command);
    assert!(desk.types("demo\n").is_empty());
    let Some(Overlay::Command(line)) = &desk.ui.overlay else {
        panic!("it is for a shell");
    };
    assert!(line.error.as_deref().unwrap().contains("in a shell"));
    // Lines of the past come back.
    desk.ui.overlay = None;
    desk.act(Action::Command);
    desk.key(KeyCode::Up);
    desk.key(KeyCode::Up);
    let Some(Overlay::Command(line)) = &desk.ui.overlay else {
        panic!("closed");
    };
    assert_eq!(line.input.value(), "theme light");
}

#[test]
fn tab_completes_commands_repos_and_values() {
    let mut desk = Desk::on(&sick());
    for (typed, tabs, line) in [
        ("verif", 2, "verify-all"),
        ("pul", 1, "pull "),
        (
            "verify mlx-community/Qw",
            1,
            "verify mlx-community/Qwen3-4B-4bit ",
        ),
        ("theme h", 1, "theme high-contrast "),
        ("pull org/m --a", 1, "pull org/m --all "),
        ("zzz", 1, "zzz"),
    ] {
        desk.act(Action::Command);
        desk.types(typed);
        for _ in 0..tabs {
            desk.key(KeyCode::Tab);
        }
        let Some(Overlay::Command(field)) = &desk.ui.overlay else {
            panic!("closed");
        };
        assert_eq!(field.input.value(), line, "{typed}");
        desk.ui.overlay = None;
    }
}

#[test]
fn filters_narrow_and_are_taken_back() {
    let mut desk = Desk::on(&sick());
    desk.act(Action::Filter);
    desk.types("qwen");
    assert_eq!(desk.ui.filter(Pane::Models).text(), "qwen");
    desk.key(KeyCode::Esc);
    assert!(desk.ui.filter(Pane::Models).is_empty(), "as before");
    desk.act(Action::Filter);
    desk.types("mlx size>1GB\n");
    desk.look(120, 32);
    desk.act(Action::Bottom);
    assert_eq!(desk.ui.models.index, 2, "three of six are left");
    desk.act(Action::NextMatch);
    assert_eq!(desk.ui.models.index, 0, "around the end");
    desk.act(Action::PreviousMatch);
    assert_eq!(desk.ui.models.index, 2);
    desk.act(Action::Back);
    assert!(desk.ui.filter(Pane::Models).is_empty());
}

#[test]
fn a_pasted_link_is_a_model_to_add() {
    let mut desk = Desk::on(&sick());
    desk.paste("https://huggingface.co/mlx-community/gemma-2-2b-it-4bit/tree/main\n");
    let Some(Overlay::Add(_)) = &desk.ui.overlay else {
        panic!("no dialog");
    };
    let effects = desk.key(KeyCode::Enter);
    let [Command::Pull(request)] = &sent(&effects)[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(request.repo, repo());
    assert!(request.dry_run, "it is looked at first");
    desk.ui.overlay = None;
    desk.paste("just some words");
    assert!(desk.ui.overlay.is_none());
}

/// The words of a mistake that stays in the line.
fn mistake(desk: &Desk) -> &str {
    match &desk.ui.overlay {
        Some(Overlay::Command(line)) => line.error.as_deref().unwrap_or_default(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_flag_that_does_nothing_here_is_refused_and_not_left_out() {
    for (line, words) in [
        (
            "pull org/m --limit-rate 2M",
            "run `larder pull org/m --limit-rate 2M` there",
        ),
        (
            "pull org/m --limit-rate=2M",
            "`--limit-rate` is for a shell",
        ),
        ("pull org/m --yes", "leave `--yes` out"),
        ("verify --online", "`--online` is for a shell"),
    ] {
        let mut desk = Desk::on(&sick());
        desk.act(Action::Command);
        assert!(desk.types(&format!("{line}\n")).is_empty(), "{line}");
        assert!(mistake(&desk).contains(words), "{line}: {}", mistake(&desk));
    }
}

#[test]
fn a_repair_of_everything_asks_about_all_that_was_found() {
    let mut desk = Desk::on(&sick());
    desk.act(Action::Command);
    assert!(desk.types("doctor --fix\n").is_empty(), "it asks first");
    let picture = super::screens::text(&desk.look(120, 60));
    for repo in ["Llama-3.2-3B-Instruct-4bit", "gemma-3-1b-it-4bit"] {
        assert!(picture.contains(&format!("{repo} @ main")), "{picture}");
    }
    assert!(picture.contains("ask the owner of the folder"), "{picture}");
    let effects = desk.key(KeyCode::Char('y'));
    assert!(
        matches!(sent(&effects).as_slice(), [Command::Pull(_)]),
        "{effects:?}"
    );
}

#[test]
fn a_purge_of_two_kinds_takes_the_unfinished_blobs_with_it() {
    let mut desk = Desk::on(&sick());
    desk.act(Action::Command);
    let commands = sent(&desk.types("purge --unreferenced\n"));
    let [Command::PlanPurge(request)] = &commands[..] else {
        panic!("{commands:?}");
    };
    assert!(request.is_unreferenced);
    desk.heeds(
        5,
        Event::PurgePlanned(PurgePlan {
            request: request.clone(),
            ..PurgePlan::default()
        }),
    );
    desk.look(120, 32);
    let effects = desk.key(KeyCode::Char('y'));
    let [Effect::Log(line), Effect::Send(Command::Purge(plan))] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(line, "$ larder purge --incomplete --unreferenced --yes");
    assert_eq!(plan.removals().count(), 2);
    // Those that are too new stay.
    desk.act(Action::Command);
    assert!(desk.types("purge 30d\n").is_empty());
    assert!(
        desk.refused()
            .is_some_and(|why| why.contains("nothing to purge"))
    );
}

#[test]
fn files_of_this_machine_are_taken_in_from_the_folder_that_a_shell_would_mean() {
    let mut desk = Desk::on(&sick());
    desk.act(Action::Command);
    let effects = desk.types("import ~/Downloads\n");
    let [Effect::Log(line), Effect::Send(Command::Import(request))] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(line, "$ larder import /home/me/Downloads");
    assert_eq!(request.paths, [std::path::Path::new("/home/me/Downloads")]);
    assert_eq!(desk.ui.focus, Pane::Files);
    // A dashboard that only looks does none of it.
    for line in [
        "import x",
        "doctor --fix",
        "trash empty",
        "purge --incomplete",
    ] {
        let mut desk = Desk::on(&sick());
        desk.facts.is_read_only = true;
        desk.act(Action::Command);
        assert!(desk.types(&format!("{line}\n")).is_empty());
        assert!(mistake(&desk).contains("read-only"), "{line}");
    }
}

#[test]
fn what_a_shell_would_print_is_shown() {
    let mut desk = Desk::on(&sick());
    desk.act(Action::Command);
    desk.types("ls size>1GB\n");
    assert_eq!(desk.ui.filter(Pane::Models).text(), "size>1GB");
    desk.act(Action::Command);
    desk.types("status\n");
    assert_eq!(desk.ui.focus, Pane::Health);
    desk.act(Action::Command);
    desk.types("locks\n");
    assert_eq!(desk.ui.focus, Pane::Locks);
}
