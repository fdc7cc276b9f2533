//! Clients that never rest, and a list of what became of each of their requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clients::{field, patient_head};

/// How long a client waits for anything: longer than any outage of these tests.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a test waits for its clients to see something.
const LIMIT: Duration = Duration::from_secs(120);

/// What became of one request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) end: End,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The target answered, and saw it come from this address.
    Served(String),
    /// PCS said no: status, and the hop it named.
    Refused(u16, String),
    /// It was handed to this proxy, by a 200, and broke off.
    Broken(String),
    /// The connection to PCS failed, or ended without an answer.
    Unanswered(String),
}

impl Request {
    pub(crate) fn exit(&self) -> Option<&str> {
        match &self.end {
            End::Served(exit) => Some(exit),
            _ => None,
        }
    }
}

/// Clients at work. Dropping it ends them.
pub(crate) struct Load {
    rest: watch::Sender<bool>,
    clients: JoinSet<()>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Load {
    /// Lets so many clients ask PCS for the target's `/ip` with this pause between, every other time through a tunnel.
    pub(crate) fn start(clients: usize, pause: Duration, proxy: SocketAddr, target: SocketAddr) -> Self {
        Self::begin(clients, pause, proxy, &[target], true)
    }

    /// The same through tunnels alone, to so many targets by turns.
    pub(crate) fn tunnels(
        clients: usize,
        pause: Duration,
        proxy: SocketAddr,
        targets: &[SocketAddr],
    ) -> Self {
        Self::begin(clients, pause, proxy, targets, false)
    }

    fn begin(
        clients: usize,
        pause: Duration,
        proxy: SocketAddr,
        targets: &[SocketAddr],
        plain_too: bool,
    ) -> Self {
        let (rest, resting) = watch::channel(false);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for n in 0..clients {
            let (requests, mut resting) = (Arc::clone(&requests), resting.clone());
            let targets = targets.to_vec();
            tasks.spawn(async move {
                let mut tunnel = n % 2 == 0 || !plain_too;
                for turn in n.. {
                    if *resting.borrow() {
                        return;
                    }
                    let target = targets[turn % targets.len()];
                    let began = Instant::now();
                    let end = tokio::time::timeout(PATIENCE, ask(proxy, target, tunnel)).await;
                    let end = end.unwrap_or_else(|_| End::Unanswered(format!("in {PATIENCE:?}")));
                    let ended = Instant::now();
                    requests.lock().push(Request { began, ended, end });
                    tunnel = !tunnel || !plain_too;
                    // Two cores carry the clients, the proxies and PCS.
                    let _ = tokio::time::timeout(pause, resting.changed()).await;
                }
            });
        }
        Self {
            rest,
            clients: tasks,
            requests,
        }
    }

    /// All requests that ended so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().clone()
    }

    /// Waits until so many more requests that began from now on are as wanted.
    pub(crate) async fn see(&self, what: &str, count: usize, wanted: impl Fn(&Request) -> bool) {
        let since = Instant::now();
        loop {
            let seen = self.requests();
            let seen: Vec<&Request> = seen.iter().filter(|request| request.began >= since).collect();
            if seen.iter().filter(|request| wanted(request)).count() >= count {
                return;
            }
            assert!(
                since.elapsed() < LIMIT,
                "not {count} times {what}: {:?}",
                seen.iter().rev().take(20).collect::<Vec<_>>()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets every client end its request and go: what became of all of them.
    pub(crate) async fn stop(mut self) -> Vec<Request> {
        self.rest.send_replace(true);
        while let Some(client) = self.clients.join_next().await {
            client.unwrap();
        }
        self.requests()
    }
}

/// One request: `GET /ip` through a tunnel, or by absolute form.
async fn ask(proxy: SocketAddr, target: SocketAddr, tunnel: bool) -> End {
    let Ok(mut stream) = TcpStream::connect(proxy).await else {
        return End::Unanswered("no connection".to_owned());
    };
    let mut handed_to = None;
    if tunnel {
        let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        match answer(&mut stream, &connect, false).await {
            Ok((200, head, _)) => handed_to = Some(next_hop(&head)),
            refused => return end(refused, None),
        }
    }
    let at = if tunnel {
        String::new()
    } else {
        format!("http://{target}")
    };
    let get = format!("GET {at}/ip HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
    end(answer(&mut stream, &get, true).await, handed_to)
}

fn end(answer: Result<(u16, String, String), String>, handed_to: Option<String>) -> End {
    match answer {
        Ok((200, _, body)) if body.ends_with('\n') => End::Served(body.trim().to_owned()),
        Ok((200, head, _)) => End::Broken(handed_to.unwrap_or_else(|| next_hop(&head))),
        Ok((status, head, body)) => {
            let problem: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
            let hop = problem["hop"].as_str().map_or_else(
                // No problem+json: a proxy's own words that were passed on.
                || format!("{} says {body:?}", next_hop(&head)),
                str::to_owned,
            );
            End::Refused(status, hop)
        }
        Err(why) => match handed_to {
            Some(proxy) => End::Broken(proxy),
            None => End::Unanswered(why),
        },
    }
}

/// Status, head and body of an answer.
async fn answer(stream: &mut TcpStream, request: &str, body: bool) -> Result<(u16, String, String), String> {
    if let Err(error) = stream.write_all(request.as_bytes()).await {
        return Err(error.to_string());
    }
    let head = patient_head(stream).await;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let Some(status) = status.filter(|_| head.ends_with("\r\n\r\n")) else {
        return Err(format!("half a head: {head:?}"));
    };
    let mut text = Vec::new();
    if body || status != 200 {
        let length = field(&head, "content-length").and_then(|value| value.parse().ok());
        let _ = stream.take(length.unwrap_or(0)).read_to_end(&mut text).await;
    }
    Ok((status, head, String::from_utf8_lossy(&text).into_owned()))
}

/// The proxy that `Proxy-Status` names.
fn next_hop(head: &str) -> String {
    let status = field(head, "proxy-status").unwrap_or_default();
    let named = status.split("next-hop=\"").nth(1);
    named
        .and_then(|rest| rest.split('"').next())
        .unwrap_or("nobody")
        .to_owned()
}
