//! Owns writing one key of the config file and leaving the rest as its owner wrote it.
//!
//! **Law**: the file is replaced in one step, or not at all.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use toml_edit::{DocumentMut, Item, Value};

use crate::domain::{Failure, FailureCode};

use super::file::{ConfigFile, KEYS};

/// Mode of a new file, before the umask.
const NEW_MODE: u32 = 0o666;

/// Sets one key of the config file. Comments and everything else stay; file and folder are made
/// where they are missing.
///
/// # Errors
/// `usage` when there is no such key, the value does not fit it, or the file is no config file;
/// `not-writable` when it cannot be written.
pub fn remember(config_file: &Path, key: &str, value: &str) -> Result<(), Failure> {
    if !KEYS.contains(&key) {
        return Err(Failure::new(
            FailureCode::Usage,
            format!("there is no setting `{key}`"),
        ));
    }
    // A link to the file stays one: dotfiles are often kept elsewhere.
    let target = fs::canonicalize(config_file).unwrap_or_else(|_| config_file.to_owned());
    let before = match fs::read_to_string(&target) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(failure(config_file, "cannot be read", &error)),
    };
    let after = edited(
        config_file,
        before.as_deref().unwrap_or_default(),
        key,
        value,
    )?;
    if before.as_ref() == Some(&after) {
        return Ok(());
    }
    write(&target, &after).map_err(|error| failure(config_file, "cannot be written", &error))
}

/// The text with that key set.
fn edited(path: &Path, text: &str, key: &str, value: &str) -> Result<String, Failure> {
    // The complaint of the usual reader names the line.
    ConfigFile::parse(path, text)?;
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        Failure::new(
            FailureCode::Usage,
            format!("the config file `{}` is not TOML", path.display()),
        )
        .because(error.message())
        .at_path(path.display().to_string())
    })?;
    let mut new = typed(value);
    match document.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            // What stands beside a value, a comment for example, belongs to its owner.
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        None => {
            document.insert(key, Item::Value(new));
        }
    }
    Ok(document.to_string())
}

/// A number or a switch where it reads as one, else text.
fn typed(value: &str) -> Value {
    match value {
        "true" => true.into(),
        "false" => false.into(),
        _ => match value.parse::<i64>() {
            Ok(number) => number.into(),
            Err(_) => value.into(),
        },
    }
}

fn write(target: &Path, text: &str) -> io::Result<()> {
    let folder = target.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new()
        .prefix(".config-")
        .suffix(".toml")
        .permissions(Permissions::from_mode(NEW_MODE))
        .tempfile_in(folder)?;
    if let Ok(old) = fs::metadata(target) {
        file.as_file().set_permissions(old.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(target).map_err(|error| error.error)?;
    Ok(())
}

fn failure(path: &Path, what: &str, error: &io::Error) -> Failure {
    Failure::new(
        FailureCode::NotWritable,
        format!("the config file `{}` {what}", path.display()),
    )
    .because(error.to_string())
    .at_path(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMENTED: &str = "\
# Mine; do not touch.
endpoint = \"https://hf-mirror.com\"   # faster here

theme  =  'dark' # for the evening
# connections = 3
";

    #[test]
    fn comments_and_everything_else_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, COMMENTED).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        remember(&path, "theme", "light").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, COMMENTED.replace("'dark'", "\"light\""));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        remember(&path, "ascii", "true").unwrap();
        remember(&path, "connections", "4").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&COMMENTED[..30]), "{text}");
        assert!(
            text.contains("\nascii = true\n") && text.contains("\nconnections = 4\n"),
            "{text}"
        );
        assert!(text.contains("# connections = 3\n"), "{text}");
        ConfigFile::parse(&path, &text).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn file_and_folder_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/config.toml");
        remember(&path, "theme", "16-colour").unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "theme = \"16-colour\"\n"
        );
        remember(&path, "theme", "16-colour").unwrap();
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, path) = (
            folder.path().join("real"),
            folder.path().join("config.toml"),
        );
        fs::write(&real, "offline = true\n").unwrap();
        std::os::unix::fs::symlink(&real, &path).unwrap();
        remember(&path, "log_level", "debug").unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(
            fs::read_to_string(&real).unwrap(),
            "offline = true\nlog_level = \"debug\"\n"
        );
    }

    #[test]
    fn what_is_no_config_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        for text in ["theme = \n", "[theme]\n", "\u{0}"] {
            fs::write(&path, text).unwrap();
            let failure = remember(&path, "theme", "dark").unwrap_err();
            assert_eq!(failure.code, FailureCode::Usage, "{text:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(remember(&path, "theme", "dark").is_err());
        let failure = remember(&path, "colour", "dark").unwrap_err();
        assert!(failure.summary.contains("`colour`"), "{failure}");
        let below = path.join("config.toml");
        let failure = remember(&below, "theme", "dark").unwrap_err();
        assert_eq!(failure.code, FailureCode::NotWritable, "{failure}");
    }
}
