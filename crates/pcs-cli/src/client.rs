//! A small client of the admin API, for the sub-commands that talk to a running server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use pcs_models::{Endpoint, Protocol, Secret};
use pcs_tunnel::{ChainStream, Io, Network, NetworkSettings};
use serde_json::Value;
use tokio::time::Instant;

use crate::usage::{Usage, masked};

/// How long one call may take from dial to last byte.
const PATIENCE: Duration = Duration::from_secs(15);
/// The largest answer that is read.
const MAX_ANSWER: usize = 64 << 20;

/// Where a server's HTTP API is.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    network: Arc<Network>,
    protocol: Protocol,
    endpoint: Endpoint,
    /// The path before each call's own, without a slash at its end.
    base: String,
    token: Option<Secret>,
}

/// What a server said.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its body; `Null` where there is none, a string where it is no JSON.
    pub(crate) body: Value,
}

impl Client {
    /// A client of the server at `url` (`http://host:port[/path]`, or `https`).
    ///
    /// # Errors
    ///
    /// A URL that is none, or names another scheme.
    pub(crate) fn new(url: &str, token: Option<Secret>) -> anyhow::Result<Self> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let protocol = match scheme {
            "http" => Protocol::Http,
            "https" => Protocol::Https,
            _ => {
                let url = masked(url);
                let text = format!("{url:?}: the admin API is reached by http:// or https://");
                return Err(Usage::error(text));
            }
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let endpoint = Endpoint::parse_with_default(authority, protocol.default_port()).map_err(|error| {
            let url = masked(url);
            Usage::error(format!(
                "{url:?} is no URL of an admin API, such as http://127.0.0.1:8889: {error}"
            ))
        })?;
        let path = path.trim_matches('/');
        let base = if path.is_empty() {
            String::new()
        } else {
            format!("/{path}")
        };
        let network = Arc::new(Network::new(NetworkSettings::default()));
        Ok(Self {
            network,
            protocol,
            endpoint,
            base,
            token,
        })
    }

    /// One call, answered whole.
    ///
    /// # Errors
    ///
    /// Nobody there, no answer within 15 s, or an answer over 64 MiB. An error status is an [`Answer`].
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let deadline = Instant::now() + PATIENCE;
        tokio::time::timeout_at(deadline, self.exchange(method, path, body, deadline))
            .await
            .with_context(|| format!("{} gave no answer within {} s", self.endpoint, PATIENCE.as_secs()))?
    }

    /// One call that has to succeed: its body, or the server's own words as the error.
    ///
    /// # Errors
    ///
    /// As [`Client::call`], and every status other than 2xx.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let answer = self.call(method, path, body).await?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        let words = |name: &str| answer.body.get(name).and_then(Value::as_str).map(str::to_owned);
        let said = words("detail")
            .or_else(|| words("title"))
            .unwrap_or_else(|| answer.body.to_string());
        let errors = answer
            .body
            .get("errors")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let list: String = errors
            .map(|error| format!("\n  {}", error.as_str().unwrap_or_default()))
            .collect();
        bail!("{} answered {}: {said}{list}", self.endpoint, answer.status)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        deadline: Instant,
    ) -> anyhow::Result<Answer> {
        let stream = self.dial(deadline).await.with_context(|| {
            format!(
                "no server answers at {} (is `pcs` running with admin.enabled? --admin URL names another)",
                self.endpoint
            )
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("host", self.endpoint.to_string())
            .header("accept", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.expose()));
        }
        let payload = match body {
            Some(json) => {
                request = request.header("content-type", "application/json");
                Full::new(Bytes::from(serde_json::to_vec(json)?))
            }
            None => Full::default(),
        };
        let request = request
            .body(payload)
            .context("the token or path cannot be sent in an HTTP header")?;
        let read = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let bytes = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let bytes = bytes
                .map_err(|error| anyhow::anyhow!("reading the answer: {error}"))?
                .to_bytes();
            let body = match serde_json::from_slice(&bytes) {
                Ok(json) => json,
                Err(_) if bytes.is_empty() => Value::Null,
                Err(_) => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
            };
            anyhow::Ok(Answer { status, body })
        };
        // The connection is driven beside the call and ends with it.
        tokio::select! {
            answer = read => answer,
            ended = connection => {
                ended.context("the connection to the admin API broke")?;
                bail!("{} closed the connection without an answer", self.endpoint)
            }
        }
    }

    async fn dial(&self, deadline: Instant) -> anyhow::Result<ChainStream> {
        let dialed = self.network.connect_tcp(&self.endpoint, deadline).await?;
        let stream = ChainStream::from(dialed.stream);
        if self.protocol == Protocol::Http {
            return Ok(stream);
        }
        let tls = self
            .network
            .tls(
                stream,
                &self.endpoint.host,
                &pcs_models::TlsOptions::default(),
                deadline,
            )
            .await?;
        Ok(ChainStream::new(Io::Tls(Box::new(tls))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_or_refused() {
        let client = Client::new("http://127.0.0.1:8889", None).unwrap();
        assert_eq!(
            (client.endpoint.to_string().as_str(), client.base.as_str()),
            ("127.0.0.1:8889", "")
        );
        let client = Client::new("https://pcs.example/ops/", None).unwrap();
        assert_eq!(
            (client.endpoint.to_string().as_str(), client.base.as_str()),
            ("pcs.example:443", "/ops")
        );
        for bad in [
            "ftp://a",
            "http://a b",
            "http://bob:SECRET@a",
            "ftp://bob:SECRET@a",
        ] {
            let error = format!("{:#}", Client::new(bad, None).unwrap_err());
            assert!(!error.contains("SECRET"), "{bad}: {error}");
        }
    }
}
