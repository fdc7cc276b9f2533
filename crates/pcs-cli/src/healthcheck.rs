//! `pcs healthcheck`: one question to a running server.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use hyper::Method;
use pcs_models::Endpoint;
use pcs_tunnel::{Network, NetworkSettings};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::admin::{API, config_args, reached_at, report, text};
use crate::args::{AdminArgs, HealthArgs};
use crate::client::Client;
use crate::{Exit, setup, wiring};

/// How long the proxy port may take to show that somebody serves it.
const PATIENCE: Duration = Duration::from_secs(15);

/// How a server is asked.
enum Question {
    /// By HTTP: the base URL and the path.
    Health(String, String),
    /// By a SOCKS5 greeting, where the proxy port speaks nothing else.
    Greeting(SocketAddr),
    /// By a connection: the proxy port closes those from here before a byte is answered (`server.allow_from`), and
    /// only a server that serves does so.
    Closing(SocketAddr),
}

/// Runs `pcs healthcheck`: exit status 0 where the server says healthy or degraded, else 1.
///
/// # Errors
///
/// No server to ask.
pub(crate) async fn run(args: HealthArgs) -> anyhow::Result<Exit> {
    let as_json = args.admin.json;
    let (url, path) = match question(&args.admin)? {
        Question::Health(url, path) => (url, path),
        Question::Greeting(at) => {
            within(at, greets(at)).await?;
            return healthy(as_json);
        }
        Question::Closing(at) => {
            within(at, closes(at)).await?;
            return healthy(as_json);
        }
    };
    let answer = Client::new(&url, None)?.call(Method::GET, &path, None).await?;
    let status = text(&answer.body, "status");
    let line = if status.is_empty() {
        answer.status.as_str()
    } else {
        &status
    };
    report(&answer.body, as_json, line)?;
    Ok(if answer.status.is_success() {
        Exit::Success
    } else {
        Exit::Failure
    })
}

fn question(args: &AdminArgs) -> anyhow::Result<Question> {
    if let Some(url) = &args.admin {
        return Ok(Question::Health(url.clone(), format!("{API}/health")));
    }
    let config = setup::load(&config_args(args))?.config;
    if config.admin.enabled {
        let url = format!("http://{}", reached_at("admin", config.admin.listen)?);
        return Ok(Question::Health(url, format!("{API}/health")));
    }
    let at = reached_at("server", config.server.listen)?;
    // A client on the server's machine comes from the very address that it dials.
    let lets_in = wiring::server(&config.server).admits(at.ip());
    Ok(if !lets_in {
        Question::Closing(at)
    } else if config.server.http {
        Question::Health(format!("http://{at}"), "/health".to_owned())
    } else {
        Question::Greeting(at)
    })
}

fn healthy(as_json: bool) -> anyhow::Result<Exit> {
    report(&json!({ "status": "healthy" }), as_json, "healthy")?;
    Ok(Exit::Success)
}

async fn within(at: SocketAddr, asked: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    timeout_at(Instant::now() + PATIENCE, asked)
        .await
        .with_context(|| format!("{at} gave no answer within {} s", PATIENCE.as_secs()))?
}

async fn dial(at: SocketAddr) -> anyhow::Result<TcpStream> {
    let network = Network::new(NetworkSettings::default());
    let dialed = network
        .connect_tcp(&Endpoint::from(at), Instant::now() + PATIENCE)
        .await;
    let dialed = dialed.with_context(|| format!("no server answers at {at} (is `pcs` running?)"))?;
    Ok(dialed.stream)
}

async fn greets(at: SocketAddr) -> anyhow::Result<()> {
    let mut stream = dial(at).await?;
    // A login is what every server takes an offer of, and nobody is turned away for one that never comes.
    stream.write_all(&[5, 1, 2]).await?;
    let mut answer = [0; 2];
    stream
        .read_exact(&mut answer)
        .await
        .with_context(|| format!("{at} closed the connection without an answer"))?;
    if answer[0] != 5 {
        bail!("{at} does not speak SOCKS5");
    }
    Ok(())
}

async fn closes(at: SocketAddr) -> anyhow::Result<()> {
    let mut stream = dial(at).await?;
    match stream.read(&mut [0; 1]).await {
        // An end or a reset: both are its doing.
        Ok(0) | Err(_) => Ok(()),
        Ok(_) => bail!("{at} speaks first, which no proxy does"),
    }
}
