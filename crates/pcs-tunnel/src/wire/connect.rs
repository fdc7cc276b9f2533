//! CONNECT (RFC 9110 §9.3.6), and the legs that authenticate a connection before a plain request.
//!
//! ```text
//! write ─▶ await ─▶ 2xx: done
//!   ▲        ├────▶ 1xx: await
//!   │        ├────▶ 407: another scheme, or the next leg of NTLM
//!   │        │        ├─▶ the connection is kept: drain ─┐
//!   │        │        └─▶ it ends: redial              │
//!   └────────┼─────────────────────────────────────────┘
//!            └────▶ other: refused
//! ```

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use pcs_models::{Secret, Target};

use super::answer::{Answer, Answers, Drain, Rest};
use super::auth::{Auth, Login, Next, Scheme};
use super::{AuthProblem, Handshake, HandshakeError, Progress, Said};

/// Asks an HTTP hop for a tunnel, with as many legs as its way to authenticate needs.
#[derive(Debug)]
pub struct HttpConnect<'a>(Talk<'a>);

impl<'a> HttpConnect<'a> {
    /// Asks for `target`, showing `login`.
    #[must_use]
    pub fn new(target: &'a Target, login: Login<'a>) -> Self {
        Self(Talk::new(target, login, Request::Connect))
    }

    /// The scheme in use: the one that worked, once the talk is over.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.0.auth.scheme()
    }

    /// Whether the hop has been asked in a way that makes it turn to the next place. Until then it alone can be
    /// slow or silent: the first leg of NTLM is answered by the hop itself.
    #[must_use]
    pub fn has_named_target(&self) -> bool {
        self.0.state == State::Await && !self.0.auth.is_opening()
    }
}

impl Handshake for HttpConnect<'_> {
    fn advance(&mut self, received: &[u8], out: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        self.0.advance(received, out)
    }

    fn take_said(&mut self) -> Option<Said> {
        self.0.said.take()
    }
}

/// Finds out how an HTTP hop wants credentials for a plain request, with HEAD requests that have no body.
///
/// The first shows what the login begins with: nothing, or the NEGOTIATE message of NTLM. The last leg is not sent:
/// its field goes with the real request. A hop that asks for nothing turns to the target with it.
#[derive(Debug)]
pub struct HttpProbe<'a>(Talk<'a>);

impl<'a> HttpProbe<'a> {
    /// Asks for `target`, showing `login`.
    #[must_use]
    pub fn new(target: &'a Target, login: Login<'a>) -> Self {
        Self(Talk::new(target, login, Request::Head))
    }

    /// The scheme in use: the one to go on with, once the talk is over.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        if self.0.answered_unasked {
            Scheme::Unasked
        } else {
            self.0.auth.scheme()
        }
    }

    /// The value for the real request, once the talk is over; none where the hop asked for nothing.
    #[must_use]
    pub fn authorization(&self) -> Option<Secret> {
        if self.0.answered_unasked {
            None
        } else {
            self.0.auth.value()
        }
    }
}

impl Handshake for HttpProbe<'_> {
    fn advance(&mut self, received: &[u8], out: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        self.0.advance(received, out)
    }

    fn take_said(&mut self) -> Option<Said> {
        self.0.said.take()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Connect,
    Head,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Write,
    Await,
    Drain,
}

#[derive(Debug)]
struct Talk<'a> {
    target: &'a Target,
    request: Request,
    auth: Auth<'a>,
    answers: Answers,
    drain: Option<Drain>,
    state: State,
    said: Option<Said>,
    /// A HEAD was answered by something else than 407: the hop asks for no credentials.
    answered_unasked: bool,
}

impl<'a> Talk<'a> {
    fn new(target: &'a Target, login: Login<'a>, request: Request) -> Self {
        Self {
            target,
            request,
            auth: Auth::new(login),
            answers: Answers::new(request == Request::Head),
            drain: None,
            state: State::Write,
            said: None,
            answered_unasked: false,
        }
    }

    fn advance(&mut self, received: &[u8], out: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        let mut consumed = 0_usize;
        loop {
            let rest = received.get(consumed..).unwrap_or_default();
            match self.state {
                State::Write => {
                    self.write(out);
                    self.state = State::Await;
                }
                State::Await => {
                    let answer = self.answers.read(rest, &mut consumed)?;
                    let Some(answer) = answer else {
                        return Ok(Progress::NeedMore { consumed });
                    };
                    consumed = consumed.saturating_add(answer.length);
                    if self.judge(&answer)? {
                        return Ok(Progress::Done { consumed });
                    }
                }
                State::Drain => {
                    let Some(drain) = &mut self.drain else {
                        self.state = State::Write;
                        continue;
                    };
                    consumed = consumed.saturating_add(drain.take(rest)?);
                    if !drain.is_done() {
                        return Ok(Progress::NeedMore { consumed });
                    }
                    self.drain = None;
                    if self.request == Request::Head && !self.has_leg_left() {
                        return Ok(Progress::Done { consumed });
                    }
                    self.state = State::Write;
                }
            }
        }
    }

    /// Whether a HEAD has to be sent again: only to open NTLM. What comes then goes with the real request.
    fn has_leg_left(&self) -> bool {
        self.auth.is_opening()
    }

    /// Takes an answer; says whether the talk is over.
    fn judge(&mut self, answer: &Answer) -> Result<bool, HandshakeError> {
        self.said = Some(Said::Status(answer.status, answer.reason.clone()));
        match (answer.status, self.request) {
            (407, _) => self.challenged(answer).map(|()| false),
            (200..=299, Request::Connect) => Ok(true),
            (status, Request::Connect) => Err(HandshakeError::Status {
                status,
                reason: answer.reason.clone(),
            }),
            (_, Request::Head) => {
                self.answered_unasked = true;
                match answer.rest {
                    Rest::Keeps(_) => Ok(true),
                    Rest::Silent(_) | Rest::Closes => Err(HandshakeError::Redial(Scheme::Unasked)),
                }
            }
        }
    }

    fn challenged(&mut self, answer: &Answer) -> Result<(), HandshakeError> {
        let body = match (self.auth.challenged(&answer.offers)?, answer.rest) {
            (_, Rest::Keeps(body)) | (Next::Continue, Rest::Silent(body)) => body,
            (Next::Anew(scheme), Rest::Silent(_) | Rest::Closes) => {
                return Err(HandshakeError::Redial(scheme));
            }
            (Next::Continue, Rest::Closes) => return Err(HandshakeError::http_auth(AuthProblem::Closed)),
        };
        self.drain = Some(Drain::new(body));
        self.state = State::Drain;
        Ok(())
    }

    fn write(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        let method: &[u8] = match self.request {
            Request::Connect => b"CONNECT ",
            Request::Head => b"HEAD http://",
        };
        out.extend_from_slice(method);
        let authority = out.len();
        self.target.append_to(out);
        let end = out.len();
        let rest: &[u8] = match self.request {
            Request::Connect => b" HTTP/1.1\r\nHost: ",
            Request::Head => b"/ HTTP/1.1\r\nHost: ",
        };
        out.extend_from_slice(rest);
        out.extend_from_within(authority..end);
        out.extend_from_slice(b"\r\n");
        self.auth.write(out);
        if self.request == Request::Head || self.auth.expects_more() {
            // Old proxies listen to this name only.
            out.extend_from_slice(b"Proxy-Connection: Keep-Alive\r\n");
        }
        out.extend_from_slice(b"\r\n");
        debug_assert!(out.len() > begin, "{} bytes before, {} behind", begin, out.len());
    }
}
