//! Owns where else than in the configured Hub cache models may lie: which folders, whose way of
//! keeping models, and why they are looked at (hub.md section 4).
//!
//! Never looks whether anything is there: that is `cache/elsewhere`.

use std::path::{Path, PathBuf};

use crate::domain::{Failure, sanitize};

use super::environment::Environment;
use super::file::ConfigFile;
use super::places::{Places, absolute};
use super::value::{Origin, Settings, pick};

/// By which rule a place is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlaceRule {
    /// A Hub cache.
    Hub,
    /// swift-transformers' `HubApi`: the folder that holds `ORG/NAME`.
    HubApi,
    /// LM Studio's home; a file may point to another one.
    LmStudio,
    /// `MLXCache`.
    MlxCache,
    /// swama's models.
    Swama,
    /// The folder of sandboxed apps' own folders, each with a home inside.
    Containers {
        /// Where in an app's folder its home begins.
        home: &'static str,
    },
    /// A folder that the user named: what it is shows when it is looked at.
    Named,
}

/// A place to look for models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPlace {
    /// By which rule.
    pub rule: PlaceRule,
    /// The folder: absolute, links in it not resolved.
    pub path: PathBuf,
    /// Why it is looked at: a variable, a file with its line, or whose default it is.
    pub origin: String,
}

/// Every place to look at beside the configured Hub cache; none where a flag says which cache is
/// meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// The places, in the order in which they are shown.
    pub places: Vec<ModelPlace>,
    /// The Hub cache of programs started from this shell, and which variable placed it.
    pub shell_cache: Option<(PathBuf, String)>,
    /// The Hub cache of apps that see none of the shell's variables.
    pub app_cache: Option<PathBuf>,
}

impl Elsewhere {
    /// The places of this home, beside the cache that was configured.
    pub(super) fn find(
        places: &Places,
        env: &Environment,
        file: &ConfigFile,
        cache_dir: &Path,
        shown: &mut Settings,
    ) -> Result<Self, Failure> {
        let folders = named(env, file, shown)?;
        let mut found = Self {
            shell_cache: places
                .shell_cache()
                .map(|(path, origin)| (path.clone(), origin.to_string())),
            app_cache: places.app_cache(),
            places: Vec::new(),
        };
        let shell = found.shell_cache.clone();
        let app = found.app_cache.clone();
        for (path, origin) in shell
            .into_iter()
            .chain(app.map(|path| (path, "the default of apps".to_owned())))
        {
            let is_known = found.places.iter().any(|known| known.path == path);
            if path != cache_dir && !is_known {
                found.add(PlaceRule::Hub, path, &origin);
            }
        }
        if let Some(home) = places.home() {
            found.below(home);
        }
        for (path, origin) in folders {
            found.add(PlaceRule::Named, path, &origin);
        }
        Ok(found)
    }

    /// The places that programs have below a home folder.
    fn below(&mut self, home: &Path) {
        let transformers = "the default of swift-transformers";
        let mlx_swift = "the default of mlx-swift up to 2.x";
        for (rule, tail, origin) in [
            (
                PlaceRule::HubApi,
                "Documents/huggingface/models",
                transformers,
            ),
            (PlaceRule::HubApi, "Library/Caches/models", mlx_swift),
            (
                PlaceRule::HubApi,
                "Downloads/huggingface/models",
                "the default of MLXChatExample",
            ),
            (PlaceRule::LmStudio, "", "the default of LM Studio"),
            (
                PlaceRule::MlxCache,
                "Library/Caches/MLXCache",
                "the default of Web",
            ),
            (PlaceRule::Swama, ".swama/models", "the default of swama"),
            (
                PlaceRule::Containers { home: "Data" },
                "Library/Containers",
                "the container of a sandboxed app",
            ),
            (
                PlaceRule::Containers { home: "" },
                "Library/Group Containers",
                "the container of a group of apps",
            ),
        ] {
            self.add(rule, home.join(tail), origin);
        }
    }

    fn add(&mut self, rule: PlaceRule, path: PathBuf, origin: &str) {
        self.places.push(ModelPlace {
            rule,
            path,
            origin: sanitize(origin),
        });
    }
}

/// The folders that the user named.
fn named(
    env: &Environment,
    file: &ConfigFile,
    shown: &mut Settings,
) -> Result<Vec<(PathBuf, String)>, Failure> {
    let variable = env.owned("LARDER_FOLDERS")?.map(|(text, origin)| {
        let folders = text.split(':').filter(|folder| !folder.is_empty());
        (folders.map(ToOwned::to_owned).collect(), origin)
    });
    let (folders, origin): (Vec<String>, Origin) =
        pick([variable, file.texts("folders")?], Vec::new);
    let paths: Result<Vec<PathBuf>, Failure> = folders
        .iter()
        .map(|folder| {
            if folder.is_empty() {
                return Err(origin.failure("is not a list of folders", "one of them is empty"));
            }
            absolute(&env.expand(folder), &origin)
        })
        .collect();
    let paths = paths?;
    let words: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let words = if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(":")
    };
    shown.add("folders", words, &origin);
    let origin = origin.to_string();
    Ok(paths
        .into_iter()
        .map(|path| (path, origin.clone()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Flags};
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Config {
        let env = Environment::from_pairs(pairs.iter().copied());
        Config::load(&Flags::default(), &env).unwrap()
    }

    fn hubs(config: &Config) -> Vec<(String, String)> {
        let hubs = config.elsewhere.places.iter();
        hubs.filter(|place| place.rule == PlaceRule::Hub)
            .map(|place| (place.path.display().to_string(), place.origin.clone()))
            .collect()
    }

    #[test]
    fn a_moved_cache_leaves_the_one_of_apps_to_be_looked_at() {
        let plain = config(&[("HOME", "/home/u")]);
        assert!(hubs(&plain).is_empty(), "it is the configured one");
        let moved = config(&[("HOME", "/home/u"), ("HF_HOME", "/disk/hf")]);
        assert_eq!(moved.cache_dir, Path::new("/disk/hf/hub"));
        let apps = (
            "/home/u/.cache/huggingface/hub".to_owned(),
            "the default of apps".to_owned(),
        );
        assert_eq!(hubs(&moved), std::slice::from_ref(&apps));
        let xdg = config(&[("HOME", "/home/u"), ("XDG_CACHE_HOME", "/x")]);
        assert_eq!(hubs(&xdg), [apps]);
        let (shell, origin) = xdg.elsewhere.shell_cache.unwrap();
        assert_eq!(shell, Path::new("/x/huggingface/hub"));
        assert_eq!(origin, "XDG_CACHE_HOME");
    }

    #[test]
    fn a_cache_that_a_flag_names_is_the_only_one() {
        let env = Environment::from_pairs([("HOME", "/home/u"), ("LARDER_FOLDERS", "/models")]);
        let flags = Flags {
            cache_dir: Some(PathBuf::from("/c")),
            ..Flags::default()
        };
        let config = Config::load(&flags, &env).unwrap();
        assert_eq!(config.elsewhere, Elsewhere::default());
        assert!(
            config.origin("folders").is_some(),
            "it is shown all the same"
        );
    }

    #[test]
    fn folders_come_from_a_variable_or_the_file() {
        let named = |config: &Config| -> Vec<String> {
            let places = config.elsewhere.places.iter();
            places
                .filter(|place| place.rule == PlaceRule::Named)
                .map(|place| format!("{} {}", place.path.display(), place.origin))
                .collect()
        };
        let by_variable = config(&[("HOME", "/home/u"), ("LARDER_FOLDERS", "~/m::/disk/$X")]);
        assert_eq!(
            named(&by_variable),
            ["/home/u/m LARDER_FOLDERS", "/disk/$X LARDER_FOLDERS"]
        );
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, "\nfolders = ['~/m']\n").unwrap();
        let file = file.to_str().unwrap();
        let by_file = config(&[("HOME", "/home/u"), ("LARDER_CONFIG", file)]);
        assert_eq!(named(&by_file), [format!("/home/u/m {file}:2")]);
        std::fs::write(file, "folders = ['']\n").unwrap();
        let env = Environment::from_pairs([("HOME", "/home/u"), ("LARDER_CONFIG", file)]);
        let failure = Config::load(&Flags::default(), &env).unwrap_err();
        assert!(failure.to_string().contains("config.toml:1"), "{failure}");
    }
}
