//! The embedded Hub itself, seen from the wire: honest answers, and each fault as a client meets
//! it. A fault that does not look like the real one would prove nothing elsewhere.

use std::io;
use std::time::{Duration, Instant};

use larder::serve::{Effect, Fault, Matcher, Origin, Serving};
use reqwest::{Client, Response, StatusCode};

use crate::support::catalogue::{self, GEMMA, GEMMA_WEIGHTS_BYTES};

async fn serving(effects: Vec<Effect>) -> Serving {
    let faults = effects
        .into_iter()
        .map(|effect| Fault::new(Matcher::any(), effect))
        .collect();
    Serving::start(catalogue::gemma(), faults).await.unwrap()
}

fn client() -> Client {
    let client = Client::builder().redirect(reqwest::redirect::Policy::none());
    client.no_proxy().build().unwrap()
}

async fn get(hub: &Serving, path: &str) -> Response {
    let url = format!("{}{path}", hub.endpoint());
    client().get(url).send().await.unwrap()
}

fn resolve(file: &str) -> String {
    format!("/{GEMMA}/resolve/main/{file}")
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers()[name].to_str().unwrap()
}

/// The kind of the system's error at the bottom of a broken body.
fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}

#[tokio::test]
async fn small_files_come_from_the_hub_and_large_ones_from_elsewhere() {
    let hub = serving(Vec::new()).await;
    let small = get(&hub, &resolve("config.json")).await;
    assert_eq!(small.status(), StatusCode::OK);
    assert_eq!(header(&small, "x-repo-commit").len(), 40);
    assert_eq!(header(&small, "etag").len(), 42);
    assert_eq!(header(&small, "accept-ranges"), "bytes");

    let large = get(&hub, &resolve("model.safetensors")).await;
    assert_eq!(large.status(), StatusCode::FOUND);
    assert_eq!(
        header(&large, "x-linked-size"),
        GEMMA_WEIGHTS_BYTES.to_string()
    );
    let location = header(&large, "location").to_owned();
    assert!(location.starts_with(&hub.cdn()) && location.contains("Signature="));

    let part = client()
        .get(&location)
        .header("range", "bytes=1999990-")
        .send()
        .await
        .unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(
        header(&part, "content-range"),
        "bytes 1999990-1999999/2000000"
    );
    assert_ne!(
        header(&part, "etag"),
        header(&large, "etag"),
        "storage has its own names"
    );
    assert_eq!(
        part.bytes().await.unwrap(),
        catalogue::gemma_weights()[1_999_990..]
    );
    let beyond = client()
        .get(&location)
        .header("range", "bytes=2000000-")
        .send()
        .await
        .unwrap();
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(header(&beyond, "content-range"), "bytes */2000000");
}

#[tokio::test]
async fn refusals_carry_the_hubs_codes() {
    let hub = serving(Vec::new()).await;
    for (path, status, code) in [
        ("/api/models/nobody/nothing".to_owned(), 401, "RepoNotFound"),
        (
            format!("/api/models/{GEMMA}/revision/nowhere"),
            404,
            "RevisionNotFound",
        ),
        (resolve("nope"), 404, "EntryNotFound"),
        (
            "/someone/gated/resolve/main/config.json".to_owned(),
            401,
            "GatedRepo",
        ),
        (
            "/api/models/someone/private".to_owned(),
            401,
            "RepoNotFound",
        ),
    ] {
        let response = get(&hub, &path).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(header(&response, "x-error-code"), code, "{path}");
    }
    let renamed = get(&hub, "/api/models/MLX-community/Gemma-2-2b-it-4bit").await;
    assert_eq!(renamed.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(header(&renamed, "location"), format!("/api/models/{GEMMA}"));
}

#[tokio::test]
async fn a_cut_ends_in_good_order_and_a_reset_does_not() {
    let kept = 1_000_000;
    for (effect, is_reset) in [
        (Effect::CutAfter { bytes: kept }, false),
        (Effect::ResetAfter { bytes: kept }, true),
    ] {
        let hub = Serving::start(
            catalogue::gemma(),
            vec![Fault::new(Matcher::any().origin(Origin::Cdn), effect)],
        )
        .await
        .unwrap();
        let linked = get(&hub, &resolve("model.safetensors")).await;
        let mut body = client()
            .get(header(&linked, "location"))
            .send()
            .await
            .unwrap();
        let mut got = 0;
        let error = loop {
            match body.chunk().await {
                Ok(Some(chunk)) => got += chunk.len() as u64,
                Ok(None) => panic!("the body ended as if it were whole"),
                Err(error) => break error,
            }
        };
        assert!(got <= kept && (is_reset || got == kept), "{got} of {kept}");
        let is_io_reset = io_kind(&error) == Some(io::ErrorKind::ConnectionReset);
        assert_eq!(is_io_reset, is_reset, "{error:?}");
    }
}

#[tokio::test]
async fn bodies_are_changed_as_said() {
    let honest = serving(Vec::new()).await;
    let good = get(&honest, &resolve("config.json"))
        .await
        .bytes()
        .await
        .unwrap();
    let body = async |effect| {
        let hub = serving(vec![effect]).await;
        get(&hub, &resolve("config.json")).await
    };

    let flipped = body(Effect::FlipByte { at: 3 })
        .await
        .bytes()
        .await
        .unwrap();
    let different: Vec<usize> = (0..good.len())
        .filter(|&at| good[at] != flipped[at])
        .collect();
    assert_eq!(different, [3]);

    let longer = body(Effect::LongerBody { extra: 5 }).await;
    assert_eq!(longer.content_length(), None);
    assert_eq!(longer.bytes().await.unwrap().len(), good.len() + 5);

    let wrong = body(Effect::WrongLength { delta: -2 }).await;
    assert_eq!(wrong.content_length(), Some(good.len() as u64 - 2));

    let packed = body(Effect::Gzip).await;
    assert_eq!(header(&packed, "content-encoding"), "gzip");
    assert!(header(&packed, "etag").starts_with("W/"));
    assert_eq!(&packed.bytes().await.unwrap()[..2], [0x1f, 0x8b]);

    let pointer = body(Effect::LfsPointerText).await.text().await.unwrap();
    assert!(pointer.starts_with("version https://git-lfs"));
    let page = body(Effect::Html200).await;
    assert!(header(&page, "content-type").starts_with("text/html"));
}

#[tokio::test]
async fn answers_are_changed_as_said() {
    let answer = async |effect| {
        let hub = serving(vec![effect]).await;
        get(&hub, &resolve("config.json")).await
    };
    let limited = answer(Effect::rate_limit(7)).await;
    assert_eq!(limited.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&limited, "ratelimit"), "\"resolvers\";r=0;t=7");
    assert_eq!(
        header(&answer(Effect::retry_after_seconds(9)).await, "retry-after"),
        "9"
    );
    let date = answer(Effect::retry_after_date(60)).await;
    assert!(header(&date, "retry-after").ends_with("GMT"));
    assert_eq!(answer(Effect::Status { code: 503 }).await.status(), 503);
    assert_eq!(answer(Effect::Status416).await.status(), 416);
    assert_eq!(answer(Effect::ExpiredLink).await.status(), 403);
    let looped = answer(Effect::RedirectLoop).await;
    assert_eq!(header(&looped, "location"), resolve("config.json"));
    let elsewhere = answer(Effect::RedirectTo("http://127.0.0.1:9/x".into())).await;
    assert_eq!(header(&elsewhere, "location"), "http://127.0.0.1:9/x");
    assert!(
        !answer(Effect::DropRepoCommitHeader)
            .await
            .headers()
            .contains_key("x-repo-commit")
    );
    assert_eq!(
        header(&answer(Effect::OtherEtag("abc".into())).await, "etag"),
        "\"abc\""
    );
    let range = answer(Effect::WrongContentRange).await;
    assert_eq!(range.status(), StatusCode::PARTIAL_CONTENT);
    let invalid = answer(Effect::InvalidCredentials401).await;
    assert_eq!(
        header(&invalid, "x-error-message"),
        "Invalid credentials in Authorization header"
    );
}

#[tokio::test]
async fn slowness_takes_time() {
    for effect in [
        Effect::Delay { millis: 300 },
        Effect::Stall {
            after_bytes: 0,
            millis: 300,
        },
        Effect::Slow { bytes_per_s: 200 },
    ] {
        let hub = serving(vec![effect.clone()]).await;
        let began = Instant::now();
        let body = get(&hub, &resolve("config.json"))
            .await
            .bytes()
            .await
            .unwrap();
        assert!(!body.is_empty());
        assert!(began.elapsed() >= Duration::from_millis(250), "{effect:?}");
    }
}

#[tokio::test]
async fn requests_are_recorded_with_what_was_sent() {
    let hub = serving(Vec::new()).await;
    let length = get(&hub, &resolve("config.json"))
        .await
        .bytes()
        .await
        .unwrap()
        .len();
    let records = hub.requests();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].method, "GET");
    assert_eq!(records[0].status, 200);
    assert_eq!(records[0].body_bytes_sent, length as u64);
    hub.clear_requests();
    assert!(hub.requests().is_empty());
}
