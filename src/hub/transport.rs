//! Owns telling apart why a connection failed, by walking the chain of causes.
//!
//! Never keeps an address: the library's errors hold it with its query, so it is taken out.

use std::error::Error as StdError;
use std::io;

use reqwest::Url;

use super::address;
use super::error::{Error, TransportKind};

impl Error {
    /// The library's failure at `url`.
    pub(super) fn transport(url: &Url, source: reqwest::Error) -> Self {
        let source = source.without_url();
        Self::Transport {
            kind: kind(&source),
            url: address::shown(url),
            source,
        }
    }
}

fn kind(error: &reqwest::Error) -> TransportKind {
    if causes(error).any(is_of_proxy) {
        TransportKind::Proxy
    } else if error.is_dns() || causes(error).any(|cause| cause.to_string() == "dns error") {
        TransportKind::Dns
    } else if error.is_timeout() {
        TransportKind::Timeout
    } else if !error.is_connect() {
        TransportKind::Reset
    } else if causes(error).any(|cause| is_io(cause, &[io::ErrorKind::InvalidData])) {
        // What rustls reports while connecting: no TLS, no trust, no common version.
        TransportKind::Tls
    } else if causes(error).any(|cause| {
        let broken = [
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::BrokenPipe,
            io::ErrorKind::UnexpectedEof,
        ];
        is_io(cause, &broken)
    }) {
        TransportKind::Reset
    } else {
        TransportKind::Connect
    }
}

/// Whether the other side closed properly but too early.
pub(super) fn is_early_end(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| is_io(cause, &[io::ErrorKind::UnexpectedEof]))
        || causes(error).any(|cause| cause.to_string().contains("end of file before message"))
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |&cause| {
        // An `io::Error` names as its source that of the error in it and so skips that error.
        match cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => cause.source(),
        }
    })
}

fn is_io(cause: &(dyn StdError + 'static), kinds: &[io::ErrorKind]) -> bool {
    cause
        .downcast_ref::<io::Error>()
        .is_some_and(|error| kinds.contains(&error.kind()))
}

/// The library's proxy errors are not public types; their words are tested below on real ones.
fn is_of_proxy(cause: &(dyn StdError + 'static)) -> bool {
    let words = cause.to_string();
    words.starts_with("tunnel error") || words.to_ascii_lowercase().contains("socks")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::stage::{End, Reply, Stage};
    use super::*;

    async fn failed(client: reqwest::Client, url: &str) -> TransportKind {
        let source = client.get(url).send().await.unwrap_err();
        let error = Error::transport(&Url::parse(url).unwrap(), source);
        let told = format!("{error} {error:?}");
        assert!(!told.contains("secret"), "{told}");
        match error {
            Error::Transport { kind, .. } => kind,
            other => panic!("{other:?}"),
        }
    }

    fn direct() -> reqwest::ClientBuilder {
        reqwest::Client::builder().no_proxy()
    }

    /// A port of this machine where nobody listens.
    async fn closed_port() -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    }

    #[tokio::test]
    async fn a_refused_port_is_connect() {
        let url = format!("http://127.0.0.1:{}/x?sig=secret", closed_port().await);
        assert_eq!(
            failed(direct().build().unwrap(), &url).await,
            TransportKind::Connect
        );
    }

    #[tokio::test]
    async fn a_name_without_address_is_dns() {
        let client = direct().build().unwrap();
        let kind = failed(client, "http://no-such-host.invalid/x?sig=secret").await;
        assert_eq!(kind, TransportKind::Dns);
    }

    #[tokio::test]
    async fn silence_is_timeout() {
        let stage = Stage::start(|_, _| Reply::raw("", End::Hang)).await;
        let client = direct()
            .read_timeout(Duration::from_millis(50))
            .build()
            .unwrap();
        assert_eq!(
            failed(client, &stage.url("/x?sig=secret")).await,
            TransportKind::Timeout
        );
    }

    #[tokio::test]
    async fn a_reset_socket_is_reset() {
        let stage = Stage::start(|_, _| Reply::raw("", End::Reset)).await;
        let client = direct().build().unwrap();
        assert_eq!(
            failed(client, &stage.url("/x?sig=secret")).await,
            TransportKind::Reset
        );
        let stage = Stage::start(|_, _| Reply::raw("HTTP/1.1 200", End::Close)).await;
        let client = direct().build().unwrap();
        assert_eq!(
            failed(client, &stage.url("/x?sig=secret")).await,
            TransportKind::Reset
        );
    }

    #[tokio::test]
    async fn a_server_without_tls_is_tls() {
        let stage = Stage::raw("HTTP/1.1 400 Bad Request\r\n\r\n", End::Close).await;
        let url = stage.url("/x?sig=secret").replace("http://", "https://");
        assert_eq!(
            failed(direct().build().unwrap(), &url).await,
            TransportKind::Tls
        );
    }

    #[tokio::test]
    async fn a_connection_cut_in_the_handshake_is_reset() {
        let stage = Stage::raw("", End::Reset).await;
        let url = stage.url("/x?sig=secret").replace("http://", "https://");
        assert_eq!(
            failed(direct().build().unwrap(), &url).await,
            TransportKind::Reset
        );
    }

    #[tokio::test]
    async fn a_dead_or_refusing_proxy_is_proxy() {
        let refusing = Stage::start(|_, _| Reply::status(407, &[])).await;
        let closed = closed_port().await;
        for proxy in [
            format!("http://127.0.0.1:{closed}"),
            format!("socks5://127.0.0.1:{closed}"),
            refusing.url(""),
        ] {
            let proxy = reqwest::Proxy::all(&proxy).unwrap();
            let client = reqwest::Client::builder().proxy(proxy).build().unwrap();
            let kind = failed(client, "https://192.0.2.1/x?sig=secret").await;
            assert_eq!(kind, TransportKind::Proxy);
        }
    }
}
