//! Owns telling by its first bytes that a file holds something else than it is called: the text of
//! an LFS pointer, or a page of a web server.
//!
//! Never reads more than a few hundred bytes, and nothing of files that are not on this disk.

use std::io::Read as _;
use std::path::Path;

use crate::cache::blob;
use crate::domain::Rule;
use crate::host;

/// A page says what it is in its first bytes.
const START_BYTES: u64 = 256;
/// Pages of errors are short; what is longer is content.
const PAGE_MAX_BYTES: u64 = 1024 * 1024;
/// Names under which markup is content.
const MARKUP: [&str; 6] = ["html", "htm", "xml", "svg", "md", "xhtml"];

/// By which rule a file holds something else than it is called, and what shows it.
pub(super) fn impostor(place: &Path, bytes: u64) -> Option<(Rule, &'static str)> {
    if bytes == 0 || bytes > PAGE_MAX_BYTES {
        return None;
    }
    let mut start = Vec::new();
    host::open_itself(place)
        .and_then(|file| file.take(START_BYTES).read_to_end(&mut start))
        .ok()?;
    if bytes <= blob::LFS_POINTER_MAX_BYTES && start.starts_with(blob::LFS_POINTER) {
        return Some((Rule::LfsPointer, "it begins with `version https://git-lfs`"));
    }
    let is_markup = place
        .extension()
        .and_then(|end| end.to_str())
        .is_some_and(|end| MARKUP.iter().any(|known| end.eq_ignore_ascii_case(known)));
    (!is_markup && is_page(&start)).then_some((Rule::ErrorPage, "it begins like a web page"))
}

/// Whether bytes begin like HTML or XML.
fn is_page(start: &[u8]) -> bool {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let text = start.trim_ascii_start();
    ["<!doctype html", "<html", "<?xml", "<error>", "<head>"]
        .iter()
        .any(|tag| {
            text.get(..tag.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(tag.as_bytes()))
        })
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
            impostor(&place, content.len() as u64).map(|(rule, _)| rule)
        };
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 9\n";
        assert_eq!(says("a.safetensors", pointer), Some(Rule::LfsPointer));
        for page in [
            &b"<!DOCTYPE html><html>"[..],
            b"\n  <HTML lang=en>",
            b"\xef\xbb\xbf<?xml version=\"1.0\"?><Error>",
            b"<Error><Code>AccessDenied</Code>",
        ] {
            assert_eq!(says("tokenizer.json", page), Some(Rule::ErrorPage));
        }
        for content in [&b"{}"[..], b"<", b"<s> </s>", b"", b"<unk>\n<s>\n"] {
            assert_eq!(says("vocab.txt", content), None);
        }
        assert_eq!(says("README.md", b"<html>"), None);
        assert_eq!(says("model.html", b"<!doctype html>"), None);
    }
}
