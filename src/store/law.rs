//! The event law as tests: scripts in every order, with losses, repeats and strangers.

use proptest::prelude::*;

use super::script::{self, Script};
use super::{FileStatus, Level, Phase, Store, reduce};
use crate::domain::{
    Event, Failure, FailureCode, FileId, JobId, OtherProgress, OtherPull, Outcome, RetryIn,
    Revision, Stamped,
};

fn texts(store: &Store) -> Vec<String> {
    store.log().since(0).map(|line| line.text.clone()).collect()
}

fn status(store: &Store, file: u32) -> &'static str {
    store.file(FileId(file)).unwrap().status.name()
}

#[test]
fn a_whole_pull_reads_as_it_happened() {
    let store = Script::complete().fold();
    let lines: Vec<String> = store
        .log()
        .since(0)
        .map(|line| format!("{:<7} {}", format!("{:?}", line.level), line.text))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_whole_pull_ends_in_counts_that_add_up() {
    let script = Script::complete();
    let store = script.fold();
    let counts = store.counts();
    assert_eq!((counts.files_done, counts.files_total), (6, 6));
    assert_eq!(counts.bytes_done, counts.bytes_total);
    assert_eq!(counts.bytes_total, script::plan().total_bytes);
    assert_eq!(store.fetched_bytes(), 2_042_004_736);
    assert_eq!(store.reused_bytes(), 48_000 + 5_000_000);
    assert_eq!(status(&store, 5), "done", "the twin mirrors its transfer");
    assert_eq!(store.file(FileId(5)).unwrap().fetched_bytes, 0);
    assert_eq!(store.phase(), Some(Phase::Ended));
    assert_eq!(store.speed(script.now_ms()), 0);
    assert_eq!(store.eta_ms(script.now_ms()), None);
}

#[test]
fn speed_and_eta_are_of_now() {
    let mut script = Script::planned().connecting(3, 1).downloading(3, 1, 0);
    assert_eq!(script.fold().eta_ms(script.now_ms()), None);
    for tick in 1..=50 {
        script = script.progress(100, 3, 1, tick * 1_000_000);
    }
    let store = script.fold();
    let now_ms = script.now_ms();
    assert_eq!(store.speed(now_ms), 10_000_000);
    assert_eq!(store.file_speed(FileId(3), now_ms), 10_000_000);
    assert_eq!(store.file_speed(FileId(0), now_ms), 0);
    // 1 330 - 50 of the model, 12 of the tokenizer's rest, the small ones.
    assert_eq!(store.eta_ms(now_ms).map(|ms| ms / 1_000), Some(129));
    assert_eq!(store.speed(now_ms + 6_000), 0);
    assert_eq!(store.eta_ms(now_ms + 6_000), None);
}

#[test]
fn an_older_attempt_is_not_heard() {
    let script = Script::planned()
        .connecting(0, 2)
        .downloading(0, 2, 0)
        .failed(0, 1, script::reset(), None)
        .progress(1, 0, 1, 4_000);
    let store = script.fold();
    assert_eq!(status(&store, 0), "downloading");
    assert_eq!(store.file(FileId(0)).unwrap().bytes, 0);
}

#[test]
fn an_attempt_ends_once() {
    let retry = RetryIn {
        wait_ms: 1_000,
        failure: 1,
        of: 5,
    };
    let script = Script::planned()
        .connecting(0, 1)
        .downloading(0, 1, 0)
        .failed(0, 1, script::reset(), Some(retry))
        .progress(1, 0, 1, 4_000)
        .fetched(0, 1, 4_100);
    let store = script.fold();
    let view = store.file(FileId(0)).unwrap();
    assert_eq!(
        *view.status,
        FileStatus::Retrying {
            at_ms: script.events[5].at_ms + 1_000,
            failure: 1,
            of: 5,
            why: Box::new(script::reset()),
        }
    );
    assert_eq!(view.bytes, 0);
}

#[test]
fn a_cancel_is_heard_between_attempts() {
    let cancel = Event::Cancelled {
        file: FileId(0),
        attempt: 1,
        is_paused: false,
    };
    let pause = Event::Cancelled {
        file: FileId(0),
        attempt: 1,
        is_paused: true,
    };
    let paused = Script::planned().connecting(0, 1).then(1, pause);
    assert_eq!(status(&paused.fold(), 0), "paused");
    assert_eq!(
        status(&paused.then(1, cancel.clone()).fold(), 0),
        "cancelled"
    );
    let finished = Script::planned()
        .connecting(0, 1)
        .fetched(0, 1, 4_100)
        .then(1, cancel);
    assert_eq!(status(&finished.fold(), 0), "done");
}

#[test]
fn retry_opens_what_failed() {
    let broken = Script::broken();
    let store = broken.fold();
    assert_eq!(store.retryable_files(), [FileId(0), FileId(3)]);
    assert_eq!(store.failures().len(), 2);
    let again = broken
        .then(
            10,
            Event::Reopened {
                files: vec![FileId(0), FileId(3)],
            },
        )
        .connecting(3, 2)
        .downloading(3, 2, 402_000_000);
    let store = again.fold();
    assert_eq!(store.outcome(), None);
    assert_eq!(status(&store, 0), "queued");
    assert_eq!(status(&store, 3), "downloading");
    assert_eq!(store.file(FileId(3)).unwrap().fetched_bytes, 402_000_000);
}

#[test]
fn lost_progress_of_an_earlier_attempt_is_counted_by_the_next() {
    let script = Script::planned()
        .connecting(3, 1)
        .downloading(3, 1, 100)
        .failed(3, 1, script::reset(), None)
        .connecting(3, 2)
        .downloading(3, 2, 400)
        .progress(10, 3, 2, 450);
    let view_bytes = |script: &Script| {
        let store = script.fold();
        let view = store.file(FileId(3)).unwrap();
        (view.bytes, view.fetched_bytes)
    };
    assert_eq!(view_bytes(&script), (450, 350));
}

#[test]
fn a_stall_has_two_lines_however_often_it_is_told() {
    let store = Script::complete().fold();
    let stalls = texts(&store)
        .into_iter()
        .filter(|text| text.contains("stalled") || text.contains("arrive again"))
        .count();
    assert_eq!(stalls, 2);
}

#[test]
fn waiting_for_another_download_has_a_line_for_each_tenth() {
    let of = |pid, bytes_done| OtherPull {
        pid: Some(pid),
        program: None,
        progress: Some(OtherProgress {
            files_done: 0,
            files_total: 2,
            bytes_done,
            bytes_total: 1_000,
        }),
        proof: String::new(),
    };
    let mut script = Script::started();
    for other in [of(1, 0), of(1, 50), of(1, 99), of(1, 100), of(2, 100)] {
        script = script.then(10, Event::WaitingForPull(other));
    }
    let store = script.clone().fold();
    let told = |store: &Store| {
        let lines = texts(store);
        let waits = lines.iter().filter(|text| text.contains("waiting for"));
        waits.count()
    };
    assert_eq!(told(&store), 3, "{:?}", texts(&store));
    assert_eq!(store.waits_for().unwrap().pid, Some(2));
    let planned = script.then(1, Event::Planned(script::plan()));
    assert_eq!(planned.fold().waits_for(), None);
}

#[test]
fn another_job_does_not_touch_the_pull() {
    let mut store = Script::eventful().fold();
    let before = texts(&store).len();
    for (job, event) in [
        (
            1,
            Event::ModelsListed {
                models: vec![script::model_row("a/b", 5)],
            },
        ),
        (1, Event::Ended(Outcome::Listed)),
        (
            7,
            Event::Verifying {
                file: FileId(0),
                attempt: 9,
            },
        ),
    ] {
        let stamped = Stamped {
            at_ms: script::START_MS,
            job: JobId(job),
            event,
        };
        reduce(&mut store, &stamped);
    }
    assert_eq!(store.outcome(), None);
    assert_eq!(store.listing().outcome, Some(Outcome::Listed));
    assert_eq!(store.listing().models.len(), 1);
    assert_eq!(texts(&store).len(), before);
}

#[test]
fn verifying_does_not_forget_the_files_that_were_listed() {
    let row = script::model_row("a/b", 5);
    let listed = Event::FilesListed {
        model: Box::new(row),
        files: vec![script::file_row("x", 5)],
    };
    let mut store = Store::default();
    for (job, event) in [
        (1, listed),
        (1, Event::Ended(Outcome::Listed)),
        (2, Event::Ended(Outcome::Verified { good: 1, broken: 0 })),
        (3, Event::Ended(Outcome::Cancelled)),
    ] {
        let stamped = Stamped {
            at_ms: script::START_MS,
            job: JobId(job),
            event,
        };
        reduce(&mut store, &stamped);
    }
    assert_eq!(store.listing().files.len(), 1);
    assert_eq!(store.listing().outcome, Some(Outcome::Cancelled));
}

#[test]
fn names_from_a_server_cannot_command_a_terminal() {
    let failure = Failure::new(FailureCode::Server, "x").because("\u{1b}[2J");
    let store = Script::planned()
        .then(
            0,
            Event::Noted {
                note: "\u{1b}]0;owned\u{7}".to_owned(),
            },
        )
        .connecting(0, 1)
        .failed(0, 1, failure, None)
        .fold();
    assert!(texts(&store).iter().all(|text| !text.contains('\u{1b}')));
}

#[test]
fn warnings_name_what_larder_copes_with() {
    let store = Script::eventful().fold();
    let warned: Vec<&str> = store
        .log()
        .since(0)
        .filter(|line| line.level >= Level::Warning)
        .map(|line| line.text.as_str())
        .collect();
    assert!(
        warned
            .contains(&"model.safetensors: connection reset at 410 MB; resuming in 2.1 s (1 of 5)"),
        "{warned:#?}"
    );
}

/// What a face could compare: states and bytes of every row.
fn picture(store: &Store) -> Vec<(&'static str, u64, u32)> {
    store
        .files()
        .map(|view| (view.status.name(), view.bytes, view.attempts))
        .collect()
}

/// Checks the law after every single event.
fn fold_lawfully(events: &[Stamped]) -> Result<Store, TestCaseError> {
    let mut store = Store::default();
    for stamped in events {
        let before: Vec<u64> = store.files().map(|view| view.bytes).collect();
        let done: Vec<bool> = store.files().map(|v| v.status.is_in_place()).collect();
        let clock = store.last_ms();
        reduce(&mut store, stamped);
        prop_assert!(store.last_ms() >= clock);
        if matches!(stamped.event, Event::Planned(_) | Event::PullStarted { .. }) {
            continue;
        }
        let is_rewind = matches!(stamped.event, Event::Rewound { .. });
        for ((view, before), was_done) in store.files().zip(before).zip(done) {
            prop_assert!(is_rewind || view.bytes >= before, "{:?}", stamped.event);
            prop_assert!(view.bytes <= view.size_bytes);
            prop_assert!(!was_done || view.status.is_in_place());
        }
        let counts = store.counts();
        prop_assert!(counts.bytes_done <= counts.bytes_total);
        let now_ms = store.last_ms().unwrap_or(0);
        prop_assert!(store.speed(now_ms + 60_000) == 0);
        let _ = store.eta_ms(now_ms);
    }
    Ok(store)
}

fn file_of(event: &Event) -> Option<FileId> {
    let json = serde_json::to_value(event).unwrap();
    let file = json.get("file")?.as_u64()?;
    Some(FileId(u32::try_from(file).unwrap()))
}

/// The files' own stories, woven together in another way; the rest of the script around them.
fn woven(script: &Script, picks: &[prop::sample::Index]) -> Vec<Stamped> {
    let (of_files, others): (Vec<_>, Vec<_>) = script
        .events
        .iter()
        .cloned()
        .partition(|stamped| file_of(&stamped.event).is_some());
    let mut queues: Vec<Vec<Stamped>> = (0..6)
        .map(|file| {
            of_files
                .iter()
                .filter(|stamped| file_of(&stamped.event) == Some(FileId(file)))
                .cloned()
                .rev()
                .collect()
        })
        .collect();
    let mut events: Vec<Stamped> = others[..3].to_vec();
    let mut times = of_files.iter().map(|stamped| stamped.at_ms);
    for pick in picks.iter().cycle().take(of_files.len()) {
        queues.retain(|queue| !queue.is_empty());
        let at = pick.index(queues.len());
        let mut stamped = queues[at].pop().unwrap();
        stamped.at_ms = times.next().unwrap();
        events.push(stamped);
    }
    events.extend_from_slice(&others[3..]);
    events
}

proptest! {
    #[test]
    fn lost_progress_and_other_orders_end_in_the_same_picture(
        picks in prop::collection::vec(any::<prop::sample::Index>(), 60),
        kept in prop::collection::vec(any::<bool>(), 60),
    ) {
        let script = Script::complete();
        let whole = fold_lawfully(&script.events)?;
        let mut kept = kept.into_iter().cycle();
        let mut events = woven(&script, &picks);
        events.retain(|stamped| {
            !matches!(stamped.event, Event::Progress { .. }) || kept.next() == Some(true)
        });
        let lossy = fold_lawfully(&events)?;
        prop_assert_eq!(picture(&lossy), picture(&whole));
        prop_assert_eq!(lossy.counts(), whole.counts());
        prop_assert_eq!(lossy.fetched_bytes(), whole.fetched_bytes());
    }

    #[test]
    fn no_order_breaks_the_law(
        order in Just((0..60usize).collect::<Vec<_>>()).prop_shuffle(),
        repeat in 0..60usize,
    ) {
        let events = Script::complete().events;
        let mut shuffled: Vec<Stamped> =
            order.iter().filter_map(|&at| events.get(at).cloned()).collect();
        if let Some(again) = shuffled.get(repeat).cloned() {
            shuffled.push(again);
        }
        fold_lawfully(&shuffled)?;
    }

    #[test]
    fn strangers_change_nothing(
        file in 5..9u32,
        attempt in 0..4u32,
        bytes in any::<u64>(),
        at in 3..40usize,
    ) {
        let mut events = Script::eventful().events;
        let at = at.min(events.len());
        // File 5 mirrors another and has no transfer, the others are in no plan.
        let stranger = Event::Progress { file: FileId(file), attempt, bytes };
        events.insert(at, Stamped { at_ms: events[at - 1].at_ms, job: JobId(0), event: stranger });
        let store = fold_lawfully(&events)?;
        prop_assert_eq!(picture(&store), picture(&Script::eventful().fold()));
    }
}

#[test]
fn the_target_takes_the_spelling_of_the_hub() {
    let store = Script::planned().fold();
    let target = store.target().unwrap();
    assert_eq!(target.revision, Revision::main());
    assert_eq!(target.commit, Some(script::commit()));
    assert_eq!(store.started_ms(), Some(script::START_MS));
}
