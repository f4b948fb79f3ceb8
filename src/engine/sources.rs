//! Owns where bytes can come from. Today the Hub; mirrors, LAN peers and buckets are further
//! variants that answer the same question.
//!
//! Never writes to disk and never decides what is fetched.

use bytes::Bytes;

use crate::domain::Want;
use crate::hub;

/// Something that yields the bytes of a [`Want`] from an offset on.
#[derive(Clone)]
pub(super) enum Source {
    /// A server that speaks the Hub's protocol.
    Hub {
        /// The client.
        client: hub::Client,
        /// The host it asks, for people.
        host: String,
    },
}

/// Where a source keeps the bytes of a file, found out with the first range.
#[derive(Clone, Debug)]
pub(super) enum Link {
    /// At a server that speaks the Hub's protocol, or where it leads to.
    Hub(hub::Link),
}

/// An open body.
pub(super) enum Body {
    /// From a server that speaks the Hub's protocol.
    Hub(hub::Body),
}

impl Source {
    /// The name shown while connecting: a host.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Hub { host, .. } => host,
        }
    }

    /// Waits while the source has asked everybody to stay away (rate limits).
    pub(super) async fn ready(&self) {
        match self {
            Self::Hub { client, .. } => client.rate_gate(hub::Bucket::Resolvers).await,
        }
    }

    /// Whether the source has asked everybody to stay away for now.
    pub(super) fn is_paused(&self) -> bool {
        match self {
            Self::Hub { client, .. } => client.is_paused(hub::Bucket::Resolvers),
        }
    }

    /// Asks for a range of `want`; a link saves asking where it is.
    pub(super) async fn range(
        &self,
        want: &Want,
        range: std::ops::Range<u64>,
        link: Option<&Link>,
    ) -> Result<(Body, Link), hub::Error> {
        match self {
            Self::Hub { client, .. } => {
                let link = link.map(|Link::Hub(link)| link);
                let (body, link) = client.range(want, range, link).await?;
                Ok((Body::Hub(body), Link::Hub(link)))
            }
        }
    }

    /// Asks for the bytes of `want` from `from` on. The answer may start earlier; see
    /// [`Body::first_byte`].
    pub(super) async fn open(&self, want: &Want, from: u64) -> Result<Body, hub::Error> {
        match self {
            Self::Hub { client, .. } => client.body(want, from).await.map(Body::Hub),
        }
    }
}

impl Body {
    /// Whether the source does not do ranges and sends the whole file.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Hub(body) => body.is_whole(),
        }
    }

    /// Whether every promised byte was given out.
    pub(super) fn is_at_end(&self) -> bool {
        match self {
            Self::Hub(body) => body.is_at_end(),
        }
    }

    /// The host that sends.
    pub(super) fn source(&self) -> &str {
        match self {
            Self::Hub(body) => body.source(),
        }
    }

    /// The offset of the first byte that will come.
    pub(super) fn first_byte(&self) -> u64 {
        match self {
            Self::Hub(body) => body.from_bytes(),
        }
    }

    /// Whether the bytes were compressed on the way, so that offsets mean nothing to the server.
    pub(super) fn is_encoded(&self) -> bool {
        match self {
            Self::Hub(body) => body.is_encoded(),
        }
    }

    /// The next bytes; `None` when all have come.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, hub::Error> {
        match self {
            Self::Hub(body) => body.chunk().await,
        }
    }
}
