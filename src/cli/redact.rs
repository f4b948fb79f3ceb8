//! Owns striking out what nobody else may know: tokens, the secret parts of addresses, the home
//! folder, the names of the user and of the machine.
//!
//! **Law**: what comes out holds none of them, wherever and however often they stood. Rather too
//! much is struck out than too little.

/// What stands in the place of a secret.
const STRUCK: &str = "***";
/// Shorter names are struck out as whole words only, or hardly a word would be left.
const SHORT: usize = 4;
/// Parts of a header's line after which the rest of the line is a secret.
const HEADERS: [&str; 3] = ["authorization", "cookie", "bearer "];

/// What is struck out.
#[derive(Clone, Debug, Default)]
pub(super) struct Redactor {
    home: Option<String>,
    /// Replaced wherever they stand, also inside of other words.
    names: Vec<String>,
    secrets: Vec<String>,
}

impl Redactor {
    /// Strikes out this home, these names and these secrets, besides whatever looks like one.
    pub(super) fn new(home: Option<&str>, names: &[String], secrets: &[String]) -> Self {
        let mut all = Vec::new();
        for name in names {
            all.push(name.clone());
            // A host's first label is as telling as the whole.
            if let Some((label, _)) = name.split_once('.') {
                all.push(label.to_owned());
            }
        }
        all.retain(|name| !name.is_empty() && name != "localhost");
        // The longest first: a part of a name must not hide the rest of it.
        all.sort_by_key(|name| std::cmp::Reverse(name.len()));
        Self {
            home: home
                .map(|home| home.trim_end_matches('/').to_owned())
                .filter(|home| !home.is_empty()),
            names: all,
            secrets: secrets
                .iter()
                .filter(|secret| !secret.is_empty())
                .cloned()
                .collect(),
        }
    }

    /// The text without them.
    pub(super) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret.as_str(), STRUCK);
        }
        let text = text
            .split_inclusive('\n')
            .map(|line| tokens(&addresses(&headers(line))))
            .collect::<String>();
        let mut text = match &self.home {
            Some(home) => at_borders(&text, home, "~"),
            None => text,
        };
        for name in &self.names {
            text = if name.chars().count() < SHORT {
                at_borders(&text, name, STRUCK)
            } else {
                anywhere(&text, name, STRUCK)
            };
        }
        text
    }

    /// The document with every text in it struck out.
    pub(super) fn json(&self, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => *text = self.text(text),
            serde_json::Value::Array(items) => items.iter_mut().for_each(|item| self.json(item)),
            serde_json::Value::Object(fields) => {
                fields.values_mut().for_each(|field| self.json(field));
            }
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
            }
        }
    }
}

/// Where `needle` stands in `text` at or after `from`, ASCII letters in either case.
fn find(text: &str, needle: &str, from: usize) -> Option<usize> {
    let (hay, needle) = (text.as_bytes(), needle.as_bytes());
    (from..=hay.len().checked_sub(needle.len())?).find(|&at| {
        hay[at..at + needle.len()].eq_ignore_ascii_case(needle) && text.is_char_boundary(at)
    })
}

fn anywhere(text: &str, needle: &str, with: &str) -> String {
    replaced(text, needle, with, |_, _| true)
}

/// Replaces `needle` where no letter or digit stands beside it.
fn at_borders(text: &str, needle: &str, with: &str) -> String {
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    replaced(text, needle, with, |before, after| {
        !is_word(before.chars().next_back()) && !is_word(after.chars().next())
    })
}

fn replaced(text: &str, needle: &str, with: &str, is_meant: impl Fn(&str, &str) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut copied, mut from) = (0, 0);
    while let Some(at) = find(text, needle, from) {
        let end = at + needle.len();
        if text.is_char_boundary(end) && is_meant(&text[..at], &text[end..]) {
            out.push_str(&text[copied..at]);
            out.push_str(with);
            copied = end;
        }
        from = end;
    }
    out.push_str(&text[copied..]);
    out
}

/// A line whose header says a secret, up to there.
fn headers(line: &str) -> String {
    let found = HEADERS
        .into_iter()
        .filter_map(|header| find(line, header, 0).map(|at| at + header.len()))
        .min();
    let Some(end) = found else {
        return line.to_owned();
    };
    let rest = line[end..].trim_end();
    if rest.trim_matches([':', '=', '"', ' ']).is_empty() {
        return line.to_owned();
    }
    let end_of_line = &line[end + rest.len()..];
    format!("{}: {STRUCK}{end_of_line}", line[..end].trim_end())
}

/// Addresses without user, password, query and fragment.
fn addresses(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || "\"'`<>|\\^{}".contains(c))
            .unwrap_or(after.len());
        let (address, behind) = after.split_at(end);
        let split = address.find(['/', '?', '#']).unwrap_or(address.len());
        let (authority, path) = address.split_at(split);
        match authority.rsplit_once('@') {
            Some((_, host)) => out.extend([STRUCK, "@", host]),
            None => out.push_str(authority),
        }
        match path.find(['?', '#']) {
            Some(query) => out.extend([&path[..=query], STRUCK]),
            None => out.push_str(path),
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// A line without what looks like a Hub token.
fn tokens(line: &str) -> String {
    let mut out = line.to_owned();
    for start in ["hf_", "api_org_"] {
        let mut text = String::with_capacity(out.len());
        let mut rest = out.as_str();
        while let Some(at) = find(rest, start, 0) {
            let after = &rest[at + start.len()..];
            let end = after
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')
                .unwrap_or(after.len());
            // Names of variables are no tokens.
            let is_name = rest[at..].starts_with("HF_");
            text.push_str(&rest[..at]);
            if end > 0 && !is_name {
                text.push_str(STRUCK);
            } else {
                text.push_str(&rest[at..at + start.len() + end]);
            }
            rest = &after[end..];
        }
        text.push_str(rest);
        out = text;
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redactor() -> Redactor {
        Redactor::new(
            Some("/home/alice"),
            &["alice".to_owned(), "Kitchen-Mac.local".to_owned()],
            &["sekret-value".to_owned()],
        )
    }

    #[test]
    fn secrets_are_struck_out_wherever_they_stand() {
        for (text, struck) in [
            ("token hf_AbC123 end", "token *** end"),
            ("hf_a,hf_b", "***,***"),
            ("xhf_abc", "x***"),
            ("api_org_abcDEF", "***"),
            ("HF_TOKEN is set", "HF_TOKEN is set"),
            (
                "Authorization: Bearer abc def\nnext",
                "Authorization: ***\nnext",
            ),
            ("authorization=\"Basic x\"", "authorization: ***"),
            ("sent Bearer abc", "sent Bearer: ***"),
            ("set-cookie: a=b; c", "set-cookie: ***"),
            (
                "https://u:p@ss@host:8/x?sig=1&b=2#f, next",
                "https://***@host:8/x?***",
            ),
            ("see `https://h/p?X-Amz=1` and", "see `https://h/p?***` and"),
            ("http://proxy:3128", "http://proxy:3128"),
            ("a sekret-value b", "a *** b"),
            ("/home/alice/x and /home/alice", "~/x and ~"),
            ("/home/alice2/x", "/home/***2/x"),
            ("ALICE and malice", "*** and m***"),
            ("kitchen-mac.LOCAL kitchen-mac", "*** ***"),
            ("", ""),
            ("plain: nothing to hide", "plain: nothing to hide"),
        ] {
            let text = redactor().text(text);
            assert!(
                text == struck || text.starts_with(struck),
                "{text} for {struck}"
            );
        }
    }

    #[test]
    fn short_names_are_whole_words() {
        let redactor = Redactor::new(Some("/"), &["me".to_owned(), "localhost".to_owned()], &[]);
        assert_eq!(
            redactor.text("me and some, me@localhost /me/x"),
            "*** and some, ***@localhost /***/x"
        );
    }

    #[test]
    fn documents_are_struck_out_to_the_leaves() {
        let mut value = serde_json::json!({
            "a": ["/home/alice/x", 3, null, { "b": "hf_secret" }],
            "c": true,
        });
        redactor().json(&mut value);
        assert_eq!(
            value,
            serde_json::json!({ "a": ["~/x", 3, null, { "b": "***" }], "c": true })
        );
    }

    proptest! {
        #[test]
        fn nothing_planted_survives(before in "\\PC{0,30}", after in "\\PC{0,30}") {
            for planted in ["hf_AbCdEf123", "/home/alice", "alice", "kitchen-mac", "sekret-value"] {
                let text = redactor().text(&format!("{before}{planted}{after}"));
                prop_assert!(!text.to_ascii_lowercase().contains("alice"), "{}", text);
                prop_assert!(!text.contains("AbCdEf123") && !text.contains("sekret-value"), "{}", text);
                prop_assert!(!text.to_ascii_lowercase().contains("kitchen-mac"), "{}", text);
            }
        }
    }
}
