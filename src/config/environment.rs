//! Owns the variables: read from the process once, or given by a test.
//!
//! Never shows a value in `Debug`: tokens are among them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::domain::{Failure, TerminalFacts};

use super::value::Origin;

/// The environment variables of one run.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// The variables of this process; the only reader of them.
    ///
    /// Without `HOME` the account's home folder stands in, as it does for Python.
    pub fn of_process() -> Self {
        let mut variables: BTreeMap<String, OsString> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect();
        if variables.get("HOME").is_none_or(|home| home.is_empty())
            && let Some(home) = std::env::home_dir()
        {
            variables.insert("HOME".to_owned(), home.into_os_string());
        }
        Self(variables)
    }

    /// What is said about the terminal.
    pub fn terminal(&self) -> TerminalFacts {
        let said = |name: &str| {
            self.0
                .get(name)
                .filter(|value| !value.is_empty())
                .map(|value| value.to_string_lossy().into_owned())
        };
        let term = said("TERM");
        // A session inside tmux on another machine has tmux's TERM, but not its variable.
        let is_tmux =
            said("TMUX").is_some() || term.as_deref().is_some_and(|term| term.starts_with("tmux"));
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(said);
        TerminalFacts {
            term,
            program: said("TERM_PROGRAM"),
            colorterm: said("COLORTERM"),
            is_no_color: said("NO_COLOR").is_some(),
            is_tmux,
            is_ssh: ["SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT"]
                .into_iter()
                .any(|name| said(name).is_some()),
            is_utf8: locale.is_some_and(|locale| {
                let locale = locale.to_ascii_lowercase();
                locale.contains("utf-8") || locale.contains("utf8")
            }),
            is_light: said("COLORFGBG").is_some_and(|colors| is_light(&colors)),
        }
    }

    /// The name of the user, where the environment tells.
    pub fn user(&self) -> Option<String> {
        ["USER", "LOGNAME"].into_iter().find_map(|name| {
            let name = self.0.get(name)?.to_string_lossy();
            (!name.is_empty()).then(|| name.into_owned())
        })
    }

    /// These variables and no others.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect(),
        )
    }

    /// The variable's text; `None` if unset or empty.
    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, Failure> {
        match self.0.get(name).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => value.to_str().map(Some).ok_or_else(|| {
                Origin::Variable(name).failure("cannot be read", "its value is not UTF-8")
            }),
        }
    }

    /// [`Self::text`] with where it came from.
    pub(super) fn owned(&self, name: &'static str) -> Result<Option<(String, Origin)>, Failure> {
        Ok(self
            .text(name)?
            .map(|text| (text.to_owned(), Origin::Variable(name))))
    }

    /// `text` with a leading `~` and every `$NAME` or `${NAME}` replaced, as Python's
    /// `expanduser` and `expandvars` do: what is not known stays as it is.
    pub(super) fn expand(&self, text: &str) -> PathBuf {
        let text = match (text.strip_prefix('~'), self.0.get("HOME")) {
            (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
                format!("{}{rest}", home.to_string_lossy().trim_end_matches('/'))
            }
            _ => text.to_owned(),
        };
        let mut out = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let (name, length) = variable_name(&rest[at + 1..]);
            match self.0.get(name).and_then(|value| value.to_str()) {
                Some(value) if !name.is_empty() => out.push_str(value),
                _ => out.push_str(&rest[at..=at + length]),
            }
            rest = &rest[at + 1 + length..];
        }
        out.push_str(rest);
        PathBuf::from(out)
    }
}

/// Reads `COLORFGBG`: foreground and background as numbers of the sixteen colours, `15;0` or
/// `0;default;15`. White and the bright ones but grey are light.
fn is_light(colors: &str) -> bool {
    let background = colors
        .rsplit(';')
        .next()
        .and_then(|it| it.parse::<u8>().ok());
    matches!(background, Some(7 | 9..=15))
}

/// Names only.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The name that starts after a `$`, and how many bytes it takes with its braces.
fn variable_name(after: &str) -> (&str, usize) {
    if let Some(inner) = after.strip_prefix('{')
        && let Some(end) = inner.find('}')
    {
        return (&inner[..end], end + 2);
    }
    let end = after
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(after.len());
    (&after[..end], end)
}

/// `huggingface_hub`'s rule: everything else is false.
pub(super) fn is_true(text: &str) -> bool {
    ["1", "ON", "YES", "TRUE"]
        .iter()
        .any(|yes| text.eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_expand_as_pythons_do() {
        let env = Environment::from_pairs([("HOME", "/home/u"), ("D", "/disk"), ("EMPTY", "")]);
        for (text, path) in [
            ("~", "/home/u"),
            ("~/x", "/home/u/x"),
            ("~other/x", "~other/x"),
            ("/a/~/b", "/a/~/b"),
            ("$D/hub", "/disk/hub"),
            ("${D}hub", "/diskhub"),
            ("$D$EMPTY/x", "/disk/x"),
            ("$NOT_SET/x", "$NOT_SET/x"),
            ("${NOT_SET}/x", "${NOT_SET}/x"),
            ("/price$", "/price$"),
            ("/a${D", "/a${D"),
            ("/ü$D/ö", "/ü/disk/ö"),
        ] {
            assert_eq!(env.expand(text), PathBuf::from(path), "{text}");
        }
        let homeless = Environment::from_pairs([]);
        assert_eq!(homeless.expand("~/x"), PathBuf::from("~/x"));
    }

    #[test]
    fn the_background_is_light_or_not_known() {
        for light in ["0;15", "0;default;15", "0;7"] {
            assert!(is_light(light), "{light}");
        }
        for dark in ["15;0", "7;8", "15;default", "", ";"] {
            assert!(!is_light(dark), "{dark}");
        }
    }

    #[test]
    fn only_four_words_are_true() {
        for yes in ["1", "on", "Yes", "TRUE"] {
            assert!(is_true(yes));
        }
        for no in ["0", "false", "y", "2", " 1"] {
            assert!(!is_true(no), "{no}");
        }
    }

    #[test]
    fn the_terminal_is_what_the_variables_say() {
        let facts = |pairs: &[(&'static str, &'static str)]| {
            Environment::from_pairs(pairs.iter().copied()).terminal()
        };
        assert_eq!(facts(&[]), TerminalFacts::default());
        let all = facts(&[
            ("TERM", "screen-256color"),
            ("TERM_PROGRAM", "ghostty"),
            ("COLORTERM", "truecolor"),
            ("NO_COLOR", "0"),
            ("TMUX", "/tmp/tmux-501/default,1,0"),
            ("SSH_TTY", "/dev/pts/1"),
            ("LANG", "de_DE.utf8"),
        ]);
        assert_eq!(all.term.as_deref(), Some("screen-256color"));
        assert_eq!(all.program.as_deref(), Some("ghostty"));
        assert_eq!(all.colorterm.as_deref(), Some("truecolor"));
        assert!(all.is_no_color && all.is_tmux && all.is_ssh && all.is_utf8 && !all.is_dumb());
        assert!(facts(&[("TERM", "tmux-256color")]).is_tmux);
        assert!(facts(&[("TERM", "dumb")]).is_dumb());
        assert!(!facts(&[("NO_COLOR", "")]).is_no_color, "by no-color.org");
        // The first that is set decides, and C is not UTF-8.
        assert!(!facts(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")]).is_utf8);
        assert!(facts(&[("LC_ALL", ""), ("LC_CTYPE", "UTF-8"), ("LANG", "C")]).is_utf8);
    }

    #[test]
    fn debug_shows_no_values() {
        let env = Environment::from_pairs([("HF_TOKEN", "hf_secret")]);
        assert_eq!(format!("{env:?}"), r#"{"HF_TOKEN"}"#);
    }
}
