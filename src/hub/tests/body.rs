//! Proves what is taken as the bytes of a file: ranges, lengths, cuts, compression.

use std::time::Duration;

use async_compression::tokio::write::{GzipEncoder, ZlibEncoder};
use tokio::io::AsyncWriteExt as _;

use super::super::stage::End;
use super::*;

#[tokio::test]
async fn a_small_file_comes_whole() {
    let stage = Stage::start(|_, _| whole()).await;
    let body = client(&stage).body(&want(), 0).await.unwrap();
    assert_eq!((body.from_bytes(), body.is_encoded()), (0, false));
    assert_eq!(format!("http://{}", body.source()), stage.url(""));
    assert_eq!(collect(body).await.unwrap(), CONTENT);
    let head = &stage.heads()[0];
    assert_eq!(head.header("range"), None);
    assert_eq!(head.header("accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn a_range_is_taken_only_as_asked() {
    let stage = Stage::start(|_, _| part("bytes 4-9/10", &CONTENT[4..])).await;
    let body = client(&stage).body(&want(), 4).await.unwrap();
    assert_eq!(body.from_bytes(), 4);
    assert_eq!(collect(body).await.unwrap(), &CONTENT[4..]);
    assert_eq!(stage.heads()[0].header("range"), Some("bytes=4-"));
    assert_eq!(
        fetch(4, part("bytes 4-9/*", &CONTENT[4..])).await.unwrap(),
        &CONTENT[4..]
    );
    for range in [
        "bytes 3-8/10",
        "bytes 4-9/11",
        "bytes 0-9/10",
        "bytes 4-10/11",
        "x",
    ] {
        let error = fetch_error(4, part(range, &CONTENT[4..])).await;
        assert!(
            matches!(&error, Error::WrongRange { wanted_from: 4, got } if got == range),
            "{error:?}"
        );
    }
    let none = Reply::body(206, &[("x-repo-commit", COMMIT)], &CONTENT[4..]);
    assert!(matches!(
        fetch_error(4, none).await,
        Error::WrongRange { .. }
    ));
    let error = fetch_error(4, part("bytes 4-9/10", &CONTENT[5..])).await;
    assert!(matches!(
        error,
        Error::SizeMismatch {
            announced: 5,
            expected: 6
        }
    ));
    let less = fetch_error(4, part("bytes 4-6/10", &CONTENT[4..7])).await;
    assert!(
        matches!(
            less,
            Error::Truncated {
                got: 7,
                expected: 10
            }
        ),
        "{less:?}"
    );
}

#[tokio::test]
async fn a_span_with_an_end_asks_for_no_more() {
    let stage = Stage::start(|_, _| part("bytes 2-4/10", &CONTENT[2..5])).await;
    let span = resolve::Span {
        from: 2,
        end: Some(5),
    };
    let body = client(&stage).span(&want(), span).await.unwrap();
    assert_eq!(collect(body).await.unwrap(), &CONTENT[2..5]);
    assert_eq!(stage.heads()[0].header("range"), Some("bytes=2-4"));
}

#[tokio::test]
async fn an_ignored_range_starts_at_zero() {
    let stage = Stage::start(|_, _| whole()).await;
    let body = client(&stage).body(&want(), 4).await.unwrap();
    assert_eq!(body.from_bytes(), 0);
    assert_eq!(collect(body).await.unwrap(), CONTENT);
}

#[tokio::test]
async fn a_range_outside_tells_the_length() {
    let reply = Reply::status(416, &[("content-range", "bytes */7")]);
    let error = fetch_error(10, reply).await;
    assert!(
        matches!(error, Error::RangeRejected { total: Some(7) }),
        "{error:?}"
    );
}

#[tokio::test]
async fn lengths_that_cannot_be_right_are_refused() {
    let headers = [("x-repo-commit", COMMIT)];
    let error = fetch_error(0, Reply::body(200, &headers, b"123456789")).await;
    assert!(matches!(
        error,
        Error::SizeMismatch {
            announced: 9,
            expected: 10
        }
    ));
    // Without a length the body itself shows it.
    let error = fetch_error(0, Reply::framed(200, &headers, b"123456789")).await;
    assert!(
        matches!(
            error,
            Error::Truncated {
                got: 9,
                expected: 10
            }
        ),
        "{error:?}"
    );
    let error = fetch_error(0, Reply::framed(200, &headers, b"0123456789+")).await;
    assert!(
        matches!(error, Error::TooLong { expected: 10 }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_cut_body_keeps_what_came() {
    let headers = [("x-repo-commit", COMMIT), ("content-length", "10")];
    let stage = Stage::start(move |_, _| Reply::framed(200, &headers, &CONTENT[..6])).await;
    let mut body = client(&stage).body(&want(), 0).await.unwrap();
    assert_eq!(body.chunk().await.unwrap().unwrap(), &CONTENT[..6]);
    let error = body.chunk().await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Truncated {
                got: 6,
                expected: 10
            }
        ),
        "{error:?}"
    );
    let chunked = [("x-repo-commit", COMMIT), ("transfer-encoding", "chunked")];
    let error = fetch_error(0, Reply::framed(200, &chunked, b"6\r\n012345\r\n")).await;
    assert!(
        matches!(
            error,
            Error::Truncated {
                got: 6,
                expected: 10
            }
        ),
        "{error:?}"
    );
    let reset = Reply::framed(200, &headers, &CONTENT[..6]).ending(End::Reset);
    let error = fetch_error(0, reset).await;
    assert!(
        matches!(
            &error,
            Error::Transport {
                kind: TransportKind::Reset,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn silence_in_a_body_is_a_timeout() {
    let headers = [("x-repo-commit", COMMIT), ("content-length", "10")];
    let stage =
        Stage::start(move |_, _| Reply::framed(200, &headers, &CONTENT[..6]).ending(End::Hang))
            .await;
    let mut config = config(&stage.url(""));
    config.stall_timeout = Duration::from_millis(500);
    let mut body = Client::new(&config)
        .unwrap()
        .body(&want(), 0)
        .await
        .unwrap();
    assert_eq!(body.chunk().await.unwrap().unwrap().len(), 6);
    let error = body.chunk().await.unwrap_err();
    assert!(matches!(error, Error::Silent { .. }), "{error:?}");
}

async fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzipEncoder::new(Vec::new());
    encoder.write_all(content).await.unwrap();
    encoder.shutdown().await.unwrap();
    encoder.into_inner()
}

#[tokio::test]
async fn compressed_bodies_are_decoded_and_counted_decoded() {
    let packed = gzip(CONTENT).await;
    let encoded = |name, body: &[u8]| {
        Reply::body(
            200,
            &[("x-repo-commit", COMMIT), ("content-encoding", name)],
            body,
        )
    };
    let reply = encoded("gzip", &packed);
    let stage = Stage::start(move |_, _| reply.clone()).await;
    let body = client(&stage).body(&want(), 4).await.unwrap();
    assert_eq!((body.from_bytes(), body.is_encoded()), (0, true));
    assert_eq!(collect(body).await.unwrap(), CONTENT);

    let mut zlib = ZlibEncoder::new(Vec::new());
    zlib.write_all(CONTENT).await.unwrap();
    zlib.shutdown().await.unwrap();
    assert_eq!(
        fetch(0, encoded("deflate", &zlib.into_inner()))
            .await
            .unwrap(),
        CONTENT
    );

    let long = gzip(b"0123456789+").await;
    assert!(matches!(
        fetch_error(0, encoded("gzip", &long)).await,
        Error::TooLong { .. }
    ));
    let short = gzip(b"012345678").await;
    let error = fetch_error(0, encoded("gzip", &short)).await;
    assert!(
        matches!(error, Error::Truncated { got: 9, .. }),
        "{error:?}"
    );
    let error = fetch_error(0, encoded("gzip", &packed[..packed.len() - 9])).await;
    assert!(matches!(error, Error::Truncated { .. }), "{error:?}");
    let error = fetch_error(0, encoded("gzip", b"not gzip at all")).await;
    assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
    let error = fetch_error(0, encoded("br", CONTENT)).await;
    assert!(matches!(&error, Error::UnknownEncoding { encoding, .. } if encoding == "br"));

    let headers = [
        ("x-repo-commit", COMMIT),
        ("content-encoding", "gzip"),
        ("content-range", "bytes 4-9/10"),
    ];
    let error = fetch_error(4, Reply::body(206, &headers, &packed)).await;
    assert!(matches!(error, Error::WrongRange { .. }), "{error:?}");
}

#[tokio::test]
async fn a_page_in_a_repo_is_a_file_like_any_other() {
    let headers = [("x-repo-commit", COMMIT), ("content-type", "text/html")];
    let reply = Reply::body(200, &headers, CONTENT);
    assert_eq!(fetch(0, reply).await.unwrap(), CONTENT);
}

#[tokio::test]
async fn a_client_can_be_shared_between_tasks() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let stage = Stage::start(|_, _| whole()).await;
    let client = client(&stage);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let client = client.clone();
        tasks.spawn(is_send(async move {
            collect(client.body(&want(), 0).await.unwrap())
                .await
                .unwrap()
        }));
    }
    while let Some(content) = tasks.join_next().await {
        assert_eq!(content.unwrap(), CONTENT);
    }
}
