//! Owns which folders of a place hold a model each, and what the model is called.
//!
//! Never enters a link or a hidden folder, and never goes deeper or wider than its bounds.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::discover::{Spot, has_notes, notes_of};
use super::note::Notes;
use crate::cache::local;
use crate::domain::{CacheKind, RepoId, RepoKind};
use crate::host;

/// Folders below a place in which models are looked for.
const DEEPEST: usize = 5;
/// Folders that are looked at in one place.
const MOST_FOLDERS: usize = 20_000;
/// Models of one place.
const MOST_HOMES: usize = 10_000;

/// What a model is called whose folder has no name that a repo could have.
const UNNAMED: &str = "unnamed";

/// A folder that holds one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cache) struct Home {
    pub(in crate::cache) repo: RepoId,
    /// Whether larder fetched it as that; else it is called so by its folders.
    pub(in crate::cache) is_repo_known: bool,
    pub(in crate::cache) kind: CacheKind,
    pub(in crate::cache) folder: PathBuf,
}

/// The models' folders of a place that is no Hub cache, in the order of their paths; and what was
/// left out, if anything was.
pub(super) fn homes(spot: &Spot) -> io::Result<(Vec<Home>, Option<String>)> {
    match spot.kind {
        CacheKind::Hub => Ok((Vec::new(), None)),
        CacheKind::LocalDir => Ok((
            home(spot.kind, &spot.path, &spot.path)
                .into_iter()
                .collect(),
            None,
        )),
        CacheKind::HubApi if has_notes(&spot.path) => Ok((
            home(spot.kind, &spot.path, &spot.path)
                .into_iter()
                .collect(),
            None,
        )),
        CacheKind::HubApi => hub_api(&spot.path),
        CacheKind::LmStudio | CacheKind::MlxCache | CacheKind::Swama | CacheKind::Folder => {
            walk(spot)
        }
    }
}

/// `HubApi`'s own order: `ORG/NAME`.
fn hub_api(models: &Path) -> io::Result<(Vec<Home>, Option<String>)> {
    let mut found = Vec::new();
    for org in folders_in(models)? {
        // What cannot be read in the place is left out; the place itself can be.
        for name in folders_in(&models.join(&org)).unwrap_or_default() {
            if found.len() >= MOST_HOMES {
                return Ok((found, Some(too_many(MOST_HOMES, "models"))));
            }
            let folder = models.join(&org).join(name);
            found.extend(home(CacheKind::HubApi, models, &folder));
        }
    }
    Ok((found, None))
}

/// Any folder that holds a config or weights of any kind, wherever it lies.
fn walk(spot: &Spot) -> io::Result<(Vec<Home>, Option<String>)> {
    let mut found = Vec::new();
    let mut open = vec![(spot.path.clone(), 0)];
    let mut looked_at = 0;
    let mut left_out = None;
    while let Some((folder, depth)) = open.pop() {
        looked_at += 1;
        if looked_at > MOST_FOLDERS {
            left_out = Some(too_many(MOST_FOLDERS, "folders"));
            break;
        }
        if found.len() >= MOST_HOMES {
            left_out = Some(too_many(MOST_HOMES, "models"));
            break;
        }
        let entries = match host::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(error),
            Err(error) => {
                left_out = Some(format!("`{}` cannot be read: {error}", folder.display()));
                continue;
            }
        };
        let mut below = Vec::new();
        let mut is_home = has_notes(&folder);
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !name.starts_with('.') => below.push(entry.path()),
                Ok(kind) if !kind.is_dir() => {
                    is_home |= name == "config.json" || is_weights(&name) || is_gguf(&name);
                }
                Ok(_) | Err(_) => {}
            }
        }
        if is_home {
            let kind = if has_notes(&folder) && spot.kind == CacheKind::Folder {
                notes_of(&folder)
            } else {
                spot.kind
            };
            found.extend(home(kind, &spot.path, &folder));
        } else if depth < DEEPEST {
            open.extend(below.into_iter().map(|folder| (folder, depth + 1)));
        }
    }
    found.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok((found, left_out))
}

fn too_many(most: usize, what: &str) -> String {
    format!("only the first {most} {what} were looked at")
}

/// Whether a name is that of weights which MLX loads.
pub(super) fn is_weights(name: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|end| end == "safetensors")
}

/// Whether a name is that of weights of llama.cpp's kind, which MLX does not load.
pub(super) fn is_gguf(name: &str) -> bool {
    let end = Path::new(name).extension();
    end.is_some_and(|end| end.eq_ignore_ascii_case("gguf"))
}

fn home(kind: CacheKind, place: &Path, folder: &Path) -> Option<Home> {
    let known = known_repo(kind, folder);
    Some(Home {
        is_repo_known: known.is_some(),
        repo: known.or_else(|| repo_of(place, folder))?,
        kind,
        folder: folder.to_owned(),
    })
}

/// The repo that larder fetched into a folder; of several, that of most of its files.
pub(super) fn known_repo(kind: CacheKind, folder: &Path) -> Option<RepoId> {
    if kind != CacheKind::LocalDir {
        return None;
    }
    let commits = local::fetched_commits(folder);
    let repos: BTreeSet<RepoId> = commits
        .iter()
        .filter_map(|commit| local::repo_of(folder, commit))
        .collect();
    if repos.len() > 1 {
        return local::repo_of(folder, &Notes::of(folder).commit()?);
    }
    repos.into_iter().next()
}

/// What a model is called by its folders: the last two below the place, else its own name.
fn repo_of(place: &Path, folder: &Path) -> Option<RepoId> {
    let below = folder.strip_prefix(place).unwrap_or(folder);
    let mut names: Vec<String> = below
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if names.is_empty() {
        let own = folder.file_name().unwrap_or_default();
        names.push(own.to_string_lossy().into_owned());
    }
    let from = names.len().saturating_sub(2);
    let allowed: Vec<String> = names[from..].iter().map(|name| plain(name)).collect();
    [
        names[from..].join("/"),
        allowed.join("/"),
        UNNAMED.to_owned(),
    ]
    .iter()
    .find_map(|name| RepoId::new(RepoKind::Model, name).ok())
}

/// A folder's name with what no repo's name may have replaced.
fn plain(name: &str) -> String {
    let mut kept = String::new();
    for c in name.chars() {
        let c = if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else if c == '.' {
            '.'
        } else {
            '-'
        };
        let doubles = matches!(c, '.' | '-') && kept.ends_with(['.', '-']);
        if !doubles && kept.len() < 96 {
            kept.push(c);
        }
    }
    let kept = kept.trim_matches(['.', '-']);
    kept.to_owned()
}

/// The names of folders in a folder that are no links and not hidden, in order.
pub(super) fn folders_in(folder: &Path) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = host::read_dir(folder)?
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(host::Kind::is_dir))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_called_by_its_folders() {
        let called = |folder: &str| {
            let folder = Path::new("/m").join(folder);
            let repo = repo_of(Path::new("/m"), &folder).unwrap();
            repo.name().to_owned()
        };
        assert_eq!(called("org/name"), "org/name");
        assert_eq!(called("name"), "name");
        assert_eq!(called("deep/org/name-4bit"), "org/name-4bit");
        assert_eq!(called("My Models/Gemma 2 (4bit)"), "My-Models/Gemma-2-4bit");
        assert_eq!(called("a--b/x..y"), "a-b/x.y");
        assert_eq!(called("模型"), "unnamed");
        assert_eq!(called(""), "m");
        assert_eq!(called(&"x".repeat(200)).len(), 96);
    }
}
