//! Owns single values: where one came from, which candidate wins, what makes it usable.
//!
//! Never reads anything.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use crate::domain::{Failure, FailureCode, Setting, sanitize, sanitize_line};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A flag of the command line.
    Flag(&'static str),
    /// An environment variable.
    Variable(&'static str),
    /// A line of the config file.
    Line { path: PathBuf, line: usize },
    /// A whole file that holds nothing else.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) | Self::Variable(name) => f.write_str(name),
            Self::Line { path, line } => write!(f, "{}:{line}", path.display()),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

impl Origin {
    /// The failure of a value that cannot be used.
    pub(super) fn failure(&self, what: &str, why: &str) -> Failure {
        Failure::new(FailureCode::Usage, format!("`{self}` {what}")).because(why)
    }
}

/// The first candidate there is, else the default.
pub(super) fn pick<T, const N: usize>(
    candidates: [Option<(T, Origin)>; N],
    default: impl FnOnce() -> T,
) -> (T, Origin) {
    candidates
        .into_iter()
        .flatten()
        .next()
        .unwrap_or_else(|| (default(), Origin::Default))
}

/// The settings as `config show` lists them.
#[derive(Default)]
pub(super) struct Settings(Vec<Setting>);

impl Settings {
    /// Records a value in force.
    pub(super) fn add(&mut self, name: &'static str, value: impl fmt::Display, origin: &Origin) {
        self.0.push(Setting {
            name,
            value: sanitize(&value.to_string()),
            origin: sanitize(&origin.to_string()),
        });
    }

    /// All of them, in the order they were settled.
    pub(super) fn into_vec(self) -> Vec<Setting> {
        self.0
    }
}

/// Reads an endpoint. The reason never repeats the text, which may hold a password.
pub(super) fn endpoint(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text.trim()).map_err(|error| match error {
        // `hf-mirror.com` without a scheme is the usual slip.
        url_error if url_error.to_string().contains("relative URL") => {
            "it must start with https:// or http://".to_owned()
        }
        url_error => sanitize_line(&url_error.to_string(), 120),
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("it must start with https:// or http://".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it names no host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a user or password in the address would end up in logs".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it must not hold `?` or `#`".to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// Reads a number of bytes a second: `20M`, `1.5G`, `800k`, `2MiB`, `500000`; units are decimal
/// unless they say otherwise.
///
/// # Errors
/// A sentence about what is wrong with it.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{}` is no rate like 20M or 800k", sanitize_line(text, 40));
    let plain = text.trim();
    let plain = plain.strip_suffix("/s").unwrap_or(plain);
    let digits = plain
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(plain.len());
    let (number, unit) = plain.split_at(digits);
    let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(wrong()),
    };
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * factor;
    if !(1_000.0..=1e12).contains(&bytes) {
        return Err(format!(
            "`{}` is not from 1k to 1000G a second",
            sanitize_line(text, 40)
        ));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was looked at"
    )]
    Ok(bytes as u64)
}

/// A time limit in seconds: more than nothing, at most a day.
pub(super) fn seconds(value: f64) -> Result<Duration, String> {
    if value > 0.0 && value <= 86_400.0 {
        Duration::try_from_secs_f64(value).map_err(|error| error.to_string())
    } else {
        Err(format!("`{value}` is not more than 0 and at most 86400"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_units() {
        for (text, bytes) in [
            ("20M", 20_000_000),
            ("1.5G", 1_500_000_000),
            ("800k", 800_000),
            ("2MiB/s", 2 << 20),
            ("500000", 500_000),
            (" 5 MB ", 5_000_000),
        ] {
            assert_eq!(rate(text), Ok(bytes), "{text}");
        }
        for text in [
            "", "0", "fast", "-5M", "20X", "1..5M", "999", "2000G", "inf", "nan",
        ] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn endpoints_are_web_addresses_without_secrets() {
        for (text, url) in [
            ("https://huggingface.co", "https://huggingface.co/"),
            ("https://hf-mirror.com///", "https://hf-mirror.com/"),
            (" http://127.0.0.1:8080/ ", "http://127.0.0.1:8080/"),
            ("https://corp/api/hf/", "https://corp/api/hf"),
        ] {
            assert_eq!(endpoint(text).unwrap().as_str(), url);
        }
        for bad in [
            "hf-mirror.com",
            "localhost:8080",
            "ftp://x/y",
            "file:///etc/passwd",
            "https://",
            "https://u:pass-word@x",
            "https://x/?a=pass-word",
            "",
        ] {
            let why = endpoint(bad).unwrap_err();
            assert!(!why.contains("pass-word"), "{bad}: {why}");
        }
    }

    #[test]
    fn time_limits_are_positive_and_finite() {
        assert_eq!(seconds(0.5), Ok(Duration::from_millis(500)));
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 86_401.0] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
