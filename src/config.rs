//! Owns the settings: environment, config file, flags and defaults become one [`Config`], once.
//!
//! Never used twice in a run: rooms get values, nobody else reads the environment.
//! **Law**: a flag beats a variable, a variable beats the file, the file beats the default; an
//! empty variable is an unset one. Variables by `huggingface_hub` `constants.py`.

mod environment;
mod file;
mod folders;
mod places;
mod remember;
mod token;
mod value;

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use crate::domain::{Failure, Level, Setting, ThemeChoice, sanitize};

pub use environment::Environment;
pub use folders::{Elsewhere, ModelPlace, PlaceRule};
pub use remember::remember;
pub use token::Token;

use environment::is_true;
use file::ConfigFile;
use places::Places;
use value::{Origin, Settings, pick};

/// What was said on the command line; `None` and `false` mean "not said".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--cache-dir`.
    pub cache_dir: Option<PathBuf>,
    /// `--endpoint`.
    pub endpoint: Option<String>,
    /// `--offline`.
    pub is_offline: bool,
    /// `--connections`.
    pub connections: Option<usize>,
    /// `--limit-rate`, as typed.
    pub limit_rate: Option<String>,
    /// `--ascii`.
    pub is_ascii: bool,
    /// `--read-only`.
    pub is_read_only: bool,
    /// `--config`: another config file, which must then exist.
    pub config_file: Option<PathBuf>,
}

/// How often and after which pauses a transfer is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Failures in a row before giving up.
    pub attempts: u32,
    /// The pause after the first failure.
    pub base: Duration,
    /// The longest pause.
    pub cap: Duration,
    /// New bytes after which the count starts afresh.
    pub fresh_after_bytes: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            base: Duration::from_secs(1),
            cap: Duration::from_mins(1),
            fresh_after_bytes: 1024 * 1024,
        }
    }
}

/// Every setting in force.
#[derive(Clone, Debug)]
pub struct Config {
    /// The Hub or a mirror: http or https, no user, query or fragment, no slash at the end of a path.
    pub endpoint: Url,
    /// The token to show to the endpoint; `None` means anonymous.
    pub token: Option<Token>,
    /// The Hub cache: absolute, `~` and `$VAR` expanded, links in it not resolved.
    pub cache_dir: PathBuf,
    /// Whether no flag, variable or file placed the cache.
    pub is_cache_dir_default: bool,
    /// Where else models may lie; nowhere if a flag placed the cache.
    pub elsewhere: Elsewhere,
    /// No request at all.
    pub is_offline: bool,
    /// `false` means copies in the place of links.
    pub use_symlinks: bool,
    /// Whether the shared store of blobs may be used.
    pub use_shared_blobs: bool,
    /// Most connections that carry bodies at once.
    pub connections: usize,
    /// Most bytes a second of all bodies together; `None` means no limit.
    pub limit_rate: Option<u64>,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Silence after which an attempt is given up.
    pub stall_timeout: Duration,
    /// How failures are retried.
    pub retry: RetryPolicy,
    /// Goes into the User-Agent as `origin/…`.
    pub user_agent_origin: Option<String>,
    /// The home folder, if there is one.
    pub home: Option<PathBuf>,
    /// larder's own state: log, later the ledger.
    pub state_dir: PathBuf,
    /// The config file, whether or not it exists.
    pub config_file: PathBuf,
    /// The filter of the log.
    pub log_filter: Option<String>,
    /// The dashboard's colours.
    pub theme: ThemeChoice,
    /// Whether only ASCII is drawn.
    pub is_ascii: bool,
    /// Whether nothing may be changed.
    pub is_read_only: bool,
    /// Whether models are hashed while nothing downloads and a dashboard is open.
    pub checks_idly: bool,
    /// Lines below this are not shown in the dashboard's log at first.
    pub log_level: Level,
    /// How long the trash keeps what a purge took away.
    pub trash: TrashSettings,
    /// What `purge --policy` may take away.
    pub policy: Policy,
    /// Every setting with its value and where that came from; secrets as `***`.
    pub settings: Vec<Setting>,
}

/// How long the trash keeps what a purge took away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrashSettings {
    /// Days.
    pub days: u32,
    /// The part of the disk, in percent, that it may fill; the oldest goes first.
    pub percent: u32,
}

/// What `purge --policy` may take away; `None`: nothing of the kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Unfinished blobs that nobody has written for so many days.
    pub partials_days: Option<u32>,
    /// What has lain in the trash for so many days.
    pub trash_days: Option<u32>,
    /// Models that were not used for so many days.
    pub unused_days: Option<u32>,
}

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const DEFAULT_CONNECTIONS: usize = 16;
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_STALL_TIMEOUT: Duration = Duration::from_secs(15);

impl Config {
    /// Where the config file is or would be, also when it cannot be read.
    ///
    /// # Errors
    /// When neither a flag, a variable nor a home folder says where.
    pub fn file_path(flags: &Flags, env: &Environment) -> Result<PathBuf, Failure> {
        let (config_file, ..) = Places::find(env)?.config_file(flags, env)?;
        Ok(config_file)
    }

    /// Puts the settings together.
    ///
    /// # Errors
    /// [`FailureCode::Usage`](crate::domain::FailureCode::Usage) with the name of the flag or
    /// variable, or the file and line, of a value that cannot be used.
    pub fn load(flags: &Flags, env: &Environment) -> Result<Self, Failure> {
        let places = Places::find(env)?;
        let mut shown = Settings::default();

        let (config_file, must_exist, origin) = places.config_file(flags, env)?;
        shown.add("config_file", config_file.display(), &origin);
        let file = ConfigFile::read(&config_file, must_exist)?;
        let state_dir = places.state_dir()?;
        shown.add("state_dir", state_dir.display(), &places.state_origin());

        let (endpoint, origin) = pick_endpoint(flags, env, &file)?;
        shown.add("endpoint", &endpoint, &origin);
        let (token, origin) = token::find(env, places.token_file(env)?.as_deref())?;
        shown.add(
            "token",
            token.as_ref().map_or("none", |_| token::SHOWN),
            &origin,
        );

        let (cache_dir, origin) = places.cache_dir(flags, env, &file)?;
        let is_cache_dir_default =
            matches!(origin, Origin::Default | Origin::Variable("XDG_CACHE_HOME"));
        shown.add("cache_dir", cache_dir.display(), &origin);
        let mut elsewhere = Elsewhere::find(&places, env, &file, &cache_dir, &mut shown)?;
        if matches!(origin, Origin::Flag(_)) {
            elsewhere = Elsewhere::default();
        }

        let (is_offline, origin) = pick_offline(flags, env, &file)?;
        shown.add("offline", is_offline, &origin);
        let (no_symlinks, origin) = first_true(env, &["HF_HUB_DISABLE_SYMLINKS"])?;
        shown.add("symlinks", !no_symlinks, &origin);
        let (no_shared_blobs, origin) =
            first_true(env, &["HF_HUB_DISABLE_SHARED_BLOBS", "HF_HUB_DISABLE_XET"])?;
        shown.add("shared_blobs", !no_shared_blobs, &origin);

        let (connections, origin) = pick_connections(flags, env, &file)?;
        shown.add("connections", connections, &origin);
        let (limit_rate, origin) = pick_limit_rate(flags, env, &file)?;
        let words = limit_rate.map_or_else(|| "none".to_owned(), |rate| format!("{rate} bytes/s"));
        shown.add("limit_rate", words, &origin);
        let connect_timeout = pick_timeout(
            env,
            "HF_HUB_ETAG_TIMEOUT",
            file.seconds("connect_timeout_s")?,
            DEFAULT_CONNECT_TIMEOUT,
            ("connect_timeout_s", &mut shown),
        )?;
        let stall_timeout = pick_timeout(
            env,
            "HF_HUB_DOWNLOAD_TIMEOUT",
            file.seconds("stall_timeout_s")?,
            DEFAULT_STALL_TIMEOUT,
            ("stall_timeout_s", &mut shown),
        )?;
        let retry = pick_retry(&file, &mut shown)?;

        let user_agent_origin = optional_text(env, "HF_HUB_USER_AGENT_ORIGIN", &mut shown)?;
        let log_filter = optional_text(env, "LARDER_LOG", &mut shown)?;
        let (trash, policy) = pick_trash(&file, &mut shown)?;
        let looks = Looks::find(flags, env, &file, &mut shown)?;

        Ok(Self {
            endpoint,
            token,
            cache_dir,
            is_cache_dir_default,
            elsewhere,
            is_offline,
            use_symlinks: !no_symlinks,
            use_shared_blobs: !no_shared_blobs,
            connections,
            limit_rate,
            connect_timeout,
            stall_timeout,
            retry,
            user_agent_origin,
            home: places.home().map(ToOwned::to_owned),
            state_dir,
            config_file,
            log_filter,
            theme: looks.theme,
            is_ascii: looks.is_ascii,
            is_read_only: looks.is_read_only,
            checks_idly: looks.checks_idly,
            log_level: looks.log_level,
            trash,
            policy,
            settings: shown.into_vec(),
        })
    }

    /// Where the value of a setting came from: a flag, a variable, a file with its line, or
    /// `default`. `None` if there is no such setting.
    pub fn origin(&self, name: &str) -> Option<&str> {
        self.settings
            .iter()
            .find(|setting| setting.name == name)
            .map(|setting| setting.origin.as_str())
    }
}

/// What the faces look like, and whether they may change anything.
struct Looks {
    theme: ThemeChoice,
    is_ascii: bool,
    is_read_only: bool,
    checks_idly: bool,
    log_level: Level,
}

impl Looks {
    fn find(
        flags: &Flags,
        env: &Environment,
        file: &ConfigFile,
        shown: &mut Settings,
    ) -> Result<Self, Failure> {
        let candidates = [env.owned("LARDER_THEME")?, file.text("theme")?];
        let (theme, origin) = pick_named(candidates, ThemeChoice::named, ThemeChoice::ALL, |it| {
            it.name()
        })?;
        shown.add("theme", theme.name(), &origin);
        let mut switch = |name, is_flag: bool, flag, variable| -> Result<bool, Failure> {
            let flag = is_flag.then_some((true, Origin::Flag(flag)));
            let variable = env
                .text(variable)?
                .map(|text| (is_true(text), Origin::Variable(variable)));
            let (value, origin) = pick([flag, variable, file.boolean(name)?], || false);
            shown.add(name, value, &origin);
            Ok(value)
        };
        let is_ascii = switch("ascii", flags.is_ascii, "--ascii", "LARDER_ASCII")?;
        let is_read_only = switch(
            "read_only",
            flags.is_read_only,
            "--read-only",
            "LARDER_READ_ONLY",
        )?;
        let variable = env
            .text("LARDER_IDLE_CHECK")?
            .map(|text| (is_true(text), Origin::Variable("LARDER_IDLE_CHECK")));
        let (checks_idly, origin) = pick([variable, file.boolean("idle_check")?], || true);
        shown.add("idle_check", checks_idly, &origin);
        let (log_level, origin) =
            pick_named([file.text("log_level")?], Level::named, Level::ALL, |it| {
                it.name()
            })?;
        shown.add("log_level", log_level.name(), &origin);
        Ok(Self {
            theme,
            is_ascii,
            is_read_only,
            checks_idly,
            log_level,
        })
    }
}

/// The first candidate, which must be one of `all` by its name; else the default.
fn pick_named<T: Default + Copy, const C: usize, const N: usize>(
    candidates: [Option<(String, Origin)>; C],
    named: impl Fn(&str) -> Option<T>,
    all: [T; N],
    name: impl Fn(T) -> &'static str,
) -> Result<(T, Origin), Failure> {
    let (text, origin) = pick(candidates, String::new);
    if origin == Origin::Default {
        return Ok((T::default(), origin));
    }
    match named(text.trim()) {
        Some(value) => Ok((value, origin)),
        None => Err(origin.failure(
            "is none of the choices",
            &format!(
                "`{}` is not one of {}",
                sanitize(&text),
                all.map(name).join(", ")
            ),
        )),
    }
}

fn pick_endpoint(
    flags: &Flags,
    env: &Environment,
    file: &ConfigFile,
) -> Result<(Url, Origin), Failure> {
    let flag = flags
        .endpoint
        .clone()
        .map(|text| (text, Origin::Flag("--endpoint")));
    let (text, origin) = pick(
        [flag, env.owned("HF_ENDPOINT")?, file.text("endpoint")?],
        || DEFAULT_ENDPOINT.to_owned(),
    );
    match value::endpoint(&text) {
        Ok(url) => Ok((url, origin)),
        // The text may hold a password, so only the reason is told.
        Err(why) => Err(origin.failure("is not an address larder can use", &why)),
    }
}

fn pick_offline(
    flags: &Flags,
    env: &Environment,
    file: &ConfigFile,
) -> Result<(bool, Origin), Failure> {
    let flag = flags
        .is_offline
        .then_some((true, Origin::Flag("--offline")));
    let mut variable = None;
    for name in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        if let Some(text) = env.text(name)?
            && !matches!(variable, Some((true, _)))
        {
            variable = Some((is_true(text), Origin::Variable(name)));
        }
    }
    Ok(pick([flag, variable, file.boolean("offline")?], || false))
}

fn pick_connections(
    flags: &Flags,
    env: &Environment,
    file: &ConfigFile,
) -> Result<(usize, Origin), Failure> {
    let flag = flags
        .connections
        .map(|count| (count.to_string(), Origin::Flag("--connections")));
    let (text, origin) = pick(
        [
            flag,
            env.owned("LARDER_CONNECTIONS")?,
            file.integer("connections")?,
        ],
        || DEFAULT_CONNECTIONS.to_string(),
    );
    match text.trim().parse() {
        Ok(count) if (1..=64).contains(&count) => Ok((count, origin)),
        _ => Err(origin.failure(
            "is not a number of connections",
            &format!("`{text}` is not a whole number from 1 to 64"),
        )),
    }
}

fn pick_limit_rate(
    flags: &Flags,
    env: &Environment,
    file: &ConfigFile,
) -> Result<(Option<u64>, Origin), Failure> {
    let flag = flags
        .limit_rate
        .clone()
        .map(|rate| (rate, Origin::Flag("--limit-rate")));
    let (text, origin) = pick(
        [
            flag,
            env.owned("LARDER_LIMIT_RATE")?,
            file.text("limit_rate")?,
        ],
        String::new,
    );
    if text.is_empty() {
        return Ok((None, origin));
    }
    match value::rate(&text) {
        Ok(rate) => Ok((Some(rate), origin)),
        Err(why) => Err(origin.failure("is not a rate", &why)),
    }
}

fn pick_timeout(
    env: &Environment,
    variable: &'static str,
    from_file: Option<(f64, Origin)>,
    default: Duration,
    (name, shown): (&'static str, &mut Settings),
) -> Result<Duration, Failure> {
    let from_env = match env.owned(variable)? {
        Some((text, origin)) => match text.trim().parse() {
            Ok(seconds) => Some((seconds, origin)),
            Err(_) => {
                return Err(origin.failure(
                    "is not a number of seconds",
                    &format!("`{text}` is not a number"),
                ));
            }
        },
        None => None,
    };
    let (seconds, origin) = pick([from_env, from_file], || default.as_secs_f64());
    let timeout = value::seconds(seconds)
        .map_err(|why| origin.failure("is not a number of seconds", &why))?;
    shown.add(name, seconds, &origin);
    Ok(timeout)
}

fn pick_retry(file: &ConfigFile, shown: &mut Settings) -> Result<RetryPolicy, Failure> {
    let default = RetryPolicy::default();
    let mut number = |name, default: u128, most: u128| {
        let (text, origin) = pick([file.integer(name)?], || default.to_string());
        match text.parse::<u128>() {
            Ok(value) if (1..=most).contains(&value) => {
                shown.add(name, value, &origin);
                u64::try_from(value)
                    .map_err(|_| origin.failure("is out of range", "it is too large"))
            }
            _ => Err(origin.failure(
                "is out of range",
                &format!("`{text}` is not a whole number from 1 to {most}"),
            )),
        }
    };
    let attempts = number("retry_attempts", u128::from(default.attempts), 100)?;
    let base_ms = number("retry_base_ms", default.base.as_millis(), 3_600_000)?;
    let cap_s = number("retry_cap_s", u128::from(default.cap.as_secs()), 86_400)?;
    Ok(RetryPolicy {
        attempts: u32::try_from(attempts).unwrap_or(default.attempts),
        base: Duration::from_millis(base_ms),
        cap: Duration::from_secs(cap_s),
        fresh_after_bytes: default.fresh_after_bytes,
    })
}

fn pick_trash(file: &ConfigFile, shown: &mut Settings) -> Result<(TrashSettings, Policy), Failure> {
    const MOST_DAYS: u32 = 36_500;

    let whole = |name, least: u32, most: u32| -> Result<Option<(u32, Origin)>, Failure> {
        let Some((text, origin)) = file.integer(name)? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(value) if (least..=most).contains(&value) => Ok(Some((value, origin))),
            _ => Err(origin.failure(
                "is out of range",
                &format!("`{text}` is not a whole number from {least} to {most}"),
            )),
        }
    };
    let (days, origin) = pick([whole("trash_days", 0, MOST_DAYS)?], || 7);
    shown.add("trash_days", days, &origin);
    let (percent, origin) = pick([whole("trash_percent", 0, 100)?], || 10);
    shown.add("trash_percent", percent, &origin);
    let mut off = |name| -> Result<Option<u32>, Failure> {
        let found = whole(name, 1, MOST_DAYS)?;
        match &found {
            Some((days, origin)) => shown.add(name, days, origin),
            None => shown.add(name, "off", &Origin::Default),
        }
        Ok(found.map(|(days, _)| days))
    };
    let policy = Policy {
        partials_days: off("policy_partials_days")?,
        trash_days: off("policy_trash_days")?,
        unused_days: off("policy_unused_days")?,
    };
    Ok((TrashSettings { days, percent }, policy))
}

/// Whether one of the variables is true; the origin is the first that is.
fn first_true(env: &Environment, names: &[&'static str]) -> Result<(bool, Origin), Failure> {
    for &name in names {
        if env.text(name)?.is_some_and(is_true) {
            return Ok((true, Origin::Variable(name)));
        }
    }
    Ok((false, Origin::Default))
}

fn optional_text(
    env: &Environment,
    name: &'static str,
    shown: &mut Settings,
) -> Result<Option<String>, Failure> {
    let setting = if name == "LARDER_LOG" {
        "log"
    } else {
        "user_agent_origin"
    };
    let found = env.owned(name)?;
    match &found {
        Some((text, origin)) => shown.add(setting, sanitize(text), origin),
        None => shown.add(setting, "none", &Origin::Default),
    }
    Ok(found.map(|(text, _)| text))
}

#[cfg(test)]
mod tests;
