//! Owns reading text piece by piece: that all of it is UTF-8, whatever its length, and lines of it
//! without keeping more than one.
//!
//! Never judges what the text says.

use std::io::{self, BufRead, Read};

/// No character is longer.
const LONGEST_BYTES: usize = 4;

/// What is read from `inner`, which must be UTF-8: else [`io::ErrorKind::InvalidData`].
pub(super) struct Utf8<R> {
    inner: R,
    /// The beginning of a character that the last read cut through.
    begun: [u8; LONGEST_BYTES],
    begun_bytes: usize,
}

impl<R: Read> Utf8<R> {
    pub(super) const fn of(inner: R) -> Self {
        Self {
            inner,
            begun: [0; LONGEST_BYTES],
            begun_bytes: 0,
        }
    }

    /// Looks at what was read next.
    fn check(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let no_text = || io::Error::from(io::ErrorKind::InvalidData);
        // The character that was cut through, byte by byte until it is whole.
        while self.begun_bytes > 0
            && let Some((byte, rest)) = bytes.split_first()
        {
            bytes = rest;
            self.begun[self.begun_bytes] = *byte;
            self.begun_bytes += 1;
            match std::str::from_utf8(&self.begun[..self.begun_bytes]) {
                Ok(_) => self.begun_bytes = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(no_text()),
            }
        }
        // The fast way does not say where it stopped.
        if simdutf8::basic::from_utf8(bytes).is_ok() {
            return Ok(());
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_none() => {
                let cut = &bytes[error.valid_up_to()..];
                self.begun[..cut.len()].copy_from_slice(cut);
                self.begun_bytes = cut.len();
                Ok(())
            }
            Err(_) => Err(no_text()),
        }
    }
}

impl<R: Read> Read for Utf8<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if read > 0 {
            self.check(&buffer[..read])?;
        } else if !buffer.is_empty() && self.begun_bytes > 0 {
            // It ends in the middle of a character.
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(read)
    }
}

/// Goes through the lines of a text, each at most `limit` bytes long, as Python splits bytes: at
/// `\n`, `\r` and both together, and empty lines are left out.
///
/// # Errors
/// When it cannot be read. The inner one is that of `each`, or [`TooLong`] for a line.
pub(super) fn lines<E>(
    mut reader: impl BufRead,
    limit: usize,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> io::Result<Result<(), LineFault<E>>> {
    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let mut begun: Vec<u8> = Vec::new();
    loop {
        let bytes = match reader.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let is_last = bytes.is_empty();
        let end = bytes.iter().position(is_end);
        let part = &bytes[..end.unwrap_or(bytes.len())];
        if begun.len() + part.len() > limit {
            return Ok(Err(LineFault::TooLong));
        }
        let used = end.map_or(bytes.len(), |at| at + 1);
        let told = if end.is_none() && !is_last {
            begun.extend_from_slice(part);
            Ok(())
        } else if begun.is_empty() {
            whole_line(part, &mut each)
        } else {
            begun.extend_from_slice(part);
            let told = whole_line(&begun, &mut each);
            begun.clear();
            told
        };
        if let Err(fault) = told {
            return Ok(Err(LineFault::Refused(fault)));
        }
        if is_last {
            return Ok(Ok(()));
        }
        reader.consume(used);
    }
}

/// Why not all lines were gone through.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LineFault<E> {
    TooLong,
    Refused(E),
}

fn whole_line<E>(line: &[u8], each: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    if line.is_empty() { Ok(()) } else { each(line) }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// Gives a few bytes at a time, of changing number.
    struct Dripping<'a>(&'a [u8], usize);

    impl Read for Dripping<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            let count = (self.1 % 7 + 1).min(self.0.len()).min(buffer.len());
            let (now, later) = self.0.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    #[test]
    fn text_in_pieces_is_utf8_exactly_when_the_whole_is() {
        let good = "aé中𝄞\u{7ff}\u{800}\u{ffff}\u{10000}z".as_bytes();
        let mut all: Vec<Vec<u8>> = vec![good.to_vec(), Vec::new()];
        for at in 0..good.len() {
            for byte in [
                0x00, 0x7f, 0x80, 0xbf, 0xc0, 0xc3, 0xe0, 0xed, 0xf0, 0xf5, 0xff,
            ] {
                let mut bytes = good.to_vec();
                bytes[at] = byte;
                all.push(bytes);
            }
            all.push(good[..at].to_vec());
            all.push(good[at..].to_vec());
        }
        for bytes in all {
            for start in 0..7 {
                let mut read = Vec::new();
                let done = Utf8::of(Dripping(&bytes, start)).read_to_end(&mut read);
                assert_eq!(
                    done.is_ok(),
                    std::str::from_utf8(&bytes).is_ok(),
                    "{bytes:x?}"
                );
                if let Err(error) = done {
                    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                } else {
                    assert_eq!(read, bytes);
                }
            }
        }
    }

    #[test]
    fn lines_are_those_that_python_sees() {
        for (text, expected) in [
            (&b""[..], &[][..]),
            (b"\n\r\n\r", &[]),
            (b"one two\nthree", &["one two", "three"]),
            (b"one\r\ntwo\rthree\n\n", &["one", "two", "three"]),
            (b"\n\none\x0bstays\x0cone\n", &["one\x0bstays\x0cone"]),
        ] {
            for (capacity, start) in [(1, 0), (2, 3), (64, 0)] {
                let mut seen = Vec::new();
                let reader = BufReader::with_capacity(capacity, Dripping(text, start));
                let done = lines(reader, 16, |line| {
                    seen.push(String::from_utf8_lossy(line).into_owned());
                    Ok::<_, ()>(())
                });
                assert_eq!(done.unwrap(), Ok(()));
                assert_eq!(seen, expected);
            }
        }
        let endless = io::repeat(b'x').take(1 << 40);
        let done = lines(BufReader::new(endless), 100, |_| Ok::<_, ()>(()));
        assert_eq!(done.unwrap(), Err(LineFault::TooLong));
        let refused = lines(&b"a\nb"[..], 100, |line| Err(line.to_vec()));
        assert_eq!(refused.unwrap(), Err(LineFault::Refused(b"a".to_vec())));
    }
}
