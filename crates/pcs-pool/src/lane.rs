//! One way out: a prepared chain and the streams kept open through it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pcs_models::{ChainSpec, Secret, SessionId};
use pcs_tunnel::{ChainStream, ConnectRequest, Form, PreparedChain};
use rand::Rng;
use tokio::time::Instant;

use crate::TunnelSettings;
use crate::idle::{IdleStreams, ReuseKey};
use crate::inner::rng;
use crate::member::Member;
use crate::warm::WarmChains;

/// A chain made ready for dialling. Lives until the chain changes: a new password is a new lane.
pub(crate) struct Lane {
    spec: ChainSpec,
    /// Whose lane it is; none on ways without one.
    member: Option<Arc<Member>>,
    pub(crate) chain: PreparedChain,
    pub(crate) idle: IdleStreams,
    pub(crate) warm: WarmChains,
    /// Whether plain-HTTP streams are kept.
    reuse: bool,
    /// Whether the last hop's user name has a place for a session.
    templated: bool,
    /// Nothing is kept any more: the chain is no longer configured.
    closed: AtomicBool,
}

impl Lane {
    pub(crate) fn new(spec: ChainSpec, reuse: bool, member: Option<Arc<Member>>) -> Self {
        let templated = spec.hops().iter().any(|hop| {
            hop.credentials
                .as_ref()
                .is_some_and(pcs_models::Credentials::is_session_template)
        });
        Self {
            chain: PreparedChain::new(spec.clone()),
            spec,
            member,
            idle: IdleStreams::default(),
            warm: WarmChains::default(),
            reuse,
            templated,
            closed: AtomicBool::new(false),
        }
    }

    /// Whether this lane would do for such a chain.
    pub(crate) fn serves(&self, spec: &ChainSpec, reuse: bool) -> bool {
        self.spec == *spec && self.reuse == reuse
    }

    pub(crate) fn spec(&self) -> &ChainSpec {
        &self.spec
    }

    pub(crate) fn member(&self) -> Option<&Arc<Member>> {
        self.member.as_ref()
    }

    pub(crate) fn reuses(&self) -> bool {
        self.reuse
    }

    /// A session for one stream, where the proxy wants to be told one and the client gave none.
    pub(crate) fn made_up_session(&self, request: &ConnectRequest) -> Option<SessionId> {
        (self.templated && request.session.is_none()).then(|| {
            let random = rng().next_u64();
            SessionId::try_new(&format!("{random:016x}")).expect("hexadecimal digits are a session id")
        })
    }

    /// Keeps a stream for further requests, where that is allowed. A made-up session is for one stream only:
    /// keeping that would give its exit to other clients.
    pub(crate) fn park(
        &self,
        key: ReuseKey,
        stream: ChainStream,
        form: Form,
        now: Instant,
        settings: &TunnelSettings,
    ) {
        let made_up_session = self.templated && key.session.is_none();
        if !self.reuse || made_up_session || self.is_closed() {
            return;
        }
        let form = form_of_next(form);
        self.idle.put(key, stream, form, now, settings.idle_connections);
        if self.is_closed() {
            self.idle.clear();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Closes what is kept, now and from now on. Streams in use live on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.idle.clear();
        self.warm.clear();
    }
}

/// How the next request is written on a stream that served one. Schemes other than Basic authenticate the connection
/// (RFC 4559 §6): their last message was sent, and sending it again would start over.
fn form_of_next(form: Form) -> Form {
    match form {
        Form::Absolute {
            authorization: Some(value),
        } if !is_basic(&value) => Form::Absolute { authorization: None },
        form => form,
    }
}

fn is_basic(value: &Secret) -> bool {
    value
        .expose()
        .get(..6)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic "))
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("hops", &self.spec.hops().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_authenticates_a_connection_is_sent_once() {
        let form = |value: &str| Form::Absolute {
            authorization: Some(Secret::new(value.into())),
        };
        assert_eq!(form_of_next(form("Basic dTpw")), form("Basic dTpw"));
        let authenticated = Form::Absolute { authorization: None };
        for value in ["NTLM TlRMTVNTUAAD", "Negotiate YII"] {
            assert_eq!(form_of_next(form(value)), authenticated);
        }
        assert_eq!(form_of_next(Form::Origin), Form::Origin);
    }
}
