//! Proves the way over redirects: where the token goes, what is announced, who is no Hub, and what
//! is logged.

use tokio::io::AsyncWriteExt as _;

use super::super::stage::Head;
use super::*;

/// A Hub that sends files to `cdn`, announcing `headers` on the redirect.
async fn hub_before(cdn: String, headers: Vec<(&'static str, String)>) -> Stage {
    Stage::start(move |_, _| {
        let mut all: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        all.push(("location", &cdn));
        Reply::status(302, &all)
    })
    .await
}

fn linked() -> Vec<(&'static str, String)> {
    vec![
        ("x-repo-commit", COMMIT.to_owned()),
        ("x-linked-etag", format!("\"{}\"", etag())),
        ("x-linked-size", "10".to_owned()),
        ("etag", "\"unrelated\"".to_owned()),
    ]
}

#[tokio::test]
async fn the_token_never_reaches_another_origin() {
    let cdn = Stage::start(|_, _| Reply::body(200, &[("etag", "\"d41d8cd9-7\"")], CONTENT)).await;
    let hub = hub_before(cdn.url("/blob?sig=secret"), linked()).await;
    let body = client(&hub).body(&want(), 0).await.unwrap();
    assert_eq!(format!("http://{}", body.source()), cdn.url(""));
    assert_eq!(collect(body).await.unwrap(), CONTENT);
    assert!(hub.heads()[0].header("authorization").is_some());
    let seen: Vec<Head> = cdn.heads();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("authorization"), None);
    assert_eq!(seen[0].target(), "/blob?sig=secret");
    assert!(!format!("{seen:?}").contains(TOKEN));
}

#[tokio::test]
async fn the_token_follows_redirects_inside_the_origin() {
    let stage = Stage::start(|_, nth| {
        if nth == 0 {
            let target = "/api/resolve-cache/models/x?etag=y";
            return Reply::status(307, &[("location", target)]);
        }
        let etag = format!("\"{}\"", etag());
        Reply::body(200, &[("x-repo-commit", COMMIT), ("etag", &etag)], CONTENT)
    })
    .await;
    let body = client(&stage).body(&want(), 0).await.unwrap();
    assert_eq!(collect(body).await.unwrap(), CONTENT);
    assert_eq!(stage.heads().len(), 2);
    assert!(
        stage
            .heads()
            .iter()
            .all(|head| head.header("authorization").is_some())
    );
}

#[tokio::test]
async fn a_range_travels_to_the_cdn() {
    let cdn = Stage::start(|head, _| {
        assert_eq!(head.header("range"), Some("bytes=4-"));
        Reply::body(206, &[("content-range", "bytes 4-9/10")], &CONTENT[4..])
    })
    .await;
    let hub = hub_before(cdn.url("/blob"), linked()).await;
    let body = client(&hub).body(&want(), 4).await.unwrap();
    assert_eq!(collect(body).await.unwrap(), &CONTENT[4..]);
}

#[tokio::test]
async fn what_the_hub_announces_must_be_what_was_listed() {
    let cdn = Stage::start(|_, _| Reply::body(200, &[], CONTENT)).await;
    let mut other = linked();
    other[1].1 = "cd".repeat(32);
    let hub = hub_before(cdn.url("/blob"), other).await;
    let error = client(&hub).body(&want(), 0).await.unwrap_err();
    assert!(matches!(error, Error::ChangedUpstream { .. }), "{error:?}");
    let mut other = linked();
    other[2].1 = "11".to_owned();
    let hub = hub_before(cdn.url("/blob"), other).await;
    let error = client(&hub).body(&want(), 0).await.unwrap_err();
    assert!(
        matches!(error, Error::SizeMismatch { announced: 11, .. }),
        "{error:?}"
    );
    assert_eq!(cdn.heads().len(), 0, "a file that changed is not fetched");
    let headers = [("x-repo-commit", COMMIT), ("etag", &*"cd".repeat(20))];
    let error = fetch_error(0, Reply::body(200, &headers, CONTENT)).await;
    assert!(matches!(error, Error::ChangedUpstream { .. }), "{error:?}");
}

#[tokio::test]
async fn an_expired_link_is_told_from_a_refusal() {
    for status in [400, 403, 410] {
        let cdn = Stage::start(move |_, _| Reply::body(status, &[], b"<Error/>")).await;
        let hub = hub_before(cdn.url("/blob?sig=secret"), linked()).await;
        let error = client(&hub).body(&want(), 0).await.unwrap_err();
        assert!(
            matches!(&error, Error::LinkExpired { host } if cdn.url("").ends_with(host)),
            "{error:?}"
        );
    }
    let error = fetch_error(0, Reply::status(403, &[])).await;
    assert!(matches!(error, Error::TokenScope { .. }), "{error:?}");
}

#[tokio::test]
async fn what_no_hub_sent_is_not_a_file() {
    let error = fetch_error(0, Reply::body(200, &[], CONTENT)).await;
    assert!(matches!(error, Error::NotAHub { .. }), "{error:?}");
    let error = fetch_error(0, Reply::body(200, &[("x-repo-commit", "yes")], CONTENT)).await;
    assert!(matches!(error, Error::NotAHub { .. }), "{error:?}");
    let error = fetch_error(
        4,
        Reply::body(206, &[("content-range", "bytes 4-9/10")], b"456789"),
    );
    assert!(matches!(error.await, Error::NotAHub { .. }));
    // A portal: the first answer leads to its own page.
    let portal =
        Stage::start(|_, _| Reply::body(200, &[("content-type", "text/html")], b"<html>log in"))
            .await;
    let hub = hub_before(portal.url("/login"), Vec::new()).await;
    let error = client(&hub).body(&want(), 0).await.unwrap_err();
    assert!(matches!(error, Error::NotAHub { .. }), "{error:?}");
    let error = client(&hub)
        .revision(&repo(), &Revision::main())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotAHub { .. }), "{error:?}");
    assert!(!format!("{:?}", portal.heads()).contains(TOKEN));
    // A page in the place of a linked file, though a Hub sent us there.
    let hub = hub_before(portal.url("/login"), linked()).await;
    let error = client(&hub).body(&want(), 0).await.unwrap_err();
    assert!(matches!(error, Error::NotAHub { .. }), "{error:?}");
}

#[tokio::test]
async fn redirects_without_end_or_target_are_given_up() {
    let stage = Stage::start(|_, nth| {
        let next = format!("/x{nth}");
        Reply::status(302, &[("location", &next)])
    })
    .await;
    let error = client(&stage).body(&want(), 0).await.unwrap_err();
    assert!(matches!(error, Error::Redirects { .. }), "{error:?}");
    assert_eq!(stage.heads().len(), 21);
    let error = fetch_error(0, Reply::status(302, &[])).await;
    assert!(matches!(error, Error::Redirects { .. }), "{error:?}");
    let error = fetch_error(0, Reply::status(302, &[("location", "ftp://x/?sig=1")])).await;
    assert!(matches!(error, Error::Redirects { .. }), "{error:?}");
}

#[tokio::test]
async fn connections_are_used_again_after_a_redirect() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut server = tokio::task::JoinSet::new();
    // One connection only: a second one would never be answered.
    server.spawn(async move {
        use tokio::io::AsyncReadExt as _;
        let (mut stream, _) = listener.accept().await.unwrap();
        let answers = [
            "HTTP/1.1 307 X\r\nlocation: /y\r\ncontent-length: 5\r\n\r\nmoved".to_owned(),
            format!(
                "HTTP/1.1 200 X\r\nx-repo-commit: {COMMIT}\r\ncontent-length: 10\r\n\r\n0123456789"
            ),
        ];
        for answer in answers.iter().cycle() {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => return,
                }
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let client = Client::new(&config(&endpoint)).unwrap();
    for _ in 0..2 {
        let body = client.body(&want(), 0).await.unwrap();
        assert_eq!(collect(body).await.unwrap(), CONTENT);
    }
}

/// Where a test's log goes.
#[derive(Clone, Default)]
struct Lines(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_holds_requests_and_warnings_but_no_secrets() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // While there is one subscriber only, tracing asks the current thread's whether a call site is
    // of interest, once for all; another test's thread has none and would silence it for ever.
    let second = tracing::Dispatch::new(tracing_subscriber::registry());
    let guard = tracing::subscriber::set_default(subscriber);

    let cdn = Stage::start(|_, _| Reply::body(403, &[], b"")).await;
    let mut headers = linked();
    headers.push(("x-request-id", "r-42".to_owned()));
    headers.push(("x-hf-warning", format!("Token; {TOKEN} is old")));
    headers.push(("x-hf-warning", "Other; something else".to_owned()));
    let hub = hub_before(cdn.url("/blob?sig=secret"), headers).await;
    let client = client(&hub);
    for _ in 0..2 {
        client.body(&want(), 0).await.unwrap_err();
    }
    drop((guard, second));

    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(
        !log.contains(TOKEN) && !log.contains("sig=") && !log.contains("secret"),
        "{log}"
    );
    assert_eq!(log.matches("*** is old").count(), 1, "{log}");
    assert_eq!(log.matches("something else").count(), 1, "{log}");
    for part in ["r-42", "status=302", "status=403"] {
        assert!(log.contains(part), "{part} in {log}");
    }
    assert!(log.contains(&format!("{}/blob", cdn.url(""))), "{log}");
}
