//! `pcs probe`: one dial through the chain, told hop by hop, by the connector that serves.

mod way;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use pcs_config::Config;
use pcs_models::{HopName, Host, Secret, Target, TlsOptions};
use pcs_tunnel::{
    ChainConnector, ChainStream, Dial, DialError, DialRequest, Form, HopTiming, Network, Purpose,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::args::ProbeArgs;
use crate::usage::{Usage, masked};
use crate::{Exit, complain, setup, wiring};

use self::way::{Plan, Way, Ways};

/// The longest response head that is read.
const MAX_HEAD: usize = 16 << 10;

/// What to reach.
struct Goal {
    text: String,
    tls: bool,
    target: Target,
    path: String,
}

/// What came of one probe.
#[derive(Default)]
struct Outcome {
    proxy: Option<String>,
    hops: Vec<Told>,
    ok: bool,
}

/// One line of the answer.
struct Told {
    hop: String,
    address: String,
    /// Phases that took time, in milliseconds.
    phases: Vec<(&'static str, f64)>,
    said: Option<String>,
    error: Option<String>,
}

/// Dials, prints, and answers whether all went well.
///
/// # Errors
///
/// A configuration that does not load, a URL that is none, an unknown proxy.
pub(crate) async fn run(args: ProbeArgs) -> anyhow::Result<Exit> {
    let loaded = setup::load(&args.config)?;
    let config = loaded.config;
    let goal = goal(args.url.as_deref(), &config)?;
    let Plan { route, ways } = way::plan(&args, &config, &goal.target)?;
    let network = Arc::new(Network::new(wiring::network(&config)));
    let connector = ChainConnector::new(Arc::clone(&network), wiring::timeouts(&config));
    let mut exit = Exit::Success;
    let ways = match ways {
        Ways::Through(ways) => ways,
        Ways::Rejected => {
            let mut outcome = Outcome::default();
            target_line(&mut outcome.hops, &goal).error = Some("a route rejects this target".to_owned());
            show(&args, &goal, route.as_deref(), &outcome)?;
            return Ok(Exit::Failure);
        }
    };
    for way in &ways {
        let outcome = probe(&connector, &network, way, &goal, config.server.timeout).await;
        if !outcome.ok {
            exit = Exit::Failure;
        }
        show(&args, &goal, route.as_deref(), &outcome)?;
    }
    if ways.is_empty() {
        let route = route.map_or_else(String::new, |route| format!(" where {route} leads"));
        complain(&format!(
            "pcs: no rotating proxy is configured and enabled{route}"
        ));
        exit = Exit::Failure;
    }
    Ok(exit)
}

fn show(args: &ProbeArgs, goal: &Goal, route: Option<&str>, outcome: &Outcome) -> anyhow::Result<()> {
    let text = if args.json {
        format!("{}\n", to_json(goal, route, outcome))
    } else {
        to_text(goal, route, outcome)
    };
    io::stdout()
        .write_all(text.as_bytes())
        .context("writing to standard output")
}

fn goal(url: Option<&str>, config: &Config) -> anyhow::Result<Goal> {
    let Some(url) = url else {
        let test = config.health_check.test_url.clone();
        return Ok(Goal {
            text: test.to_string(),
            tls: test.tls,
            target: test.target,
            path: test.path,
        });
    };
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let (tls, port) = match scheme {
        "https" => (true, 443),
        "http" => (false, 80),
        _ => {
            let url = masked(url);
            return Err(Usage::error(format!(
                "{url:?} cannot be probed (allowed: http://, https://, host:port)"
            )));
        }
    };
    let cut = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(cut).unwrap_or((rest, ""));
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    if path.bytes().any(|byte| !byte.is_ascii_graphic()) {
        let text = "the path of the URL holds a character that has to be percent-encoded";
        return Err(Usage::error(text));
    }
    let target = Target::parse_with_default(authority, port).map_err(|error| {
        let authority = masked(authority);
        Usage::error(format!("{authority:?} is no host and port: {error}"))
    })?;
    Ok(Goal {
        text: format!("{scheme}://{target}{}", bare(&path)),
        tls,
        target,
        path,
    })
}

/// Query strings may hold secrets: they are sent, not shown.
fn bare(path: &str) -> &str {
    path.split('?').next().unwrap_or_default()
}

async fn probe(
    connector: &ChainConnector,
    network: &Network,
    way: &Way,
    goal: &Goal,
    budget: Duration,
) -> Outcome {
    let deadline = Instant::now() + budget;
    let purpose = if goal.tls {
        Purpose::Tunnel
    } else {
        Purpose::Forward
    };
    let request = DialRequest {
        target: &goal.target,
        purpose,
        session: None,
        deadline,
    };
    let dialed = match connector.dial(&way.chain, request).await {
        Ok(dialed) => dialed,
        Err(error) => {
            let hops = failed(&error, goal);
            return Outcome {
                proxy: way.proxy.clone(),
                hops,
                ok: false,
            };
        }
    };
    let mut hops: Vec<_> = dialed.timings.iter().map(told).collect();
    let begun = Instant::now();
    let asked = ask(network, dialed.stream, &dialed.form, goal, deadline).await;
    let took = millis(begun.elapsed());
    let ok = asked.is_ok();
    let target = target_line(&mut hops, goal);
    target
        .phases
        .push((if goal.tls { "tls+answer" } else { "answer" }, took));
    match asked {
        Ok(said) => target.said = Some(said),
        Err(error) => target.error = Some(format!("{error:#}")),
    }
    Outcome {
        proxy: way.proxy.clone(),
        hops,
        ok,
    }
}

/// The target's own line: there is none yet where the last hop takes absolute-form requests.
fn target_line<'h>(hops: &'h mut Vec<Told>, goal: &Goal) -> &'h mut Told {
    if hops.last().is_none_or(|last| last.hop != HopName::TARGET) {
        hops.push(Told {
            hop: HopName::TARGET.to_owned(),
            address: goal.target.to_string(),
            phases: Vec::new(),
            said: None,
            error: None,
        });
    }
    hops.last_mut().expect("one was just pushed")
}

/// Asks for the URL and answers the status line.
async fn ask(
    network: &Network,
    stream: ChainStream,
    form: &Form,
    goal: &Goal,
    deadline: Instant,
) -> anyhow::Result<String> {
    if !goal.tls {
        return head(stream, form, goal, deadline).await;
    }
    let host: &Host = &goal.target.host;
    let tls = network
        .tls(stream, host, &TlsOptions::default(), deadline)
        .await
        .context("TLS with the target")?;
    head(tls, &Form::Origin, goal, deadline).await
}

async fn head<S>(mut stream: S, form: &Form, goal: &Goal, deadline: Instant) -> anyhow::Result<String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let default_port = if goal.tls { 443 } else { 80 };
    let host = if goal.target.port == default_port {
        goal.target.host.to_string()
    } else {
        goal.target.to_string()
    };
    let uri = match form {
        Form::Origin => goal.path.clone(),
        Form::Absolute { .. } => format!("http://{host}{}", goal.path),
    };
    let mut request =
        format!("GET {uri} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: pcs-probe\r\nConnection: close\r\n");
    if let Form::Absolute {
        authorization: Some(value),
    } = form
    {
        let _ = write!(request, "Proxy-Authorization: {}\r\n", Secret::expose(value));
    }
    request.push_str("\r\n");
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut read = Vec::with_capacity(1024);
        while !read.contains(&b'\n') && read.len() < MAX_HEAD {
            if stream.read_buf(&mut read).await? == 0 {
                break;
            }
        }
        let line = read.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line: String = String::from_utf8_lossy(line)
            .trim()
            .chars()
            .filter(|c| !c.is_control())
            .take(128)
            .collect();
        if !line.starts_with("HTTP/1.") {
            bail!("{} bytes came back that are no HTTP answer", read.len());
        }
        if line.split(' ').nth(1) == Some("407") {
            bail!("the last proxy answered {line:?}: it does not accept our credentials");
        }
        Ok(line)
    };
    tokio::time::timeout_at(deadline, exchange)
        .await
        .context("no answer in time")?
}

fn told(timing: &HopTiming) -> Told {
    let phases = [
        ("dns", timing.dns),
        ("tcp", timing.tcp),
        ("tls", timing.tls),
        ("handshake", timing.handshake),
    ];
    Told {
        hop: timing.hop.to_string(),
        address: timing.address.to_string(),
        phases: phases
            .iter()
            .filter(|(_, took)| !took.is_zero())
            .map(|(name, took)| (*name, millis(*took)))
            .collect(),
        said: timing.said.as_ref().map(ToString::to_string),
        error: None,
    }
}

/// The lines until the failure, the last of them telling it: that is where it stopped, and the text names whoever
/// is to blame.
fn failed(error: &DialError, goal: &Goal) -> Vec<Told> {
    let mut hops: Vec<_> = error.timings().iter().map(told).collect();
    if hops.is_empty() {
        // Nothing was dialled.
        target_line(&mut hops, goal);
    }
    if let Some(last) = hops.last_mut() {
        last.error = Some(format!("{} ({})", error, error.kind()));
    }
    hops
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn total(hop: &Told) -> f64 {
    // Not `sum`, which makes -0 of nothing.
    hop.phases.iter().fold(0.0, |sum, (_, ms)| sum + ms)
}

fn to_json(goal: &Goal, route: Option<&str>, outcome: &Outcome) -> Value {
    let round = |ms: f64| (ms * 1000.0).round() / 1000.0;
    let hop = |told: &Told| {
        json!({
            "hop": told.hop,
            "address": told.address,
            "ok": told.error.is_none(),
            "ms": round(total(told)),
            "said": told.said,
            "phases": told.phases.iter().map(|(name, ms)| ((*name).to_owned(), round(*ms).into())).collect::<serde_json::Map<_, _>>(),
            "error": told.error,
        })
    };
    json!({
        "target": goal.text,
        "ok": outcome.ok,
        "proxy": outcome.proxy,
        "route": route,
        "hops": outcome.hops.iter().map(hop).collect::<Vec<_>>(),
    })
}

fn to_text(goal: &Goal, route: Option<&str>, outcome: &Outcome) -> String {
    let mut text = goal.text.clone();
    if let Some(proxy) = &outcome.proxy {
        let _ = write!(text, " through {proxy}");
    }
    if let Some(route) = route {
        let _ = write!(text, " by {route}");
    }
    let _ = writeln!(text, ": {}", if outcome.ok { "ok" } else { "FAILED" });
    let widest = |of: fn(&Told) -> usize| outcome.hops.iter().map(of).max().unwrap_or(0);
    let (names, addresses) = (widest(|hop| hop.hop.len()), widest(|hop| hop.address.len()));
    for hop in &outcome.hops {
        let mark = if hop.error.is_none() { "ok  " } else { "FAIL" };
        let _ = write!(text, "  {mark} {:<names$}  {:<addresses$}", hop.hop, hop.address);
        for (name, ms) in &hop.phases {
            let _ = write!(text, "  {name} {ms:.1} ms");
        }
        if let Some(said) = &hop.said {
            let _ = write!(text, "  said {said:?}");
        }
        if let Some(error) = &hop.error {
            let _ = write!(text, "  {error}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> anyhow::Result<Goal> {
        let loaded = pcs_config::load(&pcs_config::Sources {
            file: Some("/dev/null".into()),
            ..Default::default()
        })?;
        goal(Some(url), &loaded.config)
    }

    #[test]
    fn goals_are_read_and_their_query_is_not_shown() {
        let goal = read("https://example.com/a?token=1#x").unwrap();
        assert_eq!(
            (goal.text.as_str(), goal.path.as_str(), goal.tls),
            ("https://example.com:443/a", "/a?token=1", true)
        );
        let goal = read("example.com:8443").unwrap();
        assert_eq!(
            (goal.target.port, goal.path.as_str(), goal.tls),
            (8443, "/", true)
        );
        assert!(!read("http://example.com").unwrap().tls);
        for bad in [
            "ftp://a",
            "https://",
            "https://a b/",
            "https://user:SECRET@host/",
            "user:SECRET@host://x",
            "http://a/\u{e4}",
        ] {
            let error = format!("{:#}", read(bad).map(|goal| goal.text).unwrap_err());
            assert!(!error.contains("SECRET"), "{bad}: {error}");
        }
    }
}
