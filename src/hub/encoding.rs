//! Owns undoing a compression that somebody on the way applied.
//!
//! Never guesses: an encoding it does not know is an error.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use async_compression::tokio::bufread::{GzipDecoder, ZlibDecoder};
use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use tokio_util::io::{ReaderStream, StreamReader};

use crate::domain::sanitize_line;

use super::address;
use super::error::Error;
use super::silence::unless_silent;
use super::transport::is_early_end;

/// How much is decoded at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// How an answer's body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

impl Encoding {
    /// Reads `Content-Encoding`; gives the name of one that larder does not know.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, String> {
        let mut found = Self::Identity;
        for value in headers.get_all(CONTENT_ENCODING) {
            let name = String::from_utf8_lossy(value.as_bytes())
                .trim()
                .to_ascii_lowercase();
            let encoding = match name.as_str() {
                "" | "identity" => continue,
                "gzip" | "x-gzip" => Self::Gzip,
                "deflate" => Self::Deflate,
                _ => return Err(sanitize_line(&name, 40)),
            };
            if found != Self::Identity {
                return Err("more than one".to_owned());
            }
            found = encoding;
        }
        Ok(found)
    }

    /// [`Self::of`], with the address for the error.
    pub(super) fn of_answer(response: &Response) -> Result<Self, Error> {
        Self::of(response.headers()).map_err(|encoding| Error::UnknownEncoding {
            encoding,
            url: address::shown(response.url()),
        })
    }
}

/// The content of a body; dropping a pending read loses nothing.
pub(super) struct Content {
    source: Source,
    url: reqwest::Url,
    /// How long nothing may come.
    silence: Duration,
}

enum Source {
    /// As it came.
    Plain(Response),
    /// Through a decoder.
    Decoded(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>),
}

/// Why content could not be read on.
pub(super) enum Broken {
    /// It ended before its end: the connection closed, or (`None`) the compressed form stopped.
    Early(Option<reqwest::Error>),
    /// Everything else.
    Other(Error),
}

impl Content {
    /// The content of `response`, whose body is written in `encoding`.
    pub(super) fn new(response: Response, encoding: Encoding, silence: Duration) -> Self {
        let url = response.url().clone();
        let source = if encoding == Encoding::Identity {
            Source::Plain(response)
        } else {
            let raw = StreamReader::new(response.bytes_stream().map_err(io::Error::other));
            Source::Decoded(if encoding == Encoding::Gzip {
                let mut decoder = GzipDecoder::new(raw);
                decoder.multiple_members(true);
                Box::pin(ReaderStream::with_capacity(decoder, CHUNK_BYTES))
            } else {
                Box::pin(ReaderStream::with_capacity(
                    ZlibDecoder::new(raw),
                    CHUNK_BYTES,
                ))
            })
        };
        Self {
            source,
            url,
            silence,
        }
    }

    /// The next bytes, never empty; `None` at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            let chunk = match &mut self.source {
                Source::Plain(response) => unless_silent(self.silence, response.chunk())
                    .await
                    .ok_or_else(|| self.silent())?
                    .map_err(|error| self.broken(error))?,
                Source::Decoded(stream) => {
                    let read = unless_silent(self.silence, stream.try_next()).await;
                    match read.ok_or_else(|| self.silent())? {
                        Ok(chunk) => chunk,
                        Err(error) => return Err(self.undecodable(error)),
                    }
                }
            };
            if chunk.as_ref().is_none_or(|chunk| !chunk.is_empty()) {
                return Ok(chunk);
            }
        }
    }

    fn silent(&self) -> Broken {
        Broken::Other(Error::Silent {
            url: address::shown(&self.url),
            lasted: self.silence,
        })
    }

    fn broken(&self, error: reqwest::Error) -> Broken {
        if is_early_end(&error) {
            Broken::Early(Some(error))
        } else {
            Broken::Other(Error::transport(&self.url, error))
        }
    }

    /// The decoder passes the connection's failures through and adds its own.
    fn undecodable(&self, error: io::Error) -> Broken {
        let kind = error.kind();
        let words = error.to_string();
        let inner = error.into_inner();
        match inner.and_then(|inner| inner.downcast::<reqwest::Error>().ok()) {
            Some(error) => self.broken(*error),
            _ if kind == io::ErrorKind::UnexpectedEof => Broken::Early(None),
            _ => Broken::Other(Error::Malformed {
                url: address::shown(&self.url),
                why: format!(
                    "its compressed body is damaged: {}",
                    sanitize_line(&words, 120)
                ),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn only_known_encodings_are_decoded() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            Encoding::of(&headers)
        };
        assert_eq!(of(&[]), Ok(Encoding::Identity));
        assert_eq!(of(&["identity"]), Ok(Encoding::Identity));
        assert_eq!(of(&["GZIP"]), Ok(Encoding::Gzip));
        assert_eq!(of(&["identity", "deflate"]), Ok(Encoding::Deflate));
        for unknown in [&["br"][..], &["zstd"], &["gzip, br"], &["gzip", "gzip"]] {
            assert!(of(unknown).is_err(), "{unknown:?}");
        }
    }
}
