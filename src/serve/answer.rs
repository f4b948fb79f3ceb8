//! Owns how an honest answer looks: JSON, refusals with the Hub's headers, bodies with ranges.

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE,
    RANGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use bytes::Bytes;
use futures::stream;

use super::catalogue::Content;

/// The commit an answer is about.
pub(super) const X_REPO_COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");
/// The content's name, on the redirect to another origin.
pub(super) const X_LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
/// The content's length, on the redirect to another origin.
pub(super) const X_LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");
/// The second content address.
pub(super) const X_XET_HASH: HeaderName = HeaderName::from_static("x-xet-hash");
/// The kind of a refusal.
pub(super) const X_ERROR_CODE: HeaderName = HeaderName::from_static("x-error-code");
/// The words of a refusal.
pub(super) const X_ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-error-message");

/// Sets a header if its value can be one.
pub(super) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    set(response.headers_mut(), CONTENT_LENGTH, "0");
    response
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    text(status, "application/json; charset=utf-8", value.to_string())
}

/// A short answer of some type.
pub(super) fn text(
    status: StatusCode,
    content_type: &str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let body = body.into();
    let length = body.len().to_string();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    set(response.headers_mut(), CONTENT_TYPE, content_type);
    set(response.headers_mut(), CONTENT_LENGTH, &length);
    response
}

/// A refusal in the Hub's manner (hub.md 1.7).
pub(super) fn refusal(status: StatusCode, code: Option<&str>, message: &str) -> Response<Body> {
    let mut response = json(status, &serde_json::json!({ "error": message }));
    if let Some(code) = code {
        set(response.headers_mut(), X_ERROR_CODE, code);
    }
    set(response.headers_mut(), X_ERROR_MESSAGE, message);
    response
}

/// The part of a file a `Range` header asks for: first byte and the byte after the last.
///
/// `Err` means that no byte of it exists.
fn range_of(headers: &HeaderMap, etag: &str, len: u64) -> Result<Option<(u64, u64)>, ()> {
    let Some(range) = headers.get(RANGE).and_then(|value| value.to_str().ok()) else {
        return Ok(None);
    };
    if let Some(condition) = headers.get(IF_RANGE)
        && condition.as_bytes() != etag.as_bytes()
    {
        return Ok(None);
    }
    let Some((from, to)) = range
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    else {
        return Ok(None);
    };
    let (from, end) = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) => (from, to.saturating_add(1).min(len)),
        (Ok(from), Err(_)) => (from, len),
        (Err(_), Ok(last)) => (len.saturating_sub(last), len),
        (Err(_), Err(_)) => return Ok(None),
    };
    if from >= end {
        Err(())
    } else {
        Ok(Some((from, end)))
    }
}

/// A file's bytes, whole or in part, with the etag of the origin that serves them.
pub(super) fn file(headers: &HeaderMap, content: &Content, etag: &str) -> Response<Body> {
    let len = content.len();
    if headers
        .get(IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == etag.as_bytes())
    {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        set(response.headers_mut(), ETAG, etag);
        return response;
    }
    let mut response = match range_of(headers, etag, len) {
        Ok(None) => body(content.clone(), 0, len),
        Ok(Some((from, end))) => {
            let mut response = body(content.clone(), from, end);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {from}-{}/{len}", end - 1);
            set(response.headers_mut(), CONTENT_RANGE, &range);
            response
        }
        Err(()) => {
            let mut response = empty(StatusCode::RANGE_NOT_SATISFIABLE);
            set(
                response.headers_mut(),
                CONTENT_RANGE,
                &format!("bytes */{len}"),
            );
            response
        }
    };
    set(response.headers_mut(), ETAG, etag);
    set(response.headers_mut(), ACCEPT_RANGES, "bytes");
    response
}

fn body(content: Content, from: u64, end: u64) -> Response<Body> {
    let chunks = stream::unfold(from, move |offset| {
        let chunk = content.chunk(offset, end);
        let next = offset + chunk.len() as u64;
        std::future::ready((!chunk.is_empty()).then_some((Ok::<_, std::io::Error>(chunk), next)))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    set(headers, CONTENT_TYPE, "application/octet-stream");
    set(headers, CONTENT_LENGTH, &(end - from).to_string());
    response
}
