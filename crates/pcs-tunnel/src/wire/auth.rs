//! Which credentials an HTTP hop is shown, and how.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::str;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pcs_models::Secret;

use super::http1::Fields;
use super::ntlm::{self, Account, Challenge, Fresh, NtlmError};
use super::{AuthProblem, HandshakeError};

/// How credentials are shown to an HTTP hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Not at all, until it asks.
    Unasked,
    /// Basic (RFC 7617).
    Basic,
    /// `NTLMv2` (MS-NLMP).
    Ntlm,
}

/// Who logs in by NTLM, and what is fresh about it.
#[derive(Debug, Clone, Copy)]
pub struct NtlmIdentity<'a> {
    /// User, domain and password.
    pub account: Account<'a>,
    /// Random bytes and the time.
    pub fresh: Fresh,
}

/// What an HTTP hop may be shown.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    /// What it is shown without being asked.
    pub first: Scheme,
    /// Whether another scheme may be used where the hop asks for it.
    pub may_switch: bool,
    /// The whole value for Basic; none where Basic must not be used.
    pub basic: Option<&'a Secret>,
    /// Who we are for NTLM; none where NTLM must not be used.
    pub ntlm: Option<NtlmIdentity<'a>>,
    /// Whether there are credentials at all: tells how a refusal is worded.
    pub known: bool,
}

impl Login<'_> {
    /// Nobody.
    pub const NONE: Login<'static> = Login {
        first: Scheme::Unasked,
        may_switch: false,
        basic: None,
        ntlm: None,
        known: false,
    };
}

/// What the next request on the connection carries.
#[derive(Debug)]
enum Shown {
    Nothing,
    Basic,
    Negotiate,
    Authenticate(Secret),
}

/// The talk about credentials with one hop, over the legs of one handshake.
#[derive(Debug)]
pub(super) struct Auth<'a> {
    login: Login<'a>,
    shown: Shown,
    tried_basic: bool,
    tried_ntlm: bool,
}

/// What a 407 leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask again; any connection will do.
    Anew(Scheme),
    /// Ask again on this very connection.
    Continue,
}

impl<'a> Auth<'a> {
    pub(super) fn new(login: Login<'a>) -> Self {
        let mut this = Self {
            login,
            shown: Shown::Nothing,
            tried_basic: false,
            tried_ntlm: false,
        };
        this.show(login.first);
        this
    }

    fn show(&mut self, scheme: Scheme) {
        self.shown = match scheme {
            Scheme::Basic if self.login.basic.is_some() => Shown::Basic,
            Scheme::Ntlm if self.login.ntlm.is_some() => Shown::Negotiate,
            Scheme::Unasked | Scheme::Basic | Scheme::Ntlm => Shown::Nothing,
        };
        self.tried_basic |= matches!(self.shown, Shown::Basic);
        self.tried_ntlm |= matches!(self.shown, Shown::Negotiate);
    }

    /// The scheme in use.
    pub(super) fn scheme(&self) -> Scheme {
        match self.shown {
            Shown::Nothing => Scheme::Unasked,
            Shown::Basic => Scheme::Basic,
            Shown::Negotiate | Shown::Authenticate(_) => Scheme::Ntlm,
        }
    }

    /// Whether a 407 could lead to another leg, so that the connection should be kept.
    pub(super) fn expects_more(&self) -> bool {
        match self.shown {
            Shown::Nothing => self.login.may_switch,
            Shown::Negotiate | Shown::Authenticate(_) => true,
            Shown::Basic => false,
        }
    }

    /// Whether the hop itself has to answer what is shown, before it acts on the request.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self.shown, Shown::Negotiate)
    }

    /// The value for the next request, as it is where it was made before.
    pub(super) fn value(&self) -> Option<Secret> {
        match &self.shown {
            Shown::Nothing => None,
            Shown::Basic => self.login.basic.cloned(),
            Shown::Negotiate => Some(Secret::new(encode(&ntlm::negotiate()))),
            Shown::Authenticate(value) => Some(value.clone()),
        }
    }

    /// Writes the field for the next request, if there is one.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let made;
        let value = match &self.shown {
            Shown::Nothing => return,
            Shown::Basic => self.login.basic,
            Shown::Negotiate | Shown::Authenticate(_) => {
                made = self.value();
                made.as_ref()
            }
        };
        if let Some(value) = value {
            out.extend_from_slice(b"Proxy-Authorization: ");
            out.extend_from_slice(value.expose().as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }

    /// The hop answered 407.
    pub(super) fn challenged(&mut self, offers: &Offers) -> Result<Next, HandshakeError> {
        let problem = match (&self.shown, &offers.ntlm_token) {
            (Shown::Negotiate, Some(token)) => return self.prove(token).map(|()| Next::Continue),
            (Shown::Authenticate(_), _) => AuthProblem::Refused("NTLM"),
            (Shown::Nothing | Shown::Basic | Shown::Negotiate, _) => {
                if let Some(scheme) = self.choose(offers) {
                    self.show(scheme);
                    return Ok(Next::Anew(scheme));
                }
                self.explain(offers)
            }
        };
        Err(HandshakeError::http_auth(problem))
    }

    /// The strongest scheme that is offered, allowed and not refused already.
    fn choose(&self, offers: &Offers) -> Option<Scheme> {
        if !self.login.may_switch {
            return None;
        }
        if offers.ntlm && self.login.ntlm.is_some() && !self.tried_ntlm {
            return Some(Scheme::Ntlm);
        }
        (offers.basic && self.login.basic.is_some() && !self.tried_basic).then_some(Scheme::Basic)
    }

    fn explain(&self, offers: &Offers) -> AuthProblem {
        if !self.login.known {
            return AuthProblem::Missing;
        }
        let (refused_basic, refused_ntlm) =
            (self.tried_basic && offers.basic, self.tried_ntlm && offers.ntlm);
        match (refused_basic, refused_ntlm) {
            (true, _) => AuthProblem::Refused("Basic"),
            (false, true) => AuthProblem::Refused("NTLM"),
            (false, false) => {
                let may = match (self.login.basic.is_some(), self.login.ntlm.is_some()) {
                    (true, true) => "Basic, NTLM",
                    (true, false) => "Basic",
                    (false, true) => "NTLM",
                    (false, false) => "none",
                };
                AuthProblem::NoCommonScheme {
                    may,
                    offers: offers.describe(),
                }
            }
        }
    }

    fn prove(&mut self, token: &[u8]) -> Result<(), HandshakeError> {
        let unusable = |error: NtlmError| HandshakeError::http_auth(error.into());
        let Some(identity) = &self.login.ntlm else {
            return Err(HandshakeError::http_auth(AuthProblem::Missing));
        };
        let message = STANDARD
            .decode(token)
            .map_err(|_| unusable(NtlmError::Encoding))?;
        let challenge = Challenge::parse(message).map_err(unusable)?;
        let answer = ntlm::authenticate(&challenge, &identity.account, identity.fresh);
        self.shown = Shown::Authenticate(Secret::new(encode(&answer)));
        Ok(())
    }
}

fn encode(message: &[u8]) -> String {
    let mut value = "NTLM ".to_owned();
    STANDARD.encode_string(message, &mut value);
    value
}

/// What a 407 offers, of what matters to us.
#[derive(Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a set of schemes, each there or not"
)]
pub(super) struct Offers {
    pub(super) basic: bool,
    pub(super) ntlm: bool,
    /// The base64 text behind `NTLM`.
    pub(super) ntlm_token: Option<Vec<u8>>,
    negotiate: bool,
    digest: bool,
}

impl Offers {
    /// Reads every `Proxy-Authenticate` field (RFC 9110 §11.7.1). What is not understood is passed over.
    pub(super) fn read(fields: Fields<'_, '_>) -> Self {
        let mut this = Self::default();
        for value in fields.all("proxy-authenticate") {
            for element in elements(value) {
                this.take(element);
            }
        }
        this
    }

    /// Takes a list element: a scheme alone, a scheme with a token or its first parameter, or a further parameter.
    fn take(&mut self, element: &[u8]) {
        let end = element
            .iter()
            .position(|byte| matches!(byte, b' ' | b'\t'))
            .unwrap_or(element.len());
        let Some((scheme, rest)) = element.split_at_checked(end) else {
            return;
        };
        let rest = rest.trim_ascii();
        let is = |name: &[u8]| scheme.eq_ignore_ascii_case(name);
        if rest.starts_with(b"=") {
            // `realm = "x"`: a parameter.
        } else if is(b"ntlm") {
            self.ntlm = true;
            if !rest.is_empty() {
                self.ntlm_token = Some(rest.to_vec());
            }
        } else if is(b"basic") {
            self.basic = true;
        } else if is(b"negotiate") {
            self.negotiate = true;
        } else if is(b"digest") {
            self.digest = true;
        }
    }

    /// The schemes by name. What is none of ours is never echoed.
    fn describe(&self) -> &'static str {
        match (self.basic, self.ntlm, self.negotiate, self.digest) {
            (true, true, ..) => "Basic, NTLM",
            (true, false, true, _) => "Basic, Negotiate",
            (true, false, false, _) => "Basic",
            (false, true, ..) => "NTLM",
            (false, false, true, _) => "Negotiate",
            (false, false, false, true) => "Digest",
            (false, false, false, false) => "none that we know",
        }
    }
}

/// The elements of a list whose quoted strings may hold commas.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    value
        .split(move |byte| {
            let ends = !quoted && *byte == b',';
            match (*byte, escaped) {
                (_, true) => escaped = false,
                (b'\\', false) if quoted => escaped = true,
                (b'"', false) => quoted = !quoted,
                _ => {}
            }
            ends
        })
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::http1::{read_response, slots};
    use super::*;

    fn offers(values: &[&str]) -> Offers {
        let fields: String = values
            .iter()
            .map(|value| format!("Proxy-Authenticate: {value}\r\n"))
            .collect();
        let head = format!("HTTP/1.1 407 Auth\r\n{fields}\r\n");
        let mut slots = slots();
        Offers::read(read_response(head.as_bytes(), &mut slots).unwrap().fields)
    }

    #[test]
    fn offers_are_found_however_they_are_listed() {
        let cases: &[(&[&str], &str, Option<&str>)] = &[
            (&["Basic realm=\"x\""], "basic", None),
            (&["basic"], "basic", None),
            (
                &[
                    "Negotiate",
                    "NTLM",
                    "Basic realm=\"a, NTLM b\", charset=\"UTF-8\"",
                ],
                "basic ntlm",
                None,
            ),
            (&["Negotiate, NTLM, Basic realm=\"x\""], "basic ntlm", None),
            (&["NTLM TlRMTVNTUAAC=="], "ntlm", Some("TlRMTVNTUAAC==")),
            (&["Digest realm=\"Basic\", nonce=\"NTLM\\\", Basic\""], "", None),
            (&["Digest realm=x, ntlm =\"y\""], "", None),
            (&["Negotiate TlRM"], "", None),
            (&[], "", None),
        ];
        for (values, expected, token) in cases {
            let got = offers(values);
            let names = [(got.basic, "basic"), (got.ntlm, "ntlm")];
            let names: Vec<_> = names
                .iter()
                .filter(|(on, _)| *on)
                .map(|(_, name)| *name)
                .collect();
            assert_eq!(names.join(" "), *expected, "{values:?}");
            assert_eq!(got.ntlm_token.as_deref(), token.map(str::as_bytes), "{values:?}");
        }
    }

    #[test]
    fn basic_is_not_chosen_where_it_is_not_allowed() {
        let mut auth = Auth::new(Login {
            may_switch: true,
            known: true,
            ..Login::NONE
        });
        let error = auth.challenged(&offers(&["Basic realm=x"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("we: none; it offers: Basic"), "{text}");
    }

    proptest! {
        #[test]
        fn no_value_panics(value in "[ -~]{0,80}") {
            let _ = offers(&[&value]);
        }
    }
}
