//! Owns telling by its first bytes that a file elsewhere holds something else than it is called: the
//! text of an LFS pointer, or a page of a web server.
//!
//! Never reads more than those, and is not asked about files that are not on this disk.

use std::path::Path;

use crate::cache::blob;
use crate::cache::tally::{PAGE_MAX_BYTES, is_page, is_page_name, start_of};
use crate::domain::Rule;

/// What a file holds in the place of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Impostor {
    pub(super) rule: Rule,
    /// What it is.
    pub(super) what: &'static str,
    /// What shows it.
    pub(super) seen: &'static str,
}

/// What a file holds, if that is not its content. `name` is what the model calls it: a page may be one.
pub(super) fn impostor(place: &Path, name: &str, bytes: u64) -> Option<Impostor> {
    if bytes == 0 || bytes > PAGE_MAX_BYTES {
        return None;
    }
    let start = start_of(place);
    if bytes <= blob::LFS_POINTER_MAX_BYTES && start.starts_with(blob::LFS_POINTER) {
        return Some(Impostor {
            rule: Rule::LfsPointer,
            what: "an LFS pointer",
            seen: "it begins with `version https://git-lfs`",
        });
    }
    let is_markup = is_page_name(name);
    (!is_markup && is_page(&start)).then_some(Impostor {
        rule: Rule::ErrorPage,
        what: "a web page or an error",
        seen: "it begins as web pages do",
    })
}

/// Whether a file holds a web page or an error of a server, and is called like no page.
pub fn is_error_page(place: &Path, name: &str, bytes: u64) -> bool {
    impostor(place, name, bytes).is_some_and(|found| found.rule == Rule::ErrorPage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_pointers_are_told_from_content() {
        let dir = tempfile::tempdir().unwrap();
        let says = |name: &str, content: &[u8]| {
            let place = dir.path().join(name);
            std::fs::write(&place, content).unwrap();
            impostor(&place, name, content.len() as u64).map(|found| found.rule)
        };
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 9\n";
        assert_eq!(says("a.safetensors", pointer), Some(Rule::LfsPointer));
        for page in [
            &b"<!DOCTYPE html><html>"[..],
            b"\n  <HTML lang=en>",
            b"<Error><Code>AccessDenied</Code>",
        ] {
            assert_eq!(says("tokenizer.json", page), Some(Rule::ErrorPage));
        }
        for content in [&b"{}"[..], b"<", b"<s> </s>", b"", b"<unk>\n<s>\n"] {
            assert_eq!(says("vocab.txt", content), None);
        }
        assert_eq!(says("README.md", b"<html>"), None);
    }
}
