//! Owns reading JSON as Python's loaders do: `Infinity` and `NaN` are numbers to them, and what is
//! no JSON at all is named for what it is.
//!
//! Never reads files.

use serde::Deserialize;
use serde_json::Value;

use crate::domain::{Rule, sanitize_line};

/// What a file holds in the place of JSON or weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Imposter {
    Pointer,
    Page,
    Nothing,
}

/// Why a file does not read: a phrase that follows its name, and the rule it breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    pub(super) why: String,
    pub(super) rule: Rule,
}

impl Unfit {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            rule: Rule::WouldNotLoad,
        }
    }

    /// Says by which rule it was found.
    pub(super) const fn by_rule(mut self, rule: Rule) -> Self {
        self.rule = rule;
        self
    }
}

impl Imposter {
    /// What the start of a file gives away.
    pub(super) fn of(start: &[u8]) -> Option<Self> {
        let start = start.trim_ascii_start();
        if start.is_empty() {
            Some(Self::Nothing)
        } else if start.starts_with(b"version https://git-lfs") {
            Some(Self::Pointer)
        } else if start.starts_with(b"<") {
            Some(Self::Page)
        } else {
            None
        }
    }

    /// In words, with what should be there.
    pub(super) fn unfit(self, instead_of: &str) -> Unfit {
        let (what, rule) = match self {
            Self::Pointer => ("an LFS pointer", Rule::LfsPointer),
            Self::Page => ("a web page", Rule::ErrorPage),
            Self::Nothing => ("nothing", Rule::WouldNotLoad),
        };
        Unfit {
            why: format!("holds {what}, not {instead_of}"),
            rule,
        }
    }
}

/// Parses a small JSON file.
pub(super) fn parse<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, Unfit> {
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(error) => match python_numbers(bytes).map(|bytes| serde_json::from_slice(&bytes)) {
            Some(Ok(value)) => Ok(value),
            _ => Err(unfit(bytes, &error)),
        },
    }
}

/// Why bytes are no JSON.
pub(super) fn unfit(start: &[u8], error: &serde_json::Error) -> Unfit {
    match Imposter::of(start) {
        Some(imposter) => imposter.unfit("JSON"),
        None if error.is_data() => Unfit::new(format!(
            "does not hold what it should: {}",
            sanitize_line(&error.to_string(), 200)
        )),
        None => Unfit::new(format!(
            "is malformed JSON: {}",
            sanitize_line(&error.to_string(), 200)
        )),
    }
}

/// The text with the numbers that only Python knows replaced by one that all know.
fn python_numbers(bytes: &[u8]) -> Option<Vec<u8>> {
    const NAMES: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut out = Vec::with_capacity(bytes.len());
    let (mut at, mut in_string, mut found) = (0, false, false);
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        if in_string {
            if byte == b'\\' {
                out.extend(rest.iter().take(2));
                at += 2;
                continue;
            }
            in_string = byte != b'"';
        } else if let Some(name) = NAMES.iter().find(|name| rest.starts_with(name)) {
            out.push(b'0');
            at += name.len();
            found = true;
            continue;
        } else {
            in_string = byte == b'"';
        }
        out.push(byte);
        at += 1;
    }
    found.then_some(out)
}

/// What kind of value it is, as a person says it.
pub(super) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_only_python_knows_are_read() {
        let text = br#"{"a":[-Infinity,Infinity,NaN],"b":"NaN \" Infinity"}"#;
        let value: Value = parse(text).unwrap();
        assert_eq!(value["a"], serde_json::json!([0, 0, 0]));
        assert_eq!(value["b"], "NaN \" Infinity");
        assert!(parse::<Value>(b"{\"a\":Infinite}").is_err());
        assert!(parse::<Value>(b"\"\\").is_err());
    }

    #[test]
    fn what_is_no_json_is_named() {
        let why = |bytes: &[u8]| parse::<Value>(bytes).unwrap_err();
        assert_eq!(why(b" <html>").rule, Rule::ErrorPage);
        assert_eq!(
            why(b"version https://git-lfs.github.com/spec/v1").rule,
            Rule::LfsPointer
        );
        assert_eq!(why(b" \n").why, "holds nothing, not JSON");
        assert!(why(b"{\"a\":").why.starts_with("is malformed JSON"));
        assert!(
            parse::<Vec<u8>>(b"{}")
                .unwrap_err()
                .why
                .contains("not hold what it should")
        );
    }
}
