//! In-process targets that record who came and what was asked.

mod http;
mod raw;
mod websocket;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::{Digest, Head, Leaf, Listening};

/// How many requests are remembered: enough for every test, bounded for benches.
const REMEMBERED: usize = 65_536;

/// What an [`Origin`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OriginKind {
    /// An HTTP/1.1 server with keep-alive:
    ///
    /// | path | answers |
    /// |---|---|
    /// | `/ip` | the address the request came from |
    /// | `/head` | the request head, as it came |
    /// | `/echo` | the request body (at most 16 MiB), the method in `X-Method` |
    /// | `/bytes/N` | the first N bytes of [`Pattern`](crate::Pattern) 1 with `Content-Length` |
    /// | `/sink` | the [`Digest`] of the request body, as text |
    /// | `/chunked` | three chunks with an extension, and the trailer `X-Trailer: yes` |
    /// | `/until-close` | a body that ends with the connection |
    /// | `/status/N` | the status N, without a body where it may have none |
    /// | `/slow/MS` | `slow`, MS milliseconds later |
    /// | `/early` | 103 with a `Link`, then 200 |
    /// | `/hang` | nothing |
    /// | `/cut` | fewer bytes than announced, then closes |
    /// | `/reset` | nothing, closes |
    /// | `/ws` | a WebSocket that echoes messages (RFC 6455) |
    /// | else | `200`, `hello` |
    Http,
    /// Sends back every byte, and half-closes when the client did.
    Echo,
    /// Sends these bytes before it was sent one, then echoes.
    SpeaksFirst(Vec<u8>),
    /// Reads the first N bytes of any pattern while it sends N bytes of pattern 2, both at once; then sends the
    /// digest of what it read, as a line of text, and closes.
    Exchange(u64),
    /// Accepts and never says a word.
    Silent,
}

/// A target in this process. Dropping it ends its listener and every connection.
pub struct Origin {
    listening: Listening,
    shared: Arc<Shared>,
    tls: bool,
}

struct Shared {
    kind: OriginKind,
    heads: Mutex<Vec<Head>>,
    digests: Mutex<Vec<Digest>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Client = BufReader<Box<dyn Stream>>;

impl Origin {
    /// Starts one on a free port of 127.0.0.1.
    pub async fn start(kind: OriginKind) -> Self {
        Self::start_at("127.0.0.1", kind).await
    }

    /// Starts one on a free port of this address.
    pub async fn start_at(ip: &str, kind: OriginKind) -> Self {
        Self::listen(ip.parse().expect("an IP address"), kind, None).await
    }

    /// Starts one on a free port of 127.0.0.1 that speaks TLS with this certificate.
    pub async fn start_tls(kind: OriginKind, leaf: &Leaf) -> Self {
        Self::listen(IpAddr::from([127, 0, 0, 1]), kind, Some(leaf)).await
    }

    async fn listen(ip: IpAddr, kind: OriginKind, leaf: Option<&Leaf>) -> Self {
        let shared = Arc::new(Shared {
            kind,
            heads: Mutex::new(Vec::new()),
            digests: Mutex::new(Vec::new()),
        });
        let acceptor = leaf.map(|leaf| TlsAcceptor::from(leaf.server()));
        let serving = Arc::clone(&shared);
        let listening = Listening::start(ip, move |stream, peer| {
            let (shared, acceptor) = (Arc::clone(&serving), acceptor.clone());
            async move {
                // Errors of a connection are the client's business; what was seen is in the records.
                let _ = serve(stream, peer, shared, acceptor).await;
            }
        })
        .await;
        Self {
            listening,
            shared,
            tls: leaf.is_some(),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listening.address()
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address().port()
    }

    /// The URL of this path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!(
            "{}://{}{path}",
            if self.tls { "https" } else { "http" },
            self.address()
        )
    }

    /// How many connections it ever accepted: zero is what a no-leak test wants to see.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.listening.accepted()
    }

    /// How many connections are open now.
    #[must_use]
    pub fn active(&self) -> usize {
        self.listening.active()
    }

    /// Who connected, in order.
    #[must_use]
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.listening.peers()
    }

    /// When who connected, in order.
    #[must_use]
    pub fn arrivals(&self) -> Vec<(Instant, SocketAddr)> {
        self.listening.arrivals()
    }

    /// Every HTTP request head it was sent, in order.
    #[must_use]
    pub fn heads(&self) -> Vec<Head> {
        self.shared.heads.lock().clone()
    }

    /// What `/sink` and [`OriginKind::Exchange`] were sent, in order.
    #[must_use]
    pub fn digests(&self) -> Vec<Digest> {
        self.shared.digests.lock().clone()
    }

    /// Stops listening: connections are refused from now on, open ones live on.
    pub fn refuse(&self) {
        self.listening.refuse();
    }

    /// Cuts every connection and refuses new ones.
    pub fn kill(&self) {
        self.listening.kill();
    }

    /// Listens again on the same port.
    pub fn revive(&self) {
        self.listening.revive();
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("listening", &self.listening)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn saw(&self, head: &Head) {
        let mut heads = self.heads.lock();
        if heads.len() < REMEMBERED {
            heads.push(head.clone());
        }
    }

    fn read(&self, digest: Digest) {
        let mut digests = self.digests.lock();
        if digests.len() < REMEMBERED {
            digests.push(digest);
        }
    }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<TlsAcceptor>,
) -> io::Result<()> {
    let stream: Box<dyn Stream> = match acceptor {
        Some(acceptor) => Box::new(acceptor.accept(stream).await?),
        None => Box::new(stream),
    };
    let client = BufReader::new(stream);
    match &shared.kind {
        OriginKind::Http => http::serve(client, peer, &shared).await,
        OriginKind::Echo => raw::echo(client, &[]).await,
        OriginKind::SpeaksFirst(bytes) => raw::echo(client, bytes).await,
        OriginKind::Exchange(length) => {
            let digest = raw::exchange(client, *length).await?;
            shared.read(digest);
            Ok(())
        }
        OriginKind::Silent => raw::silent(client).await,
    }
}
