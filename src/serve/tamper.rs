//! Owns the layer of faults: an honest answer goes in, what the client will see comes out.

use std::io;
use std::time::{Duration, SystemTime};

use axum::body::{Body, BodyDataStream, to_bytes};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LOCATION, RETRY_AFTER,
};
use axum::http::{HeaderName, Response, StatusCode};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _, stream};

use super::answer::{X_LINKED_ETAG, X_LINKED_SIZE, X_REPO_COMMIT, empty, refusal, set, text};
use super::catalogue::lfs_pointer;
use super::fault::{Effect, RateHeader};
use super::socket::Switch;
use crate::domain::Etag;

/// The Hub's header of remaining requests.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// Pieces in which a body is tampered with.
const PIECE: usize = 16 * 1024;
/// Time for what was sent before a cut to leave the machine.
const FLUSH: Duration = Duration::from_millis(30);
/// The largest body that is compressed.
const MAX_GZIP_BYTES: usize = 64 << 20;

/// Whether the effect wants the honest answer to be for the whole file.
pub(super) const fn ignores_range(effect: &Effect) -> bool {
    matches!(effect, Effect::IgnoreRange | Effect::Gzip)
}

/// Carries out an effect.
pub(super) async fn tamper(
    effect: Effect,
    honest: Response<Body>,
    switch: &Switch,
    path: &str,
) -> Response<Body> {
    match effect {
        Effect::CutAfter { bytes } => cut(honest, bytes, None),
        Effect::ResetAfter { bytes } => cut(honest, bytes, Some(switch.clone())),
        Effect::Stall {
            after_bytes,
            millis,
        } => stall(honest, after_bytes, millis),
        Effect::Slow { bytes_per_s } => slow(honest, bytes_per_s),
        Effect::FlipByte { at } => flip(honest, at),
        Effect::OtherBytes => other_bytes(honest),
        Effect::LongerBody { extra } => longer(honest, extra),
        Effect::WrongLength { delta } => wrong_length(honest, delta).await,
        Effect::Gzip => gzip(honest).await,
        Effect::IgnoreRange => honest,
        Effect::Delay { millis } => {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            honest
        }
        Effect::WrongContentRange => wrong_content_range(honest),
        Effect::Status416 => empty(StatusCode::RANGE_NOT_SATISFIABLE),
        Effect::RateLimited { header, seconds } => rate_limited(header, seconds),
        Effect::Unavailable { seconds } => {
            let mut response = text(
                StatusCode::SERVICE_UNAVAILABLE,
                "text/plain",
                "come back later\n",
            );
            set(response.headers_mut(), RETRY_AFTER, &seconds.to_string());
            response
        }
        Effect::Status { code } => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            text(status, "text/plain", "the server has a bad day\n")
        }
        Effect::OtherEtag(etag) => other_etag(honest, &etag),
        Effect::ExpiredLink => text(
            StatusCode::FORBIDDEN,
            "application/xml",
            "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
        ),
        Effect::RedirectTo(place) => redirect(&place),
        Effect::RedirectLoop => redirect(path),
        Effect::Html200 => text(
            StatusCode::OK,
            "text/html; charset=utf-8",
            "<!doctype html><title>Welcome</title><p>Accept the terms of this network.</p>",
        ),
        Effect::PlainJsonGarbage => text(
            StatusCode::OK,
            "application/json",
            "{\"sha\": [this is not json",
        ),
        Effect::DropRepoCommitHeader => {
            let mut response = honest;
            response.headers_mut().remove(X_REPO_COMMIT);
            response
        }
        Effect::InvalidCredentials401 => refusal(
            StatusCode::UNAUTHORIZED,
            None,
            "Invalid credentials in Authorization header",
        ),
        Effect::LfsPointerText => pointer_text(&honest),
    }
}

/// The body in pieces small enough to stop between.
fn pieces(body: Body) -> impl Stream<Item = Result<Bytes, axum::Error>> + Send + 'static {
    let data: BodyDataStream = body.into_data_stream();
    data.flat_map(|chunk| {
        let pieces: Vec<Result<Bytes, axum::Error>> = match chunk {
            Ok(mut chunk) => {
                let mut pieces = Vec::with_capacity(chunk.len() / PIECE + 1);
                while !chunk.is_empty() {
                    pieces.push(Ok(chunk.split_to(PIECE.min(chunk.len()))));
                }
                pieces
            }
            Err(error) => vec![Err(error)],
        };
        stream::iter(pieces)
    })
}

/// Lets `keep` bytes through, then does what `then` says: an error, or nothing.
fn cut(honest: Response<Body>, keep: u64, switch: Option<Switch>) -> Response<Body> {
    let (parts, body) = honest.into_parts();
    let mut left = keep;
    let kept = pieces(body)
        .map(move |piece| {
            piece.map(|mut piece| {
                let room = usize::try_from(left).unwrap_or(usize::MAX);
                piece.truncate(room);
                left -= piece.len() as u64;
                piece
            })
        })
        .take_while(|piece| {
            let goes_on = !matches!(piece, Ok(piece) if piece.is_empty());
            std::future::ready(goes_on)
        });
    let end = stream::once(async move {
        // What was sent before must arrive, or the cut would lose more than it says.
        tokio::time::sleep(FLUSH).await;
        if let Some(switch) = switch {
            switch.reset();
        }
        Err(axum::Error::new(io::Error::from(
            io::ErrorKind::ConnectionReset,
        )))
    });
    Response::from_parts(parts, Body::from_stream(kept.chain(end)))
}

fn stall(honest: Response<Body>, after_bytes: u64, millis: u64) -> Response<Body> {
    let (parts, body) = honest.into_parts();
    let mut sent = 0;
    let mut is_done = false;
    let stalled = pieces(body).then(move |piece| {
        let is_now = !is_done && sent >= after_bytes;
        is_done |= is_now;
        sent += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        async move {
            if is_now {
                tokio::time::sleep(Duration::from_millis(millis)).await;
            }
            piece
        }
    });
    Response::from_parts(parts, Body::from_stream(stalled))
}

fn slow(honest: Response<Body>, bytes_per_s: u64) -> Response<Body> {
    let (parts, body) = honest.into_parts();
    let paced = pieces(body).then(move |piece| async move {
        let bytes = piece.as_ref().map_or(0, |piece| piece.len() as u64);
        tokio::time::sleep(Duration::from_micros(
            bytes * 1_000_000 / bytes_per_s.max(1),
        ))
        .await;
        piece
    });
    Response::from_parts(parts, Body::from_stream(paced))
}

/// The offset in the file of the answer's first byte.
fn first_byte(honest: &Response<Body>) -> u64 {
    honest
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|range| range.strip_prefix("bytes "))
        .and_then(|range| range.split('-').next())
        .and_then(|from| from.parse().ok())
        .unwrap_or(0)
}

fn flip(honest: Response<Body>, at: u64) -> Response<Body> {
    let mut offset = first_byte(&honest);
    let (parts, body) = honest.into_parts();
    let flipped = pieces(body).map(move |piece| {
        let piece = piece?;
        let begin = offset;
        offset += piece.len() as u64;
        if !(begin..offset).contains(&at) {
            return Ok::<_, axum::Error>(piece);
        }
        let mut changed = BytesMut::from(&piece[..]);
        if let Some(byte) = usize::try_from(at - begin)
            .ok()
            .and_then(|at| changed.get_mut(at))
        {
            *byte ^= 1;
        }
        Ok(changed.freeze())
    });
    Response::from_parts(parts, Body::from_stream(flipped))
}

fn other_bytes(honest: Response<Body>) -> Response<Body> {
    let (parts, body) = honest.into_parts();
    let changed = pieces(body).map(|piece| {
        let piece: Vec<u8> = piece?.iter().map(|byte| byte ^ 0x55).collect();
        Ok::<_, axum::Error>(Bytes::from(piece))
    });
    Response::from_parts(parts, Body::from_stream(changed))
}

fn longer(honest: Response<Body>, extra: u64) -> Response<Body> {
    let (mut parts, body) = honest.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    let extra = Bytes::from(vec![b'+'; usize::try_from(extra).unwrap_or(0)]);
    let more = pieces(body).chain(stream::once(std::future::ready(Ok(extra))));
    Response::from_parts(parts, Body::from_stream(more))
}

async fn wrong_length(honest: Response<Body>, delta: i64) -> Response<Body> {
    let (mut parts, body) = honest.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let length = bytes
        .len()
        .saturating_add_signed(isize::try_from(delta).unwrap_or(0));
    let mut changed = bytes.to_vec();
    changed.resize(length, b'+');
    set(&mut parts.headers, CONTENT_LENGTH, &length.to_string());
    Response::from_parts(parts, Body::from(changed))
}

async fn gzip(honest: Response<Body>) -> Response<Body> {
    use tokio::io::AsyncReadExt as _;

    let (mut parts, body) = honest.into_parts();
    let bytes = to_bytes(body, MAX_GZIP_BYTES).await.unwrap_or_default();
    let mut packed = Vec::new();
    let mut encoder = async_compression::tokio::bufread::GzipEncoder::new(&bytes[..]);
    if let Err(error) = encoder.read_to_end(&mut packed).await {
        tracing::error!(%error, "memory could not be compressed");
    }
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(ACCEPT_RANGES);
    set(&mut parts.headers, CONTENT_ENCODING, "gzip");
    if let Some(etag) = parts.headers.get(ETAG).and_then(|etag| etag.to_str().ok()) {
        let weak = format!("W/{etag}");
        set(&mut parts.headers, ETAG, &weak);
    }
    let chunks = stream::once(std::future::ready(Ok::<_, io::Error>(Bytes::from(packed))));
    Response::from_parts(parts, Body::from_stream(chunks))
}

fn wrong_content_range(honest: Response<Body>) -> Response<Body> {
    let mut response = honest;
    let from = first_byte(&response);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let wrong = format!("bytes {}-{}/{}", from + 1, from + 2, from + 3);
    set(response.headers_mut(), CONTENT_RANGE, &wrong);
    response
}

fn rate_limited(header: RateHeader, seconds: u64) -> Response<Body> {
    let mut response = refusal(
        StatusCode::TOO_MANY_REQUESTS,
        None,
        "We had to rate limit your address.",
    );
    let headers = response.headers_mut();
    match header {
        RateHeader::RateLimit => {
            set(
                headers,
                RATE_LIMIT,
                &format!("\"resolvers\";r=0;t={seconds}"),
            );
        }
        RateHeader::RetryAfterSeconds => set(headers, RETRY_AFTER, &seconds.to_string()),
        RateHeader::RetryAfterDate => set(headers, RETRY_AFTER, &date_in(seconds)),
    }
    response
}

#[expect(
    clippy::disallowed_methods,
    reason = "a server's date is the time at which it answers"
)]
fn date_in(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds))
}

fn other_etag(honest: Response<Body>, etag: &str) -> Response<Body> {
    let mut response = honest;
    let quoted = format!("\"{etag}\"");
    let headers = response.headers_mut();
    set(headers, ETAG, &quoted);
    if headers.contains_key(X_LINKED_ETAG) {
        set(headers, X_LINKED_ETAG, &quoted);
    }
    response
}

fn redirect(place: &str) -> Response<Body> {
    let mut response = empty(StatusCode::FOUND);
    set(response.headers_mut(), LOCATION, place);
    response
}

fn pointer_text(honest: &Response<Body>) -> Response<Body> {
    let mut response = text(
        StatusCode::OK,
        "text/plain",
        lfs_pointer(&Etag::Sha256([7; 32]), 1_000),
    );
    for name in [X_REPO_COMMIT, X_LINKED_SIZE, ETAG] {
        if let Some(value) = honest.headers().get(&name).cloned() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
