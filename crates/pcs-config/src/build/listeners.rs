//! The three listeners: server, metrics, admin.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use pcs_models::{Credentials, Host, Secret};

use super::{Bad, Builder, Read, View};
use crate::config::{AdminConfig, MetricsConfig, RateLimitConfig, ServerConfig};
use crate::error::ErrorKind;
use crate::fill::{Filled, Value};

impl Builder<'_> {
    pub(super) fn server(&mut self, root: &View<'_>) -> Read<ServerConfig> {
        let view = root.section("server")?;
        let ip = self.ip(&view);
        let auth = self.auth(&view);
        let allow_from = self.networks(&view, "allow_from");
        let rate_limit = rate_limit(&view);
        let protocols = self.protocols(&view);
        if let (Ok(ip), Ok(None), Ok([])) = (ip, &auth, allow_from.as_deref()) {
            self.need_for_open_bind(&view, ip, "needs `server.auth` or `server.allow_from`");
        }
        let (http, socks5) = protocols?;
        Ok(ServerConfig {
            listen: SocketAddr::new(ip?, view.whole("port")?),
            max_connections: view.whole("max_connections")?,
            timeout: view.seconds("timeout_seconds")?,
            idle_timeout: view.seconds("idle_timeout_seconds")?,
            shutdown_grace: view.seconds("shutdown_grace_seconds")?,
            http,
            socks5,
            auth: auth?,
            rate_limit: rate_limit?,
            max_head_bytes: view.whole("max_head_bytes")?,
            allow_from: allow_from?,
            watch_config: view.flag("watch_config")?,
        })
    }

    fn auth(&mut self, view: &View<'_>) -> Read<Option<Vec<Credentials>>> {
        let Some(auth) = view.section_opt("auth")? else {
            return Ok(None);
        };
        let items = auth.list("users")?;
        if items.is_empty() {
            let place = &auth.at("users").place;
            return Err(self.refuse(
                place,
                &auth.key("users"),
                ErrorKind::Value,
                "expected at least one user",
            ));
        }
        let mut users: Vec<Credentials> = Vec::with_capacity(items.len());
        let mut all_well = true;
        for (index, item) in items.iter().enumerate() {
            let path = format!("{}[{index}]", auth.key("users"));
            let Some(user) = View::of(item, &path) else {
                all_well = false;
                continue;
            };
            match self.credentials(&user, None) {
                Ok(Some(credentials)) if credentials.username().is_empty() => {
                    let place = &user.at("username").place;
                    self.findings.error(
                        place,
                        &user.key("username"),
                        ErrorKind::Value,
                        "must not be empty",
                    );
                }
                Ok(Some(credentials)) => {
                    if !user.is_set("password") && !user.is_set("password_file") {
                        self.findings.error(
                            user.place,
                            &user.key("password"),
                            ErrorKind::Missing,
                            "required: `password` or `password_file`",
                        );
                    }
                    if users
                        .iter()
                        .any(|known| known.username() == credentials.username())
                    {
                        let place = &user.at("username").place;
                        let message = "this user is in the list twice";
                        self.findings
                            .error(place, &user.key("username"), ErrorKind::Conflict, message);
                    }
                    users.push(credentials);
                }
                Ok(None) | Err(Bad) => all_well = false,
            }
        }
        if all_well { Ok(Some(users)) } else { Err(Bad) }
    }

    fn protocols(&mut self, view: &View<'_>) -> Read<(bool, bool)> {
        let items = view.list("protocols")?;
        let place = &view.at("protocols").place;
        if items.is_empty() {
            let message = "expected at least one of `http`, `socks5`";
            return Err(self.refuse(place, &view.key("protocols"), ErrorKind::Value, message));
        }
        let (mut http, mut socks5) = (false, false);
        for item in items {
            match item.value {
                Value::Choice("http") => http = true,
                Value::Choice("socks5") => socks5 = true,
                _ => return Err(Bad),
            }
        }
        Ok((http, socks5))
    }

    fn networks(&mut self, view: &View<'_>, name: &str) -> Read<Vec<ipnet::IpNet>> {
        let items = view.list(name)?;
        let read = |(index, item): (usize, &Filled)| {
            let Value::Text(text) = &item.value else {
                return Err(Bad);
            };
            parse_network(text).ok_or_else(|| {
                let message = "expected a network such as `10.0.0.0/8`, or an IP address";
                self.refuse(
                    &item.place,
                    &format!("{}[{index}]", view.key(name)),
                    ErrorKind::Value,
                    message,
                )
            })
        };
        collect_all(items.iter().enumerate().map(read))
    }

    fn ip(&mut self, view: &View<'_>) -> Read<IpAddr> {
        let text = view.text("bind_address")?;
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .unwrap_or(text);
        let ip = match bare {
            "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            bare => bare.parse().ok(),
        };
        ip.ok_or_else(|| {
            let message = "expected an IP address such as `127.0.0.1` or `::`, or `localhost`";
            self.refuse(
                &view.at("bind_address").place,
                &view.key("bind_address"),
                ErrorKind::Value,
                message,
            )
        })
    }

    /// An address that others can reach needs something that keeps them out.
    fn need_for_open_bind(&mut self, view: &View<'_>, ip: IpAddr, need: &str) {
        if !ip.to_canonical().is_loopback() {
            let message = format!("`{ip}` is not loopback and {need}");
            let place = &view.at("bind_address").place;
            self.findings
                .error(place, &view.key("bind_address"), ErrorKind::Conflict, message);
        }
    }

    pub(super) fn metrics(&mut self, root: &View<'_>) -> Read<MetricsConfig> {
        let view = root.section("metrics")?;
        let ip = self.ip(&view);
        let path = view.text("path").and_then(|path| {
            let fits = path.starts_with('/')
                && path
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && !b"?#{}*".contains(&byte));
            if fits {
                return Ok(path.to_owned());
            }
            let message = "expected a path that begins with `/`, without `?`, `#`, `*`, braces and spaces";
            Err(self.refuse(
                &view.at("path").place,
                &view.key("path"),
                ErrorKind::Value,
                message,
            ))
        });
        let enabled = view.flag("enabled")?;
        let has_token = root.section("admin").is_ok_and(|admin| admin.is_set("token"));
        if let (true, false, Ok(ip)) = (enabled, has_token, ip) {
            self.need_for_open_bind(&view, ip, "needs `admin.token`");
        }
        Ok(MetricsConfig {
            enabled,
            listen: SocketAddr::new(ip?, view.whole("port")?),
            path: path?,
            max_proxy_series: view.whole("max_proxy_series")?,
        })
    }

    pub(super) fn admin(&mut self, root: &View<'_>) -> Read<AdminConfig> {
        let view = root.section("admin")?;
        let ip = self.ip(&view);
        let token = self.token(&view);
        let allowed_hosts = self.hosts(&view, "allowed_hosts");
        let enabled = view.flag("enabled")?;
        if let (true, Ok(None), Ok(ip)) = (enabled, &token, ip) {
            self.need_for_open_bind(&view, ip, "needs `admin.token`");
        }
        Ok(AdminConfig {
            enabled,
            listen: SocketAddr::new(ip?, view.whole("port")?),
            token: token?,
            state_file: view.text_opt("state_file")?.map(Into::into),
            allowed_hosts: allowed_hosts?,
        })
    }

    fn token(&mut self, view: &View<'_>) -> Read<Option<Secret>> {
        let Some(token) = view.secret_opt("token")? else {
            return Ok(None);
        };
        let text = token.expose();
        // An empty token would let everybody in while looking like a lock.
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Some(token.clone()));
        }
        let message = "expected visible ASCII characters, at least one (it travels in a header)";
        Err(self.refuse(
            &view.at("token").place,
            &view.key("token"),
            ErrorKind::Value,
            message,
        ))
    }

    fn hosts(&mut self, view: &View<'_>, name: &str) -> Read<Vec<Host>> {
        let items = view.list(name)?;
        let read = |(index, item): (usize, &Filled)| {
            let Value::Text(text) = &item.value else {
                return Err(Bad);
            };
            Host::parse(text).map_err(|error| {
                let message = format!("expected a host name or IP address without port: {error}");
                self.refuse(
                    &item.place,
                    &format!("{}[{index}]", view.key(name)),
                    ErrorKind::Value,
                    message,
                )
            })
        };
        collect_all(items.iter().enumerate().map(read))
    }

    /// Two listeners cannot share an address; the kernel would say so at start, without naming the keys.
    pub(super) fn listeners(
        &mut self,
        root: &View<'_>,
        server: &ServerConfig,
        metrics: &MetricsConfig,
        admin: &AdminConfig,
    ) {
        let all = [
            ("server", true, server.listen),
            ("metrics", metrics.enabled, metrics.listen),
            ("admin", admin.enabled, admin.listen),
        ];
        let live: Vec<_> = all
            .iter()
            .filter(|(_, enabled, listen)| *enabled && listen.port() != 0)
            .collect();
        for (index, (name, _, listen)) in live.iter().enumerate() {
            for (other, _, taken) in live.iter().take(index) {
                let ips = (listen.ip(), taken.ip());
                let same_ip = ips.0 == ips.1 || ips.0.is_unspecified() || ips.1.is_unspecified();
                if same_ip && listen.port() == taken.port() {
                    let Ok(view) = root.section(name) else { continue };
                    let message = format!("port {} is already that of `{other}`", listen.port());
                    self.findings.error(
                        &view.at("port").place,
                        &view.key("port"),
                        ErrorKind::Conflict,
                        message,
                    );
                }
            }
        }
    }
}

fn rate_limit(view: &View<'_>) -> Read<Option<RateLimitConfig>> {
    let Some(limit) = view.section_opt("rate_limit")? else {
        return Ok(None);
    };
    let requests_per_second = limit.number("requests_per_second")?;
    let burst = match limit.whole_opt("burst")? {
        Some(burst) => burst,
        None => ceil(requests_per_second),
    };
    Ok(Some(RateLimitConfig {
        requests_per_second,
        burst,
    }))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the table bounds it: greater than 0, at most a million"
)]
fn ceil(number: f64) -> u32 {
    number.ceil() as u32
}

/// A network, or the network of one address.
pub(super) fn parse_network(text: &str) -> Option<ipnet::IpNet> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(ipnet::IpNet::from))
}

/// All items, or `Bad` after every one of them was looked at.
pub(super) fn collect_all<T>(items: impl Iterator<Item = Read<T>>) -> Read<Vec<T>> {
    let mut all = Vec::new();
    let mut all_well = true;
    for item in items {
        match item {
            Ok(item) => all.push(item),
            Err(Bad) => all_well = false,
        }
    }
    if all_well { Ok(all) } else { Err(Bad) }
}
