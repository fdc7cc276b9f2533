//! Sections that stand for themselves.

use std::path::PathBuf;
use std::time::Duration;

use pcs_models::{Endpoint, Protocol};

use super::{Bad, Builder, Read, View};
use crate::config::{
    CircuitBreakerConfig, HealthCheckConfig, HealthMethod, LogFormat, LogLevel, LogRotation, LoggingConfig,
    RetryConfig, TestUrl, TunnelConfig, WarmConnections,
};
use crate::error::{ErrorKind, Place};
use crate::fill::{Filled, Filler, Value};
use crate::keys::HEALTH;

pub(super) fn tunnel(root: &View<'_>) -> Read<TunnelConfig> {
    let view = root.section("tunnel")?;
    let warm_connections = match &view.at("warm_connections").value {
        Value::Auto => WarmConnections::Auto,
        _ => WarmConnections::Fixed(view.whole("warm_connections")?),
    };
    Ok(TunnelConfig {
        connect_timeout: view.seconds("connect_timeout_seconds")?,
        read_timeout: view.seconds("read_timeout_seconds")?,
        warm_connections,
        warm_max: view.whole("warm_max")?,
        idle_connections: view.whole("idle_connections")?,
        idle: view.seconds("idle_seconds")?,
        dns_cache_ttl: view.seconds("dns_cache_ttl_seconds")?,
    })
}

pub(super) fn circuit_breaker(root: &View<'_>) -> Read<CircuitBreakerConfig> {
    let view = root.section("circuit_breaker")?;
    Ok(CircuitBreakerConfig {
        enabled: view.flag("enabled")?,
        failure_threshold: view.whole("failure_threshold")?,
        success_threshold: view.whole("success_threshold")?,
        timeout: view.seconds("timeout_seconds")?,
        half_open_max: view.whole("half_open_max")?,
    })
}

/// The whole numbers of a list; `Bad` if any entry is.
fn wholes(items: &[Filled]) -> Read<Vec<u16>> {
    let read = |item: &Filled| match item.value {
        Value::Whole(number) => u16::try_from(number).map_err(|_| Bad),
        _ => Err(Bad),
    };
    items.iter().map(read).collect()
}

impl Builder<'_> {
    pub(super) fn logging(&mut self, root: &View<'_>) -> Read<LoggingConfig> {
        let view = root.section("logging")?;
        let file = view.text_opt("file")?.map(PathBuf::from);
        if let Some(file) = file.as_deref().filter(|file| file.is_dir()) {
            let message = format!("`{}` is a directory: name a file in it", file.display());
            let (place, key) = (&view.at("file").place, view.key("file"));
            return Err(self.refuse(place, &key, ErrorKind::Value, message));
        }
        Ok(LoggingConfig {
            level: view.choice("level", LogLevel::from_name)?,
            format: view.choice("format", LogFormat::from_name)?,
            file,
            rotation: view.choice("rotation", LogRotation::from_name)?,
            keep_files: view.whole("keep_files")?,
        })
    }

    pub(super) fn retry(&mut self, root: &View<'_>) -> Read<RetryConfig> {
        let view = root.section("retry")?;
        let backoff = view.section("backoff")?;
        let budget = view.section("budget")?;
        let (initial, max) = (
            backoff.whole::<u64>("initial_ms")?,
            backoff.whole::<u64>("max_ms")?,
        );
        if initial > max {
            let message = format!("must not be longer than `max_ms`, which is {max}");
            let place = &backoff.at("initial_ms").place;
            self.findings
                .error(place, &backoff.key("initial_ms"), ErrorKind::Conflict, message);
        }
        Ok(RetryConfig {
            enabled: view.flag("enabled")?,
            max_retries: view.whole("max_retries")?,
            retry_on_status: wholes(view.list("retry_on_status")?)?,
            backoff_initial: Duration::from_millis(initial),
            backoff_max: Duration::from_millis(max),
            budget_percent: budget.whole("percent")?,
            budget_min_per_second: budget.whole("min_per_second")?,
        })
    }

    /// The section at the top (`base` is `None`, every key has a value), or a pool's overrides of it.
    pub(super) fn health(
        &mut self,
        view: &View<'_>,
        base: Option<&HealthCheckConfig>,
    ) -> Read<HealthCheckConfig> {
        fn or<T>(own: Option<T>, base: Option<T>) -> Read<T> {
            own.or(base).ok_or(Bad)
        }
        let test_url = match view.text_opt("test_url") {
            Ok(Some(text)) => self.test_url(view, text).map(Some),
            Ok(None) => Ok(None),
            Err(bad) => Err(bad),
        };
        let expect_status = match view.list_opt("expect_status")? {
            Some([]) => {
                let place = &view.at("expect_status").place;
                let message = "expected at least one status, as in [200]";
                return Err(self.refuse(place, &view.key("expect_status"), ErrorKind::Value, message));
            }
            Some(items) => Some(wholes(items)?),
            None => None,
        };
        let test_url = test_url?;
        let expect_body = view.text_opt("expect_body")?.map(str::to_owned);
        Ok(HealthCheckConfig {
            enabled: or(view.flag_opt("enabled")?, base.map(|base| base.enabled))?,
            method: or(
                view.choice_opt("method", HealthMethod::from_name)?,
                base.map(|base| base.method),
            )?,
            interval: or(
                view.seconds_opt("interval_seconds")?,
                base.map(|base| base.interval),
            )?,
            timeout: or(
                view.seconds_opt("timeout_seconds")?,
                base.map(|base| base.timeout),
            )?,
            test_url: or(test_url, base.map(|base| base.test_url.clone()))?,
            expect_status: or(expect_status, base.map(|base| base.expect_status.clone()))?,
            expect_body: expect_body.or_else(|| base.and_then(|base| base.expect_body.clone())),
            failure_threshold: or(
                view.whole_opt("failure_threshold")?,
                base.map(|base| base.failure_threshold),
            )?,
            success_threshold: or(
                view.whole_opt("success_threshold")?,
                base.map(|base| base.success_threshold),
            )?,
            concurrency: or(view.whole_opt("concurrency")?, base.map(|base| base.concurrency))?,
        })
    }

    /// The section as it is where nothing is written: what pools are read against if the file's own is bad.
    pub(super) fn default_health(&mut self) -> Read<HealthCheckConfig> {
        let filled = Filler::new(&|_| None, self.findings).section(
            &HEALTH,
            None,
            "health_check",
            &Place::Default,
            true,
        );
        let view = View::of(&filled, "health_check").ok_or(Bad)?;
        self.health(&view, None)
    }

    fn test_url(&mut self, view: &View<'_>, text: &str) -> Read<TestUrl> {
        let mut refuse = |message: &str| {
            self.refuse(
                &view.at("test_url").place,
                &view.key("test_url"),
                ErrorKind::Value,
                message,
            )
        };
        let (tls, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            _ => return Err(refuse("expected an `http://` or `https://` URL")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let tail = tail.split_once('#').map_or(tail, |(before, _)| before);
        let protocol = if tls { Protocol::Https } else { Protocol::Http };
        let endpoint = Endpoint::parse_with_default(authority, protocol.default_port())
            .map_err(|error| refuse(&format!("expected an `http://` or `https://` URL: {error}")))?;
        if !tail.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refuse(
                "path and query may hold visible ASCII characters only; percent-encode the rest",
            ));
        }
        let path = if tail.starts_with('/') {
            tail.to_owned()
        } else {
            format!("/{tail}")
        };
        Ok(TestUrl {
            tls,
            target: endpoint.as_target(),
            path,
        })
    }
}
