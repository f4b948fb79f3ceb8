//! Owns whether a `tokenizer.model` is what sentencepiece writes: a protobuf with pieces in it.
//!
//! Never keeps the pieces.

use super::json::{Imposter, Unfit};

/// Longer files are not looked through to their end.
pub(super) const LIMIT_BYTES: u64 = 64_000_000;

/// Pieces that the file holds.
///
/// # Errors
/// When it is no such protobuf, or is cut off.
pub(super) fn pieces(bytes: &[u8]) -> Result<usize, Unfit> {
    if let Some(imposter) = Imposter::of(bytes) {
        return Err(imposter.unfit("a sentencepiece model"));
    }
    let mut rest = bytes;
    let mut pieces = 0;
    while !rest.is_empty() {
        let Some((field, after)) = field(rest) else {
            return Err(Unfit::new(
                "is no sentencepiece model, or is cut off: its protobuf ends too early",
            ));
        };
        pieces += usize::from(field == PIECES);
        rest = after;
    }
    if pieces == 0 {
        return Err(Unfit::new("is no sentencepiece model: it holds no pieces"));
    }
    Ok(pieces)
}

/// `ModelProto.pieces`.
const PIECES: u64 = 1;

/// The number of a field, and what comes after it.
fn field(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (tag, rest) = varint(bytes)?;
    let rest = match tag & 7 {
        0 => varint(rest)?.1,
        1 => rest.get(8..)?,
        2 => {
            let (length, rest) = varint(rest)?;
            rest.get(usize::try_from(length).ok()?..)?
        }
        5 => rest.get(4..)?,
        _ => return None,
    };
    let number = tag >> 3;
    (number > 0).then_some((number, rest))
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        let part = u64::from(byte & 0x7f);
        value |= part.checked_shl(u32::try_from(at).ok()? * 7)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_counted_and_a_cut_is_seen() {
        let piece = [0x0a, 3, 0x0a, 1, b'a'];
        let model = [&piece[..], &piece, &[0x12, 2, 0x18, 1, 0x98, 0x02, 1]].concat();
        assert_eq!(pieces(&model).unwrap(), 2);
        for at in [1, 3, 7, 11, 13, 15] {
            assert!(pieces(&model[..at]).is_err(), "{at}");
        }
        assert!(pieces(&[0x12, 0]).unwrap_err().why.contains("no pieces"));
        assert!(pieces(b"<html>").unwrap_err().why.contains("web page"));
        assert!(pieces(b"").unwrap_err().why.contains("nothing"));
        assert!(
            pieces(&[
                0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1
            ])
            .is_err()
        );
    }
}
