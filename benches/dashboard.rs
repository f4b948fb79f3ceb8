//! Owns the timing of the dashboard's inner loop: a frame, a folded event, a key.
//!
//! Never asserts: budgets are read by people (a frame under 4 ms, a folded `Progress` under 1 µs).

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot be set up has no result"
)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use larder::domain::{
    Basis, Commit, Disk, Etag, Event, FileId, Finding, JobId, ModelRow, ModelState, Network,
    PlannedFile, PullPlan, RepoId, RepoKind, RepoPath, Revision, Rule, Stamped,
};
use larder::store::{Level, Store, reduce};
use larder::tui::{self, Depth, Facts, Key, Pane, ThemeName, Ui, View, Wish};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// 2026-11-24T02:00:00Z.
const START_MS: u64 = 1_795_485_600_000;
const JOB: JobId = JobId(1);
const FILES: u32 = 10_000;
const ACTIVE: u32 = 64;
const FILE_BYTES: u64 = 5_000_000_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    frames(&mut criterion);
    events(&mut criterion);
    keys(&mut criterion);
    criterion.final_summary();
}

/// Whole pictures at 200×60.
fn frames(criterion: &mut Criterion) {
    let facts = facts();
    let files = ten_thousand_files();
    let models = a_thousand_models();
    for (name, store, pane) in [
        ("frame: 10000 files, 64 active", &files, Pane::Files),
        ("frame: 1000 models, 10 findings", &models, Pane::Models),
    ] {
        let view = View {
            store,
            facts: &facts,
            now_ms: START_MS + 9_000,
        };
        let mut ui = Ui::new(&facts);
        ui.focus_on(pane);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                // As the loop does it: what follows from the store, then the picture.
                black_box(tui::follow(&mut ui, view));
                let mut buffer = Buffer::empty(Rect::new(0, 0, 200, 60));
                tui::draw(&mut buffer, &mut ui, view);
                buffer
            });
        });
        criterion.bench_function(&format!("{name}, picture alone"), |bencher| {
            bencher.iter(|| {
                let mut buffer = Buffer::empty(Rect::new(0, 0, 200, 60));
                tui::draw(&mut buffer, &mut ui, view);
                buffer
            });
        });
    }
}

/// One more count of bytes.
fn events(criterion: &mut Criterion) {
    let mut store = ten_thousand_files();
    let mut step = 0;
    criterion.bench_function("fold: Progress among 10000 files", |bencher| {
        bencher.iter_batched(
            || {
                step += 1;
                stamped(
                    20_000 + step / 100,
                    Event::Progress {
                        file: FileId(FILES / 2 + u32::try_from(step % 64).unwrap()),
                        attempt: 1,
                        bytes: 2_000_000 + step * 16,
                    },
                )
            },
            |event| reduce(&mut store, black_box(&event)),
            BatchSize::SmallInput,
        );
    });
}

/// A step down.
fn keys(criterion: &mut Criterion) {
    let facts = facts();
    let store = ten_thousand_files();
    let view = View {
        store: &store,
        facts: &facts,
        now_ms: START_MS + 9_000,
    };
    let mut ui = Ui::new(&facts);
    ui.focus_on(Pane::Files);
    let mut buffer = Buffer::empty(Rect::new(0, 0, 200, 60));
    tui::draw(&mut buffer, &mut ui, view);
    criterion.bench_function("key: j among 10000 files", |bencher| {
        bencher.iter(|| {
            ui.go(Pane::Files, 5_000);
            tui::press(&mut ui, view, black_box(Key::char('j')))
        });
    });
}

fn stamped(after_ms: u64, event: Event) -> Stamped {
    Stamped {
        at_ms: START_MS + after_ms,
        job: JOB,
        event,
    }
}

fn fold(store: &mut Store, after_ms: u64, event: Event) {
    reduce(store, &stamped(after_ms, event));
}

fn repo(name: &str) -> RepoId {
    RepoId::new(RepoKind::Model, name).unwrap()
}

fn commit() -> Commit {
    Commit::new(&"a1b2c3d4".repeat(5)).unwrap()
}

/// Half of them fetched, 64 under way, the rest queued; the log is full.
fn ten_thousand_files() -> Store {
    let mut store = Store::default();
    machine(&mut store);
    let name = "mlx-community/a-model-of-very-many-files";
    let started = Event::PullStarted {
        repo: repo(name),
        revision: Revision::main(),
        endpoint: "huggingface.co".to_owned(),
        cache_dir: "/cache".to_owned(),
        is_dry_run: false,
        is_offline: false,
    };
    fold(&mut store, 0, started);
    let files = (0..FILES).map(planned).collect();
    let plan = PullPlan {
        repo: repo(name),
        revision: Revision::main(),
        commit: commit(),
        files,
        left_out: 0,
        total_bytes: u64::from(FILES) * FILE_BYTES,
        fetch_bytes: u64::from(FILES) * FILE_BYTES,
        disk_bytes: u64::from(FILES) * FILE_BYTES,
        free_bytes: None,
        snapshot: "/cache/models--x/snapshots/y".to_owned(),
        is_offline: false,
    };
    fold(&mut store, 1, Event::Planned(plan));
    for id in 0..FILES / 2 + ACTIVE {
        let (file, attempt) = (FileId(id), 1);
        let source = "huggingface.co".to_owned();
        let connecting = Event::Connecting {
            file,
            attempt,
            source,
        };
        fold(&mut store, 2, connecting);
        if id < FILES / 2 {
            let finished = Event::Finished {
                file,
                attempt,
                fetched_bytes: FILE_BYTES,
            };
            fold(&mut store, 3, finished);
            continue;
        }
        let downloading = Event::Downloading {
            file,
            attempt,
            from_bytes: 0,
        };
        fold(&mut store, 4, downloading);
    }
    // A history as long as speed looks back.
    for tick in 0..50 {
        for id in FILES / 2..FILES / 2 + ACTIVE {
            let progress = Event::Progress {
                file: FileId(id),
                attempt: 1,
                bytes: (tick + 1) * 30_000,
            };
            fold(&mut store, 4_000 + tick * 100, progress);
        }
    }
    store
}

fn planned(id: u32) -> PlannedFile {
    PlannedFile {
        file: FileId(id),
        path: RepoPath::new(&format!("data/part-{id:05}.safetensors")).unwrap(),
        size_bytes: FILE_BYTES,
        etag: Etag::new(&format!("{id:064x}")).unwrap(),
        same_as: None,
        have_bytes: 0,
        is_reuse: false,
    }
}

fn a_thousand_models() -> Store {
    let mut store = Store::default();
    machine(&mut store);
    let models = (0..1_000).map(model).collect();
    fold(&mut store, 2, Event::ModelsListed { models });
    let findings = (0..10)
        .map(|at| {
            let summary = format!("`model-{at:05}.safetensors` has 900 MB of 1.81 GB");
            Finding::new(Rule::Truncated, summary, "a download was cut off")
                .of_model(&repo(&format!("org/model-{at:04}")), Some("main"))
                .of_file(&format!("model-{at:05}.safetensors"))
        })
        .collect();
    fold(&mut store, 3, Event::FindingsSeen { findings });
    store
}

fn model(at: u64) -> ModelRow {
    let name = format!("org/model-{at:04}");
    ModelRow {
        repo: repo(&name),
        revision: commit().to_string(),
        commit: Some(commit()),
        refs: vec!["main".to_owned()],
        snapshot: format!("/cache/models--org--model-{at:04}/snapshots/{}", commit()),
        size_bytes: 1_000_000 * (at + 1),
        files_present: 6,
        files_expected: Some(6),
        state: ModelState::Complete,
        basis: Basis::Listing,
        cache: larder::domain::CacheKind::Hub,
        verified_ms: None,
        wrong_ms: None,
        is_unreferenced: false,
        problems: Vec::new(),
        modified_ms: Some(START_MS - 86_400_000),
        accessed_ms: Some(START_MS - 3_600_000),
    }
}

/// A disk and a network.
fn machine(store: &mut Store) {
    let disk = Disk {
        free_bytes: 212_000_000_000,
        total_bytes: 994_000_000_000,
    };
    fold(store, 0, Event::DiskSeen(disk));
    let network = Network::Reachable { answer_ms: 38 };
    fold(store, 0, Event::NetworkSeen(network));
}

fn facts() -> Facts {
    Facts {
        version: "0.0.0",
        cache_dir: "/home/me/.cache/huggingface/hub".to_owned(),
        cache_origin: "default".to_owned(),
        endpoint: "https://huggingface.co".to_owned(),
        log_file: None,
        home: Some("/home/me".to_owned()),
        utc_offset_s: 0,
        places: Vec::new(),
        is_read_only: false,
        is_ascii: false,
        depth: Depth::True,
        is_light: false,
        theme: Some(ThemeName::Dark),
        log_level: Level::Debug,
        offered: Vec::new(),
        open: None,
        pull: None,
        resumes: false,
        story: Vec::new(),
        exit_when_done: false,
        interpret: |_| Ok(Wish::ShellOnly),
        verbs: Vec::new(),
    }
}
