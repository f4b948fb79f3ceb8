//! Owns the pictures in the README: real screens of told stories, kept in `assets/screenshots`.
//!
//! A picture that is out of date fails its test; `LARDER_RENEW_PICTURES=1 cargo test pictures`
//! draws them again.

use super::action::Action;
use super::pane::Pane;
use super::screens::{Screen, empty};
use super::stage;
use super::svg::{self, Palette};
use super::theme::{Depth, ThemeName};
use crate::domain::{
    Etag, Event, Failure, FailureCode, FileId, JobId, LockRow, LockWait, Origin, Outcome,
    PlannedFile, PullPlan, RepoId, RepoKind, RetryIn, Revision,
};
use crate::store::script::{Script, commit, planned_file, reset};

const DARK: Palette = Palette {
    text: "#d7dae0",
    ground: "#0d1117",
    bar: "#161b22",
    edge: "#30363d",
    title: "#8b949e",
    sixteen: SIXTEEN,
};

const LIGHT: Palette = Palette {
    text: "#1f2328",
    ground: "#ffffff",
    bar: "#f0f2f5",
    edge: "#c8cfd6",
    title: "#59636e",
    sixteen: SIXTEEN,
};

/// The colours of an ordinary terminal.
const CLASSIC: Palette = Palette {
    text: "#cccccc",
    ground: "#1e1e1e",
    bar: "#2d2d2d",
    edge: "#454545",
    title: "#9d9d9d",
    sixteen: SIXTEEN,
};

const SIXTEEN: [&str; 16] = [
    "#000000", "#cd3131", "#0dbc79", "#e5e510", "#2472c8", "#bc3fbc", "#11a8cd", "#e5e5e5",
    "#666666", "#f14c4c", "#23d18b", "#f5f543", "#3b8eea", "#d670d6", "#29b8db", "#e5e5e5",
];

/// A picture: its file, what it shows for those who cannot see it, and how it is made.
struct Shot {
    name: &'static str,
    about: &'static str,
    screen: Screen,
    size: (u16, u16),
    theme: ThemeName,
    palette: &'static Palette,
}

impl Shot {
    fn svg(&self) -> String {
        let buffer = self.screen.draw(self.size, self.theme);
        svg::picture(&buffer, self.palette, "larder", self.about)
    }
}

fn shots() -> Vec<Shot> {
    use Action::{Details, Down, Focus};
    let files = [Focus(Pane::Files)];
    let busy = || Screen::of("dashboard", &busy()).after(&files);
    vec![
        Shot {
            name: "dashboard",
            about: "larder's dashboard in the middle of a download: models, files with bars, \
                    one of them waiting to try again, findings about the cache, a lock that \
                    python3 holds, and the log",
            screen: busy(),
            size: (120, 32),
            theme: ThemeName::Dark,
            palette: &DARK,
        },
        Shot {
            name: "first-run",
            about: "the first start: which cache, how much room, and a model to begin with",
            screen: Screen::of("first-run", &empty()),
            size: (80, 24),
            theme: ThemeName::Dark,
            palette: &DARK,
        },
        Shot {
            name: "failure",
            about: "details of a file that failed: what, why, what to do next, and each attempt",
            screen: Screen::of("failure", &failed()).after(&[files[0], Down, Down, Down, Details]),
            size: (120, 32),
            theme: ThemeName::Dark,
            palette: &DARK,
        },
        Shot {
            name: "small",
            about: "the same download in a terminal of 80 by 24 cells with sixteen colours",
            screen: busy().with(|facts| facts.depth = Depth::Sixteen),
            size: (80, 24),
            theme: ThemeName::Sixteen,
            palette: &CLASSIC,
        },
        Shot {
            name: "light",
            about: "the same download on a light background",
            screen: busy(),
            size: (120, 32),
            theme: ThemeName::Light,
            palette: &LIGHT,
        },
    ]
}

const CACHE: &str = "/home/me/.cache/huggingface/hub";

/// A name of content that looks like one.
fn etag(seed: u64) -> Etag {
    let mut state = seed + 1;
    let mut digits = String::new();
    while digits.len() < 64 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        digits = format!("{digits}{:016x}", state ^ (state >> 29));
    }
    Etag::new(&digits).unwrap()
}

fn model(name: &str) -> RepoId {
    RepoId::new(RepoKind::Model, name).unwrap()
}

/// A pull of these files that was planned.
fn planned(repo: &RepoId, files: &[(&str, u64)]) -> Script {
    let files: Vec<PlannedFile> = (0_u32..)
        .zip(files)
        .map(|(id, (path, size_bytes))| PlannedFile {
            etag: etag(u64::from(id)),
            ..planned_file(id, path, *size_bytes)
        })
        .collect();
    let total_bytes = files.iter().map(|file| file.size_bytes).sum();
    Script::new()
        .then(
            0,
            Event::PullStarted {
                repo: repo.clone(),
                revision: Revision::main(),
                endpoint: "huggingface.co".to_owned(),
                cache_dir: CACHE.to_owned(),
                is_dry_run: false,
                is_offline: false,
            },
        )
        .then(
            180,
            Event::Planned(PullPlan {
                repo: repo.clone(),
                revision: Revision::main(),
                commit: commit(),
                files,
                left_out: 3,
                total_bytes,
                fetch_bytes: total_bytes,
                disk_bytes: total_bytes,
                free_bytes: Some(212_000_000_000),
                snapshot: format!(
                    "{CACHE}/models--{}/snapshots/{}",
                    repo.name().replace('/', "--"),
                    commit()
                ),
                is_offline: false,
            }),
        )
}

fn mistral() -> (RepoId, Script) {
    let repo = model("mlx-community/Mistral-Small-24B-Instruct-2501-4bit");
    let script = planned(
        &repo,
        &[
            ("config.json", 1_100),
            ("model-00001-of-00003.safetensors", 5_360_000_000),
            ("model-00002-of-00003.safetensors", 5_370_000_000),
            ("model-00003-of-00003.safetensors", 2_530_000_000),
            ("model.safetensors.index.json", 98_000),
            ("special_tokens_map.json", 21_000),
            ("tokenizer.json", 17_100_000),
            ("tokenizer_config.json", 200_000),
        ],
    );
    (repo, script)
}

/// Two pulls, one file that tries again, one that waits for python3, and a cache with findings.
fn busy() -> Script {
    let (repo, script) = mistral();
    let lock = LockRow {
        repo: repo.clone(),
        path: format!("{CACHE}/.locks/{}/3f28.lock", repo.folder()),
        file: Some("tokenizer.json".to_owned()),
        ..stage::locks().remove(0)
    };
    let free = LockRow {
        repo: repo.clone(),
        ..stage::locks().remove(2)
    };
    let wait = Event::Waiting {
        file: FileId(6),
        attempt: 1,
        lock: LockWait {
            lock: lock.path.clone(),
            pid: lock.pid,
            program: lock.program.clone(),
            other_bytes: Some(12_400_000),
        },
    };
    let mut findings = stage::findings();
    findings.truncate(8);
    findings.drain(2..6);
    let mut script = stage::zoo(script)
        .then(1, Event::FindingsSeen { findings })
        .then(
            1,
            Event::LocksSeen {
                locks: vec![lock, free],
            },
        )
        .connecting(0, 1)
        .downloading(0, 1, 0)
        .fetched(0, 1, 1_100)
        .reusing(5, 1)
        .then(
            2,
            Event::Reused {
                file: FileId(5),
                attempt: 1,
                origin: Origin::Cache,
                is_verified: true,
            },
        )
        .connecting(4, 1)
        .downloading(4, 1, 0)
        .fetched(4, 1, 98_000)
        .connecting(7, 1)
        .downloading(7, 1, 0)
        .fetched(7, 1, 200_000)
        .then(1, wait)
        .connecting(1, 1)
        .downloading(1, 1, 3_310_000_000)
        .connecting(2, 1)
        .downloading(2, 1, 1_240_000_000)
        .connecting(3, 1)
        .downloading(3, 1, 0);
    for second in 1..=7 {
        script = script
            .progress(500, 1, 1, 3_310_000_000 + second * 61_000_000)
            .progress(200, 2, 1, 1_240_000_000 + second * 58_500_000)
            .progress(300, 3, 1, second * 43_000_000);
    }
    let retry = RetryIn {
        wait_ms: 2_100,
        failure: 1,
        of: 5,
    };
    let cut = reset().at_path("model-00003-of-00003.safetensors");
    script = script
        .failed(3, 1, cut, Some(retry))
        .progress(300, 1, 1, 3_750_000_000);

    let whisper = model("mlx-community/whisper-large-v3-mlx");
    let mut other = planned(
        &whisper,
        &[("config.json", 270), ("weights.npz", 3_080_000_000)],
    )
    .then(
        400,
        Event::Reusing {
            file: FileId(0),
            attempt: 1,
        },
    )
    .connecting(1, 1)
    .downloading(1, 1, 370_000_000);
    for second in 1..=7 {
        other = other.progress(1_000, 1, 1, 370_000_000 + second * 21_000_000);
    }
    for stamped in &mut other.events {
        stamped.job = JobId(1);
    }
    script.events.extend(other.events);
    script.events.sort_by_key(|stamped| stamped.at_ms);
    script
}

/// Bytes that are not those promised, twice; everything else is in place.
fn failed() -> Script {
    let (_, script) = mistral();
    let mut script = stage::zoo(script);
    let path = "model-00003-of-00003.safetensors";
    for (file, bytes) in [
        (0, 1_100),
        (4, 98_000),
        (5, 21_000),
        (6, 17_100_000),
        (7, 200_000),
        (1, 5_360_000_000),
        (2, 5_370_000_000),
    ] {
        script = script
            .connecting(file, 1)
            .downloading(file, 1, 0)
            .fetched(file, 1, bytes);
    }
    let wrong = Failure::new(
        FailureCode::ChecksumMismatch,
        format!("the bytes of `{path}` are not those the Hub promised"),
    )
    .because(format!(
        "SHA-256 is {}…, promised was {}…",
        etag(90).short(),
        etag(3).short()
    ))
    .at_path(path);
    let cut = reset().at_path(path);
    let retry = |wait_ms, failure| RetryIn {
        wait_ms,
        failure,
        of: 5,
    };
    script = script
        .connecting(3, 1)
        .downloading(3, 1, 0)
        .progress(9_000, 3, 1, 1_210_000_000)
        .failed(3, 1, cut, Some(retry(1_300, 1)))
        .then(
            1_300,
            Event::Connecting {
                file: FileId(3),
                attempt: 2,
                source: "huggingface.co".to_owned(),
            },
        )
        .downloading(3, 2, 1_210_000_000)
        .progress(8_000, 3, 2, 2_530_000_000)
        .then(
            2_000,
            Event::Verifying {
                file: FileId(3),
                attempt: 2,
            },
        )
        .failed(3, 2, wrong.clone(), Some(retry(0, 1)))
        .connecting(3, 3)
        .downloading(3, 3, 0)
        .progress(19_000, 3, 3, 2_530_000_000)
        .then(
            2_000,
            Event::Verifying {
                file: FileId(3),
                attempt: 3,
            },
        )
        .failed(3, 3, wrong.clone(), None);
    script.then(
        1,
        Event::Ended(Outcome::Failed {
            failures: vec![wrong],
        }),
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn place(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("assets/screenshots")
            .join(format!("{name}.svg"))
    }

    #[test]
    fn pictures_are_of_this_larder() {
        let is_renewal = std::env::vars_os().any(|(name, _)| name == "LARDER_RENEW_PICTURES");
        let mut stale = Vec::new();
        for shot in shots() {
            let (drawn, path) = (shot.svg(), place(shot.name));
            assert!(drawn.len() < 60_000, "{}: {} bytes", shot.name, drawn.len());
            if is_renewal {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, &drawn).unwrap();
            } else if std::fs::read_to_string(&path).ok().as_ref() != Some(&drawn) {
                stale.push(path.display().to_string());
            }
        }
        assert!(
            stale.is_empty(),
            "out of date: {}\n`LARDER_RENEW_PICTURES=1 cargo test pictures` draws them again; \
             look at them before they are committed",
            stale.join(", ")
        );
    }

    #[test]
    fn pictures_are_whole_and_bring_nothing_along() {
        for shot in shots() {
            let drawn = shot.svg();
            for foreign in ["<script", "<image", "@font-face", "url(", "href", "\u{1b}"] {
                assert!(!drawn.contains(foreign), "{}: {foreign}", shot.name);
            }
            assert_eq!(
                drawn.matches("<text ").count(),
                drawn.matches("</text>").count()
            );
            assert_eq!(drawn.matches("<g ").count(), drawn.matches("</g>").count());
            assert_eq!(shot.svg(), drawn, "the same bytes each time");
        }
    }

    #[test]
    fn every_picture_is_in_the_readme_and_has_words() {
        let readme = include_str!("../../README.md");
        for shot in shots() {
            let link = format!("](assets/screenshots/{}.svg)", shot.name);
            let before = readme.split_once(&link).map(|(before, _)| before);
            let alt = before
                .and_then(|before| before.rsplit_once("!["))
                .map(|(_, alt)| alt);
            assert!(alt.is_some_and(|alt| alt.len() > 20), "{link}");
        }
    }
}
