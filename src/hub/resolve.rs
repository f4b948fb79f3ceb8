//! Owns asking for a file's bytes: the request, what the answers on the way announce, and whether
//! the last one is what was asked for.
//!
//! Never asks twice: whether and how to try again is the caller's.

use reqwest::Response;
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, RANGE};

use crate::domain::{Commit, Etag, Want, sanitize_line};

use super::address::{self, Hop};
use super::body::Body;
use super::client::{Answer, Client};
use super::encoding::{Content, Encoding};
use super::error::Error;
use super::gate::Bucket;
use super::header::{self, ContentRange};

/// Which bytes of a file are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: u64,
    /// The byte after the last; `None` for the end of the file.
    pub(super) end: Option<u64>,
}

impl Span {
    fn header(self) -> Result<Option<HeaderValue>, Error> {
        let text = match (self.from, self.end) {
            (0, None) => return Ok(None),
            (from, None) => format!("bytes={from}-"),
            (from, Some(end)) => format!("bytes={from}-{}", end.saturating_sub(1)),
        };
        HeaderValue::from_str(&text)
            .map(Some)
            .map_err(|error| Error::Build {
                why: error.to_string(),
            })
    }
}

/// Where a file's bytes are, found out by asking the Hub once: a signed address, until it expires.
#[derive(Clone)]
pub struct Link {
    hop: Hop,
    has_commit: bool,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The query is a signature.
        f.debug_tuple("Link")
            .field(&address::shown(&self.hop.url))
            .finish()
    }
}

impl Client {
    /// The bytes `range` of `want`, and where they are. A link that is known already saves asking
    /// the Hub. A body that starts at 0 although it was not asked to means that the server does not
    /// do ranges: it is the whole file.
    ///
    /// # Errors
    /// As [`Client::body`]; on [`Error::LinkExpired`] the link is worth nothing any more.
    pub async fn range(
        &self,
        want: &Want,
        range: std::ops::Range<u64>,
        link: Option<&Link>,
    ) -> Result<(Body, Link), Error> {
        let span = Span {
            from: range.start,
            end: Some(range.end),
        };
        let (hop, mut has_commit) = match link {
            Some(link) => (link.hop.clone(), link.has_commit),
            None => {
                let url = self
                    .endpoint()
                    .resolve(&want.repo, &want.commit, &want.path)?;
                (Hop::first(self.endpoint(), url), false)
            }
        };
        let mut headers = HeaderMap::new();
        if let Some(value) = span.header()? {
            headers.insert(RANGE, value);
        }
        let look = |headers: &HeaderMap| {
            has_commit |= carries_commit(headers);
            announced(headers, want)
        };
        let answer = self
            .get_from(Bucket::Resolvers, hop, &headers, look)
            .await?;
        let link = Link {
            hop: answer.hop.clone(),
            has_commit,
        };
        let body = match answer.response.status().as_u16() {
            200 => accept_whole(answer, want, has_commit)?,
            206 => accept_part(answer, want, span, has_commit)?,
            _ => return Err(self.refuse(answer, Bucket::Resolvers, has_commit).await),
        };
        Ok((body, link))
    }

    /// The bytes of `want` from `from` on.
    ///
    /// # Errors
    /// Every cause but [`Error::Gated`] and its like may pass by itself; [`Error::LinkExpired`] and
    /// [`Error::WrongRange`] want the same or a plain request again at once.
    pub async fn body(&self, want: &Want, from: u64) -> Result<Body, Error> {
        self.span(want, Span { from, end: None }).await
    }

    pub(super) async fn span(&self, want: &Want, span: Span) -> Result<Body, Error> {
        let url = self
            .endpoint()
            .resolve(&want.repo, &want.commit, &want.path)?;
        let mut headers = HeaderMap::new();
        if let Some(range) = span.header()? {
            headers.insert(RANGE, range);
        }
        let mut has_commit = false;
        let look = |headers: &HeaderMap| {
            has_commit |= carries_commit(headers);
            announced(headers, want)
        };
        let answer = self.get(Bucket::Resolvers, url, &headers, look).await?;
        match answer.response.status().as_u16() {
            200 => accept_whole(answer, want, has_commit),
            206 => accept_part(answer, want, span, has_commit),
            _ => Err(self.refuse(answer, Bucket::Resolvers, has_commit).await),
        }
    }
}

fn carries_commit(headers: &HeaderMap) -> bool {
    header::text(headers, "x-repo-commit").is_some_and(|text| Commit::new(text).is_ok())
}

/// Compares what an answer on the way says about the linked content with the listing.
fn announced(headers: &HeaderMap, want: &Want) -> Result<(), Error> {
    if let Some(etag) = header::text(headers, "x-linked-etag") {
        compare(Etag::new(etag).ok(), etag, want)?;
    }
    if let Some(size) = header::text(headers, "x-linked-size").and_then(|size| size.parse().ok()) {
        compare_size(size, want)?;
    }
    Ok(())
}

fn compare(etag: Option<Etag>, text: &str, want: &Want) -> Result<(), Error> {
    if etag == Some(want.etag) {
        Ok(())
    } else {
        Err(Error::ChangedUpstream {
            announced: sanitize_line(text, 80),
            expected: want.etag,
        })
    }
}

fn compare_size(announced: u64, want: &Want) -> Result<(), Error> {
    if announced == want.size_bytes {
        Ok(())
    } else {
        Err(Error::SizeMismatch {
            announced,
            expected: want.size_bytes,
        })
    }
}

/// Whether it is the Hub's content at all: a portal or proxy answers 200 with its own page.
fn is_from_hub(answer: &Answer, want: &Want, has_commit: bool) -> Result<(), Error> {
    let headers = answer.response.headers();
    let url = address::shown(&answer.hop.url);
    if !has_commit {
        let what = if header::is_html(headers) {
            "a web page"
        } else {
            "something"
        };
        return Err(Error::NotAHub {
            url,
            why: format!("{what} came without `X-Repo-Commit`"),
        });
    }
    let extension = want.path.file_name().rsplit_once('.').map(|(_, end)| end);
    let is_page = extension
        .is_some_and(|end| end.eq_ignore_ascii_case("html") || end.eq_ignore_ascii_case("htm"));
    let may_be_page = is_page || carries_commit(headers);
    if header::is_html(headers) && !may_be_page {
        return Err(Error::NotAHub {
            url,
            why: "a web page came in the place of the file".to_owned(),
        });
    }
    Ok(())
}

fn accept_whole(answer: Answer, want: &Want, has_commit: bool) -> Result<Body, Error> {
    is_from_hub(&answer, want, has_commit)?;
    let Answer {
        response,
        hop,
        silence,
    } = answer;
    let headers = response.headers();
    // A CDN's own ETag names nothing; the Hub's names small files. Proxies mark theirs (`-gzip`),
    // and what is no content name says nothing.
    if carries_commit(headers)
        && header::text(headers, "x-linked-etag").is_none()
        && let Some(text) = header::text(headers, ETAG.as_str())
        && let Ok(etag) = Etag::new(text)
    {
        compare(Some(etag), text, want)?;
    }
    let encoding = Encoding::of_answer(&response)?;
    if encoding == Encoding::Identity
        && let Some(length) = response.content_length()
    {
        compare_size(length, want)?;
    }
    let source = address::host(&hop.url);
    Ok(Body::whole(
        Content::new(response, encoding, silence),
        want.size_bytes,
        encoding != Encoding::Identity,
        source,
    ))
}

fn accept_part(answer: Answer, want: &Want, span: Span, has_commit: bool) -> Result<Body, Error> {
    is_from_hub(&answer, want, has_commit)?;
    let Answer {
        response,
        hop,
        silence,
    } = answer;
    // A range of a compressed form is not a range of the content.
    let is_plain = Encoding::of_answer(&response)? == Encoding::Identity;
    let end = span.end.unwrap_or(want.size_bytes);
    let range = content_range(&response).filter(|range| {
        is_plain
            && range.start == span.from
            && range.end <= end
            && range.total.is_none_or(|total| total == want.size_bytes)
    });
    let Some(range) = range else {
        let got = header::text(response.headers(), CONTENT_RANGE.as_str()).unwrap_or("none");
        return Err(Error::WrongRange {
            got: sanitize_line(got, 80),
            wanted_from: span.from,
        });
    };
    if let Some(length) = response.content_length()
        && length != range.end - range.start
    {
        return Err(Error::SizeMismatch {
            announced: length,
            expected: range.end - range.start,
        });
    }
    // A server may send less than it was asked for; the end asked for stays the end owed, so the
    // receiver learns that something is missing.
    let source = address::host(&hop.url);
    Ok(Body::new(
        Content::new(response, Encoding::Identity, silence),
        (span.from, end),
        false,
        source,
    ))
}

fn content_range(response: &Response) -> Option<ContentRange> {
    ContentRange::parse(header::text(response.headers(), CONTENT_RANGE.as_str())?)
}
