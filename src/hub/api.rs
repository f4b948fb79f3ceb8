//! Owns the Hub's JSON answers: revision to commit, and fetching any document safely.
//!
//! Never believes a web page: networks that want a log-in answer everything with one.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use reqwest::Url;
use reqwest::header::HeaderMap;

use crate::domain::{Commit, RepoId, RepoPath, Revision, sanitize_line};

use super::address;
use super::client::{Answer, Client};
use super::encoding::{Broken, Content, Encoding};
use super::error::Error;
use super::gate::Bucket;
use super::header;

/// A page of a thousand files is about 300 kB; more than this is not a Hub's.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024 * 1024;

/// What a revision is today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The repo in the Hub's spelling, which names its folder.
    pub repo: RepoId,
    /// The commit the revision names.
    pub commit: Commit,
    /// Whether its files are only for those who have accepted its terms, or may read it.
    pub is_restricted: bool,
}

/// A document and what came with it.
pub(super) struct Document<T> {
    pub(super) value: T,
    /// Where it came from in the end.
    pub(super) url: Url,
    /// The next page, as the server wrote it.
    pub(super) next: Option<String>,
}

#[derive(Deserialize)]
struct RepoFacts {
    id: Option<String>,
    sha: Option<String>,
    /// `false`, or how one is let in.
    #[serde(default)]
    gated: serde_json::Value,
    #[serde(default)]
    private: serde_json::Value,
}

impl RepoFacts {
    fn is_restricted(&self) -> bool {
        self.private == true || self.gated == true || self.gated.is_string()
    }
}

impl Client {
    /// The commit `revision` names and the repo's own spelling.
    ///
    /// # Errors
    /// [`Error::RepoNotFound`], [`Error::RevisionNotFound`] and whatever stops any request.
    pub async fn revision(&self, repo: &RepoId, revision: &Revision) -> Result<Resolved, Error> {
        let url = self.endpoint().revision(repo, revision)?;
        let Document { value, url, .. } = self.document::<RepoFacts>(url).await?;
        let malformed = |why: String| Error::Malformed {
            url: address::shown(&url),
            why,
        };
        let is_restricted = value.is_restricted();
        let sha = value
            .sha
            .ok_or_else(|| malformed("it names no commit".to_owned()))?;
        let commit = Commit::new(&sha).map_err(|error| malformed(error.to_string()))?;
        if revision.as_commit().is_some_and(|asked| asked != commit) {
            return Err(malformed(format!(
                "asked for commit {revision}, it answered with {commit}"
            )));
        }
        Ok(Resolved {
            repo: match value.id {
                Some(id) => {
                    RepoId::new(repo.kind(), &id).map_err(|error| malformed(error.to_string()))?
                }
                None => repo.clone(),
            },
            commit,
            is_restricted,
        })
    }

    /// The address of a file at a commit, as anybody may be told it: without user or password.
    ///
    /// # Errors
    /// When no address can be made of the endpoint.
    pub fn address_of(
        &self,
        repo: &RepoId,
        commit: &Commit,
        path: &RepoPath,
    ) -> Result<String, Error> {
        let url = self.endpoint().resolve(repo, commit, path)?;
        Ok(address::without_user(url).into())
    }

    /// Gets a JSON document.
    pub(super) async fn document<T: DeserializeOwned>(
        &self,
        url: Url,
    ) -> Result<Document<T>, Error> {
        let answer = self
            .get(Bucket::Api, url, &HeaderMap::new(), |_| Ok(()))
            .await?;
        if answer.response.status().as_u16() != 200 {
            return Err(self.refuse(answer, Bucket::Api, false).await);
        }
        let Answer {
            response,
            hop,
            silence,
        } = answer;
        let shown = address::shown(&hop.url);
        if header::is_html(response.headers()) {
            return Err(Error::NotAHub {
                url: shown,
                why: "a web page came in the place of data".to_owned(),
            });
        }
        let is_json = header::is_json(response.headers());
        let next = header::next_link(response.headers());
        let encoding = Encoding::of_answer(&response)?;
        let text = read(Content::new(response, encoding, silence), &hop.url).await?;
        match serde_json::from_slice(&text) {
            Ok(value) => Ok(Document {
                value,
                url: hop.url,
                next,
            }),
            Err(error) if is_json => Err(Error::Malformed {
                url: shown,
                why: sanitize_line(&error.to_string(), 120),
            }),
            Err(_) => Err(Error::NotAHub {
                url: shown,
                why: "what came is not JSON".to_owned(),
            }),
        }
    }
}

async fn read(mut content: Content, url: &Url) -> Result<Vec<u8>, Error> {
    let malformed = |why: String| Error::Malformed {
        url: address::shown(url),
        why,
    };
    let mut text = Vec::new();
    loop {
        match content.chunk().await {
            Ok(Some(chunk)) if text.len() + chunk.len() > MAX_DOCUMENT_BYTES => {
                return Err(malformed(format!(
                    "it is longer than {MAX_DOCUMENT_BYTES} bytes"
                )));
            }
            Ok(Some(chunk)) => text.extend_from_slice(&chunk),
            Ok(None) => return Ok(text),
            Err(Broken::Early(Some(error))) => return Err(Error::transport(url, error)),
            Err(Broken::Early(None)) => {
                return Err(malformed("its compressed body ends early".to_owned()));
            }
            Err(Broken::Other(error)) => return Err(error),
        }
    }
}
