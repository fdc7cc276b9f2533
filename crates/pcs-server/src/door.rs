//! What happens to a connection between its first byte and its tunnel.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pcs_models::{Blame, FailureKind, Retry};
use pcs_tunnel::{ConnectRequest, Connected, DialError, TunnelRegistry};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, Wire};
use crate::buffer::Input;
use crate::limits::Place;
use crate::tunnel::Standing;
use crate::worker::Guest;
use crate::{Protocols, Shared};
use crate::{http, socks};

/// What the connections of one worker share.
pub(crate) struct Door {
    pub(crate) shared: Arc<Shared>,
    pub(crate) registry: Arc<TunnelRegistry>,
    /// Kept connections end as soon as they are idle.
    pub(crate) draining: CancellationToken,
    /// Everything ends now.
    pub(crate) closing: CancellationToken,
}

/// A client and the bytes it has sent ahead.
pub(crate) struct Visitor<'d> {
    pub(crate) door: &'d Door,
    pub(crate) client: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) input: Input,
}

/// How long a client may take for a head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadPatience {
    /// The accept, or the first byte of a later head.
    pub(crate) since: Instant,
    pub(crate) deadline: Instant,
}

impl HeadPatience {
    pub(crate) fn starting(since: Instant, budget: Duration) -> Self {
        Self {
            since,
            deadline: since + budget,
        }
    }
}

/// Serves one client. The future that speaks with it is boxed and freed before the relay begins: an idle tunnel
/// holds its relay, its account and little else.
pub(crate) fn attend(
    door: Arc<Door>,
    client: TcpStream,
    peer: SocketAddr,
    guest: Guest,
) -> impl Future<Output = ()> {
    let speaking = Box::pin(async move {
        let mut visitor = Visitor {
            door: &door,
            client,
            peer,
            input: Input::default(),
        };
        // Not `run_until_cancelled`, which holds what it runs twice.
        let standing = tokio::select! {
            biased;
            () = door.closing.cancelled() => None,
            standing = greet(&mut visitor) => standing,
        }?;
        Some(standing.start(visitor.client, &door.registry))
    });
    async move {
        if let Some(carried) = speaking.await {
            carried.run().await;
        }
        drop(guest);
    }
}

/// Tells the protocols apart by the first byte.
async fn greet(visitor: &mut Visitor<'_>) -> Option<Standing> {
    let live = visitor.door.shared.live();
    let patience = HeadPatience::starting(Instant::now(), live.settings.budget);
    let protocols = live.settings.protocols;
    match timeout_at(patience.deadline, visitor.input.fill(&mut visitor.client)).await {
        Ok(Ok(0) | Err(_)) => return None,
        Ok(Ok(_)) => {}
        Err(_) if protocols.http => {
            Box::pin(http::too_slow(visitor, patience)).await;
            return None;
        }
        Err(_) => return None,
    }
    match visitor.input.unread().first() {
        Some(&SOCKS5) if protocols.socks5 => Box::pin(socks::serve(visitor, patience.deadline)).await,
        // Method names are tokens, an empty line may come before them (RFC 9112 §2.2), and to text of any other kind
        // an answer will be understood.
        Some(b' '..=b'~' | b'\r' | b'\n') if protocols.http => http::serve(visitor, patience).await,
        first => {
            let hint = hint(first.copied().unwrap_or_default(), protocols);
            visitor.door.shared.access.not_understood(visitor.peer, &hint);
            None
        }
    }
}

/// What a person should do about a client that begins with this byte, on a port that takes these protocols.
fn hint(first: u8, protocols: Protocols) -> String {
    let takes = match (protocols.http, protocols.socks5) {
        (true, true) => "this port takes HTTP proxy requests and SOCKS5",
        (true, false) => "this port takes HTTP proxy requests alone (server.protocols: [http])",
        (false, true) => "this port takes SOCKS5 alone (server.protocols: [socks5])",
        (false, false) => "this port takes nothing (server.protocols: [])",
    };
    let speaks = match first {
        TLS_HANDSHAKE if protocols.http => {
            "the client speaks TLS to the proxy itself: write http:// in its proxy URL, not https://"
        }
        TLS_HANDSHAKE => "the client speaks TLS to the proxy itself",
        4 => "the client speaks SOCKS4",
        SOCKS5 => "the client speaks SOCKS5, which is switched off",
        b' '..=b'~' | b'\r' | b'\n' => "the client speaks HTTP, which is switched off",
        _ => "the client speaks neither HTTP nor SOCKS5",
    };
    format!("{speaks}; {takes}")
}

/// Asks for a stream. The connector keeps the deadline itself and knows best what took so long; should it not,
/// the client is not left hanging.
pub(crate) async fn dial(door: &Door, request: &mut ConnectRequest) -> Result<Connected, DialError> {
    let until = request.deadline + DIAL_GRACE;
    match timeout_at(until, door.shared.connector.connect(request)).await {
        Ok(dialled) => dialled,
        Err(_) => {
            let message = "the chain was not built in time";
            Err(DialError::new(
                FailureKind::Timeout,
                Blame::Local,
                Retry::Never,
                message,
            ))
        }
    }
}

/// Tells a client that there are too many, in its own language.
pub(crate) async fn refuse(door: Arc<Door>, mut client: TcpStream, place: Place) {
    let told = async {
        let mut input = Input::default();
        let protocols = door.shared.live().settings.protocols;
        if input.fill(&mut client).await? == 0 {
            return Ok(());
        }
        if input.unread().first() == Some(&SOCKS5) && protocols.socks5 {
            client.write_all(&socks::NO_METHOD).await?;
        } else if protocols.http {
            let mut out = Vec::new();
            Answer::too_many_connections().write(&mut out, door.shared.ids.next(), None, Wire::CLOSE);
            client.write_all(&out).await?;
        }
        linger(&mut client).await
    };
    let _ = door
        .closing
        .run_until_cancelled(timeout(REFUSAL_TIME, told))
        .await;
    drop(place);
}

/// Ends a connection so that the client gets to read the last answer: what it still sends is read for a moment,
/// for closing over unread bytes would reset the connection and take the answer with it.
pub(crate) async fn linger(client: &mut TcpStream) -> io::Result<()> {
    client.shutdown().await?;
    let mut input = Input::default();
    let mut seen = 0;
    let reading = async {
        while seen < LINGER_BYTES {
            match input.fill(client).await {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    seen += count;
                    input.consume(count);
                }
            }
        }
    };
    let _ = timeout(LINGER_TIME, reading).await;
    Ok(())
}

const DIAL_GRACE: Duration = Duration::from_millis(500);
const SOCKS5: u8 = 5;
const TLS_HANDSHAKE: u8 = 0x16;
const REFUSAL_TIME: Duration = Duration::from_secs(2);
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::mem::size_of_val;

    use pcs_tunnel::{BoxFuture, Connect};

    use super::*;
    use crate::{NoAccess, Settings};

    struct Nowhere;

    impl Connect for Nowhere {
        fn connect<'a>(&'a self, _: &'a mut ConnectRequest) -> BoxFuture<'a, Result<Connected, DialError>> {
            Box::pin(std::future::pending())
        }
    }

    #[test]
    fn a_hint_names_what_is_off_and_what_is_taken() {
        let (both, http, socks5) = ([true, true], [true, false], [false, true]);
        for (first, [http, socks5], expected) in [
            (0x16, both, "speaks TLS to the proxy itself: write http://"),
            (
                0x16,
                socks5,
                "speaks TLS to the proxy itself; this port takes SOCKS5 alone",
            ),
            (
                4,
                both,
                "speaks SOCKS4; this port takes HTTP proxy requests and SOCKS5",
            ),
            (
                4,
                http,
                "speaks SOCKS4; this port takes HTTP proxy requests alone (server.protocols: [http])",
            ),
            (
                5,
                http,
                "SOCKS5, which is switched off; this port takes HTTP proxy requests alone (server.protocols",
            ),
            (
                b'G',
                socks5,
                "HTTP, which is switched off; this port takes SOCKS5 alone (server.protocols: [socks5])",
            ),
            (b'\r', socks5, "HTTP, which is switched off"),
            (b'g', socks5, "HTTP, which is switched off"),
            (
                0xff,
                http,
                "neither HTTP nor SOCKS5; this port takes HTTP proxy requests alone",
            ),
        ] {
            let hint = hint(first, Protocols { http, socks5 });
            assert!(hint.contains(expected), "{first}: {hint}");
        }
    }

    #[tokio::test]
    async fn an_idle_tunnel_is_a_small_future() {
        let shared = Shared::new(Settings::default(), Arc::new(Nowhere), Arc::new(NoAccess));
        let door = Arc::new(Door {
            registry: shared.registry(),
            draining: CancellationToken::new(),
            closing: CancellationToken::new(),
            shared: Arc::clone(&shared),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _near = std::net::TcpStream::connect(address).unwrap();
        let (client, peer) = listener.accept().await.unwrap();
        let guest = Guest::new(Arc::clone(&shared), shared.connections.enter(1).unwrap());
        let size = size_of_val(&attend(door, client, peer, guest));
        assert!(size <= 128, "{size} bytes");
    }
}
