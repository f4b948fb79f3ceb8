//! Owns addresses: how they are built, which belong to the Hub, who may see the token, where a
//! redirect may lead, and how an address is shown.
//!
//! Never sends anything. Rules: `huggingface_hub` `hf_hub_url`, `_is_same_or_hub_host`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;

use crate::domain::{Commit, RepoId, RepoPath, Revision, sanitize_line};

use super::error::Error;

/// Everything but RFC 3986's unreserved characters, as Python's `quote(…, safe="")`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The origins that are one Hub under several names.
const HUB_ORIGINS: [&str; 3] = [
    "https://huggingface.co",
    "https://hub-ci.huggingface.co",
    "https://hf.co",
];

/// The endpoint and what follows from it.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    base: Url,
    is_hub: bool,
}

impl Endpoint {
    pub(super) fn new(base: Url) -> Self {
        let is_hub = is_known_hub(&base);
        Self { base, is_hub }
    }

    /// Whether it is on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(&self.base)
    }

    /// The address that everybody may ask for.
    pub(super) fn front_page(&self) -> Url {
        self.base.clone()
    }

    /// The address that resolves a revision to a commit.
    pub(super) fn revision(&self, repo: &RepoId, revision: &Revision) -> Result<Url, Error> {
        self.join(&format!(
            "api/{}/{}/revision/{}",
            repo.kind().plural(),
            repo.name(),
            encode(revision.as_str()),
        ))
    }

    /// The first page of the listing.
    pub(super) fn tree(&self, repo: &RepoId, commit: &Commit) -> Result<Url, Error> {
        self.join(&format!(
            "api/{}/{}/tree/{commit}?recursive=true&expand=false",
            repo.kind().plural(),
            repo.name(),
        ))
    }

    /// The address of a file.
    pub(super) fn resolve(
        &self,
        repo: &RepoId,
        commit: &Commit,
        path: &RepoPath,
    ) -> Result<Url, Error> {
        let path: Vec<String> = path.segments().map(encode).collect();
        self.join(&format!(
            "{}/resolve/{commit}/{}",
            repo.url_path(),
            path.join("/")
        ))
    }

    fn join(&self, tail: &str) -> Result<Url, Error> {
        let text = format!("{}/{tail}", self.base.as_str().trim_end_matches('/'));
        Url::parse(&text).map_err(|error| Error::Build {
            why: format!("no address can be made of the endpoint: {error}"),
        })
    }

    /// Whether an answer from there is the Hub's own word.
    pub(super) fn is_own(&self, url: &Url) -> bool {
        is_same_origin(&self.base, url) || is_known_hub(url)
    }

    /// Whether the token may be shown there: to the endpoint's origin (and, for the Hub, its other
    /// names), and never in the clear but on this machine.
    pub(super) fn may_see_token(&self, url: &Url) -> bool {
        let is_trusted = is_same_origin(&self.base, url) || (self.is_hub && is_known_hub(url));
        is_trusted && (url.scheme() == "https" || is_loopback(url))
    }

    /// Where the next page is: at the endpoint, or where this page came from. A mirror repeats the
    /// Hub's own links; those are led back to the mirror.
    pub(super) fn next_page(&self, page: &Url, link: &str) -> Result<Url, Error> {
        let refuse = |why: &str| Error::Malformed {
            url: shown(page),
            why: why.to_owned(),
        };
        let mut next = page
            .join(link)
            .map_err(|_| refuse("the link to the next page is no address"))?;
        if !self.is_hub && is_known_hub(&next) && !is_same_origin(page, &next) {
            let path = next.path().trim_start_matches('/').to_owned();
            let query = next.query().map(ToOwned::to_owned);
            next = self.join(&path)?;
            next.set_query(query.as_deref());
        }
        if is_same_origin(page, &next) || self.may_see_token(&next) {
            Ok(without_user(next))
        } else {
            Err(refuse("the link to the next page leads to another host"))
        }
    }
}

/// One request of a chain of redirects.
#[derive(Clone, Debug)]
pub(super) struct Hop {
    pub(super) url: Url,
    /// Whether the token may be sent. Once lost, it does not come back in this chain: the address
    /// was then chosen by somebody else.
    pub(super) is_trusted: bool,
}

impl Hop {
    /// The first request.
    pub(super) fn first(endpoint: &Endpoint, url: Url) -> Self {
        let is_trusted = endpoint.may_see_token(&url);
        Self { url, is_trusted }
    }

    /// Where `location` leads from here.
    pub(super) fn follow(&self, endpoint: &Endpoint, location: &str) -> Result<Self, Error> {
        let refuse = |why: &str| Error::Redirects {
            url: shown(&self.url),
            why: why.to_owned(),
        };
        let url = self
            .url
            .join(location)
            .map_err(|_| refuse("its target is no address"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(refuse("its target is not on the web"));
        }
        if self.url.scheme() == "https" && url.scheme() == "http" {
            return Err(refuse("it leads from https to plain http"));
        }
        if url == self.url {
            return Err(refuse("it leads to itself"));
        }
        Ok(Self {
            is_trusted: self.is_trusted && endpoint.may_see_token(&url),
            url: without_user(url),
        })
    }
}

/// An address as it may be shown or logged: no user, password, query or fragment.
pub(super) fn shown(url: &Url) -> String {
    sanitize_line(
        &format!("{}://{}{}", url.scheme(), host(url), url.path()),
        300,
    )
}

/// `host` or `host:port`.
pub(super) fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    }
}

/// The HTTP library would turn a user in an address into credentials.
pub(super) fn without_user(mut url: Url) -> Url {
    // Fails only for addresses without a host, which have no user.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

fn encode(segment: &str) -> String {
    utf8_percent_encode(segment, ENCODED).to_string()
}

fn is_same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

fn is_known_hub(url: &Url) -> bool {
    let origin = url.origin().ascii_serialization();
    HUB_ORIGINS.contains(&origin.as_str())
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use crate::domain::RepoKind;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn at(text: &str) -> Endpoint {
        Endpoint::new(url(text))
    }

    fn model() -> RepoId {
        RepoId::new(RepoKind::Model, "org/name").unwrap()
    }

    #[test]
    fn paths_are_encoded_as_python_does() {
        let commit = Commit::new(&"a".repeat(40)).unwrap();
        let endpoint = at("https://huggingface.co");
        for (path, encoded) in [
            ("sub dir/ünï#1.json", "sub%20dir/%C3%BCn%C3%AF%231.json"),
            ("a[b]^|c.json", "a%5Bb%5D%5E%7Cc.json"),
            ("a?b&c=d+e%20.x", "a%3Fb%26c%3Dd%2Be%2520.x"),
            ("%2e%2e/x", "%252e%252e/x"),
            ("it's~a(1)*.txt", "it%27s~a%281%29%2A.txt"),
        ] {
            let path = RepoPath::new(path).unwrap();
            let built = endpoint.resolve(&model(), &commit, &path).unwrap();
            let expected = format!("https://huggingface.co/org/name/resolve/{commit}/{encoded}");
            assert_eq!(built.as_str(), expected);
        }
        let pr = Revision::new("refs/pr/1").unwrap();
        assert_eq!(
            endpoint.revision(&model(), &pr).unwrap().as_str(),
            "https://huggingface.co/api/models/org/name/revision/refs%2Fpr%2F1"
        );
        let dataset = RepoId::new(RepoKind::Dataset, "o/d").unwrap();
        let tree = at("http://localhost:1/prefix")
            .tree(&dataset, &commit)
            .unwrap();
        assert_eq!(
            tree.as_str(),
            format!(
                "http://localhost:1/prefix/api/datasets/o/d/tree/{commit}?recursive=true&expand=false"
            )
        );
    }

    #[test]
    fn the_token_goes_to_the_endpoints_origin_only() {
        let hub = at("https://huggingface.co");
        let mirror = at("https://mirror.example");
        let local = at("http://127.0.0.1:8000");
        for (endpoint, address, may) in [
            (&hub, "https://huggingface.co/x", true),
            (&hub, "https://huggingface.co:443/x", true),
            (&hub, "https://hf.co/x", true),
            (&hub, "https://hub-ci.huggingface.co/x", true),
            (&hub, "http://huggingface.co/x", false),
            (&hub, "https://huggingface.co:8443/x", false),
            (&hub, "https://evil.huggingface.co/x", false),
            (&hub, "https://huggingface.co.evil/x", false),
            (&hub, "https://cas-bridge.xethub.hf.co/x", false),
            (&mirror, "https://mirror.example/x", true),
            (&mirror, "https://huggingface.co/x", false),
            (&local, "http://127.0.0.1:8000/x", true),
            (&local, "http://127.0.0.1:8001/x", false),
            (&local, "http://localhost:8000/x", false),
            (&at("http://[::1]:80"), "http://[::1]/x", true),
            (&at("http://localhost:5"), "http://localhost:5/x", true),
            (
                &at("http://mirror.example"),
                "http://mirror.example/x",
                false,
            ),
            (
                &at("http://127.0.0.1.evil.example"),
                "http://127.0.0.1.evil.example/",
                false,
            ),
        ] {
            assert_eq!(endpoint.may_see_token(&url(address)), may, "{address}");
        }
    }

    #[test]
    fn trust_once_lost_does_not_come_back() {
        let hub = at("https://huggingface.co");
        let first = Hop::first(&hub, url("https://huggingface.co/a"));
        assert!(first.is_trusted);
        let same = first.follow(&hub, "/api/resolve-cache/x?y=1").unwrap();
        assert!(same.is_trusted);
        assert_eq!(
            same.url.as_str(),
            "https://huggingface.co/api/resolve-cache/x?y=1"
        );
        let away = same.follow(&hub, "https://cdn.example/x").unwrap();
        assert!(!away.is_trusted);
        let back = away.follow(&hub, "https://huggingface.co/a").unwrap();
        assert!(!back.is_trusted);
    }

    #[test]
    fn dangerous_redirects_are_refused() {
        let hub = at("https://huggingface.co");
        let first = Hop::first(&hub, url("https://huggingface.co/a?b"));
        for location in [
            "http://huggingface.co/a",
            "http://127.0.0.1/a",
            "file:///etc/passwd",
            "data:,x",
            "https://",
            "/a?b",
        ] {
            assert!(
                matches!(first.follow(&hub, location), Err(Error::Redirects { .. })),
                "{location}"
            );
        }
        let with_user = first.follow(&hub, "https://u:p@cdn.example/x").unwrap();
        assert_eq!(with_user.url.as_str(), "https://cdn.example/x");
        let mirror = at("http://mirror.example");
        let up = Hop::first(&mirror, url("http://mirror.example/a"));
        assert!(up.follow(&mirror, "https://mirror.example/a").is_ok());
    }

    #[test]
    fn pages_stay_with_the_hub() {
        let hub = at("https://huggingface.co");
        let page = url("https://huggingface.co/api/models/o/n/tree/x");
        assert_eq!(
            hub.next_page(&page, "?cursor=2").unwrap().as_str(),
            "https://huggingface.co/api/models/o/n/tree/x?cursor=2"
        );
        for link in [
            "https://evil.example/x",
            "http://huggingface.co/x",
            "https://",
        ] {
            assert!(
                matches!(hub.next_page(&page, link), Err(Error::Malformed { .. })),
                "{link}"
            );
        }
        let mirror = at("https://mirror.example/hf");
        let page = url("https://mirror.example/hf/api/x");
        assert_eq!(
            mirror
                .next_page(&page, "https://huggingface.co/api/y?cursor=2")
                .unwrap()
                .as_str(),
            "https://mirror.example/hf/api/y?cursor=2"
        );
    }

    #[test]
    fn shown_addresses_hold_no_secrets() {
        let signed = url("https://u:p@cdn.example:8443/a%20b?Signature=secret#frag");
        assert_eq!(shown(&signed), "https://cdn.example:8443/a%20b");
        assert_eq!(host(&signed), "cdn.example:8443");
    }
}
