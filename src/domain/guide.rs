//! Owns the guide to fetching a model by hand: what is missing, where it is, how it is proven; as
//! numbered steps and as a POSIX script.
//!
//! **Law**: no token is ever in it; whatever the Hub calls a file, the script takes it as data; what
//! is printed holds nothing that a terminal obeys.

use std::fmt::Write as _;

use serde::Serialize;

use super::file::{Etag, RepoPath};
use super::repo::{Commit, RepoId, Revision};
use super::text::{sanitize, shell_word};

/// Where a token is made, below the Hub's address.
const TOKENS: &str = "settings/tokens";
/// What every script does, before and after its files.
const SCRIPT_HEAD: &str = include_str!("guide/head.sh");
const SCRIPT_TAIL: &str = include_str!("guide/tail.sh");

/// What a guide is wanted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuideRequest {
    /// The repo as typed.
    pub repo: RepoId,
    /// The revision as typed.
    pub revision: Revision,
}

/// A content that is to be fetched by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GuideFile {
    /// Path inside the repo; the first of those with this content.
    pub path: RepoPath,
    /// Length in bytes.
    pub size_bytes: u64,
    /// What proves it.
    pub etag: Etag,
    /// Where it is, pinned to the commit, without secrets.
    pub url: String,
}

/// What is missing of a model, and how a person gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Guide {
    /// The repo, in the Hub's spelling.
    pub repo: RepoId,
    /// The revision as typed.
    pub revision: Revision,
    /// The commit.
    pub commit: Commit,
    /// The Hub, without user or password.
    pub endpoint: String,
    /// What is missing, each content once.
    pub files: Vec<GuideFile>,
    /// Files of the selection that are here.
    pub here_files: usize,
    /// Bytes to fetch.
    pub fetch_bytes: u64,
    /// Whether the Hub gives it only to those who have accepted its terms, or may read it: a token
    /// is needed.
    pub needs_token: bool,
    /// Whether the listing was known on this machine, and the Hub was not asked or did not answer.
    pub is_offline: bool,
}

impl Guide {
    /// The folder the files are put into.
    pub fn folder(&self) -> String {
        format!("larder-{}", self.repo.folder())
    }

    /// The page of the repo, where terms are accepted.
    pub fn page(&self) -> String {
        format!("{}/{}", self.endpoint, self.repo.url_path())
    }

    /// Where a token is made.
    fn tokens(&self) -> String {
        format!("{}/{TOKENS}", self.endpoint)
    }

    /// The call that takes the files in. `places` are the flags that say where.
    pub fn import_call(&self, places: &[String]) -> String {
        self.call_on(&self.folder(), places)
    }

    fn call_on(&self, folder: &str, places: &[String]) -> String {
        let mut words = vec![
            format!("larder import {}", shell_word(folder)),
            format!("--repo {}", shell_word(&self.repo.to_string())),
        ];
        if self.revision.as_commit().is_some() {
            words.push(format!("--revision {}", self.commit));
        } else {
            if self.revision != Revision::main() {
                words.push(format!("--revision {}", shell_word(self.revision.as_str())));
            }
            words.push(format!("--commit {}", self.commit));
        }
        words.extend(places.iter().cloned());
        words.join(" ")
    }

    /// The steps, a line each; `size` writes a number of bytes for people.
    pub fn steps(&self, size: &dyn Fn(u64) -> String, places: &[String]) -> Vec<String> {
        let total = size(self.fetch_bytes);
        let head = format!(
            "{} @ {} ({}): {} missing, {total} to download, {} here",
            self.repo,
            sanitize(self.revision.as_str()),
            self.commit.short(),
            count(self.files.len()),
            self.here_files,
        );
        let mut lines = vec![head];
        if self.is_offline {
            lines.push(
                "The Hub was not asked: this is what was known of it on this machine.".to_owned(),
            );
        }
        if self.files.is_empty() {
            lines.push(format!(
                "Nothing is to be fetched by hand: every content is here. Where only a name for one \
                 is missing, `larder pull {}` makes it and downloads nothing.",
                shell_word(&self.repo.to_string())
            ));
            return lines;
        }
        let mut number = 0;
        let mut step = |lines: &mut Vec<String>, text: &str| {
            number += 1;
            lines.push(String::new());
            lines.push(format!("{number}. {text}"));
        };
        if self.needs_token {
            step(
                &mut lines,
                "This repo is not open to everybody. Log in, and accept its terms where it asks:",
            );
            lines.push(format!("     {}", self.page()));
            lines.push(format!(
                "   For curl, make a token that may read it at {}, and put it into a variable:",
                self.tokens()
            ));
            // Not `read -s`: a POSIX shell has no such flag.
            lines.push("     stty -echo; read -r HF_TOKEN; stty echo".to_owned());
        }
        step(
            &mut lines,
            &format!("Make a folder where {total} are free:"),
        );
        let folder = shell_word(&self.folder());
        lines.push(format!("     mkdir -p {folder} && cd {folder}"));
        step(
            &mut lines,
            "Download each file into it. In a browser: open the address and save it; its name does \
             not matter. With curl: the line below it, again if it breaks off.",
        );
        for (at, file) in self.files.iter().enumerate() {
            lines.push(String::new());
            lines.push(format!(
                "   [{}/{}] {}  {} ({} bytes)",
                at + 1,
                self.files.len(),
                sanitize(file.path.as_str()),
                size(file.size_bytes),
                file.size_bytes,
            ));
            lines.push(format!("     {}", file.url));
            lines.push(format!("     {}", self.curl(file)));
            lines.push(format!("     {} {}", file.etag.algorithm(), file.etag));
        }
        step(
            &mut lines,
            "larder proves every file when it takes it in; who wants to know before:",
        );
        lines.push("     shasum -a 256 FILE    (sha256; on Linux also: sha256sum FILE)".to_owned());
        lines.push(
            "     git hash-object --no-filters FILE    (git-sha1: of the small files)".to_owned(),
        );
        step(&mut lines, "Take them in:");
        lines.push(format!("     cd .. && {}", self.import_call(places)));
        lines.push(String::new());
        lines.push(format!(
            "All of that in one: {} --script > fetch.sh && sh fetch.sh",
            std::iter::once(format!("larder guide {}", self.words()))
                .chain(places.iter().cloned())
                .collect::<Vec<_>>()
                .join(" ")
        ));
        lines
    }

    /// The repo and revision, as words of a call.
    fn words(&self) -> String {
        let repo = shell_word(&self.repo.to_string());
        if self.revision == Revision::main() {
            repo
        } else {
            format!("{repo} --revision {}", shell_word(self.revision.as_str()))
        }
    }

    fn curl(&self, file: &GuideFile) -> String {
        // The token stays out of the list of processes.
        let token = if self.needs_token {
            "printf 'header = \"Authorization: Bearer %s\"\\n' \"$HF_TOKEN\" | curl -K - "
        } else {
            "curl "
        };
        let name = format!("./{}", file.path);
        format!(
            "{token}-fL --globoff -C - --create-dirs -o {} {}",
            quoted(&name),
            quoted(&file.url)
        )
    }

    /// A POSIX script that downloads what is missing, proves it and has it imported.
    pub fn script(&self, places: &[String]) -> String {
        let mut text = String::from("#!/bin/sh\n");
        let line = |text: &mut String, name: &str, value: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}={}", quoted(value));
        };
        let _ = writeln!(
            text,
            "# Fetches {} of {} at commit {}, proves it and hands it to larder.\n\
             # Made by `larder guide`. It needs curl, and sha256sum, shasum or openssl.\n\
             # Run it again when it breaks off: it goes on with what is there.\n\
             # In an empty folder of its own: sh fetch.sh [FOLDER]\n\n\
             # Names are data; nothing in them is to be expanded.\n\
             # shellcheck disable=SC2016\n",
            count(self.files.len()),
            self.repo,
            self.commit,
        );
        line(&mut text, "folder", &self.folder());
        line(&mut text, "page", &self.page());
        line(&mut text, "tokens", &self.tokens());
        line(
            &mut text,
            "needs_token",
            if self.needs_token { "yes" } else { "no" },
        );
        line(&mut text, "total", &self.fetch_bytes.to_string());
        text.push_str(SCRIPT_HEAD);
        for file in &self.files {
            let _ = writeln!(
                text,
                "fetch {} {} {} \\\n    {} \\\n    {}",
                file.size_bytes,
                file.etag.algorithm(),
                file.etag,
                quoted(&format!("./{}", file.path)),
                quoted(&file.url),
            );
        }
        let call = self.call_on(".", places);
        let call = call.strip_prefix("larder ").unwrap_or(&call);
        line(&mut text, "by_hand", &format!("larder {call}"));
        text.push_str(SCRIPT_TAIL);
        let _ = writeln!(text, "\"$larder\" {call}");
        text
    }
}

fn count(files: usize) -> String {
    match files {
        1 => "1 file".to_owned(),
        more => format!("{more} files"),
    }
}

/// A word of a script, always in quotes. One with characters that a terminal would obey, or that
/// hide or turn text around, is spelled out in numbers.
fn quoted(word: &str) -> String {
    if sanitize(word) == word {
        return format!("'{}'", word.replace('\'', "'\\''"));
    }
    let mut text = String::from("\"$(printf '");
    for byte in word.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "\\{byte:03o}");
        }
    }
    text.push_str("')\"");
    text
}

#[cfg(test)]
mod tests {
    use super::super::repo::RepoKind;
    use super::*;

    fn guide(name: &str, needs_token: bool) -> Guide {
        Guide {
            repo: RepoId::new(RepoKind::Model, "org/m").unwrap(),
            revision: Revision::main(),
            commit: Commit::from_bytes([0xab; 20]),
            endpoint: "https://huggingface.co".to_owned(),
            files: vec![GuideFile {
                path: RepoPath::new(name).unwrap(),
                size_bytes: 12,
                etag: Etag::Sha256([1; 32]),
                url: "https://huggingface.co/org/m/resolve/x/y".to_owned(),
            }],
            here_files: 2,
            fetch_bytes: 12,
            needs_token,
            is_offline: false,
        }
    }

    fn steps(guide: &Guide) -> String {
        let size = |bytes: u64| format!("{bytes} B");
        guide
            .steps(&size, &["--cache-dir /c".to_owned()])
            .join("\n")
    }

    #[test]
    fn the_steps_end_in_an_import_of_the_same_commit_into_the_same_cache() {
        let text = steps(&guide("a.json", false));
        let call = format!(
            "larder import larder-models--org--m --repo org/m --commit {} --cache-dir /c",
            "ab".repeat(20)
        );
        assert!(text.contains(&call), "{text}");
        assert!(!text.contains("HF_TOKEN"), "{text}");
        let text = steps(&guide("a.json", true));
        assert!(text.contains("https://huggingface.co/org/m\n"), "{text}");
        assert!(
            text.contains("stty -echo; read -r HF_TOKEN; stty echo"),
            "{text}"
        );
        let mut at_commit = guide("a.json", false);
        at_commit.revision = Revision::new(&"ab".repeat(20)).unwrap();
        let call = at_commit.import_call(&[]);
        assert!(call.ends_with(&format!("--revision {}", "ab".repeat(20))));
    }

    #[test]
    fn words_that_hide_or_turn_text_are_spelled_in_numbers() {
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(
            quoted("a\u{202e}b c"),
            "\"$(printf 'a\\342\\200\\256b\\040c')\""
        );
        let script = guide("turned\u{202e}.json", false).script(&[]);
        assert!(!script.contains('\u{202e}'));
        assert!(steps(&guide("turned\u{202e}.json", false)).contains("\\u{202e}"));
    }

    #[test]
    fn what_is_here_already_needs_no_hand() {
        let mut done = guide("a.json", false);
        done.files.clear();
        let text = steps(&done);
        assert!(text.contains("Nothing is to be fetched by hand"), "{text}");
        assert!(!text.contains("curl"), "{text}");
    }
}
