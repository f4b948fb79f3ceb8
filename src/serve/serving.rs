//! Owns a running server: two loopback listeners (the Hub and the origin its links lead to), the
//! record of what was asked, and the handles to change what is served and what goes wrong.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::{ACCEPT_ENCODING, AUTHORIZATION, RANGE, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, Request, Response};
use futures::StreamExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::catalogue::Catalogue;
use super::fault::{Fault, Script};
use super::socket::{Doors, Switch};
use super::{router, tamper};

/// Which of the two servers was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The Hub itself.
    Hub,
    /// The storage that its signed links lead to: another origin, which must never see a token.
    Cdn,
}

/// A request as it arrived, and what came of it.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// Who was asked.
    pub origin: Origin,
    /// The method.
    pub method: String,
    /// The path as sent, still encoded.
    pub path: String,
    /// The query as sent.
    pub query: Option<String>,
    /// The `Range` header.
    pub range: Option<String>,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// The `Accept-Encoding` header.
    pub accept_encoding: Option<String>,
    /// The answer's status.
    pub status: u16,
    /// Bytes of the answer's body that were handed to the connection so far.
    pub body_bytes_sent: u64,
}

/// What the servers share with their handle.
pub(super) struct Shared {
    catalogue: RwLock<Catalogue>,
    script: Script,
    records: Mutex<Vec<(RequestRecord, Arc<AtomicU64>)>>,
    hub: SocketAddr,
    cdn: SocketAddr,
}

impl Shared {
    pub(super) fn catalogue(&self) -> RwLockReadGuard<'_, Catalogue> {
        self.catalogue
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.hub)
    }

    pub(super) fn cdn(&self) -> String {
        format!("http://{}", self.cdn)
    }

    fn records(&self) -> MutexGuard<'_, Vec<(RequestRecord, Arc<AtomicU64>)>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running server. Dropping it ends it.
pub struct Serving {
    shared: Arc<Shared>,
    /// The accept loops; they end with the handle.
    _tasks: JoinSet<()>,
}

impl Serving {
    /// Serves `catalogue` on two loopback ports that were free.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn start(catalogue: Catalogue, faults: Vec<Fault>) -> io::Result<Self> {
        let hub = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let cdn = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let shared = Arc::new(Shared {
            catalogue: RwLock::new(catalogue),
            script: Script::new(faults),
            records: Mutex::default(),
            hub: hub.local_addr()?,
            cdn: cdn.local_addr()?,
        });
        let mut tasks = JoinSet::new();
        for (listener, origin) in [(hub, Origin::Hub), (cdn, Origin::Cdn)] {
            let app = routes(Arc::clone(&shared), origin);
            tasks.spawn(async move {
                let service = app.into_make_service_with_connect_info::<Switch>();
                if let Err(error) = axum::serve(Doors(listener), service).await {
                    tracing::error!(%error, "the server ended");
                }
            });
        }
        Ok(Self {
            shared,
            _tasks: tasks,
        })
    }

    /// The Hub's address, for `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        self.shared.endpoint()
    }

    /// The other origin's address.
    pub fn cdn(&self) -> String {
        self.shared.cdn()
    }

    /// Every request since the last clearing, in order of arrival.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.shared
            .records()
            .iter()
            .map(|(record, sent)| RequestRecord {
                body_bytes_sent: sent.load(Ordering::Relaxed),
                ..record.clone()
            })
            .collect()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.shared.records().clear();
    }

    /// Replaces the faults in force.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.shared.script.replace(faults);
    }

    /// Changes what is served.
    pub fn edit(&self, change: impl FnOnce(&mut Catalogue)) {
        change(
            &mut self
                .shared
                .catalogue
                .write()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

fn routes(shared: Arc<Shared>, origin: Origin) -> Router {
    Router::new().fallback(
        move |ConnectInfo(switch): ConnectInfo<Switch>, request: Request<Body>| {
            let shared = Arc::clone(&shared);
            async move { answer(&shared, origin, &switch, request).await }
        },
    )
}

/// Answers honestly, lets the fault in force have its effect, and counts what is sent.
async fn answer(
    shared: &Shared,
    origin: Origin,
    switch: &Switch,
    mut request: Request<Body>,
) -> Response<Body> {
    let (at, sent) = record(shared, origin, &request);
    let path = request.uri().path().to_owned();
    let effects = shared
        .script
        .effects_on(origin, request.method().as_str(), &path);
    if effects.iter().any(tamper::ignores_range) {
        request.headers_mut().remove(RANGE);
    }
    let honest = match origin {
        Origin::Hub => router::hub(shared, request).await,
        Origin::Cdn => router::cdn(shared, &request),
    };
    let mut response = honest;
    for effect in effects {
        response = tamper::tamper(effect, response, switch, &path).await;
    }
    if let Some((record, _)) = shared.records().get_mut(at) {
        record.status = response.status().as_u16();
    }
    response.map(|body| {
        Body::from_stream(body.into_data_stream().inspect(move |chunk| {
            if let Ok(chunk) = chunk {
                sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
        }))
    })
}

fn record(shared: &Shared, origin: Origin, request: &Request<Body>) -> (usize, Arc<AtomicU64>) {
    let header = |name: HeaderName| text_of(request.headers(), &name);
    let record = RequestRecord {
        origin,
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().map(str::to_owned),
        range: header(RANGE),
        authorization: header(AUTHORIZATION),
        user_agent: header(USER_AGENT),
        accept_encoding: header(ACCEPT_ENCODING),
        status: 0,
        body_bytes_sent: 0,
    };
    let sent = Arc::new(AtomicU64::new(0));
    let mut records = shared.records();
    records.push((record, Arc::clone(&sent)));
    (records.len() - 1, sent)
}

fn text_of(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers
        .get(name)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}
