//! The production [`Probe`]: single checks through real chains.

mod http;
#[cfg(target_os = "linux")]
mod ping;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pcs_models::{Blame, Endpoint, FailureKind, HopIndex, Target, TlsOptions};
use pcs_tunnel::{
    BoxFuture, ChainStream, Dial, DialError, DialRequest, Dialed, Form, Io, NetError, Network, PreparedChain,
    Purpose,
};
use tokio::time::Instant;

use crate::checker::{CheckFailure, CheckSpec, Fault, Method, Probe};

/// What a [`ChainProbe`] knows of a member.
#[derive(Debug, Clone)]
pub struct Way {
    /// The whole chain, which ends with the member.
    pub chain: Arc<PreparedChain>,
    /// The chain up to the member, where the member is not the first hop.
    pub before: Option<Arc<PreparedChain>>,
    /// Where the member listens.
    pub member: Endpoint,
}

/// Checks members over a [`Dial`].
///
/// Nothing here reaches a test URL by any other way than the member's whole chain. Of the chain before a member
/// nothing is asked but the member itself, and where it keeps silent about that, its own address.
pub struct ChainProbe {
    dial: Arc<dyn Dial>,
    network: ArcSwap<Network>,
    tls: TlsOptions,
}

impl ChainProbe {
    /// A probe over these. `network` speaks TLS with test URLs and reaches members that are the first hop.
    #[must_use]
    pub fn new(dial: Arc<dyn Dial>, network: Arc<Network>) -> Self {
        Self {
            dial,
            network: ArcSwap::new(network),
            tls: TlsOptions::default(),
        }
    }

    /// Later checks use this network.
    pub fn use_network(&self, network: Arc<Network>) {
        self.network.store(network);
    }

    /// The same probe, which proves the certificates of test URLs otherwise than by the system's authorities.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsOptions) -> Self {
        self.tls = tls;
        self
    }

    async fn fetch(&self, way: &Way, spec: &CheckSpec, deadline: Instant) -> Result<(), CheckFailure> {
        let target = &spec.test_url.target;
        if !spec.test_url.tls {
            // As a plain request would go: many proxies allow CONNECT to port 443 only.
            let dialed = self
                .chain(&way.chain, way, target, Purpose::Forward, deadline)
                .await?;
            return http::fetch(dialed.stream, &dialed.form, spec, deadline).await;
        }
        let stream = self.build(&way.chain, way, target, deadline).await?;
        let tls = self
            .network
            .load_full()
            .tls(stream, &target.host, &self.tls, deadline)
            .await;
        let tls = tls.map_err(|error| net_failure(&error, Fault::Target))?;
        http::fetch(
            ChainStream::new(Io::Tls(Box::new(tls))),
            &Form::Origin,
            spec,
            deadline,
        )
        .await
    }

    async fn build(
        &self,
        chain: &PreparedChain,
        way: &Way,
        target: &Target,
        deadline: Instant,
    ) -> Result<ChainStream, CheckFailure> {
        let dialed = self.chain(chain, way, target, Purpose::Tunnel, deadline).await;
        dialed.map(|dialed| dialed.stream)
    }

    async fn chain(
        &self,
        chain: &PreparedChain,
        way: &Way,
        target: &Target,
        purpose: Purpose,
        deadline: Instant,
    ) -> Result<Dialed, CheckFailure> {
        let request = DialRequest {
            target,
            purpose,
            session: None,
            deadline,
        };
        let dialed = self.dial.dial(chain, request).await;
        dialed.map_err(|error| dial_failure(&error, way.before.is_some()))
    }

    /// Reaches the member's port, and nothing more.
    async fn reach(&self, way: &Way, deadline: Instant) -> Result<(), CheckFailure> {
        match &way.before {
            None => {
                let reached = self.network.load_full().connect_tcp(&way.member, deadline).await;
                reached
                    .map(drop)
                    .map_err(|error| net_failure(&error, Fault::Member))
            }
            Some(before) => {
                let target = way.member.as_target();
                let reached = self.build(before, way, &target, deadline).await;
                // Here the member is the target, and what lies between is the corporate proxy.
                reached.map(drop).map_err(|failure| match failure.fault {
                    Fault::Target => CheckFailure {
                        fault: Fault::Member,
                        ..failure
                    },
                    Fault::Ours | Fault::Corporate | Fault::Member => failure,
                })
            }
        }
    }

    /// Is there once the proxy before a member has said something of its own address, be it no: it does at once, if
    /// it does anything. Not asked before half of the time is over: mostly what it says of the member will do.
    async fn corporate_speaks_of_itself(&self, way: &Way, deadline: Instant) {
        let asked = async {
            let before = way.before.as_ref()?;
            let target = before.spec().hops().last()?.endpoint.as_target();
            let left = deadline.saturating_duration_since(Instant::now());
            tokio::time::sleep(left / 2).await;
            match self.build(before, way, &target, deadline).await {
                Ok(_) => Some(()),
                Err(failure) => {
                    let spoke = matches!(failure.fault, Fault::Member | Fault::Target);
                    (spoke && failure.kind != FailureKind::Timeout).then_some(())
                }
            }
        };
        if asked.await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    #[cfg(target_os = "linux")]
    async fn ping(&self, way: &Way, deadline: Instant) -> Result<(), CheckFailure> {
        let addresses = self.network.load_full().resolve(&way.member.host, deadline).await;
        let addresses = addresses.map_err(|error| net_failure(&error, Fault::Member))?;
        let Some(address) = addresses.first() else {
            return Err(CheckFailure::new(
                FailureKind::Dns,
                Fault::Member,
                "the proxy's name has no address",
            ));
        };
        ping::ping(*address, deadline).await
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(
        clippy::unused_async,
        clippy::unused_self,
        reason = "the shape of the other systems' one"
    )]
    async fn ping(&self, _way: &Way, _deadline: Instant) -> Result<(), CheckFailure> {
        let message = "health_check.method: ping is for Linux only; tcp is the next best";
        Err(CheckFailure::new(FailureKind::Local, Fault::Ours, message))
    }
}

impl Probe for ChainProbe {
    type Way = Way;

    fn check<'a>(
        &'a self,
        way: &'a Way,
        spec: &'a CheckSpec,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Duration, CheckFailure>> {
        Box::pin(async move {
            let begun = Instant::now();
            match spec.method {
                Method::Http => self.fetch(way, spec, deadline).await?,
                Method::Connect => {
                    drop(
                        self.build(&way.chain, way, &spec.test_url.target, deadline)
                            .await?,
                    );
                }
                Method::Tcp => self.reach(way, deadline).await?,
                Method::Ping => self.ping(way, deadline).await?,
            }
            Ok(begun.elapsed())
        })
    }

    fn corporate_works<'a>(&'a self, way: &'a Way, deadline: Instant) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            if way.before.is_none() {
                return true;
            }
            tokio::select! {
                // Whatever it says of the member, it spoke; silence is that of either. Where we cannot tell for a
                // lack of our own, nobody is marked.
                reached = self.reach(way, deadline) => reached.map_or_else(
                    |failure| failure.fault == Fault::Member && failure.kind != FailureKind::Timeout,
                    |()| true,
                ),
                () = self.corporate_speaks_of_itself(way, deadline) => true,
            }
        })
    }
}

/// Whose fault a failed dial is.
///
/// | blamed | what | fault |
/// |---|---|---|
/// | client, ours | anything | ours |
/// | corporate | no status, or 407 | corporate |
/// | corporate | any other status to `CONNECT member` | member |
/// | any other hop | anything | member |
/// | target | anything | target |
fn fault_of(error: &DialError, corporate: bool) -> Fault {
    match error.blame() {
        Blame::Client | Blame::Local => Fault::Ours,
        Blame::Hop(HopIndex(0)) if corporate => match error.status() {
            None | Some(407) => Fault::Corporate,
            Some(_) => Fault::Member,
        },
        Blame::Hop(_) => Fault::Member,
        Blame::Target => Fault::Target,
    }
}

fn dial_failure(error: &DialError, corporate: bool) -> CheckFailure {
    CheckFailure::new(error.kind(), fault_of(error, corporate), with_causes(error))
}

fn net_failure(error: &NetError, fault: Fault) -> CheckFailure {
    let fault = if error.kind() == FailureKind::Local {
        Fault::Ours
    } else {
        fault
    };
    CheckFailure::new(error.kind(), fault, with_causes(error))
}

/// The messages of an error and of what caused it: a report has room for one text.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some messages hold their causes already.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

impl fmt::Debug for ChainProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainProbe").finish_non_exhaustive()
    }
}
