//! Owns the structure of a safetensors file: a header that fits the file's length, and the tensors
//! it names.
//!
//! Never reads the tensors; a length that fits shows a truncation without hashing (hub.md 6.3).

use std::io::{self, Read as _};

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::json::{Imposter, Unfit};
use super::source::Opened;
use crate::domain::sanitize_line;

/// `SAFETENSORS_MAX_HEADER_LENGTH` of the Hub's clients.
pub(super) const MAX_HEADER_BYTES: u64 = 25_000_000;

/// The header's length stands in this many bytes before it.
pub(super) const LENGTH_BYTES: u64 = size_of::<u64>() as u64;

/// Why a weight file would not load.
#[derive(Debug)]
pub(super) enum Fault {
    /// It cannot be read.
    Unreadable(io::Error),
    /// It is not what it should be.
    Malformed(Unfit),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// A tensor as its header tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
}

/// Types that the crate knows and mlx does not (`mlx/io/safetensors.cpp`, 0.32).
const fn is_read_by_mlx(dtype: Dtype) -> bool {
    !matches!(
        dtype,
        Dtype::F4
            | Dtype::F6_E2M3
            | Dtype::F6_E3M2
            | Dtype::F8_E5M2
            | Dtype::F8_E4M3FNUZ
            | Dtype::F8_E5M2FNUZ
            | Dtype::F64
    )
}

/// How many bytes the header takes, by the first eight bytes of a file of that length.
pub(super) fn header_bytes(start: [u8; 8], size_bytes: u64) -> Result<u64, Unfit> {
    if let Some(imposter @ (Imposter::Page | Imposter::Pointer)) = imposter(start) {
        return Err(imposter.unfit("weights"));
    }
    let header_bytes = u64::from_le_bytes(start);
    if header_bytes == 0 || header_bytes > MAX_HEADER_BYTES {
        return Err(Unfit::new("has no header of weights"));
    }
    if LENGTH_BYTES + header_bytes > size_bytes {
        return Err(Unfit::new("is cut off in its header"));
    }
    Ok(header_bytes)
}

/// Eight bytes are enough to know a pointer by, and to suspect a page.
fn imposter(start: [u8; 8]) -> Option<Imposter> {
    if start == *b"version " {
        Some(Imposter::Pointer)
    } else if start.trim_ascii_start().starts_with(b"<") && start[4..].is_ascii() && start[7] != 0 {
        Some(Imposter::Page)
    } else {
        None
    }
}

/// The tensors in the file, if its structure is sound. Never takes more memory than the file can
/// fill: the length that a header claims is not believed.
pub(super) fn tensors(file: Opened<'_>) -> Result<Vec<Tensor>, Fault> {
    let malformed = |why: String| Err(Fault::Malformed(Unfit::new(why)));
    let length = file.size_bytes;
    if length == 0 {
        return Err(Fault::Malformed(Imposter::Nothing.unfit("weights")));
    }
    if length < LENGTH_BYTES {
        return malformed(format!("is too short to be weights ({length} bytes)"));
    }
    let mut reader = file.reader;
    let mut start = [0; size_of::<u64>()];
    reader.read_exact(&mut start)?;
    let header_bytes = header_bytes(start, length).map_err(Fault::Malformed)?;
    let mut header = Vec::new();
    reader.take(header_bytes).read_to_end(&mut header)?;
    if (header.len() as u64) < header_bytes {
        return malformed("is cut off in its header".to_owned());
    }
    // Reading it checks gaps, overlaps, and types against shapes.
    let metadata: Metadata = match serde_json::from_slice(&header) {
        Ok(metadata) => metadata,
        Err(error) => {
            let why = sanitize_line(&error.to_string(), 200);
            return malformed(format!("has a malformed header: {why}"));
        }
    };
    let expected = (LENGTH_BYTES + header_bytes).checked_add(metadata.data_len() as u64);
    if expected != Some(length) {
        let expected = expected.unwrap_or(u64::MAX);
        return malformed(format!(
            "has {length} bytes where its header says {expected}"
        ));
    }
    let tensors: Vec<Tensor> = metadata
        .tensors()
        .into_iter()
        .map(|(name, tensor)| Tensor {
            name,
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
        })
        .collect();
    let strange = tensors
        .iter()
        .filter(|tensor| !is_read_by_mlx(tensor.dtype));
    if let Some(tensor) = strange.min_by(|a, b| a.name.cmp(&b.name)) {
        return malformed(format!(
            "holds `{}` as {:?}, which mlx does not read",
            sanitize_line(&tensor.name, 100),
            tensor.dtype
        ));
    }
    Ok(tensors)
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
    use std::io::Cursor;

    use super::*;
    use crate::mlx::source::Reader;

    fn fault(bytes: &[u8]) -> String {
        let opened = Opened {
            size_bytes: bytes.len() as u64,
            reader: Reader::Start(Cursor::new(bytes)),
        };
        match tensors(opened) {
            Ok(names) => format!("{} tensors", names.len()),
            Err(Fault::Malformed(unfit)) => unfit.why,
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
        assert_eq!(fault(b""), "holds nothing, not weights");
        let pointer = b"version https://git-lfs.github.com/spec/v1\n";
        assert!(fault(pointer).contains("LFS pointer"));
        assert!(fault(b"<!DOCTYPE html>").contains("web page"));
        assert_eq!(fault(&[0; 64]), "has no header of weights");
        assert_eq!(fault(&[255; 64]), "has no header of weights");
        let mut gap = good.clone();
        let at = gap.windows(4).position(|w| w == b"[8,1").unwrap();
        gap[at + 1] = b'9';
        assert!(fault(&gap).contains("malformed header"));
    }

    #[test]
    fn a_type_that_mlx_does_not_read_is_named() {
        let text = String::from_utf8_lossy(&sample(&["a"])[8..70]).into_owned();
        assert!(text.contains("\"F16\",\"shape\":[4]"), "{text}");
        let header = br#"{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(&[0; 8]);
        assert!(fault(&bytes).contains("`a` as F64"), "{}", fault(&bytes));
    }
}
