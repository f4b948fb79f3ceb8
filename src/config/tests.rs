//! Proves the order of sources and every variable, on maps and temp folders.

use std::path::Path;

use crate::domain::FailureCode;

use super::*;

fn load(pairs: &[(&str, &str)], flags: &Flags) -> Result<Config, Failure> {
    let mut all = vec![("HOME", "/nowhere/home")];
    all.extend_from_slice(pairs);
    Config::load(flags, &environment(&all))
}

fn environment(pairs: &[(&str, &str)]) -> Environment {
    // `from_pairs` takes arrays, which is what tests with a fixed list write.
    let mut fixed = [("", ""); 12];
    fixed[..pairs.len()].copy_from_slice(pairs);
    Environment::from_pairs(fixed)
}

fn ok(pairs: &[(&str, &str)]) -> Config {
    load(pairs, &Flags::default()).unwrap()
}

fn origin<'a>(config: &'a Config, name: &str) -> &'a str {
    let setting = config.settings.iter().find(|s| s.name == name);
    &setting.unwrap().origin
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = ok(&[]);
    assert_eq!(config.endpoint.as_str(), "https://huggingface.co/");
    assert_eq!(
        config.cache_dir,
        Path::new("/nowhere/home/.cache/huggingface/hub")
    );
    assert_eq!(
        config.state_dir,
        Path::new("/nowhere/home/.local/state/larder")
    );
    assert_eq!(
        config.config_file,
        Path::new("/nowhere/home/.config/larder/config.toml")
    );
    assert!(config.is_cache_dir_default && config.use_symlinks && config.use_shared_blobs);
    assert!(!config.is_offline && config.token.is_none() && config.log_filter.is_none());
    assert_eq!((config.connections, config.limit_rate), (16, None));
    assert_eq!(config.connect_timeout, Duration::from_secs(10));
    assert_eq!(config.stall_timeout, Duration::from_secs(15));
    assert_eq!(config.retry, RetryPolicy::default());
    assert!(config.settings.iter().all(|s| s.origin == "default"));
}

#[test]
fn the_cache_is_where_pythons_variables_put_it() {
    for (pairs, path, from) in [
        (
            &[("XDG_CACHE_HOME", "/x")][..],
            "/x/huggingface/hub",
            "XDG_CACHE_HOME",
        ),
        (
            &[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "~/h")],
            "/nowhere/home/h/hub",
            "HF_HOME",
        ),
        (
            &[("HF_HOME", "/h"), ("HUGGINGFACE_HUB_CACHE", "/old")],
            "/old",
            "HUGGINGFACE_HUB_CACHE",
        ),
        (
            &[
                ("HUGGINGFACE_HUB_CACHE", "/old"),
                ("HF_HUB_CACHE", "$HOME/new"),
            ],
            "/nowhere/home/new",
            "HF_HUB_CACHE",
        ),
        (
            &[("HF_HUB_CACHE", ""), ("HF_HOME", "/h")],
            "/h/hub",
            "HF_HOME",
        ),
    ] {
        let config = ok(pairs);
        assert_eq!(config.cache_dir, Path::new(path), "{pairs:?}");
        assert_eq!(origin(&config, "cache_dir"), from);
        assert_eq!(config.is_cache_dir_default, from == "XDG_CACHE_HOME");
    }
    let relative = ok(&[("HF_HUB_CACHE", "some/cache")]);
    assert!(relative.cache_dir.is_absolute() && relative.cache_dir.ends_with("some/cache"));
    let flags = Flags {
        cache_dir: Some("/flag".into()),
        ..Flags::default()
    };
    let config = load(&[("HF_HUB_CACHE", "/env")], &flags).unwrap();
    assert_eq!(config.cache_dir, Path::new("/flag"));
}

#[test]
fn flag_beats_variable_beats_file_beats_default() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    std::fs::write(
        &path,
        "endpoint = 'https://file'\nconnections = 3\noffline = true\ncache_dir = '/file'\n\
         stall_timeout_s = 0.25\nretry_attempts = 2\nretry_base_ms = 10\nretry_cap_s = 1\n",
    )
    .unwrap();
    let file = ("LARDER_CONFIG", path.to_str().unwrap());

    let config = ok(&[file, ("XDG_CACHE_HOME", "/x")]);
    assert_eq!(config.endpoint.as_str(), "https://file/");
    assert_eq!(config.cache_dir, Path::new("/file"));
    assert!(!config.is_cache_dir_default && config.is_offline);
    assert_eq!(config.stall_timeout, Duration::from_millis(250));
    assert_eq!(
        (config.retry.attempts, config.retry.base),
        (2, Duration::from_millis(10))
    );
    assert_eq!(
        origin(&config, "connections"),
        format!("{}:2", path.display())
    );

    let variables = [
        file,
        ("HF_ENDPOINT", "https://env/"),
        ("LARDER_CONNECTIONS", "5"),
        ("HF_HUB_OFFLINE", "0"),
        ("HF_HOME", "/h"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "4"),
    ];
    let config = ok(&variables);
    assert_eq!(config.endpoint.as_str(), "https://env/");
    assert_eq!((config.connections, config.is_offline), (5, false));
    assert_eq!(config.cache_dir, Path::new("/h/hub"));
    assert_eq!(config.stall_timeout, Duration::from_secs(4));

    let flags = Flags {
        endpoint: Some("http://flag".to_owned()),
        connections: Some(64),
        is_offline: true,
        ..Flags::default()
    };
    let config = load(&variables, &flags).unwrap();
    assert_eq!(config.endpoint.as_str(), "http://flag/");
    assert_eq!((config.connections, config.is_offline), (64, true));
    assert_eq!(origin(&config, "endpoint"), "--endpoint");
}

#[test]
fn switches_of_the_hub_are_obeyed() {
    assert!(!ok(&[("HF_HUB_DISABLE_SYMLINKS", "yes")]).use_symlinks);
    assert!(!ok(&[("HF_HUB_DISABLE_SHARED_BLOBS", "1")]).use_shared_blobs);
    assert!(!ok(&[("HF_HUB_DISABLE_XET", "TRUE")]).use_shared_blobs);
    assert!(ok(&[("TRANSFORMERS_OFFLINE", "on")]).is_offline);
    assert!(ok(&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")]).is_offline);
    assert!(ok(&[("HF_HUB_OFFLINE", "1"), ("TRANSFORMERS_OFFLINE", "0")]).is_offline);
    assert!(!ok(&[("HF_HUB_OFFLINE", "nonsense")]).is_offline);
    let config = ok(&[("HF_HUB_USER_AGENT_ORIGIN", "app"), ("LARDER_LOG", "debug")]);
    assert_eq!(config.user_agent_origin.as_deref(), Some("app"));
    assert_eq!(config.log_filter.as_deref(), Some("debug"));
    assert_eq!(
        ok(&[("HF_HUB_ETAG_TIMEOUT", "2.5")]).connect_timeout,
        Duration::from_millis(2500)
    );
}

#[test]
fn the_token_is_found_in_order_and_shown_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let saved = dir.path().join("token");
    std::fs::write(&saved, "hf_saved\n").unwrap();
    let home = ("HF_HOME", dir.path().to_str().unwrap());
    let token = |pairs: &[(&str, &str)]| {
        let config = ok(pairs);
        let shown = format!("{config:?}");
        assert!(!shown.contains("hf_"), "{shown}");
        config.token.map(|token| token.expose().to_owned())
    };
    assert_eq!(token(&[home]).as_deref(), Some("hf_saved"));
    let old = ("HUGGING_FACE_HUB_TOKEN", "hf_old");
    assert_eq!(token(&[home, old]).as_deref(), Some("hf_old"));
    assert_eq!(
        token(&[home, old, ("HF_TOKEN", "hf_new\r\n")]).as_deref(),
        Some("hf_new")
    );
    assert_eq!(
        token(&[home, ("HF_TOKEN", " \n")]).as_deref(),
        Some("hf_saved")
    );
    let silent = ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
    assert_eq!(token(&[home, old, silent]), None);
    let other = dir.path().join("other");
    std::fs::write(&other, "hf_other").unwrap();
    assert_eq!(
        token(&[home, ("HF_TOKEN_PATH", other.to_str().unwrap())]).as_deref(),
        Some("hf_other")
    );
    let config = ok(&[home]);
    let setting = config.settings.iter().find(|s| s.name == "token").unwrap();
    assert_eq!(setting.value, "***");
    assert_eq!(setting.origin, saved.to_str().unwrap());
}

#[test]
fn bad_values_name_their_place() {
    for (name, value) in [
        ("HF_ENDPOINT", "hf-mirror.com"),
        ("LARDER_CONNECTIONS", "0"),
        ("LARDER_CONNECTIONS", "65"),
        ("LARDER_CONNECTIONS", "many"),
        ("HF_HUB_ETAG_TIMEOUT", "soon"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "0"),
        ("HF_TOKEN", "hf_ü"),
    ] {
        let failure = load(&[(name, value)], &Flags::default()).unwrap_err();
        assert_eq!(failure.code, FailureCode::Usage);
        assert!(failure.summary.contains(name), "{failure}");
    }
    let flags = Flags {
        connections: Some(0),
        ..Flags::default()
    };
    let failure = load(&[], &flags).unwrap_err();
    assert!(failure.summary.contains("--connections"), "{failure}");
}

#[test]
fn a_config_file_that_was_named_must_exist() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.toml");
    assert!(
        load(
            &[("LARDER_CONFIG", missing.to_str().unwrap())],
            &Flags::default()
        )
        .is_err()
    );
    let flags = Flags {
        config_file: Some(missing.clone()),
        ..Flags::default()
    };
    let failure = load(&[], &flags).unwrap_err();
    assert_eq!(failure.path.as_deref(), missing.to_str());
    std::fs::write(&missing, "retry_attempts = 0\n").unwrap();
    let failure = load(&[], &flags).unwrap_err();
    assert!(failure.summary.contains("none.toml:1"), "{failure}");
}

#[test]
fn a_home_is_only_missed_where_a_path_needs_it() {
    let without = Environment::from_pairs([]);
    let failure = Config::load(&Flags::default(), &without).unwrap_err();
    assert!(failure.to_string().contains("HOME"), "{failure}");
    let placed = Environment::from_pairs([
        ("XDG_CONFIG_HOME", "/c"),
        ("XDG_STATE_HOME", "/s"),
        ("HF_HUB_CACHE", "/hub"),
    ]);
    let config = Config::load(&Flags::default(), &placed).unwrap();
    assert_eq!(config.home, None);
    assert_eq!(config.state_dir, Path::new("/s/larder"));
    assert_eq!(config.cache_dir, Path::new("/hub"));
}

#[test]
fn looks_come_from_flag_variable_and_file() {
    let config = ok(&[]);
    assert_eq!(config.theme, ThemeChoice::Auto);
    assert_eq!(config.log_level, Level::Info);
    assert!(!config.is_ascii && !config.is_read_only);
    assert_eq!(config.origin("theme"), Some("default"));
    assert_eq!(config.origin("no_such_thing"), None);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    std::fs::write(
        &path,
        "theme = 'mono'\nascii = true\nread_only = true\nlog_level = 'warning'\n",
    )
    .unwrap();
    let file = ("LARDER_CONFIG", path.to_str().unwrap());
    let config = ok(&[file]);
    assert_eq!(config.theme, ThemeChoice::Mono);
    assert_eq!(config.log_level, Level::Warning);
    assert!(config.is_ascii && config.is_read_only);
    assert_eq!(
        config.origin("log_level").unwrap(),
        format!("{}:4", path.display())
    );

    let variables = [
        file,
        ("LARDER_THEME", "16-colour"),
        ("LARDER_ASCII", "0"),
        ("LARDER_READ_ONLY", "no"),
    ];
    let config = ok(&variables);
    assert_eq!(config.theme, ThemeChoice::SixteenColour);
    assert!(!config.is_ascii && !config.is_read_only);
    let flags = Flags {
        is_ascii: true,
        is_read_only: true,
        ..Flags::default()
    };
    let config = load(&variables, &flags).unwrap();
    assert!(config.is_ascii && config.is_read_only);
    assert_eq!(config.origin("read_only"), Some("--read-only"));

    let failure = load(&[("LARDER_THEME", "pink")], &Flags::default()).unwrap_err();
    let words = failure.to_string();
    assert!(
        words.contains("LARDER_THEME") && words.contains("high-contrast"),
        "{words}"
    );
}
