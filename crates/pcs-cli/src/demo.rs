//! `pcs demo`: a chain to try without an account.
//!
//! The corporate proxy and the rotating proxies are front doors of our own that dial directly, the `pcs` in front
//! is the production server. The target names the rotating proxy that a request came out of: each proxy notes the
//! local address of what it dials.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use pcs_config::Sources;
use pcs_models::{ChainSpec, Credentials, Secret};
use pcs_server::{Listeners, NoAccess, Settings, Shared, Shutdown, Users, Worker};
use pcs_tunnel::{
    BoxFuture, ChainConnector, Connect, ConnectRequest, Connected, DialError, DialTimeouts, FixedChain, Io,
    Network, NetworkSettings, PreparedChain, Via,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::app::{App, control_runtime};
use crate::args::DemoArgs;
use crate::logging::Logs;
use crate::{Exit, signals};

/// Exits that the target remembers; far more than a demo makes, and a bound.
const MAX_EXITS: usize = 4096;
/// How long the target waits for a request.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_HEAD: usize = 16 << 10;

/// Which rotating proxy dialled from which local address.
type Exits = Arc<Mutex<HashMap<SocketAddr, &'static str>>>;

/// Runs `pcs demo` until Ctrl+C.
///
/// # Errors
///
/// The demo's port is in use.
pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<Exit> {
    control_runtime()?.block_on(async {
        let mut tasks = JoinSet::new();
        let demo = Demo::start(&mut tasks).await?;
        let loaded = setup(&demo, args.port)?;
        let logs = Logs::install(&loaded.config.logging, None)?;
        let signals = signals::listen().context("taking over signals")?;
        let app = App::build(&loaded, None, Some(logs)).context("try `pcs demo --port 0`")?;
        io::stdout()
            .write_all(demo.invitation(app.address(), app.admin_address()).as_bytes())
            .context("writing to standard output")?;
        app.run(signals).await?;
        tasks.shutdown().await;
        Ok(Exit::Success)
    })
}

/// The configuration a user would write for these proxies.
fn setup(demo: &Demo, port: u16) -> anyhow::Result<pcs_config::Loaded> {
    let mut members = String::new();
    for (id, address) in &demo.rotating {
        let _ = write!(
            members,
            "{{id: {id}, host: {}, port: {}, username: {id}, password: rotating-secret}}, ",
            address.ip(),
            address.port()
        );
    }
    let corporate = demo.corporate;
    let set = [
        format!("server.port={port}"),
        format!(
            "corporate_proxy={{host: {}, port: {}, username: employee, password: corporate-secret}}",
            corporate.ip(),
            corporate.port()
        ),
        format!("rotation.proxies=[{members}]"),
        format!("health_check.test_url=http://{}/", demo.target),
        "health_check.interval_seconds=5".to_owned(),
        "logging.format=text".to_owned(),
        // Beside a server that runs already, `--port 0` finds free ports for all three.
        format!("admin.port={}", if port == 0 { 0 } else { 8889 }),
        format!("metrics.port={}", if port == 0 { 0 } else { 9090 }),
    ];
    let sources = Sources {
        set: set.into(),
        ..Sources::default()
    };
    pcs_config::load_text(&sources, "demo", "")
        .map_err(|errors| anyhow::anyhow!("the demo's configuration: {errors}"))
}

/// The throw-away world behind the demo's `pcs`.
struct Demo {
    corporate: SocketAddr,
    rotating: Vec<(&'static str, SocketAddr)>,
    target: SocketAddr,
    /// Dropped with the demo: ends the proxies.
    _shutdowns: Vec<Shutdown>,
}

impl Demo {
    async fn start(tasks: &mut JoinSet<()>) -> anyhow::Result<Self> {
        let exits = Exits::default();
        let mut shutdowns = Vec::new();
        let mut proxy = |user: &'static str, password: &str, note: Option<(&'static str, Exits)>| {
            proxy(tasks, &mut shutdowns, user, password, note)
        };
        let corporate = proxy("employee", "corporate-secret", None)?;
        let mut rotating = Vec::new();
        for id in ["proxy-fr-1", "proxy-de-1", "proxy-uk-1"] {
            rotating.push((id, proxy(id, "rotating-secret", Some((id, Arc::clone(&exits))))?));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("starting the demo's target")?;
        let target = listener.local_addr()?;
        tasks.spawn(serve_target(listener, exits));
        Ok(Self {
            corporate,
            rotating,
            target,
            _shutdowns: shutdowns,
        })
    }

    fn invitation(&self, address: SocketAddr, admin: Option<SocketAddr>) -> String {
        let target = self.target;
        format!(
            "A corporate proxy (employee:corporate-secret) on {corporate}, three rotating proxies and a target are up.\n\
             Every request below goes  client → pcs → corporate → rotating → target:\n\n  \
             curl -x http://{address} http://{target}/            # three times: three exits in turn\n  \
             curl -x http://{address} -p http://{target}/         # the same through a CONNECT tunnel\n  \
             curl --socks5-hostname {address} http://{target}/    # the same by SOCKS5\n  \
             curl -x http://{address} -H 'X-Proxy-Sticky-Session: cart-17' http://{target}/   # one exit for a session\n  \
             curl -x http://{address} http://127.0.0.1:1/         # a dead target: which hop failed?\n  \
             curl http://{admin}/api/v1/proxies            # what pcs knows of its proxies; the page is http://{admin}/\n\n\
             Ctrl+C ends it all.\n\n",
            corporate = self.corporate,
            admin = admin.map_or_else(|| "-".to_owned(), |admin| admin.to_string()),
        )
    }
}

/// Starts one throw-away proxy on a free port.
fn proxy(
    tasks: &mut JoinSet<()>,
    shutdowns: &mut Vec<Shutdown>,
    user: &str,
    password: &str,
    note: Option<(&'static str, Exits)>,
) -> anyhow::Result<SocketAddr> {
    let network = Arc::new(Network::new(NetworkSettings::default()));
    let connector = ChainConnector::new(network, DialTimeouts::default());
    let direct = FixedChain::new(
        Arc::new(connector),
        PreparedChain::new(ChainSpec::direct()),
        Via::Direct,
    );
    let credentials = Credentials::try_new(user, Secret::new(password.to_owned()))?;
    let settings = Settings {
        users: Some(Users::new([credentials])),
        ..Settings::default()
    };
    let shared = Shared::new(
        settings,
        Arc::new(Noting { inner: direct, note }),
        Arc::new(NoAccess),
    );
    let listeners =
        Listeners::bind((Ipv4Addr::LOCALHOST, 0).into(), 1).context("starting a proxy of the demo")?;
    let address = listeners.local_addr();
    let shutdown = Shutdown::new();
    for socket in listeners.into_sockets() {
        let worker = Worker::new(socket, Arc::clone(&shared), shutdown.watch());
        tasks.spawn(async move {
            if let Err(error) = worker.run().await {
                tracing::error!(%error, "A proxy of the demo failed");
            }
        });
    }
    shutdowns.push(shutdown);
    Ok(address)
}

/// A connector that notes where its streams come from.
struct Noting {
    inner: FixedChain,
    note: Option<(&'static str, Exits)>,
}

impl Connect for Noting {
    fn connect<'a>(&'a self, request: &'a mut ConnectRequest) -> BoxFuture<'a, Result<Connected, DialError>> {
        Box::pin(async move {
            let connected = self.inner.connect(request).await?;
            if let (Some((name, exits)), Io::Tcp(stream)) = (&self.note, connected.stream.io())
                && let Ok(address) = stream.local_addr()
            {
                let mut exits = exits.lock();
                if exits.len() >= MAX_EXITS {
                    exits.clear();
                }
                exits.insert(address, name);
            }
            Ok(connected)
        })
    }
}

async fn serve_target(listener: TcpListener, exits: Exits) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) if clients.len() < MAX_EXITS => {
                    let exits = Arc::clone(&exits);
                    clients.spawn(async move {
                        // A client that goes away early is no concern of the demo.
                        let _ = timeout(PATIENCE, answer(stream, peer, &exits)).await;
                    });
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = clients.join_next() => {}
        }
    }
}

async fn answer(mut stream: TcpStream, peer: SocketAddr, exits: &Exits) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > MAX_HEAD || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let exit = exits.lock().get(&peer).copied().unwrap_or("nobody we know");
    let body = format!("{{\"you_came_out_of\": \"{exit}\", \"address\": \"{peer}\"}}\n");
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
