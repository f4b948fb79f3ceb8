//! Owns where things lie: the cache, the saved token, larder's own settings and state.
//!
//! Never creates a folder and never resolves links in a path.

use std::path::{Path, PathBuf};

use crate::domain::{Failure, FailureCode};

use super::Flags;
use super::environment::Environment;
use super::file::ConfigFile;
use super::value::Origin;

/// The variables that place the Hub cache itself, the stronger first.
const HUB_VARIABLES: [&str; 2] = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"];

/// The folders that other places are named from; each may be unknown until one is needed.
pub(super) struct Places {
    home: Option<PathBuf>,
    /// `$HF_HOME`, with where it came from: Python's folder of everything.
    hf_home: Option<(PathBuf, Origin)>,
    /// The Hub cache that Python uses when it is started with these variables.
    shell_cache: Option<(PathBuf, Origin)>,
    config_home: Option<(PathBuf, Origin)>,
    state_home: Option<(PathBuf, Origin)>,
}

impl Places {
    /// Reads the variables that name folders.
    pub(super) fn find(env: &Environment) -> Result<Self, Failure> {
        let home = env
            .text("HOME")?
            .map(|text| absolute(Path::new(text), &Origin::Variable("HOME")))
            .transpose()?;
        let below_home = |tail: &str| home.as_ref().map(|home| (home.join(tail), Origin::Default));
        // The XDG standard wants relative values ignored.
        let xdg = |name, tail| {
            Ok(env
                .text(name)?
                .map(Path::new)
                .filter(|path| path.is_absolute())
                .map(|path| (path.to_owned(), Origin::Variable(name)))
                .or_else(|| below_home(tail)))
        };
        let config_home = xdg("XDG_CONFIG_HOME", ".config")?;
        let state_home = xdg("XDG_STATE_HOME", ".local/state")?;
        let hf_home = match folder(env, "HF_HOME")? {
            Some(found) => Some(found),
            // Python expands this one too and takes relative values.
            None => match folder(env, "XDG_CACHE_HOME")? {
                Some((cache, origin)) => Some((cache.join("huggingface"), origin)),
                None => below_home(".cache/huggingface"),
            },
        };
        let mut shell_cache = None;
        for name in HUB_VARIABLES {
            shell_cache = match shell_cache {
                None => folder(env, name)?,
                found => found,
            };
        }
        let in_hf_home = || {
            let (home, origin) = hf_home.clone()?;
            Some((home.join("hub"), origin))
        };
        Ok(Self {
            home,
            shell_cache: shell_cache.or_else(in_hf_home),
            hf_home,
            config_home,
            state_home,
        })
    }

    /// The home folder.
    pub(super) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// The config file, whether it must exist, and who named it.
    pub(super) fn config_file(
        &self,
        flags: &Flags,
        env: &Environment,
    ) -> Result<(PathBuf, bool, Origin), Failure> {
        if let Some(path) = &flags.config_file {
            let origin = Origin::Flag("--config");
            return Ok((absolute(path, &origin)?, true, origin));
        }
        if let Some((path, origin)) = folder(env, "LARDER_CONFIG")? {
            return Ok((path, true, origin));
        }
        let (folder, origin) = known(
            self.config_home.clone(),
            "config file",
            "LARDER_CONFIG or XDG_CONFIG_HOME",
        )?;
        Ok((folder.join("larder/config.toml"), false, origin))
    }

    /// larder's own state folder.
    pub(super) fn state_dir(&self) -> Result<PathBuf, Failure> {
        let (folder, _) = known(self.state_home.clone(), "state folder", "XDG_STATE_HOME")?;
        Ok(folder.join("larder"))
    }

    /// Who placed the state folder.
    pub(super) fn state_origin(&self) -> Origin {
        self.state_home
            .as_ref()
            .map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    /// The file of the saved token; `None` without a home.
    pub(super) fn token_file(&self, env: &Environment) -> Result<Option<PathBuf>, Failure> {
        Ok(match folder(env, "HF_TOKEN_PATH")? {
            Some((path, _)) => Some(path),
            None => self.hf_home.as_ref().map(|(home, _)| home.join("token")),
        })
    }

    /// The Hub cache. `XDG_CACHE_HOME` only moves the default, so the config file beats it.
    pub(super) fn cache_dir(
        &self,
        flags: &Flags,
        env: &Environment,
        file: &ConfigFile,
    ) -> Result<(PathBuf, Origin), Failure> {
        if let Some(path) = &flags.cache_dir {
            let origin = Origin::Flag("--cache-dir");
            // The shell expands `~ ` but not in `--cache-dir=~/x`.
            let path = path
                .to_str()
                .map_or_else(|| path.clone(), |text| env.expand(text));
            return Ok((absolute(&path, &origin)?, origin));
        }
        let by_variable = self.shell_cache.as_ref().filter(|(_, origin)| {
            // What only moves the default gives way to the config file.
            !matches!(origin, Origin::Default | Origin::Variable("XDG_CACHE_HOME"))
        });
        if let Some(found) = by_variable {
            return Ok(found.clone());
        }
        if let Some((text, origin)) = file.text("cache_dir")? {
            if text.is_empty() {
                return Err(origin.failure("is not a folder", "it is empty"));
            }
            return Ok((absolute(&env.expand(&text), &origin)?, origin));
        }
        known(
            self.shell_cache.clone(),
            "cache",
            "HF_HUB_CACHE, HF_HOME or --cache-dir",
        )
    }

    /// The Hub cache that Python uses when it is started with these variables.
    pub(super) const fn shell_cache(&self) -> Option<&(PathBuf, Origin)> {
        self.shell_cache.as_ref()
    }

    /// The Hub cache of apps that see none of the shell's variables.
    pub(super) fn app_cache(&self) -> Option<PathBuf> {
        let home = self.home.as_ref()?;
        Some(home.join(".cache/huggingface/hub"))
    }
}

/// The expanded, absolute path in a variable.
fn folder(env: &Environment, name: &'static str) -> Result<Option<(PathBuf, Origin)>, Failure> {
    let Some(text) = env.text(name)? else {
        return Ok(None);
    };
    let origin = Origin::Variable(name);
    Ok(Some((absolute(&env.expand(text), &origin)?, origin)))
}

pub(super) fn absolute(path: &Path, origin: &Origin) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| origin.failure("is not a path", &error.to_string()))
}

fn known(
    found: Option<(PathBuf, Origin)>,
    what: &str,
    instead: &str,
) -> Result<(PathBuf, Origin), Failure> {
    found.ok_or_else(|| {
        Failure::new(
            FailureCode::Usage,
            format!("there is no place for the {what}"),
        )
        .because(format!("`HOME` is not set; set it, or {instead}"))
    })
}
