//! Owns a file's bytes on their way in: counted, decoded if need be, never more than promised.
//!
//! Never hashes: the receiver proves the content.

use bytes::Bytes;

use super::encoding::{Broken, Content};
use super::error::Error;

/// Bytes of a file, from [`Self::from_bytes`] on.
pub struct Body {
    content: Content,
    from: u64,
    /// Where in the file the next chunk belongs.
    at: u64,
    /// Where in the file the body must end.
    end: u64,
    is_encoded: bool,
    is_whole: bool,
    source: String,
}

impl Body {
    /// The whole file, whatever was asked for.
    pub(super) fn whole(content: Content, end: u64, is_encoded: bool, source: String) -> Self {
        Self {
            is_whole: true,
            ..Self::new(content, (0, end), is_encoded, source)
        }
    }

    /// The bytes from `from` to before `end`.
    pub(super) fn new(
        content: Content,
        (from, end): (u64, u64),
        is_encoded: bool,
        source: String,
    ) -> Self {
        Self {
            content,
            from,
            at: from,
            end,
            is_encoded,
            is_whole: false,
            source,
        }
    }

    /// Whether it is the answer of a server that sends the whole file, and not a range.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Where in the file the first chunk belongs. 0 although more was asked for means that the
    /// server ignored the range: what was there must be given up.
    pub fn from_bytes(&self) -> u64 {
        self.from
    }

    /// Whether every promised byte was given out.
    pub fn is_at_end(&self) -> bool {
        self.at == self.end
    }

    /// Whether the body was compressed on the way and is being decoded: a partial of it must not be
    /// resumed.
    pub fn is_encoded(&self) -> bool {
        self.is_encoded
    }

    /// The host that sends, with its port if it is not the usual one.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The next bytes, never empty; `None` once every promised byte was given out. Dropping the
    /// future loses nothing.
    ///
    /// # Errors
    /// [`Error::Truncated`] and [`Error::TooLong`] count from the start of the file.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        match self.content.chunk().await {
            Ok(Some(chunk)) => {
                let more = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                if more > self.end.saturating_sub(self.at) {
                    return Err(Error::TooLong { expected: self.end });
                }
                self.at += more;
                Ok(Some(chunk))
            }
            Ok(None) if self.at == self.end => Ok(None),
            Ok(None) | Err(Broken::Early(_)) => Err(Error::Truncated {
                got: self.at,
                expected: self.end,
            }),
            Err(Broken::Other(error)) => Err(error),
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body")
            .field("from", &self.from)
            .field("at", &self.at)
            .field("end", &self.end)
            .field("is_encoded", &self.is_encoded)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}
