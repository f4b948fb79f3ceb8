//! The house's doors: which room may name which, and that every file says what it owns.

use std::fs;
use std::path::{Path, PathBuf};

/// Room, and the rooms it may name besides itself.
const DOORS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("config", &["domain"]),
    ("hub", &["domain", "config"]),
    ("cache", &["domain", "config", "host"]),
    ("mlx", &["domain", "config"]),
    ("host", &["domain", "config"]),
    ("ledger", &["domain", "config"]),
    (
        "engine",
        &["domain", "config", "hub", "cache", "mlx", "host", "ledger"],
    ),
    ("serve", &["domain"]),
    ("store", &["domain"]),
    ("cli", &["domain", "store", "engine"]),
    ("tui", &["domain", "store", "engine"]),
    ("demo", &["domain", "config", "serve"]),
];

/// Room, and words that must not appear in its code.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "domain",
        &["tokio", "reqwest", "ratatui", "std::fs", "Instant::now"],
    ),
    ("hub", &["std::fs"]),
    ("cache", &["reqwest", "tokio"]),
    ("ledger", &["reqwest", "tokio", "SystemTime"]),
    ("engine", &["ratatui", "println!", "eprintln!"]),
    ("store", &["async fn", "std::fs", "tokio", "Instant::now"]),
    ("cli", &["std::fs", "reqwest"]),
    (
        "tui",
        &[
            "fs::read",
            "fs::write",
            "fs::remove",
            "fs::rename",
            "fs::create",
            "File::open",
            "File::create",
            "reqwest",
            "SystemTime",
        ],
    ),
];

fn sources() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    found.sort();
    found
}

/// The room a source file belongs to; `None` for `main.rs` and `lib.rs`, which may name all.
fn room_of(path: &Path) -> Option<String> {
    let below = path
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .unwrap();
    let first = below
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    match first.strip_suffix(".rs") {
        Some("main" | "lib") => None,
        Some(file) => Some(file.to_owned()),
        None if first == "main" => None,
        None => Some(first.to_owned()),
    }
}

/// Code without its comment lines.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Rooms named on a line: `crate::room`, and the members of `crate::{a, b}`.
fn rooms_named(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let members = match rest.strip_prefix('{') {
            Some(list) => list.split(',').collect(),
            None => vec![rest],
        };
        for member in members {
            let name: String = member
                .trim_start()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if !name.is_empty() {
                found.push(name);
            }
        }
    }
    found
}

#[test]
fn rooms_use_only_their_doors() {
    let mut wrong = Vec::new();
    for path in sources() {
        let Some(room) = room_of(&path) else { continue };
        let Some((_, doors)) = DOORS.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!(
                "{}: room `{room}` is not in the table",
                path.display()
            ));
            continue;
        };
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in code(&text) {
            for named in rooms_named(line) {
                let is_room = DOORS.iter().any(|(name, _)| *name == named);
                if is_room && named != room && !doors.contains(&named.as_str()) {
                    wrong.push(format!(
                        "{}:{number}: `{room}` names `{named}`",
                        path.display()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rooms_do_not_reach_outside() {
    let mut wrong = Vec::new();
    for path in sources() {
        let Some(room) = room_of(&path) else { continue };
        let text = fs::read_to_string(&path).unwrap();
        let code_end = text.find("#[cfg(test)]").unwrap_or(text.len());
        for (name, words) in FORBIDDEN {
            if *name != room {
                continue;
            }
            for (number, line) in code(&text[..code_end]) {
                for word in *words {
                    // The faces hear the engine through tokio's channels, but nothing else of it.
                    if line.contains(word) {
                        wrong.push(format!("{}:{number}: `{word}`", path.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_cache_lock_locks_and_only_config_reads_the_environment() {
    let mut wrong = Vec::new();
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let code_end = text.find("#[cfg(test)]").unwrap_or(text.len());
        for (number, line) in code(&text[..code_end]) {
            let is_cfg = line.contains("target_os");
            if is_cfg && room_of(&path).as_deref() != Some("host") {
                wrong.push(format!(
                    "{}:{number}: a platform outside host",
                    path.display()
                ));
            }
            if line.contains("env::var") && room_of(&path).as_deref() != Some("config") {
                wrong.push(format!("{}:{number}: the environment", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_owns() {
    let bare: Vec<_> = sources()
        .into_iter()
        .filter(|path| !fs::read_to_string(path).unwrap().starts_with("//!"))
        .collect();
    assert!(bare.is_empty(), "{bare:?}");
}

#[test]
fn the_reader_of_imports_sees_groups() {
    assert_eq!(rooms_named("use crate::{hub, cache::x};"), ["hub", "cache"]);
    assert_eq!(rooms_named("let x = crate::engine::Handle;"), ["engine"]);
    assert!(rooms_named("use std::fs;").is_empty());
}

/// The README's table of keys is the keymap's.
#[test]
fn the_readme_names_every_key() {
    let readme = include_str!("../../README.md");
    for binding in larder::tui::Keymap::default().all() {
        let keys: Vec<String> = binding.keys.iter().map(|key| format!("`{key}`")).collect();
        let row = format!("| {} | {} |", keys.join(" "), binding.action.name());
        assert!(readme.contains(&row), "no row `{row}`");
        assert!(readme.contains(&binding.about), "{}", binding.about);
    }
}
