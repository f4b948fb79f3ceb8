//! Owns the structure of a safetensors file: a header that fits the file's length.
//!
//! Never reads the tensors; a length that fits shows a truncation without hashing (hub.md 6.3).

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _};

use safetensors::tensor::Metadata;

/// `SAFETENSORS_MAX_HEADER_LENGTH` of the Hub's clients.
const MAX_HEADER_BYTES: u64 = 25_000_000;

/// The header's length stands in this many bytes before it.
const LENGTH_BYTES: u64 = size_of::<u64>() as u64;

/// Why a weight file would not load.
#[derive(Debug)]
pub(super) enum Fault {
    /// It cannot be read.
    Unreadable(io::Error),
    /// It is not what it should be; a phrase that follows the file's name.
    Malformed(String),
}

/// The names of the tensors in the file, if its structure is sound.
pub(super) fn tensors(opened: io::Result<File>) -> Result<HashSet<String>, Fault> {
    let malformed = |why: String| Err(Fault::Malformed(why));
    let mut file = opened.map_err(Fault::Unreadable)?;
    let length = file.metadata().map_err(Fault::Unreadable)?.len();
    let mut start = [0; size_of::<u64>()];
    if length < LENGTH_BYTES {
        return malformed(format!("is too short to be weights ({length} bytes)"));
    }
    file.read_exact(&mut start).map_err(Fault::Unreadable)?;
    if start.starts_with(b"version ") {
        return malformed("holds an LFS pointer, not weights".to_owned());
    }
    let header_bytes = u64::from_le_bytes(start);
    if header_bytes > MAX_HEADER_BYTES {
        return malformed("has no header of weights".to_owned());
    }
    if LENGTH_BYTES + header_bytes > length {
        return malformed("is cut off in its header".to_owned());
    }
    let mut header = Vec::new();
    file.take(header_bytes)
        .read_to_end(&mut header)
        .map_err(Fault::Unreadable)?;
    // Reading it checks gaps, overlaps, and types against shapes.
    let metadata: Metadata = match serde_json::from_slice(&header) {
        Ok(metadata) => metadata,
        Err(error) => return malformed(format!("has a malformed header: {error}")),
    };
    let expected = LENGTH_BYTES + header_bytes + metadata.data_len() as u64;
    if expected != length {
        return malformed(format!(
            "has {length} bytes where its header says {expected}"
        ));
    }
    Ok(metadata.offset_keys().into_iter().collect())
}

#[cfg(test)]
pub(super) fn sample(names: &[&str]) -> Vec<u8> {
    let entries: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let (from, to) = (at * 8, at * 8 + 8);
            format!(r#""{name}":{{"dtype":"F16","shape":[4],"data_offsets":[{from},{to}]}}"#)
        })
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(vec![7; names.len() * 8]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(bytes: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        std::fs::write(&path, bytes).unwrap();
        match tensors(File::open(&path)) {
            Ok(names) => format!("{} tensors", names.len()),
            Err(Fault::Malformed(why)) => why,
            Err(Fault::Unreadable(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn a_length_that_does_not_fit_the_header_is_found() {
        let good = sample(&["a", "b"]);
        assert_eq!(fault(&good), "2 tensors");
        assert!(fault(&good[..good.len() - 1]).contains("its header says"));
        let longer = [&good[..], b"x"].concat();
        assert!(fault(&longer).contains("its header says"));
        assert_eq!(fault(&good[..40]), "is cut off in its header");
        assert!(fault(&good[..4]).contains("too short"));
        let pointer = b"version https://git-lfs.github.com/spec/v1\n";
        assert!(fault(pointer).contains("LFS pointer"));
        assert_eq!(fault(b"<!DOCTYPE html>"), "has no header of weights");
        let mut gap = good.clone();
        let at = gap.windows(4).position(|w| w == b"[8,1").unwrap();
        gap[at + 1] = b'9';
        assert!(fault(&gap).contains("malformed header"));
    }
}
