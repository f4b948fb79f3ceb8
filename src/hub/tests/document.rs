//! Proves revisions, listings, refusals and rate limits.

use std::time::Duration;

use async_compression::tokio::write::GzipEncoder;
use tokio::io::AsyncWriteExt as _;

use super::*;

#[tokio::test]
async fn a_revision_becomes_a_commit_and_the_hubs_spelling() {
    let stage = Stage::start(|_, _| {
        Reply::json(&format!(
            r#"{{"id":"Org/Name","sha":"{COMMIT}","siblings":[]}}"#
        ))
    })
    .await;
    let resolved = client(&stage)
        .revision(&repo(), &Revision::new("refs/pr/1").unwrap())
        .await
        .unwrap();
    assert_eq!(resolved.repo.name(), "Org/Name");
    assert_eq!(resolved.commit.to_string(), COMMIT);
    let head = &stage.heads()[0];
    assert_eq!(head.target(), "/api/models/org/name/revision/refs%2Fpr%2F1");
    assert_eq!(
        head.header("authorization"),
        Some(&*format!("Bearer {TOKEN}"))
    );
    let agent = head.header("user-agent").unwrap();
    assert!(agent.starts_with(concat!("larder/", env!("CARGO_PKG_VERSION"), "; rust; os/")));
}

#[tokio::test]
async fn a_commit_that_was_asked_for_is_the_only_answer() {
    let stage =
        Stage::start(|_, _| Reply::json(&format!(r#"{{"id":"org/name","sha":"{COMMIT}"}}"#))).await;
    let ask = |name: String| {
        let client = client(&stage);
        async move {
            client
                .revision(&repo(), &Revision::new(&name).unwrap())
                .await
        }
    };
    assert!(ask(COMMIT.to_uppercase()).await.is_ok());
    assert!(matches!(
        ask("c".repeat(40)).await,
        Err(Error::Malformed { .. })
    ));
}

#[tokio::test]
async fn the_origin_is_part_of_the_user_agent() {
    let stage = Stage::start(|_, _| whole()).await;
    let mut config = config(&stage.url(""));
    config.user_agent_origin = Some("my app\n".to_owned());
    let client = Client::new(&config).unwrap();
    client.body(&want(), 0).await.unwrap();
    let heads = stage.heads();
    assert!(
        heads[0]
            .header("user-agent")
            .unwrap()
            .ends_with("; origin/myapp")
    );
}

#[tokio::test]
async fn odd_names_reach_the_server_as_python_sends_them() {
    let stage = Stage::start(|head, _| {
        if head.target().contains("/cdn/") {
            whole()
        } else {
            // From such an address a relative redirect must still be followed.
            Reply::status(307, &[("location", "/cdn/x")])
        }
    })
    .await;
    for (path, target) in [
        ("sub dir/ünï#1.json", "sub%20dir/%C3%BCn%C3%AF%231.json"),
        ("a[b]^|c.json", "a%5Bb%5D%5E%7Cc.json"),
    ] {
        let body = client(&stage).body(&want_path(path), 0).await.unwrap();
        assert_eq!(collect(body).await.unwrap(), CONTENT);
        let heads = stage.heads();
        let asked = heads[heads.len() - 2].target();
        assert_eq!(asked, format!("/org/name/resolve/{COMMIT}/{target}"));
    }
}

#[tokio::test]
async fn listings_follow_their_pages() {
    let entry = |n: usize| {
        format!(
            r#"{{"type":"file","path":"f{n}","size":{n},"oid":"{}"}}"#,
            "a1".repeat(20)
        )
    };
    let stage = Stage::start(move |head, nth| {
        let page = format!("[{}]", entry(nth));
        let headers = [
            ("content-type", "application/json"),
            ("link", "<?recursive=true&cursor=two>; rel=\"next\""),
        ];
        let is_last = head.target().contains("cursor=two");
        Reply::body(
            200,
            &headers[..if is_last { 1 } else { 2 }],
            page.as_bytes(),
        )
    })
    .await;
    let commit = Commit::new(COMMIT).unwrap();
    let listing = client(&stage).listing(&repo(), &commit).await.unwrap();
    let paths: Vec<&str> = listing.files.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["f0", "f1"]);
    let first = stage.heads()[0].target().to_owned();
    assert_eq!(
        first,
        format!("/api/models/org/name/tree/{COMMIT}?recursive=true&expand=false")
    );
    assert!(stage.heads()[1].header("authorization").is_some());
}

#[tokio::test]
async fn pages_that_loop_or_leave_the_hub_end_the_listing() {
    let elsewhere = Stage::start(|_, _| Reply::json("[]")).await;
    for link in ["?cursor=1".to_owned(), elsewhere.url("/api?cursor=1")] {
        let link = format!("<{link}>; rel=\"next\"");
        let stage = Stage::start(move |_, _| {
            let headers = [("content-type", "application/json"), ("link", &link)];
            Reply::body(200, &headers, b"[]")
        })
        .await;
        let commit = Commit::new(COMMIT).unwrap();
        let error = client(&stage).listing(&repo(), &commit).await.unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
        assert!(stage.heads().len() <= 2);
    }
    assert_eq!(elsewhere.heads().len(), 0);
}

#[tokio::test]
async fn a_compressed_document_is_read() {
    let mut encoder = GzipEncoder::new(Vec::new());
    let json = format!(r#"{{"id":"org/name","sha":"{COMMIT}"}}"#);
    encoder.write_all(json.as_bytes()).await.unwrap();
    encoder.shutdown().await.unwrap();
    let packed = encoder.into_inner();
    let headers = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
    ];
    let reply = Reply::body(200, &headers, &packed);
    let stage = Stage::start(move |_, _| reply.clone()).await;
    let resolved = client(&stage)
        .revision(&repo(), &Revision::main())
        .await
        .unwrap();
    assert_eq!(resolved.commit.to_string(), COMMIT);
    let cut = Reply::body(200, &headers, &packed[..packed.len() / 2]);
    assert!(matches!(revision_error(cut).await, Error::Malformed { .. }));
}

#[tokio::test]
async fn documents_that_are_none_are_told_apart() {
    let html = Reply::body(
        200,
        &[("content-type", "text/html")],
        b"<html>log in</html>",
    );
    assert!(matches!(revision_error(html).await, Error::NotAHub { .. }));
    let text = Reply::body(200, &[("content-type", "text/plain")], b"hello");
    assert!(matches!(revision_error(text).await, Error::NotAHub { .. }));
    for broken in ["{", "[]", "{}", r#"{"sha":"main"}"#] {
        assert!(matches!(
            revision_error(Reply::json(broken)).await,
            Error::Malformed { .. }
        ));
    }
    let evil = Reply::json(&format!(r#"{{"id":"../../x","sha":"{COMMIT}"}}"#));
    assert!(matches!(
        revision_error(evil).await,
        Error::Malformed { .. }
    ));
    let json = [
        ("content-type", "application/json"),
        ("content-length", "100"),
    ];
    let short = Reply::framed(200, &json, b"{");
    assert!(matches!(
        revision_error(short).await,
        Error::Transport {
            kind: TransportKind::Reset,
            ..
        }
    ));
}

#[tokio::test]
async fn refusals_of_the_hub_are_told_apart() {
    let error = revision_error(coded(404, "RevisionNotFound")).await;
    assert!(matches!(error, Error::RevisionNotFound { .. }));
    let error = revision_error(coded(401, "RepoNotFound")).await;
    assert!(
        matches!(&error, Error::RepoNotFound { message: Some(words), .. } if words == "words"),
        "{error:?}"
    );
    let error = revision_error(coded(403, "GatedRepo")).await;
    assert!(matches!(error, Error::Gated { .. }));
    let error = fetch_error(0, coded(404, "EntryNotFound")).await;
    assert!(matches!(error, Error::FileNotFound { .. }));
    let bad = format!("Invalid credentials in Authorization header {TOKEN}");
    let error = revision_error(Reply::status(401, &[("x-error-message", &bad)])).await;
    assert!(matches!(error, Error::TokenInvalid { .. }));
    let echo = format!("\u{1b}[2Jtoken {TOKEN} lacks a right");
    let body = serde_json::json!({ "error": echo }).to_string();
    let reply = Reply::body(
        403,
        &[("content-type", "application/json")],
        body.as_bytes(),
    );
    let error = revision_error(reply).await;
    assert!(
        matches!(&error, Error::TokenScope { message: Some(words), .. }
            if words == "\\x1b[2Jtoken *** lacks a right"),
        "{error:?}"
    );
    let error = fetch_error(0, Reply::status(503, &[("x-request-id", "r-1")])).await;
    assert!(
        matches!(&error, Error::Server { status: 503, request_id: Some(id), .. } if id == "r-1"),
        "{error:?}"
    );
    let error = fetch_error(0, Reply::status(418, &[])).await;
    assert!(matches!(error, Error::Status { status: 418, .. }));
}

#[tokio::test]
async fn a_rate_limit_pauses_its_bucket() {
    let stage =
        Stage::start(|_, _| Reply::status(429, &[("ratelimit", "\"resolvers\";r=0;t=299")])).await;
    let client = client(&stage);
    let error = client.body(&want(), 0).await.unwrap_err();
    assert!(
        matches!(&error, Error::RateLimited { wait, bucket: Some(bucket), .. }
            if *wait == Duration::from_mins(5) && bucket == "resolvers"),
        "{error:?}"
    );
    let soon = Duration::from_millis(20);
    let clone = client.clone();
    assert!(
        tokio::time::timeout(soon, clone.body(&want(), 0))
            .await
            .is_err()
    );
    assert_eq!(
        stage.heads().len(),
        1,
        "nothing may be sent during the pause"
    );
    // The other bucket is open.
    let error = client
        .revision(&repo(), &Revision::main())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::RateLimited { .. }));
    assert_eq!(stage.heads().len(), 2);
}
