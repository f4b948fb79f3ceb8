//! Owns the tests' server: a raw socket that answers each request as a closure says.
//!
//! Never clever: bytes in, bytes out, so that broken answers can be written down as they are.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The head of a request as it came.
#[derive(Clone, Debug)]
pub(super) struct Head {
    text: String,
}

impl Head {
    /// Path and query.
    pub(super) fn target(&self) -> &str {
        self.text.split(' ').nth(1).unwrap()
    }

    /// A header's value.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.text.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// What happens after the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// The connection is closed in order.
    Close,
    /// It is reset.
    Reset,
    /// Nothing more comes.
    Hang,
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    bytes: Vec<u8>,
    end: End,
}

impl Reply {
    /// Exactly these bytes.
    pub(super) fn raw(text: &str, end: End) -> Self {
        Self {
            bytes: text.as_bytes().to_vec(),
            end,
        }
    }

    /// A status and headers without a body.
    pub(super) fn status(status: u16, headers: &[(&str, &str)]) -> Self {
        Self::body(status, headers, b"")
    }

    /// A status, headers and a whole body with its length.
    pub(super) fn body(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let length = body.len().to_string();
        let mut all = headers.to_vec();
        all.push(("content-length", &length));
        Self::framed(status, &all, body)
    }

    /// A status, exactly these headers and a body that ends with the connection.
    pub(super) fn framed(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut text = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
        for (name, value) in headers {
            text.extend([*name, ": ", *value, "\r\n"]);
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(body);
        Self {
            bytes,
            end: End::Close,
        }
    }

    /// A JSON document.
    pub(super) fn json(text: &str) -> Self {
        Self::body(
            200,
            &[("content-type", "application/json; charset=utf-8")],
            text.as_bytes(),
        )
    }

    /// The same with another end.
    pub(super) fn ending(mut self, end: End) -> Self {
        self.end = end;
        self
    }
}

type Script = dyn Fn(&Head, usize) -> Reply + Send + Sync;

/// A server on loopback; it ends when dropped.
pub(super) struct Stage {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<Head>>>,
    _tasks: JoinSet<()>,
}

impl Stage {
    /// Answers each request by `script`, which is told how many came before.
    pub(super) async fn start(
        script: impl Fn(&Head, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::open(Some(Arc::new(script)), Reply::raw("", End::Close)).await
    }

    /// Sends `text` after the first bytes of whatever comes.
    pub(super) async fn raw(text: &str, end: End) -> Self {
        Self::open(None, Reply::raw(text, end)).await
    }

    async fn open(script: Option<Arc<Script>>, fixed: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (script, fixed) = (script.clone(), fixed.clone());
                let heads = Arc::clone(&kept);
                connections.spawn(async move {
                    let Some(script) = script else {
                        let _ = stream.read(&mut [0; 4096]).await;
                        return play(stream, fixed).await;
                    };
                    let Some(head) = read_head(&mut stream).await else {
                        return;
                    };
                    let nth = {
                        let mut heads = heads.lock().unwrap();
                        heads.push(head.clone());
                        heads.len() - 1
                    };
                    play(stream, script(&head, nth)).await;
                });
            }
        });
        Self {
            address,
            heads,
            _tasks: tasks,
        }
    }

    /// The address of `path` here.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests so far.
    pub(super) fn heads(&self) -> Vec<Head> {
        self.heads.lock().unwrap().clone()
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<Head> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    Some(Head {
        text: String::from_utf8(bytes).unwrap(),
    })
}

async fn play(mut stream: TcpStream, reply: Reply) {
    // The client may have gone already; that is its right.
    let _ = stream.write_all(&reply.bytes).await;
    let _ = stream.flush().await;
    match reply.end {
        End::Close => {
            let _ = stream.shutdown().await;
            // Unread input would turn the close into a reset.
            let _ = stream.read(&mut [0; 4096]).await;
        }
        End::Reset => stream.set_zero_linger().unwrap(),
        End::Hang => std::future::pending().await,
    }
}
