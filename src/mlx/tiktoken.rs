//! Owns whether a vocabulary is what tiktoken reads: in each line a token as base64, a space, and its
//! rank.
//!
//! Never keeps a token: of each rank one bit is remembered. What tiktoken or the tokenizers library
//! would fail on is refused, and what Python's base64 only looks past.

use std::io::BufReader;

use super::json::{Imposter, Unfit};
use super::source::Opened;
use super::text::{self, LineFault};

/// The longest tokens are 128 spaces.
const LINE_LIMIT_BYTES: usize = 16_384;
/// Half a megabyte of bits: ranks beyond are counted and not compared.
const MOST_RANKS: u32 = 1 << 22;
/// What a line is read into at a time.
const BUFFER_BYTES: usize = 1 << 16;

/// What was counted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Counted {
    /// Lines with a token.
    pub(super) tokens: u64,
    /// Ranks below the highest that no line has.
    pub(super) missing_ranks: u64,
    /// Bytes that are no token, so that text with them cannot be said.
    pub(super) missing_bytes: usize,
}

/// Why a file is no such vocabulary.
#[derive(Debug)]
pub(super) struct Fault {
    /// In words.
    pub(super) unfit: Unfit,
    /// Whether it looked like one before that.
    pub(super) is_alike: bool,
}

/// What was seen of the ranks.
struct Ranks {
    /// One bit for each.
    bits: Vec<u64>,
    highest: Option<u32>,
    tokens: u64,
    /// Ones for the bytes that are tokens.
    bytes: [bool; 256],
}

/// Reads a vocabulary line by line.
///
/// # Errors
/// The outer one when the file cannot be read, the inner one when it is not what it should be.
pub(super) fn count(file: Opened<'_>) -> std::io::Result<Result<Counted, Fault>> {
    let limit = file.size_bytes;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, file.take(limit));
    let start = std::io::BufRead::fill_buf(&mut reader)?;
    if let Some(imposter) = Imposter::of(start) {
        let unfit = imposter.unfit("a vocabulary");
        let is_alike = false;
        return Ok(Err(Fault { unfit, is_alike }));
    }
    let mut ranks = Ranks {
        bits: Vec::new(),
        highest: None,
        tokens: 0,
        bytes: [false; 256],
    };
    let read = text::lines(reader, LINE_LIMIT_BYTES, |line| ranks.line(line))?;
    let why = match read {
        Ok(()) if ranks.tokens == 0 => "holds no token".to_owned(),
        Ok(()) => return Ok(Ok(ranks.counted())),
        Err(LineFault::TooLong) => {
            format!("has no token and its rank as entry {}", ranks.tokens + 1)
        }
        Err(LineFault::Refused(why)) => why,
    };
    Ok(Err(Fault {
        unfit: Unfit::new(why),
        is_alike: ranks.tokens > 0,
    }))
}

impl Ranks {
    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        let entry = self.tokens + 1;
        // What Python's `split` takes for a space in bytes.
        let mut parts = line
            .split(|byte| matches!(byte, b' ' | b'\t' | b'\x0b' | b'\x0c'))
            .filter(|part| !part.is_empty());
        let (Some(token), Some(rank), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(format!("has no token and its rank as entry {entry}"));
        };
        let Some(first) = base64(token) else {
            return Err(format!("has a token that is no base64 as entry {entry}"));
        };
        let rank = number(rank).filter(|rank| *rank < u32::MAX);
        let Some(rank) = rank else {
            return Err(format!("has no number as the rank of entry {entry}"));
        };
        if let First::Only(byte) = first {
            self.bytes[usize::from(byte)] = true;
        }
        self.tokens += 1;
        self.highest = self.highest.max(Some(rank));
        if rank >= MOST_RANKS {
            return Ok(());
        }
        let (word, bit) = (rank as usize / 64, 1_u64 << (rank % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        if self.bits[word] & bit != 0 {
            return Err(format!("gives rank {rank} to two tokens"));
        }
        self.bits[word] |= bit;
        Ok(())
    }

    fn counted(&self) -> Counted {
        let ranks = self.highest.map_or(0, |highest| u64::from(highest) + 1);
        Counted {
            tokens: self.tokens,
            missing_ranks: ranks.saturating_sub(self.tokens),
            missing_bytes: self.bytes.iter().filter(|is_there| !**is_there).count(),
        }
    }
}

/// What a token is made of.
#[derive(Debug, PartialEq, Eq)]
enum First {
    /// This byte alone.
    Only(u8),
    /// Several.
    Several,
}

/// The bytes of base64 with its padding; `None` if it is none, or of nothing.
fn base64(text: &[u8]) -> Option<First> {
    if text.is_empty() || !text.len().is_multiple_of(4) {
        return None;
    }
    let (body, end) = text.split_at(text.len() - 2);
    let body = match end {
        b"==" => body,
        [_, b'='] => &text[..text.len() - 1],
        _ => text,
    };
    if body.iter().any(|byte| digit(*byte).is_none()) {
        return None;
    }
    Some(match body {
        [one, other] => First::Only(digit(*one)? << 2 | digit(*other)? >> 4),
        _ => First::Several,
    })
}

/// Six bits.
const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// A number as every reader writes it: digits alone.
fn number(text: &[u8]) -> Option<u32> {
    let is_number = text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| is_number)?;
    text.parse().ok()
}

#[cfg(test)]
pub(super) fn sample() -> String {
    use std::fmt::Write as _;
    let bytes: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
    let more = [&b"ab"[..], b"cd", b"abcd"].map(<[u8]>::to_vec);
    let mut text = String::new();
    for (rank, token) in bytes.iter().chain(&more).enumerate() {
        let _ = writeln!(text, "{} {rank}", encoded(token));
    }
    text
}

#[cfg(test)]
fn encoded(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for part in bytes.chunks(3) {
        let at = |at: usize| u32::from(part.get(at).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let digit = char::from(DIGITS[(word >> (18 - 6 * place) & 63) as usize]);
            out.push(if place <= part.len() { digit } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(text: &[u8]) -> Result<Counted, String> {
        count(Opened::of(text))
            .unwrap()
            .map_err(|fault| fault.unfit.why)
    }

    #[test]
    fn tokens_are_counted_however_their_lines_end() {
        let whole = Counted {
            tokens: 259,
            missing_ranks: 0,
            missing_bytes: 0,
        };
        let text = sample();
        for text in [
            text.clone(),
            text.replace('\n', "\r\n"),
            text.replace('\n', "\n\n"),
            text.replace(' ', "\t "),
            text.trim_end().to_owned(),
            text.replace(" 0\n", " 000\n"),
        ] {
            assert_eq!(counted(text.as_bytes()).as_ref(), Ok(&whole));
        }
        // A line less, in the middle and at the end.
        let less = text.replace(&format!("{} 97\n", encoded(b"a")), "");
        let seen = counted(less.as_bytes()).unwrap();
        assert_eq!((seen.missing_ranks, seen.missing_bytes), (1, 1));
        let less = text.replace(&format!("{} 258\n", encoded(b"abcd")), "");
        let seen = counted(less.as_bytes()).unwrap();
        assert_eq!((seen.tokens, seen.missing_ranks), (258, 0));
    }

    #[test]
    fn what_no_reader_can_use_is_refused() {
        let text = sample();
        let ends = |line: &str| [text.as_str(), line].concat();
        for (text, says) in [
            (String::new(), "holds nothing"),
            ("\n \n".to_owned(), "holds nothing"),
            (ends("YWJj"), "no token and its rank as entry 260"),
            (ends("YWJj 1 2"), "no token and its rank as entry 260"),
            (ends("   "), "no token and its rank as entry 260"),
            (ends("YWJj 259x"), "no number as the rank of entry 260"),
            (ends("YWJj -1"), "no number as the rank"),
            (ends("YWJj 4294967295"), "no number as the rank"),
            (ends("YWJj 258"), "gives rank 258 to two tokens"),
            (ends("YWJ 259"), "no base64 as entry 260"),
            (ends("YW!j 259"), "no base64"),
            (ends("= 259"), "no base64"),
            (ends("==== 259"), "no base64"),
            (ends("YWJjYQ=A 259"), "no base64"),
            (ends("Y=== 259"), "no base64"),
            (ends(&"YWJj".repeat(9_000)), "entry 260"),
            ("<!DOCTYPE html>".to_owned(), "web page"),
            ("\0".repeat(90), "entry 1"),
        ] {
            let why = counted(text.as_bytes()).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn a_rank_beyond_all_costs_no_memory() {
        let seen = counted(b"YQ== 0\nYg== 4294967294\nYw== 4294967293\n").unwrap();
        assert_eq!((seen.tokens, seen.missing_ranks), (3, 4_294_967_292));
    }
}
