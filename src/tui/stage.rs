//! Owns the stage of the dashboard's tests: facts, and an interpreter of a few commands.

use super::facts::{Facts, FixWish, Look, Offered, PurgeWish, Verb, Wish};
use super::theme::{Depth, ThemeName};
use crate::domain::{
    CacheKind, DiscardRequest, Disk, Event, Finding, ImportRequest, LockKind, LockRow, LockState,
    ModelState, Network, PartialRow, PartialState, PlanStep, PullRequest, RepoId, RepoKind,
    RepoReference, Revision, Rule, Severity,
};
use crate::store::Level;
use crate::store::script::{self, START_MS, Script, commit, model_row};

/// What a dashboard in a dark terminal is told.
pub(crate) fn facts() -> Facts {
    Facts {
        version: "0.1.0",
        cache_dir: "/home/me/.cache/huggingface/hub".to_owned(),
        cache_origin: "default".to_owned(),
        endpoint: "https://huggingface.co".to_owned(),
        log_file: Some("/home/me/.local/state/larder/log/larder.2026-11-24.log".to_owned()),
        home: Some("/home/me".to_owned()),
        utc_offset_s: 0,
        places: Vec::new(),
        is_read_only: false,
        is_ascii: false,
        depth: Depth::True,
        is_light: false,
        theme: Some(ThemeName::Dark),
        log_level: Level::Info,
        offered: vec![Offered {
            repo: RepoId::new(RepoKind::Model, "mlx-community/gemma-2-2b-it-4bit").unwrap(),
            title: "Gemma 2 2B".to_owned(),
            size_bytes: 1_350_000_000,
            note: "a small all-rounder".to_owned(),
        }],
        open: None,
        pull: None,
        resumes: false,
        story: Vec::new(),
        exit_when_done: false,
        interpret,
        verbs: vec![
            Verb {
                name: "pull".to_owned(),
                about: "fetch a model".to_owned(),
                flags: vec!["--all".to_owned(), "--force".to_owned()],
                shell_flags: vec!["--limit-rate".to_owned(), "--yes".to_owned()],
            },
            Verb {
                name: "verify".to_owned(),
                about: "hash what is here".to_owned(),
                flags: Vec::new(),
                shell_flags: vec!["--online".to_owned()],
            },
        ],
    }
}

fn interpret(line: &str) -> Result<Wish, String> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    match verb {
        "pull" => {
            let reference = RepoReference::parse(rest).map_err(|error| error.to_string())?;
            let revision = reference.revision.unwrap_or_else(Revision::main);
            Ok(Wish::Pull(Box::new(PullRequest::new(
                reference.repo,
                revision,
            ))))
        }
        "verify" => Ok(Wish::Verify(Vec::new())),
        "purge" if rest.contains('/') => {
            let reference = RepoReference::parse(rest).map_err(|error| error.to_string())?;
            Ok(Wish::Purge(Box::new(PurgeWish {
                request: DiscardRequest {
                    targets: vec![(reference.repo, reference.revision.map(|it| it.to_string()))],
                    ..DiscardRequest::default()
                },
                ..PurgeWish::default()
            })))
        }
        "purge" => Ok(Wish::Purge(Box::new(PurgeWish {
            request: DiscardRequest {
                is_unreferenced: rest.contains("--unreferenced"),
                ..DiscardRequest::default()
            },
            unfinished: Some(Vec::new()),
            age_ms: if rest.contains("30d") {
                2_592_000_000
            } else {
                0
            },
        }))),
        "trash" => Ok(match rest {
            "" | "ls" => Wish::Trash,
            "empty" => Wish::Empty(0),
            _ => Wish::Undo(None),
        }),
        "import" => Ok(Wish::Import(Box::new(ImportRequest {
            paths: vec![rest.into()],
            repo: None,
            revision: Revision::main(),
            commit: None,
            dry_run: false,
        }))),
        "ls" => Ok(Wish::Look(Look::Models(rest.to_owned()))),
        "doctor" if rest == "--fix" => Ok(Wish::Fix(FixWish {
            targets: Vec::new(),
            rules: Vec::new(),
            severity: Severity::Note,
        })),
        "status" | "doctor" => Ok(Wish::Look(Look::Health(None))),
        "locks" => Ok(Wish::Look(Look::Locks(None))),
        "demo" => Ok(Wish::ShellOnly),
        _ => Err(format!("there is no command `{verb}`")),
    }
}

/// Healthy models, several broken ones, and what was found about them.
pub(crate) fn zoo(script: Script) -> Script {
    let mut models = vec![
        model_row("mlx-community/Qwen3-4B-4bit", 2_280_000_000),
        model_row("mlx-community/Llama-3.2-3B-Instruct-4bit", 1_820_000_000),
        model_row("mlx-community/whisper-large-v3-turbo", 1_610_000_000),
        model_row("mlx-community/gemma-3-1b-it-4bit", 733_000_000),
        model_row("openai-community/gpt2", 548_000_000),
        model_row("sentence-transformers/all-MiniLM-L6-v2", 90_900_000),
    ];
    models[1].state = ModelState::Broken;
    models[1].problems = vec![
        "the pointer `tokenizer.json` leads to nothing".to_owned(),
        "`model.safetensors` has 900000000 of 1810000000 bytes".to_owned(),
    ];
    models[3].state = ModelState::Partial;
    models[3].files_present = 3;
    models[4].refs.clear();
    models[4].is_unreferenced = true;
    for (at, model) in models.iter_mut().enumerate() {
        model.snapshot = format!(
            "/home/me/.cache/huggingface/hub/models--{}/snapshots/{}",
            model.repo.name().replace('/', "--"),
            commit()
        );
        model.accessed_ms = Some(START_MS - 3_600_000 * (at as u64 + 2));
    }
    script
        .then(
            1,
            Event::DiskSeen(Disk {
                free_bytes: 212_000_000_000,
                total_bytes: 994_000_000_000,
            }),
        )
        .then(1, Event::NetworkSeen(Network::Reachable { answer_ms: 38 }))
        .then(1, Event::ModelsListed { models })
}

/// An unfinished blob that nobody writes, as a finding.
pub(crate) fn abandoned(name: &str, file: &str, bytes: u64) -> Finding {
    let repo = RepoId::new(RepoKind::Model, name).unwrap();
    let path = format!(
        "/home/me/.cache/huggingface/hub/models--{}/blobs/{}.0badcafe.incomplete",
        name.replace('/', "--"),
        "3f".repeat(32)
    );
    Finding::new(
        Rule::AbandonedPartial,
        format!("`{file}` is unfinished"),
        "a download was interrupted, and nobody went on with it",
    )
    .of_model(&repo, None)
    .of_file(file)
    .seen(&path, Some(bytes), Some(bytes * 2), "nobody holds its lock")
    .step(PlanStep::RemovePartial {
        repo,
        path,
        bytes,
        modified_ms: START_MS - 7_200_000,
        is_superseded: false,
        map: None,
    })
}

/// Ten findings of several kinds.
pub(crate) fn findings() -> Vec<Finding> {
    let llama = RepoId::new(RepoKind::Model, "mlx-community/Llama-3.2-3B-Instruct-4bit").unwrap();
    let gemma = RepoId::new(RepoKind::Model, "mlx-community/gemma-3-1b-it-4bit").unwrap();
    let revision = commit().to_string();
    let blob = format!("/home/me/.cache/huggingface/hub/blobs/{}", "ab".repeat(32));
    let of = |rule, summary: &str, cause: &str, file: &str| {
        Finding::new(rule, summary, cause)
            .of_model(&llama, Some(&revision))
            .of_file(file)
            .seen(
                &blob,
                Some(900_000_000),
                Some(1_810_000_000),
                "by its length",
            )
            .step(PlanStep::Pull {
                repo: llama.clone(),
                revision: "main".to_owned(),
                files: Vec::new(),
                fetch_bytes: Some(910_000_000),
            })
    };
    vec![
        of(
            Rule::Truncated,
            "`model.safetensors` has 900 MB of 1.81 GB",
            "a download was cut off by a tool that does not check lengths",
            "model.safetensors",
        ),
        of(
            Rule::DanglingPointer,
            "the pointer `tokenizer.json` leads to nothing",
            "two loads of one model raced, and one deleted what the other had written",
            "tokenizer.json",
        ),
        of(
            Rule::LfsPointer,
            "`vision.safetensors` holds an LFS pointer, not its content",
            "the repo was cloned with git without git-lfs",
            "vision.safetensors",
        ),
        of(
            Rule::WrongPointer,
            "the pointer `config.json` leads to another content",
            "another tool linked it by hand",
            "config.json",
        ),
        of(
            Rule::WouldNotLoad,
            "`model.safetensors.index.json` names a shard that is not there",
            "an interrupted download",
            "model.safetensors.index.json",
        ),
        Finding::new(
            Rule::MalformedRef,
            "the ref `main` holds more than a commit hash",
            "a shell script wrote it with a newline; Python finds no model by it",
        )
        .of_model(&gemma, None)
        .step(PlanStep::Pull {
            repo: gemma.clone(),
            revision: "main".to_owned(),
            files: Vec::new(),
            fetch_bytes: None,
        }),
        Finding::new(
            Rule::MissingFiles,
            "3 of 6 files are here",
            "a download was not finished",
        )
        .of_model(&gemma, Some(&revision))
        .step(PlanStep::Pull {
            repo: gemma,
            revision: "main".to_owned(),
            files: Vec::new(),
            fetch_bytes: Some(400_000_000),
        }),
        abandoned(
            "mlx-community/gemma-3-1b-it-4bit",
            "model.safetensors",
            333_000_000,
        ),
        abandoned("openai-community/gpt2", "model.safetensors", 12_000_000),
        Finding::new(
            Rule::Unreadable,
            "`models--org--secret` cannot be read: permission denied",
            "another user made it",
        )
        .step(PlanStep::ByHand {
            advice: "ask the owner of the folder for the right to read it".to_owned(),
        }),
    ]
}

/// Locks: one of Python's, one of Swift's, a free one, the marker of the old script; and two programs
/// without one.
pub(crate) fn locks() -> Vec<LockRow> {
    let repo = script::repo();
    let base = "/home/me/.cache/huggingface/hub";
    let lock = |kind, name: &str, state| LockRow {
        repo: repo.clone(),
        cache: CacheKind::Hub,
        cache_path: base.to_owned(),
        kind,
        path: format!("{base}/.locks/{}/{name}.lock", repo.folder()),
        etag: Some(name.repeat(8)),
        file: None,
        state,
        pid: None,
        program: None,
        command_line: None,
        since_ms: None,
        is_ours: false,
        proof: "its flock could be taken and was given back at once".to_owned(),
    };
    let mut locks = vec![
        lock(LockKind::Hub, "3f289bc0", LockState::Held),
        lock(LockKind::Swift, "77e01ab2", LockState::Held),
        lock(LockKind::Hub, "0c0ffee0", LockState::Free),
        lock(LockKind::Marker, "marker", LockState::Stale),
    ];
    locks[0].file = Some("model.safetensors".to_owned());
    locks[0].pid = Some(4_121);
    locks[0].program = Some("python3".to_owned());
    locks[0].command_line =
        Some("python3 -m mlx_lm.generate --model mlx-community/gemma".to_owned());
    locks[0].since_ms = Some(START_MS - 130_000);
    locks[0].proof = "its flock is held, and /proc/locks names process 4121".to_owned();
    locks[1].proof = "its flock is held; the system does not tell by whom".to_owned();
    locks[3].path = format!("{base}/{}/.manual_download_lock", repo.folder());
    locks[3].etag = None;
    locks[3].proof = "nobody holds its flock, and process 777 that it names is gone".to_owned();
    for (kind, state, program, pid) in [
        (LockKind::Downloader, LockState::Held, "curl", 5_150),
        (LockKind::Loader, LockState::Free, "mlx_lm.server", 4_999),
    ] {
        let path = format!("{base}/{}", repo.folder());
        locks.push(LockRow {
            path,
            etag: None,
            pid: Some(pid),
            program: Some(program.to_owned()),
            command_line: Some(format!("{program} {repo}")),
            since_ms: Some(START_MS - 60_000),
            proof: "its arguments name the model".to_owned(),
            ..lock(kind, "-", state)
        });
    }
    locks
}

/// Files that others are fetching, and one left behind.
pub(crate) fn partials() -> Vec<PartialRow> {
    let repo = script::repo();
    let partial = |name: &str, file: &str, bytes, state| PartialRow {
        is_superseded: false,
        repo: repo.clone(),
        path: format!("/cache/{name}.incomplete"),
        etag: name.repeat(8),
        file: Some(file.to_owned()),
        bytes,
        expected_bytes: Some(1_330_000_000),
        modified_ms: START_MS - 60_000,
        state,
    };
    vec![
        partial(
            "3f289bc0",
            "model.safetensors",
            402_000_000,
            PartialState::Live {
                is_ours: false,
                pid: Some(4_121),
                program: Some("python3".to_owned()),
            },
        ),
        partial(
            "77e01ab2",
            "tokenizer.json",
            5_000_000,
            PartialState::Abandoned,
        ),
    ]
}
