//! Owns the routes of the Hub's read protocol, answered honestly from a catalogue (hub.md 1.2–1.7).
//!
//! Never makes a fault: that is a layer around it.

use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, LINK, LOCATION};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};

use super::answer::{
    X_LINKED_ETAG, X_LINKED_SIZE, X_REPO_COMMIT, X_XET_HASH, empty, file, json as json_answer,
    refusal, set,
};
use super::catalogue::{Access, Catalogue, Repo, ServedFile};
use super::serving::Shared;
use crate::domain::{Commit, RepoId, RepoKind};

/// The largest body of a question that is read, in bytes.
const MAX_QUESTION_BYTES: usize = 1 << 20;

/// The repo a path names, its spelling there, and the segments behind it.
struct Target<'a> {
    id: RepoId,
    rest: &'a [String],
}

/// Answers a request to the Hub's origin.
pub(super) async fn hub(shared: &Shared, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let segments: Vec<String> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect();
    let names: Vec<&str> = segments.iter().map(String::as_str).collect();
    let query = parts.uri.query().unwrap_or_default();
    if names == ["api", "whoami-v2"] {
        return whoami(&parts.headers);
    }
    let question = if parts.method == Method::POST {
        to_bytes(body, MAX_QUESTION_BYTES).await.unwrap_or_default()
    } else {
        bytes::Bytes::new()
    };
    let catalogue = shared.catalogue();
    if let ["api", plural, ..] = names.as_slice()
        && let Some(kind) = RepoKind::ALL
            .into_iter()
            .find(|kind| kind.plural() == *plural)
    {
        let Some(target) = target_of(
            kind,
            &segments[2..],
            &["revision", "tree", "refs", "paths-info"],
        ) else {
            return not_found();
        };
        return api(
            shared,
            &catalogue,
            &target,
            &parts.headers,
            (&path, query),
            &question,
        );
    }
    let (kind, below) = match names.first() {
        Some(&"datasets") => (RepoKind::Dataset, &segments[1..]),
        Some(&"spaces") => (RepoKind::Space, &segments[1..]),
        _ => (RepoKind::Model, &segments[..]),
    };
    match target_of(kind, below, &["resolve"]) {
        Some(target) => resolve(shared, &catalogue, &target, &parts.headers, &path),
        None => not_found(),
    }
}

/// Answers a request to the other origin: bytes by name, for whoever has the link.
pub(super) fn cdn(shared: &Shared, request: &Request<Body>) -> Response<Body> {
    let catalogue = shared.catalogue();
    let name = request
        .uri()
        .path()
        .split('/')
        .nth(2)
        .unwrap_or_default()
        .to_owned();
    let found = catalogue
        .repos
        .values()
        .flat_map(|repo| repo.commits.values().flatten())
        .find(|file| file.is_lfs && file.etag.to_string() == name);
    match found {
        // The storage service names its objects in its own way.
        Some(found) => file(
            request.headers(),
            &found.content,
            &format!("\"storage-{}\"", &name[..12]),
        ),
        None => empty(StatusCode::NOT_FOUND),
    }
}

/// Splits `owner/name/verb/…`; the name may lack an owner.
fn target_of<'a>(kind: RepoKind, segments: &'a [String], verbs: &[&str]) -> Option<Target<'a>> {
    let verb = segments
        .iter()
        .take(3)
        .skip(1)
        .position(|segment| verbs.contains(&segment.as_str()))
        .map_or(segments.len(), |at| at + 1);
    let id = RepoId::new(kind, &segments[..verb].join("/")).ok()?;
    Some(Target {
        id,
        rest: &segments[verb..],
    })
}

fn not_found() -> Response<Body> {
    refusal(
        StatusCode::NOT_FOUND,
        None,
        "Sorry, we can't find the page you are looking for.",
    )
}

fn token(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}

fn whoami(headers: &HeaderMap) -> Response<Body> {
    match token(headers) {
        Some(_) => json_answer(
            StatusCode::OK,
            &json!({ "type": "user", "name": "someone", "orgs": [] }),
        ),
        None => refusal(
            StatusCode::UNAUTHORIZED,
            None,
            "Invalid username or password.",
        ),
    }
}

/// The repo if this token may see it; otherwise the answer that says so.
fn visible<'a>(
    catalogue: &'a Catalogue,
    target: &Target<'_>,
    headers: &HeaderMap,
    path: &str,
) -> Result<&'a Repo, Response<Body>> {
    let missing = || {
        refusal(
            StatusCode::UNAUTHORIZED,
            Some("RepoNotFound"),
            "Repository not found",
        )
    };
    let Some(repo) = catalogue.repos.get(&target.id) else {
        let other = catalogue.repos.keys().find(|id| {
            id.kind() == target.id.kind() && id.name().eq_ignore_ascii_case(target.id.name())
        });
        return Err(match other {
            // Another letter case is sent to the right one; the answer has no ETag (hub.md 1.1).
            Some(id) => {
                let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
                let there = path.replacen(target.id.name(), id.name(), 1);
                set(response.headers_mut(), LOCATION, &there);
                response
            }
            None => missing(),
        });
    };
    match &repo.access {
        Access::Public | Access::Gated { .. } => Ok(repo),
        Access::Private { token: right } if token(headers) == Some(right) => Ok(repo),
        Access::Private { .. } => Err(missing()),
        Access::Disabled => Err(refusal(
            StatusCode::FORBIDDEN,
            None,
            "Access to this resource is disabled.",
        )),
    }
}

fn no_revision(revision: &str) -> Response<Body> {
    refusal(
        StatusCode::NOT_FOUND,
        Some("RevisionNotFound"),
        &format!("Invalid rev id: {revision}"),
    )
}

fn api(
    shared: &Shared,
    catalogue: &Catalogue,
    target: &Target<'_>,
    headers: &HeaderMap,
    (path, query): (&str, &str),
    question: &[u8],
) -> Response<Body> {
    let repo = match visible(catalogue, target, headers, path) {
        Ok(repo) => repo,
        Err(answer) => return answer,
    };
    let rest: Vec<&str> = target.rest.iter().map(String::as_str).collect();
    let (verb, revision, folder) = match rest.as_slice() {
        [] => ("revision", "main", String::new()),
        [verb] => (*verb, "main", String::new()),
        [verb, revision, folder @ ..] => (*verb, *revision, folder.join("/")),
    };
    if verb == "refs" {
        return refs(repo);
    }
    let Some(commit) = repo.commit_of(revision) else {
        return no_revision(revision);
    };
    let files = &repo.commits[&commit];
    let mut response = match verb {
        "revision" => json_answer(StatusCode::OK, &info(&target.id, repo, commit, files)),
        "tree" => tree(shared, catalogue, files, &folder, (path, query)),
        "paths-info" => paths_info(files, question),
        _ => not_found(),
    };
    set(response.headers_mut(), X_REPO_COMMIT, &commit.to_string());
    response
}

fn refs(repo: &Repo) -> Response<Body> {
    let branches: Vec<Value> = repo
        .branches
        .iter()
        .map(|(name, commit)| {
            json!({ "name": name, "ref": format!("refs/heads/{name}"), "targetCommit": commit.to_string() })
        })
        .collect();
    json_answer(
        StatusCode::OK,
        &json!({ "branches": branches, "converts": [], "tags": [] }),
    )
}

fn info(id: &RepoId, repo: &Repo, commit: Commit, files: &[ServedFile]) -> Value {
    let siblings: Vec<Value> = files
        .iter()
        .map(|file| {
            let mut sibling = json!({ "rfilename": file.path, "size": file.size, "blobId": file.oid });
            if file.is_lfs {
                sibling["lfs"] = json!({ "sha256": file.etag.to_string(), "size": file.size, "pointerSize": 134 });
            }
            sibling
        })
        .collect();
    json!({
        "_id": commit.to_string()[..24],
        "id": id.name(),
        "modelId": id.name(),
        "sha": commit.to_string(),
        "private": matches!(repo.access, Access::Private { .. }),
        "gated": if matches!(repo.access, Access::Gated { .. }) { json!("auto") } else { json!(false) },
        "disabled": false,
        "downloads": 0,
        "likes": 0,
        "tags": ["mlx", "safetensors"],
        "library_name": "mlx",
        "createdAt": "2024-07-31T12:00:00.000Z",
        "lastModified": "2024-07-31T12:00:00.000Z",
        "usedStorage": files.iter().map(|file| file.size).sum::<u64>(),
        "siblings": siblings,
    })
}

fn entry(file: &ServedFile) -> Value {
    let mut entry =
        json!({ "type": "file", "path": file.path, "size": file.size, "oid": file.oid });
    if file.is_lfs {
        entry["lfs"] =
            json!({ "oid": file.etag.to_string(), "size": file.size, "pointerSize": 134 });
    }
    if let Some(xet) = &file.xet_hash {
        entry["xetHash"] = json!(xet);
    }
    entry
}

fn tree(
    shared: &Shared,
    catalogue: &Catalogue,
    files: &[ServedFile],
    folder: &str,
    (path, query): (&str, &str),
) -> Response<Body> {
    let parameter = |name: &str| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    };
    let is_recursive = matches!(parameter("recursive"), Some("true" | "True" | "1"));
    let begin: usize = parameter("cursor")
        .and_then(|cursor| cursor.parse().ok())
        .unwrap_or(0);
    let below = if folder.is_empty() {
        String::new()
    } else {
        format!("{folder}/")
    };
    let mut entries: Vec<Value> = Vec::new();
    let mut folders = std::collections::BTreeSet::new();
    for file in files.iter().filter(|file| file.path.starts_with(&below)) {
        let inside = &file.path[below.len()..];
        for (at, _) in inside.match_indices('/') {
            if is_recursive || at == inside.find('/').unwrap_or(at) {
                folders.insert(format!("{below}{}", &inside[..at]));
            }
        }
        if is_recursive || !inside.contains('/') {
            entries.push(entry(file));
        }
    }
    for folder in folders {
        entries
            .push(json!({ "type": "directory", "path": folder, "size": 0, "oid": "0".repeat(40) }));
    }
    let end = (begin + catalogue.page_size).min(entries.len());
    let page = entries.get(begin..end).unwrap_or_default().to_vec();
    let mut response = json_answer(StatusCode::OK, &Value::Array(page));
    if end < entries.len() {
        let next = format!(
            "<{}{path}?recursive={is_recursive}&expand=false&cursor={end}>; rel=\"next\"",
            shared.endpoint()
        );
        set(response.headers_mut(), LINK, &next);
    }
    response
}

/// `POST paths-info`: the entries of named paths, as JSON or as a form.
fn paths_info(files: &[ServedFile], question: &[u8]) -> Response<Body> {
    let named: Vec<String> = match serde_json::from_slice::<Value>(question) {
        Ok(json) => json["paths"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|path| path.as_str().map(str::to_owned))
            .collect(),
        Err(_) => String::from_utf8_lossy(question)
            .split('&')
            .filter_map(|pair| pair.strip_prefix("paths="))
            .map(|path| {
                let path = path.replace('+', " ");
                percent_decode_str(&path).decode_utf8_lossy().into_owned()
            })
            .collect(),
    };
    let entries: Vec<Value> = files
        .iter()
        .filter(|file| named.contains(&file.path))
        .map(entry)
        .collect();
    json_answer(StatusCode::OK, &Value::Array(entries))
}

fn resolve(
    shared: &Shared,
    catalogue: &Catalogue,
    target: &Target<'_>,
    headers: &HeaderMap,
    path: &str,
) -> Response<Body> {
    let repo = match visible(catalogue, target, headers, path) {
        Ok(repo) => repo,
        Err(answer) => return answer,
    };
    let [_, revision, inside @ ..] = target.rest else {
        return not_found();
    };
    let Some(commit) = repo.commit_of(revision) else {
        return no_revision(revision);
    };
    if let Access::Gated { token: right } = &repo.access
        && token(headers) != Some(right)
    {
        let status = if token(headers).is_some() {
            StatusCode::FORBIDDEN
        } else {
            StatusCode::UNAUTHORIZED
        };
        let words = format!("Access to model {} is restricted.", target.id.name());
        return refusal(status, Some("GatedRepo"), &words);
    }
    let inside = inside.join("/");
    let mut response = match repo.commits[&commit]
        .iter()
        .find(|file| file.path == inside)
    {
        None => refusal(
            StatusCode::NOT_FOUND,
            Some("EntryNotFound"),
            "Entry not found",
        ),
        Some(found) if found.is_lfs => linked(shared, found),
        Some(found) => {
            let mut response = file(headers, &found.content, &format!("\"{}\"", found.etag));
            set(
                response.headers_mut(),
                CONTENT_TYPE,
                "text/plain; charset=utf-8",
            );
            response
        }
    };
    set(response.headers_mut(), X_REPO_COMMIT, &commit.to_string());
    response
}

/// The redirect to the other origin; everything there is to know about the file is on it.
fn linked(shared: &Shared, file: &ServedFile) -> Response<Body> {
    let name: String = utf8_percent_encode(&file.path, NON_ALPHANUMERIC)
        .to_string()
        .replace("%2F", "/")
        .replace("%2E", ".")
        .replace("%5F", "_")
        .replace("%2D", "-");
    let location = format!(
        "{}/blob/{}/{name}?Expires=4102444800&Signature=demo-signature",
        shared.cdn(),
        file.etag
    );
    let mut response = empty(StatusCode::FOUND);
    let headers = response.headers_mut();
    set(headers, LOCATION, &location);
    set(headers, X_LINKED_ETAG, &format!("\"{}\"", file.etag));
    set(headers, X_LINKED_SIZE, &file.size.to_string());
    set(headers, ETAG, &format!("\"{}\"", file.etag));
    if let Some(xet) = &file.xet_hash {
        set(headers, X_XET_HASH, xet);
    }
    response
}
