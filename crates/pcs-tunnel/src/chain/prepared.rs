//! What of a chain can be made before anybody asks.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use pcs_models::{AuthScheme, ChainSpec, Credentials, CredentialsError, Hop, Secret, SessionId, Target};
use rand::Rng as _;

use crate::wire::ntlm::{Account, Fresh};
use crate::wire::{Login, NtlmIdentity, Scheme, basic};

/// A chain with everything made ready that does not change between dials.
#[derive(Debug)]
pub struct PreparedChain {
    spec: ChainSpec,
    hops: Box<[PreparedHop]>,
}

#[derive(Debug)]
struct PreparedHop {
    /// This hop's address as the hop before it is asked for it.
    place: Target,
    /// The value for Basic, where it may be used and holds no session.
    basic: Option<Secret>,
}

impl PreparedChain {
    /// Makes a chain ready.
    #[must_use]
    pub fn new(spec: ChainSpec) -> Self {
        let prepare = |hop: &Hop| PreparedHop {
            place: hop.endpoint.as_target(),
            basic: hop
                .credentials
                .as_ref()
                .filter(|own| !own.is_session_template())
                .map(basic),
        };
        let hops = spec.hops().iter().map(prepare).collect();
        Self { spec, hops }
    }

    /// The hops.
    #[must_use]
    pub fn spec(&self) -> &ChainSpec {
        &self.spec
    }

    /// Forgets how the last hop wants credentials: it answered 407 to a plain request that was written in the form
    /// a dial had given. The next dial finds out anew.
    pub fn forget_login(&self) {
        if let Some(last) = self.last_index() {
            self.learn(last, Scheme::Unasked);
        }
    }

    pub(super) fn last_index(&self) -> Option<usize> {
        self.hops.len().checked_sub(1)
    }

    /// Whether the credentials for a hop differ from session to session.
    pub(super) fn is_per_session(&self, index: usize) -> bool {
        let credentials = self.hop(index).and_then(|hop| hop.credentials.as_ref());
        credentials.is_some_and(Credentials::is_session_template)
    }

    pub(super) fn hop(&self, index: usize) -> Option<&Hop> {
        self.spec.hops().get(index)
    }

    /// The hop at `index` as a place to ask for.
    pub(super) fn place(&self, index: usize) -> Option<&Target> {
        self.hops.get(index).map(|hop| &hop.place)
    }

    /// Remembers (or forgets) how a hop wants credentials.
    pub(super) fn learn(&self, index: usize, scheme: Scheme) {
        if let Some(hop) = self.hop(index) {
            hop.learnt.set(match scheme {
                Scheme::Unasked => AuthScheme::Auto,
                Scheme::Basic => AuthScheme::Basic,
                Scheme::Ntlm => AuthScheme::Ntlm,
            });
        }
    }

    /// The credentials for one dial of the hop at `index`, session filled in.
    pub(super) fn credentials(
        &self,
        index: usize,
        session: Option<&SessionId>,
    ) -> Result<Option<Shown<'_>>, CredentialsError> {
        let Some(credentials) = self.hop(index).and_then(|hop| hop.credentials.as_ref()) else {
            return Ok(None);
        };
        if let Some(value) = self.hops.get(index).and_then(|hop| hop.basic.as_ref()) {
            return Ok(Some(Shown {
                credentials: Cow::Borrowed(credentials),
                basic: Cow::Borrowed(value),
            }));
        }
        let filled = match session {
            Some(session) => credentials.for_session(session.as_str())?,
            None => {
                credentials.for_session(&format!("{:016x}", rand::rngs::ThreadRng::default().next_u64()))?
            }
        };
        let value = basic(&filled);
        Ok(Some(Shown {
            credentials: Cow::Owned(filled),
            basic: Cow::Owned(value),
        }))
    }

    /// What the hop at `index` may be shown of them, and in which order.
    pub(super) fn login<'a>(&'a self, index: usize, shown: Option<&'a Shown<'a>>) -> Login<'a> {
        let (Some(hop), Some(shown)) = (self.hop(index), shown) else {
            return Login::NONE;
        };
        let domain = hop.domain.as_deref();
        let account = Account::new(
            shown.credentials.username(),
            domain,
            shown.credentials.password().expose(),
        );
        let ntlm = || {
            Some(NtlmIdentity {
                account,
                fresh: fresh(),
            })
        };
        // A domain's password never goes in the clear, whatever else is configured.
        let basic = Some(&*shown.basic).filter(|_| hop.domain.is_none());
        match hop.auth {
            AuthScheme::Basic => Login {
                first: Scheme::Basic,
                may_switch: false,
                basic,
                ntlm: None,
                known: true,
            },
            AuthScheme::Ntlm => Login {
                first: Scheme::Ntlm,
                may_switch: false,
                basic: None,
                ntlm: ntlm(),
                known: true,
            },
            AuthScheme::Auto => Login {
                first: match hop.learnt.get() {
                    AuthScheme::Auto => Scheme::Unasked,
                    AuthScheme::Basic => Scheme::Basic,
                    AuthScheme::Ntlm => Scheme::Ntlm,
                },
                may_switch: true,
                basic,
                ntlm: ntlm(),
                known: true,
            },
        }
    }
}

/// Credentials as they are shown in one dial: the chain's own, or those of a session.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    pub(super) credentials: Cow<'a, Credentials>,
    pub(super) basic: Cow<'a, Secret>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: NTLM wants the wall clock where the server tells none"
)]
fn fresh() -> Fresh {
    /// Seconds from 1601 to 1970.
    const EPOCH_GAP: u64 = 11_644_473_600;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ticks = since
        .as_secs()
        .saturating_add(EPOCH_GAP)
        .saturating_mul(10_000_000);
    let now = ticks.saturating_add(u64::from(since.subsec_nanos() / 100));
    Fresh {
        nonce: rand::rngs::ThreadRng::default().next_u64().to_le_bytes(),
        now,
    }
}
