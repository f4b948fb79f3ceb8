//! Owns which places are really there: apps' containers one by one, where LM Studio's home points
//! to, and what a folder that the user named is.
//!
//! Never reads a model. The place itself may be a link; nothing below it is entered through one.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use super::homes::folders_in;
use crate::config::{ModelPlace, PlaceRule};
use crate::domain::{CacheKind, RepoId, sanitize};
use crate::host;

/// Where apps keep models below their home, and whose way that is.
const IN_CONTAINERS: [(&str, CacheKind); 4] = [
    ("Documents/huggingface/models", CacheKind::HubApi),
    ("Library/Caches/models", CacheKind::HubApi),
    ("Library/Caches/huggingface/hub", CacheKind::Hub),
    ("Library/Caches/MLXCache", CacheKind::MlxCache),
];
/// Containers that are looked into at most.
const MOST_CONTAINERS: usize = 10_000;
/// A pointer to LM Studio's home is one path.
const POINTER_BYTES: u64 = 4096;

/// A place that is there, or that the user named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) kind: CacheKind,
    /// Every link in it resolved, where it is there.
    pub(super) path: PathBuf,
    pub(super) origin: String,
    pub(super) is_present: bool,
    pub(super) trouble: Option<String>,
    /// The volume that is missing.
    pub(super) absent_mount: Option<PathBuf>,
}

impl Spot {
    fn at(kind: CacheKind, path: PathBuf, origin: String) -> Self {
        Self {
            kind,
            path,
            origin,
            is_present: true,
            trouble: None,
            absent_mount: None,
        }
    }

    fn troubled(mut self, why: &str) -> Self {
        self.trouble = Some(sanitize(why));
        self
    }

    /// Whether the system may empty it when the disk is full.
    pub(super) fn is_purgeable(&self) -> bool {
        let names: Vec<_> = self.path.components().map(Component::as_os_str).collect();
        names
            .windows(2)
            .any(|pair| pair[0] == "Library" && pair[1] == "Caches")
    }
}

/// Every place that is there, each once and none that is the main cache, in the order of the rules.
pub(super) fn discover(places: &[ModelPlace], main: &Path) -> Vec<Spot> {
    let mut found = Vec::new();
    for place in places {
        match place.rule {
            PlaceRule::Hub => found.extend(by_rule(CacheKind::Hub, &place.path, &place.origin)),
            PlaceRule::HubApi => {
                found.extend(by_rule(CacheKind::HubApi, &place.path, &place.origin));
            }
            PlaceRule::MlxCache => {
                found.extend(by_rule(CacheKind::MlxCache, &place.path, &place.origin));
            }
            PlaceRule::Swama => found.extend(by_rule(CacheKind::Swama, &place.path, &place.origin)),
            PlaceRule::LmStudio => {
                let (home, origin) = lm_studio(&place.path, &place.origin);
                found.extend(by_rule(CacheKind::LmStudio, &home.join("models"), &origin));
            }
            PlaceRule::Containers { home } => {
                containers(&place.path, home, &place.origin, &mut found);
            }
            PlaceRule::Named => found.extend(named(&place.path, &place.origin)),
        }
    }
    let mut seen = BTreeSet::from([main.to_owned()]);
    found.retain(|spot| seen.insert(spot.path.clone()));
    found
}

/// A place of a rule; `None` if it is not there.
fn by_rule(kind: CacheKind, path: &Path, origin: &str) -> Option<Spot> {
    let spot = |path: PathBuf| Spot::at(kind, path, origin.to_owned());
    match fs::canonicalize(path) {
        Ok(real) if real.is_dir() => Some(spot(real)),
        Ok(_) => None,
        Err(error) if is_absent(&error) => None,
        Err(error) => Some(spot(path.to_owned()).troubled(&error.to_string())),
    }
}

/// LM Studio's home below a home folder, by its own rule: where a file points to, else the older
/// place if it is there, else the newer one.
fn lm_studio(home: &Path, origin: &str) -> (PathBuf, String) {
    let pointer = home.join(".lmstudio-home-pointer");
    let mut text = String::new();
    let read = host::open_quietly(&pointer)
        .and_then(|file| file.take(POINTER_BYTES).read_to_string(&mut text));
    let target = Path::new(text.trim());
    if read.is_ok() && target.is_absolute() {
        return (target.to_owned(), sanitize(&pointer.to_string_lossy()));
    }
    let older = home.join(".cache/lm-studio");
    if older.is_dir() {
        return (older, origin.to_owned());
    }
    (home.join(".lmstudio"), origin.to_owned())
}

/// The places in apps' containers. What may not be looked into is told once for all of them.
fn containers(folder: &Path, home: &str, origin: &str, found: &mut Vec<Spot>) {
    let apps = match folders_in(folder) {
        Ok(apps) => apps,
        Err(error) if is_absent(&error) => return,
        Err(error) => {
            let spot = Spot::at(CacheKind::HubApi, folder.to_owned(), origin.to_owned());
            found.push(spot.troubled(&error.to_string()));
            return;
        }
    };
    let mut refused: Vec<(String, io::Error)> = Vec::new();
    for app in apps.into_iter().take(MOST_CONTAINERS) {
        let inside = folder.join(&app).join(home);
        for (tail, kind) in IN_CONTAINERS {
            let path = inside.join(tail);
            match fs::canonicalize(&path) {
                // A sandboxed app's home holds links to the user's own folders.
                Ok(real) if real.starts_with(folder) || is_below_real(&real, folder) => {
                    let origin = format!("{origin}, `{}`", sanitize(&app));
                    found.push(Spot::at(kind, real, origin));
                }
                Ok(_) => {}
                Err(error) if is_absent(&error) => {}
                Err(error) => {
                    refused.push((app, error));
                    break;
                }
            }
        }
    }
    if let [(app, error), others @ ..] = refused.as_slice() {
        let who = match others.len() {
            0 => format!("`{app}`"),
            others => format!("`{app}` and {others} more"),
        };
        let spot = Spot::at(CacheKind::HubApi, folder.to_owned(), origin.to_owned());
        found.push(spot.troubled(&format!("{who} may not be looked into: {error}")));
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn is_below_real(real: &Path, folder: &Path) -> bool {
    fs::canonicalize(folder).is_ok_and(|folder| real.starts_with(folder))
}

/// A folder that the user named, and what it is.
fn named(path: &Path, origin: &str) -> Vec<Spot> {
    let spot = |kind, path: PathBuf| Spot::at(kind, path, origin.to_owned());
    if let Some(mount) = host::absent_mount(path) {
        let why = format!("the volume `{}` is not there", mount.display());
        return vec![Spot {
            is_present: false,
            absent_mount: Some(mount),
            ..spot(CacheKind::Folder, path.to_owned()).troubled(&why)
        }];
    }
    let real = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if is_absent(&error) => {
            return vec![Spot {
                is_present: false,
                ..spot(CacheKind::Folder, path.to_owned())
            }];
        }
        Err(error) => {
            return vec![spot(CacheKind::Folder, path.to_owned()).troubled(&error.to_string())];
        }
    };
    if !real.is_dir() {
        return vec![spot(CacheKind::Folder, real).troubled("it is not a folder")];
    }
    if let Err(error) = fs::read_dir(&real) {
        return vec![spot(CacheKind::Folder, real).troubled(&error.to_string())];
    }
    if is_hub_cache(&real) {
        return vec![spot(CacheKind::Hub, real)];
    }
    if has_notes(&real) {
        return vec![spot(notes_of(&real), real)];
    }
    // The base that `HubApi` was given, or its folder of models.
    let models = real.join("models");
    for models in [models, real.clone()] {
        if is_own_folder(&models) && holds_hub_api(&models) {
            return vec![spot(CacheKind::HubApi, models)];
        }
    }
    vec![spot(CacheKind::Folder, real)]
}

fn is_own_folder(path: &Path) -> bool {
    crate::cache::sight::is_own_folder(path)
}

/// Whether a folder holds repos as a Hub cache does.
pub(super) fn is_hub_cache(folder: &Path) -> bool {
    let names = folders_in(folder).unwrap_or_default();
    names.iter().any(|name| {
        let repo = folder.join(name);
        RepoId::from_folder(name).is_some()
            && ["snapshots", "refs", "blobs"]
                .iter()
                .any(|part| is_own_folder(&repo.join(part)))
    })
}

/// Whether a folder has notes of what its files should be.
pub(super) fn has_notes(folder: &Path) -> bool {
    [".cache", ".cache/huggingface", super::note::NOTES]
        .iter()
        .all(|part| is_own_folder(&folder.join(part)))
}

/// Whose notes they are: Python leaves more than notes there (hub.md 3.1 and 3.2).
pub(super) fn notes_of(folder: &Path) -> CacheKind {
    let base = folder.join(".cache/huggingface");
    let has_pythons = [".gitignore", "CACHEDIR.TAG", "trees"]
        .iter()
        .any(|name| base.join(name).symlink_metadata().is_ok());
    if has_pythons {
        CacheKind::LocalDir
    } else {
        CacheKind::HubApi
    }
}

/// Whether any `ORG/NAME` below a folder has `HubApi`'s notes.
fn holds_hub_api(models: &Path) -> bool {
    let orgs = folders_in(models).unwrap_or_default();
    orgs.iter().take(1_000).any(|org| {
        let org = models.join(org);
        let names = folders_in(&org).unwrap_or_default();
        names.iter().any(|name| {
            let repo = org.join(name);
            has_notes(&repo) && notes_of(&repo) == CacheKind::HubApi
        })
    })
}
