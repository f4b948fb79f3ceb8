//! What a newcomer stumbled over in Health and the details: what is promised, what a key is meant
//! for, and what is said of what was done.

use crossterm::event::KeyCode;

use super::action::Action;
use super::desk::{Desk, sent, sick};
use super::pane::Pane;
use super::screens::text;
use super::stage;
use super::ui::{Overlay, Question};
use crate::domain::{
    Bundle, CacheKind, CacheRow, Command, Event, Finding, ModelRow, ModelState, PlanStep, RepoId,
    RepoKind, Rule, Stamped, Verification,
};
use crate::store::script::{Script, file_row, model_row};

const HUB: &str = "/home/me/.cache/huggingface/hub";
const DOCUMENTS: &str = "/home/me/Documents/huggingface";
const NAME: &str = "mlx-community/gemma-2-2b-it-4bit";

impl Desk {
    fn shown(&mut self, width: u16, height: u16) -> String {
        text(&self.look(width, height))
    }

    fn sees(&mut self, event: Event) {
        let stamped = Stamped {
            at_ms: self.now_ms,
            ..Script::new().then(1, event).events.remove(0)
        };
        crate::store::reduce(&mut self.store, &stamped);
        self.follow();
    }
}

/// A picture with every gap one blank wide.
fn tight(shown: &str) -> String {
    shown.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn place(kind: CacheKind, path: &str) -> CacheRow {
    CacheRow {
        kind,
        path: path.to_owned(),
        origin: "default".to_owned(),
        is_present: true,
        trouble: None,
        models: 1,
        size_bytes: 1,
    }
}

/// The same model in the Hub cache and in an app's folder; something is wrong with each.
fn two_copies() -> Script {
    let hub = ModelRow {
        snapshot: format!("{HUB}/models--mlx-community--gemma-2-2b-it-4bit/snapshots/x"),
        ..model_row(NAME, 1_350_000_000)
    };
    let app = ModelRow {
        snapshot: format!("{DOCUMENTS}/models/{NAME}"),
        cache: CacheKind::HubApi,
        commit: None,
        refs: Vec::new(),
        revision: "gemma-2-2b-it-4bit".to_owned(),
        state: ModelState::Broken,
        problems: vec!["`config.json` is cut off".to_owned()],
        ..model_row(NAME, 1_350_000_000)
    };
    let finding = |rule, summary: &str, path: String, advice: &str| {
        Finding::new(rule, summary, "nobody knows")
            .of_model(&hub.repo, None)
            .of_file("config.json")
            .seen(&path, None, None, "")
            .step(PlanStep::ByHand {
                advice: advice.to_owned(),
            })
    };
    let findings = vec![
        finding(
            Rule::StaleNoExist,
            "a mark of the Hub cache is stale",
            format!("{HUB}/models--mlx-community--gemma-2-2b-it-4bit/.no_exist/x/config.json"),
            "look at the Hub cache",
        ),
        finding(
            Rule::Truncated,
            "the app's file is too short",
            format!("{}/config.json", app.snapshot),
            "let the app download the model again",
        ),
    ];
    Script::new()
        .then(
            1,
            Event::CachesSeen {
                caches: vec![
                    place(CacheKind::Hub, HUB),
                    place(CacheKind::HubApi, DOCUMENTS),
                ],
            },
        )
        .then(
            1,
            Event::ModelsListed {
                models: vec![hub, app.clone()],
            },
        )
        .then(
            1,
            Event::FilesListed {
                model: Box::new(app),
                files: vec![file_row("config.json", 900)],
            },
        )
        .then(1, Event::FindingsSeen { findings })
}

#[test]
fn no_pull_is_promised_for_a_copy_that_no_pull_changes() {
    let mut desk = Desk::on(&two_copies());
    desk.act(Action::Down);
    desk.act(Action::Focus(Pane::Files));
    let files = desk.shown(120, 32);
    assert!(!files.contains("pulls it again"), "{files}");
    assert!(
        files.contains("no pull changes this copy (hub-api)"),
        "{files}"
    );
    desk.act(Action::Focus(Pane::Models));
    desk.act(Action::Details);
    let details = desk.shown(120, 40);
    assert!(
        details.contains("let the app download the model again"),
        "{details}"
    );
    assert!(!details.contains("r retry"), "{details}");
    // The key says the same.
    assert!(desk.act(Action::Retry).is_empty());
    let refused = desk.refused().unwrap();
    assert!(
        refused.contains("no pull changes this copy (hub-api): let the app download"),
        "{refused}"
    );
}

#[test]
fn the_details_of_a_copy_tell_its_own_findings() {
    let mut desk = Desk::on(&two_copies());
    desk.act(Action::Details);
    let hub = desk.shown(120, 40);
    desk.key(KeyCode::Esc);
    desk.act(Action::Down);
    desk.act(Action::Details);
    let app = desk.shown(120, 40);
    let (of_hub, of_app) = (
        "a mark of the Hub cache is stale",
        "the app's file is too short",
    );
    let below = |shown: &str| {
        let at = shown.find("Findings").unwrap_or_else(|| panic!("{shown}"));
        shown[at..].lines().take(3).collect::<Vec<_>>().join("\n")
    };
    let (hub, app) = (below(&hub), below(&app));
    assert!(hub.contains(of_hub) && !hub.contains(of_app), "{hub}");
    assert!(app.contains(of_app) && !app.contains(of_hub), "{app}");
}

#[test]
fn details_stay_on_the_finding_they_were_opened_for() {
    let mut desk = Desk::on(&sick());
    desk.act(Action::Focus(Pane::Health));
    // The first is for a person; the second is a pull's.
    desk.act(Action::Down);
    desk.look(120, 32);
    desk.key(KeyCode::Enter);
    let opened = desk.shown(120, 32);
    let mut findings: Vec<Finding> = desk.store.shelf().findings().into_iter().cloned().collect();
    let healed = findings.remove(1);
    assert!(opened.contains(healed.rule.name()), "{opened}");
    desk.sees(Event::FindingsSeen {
        findings: findings.clone(),
    });
    let shown = desk.shown(120, 32);
    assert!(
        shown.contains("Healed or gone") && shown.contains("not found any more"),
        "{shown}"
    );
    for key in ['r', 'p', 'f', 'v'] {
        assert!(desk.key(KeyCode::Char(key)).is_empty(), "{key}");
        assert!(
            desk.refused().unwrap().contains("nothing was done"),
            "{key}"
        );
        assert!(
            matches!(desk.ui.overlay, Some(Overlay::Details { .. })),
            "{key}"
        );
    }
    // It comes back: the keys are for it again, wherever the cursor went.
    findings.push(healed.clone());
    desk.sees(Event::FindingsSeen { findings });
    let commands = sent(&desk.key(KeyCode::Char('r')));
    let [Command::Pull(request)] = &commands[..] else {
        panic!("{commands:?}");
    };
    assert_eq!(Some(&request.repo), healed.repo.as_ref());
}

/// Eight unfinished blobs of one model, and one of another.
fn interrupted() -> Script {
    let mut findings: Vec<Finding> = (0..8)
        .map(|at| {
            let repo = RepoId::new(RepoKind::Model, "rig/sharded-8x64").unwrap();
            let path = format!("{HUB}/models--rig--sharded-8x64/blobs/0{at}.incomplete");
            Finding::new(
                Rule::AbandonedPartial,
                format!("blob {at} is unfinished"),
                "interrupted",
            )
            .of_model(&repo, None)
            .of_file(&format!("model-0000{at}-of-00008.safetensors"))
            .seen(&path, Some(1_000_000), None, "")
            .step(PlanStep::RemovePartial {
                repo,
                path,
                bytes: 1_000_000,
                modified_ms: 0,
                is_superseded: false,
                map: None,
            })
        })
        .collect();
    findings.push(stage::abandoned(
        "openai-community/gpt2",
        "model.safetensors",
        12_000_000,
    ));
    stage::zoo(Script::new()).then(1, Event::FindingsSeen { findings })
}

#[test]
fn what_is_unfinished_of_a_model_is_one_row_and_keys_mean_all_of_it() {
    let mut desk = Desk::on(&interrupted());
    desk.act(Action::Focus(Pane::Health));
    desk.act(Action::Bottom);
    let shown = tight(&desk.shown(120, 32));
    assert!(shown.contains("sharded-8x64 8 unfinished"), "{shown}");
    assert!(shown.contains("model.safetensors unfinished"), "{shown}");
    assert!(shown.contains("Health 9 warnings"), "{shown}");
    assert!(shown.contains("takes them away and frees 8 MB"), "{shown}");
    desk.act(Action::Details);
    let details = desk.shown(120, 100);
    for at in 0..8 {
        assert!(
            details.contains(&format!("blobs/0{at}.incomplete")),
            "{at}: {details}"
        );
        assert!(
            details.contains(&format!("model-0000{at}-of")),
            "{at}: {details}"
        );
    }
    assert!(details.contains("`p` takes these away, 8 MB"), "{details}");
    let pulled = sent(&desk.key(KeyCode::Char('r')));
    assert!(
        matches!(&pulled[..], [Command::Pull(request)] if request.repo.name() == "rig/sharded-8x64"),
        "{pulled:?}"
    );
    desk.key(KeyCode::Char('p'));
    let Some(Overlay::Ask {
        question: Question::Purge(plan),
        ..
    }) = &desk.ui.overlay
    else {
        panic!("{:?}", desk.ui.overlay);
    };
    assert_eq!(plan.removals().count(), 8);
    assert!(
        plan.removals().all(|(path, _)| path.contains("sharded")),
        "{plan:?}"
    );
}

#[test]
fn one_of_several_hashed_is_said_to_be_one() {
    let mut desk = Desk::on(&stage::zoo(Script::new()));
    let row = desk.store.shelf().models().unwrap()[1].clone();
    let many = desk.store.shelf().models().unwrap().len();
    let seen = |findings| {
        Event::ModelVerified(Verification {
            what: Bundle::Snapshot,
            cache: CacheKind::Hub,
            repo: Some(row.repo.clone()),
            revision: row.revision.clone(),
            snapshot: row.snapshot.clone(),
            files_good: 5,
            files_total: 6,
            files_unread: 0,
            files_unknown: 0,
            files_hashed: 0,
            basis: Vec::new(),
            bytes: 1,
            findings,
        })
    };
    desk.sees(seen(vec![stage::findings().remove(0)]));
    desk.act(Action::Focus(Pane::Health));
    for (size, age) in [((80, 24), " just now"), ((120, 32), "")] {
        let shown = desk.shown(size.0, size.1);
        let words = format!("1 of {many} hashed{age}");
        assert!(shown.contains(&words), "{shown}");
        assert!(!shown.contains("verified just now"), "{shown}");
    }
    desk.sees(seen(Vec::new()));
    let shown = desk.shown(80, 24);
    assert!(
        shown.contains(&format!("1 of {many} verified just now")),
        "{shown}"
    );
}

#[test]
fn a_message_goes_with_the_next_key_and_never_hides_the_way_out() {
    let mut desk = Desk::on(&sick());
    desk.act(Action::Focus(Pane::Health));
    desk.act(Action::Bottom);
    desk.key(KeyCode::Char('p'));
    assert!(matches!(desk.ui.overlay, Some(Overlay::Ask { .. })));
    desk.key(KeyCode::Enter);
    let last = |desk: &mut Desk| {
        let shown = desk.shown(80, 24);
        shown.lines().last().unwrap_or_default().to_owned()
    };
    assert_eq!(last(&mut desk).trim(), "nothing was removed");
    desk.key(KeyCode::Enter);
    let hints = last(&mut desk);
    assert!(
        hints.contains("Esc close") && hints.contains("p purge"),
        "{hints}"
    );
    // A key in the details that says something leaves the way out in sight.
    desk.key(KeyCode::Char('y'));
    let said = last(&mut desk);
    assert!(
        said.contains("Esc close") && said.contains("copied"),
        "{said}"
    );
}

#[test]
fn a_name_has_room_before_the_words() {
    let mut desk = Desk::on(&sick());
    desk.act(Action::Focus(Pane::Health));
    let shown = tight(&desk.shown(120, 32));
    for words in [
        "model.safetensors truncated",
        "vision.safetensors LFS",
        "config.json wrong pointer",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(
        shown.contains("model.safetensors…"),
        "the beginning tells most: {shown}"
    );
}

#[test]
fn what_is_not_proven_whole_is_not_called_so() {
    let row = model_row(NAME, 1_350_000_000);
    let seen = |unknown: usize| Verification {
        what: Bundle::Snapshot,
        cache: CacheKind::Hub,
        repo: Some(row.repo.clone()),
        revision: row.revision.clone(),
        snapshot: row.snapshot.clone(),
        files_good: 2,
        files_unread: 0,
        files_total: 2 + unknown,
        files_unknown: unknown,
        files_hashed: 0,
        bytes: 10,
        basis: Vec::new(),
        findings: Vec::new(),
    };
    let mut desk = Desk::on(&Script::new().then(
        1,
        Event::ModelsListed {
            models: vec![row.clone()],
        },
    ));
    desk.sees(Event::ModelVerified(seen(1)));
    let shown = desk.shown(120, 32);
    let row = shown.lines().nth(2).unwrap();
    assert!(
        row.contains("complete") && !row.contains("verified"),
        "{shown}"
    );
    desk.act(Action::Details);
    let details = tight(&desk.shown(120, 40));
    assert!(
        details.contains("2 of 3 files right; nothing says"),
        "{details}"
    );
    desk.act(Action::Back);
    desk.sees(Event::ModelVerified(seen(0)));
    let shown = desk.shown(120, 32);
    let row = shown.lines().nth(2).unwrap();
    assert!(row.contains("verified"), "{shown}");
}

#[test]
fn the_pane_counts_what_is_found_as_the_commands_do() {
    let mut desk = Desk::on(&sick());
    let findings = desk.store.shelf().findings();
    let words = crate::store::counts_of(&findings).words();
    assert_eq!(words, "7 errors, 3 warnings");
    let picture = text(&desk.look(200, 60));
    assert!(picture.contains(&format!("3 Health {words}")), "{picture}");
}

#[test]
fn in_health_a_guide_is_for_the_model_of_the_finding() {
    let mut desk = Desk::on(&sick());
    desk.act(Action::Focus(Pane::Health));
    for _ in 0..12 {
        desk.act(Action::Down);
        let view = super::update::View {
            store: &desk.store,
            facts: &desk.facts,
            now_ms: desk.now_ms,
        };
        let scene = super::rows::Scene::build(&mut desk.ui, view.store, view.now_ms);
        let repo = scene
            .finding(&desk.ui)
            .and_then(|finding| finding.repo.clone());
        let asked = sent(&desk.act(Action::Guide));
        let of = asked.first().map(|command| match command {
            Command::Guide(request) => request.repo.clone(),
            other => panic!("{other:?}"),
        });
        assert_eq!(of, repo);
        desk.ui.overlay = None;
    }
}
