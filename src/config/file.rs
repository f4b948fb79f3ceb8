//! Owns reading the config file: TOML, known keys only, every complaint with its line.
//!
//! Never decides between sources.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::domain::{Failure, FailureCode};

use super::value::Origin;

/// The keys, in the order they are documented.
pub(super) const KEYS: [&str; 21] = [
    "endpoint",
    "cache_dir",
    "folders",
    "offline",
    "connections",
    "limit_rate",
    "connect_timeout_s",
    "stall_timeout_s",
    "retry_attempts",
    "retry_base_ms",
    "retry_cap_s",
    "theme",
    "ascii",
    "read_only",
    "idle_check",
    "log_level",
    "trash_days",
    "trash_percent",
    "policy_partials_days",
    "policy_trash_days",
    "policy_unused_days",
];

/// The file's settings, each with its line.
pub(super) struct ConfigFile {
    path: PathBuf,
    entries: Vec<Entry>,
}

struct Entry {
    key: &'static str,
    value: Value,
    line: usize,
}

enum Value {
    Text(String),
    Texts(Vec<String>),
    Boolean(bool),
    /// As written, so that the range check can name it.
    Integer(String),
    Float(f64),
}

impl ConfigFile {
    /// Reads `path`; a file that is not there is an empty one, unless somebody named it.
    pub(super) fn read(path: &Path, must_exist: bool) -> Result<Self, Failure> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(error)
                if !must_exist
                    && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Ok(Self {
                    path: path.to_owned(),
                    entries: Vec::new(),
                })
            }
            Err(error) => Err(Failure::new(
                FailureCode::Usage,
                format!("the config file `{}` cannot be read", path.display()),
            )
            .because(error.to_string())
            .at_path(path.display().to_string())),
        }
    }

    /// Reads the text of `path`.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, Failure> {
        let line_of =
            |span: Range<usize>| 1 + text[..span.start.min(text.len())].matches('\n').count();
        let origin = |line| Origin::Line {
            path: path.to_owned(),
            line,
        };
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, line_of);
            origin(line).failure("is not TOML", error.message())
        })?;
        let mut entries = Vec::new();
        for (key, value) in table.get_ref() {
            let line = line_of(key.span());
            let name = key.get_ref().as_ref();
            let Some(key) = KEYS.into_iter().find(|known| *known == name) else {
                let failure = origin(line)
                    .failure("is not a setting", &format!("there is no setting `{name}`"));
                return Err(match nearest(name) {
                    Some(known) => failure.because(format!("did you mean `{known}`?")),
                    None => failure.because(format!("the settings are {}", KEYS.join(", "))),
                });
            };
            let value = Value::read(value.get_ref()).ok_or_else(|| {
                origin(line).failure(
                    "has the wrong type",
                    &format!(
                        "`{key}` is neither text, a list of texts, a number, `true` nor `false`"
                    ),
                )
            })?;
            entries.push(Entry { key, value, line });
        }
        Ok(Self {
            path: path.to_owned(),
            entries,
        })
    }

    /// A setting that is text.
    pub(super) fn text(&self, key: &str) -> Result<Option<(String, Origin)>, Failure> {
        self.get(key, "text in quotes", |value| match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        })
    }

    /// A setting that is a list of texts.
    pub(super) fn texts(&self, key: &str) -> Result<Option<(Vec<String>, Origin)>, Failure> {
        self.get(key, "a list of texts in quotes", |value| match value {
            Value::Texts(texts) => Some(texts.clone()),
            _ => None,
        })
    }

    /// A setting that is `true` or `false`.
    pub(super) fn boolean(&self, key: &str) -> Result<Option<(bool, Origin)>, Failure> {
        self.get(key, "`true` or `false`", |value| match value {
            Value::Boolean(value) => Some(*value),
            _ => None,
        })
    }

    /// A setting that is a whole number, as written.
    pub(super) fn integer(&self, key: &str) -> Result<Option<(String, Origin)>, Failure> {
        self.get(key, "a whole number", |value| match value {
            Value::Integer(digits) => Some(digits.clone()),
            _ => None,
        })
    }

    /// A setting that is a number of seconds.
    pub(super) fn seconds(&self, key: &str) -> Result<Option<(f64, Origin)>, Failure> {
        self.get(key, "a number", |value| match value {
            Value::Integer(digits) => digits.parse().ok(),
            Value::Float(value) => Some(*value),
            _ => None,
        })
    }

    fn get<T>(
        &self,
        key: &str,
        wanted: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<(T, Origin)>, Failure> {
        let Some(entry) = self.entries.iter().find(|entry| entry.key == key) else {
            return Ok(None);
        };
        let origin = Origin::Line {
            path: self.path.clone(),
            line: entry.line,
        };
        match read(&entry.value) {
            Some(value) => Ok(Some((value, origin))),
            None => Err(origin.failure("has the wrong type", &format!("`{key}` must be {wanted}"))),
        }
    }
}

impl Value {
    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value {
            DeValue::String(text) => Some(Self::Text(text.to_string())),
            DeValue::Boolean(value) => Some(Self::Boolean(*value)),
            DeValue::Integer(digits) => Some(Self::Integer(
                i64::from_str_radix(digits.as_str(), digits.radix())
                    .map_or_else(|_| digits.as_str().to_owned(), |number| number.to_string()),
            )),
            DeValue::Float(digits) => digits.as_str().parse().ok().map(Self::Float),
            DeValue::Array(items) => items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) => Some(text.to_string()),
                    _ => None,
                })
                .collect::<Option<_>>()
                .map(Self::Texts),
            DeValue::Datetime(_) | DeValue::Table(_) => None,
        }
    }
}

/// The key a slip of the keyboard may have meant: at most a third of it differs.
fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase().replace('-', "_");
    KEYS.into_iter()
        .map(|key| (distance(&name, key), key))
        .min()
        .filter(|(edits, key)| *edits <= key.len() / 3)
        .map(|(_, key)| key)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        match ConfigFile::parse(Path::new("/c.toml"), text) {
            Ok(_) => panic!("{text:?} was accepted"),
            Err(failure) => {
                assert_eq!(failure.code, FailureCode::Usage);
                failure.to_string()
            }
        }
    }

    #[test]
    fn every_key_can_be_read() {
        let text = "endpoint = \"https://m\"\ncache_dir = '~/c'\noffline = true\nconnections = 0x10\n\
                    connect_timeout_s = 3\nstall_timeout_s = 2.5\nretry_attempts = 1_0\n\
                    retry_base_ms = 5\nretry_cap_s = 6\ntheme = 'dark'\nascii = true\n\
                    read_only = false\nlog_level = 'debug'\nlimit_rate = '5M'\n\
                    folders = ['~/models', '/disk']\nidle_check = false\n\
                    trash_days = 7\ntrash_percent = 10\npolicy_partials_days = 3\n\
                    policy_trash_days = 3\npolicy_unused_days = 90\n";
        let file = ConfigFile::parse(Path::new("/c.toml"), text).unwrap();
        assert_eq!(file.entries.len(), KEYS.len());
        assert_eq!(file.text("endpoint").unwrap().unwrap().0, "https://m");
        assert!(file.boolean("offline").unwrap().unwrap().0);
        let folders = file.texts("folders").unwrap().unwrap().0;
        assert_eq!(folders, ["~/models", "/disk"]);
        let (connections, origin) = file.integer("connections").unwrap().unwrap();
        assert_eq!(
            (connections.as_str(), origin.to_string().as_str()),
            ("16", "/c.toml:4")
        );
        assert_eq!(file.integer("retry_attempts").unwrap().unwrap().0, "10");
        let seconds = |key| file.seconds(key).unwrap().unwrap().0;
        assert!((seconds("connect_timeout_s") - 3.0).abs() < f64::EPSILON);
        assert!((seconds("stall_timeout_s") - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn complaints_name_the_line_and_the_nearest_key() {
        let slip = complaint("offline = true\n\nconection = 3\n");
        assert!(
            slip.contains("/c.toml:3") && slip.contains("`connections`"),
            "{slip}"
        );
        let dash = complaint("cache-dir = 'x'\n");
        assert!(dash.contains("`cache_dir`"), "{dash}");
        let far = complaint("colour = 'x'\n");
        assert!(far.contains("the settings are"), "{far}");
        let broken = complaint("offline = true\nendpoint = \n");
        assert!(broken.contains("/c.toml:2"), "{broken}");
        let table = complaint("[endpoint]\nx = 1\n");
        assert!(table.contains("/c.toml:1"), "{table}");
        let mixed = complaint("folders = ['/a', 3]\n");
        assert!(mixed.contains("a list of texts"), "{mixed}");
    }

    #[test]
    fn a_wrong_type_is_named() {
        let file = ConfigFile::parse(Path::new("/c.toml"), "\noffline = 'yes'\n").unwrap();
        let failure = file.boolean("offline").unwrap_err().to_string();
        assert!(
            failure.contains("/c.toml:2") && failure.contains("`true`"),
            "{failure}"
        );
    }
}
