//! Screens about "why": what a finding rests on and what would be done, and what lies behind a file.

use super::action::Action;
use super::pane::Pane;
use super::screens::{Screen, check, text};
use super::stage;
use super::theme::ThemeName;
use crate::domain::{
    Change, Event, FileState, Finding, PlanStep, RepoId, RepoKind, Rule, Severity,
};
use crate::store::script::{START_MS, Script, file_row, model_row};

const HUB: &str = "/home/me/.cache/huggingface/hub";

/// A folder named after a branch: every kind of change is in its plan.
pub(super) fn branch_folder() -> Finding {
    let repo = RepoId::new(RepoKind::Model, "mlx-community/gemma-2-2b-it-4bit").unwrap();
    let folder = format!("{HUB}/{}", repo.folder());
    let commit = "a1b2c3d4".repeat(5);
    let blob = format!("{folder}/blobs/{}", "3f".repeat(32));
    let file = format!("{folder}/snapshots/main/model.safetensors");
    [
        Change::Move {
            from: file.clone(),
            to: blob,
            bytes: 1_330_000_000,
        },
        Change::Link {
            path: format!("{folder}/snapshots/{commit}/model.safetensors"),
            target: format!("../../blobs/{}", "3f".repeat(32)),
        },
        Change::Write {
            path: format!("{folder}/refs/main"),
            text: commit,
        },
        Change::Remove {
            path: format!("{folder}/snapshots/main/.cache"),
            bytes: 12_000,
        },
    ]
    .into_iter()
    .fold(
        Finding::new(
            Rule::BranchFolder,
            "the snapshot is in a folder named `main`, not after its commit",
            "a script downloaded into a folder named after the branch: Python and mlx-lm do not find \
             it by name, and `hf cache prune` deletes it",
        )
        .of_model(&repo, Some("main"))
        .seen(&file, Some(1_330_000_000), Some(1_330_000_000), "a regular file"),
        |finding, change| finding.step(PlanStep::Change(change)),
    )
}

/// One finding of each severity, of which no key puts one right.
fn beyond_keys() -> Script {
    let evicted = Finding::new(
        Rule::Evicted,
        "the bytes of `model.safetensors` are not on this disk",
        "iCloud or another file provider moved them away",
    )
    .step(PlanStep::ByHand {
        advice: format!("open {HUB} in Finder and choose Download Now"),
    });
    stage::zoo(Script::new()).then(
        1,
        Event::FindingsSeen {
            findings: vec![evicted, branch_folder()],
        },
    )
}

#[test]
fn a_plan_says_which_key_carries_it_out_and_which_do_not() {
    let screen = Screen::of("details_plan", &beyond_keys())
        .after(&[Action::Focus(Pane::Health), Action::Details]);
    check(&screen);
    let shown = text(&screen.draw((120, 32), ThemeName::Dark));
    assert!(shown.contains("`f` carries it out"), "{shown}");
    assert!(
        !shown.contains(" r retry") && !shown.contains(" p purge"),
        "{shown}"
    );

    // The keys say so, too, and offer nothing else in its place.
    for action in [Action::Retry, Action::Purge] {
        let screen =
            Screen::of("refused", &beyond_keys()).after(&[Action::Focus(Pane::Health), action]);
        let shown = text(&screen.draw((120, 32), ThemeName::Dark));
        assert!(shown.contains("puts that right: a repair does"), "{shown}");
    }
    let by_hand = [Action::Focus(Pane::Health), Action::Down, Action::Purge];
    let screen = Screen::of("refused", &beyond_keys()).after(&by_hand);
    let shown = text(&screen.draw((120, 32), ThemeName::Dark));
    assert!(shown.contains("only a person can do that"), "{shown}");
    assert_eq!(branch_folder().severity, Severity::Warning);
}

#[test]
fn a_file_shows_its_hash_its_verdict_and_both_links() {
    let mut row = model_row("mlx-community/gemma-2-2b-it-4bit", 1_350_000_000);
    row.snapshot = format!(
        "{HUB}/models--mlx-community--gemma-2-2b-it-4bit/snapshots/{}",
        row.revision
    );
    row.verified_ms = Some(START_MS - 3 * 86_400_000);
    let mut files = vec![
        file_row("config.json", 4_100),
        file_row("model.safetensors", 1_330_000_000),
        file_row("tokenizer.json", 17_000_000),
    ];
    files[0].state = FileState::Verified;
    files[0].verified_ms = Some(START_MS - 3 * 86_400_000);
    files[1].state = FileState::Verified;
    files[1].verified_ms = Some(START_MS - 2 * 3_600_000);
    files[1]
        .links
        .push(format!("../../blobs/7e/{}", "7e".repeat(32)));
    let script = Script::new()
        .then(
            1,
            Event::ModelsListed {
                models: vec![row.clone()],
            },
        )
        .then(
            1,
            Event::FilesListed {
                model: Box::new(row),
                files,
            },
        );
    let keys = [Action::Focus(Pane::Files), Action::Down];
    let screen = Screen::of("details_links", &script).after(&keys);
    let shown = text(&screen.draw((80, 24), ThemeName::Dark));
    assert!(shown.contains("verified 3 d ago"), "{shown}");
    check(&screen.after(&[Action::Details]));
    let keys = [Action::Focus(Pane::Models), Action::Details];
    let screen = Screen::of("details_verified", &script).after(&keys);
    let shown = text(&screen.draw((120, 32), ThemeName::Dark));
    assert!(shown.contains("3 d ago: every file is right"), "{shown}");
}
