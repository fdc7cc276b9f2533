//! `pcs proxies`, `pcs stats` and `pcs reload`: clients of a running server.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use hyper::Method;
use pcs_models::Secret;
use serde_json::{Value, json};

use crate::args::{AdminArgs, ConfigArgs, ProxyAction};
use crate::client::Client;
use crate::usage::Usage;
use crate::{Exit, setup};

pub(crate) const API: &str = "/api/v1";
/// Proxies asked for in one call of a listing.
const PAGE: usize = 1000;

/// Runs `pcs proxies …`.
///
/// # Errors
///
/// No server to ask, or what the server answered.
pub(crate) async fn proxies(action: ProxyAction) -> anyhow::Result<Exit> {
    match action {
        ProxyAction::List(admin) => {
            let (client, as_json) = connect(&admin)?;
            let all = list(&client).await?;
            if as_json {
                print_json(&json!({ "proxies": all }))?;
            } else {
                print(&proxy_table(&all))?;
            }
        }
        ProxyAction::Add { url, id, pool, admin } => {
            let (client, as_json) = connect(&admin)?;
            let mut body = json!({ "url": url, "pool": pool });
            if let (Some(id), Some(map)) = (id, body.as_object_mut()) {
                map.insert("id".to_owned(), id.into());
            }
            let proxy = client
                .ask(Method::POST, &format!("{API}/proxies"), Some(&body))
                .await?;
            report(&proxy, as_json, &format!("added {}", text(&proxy, "id")))?;
        }
        ProxyAction::Remove { id, admin } => {
            let (client, as_json) = connect(&admin)?;
            client.ask(Method::DELETE, &path_of(&id), None).await?;
            report(&json!({ "removed": id }), as_json, &format!("removed {id}"))?;
        }
        ProxyAction::Enable { id, admin } => switch(&id, true, &admin).await?,
        ProxyAction::Disable { id, admin } => switch(&id, false, &admin).await?,
    }
    Ok(Exit::Success)
}

async fn switch(id: &str, enabled: bool, admin: &AdminArgs) -> anyhow::Result<()> {
    let (client, as_json) = connect(admin)?;
    let proxy = client
        .ask(Method::PATCH, &path_of(id), Some(&json!({ "enabled": enabled })))
        .await?;
    report(
        &proxy,
        as_json,
        &format!("{} {id}", if enabled { "enabled" } else { "disabled" }),
    )
}

/// Runs `pcs stats`.
///
/// # Errors
///
/// No server to ask, or what the server answered.
pub(crate) async fn stats(admin: AdminArgs) -> anyhow::Result<Exit> {
    let (client, as_json) = connect(&admin)?;
    let stats = client.ask(Method::GET, &format!("{API}/stats"), None).await?;
    let mut lines = String::new();
    for (name, value) in stats.as_object().into_iter().flatten() {
        // Writing into a String cannot fail.
        let _ = writeln!(lines, "{:<22} {value}", name.replace('_', " "));
    }
    report(&stats, as_json, lines.trim_end())?;
    Ok(Exit::Success)
}

/// Runs `pcs reload`.
///
/// # Errors
///
/// No server to ask, or the errors of the configuration that it refused.
pub(crate) async fn reload(admin: AdminArgs) -> anyhow::Result<Exit> {
    let (client, as_json) = connect(&admin)?;
    let change = client.ask(Method::POST, &format!("{API}/reload"), None).await?;
    let names = |key: &str| {
        let ids: Vec<_> = change[key]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if ids.is_empty() {
            "none".to_owned()
        } else {
            ids.join(", ")
        }
    };
    let said = format!(
        "added: {}; removed: {}; changed: {}",
        names("added"),
        names("removed"),
        names("changed")
    );
    report(&change, as_json, &said)?;
    Ok(Exit::Success)
}

/// The server's client, by `--admin` or by the configuration that the server itself would read.
fn connect(args: &AdminArgs) -> anyhow::Result<(Client, bool)> {
    let mut token = args.token.clone().map(Secret::new);
    let url = match &args.admin {
        Some(url) => url.clone(),
        None => {
            let config = setup::load(&config_args(args))?.config;
            if !config.admin.enabled {
                let text = "admin.enabled is false in this configuration: there is no admin API";
                return Err(Usage::error(text));
            }
            token = token.or_else(|| config.admin.token.clone());
            format!("http://{}", reached_at("admin", config.admin.listen)?)
        }
    };
    Ok((Client::new(&url, token)?, args.json))
}

pub(crate) fn config_args(args: &AdminArgs) -> ConfigArgs {
    ConfigArgs {
        config: args.config.clone(),
        ..ConfigArgs::default()
    }
}

/// Where the listener of this section is reached: one on all addresses through loopback.
pub(crate) fn reached_at(section: &str, listen: SocketAddr) -> anyhow::Result<SocketAddr> {
    if listen.port() == 0 {
        return Err(Usage::error(format!(
            "{section}.port is 0 in this configuration, so the port was chosen at start and stands in the log: name it by \
             --admin URL"
        )));
    }
    let address = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Ok(SocketAddr::new(address, listen.port()))
}

/// Every proxy, page by page.
async fn list(client: &Client) -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    let mut path = format!("{API}/proxies?limit={PAGE}");
    loop {
        let mut page = client.ask(Method::GET, &path, None).await?;
        let Some(Value::Array(proxies)) = page.get_mut("proxies").map(Value::take) else {
            anyhow::bail!("the server's answer has no list of proxies: is this a PCS admin API?");
        };
        all.extend(proxies);
        match page.get("next_cursor").and_then(Value::as_str) {
            Some(cursor) => path = format!("{API}/proxies?limit={PAGE}&cursor={}", escape(cursor)),
            None => return Ok(all),
        }
    }
}

fn path_of(id: &str) -> String {
    format!("{API}/proxies/{}", escape(id))
}

/// Percent-encodes what may not stand in a path segment or query value (RFC 3986 §2.3).
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

pub(crate) fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

fn proxy_table(proxies: &[Value]) -> String {
    let head = [
        "ID", "POOL", "ADDRESS", "HEALTHY", "ENABLED", "CIRCUIT", "ACTIVE", "REQUESTS", "SUCCESS", "LATENCY",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    for proxy in proxies {
        let stats = &proxy["stats"];
        let success = stats["success_rate"]
            .as_f64()
            .map_or_else(|| "-".to_owned(), |rate| format!("{:.1}%", rate * 100.0));
        let latency = stats["avg_latency_ms"]
            .as_f64()
            .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0} ms"));
        rows.push([
            text(proxy, "id"),
            text(proxy, "pool"),
            format!(
                "{}://{}:{}",
                text(proxy, "protocol"),
                text(proxy, "host"),
                text(proxy, "port")
            ),
            text(proxy, "healthy"),
            text(proxy, "enabled"),
            text(proxy, "circuit"),
            text(proxy, "active_connections"),
            text(stats, "total_requests"),
            success,
            latency,
        ]);
    }
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
    out
}

pub(crate) fn report(value: &Value, as_json: bool, line: &str) -> anyhow::Result<()> {
    if as_json {
        print_json(value)
    } else {
        print(&format!("{line}\n"))
    }
}

fn print_json(value: &Value) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

fn print(text: &str) -> anyhow::Result<()> {
    io::stdout()
        .write_all(text.as_bytes())
        .context("writing to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lines_up_and_shows_what_matters() {
        let proxy = |id: &str, healthy| {
            json!({"id": id, "pool": "default", "protocol": "http", "host": "10.0.0.1", "port": 3128, "healthy": healthy,
                "enabled": true, "circuit": "closed", "active_connections": 2,
                "stats": {"total_requests": 10, "success_rate": 0.9, "avg_latency_ms": 12.4}})
        };
        let table = proxy_table(&[proxy("a", true), proxy("longer-name", false)]);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(
            lines[1].starts_with("a            default  http://10.0.0.1:3128  true "),
            "{table}"
        );
        assert!(lines[2].ends_with("90.0%    12 ms"), "{table}");
    }

    #[test]
    fn ids_are_escaped_in_paths() {
        assert_eq!(path_of("a:b@c"), "/api/v1/proxies/a%3Ab%40c");
    }

    #[test]
    fn a_wildcard_bind_is_reached_through_loopback() {
        let at = |listen: &str| reached_at("admin", listen.parse().unwrap());
        assert_eq!(at("0.0.0.0:1").unwrap().to_string(), "127.0.0.1:1");
        assert_eq!(at("[::]:1").unwrap().to_string(), "[::1]:1");
        let error = at("127.0.0.1:0").unwrap_err().to_string();
        assert!(error.contains("admin.port is 0"), "{error}");
    }
}
