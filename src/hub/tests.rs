//! Proves the client on real sockets of this machine; here are what the tests share and the parts.

mod body;
mod document;
mod redirect;

use crate::config::{Config, Environment, Flags};
use crate::domain::{Commit, Etag, RepoId, RepoKind, RepoPath, Revision, Want};

use super::stage::{Reply, Stage};
use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_test_token_never_to_be_seen";
const CONTENT: &[u8] = b"0123456789";

fn etag() -> String {
    "ab".repeat(32)
}

fn config(endpoint: &str) -> Config {
    let env = Environment::from_pairs([("HOME", "/nowhere"), ("HF_TOKEN", TOKEN)]);
    let flags = Flags {
        endpoint: Some(endpoint.to_owned()),
        ..Flags::default()
    };
    Config::load(&flags, &env).unwrap()
}

fn client(stage: &Stage) -> Client {
    Client::new(&config(&stage.url(""))).unwrap()
}

fn repo() -> RepoId {
    RepoId::new(RepoKind::Model, "org/name").unwrap()
}

fn want_path(path: &str) -> Want {
    Want {
        repo: repo(),
        commit: Commit::new(COMMIT).unwrap(),
        path: RepoPath::new(path).unwrap(),
        etag: Etag::new(&etag()).unwrap(),
        size_bytes: CONTENT.len() as u64,
    }
}

fn want() -> Want {
    want_path("m.bin")
}

async fn collect(mut body: Body) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        assert!(!chunk.is_empty());
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

/// What the client makes of a file served as `reply`.
async fn fetch(from: u64, reply: Reply) -> Result<Vec<u8>, Error> {
    let stage = Stage::start(move |_, _| reply.clone()).await;
    collect(client(&stage).body(&want(), from).await?).await
}

async fn fetch_error(from: u64, reply: Reply) -> Error {
    let error = fetch(from, reply).await.unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(!told.contains(TOKEN) && !told.contains("sig="), "{told}");
    error
}

fn whole() -> Reply {
    Reply::body(200, &[("x-repo-commit", COMMIT)], CONTENT)
}

fn part(range: &str, body: &[u8]) -> Reply {
    let headers = [("x-repo-commit", COMMIT), ("content-range", range)];
    Reply::body(206, &headers, body)
}

async fn revision_error(reply: Reply) -> Error {
    let stage = Stage::start(move |_, _| reply.clone()).await;
    let error = client(&stage)
        .revision(&repo(), &Revision::main())
        .await
        .unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(!told.contains(TOKEN), "{told}");
    error
}

fn coded(status: u16, code: &str) -> Reply {
    Reply::body(
        status,
        &[("x-error-code", code), ("content-type", "application/json")],
        br#"{"error":"words"}"#,
    )
}

#[tokio::test]
async fn any_answer_is_an_answer_and_no_token_is_shown_for_it() {
    for status in [200, 302, 401, 404, 503] {
        let elsewhere = [("location", "http://192.0.2.1/")];
        let stage = Stage::start(move |_, _| Reply::status(status, &elsewhere)).await;
        client(&stage).ping().await.unwrap();
        let heads = stage.heads();
        assert_eq!(heads.len(), 1, "{status}");
        assert_eq!(heads[0].target(), "/");
        assert_eq!(heads[0].header("authorization"), None);
    }
}

#[tokio::test]
async fn no_answer_in_time_is_none() {
    let stage = Stage::start(|_, _| Reply::raw("", super::stage::End::Hang)).await;
    let asked = tokio::time::Instant::now();
    let error = client(&stage).ping().await.unwrap_err();
    assert!(asked.elapsed() < std::time::Duration::from_secs(5));
    assert!(matches!(
        error,
        Error::Transport {
            kind: TransportKind::Timeout,
            ..
        }
    ));
}
