//! An in-process proxy that works, or goes wrong as told.

mod http;
mod socks;
mod tunnel;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use parking_lot::Mutex;
use pcs_models::{Credentials, Endpoint, Hop, Protocol, ProxyId, Secret, Target};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::ntlm::Account;
use crate::{Behaviour, Head, Leaf, Listening, NtlmLogin};

/// How many requests are remembered: enough for every test, bounded for benches.
const REMEMBERED: usize = 65_536;

/// A proxy in this process. Dropping it ends its listener and every connection.
pub struct Proxy {
    listening: Listening,
    shared: Arc<Shared>,
}

/// What a [`Proxy`] is to be.
#[derive(Debug, Clone)]
pub struct ProxyBuilder {
    protocol: Protocol,
    tls: Option<Leaf>,
    listen: IpAddr,
    exit: Option<IpAddr>,
    basic: Option<(String, String)>,
    ntlm: Option<Account>,
    challenges: Option<Vec<String>>,
    names: Vec<(String, IpAddr)>,
    behaviour: Behaviour,
}

/// A client's side, with what was read ahead.
type Client = BufReader<Box<dyn Stream>>;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

struct Shared {
    config: ProxyBuilder,
    behaviour: Mutex<Behaviour>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    heads: Vec<Head>,
    targets: Vec<String>,
    logins: Vec<NtlmLogin>,
}

impl Proxy {
    /// An HTTP proxy: CONNECT and absolute-form requests.
    #[must_use]
    pub fn http() -> ProxyBuilder {
        ProxyBuilder::new(Protocol::Http)
    }

    /// An HTTP proxy spoken to over TLS, with this certificate.
    #[must_use]
    pub fn https(leaf: &Leaf) -> ProxyBuilder {
        ProxyBuilder {
            tls: Some(leaf.clone()),
            ..ProxyBuilder::new(Protocol::Https)
        }
    }

    /// A SOCKS4 and SOCKS4a proxy.
    #[must_use]
    pub fn socks4() -> ProxyBuilder {
        ProxyBuilder::new(Protocol::Socks4)
    }

    /// A SOCKS5 proxy.
    #[must_use]
    pub fn socks5() -> ProxyBuilder {
        ProxyBuilder::new(Protocol::Socks5)
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

    /// Its URL with the credentials it asks for.
    #[must_use]
    pub fn url(&self) -> String {
        let config = &self.shared.config;
        let login = config
            .basic
            .as_ref()
            .map(|(user, password)| format!("{user}:{password}@"));
        format!(
            "{}://{}{}",
            config.protocol,
            login.unwrap_or_default(),
            self.address()
        )
    }

    /// What to dial it with: its address and the credentials it asks for, named `name`.
    #[must_use]
    pub fn hop(&self, name: &str) -> Hop {
        let config = &self.shared.config;
        let endpoint: Endpoint = self
            .address()
            .to_string()
            .parse()
            .expect("a socket address is an endpoint");
        let id: ProxyId = name.parse().expect("names of tests are proxy ids");
        let mut hop = Hop::new(config.protocol, endpoint).named((&id).into());
        let login = config.basic.clone().or_else(|| {
            let account = config.ntlm.clone()?;
            hop.domain = Some(account.domain.into());
            Some((account.user, account.password))
        });
        if let Some((user, password)) = login {
            let credentials = Credentials::try_new(&user, Secret::new(password));
            hop = hop.with_credentials(credentials.expect("credentials of tests are well-formed"));
        }
        hop
    }

    /// Goes wrong (or right again) this way from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        if behaviour == Behaviour::Refuse {
            self.listening.refuse();
        } else {
            self.listening.revive();
        }
        *self.shared.behaviour.lock() = behaviour;
    }

    /// Cuts every connection and refuses new ones, as a killed process would; [`Proxy::behave`] brings it back.
    pub fn kill(&self) {
        self.listening.kill();
    }

    /// How many connections it ever accepted.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.listening.accepted()
    }

    /// How many connections are open now.
    #[must_use]
    pub fn active(&self) -> usize {
        self.listening.active()
    }

    /// The `host:port` of every authorised request, in order, as the client wrote it.
    #[must_use]
    pub fn targets(&self) -> Vec<String> {
        self.shared.seen.lock().targets.clone()
    }

    /// Every HTTP request head it was sent, authorised or not, in order.
    #[must_use]
    pub fn heads(&self) -> Vec<Head> {
        self.shared.seen.lock().heads.clone()
    }

    /// Every successful NTLM login, in order.
    #[must_use]
    pub fn logins(&self) -> Vec<NtlmLogin> {
        self.shared.seen.lock().logins.clone()
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("protocol", &self.shared.config.protocol)
            .field("listening", &self.listening)
            .finish_non_exhaustive()
    }
}

impl ProxyBuilder {
    fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            tls: None,
            listen: IpAddr::from([127, 0, 0, 1]),
            exit: None,
            basic: None,
            ntlm: None,
            challenges: None,
            names: Vec::new(),
            behaviour: Behaviour::Good,
        }
    }

    /// Listens on this address in place of 127.0.0.1.
    #[must_use]
    pub fn listen(mut self, ip: &str) -> Self {
        self.listen = ip.parse().expect("an IP address");
        self
    }

    /// Leaves from this address, so that a target can tell it from others.
    #[must_use]
    pub fn exit(mut self, ip: &str) -> Self {
        self.exit = Some(ip.parse().expect("an IP address"));
        self
    }

    /// Asks for these credentials: Basic, SOCKS5 user and password, or the SOCKS4 user id.
    #[must_use]
    pub fn basic(mut self, user: &str, password: &str) -> Self {
        self.basic = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Asks for NTLMv2 (HTTP proxies only): NTProofStr and MIC are recomputed. With [`ProxyBuilder::basic`] as
    /// well, either will do.
    #[must_use]
    pub fn ntlm(mut self, domain: &str, user: &str, password: &str) -> Self {
        self.ntlm = Some(Account {
            domain: domain.to_owned(),
            user: user.to_owned(),
            password: password.to_owned(),
        });
        self
    }

    /// Sends these `Proxy-Authenticate` values with a 407 in place of those that follow from the credentials.
    #[must_use]
    pub fn challenges(mut self, challenges: &[&str]) -> Self {
        self.challenges = Some(challenges.iter().map(|value| (*value).to_owned()).collect());
        self
    }

    /// Knows this name: for targets that nobody else can resolve.
    #[must_use]
    pub fn resolve(mut self, name: &str, ip: &str) -> Self {
        self.names
            .push((name.to_owned(), ip.parse().expect("an IP address")));
        self
    }

    /// Starts out misbehaving.
    #[must_use]
    pub fn behaviour(mut self, behaviour: Behaviour) -> Self {
        self.behaviour = behaviour;
        self
    }

    /// Starts it on a free port.
    pub async fn start(self) -> Proxy {
        let listen = self.listen;
        let behaviour = self.behaviour.clone();
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(behaviour.clone()),
            config: self,
            seen: Mutex::new(Seen::default()),
        });
        let serving = Arc::clone(&shared);
        let listening =
            Listening::start(listen, move |stream, _peer| serve(stream, Arc::clone(&serving))).await;
        let proxy = Proxy { listening, shared };
        proxy.behave(behaviour);
        proxy
    }
}

impl Shared {
    fn behaviour(&self) -> Behaviour {
        self.behaviour.lock().clone()
    }

    fn saw(&self, head: &Head) {
        let mut seen = self.seen.lock();
        if seen.heads.len() < REMEMBERED {
            seen.heads.push(head.clone());
        }
    }

    fn asked_for(&self, target: &str) {
        let mut seen = self.seen.lock();
        if seen.targets.len() < REMEMBERED {
            seen.targets.push(target.to_owned());
        }
    }

    fn logged_in(&self, login: NtlmLogin) {
        let mut seen = self.seen.lock();
        if seen.logins.len() < REMEMBERED {
            seen.logins.push(login);
        }
    }

    /// Dials `host:port`, from the exit address if there is one.
    async fn dial(&self, target: &str) -> io::Result<TcpStream> {
        let target: Target = target.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
        let host = target.host.to_string();
        let host = host.trim_matches(['[', ']']);
        let known = self
            .config
            .names
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(host));
        let address = match known {
            Some((_, ip)) => SocketAddr::new(*ip, target.port),
            None => tokio::net::lookup_host((host, target.port))
                .await?
                .next()
                .ok_or(io::ErrorKind::NotFound)?,
        };
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if let Some(exit) = self.config.exit {
            socket.bind(SocketAddr::new(exit, 0))?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let behaviour = shared.behaviour();
    if behaviour.resets() {
        let _ = stream.set_zero_linger();
    }
    match behaviour {
        Behaviour::HangAtAccept => return hang(stream).await,
        Behaviour::ResetAtAccept | Behaviour::CloseAtAccept => return,
        _ => {}
    }
    // Errors of a connection are the client's business; what was seen is in the records.
    let _ = serve_protocol(stream, shared).await;
}

async fn serve_protocol(stream: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let stream: Box<dyn Stream> = match &shared.config.tls {
        Some(leaf) => Box::new(TlsAcceptor::from(leaf.server()).accept(stream).await?),
        None => Box::new(stream),
    };
    let client = BufReader::new(stream);
    // Boxed: the two state machines are large and only one runs.
    let served: Pin<Box<dyn Future<Output = io::Result<()>> + Send>> = match shared.config.protocol {
        Protocol::Http | Protocol::Https => Box::pin(http::serve(client, shared)),
        Protocol::Socks4 => Box::pin(socks::serve4(client, shared)),
        Protocol::Socks5 => Box::pin(socks::serve5(client, shared)),
    };
    served.await
}

/// Keeps a connection without answering until its client gives up.
async fn hang(mut stream: impl AsyncRead + Unpin) {
    let mut buffer = [0; 1024];
    while matches!(stream.read(&mut buffer).await, Ok(read) if read > 0) {}
}
